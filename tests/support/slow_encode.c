/* SPDX-License-Identifier: MIT */
#include "support/slow_encode.h"

#include "text/text.h"

#include <stdio.h>

enum { TOKENS = 160, MERGES = 32, ADDED = 3, LONGEST = 40, UNITS = 480, TEXT = 120 };

/* ---- what a case is made of ------------------------------------------------------------------ */
typedef struct str {
    char p[LONGEST + 24];
    size_t n;
} str;

typedef struct merge {
    int left, right, gives; /* tokens */
} merge;

typedef enum kind { BPE, UNIGRAM, WORDPIECE, WORDLEVEL } kind;

typedef struct slow {
    kind kind;
    bool byte_level, spaces; /* spaces: words lie between them */
    bool fuse_unk, byte_fallback, ignore_merges;
    str token[TOKENS]; /* of Unigram some may be equal: the last counts */
    int score[TOKENS]; /* in eighths */
    int tokens, unk;   /* unk: -1: none; -2: one that is not in the vocabulary */
    merge merge[MERGES];
    int merges;
    str prefix, suffix;
    size_t max_chars;
    str added[ADDED];
    bool special[ADDED];
    int added_id[ADDED], n_added;
    char text[TEXT * 4];
    size_t n, user; /* text[user..n) is a user's */
} slow;

typedef struct reader {
    const uint8_t *p;
    size_t n;
} reader;

static unsigned next(reader *r) {
    if (!r->n) return 0;
    r->n--;
    return *r->p++;
}

static str str_of(const char *s) {
    str out = { .n = strlen(s) };
    memcpy(out.p, s, out.n);
    return out;
}

static bool same(const str *a, const str *b) {
    return a->n == b->n && memcmp(a->p, b->p, a->n) == 0;
}

/* False: the whole would be too long. */
static bool join(str *to, const str *more) {
    if (to->n + more->n > LONGEST) return false;
    memcpy(to->p + to->n, more->p, more->n);
    to->n += more->n;
    return true;
}

static int find(const slow *s, const str *text) {
    for (int i = s->tokens; i--;)
        if (same(&s->token[i], text)) return i;
    return -1;
}

static int add_token(slow *s, const str *text) {
    int known = s->kind == UNIGRAM ? -1 : find(s, text);
    if (known >= 0 || s->tokens == TOKENS || !text->n) return known;
    s->token[s->tokens] = *text;
    return s->tokens++;
}

/* ---- characters ------------------------------------------------------------------------------ */
static const char *const characters[] = {
    "a", "b", "c", " ", "\xC3\xA9", "\xE4\xB8\xAD", "\xF0\x9F\x98\x80"
};
static const char bytes[] =
    "abc \xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80#</w>"; /* of all that is split */

static str character(unsigned pick) {
    static const uint8_t often[16] = { 0, 1, 2, 0, 1, 0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 4 };
    return str_of(characters[often[pick % 16]]);
}

/* GPT-2's printable character for a byte. */
static str stand_in(uint8_t byte) {
    unsigned cp = byte, other = 256;
    for (unsigned b = 0; b < 256; b++) {
        bool plain = (b > 32 && b < 127) || (b > 160 && b < 173) || b > 173;
        if (b == byte && !plain) cp = other;
        other += !plain;
    }
    if (cp < 128) return (str) { { (char)cp }, 1 };
    return (str) { { (char)(0xC0 | cp >> 6), (char)(0x80 | (cp & 63)) }, 2 };
}

/* What words are made of: a character, or the stand-in of a byte. */
typedef struct unit {
    str s;
    uint32_t begin, end; /* of the character in the text */
} unit;

static size_t to_units(const slow *s, size_t from, size_t to, unit *out) {
    size_t n = 0;
    for (size_t i = from, end; i < to; i = end) {
        end = i + 1;
        while (end < to && ((uint8_t)s->text[end] & 0xC0) == 0x80) end++;
        str whole = { .n = end - i };
        memcpy(whole.p, s->text + i, whole.n);
        for (size_t k = 0; k < (s->byte_level ? whole.n : 1); k++)
            out[n++] = (unit) { s->byte_level ? stand_in((uint8_t)whole.p[k]) : whole, (uint32_t)i,
                                (uint32_t)end };
    }
    return n;
}

