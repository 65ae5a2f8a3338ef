/* SPDX-License-Identifier: MIT */
/* Operations on whole rows: RMS and layer norm, rotary positions. */
#include "tensor/cuda/cuda.h"

enum { THREADS = 256 };

/* ---- norms: a block for a row, sums in double ---- */
struct norm_args {
    vcuda_rows y, x;
    const void *weight, *bias;
    int32_t weight_type, bias_type, subtract_mean, pad;
    float eps, offset;
};

__device__ static double block_sum(double v, double *shared) {
    for (int d = 16; d; d /= 2) v += __shfl_xor_sync(~0u, v, d);
    __syncthreads(); /* whoever still reads the sum before */
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
    __syncthreads();
    v = 0;
    for (int i = 0; i < THREADS / 32; i++) v += shared[i];
    return v;
}

__global__ static void normalise(const __grid_constant__ norm_args a) {
    __shared__ double shared[THREADS / 32];
    const float *x = (const float *)a.x.data + blockIdx.x * a.x.stride;
    int64_t y = blockIdx.x * a.y.stride;
    double mean = 0, squares = 0;
    if (a.subtract_mean) {
        double sum = 0;
        for (int64_t i = threadIdx.x; i < a.x.dim; i += THREADS) sum += (double)x[i];
        mean = block_sum(sum, shared) / (double)a.x.dim;
    }
    for (int64_t i = threadIdx.x; i < a.x.dim; i += THREADS) {
        double d = (double)x[i] - mean;
        squares += d * d;
    }
    float rstd = (float)(1 / sqrt(block_sum(squares, shared) / (double)a.x.dim + (double)a.eps)), m = (float)mean;
    for (int64_t i = threadIdx.x; i < a.x.dim; i += THREADS) {
        float v = (x[i] - m) * rstd;
        if (a.weight) v *= a.offset + vcuda_load(a.weight, a.weight_type, i);
        if (a.bias) v += vcuda_load(a.bias, a.bias_type, i);
        vcuda_store(a.y.data, a.y.type, y + i, v);
    }
}

/* RMS of rows of up to QUADS * 4 * THREADS values, which stay in registers. */
enum { QUADS = 5 };
__global__ __launch_bounds__(THREADS) static void normalise_rms(const __grid_constant__ norm_args a) {
    __shared__ float shared[THREADS / 32];
    const float4 *x = (const float4 *)((const float *)a.x.data + blockIdx.x * a.x.stride);
    int quads = (int)(a.x.dim / 4);
    float4 v[QUADS];
    float squares = 0;
#pragma unroll
    for (int k = 0; k < QUADS; k++) {
        int i = threadIdx.x + k * THREADS;
        v[k] = i < quads ? x[i] : float4();
        squares += v[k].x * v[k].x + v[k].y * v[k].y + v[k].z * v[k].z + v[k].w * v[k].w;
    }
    for (int d = 16; d; d /= 2) squares += __shfl_xor_sync(~0u, squares, d);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = squares;
    __syncthreads();
    squares = 0;
    for (int i = 0; i < THREADS / 32; i++) squares += shared[i];
    float factor = rsqrtf(squares / (float)a.x.dim + a.eps);
#pragma unroll
    for (int k = 0; k < QUADS; k++) {
        int64_t i = threadIdx.x + k * THREADS, column = i * 4;
        if (i >= quads) continue;
        float out[4] = { v[k].x * factor, v[k].y * factor, v[k].z * factor, v[k].w * factor };
#pragma unroll
        for (int c = 0; c < 4; c++)
            if (a.weight) out[c] *= a.offset + vcuda_load(a.weight, a.weight_type, column + c);
        int64_t at = blockIdx.x * a.y.stride + column;
        if (a.y.type == VLM_DTYPE_BF16) {
            __nv_bfloat162 pair[2] = { __floats2bfloat162_rn(out[0], out[1]), __floats2bfloat162_rn(out[2], out[3]) };
            *(uint2 *)((__nv_bfloat16 *)a.y.data + at) = *(const uint2 *)pair;
        } else {
            *(float4 *)((float *)a.y.data + at) = make_float4(out[0], out[1], out[2], out[3]);
        }
    }
}

