/* SPDX-License-Identifier: MIT */
/* The measurements of `vlm bench`: work of the library's own passes, between measurements of the machine. Owns which
 * piece of work runs when; what a pass computes and reads is counted by the library. */
#include "cli/bench.h"

#include <dirent.h>
#include <sys/stat.h>

typedef struct bench {
    const bench_options *options;
    const cli_input *in;
    const vlm_context *context;
    vlm_prepared *prepared; /* of the row's prompt, or with its pictures */
    vlm_session *sessions[32];
    ceilings ceilings;
    clockid_t clock;
    bench_result *result;
} bench;

static limits mean_of(const limits *a, const limits *b) {
    return (limits) { (a->read + b->read) / 2,   (a->anonymous + b->anonymous) / 2, (a->mapped + b->mapped) / 2,
                      (a->f32 + b->f32) / 2,     (a->bf16 + b->bf16) / 2,           (a->int8 + b->int8) / 2 };
}

/* ---- pieces of work -------------------------------------------------------------------------------- */

static vlm_status prefill(bench *b, const bench_row *row, double *seconds, vlm_error *err) {
    (void)row;
    vlm_session_reset(b->sessions[0]);
    double start = seconds_of(b->clock);
    VTRY(vlm_session_feed(b->sessions[0], b->prepared, err));
    *seconds = seconds_of(b->clock) - start;
    return VLM_OK;
}

static vlm_status see(bench *b, const bench_row *row, double *seconds, vlm_error *err) {
    (void)row;
    double start = seconds_of(b->clock);
    VTRY(vlm_session_see(b->sessions[0], b->prepared, err));
    *seconds = seconds_of(b->clock) - start;
    return VLM_OK;
}

static vlm_status step(bench *b, size_t batch, vlm_error *err) {
    vlm_piece pieces[32];
    vlm_status statuses[32];
    VTRY(vlm_sessions_next(b->sessions, pieces, statuses, batch, err));
    for (size_t i = 0; i < batch; i++) VTRY(statuses[i]);
    return VLM_OK;
}

/* The first token comes from logits that are there already: it is not timed. */
static vlm_status decode(bench *b, const bench_row *row, double *seconds, vlm_error *err) {
    for (size_t i = 0; i < row->batch; i++) VTRY(vlm_session_assume(b->sessions[i], row->tokens, err));
    VTRY(step(b, row->batch, err));
    double start = seconds_of(b->clock);
    for (uint32_t i = 0; i < b->options->generate; i++) VTRY(step(b, row->batch, err));
    *seconds = (seconds_of(b->clock) - start) / b->options->generate;
    return VLM_OK;
}

/* ---- rounds ---------------------------------------------------------------------------------------- */

/* The first pass is there for the caches, and counts only where it took half of the row's time. */
static vlm_status measure_row(bench *b, bench_row *row, vlm_error *err) {
    vlm_status (*const works[])(bench *, const bench_row *, double *, vlm_error *) = { see, prefill, prefill, decode };
    double began = seconds_of(CLOCK_MONOTONIC), most = b->options->seconds;
    limits before, after;
    VTRY(ceilings_measure(&b->ceilings, &before, err));
    for (bool first = true; row->rounds < (int)b->options->rounds; first = false) {
        double seconds;
        VTRY(works[row->kind](b, row, &seconds, err));
        VTRY(ceilings_measure(&b->ceilings, &after, err));
        double spent = seconds_of(CLOCK_MONOTONIC) - began;
        if (!first || spent > most / 2) {
            row->seconds[row->rounds] = seconds;
            row->limit[row->rounds++] = mean_of(&before, &after);
        }
        if (row->rounds && spent > most) break;
        before = after;
    }
    return VLM_OK;
}

/* Of sessions that read so many tokens. */
static vlm_session_options session_options(const bench *b, size_t tokens) {
    vlm_session_options options = VLM_SESSION_OPTIONS_INIT;
    options.max_tokens = b->options->generate + 1;
    options.context = (uint32_t)tokens + options.max_tokens;
    options.prefill_step = b->in->prefill_step;
    options.kv_bits = b->in->kv_bits;
    options.ignore_eos = true;
    return options;
}

static vlm_status make_sessions(bench *b, size_t n, size_t tokens, vlm_error *err) {
    const vlm_session_options options = session_options(b, tokens);
    for (size_t i = 0; i < n; i++) VTRY(vlm_session_new(&b->sessions[i], b->context, &options, err));
    return VLM_OK;
}

