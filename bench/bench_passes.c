/* SPDX-License-Identifier: MIT */
/* What whole passes of a checkpoint reach of what the machine can do, and which operations their time goes to:
 * decode steps (from the call to the text of a token), a prefill, and the vision tower.
 *
 *     bench_passes DIR [threads [decode | prefill | vision [N ...]]]
 *
 * N: of decode, tokens that stand before the steps; of prefill, tokens of the prompt; of vision, pixels of a
 * square picture. The limits are measured between the passes, with as many threads; figures are medians. What is
 * counted are the weights read by a decode step, and the multiply-adds of linears and attention: all pairs of
 * rows of a segment, half of them where it is causal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "cli/machine.h"
#include "tensor/backend.h"

enum { ROUNDS = 9, STEPS = 16 };

/* CPU time where there is one thread, as the limits. */
static clockid_t work_clock = CLOCK_MONOTONIC;

/* ---- operations, timed ---- */
typedef struct op {
    const char *name;
    double seconds;
    int calls;
} op;

/* Operations take no pointer of ours: one table serves, of the one backend at work. */
static struct {
    const vtensor_table *real;
    op linear, attention, norm, rope, embed, gate, activation, add, move, other;
    double bytes, products; /* of linears: weights read; of linears and attention: multiply-adds times 2 */
} ops = { .linear.name = "linear",
          .attention.name = "attention",
          .norm.name = "norm",
          .rope.name = "rope",
          .embed.name = "embed",
          .gate.name = "gate",
          .activation.name = "activation",
          .add.name = "add",
          .move.name = "copy",
          .other.name = "other" };
static op *const every_op[] = { &ops.linear, &ops.attention,  &ops.norm, &ops.rope, &ops.embed,
                                &ops.gate,   &ops.activation, &ops.add,  &ops.move, &ops.other };
enum { N_OPS = sizeof every_op / sizeof every_op[0] };

#define TIMED(which, call)                                                                         \
    do {                                                                                           \
        double start = seconds_of(work_clock);                                                \
        call;                                                                                      \
        ops.which.seconds += seconds_of(work_clock) - start;                                  \
        ops.which.calls++;                                                                         \
    } while (0)

static double bytes_of(vlm_tensor x) {
    return x.rank ? (double)(vtensor_count(x) * (int64_t)vtensor_dtype_size(x.dtype)) : 0;
}

static void count_linear(vlm_tensor x, const vlm_linear *l) {
    const vlm_matrix *w = &l->weight;
    ops.bytes += bytes_of(w->data) + bytes_of(w->scales) + bytes_of(w->biases);
    ops.products += 2 * (double)x.shape[0] * (double)w->in * (double)w->out;
}

static void linears(vlm_frame *f, const vlm_tensor *y, vlm_tensor x, const vlm_linear *const *l, int n) {
    for (int i = 0; i < n; i++) count_linear(x, l[i]);
    TIMED(linear, ops.real->linears(f, y, x, l, n));
}

static void linear(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_linear *l) {
    linears(f, &y, x, &l, 1);
}

static void linear_for_sum(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_linear *l) {
    count_linear(x, l);
    TIMED(linear, ops.real->linear_for_sum(f, y, x, l));
}

static void attention(vlm_frame *f, vlm_tensor y, vlm_tensor q, vlm_tensor k, vlm_tensor v,
                      const vlm_segment *segments, int n, const vlm_attention_desc *desc) {
    for (int i = 0; i < n; i++) {
        double rows = (double)segments[i].length, own = desc->causal ? rows / 2 : rows;
        ops.products +=
            4 * rows * ((double)segments[i].past + own) * (double)(q.shape[1] * q.shape[2]);
    }
    TIMED(attention, ops.real->attention(f, y, q, k, v, segments, n, desc));
}