/* Sums in double where x is anything that can be, in float where its rows become bfloat16 anyway. */
static void run_norm(vcuda_stream *s, const norm_args *a) {
    bool held = a->y.type == VLM_DTYPE_BF16 && !a->subtract_mean && !a->bias && a->x.dim % 4 == 0 && a->x.dim <= QUADS * 4 * THREADS
                && a->x.stride % 4 == 0 && a->y.stride % 4 == 0 && (uintptr_t)a->x.data % 16 == 0;
    if (held)
        normalise_rms<<<(unsigned)a->x.rows, THREADS, 0, s->stream>>>(*a);
    else
        normalise<<<(unsigned)a->x.rows, THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

void vcuda_norm(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_norm *norm, bool subtract_mean) {
    vcuda_norm_rows(f, vcuda_rows_of(y), vcuda_rows_of(x), norm, subtract_mean);
}

void vcuda_norm_rows(vlm_frame *f, vcuda_rows y, vcuda_rows x, const vlm_norm *norm, bool subtract_mean) {
    norm_args a = vcuda_args<norm_args>();
    a.y = y;
    a.x = x;
    a.weight = norm->weight.rank ? norm->weight.data : NULL;
    a.bias = norm->bias.rank ? norm->bias.data : NULL;
    a.weight_type = norm->weight.dtype;
    a.bias_type = norm->bias.dtype;
    a.eps = norm->eps;
    a.offset = norm->offset;
    a.subtract_mean = subtract_mean;
    vcuda_submit(f, run_norm, a);
}

/* ---- rotary positions ---- */
struct angles_args {
    float *cos, *sin;
    const int32_t *positions;
    const float *inv_freq;
    const uint8_t *axis_of; /* NULL: axis 0 */
    int64_t rows, half, axis_stride;
};

/* The angle is rounded to float32 first, as the references compute it; its cosine is then exact. */
__global__ static void angles(const __grid_constant__ angles_args a) {
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (at >= a.rows * a.half) return;
    int64_t row = at / a.half, i = at - row * a.half, axis = a.axis_of ? a.axis_of[i] : 0;
    float angle = (float)a.positions[axis * a.axis_stride + row] * a.inv_freq[i];
    double s, c;
    sincos((double)angle, &s, &c);
    a.cos[at] = (float)c;
    a.sin[at] = (float)s;
}

static void run_angles(vcuda_stream *s, const angles_args *a) {
    angles<<<vcuda_blocks(a->rows * a->half, THREADS), THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

void vcuda_rope_angles(vlm_frame *f, const vlm_rope_table *y, vlm_tensor positions, const float *inv_freq,
                       const uint8_t *axis_of) {
    angles_args a = vcuda_args<angles_args>();
    size_t half = (size_t)y->cos.shape[1];
    a.inv_freq = (const float *)vcuda_mirror(f, inv_freq, half * sizeof *inv_freq);
    if (axis_of) a.axis_of = (const uint8_t *)vcuda_mirror(f, axis_of, half);
    if (f->error.code != VLM_OK) return;
    a.cos = (float *)y->cos.data;
    a.sin = (float *)y->sin.data;
    a.positions = (const int32_t *)positions.data;
    a.rows = y->cos.shape[0];
    a.half = (int64_t)half;
    a.axis_stride = positions.stride[0];
    vcuda_submit(f, run_angles, a);
}

struct rope_args {
    float *x;
    const float *cos, *sin;
    int64_t rows, heads, half, row_stride, head_stride;
    int64_t adjacent;
};

__global__ static void rotate(const __grid_constant__ rope_args a) {
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (at >= a.rows * a.heads * a.half) return;
    int64_t row = at / (a.heads * a.half), rest = at - row * a.heads * a.half;
    int64_t head = rest / a.half, i = rest - head * a.half;
    float c = a.cos[row * a.half + i], s = a.sin[row * a.half + i];
    float *x = a.x + row * a.row_stride + head * a.head_stride + (a.adjacent ? 2 * i : i);
    float *y = x + (a.adjacent ? 1 : a.half), u = *x, v = *y;
    *x = u * c - v * s;
    *y = v * c + u * s;
}

static void run_rope(vcuda_stream *s, const rope_args *a) {
    rotate<<<vcuda_blocks(a->rows * a->heads * a->half, THREADS), THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

void vcuda_rope(vlm_frame *f, vlm_tensor x, const vlm_rope_table *table, vlm_rope_pairs pairs) {
    rope_args a = vcuda_args<rope_args>();
    a.x = (float *)x.data;
    a.cos = (const float *)table->cos.data;
    a.sin = (const float *)table->sin.data;
    a.rows = x.shape[0];
    a.heads = x.shape[1];
    a.half = table->cos.shape[1];
    a.row_stride = x.stride[0];
    a.head_stride = x.stride[1];
    a.adjacent = pairs == VLM_ROPE_ADJACENT;
    vcuda_submit(f, run_rope, a);
}
