/* SPDX-License-Identifier: MIT */
/* Rows made of several others: weighted sums, short convolutions along a sequence with their state, depthwise convolutions of
 * a map. */
#include "tensor/cuda/cuda.h"

enum { THREADS = 256 };

/* ---- weighted sums ---- */
struct blend_args {
    vcuda_rows y, x;
    const int32_t *index; /* [rows, taps] */
    const float *weights;
    int *bad;
    int64_t taps;
};

__global__ static void blend(const __grid_constant__ blend_args a) {
    const int64_t row = blockIdx.x;
    const int32_t *index = a.index + row * a.taps;
    for (int64_t k = 0; k < a.taps; k++)
        if (index[k] < 0 || index[k] >= a.x.rows) {
            if (threadIdx.x == 0) *a.bad = 1;
            return;
        }
    for (int64_t d = threadIdx.x; d < a.y.dim; d += THREADS) {
        float sum = 0;
        for (int64_t k = 0; k < a.taps; k++)
            sum = __fadd_rn(sum, __fmul_rn(a.weights[row * a.taps + k], ((const float *)a.x.data)[index[k] * a.x.stride + d]));
        ((float *)a.y.data)[row * a.y.stride + d] = sum;
    }
}

static void run_blend(vcuda_stream *s, const blend_args *a) {
    blend<<<(unsigned)a->y.rows, THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

void vcuda_blend(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor index, vlm_tensor weights) {
    blend_args a = vcuda_args<blend_args>();
    a.y = vcuda_rows_of(y);
    a.x = vcuda_rows_of(x);
    a.index = (const int32_t *)index.data;
    a.weights = (const float *)weights.data;
    a.bad = vcuda_stream_of(f)->bad_index_device;
    a.taps = index.shape[1];
    vcuda_submit(f, run_blend, a);
}

/* ---- short convolutions ---- */
/* A sequence: its rows of x, and what position p brought in row p % rows of its state. */
struct sequence {
    int64_t start, length, past, rows, stride;
    float *state; /* NULL: none */
};
struct conv_args {
    vcuda_rows y, x;
    const float *weight, *bias; /* [dim, taps]; [dim] or NULL */
    const sequence *sequences;
    const int32_t *sequence_of; /* [rows of x] */
    int64_t taps;
};

__global__ static void convolve(const __grid_constant__ conv_args a) {
    const int64_t row = blockIdx.x;
    const sequence s = a.sequences[a.sequence_of[row]];
    const int64_t at = s.past + row - s.start;
    for (int64_t d = threadIdx.x; d < a.x.dim; d += THREADS) {
        float sum = a.bias ? a.bias[d] : 0;
        for (int64_t k = 0; k < a.taps; k++) {
            const int64_t from = at - a.taps + 1 + k;
            if (from < 0) continue;
            const float x = from < s.past ? s.state[from % s.rows * s.stride + d] : ((const float *)a.x.data)[(s.start + from - s.past) * a.x.stride + d];
            sum = __fadd_rn(sum, __fmul_rn(a.weight[d * a.taps + k], x));
        }
        ((float *)a.y.data)[row * a.y.stride + d] = sum;
    }
}

/* The last inputs of every sequence, each in its position's row. */
__global__ static void remember(const __grid_constant__ conv_args a) {
    const int64_t row = blockIdx.x;
    const sequence s = a.sequences[a.sequence_of[row]];
    if (!s.state || row - s.start < s.length - s.rows) return;
    float *to = s.state + (s.past + row - s.start) % s.rows * s.stride;
    for (int64_t d = threadIdx.x; d < a.x.dim; d += THREADS) to[d] = ((const float *)a.x.data)[row * a.x.stride + d];
}

static void run_conv(vcuda_stream *s, const conv_args *a) {
    convolve<<<(unsigned)a->x.rows, THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
    remember<<<(unsigned)a->x.rows, THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

void vcuda_short_conv(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor weight, vlm_tensor bias, const vlm_segment *segments, int n_segments) {
    const vtensor_cuda_host *host = vcuda_of(f)->host;
    const int64_t rows = x.shape[0];
    const size_t head = (size_t)n_segments * sizeof(sequence), bytes = head + (size_t)rows * sizeof(int32_t);
    char *table = (char *)vcuda_table(f, bytes);
    if (!table) return;
    for (int i = 0; i < n_segments; i++) {
        const vlm_segment *s = &segments[i];
        const vlm_tensor *k = s->kv ? &s->kv->k : NULL;
        ((sequence *)table)[i] = { s->start, s->length, s->past, k ? k->shape[0] : 1, k ? k->stride[0] : 0, k ? (float *)k->data : NULL };
        for (int64_t r = 0; r < s->length; r++) ((int32_t *)(table + head))[s->start + r] = i;
    }
    vlm_scope scope = host->scope_begin(f);
    const char *on_device = (const char *)vcuda_mirror(f, table, bytes);
    conv_args a = vcuda_args<conv_args>();
    a.y = vcuda_rows_of(y);
    a.x = vcuda_rows_of(x);
    a.weight = (const float *)weight.data;
    a.bias = bias.rank ? (const float *)bias.data : NULL;
    a.sequences = (const sequence *)on_device;
    a.sequence_of = (const int32_t *)(on_device + head);
    a.taps = weight.shape[1];
    if (on_device) vcuda_submit(f, run_conv, a);
    host->scope_end(f, scope);
}

/* ---- depthwise convolutions ---- */
struct depthwise_args {
    vcuda_rows y, x;
    const float *weight, *bias; /* [side * side, each, in] */
    int64_t height, width, columns, side, stride, each, taps_stride, each_stride;
};

__global__ static void convolve_map(const __grid_constant__ depthwise_args a) {
    const int64_t row = blockIdx.x, top = row / a.columns * a.stride - a.side / 2, left = row % a.columns * a.stride - a.side / 2;
    for (int64_t o = threadIdx.x; o < a.y.dim; o += THREADS) {
        const int64_t c = o / a.each, m = o - c * a.each;
        float sum = 0;
        for (int64_t k = 0; k < a.side * a.side; k++) {
            const int64_t at_y = top + k / a.side, at_x = left + k % a.side;
            if (at_y < 0 || at_y >= a.height || at_x < 0 || at_x >= a.width) continue;
            sum = fmaf(a.weight[k * a.taps_stride + m * a.each_stride + c], ((const float *)a.x.data)[(at_y * a.width + at_x) * a.x.stride + c], sum);
        }
        ((float *)a.y.data)[row * a.y.stride + o] = a.bias[o] + sum;
    }
}

static void run_depthwise(vcuda_stream *s, const depthwise_args *a) {
    convolve_map<<<(unsigned)a->y.rows, THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

void vcuda_depthwise_conv(vlm_frame *f, vlm_tensor y, vlm_tensor x, int64_t width, const vlm_depthwise *conv, int64_t stride) {
    depthwise_args a = vcuda_args<depthwise_args>();
    a.y = vcuda_rows_of(y);
    a.x = vcuda_rows_of(x);
    a.weight = (const float *)conv->weight.data;
    a.bias = (const float *)conv->bias.data;
    a.height = x.shape[0] / width;
    a.width = width;
    a.columns = (width + stride - 1) / stride;
    a.stride = stride;
    while (a.side * a.side < conv->weight.shape[0]) a.side++;
    a.each = conv->weight.shape[1];
    a.taps_stride = conv->weight.stride[0];
    a.each_stride = conv->weight.stride[1];
    vcuda_submit(f, run_depthwise, a);
}
