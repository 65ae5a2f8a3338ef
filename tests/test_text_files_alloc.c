/* SPDX-License-Identifier: MIT */
/* Out of memory at every allocation of making a tokenizer from each kind of file: an error, nothing
 * handed out, nothing leaked (the address sanitizer watches). */
#include "support/alloc.h"
#include "support/cm.h"

#include "text/text.h"

#include <stdio.h>

/* Fails each allocation in turn until loading gets through. file NULL: the folder's own. */
static void each_allocation(const char *dir, const char *config, const char *file, vcore_str bytes,
                            const vlm_extra_token *extra, size_t n_extra) {
    vlm_status status = VLM_ERR_MEMORY;
    vcore_json_doc *doc = NULL;
    vlm_error err = VLM_ERROR_INIT;
    if (config && vcore_json_parse(&doc, config, strlen(config), "c", &err) != VLM_OK)
        fail_msg("%s", err.message);
    for (long k = 1; status != VLM_OK; k++) {
        vtext_folder folder;
        vlm_tokenizer *t = NULL;
        err = (vlm_error) VLM_ERROR_INIT;
        talloc_start(k);
        status = vtext_folder_open(&folder, dir, NULL, &err);
        if (status == VLM_OK) {
            folder.extra = extra;
            folder.n_extra = n_extra;
            if (doc) vtext_folder_give(&folder, VTEXT_TOKENIZER_CONFIG, vcore_json_root(doc));
            status = file ? vtext_tokenizer_load_file(&t, &folder, file, bytes, (vcore_str) { 0 }, &err)
                          : vtext_tokenizer_load(&t, &folder, &err);
            vtext_folder_close(&folder);
        }
        long made = talloc_stop();
        assert_int_equal(status == VLM_OK, t != NULL);
        if (status != VLM_OK && status != VLM_ERR_MEMORY)
            fail_msg("%s: allocation %ld: %s", dir, k, err.message);
        assert_int_equal(status == VLM_OK, made < k);
        assert_int_equal(status, err.code);
        vtext_tokenizer_free(t);
    }
    vcore_json_free(doc);
}

static void folders(void **state) {
    (void)state;
    static const char *const names[] = { "gpt2-added", "clip",           "llama-plain", "gemma",
                                         "unigram",    "tiktoken",       "tekken",      "rebuilt",
                                         "internlm",   "tiktoken-model", "not-rebuilt" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[100];
        snprintf(path, sizeof path, "tests/data/tokenizers/files/%s", names[i]);
        each_allocation(path, NULL, NULL, (vcore_str) { 0 }, NULL, 0);
    }
}

static void from_memory(void **state) {
    (void)state;
    static const vlm_extra_token extra[] = { { .text = "<image>", .special = true },
                                             { .text = "<loc", .behind = ">", .count = 70, .digits = 3 } };
    each_allocation("nowhere", "{\"tokenizer_class\": \"BertTokenizer\"}", "vocab.txt",
                    vcore_str_of("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n"), extra, 2);
    each_allocation("nowhere", "{}", "qwen.tiktoken", vcore_str_of("YQ== 0\nYg== 1\nYWI= 2\n"), NULL, 0);
    each_allocation("nowhere", "{\"tokenizer_class\": \"T5Tokenizer\", \"extra_ids\": 3}", "spiece.model",
                    (vcore_str) { "\x0A\x0A\x0A\x03" "<p>\x15\0\0\0\0" "\x0A\x08\x0A\x01" "a\x15\0\0\x80\xBF"
                                  "\x0A\x0C\x0A\x05<unk>\x15\0\0\0\0", 36 }, NULL, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(folders), cmocka_unit_test(from_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
