/* SPDX-License-Identifier: MIT */
/*
 * A checkpoint loaded without the engine: config, weights, model, processor, and plain passes over them.
 * For tests of models seam by seam. What goes wrong fails the running cmocka test.
 */
#ifndef TESTS_SUPPORT_MODEL_H
#define TESTS_SUPPORT_MODEL_H

#include "models/models.h"
#include "support/golden.h"

typedef struct {
    vcore_json_doc *config, *preprocessor, *processor_config;
    char *config_text;
    vio_tensors *tensors;
    vtensor_backend *backend;
    vcore_arena *arena;
    vlm_registry *registry;
    vlm_build *build;
    const vlm_model_type *type;
    void *model;
    const vlm_processor_type *processor_type;
    void *processor;
    vlm_tokenizer *tokenizer;
    vtensor_mode mode;
} tmodel;

/* Loads a directory; on an error *out is NULL. threads as vtensor_cpu_options. */
vlm_status tmodel_try(tmodel **out, const char *dir, vtensor_mode mode, int threads, vlm_error *err);
tmodel *tmodel_open(const char *dir, vtensor_mode mode, int threads);
void tmodel_close(tmodel *m);

/* The case's media through plan and fill, and its prompt: expansions put into the rendered text, then
 * tokenized. A case that is a prepared input is loaded from its file. */
vlm_prepared *tmodel_prepare(tmodel *m, const tgolden *golden, const tgolden_case *of);

/* Values that a pass gave at its seams. */
typedef struct {
    char name[64];
    int64_t rows, width;
    float *data;
} tmodel_seam;
typedef struct {
    tmodel_seam *list;
    size_t n;
} tmodel_seams;
const tmodel_seam *tmodel_seam_named(const tmodel_seams *seams, const char *name);
void tmodel_seams_free(tmodel_seams *seams);

/* The whole prompt in one pass that remembers nothing: features, hidden states, logits of all rows. */
void tmodel_forward(tmodel *m, const vlm_prepared *prepared, tmodel_seams *out);

/* Two prompts in one pass; seams as above, the rows of b below those of a. */
void tmodel_forward_pair(tmodel *m, const vlm_prepared *a, const vlm_prepared *b, tmodel_seams *out);

/* One timeline with its state. */
typedef struct {
    tmodel *m;
    vlm_frame *frame;
    vlm_kv *kv;
    void **memory;
    int64_t capacity, length, next;
} tmodel_session;
tmodel_session *tmodel_session_new(tmodel *m, int64_t capacity);
void tmodel_session_free(tmodel_session *s);
/* Feeds a prompt in pieces of `step` rows (0: at once); logits [vocab] of the last row. */
void tmodel_session_feed(tmodel_session *s, const vlm_prepared *prepared, int64_t step, float *logits);
/* Feeds one generated token. */
void tmodel_session_token(tmodel_session *s, uint32_t id, float *logits);

#endif
