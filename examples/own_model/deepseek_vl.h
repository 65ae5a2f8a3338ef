/* SPDX-License-Identifier: MIT */
/* DeepSeek-VL, as a program of its own brings it: the two rows that go into the registries. */
#ifndef DEEPSEEK_VL_H
#define DEEPSEEK_VL_H

#include <vlm/extend.h>

extern const vlm_model_type deepseek_vl_model;
extern const vlm_processor_type deepseek_vl_processor;

/* Tokens that a picture becomes. @param model what vlm_context_model() gives for deepseek_vl_model */
int64_t deepseek_vl_picture_tokens(const void *model);

#endif