/* ---- what came out --------------------------------------------------------------------------- */
typedef struct result {
    int id[4 * UNITS];
    uint32_t begin[4 * UNITS], end[4 * UNITS];
    size_t n;
    bool failed;    /* the unknown token is needed, and is not there */
    bool no_places; /* something fell out, which shifts what is behind it as the reference does */
} result;

static void put(result *r, int id, uint32_t begin, uint32_t end) {
    r->id[r->n] = id;
    r->begin[r->n] = begin;
    r->end[r->n++] = end;
}

/* The tokens "<0x..>" of a text; false: one is missing. */
static bool byte_tokens(const slow *s, const str *text, int *id) {
    for (size_t i = 0; i < text->n; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)(uint8_t)text->p[i]);
        str token = str_of(name);
        id[i] = find(s, &token);
        if (id[i] < 0) return false;
    }
    return true;
}

/* ---- BPE: the best pair is looked for among all, over and over ------------------------------- */
typedef struct symbol {
    int id;
    uint32_t begin, end;
} symbol;

static int rank_of(const slow *s, int left, int right) {
    for (int i = s->merges; i--;)
        if (s->merge[i].left == left && s->merge[i].right == right) return i;
    return -1;
}

static size_t merge_all(const slow *s, symbol *y, size_t n) {
    for (;;) {
        int best = -1;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            int rank = rank_of(s, y[i].id, y[i + 1].id);
            if (rank < 0 || (best >= 0 && rank >= best)) continue;
            best = rank;
            at = i;
        }
        if (best < 0) return n;
        y[at].id = s->merge[best].gives;
        y[at].end = y[at + 1].end;
        memmove(y + at + 1, y + at + 2, (--n - at - 1) * sizeof *y);
    }
}

static void bpe_word(const slow *s, const unit *u, size_t n, result *r) {
    static symbol y[4 * UNITS];
    size_t k = 0;
    int id[LONGEST + 24];
    symbol unknown = { -1, 0, 0 }; /* not given out yet */
    str whole = { .n = 0 };
    bool fits = true;
    for (size_t i = 0; i < n; i++) fits = fits && join(&whole, &u[i].s);
    if (s->ignore_merges && fits && find(s, &whole) >= 0) {
        put(r, find(s, &whole), u[0].begin, u[n - 1].end);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        str text = i ? s->prefix : (str) { .n = 0 };
        join(&text, &u[i].s);
        if (i + 1 == n) join(&text, &s->suffix);
        int known = find(s, &text);
        if (known < 0 && s->byte_fallback && byte_tokens(s, &text, id)) {
            /* In front of an unknown token that waits to be fused: so the reference has it. */
            r->no_places |= unknown.id >= 0 || text.n != u[i].s.n;
            for (size_t b = 0; b < text.n; b++) y[k++] = (symbol) { id[b], u[i].begin, u[i].end };
            continue;
        }
        if (unknown.id >= 0 && (known >= 0 || !s->fuse_unk)) {
            y[k++] = unknown;
            unknown.id = -1;
        }
        r->failed |= known < 0 && s->unk == -2;
        r->no_places |= known < 0 && s->unk < 0;
        if (known >= 0)
            y[k++] = (symbol) { known, u[i].begin, u[i].end };
        else if (s->unk >= 0)
            unknown = (symbol) { s->unk, unknown.id >= 0 ? unknown.begin : u[i].begin, u[i].end };
    }
    if (unknown.id >= 0) y[k++] = unknown;
    k = merge_all(s, y, k);
    for (size_t i = 0; i < k; i++) put(r, y[i].id, y[i].begin, y[i].end);
}

