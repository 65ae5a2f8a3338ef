/* SPDX-License-Identifier: MIT */
/* Reads the BPE model of a tokenizer.json: merges in both notations, options. */
#include "text/tokenizer/tok.h"

#include <stdio.h>

static bool split_merge(const vcore_json *entry, vcore_str part[2]) {
    if (vcore_json_kind_of(entry) == VCORE_JSON_ARRAY)
        return vcore_json_count(entry) == 2 && vcore_json_string(vcore_json_at(entry, 0), &part[0])
               && vcore_json_string(vcore_json_at(entry, 1), &part[1]);
    vcore_str s;
    if (!vcore_json_string(entry, &s)) return false;
    const char *space = s.n ? memchr(s.p, ' ', s.n) : NULL;
    if (!space || memchr(space + 1, ' ', s.n - (size_t)(space + 1 - s.p))) return false;
    part[0] = (vcore_str) { s.p, (size_t)(space - s.p) };
    part[1] = (vcore_str) { space + 1, s.n - part[0].n - 1 };
    return true;
}

static vlm_status fail_merge(vlm_error *err, const char *name, size_t i, const char *what) {
    char key[32];
    snprintf(key, sizeof key, "merges[%zu]", i);
    return vtext_model_fail(err, name, key, what);
}

static void put_merge(vtext_bpe *bpe, uint64_t pair, uint32_t rank, uint32_t id) {
    vtext_merge *m = vtext_bpe_merge_slot(bpe, pair);
    *m = (vtext_merge) { pair, rank, id };
}

/* Notes what a merge says of cutting words. An empty token on the left could end with anything. */
static void note_join(vtext_bpe *bpe, const vcore_str part[2]) {
    if (part[1].n < 3 || memcmp(part[1].p, vtext_space_mark, 3) != 0) return;
    if (part[0].n)
        bpe->joins[(uint8_t)part[0].p[part[0].n - 1]] = true;
    else
        bpe->cuts = false;
}

/* Words may be cut where unknown characters cannot hide the byte that counts: they do not vanish,
 * and what stands for them does not end like what joins. */
static void finish_cuts(vtext_bpe *bpe) {
    vcore_str unk = vtext_vocab_text(bpe->vocab, bpe->unk);
    bpe->cuts = bpe->cuts && !bpe->prefix.n && !bpe->suffix.n
                && vtext_vocab_find(bpe->vocab, (vcore_str) { vtext_space_mark, 3 }, NULL)
                && !(bpe->byte_fallback && bpe->joins['>'])
                && unk.n && !bpe->joins[(uint8_t)unk.p[unk.n - 1]];
}

/* The id of what two parts make. In most files it is the one behind that of the merge before. */
static bool find_joined(const vtext_bpe *bpe, const vcore_str part[2], vcore_buf *joined,
                        uint32_t *id) {
    vcore_str tail = { part[1].p + bpe->prefix.n, part[1].n - bpe->prefix.n };
    vcore_str guess = vtext_vocab_text(bpe->vocab, *id + 1);
    if (guess.p && guess.n == part[0].n + tail.n && memcmp(guess.p, part[0].p, part[0].n) == 0
        && memcmp(guess.p + part[0].n, tail.p, tail.n) == 0) {
        ++*id;
        return true;
    }
    joined->n = 0;
    vcore_buf_add(joined, part[0].p, part[0].n);
    vcore_buf_add(joined, tail.p, tail.n);
    return !joined->failed && vtext_vocab_find(bpe->vocab, (vcore_str) { joined->p, joined->n }, id);
}

/* *id: of the merge before, then of this one. */
static vlm_status load_merge(vtext_bpe *bpe, const vcore_json *entry, size_t i, vcore_buf *joined,
                             uint32_t *id, const char *name, vlm_error *err) {
    vcore_str part[2];
    uint32_t left, right;
    if (!split_merge(entry, part))
        return fail_merge(err, name, i, "must be \"a b\" or [\"a\", \"b\"]");
    if (!vtext_vocab_find(bpe->vocab, part[0], &left)
        || !vtext_vocab_find(bpe->vocab, part[1], &right))
        return fail_merge(err, name, i, "a token that is not in the vocabulary");
    if (part[1].n < bpe->prefix.n)
        return fail_merge(err, name, i, "shorter than continuing_subword_prefix");
    if (!find_joined(bpe, part, joined, id))
        return joined->failed
                   ? vcore_no_memory(err, "merges")
                   : fail_merge(err, name, i, "gives a token that is not in the vocabulary");
    put_merge(bpe, (uint64_t)left << 32 | right, (uint32_t)i, *id);
    note_join(bpe, part);
    return VLM_OK;
}

