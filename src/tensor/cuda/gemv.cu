/* SPDX-License-Identifier: MIT */
/* y = x Wᵀ + b for a few rows of x: bound by reading W, which is read once, 16 bytes a lane, from where it lies. A
 * warp computes `OUTS` outputs for up to `ROWS` rows. x stays float32; sums are float32. Quantized weights are taken
 * apart in registers, 32 values at a time: Σ (q s + b) x = s Σ q x + b Σ x. */
#include "tensor/cuda/gemv.h"

enum { WARPS = 4, THREADS = 32 * WARPS };

struct gemv_args {
    vcuda_rows y, x;
    vcuda_matrix w;
    const void *bias;
    int64_t bias_type;
};

template <int ROWS, int OUTS> __device__ static void finish(const gemv_args &a, float (&sum)[OUTS][ROWS], int64_t out0) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int o = 0; o < OUTS; o++)
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float v = warp_sum(sum[o][r]);
            if (lane != 0 || out0 + o >= a.w.out || r >= a.x.rows) continue;
            if (a.bias) v += vcuda_load(a.bias, (int)a.bias_type, out0 + o);
            ((float *)a.y.data)[r * a.y.stride + out0 + o] = v;
        }
}

template <int N> __device__ static void load_x(float (&x)[N], const gemv_args &a, int row, int64_t k) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
        float4 v = row < a.x.rows ? __ldg((const float4 *)((const float *)a.x.data + row * a.x.stride + k + i)) : float4();
        x[i] = v.x, x[i + 1] = v.y, x[i + 2] = v.z, x[i + 3] = v.w;
    }
}

/* ---- dense ---- */
template <class T, int ROWS, int OUTS> __global__ __launch_bounds__(THREADS) static void dense(const __grid_constant__ gemv_args a) {
    const int per_lane = 16 / sizeof(T);
    int64_t out0 = ((int64_t)blockIdx.x * WARPS + threadIdx.x / 32) * OUTS;
    float sum[OUTS][ROWS] = {};
    if (out0 >= a.w.out) return;
    const T *w[OUTS];
#pragma unroll
    for (int o = 0; o < OUTS; o++) w[o] = (const T *)a.w.data + (out0 + o < a.w.out ? out0 + o : out0) * a.w.row;
#pragma unroll 2
    for (int64_t k = threadIdx.x % 32 * per_lane; k < a.w.in; k += 32 * per_lane) {
        uint4 raw[OUTS];
#pragma unroll
        for (int o = 0; o < OUTS; o++) raw[o] = __ldcs((const uint4 *)(w[o] + k));
        float v[OUTS][per_lane];
#pragma unroll
        for (int o = 0; o < OUTS; o++) widen(v[o], raw[o], T());
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float x[per_lane];
            load_x(x, a, r, k);
#pragma unroll
            for (int o = 0; o < OUTS; o++)
#pragma unroll
                for (int i = 0; i < per_lane; i++) sum[o][r] = fmaf(v[o][i], x[i], sum[o][r]);
        }
    }
    finish(a, sum, out0);
}

/* ---- quantized ---- */
/* Formats: affine bits, or one of these. */
enum { FORMAT_MXFP4 = 16, FORMAT_MXFP8, FORMAT_NVFP4 };
__host__ __device__ constexpr int bits_of(int format) {
    return format < FORMAT_MXFP4 ? format : format == FORMAT_MXFP8 ? 8 : 4;
}

/* Value i of 32 that lie in `word`; E2M1 and E4M3 through float16, whose exponent is wider by 14 and 8. */
template <int FORMAT> __device__ static float value(const uint32_t *word, int i) {
    const int bits = bits_of(FORMAT), at = i * bits, shift = at % 32;
    uint32_t q = word[at / 32] >> shift;
    if (shift + bits > 32) q |= word[at / 32 + 1] << (32 - shift);
    q &= (1u << bits) - 1;
    if (FORMAT < FORMAT_MXFP4) return (float)q;
    if (FORMAT == FORMAT_MXFP8) {
        float v = __half2float(__ushort_as_half((unsigned short)((q & 128) << 8 | (q & 127) << 7))) * 256;
        return (q & 127) == 127 ? __int_as_float(0x7fc00000) : v;
    }
    return __half2float(__ushort_as_half((unsigned short)((q & 8) << 12 | (q & 7) << 9))) * 16384;
}

