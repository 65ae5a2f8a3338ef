/* SPDX-License-Identifier: MIT */
/* Out of memory at every allocation of a tokenizer with most components: an error, nothing handed
 * out, nothing leaked. */
#include "support/alloc.h"
#include "support/cm.h"

#include "text/text.h"

static vlm_error err;

static const char many[] =
    "{\"model\": {\"type\": \"BPE\", \"unk_token\": \"u\", \"vocab\": {\"u\": 0}, \"merges\": []},"
    "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"BertNormalizer\"},"
    "{\"type\": \"Nmt\"}, {\"type\": \"NFKD\"}, {\"type\": \"Strip\"},"
    "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"BAAAAAAAAAAA\"},"
    "{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"[a-c]+|$\"}, \"content\": \"-\"},"
    "{\"type\": \"Prepend\", \"prepend\": \"_\"}, {\"type\": \"ByteLevel\"}]},"
    "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
    "\"UnicodeScripts\"},"
    "{\"type\": \"Metaspace\", \"replacement\": \"_\"}, {\"type\": \"ByteLevel\"},"
    "{\"type\": \"FixedLength\"}, {\"type\": \"Punctuation\"}]},"
    "\"post_processor\": {\"type\": \"Sequence\", \"processors\": [{\"type\": "
    "\"RobertaProcessing\","
    "\"cls\": [\"u\", 0], \"sep\": [\"u\", 0]}, {\"type\": \"TemplateProcessing\", \"single\":"
    "[{\"SpecialToken\": {\"id\": \"u\"}}, {\"Sequence\": {\"id\": \"A\"}}],"
    "\"special_tokens\": {\"u\": {\"ids\": [0, 0]}}}]}}";

static void out_of_memory(void **state) {
    (void)state;
    const char text[] = " Caf\xC3\xA9 abc, \xE4\xB8\xAD e\xCC\x81 x-y";
    vtext_span span = { text, sizeof text - 1, false };
    vlm_status status = VLM_ERR_MEMORY;
    vlm_tokenizer *t = NULL;
    for (long k = 1; status != VLM_OK; k++) {
        talloc_start(k);
        status = vtext_tokenizer_parse(&t, many, sizeof many - 1, NULL, 0, "t.json", &err);
        talloc_stop();
        assert_int_equal(status == VLM_OK, t != NULL);
        if (!t) assert_int_equal(status, VLM_ERR_MEMORY);
    }
    status = VLM_ERR_MEMORY;
    for (long k = 1; status != VLM_OK; k++) {
        vtext_ids ids = { 0 };
        talloc_start(k);
        status = vtext_encode(t, &span, 1, true, true, &ids, &err);
        talloc_stop();
        if (status != VLM_OK)
            assert_int_equal(status, VLM_ERR_MEMORY);
        else
            assert_true(ids.n > 10);
        vtext_ids_free(&ids);
    }
    vtext_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
