/* SPDX-License-Identifier: MIT */
/* See model.h. */
#include "support/model.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/checkpoint.h"
#include "support/cm.h"

/* ---- loading ------------------------------------------------------------------------------------------- */
static vlm_status read_json(vcore_json_doc **doc, char **text, const char *dir, const char *name,
                            vlm_error *err) {
    char path[4096];
    vio_bytes bytes = { 0 };
    snprintf(path, sizeof path, "%s/%s", dir, name);
    *doc = NULL;
    VTRY(vio_read_text_optional(&bytes, path, 1 << 20, err));
    vlm_status status = bytes.p ? vcore_json_parse(doc, bytes.p, bytes.n, path, err) : VLM_OK;
    if (text) *text = bytes.p;
    else vcore_free(bytes.p);
    return status;
}

static const vlm_json *root(const vcore_json_doc *doc) {
    return doc ? vcore_json_root(doc) : NULL;
}

static vlm_status load_model(tmodel *m, vlm_error *err) {
    vcore_str name = { 0 };
    vmodel_build_args args = { .config = root(m->config), .config_text = m->config_text,
                               .tensors = m->tensors, .arena = m->arena, .backend = m->backend };
    vcore_json_string(vcore_json_get(root(m->config), "model_type"), &name);
    m->type = vmodel_find(m->registry, name.p ? name.p : "");
    if (!m->type) return vcore_fail(err, VLM_ERR_UNKNOWN_MODEL_TYPE, "%s", name.p);
    VTRY(vmodel_build_new(&m->build, &args, err));
    VTRY(m->type->create(&m->model, m->build, err));
    return vmodel_build_check_unused(m->build, false, err);
}

static vlm_status load_processor(tmodel *m, const char *dir, vlm_error *err) {
    const vlm_json *all = root(m->processor_config), *pre = root(m->preprocessor);
    const vlm_json *image = vcore_json_get(all, "image_processor");
    const vlm_json *video = vcore_json_get(all, "video_processor");
    vcore_str name = { 0 };
    if (!vcore_json_string(vcore_json_get(pre, "processor_class"), &name))
        vcore_json_string(vcore_json_get(all, "processor_class"), &name);
    m->processor_type = vmodel_find_processor(m->registry, name.p ? name.p : "");
    if (!m->processor_type) return vcore_fail(err, VLM_ERR_UNKNOWN_PROCESSOR, "%s", name.p);
    VTRY(vtext_tokenizer_load(&m->tokenizer, dir, NULL, err));
    vlm_processor_build build = { .processor_class = m->processor_type->processor_class,
                                  .preprocessor_config = pre,
                                  .processor_config = all,
                                  .image_config = image ? image : pre ? pre : all,
                                  .video_config = video ? video : pre,
                                  .config = root(m->config),
                                  .config_text = m->config_text,
                                  .tokenizer = m->tokenizer,
                                  .arena = m->arena };
    return m->processor_type->create(&m->processor, &build, err);
}

static vlm_status load(tmodel *m, const char *dir, int threads, vlm_error *err) {
    vtensor_cpu_options cpu = { .threads = threads };
    VTRY(read_json(&m->config, &m->config_text, dir, "config.json", err));
    VTRY(read_json(&m->preprocessor, NULL, dir, "preprocessor_config.json", err));
    VTRY(read_json(&m->processor_config, NULL, dir, "processor_config.json", err));
    VTRY(vio_tensors_open_dir(&m->tensors, dir, NULL, NULL, err));
    VTRY(vtensor_backend_cpu(&m->backend, &cpu, err));
    VTRY(vlm_registry_new(&m->registry, err));
    m->arena = vcore_arena_new();
    VTRY(load_model(m, err));
    return load_processor(m, dir, err);
}

vlm_status tmodel_try(tmodel **out, const char *dir, vtensor_mode mode, int threads, vlm_error *err) {
    *out = NULL;
    tmodel *m = calloc(1, sizeof *m);
    m->mode = mode;
    vlm_status status = load(m, dir, threads, err);
    if (status < 0) tmodel_close(m);
    else *out = m;
    return status;
}

tmodel *tmodel_open(const char *dir, vtensor_mode mode, int threads) {
    vlm_error err = VLM_ERROR_INIT;
    tmodel *m;
    tmodel_try(&m, dir, mode, threads, &err);
    if (!m) fail_msg("%s: %s", dir, err.message);
    return m;
}

