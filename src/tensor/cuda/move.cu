/* SPDX-License-Identifier: MIT */
/* Moving elements: copies with strides and conversion, gather, scatter, rows of dense and quantized matrices. */
#include "tensor/cuda/values.h"

enum { THREADS = 256 };

/* ---- values of matrices ---- */
vcuda_matrix vcuda_matrix_of(const vlm_matrix *m) {
    vcuda_matrix a = vcuda_args<vcuda_matrix>();
    a.data = m->data.data;
    a.storage = m->storage;
    a.type = m->data.dtype;
    a.out = m->out;
    a.in = m->in;
    a.row = m->data.stride[0];
    if (m->storage == VLM_STORAGE_DENSE) return a;
    a.scales = m->scales.data;
    a.scale_type = m->scales.dtype;
    a.scale_row = m->scales.stride[0];
    a.bits = m->bits;
    a.group = m->group;
    if (m->storage == VLM_STORAGE_AFFINE) {
        a.biases = m->biases.data;
        a.bias_type = m->biases.dtype;
        a.bias_row = m->biases.stride[0];
    }
    a.factor = m->factor.rank ? m->factor.data : NULL;
    a.divided = m->divided;
    return a;
}

/* ---- copy: any strides ---- */
struct copy_args {
    void *y;
    const void *x;
    int32_t y_type, x_type, rank, size; /* size: bytes of an element that keeps its type; 0: floats are widened */
    int64_t count, shape[VLM_MAX_RANK], y_stride[VLM_MAX_RANK], x_stride[VLM_MAX_RANK];
};

__device__ static void copy_element(const copy_args &a, int64_t y, int64_t x) {
    switch (a.size) {
    case 1: ((uint8_t *)a.y)[y] = ((const uint8_t *)a.x)[x]; break;
    case 2: ((uint16_t *)a.y)[y] = ((const uint16_t *)a.x)[x]; break;
    case 4: ((uint32_t *)a.y)[y] = ((const uint32_t *)a.x)[x]; break;
    case 8: ((uint64_t *)a.y)[y] = ((const uint64_t *)a.x)[x]; break;
    default: ((float *)a.y)[y] = vcuda_load(a.x, a.x_type, x);
    }
}

__global__ static void copy(const __grid_constant__ copy_args a) {
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < a.count; i += (int64_t)gridDim.x * THREADS) {
        int64_t rest = i, y = 0, x = 0;
#pragma unroll
        for (int d = VLM_MAX_RANK - 1; d >= 0; d--) {
            if (d >= a.rank) continue;
            int64_t at = rest % a.shape[d];
            rest /= a.shape[d];
            y += at * a.y_stride[d];
            x += at * a.x_stride[d];
        }
        copy_element(a, y, x);
    }
}

static bool contiguous(const copy_args *a, const int64_t *stride) {
    int64_t next = 1;
    for (int d = a->rank - 1; d >= 0; d--) {
        if (a->shape[d] != 1 && stride[d] != next) return false;
        next *= a->shape[d];
    }
    return true;
}

