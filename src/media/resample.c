/* SPDX-License-Identifier: MIT */
/* Resizing 8-bit RGB, byte for byte as Pillow's Image.resize or as torch's antialiased interpolate
 * on bytes, which torchvision calls. Owns the order of the two passes, between which there are 8
 * bits: along x first, but along y first where Pillow 13 does so. The sums are of integers and
 * therefore exact, so that vector code may add in any order. The passes know nothing of filters:
 * another library's arithmetic is another way to fill a vmedia_axis (axis.c). */
#include "media/media.h"

#define BATCH 4 /* rows that a pass along x takes at once */

/* ---- the passes in plain C ---- */

static uint8_t to_byte(int32_t sum, int bits) {
    int32_t value = sum >> bits;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void along_x(uint8_t *const *out, const uint8_t *const *in, int rows, const vmedia_axis *x) {
    const int32_t half = 1 << (x->bits - 1);
    for (int r = 0; r < rows; r++)
        for (uint32_t i = 0; i < x->outputs; i++) {
            const uint8_t *p = in[r] + (size_t)x->first[i] * 3;
            const int32_t *w = x->weight + (size_t)i * x->taps;
            int32_t sum[3] = { half, half, half };
            for (uint32_t k = 0; k < x->count[i]; k++, p += 3)
                for (int c = 0; c < 3; c++) sum[c] += p[c] * w[k];
            for (int c = 0; c < 3; c++) out[r][(size_t)i * 3 + c] = to_byte(sum[c], x->bits);
        }
}

static void along_y(uint8_t *out, const uint8_t *const *in, const vmedia_axis *y, uint32_t i,
                    size_t bytes) {
    enum { BLOCK = 128 };
    const int32_t *w = y->weight + (size_t)i * y->taps;
    for (size_t at = 0; at < bytes; at += BLOCK) {
        size_t n = bytes - at < BLOCK ? bytes - at : BLOCK;
        int32_t sum[BLOCK];
        for (size_t b = 0; b < n; b++) sum[b] = 1 << (y->bits - 1);
        for (uint32_t k = 0; k < y->count[i]; k++)
            for (size_t b = 0; b < n; b++) sum[b] += in[k][at + b] * w[k];
        for (size_t b = 0; b < n; b++) out[at + b] = to_byte(sum[b], y->bits);
    }
}

/* ---- a resize ---- */

typedef struct resize {
    const vlm_image *in;
    vlm_image *out;
    bool x_changes, y_changes, y_first;
    vmedia_axis x, y;
    vmedia_along_x *along_x;
    vmedia_along_y *along_y;
    size_t bands, ring_rows, ring_stride;
    uint8_t **ring;          /* per worker: the latest rows that the first pass made */
    const uint8_t ***window; /* per worker: the rows that make one output row */
} resize;

static const uint8_t *input_row(const resize *r, uint32_t y) {
    return r->in->rgb + (size_t)y * r->in->size.width * 3;
}

static uint8_t *output_row(const resize *r, uint32_t y) {
    return r->out->rgb + (size_t)y * r->out->size.width * 3;
}

static uint8_t *ring_row(const resize *r, int worker, uint32_t y) {
    return r->ring[worker] + y % r->ring_rows * r->ring_stride;
}

/* Pillow 13's rule, which changes the result: 8 bits lie between the passes. */
static bool is_y_first(vlm_size in, vlm_size out) {
    int64_t fewer_columns = (int64_t)in.width - out.width;
    int64_t fewer_rows = (int64_t)in.height - out.height;
    return fewer_rows > 0 && fewer_rows > 2 * fewer_columns;
}

/* One row along y: output row y, or before a pass along x what will become it. */
static void make_row(const resize *r, uint8_t *to, uint32_t y, int worker, bool from_ring) {
    const uint8_t **window = r->window[worker];
    uint32_t first = r->y.first[y];
    for (uint32_t k = 0; k < r->y.count[y]; k++)
        window[k] = from_ring ? ring_row(r, worker, first + k) : input_row(r, first + k);
    uint32_t width = r->y_first ? r->in->size.width : r->out->size.width;
    r->along_y(to, window, &r->y, y, (size_t)width * 3);
}

/* Output rows [begin, end) when the pass along x is the last or the only one. */
static void band_x_last(const resize *r, uint32_t begin, uint32_t end, int worker) {
    for (uint32_t y = begin; y < end; y += BATCH) {
        int rows = end - y < BATCH ? (int)(end - y) : BATCH;
        const uint8_t *in[BATCH];
        uint8_t *out[BATCH];
        for (int k = 0; k < rows; k++) {
            out[k] = output_row(r, y + k);
            in[k] = input_row(r, y + k);
            if (!r->y_first) continue;
            uint8_t *made = ring_row(r, worker, (uint32_t)k);
            make_row(r, made, y + k, worker, false);
            in[k] = made;
        }
        r->along_x(out, in, rows, &r->x);
    }
}

/* Output rows [begin, end) when the pass along y is the last or the only one: input rows pass along
 * x once, into a ring that holds a window of them. */
static void band_y_last(const resize *r, uint32_t begin, uint32_t end, int worker) {
    uint32_t last = r->y.first[end - 1] + r->y.count[end - 1], next = 0;
    for (uint32_t y = begin; y < end; y++) {
        uint32_t first = r->y.first[y], stop = first + r->y.count[y];
        if (next < first) next = first;
        while (r->x_changes && next < stop) {
            int rows = last - next < BATCH ? (int)(last - next) : BATCH;
            const uint8_t *in[BATCH];
            uint8_t *out[BATCH];
            for (int k = 0; k < rows; k++) {
                in[k] = input_row(r, next + k);
                out[k] = ring_row(r, worker, next + k);
            }
            r->along_x(out, in, rows, &r->x);
            next += (uint32_t)rows;
        }
        make_row(r, output_row(r, y), y, worker, r->x_changes);
    }
}

static void run_band(void *arg, size_t band, int worker) {
    const resize *r = arg;
    uint64_t height = r->out->size.height;
    uint32_t begin = (uint32_t)(height * band / r->bands);
    uint32_t end = (uint32_t)(height * (band + 1) / r->bands);
    if (begin == end) return;
    if (r->y_changes && !r->y_first)
        band_y_last(r, begin, end, worker);
    else
        band_x_last(r, begin, end, worker);
}

static bool prepare(resize *r, vlm_filter filter, bool narrow, int workers) {
    vlm_size in = r->in->size, out = r->out->size;
    if (r->x_changes && !vmedia_axis_init(&r->x, in.width, out.width, filter, narrow)) return false;
    if (!r->y_changes) return true;
    if (!vmedia_axis_init(&r->y, in.height, out.height, filter, narrow)) return false;
    r->window = vcore_alloc_array((size_t)workers, sizeof *r->window);
    r->ring = vcore_alloc_array((size_t)workers, sizeof *r->ring);
    if (!r->window || !r->ring) return false;
    r->ring_rows = r->y_first ? BATCH : (size_t)r->y.most + BATCH - 1;
    r->ring_stride = (size_t)(r->y_first ? in.width : out.width) * 3 + VMEDIA_SLACK;
    for (int w = 0; w < workers; w++) {
        r->window[w] = vcore_alloc_array(r->y.taps, sizeof **r->window);
        if (!r->window[w]) return false;
        if (!r->x_changes) continue;
        r->ring[w] = vcore_alloc_array(r->ring_rows, r->ring_stride);
        if (!r->ring[w]) return false;
    }
    return true;
}

static void release(resize *r, int workers) {
    vmedia_axis_free(&r->x);
    vmedia_axis_free(&r->y);
    for (int w = 0; w < workers; w++) {
        if (r->window) vcore_free(r->window[w]);
        if (r->ring) vcore_free(r->ring[w]);
    }
    vcore_free(r->window);
    vcore_free(r->ring);
}

static bool resample(const vlm_image *in, vlm_image *out, vlm_filter filter, bool narrow,
                     vcore_pool *pool, unsigned cpu) {
    resize r = { .in = in, .out = out, .along_x = along_x, .along_y = along_y };
    r.x_changes = in->size.width != out->size.width;
    r.y_changes = in->size.height != out->size.height;
    r.y_first = !narrow && r.x_changes && is_y_first(in->size, out->size);
#if defined(__x86_64__)
    if (cpu & VCORE_CPU_AVX2) r.along_x = vmedia_along_x_avx2, r.along_y = vmedia_along_y_avx2;
#elif defined(__aarch64__)
    if (cpu & VCORE_CPU_NEON) r.along_x = vmedia_along_x_neon, r.along_y = vmedia_along_y_neon;
#else
    (void)cpu;
#endif
    int workers = pool ? vcore_pool_size(pool) : 1;
    r.bands = (size_t)workers;
    bool ready = prepare(&r, filter, narrow, workers);
    if (ready && pool)
        vcore_pool_run(pool, r.bands, run_band, &r);
    else if (ready)
        run_band(&r, 0, 0);
    release(&r, workers);
    return ready;
}

static bool nearest(const vlm_image *in, vlm_image *out, bool narrow) {
    uint32_t width = out->size.width, height = out->size.height;
    uint32_t *column = vmedia_nearest_inputs(in->size.width, width, narrow),
             *row = vmedia_nearest_inputs(in->size.height, height, narrow);
    bool ready = column && row;
    for (uint32_t y = 0; ready && y < height; y++) {
        if (row[y] == in->size.height) continue;
        const uint8_t *from = in->rgb + (size_t)row[y] * in->size.width * 3;
        uint8_t *to = out->rgb + (size_t)y * width * 3;
        for (uint32_t x = 0; x < width; x++)
            if (column[x] < in->size.width)
                memcpy(to + 3 * (size_t)x, from + 3 * (size_t)column[x], 3);
    }
    vcore_free(column);
    vcore_free(row);
    return ready;
}

vlm_status vmedia_choose_filter(vlm_filter *filter, vlm_resampler resampler, vlm_error *err) {
    if ((unsigned)*filter > VLM_FILTER_HAMMING)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "there is no resampling filter %d", (int)*filter);
    if ((unsigned)resampler > VLM_RESAMPLER_TORCHVISION_BICUBIC)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "there is no resampler %d", (int)resampler);
    if (resampler == VLM_RESAMPLER_PILLOW) return VLM_OK;
    if (*filter == VLM_FILTER_BOX || *filter == VLM_FILTER_HAMMING)
        return vcore_fail(err, VLM_ERR_UNSUPPORTED, "torchvision has no %s filter",
                          *filter == VLM_FILTER_BOX ? "box" : "Hamming");
    if (resampler == VLM_RESAMPLER_TORCHVISION_BICUBIC && *filter == VLM_FILTER_LANCZOS)
        *filter = VLM_FILTER_BICUBIC;
    return VLM_OK;
}

