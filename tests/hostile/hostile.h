/* SPDX-License-Identifier: MIT */
/*
 * Rows of the tables of hostile checkpoint directories: a good tiny checkpoint, what is changed in it,
 * and what the one line must then name. tests/test_bad_directories.c runs them; each table has a page
 * of its own beside this one.
 */
#ifndef TESTS_HOSTILE_H
#define TESTS_HOSTILE_H

#include "support/edit.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* what a row does not say is zero */

/* The good checkpoint that a row changes. */
typedef enum {
    SPLIT,     /* idefics3: tiles; both processor files name the class; untied head */
    SHARDED,   /* the same in three files and an index */
    MLX,       /* the same as mlx-vlm stores it */
    PALI,      /* paligemma with gemma: preprocessor_config.json alone, no chat template */
    PALI2,     /* paligemma with gemma2: processor_config.json alone, as transformers 5 saves it */
    QWEN,      /* qwen2_5_vl: decoder's keys at the top of config.json, tied head */
    QWEN_NEST, /* qwen2_5_vl: as transformers 5 saves it, untied head */
    SMOL,      /* smolvlm: pictures and videos */
    QWEN2,     /* qwen2_vl: as published, decoder's keys at the top */
    QWEN3,     /* qwen3_vl: as published, a file for each processor */
    QWEN3_MOE, /* qwen3_vl with experts: as transformers 5 saves it */
    GLM,       /* glm_ocr */
    GEMMA3,    /* gemma3: preprocessor_config.json beside processor_config.json, scaled frequencies */
    MISTRAL3,  /* mistral3 with ministral3: as transformers 5 saves it, YaRN */
    PIXTRAL,   /* llava over Pixtral's tower */
    LLAVA,     /* llava over CLIP's tower */
    LLAVA_NEXT,
    BUNNY,     /* llava_bunny with Qwen2: a media token that is none of the vocabulary */
    FASTVLM,
    TIMM,      /* transformers' FastVLM */
} hostile_base;

#define HOSTILE_EDITS 6
#define HOSTILE_SAYS 3

typedef struct hostile {
    const char *name;
    tedit edits[HOSTILE_EDITS];
    /* Each must be in the line. Of a directory that loads: in the warnings; none: there may be none. */
    const char *says[HOSTILE_SAYS];
    hostile_base base;
} hostile;

/* Files of the checkpoints. */
#define CONFIG "config.json"
#define GENERATION "generation_config.json"
#define PRE "preprocessor_config.json"
#define PROC "processor_config.json"
#define TOKENIZER "tokenizer.json"
#define TOKENIZER_CONFIG "tokenizer_config.json"
#define TEMPLATE "chat_template.json"
#define JINJA "chat_template.jinja"
#define WEIGHTS "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define SHARD(k) "model-0000" #k "-of-00003.safetensors"

#endif
