/* SPDX-License-Identifier: MIT */
/* Added tokens: pieces of text that become one id whatever the model says, special ones among them.
 * Owns the list and the search for them; whose text it is (user's or template's) comes with each
 * call. */
#include "text/tokenizer/tok.h"

#include <stdlib.h>

/* ---- the list ------------------------------------------------------------------------------- */
vtext_added *vtext_added_find(const vtext_added_list *a, vcore_str content) {
    uint32_t i;
    return a->by_content && vcore_map_get(a->by_content, content, &i) ? &a->token[i] : NULL;
}

uint32_t vtext_added_next_id(const vlm_tokenizer *t) {
    uint32_t size = (uint32_t)t->model.vocab.count, next = size;
    for (size_t i = 0; i < t->added.count; i++)
        if (t->added.token[i].id >= next) next = t->added.token[i].id + 1;
    return next;
}

static vlm_status append(vlm_tokenizer *t, const vtext_added *token, uint32_t *next_id,
                         vlm_error *err) {
    vtext_added_list *a = &t->added;
    vtext_added copy = *token;
    if (!vtext_vocab_find(&t->model.vocab, token->content, &copy.id)) copy.id = (*next_id)++;
    if (copy.id > VTEXT_MAX_ID)
        return vcore_fail_limit(err, t->name, "added_tokens", VTEXT_MAX_ID, "ids");
    if (a->count == a->cap) {
        size_t cap = a->cap ? a->cap * 2 : 64;
        vtext_added *more = vcore_realloc_array(a->token, cap, sizeof *more);
        if (!more) return vcore_no_memory(err, "added tokens");
        a->token = more;
        a->cap = cap;
    }
    copy.content.p = vcore_arena_strndup(t->arena, token->content.p, token->content.n);
    if (!a->by_content) a->by_content = vcore_map_new(64);
    if (!copy.content.p || !a->by_content
        || !vcore_map_put(a->by_content, copy.content, (uint32_t)a->count))
        return vcore_no_memory(err, "added tokens");
    a->token[a->count++] = copy;
    return VLM_OK;
}

vlm_status vtext_added_add(vlm_tokenizer *t, const vtext_added *token, uint32_t *next_id,
                           vlm_error *err) {
    if (!token->content.n) return VLM_OK;
    if (token->content.n > VTEXT_MAX_ADDED_BYTES)
        return vcore_fail_limit(err, t->name, "added_tokens", VTEXT_MAX_ADDED_BYTES,
                                "bytes in a token");
    vtext_added *old = vtext_added_find(&t->added, token->content);
    if (!old) return append(t, token, next_id, err);
    old->lstrip = token->lstrip;
    old->rstrip = token->rstrip;
    old->single_word = token->single_word;
    old->normalized = token->normalized;
    old->special |= token->special;
    old->control |= token->control;
    return VLM_OK;
}

/* ---- the finders ---------------------------------------------------------------------------- */
typedef struct entry {
    vcore_str text;
    uint32_t index;
} entry;

static int by_text(const void *x, const void *y) {
    const entry *a = x, *b = y;
    int order = memcmp(a->text.p, b->text.p, a->text.n < b->text.n ? a->text.n : b->text.n);
    if (order) return order;
    if (a->text.n != b->text.n) return a->text.n < b->text.n ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

static bool build(vtext_finder *f, const vtext_added_list *a, bool normalized, vcore_arena *arena) {
    entry *e = vcore_alloc_array(a->count + 1, sizeof *e);
    f->text = vcore_arena_array(arena, a->count + 1, sizeof *f->text);
    f->index = vcore_arena_array(arena, a->count + 1, sizeof *f->index);
    if (!e || !f->text || !f->index) {
        vcore_free(e);
        return false;
    }
    for (size_t i = 0; i < a->count; i++)
        if (a->token[i].normalized == normalized && a->token[i].normal.n)
            e[f->count++] = (entry) { a->token[i].normal, (uint32_t)i };
    qsort(e, f->count, sizeof *e, by_text);
    for (size_t i = 0; i < f->count; i++) {
        f->text[i] = e[i].text;
        f->index[i] = e[i].index;
        f->first[(uint8_t)e[i].text.p[0] + 1]++;
    }
    for (int c = 0; c < 256; c++) f->first[c + 1] += f->first[c];
    vcore_free(e);
    return true;
}

/* What each normalised token looks like in normalised text. */
static vlm_status normalize_all(vlm_tokenizer *t, vlm_error *err) {
    vtext_text buffer[2] = { { 0 }, { 0 } };
    vlm_status status = VLM_OK;
    for (size_t i = 0; i < t->added.count && status == VLM_OK; i++) {
        vtext_added *token = &t->added.token[i];
        vtext_piece s = { token->content.p, token->content.n, NULL, NULL, 0 };
        token->normal = token->content;
        if (!token->normalized) continue;
        if (token->control) t->added.normal_control = true;
        status = vtext_normalize(&t->normalizer, s, buffer, &s, err);
        if (status == VLM_OK && s.n > 4 * VTEXT_MAX_ADDED_BYTES)
            status = vcore_fail_field(err, VLM_ERR_LIMIT, t->name, "added_tokens",
                                      "'%.60s' normalises to %zu bytes", token->content.p, s.n);
        if (status != VLM_OK) break;
        token->normal = (vcore_str) { vcore_arena_strndup(t->arena, s.p, s.n), s.n };
        if (s.n && !token->normal.p) status = vcore_no_memory(err, "added tokens");
    }
    vtext_text_free(&buffer[0]);
    vtext_text_free(&buffer[1]);
    return status;
}

vlm_status vtext_added_finish(vlm_tokenizer *t, vlm_error *err) {
    VTRY(normalize_all(t, err));
    if (build(&t->added.raw, &t->added, false, t->arena)
        && build(&t->added.normal, &t->added, true, t->arena))
        return VLM_OK;
    return vcore_no_memory(err, "added tokens");
}

void vtext_added_free(vtext_added_list *a) {
    vcore_free(a->token);
    vcore_map_free(a->by_content);
    *a = (vtext_added_list) { 0 };
}

/* ---- searching ------------------------------------------------------------------------------ */
static bool touches_user(vtext_user user, uint32_t begin, uint32_t end) {
    size_t low = 0, high = user.count; /* first range that ends behind begin */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (user.range[middle][1] > begin)
            high = middle;
        else
            low = middle + 1;
    }
    return low < user.count && user.range[low][0] < end;
}

