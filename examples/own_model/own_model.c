/* SPDX-License-Identifier: MIT */
/* A program with a model of its own: registers DeepSeek-VL, which the library does not have, loads a checkpoint of it
 * and answers. Prints the ids of the answer, then its text: own_model MODEL_DIR QUESTION [PICTURE ...] */
#include <stdio.h>

#include "deepseek_vl.h"

/* The library as it is, and ours on top. */
static vlm_status load(vlm_context **context, const char *dir, vlm_error *err) {
    vlm_model_registry *models = NULL;
    vlm_processor_registry *processors = NULL;
    vlm_status status = vlm_extend_check(VLM_API_VERSION, err);
    if (status >= 0)
        status = vlm_model_registry_with(&models, vlm_model_registry_default(),
                                         (const vlm_model_type *const[]) { &deepseek_vl_model }, 1, err);
    if (status >= 0)
        status = vlm_processor_registry_with(&processors, vlm_processor_registry_default(),
                                             (const vlm_processor_type *const[]) { &deepseek_vl_processor }, 1, err);
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    options.models = models;
    options.processors = processors;
    options.precision = VLM_PRECISION_F32;
    if (status >= 0) status = vlm_context_load(context, dir, &options, err);
    vlm_model_registry_free(models);
    vlm_processor_registry_free(processors);
    return status;
}

static vlm_status answer(vlm_session *session, vlm_error *err) {
    char text[4096] = "";
    size_t used = 0;
    vlm_status status;
    vlm_piece piece;
    do {
        status = vlm_session_next(session, &piece, err);
        if (status >= 0 && piece.has_token) printf("%u ", piece.token);
        if (status >= 0 && piece.bytes < sizeof text - used)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s", piece.text);
    } while (status == VLM_OK);
    if (status >= 0) printf("\n%s\n", text);
    return status;
}

static vlm_status ask(const vlm_context *context, int argc, char **argv, vlm_error *err) {
    vlm_input *input = NULL;
    vlm_prepared *prepared = NULL;
    vlm_session *session = NULL;
    vlm_session_options options = VLM_SESSION_OPTIONS_INIT;
    options.max_tokens = 32;
    options.ignore_eos = true;
    vlm_status status = vlm_input_new(&input, err);
    for (int i = 3; i < argc && status >= 0; i++) status = vlm_input_add_image_file(input, argv[i], err);
    if (status >= 0) status = vlm_input_add_message(input, "user", argv[2], err);
    if (status >= 0) status = vlm_prepare(&prepared, context, input, err);
    if (status >= 0) status = vlm_session_new(&session, context, &options, err);
    if (status >= 0) status = vlm_session_feed(session, prepared, err);
    if (status >= 0) status = answer(session, err);
    vlm_session_free(session);
    vlm_prepared_free(prepared);
    vlm_input_free(input);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: own_model MODEL_DIR QUESTION [PICTURE ...]\n");
        return 2;
    }
    vlm_error err = VLM_ERROR_INIT;
    vlm_context *context = NULL;
    vlm_status status = load(&context, argv[1], &err);
    /* The row is the tag of what it made: NULL here would mean that another model type was loaded. */
    const void *model = vlm_context_model(context, &deepseek_vl_model);
    if (model) fprintf(stderr, "own_model: a picture is %lld tokens\n", (long long)deepseek_vl_picture_tokens(model));
    if (status >= 0) status = ask(context, argc, argv, &err);
    if (status < 0) fprintf(stderr, "own_model: %s\n", err.message);
    vlm_context_free(context);
    return status < 0 ? 1 : 0;
}