/* ---- Unigram: all pieces that end at each place ---------------------------------------------- */
static void give_run(const slow *s, const unit *u, size_t from, size_t to, result *r) {
    str text = { .n = 0 };
    static int id[4 * UNITS];
    size_t n = 0;
    bool known = true, all = s->byte_fallback;
    for (size_t i = from; i < to; i++) known = known && join(&text, &u[i].s);
    if (known && find(s, &text) >= 0) {
        put(r, find(s, &text), u[from].begin, u[to - 1].end);
        return;
    }
    for (size_t i = from; all && i < to; n += u[i++].s.n) all = byte_tokens(s, &u[i].s, id + n);
    for (size_t i = 0; all && i < n; i++) put(r, id[i], u[from].begin, u[to - 1].end);
    if (!all) put(r, s->unk, u[from].begin, u[to - 1].end);
}

static void unigram_word(const slow *s, const unit *u, size_t n, result *r) {
    static double best[UNITS + 1];
    static size_t from[UNITS + 1], piece[UNITS + 1];
    static int id[UNITS + 1];
    double unknown = s->score[0];
    for (int i = 0; i < s->tokens; i++)
        if (s->score[i] < unknown) unknown = s->score[i];
    unknown = unknown / 8 - 10;
    best[0] = 0;
    for (size_t end = 1; end <= n; end++) {
        bool any = false;
        for (size_t begin = 0; begin < end; begin++) {
            str text = { .n = 0 };
            bool fits = true;
            for (size_t i = begin; i < end; i++) fits = fits && join(&text, &u[i].s);
            int token = fits ? find(s, &text) : -1;
            if (token < 0 && begin + 1 < end) continue;
            double score = best[begin] + (token < 0 ? unknown : s->score[token] / 8.0);
            if (any && !(score > best[end])) continue;
            r->failed |= token < 0 && s->unk < 0;
            any = true;
            best[end] = score;
            from[end] = begin;
            id[end] = token < 0 ? s->unk : token;
        }
    }
    size_t pieces = 0;
    if (r->failed) return;
    for (size_t end = n; end; end = from[end]) piece[pieces++] = end;
    for (size_t i = pieces; i--;) {
        size_t begin = from[piece[i]], end = piece[i];
        if (s->unk < 0 || id[end] != s->unk) {
            put(r, id[end], u[begin].begin, u[end - 1].end);
            continue;
        }
        while (i && id[piece[i - 1]] == s->unk) end = piece[--i];
        give_run(s, u, begin, end, r);
    }
}

/* ---- WordPiece, WordLevel -------------------------------------------------------------------- */
static void only_unknown(const slow *s, const unit *u, size_t n, size_t before, result *r) {
    r->n = before;
    r->failed |= s->unk < 0;
    if (s->unk >= 0) put(r, s->unk, u[0].begin, u[n - 1].end);
}

static void wordpiece_word(const slow *s, const unit *u, size_t n, result *r) {
    size_t before = r->n, end;
    if (n > s->max_chars) {
        only_unknown(s, u, n, before, r);
        return;
    }
    for (size_t at = 0; at < n; at = end) {
        int token = -1;
        for (end = n + 1; token < 0 && --end > at;) {
            str text = at ? s->prefix : (str) { .n = 0 };
            bool fits = true;
            for (size_t i = at; i < end; i++) fits = fits && join(&text, &u[i].s);
            if (fits) token = find(s, &text);
        }
        if (token < 0) {
            only_unknown(s, u, n, before, r);
            return;
        }
        put(r, token, u[at].begin, u[end - 1].end);
    }
}

static void wordlevel_word(const slow *s, const unit *u, size_t n, result *r) {
    str whole = { .n = 0 };
    bool fits = true;
    for (size_t i = 0; i < n; i++) fits = fits && join(&whole, &u[i].s);
    if (fits && find(s, &whole) >= 0)
        put(r, find(s, &whole), u[0].begin, u[n - 1].end);
    else
        only_unknown(s, u, n, r->n, r);
}

/* ---- a text ---------------------------------------------------------------------------------- */
static void encode_word(const slow *s, size_t from, size_t to, result *r) {
    static unit u[UNITS];
    size_t n = to_units(s, from, to, u);
    if (!n) return;
    switch (s->kind) {
    case BPE: bpe_word(s, u, n, r); break;
    case UNIGRAM: unigram_word(s, u, n, r); break;
    case WORDPIECE: wordpiece_word(s, u, n, r); break;
    case WORDLEVEL: wordlevel_word(s, u, n, r); break;
    }
}

