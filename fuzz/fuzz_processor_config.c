/* SPDX-License-Identifier: MIT */
/* The processor config from memory. The first byte says which files there are and whether there is a
 * default class; their texts are split from the rest by zero bytes. */
#include <string.h>

#include "vlm/vlm.h"

static const char *const names[] = { "preprocessor_config.json", "processor_config.json",
                                     "tokenizer_config.json", "video_preprocessor_config.json" };

static void check(const vlm_processor_config *c, const vlm_config_text *texts, bool has_default) {
    const char *by = vlm_processor_config_named_by(c), *file = vlm_processor_config_file(c);
    bool known = !strcmp(by, "default") && has_default;
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(names[i]);
        known |= texts[i].text && !strncmp(by, names[i], n) && (!by[n] || !strcmp(by + n, ": auto_map"));
    }
    if (!known || !vlm_processor_config_class(c)) __builtin_trap();
    if (strcmp(file, names[texts[0].text ? 0 : 1])) __builtin_trap();
    for (size_t i = 0; i < 4; i++) {
        size_t bytes;
        const char *text = vlm_processor_config_text(c, names[i], &bytes);
        if ((text != NULL) != (texts[i].text != NULL && i != 2)) __builtin_trap();
        if (text && (bytes > texts[i].bytes || text[bytes])) __builtin_trap();
        if (vlm_processor_config_json(c, names[i]) && !text) __builtin_trap();
    }
    if (texts[0].text && !vlm_processor_config_json(c, names[0])) __builtin_trap();
    vlm_processor_config_image(c);
    vlm_processor_config_video(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vlm_config_text texts[4] = { { names[0], NULL, 0 }, { names[1], NULL, 0 }, { names[2], NULL, 0 },
                                 { names[3], NULL, 0 } };
    if (size == 0) return 0;
    const char *p = (const char *)data + 1, *end = (const char *)data + size;
    for (size_t i = 0; i < 4; i++) {
        if (!(data[0] >> i & 1)) continue;
        const char *stop = p < end ? memchr(p, 0, (size_t)(end - p)) : NULL;
        texts[i].text = p;
        texts[i].bytes = (size_t)((stop ? stop : end) - p);
        p = stop ? stop + 1 : end;
    }
    bool has_default = data[0] >> 4 & 1;
    vlm_processor_config *c;
    vlm_error err = VLM_ERROR_INIT;
    vlm_status status = vlm_processor_config_parse(&c, texts, 4, has_default ? "Default" : NULL, NULL, &err);
    if (status < 0) {
        if (c || err.code != status || !err.message[0] || strchr(err.message, '\n')) __builtin_trap();
        return 0;
    }
    check(c, texts, has_default);
    vlm_processor_config_free(c);
    return 0;
}
