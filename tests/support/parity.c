/* SPDX-License-Identifier: MIT */
#include "support/parity.h"

#include <stdio.h>
#include <stdlib.h>

#include "io/io.h"
#include "support/cm.h"

static void require(vlm_status status, const vlm_error *err, const char *what) {
    if (status < 0) fail_msg("%s: %s: %s", what, vlm_status_name(status), err->message);
}

void tparity_open(tparity *p, const char *golden_dir, const tcheckpoint_options *names,
                  vlm_precision precision, int threads) {
    vlm_error err = VLM_ERROR_INIT;
    p->golden = tgolden_open(golden_dir);
    assert_non_null(p->golden);
    p->dir = tcheckpoint_temp_dir();
    assert_non_null(p->dir);
    assert_true(tcheckpoint_write(golden_dir, p->dir, names));
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    options.precision = precision;
    options.threads = threads;
    require(vlm_context_load(&p->context, p->dir, &options, &err), &err, golden_dir);
}

void tparity_close(tparity *p) {
    vlm_context_free(p->context);
    tcheckpoint_remove(p->dir);
    free(p->dir);
    tgolden_close(p->golden);
}

vlm_input *tparity_input(const tgolden_case *of) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_input *in;
    require(vlm_input_new(&in, &err), &err, of->name);
    vlm_processing processing = VLM_PROCESSING_INIT;
    processing.min_pixels = (uint64_t)of->min_pixels;
    processing.max_pixels = (uint64_t)of->max_pixels;
    processing.pan_and_scan = of->pan_and_scan;
    require(vlm_input_set_processing(in, &processing, &err), &err, of->name);
    for (size_t i = 0; i < of->picture_count; i++)
        require(vlm_input_add_image_file(in, of->pictures[i], &err), &err, of->name);
    if (of->frames) require(vlm_input_add_video_dir(in, of->frames, of->fps, &err), &err, of->name);
    if (of->messages)
        require(vlm_input_set_messages(in, of->messages, &err), &err, of->name);
    else
        require(vlm_input_set_raw(in, of->prompt, &err), &err, of->name);
    return in;
}

vlm_prepared *tparity_prepare(const tparity *p, const tgolden_case *of) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_prepared *prepared;
    if (!of->messages && !of->prompt) {
        char *path = tcheckpoint_path(p->dir, "input.safetensors");
        assert_true(tgolden_write_input(p->golden, of, path));
        require(vlm_prepared_load(&prepared, p->context, path, &err), &err, of->name);
        free(path);
        return prepared;
    }
    vlm_input *in = tparity_input(of);
    require(vlm_prepare(&prepared, p->context, in, &err), &err, of->name);
    vlm_input_free(in);
    return prepared;
}

float *tparity_read(const char *path, const char *name, size_t *count, size_t *rows) {
    vlm_error err = VLM_ERROR_INIT;
    vio_tensors *file;
    require(vio_tensors_open_file(&file, path, NULL, &err), &err, path);
    const vio_tensor *t = vio_tensors_find(file, name);
    if (!t) fail_msg("%s: no tensor '%s'", path, name);
    assert_int_equal(t->dtype, VIO_F32);
    float *copy = malloc(t->bytes + 1);
    memcpy(copy, t->data, t->bytes);
    *count = t->bytes / sizeof(float);
    if (rows) *rows = (size_t)t->shape[0];
    vio_tensors_close(file);
    return copy;
}

char *tparity_dump(const tparity *p, const vlm_prepared *prepared, vlm_stage stage) {
    vlm_error err = VLM_ERROR_INIT;
    char *path = tcheckpoint_path(p->dir, "dump.bin");
    require(vlm_dump_stage(p->context, prepared, stage, path, &err), &err, "dump");
    return path;
}

/* ---- processor ---------------------------------------------------------------------------------------- */

static void check_output(const vio_tensors *saved, const tgolden_output *want, const char *of) {
    if (!strcmp(want->name, "labels")) return; /* training only */
    const vio_tensor *got = vio_tensors_find(saved, want->name);
    if (!got) fail_msg("%s: %s is not there", of, want->name);
    if (got->rank != want->rank) fail_msg("%s: %s: rank %d, reference %d", of, want->name, got->rank, want->rank);
    for (int i = 0; i < want->rank; i++)
        if ((int64_t)got->shape[i] != want->shape[i])
            fail_msg("%s: %s: dimension %d is %lld, reference %lld", of, want->name, i,
                     (long long)got->shape[i], (long long)want->shape[i]);
    assert_int_equal(got->dtype == VIO_F32, want->dtype == TGOLDEN_F32);
    char sha[65];
    tgolden_sha256(sha, got->data, got->bytes);
    if (strcmp(sha, want->sha256)) {
        if (want->has_edges)
            print_error("%s: first values %.9g %.9g, reference %.9g %.9g\n", want->name,
                        ((const float *)got->data)[0], ((const float *)got->data)[1], want->first[0],
                        want->first[1]);
        fail_msg("%s: %s differs from the reference", of, want->name);
    }
}