static void encode_words(const slow *s, size_t from, size_t to, result *r) {
    size_t begin = from;
    for (size_t i = from; s->spaces && i < to; i++) {
        if (s->text[i] != ' ') continue;
        encode_word(s, begin, i, r);
        begin = i + 1;
    }
    encode_word(s, begin, to, r);
}

/* The longest added token at a place, -1: none. No special one touches what is a user's. */
static int added_at(const slow *s, bool special, size_t at, size_t to) {
    int best = -1;
    for (int i = 0; i < s->n_added; i++) {
        const str *t = &s->added[i];
        if (s->special[i] != special || at + t->n > to || memcmp(s->text + at, t->p, t->n))
            continue;
        if (special && at + t->n > s->user) continue;
        if (best < 0 || t->n > s->added[best].n) best = i;
    }
    return best;
}

/* First the special ones, then the others in what is left, then words. */
static void encode_part(const slow *s, bool special, size_t from, size_t to, result *r) {
    size_t begin = from;
    for (size_t i = from; i <= to; i++) {
        int token = i < to ? added_at(s, special, i, to) : -1;
        if (token < 0 && i < to) continue;
        if (special)
            encode_part(s, false, begin, i, r);
        else
            encode_words(s, begin, i, r);
        if (token < 0) return;
        put(r, s->added_id[token], (uint32_t)i, (uint32_t)(i + s->added[token].n));
        begin = i + s->added[token].n;
        i = begin - 1;
    }
}

/* ---- making a case --------------------------------------------------------------------------- */
static str some_unit(const slow *s, unsigned pick) {
    return s->byte_level ? stand_in((uint8_t)bytes[pick % 13]) : character(pick);
}

static void make_tokens(slow *s, reader *r) {
    for (int n = (int)(next(r) % 24); n > 0; n--) {
        unsigned shape = next(r);
        str text = shape & 64 ? s->prefix : (str) { .n = 0 };
        for (unsigned k = 0; k <= shape % 4; k++) {
            str u = some_unit(s, next(r));
            join(&text, &u);
        }
        if (shape & 128) join(&text, &s->suffix);
        int at = add_token(s, &text);
        if (at >= 0 && s->kind == UNIGRAM)
            s->score[at] = (int)(shape >> 2 & 15) - (int)next(r) % 64;
    }
}

/* Each unit as it looks first, in the middle and last in a word, where a bit says so. */
static void make_units(slow *s, reader *r) {
    int n = s->byte_level ? 13 : 7;
    for (int i = 0; i < n; i++) {
        str u = s->byte_level ? stand_in((uint8_t)bytes[i]) : str_of(characters[i]);
        unsigned forms = ~next(r);
        for (unsigned form = 0; form < 4; form++) {
            str text = form & 1 ? s->prefix : (str) { .n = 0 };
            join(&text, &u);
            if (form & 2) join(&text, &s->suffix);
            if (forms >> form & 1) add_token(s, &text);
        }
    }
}

static void make_merges(slow *s, reader *r) {
    for (int n = (int)(next(r) % MERGES); n > 0 && s->tokens; n--) {
        int left = (int)(next(r) % (unsigned)s->tokens),
            right = (int)(next(r) % (unsigned)s->tokens);
        str text = s->token[left], tail = s->token[right];
        size_t cut = s->prefix.n;
        if (tail.n <= cut || memcmp(tail.p, s->prefix.p, cut)) continue;
        memmove(tail.p, tail.p + cut, tail.n -= cut);
        if (!join(&text, &tail)) continue;
        int gives = add_token(s, &text);
        if (gives >= 0) s->merge[s->merges++] = (merge) { left, right, gives };
    }
}

