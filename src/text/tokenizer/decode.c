/* SPDX-License-Identifier: MIT */
/* Decoding: the text of tokens flows through a sequence of small machines, one per decoder of the
 * file. A machine keeps back only what later tokens can still change, so the same code decodes at
 * once and as a stream, and what a stream gives, joined, is the whole. Text moves in whole
 * characters. */
#include "text/tokenizer/tok.h"

typedef struct machine {
    vcore_buf token; /* the text of the token so far, where it is needed as a whole */
    vcore_buf bytes; /* ByteLevel: an unfinished character; ByteFallback: a run of byte tokens;
                        suffix, distinct: the token before */
    vcore_buf out;   /* what it hands on */
    size_t matched;  /* Replace: bytes of the pattern matched so far */
    uint64_t dropped, held; /* Strip: in front; at the back, perhaps to be dropped */
    bool text; /* Strip: past the front; Join, Metaspace, WordPiece: past the first token; suffix,
                  distinct: there is a token before; Replace, not empty: the token has text */
} machine;

struct vtext_stream {
    const vlm_tokenizer *t;
    bool skip_special;
    machine m[VTEXT_MAX_DECODE_STEPS];
    vcore_buf out;
};

static void feed(vtext_stream *s, int at, const char *p, size_t n);
static void end_token(vtext_stream *s, int at);

/* Hands the machine's output on. */
static void hand_on(vtext_stream *s, int at) {
    machine *m = &s->m[at];
    size_t n = m->out.n;
    m->out.n = 0;
    if (n) feed(s, at + 1, m->out.p, n);
}

/* ---- ByteLevel: characters that stand for bytes, to text ------------------------------------ */
static void bytes_to_text(vtext_stream *s, int at, size_t n) {
    machine *m = &s->m[at];
    char utf8[4];
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        i += vcore_utf8_decode(m->bytes.p + i, n - i, &cp);
        vcore_buf_add(&m->out, utf8, vcore_utf8_encode(cp, utf8));
    }
    if (n) memmove(m->bytes.p, m->bytes.p + n, m->bytes.n - n);
    m->bytes.n -= n;
    hand_on(s, at);
}

/* A token with a character that stands for no byte is taken as it is. */
static void byte_level_token(vtext_stream *s, int at) {
    machine *m = &s->m[at];
    size_t before = m->bytes.n;
    for (size_t i = 0; i < m->token.n;) {
        uint32_t cp;
        i += vcore_utf8_decode(m->token.p + i, m->token.n - i, &cp);
        int byte = vtext_char_byte(cp);
        if (byte < 0) {
            m->bytes.n = before;
            vcore_buf_add(&m->bytes, m->token.p, m->token.n);
            break;
        }
        char c = (char)byte;
        vcore_buf_add(&m->bytes, &c, 1);
    }
    m->token.n = 0;
    if (m->bytes.failed) return;
    bytes_to_text(s, at, m->bytes.n - vcore_utf8_incomplete(m->bytes.p, m->bytes.n));
}

