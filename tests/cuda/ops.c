/* SPDX-License-Identifier: MIT */
/* The CUDA backend against the CPU's scalar kernels over random shapes and tails: every operation, both modes. For a
 * machine with a GPU; not one of the ctests.
 *
 *     cuda_ops [rounds [seed]] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/tensor.h"

static uint64_t rng_state = 1;
static int failures, checks;

static uint64_t rng(void) {
    uint64_t z = rng_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static int64_t between(int64_t lo, int64_t hi) {
    return lo + (int64_t)(rng() % (uint64_t)(hi - lo + 1));
}
static float uniform(void) {
    return (float)((double)(rng() >> 11) * 0x1p-52 - 1);
}

/* ---- one computation on both backends ---- */
typedef struct side {
    vtensor_backend *backend;
    vlm_frame *frame;
} side;
static side cpu, gpu;
static vtensor_mode mode;

typedef vlm_tensor compute(vlm_frame *f, vtensor_backend *b, void *arg);

static void die(const char *what, const vlm_error *err) {
    fprintf(stderr, "%s: %s\n", what, err->message);
    exit(1);
}

static float *run(side *s, compute *fn, void *arg, size_t *n) {
    vlm_error err = VLM_ERROR_INIT;
    vtensor_frame_begin(s->frame);
    vlm_tensor y = fn(s->frame, s->backend, arg);
    *n = (size_t)vtensor_count(y);
    float *host = malloc((*n + 1) * sizeof *host);
    for (size_t i = 0; i < *n; i++) host[i] = NAN;
    if (*n && vtensor_read(s->frame, y, host, &err) < 0) die("read", &err);
    if (vtensor_frame_end(s->frame, &err) < 0) die("pass", &err);
    return host;
}

/* ‖gpu - cpu‖ / ‖cpu‖ */
static void compare(const char *name, compute *fn, void *arg, double tolerance) {
    size_t n, m;
    float *want = run(&cpu, fn, arg, &n), *got = run(&gpu, fn, arg, &m);
    double d = 0, s = 1e-30;
    for (size_t i = 0; i < n && n == m; i++) {
        d += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        s += (double)want[i] * (double)want[i];
    }
    double error = n == m ? sqrt(d / s) : INFINITY;
    checks++;
    if (!(error <= tolerance) && failures++ < 40) fprintf(stderr, "FAILED %s: %g > %g (seed state %llx)\n", name, error, tolerance, (unsigned long long)rng_state);
    free(want);
    free(got);
}

/* ---- inputs ---- */
typedef struct input {
    int rank;
    int64_t shape[5];
    float *v;
} input;

static input random_input(int rank, const int64_t *shape, float scale) {
    input x = { .rank = rank };
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= (size_t)(x.shape[i] = shape[i]);
    x.v = malloc((n + 1) * sizeof *x.v);
    for (size_t i = 0; i < n; i++) x.v[i] = uniform() * scale;
    return x;
}
static vlm_tensor tensor_of(vlm_frame *f, const input *x) {
    return vlm_tensor_from(f, VLM_DTYPE_F32, x->rank, x->shape, x->v);
}

/* A matrix in host memory, and on each device. */
typedef struct weight {
    vlm_linear cpu, gpu;
    void *memory[5];
} weight;

static void *random_floats(vlm_dtype dtype, size_t n, float scale, float shift) {
    char *p = malloc(n * vtensor_dtype_size(dtype) + 16);
    for (size_t i = 0; i < n; i++) {
        float v = uniform() * scale + shift;
        uint16_t h = dtype == VLM_DTYPE_BF16 ? vcore_f32_to_bf16(v) : vcore_f32_to_f16(v);
        if (dtype == VLM_DTYPE_F32)
            memcpy(p + 4 * i, &v, 4);
        else
            memcpy(p + 2 * i, &h, 2);
    }
    return p;
}

static void to_gpu(weight *w) {
    vlm_error err = VLM_ERROR_INIT;
    w->gpu = w->cpu;
    if (w->gpu.weight.in == 1) { /* stands for a norm's weights */
        if (vtensor_place(gpu.backend, &w->gpu.weight.data, &err) < 0) die("place", &err);
        if (w->gpu.bias.rank && vtensor_place(gpu.backend, &w->gpu.bias, &err) < 0) die("place", &err);
    } else if (vtensor_place_linear(gpu.backend, &w->gpu.weight, &w->gpu.bias, &err) < 0) {
        die("place", &err);
    }
    if (vtensor_placed(gpu.backend, &err) < 0) die("placed", &err);
}