static void make_added(slow *s, reader *r) {
    int id = s->tokens;
    for (int n = (int)(next(r) % (ADDED + 1)); n > 0; n--) {
        unsigned shape = next(r);
        str text = { .n = 0 };
        for (unsigned k = 0; k <= shape % 3; k++) {
            str u = character(next(r));
            join(&text, &u);
        }
        bool known = false;
        for (int i = 0; i < s->n_added; i++) known |= same(&s->added[i], &text);
        if (known) continue;
        s->added[s->n_added] = text;
        s->special[s->n_added] = shape & 8;
        s->added_id[s->n_added] = find(s, &text) >= 0 ? find(s, &text) : id++;
        s->n_added++;
    }
}

static void make(slow *s, reader *r) {
    unsigned shape = next(r), flags = next(r);
    *s = (slow) { .kind = (kind)(shape & 3), .byte_level = shape & 4, .unk = -1 };
    s->spaces = (shape & 8) && !s->byte_level;
    s->fuse_unk = flags & 1;
    s->byte_fallback = (flags & 2) && s->kind <= UNIGRAM;
    s->ignore_merges = flags & 4;
    s->max_chars = flags & 8 ? 5 : 100;
    if (s->kind == WORDPIECE || (s->kind == BPE && (flags & 16))) s->prefix = str_of("##");
    if (s->kind == BPE && (flags & 32)) s->suffix = str_of("</w>");
    str unk = str_of("<unk>");
    if (shape & 16) s->unk = add_token(s, &unk);
    if (s->unk < 0 && ((shape & 32) || s->kind >= WORDPIECE) && s->kind != UNIGRAM) s->unk = -2;
    unsigned missing = flags & 64 ? next(r) % (sizeof bytes - 1) : sizeof bytes;
    for (unsigned i = 0; s->byte_fallback && i + 1 < sizeof bytes; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)(uint8_t)bytes[i]);
        str token = str_of(name);
        if (i != missing) add_token(s, &token);
    }
    if (s->kind == BPE) make_units(s, r);
    make_tokens(s, r);
    if (s->kind == UNIGRAM && s->unk == 0 && (shape & 32))
        s->unk = (int)(next(r) % (unsigned)s->tokens);
    if (s->kind == BPE) make_merges(s, r);
    make_added(s, r);
    unsigned user = next(r) % TEXT, count = 0;
    s->user = SIZE_MAX;
    for (; r->n && count < TEXT; count++) {
        str c = character(next(r));
        if (count == user) s->user = s->n;
        memcpy(s->text + s->n, c.p, c.n);
        s->n += c.n;
    }
    if (s->user > s->n) s->user = s->n; /* all is the template's */
}

/* ---- as a tokenizer.json --------------------------------------------------------------------- */
static void put_token(vcore_buf *b, const char *before, const str *s, const char *behind) {
    vcore_buf_puts(b, before);
    vcore_json_quote(b, s->p, s->n);
    vcore_buf_puts(b, behind);
}

static void write_model(const slow *s, vcore_buf *b) {
    static const char *const names[] = { "BPE", "Unigram", "WordPiece", "WordLevel" };
    bool list = s->kind == UNIGRAM;
    vcore_buf_printf(b,
                     "{\"type\": \"%s\", \"byte_fallback\": %s, \"fuse_unk\": %s, "
                     "\"ignore_merges\": %s, \"max_input_chars_per_word\": %zu, \"vocab\": %c",
                     names[s->kind], s->byte_fallback ? "true" : "false",
                     s->fuse_unk ? "true" : "false", s->ignore_merges ? "true" : "false",
                     s->max_chars, list ? '[' : '{');
    for (int i = 0; i < s->tokens; i++) {
        vcore_buf_puts(b, i ? ", " : "");
        put_token(b, list ? "[" : "", &s->token[i], list ? ", " : ": ");
        if (list)
            vcore_buf_printf(b, "%.3f]", s->score[i] / 8.0);
        else
            vcore_buf_printf(b, "%d", i);
    }
    vcore_buf_puts(b, list ? "]" : "}");
    if (list && s->unk >= 0) vcore_buf_printf(b, ", \"unk_id\": %d", s->unk);
    if (!list && s->unk != -1) vcore_buf_puts(b, ", \"unk_token\": \"<unk>\"");
    if (s->prefix.n) put_token(b, ", \"continuing_subword_prefix\": ", &s->prefix, "");
    if (s->suffix.n) put_token(b, ", \"end_of_word_suffix\": ", &s->suffix, "");
    if (s->kind == BPE) vcore_buf_puts(b, ", \"merges\": [");
    for (int i = 0; i < s->merges; i++) {
        put_token(b, i ? ", [" : "[", &s->token[s->merge[i].left], ", ");
        put_token(b, "", &s->token[s->merge[i].right], "]");
    }
    vcore_buf_puts(b, s->kind == BPE ? "]}" : "}");
}

