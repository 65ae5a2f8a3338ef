/* SPDX-License-Identifier: MIT */
/* What `vlm bench` prints: a table, or one JSON object. */
#include "cli/bench.h"

#include <math.h>
#include <stdio.h>

/* ---- medians over a row's rounds ------------------------------------------------------------------- */

typedef struct figures {
    double seconds, flops, bytes;    /* flops, bytes: a second */
    double read, f32, bf16, int8;    /* shares of the limits */
} figures;

static double work_operations(const bench_row *row) {
    return (double)(row->work.linear + row->work.attention);
}

static double work_bytes(const bench_row *row) {
    return (double)(row->work.weight_bytes + row->work.kv_bytes);
}

/* Of one limit, by its place in the struct; 0: there is none. */
static double limit_at(const limits *l, size_t place) {
    return *(const double *)((const char *)l + place);
}

static double share_of(const bench_row *row, double work, size_t place) {
    double v[BENCH_ROUNDS];
    for (int i = 0; i < row->rounds; i++) {
        double limit = limit_at(&row->limit[i], place);
        if (limit <= 0) return 0;
        v[i] = work / row->seconds[i] / limit;
    }
    return median(v, row->rounds);
}

static figures figures_of(const bench_row *row) {
    double v[BENCH_ROUNDS], work = work_operations(row);
    memcpy(v, row->seconds, sizeof v);
    figures f = { .seconds = median(v, row->rounds) };
    f.flops = work / f.seconds;
    f.bytes = work_bytes(row) / f.seconds;
    f.read = share_of(row, work_bytes(row), offsetof(limits, read));
    f.f32 = share_of(row, work, offsetof(limits, f32));
    f.bf16 = share_of(row, work, offsetof(limits, bf16));
    f.int8 = share_of(row, work, offsetof(limits, int8));
    return f;
}

/* Over the rounds of all rows. */
static double limit_of(const bench_result *r, size_t place) {
    static double v[BENCH_ROWS * BENCH_ROUNDS];
    int n = 0;
    for (size_t i = 0; i < r->n_rows; i++)
        for (int k = 0; k < r->rows[i].rounds; k++) v[n++] = limit_at(&r->rows[i].limit[k], place);
    return n ? median(v, n) : 0;
}

/* Tokens of one pass. */
static double tokens_of(const bench_row *row) {
    return (double)(row->kind == BENCH_DECODE ? row->batch : row->tokens);
}

/* ---- the machine ----------------------------------------------------------------------------------- */

/* Its name as the system tells it, "" where it does not. */
static void cpu_name(char *out, size_t bytes) {
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    out[0] = 0;
    while (f && !out[0] && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) snprintf(out, bytes, "%s", colon + 2);
    }
    if (f) fclose(f);
    out[strcspn(out, "\n")] = 0;
}

static const struct {
    unsigned flag;
    const char *name;
} features[] = { { VCORE_CPU_AVX2, "avx2" },
                 { VCORE_CPU_AVX512, "avx512" },
                 { VCORE_CPU_AVX512_BF16, "avx512_bf16" },
                 { VCORE_CPU_AVX512_VNNI, "avx512_vnni" },
                 { VCORE_CPU_AVX_VNNI, "avx_vnni" },
                 { VCORE_CPU_AMX, "amx" },
                 { VCORE_CPU_NEON, "neon" },
                 { VCORE_CPU_NEON_DOT, "neon_dot" },
                 { VCORE_CPU_NEON_BF16, "neon_bf16" },
                 { VCORE_CPU_NEON_I8MM, "neon_i8mm" } };
enum { FEATURES = sizeof features / sizeof features[0] };

static const struct {
    const char *key, *name, *unit;
    size_t place;
} limit_names[] = { { "read_gb_s", "read", "GB/s", offsetof(limits, read) },
                    { "read_anonymous_gb_s", "of memory", "GB/s", offsetof(limits, anonymous) },
                    { "read_mapped_gb_s", "of the mapped file", "GB/s", offsetof(limits, mapped) },
                    { "f32_gflop_s", "float32", "GFLOP/s", offsetof(limits, f32) },
                    { "bf16_gflop_s", "bfloat16", "GFLOP/s", offsetof(limits, bf16) },
                    { "int8_gop_s", "8-bit integers", "GOP/s", offsetof(limits, int8) } };
enum { LIMITS = sizeof limit_names / sizeof limit_names[0] };

/* ---- JSON ------------------------------------------------------------------------------------------ */

static void put(vcore_buf *b, const char *key, double x) {
    vcore_json_put_real(b, key, round(x * 1e4) / 1e4);
}

/* Null where the machine has no such limit. */
static void put_known(vcore_buf *b, const char *key, double x) {
    if (x > 0)
        put(b, key, x);
    else
        vcore_json_put_text(b, key, NULL);
}

static void put_machine(vcore_buf *b, const bench_result *r) {
    char name[256];
    unsigned flags = vcore_cpu_flags();
    cpu_name(name, sizeof name);
    vcore_json_open(b, "machine", '{');
    vcore_json_put_text(b, "cpu", name);
    vcore_json_open(b, "features", '[');
    for (int i = 0; i < FEATURES; i++)
        if (flags & features[i].flag) vcore_json_put_text(b, NULL, features[i].name);
    vcore_json_close(b, ']');
    vcore_json_put_int(b, "threads", r->threads);
    vcore_json_put_text(b, "clock", r->threads == 1 ? "cpu" : "wall");
    vcore_json_close(b, '}');
    vcore_json_open(b, "limits", '{');
    for (int i = 0; i < LIMITS; i++) put_known(b, limit_names[i].key, limit_of(r, limit_names[i].place) / 1e9);
    vcore_json_close(b, '}');
}

