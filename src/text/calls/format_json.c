/* SPDX-License-Identifier: MIT */
/* Formats whose arguments are JSON: Hermes' {"name", "arguments"}, Command's actions, Mistral's two, gpt-oss's
 * channels, Kimi's sections. */
#include "text/calls/calls.h"

static vcore_json_doc *read_json(vtext_c_job *job, vcore_str text) {
    vcore_json_doc *doc;
    if (vcore_json_parse(&doc, text.p, text.n, "a tool call", NULL) == VLM_ERR_MEMORY) job->failed = true;
    return doc;
}

/* Calls `name` with this value; none: with nothing. */
static void add(vtext_c_job *job, const vcore_json *name, const vcore_json *arguments) {
    vtext_c_out out = { 0 };
    vcore_str s;
    if (!vcore_json_string(name, &s)) {
        vtext_c_cut(job);
        return;
    }
    if (arguments) vtext_c_put_value(&out.b, arguments);
    else vcore_buf_puts(&out.b, "{}");
    vtext_c_add(job, s, (vcore_str) { 0 }, &out);
}

/* The entries of a list, or a value alone. */
static size_t count_of(const vcore_json *v) {
    return vcore_json_kind_of(v) == VCORE_JSON_ARRAY ? vcore_json_count(v) : 1;
}

static const vcore_json *entry_of(const vcore_json *v, size_t i) {
    return vcore_json_kind_of(v) == VCORE_JSON_ARRAY ? vcore_json_at(v, i) : v;
}

bool vtext_c_parse_json(vtext_c_job *job, vcore_str text) {
    vcore_json_doc *doc = read_json(job, vtext_c_strip(text));
    const vcore_json *root = vcore_json_root(doc);
    for (size_t i = 0; root && i < count_of(root); i++) {
        const vcore_json *call = entry_of(root, i), *arguments = vcore_json_get(call, "arguments");
        if (arguments) add(job, vcore_json_get(call, "name"), arguments);
        else vtext_c_cut(job);
    }
    vcore_json_free(doc);
    return root != NULL;
}

/* ---- Command: [{"tool_name", "parameters"}], where \| may stand for | ---------------------------------- */

static bool is_true(const vcore_json *v) {
    bool t = false;
    double d = 0;
    vcore_str s;
    switch (vcore_json_kind_of(v)) {
    case VCORE_JSON_NULL: return false;
    case VCORE_JSON_BOOL: return vcore_json_bool(v, &t) && t;
    case VCORE_JSON_INT:
    case VCORE_JSON_REAL: return vcore_json_real(v, &d) && d != 0;
    case VCORE_JSON_STRING: return vcore_json_string(v, &s) && s.n > 0;
    default: return vcore_json_count(v) > 0;
    }
}

static const vcore_json *action_name(const vcore_json *call) {
    const vcore_json *name = vcore_json_get(call, "tool_name");
    return is_true(name) ? name : vcore_json_get(call, "name");
}

bool vtext_c_parse_cohere(vtext_c_job *job, vcore_str text) {
    vcore_buf plain = { 0 };
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] != '\\' || i + 1 == text.n || text.p[i + 1] != '|') vcore_buf_add(&plain, text.p + i, 1);
    if (plain.failed) job->failed = true;
    vcore_str all = plain.p ? (vcore_str) { plain.p, plain.n } : (vcore_str) { "", 0 };
    vcore_json_doc *doc = read_json(job, vtext_c_strip(all));
    const vcore_json *root = vcore_json_root(doc);
    bool good = root != NULL;
    for (size_t i = 0; good && i < count_of(root); i++) good = is_true(action_name(entry_of(root, i)));
    for (size_t i = 0; good && i < count_of(root); i++)
        add(job, action_name(entry_of(root, i)), vcore_json_get(entry_of(root, i), "parameters"));
    vcore_json_free(doc);
    vcore_buf_free(&plain);
    return good;
}

/* ---- Mistral: name[ARGS]{...}, or [{"name", "arguments"}] ------------------------------------------------ */

/* The first [ARGS] between a name and an object; false: there is none. */
static bool find_args(vcore_str text, vcore_str *name, vcore_str *object) {
    size_t last = text.n;
    while (last && text.p[last - 1] != '}') last--;
    for (size_t at = 0; (at = vtext_c_find(text, at, "[ARGS]")) != VTEXT_C_NONE; at += 6) {
        size_t begin = vtext_c_word_before(text, at);
        size_t brace = at + 6 + vtext_c_space(vtext_c_slice(text, at + 6, text.n));
        if (begin == at || brace >= last || text.p[brace] != '{') continue;
        *name = vtext_c_slice(text, begin, at);
        *object = vtext_c_slice(text, brace, last);
        return true;
    }
    return false;
}

static bool mistral_list(vtext_c_job *job, vcore_str text) {
    vcore_json_doc *doc = read_json(job, vtext_c_strip(text));
    const vcore_json *root = vcore_json_root(doc);
    bool good = root && count_of(root) > 0;
    for (size_t i = 0; good && i < count_of(root); i++) good = vcore_json_get(entry_of(root, i), "name") != NULL;
    for (size_t i = 0; good && i < count_of(root); i++)
        add(job, vcore_json_get(entry_of(root, i), "name"), vcore_json_get(entry_of(root, i), "arguments"));
    vcore_json_free(doc);
    return good;
}