static void write_file(const slow *s, vcore_buf *b) {
    vcore_buf_puts(b, "{\"added_tokens\": [");
    for (int i = 0; i < s->n_added; i++) {
        put_token(b, i ? ", {\"content\": " : "{\"content\": ", &s->added[i], "");
        vcore_buf_printf(b, ", \"id\": %d, \"special\": %s}", s->added_id[i],
                         s->special[i] ? "true" : "false");
    }
    vcore_buf_puts(b, "], \"pre_tokenizer\": ");
    vcore_buf_puts(b, s->byte_level ? "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                                      "\"use_regex\": false}"
                      : s->spaces   ? "{\"type\": \"WhitespaceSplit\"}"
                                    : "null");
    vcore_buf_puts(b, ", \"model\": ");
    write_model(s, b);
    vcore_buf_puts(b, "}");
}

/* ---- beside the library ---------------------------------------------------------------------- */
static bool alike(const result *r, vlm_status status, const vtext_ids *ids) {
    if (r->failed || status != VLM_OK) return r->failed && status == VLM_ERR_FORMAT;
    bool same_all = r->n == ids->n;
    for (size_t i = 0; same_all && i < r->n; i++) {
        same_all = (uint32_t)r->id[i] == ids->id[i];
        if (!r->no_places)
            same_all = same_all && r->begin[i] == ids->begin[i] && r->end[i] == ids->end[i];
    }
    return same_all;
}

static void explain(const slow *s, const vcore_buf *file, const result *r, vlm_status status,
                    const vtext_ids *ids, char *why, size_t size) {
    vcore_buf b = { 0 };
    vcore_buf_printf(&b, "%.*s\ntext '%.*s', user from %zu\nslow:", (int)file->n, file->p,
                     (int)s->n, s->text, s->user);
    for (size_t i = 0; i < r->n; i++)
        vcore_buf_printf(&b, " %d(%u,%u)", r->id[i], r->begin[i], r->end[i]);
    vcore_buf_printf(&b, "%s\nlibrary (%d):", r->failed ? " fails" : "", status);
    for (size_t i = 0; i < ids->n; i++)
        vcore_buf_printf(&b, " %u(%u,%u)", ids->id[i], ids->begin[i], ids->end[i]);
    snprintf(why, size, "%.*s", (int)b.n, b.p);
    vcore_buf_free(&b);
}

bool slow_encode_alike(const uint8_t *data, size_t n, char *why, size_t size) {
    static slow s;
    static result r;
    reader bytes_left = { data, n };
    vcore_buf file = { 0 };
    vlm_tokenizer *t;
    vtext_ids ids = { 0 };
    vlm_error err = VLM_ERROR_INIT;
    make(&s, &bytes_left);
    write_file(&s, &file);
    if (vtext_tokenizer_parse(&t, file.p, file.n, NULL, 0, "t.json", &err) != VLM_OK) {
        snprintf(why, size, "%s\n%.*s", err.message, (int)file.n, file.p);
        vcore_buf_free(&file);
        return false;
    }
    r.n = 0;
    r.failed = r.no_places = false;
    encode_part(&s, true, 0, s.n, &r);
    const vtext_span spans[] = { { s.text, s.user, false },
                                 { s.text + s.user, s.n - s.user, true } };
    vlm_status status = vtext_encode(t, spans, 2, false, true, &ids, &err);
    bool same_all = alike(&r, status, &ids);
    if (!same_all) explain(&s, &file, &r, status, &ids, why, size);
    vtext_ids_free(&ids);
    vtext_tokenizer_free(t);
    vcore_buf_free(&file);
    return same_all;
}
