/* SPDX-License-Identifier: MIT */
/* The checkpoint registry: known checkpoints, what to ask them when nobody asks, further end tokens. */
#include "engine/engine.h"

static const vlm_checkpoint known[] = {
    { "HuggingFaceTB/SmolVLM-256M-Instruct", "idefics3", "Describe the image in English.", NULL },
    { "HuggingFaceTB/SmolVLM-500M-Instruct", "idefics3", "Describe the image in English.", NULL },
    { "HuggingFaceTB/SmolVLM-Instruct", "idefics3", "Describe the image in English.", NULL },
    { "HuggingFaceTB/SmolVLM2-500M-Video-Instruct", "smolvlm", "What is happening here?", NULL },
    { "google/paligemma-3b-mix-448", "paligemma", "Describe the image in English.", NULL },
    { "mlx-community/SmolVLM-Instruct-4bit", "idefics3", "Describe the image in English.", NULL },
    { "mlx-community/paligemma-3b-mix-448-8bit", "paligemma", "Describe the image in English.", NULL },
    { "mlx-community/Qwen2.5-VL-3B-Instruct-4bit", "qwen2_5_vl", "Describe the image in English.",
      "<|im_end|>" },
    { "Qwen/Qwen2.5-VL-3B-Instruct", "qwen2_5_vl", "Describe the image in English.", "<|im_end|>" },
    { "Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", "Describe the image in English.", "<|im_end|>" },
};

const vlm_checkpoint *vlm_checkpoint_at(size_t i) {
    return i < sizeof known / sizeof known[0] ? &known[i] : NULL;
}