static void norm(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_norm *n, bool subtract_mean) {
    TIMED(norm, ops.real->norm(f, y, x, n, subtract_mean));
}
static void rope_angles(vlm_frame *f, const vlm_rope_table *y, vlm_tensor positions, const float *inv_freq,
                        const uint8_t *axis_of) {
    TIMED(rope, ops.real->rope_angles(f, y, positions, inv_freq, axis_of));
}
static void rope(vlm_frame *f, vlm_tensor x, const vlm_rope_table *table, vlm_rope_pairs pairs) {
    TIMED(rope, ops.real->rope(f, x, table, pairs));
}
static void embed(vlm_frame *f, vlm_tensor y, const vlm_matrix *table, vlm_tensor ids) {
    TIMED(embed, ops.real->embed(f, y, table, ids));
}
static void gate(vlm_frame *f, vlm_tensor g, vlm_tensor up, vlm_activation act) {
    TIMED(gate, ops.real->gate(f, g, up, act));
}
static void activation(vlm_frame *f, vlm_tensor x, vlm_activation act) {
    TIMED(activation, ops.real->activation(f, x, act));
}
static void add(vlm_frame *f, vlm_tensor x, vlm_tensor y) {
    TIMED(add, ops.real->add(f, x, y));
}
static void mul(vlm_frame *f, vlm_tensor x, vlm_tensor y) {
    TIMED(other, ops.real->mul(f, x, y));
}
static void scale(vlm_frame *f, vlm_tensor x, float factor) {
    TIMED(other, ops.real->scale(f, x, factor));
}
static void softcap(vlm_frame *f, vlm_tensor x, float cap) {
    TIMED(other, ops.real->softcap(f, x, cap));
}
static void copy(vlm_frame *f, vlm_tensor y, vlm_tensor x) {
    TIMED(move, ops.real->copy(f, y, x));
}
static void gather(vlm_frame *f, vlm_tensor y, vlm_tensor x, vlm_tensor index) {
    TIMED(move, ops.real->gather(f, y, x, index));
}
static void scatter(vlm_frame *f, vlm_tensor x, vlm_tensor index, vlm_tensor rows) {
    TIMED(move, ops.real->scatter(f, x, index, rows));
}

static void time_operations(vtensor_backend *backend) {
    static vtensor_table table;
    table = *(ops.real = backend->table);
    table.linear = linear, table.linears = linears, table.linear_for_sum = linear_for_sum;
    table.attention = attention, table.norm = norm;
    table.rope_angles = rope_angles, table.rope = rope, table.embed = embed;
    if (table.gate) table.gate = gate;
    table.activation = activation, table.add = add, table.mul = mul, table.scale = scale;
    table.softcap = softcap, table.copy = copy, table.gather = gather, table.scatter = scatter;
    backend->table = &table;
}

static void clear_operations(void) {
    for (int i = 0; i < N_OPS; i++) every_op[i]->seconds = every_op[i]->calls = 0;
    ops.bytes = ops.products = 0;
}

/* Where the time of `passes` passes went that took so long together. */
static void print_operations(double seconds, int passes) {
    double rest = seconds;
    for (int i = 0; i < N_OPS; i++) {
        const op *o = every_op[i];
        rest -= o->seconds;
        if (o->calls)
            printf("    %-12s %6d calls %9.3f ms %5.1f %%\n", o->name, o->calls / passes,
                   o->seconds / passes * 1e3, 100 * o->seconds / seconds);
    }
    printf("    %-12s              %9.3f ms %5.1f %%\n", "rest", rest / passes * 1e3, 100 * rest / seconds);
}

/* ---- passes ---- */
static void check(vlm_status status, const vlm_error *err) {
    if (status >= 0) return;
    fprintf(stderr, "bench_passes: %s\n", err->message);
    exit(1);
}

/* A prompt of about so many tokens, or of a square picture. */
static vlm_prepared *prepare(const vlm_context *c, size_t tokens, uint32_t side) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_input *input;
    vlm_prepared *prepared;
    vlm_image *image;
    vcore_buf text = { 0 };
    for (size_t i = 0; i < tokens; i++) vcore_buf_add(&text, i % 2 ? " 1" : " a", 2);
    vcore_buf_add(&text, "", 1);
    check(vlm_input_new(&input, &err), &err);
    if (side) {
        uint8_t *pixels = malloc((size_t)side * side * 3);
        for (size_t i = 0; pixels && i < (size_t)side * side * 3; i++) pixels[i] = (uint8_t)(i * i >> 5);
        check(vlm_image_from_pixels(&image, pixels, (vlm_size) { side, side }, 3, (size_t)side * 3, &err), &err);
        check(vlm_input_add_image(input, image, &err), &err);
        free(pixels);
    }
    check(vlm_input_add_message(input, "user", tokens ? text.p : "a", &err), &err);
    check(vlm_prepare(&prepared, c, input, &err), &err);
    vcore_buf_free(&text);
    vlm_input_free(input);
    return prepared;
}

static vlm_session *session(const vlm_context *c, size_t context) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_session *s;
    vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
    o.context = (uint32_t)context;
    o.max_tokens = 1 << 20;
    o.ignore_eos = true;
    check(vlm_session_new(&s, c, &o, &err), &err);
    return s;
}

