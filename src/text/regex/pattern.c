/* SPDX-License-Identifier: MIT */
/* Patterns as the components of a tokenizer give them, and the pass over a text that finds their
 * matches one by one. */
#include "text/regex/regex.h"

static vlm_status compile(vtext_parse *x, vcore_arena *arena, const vtext_regex **out) {
    vtext_program program;
    const vtext_node *tree = vtext_parse_tree(x);
    if (!tree || !vtext_compile(x, tree, &program)) return x->status;
    return vtext_automaton(x, &program, arena, out);
}

vlm_status vtext_regex_parse(const vtext_regex **out, vcore_str text, const char *where,
                             vcore_arena *arena, vlm_error *err) {
    *out = NULL;
    if (text.n > VTEXT_REGEX_BYTES)
        return vcore_fail_limit(err, where, "pattern", VTEXT_REGEX_BYTES, "bytes");
    vcore_arena *own = vcore_arena_new();
    vtext_parse *x = own ? vcore_arena_alloc(own, sizeof *x) : NULL;
    vlm_status status = VLM_ERR_MEMORY;
    if (x) {
        *x = (vtext_parse) { .arena = own, .text = text, .where = where, .err = err };
        status = compile(x, arena, out);
    } else {
        vcore_no_memory(err, where);
    }
    vcore_arena_free(own);
    return status;
}

/* A regular expression that is only a literal, punctuation perhaps escaped: the text it stands for.
 */
static bool unescape_literal(vcore_str regex, char *out, size_t *n) {
    for (size_t i = 0; i < regex.n; i++) {
        char c = regex.p[i];
        if (c == '\\') {
            if (++i == regex.n) return false;
            c = regex.p[i];
            bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
            if ((uint8_t)c >= 0x80 || letter || (c >= '0' && c <= '9')) return false;
        } else if (!c || strchr("^$.|?*+()[]{}", c)) {
            return false;
        }
        out[(*n)++] = c;
    }
    return true;
}

vlm_status vtext_pattern_parse(vtext_pattern *out, const vcore_json *v, const char *where,
                               vcore_arena *arena, vlm_error *err) {
    vcore_str text;
    bool regex = vcore_json_string(vcore_json_get(v, "Regex"), &text);
    *out = (vtext_pattern) { 0 };
    if (!regex && !vcore_json_string(vcore_json_get(v, "String"), &text))
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, "pattern",
                                "must be {\"String\": ..} or {\"Regex\": ..}");
    regex |= !text.n; /* an empty text is found between all characters */
    if (regex && (out->match = vtext_known_match(text))) return VLM_OK;
    char *literal = vcore_arena_strndup(arena, text.p, text.n);
    if (!literal) return vcore_no_memory(err, "pattern");
    out->literal = (vcore_str) { literal, text.n };
    if (!regex) return VLM_OK;
    out->literal.n = 0;
    if (text.n && unescape_literal(text, literal, &out->literal.n)) return VLM_OK;
    return vtext_regex_parse(&out->regex, text, where, arena, err);
}

void vtext_pattern_start(vtext_scan *s, const vtext_pattern *pattern, const char *p, size_t n) {
    s->pattern = pattern;
    s->p = p;
    s->n = n;
    s->from = s->before = 0;
    s->after = s->failed = false;
    s->steps = 0;
    s->state = s->local;
    if (pattern->regex) vtext_regex_start(s);
}

static bool next_literal(vtext_scan *s, size_t *begin, size_t *end) {
    vcore_str literal = s->pattern->literal;
    const char *at =
        s->from < s->n ? memmem(s->p + s->from, s->n - s->from, literal.p, literal.n) : NULL;
    if (!at) return false;
    *begin = (size_t)(at - s->p);
    s->from = *end = *begin + literal.n;
    return true;
}

bool vtext_pattern_next(vtext_scan *s, size_t *begin, size_t *end) {
    if (s->pattern->regex) return vtext_regex_next(s, begin, end);
    if (!s->pattern->match) return next_literal(s, begin, end);
    while (s->from < s->n) {
        *begin = s->from;
        *end = s->pattern->match(s->p, s->n, s->from);
        if (*end > *begin) {
            s->from = *end;
            return true;
        }
        uint32_t cp;
        s->from += vcore_utf8_decode(s->p + s->from, s->n - s->from, &cp);
    }
    return false;
}

void vtext_pattern_done(vtext_scan *s) {
    if (s->state != s->local) vcore_free(s->state);
    s->state = s->local;
}

bool vtext_pattern_found(const vtext_pattern *pattern, const char *p, size_t n) {
    vtext_scan s;
    size_t begin, end;
    vtext_pattern_start(&s, pattern, p, n);
    bool found = vtext_pattern_next(&s, &begin, &end) || s.failed;
    vtext_pattern_done(&s);
    return found;
}