void tmodel_close(tmodel *m) {
    if (!m) return;
    if (m->processor && m->processor_type->destroy) m->processor_type->destroy(m->processor);
    if (m->model && m->type->destroy) m->type->destroy(m->model);
    vmodel_build_free(m->build);
    vcore_arena_free(m->arena);
    vtext_tokenizer_free(m->tokenizer);
    vio_tensors_close(m->tensors);
    vtensor_backend_free(m->backend);
    vlm_registry_free(m->registry);
    vcore_json_free(m->config);
    vcore_json_free(m->preprocessor);
    vcore_json_free(m->processor_config);
    vcore_free(m->config_text);
    free(m);
}

/* ---- prompts and media ------------------------------------------------------------------------------------ */
enum { MOST_FRAMES = 64 };

static void check(vlm_status status, const vlm_error *err, const char *what) {
    if (status < 0) fail_msg("%s: %s: %s", what, vlm_status_name(status), err->message);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Pictures of a directory in name order; returns how many. */
static size_t open_frames(vlm_image **frames, const char *dir) {
    char *names[MOST_FRAMES];
    size_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) && n < MOST_FRAMES;)
        if (e->d_name[0] != '.') names[n++] = strdup(e->d_name);
    closedir(d);
    qsort(names, n, sizeof names[0], by_name);
    for (size_t i = 0; i < n; i++) {
        char *path = tcheckpoint_path(dir, names[i]);
        vlm_error err = VLM_ERROR_INIT;
        check(vlm_image_open(&frames[i], path, NULL, &err), &err, path);
        free(path);
        free(names[i]);
    }
    return n;
}

static void append(char **text, const char *from, size_t n) {
    size_t have = *text ? strlen(*text) : 0;
    *text = realloc(*text, have + n + 1);
    memcpy(*text + have, from, n);
    (*text)[have + n] = '\0';
}

/* The case's text with the plan's expansions at the placeholders, in order. */
static char *expand(const tmodel *m, const vlm_plan *plan, const char *text) {
    char *out = NULL;
    size_t image = 0, video = 0;
    while (video < plan->n && !plan->media[video].video) video++;
    size_t images = video;
    append(&out, "", 0);
    while (*text) {
        const char *next[2] = { NULL, NULL };
        for (int k = 0; k < 2; k++) {
            const char *mark = m->processor_type->placeholder(m->processor, k == 1);
            bool left = k ? video < plan->n : image < images;
            next[k] = mark && left ? strstr(text, mark) : NULL;
        }
        int k = next[1] && (!next[0] || next[1] < next[0]);
        if (!next[k]) break;
        append(&out, text, (size_t)(next[k] - text));
        const char *expansion = plan->items[k ? video++ : image++].expansion;
        append(&out, expansion, strlen(expansion));
        text = next[k] + strlen(m->processor_type->placeholder(m->processor, k == 1));
    }
    append(&out, text, strlen(text));
    return out;
}

static void encode(const tmodel *m, vlm_prepared *prepared, const char *text) {
    vlm_error err = VLM_ERROR_INIT;
    vtext_span span = { text, strlen(text), false };
    vtext_ids ids = { 0 };
    check(vtext_encode(m->tokenizer, &span, 1, m->processor_type->add_special_tokens, false, &ids,
                       &err), &err, "encode");
    check(vmodel_prepared_set_ids(prepared, ids.id, ids.n, &err), &err, "ids");
    vtext_ids_free(&ids);
}

static vlm_prepared *load_input(const tgolden *golden, const tgolden_case *of) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_prepared *prepared;
    char *dir = tcheckpoint_temp_dir(), *path = tcheckpoint_path(dir, "input.safetensors");
    assert_true(tgolden_write_input(golden, of, path));
    check(vmodel_prepared_load(&prepared, path, NULL, &err), &err, "prepared input");
    tcheckpoint_remove(dir);
    free(path);
    free(dir);
    return prepared;
}

