/* SPDX-License-Identifier: MIT */
/* Methods of str, as Python has them. Positions and lengths that a template sees are characters. */
#include "text/jinja/call.h"

/* ---- str ------------------------------------------------------------------------------------- */

static bool give_string(j_string s, j_value *out) {
    *out = vtext_j_string(s);
    return true;
}

static bool str_case(j_run *r, const j_call *c, j_value *out) {
    static const struct {
        const char *name;
        j_case how;
    } cases[] = {
        { "upper", J_UPPER }, { "lower", J_LOWER },           { "casefold", J_FOLD },
        { "title", J_TITLE }, { "capitalize", J_CAPITALIZE }, { "swapcase", J_SWAPCASE }
    };
    size_t i = 0;
    while (strcmp(c->name, cases[i].name) != 0) i++;
    out->kind = J_STRING;
    return vtext_j_recase(r, c->self.u.s, cases[i].how, &out->u.s);
}

static bool str_strip(j_run *r, const j_call *c, j_value *out) {
    j_string chars = { 0 };
    bool given = c->arg[0].kind == J_STRING;
    if (!vtext_j_arg_string(r, c, 0, &chars) || !vtext_j_work(r, J_PER_CHARACTER * c->self.u.s.n))
        return false;
    if (chars.n > 64 && !vtext_j_work(r, c->self.u.s.n * (chars.n / 64))) return false;
    int ends = c->name[0] == 'l' ? 1 : c->name[0] == 'r' ? 2 : 3;
    return give_string(vtext_j_strip(c->self.u.s, given ? &chars : NULL, ends), out);
}

/* Words between white space, at most limit cuts (negative: any number). */
static bool split_words(j_run *r, j_string s, int64_t limit, j_list *out) {
    for (;;) {
        s = vtext_j_strip(s, NULL, 1);
        size_t pos = 0, end = 0;
        if (s.n == 0) return true;
        if (limit-- == 0) return vtext_j_push(r, out, vtext_j_string(s));
        while (pos < s.n) {
            uint32_t cp;
            vtext_j_next_char(s, &pos, &cp);
            if (vtext_j_is_space(cp)) break;
            end = pos;
        }
        if (!vtext_j_push(r, out, vtext_j_string(vtext_j_sub(s, 0, end)))) return false;
        s = vtext_j_sub(s, end, s.n);
    }
}

static void reverse(j_list *list) {
    for (size_t i = 0; i < list->n / 2; i++) {
        j_value v = list->item[i];
        list->item[i] = list->item[list->n - 1 - i];
        list->item[list->n - 1 - i] = v;
    }
}

/* rsplit of words: cut them all, then put the first ones back together. */
static bool rsplit_words(j_run *r, j_string s, int64_t limit, j_list *out) {
    j_list words = { 0 };
    if (!split_words(r, s, -1, &words)) return false;
    size_t keep = limit >= 0 && (size_t)limit < words.n ? words.n - (size_t)limit : 0;
    if (keep > 0) {
        j_string last = words.item[keep - 1].u.s;
        size_t end = (size_t)(last.p + last.n - s.p);
        if (!vtext_j_push(r, out, vtext_j_string(vtext_j_sub(s, 0, end)))) return false;
    }
    for (size_t i = keep; i < words.n; i++)
        if (!vtext_j_push(r, out, words.item[i])) return false;
    return true;
}

static bool split_at(j_run *r, j_string s, j_string sep, int64_t limit, j_list *out) {
    size_t at;
    while (limit-- != 0 && vtext_j_find(s, sep, 0, &at)) {
        if (!vtext_j_push(r, out, vtext_j_string(vtext_j_sub(s, 0, at)))) return false;
        s = vtext_j_sub(s, at + sep.n, s.n);
    }
    return vtext_j_push(r, out, vtext_j_string(s));
}

static bool rsplit_at(j_run *r, j_string s, j_string sep, int64_t limit, j_list *out) {
    for (; limit != 0; limit--) {
        size_t at;
        bool found;
        if (!vtext_j_rfind(r, s, sep, &at, &found)) return false;
        if (!found) break;
        if (!vtext_j_push(r, out, vtext_j_string(vtext_j_sub(s, at + sep.n, s.n)))) return false;
        s = vtext_j_sub(s, 0, at);
    }
    if (!vtext_j_push(r, out, vtext_j_string(s))) return false;
    reverse(out);
    return true;
}