static weight random_weight(int64_t out, int64_t in, vlm_dtype dtype, int bits, int group, bool bias) {
    weight w = { .cpu.weight = { .out = out, .in = in, .bits = bits, .group = group } };
    vlm_matrix *m = &w.cpu.weight;
    if (!bits) {
        m->data = vtensor_of(w.memory[0] = random_floats(dtype, (size_t)(out * in), 0.5f, 0), dtype, 2, (int64_t[]) { out, in });
    } else {
        int64_t words = in * bits / 32, groups = in / group;
        uint32_t *q = w.memory[0] = malloc((size_t)(out * words) * 4);
        for (int64_t i = 0; i < out * words; i++) q[i] = (uint32_t)rng();
        float step = 1.0f / (float)(1 << bits);
        m->storage = VLM_STORAGE_AFFINE;
        m->data = vtensor_of(q, VLM_DTYPE_U32, 2, (int64_t[]) { out, words });
        m->scales = vtensor_of(w.memory[1] = random_floats(dtype, (size_t)(out * groups), step / 2, step), dtype, 2, (int64_t[]) { out, groups });
        m->biases = vtensor_of(w.memory[2] = random_floats(dtype, (size_t)(out * groups), 0.1f, -0.5f), dtype, 2, (int64_t[]) { out, groups });
    }
    if (bias) w.cpu.bias = vtensor_of(w.memory[3] = random_floats(dtype, (size_t)out, 1, 0), dtype, 1, &out);
    to_gpu(&w);
    return w;
}

static void free_weight(weight *w) {
    for (int i = 0; i < 5; i++) free(w->memory[i]);
}

/* ---- linears, embeddings ---- */
typedef struct linear_case {
    input x;
    weight w;
    int32_t ids[64];
} linear_case;

static vlm_tensor apply_linear(vlm_frame *f, vtensor_backend *b, void *arg) {
    linear_case *c = arg;
    return vlm_apply_linear(f, tensor_of(f, &c->x), b == gpu.backend ? &c->w.gpu : &c->w.cpu);
}
static vlm_tensor apply_embed(vlm_frame *f, vtensor_backend *b, void *arg) {
    linear_case *c = arg;
    int64_t n = 17;
    return vlm_embed(f, b == gpu.backend ? &c->w.gpu.weight : &c->w.cpu.weight, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, c->ids));
}

static void linears(void) {
    static const vlm_dtype types[] = { VLM_DTYPE_F32, VLM_DTYPE_BF16, VLM_DTYPE_F16 };
    static const int bits[] = { 0, 2, 3, 4, 5, 6, 8 }, groups[] = { 32, 64, 128 };
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < 7; i++) {
            int group = groups[between(0, 2)];
            int64_t rows = between(0, 1) ? between(1, 9) : between(10, 200);
            int64_t in = bits[i] ? group * between(1, 9) : between(0, 1) ? 8 * between(1, 70) : between(1, 300);
            linear_case c = { .x = random_input(2, (int64_t[]) { rows, in }, 1) };
            c.w = random_weight(between(1, 300), in, types[t], bits[i], group, between(0, 1));
            for (int k = 0; k < 17; k++) c.ids[k] = (int32_t)between(0, c.w.cpu.weight.out - 1);
            bool integers = mode == VTENSOR_FAST && rows <= 8 && (bits[i] == 4 || bits[i] == 8);
            bool rounded = mode == VTENSOR_FAST && (bits[i] ? rows > 8 : t == 1 && (rows > 2 || in % 8 != 0));
            char name[120];
            snprintf(name, sizeof name, "linear type %d bits %d group %d rows %d in %d out %d", t, bits[i], group, (int)rows, (int)in,
                     (int)c.w.cpu.weight.out);
            compare(name, apply_linear, &c, rounded ? 6e-3 : integers ? 1e-4 : mode == VTENSOR_FAST && t == 2 ? 1e-3 : 2e-6);
            compare("embed", apply_embed, &c, 0);
            free(c.x.v);
            free_weight(&c.w);
        }
}

/* ---- blocks ---- */
typedef struct block_case {
    input x, sum;
    weight w[3], norm, shift; /* gate, up, down; the norm's weights are a bias, and where it has one so is that */
    vlm_activation act;
    float offset;
} block_case;

