/* SPDX-License-Identifier: MIT */
/* A byte that says which file, a byte that says which class, a tokenizer_config.json, a NUL byte,
 * the file (for vocab.json: a NUL byte and merges.txt behind it). What is loaded encodes a line. */
#include "text/text.h"

static const char *const files[] = { "tokenizer.model", "tiktoken.model", "tekken.json",
                                     "vocab.json",      "vocab.txt",      "qwen.tiktoken",
                                     "tokenizer.json" };
static const char *const classes[] = { "LlamaTokenizer",   "GemmaTokenizer",   "T5Tokenizer",
                                       "GPT2Tokenizer",    "Qwen2Tokenizer",   "RobertaTokenizer",
                                       "CLIPTokenizer",    "BertTokenizer",    "CohereTokenizer",
                                       "GPTNeoXTokenizer", "Siglip2Tokenizer", "Unknown" };

static void encode(const vlm_tokenizer *t) {
    static const char line[] = "Hello  w\xC3\xB6rld 123 <image>\n\xE4\xB8\xAD\xE6\x96\x87 </s>";
    const vtext_span span = { line, sizeof line - 1, false };
    vtext_ids ids = { 0 };
    vcore_buf text = { 0 };
    if (vtext_encode(t, &span, 1, true, true, &ids, NULL) == VLM_OK)
        if (vtext_decode(t, ids.id, ids.n, false, &text, NULL) != VLM_OK) __builtin_trap();
    vtext_ids_free(&ids);
    vcore_buf_free(&text);
}

static void load(vtext_folder *folder, const char *file, vcore_str bytes, vcore_str merges) {
    vlm_tokenizer *t;
    vlm_error err = VLM_ERROR_INIT;
    vlm_status status = vtext_tokenizer_load_file(&t, folder, file, bytes, merges, &err);
    if ((status != VLM_OK) != (t == NULL) || status != err.code || (!t && !err.message[0])
        || strchr(err.message, '\n'))
        __builtin_trap();
    if (t) encode(t);
    vtext_tokenizer_free(t);
}

static vcore_str take(const char **p, size_t *n) {
    const char *nul = *n ? memchr(*p, 0, *n) : NULL;
    vcore_str part = { *p, nul ? (size_t)(nul - *p) : *n };
    *p += part.n + (nul != NULL);
    *n -= part.n + (nul != NULL);
    return part;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    const char *file = files[data[0] % (sizeof files / sizeof files[0])],
               *p = (const char *)data + 2;
    const char *class = classes[data[1] % (sizeof classes / sizeof classes[0])];
    size_t n = size - 2;
    vcore_str config = take(&p, &n), bytes, merges = { "", 0 };
    bytes = (vcore_str) { p, n };
    if (strcmp(file, "vocab.json") == 0) {
        bytes = take(&p, &n);
        merges = (vcore_str) { p, n };
    }
    vcore_buf named = { 0 };
    vcore_json_doc *doc = NULL, *model = NULL;
    vtext_folder folder;
    vcore_json_open(&named, NULL, '{');
    vcore_json_put_text(&named, "tokenizer_class", class);
    vcore_json_close(&named, '}');
    if (vtext_folder_open(&folder, "nowhere", NULL, NULL) != VLM_OK) __builtin_trap();
    vcore_json_parse(&model, named.p, named.n, "config.json", NULL);
    vcore_json_parse(&doc, config.p, config.n, "tokenizer_config.json", NULL);
    vtext_folder_give(&folder, VTEXT_CONFIG, vcore_json_root(model));
    vtext_folder_give(&folder, VTEXT_TOKENIZER_CONFIG, doc ? vcore_json_root(doc) : NULL);
    vtext_folder_give(&folder, VTEXT_SPECIAL_TOKENS,
                      doc ? vcore_json_get(vcore_json_root(doc), "map") : NULL);
    vtext_folder_give(&folder, VTEXT_ADDED_TOKENS,
                      doc ? vcore_json_get(vcore_json_root(doc), "added") : NULL);
    load(&folder, file, bytes, merges);
    vtext_folder_close(&folder);
    vcore_json_free(doc);
    vcore_json_free(model);
    vcore_buf_free(&named);
    return 0;
}
