/* SPDX-License-Identifier: MIT */
/* GLM's and LongCat's calls: a name, then keys and values in tags of their own; and what GLM writes when it
 * forgets the tags: JSON of several shapes, a name with an object behind it, a name with key=value words. */
#include "text/calls/calls.h"

typedef struct pair_tags {
    const char *key, *key_end, *value, *value_end;
} pair_tags;

static const pair_tags glm = { "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>" };
static const pair_tags longcat = { "<longcat_arg_key>", "</longcat_arg_key>", "<longcat_arg_value>",
                                   "</longcat_arg_value>" };

/* White space, and line ends written as a backslash and an n. */
static size_t skip_gap(vcore_str s, size_t at) {
    for (;;) {
        size_t n = vtext_c_space(vtext_c_slice(s, at, s.n));
        if (n == 0 && vtext_c_starts(s, at, "\\n")) n = 2;
        if (n == 0) return at;
        at += n;
    }
}

static bool next_pair(vcore_str *key, vcore_str *value, vcore_str text, size_t *at, const pair_tags *tags) {
    size_t begin = vtext_c_find(text, *at, tags->key);
    if (begin == VTEXT_C_NONE) return false;
    begin += strlen(tags->key);
    for (size_t end = begin; (end = vtext_c_find(text, end, tags->key_end)) != VTEXT_C_NONE;
         end += strlen(tags->key_end)) {
        size_t from = skip_gap(text, end + strlen(tags->key_end));
        if (!vtext_c_starts(text, from, tags->value)) continue;
        from += strlen(tags->value);
        size_t stop = vtext_c_find(text, from, tags->value_end);
        if (stop == VTEXT_C_NONE) return false;
        *key = vtext_c_strip(vtext_c_slice(text, begin, end));
        *value = vtext_c_strip(vtext_c_slice(text, from, stop));
        *at = stop + strlen(tags->value_end);
        return true;
    }
    return false;
}

static bool is_string_parameter(const vtext_c_job *job, vcore_str name, vcore_str key) {
    return vtext_c_is_string(vtext_c_property(job->tools, name, key));
}

/* A value as text: a string where the schema says so. */
static void put_text(vtext_c_out *out, const vtext_c_job *job, vcore_str name, vcore_str key, vcore_str value) {
    vtext_c_key(out, key);
    if (is_string_parameter(job, name, key)) vtext_c_put_string(out, value);
    else vtext_c_put_guess(out, value);
}

/* False: the text has no key. */
static bool parse_pairs(vtext_c_job *job, vcore_str text, const pair_tags *tags) {
    size_t at = vtext_c_find(text, 0, tags->key);
    if (at == VTEXT_C_NONE) return false;
    vcore_str name = vtext_c_strip(vtext_c_slice(text, 0, at)), key, value;
    vtext_c_out out = { 0 };
    vtext_c_begin(&out);
    while (next_pair(&key, &value, text, &at, tags)) put_text(&out, job, name, key, value);
    vtext_c_end(&out);
    vtext_c_add(job, name, (vcore_str) { 0 }, &out);
    return true;
}

bool vtext_c_parse_longcat(vtext_c_job *job, vcore_str text) {
    text = vtext_c_strip(text);
    if (text.n && text.p[0] == '{') {
        if (vtext_c_parse_json(job, text)) return true;
        vtext_c_job_clear(job, 0);
    }
    return parse_pairs(job, text, &longcat);
}

/* ---- GLM without tags ------------------------------------------------------------------------------------- */

/* An object of arguments, its strings read once more unless the schema wants strings. */
static void add_object(vtext_c_job *job, vcore_str name, const vcore_json *object) {
    vtext_c_out out = { 0 };
    vcore_str s;
    vtext_c_begin(&out);
    for (vcore_json_iter it = { 0 }; vcore_json_next(object, &it);) {
        if (vcore_json_string(it.value, &s)) {
            put_text(&out, job, name, it.key, s);
            continue;
        }
        vtext_c_key(&out, it.key);
        if (is_string_parameter(job, name, it.key)) vtext_c_put_printed(&out, it.value);
        else vtext_c_put_value(&out.b, it.value);
    }
    vtext_c_end(&out);
    vtext_c_add(job, name, (vcore_str) { 0 }, &out);
}

/* An object that is written as JSON or as a Python literal. False: the text is neither. */
static bool add_written_object(vtext_c_job *job, vcore_str name, vcore_str text) {
    vtext_c_out out = { 0 };
    vcore_json_doc *doc = NULL;
    bool object = false;
    vtext_c_put_guess(&out, text);
    if (!out.b.failed && !out.unwritable) {
        if (vcore_json_parse(&doc, out.b.p, out.b.n, "a tool call", NULL) == VLM_ERR_MEMORY) job->failed = true;
        object = vcore_json_kind_of(vcore_json_root(doc)) == VCORE_JSON_OBJECT;
        if (object) add_object(job, name, vcore_json_root(doc));
    } else if (!out.b.failed) {
        size_t blanks = strspn(out.b.p, " ");
        object = out.b.p[blanks] == '{';
        if (object) vtext_c_cut(job); /* it cannot be written */
    }
    if (out.b.failed) job->failed = true;
    vcore_json_free(doc);
    vtext_c_drop(job, &out);
    return object;
}

static bool is_empty(const vcore_json *v) {
    double d = 1;
    bool t = true;
    vcore_str s;
    if (vcore_json_string(v, &s)) return s.n == 0;
    if (vcore_json_bool(v, &t)) return !t;
    if (vcore_json_real(v, &d)) return d == 0;
    return vcore_json_count(v) == 0;
}