static vlm_norm norm_of(const block_case *c, vtensor_backend *b) {
    vlm_norm norm = { .weight = b == gpu.backend ? c->norm.gpu.bias : c->norm.cpu.bias, .eps = 1e-5f, .offset = c->offset };
    norm.bias = b == gpu.backend ? c->shift.gpu.bias : c->shift.cpu.bias;
    return norm;
}
static void linears_of(const vlm_linear **l, const block_case *c, vtensor_backend *b) {
    for (int i = 0; i < 3; i++) l[i] = b == gpu.backend ? &c->w[i].gpu : &c->w[i].cpu;
}
static vlm_tensor norm_block(vlm_frame *f, vtensor_backend *b, void *arg) {
    block_case *c = arg;
    const vlm_linear *l[3];
    vlm_tensor y[2];
    linears_of(l, c, b);
    vlm_norm norm = norm_of(c, b);
    vlm_apply_norm_linears(f, y, tensor_of(f, &c->x), &norm, l, 2);
    return vlm_concat(f, (vlm_tensor[]) { vlm_reshape1(f, y[0], -1), vlm_reshape1(f, y[1], -1) }, 2);
}
static vlm_tensor gated_block(vlm_frame *f, vtensor_backend *b, void *arg) {
    block_case *c = arg;
    const vlm_linear *l[3];
    linears_of(l, c, b);
    vlm_norm norm = norm_of(c, b);
    vlm_tensor sum = tensor_of(f, &c->sum);
    vlm_add_gated(f, sum, tensor_of(f, &c->x), &norm, l, c->act);
    return sum;
}
static vlm_tensor add_block(vlm_frame *f, vtensor_backend *b, void *arg) {
    block_case *c = arg;
    const vlm_linear *l[3];
    linears_of(l, c, b);
    int64_t rows = c->x.shape[0], out = l[0]->weight.out;
    vlm_tensor sum = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { rows, out });
    vlm_apply_linears(f, &sum, tensor_of(f, &c->x), &l[1], 1);
    vlm_add_linear(f, sum, tensor_of(f, &c->x), l[0]);
    return sum;
}

typedef struct block_size {
    int64_t rows, in, inner, out;
    int group;
    vlm_dtype type;
    int bits;
} block_size;

static void block(block_size s) {
    block_case c = { .act = (vlm_activation)between(0, 4), .offset = (float)between(0, 1) };
    c.x = random_input(2, (int64_t[]) { s.rows, s.in }, 1);
    c.sum = random_input(2, (int64_t[]) { s.rows, s.out }, 1);
    c.norm = random_weight(s.in, 8, between(0, 1) ? VLM_DTYPE_BF16 : VLM_DTYPE_F32, 0, 0, true);
    if (between(0, 3) == 0) c.shift = random_weight(s.in, 8, VLM_DTYPE_F32, 0, 0, true);
    c.w[0] = random_weight(s.inner, s.in, s.type, s.bits, s.group, between(0, 1));
    c.w[1] = random_weight(s.inner, s.in, s.type, s.bits, s.group, between(0, 1));
    c.w[2] = random_weight(s.out, s.inner, s.type, s.bits, s.group, between(0, 1));
    char name[120];
    snprintf(name, sizeof name, "type %d bits %d group %d rows %d in %d inner %d out %d act %d", (int)s.type, s.bits, s.group, (int)s.rows,
             (int)s.in, (int)s.inner, (int)s.out, (int)c.act);
    bool dense_row = !s.bits && s.in % 8 == 0 && s.inner % 8 == 0, row = s.rows == 1 && (s.bits || dense_row);
    double tolerance = mode == VTENSOR_EXACT ? 1e-5 : row ? 1e-3 : 1.2e-2;
    compare(name, norm_block, &c, tolerance);
    compare(name, add_block, &c, tolerance);
    compare(name, gated_block, &c, 2 * tolerance);
    for (int k = 0; k < 3; k++) free_weight(&c.w[k]);
    free_weight(&c.norm);
    free_weight(&c.shift);
    free(c.x.v);
    free(c.sum.v);
}

static void blocks(void) {
    static const int bits[] = { 0, 0, 0, 4, 8, 6 }, groups[] = { 32, 64, 128 };
    static const vlm_dtype types[] = { VLM_DTYPE_BF16, VLM_DTYPE_F32, VLM_DTYPE_F16, VLM_DTYPE_BF16, VLM_DTYPE_BF16, VLM_DTYPE_F16 };
    for (int i = 0; i < 6; i++) {
        block_size s = { .group = groups[between(0, 2)], .type = types[i], .bits = bits[i] };
        int64_t unit = s.bits ? s.group : 8;
        s.rows = between(0, 1) ? 1 : between(0, 1) ? between(2, 9) : between(10, 150);
        s.in = unit * between(1, 30), s.out = between(1, 300);
        s.inner = between(0, 1) || s.bits ? unit * between(1, 40) : between(4, 300);
        block(s);
    }
}

