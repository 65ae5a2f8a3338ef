/* SPDX-License-Identifier: MIT */
/* One direction of a resize as numbers: which inputs make an output, and with what weight. Owns the
 * filters and the two libraries whose arithmetic there is: Pillow (weights in fixed point of 22
 * bits) and torch (16-bit weights, with as many bits behind the point as the largest of an axis
 * leaves room for). Owns no pixels. Every operation is in the order of the library's, since each
 * rounds. */
#include "media/media.h"

#include <math.h>

#define PI 3.14159265358979323846

/* ---- filters ---- */

static double box(double x) {
    return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
}

static double bilinear(double x) {
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

/* Its constants are single precision in Pillow. */
static double hamming(double x) {
    x = fabs(x);
    if (x == 0.0) return 1.0;
    if (x >= 1.0) return 0.0;
    x *= PI;
    return sin(x) / x * (0.54f + 0.46f * cos(x));
}

/* Keys' cubic with a = -1/2, which is what torch has for antialiasing, too. */
static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static double sinc(double x) {
    if (x == 0.0) return 1.0;
    x *= PI;
    return sin(x) / x;
}

static double lanczos(double x) {
    return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
}

typedef struct filter_shape {
    double (*at)(double x);
    double support; /* half its width, in inputs when enlarging */
} filter_shape;

static const filter_shape shapes[] = {
    [VLM_FILTER_LANCZOS] = { lanczos, 3.0 }, [VLM_FILTER_BILINEAR] = { bilinear, 1.0 },
    [VLM_FILTER_BICUBIC] = { bicubic, 2.0 }, [VLM_FILTER_BOX] = { box, 0.5 },
    [VLM_FILTER_HAMMING] = { hamming, 1.0 },
};

/* ---- weights ---- */

void vmedia_axis_free(vmedia_axis *a) {
    vcore_free(a->first);
    vcore_free(a->count);
    vcore_free(a->weight);
    vcore_free(a->high);
    vcore_free(a->low);
    *a = (vmedia_axis) { 0 };
}

/* Largest number of inputs that one output is made of, before the edges of the picture cut in. */
static size_t widest(uint32_t in, uint32_t out, const filter_shape *shape) {
    double scale = (double)in / out;
    size_t taps = (size_t)ceil(shape->support * (scale < 1.0 ? 1.0 : scale)) * 2 + 1;
    return taps < in ? taps : in;
}

static bool axis_alloc(vmedia_axis *a, uint32_t outputs, size_t most) {
    size_t taps = (most + 3) / 4 * 4, all;
    *a = (vmedia_axis) { .outputs = outputs, .taps = (uint32_t)taps };
    if (!vcore_mul(outputs, taps, &all)) return false;
    a->first = vcore_alloc_array(outputs, sizeof *a->first);
    a->count = vcore_alloc_array(outputs, sizeof *a->count);
    a->weight = vcore_alloc_array(all, sizeof *a->weight);
    a->high = vcore_alloc_array(all, sizeof *a->high);
    a->low = vcore_alloc_array(all, sizeof *a->low);
    return a->first && a->count && a->weight && a->high && a->low;
}

typedef struct stretched {
    const filter_shape *shape;
    double scale, support, shrink;
    uint32_t in;
} stretched;

/* The filter is stretched when reducing, so that every input counts (antialiasing). */
static stretched stretch_filter(uint32_t in, uint32_t out, const filter_shape *shape) {
    double scale = (double)in / out, stretch = scale < 1.0 ? 1.0 : scale;
    return (stretched) { shape, scale, shape->support * stretch, 1.0 / stretch, in };
}

/* The weights of output i, which add up to 1; from which input on, and how many. */
static uint32_t weigh(double *weights, uint32_t *first, const stretched *f, uint32_t i) {
    double centre = (i + 0.5) * f->scale, sum = 0.0;
    double begin = centre - f->support + 0.5, end = centre + f->support + 0.5;
    *first = begin < 0 ? 0 : (uint32_t)begin;
    uint32_t n = (end > f->in ? f->in : (uint32_t)end) - *first;
    for (uint32_t k = 0; k < n; k++) {
        weights[k] = f->shape->at((k + *first - centre + 0.5) * f->shrink);
        sum += weights[k];
    }
    for (uint32_t k = 0; k < n && sum != 0.0; k++) weights[k] /= sum;
    return n;
}

/* Rounds the n weights of output i, half away from zero. */
static void axis_store(vmedia_axis *a, uint32_t i, const double *weights, uint32_t n) {
    for (uint32_t k = 0; k < n; k++) {
        double scaled = weights[k] * (1 << a->bits);
        int32_t fixed = (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
        size_t at = (size_t)i * a->taps + k;
        a->weight[at] = fixed;
        a->high[at] = (int16_t)(fixed >> VMEDIA_LOW_BITS);
        a->low[at] = (int16_t)(a->narrow ? fixed : fixed & ((1 << VMEDIA_LOW_BITS) - 1));
    }
}

/* torch: as many bits as keep the largest weight below 2^15, and no more than Pillow's 22. */
static int narrow_bits(double largest) {
    int bits = 0;
    while (bits < VMEDIA_BITS && (int)(0.5 + largest * (1 << (bits + 1))) < 1 << 15) bits++;
    return bits;
}

bool vmedia_axis_init(vmedia_axis *a, uint32_t in, uint32_t out, vlm_filter filter, bool narrow) {
    const filter_shape *shape = &shapes[filter];
    stretched f = stretch_filter(in, out, shape);
    size_t most = widest(in, out, shape);
    double *weights = vcore_alloc_array(most, sizeof *weights), largest = 0.0;
    if (!axis_alloc(a, out, most) || !weights) {
        vcore_free(weights);
        return false;
    }
    for (uint32_t i = 0; narrow && i < out; i++) {
        uint32_t n = weigh(weights, &a->first[i], &f, i);
        for (uint32_t k = 0; k < n; k++)
            if (weights[k] > largest) largest = weights[k];
    }
    a->narrow = narrow;
    a->bits = narrow ? narrow_bits(largest) : VMEDIA_BITS;
    for (uint32_t i = 0; i < out; i++) {
        uint32_t n = weigh(weights, &a->first[i], &f, i);
        a->count[i] = n;
        if (n > a->most) a->most = n;
        axis_store(a, i, weights, n);
    }
    vcore_free(weights);
    return true;
}

uint32_t *vmedia_nearest_inputs(uint32_t in, uint32_t out, bool narrow) {
    uint32_t *from = vcore_alloc_array(out, sizeof *from);
    if (!from) return NULL;
    /* torch multiplies in single precision; Pillow adds up positions, and rounds each time. */
    float single = (float)in / (float)out;
    double scale = (double)in / out, at = scale * 0.5;
    for (uint32_t i = 0; i < out; i++, at += scale) {
        float place = ((float)i + 0.5f) * single;
        if (narrow)
            from[i] = place < (float)in ? (uint32_t)place : in - 1;
        else
            from[i] = at < in ? (uint32_t)at : in;
    }
    return from;
}
