/* SPDX-License-Identifier: MIT */
/* The Unigram model: the tokens whose scores add up to the most, by Viterbi's algorithm, the first
 * found among equals. The sums are made in Hugging Face's order and its scores are read as it reads
 * them (as Python does, where a class hands the vocabulary over), because rounding decides between
 * the many equal ways through a run of one character. */
#include "text/tokenizer/tok.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double UNKNOWN_PENALTY = 10;

/* ---- words ---------------------------------------------------------------------------------- */
static bool best_room(vtext_scratch *s, size_t want) {
    if (want <= s->best_cap) return true;
    size_t cap = want < 256 ? 256 : want + want / 2;
    vtext_best *more = vcore_realloc_array(s->best, cap, sizeof *more);
    if (!more) return false;
    s->best = more;
    s->best_cap = cap;
    return true;
}

static bool improve(vtext_best *to, double score, uint32_t from, uint32_t id) {
    if (to->from != VTEXT_NONE && !(score > to->score)) return false;
    *to = (vtext_best) { score, from, id };
    return true;
}

/* Fills best[0..n]. False: an unknown character, and no token for it. */
static bool search(const vtext_unigram *u, vtext_best *best, const char *p, size_t n) {
    for (size_t i = 0; i <= n; i++) best[i].from = VTEXT_NONE;
    best[0] = (vtext_best) { 0, VTEXT_NONE, 0 };
    for (size_t at = 0, width; at < n; at += width) {
        uint32_t cp, node = 0;
        bool single = false;
        width = vcore_utf8_decode(p + at, n - at, &cp);
        for (size_t i = at; i < n; i++) {
            node = vtext_trie_child(&u->trie, node, (uint8_t)p[i]);
            if (node == VTEXT_NONE) break;
            uint32_t id = u->trie.node[node].id;
            if (id == VTEXT_NONE) continue;
            improve(&best[i + 1], u->score[id] + best[at].score, (uint32_t)at, id);
            single |= i + 1 == at + width;
        }
        if (!single && improve(&best[at + width], u->unknown + best[at].score, (uint32_t)at, u->unk)
            && u->unk == VTEXT_NONE)
            return false;
    }
    return true;
}

/* A run of unknown characters: one token, be it by chance a known one, or the run's bytes. */
static void push_unknown(const vtext_unigram *u, vtext_scratch *s, vcore_str run) {
    uint32_t id = u->unk;
    bool known = vtext_vocab_find(u->vocab, run, &id), bytes = !known && u->byte_fallback;
    for (size_t i = 0; i < run.n && bytes; i++)
        bytes = u->fallback_id[(uint8_t)run.p[i]] != VTEXT_NONE;
    if (!bytes) {
        vtext_scratch_push(s, id, (uint32_t)run.n);
        return;
    }
    for (size_t i = 0; i < run.n; i++)
        vtext_scratch_push(s, u->fallback_id[(uint8_t)run.p[i]], i ? 0 : (uint32_t)run.n);
}

/* Turns the links of the best way around, so that `from` is where the next token ends. */
static void turn_around(vtext_best *best, size_t n) {
    uint32_t next = VTEXT_NONE;
    for (uint32_t at = (uint32_t)n, before; at; at = before) {
        before = best[at].from;
        best[at].from = next;
        next = at;
    }
    best[0].from = next;
}

bool vtext_unigram_word(const vtext_unigram *u, vtext_scratch *s, const char *p, size_t n) {
    s->n = 0;
    if (!vtext_scratch_room(s, n) || !best_room(s, n + 1)) return false;
    if (!search(u, s->best, p, n)) {
        s->unknown = true;
        return true;
    }
    turn_around(s->best, n);
    size_t begin = 0, unknown = 0; /* bytes of the run of unknown characters before `begin` */
    for (uint32_t end = s->best[0].from; end != VTEXT_NONE; end = s->best[end].from) {
        uint32_t id = s->best[end].id;
        if (u->unk != VTEXT_NONE && id == u->unk) {
            unknown += end - begin;
        } else {
            if (unknown) push_unknown(u, s, (vcore_str) { p + begin - unknown, unknown });
            vtext_scratch_push(s, id, (uint32_t)(end - begin));
            unknown = 0;
        }
        begin = end;
    }
    if (unknown) push_unknown(u, s, (vcore_str) { p + begin - unknown, unknown });
    return true;
}

/* ---- loading -------------------------------------------------------------------------------- */
enum { POWERS = 309 }; /* of ten that a double holds */

/* A number as Rust's serde_json reads it: up to 64 bits of digits, then a multiplication or
 * division by a power of ten, so its last bit may differ from the nearest double's. */
