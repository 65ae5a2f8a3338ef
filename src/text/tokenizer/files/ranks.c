/* SPDX-License-Identifier: MIT */
/* Vocabularies of bytes by rank: tiktoken files (a line "<base64> <rank>" per token) and Mistral's
 * tekken.json. Owns base64. */
#include "text/tokenizer/files/files.h"

#include <stdio.h>

/* ---- base64 ---------------------------------------------------------------------------------- */
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* out: room for s.n / 4 * 3. False: no base64. */
static bool decode(vcore_str s, char *out, size_t *n) {
    *n = 0;
    if (s.n % 4) return false;
    for (size_t i = 0; i < s.n; i += 4) {
        int pads = s.p[i + 3] != '=' ? 0 : s.p[i + 2] != '=' ? 1 : 2;
        uint32_t bits = 0;
        if (pads && i + 4 != s.n) return false;
        for (int k = 0; k < 4 - pads; k++) {
            int d = digit(s.p[i + (size_t)k]);
            if (d < 0) return false;
            bits |= (uint32_t)d << (18 - 6 * k);
        }
        for (int k = 0; k < 3 - pads; k++) out[(*n)++] = (char)(bits >> (16 - 8 * k));
    }
    return true;
}

void vtext_put_base64(vcore_buf *out, const char *key, vcore_str bytes) {
    vcore_buf text = { 0 };
    for (size_t i = 0; i < bytes.n; i += 3) {
        size_t left = bytes.n - i < 3 ? bytes.n - i : 3;
        uint32_t bits = 0;
        for (size_t k = 0; k < left; k++) bits |= (uint32_t)(uint8_t)bytes.p[i + k] << (16 - 8 * k);
        char quad[4] = { '=', '=', '=', '=' };
        for (size_t k = 0; k <= left; k++) quad[k] = alphabet[bits >> (18 - 6 * k) & 63];
        vcore_buf_add(&text, quad, 4);
    }
    if (text.failed) out->failed = true;
    vcore_json_put_str(out, key, (vcore_str) { text.p ? text.p : "", text.n });
    vcore_buf_free(&text);
}

/* Sets the token of a rank from its base64. where: what has it, for errors. */
static vlm_status add(vtext_pieces *p, uint64_t rank, vcore_str base64, const char *name,
                      const char *where, vlm_error *err) {
    char bytes[VTEXT_MAX_PIECE_BYTES + 3];
    size_t n;
    if (base64.n > (VTEXT_MAX_PIECE_BYTES + 2) / 3 * 4)
        return vcore_fail_limit(err, name, where, VTEXT_MAX_PIECE_BYTES, "bytes in a token");
    if (!base64.n || !decode(base64, bytes, &n) || !n)
        return vcore_fail_field(err, VLM_ERR_FORMAT, name, where, "must be base64 of a token");
    if (rank > VTEXT_MAX_ID) return vcore_fail_limit(err, name, where, VTEXT_MAX_ID, "ranks");
    if (!p->arena) p->arena = vcore_arena_new();
    vcore_str copy = { p->arena ? vcore_arena_strndup(p->arena, bytes, n) : NULL, n };
    if (!copy.p) return vcore_no_memory(err, "vocabulary");
    return vtext_pieces_set(p, (uint32_t)rank, copy, err);
}

/* ---- tiktoken -------------------------------------------------------------------------------- */
/* A line without its end; moves *at behind it. */
static vcore_str line_at(const char *p, size_t n, size_t *at) {
    const char *start = p + *at, *end = memchr(start, '\n', n - *at);
    size_t length = end ? (size_t)(end - start) : n - *at;
    *at += length + (end != NULL);
    while (length && (start[length - 1] == '\r' || start[length - 1] == ' ')) length--;
    return (vcore_str) { start, length };
}

static bool split_line(vcore_str line, vcore_str *base64, uint64_t *rank) {
    const char *blank = line.n ? memchr(line.p, ' ', line.n) : NULL;
    if (!blank) return false;
    *base64 = (vcore_str) { line.p, (size_t)(blank - line.p) };
    const char *c = blank + 1, *end = line.p + line.n;
    if (c == end || end - c > 10) return false;
    for (*rank = 0; c < end; c++) {
        if (*c < '0' || *c > '9') return false;
        *rank = *rank * 10 + (uint64_t)(*c - '0');
    }
    return true;
}

bool vtext_is_tiktoken(const char *p, size_t n) {
    size_t at = 0, bytes;
    uint64_t rank;
    vcore_str base64;
    char out[VTEXT_MAX_PIECE_BYTES + 3];
    vcore_str line = n ? line_at(p, n, &at) : (vcore_str) { NULL, 0 };
    return split_line(line, &base64, &rank) && base64.n <= (VTEXT_MAX_PIECE_BYTES + 2) / 3 * 4
           && decode(base64, out, &bytes);
}

static vlm_status read_line(vtext_pieces *out, vcore_str line, size_t number, const char *name,
                            vlm_error *err) {
    char where[32];
    vcore_str base64;
    uint64_t rank;
    snprintf(where, sizeof where, "line %zu", number);
    if (split_line(line, &base64, &rank)) return add(out, rank, base64, name, where, err);
    return vcore_fail_field(err, VLM_ERR_FORMAT, name, where,
                            "must be a token in base64, a blank and a rank");
}

vlm_status vtext_tiktoken_parse(vtext_pieces *out, const char *p, size_t n, const char *name,
                                vlm_error *err) {
    vlm_status status = VLM_OK;
    *out = (vtext_pieces) { 0 };
    for (size_t at = 0, number = 1; at < n && status == VLM_OK; number++) {
        vcore_str line = line_at(p, n, &at);
        if (line.n) status = read_line(out, line, number, name, err);
    }
    if (status == VLM_OK && !out->count)
        status = vcore_fail_field(err, VLM_ERR_FORMAT, name, NULL, "has no tokens");
    if (status < 0) vtext_pieces_free(out);
    return status;
}