/* One row, rows of weights as long and as many as real models have: more than one turn of every ring. */
static void long_rows(void) {
    static const int bits[] = { 0, 4, 8 };
    for (int i = 0; i < 3; i++) {
        block_size s = { .rows = 1, .group = 64, .type = VLM_DTYPE_BF16, .bits = bits[i] };
        s.in = 64 * between(20, 120), s.inner = 64 * between(1, 300), s.out = between(1, 40);
        block(s);
        s.in = 64 * between(1, 5), s.inner = 64 * between(1, 10), s.out = between(2000, 9000);
        block(s);
    }
}

/* ---- rows ---- */
typedef struct rows_case {
    input x, y;
    weight norm;
    int act, pairs;
    float value;
    int32_t index[300], positions[3 * 300];
    float inv_freq[64];
    uint8_t axis_of[64];
    int64_t half, axes, n;
} rows_case;

static vlm_tensor map_rows(vlm_frame *f, vtensor_backend *b, void *arg) {
    rows_case *c = arg;
    (void)b;
    vlm_tensor x = tensor_of(f, &c->x), y = tensor_of(f, &c->y);
    vlm_add_to(f, x, y);
    vlm_mul_to(f, x, vlm_rows(f, y, 0, 1));
    vlm_scale_to(f, x, c->value);
    vlm_gate_to(f, x, y, (vlm_activation)c->act);
    vlm_activation_to(f, x, (vlm_activation)c->act);
    vlm_softcap_to(f, x, 3);
    return x;
}
static vlm_tensor norm_rows(vlm_frame *f, vtensor_backend *b, void *arg) {
    rows_case *c = arg;
    vlm_norm n = { .eps = 1e-6f, .offset = (float)c->act };
    n.weight = b == gpu.backend ? c->norm.gpu.weight.data : c->norm.cpu.weight.data;
    if (c->pairs) n.bias = b == gpu.backend ? c->norm.gpu.bias : c->norm.cpu.bias;
    vlm_tensor x = tensor_of(f, &c->x);
    n.weight = vlm_reshape1(f, n.weight, -1);
    return c->pairs ? vlm_layer_norm(f, x, &n) : vlm_rms_norm(f, x, &n);
}
static vlm_tensor move_rows(vlm_frame *f, vtensor_backend *b, void *arg) {
    rows_case *c = arg;
    (void)b;
    vlm_tensor x = tensor_of(f, &c->x), i = vlm_tensor_from(f, VLM_DTYPE_I32, 1, &c->n, c->index);
    vlm_tensor y = vlm_gather(f, x, i);
    vlm_scale_to(f, y, 2);
    vlm_scatter_to(f, x, i, y);
    vlm_tensor three = vlm_reshape3(f, x, c->x.shape[0], 2, c->x.shape[1] / 2);
    vlm_tensor turned = vlm_permute(f, three, (int[]) { 2, 0, 1 });
    vlm_tensor columns = vlm_copy(f, vlm_columns(f, x, 1, c->x.shape[1] - 1));
    return vlm_concat(f, (vlm_tensor[]) { vlm_reshape1(f, turned, -1), vlm_reshape1(f, columns, -1) }, 2);
}
static void argmax(const rows_case *c) {
    vlm_error err = VLM_ERROR_INIT;
    int32_t got[200];
    int64_t n = c->x.shape[0], dim = c->x.shape[1];
    vtensor_frame_begin(gpu.frame);
    vlm_tensor y = vtensor_argmax(gpu.frame, tensor_of(gpu.frame, &c->x));
    if (vtensor_read(gpu.frame, y, got, &err) < 0 || vtensor_frame_end(gpu.frame, &err) < 0) die("argmax", &err);
    for (int64_t i = 0; i < n; i++) {
        int32_t best = 0;
        for (int32_t k = 1; k < dim; k++)
            if (c->x.v[i * dim + k] > c->x.v[i * dim + best]) best = k;
        checks++;
        if (best != got[i] && failures++ < 40) fprintf(stderr, "FAILED argmax: %d instead of %d of %d\n", got[i], best, (int)dim);
    }
}
static vlm_tensor rope_rows(vlm_frame *f, vtensor_backend *b, void *arg) {
    rows_case *c = arg;
    (void)b;
    vlm_tensor x = vlm_reshape3(f, tensor_of(f, &c->x), c->x.shape[0], 2, c->x.shape[1] / 2);
    vlm_tensor p = vlm_tensor_from(f, VLM_DTYPE_I32, 2, (int64_t[]) { c->axes, c->x.shape[0] }, c->positions);
    vlm_rope_table t = vlm_rope_angles(f, p, c->inv_freq, c->axes > 1 ? c->axis_of : NULL, (int)c->half);
    vlm_rope_to(f, x, &t, (vlm_rope_pairs)c->pairs);
    return x;
}