vlm_prepared *tmodel_prepare(tmodel *m, const tgolden *golden, const tgolden_case *of) {
    if (!of->text) return load_input(golden, of);
    vlm_error err = VLM_ERROR_INIT;
    vlm_image *frames[MOST_FRAMES];
    vlm_media_item items[MOST_FRAMES];
    size_t n_frames = 0, n = 0;
    for (; n < of->picture_count; n++) {
        check(vlm_image_open(&frames[n_frames], of->pictures[n], NULL, &err), &err, of->pictures[n]);
        items[n] = (vlm_media_item) { .size = vlm_image_size(frames[n_frames++]), .frames = 1 };
    }
    if (of->frames) {
        size_t count = open_frames(frames + n_frames, of->frames);
        items[n++] = (vlm_media_item) { .video = true, .size = vlm_image_size(frames[n_frames]),
                                        .frames = (int64_t)count, .fps = of->fps };
        n_frames += count;
    }
    vlm_processing wishes = VLM_PROCESSING_INIT;
    wishes.min_pixels = (uint64_t)of->min_pixels;
    wishes.max_pixels = (uint64_t)of->max_pixels;
    vlm_plan *plan;
    vlm_prepared *prepared;
    check(vmodel_plan_new(&plan, items, n, &wishes, &err), &err, of->name);
    check(vmodel_prepared_new(&prepared, &err), &err, of->name);
    check(m->processor_type->plan(m->processor, plan, &err), &err, of->name);
    const char *given = m->processor_type->raw_prompt && of->prompt
                            ? m->processor_type->raw_prompt(m->processor, plan, of->prompt)
                            : of->text;
    char *text = expand(m, plan, given);
    encode(m, prepared, text);
    size_t media_tokens = 0;
    for (size_t i = 0; i < n; i++) media_tokens += (size_t)plan->items[i].tokens;
    vmodel_prepared_set_media_tokens(prepared, media_tokens);
    vlm_media media = { (const vlm_image *const *)frames };
    check(m->processor_type->fill(m->processor, plan, &media, prepared, &err), &err, of->name);
    free(text);
    vmodel_plan_free(plan);
    for (size_t i = 0; i < n_frames; i++) vlm_image_free(frames[i]);
    return prepared;
}

/* ---- passes ------------------------------------------------------------------------------------------------- */
const tmodel_seam *tmodel_seam_named(const tmodel_seams *seams, const char *name) {
    for (size_t i = 0; i < seams->n; i++)
        if (strcmp(seams->list[i].name, name) == 0) return &seams->list[i];
    return NULL;
}

void tmodel_seams_free(tmodel_seams *seams) {
    for (size_t i = 0; i < seams->n; i++) free(seams->list[i].data);
    free(seams->list);
    *seams = (tmodel_seams) { 0 };
}

static void keep(void *user, vlm_frame *f, const char *name, vlm_tensor x) {
    tmodel_seams *seams = user;
    vlm_error err = VLM_ERROR_INIT;
    seams->list = realloc(seams->list, (seams->n + 1) * sizeof *seams->list);
    tmodel_seam *seam = &seams->list[seams->n++];
    *seam = (tmodel_seam) { .rows = x.shape[0], .width = x.shape[1] };
    snprintf(seam->name, sizeof seam->name, "%s", name);
    seam->data = malloc((size_t)(x.shape[0] * x.shape[1]) * sizeof(float) + 1);
    check(vtensor_read(f, x, seam->data, &err), &err, name);
}

static const vlm_text *text_of(const tmodel *m) {
    return m->type->text(m->model);
}

/* A prompt in a frame that has begun: its features and the position of every token. */
typedef struct {
    const uint32_t *ids;
    size_t n;
    vlm_features features[VLM_MAX_FEATURES];
    int n_features;
    int32_t *at;          /* [axes, n] */
    vlm_tensor positions; /* the same in the frame */
} prompt;

static void prompt_begin(prompt *p, tmodel *m, vlm_frame *f, const vlm_prepared *prepared,
                         int64_t past, int64_t *next) {
    vlm_error err = VLM_ERROR_INIT;
    int64_t axes = vlm_text_get_info(text_of(m))->position_axes;
    *p = (prompt) { 0 };
    p->ids = vlm_prepared_ids(prepared, &p->n);
    if (m->type->features) p->n_features = m->type->features(f, m->model, prepared, p->features);
    for (int i = 0; i < p->n_features; i++) vlm_dump(f, p->features[i].name, p->features[i].rows);
    int32_t *at = calloc((size_t)axes * p->n, sizeof *at);
    if (m->type->positions) {
        vlm_positions where = { .at = at, .n = (int64_t)p->n, .past = past, .next = *next };
        check(m->type->positions(m->model, prepared, &where, &err), &err, "positions");
        *next = where.next;
    } else {
        for (size_t i = 0; i < p->n; i++) at[i] = (int32_t)(*next + (int64_t)i);
        *next += (int64_t)p->n;
    }
    p->at = at;
    p->positions = vlm_tensor_from(f, VLM_DTYPE_I32, 2, (int64_t[]) { axes, (int64_t)p->n }, at);
}

