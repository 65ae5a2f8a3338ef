/* SPDX-License-Identifier: MIT */
/* Messages for the template, in every format of content, out of memory at every allocation. */
#include "engine/engine.h"
#include "support/alloc.h"
#include "support/cm.h"

static const char chat[] =
    "[{\"role\":\"user\",\"content\":[{\"type\":\"image\"},{\"type\":\"text\",\"text\":\"one picture of many\"},{\"type\":\"image\"}]},"
    "{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"arguments\":\"{\\\"x\\\": [1, 2]}\"}}]},"
    "{\"role\":\"tool\",\"content\":\"an answer\"},{\"role\":\"user\",\"content\":\"and what is this?\"}]";

static void messages_run_out_of_memory(void **state) {
    (void)state;
    static const char *const types[] = { "qwen2_5_vl", "qwen2_vl", "internvl_chat", "phi3_v", "unlimited-ocr",
                                         "minicpmv4_6", "molmo" };
    vlm_error err;
    vlm_input *in;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    assert_int_equal(vlm_input_set_messages(in, chat, &err), VLM_OK);
    in->n_images = 3; /* only counted here */
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const vlm_message_format *format = vmodel_message_format(types[i], NULL);
        long failures = 0;
        for (bool reached = true; reached; failures += reached) {
            vcore_buf b = { 0 };
            err = (vlm_error) VLM_ERROR_INIT;
            talloc_start(failures + 1);
            vcore_json_open(&b, NULL, '{');
            vlm_status status = vengine_messages_write(&b, in, format, &err);
            reached = talloc_stop() > failures;
            vcore_buf_free(&b);
            if (status != (reached ? VLM_ERR_MEMORY : VLM_OK) || err.code != status)
                fail_msg("%s, allocation %ld: %d, %s", types[i], failures + 1, (int)status, err.message);
        }
        assert_true(failures > 5);
    }
    in->n_images = 0;
    vlm_input_free(in);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(messages_run_out_of_memory) };
    return cmocka_run_group_tests_name("formats, out of memory", tests, NULL, NULL);
}