/* ---- ByteFallback: runs of <0x..> tokens, which are text only as a whole -------------------- */
static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int byte_token(vcore_buf *t) {
    if (t->n != 6 || memcmp(t->p, "<0x", 3) || t->p[5] != '>') return -1;
    int high = hex_digit(t->p[3]), low = hex_digit(t->p[4]);
    if (t->p[3] == '+') high = 0; /* as Rust's from_str_radix takes it */
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static void flush_run(vtext_stream *s, int at) {
    vcore_buf *run = &s->m[at].bytes;
    size_t n = run->n;
    run->n = 0;
    if (!n) return;
    if (vcore_utf8_valid(run->p, n)) {
        feed(s, at + 1, run->p, n);
        end_token(s, at + 1);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        feed(s, at + 1, "\xEF\xBF\xBD", 3);
        end_token(s, at + 1);
    }
}

static void fallback_token(vtext_stream *s, int at) {
    machine *m = &s->m[at];
    int byte = byte_token(&m->token);
    size_t n = m->token.n;
    m->token.n = 0;
    if (byte >= 0) {
        char c = (char)byte;
        vcore_buf_add(&m->bytes, &c, 1);
        return;
    }
    flush_run(s, at);
    if (n) feed(s, at + 1, m->token.p, n);
    end_token(s, at + 1);
}

/* ---- Replace: a literal, by Knuth, Morris and Pratt; only part of a match is kept back, as a
 * number */
static void replace_feed(vtext_stream *s, int at, const char *p, size_t n) {
    const struct vtext_decode_step *step = &s->t->decoder.step[at];
    machine *m = &s->m[at];
    m->text = true;
    for (size_t i = 0; i < n; i++) {
        if (!step->pattern.n) { /* found in front of each character */
            if (((uint8_t)p[i] & 0xC0) != 0x80)
                vcore_buf_add(&m->out, step->content.p, step->content.n);
            vcore_buf_add(&m->out, p + i, 1);
            continue;
        }
        while (m->matched && step->pattern.p[m->matched] != p[i]) {
            size_t shorter = step->fail[m->matched];
            vcore_buf_add(&m->out, step->pattern.p, m->matched - shorter);
            m->matched = shorter;
        }
        if (step->pattern.p[m->matched] != p[i]) {
            vcore_buf_add(&m->out, p + i, 1);
        } else if (++m->matched == step->pattern.n) {
            vcore_buf_add(&m->out, step->content.p, step->content.n);
            m->matched = 0;
        }
    }
    hand_on(s, at);
}

static void replace_end(vtext_stream *s, int at) {
    const struct vtext_decode_step *step = &s->t->decoder.step[at];
    machine *m = &s->m[at];
    size_t n = m->matched;
    bool behind = !step->pattern.n && step->content.n && (m->text || !step->only_text);
    m->matched = 0;
    m->text = false;
    if (n) feed(s, at + 1, step->pattern.p, n);
    if (behind) feed(s, at + 1, step->content.p, step->content.n);
    end_token(s, at + 1);
}

/* ---- Replace by a regular expression, which needs the whole token --------------------------- */
static void regex_end(vtext_stream *s, int at) {
    const struct vtext_decode_step *step = &s->t->decoder.step[at];
    machine *m = &s->m[at];
    size_t from = 0, n = m->token.n, begin, end;
    if (n) {
        vtext_scan scan;
        vtext_pattern_start(&scan, &step->regex, m->token.p, n);
        for (; vtext_pattern_next(&scan, &begin, &end); from = end) {
            vcore_buf_add(&m->out, m->token.p + from, begin - from);
            vcore_buf_add(&m->out, step->content.p, step->content.n);
        }
        vcore_buf_add(&m->out, m->token.p + from, n - from);
        m->out.failed |= scan.failed;
        vtext_pattern_done(&scan);
    }
    m->token.n = 0;
    hand_on(s, at);
    end_token(s, at + 1);
}

/* ---- WordPiece: a space in front of each token but the first and those with the prefix ------ */
static void wordpiece_end(vtext_stream *s, int at) {
    vcore_str prefix = s->t->decoder.step[at].content;
    machine *m = &s->m[at];
    size_t n = m->token.n;
    if (m->text) { /* not the first, which was handed on at once */
        bool continues = n >= prefix.n && (!prefix.n || !memcmp(m->token.p, prefix.p, prefix.n));
        if (!continues) feed(s, at + 1, " ", 1);
        size_t skip = continues ? prefix.n : 0;
        m->token.n = 0;
        if (skip < n) feed(s, at + 1, m->token.p + skip, n - skip);
    }
    m->text = true;
    end_token(s, at + 1);
}

/* ---- BPEDecoder: each suffix to a space, but to nothing in the last token ------------------- */
static void flush_suffix(vtext_stream *s, int at, const char *space) {
    vcore_str suffix = s->t->decoder.step[at].content;
    machine *m = &s->m[at];
    if (!m->text) return;
    for (size_t i = 0; i < m->bytes.n;) {
        bool found = m->bytes.n - i >= suffix.n && !memcmp(m->bytes.p + i, suffix.p, suffix.n);
        uint32_t cp;
        size_t len = suffix.n;
        if (found) vcore_buf_puts(&m->out, space);
        if (!found || !len) {
            len = vcore_utf8_decode(m->bytes.p + i, m->bytes.n - i, &cp);
            vcore_buf_add(&m->out, m->bytes.p + i, len);
        }
        i += len;
    }
    if (!suffix.n) vcore_buf_puts(&m->out, space);
    m->bytes.n = 0;
    m->text = false;
    hand_on(s, at);
    end_token(s, at + 1);
}

/* Only from its first suffix on does a token have to wait for the next one. */
static void suffix_end(vtext_stream *s, int at) {
    vcore_str suffix = s->t->decoder.step[at].content;
    machine *m = &s->m[at];
    flush_suffix(s, at, " ");
    const char *first = m->token.n ? memmem(m->token.p, m->token.n, suffix.p, suffix.n) : NULL;
    size_t n = first ? (size_t)(first - m->token.p) : m->token.n;
    if (n) feed(s, at + 1, m->token.p, n);
    if (n < m->token.n) vcore_buf_add(&m->bytes, m->token.p + n, m->token.n - n);
    m->token.n = 0;
    m->text = true;
}

/* ---- CTC: of equal tokens in a row, the first ----------------------------------------------- */
static void distinct_end(vtext_stream *s, int at) {
    machine *m = &s->m[at];
    bool same = m->text && m->token.n == m->bytes.n
                && (!m->token.n || !memcmp(m->token.p, m->bytes.p, m->token.n));
    vcore_buf before = m->bytes;
    m->bytes = m->token;
    m->token = before;
    m->token.n = 0;
    m->text = true;
    if (same) return;
    if (m->bytes.n) feed(s, at + 1, m->bytes.p, m->bytes.n);
    end_token(s, at + 1);
}

/* ---- Strip: up to `start` and `stop` copies of a character at the ends of each token -------- */
static void strip_feed(vtext_stream *s, int at, const char *p, size_t n) {
    const struct vtext_decode_step *step = &s->t->decoder.step[at];
    machine *m = &s->m[at];
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = vcore_utf8_decode(p + i, n - i, &cp);
        bool same = len == step->content.n && memcmp(p + i, step->content.p, len) == 0;
        if (same && !m->text && m->dropped < step->start) {
            m->dropped++;
            continue;
        }
        m->text = true;
        if (same && m->held < step->stop) {
            m->held++;
            continue;
        }
        if (!same)
            for (; m->held; m->held--) vcore_buf_add(&m->out, step->content.p, step->content.n);
        vcore_buf_add(&m->out, p + i, len);
    }
    hand_on(s, at);
}