static bool mistral_one(vtext_c_job *job, vcore_str text) {
    vcore_str name, object;
    vtext_c_out out = { 0 };
    if (!find_args(text, &name, &object)) return mistral_list(job, text);
    bool good = vtext_c_put_json(&out, object);
    if (good) vtext_c_add(job, name, (vcore_str) { 0 }, &out);
    vtext_c_drop(job, &out);
    return good;
}

/* Models write several calls in one line, each with a marker of its own. */
bool vtext_c_parse_mistral(vtext_c_job *job, vcore_str text) {
    static const char marker[] = "[TOOL_CALLS]";
    if (mistral_one(job, text)) return true;
    if (vtext_c_find(text, 0, marker) == VTEXT_C_NONE) return false;
    for (size_t begin = 0; begin < text.n;) {
        size_t end = vtext_c_find(text, begin, marker);
        if (end == VTEXT_C_NONE) end = text.n;
        mistral_one(job, vtext_c_slice(text, begin, end));
        begin = end + strlen(marker);
    }
    return job->n > 0;
}

/* ---- gpt-oss: functions.name ... <|message|>{...} ---------------------------------------------------------- */

bool vtext_c_parse_harmony(vtext_c_job *job, vcore_str text) {
    static const char marker[] = "<|message|>", prefix[] = "functions.";
    size_t at = vtext_c_find(text, 0, marker), used;
    vcore_str header = vtext_c_strip(vtext_c_slice(text, 0, at == VTEXT_C_NONE ? text.n : at));
    vcore_str payload = { "", 0 };
    if (at != VTEXT_C_NONE) payload = vtext_c_strip(vtext_c_slice(text, at + strlen(marker), text.n));
    size_t n = 0;
    while (n < header.n && header.p[n] != '<' && header.p[n] != '|'
           && vtext_c_space(vtext_c_slice(header, n, header.n)) == 0) {
        uint32_t cp;
        used = vcore_utf8_decode(header.p + n, header.n - n, &cp);
        n += used;
    }
    if (n == 0) return false;
    size_t skip = n > strlen(prefix) && vtext_c_starts(header, 0, prefix) ? strlen(prefix) : 0;
    vtext_c_out out = { 0 };
    if (payload.n == 0) vcore_buf_puts(&out.b, "{}");
    else if (!vtext_c_put_json(&out, payload)) vtext_c_put_string(&out, payload);
    vtext_c_add(job, vtext_c_slice(header, skip, n), (vcore_str) { 0 }, &out);
    return true;
}

/* ---- Kimi: functions.name:0<|tool_call_argument_begin|>{...}, id in front ----------------------------------- */

static const char kimi_arguments[] = "<|tool_call_argument_begin|>";

/* The first ":digits" before a marker and at or behind `from`: *colon, and *end of the digits. */
static bool find_number(vcore_str text, size_t from, size_t *colon, size_t *end) {
    for (size_t at = 0; (at = vtext_c_find(text, at, kimi_arguments)) != VTEXT_C_NONE;
         at += strlen(kimi_arguments)) {
        vcore_str head = vtext_c_slice(text, 0, at);
        size_t n = at;
        while (n > 0 && strchr(" \t\r\n\f\v", head.p[n - 1]) && head.p[n - 1]) n--;
        size_t digits = n;
        while (digits > 0 && head.p[digits - 1] >= '0' && head.p[digits - 1] <= '9') digits--;
        if (digits == n || digits == 0 || head.p[digits - 1] != ':' || digits - 1 < from) continue;
        *colon = digits - 1;
        *end = n;
        return true;
    }
    return false;
}

static bool kimi_one(vtext_c_job *job, vcore_str text) {
    size_t begin = vtext_c_space(text), name = begin, colon, end;
    if (vtext_c_starts(text, begin, "functions.")) name += strlen("functions.");
    if (!find_number(text, name + 1, &colon, &end)) {
        name = begin;
        if (!find_number(text, name + 1, &colon, &end)) return false;
    }
    size_t at = vtext_c_find(text, 0, kimi_arguments) + strlen(kimi_arguments);
    vcore_str arguments = vtext_c_slice(text, at, text.n);
    arguments = vtext_c_slice(arguments, vtext_c_space(arguments), arguments.n);
    vtext_c_out out = { 0 };
    vtext_c_put_guess(&out, arguments);
    vtext_c_add(job, vtext_c_slice(text, name, colon), vtext_c_slice(text, begin, end), &out);
    return true;
}

bool vtext_c_parse_kimi(vtext_c_job *job, vcore_str text) {
    vcore_str inner;
    size_t at = 0, n = 0;
    for (; vtext_c_between(&inner, text, &at, "<|tool_call_begin|>", "<|tool_call_end|>"); n++)
        if (!kimi_one(job, inner)) return false;
    return n > 0 || kimi_one(job, text);
}