static double read_digits(vcore_str text, const double power[POWERS]) {
    uint64_t digits = 0, more;
    int64_t exponent = 0, given = 0;
    bool point = false, full = false, negative = text.p[0] == '-', down = false;
    size_t i = negative;
    for (; i < text.n && text.p[i] != 'e' && text.p[i] != 'E'; i++) {
        if (text.p[i] == '.') {
            point = true;
            full = false;
            continue;
        }
        full = full || __builtin_mul_overflow(digits, 10, &more)
               || __builtin_add_overflow(more, (uint64_t)(text.p[i] - '0'), &more);
        if (!full) digits = more;
        exponent += full ? !point : -(int64_t)point;
    }
    if (i < text.n) i++;
    if (i < text.n && (text.p[i] == '-' || text.p[i] == '+')) down = text.p[i++] == '-';
    for (; i < text.n && given < 1000000; i++) given = given * 10 + (text.p[i] - '0');
    exponent += down ? -given : given;
    double value = (double)digits;
    for (; exponent <= -POWERS && value != 0; exponent += POWERS - 1) value /= power[POWERS - 1];
    if (value != 0)
        value = exponent < 0         ? value / power[-exponent]
                : exponent >= POWERS ? INFINITY
                                     : value * power[exponent];
    return negative ? -value : value;
}

static vlm_status fail_entry(vlm_error *err, const char *name, size_t i, const char *what) {
    char key[32];
    snprintf(key, sizeof key, "vocab[%zu]", i);
    return vtext_model_fail(err, name, key, what);
}

static vlm_status load_entry(vtext_unigram *u, vtext_vocab *vocab, const vcore_json *entry,
                             size_t i, const double power[POWERS], const char *name,
                             vlm_error *err) {
    vcore_str text, digits;
    const vcore_json *score = vcore_json_at(entry, 1);
    if (vcore_json_kind_of(entry) != VCORE_JSON_ARRAY || vcore_json_count(entry) != 2
        || !vcore_json_string(vcore_json_at(entry, 0), &text)
        || !vcore_json_real(score, &u->score[i]))
        return fail_entry(err, name, i, "must be a token and its score");
    if (!u->nearest && vcore_json_digits(score, &digits)) u->score[i] = read_digits(digits, power);
    if (!isfinite(u->score[i])) return fail_entry(err, name, i, "has a score that is not finite");
    if (i == 0 || u->score[i] - UNKNOWN_PENALTY < u->unknown)
        u->unknown = u->score[i] - UNKNOWN_PENALTY;
    return vtext_vocab_add(vocab, text, (uint32_t)i) ? VLM_OK : vcore_no_memory(err, "vocabulary");
}

static vlm_status load_vocab(vtext_unigram *u, vtext_vocab *vocab, const vcore_json *list,
                             const char *name, vlm_error *err) {
    size_t n = vcore_json_count(list);
    double power[POWERS];
    if (vcore_json_kind_of(list) != VCORE_JSON_ARRAY)
        return vtext_model_fail(err, name, "vocab", "must be an array");
    if (n > VTEXT_MAX_ID) return vcore_fail_limit(err, name, "model.vocab", VTEXT_MAX_ID, "tokens");
    VTRY(vtext_vocab_init(vocab, n, (uint32_t)n, err));
    u->score = vcore_alloc_array(n + 1, sizeof *u->score);
    if (!u->score) return vcore_no_memory(err, "scores");
    for (int i = 0; i < POWERS; i++) {
        char text[8];
        snprintf(text, sizeof text, "1e%d", i);
        power[i] = strtod(text, NULL); /* the nearest: pow() does not promise that */
    }
    for (size_t i = 0; i < n; i++)
        VTRY(load_entry(u, vocab, vcore_json_at(list, i), i, power, name, err));
    return VLM_OK;
}

vlm_status vtext_unigram_load(vtext_unigram *u, vtext_vocab *vocab, const vcore_json *model,
                              const char *name, vlm_error *err) {
    const vcore_json *v = vcore_json_get(model, "unk_id");
    int64_t unk = VTEXT_NONE;
    u->vocab = vocab;
    VTRY(load_vocab(u, vocab, vcore_json_get(model, "vocab"), name, err));
    if (vcore_json_kind_of(v) != VCORE_JSON_NULL
        && (!vcore_json_int(v, &unk) || unk < 0 || (uint64_t)unk >= vocab->count))
        return vtext_model_fail(err, name, "unk_id", "must be null or the index of a token");
    u->unk = (uint32_t)unk;
    v = vcore_json_get(model, "byte_fallback");
    if (v && !vcore_json_bool(v, &u->byte_fallback))
        return vtext_model_fail(err, name, "byte_fallback", "must be true or false");
    vtext_model_find_bytes(vocab, u->fallback_id);
    return vtext_trie_build(&u->trie, vocab, name, err);
}

size_t vtext_unigram_bytes(const vtext_unigram *u) {
    return vtext_trie_bytes(&u->trie) + (u->score ? u->vocab->cap + 1 : 0) * sizeof *u->score;
}

void vtext_unigram_free(vtext_unigram *u) {
    vtext_trie_free(&u->trie);
    vcore_free(u->score);
    *u = (vtext_unigram) { 0 };
}
