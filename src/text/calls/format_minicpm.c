/* SPDX-License-Identifier: MIT */
/* MiniCPM5's calls: <function name="f"><param name="key">value</param></function>, which must be XML as far as
 * this structure goes. */
#include "text/calls/calls.h"

typedef struct xml_reader {
    vcore_str s;
    size_t at;
    bool failed; /* no memory */
} xml_reader;

/* Notes a name; false: it was there before. */
static bool is_new(xml_reader *x, vcore_map *seen, vcore_str name) {
    uint32_t before;
    if (vcore_map_get(seen, name, &before)) return false;
    if (!vcore_map_put(seen, name, 0)) x->failed = true;
    return !x->failed;
}

static bool is_xml_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_name_char(char c) {
    return (c & 0x80) || c == '_' || c == '-' || c == '.' || (c >= '0' && c <= '9')
           || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static void skip_space(xml_reader *x) {
    while (x->at < x->s.n && is_xml_space(x->s.p[x->at])) x->at++;
}

static bool take(xml_reader *x, const char *text) {
    if (!vtext_c_starts(x->s, x->at, text)) return false;
    x->at += strlen(text);
    return true;
}

static vcore_str take_name(xml_reader *x) {
    size_t begin = x->at;
    while (x->at < x->s.n && is_name_char(x->s.p[x->at])) x->at++;
    vcore_str name = vtext_c_slice(x->s, begin, x->at);
    bool good = name.n && !(name.p[0] >= '0' && name.p[0] <= '9') && name.p[0] != '-' && name.p[0] != '.';
    return good ? name : (vcore_str) { "", 0 };
}

/* A character that XML allows. */
static bool is_char(uint32_t cp) {
    return cp >= 0x20 ? (cp < 0xD800 || cp > 0xDFFF) && cp != 0xFFFE && cp != 0xFFFF && cp <= 0x10FFFF
                      : cp == '\t' || cp == '\n' || cp == '\r';
}

/* &name; or &#digits; */
static bool reference(xml_reader *x, vcore_buf *to) {
    static const struct {
        const char *name, *text;
    } known[] = { { "&lt;", "<" }, { "&gt;", ">" }, { "&amp;", "&" }, { "&quot;", "\"" }, { "&apos;", "'" } };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!take(x, known[i].name)) continue;
        vcore_buf_puts(to, known[i].text);
        return true;
    }
    if (!take(x, "&#")) return false;
    uint32_t base = take(x, "x") ? 16 : 10, cp = 0, n = 0;
    for (; x->at < x->s.n && cp <= 0x10FFFF; x->at++, n++) {
        char c = x->s.p[x->at], lower = (char)(c | 0x20);
        uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0') : lower >= 'a' && lower <= 'f' ? (uint32_t)(lower - 'a') + 10 : 99;
        if (digit >= base) break;
        cp = cp * base + digit;
    }
    char utf8[4];
    if (n == 0 || !take(x, ";") || !is_char(cp)) return false;
    vcore_buf_add(to, utf8, vcore_utf8_encode(cp, utf8));
    return true;
}

/* One character of text; an attribute's white space becomes a blank. */
static bool character(xml_reader *x, vcore_buf *to, bool attribute) {
    uint32_t cp;
    size_t used = vcore_utf8_decode(x->s.p + x->at, x->s.n - x->at, &cp);
    if (!is_char(cp)) return false;
    const char *p = x->s.p + x->at;
    x->at += used;
    if (cp == '\r') {
        if (x->at < x->s.n && x->s.p[x->at] == '\n') x->at++;
        p = "\n";
        cp = '\n';
    }
    if (attribute && (cp == '\n' || cp == '\t')) p = " ";
    vcore_buf_add(to, p, used);
    return true;
}

/* Attributes up to the end of the tag; name="..." goes to `name`. *empty: the tag closes itself. */
static bool attributes(xml_reader *x, vcore_buf *name, bool *named, bool *empty) {
    vcore_map *seen = vcore_map_new(4);
    bool good = seen != NULL;
    if (!seen) x->failed = true;
    *named = *empty = false;
    for (;;) {
        size_t at = x->at;
        skip_space(x);
        *empty = take(x, "/>");
        if (*empty || take(x, ">")) break;
        vcore_str key = take_name(x);
        skip_space(x);
        good = good && x->at > at && key.n && at < x->s.n && is_xml_space(x->s.p[at]) && take(x, "=")
               && is_new(x, seen, key);
        skip_space(x);
        char quote = x->at < x->s.n ? x->s.p[x->at] : 0;
        good = good && (quote == '"' || quote == '\'');
        if (!good) break;
        vcore_buf other = { 0 }, *to = vcore_str_eq(key, vcore_str_of("name")) ? name : &other;
        *named = *named || to == name;
        for (x->at++; good && x->at < x->s.n && x->s.p[x->at] != quote;) {
            char c = x->s.p[x->at];
            good = c == '&' ? reference(x, to) : c != '<' && character(x, to, true);
        }
        if (other.failed) x->failed = true;
        vcore_buf_free(&other);
        good = good && x->at < x->s.n;
        if (!good) break;
        x->at++;
    }
    vcore_map_free(seen);
    return good;
}