static vlm_status load_merges(vtext_bpe *bpe, const vcore_json *merges, const char *name,
                              vlm_error *err) {
    if (vcore_json_kind_of(merges) != VCORE_JSON_ARRAY)
        return vtext_model_fail(err, name, "merges", "must be an array");
    size_t n = vcore_json_count(merges), slots = 16;
    while (slots < n + n / 2) slots *= 2;
    bpe->merge = vcore_alloc_array(slots, sizeof *bpe->merge);
    if (!bpe->merge) return vcore_no_memory(err, "merges");
    bpe->mask = slots - 1;
    for (size_t i = 0; i < slots; i++) bpe->merge[i].pair = UINT64_MAX;
    vcore_buf joined = { 0 };
    uint32_t id = 0;
    vlm_status status = VLM_OK;
    bpe->cuts = true;
    for (size_t i = 0, rank = 0; i < n && status == VLM_OK; i++) {
        vcore_str line;
        const vcore_json *entry = vcore_json_at(merges, i);
        if (vcore_json_string(entry, &line) && line.n >= 8 && memcmp(line.p, "#version", 8) == 0)
            continue;
        status = load_merge(bpe, entry, rank++, &joined, &id, name, err);
    }
    vcore_buf_free(&joined);
    return status;
}

static vlm_status load_affix(vcore_str *out, const vcore_json *model, const char *key,
                             vtext_bpe *bpe, const char *name, vlm_error *err) {
    const vcore_json *v = vcore_json_get(model, key);
    vcore_str s;
    if (vcore_json_kind_of(v) == VCORE_JSON_NULL) return VLM_OK;
    if (!vcore_json_string(v, &s)) return vtext_model_fail(err, name, key, "must be a string or null");
    if (s.n > VTEXT_MAX_AFFIX) return vtext_model_fail(err, name, key, "is longer than 64 bytes");
    *out = (vcore_str) { vcore_arena_strndup(bpe->vocab->arena, s.p, s.n), s.n };
    return out->p ? VLM_OK : vcore_no_memory(err, key);
}

static vlm_status load_flag(bool *out, const vcore_json *model, const char *key, const char *name,
                            vlm_error *err) {
    const vcore_json *v = vcore_json_get(model, key);
    if (vcore_json_kind_of(v) == VCORE_JSON_NULL || vcore_json_bool(v, out)) return VLM_OK;
    return vtext_model_fail(err, name, key, "must be true, false or null");
}

static vlm_status load_unk(vtext_bpe *bpe, const vcore_json *model, const char *name,
                           vlm_error *err) {
    const vcore_json *v = vcore_json_get(model, "unk_token");
    vcore_str s;
    bpe->unk = VTEXT_NONE;
    if (vcore_json_kind_of(v) == VCORE_JSON_NULL) return VLM_OK;
    if (!vcore_json_string(v, &s)) return vtext_model_fail(err, name, "unk_token", "must be a string or null");
    bpe->unk_missing =
        !vtext_vocab_find(bpe->vocab, s, &bpe->unk); /* an error once it is needed */
    if (bpe->unk_missing) bpe->unk = VTEXT_NONE;
    return VLM_OK;
}

static void find_single_ids(vtext_bpe *bpe) {
    vtext_model_find_bytes(bpe->vocab, bpe->fallback_id);
    for (int i = 0; i < 256; i++) {
        char text[8];
        size_t n = vcore_utf8_encode(vtext_byte_char((uint8_t)i), text);
        if (!vtext_vocab_find(bpe->vocab, (vcore_str) { text, n }, &bpe->byte_id[i]))
            bpe->byte_id[i] = VTEXT_NONE;
        text[0] = (char)i;
        if (i < 128 && !vtext_vocab_find(bpe->vocab, (vcore_str) { text, 1 }, &bpe->ascii_id[i]))
            bpe->ascii_id[i] = VTEXT_NONE;
    }
}

vlm_status vtext_bpe_load(vtext_bpe *bpe, vtext_vocab *vocab, const vcore_json *model,
                          const char *name, vlm_error *err) {
    bpe->vocab = vocab;
    double dropout = 0;
    const vcore_json *v = vcore_json_get(model, "dropout");
    if (vcore_json_kind_of(v) != VCORE_JSON_NULL && !vcore_json_real(v, &dropout))
        return vtext_model_fail(err, name, "dropout", "must be a number or null");
    if (dropout != 0)
        return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, name, "model.dropout",
                                "merges at random are not supported");
    VTRY(vtext_model_load_vocab(vocab, vcore_json_get(model, "vocab"), name, err));
    VTRY(load_affix(&bpe->prefix, model, "continuing_subword_prefix", bpe, name, err));
    VTRY(load_affix(&bpe->suffix, model, "end_of_word_suffix", bpe, name, err));
    VTRY(load_flag(&bpe->fuse_unk, model, "fuse_unk", name, err));
    VTRY(load_flag(&bpe->byte_fallback, model, "byte_fallback", name, err));
    VTRY(load_flag(&bpe->ignore_merges, model, "ignore_merges", name, err));
    VTRY(load_unk(bpe, model, name, err));
    VTRY(load_merges(bpe, vcore_json_get(model, "merges"), name, err));
    find_single_ids(bpe);
    finish_cuts(bpe);
    return VLM_OK;
}

size_t vtext_bpe_bytes(const vtext_bpe *bpe) {
    return bpe->merge ? (bpe->mask + 1) * sizeof *bpe->merge : 0;
}

void vtext_bpe_free(vtext_bpe *bpe) {
    vcore_free(bpe->merge);
    *bpe = (vtext_bpe) { 0 };
}