static void rows(void) {
    int64_t n = between(1, 200), dim = 2 * between(2, 300);
    rows_case c = { .act = (int)between(0, 4), .value = uniform(), .n = between(1, 300), .half = between(1, dim / 4 < 64 ? dim / 4 : 64) };
    c.x = random_input(2, (int64_t[]) { n, dim }, 3);
    if (!between(0, 3))
        for (int64_t i = 0; i < dim; i++) c.x.v[i] = i ? 0.f : -0.f; /* neither is larger */
    c.y = random_input(2, (int64_t[]) { n, dim }, 2);
    c.norm = random_weight(dim, 1, between(0, 1) ? VLM_DTYPE_BF16 : VLM_DTYPE_F32, 0, 0, true);
    c.axes = between(1, 3);
    for (int i = 0; i < 300; i++) c.index[i] = (int32_t)between(0, n - 1);
    for (int i = 0; i < 900; i++) c.positions[i] = (int32_t)between(0, 5000);
    for (int i = 0; i < 64; i++) c.inv_freq[i] = powf(10000, -(float)i / 64), c.axis_of[i] = (uint8_t)between(0, c.axes - 1);
    compare("elementwise", map_rows, &c, 2e-6);
    c.pairs = (int)between(0, 1);
    c.act = (int)between(0, 1);
    for (int64_t i = 0; i < n; i++) c.x.v[i * dim + between(0, dim - 1)] = c.x.v[i * dim + between(0, dim - 1)] = 2.99f; /* alike */
    argmax(&c);
    compare("norm", norm_rows, &c, 1e-6);
    compare("move", move_rows, &c, 0);
    compare("rope", rope_rows, &c, 1e-6);
    free(c.x.v);
    free(c.y.v);
    free_weight(&c.norm);
}

/* ---- attention: calls in a row over one state ---- */
typedef struct attention_case {
    input q, k, v;
    int64_t heads, kv_heads, dim, capacity, past;
    vlm_segment segments[8];
    vlm_span spans[2];
    int n_segments;
    vlm_attention_desc desc;
    int64_t half; /* 0: nothing is rotated */
    bool stored;
    vlm_dtype state_type;
    void *state[2]; /* cpu's and gpu's */
} attention_case;

static vlm_tensor attend(vlm_frame *f, vtensor_backend *b, void *arg) {
    attention_case *c = arg;
    char *state = c->state[b == gpu.backend];
    const vtensor_kv_form form = { .dtype = c->state_type, .capacity = c->capacity, .heads = c->kv_heads, .head_dim = c->dim };
    vlm_kv kv;
    vtensor_kv_place(&kv, &form, state);
    vlm_segment segments[8];
    memcpy(segments, c->segments, sizeof segments);
    for (int i = 0; i < c->n_segments; i++) {
        segments[i].kv = c->stored ? &kv : NULL;
        segments[i].spans = c->spans;
    }
    vlm_attention_desc desc = c->desc;
    vlm_rope_table rope;
    if (c->half) {
        int32_t positions[2048];
        float inv_freq[128];
        int64_t rows = c->q.shape[0];
        for (int64_t i = 0; i < rows; i++) positions[i] = (int32_t)(c->segments[0].past + i);
        for (int64_t i = 0; i < c->half; i++) inv_freq[i] = powf(10000, -(float)i / (float)c->half);
        rope = vlm_rope_angles(f, vlm_tensor_from(f, VLM_DTYPE_I32, 2, (int64_t[]) { 1, rows }, positions), inv_freq, NULL, (int)c->half);
        desc.rope = &rope;
    }
    return vlm_attention(f, tensor_of(f, &c->q), tensor_of(f, &c->k), tensor_of(f, &c->v), segments, c->n_segments, &desc);
}