/* Embeddings of rows [begin, end) with the features in their places. */
static vlm_tensor embed(const prompt *p, tmodel *m, vlm_frame *f, size_t begin, size_t end) {
    int64_t n = (int64_t)(end - begin);
    int32_t *list = calloc((size_t)n, sizeof *list);
    uint32_t *ids = calloc((size_t)n, sizeof *ids);
    memcpy(ids, p->ids + begin, (size_t)n * sizeof *ids);
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < p->n_features; k++)
            if (ids[i] == p->features[k].token_id) ids[i] = 0;
    vlm_tensor x = vlm_text_embed(f, text_of(m), vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, ids));
    for (int k = 0; k < p->n_features; k++) {
        int64_t first = 0, count = 0;
        for (size_t i = 0; i < end; i++) {
            if (p->ids[i] != p->features[k].token_id) continue;
            if (i < begin) first++;
            else list[count++] = (int32_t)(i - begin);
        }
        if (count == 0) continue;
        vlm_scatter_to(f, x, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &count, list),
                       vlm_rows(f, p->features[k].rows, first, count));
    }
    free(list);
    free(ids);
    return x;
}

static vlm_tensor run_rows(const prompt *p, tmodel *m, vlm_frame *f, size_t begin, size_t end,
                           int64_t past, const vlm_kv *kv) {
    const vlm_span all = { past, past + (int64_t)p->n };
    const vlm_sequence sequence = { .length = (int64_t)(end - begin), .past = past + (int64_t)begin,
                                    .kv = kv, .spans = &all, .n_spans = m->type->bidirectional_prompt };
    const vlm_text_input input = {
        .embeddings = embed(p, m, f, begin, end),
        .positions = vlm_columns(f, p->positions, (int64_t)begin, (int64_t)(end - begin)),
        .sequences = &sequence,
        .n_sequences = 1,
    };
    return vlm_text_forward(f, text_of(m), &input);
}

void tmodel_forward(tmodel *m, const vlm_prepared *prepared, tmodel_seams *out) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_frame *f;
    prompt p;
    int64_t next = 0;
    *out = (tmodel_seams) { 0 };
    check(vtensor_frame_new(&f, m->backend, m->mode, &err), &err, "frame");
    vtensor_frame_dump(f, keep, out);
    vtensor_frame_begin(f);
    prompt_begin(&p, m, f, prepared, 0, &next);
    vlm_tensor hidden = run_rows(&p, m, f, 0, p.n, 0, NULL);
    vlm_dump(f, "logits", vlm_text_logits(f, text_of(m), hidden));
    check(vtensor_frame_end(f, &err), &err, "forward");
    vtensor_frame_free(f);
    free(p.at);
}

void tmodel_forward_pair(tmodel *m, const vlm_prepared *a, const vlm_prepared *b, tmodel_seams *out) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_frame *f;
    prompt p[2];
    int64_t next[2] = { 0, 0 }, axes = vlm_text_get_info(text_of(m))->position_axes;
    *out = (tmodel_seams) { 0 };
    check(vtensor_frame_new(&f, m->backend, m->mode, &err), &err, "frame");
    vtensor_frame_dump(f, keep, out);
    vtensor_frame_begin(f);
    prompt_begin(&p[0], m, f, a, 0, &next[0]);
    prompt_begin(&p[1], m, f, b, 0, &next[1]);
    int64_t n[2] = { (int64_t)p[0].n, (int64_t)p[1].n }, all = n[0] + n[1];
    int32_t *at = calloc((size_t)(axes * all), sizeof *at);
    for (int64_t i = 0; i < axes; i++)
        for (int k = 0; k < 2; k++)
            memcpy(at + i * all + k * n[0], p[k].at + i * n[k], (size_t)n[k] * sizeof *at);
    const vlm_tensor rows[] = { embed(&p[0], m, f, 0, p[0].n), embed(&p[1], m, f, 0, p[1].n) };
    const vlm_span spans[] = { { 0, n[0] }, { 0, n[1] } };
    const vlm_sequence sequences[] = {
        { .length = n[0], .spans = &spans[0], .n_spans = m->type->bidirectional_prompt },
        { .start = n[0], .length = n[1], .spans = &spans[1], .n_spans = m->type->bidirectional_prompt },
    };
    const vlm_text_input input = {
        .embeddings = vlm_concat(f, rows, 2),
        .positions = vlm_tensor_from(f, VLM_DTYPE_I32, 2, (int64_t[]) { axes, all }, at),
        .sequences = sequences,
        .n_sequences = 2,
    };
    vlm_dump(f, "logits", vlm_text_logits(f, text_of(m), vlm_text_forward(f, text_of(m), &input)));
    check(vtensor_frame_end(f, &err), &err, "forward");
    vtensor_frame_free(f);
    free(at);
    free(p[0].at);
    free(p[1].at);
}

