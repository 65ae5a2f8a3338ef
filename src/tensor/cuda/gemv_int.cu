/* SPDX-License-Identifier: MIT */
/* A few rows times affine weights of 4 or 8 bits, in integers: x is rounded to 16 bits (an error of 2^-16 of the largest
 * of 32 neighbours) and taken apart into two signed bytes, x ≈ xs (256 hi + lo), so that dp4a multiplies four weights at
 * once as they are packed. With the group's scale and bias: Σ (q s + b) x = s xs (256 Σ q hi + Σ q lo) + b Σ x.
 *
 * Prepared x, for every run of 32 values: 64 bytes in the order in which the weights come out of their words (for 4
 * bits even ones before odd ones), then its scale and its sum. */
#include "tensor/cuda/cuda.h"

enum { RUN = 32, THREADS = 128, WARPS = THREADS / 32 };

struct run_sums {
    float scale, sum;
};

/* ---- x ---- */
struct prepare_args {
    vcuda_rows x;
    uint32_t *bytes;  /* [rows, runs, 16] words */
    run_sums *sums;   /* [rows, runs] */
    int64_t runs, bits;
};

/* A warp for a run. Word w of a run of 4-bit weights holds x of 8 values: hi of the even ones, hi of the odd ones, lo,
 * lo; of 8-bit weights x of 4 values: hi, lo. */
__global__ static void prepare(const __grid_constant__ prepare_args a) {
    __shared__ uint8_t staged[WARPS][64];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t run = (int64_t)blockIdx.x * WARPS + warp, row = run / a.runs;
    bool there = run < a.x.rows * a.runs;
    float x = there ? ((const float *)a.x.data)[row * a.x.stride + (run - row * a.runs) * RUN + lane] : 0, most = fabsf(x), sum = x;
    for (int d = 16; d; d /= 2) {
        float other = __shfl_xor_sync(~0u, most, d);
        most = other > most || other != other ? other : most; /* NaN stays */
        sum += __shfl_xor_sync(~0u, sum, d);
    }
    float scale = most / 32512;
    int q = scale > 0 && scale <= 3.4e38f ? __float2int_rn(x / scale) : 0, hi = (q + 128) >> 8, lo = q - hi * 256;
    int at_hi = a.bits == 4 ? lane / 8 * 16 + lane % 2 * 4 + lane % 8 / 2 : lane / 4 * 8 + lane % 4;
    staged[warp][at_hi] = (uint8_t)hi;
    staged[warp][at_hi + (a.bits == 4 ? 8 : 4)] = (uint8_t)lo;
    __syncwarp();
    if (!there) return;
    if (lane < 16) a.bytes[run * 16 + lane] = ((const uint32_t *)staged[warp])[lane];
    if (lane == 0) a.sums[run] = { scale, sum };
}

static void run_prepare(vcuda_stream *s, const prepare_args *a) {
    prepare<<<vcuda_blocks(a->x.rows * a->runs, WARPS), THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

/* ---- the product ---- */
struct int_args {
    const uint32_t *bytes;
    const run_sums *sums;
    vcuda_rows y;
    vcuda_matrix w;
    const void *bias;
    int64_t bias_type, runs, rows;
};

__device__ static int dot4(uint32_t q, uint32_t x, int sum) { /* unsigned q, signed x */
    int r;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(q), "r"(x), "r"(sum));
    return r;
}

/* What two neighbouring words of 4-bit weights, or four of 8-bit ones, add. */
__device__ static void add_word4(int &hi, int &lo, uint32_t q, uint4 x) {
    uint32_t even = q & 0x0F0F0F0F, odd = q >> 4 & 0x0F0F0F0F;
    hi = dot4(odd, x.y, dot4(even, x.x, hi));
    lo = dot4(odd, x.w, dot4(even, x.z, lo));
}
__device__ static void add_words8(int &hi, int &lo, uint32_t q0, uint32_t q1, uint4 x) {
    hi = dot4(q1, x.z, dot4(q0, x.x, hi));
    lo = dot4(q1, x.w, dot4(q0, x.y, lo));
}

template <class T> __device__ static float as_float(const void *p, int64_t i);
template <> __device__ float as_float<__nv_bfloat16>(const void *p, int64_t i) {
    return __bfloat162float(((const __nv_bfloat16 *)p)[i]);
}
template <> __device__ float as_float<__half>(const void *p, int64_t i) {
    return __half2float(((const __half *)p)[i]);
}
template <> __device__ float as_float<float>(const void *p, int64_t i) {
    return ((const float *)p)[i];
}

