/* SPDX-License-Identifier: MIT */
/* y = x Wᵀ + b, and the blocks around it. A few rows go to step.cu, step_int.cu, gemv.cu and gemv_int.cu, which read every weight once
 * from where it lies. Many go to cuBLASLt: in fast mode as bfloat16 (float16 weights, which bfloat16 would round, in TF32
 * that holds them exactly), in exact mode as float32; what is stored otherwise is unpacked before. In fast mode what only
 * a product reads is bfloat16 from the start: normalised rows, the middle of a gated MLP. */
#include "tensor/cuda/cuda.h"

enum { THREADS = 256, MAX_PLANS = 256 };
static const size_t WORKSPACE_BYTES = (size_t)32 << 20;

/* A shape's algorithm, as cuBLASLt chose it. */
struct product_shape {
    int64_t rows, out, in, w_stride, x_stride, y_stride;
    int32_t type, compute, y_type, biased; /* cudaDataType_t, cublasComputeType_t */
    uint32_t alignment[4];                 /* of w, x and y, in bytes; a zero */
};
struct vcuda_plan {
    product_shape shape;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, y;
    cublasLtMatmulAlgo_t algo;
    vcuda_plan *next;
};

struct product_args {
    product_shape shape;
    const void *w, *x;
    void *y;
    const float *bias; /* NULL: none */
    int64_t add;       /* y += it */
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

/* In column order: yᵀ [out, rows] = W [out, in] xᵀ [in, rows]. */
static bool fill_plan(vcuda_stream *s, vcuda_plan *p, const product_args *a) {
    cublasOperation_t transposed = CUBLAS_OP_T;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    const product_shape *h = &a->shape;
    p->shape = *h;
    cudaDataType_t type = (cudaDataType_t)h->type;
    bool made = cublasLtMatmulDescCreate(&p->desc, (cublasComputeType_t)h->compute, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS
                && cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed) == CUBLAS_STATUS_SUCCESS
                && cublasLtMatrixLayoutCreate(&p->w, type, (uint64_t)h->in, (uint64_t)h->out, h->w_stride) == CUBLAS_STATUS_SUCCESS
                && cublasLtMatrixLayoutCreate(&p->x, type, (uint64_t)h->in, (uint64_t)h->rows, h->x_stride) == CUBLAS_STATUS_SUCCESS
                && cublasLtMatrixLayoutCreate(&p->y, (cudaDataType_t)h->y_type, (uint64_t)h->out, (uint64_t)h->rows, h->y_stride) == CUBLAS_STATUS_SUCCESS
                && cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS;
    if (made && h->biased)
        made = cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue) == CUBLAS_STATUS_SUCCESS
               && cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &a->bias, sizeof a->bias) == CUBLAS_STATUS_SUCCESS;
    if (made) {
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE_BYTES, sizeof WORKSPACE_BYTES);
        const uint32_t *alignment = h->alignment;
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

static uint32_t alignment_of(const void *p) {
    uint32_t bytes = 16;
    while ((uintptr_t)p % bytes != 0) bytes /= 2;
    return bytes;
}

