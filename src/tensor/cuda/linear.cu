/* SPDX-License-Identifier: MIT */
/* y = x Wᵀ + b. A few rows go to gemv.cu, which reads every weight once from where it lies. Many go to cuBLASLt: in
 * fast mode as bfloat16 (float16 weights, which bfloat16 would round, in TF32 that holds them exactly), in exact mode
 * as float32; what is stored otherwise is unpacked before. */
#include "tensor/cuda/cuda.h"

enum { THREADS = 256, MAX_PLANS = 256 };
static const size_t WORKSPACE_BYTES = (size_t)32 << 20;

/* A shape's algorithm, as cuBLASLt chose it. */
struct vcuda_plan {
    int64_t rows, out, in, x_stride, w_stride, y_stride;
    cudaDataType_t type;
    cublasComputeType_t compute;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, y;
    cublasLtMatmulAlgo_t algo;
    vcuda_plan *next;
};

struct product_args {
    const void *w, *x;
    float *y;
    int64_t rows, out, in, w_stride, x_stride, y_stride;
    int32_t type, compute;
};

static void free_plan(vcuda_plan *p, const vtensor_cuda_host *host) {
    if (p->desc) cublasLtMatmulDescDestroy(p->desc);
    cublasLtMatrixLayout_t layouts[] = { p->w, p->x, p->y };
    for (cublasLtMatrixLayout_t l : layouts)
        if (l) cublasLtMatrixLayoutDestroy(l);
    host->free(p);
}

void vcuda_plans_free(vcuda_stream *s) {
    for (vcuda_plan *p = s->plans, *next; p; p = next) {
        next = p->next;
        free_plan(p, s->b->host);
    }
    s->plans = NULL;
}

static bool is_plan(const vcuda_plan *p, const product_args *a) {
    return p->rows == a->rows && p->out == a->out && p->in == a->in && p->x_stride == a->x_stride
           && p->w_stride == a->w_stride && p->y_stride == a->y_stride && p->type == a->type && p->compute == a->compute;
}

/* In column order: yᵀ [out, rows] = W [out, in] xᵀ [in, rows]. */
static bool fill_plan(vcuda_stream *s, vcuda_plan *p, const product_args *a) {
    cublasOperation_t transposed = CUBLAS_OP_T;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    p->rows = a->rows, p->out = a->out, p->in = a->in;
    p->x_stride = a->x_stride, p->w_stride = a->w_stride, p->y_stride = a->y_stride;
    p->type = (cudaDataType_t)a->type;
    p->compute = (cublasComputeType_t)a->compute;
    bool made = cublasLtMatmulDescCreate(&p->desc, p->compute, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS
                && cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed) == CUBLAS_STATUS_SUCCESS
                && cublasLtMatrixLayoutCreate(&p->w, p->type, (uint64_t)a->in, (uint64_t)a->out, a->w_stride) == CUBLAS_STATUS_SUCCESS
                && cublasLtMatrixLayoutCreate(&p->x, p->type, (uint64_t)a->in, (uint64_t)a->rows, a->x_stride) == CUBLAS_STATUS_SUCCESS
                && cublasLtMatrixLayoutCreate(&p->y, CUDA_R_32F, (uint64_t)a->out, (uint64_t)a->rows, a->y_stride) == CUBLAS_STATUS_SUCCESS
                && cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS;
    if (made) {
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE_BYTES, sizeof WORKSPACE_BYTES);
        uint32_t alignment[] = { 16, 16, 16 };
        const void *at[] = { a->w, a->x, a->y };
        for (int i = 0; i < 3; i++)
            while ((uintptr_t)at[i] % alignment[i] != 0) alignment[i] /= 2;
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &alignment[0], 4);
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &alignment[1], 4);
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &alignment[2], 4);
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &alignment[2], 4);
        made = cublasLtMatmulAlgoGetHeuristic(s->b->blas, p->desc, p->w, p->x, p->y, p->y, preference, 1, &found, &n) == CUBLAS_STATUS_SUCCESS
               && n == 1;
    }
    if (preference) cublasLtMatmulPreferenceDestroy(preference);
    if (made) p->algo = found.algo;
    return made;
}

static vcuda_plan *plan_for(vcuda_stream *s, const product_args *a) {
    int n = 0;
    for (vcuda_plan *p = s->plans; p; p = p->next, n++)
        if (is_plan(p, a)) return p;
    if (n >= MAX_PLANS) vcuda_plans_free(s);
    vcuda_plan *p = (vcuda_plan *)s->b->host->alloc(sizeof *p);
    if (p && fill_plan(s, p, a)) {
        p->next = s->plans;
        return s->plans = p;
    }
    if (p) free_plan(p, s->b->host);
    return NULL;
}

static void run_product(vcuda_stream *s, const product_args *a) {
    const float one = 1, zero = 0;
    vcuda_plan *p = plan_for(s, a);
    cublasStatus_t status = p ? cublasLtMatmul(s->b->blas, p->desc, &one, a->w, p->w, a->x, p->x, &zero, a->y, p->y, a->y, p->y, &p->algo,
                                               s->workspace, WORKSPACE_BYTES, s->stream)
                              : CUBLAS_STATUS_NOT_SUPPORTED;
    if (status != CUBLAS_STATUS_SUCCESS) vcuda_check(s, cudaErrorNotSupported);
}

/* ---- before and after ---- */
struct narrow_args {
    vcuda_rows x;
    __nv_bfloat16 *to; /* [rows, dim] */
};

