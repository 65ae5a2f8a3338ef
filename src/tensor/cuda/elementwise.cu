/* SPDX-License-Identifier: MIT */
/* Elementwise operations in place: sums, products, scaling, caps, activation functions, gates. */
#include "tensor/cuda/cuda.h"

enum { THREADS = 256 };

enum op { ADD, MUL, SCALE, SOFTCAP, ACTIVATION, GATE };
struct map_args {
    vcuda_rows x, y; /* y: ADD, MUL, GATE; one row serves all rows of x */
    int32_t op, act;
    float value;
    int32_t pad;
};

__device__ static float apply(const map_args &a, float x, int64_t row, int64_t i) {
    float y = 0;
    if (a.op == ADD || a.op == MUL || a.op == GATE) y = vcuda_load(a.y.data, a.y.type, (a.y.rows == 1 ? 0 : row * a.y.stride) + i);
    switch (a.op) {
    case ADD: return x + y;
    case MUL: return x * y;
    case SCALE: return x * a.value;
    case SOFTCAP: return a.value * tanhf(x / a.value);
    case ACTIVATION: return vcuda_activate(x, a.act);
    default: return vcuda_activate(x, a.act) * y;
    }
}

__global__ static void map(const __grid_constant__ map_args a) {
    int64_t n = a.x.rows * a.x.dim;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (int64_t)gridDim.x * THREADS) {
        int64_t row = i / a.x.dim, column = i - row * a.x.dim;
        float *x = (float *)a.x.data + row * a.x.stride + column;
        *x = apply(a, *x, row, column);
    }
}

/* The same by fours, for rows that all begin at 16 bytes. */
__global__ static void map4(const __grid_constant__ map_args a) {
    int64_t quads = a.x.dim / 4, n = a.x.rows * quads;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (int64_t)gridDim.x * THREADS) {
        int64_t row = i / quads, column = (i - row * quads) * 4;
        float4 *x = (float4 *)((float *)a.x.data + row * a.x.stride + column), v = *x;
        v.x = apply(a, v.x, row, column);
        v.y = apply(a, v.y, row, column + 1);
        v.z = apply(a, v.z, row, column + 2);
        v.w = apply(a, v.w, row, column + 3);
        *x = v;
    }
}

static void run_map(vcuda_stream *s, const map_args *a) {
    int64_t n = a->x.rows * a->x.dim;
    bool four = a->x.dim % 4 == 0 && a->x.stride % 4 == 0 && (uintptr_t)a->x.data % 16 == 0;
    int64_t blocks = vcuda_blocks(four ? n / 4 : n, THREADS), most = (int64_t)s->b->multiprocessors * 16;
    if (four)
        map4<<<(unsigned)(blocks < most ? blocks : most), THREADS, 0, s->stream>>>(*a);
    else
        map<<<(unsigned)(blocks < most ? blocks : most), THREADS, 0, s->stream>>>(*a);
    vcuda_launched(s);
}

static void submit(vlm_frame *f, op o, vlm_tensor x, const vlm_tensor *y, float value, int act) {
    map_args a = vcuda_args<map_args>();
    a.x = vcuda_rows_of(x);
    if (y) a.y = vcuda_rows_of(*y);
    a.op = o;
    a.act = act;
    a.value = value;
    vcuda_submit(f, run_map, a);
}

void vcuda_add(vlm_frame *f, vlm_tensor x, vlm_tensor y) {
    submit(f, ADD, x, &y, 0, 0);
}

void vcuda_mul(vlm_frame *f, vlm_tensor x, vlm_tensor y) {
    submit(f, MUL, x, &y, 0, 0);
}

void vcuda_scale(vlm_frame *f, vlm_tensor x, float factor) {
    submit(f, SCALE, x, NULL, factor, 0);
}

void vcuda_softcap(vlm_frame *f, vlm_tensor x, float cap) {
    submit(f, SOFTCAP, x, NULL, cap, 0);
}

void vcuda_activation(vlm_frame *f, vlm_tensor x, vlm_activation act) {
    submit(f, ACTIVATION, x, NULL, 0, act);
}

void vcuda_gate(vlm_frame *f, vlm_tensor gate, vlm_tensor up, vlm_activation act) {
    submit(f, GATE, gate, &up, 0, act);
}