/* ---- Metaspace: marks to spaces, but for the first token's ---------------------------------- */
static void metaspace_feed(vtext_stream *s, int at, const char *p, size_t n) {
    const struct vtext_decode_step *step = &s->t->decoder.step[at];
    machine *m = &s->m[at];
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = vcore_utf8_decode(p + i, n - i, &cp);
        if (len != step->content.n || memcmp(p + i, step->content.p, len))
            vcore_buf_add(&m->out, p + i, len);
        else if (m->text || !step->prepended)
            vcore_buf_add(&m->out, " ", 1);
    }
    hand_on(s, at);
}

/* ---- the sequence --------------------------------------------------------------------------- */
static void feed(vtext_stream *s, int at, const char *p, size_t n) {
    if (at == s->t->decoder.count) {
        vcore_buf_add(&s->out, p, n);
        return;
    }
    switch (s->t->decoder.step[at].kind) {
    case VTEXT_DECODE_WORDPIECE:
        if (!s->m[at].text) {
            feed(s, at + 1, p, n);
            break;
        } /* fall through */
    case VTEXT_DECODE_BYTE_LEVEL:
    case VTEXT_DECODE_BYTE_FALLBACK:
    case VTEXT_DECODE_SUFFIX:
    case VTEXT_DECODE_DISTINCT:
    case VTEXT_DECODE_REGEX: vcore_buf_add(&s->m[at].token, p, n); break;
    case VTEXT_DECODE_NOT_EMPTY:
        s->m[at].text = true;
        feed(s, at + 1, p, n);
        break;
    case VTEXT_DECODE_FUSE:
    case VTEXT_DECODE_JOIN: feed(s, at + 1, p, n); break;
    case VTEXT_DECODE_STRIP: strip_feed(s, at, p, n); break;
    case VTEXT_DECODE_REPLACE: replace_feed(s, at, p, n); break;
    case VTEXT_DECODE_METASPACE: metaspace_feed(s, at, p, n); break;
    }
}

static void end_token(vtext_stream *s, int at) {
    if (at == s->t->decoder.count) return;
    machine *m = &s->m[at];
    switch (s->t->decoder.step[at].kind) {
    case VTEXT_DECODE_BYTE_LEVEL: byte_level_token(s, at); break;
    case VTEXT_DECODE_BYTE_FALLBACK: fallback_token(s, at); break;
    case VTEXT_DECODE_FUSE:
    case VTEXT_DECODE_JOIN: break;
    case VTEXT_DECODE_REPLACE: replace_end(s, at); break;
    case VTEXT_DECODE_REGEX: regex_end(s, at); break;
    case VTEXT_DECODE_WORDPIECE: wordpiece_end(s, at); break;
    case VTEXT_DECODE_SUFFIX: suffix_end(s, at); break;
    case VTEXT_DECODE_DISTINCT: distinct_end(s, at); break;
    case VTEXT_DECODE_NOT_EMPTY:
        if (m->text) end_token(s, at + 1);
        m->text = false;
        break;
    case VTEXT_DECODE_STRIP:
        m->dropped = m->held = 0;
        m->text = false;
        end_token(s, at + 1);
        break;
    case VTEXT_DECODE_METASPACE:
        m->text = true;
        end_token(s, at + 1);
        break;
    }
}