template <int FORMAT> __device__ static float scale_of(const gemv_args &a, int64_t out, int64_t group) {
    if (FORMAT < FORMAT_MXFP4) return vcuda_load(a.w.scales, a.w.scale_type, out * a.w.scale_row + group);
    unsigned q = ((const uint8_t *)a.w.scales)[out * a.w.scale_row + group];
    if (FORMAT != FORMAT_NVFP4)
        return q == 255 ? __int_as_float(0x7fc00000) : q ? __int_as_float((int)(q << 23)) : __int_as_float(0x00400000);
    const uint32_t word = q;
    float v = value<FORMAT_MXFP8>(&word, 0);
    if (!a.w.factor) return v;
    return a.w.divided ? v / *(const float *)a.w.factor : v * *(const float *)a.w.factor;
}

template <int FORMAT> __device__ static void load_words(uint32_t *word, const uint32_t *from) {
    const int n = bits_of(FORMAT);
    if (n % 4 == 0) {
#pragma unroll
        for (int i = 0; i < n; i += 4) {
            uint4 u = __ldcs((const uint4 *)(from + i));
            word[i] = u.x, word[i + 1] = u.y, word[i + 2] = u.z, word[i + 3] = u.w;
        }
    } else {
#pragma unroll
        for (int i = 0; i < n; i++) word[i] = __ldcs(from + i);
    }
}

template <int FORMAT, int ROWS, int OUTS>
__global__ __launch_bounds__(THREADS) static void quantized(const __grid_constant__ gemv_args a) {
    const int bits = bits_of(FORMAT), part = FORMAT == FORMAT_NVFP4 ? 16 : 32; /* values that share a scale */
    const bool affine = FORMAT < FORMAT_MXFP4;
    int64_t out0 = ((int64_t)blockIdx.x * WARPS + threadIdx.x / 32) * OUTS;
    float sum[OUTS][ROWS] = {};
    if (out0 >= a.w.out) return;
    for (int64_t run = threadIdx.x % 32; run < a.w.in / 32; run += 32) {
        uint32_t word[OUTS][bits];
#pragma unroll
        for (int o = 0; o < OUTS; o++) {
            int64_t out = out0 + o < a.w.out ? out0 + o : out0;
            load_words<FORMAT>(word[o], (const uint32_t *)a.w.data + out * a.w.row + run * bits);
        }
#pragma unroll
        for (int p = 0; p < 32; p += part) {
            float dot[OUTS][ROWS] = {}, total[ROWS] = {};
#pragma unroll
            for (int i = p; i < p + part; i += 8)
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    float x[8];
                    load_x(x, a, r, run * 32 + i);
#pragma unroll
                    for (int j = 0; j < 8; j++) {
                        if (affine) total[r] += x[j];
#pragma unroll
                        for (int o = 0; o < OUTS; o++) dot[o][r] = fmaf(value<FORMAT>(word[o], i + j), x[j], dot[o][r]);
                    }
                }
#pragma unroll
            for (int o = 0; o < OUTS; o++) {
                int64_t out = out0 + o < a.w.out ? out0 + o : out0, group = (run * 32 + p) / a.w.group;
                float scale = scale_of<FORMAT>(a, out, group), bias = 0;
                if (affine) bias = vcuda_load(a.w.biases, a.w.bias_type, out * a.w.bias_row + group);
#pragma unroll
                for (int r = 0; r < ROWS; r++) sum[o][r] = fmaf(scale, dot[o][r], fmaf(bias, total[r], sum[o][r]));
            }
        }
    }
    finish(a, sum, out0);
}

