/* SPDX-License-Identifier: MIT */
/* Writes what a forward pass computed at one of its seams. Owns the copies until they are written. */
#include "engine/engine.h"

typedef struct kept {
    char name[64];
    float *data;
    int rank;
    uint64_t shape[VIO_MAX_RANK];
} kept;

typedef struct collector {
    vlm_stage stage;
    kept *list;
    size_t n;
    vlm_status status;
    vlm_error *err;
} collector;

static bool wanted(const collector *c, const char *name) {
    switch (c->stage) {
    case VLM_STAGE_VISION: return strcmp(name, "image_features") == 0 || strcmp(name, "video_features") == 0;
    case VLM_STAGE_LAYERS: return strncmp(name, "hidden.", 7) == 0;
    case VLM_STAGE_LOGITS: return strcmp(name, "logits") == 0;
    }
    return false;
}

static void collect(void *user, vlm_frame *f, const char *name, vlm_tensor x) {
    collector *c = user;
    if (c->status < 0 || !wanted(c, name)) return;
    size_t count = 1, bytes;
    for (int i = 0; i < x.rank; i++)
        if (!vcore_mul(count, (size_t)x.shape[i], &count)) return;
    kept *bigger = vcore_realloc_array(c->list, c->n + 1, sizeof *c->list);
    float *data = vcore_mul(count, sizeof(float), &bytes) ? vcore_alloc(bytes) : NULL;
    if (bigger) c->list = bigger;
    if (!bigger || !data) {
        vcore_free(data);
        c->status = vcore_no_memory(c->err, name);
        return;
    }
    kept *k = &c->list[c->n++];
    *k = (kept) { .data = data, .rank = x.rank };
    strncpy(k->name, name, sizeof k->name - 1);
    for (int i = 0; i < x.rank; i++) k->shape[i] = (uint64_t)x.shape[i];
    c->status = vtensor_read(f, x, data, c->err);
}

static vlm_status run(const vlm_context *c, const vlm_prepared *prepared, vlm_frame *f,
                      collector *collected, const int32_t *positions, vlm_error *err) {
    size_t n;
    const uint32_t *ids = vlm_prepared_ids(prepared, &n);
    vengine_run run = { .context = c, .frame = f, .ids = ids, .n = n, .positions = positions };
    vtensor_frame_dump(f, collect, collected);
    vtensor_frame_begin(f);
    vlm_status status = vengine_run_features(&run, prepared, err);
    if (status >= 0 && collected->stage != VLM_STAGE_VISION) {
        const vlm_tensor all = { 0 };
        vlm_tensor hidden = vengine_run_rows(&run, 0, n, 0, NULL, all);
        if (collected->stage == VLM_STAGE_LOGITS)
            vlm_dump(f, "logits", vlm_text_logits(f, c->model_type->text(c->model), hidden));
    }
    vlm_status ended = vtensor_frame_end(f, status >= 0 ? err : NULL);
    return status < 0 ? status : ended;
}

static vlm_status write(const collector *c, const char *path, vlm_error *err) {
    if (c->n == 0)
        return vcore_fail(err, VLM_ERR_IMAGE_REQUIRED, "%s: this input gives no values at that stage", path);
    vio_out_tensor *out = vcore_alloc_array(c->n, sizeof *out);
    if (!out) return vcore_no_memory(err, path);
    for (size_t i = 0; i < c->n; i++) {
        out[i] = (vio_out_tensor) { .name = c->list[i].name, .dtype = VIO_F32, .rank = c->list[i].rank,
                                    .data = c->list[i].data };
        memcpy(out[i].shape, c->list[i].shape, sizeof out[i].shape);
    }
    vlm_status status = vio_safetensors_write(path, out, c->n, NULL, err);
    vcore_free(out);
    return status;
}

vlm_status vlm_dump_stage(const vlm_context *context, const vlm_prepared *prepared, vlm_stage stage,
                          const char *path, vlm_error *err) {
    if (!context || !prepared || !path)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_dump_stage: a null argument");
    if (stage < VLM_STAGE_VISION || stage > VLM_STAGE_LOGITS)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_dump_stage: %d is no stage", (int)stage);
    collector c = { .stage = stage, .err = err };
    vlm_frame *f = NULL;
    int32_t *positions = NULL;
    int64_t next = 0;
    vlm_status status = vtensor_frame_new(&f, context->backend, context->mode, err);
    if (status >= 0) status = vengine_positions(&positions, &next, context, prepared, 0, err);
    if (status >= 0) status = run(context, prepared, f, &c, positions, err);
    if (status >= 0) status = c.status;
    if (status >= 0) status = write(&c, path, err);
    for (size_t i = 0; i < c.n; i++) vcore_free(c.list[i].data);
    vcore_free(c.list);
    vcore_free(positions);
    vtensor_frame_free(f);
    return status;
}