static bool str_split(j_run *r, const j_call *c, j_value *out) {
    j_string sep = { 0 }, s = c->self.u.s;
    int64_t limit = -1;
    bool given = c->arg[0].kind == J_STRING, right = c->name[0] == 'r';
    if (!vtext_j_arg_string(r, c, 0, &sep) || !vtext_j_arg_int(r, c, 1, &limit)
        || !vtext_j_work(r, J_PER_CHARACTER * s.n) || !vtext_j_new_list(r, J_LIST, out))
        return false;
    if (given && sep.n == 0) return vtext_j_fail(r, "empty separator");
    if (!given)
        return right ? rsplit_words(r, s, limit, out->u.list)
                     : split_words(r, s, limit, out->u.list);
    return right ? rsplit_at(r, s, sep, limit, out->u.list)
                 : split_at(r, s, sep, limit, out->u.list);
}

bool vtext_j_split_lines(j_run *r, j_string s, bool keep_ends, j_list *out) {
    size_t begin = 0, pos = 0;
    if (!vtext_j_work(r, J_PER_CHARACTER * s.n)) return false;
    while (pos < s.n) {
        uint32_t cp;
        size_t end = pos;
        vtext_j_next_char(s, &pos, &cp);
        bool ends = vtext_j_is_line_end(cp);
        if (cp == '\r' && pos < s.n && s.p[pos] == '\n') pos++;
        if (!ends && pos < s.n) continue;
        if (!ends || keep_ends) end = pos;
        if (!vtext_j_push(r, out, vtext_j_string(vtext_j_sub(s, begin, end)))) return false;
        begin = pos;
    }
    return true;
}

static bool str_splitlines(j_run *r, const j_call *c, j_value *out) {
    return vtext_j_new_list(r, J_LIST, out)
           && vtext_j_split_lines(r, c->self.u.s, vtext_j_arg_bool(c, 0), out->u.list);
}

/* self[start:end] of methods that search; *at is where it begins in characters. False: it is void.
 */
static bool window(j_run *r, const j_call *c, int first, j_string *s, int64_t *at, bool *valid) {
    int64_t n = (int64_t)vtext_j_chars(c->self.u.s), start = 0, end = n;
    if (!vtext_j_work(r, c->self.u.s.n) || !vtext_j_arg_int(r, c, first, &start)
        || !vtext_j_arg_int(r, c, first + 1, &end))
        return false;
    if (start < 0) start = start < -n ? 0 : start + n;
    if (end < 0) end = end < -n ? 0 : end + n;
    if (end > n) end = n;
    *valid = start <= end;
    *at = start;
    if (*valid) {
        size_t from = vtext_j_offset(c->self.u.s, (size_t)start);
        *s = vtext_j_sub(c->self.u.s, from, vtext_j_offset(c->self.u.s, (size_t)end));
    }
    return true;
}

static bool has_affix(j_string s, j_string affix, bool at_end) {
    return affix.n <= s.n
           && vtext_j_same(at_end ? vtext_j_sub(s, s.n - affix.n, s.n) : vtext_j_sub(s, 0, affix.n),
                           affix);
}

static bool str_affix(j_run *r, const j_call *c, j_value *out) {
    j_string s;
    int64_t at;
    bool valid, at_end = c->name[0] == 'e', yes = false;
    j_list one = { (j_value *)&c->arg[0], 1, 1, false };
    const j_list *any = c->arg[0].kind == J_TUPLE ? c->arg[0].u.list : &one;
    if (!window(r, c, 1, &s, &at, &valid)) return false;
    for (size_t i = 0; i < any->n; i++) {
        if (any->item[i].kind != J_STRING)
            return vtext_j_fail(r, "%s first arg must be str or a tuple of str, not %s", c->name,
                                vtext_j_type(any->item[i]));
        yes |= valid && has_affix(s, any->item[i].u.s, at_end);
    }
    *out = vtext_j_bool(yes);
    return true;
}

/* find, rfind, index, rindex */
static bool str_find(j_run *r, const j_call *c, j_value *out) {
    j_string s, what = { 0 };
    int64_t start;
    size_t at = 0;
    bool valid, found = false, right = c->name[0] == 'r';
    if (!vtext_j_arg_string(r, c, 0, &what) || !window(r, c, 1, &s, &start, &valid)) return false;
    if (valid && right && !vtext_j_rfind(r, s, what, &at, &found)) return false;
    if (valid && !right) found = vtext_j_find(s, what, 0, &at);
    if (!found && c->name[right] == 'i') return vtext_j_fail(r, "substring not found");
    *out = vtext_j_int(found ? start + (int64_t)vtext_j_chars(vtext_j_sub(s, 0, at)) : -1);
    return true;
}

