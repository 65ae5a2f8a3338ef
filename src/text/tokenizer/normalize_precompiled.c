/* SPDX-License-Identifier: MIT */
/* SentencePiece's compiled map of characters: base64 of a trie's size in bytes, the trie (a double
 * array of 32-bit units, little endian, as Darts lays it out) and a pool of NUL-terminated strings
 * that its values point into. The file may hold anything: every step through it is checked. */
#include "text/tokenizer/normalize.h"

struct vtext_charsmap {
    const uint32_t *unit;
    size_t units;
    const char *pool;
    size_t pool_n;
};

/* ---- the trie ------------------------------------------------------------------------------- */
static size_t offset_of(uint32_t unit) {
    return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
}

/* What stands for the shortest prefix of a key that the map has; false when it has none, or the map
 * is broken here. */
static bool look_up(const vtext_charsmap *m, const char *key, size_t n, vcore_str *out) {
    size_t at = offset_of(m->unit[0]);
    for (size_t i = 0; i < n && key[i]; i++) {
        uint8_t c = (uint8_t)key[i];
        at ^= c;
        if (at >= m->units || (m->unit[at] & (1u << 31 | 0xFF)) != c) return false;
        uint32_t unit = m->unit[at];
        at ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        size_t begin = at < m->units ? m->unit[at] & ~(1u << 31) : SIZE_MAX;
        if (begin > m->pool_n || (begin < m->pool_n && ((uint8_t)m->pool[begin] & 0xC0) == 0x80))
            return false;
        const char *end = memchr(m->pool + begin, 0, m->pool_n - begin);
        *out = (vcore_str) { m->pool + begin,
                             end ? (size_t)(end - m->pool) - begin : m->pool_n - begin };
        return true;
    }
    return false;
}

/* ---- applying ------------------------------------------------------------------------------- */
/* Places follow the reference: what is removed goes with the character before it, and is not
 * counted where there is none, so that the places behind it come too early. */
typedef struct writer {
    vtext_edit edit;
    uint32_t cp; /* written when it is known whether something behind it is removed */
    int change;
    bool held, any;
} writer;

static void flush(writer *w) {
    if (w->held) vtext_edit_put(&w->edit, w->cp, w->change);
    w->held = false;
}

static size_t count(vcore_str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) n += ((uint8_t)s.p[i] & 0xC0) != 0x80;
    return n;
}

static void replace(writer *w, vcore_str from, vcore_str to) {
    size_t old_n = count(from), new_n = count(to), k = 0;
    uint32_t cp;
    for (size_t i = 0; i < to.n; k++) {
        i += vcore_utf8_decode(to.p + i, to.n - i, &cp);
        flush(w);
        w->cp = cp;
        w->change = k >= old_n;
        w->held = w->any = true;
    }
    if (new_n >= old_n || !w->any) return;
    if (w->held) {
        w->change -= (int)(old_n - new_n);
        return;
    }
    for (k = new_n; k < old_n; k++) /* behind a run */
        w->edit.at += vcore_utf8_decode(w->edit.in.p + w->edit.at, w->edit.in.n - w->edit.at, &cp);
}

/* Characters that stay. */
static void run(writer *w, size_t begin, size_t end) {
    if (begin == end) return;
    flush(w);
    w->any = true;
    if (w->edit.at == begin) {
        vtext_text_copy(w->edit.out, vtext_part(w->edit.in, begin, end));
        w->edit.at = end;
        return;
    }
    for (uint32_t cp; begin < end;) {
        begin += vcore_utf8_decode(w->edit.in.p + begin, end - begin, &cp);
        vtext_edit_put(&w->edit, cp, 0);
    }
}

/* A grapheme of less than 6 bytes is mapped as a whole if it can be, others by their characters. */
bool vtext_step_precompiled(const vtext_normalize_step *step, vtext_piece *s, vtext_text *out,
                            size_t limit) {
    writer w = { .edit = { *s, 0, out } };
    size_t kept = 0; /* what lies in front of it is written */
    for (size_t i = 0, end, n; i < s->n && out->n <= limit; i = end) {
        vcore_str mapped;
        uint32_t cp;
        end = i + vtext_grapheme(s->p + i, s->n - i);
        n = end - i;
        bool whole = n < 6 && look_up(step->charsmap, s->p + i, n, &mapped);
        for (; i < end; i += n) {
            if (!whole) n = vcore_utf8_decode(s->p + i, end - i, &cp);
            if (!whole && !look_up(step->charsmap, s->p + i, n, &mapped)) continue;
            run(&w, kept, i);
            replace(&w, (vcore_str) { s->p + i, n }, mapped);
            kept = i + n;
        }
    }
    if (!kept) return true;
    run(&w, kept, s->n);
    flush(&w);
    *s = vtext_text_piece(out);
    return !out->failed;
}

/* ---- loading -------------------------------------------------------------------------------- */
static int base64_value(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Bytes of padded base64 to out, which has room for 3 of each 4; false when it is none. */
static bool base64_decode(vcore_str s, uint8_t *out, size_t *n) {
    size_t padding = 0;
    *n = 0;
    if (s.n % 4) return false;
    while (padding < 2 && padding < s.n && s.p[s.n - 1 - padding] == '=') padding++;
    for (size_t i = 0; i < s.n; i += 4) {
        size_t letters = i + 4 == s.n ? 4 - padding : 4;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            int value = k < letters ? base64_value(s.p[i + k]) : 0;
            if (value < 0) return false;
            bits = bits << 6 | (uint32_t)value;
        }
        for (size_t k = 0; k + 1 < letters; k++) out[(*n)++] = (uint8_t)(bits >> (16 - 8 * k));
    }
    return true;
}

static uint32_t read_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

vlm_status vtext_charsmap_parse(const vtext_charsmap **out, vcore_str base64, const char *where,
                                vcore_arena *arena, vlm_error *err) {
    const char *field = "precompiled_charsmap";
    uint32_t *unit = vcore_arena_alloc(arena, base64.n / 4 * 3 + 4);
    uint8_t *bytes = (uint8_t *)unit;
    vtext_charsmap *m = vcore_arena_alloc(arena, sizeof *m);
    size_t n;
    if (!unit || !m) return vcore_no_memory(err, where);
    if (!base64_decode(base64, bytes, &n))
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, field, "is not base64");
    size_t units = n < 4 ? 0 : read_u32(bytes) / 4;
    if (!units || units > (n - 4) / 4)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, field,
                                "is cut off: %zu bytes, a trie of %zu units", n, units);
    for (size_t i = 0; i <= units; i++) unit[i] = read_u32(bytes + 4 * i);
    *m = (vtext_charsmap) { unit + 1, units, (const char *)bytes + 4 + 4 * units,
                            n - 4 - 4 * units };
    if (!vcore_utf8_valid(m->pool, m->pool_n))
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, field, "has a text that is not UTF-8");
    *out = m;
    return VLM_OK;
}