static void put_row(vcore_buf *b, const bench_row *row) {
    static const char *const tokens[] = { "media_tokens", "prompt_tokens", "prompt_tokens", "kv_tokens" };
    figures f = figures_of(row);
    vcore_json_open(b, NULL, '{');
    vcore_json_put_uint(b, tokens[row->kind], row->tokens);
    if (row->kind == BENCH_DECODE) vcore_json_put_uint(b, "batch", row->batch);
    vcore_json_put_uint(b, "linear_ops", row->work.linear);
    vcore_json_put_uint(b, "attention_ops", row->work.attention);
    vcore_json_put_uint(b, "weight_bytes", row->work.weight_bytes);
    vcore_json_put_uint(b, "kv_bytes", row->work.kv_bytes);
    vcore_json_put_int(b, "rounds", row->rounds);
    put(b, "ms", f.seconds * 1e3);
    put(b, "tokens_s", tokens_of(row) / f.seconds);
    put(b, "gflop_s", f.flops / 1e9);
    put(b, "gb_s", f.bytes / 1e9);
    put_known(b, "share_of_read", f.read);
    put_known(b, "share_of_f32", f.f32);
    put_known(b, "share_of_bf16", f.bf16);
    put_known(b, "share_of_int8", f.int8);
    vcore_json_close(b, '}');
}

static void put_rows(vcore_buf *b, const bench_result *r, const char *key, bench_kind kind) {
    vcore_json_open(b, key, '[');
    for (size_t i = 0; i < r->n_rows; i++)
        if (r->rows[i].kind == kind) put_row(b, &r->rows[i]);
    vcore_json_close(b, ']');
}

void bench_print_json(const bench_result *r) {
    vcore_buf b = { 0 };
    vcore_json_open(&b, NULL, '{');
    vcore_json_put_text(&b, "version", vlm_version());
    vcore_json_put_text(&b, "model", r->model);
    vcore_json_put_text(&b, "model_type", r->info->model_type);
    vcore_json_put_text(&b, "backend", r->info->backend);
    vcore_json_put_uint(&b, "parameters", r->info->parameters);
    put_machine(&b, r);
    put(&b, "load_ms", r->load_ms);
    put_rows(&b, r, "vision", BENCH_VISION);
    put_rows(&b, r, "first_token", BENCH_FIRST);
    put_rows(&b, r, "prefill", BENCH_PREFILL);
    put_rows(&b, r, "decode", BENCH_DECODE);
    vcore_json_open(&b, "memory", '{');
    vcore_json_put_uint(&b, "weights_bytes", r->info->weight_bytes);
    vcore_json_put_uint(&b, "kv_bytes", r->kv_bytes);
    vcore_json_put_uint(&b, "peak_rss_bytes", cli_memory_now().peak);
    vcore_json_close(&b, '}');
    vcore_json_close(&b, '}');
    puts(b.p ? b.p : "{}");
    vcore_buf_free(&b);
}

/* ---- the table ------------------------------------------------------------------------------------- */

static void print_share(double share) {
    if (share > 0)
        printf("%9.0f %%", 100 * share);
    else
        printf("%11s", "-");
}

static void print_row(const bench_row *row) {
    char name[48];
    figures f = figures_of(row);
    int n = snprintf(name, sizeof name, "%s %zu",
                     row->kind == BENCH_VISION    ? "vision, tokens"
                     : row->kind == BENCH_FIRST   ? "first token of"
                     : row->kind == BENCH_PREFILL ? "prefill of"
                                                  : "decode behind",
                     row->tokens);
    if (row->batch > 1) snprintf(name + n, sizeof name - (size_t)n, ", %zu together", row->batch);
    printf("%-30s%10.2f%11.2f%10.1f%9.1f", name, f.seconds * 1e3, tokens_of(row) / f.seconds, f.flops / 1e9,
           f.bytes / 1e9);
    print_share(f.read);
    print_share(f.f32);
    print_share(f.bf16);
    print_share(f.int8);
    printf("%5d\n", row->rounds);
}

void bench_print_table(const bench_result *r) {
    char name[256];
    cpu_name(name, sizeof name);
    printf("%s: %s, %.0f M parameters, weights %.1f MB\n", r->model, r->info->model_type,
           (double)r->info->parameters / 1e6, (double)r->info->weight_bytes / 1e6);
    printf("%s, %d thread%s%s, medians\nlimits:", name, r->threads, r->threads == 1 ? "" : "s",
           r->threads == 1 ? " (CPU time)" : "");
    for (int i = 0; i < LIMITS; i++) {
        double limit = limit_of(r, limit_names[i].place);
        if (limit > 0)
            printf("%s %s %.1f %s", i ? "," : "", limit_names[i].name, limit / 1e9, limit_names[i].unit);
    }
    printf("\nload %.0f ms\n\n%-30s%10s%11s%10s%9s%11s%11s%11s%11s%5s\n", r->load_ms, "", "ms", "tokens/s", "GFLOP/s",
           "GB/s", "of read", "of f32", "of bf16", "of int8", "n");
    for (size_t i = 0; i < r->n_rows; i++) print_row(&r->rows[i]);
    printf("\nmemory: weights %.1f MB, state at most %.1f MB, peak %.1f MB\n", (double)r->info->weight_bytes / 1e6,
           (double)r->kv_bytes / 1e6, (double)cli_memory_now().peak / 1e6);
}
