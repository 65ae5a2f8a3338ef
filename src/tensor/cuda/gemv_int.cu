/* SPDX-License-Identifier: MIT */
/* A few rows times affine weights of 4 or 8 bits, in integers: x is rounded to 16 bits (an error of 2^-16 of the largest
 * of 32 neighbours) and taken apart into two signed bytes, x ≈ xs (256 hi + lo), so that dp4a multiplies four weights at
 * once as they are packed. With the group's scale and bias: Σ (q s + b) x = s xs (256 Σ q hi + Σ q lo) + b Σ x.
 *
 * Prepared x, for every run of 32 values: 64 bytes in the order in which the weights come out of their words (for 4
 * bits even ones before odd ones), in four pieces that lie apart, so that neighbouring lanes read neighbouring pieces; its
 * scale, its sum, and the sum of its squares before the norm's weights, from which every warp makes the norm's factor. */
#include "tensor/cuda/dots.h"

enum { RUN = 32, THREADS = 128, WARPS = THREADS / 32 };

struct __align__(16) run_sums {
    float scale, sum, squares, pad;
};

/* ---- x ---- */
struct prepare_args {
    vcuda_rows x;
    uint32_t *bytes;  /* [rows, 4, runs, 4] words */
    run_sums *sums;   /* [rows, runs] */
    int64_t runs, bits;
    const void *norm; /* its weights */
    float offset;
    int32_t norm_type;
};

/* A warp for a run. Word w of a run of 4-bit weights holds x of 8 values: hi of the even ones, hi of the odd ones, lo,
 * lo; of 8-bit weights x of 4 values: hi, lo. */
__global__ static void prepare(const __grid_constant__ prepare_args a) {
    __shared__ uint8_t staged[WARPS][64];
    vcuda_begin_next();
    vcuda_wait_before();
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t run = (int64_t)blockIdx.x * WARPS + warp, row = run / a.runs;
    bool there = run < a.x.rows * a.runs;
    float x = there ? ((const float *)a.x.data)[row * a.x.stride + (run - row * a.runs) * RUN + lane] : 0, squares = x * x;
    if (a.norm && there) x *= a.offset + vcuda_load(a.norm, a.norm_type, (run - row * a.runs) * RUN + lane);
    float most = fabsf(x), sum = x;
    for (int d = 16; d; d /= 2) {
        float other = __shfl_xor_sync(~0u, most, d);
        most = other > most || other != other ? other : most; /* NaN stays */
        sum += __shfl_xor_sync(~0u, sum, d);
        squares += __shfl_xor_sync(~0u, squares, d);
    }
    float scale = most / 32512;
    int q = scale > 0 && scale <= 3.4e38f ? __float2int_rn(x / scale) : 0, hi = (q + 128) >> 8, lo = q - hi * 256;
    int at_hi = a.bits == 4 ? lane / 8 * 16 + lane % 2 * 4 + lane % 8 / 2 : lane / 4 * 8 + lane % 4;
    staged[warp][at_hi] = (uint8_t)hi;
    staged[warp][at_hi + (a.bits == 4 ? 8 : 4)] = (uint8_t)lo;
    __syncwarp();
    if (!there) return;
    if (lane < 16) a.bytes[((row * 4 + lane / 4) * a.runs + run - row * a.runs) * 4 + lane % 4] = ((const uint32_t *)staged[warp])[lane];
    if (lane == 0) a.sums[run] = { scale, sum, squares, 0 };
}

static void run_prepare(vcuda_stream *s, const prepare_args *a) {
    vcuda_launch_after(s, prepare, dim3(vcuda_blocks(a->x.rows * a->runs, WARPS)), THREADS, 0, *a);
}

/* ---- the product ---- */
struct int_part {
    vcuda_rows y;
    vcuda_matrix w;
    const void *bias;
    int64_t bias_type, first; /* first: its first block */
};
struct int_args {
    const uint32_t *bytes;
    const run_sums *sums;
    int64_t runs, rows;
    int_part parts[VCUDA_STEP_PARTS];
    int32_t n_parts, what, act, n_groups;
    float eps; /* below 0: no norm */
};

__device__ static void finish(const int_args &a, const int_part &m, int64_t row, int r, float v, float up) {
    float *y = (float *)m.y.data + r * m.y.stride + row;
    if (m.bias) v += vcuda_load(m.bias, (int)m.bias_type, row);
    if (a.what == VCUDA_STEP_GATE) {
        const int_part &u = a.parts[1];
        if (u.bias) up += vcuda_load(u.bias, (int)u.bias_type, row);
        v = vcuda_activate(v, a.act) * up;
    }
    *y = a.what == VCUDA_STEP_ADD ? *y + v : v;
}