static void call(attention_case *c, const char *what) {
    int64_t rows = 0;
    for (int i = 0; i < c->n_segments; i++) {
        c->segments[i].start = rows;
        rows += c->segments[i].length;
    }
    c->q = random_input(3, (int64_t[]) { rows, c->heads, c->dim }, 2);
    c->k = random_input(3, (int64_t[]) { rows, c->kv_heads, c->dim }, 2);
    c->v = random_input(3, (int64_t[]) { rows, c->kv_heads, c->dim }, 2);
    char name[160];
    snprintf(name, sizeof name, "attention %s: %d rows, %d/%d heads of %d, past %d, window %d, cap %g", what, (int)rows, (int)c->heads,
             (int)c->kv_heads, (int)c->dim, (int)c->segments[0].past, (int)c->desc.window, (double)c->desc.softcap);
    compare(name, attend, c, mode == VTENSOR_EXACT ? 4e-6 : 8e-3);
    free(c->q.v);
    free(c->k.v);
    free(c->v.v);
}

static void attention(void) {
    static const int64_t dims[] = { 16, 20, 64, 72, 80, 96, 128, 256, 40 };
    attention_case c = { .kv_heads = between(1, 3), .dim = dims[between(0, 8)], .desc.scale = 0.2f };
    c.heads = c.kv_heads * between(1, 9);
    c.desc.causal = between(0, 1);
    c.desc.window = between(0, 2) ? 0 : between(1, 90);
    c.desc.softcap = between(0, 3) ? 0 : 5;
    c.desc.pairs = (vlm_rope_pairs)between(0, 1);
    if (between(0, 2)) c.half = between(1, c.dim / 2);
    c.state_type = mode == VTENSOR_EXACT ? VLM_DTYPE_F32 : VLM_DTYPE_BF16;
    c.n_segments = (int)between(1, 4); /* without a state */
    for (int i = 0; i < c.n_segments; i++) {
        c.segments[i] = (vlm_segment) { .length = between(1, 180) };
        if (!between(0, 2)) c.segments[i].visible = between(1, c.segments[i].length);
    }
    call(&c, "segments");
    memset(c.segments, 0, sizeof c.segments);
    c.stored = true;
    c.desc.causal = true;
    c.n_segments = 1;
    c.capacity = 900;
    const vtensor_kv_form form = { .dtype = c.state_type, .capacity = c.capacity, .heads = c.kv_heads, .head_dim = c.dim };
    size_t bytes = 0;
    vtensor_kv_bytes(&bytes, &form);
    c.state[0] = vtensor_memory_new(cpu.backend, bytes);
    c.state[1] = vtensor_memory_new(gpu.backend, bytes);
    c.segments[0].length = between(1, 400);
    if (between(0, 1)) {
        c.segments[0].n_spans = 1;
        c.spans[0] = (vlm_span) { 0, between(1, c.segments[0].length) };
    }
    call(&c, "prompt");
    for (int i = 0; i < 4; i++) {
        c.segments[0].past += c.segments[0].length;
        c.segments[0].length = i == 3 ? between(1, 60) : between(0, 2) ? 1 : between(2, 3);
        call(&c, "behind it");
    }
    vtensor_memory_free(cpu.backend, c.state[0]);
    vtensor_memory_free(gpu.backend, c.state[1]);
}

/* A key that is NaN makes NaN of all that sees it, however long the state is. */
static void damaged(void) {
    attention_case c = { .kv_heads = 1, .heads = 4, .dim = 64, .n_segments = 1, .capacity = 900, .stored = true };
    c.desc.causal = true;
    c.desc.scale = 0.2f;
    c.state_type = mode == VTENSOR_EXACT ? VLM_DTYPE_F32 : VLM_DTYPE_BF16;
    const vtensor_kv_form form = { .dtype = c.state_type, .capacity = c.capacity, .heads = c.kv_heads, .head_dim = c.dim };
    size_t bytes = 0, n;
    vtensor_kv_bytes(&bytes, &form);
    c.state[0] = vtensor_memory_new(cpu.backend, bytes);
    c.state[1] = vtensor_memory_new(gpu.backend, bytes);
    for (int64_t past = 99; past < c.capacity; past += 200) {
        c.segments[0] = (vlm_segment) { .length = past };
        call(&c, "before NaN");
        c.segments[0] = (vlm_segment) { .length = 1, .past = past };
        c.q = random_input(3, (int64_t[]) { 1, c.heads, c.dim }, 2);
        c.k = random_input(3, (int64_t[]) { 1, c.kv_heads, c.dim }, 2);
        c.v = random_input(3, (int64_t[]) { 1, c.kv_heads, c.dim }, 2);
        c.k.v[past % c.dim] = NAN;
        float *got = run(&gpu, attend, &c, &n);
        for (size_t i = 0; i < n; i++, checks++)
            if (!isnan(got[i]) && failures++ < 40) fprintf(stderr, "FAILED attention behind %d: %g, the key is NaN\n", (int)past, (double)got[i]);
        free(got);
        free(c.q.v);
        free(c.k.v);
        free(c.v.v);
    }
    vtensor_memory_free(cpu.backend, c.state[0]);
    vtensor_memory_free(gpu.backend, c.state[1]);
}