static void end_row(bench *b, const bench_row *row) {
    uint64_t held = 0;
    for (size_t i = 0; i < sizeof b->sessions / sizeof b->sessions[0]; i++) {
        vlm_session_stats stats;
        vlm_session_get_stats(b->sessions[i], &stats);
        held += stats.kv_bytes;
        vlm_session_free(b->sessions[i]);
        b->sessions[i] = NULL;
    }
    if (held > b->result->kv_bytes) b->result->kv_bytes = held;
    vlm_prepared_free(b->prepared);
    b->prepared = NULL;
    if (row->rounds) b->result->n_rows++;
}

/* ---- rows ------------------------------------------------------------------------------------------ */

/* Grey noise: what a picture shows costs the tower nothing. */
static vlm_status add_picture(vlm_input *to, vlm_size size, vlm_error *err) {
    size_t pixels, bytes;
    if (!vcore_mul(size.width, size.height, &pixels) || !vcore_mul(pixels, 3, &bytes))
        return vcore_fail(err, VLM_ERR_LIMIT, "--picture: too large");
    uint8_t *rgb = vcore_alloc(bytes);
    if (!rgb) return vcore_no_memory(err, "--picture");
    for (size_t i = 0; i < bytes; i++) rgb[i] = (uint8_t)(i / 3 * 2654435761u >> 24);
    vlm_image *image;
    vlm_status status = vlm_image_from_pixels(&image, rgb, size, 3, (size_t)size.width * 3, err);
    vcore_free(rgb);
    VTRY(status);
    status = vlm_input_add_image(to, image, err);
    if (status < 0) vlm_image_free(image);
    return status;
}

static bool has_media(const bench *b) {
    const cli_input *in = b->in;
    return in->images.n || in->videos.n || in->containers.n || in->input_file || b->options->picture.width;
}

static vlm_status prepare_media(bench *b, vlm_error *err) {
    if (b->in->input_file) return vlm_prepared_load(&b->prepared, b->context, b->in->input_file, err);
    vlm_input *input;
    VTRY(cli_build_input(&input, b->in, "What is this?", err));
    vlm_status status = VLM_OK;
    if (b->options->picture.width) status = add_picture(input, b->options->picture, err);
    if (status >= 0) status = vlm_prepare(&b->prepared, b->context, input, err);
    vlm_input_free(input);
    return status;
}

static vlm_status vision_row(bench *b, bench_row *row, vlm_error *err) {
    vlm_work prompt;
    VTRY(prepare_media(b, err));
    VTRY(make_sessions(b, 1, 1, err));
    VTRY(vlm_prepared_work(&row->work, &prompt, b->context, b->prepared, NULL, err));
    vlm_prepared_tokens(b->prepared, &row->tokens);
    return measure_row(b, row, err);
}

/* From pixels to logits: the tower and the whole prompt, as a user waits for it. */
static vlm_status first_row(bench *b, bench_row *row, vlm_error *err) {
    vlm_work prompt;
    VTRY(prepare_media(b, err));
    row->tokens = vlm_prepared_tokens(b->prepared, NULL);
    const vlm_session_options options = session_options(b, row->tokens);
    VTRY(make_sessions(b, 1, row->tokens, err));
    VTRY(vlm_prepared_work(&row->work, &prompt, b->context, b->prepared, &options, err));
    row->work.linear += prompt.linear;
    row->work.attention += prompt.attention;
    row->work.weight_bytes += prompt.weight_bytes;
    row->work.kv_bytes += prompt.kv_bytes;
    return measure_row(b, row, err);
}

static vlm_status prefill_row(bench *b, bench_row *row, vlm_error *err) {
    vlm_work vision;
    const vlm_session_options options = session_options(b, row->tokens);
    VTRY(vlm_prepared_draw(&b->prepared, b->context, row->tokens, err));
    VTRY(make_sessions(b, 1, row->tokens, err));
    VTRY(vlm_prepared_work(&vision, &row->work, b->context, b->prepared, &options, err));
    return measure_row(b, row, err);
}