static vcuda_plan *plan_for(vcuda_stream *s, const product_args *given) {
    product_args with = *given;
    const product_args *a = &with;
    const void *at[] = { a->w, a->x, a->y };
    for (int i = 0; i < 3; i++) with.shape.alignment[i] = alignment_of(at[i]);
    int n = 0;
    for (vcuda_plan *p = s->plans; p; p = p->next, n++)
        if (memcmp(&p->shape, &a->shape, sizeof a->shape) == 0) return p;
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
    const float one = 1, beta = a->add ? 1 : 0;
    vcuda_plan *p = plan_for(s, a);
    if (p && a->bias) cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &a->bias, sizeof a->bias);
    cublasStatus_t status = p ? cublasLtMatmul(s->b->blas, p->desc, &one, a->w, p->w, a->x, p->x, &beta, a->y, p->y, a->y, p->y, &p->algo,
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

/* The middle of a gated MLP, bfloat16: gate = act(gate + its bias) * (up + its bias). */
struct gate_args {
    __nv_bfloat16 *gate;
    const __nv_bfloat16 *up;
    const void *gate_bias, *up_bias;
    int64_t count, stride, width; /* count: of all rows; width: values of a row that have biases */
    int32_t gate_bias_type, up_bias_type, act, pad;
};

__device__ static void widen(float (&v)[8], uint4 u) {
    const uint32_t word[4] = { u.x, u.y, u.z, u.w };
#pragma unroll
    for (int i = 0; i < 4; i++) v[2 * i] = __uint_as_float(word[i] << 16), v[2 * i + 1] = __uint_as_float(word[i] & 0xFFFF0000u);
}

__device__ static void add_bias(float (&v)[8], const void *bias, int type, int64_t column, int64_t width) {
    if (!bias) return;
    if (type == VLM_DTYPE_F32 && column + 8 <= width && (uintptr_t)bias % 16 == 0) {
        const float4 low = *(const float4 *)((const float *)bias + column), high = *(const float4 *)((const float *)bias + column + 4);
        v[0] += low.x, v[1] += low.y, v[2] += low.z, v[3] += low.w, v[4] += high.x, v[5] += high.y, v[6] += high.z, v[7] += high.w;
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
        if (column + i < width) v[i] += vcuda_load(bias, type, column + i);
}
/* What becomes bfloat16 needs no exact exponential. */
__device__ static float activate(float x, int act) {
    return act == VLM_ACT_SILU ? __fdividef(x, 1 + __expf(-x)) : vcuda_activate(x, act);
}

__global__ static void gate_rows(const __grid_constant__ gate_args a) {
    const unsigned eights = (unsigned)(a.stride / 8);
    const bool within = a.width < a.stride; /* zeros behind, whatever the products made of nothing */
    for (int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x; at < a.count / 8; at += (int64_t)gridDim.x * THREADS) {
        float g[8], u[8];
        const int64_t i = at * 8, column = a.gate_bias || a.up_bias || within ? (unsigned)at % eights * 8 : 0;
        widen(g, *(const uint4 *)(a.gate + i));
        widen(u, *(const uint4 *)(a.up + i));
        add_bias(g, a.gate_bias, a.gate_bias_type, column, a.width);
        add_bias(u, a.up_bias, a.up_bias_type, column, a.width);
#pragma unroll
        for (int k = 0; k < 8; k++) g[k] = within && column + k >= a.width ? 0 : activate(g[k], a.act) * u[k];
        __nv_bfloat162 pair[4];
#pragma unroll
        for (int k = 0; k < 4; k++) pair[k] = __floats2bfloat162_rn(g[2 * k], g[2 * k + 1]);
        *(uint4 *)(a.gate + i) = *(const uint4 *)pair;
    }
}

static void run_gate(vcuda_stream *s, const gate_args *a) {
    int64_t blocks = vcuda_blocks(a->count / 8, THREADS), most = (int64_t)s->b->multiprocessors * 16;
    gate_rows<<<(unsigned)(blocks < most ? blocks : most), THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

/* The biases of linears that share x, as cuBLASLt adds them. */
struct bias_args {
    const void *from[VCUDA_STEP_PARTS];
    float *to[VCUDA_STEP_PARTS];
    int64_t n[VCUDA_STEP_PARTS], type[VCUDA_STEP_PARTS];
};

__global__ static void widen_bias(const __grid_constant__ bias_args a) {
    const int part = blockIdx.y;
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < a.n[part]) a.to[part][i] = vcuda_load(a.from[part], (int)a.type[part], i);
}

static void run_bias(vcuda_stream *s, const bias_args *a) {
    int64_t most = 0;
    for (int64_t n : a->n) most = n > most ? n : most;
    widen_bias<<<dim3(vcuda_blocks(most, THREADS), VCUDA_STEP_PARTS), THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

/* ---- products ---- */
/* What a product multiplies: rows of one type, with their stride. */
struct operand {
    const void *data;
    int64_t rows, columns, stride;
};

static product_args product_of(void *y, int64_t y_stride, int y_type, operand w, operand x, int type, int compute) {
    product_args a = vcuda_args<product_args>();
    a.w = w.data;
    a.x = x.data;
    a.y = y;
    a.shape = { x.rows, w.rows, x.columns, w.stride, x.stride, y_stride, type, compute, y_type, 0, {} };
    return a;
}

/* Rows of x in bfloat16; data is NULL when the frame failed. */
static operand narrowed(vlm_frame *f, vcuda_rows x) {
    if (x.type == VLM_DTYPE_BF16) return { x.data, x.rows, x.dim, x.stride };
    narrow_args n = vcuda_args<narrow_args>();
    n.x = x;
    n.to = (__nv_bfloat16 *)vcuda_temporary(f, (size_t)(x.rows * x.dim) * 2);
    if (n.to) vcuda_submit(f, run_narrow, n);
    return { n.to, x.rows, x.dim, x.dim };
}

/* The weights in bfloat16, as they lie or unpacked: `rows` of them, the last ones may be anything and no number, and `columns`,
 * the last ones zero (has_width()). */
static operand weights_bf16(vlm_frame *f, const vcuda_matrix &w, int64_t rows, int64_t columns) {
    if (w.storage == VLM_STORAGE_DENSE) return { w.data, rows, columns, w.row };
    void *to = vcuda_temporary(f, (size_t)(rows * w.in) * 2);
    if (to) vcuda_unpack(f, to, VLM_DTYPE_BF16, w);
    return { to, rows, w.in, w.in };
}

static operand weights_f32(vlm_frame *f, const vcuda_matrix &w) {
    if (w.storage == VLM_STORAGE_DENSE && w.type == VLM_DTYPE_F32) return { w.data, w.out, w.in, w.row };
    void *to = vcuda_temporary(f, (size_t)(w.out * w.in) * 4);
    if (to) vcuda_unpack(f, to, VLM_DTYPE_F32, w);
    return { to, w.out, w.in, w.in };
}

/* Their biases in float32, of VCUDA_STEP_PARTS at most; NULL: none. */
static void biases_f32(vlm_frame *f, const float **to, const vlm_linear *const *l, int n) {
    bias_args a = vcuda_args<bias_args>();
    int64_t any = 0;
    for (int i = 0; i < n; i++) {
        const vlm_tensor bias = l[i]->bias;
        to[i] = bias.rank ? (const float *)bias.data : NULL;
        if (!bias.rank || bias.dtype == VLM_DTYPE_F32) continue;
        a.from[i] = bias.data, a.n[i] = bias.shape[0], a.type[i] = bias.dtype;
        to[i] = a.to[i] = (float *)vcuda_temporary(f, (size_t)bias.shape[0] * 4);
        any += a.n[i];
    }
    if (any && f->error.code == VLM_OK) vcuda_submit(f, run_bias, a);
}

/* Whether many rows meet these weights in bfloat16. */
static bool takes_bf16(const vlm_frame *f, const vlm_linear *l) {
    const vlm_matrix *m = &l->weight;
    return f->mode == VTENSOR_FAST && (m->storage != VLM_STORAGE_DENSE || m->data.dtype == VLM_DTYPE_BF16);
}

/* y = x Wᵀ + b or y += it. */
static void multiply_bf16(vlm_frame *f, vcuda_rows y, operand x, const vlm_linear *l, const float *bias, bool add) {
    operand w = weights_bf16(f, vcuda_matrix_of(&l->weight), l->weight.out, x.columns);
    product_args a = product_of(y.data, y.stride, CUDA_R_32F, w, x, CUDA_R_16BF, CUBLAS_COMPUTE_32F);
    a.add = add;
    a.shape.biased = bias != NULL;
    a.bias = bias;
    if (f->error.code == VLM_OK) vcuda_submit(f, run_product, a);
}

/* The same of linears that share x. */
static void multiply_all(vlm_frame *f, const vlm_tensor *y, operand x, const vlm_linear *const *l, int n, bool add) {
    const float *bias[VCUDA_STEP_PARTS];
    for (int first = 0; first < n && x.data; first += VCUDA_STEP_PARTS) {
        const int count = n - first < VCUDA_STEP_PARTS ? n - first : VCUDA_STEP_PARTS;
        biases_f32(f, bias, l + first, count);
        for (int i = 0; i < count; i++) multiply_bf16(f, vcuda_rows_of(y[first + i]), x, l[first + i], bias[i], add);
    }
}

static void multiply_f32(vlm_frame *f, vlm_tensor yt, vlm_tensor xt, const vlm_linear *l) {
    vcuda_rows y = vcuda_rows_of(yt), x = vcuda_rows_of(xt);
    bool half = f->mode == VTENSOR_FAST && l->weight.storage == VLM_STORAGE_DENSE && l->weight.data.dtype == VLM_DTYPE_F16;
    product_args a = product_of(y.data, y.stride, CUDA_R_32F, weights_f32(f, vcuda_matrix_of(&l->weight)), { x.data, x.rows, x.dim, x.stride },
                                CUDA_R_32F, half ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F);
    if (f->error.code != VLM_OK) return;
    vcuda_submit(f, run_product, a);
    if (l->bias.rank) vcuda_add(f, yt, l->bias);
}

/* ---- the operations ---- */
/* Products of a few rows; false: there are too many, or their shapes are not for it. */
static bool few(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_linear *l) {
    const int most = takes_bf16(f, l) && l->weight.storage == VLM_STORAGE_DENSE ? VCUDA_DENSE_ROWS : VCUDA_GEMV_ROWS;
    vcuda_rows rows = vcuda_rows_of(x);
    return rows.rows <= most
           && vcuda_gemv(f, vcuda_rows_of(y), rows, vcuda_matrix_of(&l->weight), l->bias.rank ? l->bias.data : NULL, l->bias.dtype);
}

/* Products of a few rows with what is around them in one launch or two; false: as above, or the norm has a bias. */
static bool fused(vlm_frame *f, const vlm_tensor *y, vcuda_rows x, const vlm_norm *norm, const vlm_linear *const *l, int n, int what, int act) {
    if (norm && norm->bias.rank) return false;
    return vcuda_step(f, y, x, norm, l, n, what, act) || vcuda_step_int(f, y, x, norm, l, n, what, act)
           || vcuda_gemv_int(f, y, x, norm, l, n, what, act);
}

static void linears(vlm_frame *f, const vlm_tensor *y, vlm_tensor x, const vlm_linear *const *l, int n) {
    vcuda_rows rows = vcuda_rows_of(x);
    operand narrow = { NULL, 0, 0, 0 };
    if (fused(f, y, rows, NULL, l, n, VCUDA_STEP_STORE, 0)) return;
    for (int i = 0; i < n; i++) {
        if (few(f, y[i], x, l[i])) continue;
        if (!takes_bf16(f, l[i])) {
            multiply_f32(f, y[i], x, l[i]);
            continue;
        }
        if (!narrow.data) narrow = narrowed(f, rows);
        multiply_all(f, &y[i], narrow, &l[i], 1, false);
    }
}

void vcuda_linears(vlm_frame *f, const vlm_tensor *y, vlm_tensor x, const vlm_linear *const *l, int n) {
    vlm_scope scope = vcuda_of(f)->host->scope_begin(f);
    linears(f, y, x, l, n);
    vcuda_of(f)->host->scope_end(f, scope);
}

void vcuda_linear(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_linear *linear) {
    vcuda_linears(f, &y, x, &linear, 1);
}

/* Whether the products of so many rows of these are all of bfloat16. */
static bool all_bf16(const vlm_frame *f, int64_t rows, const vlm_linear *const *l, int n) {
    bool all = rows > VCUDA_GEMV_ROWS;
    for (int i = 0; i < n; i++) all = all && takes_bf16(f, l[i]);
    return all;
}

bool vcuda_takes_bf16(const vlm_frame *f, int64_t rows, const vlm_linear *l) {
    return all_bf16(f, rows, &l, 1);
}

static operand normalised(vlm_frame *f, vcuda_rows x, const vlm_norm *norm) {
    vcuda_rows y = x;
    y.type = VLM_DTYPE_BF16;
    y.stride = x.dim;
    y.data = vcuda_temporary(f, (size_t)(x.rows * x.dim) * 2);
    if (y.data) vcuda_norm_rows(f, y, x, norm, false);
    return { y.data, x.rows, x.dim, x.dim };
}

static vlm_tensor normalised_f32(vlm_frame *f, vlm_tensor x, const vlm_norm *norm) {
    vlm_tensor y = vcuda_of(f)->host->temporary(f, VLM_DTYPE_F32, x.rank, x.shape);
    if (y.rank) vcuda_norm(f, y, x, norm, false);
    return y;
}

void vcuda_norm_linears(vlm_frame *f, const vlm_tensor *y, vlm_tensor x, const vlm_norm *norm, const vlm_linear *const *l, int n) {
    vcuda_rows rows = vcuda_rows_of(x);
    vlm_scope scope = vcuda_of(f)->host->scope_begin(f);
    if (fused(f, y, rows, norm, l, n, VCUDA_STEP_STORE, 0)) {
    } else if (all_bf16(f, rows.rows, l, n)) {
        operand narrow = normalised(f, rows, norm);
        multiply_all(f, y, narrow, l, n, false);
    } else {
        vlm_tensor normal = normalised_f32(f, x, norm);
        if (normal.rank) linears(f, y, normal, l, n);
    }
    vcuda_of(f)->host->scope_end(f, scope);
}

void vcuda_linear_add(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_linear *l) {
    const vtensor_cuda_host *host = vcuda_of(f)->host;
    vcuda_rows rows = vcuda_rows_of(x);
    vlm_scope scope = host->scope_begin(f);
    if (all_bf16(f, rows.rows, &l, 1)) {
        operand narrow = narrowed(f, rows);
        multiply_all(f, &sum, narrow, &l, 1, true);
    } else if (!fused(f, &sum, rows, NULL, &l, 1, VCUDA_STEP_ADD, 0)) {
        vlm_tensor y = host->temporary(f, VLM_DTYPE_F32, sum.rank, sum.shape);
        if (y.rank) linears(f, &y, x, &l, 1);
        if (y.rank) vcuda_add(f, sum, y);
    }
    host->scope_end(f, scope);
}

/* The width of a gated MLP's middle that the fast kernels take, and whether its weights can be read as if they had it: rows
 * behind those of gate and up, zeros behind those of down, which were placed apart. */
static int64_t width_of(const vlm_linear *const *l) {
    const int64_t inner = l[0]->weight.out;
    return inner % 8 ? (inner + 63) / 64 * 64 : inner;
}

static bool has_width(const vlm_frame *f, const vlm_linear *const *l) {
    const int64_t width = width_of(l);
    bool has = true;
    if (width == l[0]->weight.out) return true;
    for (int i = 0; i < 2; i++) {
        const vlm_tensor w = l[i]->weight.data;
        has = has && (l[i]->weight.storage != VLM_STORAGE_DENSE || vcuda_holds(vcuda_of(f), w.data, (size_t)(width * w.stride[0]) * 2));
    }
    return has && l[2]->weight.storage == VLM_STORAGE_DENSE && l[2]->weight.data.stride[0] == width;
}

/* The gated MLP of many rows: its middle is bfloat16. */
static void gated_many(vlm_frame *f, vlm_tensor sum, vcuda_rows x, const vlm_norm *norm, const vlm_linear *const *l, vlm_activation act) {
    const int64_t inner = l[0]->weight.out, width = width_of(l);
    operand narrow = normalised(f, x, norm);
    void *middle[2] = { vcuda_temporary(f, (size_t)(x.rows * width) * 2), vcuda_temporary(f, (size_t)(x.rows * width) * 2) };
    for (int i = 0; i < 2 && f->error.code == VLM_OK; i++) {
        operand w = weights_bf16(f, vcuda_matrix_of(&l[i]->weight), width, l[i]->weight.in);
        product_args a = product_of(middle[i], width, CUDA_R_16BF, w, narrow, CUDA_R_16BF, CUBLAS_COMPUTE_32F);
        if (w.data) vcuda_submit(f, run_product, a);
    }
    gate_args g = vcuda_args<gate_args>();
    g.gate = (__nv_bfloat16 *)middle[0];
    g.up = (const __nv_bfloat16 *)middle[1];
    g.gate_bias = l[0]->bias.rank ? l[0]->bias.data : NULL;
    g.up_bias = l[1]->bias.rank ? l[1]->bias.data : NULL;
    g.gate_bias_type = l[0]->bias.dtype;
    g.up_bias_type = l[1]->bias.dtype;
    g.count = x.rows * width;
    g.stride = width;
    g.width = inner;
    g.act = act;
    if (f->error.code != VLM_OK) return;
    vcuda_submit(f, run_gate, g);
    multiply_all(f, &sum, { middle[0], x.rows, width, width }, &l[2], 1, true);
}

void vcuda_gated_add(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_norm *norm, const vlm_linear *const *l, vlm_activation act) {
    const vtensor_cuda_host *host = vcuda_of(f)->host;
    vcuda_rows rows = vcuda_rows_of(x);
    const int64_t shape[] = { rows.rows, l[0]->weight.out };
    vlm_scope scope = host->scope_begin(f);
    if (all_bf16(f, rows.rows, l, 3) && has_width(f, l)) {
        gated_many(f, sum, rows, norm, l, act);
    } else {
        vlm_tensor h[2] = { host->temporary(f, VLM_DTYPE_F32, 2, shape), host->temporary(f, VLM_DTYPE_F32, 2, shape) };
        bool made = h[1].rank == 0 || fused(f, h, rows, norm, l, 2, VCUDA_STEP_GATE, act);
        if (!made) vcuda_norm_linears(f, h, x, norm, l, 2), vcuda_gate(f, h[0], h[1], act);
        if (f->error.code == VLM_OK) vcuda_linear_add(f, sum, h[0], l[2]);
    }
    host->scope_end(f, scope);
}