/* A warp computes OUTS outputs for ROWS rows; a lane takes every 32nd run. */
template <int BITS, int ROWS, int OUTS, class T> __global__ __launch_bounds__(THREADS) static void product(const __grid_constant__ int_args a) {
    const int words = BITS; /* 32-bit words of a run */
    int64_t out0 = ((int64_t)blockIdx.x * WARPS + threadIdx.x / 32) * OUTS;
    float sum[OUTS][ROWS] = {};
    if (out0 >= a.w.out) return;
    int64_t row[OUTS];
#pragma unroll
    for (int o = 0; o < OUTS; o++) row[o] = out0 + o < a.w.out ? out0 + o : out0;
    int shift = a.w.group == 32 ? 0 : a.w.group == 64 ? 1 : 2;
#pragma unroll 2
    for (int64_t run = threadIdx.x % 32; run < a.runs; run += 32) {
        uint4 q[OUTS][words / 4];
        float scale[OUTS], bias[OUTS];
#pragma unroll
        for (int o = 0; o < OUTS; o++) {
            const uint4 *from = (const uint4 *)((const uint32_t *)a.w.data + row[o] * a.w.row + run * words);
#pragma unroll
            for (int i = 0; i < words / 4; i++) q[o][i] = __ldcs(from + i);
            scale[o] = as_float<T>(a.w.scales, row[o] * a.w.scale_row + (run >> shift));
            bias[o] = as_float<T>(a.w.biases, row[o] * a.w.bias_row + (run >> shift));
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            int hi[OUTS] = {}, lo[OUTS] = {};
            int64_t at = (r < a.rows ? r : 0) * a.runs + run;
            const uint4 *x = (const uint4 *)(a.bytes + at * 16);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                uint4 xv = __ldg(x + i);
#pragma unroll
                for (int o = 0; o < OUTS; o++) {
                    if (BITS == 4) {
                        const uint32_t w[4] = { q[o][0].x, q[o][0].y, q[o][0].z, q[o][0].w };
                        add_word4(hi[o], lo[o], w[i], xv);
                    } else {
                        const uint4 pair = q[o][i / 2 % (words / 4)];
                        add_words8(hi[o], lo[o], i % 2 ? pair.z : pair.x, i % 2 ? pair.w : pair.y, xv);
                    }
                }
            }
            run_sums xs = a.sums[at];
#pragma unroll
            for (int o = 0; o < OUTS; o++)
                sum[o][r] = fmaf(scale[o] * xs.scale, (float)(hi[o] * 256 + lo[o]), fmaf(bias[o], xs.sum, sum[o][r]));
        }
    }
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int o = 0; o < OUTS; o++)
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float v = sum[o][r];
            for (int d = 16; d; d /= 2) v += __shfl_xor_sync(~0u, v, d);
            if (lane != 0 || out0 + o >= a.w.out || r >= a.rows) continue;
            if (a.bias) v += vcuda_load(a.bias, (int)a.bias_type, out0 + o);
            ((float *)a.y.data)[r * a.y.stride + out0 + o] = v;
        }
}

template <int BITS, int ROWS, int OUTS> static void launch(vcuda_stream *s, const int_args *a) {
    unsigned blocks = vcuda_blocks(a->w.out, WARPS * OUTS);
    if (a->w.scale_type == VLM_DTYPE_BF16)
        product<BITS, ROWS, OUTS, __nv_bfloat16><<<blocks, THREADS, 0, s->stream>>>(*a);
    else if (a->w.scale_type == VLM_DTYPE_F16)
        product<BITS, ROWS, OUTS, __half><<<blocks, THREADS, 0, s->stream>>>(*a);
    else
        product<BITS, ROWS, OUTS, float><<<blocks, THREADS, 0, s->stream>>>(*a);
}

template <int BITS> static void run_product(vcuda_stream *s, const int_args *a) {
    bool wide = a->w.out >= (int64_t)s->b->multiprocessors * 64;
    if (a->rows == 1 && wide)
        launch<BITS, 1, 4>(s, a);
    else if (a->rows == 1)
        launch<BITS, 1, 1>(s, a);
    else if (a->rows <= 4)
        launch<BITS, 4, 2>(s, a);
    else
        launch<BITS, 8, 2>(s, a);
    vcuda_launched(s);
}

/* One x serves all linears of an operation. */
bool vcuda_gemv_int(vlm_frame *f, const vlm_tensor *y, vcuda_rows x, const vlm_linear *const *linears, int n) {
    const vlm_matrix *first = &linears[0]->weight;
    if (f->mode != VTENSOR_FAST || x.rows > VCUDA_GEMV_ROWS || x.dim % RUN != 0) return false;
    for (int i = 0; i < n; i++) {
        const vlm_matrix *m = &linears[i]->weight;
        if (m->storage != VLM_STORAGE_AFFINE || m->bits != first->bits || (m->bits != 4 && m->bits != 8)) return false;
        if (m->scales.dtype != m->biases.dtype || (uintptr_t)m->data.data % 16 != 0 || m->data.stride[0] % 4 != 0) return false;
    }
    prepare_args p = vcuda_args<prepare_args>();
    p.x = x;
    p.runs = x.dim / RUN;
    p.bits = first->bits;
    p.bytes = (uint32_t *)vcuda_temporary(f, (size_t)(x.rows * p.runs) * 64);
    p.sums = (run_sums *)vcuda_temporary(f, (size_t)(x.rows * p.runs) * sizeof(run_sums));
    if (!p.bytes || !p.sums) return true; /* the frame failed */
    vcuda_submit(f, run_prepare, p);
    for (int i = 0; i < n; i++) {
        int_args a = vcuda_args<int_args>();
        a.bytes = p.bytes;
        a.sums = p.sums;
        a.y = vcuda_rows_of(y[i]);
        a.w = vcuda_matrix_of(&linears[i]->weight);
        a.bias = linears[i]->bias.rank ? linears[i]->bias.data : NULL;
        a.bias_type = linears[i]->bias.dtype;
        a.runs = p.runs;
        a.rows = x.rows;
        if (first->bits == 4)
            vcuda_submit(f, run_product<4>, a);
        else
            vcuda_submit(f, run_product<8>, a);
    }
    return true;
}