static void run_copy(vcuda_stream *s, const copy_args *a) {
    if (a->size && contiguous(a, a->y_stride) && contiguous(a, a->x_stride)) {
        vcuda_check(s, cudaMemcpyAsync(a->y, a->x, (size_t)(a->count * a->size), cudaMemcpyDeviceToDevice, s->stream));
        return;
    }
    int64_t blocks = vcuda_blocks(a->count, THREADS), most = (int64_t)s->b->multiprocessors * 32;
    copy<<<(unsigned)(blocks < most ? blocks : most), THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

static int size_of(int type) {
    switch (type) {
    case VLM_DTYPE_U8: return 1;
    case VLM_DTYPE_BF16:
    case VLM_DTYPE_F16: return 2;
    case VLM_DTYPE_I64: return 8;
    default: return 4;
    }
}

void vcuda_copy(vlm_frame *f, vlm_tensor y, vlm_tensor x) {
    copy_args a = vcuda_args<copy_args>();
    a.y = y.data;
    a.x = x.data;
    a.y_type = y.dtype;
    a.x_type = x.dtype;
    a.rank = x.rank;
    a.size = y.dtype == x.dtype ? size_of(x.dtype) : 0;
    a.count = 1;
    for (int d = 0; d < x.rank; d++) {
        a.count *= a.shape[d] = x.shape[d];
        a.y_stride[d] = y.stride[d];
        a.x_stride[d] = x.stride[d];
    }
    vcuda_submit(f, run_copy, a);
}

/* ---- rows by index ---- */
struct index_args {
    vcuda_rows y, x; /* of `rows` rows y[i] = x[index[i]]; scatter: y[index[i]] = x[i] */
    vcuda_matrix table;
    const int32_t *index;
    int *bad;
    int64_t n, limit;
    int32_t scatter, embed, same, size;
};

/* Whether a later row goes to the same place: the last must win. */
__device__ static bool overtaken(const index_args &a, int64_t i, int32_t at) {
    int later = 0;
    for (int64_t j = i + 1 + threadIdx.x; j < a.n; j += THREADS) later |= a.index[j] == at;
    return __syncthreads_or(later);
}

__global__ static void by_index(const __grid_constant__ index_args a) {
    int64_t i = blockIdx.x;
    int32_t at = a.index[i];
    if (at < 0 || at >= a.limit) {
        if (threadIdx.x == 0) *a.bad = 1;
        return;
    }
    if (a.scatter && overtaken(a, i, at)) return;
    int64_t to = a.scatter ? at : i, from = a.scatter ? i : at;
    for (int64_t d = threadIdx.x; d < a.y.dim; d += THREADS) {
        if (a.embed) {
            ((float *)a.y.data)[to * a.y.stride + d] = value_of(a.table, from, d);
            continue;
        }
        copy_args c;
        c.y = a.y.data;
        c.x = a.x.data;
        c.size = a.size;
        c.x_type = a.x.type;
        copy_element(c, to * a.y.stride + d, from * a.x.stride + d);
    }
}

static void run_index(vcuda_stream *s, const index_args *a) {
    by_index<<<(unsigned)a->n, THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

static void submit(vlm_frame *f, index_args *a, vlm_tensor y, vlm_tensor index, int64_t limit) {
    a->y = vcuda_rows_of(y);
    a->index = (const int32_t *)index.data;
    a->bad = vcuda_stream_of(f)->bad_index_device;
    a->n = index.shape[0];
    a->limit = limit;
    vcuda_submit(f, run_index, *a);
}

void vcuda_gather(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor index) {
    index_args a = vcuda_args<index_args>();
    a.x = vcuda_rows_of(x);
    a.size = y.dtype == x.dtype ? size_of(x.dtype) : 0;
    submit(f, &a, y, index, x.shape[0]);
}

void vcuda_scatter(vlm_frame *f, vlm_tensor x, vlm_tensor index, vlm_tensor rows) {
    index_args a = vcuda_args<index_args>();
    a.x = vcuda_rows_of(rows);
    a.size = x.dtype == rows.dtype ? size_of(x.dtype) : 0;
    a.scatter = 1;
    submit(f, &a, x, index, x.shape[0]);
}

void vcuda_embed(vlm_frame *f, vlm_tensor y, const vlm_matrix *table, vlm_tensor ids) {
    index_args a = vcuda_args<index_args>();
    a.table = vcuda_matrix_of(table);
    a.embed = 1;
    submit(f, &a, y, ids, table->out);
}

/* ---- whole matrices ---- */
struct unpack_args {
    vcuda_matrix m;
    void *to;
    int64_t type;
};

__global__ static void unpack(const __grid_constant__ unpack_args a) {
    for (int64_t i = threadIdx.x; i < a.m.in; i += THREADS)
        vcuda_store(a.to, (int)a.type, blockIdx.x * a.m.in + i, value_of(a.m, blockIdx.x, i));
}

/* Affine values of 4 and 8 bits, a 32-bit word at a time. */
template <int BITS> __global__ static void unpack_affine(const __grid_constant__ unpack_args a) {
    const int per_word = 32 / BITS;
    const uint32_t *words = (const uint32_t *)a.m.data + blockIdx.x * a.m.row;
    for (int64_t w = threadIdx.x; w < a.m.in / per_word; w += THREADS) {
        int64_t group = w * per_word / a.m.group;
        float scale = vcuda_load(a.m.scales, a.m.scale_type, blockIdx.x * a.m.scale_row + group);
        float bias = vcuda_load(a.m.biases, a.m.bias_type, blockIdx.x * a.m.bias_row + group);
        uint32_t q = words[w];
        __align__(16) __nv_bfloat16 v[per_word];
#pragma unroll
        for (int i = 0; i < per_word; i++)
            v[i] = __float2bfloat16_rn(__fadd_rn(__fmul_rn((float)(q >> (i * BITS) & ((1u << BITS) - 1)), scale), bias));
        __nv_bfloat16 *to = (__nv_bfloat16 *)a.to + blockIdx.x * a.m.in + w * per_word;
        if (BITS == 4)
            *(uint4 *)to = *(const uint4 *)v;
        else
            *(uint2 *)to = *(const uint2 *)v;
    }
}

static void run_unpack(vcuda_stream *s, const unpack_args *a) {
    unsigned rows = (unsigned)a->m.out;
    bool affine = a->m.storage == VLM_STORAGE_AFFINE && a->type == VLM_DTYPE_BF16;
    if (affine && a->m.bits == 4)
        unpack_affine<4><<<rows, THREADS, 0, s->stream>>>(*a);
    else if (affine && a->m.bits == 8)
        unpack_affine<8><<<rows, THREADS, 0, s->stream>>>(*a);
    else
        unpack<<<rows, THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

void vcuda_unpack(vlm_frame *f, void *to, int type, const vcuda_matrix &m) {
    unpack_args a = vcuda_args<unpack_args>();
    a.m = m;
    a.to = to;
    a.type = type;
    vcuda_submit(f, run_unpack, a);
}