/* ---- tekken ---------------------------------------------------------------------------------- */
/* An optional count of config: *out keeps its value where there is none. */
static vlm_status count_of(int64_t *out, const vcore_json *config, const char *key,
                           const char *name, vlm_error *err) {
    const vcore_json *v = vcore_json_get(config, key);
    if (vcore_json_kind_of(v) == VCORE_JSON_NULL) return VLM_OK;
    if (vcore_json_int(v, out) && *out >= 0 && *out <= VTEXT_MAX_ID + 1) return VLM_OK;
    char where[64];
    snprintf(where, sizeof where, "config.%s", key);
    return vcore_fail_field(err, VLM_ERR_FORMAT, name, where, "must be an integer in [0, %d]",
                            VTEXT_MAX_ID + 1);
}

/* What a file without "special_tokens" has (the first releases of the format). */
static const char *const first_special[] = {
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
};

/* The ranks must be 0, 1, 2, ... in any order. */
static vlm_status read_special(vtext_tekken *t, const vcore_json *list, const char *name,
                               vlm_error *err) {
    size_t n = vcore_json_count(list);
    for (size_t i = 0; i < n; i++) {
        const vcore_json *entry = vcore_json_at(list, i);
        int64_t rank;
        vcore_str text;
        char where[48];
        snprintf(where, sizeof where, "special_tokens[%zu]", i);
        if (!vcore_json_int(vcore_json_get(entry, "rank"), &rank)
            || !vcore_json_string(vcore_json_get(entry, "token_str"), &text) || !text.n)
            return vcore_fail_field(err, VLM_ERR_FORMAT, name, where,
                                    "must have an integer \"rank\" and a string \"token_str\"");
        if (rank < 0 || rank >= (int64_t)n || t->special[rank].p)
            return vcore_fail_field(err, VLM_ERR_FORMAT, name, where,
                                    "the ranks must be 0, 1, 2, ... without gaps");
        t->special[rank] = text;
    }
    return VLM_OK;
}

static vlm_status read_specials(vtext_tekken *t, const vcore_json *root, const char *name,
                                vlm_error *err) {
    const vcore_json *list = vcore_json_get(root, "special_tokens");
    bool given = vcore_json_kind_of(list) != VCORE_JSON_NULL;
    size_t n_first = sizeof first_special / sizeof first_special[0];
    int64_t n = given ? (int64_t)vcore_json_count(list) : (int64_t)n_first, total = n;
    if (given && vcore_json_kind_of(list) != VCORE_JSON_ARRAY)
        return vcore_fail_field(err, VLM_ERR_FORMAT, name, "special_tokens", "must be an array");
    VTRY(count_of(&total, vcore_json_get(root, "config"), "default_num_special_tokens", name, err));
    if (total < n || total > VTEXT_MAX_ID)
        return vcore_fail_field(err, VLM_ERR_FORMAT, name, "config.default_num_special_tokens",
                                "there are %lld special tokens, it says %lld", (long long)n,
                                (long long)total);
    t->special = vcore_alloc_array((size_t)total + 1, sizeof *t->special);
    if (!t->special) return vcore_no_memory(err, "special tokens");
    t->n_special = (uint32_t)total;
    if (given) return read_special(t, list, name, err);
    for (size_t i = 0; i < n_first; i++) t->special[i] = vcore_str_of(first_special[i]);
    return VLM_OK;
}

static vlm_status read_tekken(vtext_tekken *t, const vcore_json *root, const char *name,
                              vlm_error *err) {
    const vcore_json *config = vcore_json_get(root, "config"),
                     *vocab = vcore_json_get(root, "vocab");
    int64_t size = -1;
    if (!vcore_json_string(vcore_json_get(config, "pattern"), &t->pattern))
        return vcore_fail_field(err, VLM_ERR_FORMAT, name, "config.pattern", "must be a string");
    if (vcore_json_kind_of(vocab) != VCORE_JSON_ARRAY)
        return vcore_fail_field(err, VLM_ERR_FORMAT, name, "vocab", "must be an array");
    VTRY(read_specials(t, root, name, err));
    VTRY(count_of(&size, config, "default_vocab_size", name, err));
    size_t n = vcore_json_count(vocab);
    if (size >= 0 && size < t->n_special)
        return vcore_fail_field(err, VLM_ERR_FORMAT, name, "config.default_vocab_size",
                                "is less than the number of special tokens");
    if (size >= 0 && n > (size_t)size - t->n_special) n = (size_t)size - t->n_special;
    for (size_t i = 0; i < n; i++) {
        char where[48];
        vcore_str base64;
        snprintf(where, sizeof where, "vocab[%zu].token_bytes", i);
        if (!vcore_json_string(vcore_json_get(vcore_json_at(vocab, i), "token_bytes"), &base64))
            return vcore_fail_field(err, VLM_ERR_FORMAT, name, where, "must be a string");
        VTRY(add(&t->pieces, i, base64, name, where, err));
    }
    return VLM_OK;
}

vlm_status vtext_tekken_parse(vtext_tekken *out, const vcore_json *root, const char *name,
                              vlm_error *err) {
    *out = (vtext_tekken) { 0 };
    vlm_status status = read_tekken(out, root, name, err);
    if (status < 0) vtext_tekken_free(out);
    return status;
}

void vtext_tekken_free(vtext_tekken *t) {
    vtext_pieces_free(&t->pieces);
    vcore_free(t->special);
    *t = (vtext_tekken) { 0 };
}