/* ---- sessions -------------------------------------------------------------------------------------------------- */
tmodel_session *tmodel_session_new(tmodel *m, int64_t capacity) {
    const vlm_text_info *info = vlm_text_get_info(text_of(m));
    vlm_error err = VLM_ERROR_INIT;
    tmodel_session *s = calloc(1, sizeof *s);
    s->m = m;
    s->capacity = capacity;
    s->kv = calloc((size_t)info->layers, sizeof *s->kv);
    s->memory = calloc(2 * (size_t)info->layers, sizeof *s->memory);
    check(vtensor_frame_new(&s->frame, m->backend, m->mode, &err), &err, "frame");
    for (int64_t i = 0; i < info->layers; i++) {
        const int64_t shape[] = { capacity, info->state[i].kv_heads, info->state[i].head_dim };
        size_t bytes = (size_t)(shape[0] * shape[1] * shape[2]) * sizeof(float);
        for (int k = 0; k < 2; k++) s->memory[2 * i + k] = vtensor_memory_new(m->backend, bytes);
        s->kv[i].k = vtensor_of(s->memory[2 * i], VLM_DTYPE_F32, 3, shape);
        s->kv[i].v = vtensor_of(s->memory[2 * i + 1], VLM_DTYPE_F32, 3, shape);
    }
    return s;
}

void tmodel_session_free(tmodel_session *s) {
    for (int64_t i = 0; i < 2 * vlm_text_get_info(text_of(s->m))->layers; i++)
        vtensor_memory_free(s->m->backend, s->memory[i]);
    vtensor_frame_free(s->frame);
    free(s->memory);
    free(s->kv);
    free(s);
}

void tmodel_session_feed(tmodel_session *s, const vlm_prepared *prepared, int64_t step, float *logits) {
    vlm_error err = VLM_ERROR_INIT;
    prompt p;
    vtensor_frame_begin(s->frame);
    prompt_begin(&p, s->m, s->frame, prepared, s->length, &s->next);
    size_t rows = step > 0 ? (size_t)step : p.n;
    vlm_tensor hidden = { 0 };
    for (size_t at = 0; at < p.n; at += rows)
        hidden = run_rows(&p, s->m, s->frame, at, at + rows < p.n ? at + rows : p.n, s->length, s->kv);
    vlm_tensor last = vlm_rows(s->frame, hidden, hidden.shape[0] - 1, 1);
    check(vtensor_read(s->frame, vlm_text_logits(s->frame, text_of(s->m), last), logits, &err), &err,
          "logits");
    check(vtensor_frame_end(s->frame, &err), &err, "prefill");
    s->length += (int64_t)p.n;
    free(p.at);
}

void tmodel_session_token(tmodel_session *s, uint32_t id, float *logits) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_frame *f = s->frame;
    const int64_t one = 1, axes = vlm_text_get_info(text_of(s->m))->position_axes;
    const int32_t at[] = { (int32_t)s->next, (int32_t)s->next, (int32_t)s->next };
    const vlm_sequence sequence = { .length = 1, .past = s->length, .kv = s->kv };
    vtensor_frame_begin(f);
    const vlm_text_input input = {
        .embeddings = vlm_text_embed(f, text_of(s->m), vlm_tensor_from(f, VLM_DTYPE_I32, 1, &one, &id)),
        .positions = vlm_tensor_from(f, VLM_DTYPE_I32, 2, (int64_t[]) { axes, 1 }, at),
        .sequences = &sequence,
        .n_sequences = 1,
    };
    vlm_tensor hidden = vlm_text_forward(f, text_of(s->m), &input);
    check(vtensor_read(f, vlm_text_logits(f, text_of(s->m), hidden), logits, &err), &err, "logits");
    check(vtensor_frame_end(f, &err), &err, "decode");
    s->length++;
    s->next++;
}