vlm_status vmedia_resize(vlm_image **out, const vlm_image *image, vlm_size size, vlm_filter filter,
                         vlm_resampler resampler, vcore_pool *pool, unsigned cpu, vlm_error *err) {
    *out = NULL;
    VTRY(vmedia_choose_filter(&filter, resampler, err));
    bool narrow = resampler != VLM_RESAMPLER_PILLOW;
    vlm_image *to;
    VTRY(vmedia_image_new(&to, size, NULL, err));
    bool done = true;
    if (size.width == image->size.width && size.height == image->size.height)
        memcpy(to->rgb, image->rgb, (size_t)size.width * size.height * 3);
    else
        done = filter == VLM_FILTER_NEAREST ? nearest(image, to, narrow)
                                            : resample(image, to, filter, narrow, pool, cpu);
    if (!done) {
        vlm_image_free(to);
        return vcore_no_memory(err, "resizing a picture");
    }
    *out = to;
    return VLM_OK;
}

vlm_status vlm_image_resample_threads(vlm_image **out, const vlm_image *image, vlm_size size,
                                      vlm_filter filter, vlm_resampler resampler,
                                      vlm_threads *threads, vlm_error *err) {
    if (!out || !image) return vcore_fail(err, VLM_ERR_ARGUMENT, "resampling: a NULL argument");
    return vmedia_resize(out, image, size, filter, resampler, threads, vcore_cpu_flags(), err);
}

vlm_status vlm_image_resample(vlm_image **out, const vlm_image *image, vlm_size size,
                              vlm_filter filter, vlm_resampler resampler, vlm_error *err) {
    return vlm_image_resample_threads(out, image, size, filter, resampler, NULL, err);
}

vlm_status vlm_image_resize(vlm_image **out, const vlm_image *image, vlm_size size,
                            vlm_filter filter, vlm_error *err) {
    return vlm_image_resample(out, image, size, filter, VLM_RESAMPLER_PILLOW, err);
}