/* What a lane holds of OUTS rows of weights: a run of each. */
template <int BITS, int OUTS, class T> struct runs_of {
    uint4 q[OUTS][BITS / 4];
    T scale[OUTS], bias[OUTS];
};

template <int BITS, int ROWS, int OUTS, class T>
__device__ static void add_run(float (&sum)[OUTS][ROWS], float (&squares)[ROWS], const int_args &a, const runs_of<BITS, OUTS, T> &w, int run) {
    const int runs = (int)a.runs;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        int hi[OUTS] = {}, lo[OUTS] = {};
        const int row = r < a.rows ? r : 0;
        const uint4 *x = (const uint4 *)a.bytes + (int64_t)row * 4 * runs + run;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint4 xv = x[i * runs];
#pragma unroll
            for (int o = 0; o < OUTS; o++) add_piece<BITS>(hi[o], lo[o], w.q[o], i, xv);
        }
        run_sums xs = a.sums[row * a.runs + run];
        squares[r] += xs.squares;
#pragma unroll
        for (int o = 0; o < OUTS; o++)
            sum[o][r] = fmaf((float)w.scale[o] * xs.scale, (float)(hi[o] * 256 + lo[o]), fmaf((float)w.bias[o], xs.sum, sum[o][r]));
    }
}

/* A warp computes OUTS outputs for ROWS rows; a lane takes every 32nd run. GATE: half of the outputs are of parts[0], the
 * others the same ones of parts[1]. */
template <int BITS, int ROWS, int OUTS, class T> __global__ __launch_bounds__(THREADS) static void product(const __grid_constant__ int_args a) {
    const int words = BITS; /* 32-bit words of a run */
    const int DEPTH = 1;
    vcuda_begin_next();
    const bool gate = OUTS > 1 && a.what == VCUDA_STEP_GATE;
    const int lane = threadIdx.x % 32, outs = gate ? OUTS / 2 : OUTS;
    int p = 0;
    while (!gate && p + 1 < a.n_parts && blockIdx.x >= a.parts[p + 1].first) p++;
    const int_part &m = a.parts[p];
    const int64_t out0 = ((blockIdx.x - m.first) * WARPS + threadIdx.x / 32) * outs;
    if (out0 >= m.w.out) return;
    const uint32_t *data[OUTS];
    const T *scales[OUTS], *biases[OUTS];
#pragma unroll
    for (int o = 0; o < OUTS; o++) {
        const vcuda_matrix &w = (gate && o >= OUTS / 2 ? a.parts[1] : m).w;
        int64_t row = out0 + (gate ? o % (OUTS / 2 ? OUTS / 2 : 1) : o);
        row = row < w.out ? row : out0;
        data[o] = (const uint32_t *)w.data + row * w.row;
        scales[o] = (const T *)w.scales + row * w.scale_row;
        biases[o] = (const T *)w.biases + row * w.bias_row;
    }
    const int shift = m.w.group == 32 ? 0 : m.w.group == 64 ? 1 : 2, runs = (int)a.runs;
    runs_of<BITS, OUTS, T> raw[DEPTH], next[DEPTH];
    auto load = [&](runs_of<BITS, OUTS, T>(&to)[DEPTH], int run) {
#pragma unroll
        for (int d = 0; d < DEPTH; d++) {
            const int at = min(run + d * 32, runs - 1);
#pragma unroll
            for (int o = 0; o < OUTS; o++) {
#pragma unroll
                for (int i = 0; i < words / 4; i++) to[d].q[o][i] = __ldcs((const uint4 *)(data[o] + at * words) + i);
                to[d].scale[o] = scales[o][at >> shift];
                to[d].bias[o] = biases[o][at >> shift];
            }
        }
    };
    load(raw, lane);
    vcuda_wait_before();
    float sum[OUTS][ROWS] = {}, squares[ROWS] = {};
    for (int first = lane; first < runs; first += 32 * DEPTH) {
        if (first - lane + 32 * DEPTH < runs) load(next, first + 32 * DEPTH);
#pragma unroll
        for (int d = 0; d < DEPTH; d++) {
            const int run = first + d * 32;
            if (run < runs) add_run<BITS, ROWS, OUTS, T>(sum, squares, a, raw[d], run);
        }
#pragma unroll
        for (int d = 0; d < DEPTH; d++) raw[d] = next[d];
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        float factor = a.eps >= 0 ? rsqrtf(warp_sum(squares[r]) / (float)(a.runs * RUN) + a.eps) : 1, v = 0, other = 0;
#pragma unroll
        for (int o = 0; o < OUTS; o++) {
            float total = warp_sum(sum[o][r]) * factor;
            if (lane == o) v = total;
            if (gate && lane + OUTS / 2 == o) other = total;
        }
        if (r < a.rows && lane < outs && out0 + lane < m.w.out) finish(a, m, out0 + lane, r, v, other);
    }
}