static vlm_status decode_row(bench *b, bench_row *row, vlm_error *err) {
    const vlm_session_options options = session_options(b, row->tokens);
    vlm_work end;
    VTRY(make_sessions(b, row->batch, row->tokens, err));
    VTRY(vlm_context_work(&row->work, b->context, row->tokens, row->batch, &options, err));
    VTRY(vlm_context_work(&end, b->context, row->tokens + b->options->generate - 1, row->batch, &options, err));
    row->work.attention = (row->work.attention + end.attention) / 2;
    row->work.kv_bytes = (row->work.kv_bytes + end.kv_bytes) / 2;
    return measure_row(b, row, err);
}

static vlm_status run_row(bench *b, bench_kind kind, size_t tokens, size_t batch, vlm_error *err) {
    vlm_status (*const rows[])(bench *, bench_row *, vlm_error *) = { vision_row, first_row, prefill_row, decode_row };
    bench_row *row = &b->result->rows[b->result->n_rows];
    *row = (bench_row) { .kind = kind, .tokens = tokens, .batch = batch };
    vlm_status status = rows[kind](b, row, err);
    end_row(b, row);
    return status;
}

/* The pages of the weights are brought in by a short prompt. */
static vlm_status warm_up(bench *b, vlm_error *err) {
    double seconds;
    bench_row row = { .kind = BENCH_PREFILL };
    VTRY(vlm_prepared_draw(&b->prepared, b->context, 8, err));
    vlm_status status = make_sessions(b, 1, 8, err);
    if (status >= 0) status = prefill(b, &row, &seconds, err);
    end_row(b, &row);
    return status;
}

static vlm_status run_rows(bench *b, vlm_error *err) {
    const bench_options *o = b->options;
    VTRY(warm_up(b, err));
    if (has_media(b)) {
        VTRY(run_row(b, BENCH_VISION, 0, 1, err));
        VTRY(run_row(b, BENCH_FIRST, 0, 1, err));
    }
    for (size_t i = 0; i < o->prompts.n; i++) VTRY(run_row(b, BENCH_PREFILL, o->prompts.at[i], 1, err));
    for (size_t k = 0; o->generate && k < o->batches.n; k++)
        for (size_t i = 0; i < o->held.n; i++)
            VTRY(run_row(b, BENCH_DECODE, o->held.at[i], o->batches.at[k], err));
    return VLM_OK;
}

/* ---- the whole ------------------------------------------------------------------------------------- */

/* The largest of the checkpoint's files of weights. */
static void read_weights(ceilings *c, const char *dir) {
    char path[2048], largest[2048] = "";
    off_t most = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".safetensors") != 0) continue;
        int n = snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (n >= (int)sizeof path || strchr(path, '\n') || stat(path, &st) != 0 || st.st_size <= most) continue;
        most = st.st_size;
        memcpy(largest, path, sizeof largest);
    }
    if (d) closedir(d);
    if (most) ceilings_read_file(c, largest);
}

/* The median of up to three loads, the last of which stays. */
static vlm_status load(bench *b, vlm_context **context, vlm_error *err) {
    double took[3];
    int n = b->options->rounds < 3 ? (int)b->options->rounds : 3;
    for (int i = 0; i < n; i++) {
        vlm_context_free(*context);
        *context = NULL;
        double start = seconds_of(b->clock);
        VTRY(cli_load(context, b->in, err));
        b->context = *context;
        VTRY(make_sessions(b, 1, 1, err));
        took[i] = seconds_of(b->clock) - start;
        vlm_session_free(b->sessions[0]);
        b->sessions[0] = NULL;
    }
    b->result->load_ms = median(took, n) * 1e3;
    return VLM_OK;
}

vlm_status bench_run(bench_result *r, vlm_context **context, const cli_input *in, const bench_options *o,
                     vlm_error *err) {
    *context = NULL;
    *r = (bench_result) { .threads = vcore_pool_asked((int)in->threads) };
    bench b = { .options = o, .in = in, .result = r };
    b.clock = r->threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    /* The limits are the processor's: a GPU's figures stand without them. More threads than CPUs reach no more,
     * and each takes memory to read. */
    bool here = !in->backend || strcmp(in->backend, "cuda") != 0;
    int cpus = vcore_pool_asked(0), threads = r->threads < cpus ? r->threads : cpus;
    vlm_status status = here ? ceilings_start(&b.ceilings, threads, err) : VLM_OK;
    if (status >= 0) status = load(&b, context, err);
    if (status >= 0) {
        r->info = vlm_context_get_info(*context);
        read_weights(&b.ceilings, r->info->directory);
        status = run_rows(&b, err);
    }
    ceilings_stop(&b.ceilings);
    return status;
}
