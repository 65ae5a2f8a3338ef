/* SPDX-License-Identifier: MIT */
/* Out of memory at every allocation of taking a reply apart: an error, and nothing leaked (the address sanitizer
 * watches). */
#include "support/alloc.h"
#include "support/cm.h"

#include "vlm/reply.h"

static const char tools[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"properties\": "
    "{\"a\": {\"type\": \"string\"}, \"b\": {\"type\": \"object\", \"properties\": {\"c\": {\"type\": \"number\"}}}}}}}]";

/* One call of each format, with what its reader has. */
static const struct sample {
    const char *format, *text;
} samples[] = {
    { "json_tools", "<think>\nx</think>y <tool_call>[{\"name\": \"f\", \"arguments\": {\"a\": [1, 2.5, \"\\u00e9\"]}}]</tool_call>" },
    { "cohere2_moe", "<|START_ACTION|>[{\"tool_name\": \"f\", \"parameters\": {\"a\": \"x\\|y\"}}]<|END_ACTION|>" },
    { "mistral", "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS][{\"name\": \"f\"}]\n" },
    { "harmony", "<|channel|>commentary to=functions.f<|message|>text<|call|>" },
    { "kimi_k2", "<|tool_calls_section_begin|>functions.f:0<|tool_call_argument_begin|>{'a': (1, 0x1F)}<|tool_calls_section_end|>" },
    { "qwen3_coder", "<tool_call><function=f><parameter=a>x</parameter><parameter=b>{'c': 1}</parameter></function></tool_call>" },
    { "minimax_m2", "<minimax:tool_call><invoke name=\"f\"><parameter name=\"b\">{}</parameter></invoke></minimax:tool_call>" },
    { "minimax_m3", "]<]minimax[>[<tool_call>]<]minimax[>[<invoke name=\"f\">]<]minimax[>[<b>t]<]minimax[>[<c>1e3]<]minimax[>[</c>"
                    "]<]minimax[>[<c>2]<]minimax[>[</c>]<]minimax[>[</b>]<]minimax[>[</invoke>]<]minimax[>[</tool_call>" },
    { "atem", "to=self<|message|><atem:invoke name=\"f\"><atem:parameter name=\"a\">x</atem:parameter></atem:invoke></atem:function_calls>" },
    { "glm47", "<tool_call>f a='x y' b=1</tool_call><tool_call>f\n{'a': [1], 'b': '2'}</tool_call>" },
    { "glm47", "<tool_call>f<arg_key>a</arg_key><arg_value>x</arg_value></tool_call><tool_call>{\"name\": \"f\", \"arguments\": {\"a\": {\"k\": [true]}}}</tool_call>" },
    { "gemma4", "<|tool_call>call:f{a:<|\"|>x<|\"|>,b:{c:[1,2]}}<tool_call|>" },
    { "minicpm5", "<function name=\"f\"><param name=\"a\" t=\"1\">&lt;<![CDATA[x]]></param></function>" },
    { "pythonic", "<|tool_call_start|>[f(a='x', b={1: -2.5})]<|tool_call_end|><|tool_call_start|>[f(a=\"say \"x\" y\")]<|tool_call_end|>" },
};

static vlm_status parse(const struct sample *s, size_t *calls) {
    vlm_reply *reply;
    vlm_error err = VLM_ERROR_INIT;
    size_t n = strlen(s->text), half = n / 2;
    *calls = 0;
    vlm_status status = vlm_reply_new(&reply, s->format, tools, &err);
    assert_int_equal(status >= 0, reply != NULL);
    if (status >= 0) status = vlm_reply_split_thinking(reply, "<<", ">>", false, &err);
    if (status >= 0) status = vlm_reply_push(reply, s->text, half, &err);
    if (status >= 0) status = vlm_reply_push(reply, s->text + half, n - half, &err);
    if (status >= 0) status = vlm_reply_finish(reply, &err);
    assert_int_equal(status, err.code);
    for (vlm_reply_event e; status >= 0 && vlm_reply_next(reply, &e, &err) == VLM_OK;) *calls += e.kind == VLM_REPLY_CALL;
    vlm_reply_free(reply);
    return status;
}

static void every_allocation(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        size_t want, calls;
        assert_int_equal(parse(&samples[i], &want), VLM_OK);
        if (want == 0) fail_msg("%s", samples[i].text);
        vlm_status status = VLM_ERR_MEMORY;
        for (long k = 1; status != VLM_OK; k++) {
            talloc_start(k);
            status = parse(&samples[i], &calls);
            talloc_stop();
            if (status != VLM_OK && status != VLM_ERR_MEMORY) fail_msg("allocation %ld: %s", k, samples[i].text);
            if (status == VLM_OK && calls != want) fail_msg("allocation %ld: a call is lost: %s", k, samples[i].text);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