/* ---- a few rows ---- */
template <int BITS, int ROWS, int OUTS> static void launch(vcuda_stream *s, const int_args *given) {
    int_args a = *given;
    unsigned blocks = 0;
    bool gate = a.what == VCUDA_STEP_GATE;
    for (int i = 0; i < (gate ? 1 : a.n_parts); i++) {
        a.parts[i].first = blocks;
        blocks += vcuda_blocks(a.parts[i].w.out, WARPS * (gate ? OUTS / 2 : OUTS));
    }
    if (a.parts[0].w.scale_type == VLM_DTYPE_BF16)
        vcuda_launch_after(s, product<BITS, ROWS, OUTS, __nv_bfloat16>, dim3(blocks), THREADS, 0, a);
    else if (a.parts[0].w.scale_type == VLM_DTYPE_F16)
        vcuda_launch_after(s, product<BITS, ROWS, OUTS, __half>, dim3(blocks), THREADS, 0, a);
    else
        vcuda_launch_after(s, product<BITS, ROWS, OUTS, float>, dim3(blocks), THREADS, 0, a);
}

template <int BITS> static void run_product(vcuda_stream *s, const int_args *a) {
    if (a->rows > 4)
        launch<BITS, 8, 2>(s, a);
    else
        launch<BITS, 4, 2>(s, a);
}

/* One x serves all linears of an operation. */
bool vcuda_gemv_int(vlm_frame *f, const vlm_tensor *y, vcuda_rows x, const vlm_norm *norm, const vlm_linear *const *linears, int n, int what,
                    int act) {
    const vlm_matrix *first = &linears[0]->weight;
    if (f->mode != VTENSOR_FAST || x.rows > VCUDA_GEMV_ROWS || x.dim % RUN != 0 || n > VCUDA_STEP_PARTS) return false;
    int_args a = vcuda_args<int_args>();
    for (int i = 0; i < n; i++) {
        const vlm_matrix *m = &linears[i]->weight;
        if (m->storage != VLM_STORAGE_AFFINE || m->bits != first->bits || (m->bits != 4 && m->bits != 8) || m->group != first->group) return false;
        if (m->scales.dtype != first->scales.dtype || m->biases.dtype != first->scales.dtype) return false;
        if ((uintptr_t)m->data.data % 16 != 0 || m->data.stride[0] % 4 != 0) return false;
        a.parts[i].y = vcuda_rows_of(y[what == VCUDA_STEP_GATE ? 0 : i]);
        a.parts[i].w = vcuda_matrix_of(m);
        a.parts[i].bias = linears[i]->bias.rank ? linears[i]->bias.data : NULL;
        a.parts[i].bias_type = linears[i]->bias.dtype;
    }
    prepare_args p = vcuda_args<prepare_args>();
    p.x = x;
    p.runs = x.dim / RUN;
    p.bits = first->bits;
    p.bytes = (uint32_t *)vcuda_temporary(f, (size_t)(x.rows * p.runs) * 64);
    p.sums = (run_sums *)vcuda_temporary(f, (size_t)(x.rows * p.runs) * sizeof(run_sums));
    if (!p.bytes || !p.sums) return true; /* the frame failed */
    if (norm && norm->weight.rank) {
        p.norm = norm->weight.data;
        p.norm_type = norm->weight.dtype;
        p.offset = norm->offset;
    }
    vcuda_submit(f, run_prepare, p);
    a.bytes = p.bytes;
    a.sums = p.sums;
    a.runs = p.runs;
    a.rows = x.rows;
    a.n_parts = n;
    a.what = what;
    a.act = act;
    a.eps = norm ? norm->eps : -1;
    if (first->bits == 4)
        vcuda_submit(f, run_product<4>, a);
    else
        vcuda_submit(f, run_product<8>, a);
    return true;
}