__global__ static void narrow(const __grid_constant__ narrow_args a) {
    int64_t n = a.x.rows * a.x.dim;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (int64_t)gridDim.x * THREADS)
        a.to[i] = __float2bfloat16_rn(((const float *)a.x.data)[i / a.x.dim * a.x.stride + i % a.x.dim]);
}

__global__ static void narrow4(const __grid_constant__ narrow_args a) {
    int64_t quads = a.x.dim / 4, n = a.x.rows * quads;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (int64_t)gridDim.x * THREADS) {
        int64_t row = i / quads, column = (i - row * quads) * 4;
        float4 v = *(const float4 *)((const float *)a.x.data + row * a.x.stride + column);
        __nv_bfloat162 pair[2] = { __floats2bfloat162_rn(v.x, v.y), __floats2bfloat162_rn(v.z, v.w) };
        *(uint2 *)(a.to + row * a.x.dim + column) = *(const uint2 *)pair;
    }
}

static void run_narrow(vcuda_stream *s, const narrow_args *a) {
    bool four = a->x.dim % 4 == 0 && a->x.stride % 4 == 0 && (uintptr_t)a->x.data % 16 == 0;
    int64_t n = a->x.rows * a->x.dim, blocks = vcuda_blocks(four ? n / 4 : n, THREADS), most = (int64_t)s->b->multiprocessors * 16;
    if (four)
        narrow4<<<(unsigned)(blocks < most ? blocks : most), THREADS, 0, s->stream>>>(*a);
    else
        narrow<<<(unsigned)(blocks < most ? blocks : most), THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

static void product(vlm_frame *f, vcuda_rows y, const void *x, int64_t x_stride, const void *w, int64_t w_stride, int64_t in, int type,
                    int compute) {
    product_args a = vcuda_args<product_args>();
    a.w = w;
    a.x = x;
    a.y = (float *)y.data;
    a.rows = y.rows;
    a.out = y.dim;
    a.in = in;
    a.w_stride = w_stride;
    a.x_stride = x_stride;
    a.y_stride = y.stride;
    a.type = type;
    a.compute = compute;
    vcuda_submit(f, run_product, a);
}

/* In bfloat16: the weights as they lie, or unpacked. */
static void multiply_bf16(vlm_frame *f, vcuda_rows y, vcuda_rows x, const vcuda_matrix &w) {
    narrow_args n = vcuda_args<narrow_args>();
    n.x = x;
    n.to = (__nv_bfloat16 *)vcuda_temporary(f, (size_t)(x.rows * x.dim) * 2);
    if (!n.to) return;
    const void *weights = w.data;
    int64_t stride = w.row;
    if (w.storage != VLM_STORAGE_DENSE) {
        void *to = vcuda_temporary(f, (size_t)(w.out * w.in) * 2);
        if (!to) return;
        vcuda_unpack(f, to, VLM_DTYPE_BF16, w);
        weights = to;
        stride = w.in;
    }
    vcuda_submit(f, run_narrow, n);
    product(f, y, n.to, x.dim, weights, stride, x.dim, CUDA_R_16BF, CUBLAS_COMPUTE_32F);
}

static void multiply_f32(vlm_frame *f, vcuda_rows y, vcuda_rows x, const vcuda_matrix &w, cublasComputeType_t compute) {
    const void *weights = w.data;
    int64_t stride = w.row;
    if (w.storage != VLM_STORAGE_DENSE || w.type != VLM_DTYPE_F32) {
        void *to = vcuda_temporary(f, (size_t)(w.out * w.in) * 4);
        if (!to) return;
        vcuda_unpack(f, to, VLM_DTYPE_F32, w);
        weights = to;
        stride = w.in;
    }
    product(f, y, x.data, x.stride, weights, stride, x.dim, CUDA_R_32F, compute);
}

static void one_linear(vlm_frame *f, vlm_tensor yt, vlm_tensor xt, const vlm_linear *linear) {
    vcuda_rows y = vcuda_rows_of(yt), x = vcuda_rows_of(xt);
    vcuda_matrix w = vcuda_matrix_of(&linear->weight);
    const void *bias = linear->bias.rank ? linear->bias.data : NULL;
    if (vcuda_gemv(f, y, x, w, bias, linear->bias.dtype)) return;
    bool fast = f->mode == VTENSOR_FAST, half = w.storage == VLM_STORAGE_DENSE && w.type == VLM_DTYPE_F16;
    bool whole = w.storage == VLM_STORAGE_DENSE && w.type == VLM_DTYPE_F32;
    if (fast && !half && !whole)
        multiply_bf16(f, y, x, w);
    else
        multiply_f32(f, y, x, w, fast && half ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F);
    if (bias) vcuda_add(f, yt, linear->bias);
}

void vcuda_linears(vlm_frame *f, const vlm_tensor *y, vlm_tensor x, const vlm_linear *const *linears, int n_linears) {
    const vtensor_cuda_host *host = vcuda_of(f)->host;
    vlm_scope scope = host->scope_begin(f);
    if (!vcuda_gemv_int(f, y, vcuda_rows_of(x), linears, n_linears))
        for (int i = 0; i < n_linears; i++) one_linear(f, y[i], x, linears[i]);
    host->scope_end(f, scope);
}

void vcuda_linear(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_linear *linear) {
    vcuda_linears(f, &y, x, &linear, 1);
}
