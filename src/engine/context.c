/* SPDX-License-Identifier: MIT */
/* What a load gives: its end, and what it says of itself. Nothing in it changes after the load, so there is no
 * accessor that would let a caller change it. */
#include "engine/engine.h"

void vlm_context_free(vlm_context *c) {
    if (!c) return;
    if (c->processor && c->processor_type->destroy) c->processor_type->destroy(c->processor);
    if (c->model && c->model_type->destroy) c->model_type->destroy(c->model);
    vmodel_build_free(c->build);
    vcore_arena_free(c->arena);
    vtext_template_free(c->chat_template);
    vtext_template_free(c->video_template);
    vtext_tokenizer_free(c->tokenizer);
    vio_tensors_close(c->tensors);
    vtensor_backend_free(c->backend);
    vengine_eos_free(&c->eos);
    vlm_processor_config_free(c->processor_config);
    vlm_base_config_free(c->config);
    vcore_free(c->default_prompt);
    vcore_free(c->tokenizer_dir);
    vcore_free(c->dir);
    vcore_free(c);
}

const vlm_context_info *vlm_context_get_info(const vlm_context *context) {
    return context ? &context->info : NULL;
}

const vlm_base_config *vlm_context_base_config(const vlm_context *context) {
    return context ? context->config : NULL;
}

const vlm_processor_config *vlm_context_processor_config(const vlm_context *context) {
    return context ? context->processor_config : NULL;
}

const vlm_tokenizer *vlm_context_tokenizer(const vlm_context *context) {
    return context ? context->tokenizer : NULL;
}

const vlm_image_processor_config *vlm_context_image_processor_config(const vlm_context *context) {
    return context && context->processor_type->image_processor_config ? &context->image_processor
                                                                      : NULL;
}

const void *vlm_context_model(const vlm_context *context, const vlm_model_type *type) {
    return context && type && context->model_type == type ? context->model : NULL;
}

const void *vlm_context_processor(const vlm_context *context, const vlm_processor_type *type) {
    return context && type && context->processor_type == type ? context->processor : NULL;
}
