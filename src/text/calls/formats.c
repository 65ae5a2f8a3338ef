/* SPDX-License-Identifier: MIT */
/* The formats of tool calls, which of them a chat template means, and the calls of a span. */
#include "text/calls/calls.h"

static const vtext_c_format formats[] = {
    { "atem", { { "<atem:function_calls>", "<atem:invoke" } }, 100, "to=self<|message|>",
      "</atem:function_calls>", vtext_c_parse_atem },
    { "gemma4", { { "<|tool_call>" } }, 100, "<|tool_call>", "<tool_call|>", vtext_c_parse_gemma },
    { "cohere2_moe", { { "<|START_ACTION|>" } }, 100, "<|START_ACTION|>", "<|END_ACTION|>",
      vtext_c_parse_cohere },
    { "minimax_m3", { { "]<]minimax[>[<tool_call>" }, { "<mm:think>" } }, 100, "]<]minimax[>[<tool_call>",
      "]<]minimax[>[</tool_call>", vtext_c_parse_minimax_m3 },
    { "minimax_m2", { { "<minimax:tool_call>" } }, 100, "<minimax:tool_call>", "</minimax:tool_call>",
      vtext_c_parse_minimax_m2 },
    { "minicpm5", { { "<function name=", "<param name=" } }, 100, "<function", "</function>",
      vtext_c_parse_minicpm },
    { "function_gemma", { { "<start_function_call>" } }, 100, "<start_function_call>", "<end_function_call>",
      vtext_c_parse_function_gemma },
    { "longcat", { { "<longcat_tool_call>" } }, 100, "<longcat_tool_call>", "</longcat_tool_call>",
      vtext_c_parse_longcat },
    { "glm47", { { "<arg_key>" } }, 100, "<tool_call>", "</tool_call>", vtext_c_parse_glm },
    { "pythonic", { { "<|tool_call_start|>", "<|tool_call_end|>" }, { "<|tool_list_start|>" } }, 100,
      "<|tool_call_start|>", "<|tool_call_end|>", vtext_c_parse_pythonic },
    { "qwen3_coder", { { "<tool_call>\\n<function=" }, { "<tool_call>\n<function=" } }, 100, "<tool_call>",
      "</tool_call>", vtext_c_parse_qwen },
    { "kimi_k2", { { "<|tool_calls_section_begin|>" } }, 100, "<|tool_calls_section_begin|>",
      "<|tool_calls_section_end|>", vtext_c_parse_kimi },
    { "mistral", { { "[TOOL_CALLS]" } }, 100, "[TOOL_CALLS]", "", vtext_c_parse_mistral },
    { "harmony", { { "<|channel|>commentary", "<|call|>" } }, 100, "<|channel|>commentary to=", "<|call|>",
      vtext_c_parse_harmony },
    /* What shares its markers with formats of their own comes after them. */
    { "json_tools", { { "<tool_call>", "tool_call.name" } }, 0, "<tool_call>", "</tool_call>",
      vtext_c_parse_json },
};

const vtext_c_format *vtext_c_format_at(size_t i) {
    return i < sizeof formats / sizeof formats[0] ? &formats[i] : NULL;
}

const vtext_c_format *vtext_c_format_named(const char *name) {
    const vtext_c_format *f;
    for (size_t i = 0; (f = vtext_c_format_at(i)); i++)
        if (!strcmp(f->name, name)) return f;
    return NULL;
}

static bool matches(const vtext_c_format *f, vcore_str text) {
    for (int i = 0; i < 2 && f->markers[i][0]; i++) {
        const char *const *both = f->markers[i];
        if (vtext_c_find(text, 0, both[0]) != VTEXT_C_NONE
            && (!both[1] || vtext_c_find(text, 0, both[1]) != VTEXT_C_NONE))
            return true;
    }
    return false;
}

const vtext_c_format *vtext_c_format_of(vcore_str chat_template) {
    const vtext_c_format *best = NULL, *f;
    for (size_t i = 0; (f = vtext_c_format_at(i)); i++)
        if (matches(f, chat_template) && (!best || f->priority > best->priority)) best = f;
    return best;
}

/* ---- calls of a span ---------------------------------------------------------------------------------------- */

static void free_call(vtext_c_call *c) {
    vcore_free(c->name);
    vcore_free(c->arguments);
    vcore_free(c->id);
}

void vtext_c_job_clear(vtext_c_job *job, size_t from) {
    for (size_t i = from; i < job->n; i++) free_call(&job->call[i]);
    if (from < job->n) job->n = from;
    job->cut = false;
    if (from) return;
    vcore_free(job->call);
    job->call = NULL;
    job->cap = 0;
}

void vtext_c_cut(vtext_c_job *job) {
    job->cut = true;
}

void vtext_c_drop(vtext_c_job *job, vtext_c_out *out) {
    if (out->b.failed) job->failed = true;
    vcore_buf_free(&out->b);
}

/* The arguments as they are given out; false: they cannot be. */
static bool take_arguments(vtext_c_call *c, const vtext_c_out *out, bool *failed) {
    vcore_json_doc *doc;
    vcore_buf b = { 0 };
    vcore_str s;
    if (out->unwritable || out->b.failed) return false;
    if (vcore_json_parse(&doc, out->b.p, out->b.n, "a tool call", NULL) == VLM_ERR_MEMORY) *failed = true;
    if (!doc) return false; /* nested too deep */
    if (vcore_json_string(vcore_json_root(doc), &s)) vcore_buf_add(&b, s.p, s.n);
    else vtext_c_put_value(&b, vcore_json_root(doc));
    c->arguments_bytes = b.n;
    c->arguments = vcore_buf_take(&b);
    vcore_json_free(doc);
    if (!c->arguments) *failed = true;
    return c->arguments != NULL;
}

void vtext_c_add(vtext_c_job *job, vcore_str name, vcore_str id, vtext_c_out *arguments) {
    vtext_c_call c = { 0 };
    bool wanted = !job->cut && !job->failed;
    if (wanted && !take_arguments(&c, arguments, &job->failed)) vtext_c_cut(job);
    vtext_c_drop(job, arguments);
    arguments->unwritable = false;
    if (!c.arguments) return;
    if (job->n == job->cap) {
        size_t cap = job->cap ? 2 * job->cap : 4;
        vtext_c_call *more = vcore_realloc_array(job->call, cap, sizeof *more);
        if (more) job->call = more;
        if (more) job->cap = cap;
    }
    name = vtext_c_strip(name);
    c.name = vcore_strndup(name.p, name.n);
    c.name_bytes = name.n;
    c.id = id.n ? vcore_strndup(id.p, id.n) : NULL;
    if (job->n < job->cap && c.name && (c.id || !id.n)) {
        job->call[job->n++] = c;
        return;
    }
    free_call(&c);
    job->failed = true;
}