/* ---- of some families: mixtures of experts, weighted sums, convolutions ---- */
typedef struct mix_case {
    input x, logits, weights, taps, bias, own;
    weight w;
    vlm_depthwise map;
    int32_t index[600];
    int64_t experts, k, out, n, width, stride, lengths[2];
    void *state[2];
} mix_case;

static vlm_tensor mixture(vlm_frame *f, vtensor_backend *b, void *arg) {
    mix_case *c = arg;
    const vlm_matrix *stack = b == gpu.backend ? &c->w.gpu.weight : &c->w.cpu.weight;
    vlm_routes routes = vlm_route(f, tensor_of(f, &c->logits), c->k);
    vlm_tensor made = vlm_apply_experts(f, tensor_of(f, &c->x), stack, c->out, &routes);
    vlm_tensor sum = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { c->x.shape[0], c->out });
    vlm_apply_linears(f, &sum, tensor_of(f, &c->x), &(const vlm_linear *) { &(vlm_linear) { vlm_matrix_rows(f, stack, 0, c->out), { 0 } } }, 1);
    vlm_add_experts(f, sum, tensor_of(f, &c->own), stack, &routes);
    return vlm_concat(f, (vlm_tensor[]) { vlm_reshape1(f, made, -1), vlm_reshape1(f, sum, -1), vlm_reshape1(f, routes.weights, -1) }, 3);
}
static vlm_tensor blended(vlm_frame *f, vtensor_backend *b, void *arg) {
    mix_case *c = arg;
    (void)b;
    vlm_tensor index = vlm_tensor_from(f, VLM_DTYPE_I32, 2, c->weights.shape, c->index);
    return vlm_blend(f, tensor_of(f, &c->x), index, tensor_of(f, &c->weights));
}
static vlm_tensor convolved(vlm_frame *f, vtensor_backend *b, void *arg) {
    mix_case *c = arg;
    const int64_t taps = c->taps.shape[1], dim = c->taps.shape[0];
    vlm_kv kv = { .k = vtensor_of(c->state[b == gpu.backend], VLM_DTYPE_F32, 3, (int64_t[]) { taps, 1, dim }) };
    vlm_tensor x = tensor_of(f, &c->x), y[3], kernel = tensor_of(f, &c->taps), bias = tensor_of(f, &c->bias);
    int64_t past = 0, rows = x.shape[0];
    for (int i = 0; i < 2; past += c->lengths[i++]) {
        vlm_segment s[2] = { { .length = c->lengths[i], .past = past, .kv = &kv }, { .start = c->lengths[i], .length = rows - c->lengths[i] } };
        y[i] = vlm_short_conv(f, x, kernel, bias, s, 2);
    }
    y[2] = vlm_depthwise_conv(f, x, c->width, &(vlm_depthwise) { tensor_of(f, &(input) { 3, { 9, 2, dim }, c->own.v }), tensor_of(f, &c->logits) }, c->stride);
    for (int i = 0; i < 3; i++) y[i] = vlm_reshape1(f, y[i], -1);
    return vlm_concat(f, y, 3);
}

/* Logits of which one is no number: k different experts all the same. */
static void lost_routes(void) {
    vlm_error err = VLM_ERROR_INIT;
    int32_t got[16];
    const int64_t n = between(2, 300), k = between(1, n < 16 ? n : 16);
    input logits = random_input(2, (int64_t[]) { 1, n }, 3);
    logits.v[between(0, n - 1)] = NAN;
    vtensor_frame_begin(gpu.frame);
    vlm_routes routes = vlm_route(gpu.frame, tensor_of(gpu.frame, &logits), k);
    if (vtensor_read(gpu.frame, routes.experts, got, &err) < 0 || vtensor_frame_end(gpu.frame, &err) < 0) die("route", &err);
    for (int64_t i = 0; i < k; i++) {
        checks++;
        if (got[i] != i && failures++ < 40) fprintf(stderr, "FAILED route without numbers: %d instead of %d of %d\n", got[i], (int)i, (int)n);
    }
    free(logits.v);
}

