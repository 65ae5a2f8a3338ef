/* SPDX-License-Identifier: MIT */
/* The base config from memory: config.json, generation_config.json and hf_quant_config.json, split
 * from the input by zero bytes. What is given out keeps its promises; what is refused is named. */
#include <string.h>

#include "vlm/vlm.h"

static void check_eos(const vlm_base_config *c) {
    const vlm_config_eos *eos = vlm_base_config_eos(c);
    if (eos->n > 4096 || (eos->form == VLM_EOS_ABSENT) != (eos->source == NULL)) __builtin_trap();
    if (eos->form != VLM_EOS_MANY && eos->n != (eos->form == VLM_EOS_ONE)) __builtin_trap();
    uint32_t sum = 0;
    for (size_t i = 0; i < eos->n; i++) sum += eos->ids[i]; /* all can be read */
    if (eos->n == 1 && sum != eos->ids[0]) __builtin_trap();
}

static void check_quantization(const vlm_base_config *c) {
    const vlm_quantization *q = vlm_base_config_quantization(c);
    vlm_quantization_params params;
    const char *module;
    vlm_error err = VLM_ERROR_INIT;
    if (!q) return;
    if (!vlm_quantization_method(q)) __builtin_trap();
    if (vlm_quantization_usable(q, &err) < 0 && !err.message[0]) __builtin_trap();
    if (vlm_quantization_default(q, &params) && !vlm_quantization_mode_name(params.mode)) __builtin_trap();
    for (size_t i = 0; (module = vlm_quantization_at(q, i, NULL, NULL)); i++)
        if (vlm_quantization_find(q, module, &params) == VLM_QUANTIZATION_UNMENTIONED) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vlm_config_text texts[] = { { "config.json", NULL, 0 },
                                { "generation_config.json", NULL, 0 },
                                { "hf_quant_config.json", NULL, 0 } };
    const char *p = (const char *)data;
    for (size_t i = 0; i < 3 && p; i++) {
        size_t left = size - (size_t)(p - (const char *)data);
        const char *end = left && i < 2 ? memchr(p, 0, left) : NULL;
        texts[i].text = p;
        texts[i].bytes = end ? (size_t)(end - p) : left;
        p = end ? end + 1 : NULL;
    }
    if (!texts[0].text) texts[0].text = "";
    vlm_base_config *c;
    vlm_error err = VLM_ERROR_INIT;
    vlm_status status = vlm_base_config_parse(&c, texts, 3, NULL, &err);
    if (status < 0) {
        if (c || err.code != status || !err.message[0] || strchr(err.message, '\n')) __builtin_trap();
        return 0;
    }
    size_t bytes;
    const char *text = vlm_base_config_text(c, &bytes);
    bool marked = texts[0].bytes >= 3 && !memcmp(texts[0].text, "\xEF\xBB\xBF", 3);
    if (bytes + (marked ? 3 : 0) != texts[0].bytes || text[bytes]) __builtin_trap();
    if (memcmp(text, texts[0].text + (marked ? 3 : 0), bytes)) __builtin_trap();
    if (!vlm_base_config_model_type(c)[0] || !vlm_base_config_json(c)) __builtin_trap();
    check_eos(c);
    check_quantization(c);
    vlm_base_config_free(c);
    return 0;
}
