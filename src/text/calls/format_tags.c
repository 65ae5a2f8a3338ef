/* SPDX-License-Identifier: MIT */
/* Formats whose arguments stand in tags, one by one, as text whose type the tool's schema says: Qwen3-Coder's,
 * MiniMax M2's, ATEM's. */
#include "text/calls/calls.h"

/* ---- Qwen3-Coder: <function=name><parameter=key>value</parameter></function> ----------------------------- */

/* The name of a schema's type; of several, the first that is not null. */
static vcore_str type_name(const vcore_json *schema) {
    const vcore_json *type = vcore_json_get(schema, "type");
    vcore_str s = { "", 0 };
    if (vcore_json_string(type, &s)) return vtext_c_strip(s);
    for (size_t i = 0; i < vcore_json_count(type); i++)
        if (vcore_json_string(vcore_json_at(type, i), &s) && !vtext_c_same(s, "null")) return vtext_c_strip(s);
    return s;
}

static bool begins(vcore_str s, const char *const *words) {
    for (; *words; words++) {
        size_t n = strlen(*words);
        if (s.n >= n && vtext_c_same(vtext_c_slice(s, 0, n), *words)) return true;
    }
    return false;
}

static bool is_one_of(vcore_str s, const char *const *words) {
    for (; *words; words++)
        if (vtext_c_same(s, *words)) return true;
    return false;
}

/* Without a type: objects and lists are read, all else is text. */
static void put_untyped(vtext_c_out *out, vcore_str value) {
    size_t mark = out->b.n;
    if (vtext_c_put_json(out, value) && !out->b.failed && strchr("[{", out->b.p[mark])) return;
    if (!out->b.failed) out->b.n = mark;
    vtext_c_put_string(out, value);
}

/* False: the text is no value of its type. *over: nor can any be made of it. */
static bool put_typed(vtext_c_out *out, vcore_str value, const vcore_json *schema, bool *over) {
    static const char *const strings[] = { "string", "str", "text", "varchar", "char", "enum", NULL };
    static const char *const whole[] = { "int", "uint", "long", "short", "unsigned", NULL };
    static const char *const real[] = { "num", "float", NULL };
    static const char *const truth[] = { "boolean", "bool", "binary", NULL };
    static const char *const objects[] = { "object", "array", "arr", NULL };
    static const char *const begin_objects[] = { "dict", "list", NULL };
    if (vtext_c_same(value, "null")) {
        vcore_buf_puts(&out->b, "null");
        return true;
    }
    bool typed = vcore_json_kind_of(schema) == VCORE_JSON_OBJECT && vcore_json_get(schema, "type");
    vcore_str type = type_name(schema);
    if (!schema || (typed && is_one_of(type, strings)))
        vtext_c_put_string(out, value);
    else if (!typed)
        put_untyped(out, value);
    else if (begins(type, whole))
        return vtext_c_put_int(out, value);
    else if (begins(type, real))
        return vtext_c_put_number(out, value, over);
    else if (is_one_of(type, truth))
        vcore_buf_puts(&out->b, vtext_c_same(value, "true") ? "true" : "false");
    else if ((is_one_of(type, objects) || begins(type, begin_objects)) && vtext_c_put_json(out, value))
        return true;
    else
        return vtext_c_put_literal(out, value);
    return true;
}

/* One line end at each side belongs to the tags. */
static vcore_str without_line_ends(vcore_str s) {
    if (s.n && s.p[0] == '\n') s = vtext_c_slice(s, 1, s.n);
    if (s.n && s.p[s.n - 1] == '\n') s.n--;
    return s;
}