/* {"name" or "function", "arguments"}, {"tool": {"name", "arguments"}}, or a name that is such an object. */
static bool add_shape(vtext_c_job *job, const vcore_json *v) {
    const vcore_json *name = NULL, *arguments = vcore_json_get(v, "arguments"), *tool = vcore_json_get(v, "tool");
    vcore_str s;
    if (arguments && vcore_json_get(v, "name")) {
        name = vcore_json_get(v, "name");
    } else if (arguments && vcore_json_get(v, "function")) {
        name = vcore_json_get(v, "function");
    } else if (vcore_json_kind_of(tool) == VCORE_JSON_OBJECT) {
        name = vcore_json_get(tool, "name");
        arguments = vcore_json_get(tool, "arguments");
    } else {
        return false;
    }
    if (vcore_json_kind_of(name) == VCORE_JSON_OBJECT) {
        if (is_empty(arguments)) arguments = vcore_json_get(name, "arguments");
        name = vcore_json_get(name, "name");
    }
    vcore_str title;
    if (!vcore_json_string(name, &title)) return false;
    if (vcore_json_string(arguments, &s)) return add_written_object(job, title, s);
    bool nothing = vcore_json_kind_of(arguments) == VCORE_JSON_NULL;
    if (!nothing && vcore_json_kind_of(arguments) != VCORE_JSON_OBJECT) return false;
    add_object(job, title, nothing ? NULL : arguments);
    return true;
}

static bool parse_shapes(vtext_c_job *job, vcore_str text) {
    vcore_json_doc *doc;
    if (vcore_json_parse(&doc, text.p, text.n, "a tool call", NULL) == VLM_ERR_MEMORY) job->failed = true;
    const vcore_json *root = vcore_json_root(doc);
    if (vcore_json_kind_of(vcore_json_at(root, 0)) == VCORE_JSON_OBJECT) root = vcore_json_at(root, 0);
    bool good = add_shape(job, root);
    vcore_json_free(doc);
    return good;
}

/* The next word as a POSIX shell reads it: quotes and backslashes. 1: there is one, 0: no more, -1: a quote is
 * not closed. */
static int next_word(vcore_buf *word, vcore_str s, size_t *at) {
    char quote = 0;
    bool any = false;
    word->n = 0;
    vcore_buf_add(word, "", 0);
    while (*at < s.n && strchr(" \t\r\n", s.p[*at]) && s.p[*at]) (*at)++;
    for (; *at < s.n; (*at)++) {
        char c = s.p[*at];
        if (!quote && c && strchr(" \t\r\n", c)) break;
        any = true;
        if (quote ? c == quote : (c == '"' || c == '\'')) {
            quote = quote ? 0 : c;
            continue;
        }
        if (c == '\\' && quote != '\'') {
            if (++*at == s.n) return -1;
            if (quote && s.p[*at] != '"' && s.p[*at] != '\\') vcore_buf_puts(word, "\\");
            c = s.p[*at];
        }
        vcore_buf_add(word, &c, 1);
    }
    return quote ? -1 : any;
}

/* name key=value key="value with blanks" */
static bool add_words(vtext_c_job *job, vcore_str name, vcore_str text) {
    vtext_c_out out = { 0 };
    vcore_buf word = { 0 };
    size_t at = 0, n = 0;
    int more = 0;
    bool good = true;
    vtext_c_begin(&out);
    for (; good && (more = next_word(&word, text, &at)) > 0; n++) {
        const char *equals = word.n ? memchr(word.p, '=', word.n) : NULL;
        if (!(good = equals != NULL)) break;
        vcore_str all = { word.p, word.n }, key = vtext_c_strip(vtext_c_slice(all, 0, (size_t)(equals - word.p)));
        good = key.n > 0;
        put_text(&out, job, name, key, vtext_c_slice(all, (size_t)(equals - word.p) + 1, all.n));
    }
    vtext_c_end(&out);
    good = good && more >= 0 && n > 0;
    if (word.failed) job->failed = true;
    if (good) vtext_c_add(job, name, (vcore_str) { 0 }, &out);
    vtext_c_drop(job, &out);
    vcore_buf_free(&word);
    return good;
}

static void add_raw(vtext_c_job *job, vcore_str name, vcore_str text) {
    vtext_c_out out = { 0 };
    vtext_c_begin(&out);
    vtext_c_key(&out, vcore_str_of("raw"));
    vtext_c_put_string(&out, text);
    vtext_c_end(&out);
    vtext_c_add(job, name, (vcore_str) { 0 }, &out);
}

static void parse_plain(vtext_c_job *job, vcore_str text) {
    size_t line = vtext_c_find(text, 0, "\n"), blank = vtext_c_find(text, 0, " ");
    if (line != VTEXT_C_NONE
        && add_written_object(job, vtext_c_strip(vtext_c_slice(text, 0, line)),
                              vtext_c_strip(vtext_c_slice(text, line, text.n))))
        return;
    vcore_str name = vtext_c_slice(text, 0, blank == VTEXT_C_NONE ? text.n : blank);
    vcore_str rest = vtext_c_strip(vtext_c_slice(text, name.n, text.n));
    if (rest.n == 0) add_object(job, name, NULL);
    else if (!add_written_object(job, name, rest) && !add_words(job, name, rest)) add_raw(job, name, rest);
}

bool vtext_c_parse_glm(vtext_c_job *job, vcore_str text) {
    if (parse_pairs(job, text, &glm)) return true;
    text = vtext_c_strip(text);
    if (text.n == 0) add_raw(job, vcore_str_of("unknown"), text);
    else if (!parse_shapes(job, text)) parse_plain(job, text);
    return true;
}