void tparity_check_processor(const tparity *p, const tgolden_case *of) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_prepared *prepared = tparity_prepare(p, of);
    size_t media, tokens = vlm_prepared_tokens(prepared, &media);
    assert_int_equal(tokens, of->prompt_tokens);
    if (of->messages || of->prompt) assert_int_equal(media, of->image_tokens);
    char *path = tcheckpoint_path(p->dir, "prepared.bin");
    require(vlm_prepared_save(prepared, path, &err), &err, of->name);
    vio_tensors *saved;
    require(vio_tensors_open_file(&saved, path, NULL, &err), &err, of->name);
    for (size_t i = 0; i < of->output_count; i++) check_output(saved, &of->outputs[i], of->name);
    vio_tensors_close(saved);
    vlm_prepared_free(prepared);
    free(path);
}

/* ---- seams ---------------------------------------------------------------------------------------------- */

/* The rows that media became: pictures, then videos, which the goldens keep as one. */
static float *read_features(const char *path, size_t *count) {
    static const char *const names[] = { "image_features", "video_features" };
    vlm_error err = VLM_ERROR_INIT;
    vio_tensors *file;
    require(vio_tensors_open_file(&file, path, NULL, &err), &err, path);
    float *all = NULL;
    *count = 0;
    for (int i = 0; i < 2; i++) {
        const vio_tensor *t = vio_tensors_find(file, names[i]);
        if (!t) continue;
        all = realloc(all, *count * sizeof *all + t->bytes);
        memcpy(all + *count, t->data, t->bytes);
        *count += t->bytes / sizeof *all;
    }
    vio_tensors_close(file);
    assert_non_null(all);
    return all;
}

/* Relative error of a dumped tensor against the golden; the golden may hold its last row only. */
static double error_of(const tparity *p, const tgolden_case *of, const char *path, const char *name) {
    size_t want_n, got_n;
    bool features = !strcmp(name, "image_features");
    const float *want = tgolden_f32(p->golden, of, name, &want_n);
    if (!want) return 0;
    float *got = features ? read_features(path, &got_n) : tparity_read(path, name, &got_n, NULL);
    assert_true(got_n >= want_n);
    if (of->all_rows || features) assert_int_equal(got_n, want_n);
    double error = tgolden_relative(got + (got_n - want_n), want, want_n);
    free(got);
    return error;
}

static void bound(double error, double most, double *worst, const tgolden_case *of, const char *seam) {
    if (!(error <= most)) fail_msg("%s: %s: relative error %.3g, allowed %.3g", of->name, seam, error, most);
    if (error > *worst) *worst = error;
}

void tparity_check_seams(const tparity *p, const tgolden_case *of, tparity_errors *errors) {
    vlm_prepared *prepared = tparity_prepare(p, of);
    size_t features;
    if (tgolden_f32(p->golden, of, "image_features", &features)) {
        char *path = tparity_dump(p, prepared, VLM_STAGE_VISION);
        bound(error_of(p, of, path, "image_features"), 1e-5, &errors->features, of, "image_features");
        free(path);
    }
    char *path = tparity_dump(p, prepared, VLM_STAGE_LAYERS);
    bound(error_of(p, of, path, "hidden.norm"), 1e-5, &errors->layers, of, "hidden.norm");
    for (int i = 0;; i++) {
        char name[32];
        size_t n;
        snprintf(name, sizeof name, "hidden.%d", i);
        if (!tgolden_f32(p->golden, of, name, &n)) {
            assert_true(i >= 3); /* the embeddings and at least two layers */
            break;
        }
        bound(error_of(p, of, path, name), 1e-5, &errors->layers, of, name);
    }
    free(path);
    path = tparity_dump(p, prepared, VLM_STAGE_LOGITS);
    bound(error_of(p, of, path, "logits"), 1e-4, &errors->logits, of, "logits");
    free(path);
    vlm_prepared_free(prepared);
    errors->cases++;
}

/* ---- greedy ---------------------------------------------------------------------------------------------- */

size_t tparity_generate(vlm_session *session, uint32_t *out, size_t n) {
    vlm_error err = VLM_ERROR_INIT;
    size_t got = 0;
    while (got < n) {
        vlm_piece piece;
        vlm_status status = vlm_session_next(session, &piece, &err);
        require(status, &err, "next");
        if (piece.has_token) out[got++] = piece.token;
        if (status == VLM_DONE) break;
    }
    return got;
}

void tparity_check_greedy(const tparity *p, const tgolden_case *of, tparity_errors *errors) {
    vlm_error err = VLM_ERROR_INIT;
    size_t n, n_margins;
    const int64_t *want = tgolden_i64(p->golden, of, "greedy.tokens", &n);
    const float *margins = tgolden_f32(p->golden, of, "greedy.margins", &n_margins);
    assert_non_null(want);
    assert_non_null(margins);
    vlm_prepared *prepared = tparity_prepare(p, of);
    vlm_session_options options = VLM_SESSION_OPTIONS_INIT;
    options.max_tokens = (uint32_t)n;
    options.ignore_eos = true;
    vlm_session *session;
    require(vlm_session_new(&session, p->context, &options, &err), &err, of->name);
    require(vlm_session_feed(session, prepared, &err), &err, of->name);
    uint32_t *got = malloc(n * sizeof *got);
    assert_int_equal(tparity_generate(session, got, n), n);
    for (size_t i = 0; i < n; i++) {
        if ((int64_t)got[i] != want[i])
            fail_msg("%s: token %zu is %u, reference %lld (its margin %.3g)", of->name, i, got[i],
                     (long long)want[i], margins[i]);
        errors->greedy_tokens++;
    }
    free(got);
    vlm_session_free(session);
    vlm_prepared_free(prepared);
}