bool vtext_c_parse_qwen(vtext_c_job *job, vcore_str text) {
    static const char open[] = "<function=", close[] = "</function>", parameter[] = "<parameter=",
                      behind[] = "</parameter>";
    if (text.n && text.p[text.n - 1] == '\n') text.n--;
    size_t begin = vtext_c_find(text, 0, open), at, key_end;
    if (begin == VTEXT_C_NONE || text.n < begin + strlen(open) + strlen(close)
        || !vtext_c_starts(text, text.n - strlen(close), close))
        return false;
    text = vtext_c_slice(text, begin + strlen(open), text.n - strlen(close));
    size_t name_end = vtext_c_find(text, 0, ">");
    if (name_end == VTEXT_C_NONE) return false;
    vcore_str name = vtext_c_slice(text, 0, name_end);
    vtext_c_out out = { 0 };
    bool good = true, over = false;
    vtext_c_begin(&out);
    for (at = name_end; good && !over && (at = vtext_c_find(text, at, parameter)) != VTEXT_C_NONE;) {
        at += strlen(parameter);
        size_t end = vtext_c_find(text, at, behind);
        bool closed = end != VTEXT_C_NONE;
        if (!closed) end = text.n; /* the last one may be cut short: then it is left out */
        vcore_str one = vtext_c_slice(text, at, end), key;
        at = closed ? end + strlen(behind) : end;
        if ((key_end = vtext_c_find(one, 0, ">")) == VTEXT_C_NONE) continue;
        key = vtext_c_slice(one, 0, key_end);
        size_t mark = out.b.n;
        vtext_c_key(&out, key);
        if (put_typed(&out, without_line_ends(vtext_c_slice(one, key_end + 1, one.n)),
                      vtext_c_property(job->tools, name, key), &over))
            continue;
        good = !closed && !over;
        if (!out.b.failed) out.b.n = mark;
    }
    vtext_c_end(&out);
    if (good && !over) vtext_c_add(job, name, (vcore_str) { 0 }, &out);
    vtext_c_drop(job, &out);
    return good && !over;
}

/* ---- MiniMax M2: <invoke name="name"><parameter name="key">value</parameter></invoke> --------------------- */

static vcore_str unquoted(vcore_str s) {
    s = vtext_c_strip(s);
    if (s.n && (s.p[0] == '"' || s.p[0] == '\'') && s.p[s.n - 1] == s.p[0])
        return s.n > 1 ? vtext_c_slice(s, 1, s.n - 1) : vtext_c_slice(s, 1, 1);
    return s;
}

static bool put_bool(vtext_c_out *out, vcore_str value) {
    static const char *const yes[] = { "true", "1", "yes", "on", NULL };
    static const char *const no[] = { "false", "0", "no", "off", NULL };
    bool t = is_one_of(value, yes);
    if (!t && !is_one_of(value, no)) return false;
    vcore_buf_puts(&out->b, t ? "true" : "false");
    return true;
}

/* The first type that takes the text. *over: a number that no integer is. */
static void put_by_types(vtext_c_out *out, vcore_str value, unsigned types, bool *over) {
    static const char *const nothing[] = { "null", "none", "nil", NULL };
    if (is_one_of(value, nothing)) {
        vcore_buf_puts(&out->b, "null");
        return;
    }
    if ((types & VTEXT_C_INT) && vtext_c_put_int(out, value)) return;
    if ((types & VTEXT_C_NUMBER) && vtext_c_put_number(out, value, over)) return;
    if (*over) return;
    if ((types & VTEXT_C_BOOL) && put_bool(out, value)) return;
    if ((types & (VTEXT_C_OBJECT | VTEXT_C_ARRAY)) && vtext_c_put_json(out, value)) return;
    if (!(types & VTEXT_C_STRING) && vtext_c_put_json(out, value)) return;
    vtext_c_put_string(out, value);
}

/* What is before the first '>', and what is behind it. */
static bool split_tag(vcore_str s, vcore_str *name, vcore_str *rest) {
    size_t end = vtext_c_find(s, 0, ">");
    if (end == 0 || end == VTEXT_C_NONE) return false;
    *name = unquoted(vtext_c_slice(s, 0, end));
    *rest = vtext_c_slice(s, end + 1, s.n);
    return true;
}