/* ---- which kernel ---- */
enum kernel_kind { KIND_BF16 = 32, KIND_F16, KIND_F32 };

static int kind_of(const vcuda_matrix &w) {
    switch (w.storage) {
    case VLM_STORAGE_DENSE: return w.type == VLM_DTYPE_BF16 ? KIND_BF16 : w.type == VLM_DTYPE_F16 ? KIND_F16 : KIND_F32;
    case VLM_STORAGE_MXFP4: return FORMAT_MXFP4;
    case VLM_STORAGE_MXFP8: return FORMAT_MXFP8;
    case VLM_STORAGE_NVFP4: return FORMAT_NVFP4;
    default: return w.bits;
    }
}

template <int ROWS, int OUTS> static void launch(vcuda_stream *s, const gemv_args *a) {
    unsigned blocks = vcuda_blocks(a->w.out, WARPS * OUTS);
    switch (kind_of(a->w)) {
    case KIND_BF16: dense<__nv_bfloat16, ROWS, OUTS><<<blocks, THREADS, 0, s->stream>>>(*a); break;
    case KIND_F16: dense<__half, ROWS, OUTS><<<blocks, THREADS, 0, s->stream>>>(*a); break;
    case KIND_F32: dense<float, ROWS, OUTS><<<blocks, THREADS, 0, s->stream>>>(*a); break;
    }
}

/* What is rare, or has a kernel of its own in fast mode (gemv_int.cu), is compiled for 1 and 8 rows only. */
template <int ROWS> static void launch_quantized(vcuda_stream *s, const gemv_args *a) {
    unsigned blocks = vcuda_blocks(a->w.out, WARPS);
#define QUANTIZED(format) case format: quantized<format, ROWS, 1><<<blocks, THREADS, 0, s->stream>>>(*a); break
    switch (kind_of(a->w)) {
        QUANTIZED(2);
        QUANTIZED(3);
        QUANTIZED(4);
        QUANTIZED(5);
        QUANTIZED(6);
        QUANTIZED(8);
        QUANTIZED(FORMAT_MXFP4);
        QUANTIZED(FORMAT_MXFP8);
        QUANTIZED(FORMAT_NVFP4);
    }
#undef QUANTIZED
}

/* Enough warps to fill the device come before few reads of x. */
static void run_gemv(vcuda_stream *s, const gemv_args *a) {
    bool wide = a->w.out >= (int64_t)s->b->multiprocessors * 128;
    if (a->w.storage != VLM_STORAGE_DENSE)
        a->x.rows == 1 ? launch_quantized<1>(s, a) : launch_quantized<8>(s, a);
    else if (a->x.rows == 1 && !wide)
        launch<1, 1>(s, a);
    else if (a->x.rows == 1)
        launch<1, 4>(s, a);
    else if (a->x.rows <= 4)
        launch<4, 2>(s, a);
    else
        launch<8, 2>(s, a);
    vcuda_launched(s);
}

static bool aligned(const void *p, int64_t row_bytes) {
    return (uintptr_t)p % 16 == 0 && row_bytes % 16 == 0;
}

bool vcuda_gemv(vlm_frame *f, vcuda_rows y, vcuda_rows x, const vcuda_matrix &w, const void *bias, int bias_type) {
    bool packed = w.storage != VLM_STORAGE_DENSE;
    int64_t size = packed || w.type == VLM_DTYPE_F32 ? 4 : 2;
    if (x.rows > VCUDA_GEMV_ROWS || !aligned(x.data, x.stride * 4) || x.dim % (packed ? 32 : 16 / size) != 0) return false;
    bool vectors = !packed || bits_of(kind_of(w)) % 4 == 0;
    if (vectors && !aligned(w.data, w.row * size)) return false;
    gemv_args a = vcuda_args<gemv_args>();
    a.y = y;
    a.x = x;
    a.w = w;
    a.bias = bias;
    a.bias_type = bias_type;
    vcuda_submit(f, run_gemv, a);
    return true;
}