static bool str_count(j_run *r, const j_call *c, j_value *out) {
    j_string s, what = { 0 };
    int64_t start, n = 0;
    bool valid;
    if (!vtext_j_arg_string(r, c, 0, &what) || !window(r, c, 1, &s, &start, &valid)) return false;
    if (valid && what.n == 0) n = (int64_t)vtext_j_chars(s) + 1;
    for (size_t from = 0, at; valid && what.n && vtext_j_find(s, what, from, &at); n++)
        from = at + what.n;
    *out = vtext_j_int(n);
    return true;
}

/* An empty `old` stands between all characters and at both ends. */
static bool insert_between(j_run *r, j_string s, j_string with, int64_t count, j_text *t) {
    for (size_t pos = 0; pos < s.n;) {
        uint32_t cp;
        if (count != 0 && !vtext_j_add(r, t, with)) return false;
        if (count != 0) count--;
        if (!vtext_j_add(r, t, vtext_j_next_char(s, &pos, &cp))) return false;
    }
    return count == 0 || vtext_j_add(r, t, with);
}

bool vtext_j_replace(j_run *r, j_string s, j_string old, j_string with, int64_t count,
                     j_value *out) {
    j_text t = { 0 };
    size_t from = 0, at;
    if (!vtext_j_work(r, s.n)) return false;
    if (old.n == 0) {
        if (!insert_between(r, s, with, count, &t)) return false;
        return give_string(vtext_j_done(&t), out);
    }
    for (; count != 0 && vtext_j_find(s, old, from, &at); count--) {
        if (!vtext_j_add(r, &t, vtext_j_sub(s, from, at)) || !vtext_j_add(r, &t, with))
            return false;
        from = at + old.n;
    }
    if (from == 0) return give_string(s, out);
    return vtext_j_add(r, &t, vtext_j_sub(s, from, s.n)) && give_string(vtext_j_done(&t), out);
}

static bool str_replace(j_run *r, const j_call *c, j_value *out) {
    j_string old = { 0 }, with = { 0 };
    int64_t count = -1;
    return vtext_j_arg_string(r, c, 0, &old) && vtext_j_arg_string(r, c, 1, &with)
           && vtext_j_arg_int(r, c, 2, &count)
           && vtext_j_replace(r, c->self.u.s, old, with, count, out);
}

bool vtext_j_join(j_run *r, j_string separator, const j_list *items, bool strict, j_value *out) {
    j_text t = { 0 };
    for (size_t i = 0; i < items->n; i++) {
        j_string s;
        if (strict && items->item[i].kind != J_STRING)
            return vtext_j_fail(r, "sequence item %zu: expected str instance, %s found", i,
                                vtext_j_type(items->item[i]));
        if (!vtext_j_str(r, items->item[i], &s) || (i && !vtext_j_add(r, &t, separator))
            || !vtext_j_add(r, &t, s))
            return false;
    }
    return give_string(vtext_j_done(&t), out);
}

static bool str_join(j_run *r, const j_call *c, j_value *out) {
    j_list items;
    return vtext_j_items(r, c->arg[0], &items) && vtext_j_join(r, c->self.u.s, &items, true, out);
}

static bool str_partition(j_run *r, const j_call *c, j_value *out) {
    j_string sep = { 0 }, s = c->self.u.s, empty = J_LITERAL(""), part[3];
    size_t at = 0;
    bool found, right = c->name[0] == 'r';
    if (!vtext_j_arg_string(r, c, 0, &sep) || !vtext_j_work(r, s.n)) return false;
    if (sep.n == 0) return vtext_j_fail(r, "empty separator");
    if (!right)
        found = vtext_j_find(s, sep, 0, &at);
    else if (!vtext_j_rfind(r, s, sep, &at, &found))
        return false;
    part[0] = found ? vtext_j_sub(s, 0, at) : right ? empty : s;
    part[1] = found ? sep : empty;
    part[2] = found ? vtext_j_sub(s, at + sep.n, s.n) : right ? s : empty;
    if (!vtext_j_new_list(r, J_TUPLE, out)) return false;
    for (int i = 0; i < 3; i++)
        if (!vtext_j_push(r, out->u.list, vtext_j_string(part[i]))) return false;
    return true;
}