bool vtext_c_parse_minimax_m2(vtext_c_job *job, vcore_str text) {
    vcore_str invoke, one, name, key, value;
    size_t at = 0, n = 0;
    for (; vtext_c_between(&invoke, text, &at, "<invoke name=", "</invoke>"); n++) {
        size_t end = vtext_c_find(invoke, 0, ">"), inner = 0;
        if (end == 0 || invoke.n == 0) continue;
        name = unquoted(vtext_c_slice(invoke, 0, end == VTEXT_C_NONE ? invoke.n : end));
        vtext_c_out out = { 0 };
        bool over = false;
        vtext_c_begin(&out);
        while (!over && vtext_c_between(&one, invoke, &inner, "<parameter name=", "</parameter>")) {
            if (!split_tag(one, &key, &value)) continue;
            const vcore_json *schema = vtext_c_property(job->tools, name, key);
            vtext_c_key(&out, key);
            put_by_types(&out, vtext_c_strip(value), schema ? vtext_c_types(schema) : VTEXT_C_STRING, &over);
        }
        vtext_c_end(&out);
        if (!over) vtext_c_add(job, name, (vcore_str) { 0 }, &out);
        vtext_c_drop(job, &out);
        if (over) return false;
    }
    return n > 0;
}

/* ---- ATEM: <atem:invoke name="name"><atem:parameter name="key">value</atem:parameter></atem:invoke> -------- */

/* The next tag with a name attribute at or behind *at: the name, and *at behind the tag. last: the attribute ends
 * the tag. */
static bool next_tag(vcore_str *name, vcore_str text, size_t *at, const char *tag, bool last) {
    while ((*at = vtext_c_find(text, *at, tag)) != VTEXT_C_NONE) {
        size_t used, end;
        *at += strlen(tag);
        if (vtext_c_word(text, *at, &used)) continue;
        size_t limit = vtext_c_find(text, *at, ">");
        if (limit == VTEXT_C_NONE) return false;
        vcore_str head = vtext_c_slice(text, 0, limit);
        for (size_t i = *at; (i = vtext_c_find(head, i, "name=\"")) != VTEXT_C_NONE;) {
            bool apart = vtext_c_word_before(text, i) == i;
            i += strlen("name=\"");
            if (!apart || (end = vtext_c_find(text, i, "\"")) == VTEXT_C_NONE || end == i) continue;
            size_t close = last ? end + 1 : vtext_c_find(text, end + 1, ">");
            if (close == VTEXT_C_NONE) return false;
            if (close >= text.n || text.p[close] != '>') continue;
            *name = vtext_c_slice(text, i, end);
            *at = close + 1;
            return true;
        }
    }
    return false;
}

static void put_atem(vtext_c_out *out, vcore_str body) {
    static const char behind[] = "</atem:parameter>";
    vcore_str key;
    vtext_c_begin(out);
    for (size_t at = 0; next_tag(&key, body, &at, "<atem:parameter", false);) {
        size_t end = vtext_c_find(body, at, behind);
        if (end == VTEXT_C_NONE) break;
        vcore_str value = vtext_c_slice(body, at, end);
        vtext_c_key(out, key);
        if (!vtext_c_put_json(out, value)) vtext_c_put_string(out, value);
        at = end + strlen(behind);
    }
    vtext_c_end(out);
}

bool vtext_c_parse_atem(vtext_c_job *job, vcore_str text) {
    static const char behind[] = "</atem:invoke>";
    vcore_str name;
    size_t at = 0, n = 0;
    for (; next_tag(&name, text, &at, "<atem:invoke", true); n++) {
        size_t end = vtext_c_find(text, at, behind);
        if (end == VTEXT_C_NONE) break;
        vtext_c_out out = { 0 };
        put_atem(&out, vtext_c_slice(text, at, end));
        vtext_c_add(job, name, (vcore_str) { 0 }, &out);
        at = end + strlen(behind);
    }
    return n > 0;
}