/* First of the texts [low, high), all longer than `depth`, whose byte there is at least c. */
static uint32_t lower_bound(const vtext_finder *f, uint32_t low, uint32_t high, size_t depth,
                            int c) {
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uint8_t)f->text[middle].p[depth] < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token of the set at byte i of s: the sorted texts that agree so far are narrowed byte
 * by byte. */
static const vtext_added *longest_at(const vtext_added_list *a, const vtext_finder *f,
                                     vtext_piece s, vtext_user user, size_t i, size_t *length) {
    const vtext_added *best = NULL;
    uint8_t c = (uint8_t)s.p[i];
    uint32_t low = f->first[c], high = f->first[c + 1];
    for (size_t depth = 1; low < high; depth++) {
        for (; low < high && f->text[low].n == depth; low++) {
            const vtext_added *token = &a->token[f->index[low]];
            if (token->control && user.count
                && touches_user(user, vtext_piece_begin(s, i), vtext_piece_end(s, i + depth - 1)))
                continue;
            best = token;
            *length = depth;
        }
        if (i + depth == s.n) break;
        c = (uint8_t)s.p[i + depth];
        low = lower_bound(f, low, high, depth, c);
        high = lower_bound(f, low, high, depth, c + 1);
    }
    return best;
}

static size_t char_before(vtext_piece s, size_t end, uint32_t *cp) {
    size_t at = end - 1;
    while (at && ((uint8_t)s.p[at] & 0xC0) == 0x80) at--;
    vcore_utf8_decode(s.p + at, end - at, cp);
    return at;
}

static bool inside_word(vtext_piece s, size_t begin, size_t end) {
    uint32_t before = 0, behind = 0;
    if (begin) char_before(s, begin, &before);
    if (end < s.n) vcore_utf8_decode(s.p + end, s.n - end, &behind);
    return (begin && vtext_is_word(before)) || (end < s.n && vtext_is_word(behind));
}

const vtext_added *vtext_added_next(const vtext_added_list *a, const vtext_finder *set,
                                    vtext_piece s, vtext_user user, size_t *from, size_t floor,
                                    size_t *begin, size_t *end) {
    size_t length = 0;
    uint32_t cp;
    for (size_t i = *from; set->count && i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (set->first[c] == set->first[c + 1]) continue;
        const vtext_added *token = longest_at(a, set, s, user, i, &length);
        if (!token) continue;
        *begin = i;
        *end = *from = i + length;
        if (token->single_word && inside_word(s, *begin, *end)) {
            i = *end - 1;
            continue;
        }
        if (token->lstrip) {
            for (size_t at; *begin > floor; *begin = at) {
                at = char_before(s, *begin, &cp);
                if (!vtext_is_space(cp)) break;
            }
        }
        for (size_t n; token->rstrip && *end < s.n; *end += n) {
            n = vcore_utf8_decode(s.p + *end, s.n - *end, &cp);
            if (!vtext_is_space(cp)) break;
        }
        if (token->lstrip && *begin < floor) *begin = floor < *end ? floor : *end;
        return token;
    }
    *from = s.n;
    return NULL;
}