static void bench_decode(machine *m, const vlm_context *c, size_t past) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_prepared *prepared = prepare(c, past, 0);
    vlm_session *s = session(c, vlm_prepared_tokens(prepared, NULL) + (ROUNDS + 1) * STEPS + 8);
    double took[ROUNDS], share[ROUNDS], bytes = 0, all = 0;
    check(vlm_session_feed(s, prepared, &err), &err);
    for (int round = -1; round < ROUNDS; round++) {
        vlm_piece piece;
        limits before = measure(m, vcore_cpu_flags());
        if (round == 0) clear_operations();
        double start = seconds_of(work_clock);
        for (int i = 0; i < STEPS; i++) check(vlm_session_next(s, &piece, &err), &err);
        if (round < 0) continue;
        took[round] = (seconds_of(work_clock) - start) / STEPS;
        all += took[round] * STEPS;
        bytes = ops.bytes / (round + 1) / STEPS;
        limits after = measure(m, vcore_cpu_flags());
        share[round] = bytes / took[round] / ((before.read + after.read) / 2);
    }
    double middle = median(took, ROUNDS);
    printf("decode behind %zu: %.2f ms, %.1f MB of weights, %.1f GB/s, %.1f %% of read bandwidth\n",
           vlm_prepared_tokens(prepared, NULL), middle * 1e3, bytes / 1e6, bytes / middle / 1e9,
           100 * median(share, ROUNDS));
    print_operations(all, ROUNDS * STEPS);
    vlm_session_free(s);
    vlm_prepared_free(prepared);
}

/* A prompt of tokens or one picture; of the latter, the tower's part. */
static void bench_prompt(machine *m, const vlm_context *c, size_t tokens, uint32_t side) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_prepared *prepared = prepare(c, tokens, side);
    size_t n = vlm_prepared_tokens(prepared, NULL);
    double took[ROUNDS], share[ROUNDS], all = 0, total = 0;
    int rounds = 0;
    vlm_frame *f;
    int32_t *positions;
    int64_t next = 0;
    check(vengine_positions(&positions, &next, c, prepared, 0, &err), &err);
    check(vtensor_frame_new(&f, c->backend, c->mode, &err), &err);
    for (int round = -1; round < ROUNDS && (total < 20 || rounds < 3); round++) {
        vlm_session *s = side ? NULL : session(c, n + 1);
        vengine_run run = { .context = c, .frame = f, .positions = positions };
        run.ids = vlm_prepared_ids(prepared, &run.n);
        limits before = measure(m, vcore_cpu_flags());
        clear_operations();
        double start = seconds_of(work_clock);
        if (side) {
            vtensor_frame_begin(f);
            check(vengine_run_features(&run, prepared, &err), &err);
            check(vtensor_frame_end(f, &err), &err);
        } else {
            check(vlm_session_feed(s, prepared, &err), &err);
        }
        all = seconds_of(work_clock) - start;
        vlm_session_free(s);
        if (round < 0) continue;
        limits after = measure(m, vcore_cpu_flags());
        took[rounds] = all;
        share[rounds++] = ops.products / all / ((before.bf16 + after.bf16) / 2);
        total += all;
    }
    double middle = median(took, rounds);
    if (side) printf("vision, a picture of %u x %u: ", side, side);
    if (!side) printf("prefill of %zu tokens: ", n);
    printf("%.1f ms, %.1f GFLOP, %.1f GFLOP/s, %.1f %% of the bfloat16 peak\n", middle * 1e3,
           ops.products / 1e9, ops.products / middle / 1e9, 100 * median(share, rounds));
    print_operations(all, 1);
    vtensor_frame_free(f);
    vcore_free(positions);
    vlm_prepared_free(prepared);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: bench_passes DIR [threads [decode | prefill | vision [N ...]]]\n");
        return 1;
    }
    vlm_error err = VLM_ERROR_INIT;
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    options.threads = argc > 2 ? atoi(argv[2]) : 0;
    const char *what = argc > 3 ? argv[3] : "";
    static machine m;
    machine_init(&m, options.threads);
    work_clock = m.clock;
    vlm_context *c;
    check(vlm_context_load(&c, argv[1], &options, &err), &err);
    time_operations(c->backend);
    report_limits(&m, vcore_cpu_flags());
    char *usual[] = { "0", "512", "512" }, *kinds[] = { "decode", "prefill", "vision" };
    for (int k = 0; k < 3; k++) {
        if (*what && strcmp(what, kinds[k]) != 0) continue;
        for (int i = 4; i < (argc > 4 ? argc : 5); i++) {
            size_t n = (size_t)atoi(argc > 4 ? argv[i] : usual[k]);
            if (k == 0) bench_decode(&m, c, n);
            if (k > 0) bench_prompt(&m, c, k == 1 ? n : 0, k == 2 ? (uint32_t)n : 0);
        }
    }
    vlm_context_free(c);
    machine_free(&m);
    return 0;
}