static void mixes(void) {
    lost_routes();
    static const int bits[] = { 0, 0, 4, 3 };
    static const vlm_dtype types[] = { VLM_DTYPE_BF16, VLM_DTYPE_F32, VLM_DTYPE_BF16, VLM_DTYPE_F16 };
    for (int i = 0; i < 4; i++) {
        const int64_t rows = between(1, 12), in = bits[i] ? 64 * between(1, 4) : 8 * between(1, 30);
        mix_case c = { .experts = between(2, 40), .out = between(1, 40), .x = random_input(2, (int64_t[]) { rows, in }, 1) };
        c.k = between(1, c.experts < 6 ? c.experts : 6);
        c.logits = random_input(2, (int64_t[]) { rows, c.experts }, 3);
        c.own = random_input(2, (int64_t[]) { rows * c.k, in }, 1);
        c.w = random_weight(c.experts * c.out, in, types[i], bits[i], 64, false);
        compare("mixture", mixture, &c, mode == VTENSOR_EXACT ? 1e-5 : 1.2e-2);
        c.weights = random_input(2, (int64_t[]) { between(1, 100), between(1, 6) }, 1);
        for (int k = 0; k < 600; k++) c.index[k] = (int32_t)between(0, rows - 1);
        compare("blend", blended, &c, 1e-6);
        free(c.x.v), free(c.logits.v), free(c.own.v), free(c.weights.v);
        free_weight(&c.w);
        const int64_t dim = between(1, 70), taps = between(1, 5), width = between(1, 9), height = between(2, 9);
        c = (mix_case) { .x = random_input(2, (int64_t[]) { width * height, dim }, 1), .width = width, .stride = between(1, 2) };
        c.taps = random_input(2, (int64_t[]) { dim, taps }, 1), c.bias = random_input(1, &dim, 1);
        c.own = random_input(3, (int64_t[]) { 9, 2, dim }, 1), c.logits = random_input(1, (int64_t[]) { 2 * dim }, 1);
        for (int k = 0; k < 2; k++) c.lengths[k] = between(1, width * height - 1);
        const size_t bytes = (size_t)(taps * dim) * sizeof(float);
        c.state[0] = vtensor_memory_new(cpu.backend, bytes), c.state[1] = vtensor_memory_new(gpu.backend, bytes);
        compare("convolutions", convolved, &c, 2e-6);
        vtensor_memory_free(cpu.backend, c.state[0]), vtensor_memory_free(gpu.backend, c.state[1]);
        free(c.x.v), free(c.taps.v), free(c.bias.v), free(c.own.v), free(c.logits.v);
    }
}

/* A step that repeats, with other values: from the third on it is a graph. */
static void steps(void) {
    int64_t in = 64 * between(2, 20);
    linear_case c = { .w = random_weight(in, in, VLM_DTYPE_BF16, 4, 64, true) };
    for (int i = 0; i < 6; i++) {
        c.x = random_input(2, (int64_t[]) { 1, in }, 1);
        compare("step", apply_linear, &c, mode == VTENSOR_EXACT ? 2e-6 : 1e-4);
        free(c.x.v);
    }
    free_weight(&c.w);
}

int main(int argc, char **argv) {
    vlm_error err = VLM_ERROR_INIT;
    int rounds = argc > 1 ? atoi(argv[1]) : 50;
    vtensor_cpu_options options = { .cpu_mask = ~0u };
    if (argc > 2) rng_state = strtoull(argv[2], NULL, 0);
    if (vtensor_backend_cpu(&cpu.backend, &options, &err) < 0) die("cpu", &err);
    if (vtensor_backend_cuda(&gpu.backend, 0, 0, &err) < 0) die("cuda", &err);
    for (mode = VTENSOR_EXACT; mode <= VTENSOR_FAST; mode++) {
        if (vtensor_frame_new(&cpu.frame, cpu.backend, VTENSOR_EXACT, &err) < 0) die("cpu", &err);
        if (vtensor_frame_new(&gpu.frame, gpu.backend, mode, &err) < 0) die("cuda", &err);
        damaged();
        for (int i = 0; i < rounds; i++) {
            linears();
            blocks();
            if (i % 4 == 0) long_rows();
            rows();
            mixes();
            attention();
            steps();
        }
        vtensor_frame_free(cpu.frame);
        vtensor_frame_free(gpu.frame);
    }
    vtensor_backend_free(cpu.backend);
    vtensor_backend_free(gpu.backend);
    printf("cuda_ops: %d of %d failed\n", failures, checks);
    return failures != 0;
}