/* Text, comments and CDATA up to the next tag. */
static bool character_data(xml_reader *x, vcore_buf *to) {
    while (x->at < x->s.n) {
        char c = x->s.p[x->at];
        if (take(x, "<![CDATA[")) {
            size_t end = vtext_c_find(x->s, x->at, "]]>");
            if (end == VTEXT_C_NONE) return false;
            while (x->at < end)
                if (!character(x, to, false)) return false;
            x->at = end + 3;
        } else if (take(x, "<!--")) {
            size_t end = vtext_c_find(x->s, x->at, "--");
            if (end == VTEXT_C_NONE || !vtext_c_starts(x->s, end, "-->")) return false;
            x->at = end + 3;
        } else if (c == '<') {
            return true;
        } else if (vtext_c_starts(x->s, x->at, "]]>")) {
            return false;
        } else if (!(c == '&' ? reference(x, to) : character(x, to, false))) {
            return false;
        }
    }
    return true;
}

/* The value as text where the schema allows a string, else read. */
static void put_value(vtext_c_out *out, vcore_str value, const vcore_json *schema) {
    const vcore_json *type = vcore_json_get(schema, "type");
    bool text = vtext_c_is_string(schema);
    vcore_str s;
    for (size_t i = 0; i < vcore_json_count(type) && !text; i++)
        text = vcore_json_string(vcore_json_at(type, i), &s) && vcore_str_eq(s, vcore_str_of("string"));
    if (text) vtext_c_put_string(out, value);
    else vtext_c_put_guess(out, value);
}

/* <param name="key">value</param> at x. */
static bool param(xml_reader *x, vtext_c_out *out, const vtext_c_job *job, vcore_str function, vcore_map *seen) {
    vcore_buf key = { 0 }, value = { 0 };
    bool named, empty = false;
    bool good = take(x, "<param") && attributes(x, &key, &named, &empty) && key.n > 0;
    if (good && !empty) {
        good = character_data(x, &value) && take(x, "</param");
        skip_space(x);
        good = good && take(x, ">");
    }
    vcore_str name = { key.p, key.n };
    if (key.failed || value.failed) x->failed = true;
    good = good && !x->failed && is_new(x, seen, name);
    if (good) {
        vtext_c_key(out, name);
        put_value(out, value.n ? (vcore_str) { value.p, value.n } : (vcore_str) { "", 0 },
                  vtext_c_property(job->tools, function, name));
    }
    vcore_buf_free(&key);
    vcore_buf_free(&value);
    return good;
}

/* text: behind "<function" and before "</function>". */
bool vtext_c_parse_minicpm(vtext_c_job *job, vcore_str text) {
    vcore_buf whole = { 0 }, title = { 0 }, between = { 0 };
    vtext_c_out out = { 0 };
    vcore_map *seen = vcore_map_new(8);
    text = vtext_c_strip(text);
    vcore_buf_puts(&whole, " ");
    vcore_buf_add(&whole, text.p, text.n);
    bool named = false, empty = false, good = !whole.failed && seen;
    xml_reader x = { { whole.p, whole.n }, 0, false };
    good = good && attributes(&x, &title, &named, &empty) && named && !empty;
    vcore_str name = vtext_c_strip((vcore_str) { title.p ? title.p : "", title.n });
    vtext_c_begin(&out);
    while (good && (good = character_data(&x, &between)) && x.at < x.s.n) good = param(&x, &out, job, name, seen);
    vtext_c_end(&out);
    if (whole.failed || title.failed || between.failed || x.failed || !seen) job->failed = true;
    good = good && name.n > 0;
    if (good) vtext_c_add(job, name, (vcore_str) { 0 }, &out);
    vcore_buf_free(&whole);
    vcore_buf_free(&title);
    vcore_buf_free(&between);
    vtext_c_drop(job, &out);
    vcore_map_free(seen);
    return good;
}
