/* SPDX-License-Identifier: MIT */
/* Decoding: the text of tokens flows through a sequence of small machines, one per decoder of the
 * file. A machine keeps back only what later tokens can still change, so the same code decodes at
 * once and as a stream, and what a stream gives, joined, is the whole. Text moves in whole
 * characters. */
#include "text/tokenizer/tok.h"

typedef struct machine {
    vcore_buf token; /* ByteLevel, ByteFallback: the text of the token so far */
    vcore_buf bytes; /* ByteLevel: an unfinished character; ByteFallback: a run of byte tokens */
    vcore_buf out;   /* what it hands on */
    size_t matched;  /* Replace: bytes of the pattern matched so far */
    uint64_t dropped, held; /* Strip: in front; at the back, perhaps to be dropped */
    bool text;              /* Strip: past the front; Join, Metaspace: past the first token */
} machine;

struct vtext_stream {
    const vlm_tokenizer *t;
    bool skip_special;
    machine m[VTEXT_MAX_STEPS];
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
    for (size_t i = 0; i < n; i++) {
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
    machine *m = &s->m[at];
    size_t n = m->matched;
    m->matched = 0;
    if (n) feed(s, at + 1, s->t->decoder.step[at].pattern.p, n);
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
    case VTEXT_DECODE_BYTE_LEVEL:
    case VTEXT_DECODE_BYTE_FALLBACK: vcore_buf_add(&s->m[at].token, p, n); break;
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
        if (kind == VTEXT_DECODE_BYTE_LEVEL || kind == VTEXT_DECODE_FUSE
            || kind == VTEXT_DECODE_JOIN)
            end_token(s, at + 1);
    }
}

/* Text of a token, as the decoders get it; p NULL: it gives none. */
static vcore_str token_text(const vlm_tokenizer *t, uint32_t id, bool skip_special) {
    uint32_t added = id < t->vocab_size ? t->added_by_id[id] : 0;
    if (!added) return vtext_vocab_text(&t->model.vocab, id);
    if (skip_special && t->added.token[added - 1].special) return (vcore_str) { NULL, 0 };
    return t->added.token[added - 1].normal;
}

static void push(vtext_stream *s, uint32_t id) {
    vcore_str text = token_text(s->t, id, s->skip_special);
    if (!text.p) return;
    if (s->t->decoder.count == 1 && s->t->decoder.step[0].kind == VTEXT_DECODE_JOIN) {
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

/* ---- loading -------------------------------------------------------------------------------- */
typedef struct loading {
    vtext_decoder *d;
    vcore_arena *arena;
} loading;

static vlm_status load_replace(struct vtext_decode_step *step, const vcore_json *v,
                               const char *where, vcore_arena *arena, vlm_error *err) {
    vtext_pattern pattern;
    VTRY(vtext_pattern_parse(&pattern, vcore_json_get(v, "pattern"), where, arena, err));
    if (pattern.match || pattern.regex)
        return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, where, "pattern",
                                "only a literal can be replaced");
    step->pattern = pattern.literal;
    step->fail = vcore_arena_array(arena, step->pattern.n + 1, sizeof *step->fail);
    if (!step->fail) return vcore_no_memory(err, where);
    for (uint32_t i = 1, k = 0; i < step->pattern.n;
         i++) { /* fail[n]: longest border of the first n bytes */
        while (k && step->pattern.p[k] != step->pattern.p[i]) k = step->fail[k];
        k += step->pattern.p[k] == step->pattern.p[i];
        step->fail[i + 1] = k;
    }
    return vtext_get_string(&step->content, v, "content", where, arena, err);
}

static vlm_status load_char(vcore_str *out, const vcore_json *v, const char *key, const char *where,
                            vcore_arena *arena, vlm_error *err) {
    uint32_t cp;
    VTRY(vtext_get_string(out, v, key, where, arena, err));
    if (out->n && vcore_utf8_decode(out->p, out->n, &cp) == out->n) return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_FORMAT, where, key, "must be one character");
}

static vlm_status load_strip(struct vtext_decode_step *step, const vcore_json *v, const char *where,
                             vcore_arena *arena, vlm_error *err) {
    int64_t start, stop;
    VTRY(load_char(&step->content, v, "content", where, arena, err));
    if (!vcore_json_int(vcore_json_get(v, "start"), &start) || start < 0
        || !vcore_json_int(vcore_json_get(v, "stop"), &stop) || stop < 0)
        return vcore_fail_field(err, VLM_ERR_FORMAT, where, NULL,
                                "start and stop must be integers, 0 or more");
    step->start = (uint64_t)start;
    step->stop = (uint64_t)stop;
    return VLM_OK;
}

static vlm_status load_metaspace(struct vtext_decode_step *step, const vcore_json *v,
                                 const char *where, vcore_arena *arena, vlm_error *err) {
    vcore_str scheme;
    VTRY(load_char(&step->content, v, "replacement", where, arena, err));
    VTRY(vtext_get_bool(&step->prepended, v, "add_prefix_space", true, where, err));
    if (vcore_json_string(vcore_json_get(v, "prepend_scheme"), &scheme))
        step->prepended = !vcore_str_eq(scheme, vcore_str_of("never"));
    return VLM_OK;
}

static vlm_status load_step(void *user, const vcore_json *v, vcore_str type, const char *where,
                            vlm_error *err) {
    static const char *const name[] = { "ByteLevel", "ByteFallback", "Fuse",
                                        "Strip",     "Replace",      "Metaspace" };
    loading *l = user;
    struct vtext_decode_step *step = &l->d->step[l->d->count];
    size_t kind = 0;
    while (kind < sizeof name / sizeof *name && !vcore_str_eq(type, vcore_str_of(name[kind])))
        kind++;
    if (kind == sizeof name / sizeof *name) return vtext_unknown_type(type, where, err);
    if (l->d->count == VTEXT_MAX_STEPS) return vtext_too_many(where, err);
    step->kind = (vtext_decode_kind)kind;
    if (step->kind == VTEXT_DECODE_REPLACE) VTRY(load_replace(step, v, where, l->arena, err));
    if (step->kind == VTEXT_DECODE_STRIP) VTRY(load_strip(step, v, where, l->arena, err));
    if (step->kind == VTEXT_DECODE_METASPACE) VTRY(load_metaspace(step, v, where, l->arena, err));
    l->d->count++;
    return VLM_OK;
}

vlm_status vtext_decoder_load(vtext_decoder *d, const vcore_json *v, const char *name,
                              vcore_arena *arena, vlm_error *err) {
    loading l = { d, arena };
    VTRY(vtext_each_step(v, "decoders", "decoder", name, load_step, &l, err));
    if (vcore_json_kind_of(v) == VCORE_JSON_NULL) d->step[d->count++].kind = VTEXT_DECODE_JOIN;
    return VLM_OK;
}