static bool str_remove_affix(j_run *r, const j_call *c, j_value *out) {
    j_string affix = { 0 }, s = c->self.u.s;
    bool at_end = c->name[6] == 's';
    if (!vtext_j_arg_string(r, c, 0, &affix)) return false;
    if (has_affix(s, affix, at_end))
        s = at_end ? vtext_j_sub(s, 0, s.n - affix.n) : vtext_j_sub(s, affix.n, s.n);
    return give_string(s, out);
}

/* ljust, rjust, center, zfill */
static bool str_pad(j_run *r, const j_call *c, j_value *out) {
    j_string fill = J_LITERAL(" "), s = c->self.u.s;
    int64_t width = 0, n = (int64_t)vtext_j_chars(s);
    j_text t = { 0 };
    bool zero = c->name[0] == 'z';
    if (!vtext_j_work(r, s.n) || !vtext_j_arg_int(r, c, 0, &width)
        || (!zero && !vtext_j_arg_string(r, c, 1, &fill)))
        return false;
    if (vtext_j_chars(fill) != 1)
        return vtext_j_fail(r, "The fill character must be exactly one character long");
    int64_t pad = width > n ? width - n : 0, left = 0;
    if (zero) fill = J_LITERAL("0");
    if (c->name[0] == 'r' || zero)
        left = pad;
    else if (c->name[0] == 'c')
        left = pad / 2 + (pad & width & 1);
    if (zero && pad && s.n && (s.p[0] == '-' || s.p[0] == '+')) {
        if (!vtext_j_add(r, &t, vtext_j_sub(s, 0, 1))) return false;
        s = vtext_j_sub(s, 1, s.n);
    }
    return vtext_j_pad(r, &t, fill, left) && vtext_j_add(r, &t, s)
           && vtext_j_pad(r, &t, fill, pad - left) && give_string(vtext_j_done(&t), out);
}

static bool str_expandtabs(j_run *r, const j_call *c, j_value *out) {
    j_string s = c->self.u.s, space = J_LITERAL(" ");
    int64_t size = 8, column = 0;
    j_text t = { 0 };
    if (!vtext_j_arg_int(r, c, 0, &size)) return false;
    for (size_t pos = 0; pos < s.n;) {
        uint32_t cp;
        j_string ch = vtext_j_next_char(s, &pos, &cp);
        int64_t gap = size > 0 ? size - column % size : 0;
        if (cp == '\t' ? !vtext_j_pad(r, &t, space, gap) : !vtext_j_add(r, &t, ch)) return false;
        column = cp == '\n' || cp == '\r' ? 0 : cp == '\t' ? column + gap : column + 1;
    }
    return give_string(vtext_j_done(&t), out);
}

static bool str_format(j_run *r, const j_call *c, j_value *out) {
    return vtext_j_format(r, c->self.u.s, c->args, out);
}

const j_builtin vtext_j_string_methods[] = {
    { "upper", str_case, "", 0 },
    { "lower", str_case, "", 0 },
    { "casefold", str_case, "", 0 },
    { "title", str_case, "", 0 },
    { "capitalize", str_case, "", 0 },
    { "swapcase", str_case, "", 0 },
    { "strip", str_strip, "chars", 0 },
    { "lstrip", str_strip, "chars", 0 },
    { "rstrip", str_strip, "chars", 0 },
    { "split", str_split, "sep maxsplit", 0 },
    { "rsplit", str_split, "sep maxsplit", 0 },
    { "splitlines", str_splitlines, "keepends", 0 },
    { "startswith", str_affix, "prefix start end", 1 },
    { "endswith", str_affix, "suffix start end", 1 },
    { "find", str_find, "sub start end", 1 },
    { "rfind", str_find, "sub start end", 1 },
    { "index", str_find, "sub start end", 1 },
    { "rindex", str_find, "sub start end", 1 },
    { "count", str_count, "sub start end", 1 },
    { "replace", str_replace, "old new count", 2 },
    { "join", str_join, "iterable", 1 },
    { "partition", str_partition, "sep", 1 },
    { "rpartition", str_partition, "sep", 1 },
    { "removeprefix", str_remove_affix, "prefix", 1 },
    { "removesuffix", str_remove_affix, "suffix", 1 },
    { "ljust", str_pad, "width fillchar", 1 },
    { "rjust", str_pad, "width fillchar", 1 },
    { "center", str_pad, "width fillchar", 1 },
    { "zfill", str_pad, "width", 1 },
    { "expandtabs", str_expandtabs, "tabsize", 0 },
    { "format", str_format, "*", 0 },
    { NULL, NULL, NULL, 0 },
};