static void finish(vtext_stream *s) {
    for (int at = 0; at < s->t->decoder.count; at++) {
        vtext_decode_kind kind = s->t->decoder.step[at].kind;
        if (kind == VTEXT_DECODE_BYTE_LEVEL) bytes_to_text(s, at, s->m[at].bytes.n);
        if (kind == VTEXT_DECODE_BYTE_FALLBACK) flush_run(s, at);
        if (kind == VTEXT_DECODE_SUFFIX) flush_suffix(s, at, "");
        if (kind == VTEXT_DECODE_BYTE_LEVEL || kind == VTEXT_DECODE_FUSE
            || kind == VTEXT_DECODE_JOIN)
            end_token(s, at + 1);
    }
}

/* Text of a token, as the decoders get it; p NULL: it gives none. Skipped is what reads as a special
 * token: not one that a normalizer changes, but any other of its text. */
static vcore_str token_text(const vlm_tokenizer *t, uint32_t id, bool skip_special) {
    uint32_t added = id < t->vocab_size ? t->added_by_id[id] : 0;
    vcore_str text = added ? t->added.token[added - 1].normal : vtext_vocab_text(&t->model.vocab, id);
    const vtext_added *same = skip_special && text.p ? vtext_added_find(&t->added, text) : NULL;
    return same && same->special ? (vcore_str) { NULL, 0 } : text;
}

static void push(vtext_stream *s, uint32_t id) {
    vcore_str text = token_text(s->t, id, s->skip_special);
    if (!text.p) return;
    if (s->t->decoder.count && s->t->decoder.step[0].kind == VTEXT_DECODE_JOIN) {
        if (s->m[0].text) feed(s, 0, " ", 1);
        s->m[0].text = true;
    }
    if (text.n) feed(s, 0, text.p, text.n);
    end_token(s, 0);
}

static bool failed(const vtext_stream *s) {
    bool any = s->out.failed;
    for (int i = 0; i < s->t->decoder.count; i++)
        any |= s->m[i].token.failed || s->m[i].bytes.failed || s->m[i].out.failed;
    return any;
}

static void free_buffers(vtext_stream *s) {
    for (int i = 0; i < s->t->decoder.count; i++) {
        vcore_buf_free(&s->m[i].token);
        vcore_buf_free(&s->m[i].bytes);
        vcore_buf_free(&s->m[i].out);
    }
    vcore_buf_free(&s->out);
}

/* ---- whole ---------------------------------------------------------------------------------- */
vlm_status vtext_decode(const vlm_tokenizer *t, const uint32_t *ids, size_t n, bool skip_special,
                        vcore_buf *out, vlm_error *err) {
    vtext_stream s = { .t = t, .skip_special = skip_special, .out = *out };
    for (size_t i = 0; i < n; i++) push(&s, ids[i]);
    finish(&s);
    bool bad = failed(&s);
    *out = s.out;
    s.out = (vcore_buf) { 0 };
    free_buffers(&s);
    return bad ? vcore_no_memory(err, "text") : VLM_OK;
}

/* ---- stream --------------------------------------------------------------------------------- */
vtext_stream *vtext_stream_new(const vlm_tokenizer *t, bool skip_special) {
    vtext_stream *s = vcore_alloc(sizeof *s);
    if (!s) return NULL;
    s->t = t;
    s->skip_special = skip_special;
    return s;
}

vlm_status vtext_stream_push(vtext_stream *s, uint32_t id, vcore_str *piece) {
    s->out.n = 0;
    push(s, id);
    *piece = (vcore_str) { s->out.p, s->out.n };
    return failed(s) ? VLM_ERR_MEMORY : VLM_OK;
}

vlm_status vtext_stream_finish(vtext_stream *s, vcore_str *piece) {
    s->out.n = 0;
    finish(s);
    *piece = (vcore_str) { s->out.p, s->out.n };
    return failed(s) ? VLM_ERR_MEMORY : VLM_OK;
}

void vtext_stream_reset(vtext_stream *s) {
    for (int i = 0; i < s->t->decoder.count; i++) {
        machine *m = &s->m[i];
        m->token.n = m->bytes.n = m->out.n = m->matched = 0;
        m->token.failed = m->bytes.failed = m->out.failed = false;
        m->dropped = m->held = 0;
        m->text = false;
    }
    s->out.n = 0;
    s->out.failed = false;
}

void vtext_stream_free(vtext_stream *s) {
    if (!s) return;
    free_buffers(s);
    vcore_free(s);
}
