/* SPDX-License-Identifier: MIT */
/* Which model type wants its media where in a message: mlx-vlm's table (0.7.10), as data. What a format does is the
 * engine's (messages.c); a processor class may say its own in place of this. */
#include "models/models.h"

const vlm_message_format vmodel_message_parts = { .name = "list_with_image_first", .image = "image" };
static const vlm_message_format image_last = {
    .name = "list_with_image", .image = "image", .behind = true
};
static const vlm_message_format image_url = {
    .name = "list_with_image_url_first", .image = "image_url"
};
static const vlm_message_format typed = {
    .name = "list_with_image_type", .image = "image", .assistant_text = true
};

#define TOKEN(id, its_name, token, ...)                                                            \
    static const vlm_message_format id = {                                                         \
        .name = its_name, .content = VLM_CONTENT_TEXT, .image = token, __VA_ARGS__                 \
    }
TOKEN(token, "image_token", "<image>", .behind = false);
TOKEN(token_pipe, "image_token_pipe", "<|image|>", .behind = false);
TOKEN(token_patch, "image_patch_token", "<im_patch>", .behind = false);
TOKEN(token_behind, "start_image_token", "<start_of_image>", .behind = true);
TOKEN(token_line, "image_token_newline", "<image>\n", .behind = false);
TOKEN(token_once, "single_image_token", "<image>", .together = true);
TOKEN(token_wrapped, "image_token_wrapped", "(<image>./</image>)\n", .video_parts = true);
TOKEN(token_numbered, "numbered_image_tokens", "<|image_%d|>", .behind = false);
TOKEN(prompt_token, "prompt_with_image_token", "<image>", .bare = true);
TOKEN(prompt_only, "prompt_only", NULL, .bare = true);
TOKEN(text_only, "text_only", NULL, .behind = false);

/* Types as checkpoints spell them, in small letters: not every spelling is one that a registry knows. */
static const struct row {
    const vlm_message_format *format;
    const char *types;
} rows[] = {
    { &vmodel_message_parts,
      "cohere_compass|deepseek_v4|deepseek_v41|dots_ocr|glm4v|glm4v_moe|glm5_next|glm_ocr|"
      "hunyuan_vl|idefics3|inkling|inkling_mm_model|lfm2-vl|lfm2_vl|locateanything|mage_vl|"
      "mimo_v2|minicpmv4_7|minimax_m3_vl|mistral3|molmo2|molmo_point|muse_glimmer|"
      "muse_spark|muse_spark_open|paddleocr_vl|prism_hadamard_qwen35|qwen2_5_vl|qwen3_5|"
      "qwen3_5_moe|qwen3_omni_moe|qwen3_vl|qwen3_vl_moe|qwen4_exp|smolvlm|youtu_vl|zaya1_vl" },
    { &image_last,
      "aya_vision|cohere2_vision|granite4_vision|granite_vision|idefics2|kimi_k25|kimi_k3|"
      "kimi_vl|llama4|llava|llava_next|llava_onevision|mllama|qwen2_vl" },
    { &image_url,
      "ernie4_5_moe_vl" },
    { &typed,
      "diffusion_gemma|gemma3n|gemma4|gemma4_unified|internvl|internvl_chat|"
      "nemotron_h_nano_omni|nemotron_h_omni|nemotronh_nano_omni_reasoning_v3|pixtral" },
    { &token,
      "llmjpvl|minicpmo|multi_modality" },
    { &token_pipe,
      "jina_vlm|jvlm" },
    { &token_patch,
      "step3p7" },
    { &token_behind,
      "gemma3" },
    { &token_line,
      "bunny-llama|deepseek_vl_v2|deepseekocr|deepseekocr_2|llava-qwen2|llava_qwen2|"
      "phi4-siglip" },
    { &token_once,
      "unlimited-ocr" },
    { &token_wrapped,
      "minicpmv4_6" },
    { &token_numbered,
      "phi3_v|phi4mm" },
    { &prompt_token,
      "paligemma" },
    { &prompt_only,
      "falcon_ocr|florence2|moondream2|moondream3|plamo2vl" },
    { &text_only,
      "hrm_text|laguna|limite|minimax_m3|molmo|nemotron_labs_diffusion|qwen3_5_text" },
};

static const char single_image_types[] =
    "bunny-llama|falcon_ocr|llava-qwen2|llava_next|mllama|multi_modality|paligemma";

const vlm_message_format *vmodel_message_format(const char *model_type, bool *single_image) {
    char name[64];
    size_t n = strlen(model_type);
    bool ignored;
    if (!single_image) single_image = &ignored;
    *single_image = false;
    if (n >= sizeof name) return NULL;
    for (size_t i = 0; i < n; i++)
        name[i] = model_type[i] >= 'A' && model_type[i] <= 'Z' ? (char)(model_type[i] | 32) : model_type[i];
    *single_image = vmodel_is_one_of(single_image_types, (vcore_str) { name, n });
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (vmodel_is_one_of(rows[i].types, (vcore_str) { name, n })) return rows[i].format;
    return NULL;
}
