/* SPDX-License-Identifier: MIT */
/* A budget for thinking: counts the tokens between a start and an end, and says which tokens must come once there
 * are too many of them. Chooses nothing itself. */
#include "engine/session/session.h"

/* Ids of a marker; false: none, or too many of them. */
static bool encode(uint32_t *ids, size_t *n, const vlm_tokenizer *tokenizer, const char *text, vlm_status *status,
                   vlm_error *err) {
    vtext_ids got = { 0 };
    vtext_span span = { text, strlen(text), false };
    *status = vtext_encode(tokenizer, &span, 1, false, false, &got, err);
    *n = *status < 0 ? 0 : got.n;
    bool good = *n > 0 && *n <= VENGINE_MARKER;
    if (good) memcpy(ids, got.id, *n * sizeof *ids);
    vtext_ids_free(&got);
    return good;
}

static vlm_status take_markers(vengine_thinking *t, const vlm_tokenizer *tokenizer, const char *start,
                               const char *end, vlm_error *err) {
    vlm_status status;
    if (!encode(t->start, &t->n_start, tokenizer, start, &status, err))
        return status < 0 ? status : vcore_fail(err, VLM_ERR_ARGUMENT, "thinking_start: '%s': not one to %d tokens", start, VENGINE_MARKER);
    if (!encode(t->end, &t->n_end, tokenizer, end, &status, err))
        return status < 0 ? status : vcore_fail(err, VLM_ERR_ARGUMENT, "thinking_end: '%s': not one to %d tokens", end, VENGINE_MARKER);
    uint32_t line[VENGINE_MARKER];
    size_t n = 0;
    bool has_line = encode(line, &n, tokenizer, "\n", &status, NULL);
    if (status == VLM_ERR_MEMORY) return vcore_no_memory(err, "thinking budget");
    if (has_line) t->forced[t->n_forced++] = line[n - 1];
    memcpy(t->forced + t->n_forced, t->end, t->n_end * sizeof *t->end);
    t->n_forced += t->n_end;
    return VLM_OK;
}

/* The known markers whose end is a token of this vocabulary. */
static bool find_markers(const vlm_tokenizer *tokenizer, const char **start, const char **end) {
    uint32_t id;
    for (size_t i = 0; vtext_thinking_pair(i, start, end); i++)
        if (vtext_token_to_id(tokenizer, vcore_str_of(*end), &id)) return true;
    return false;
}

vlm_status vengine_thinking_init(vengine_thinking *t, const vlm_session_options *options,
                                 const vlm_tokenizer *tokenizer, vlm_error *err) {
    const char *start = options->thinking_start, *end = options->thinking_end;
    *t = (vengine_thinking) { .budget = options->thinking_budget };
    if (t->budget == 0) return VLM_OK;
    if (!start != !end)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "thinking_budget: thinking_start and thinking_end go together");
    if (!start && !find_markers(tokenizer, &start, &end))
        return vcore_fail(err, VLM_ERR_UNSUPPORTED,
                          "thinking_budget: the vocabulary has no end of thinking that is known; say "
                          "thinking_start and thinking_end");
    return take_markers(t, tokenizer, start, end, err);
}

static bool ends_with(const uint32_t *tokens, size_t n, const uint32_t *marker, size_t n_marker) {
    return n >= n_marker && memcmp(tokens + n - n_marker, marker, n_marker * sizeof *marker) == 0;
}

void vengine_thinking_begin(vengine_thinking *t, const uint32_t *tokens, size_t n) {
    t->within = t->due = false;
    t->count = t->given = 0;
    if (t->budget == 0) return;
    for (; n > 0; n--) { /* the last marker of the prompt says where it ends */
        if (ends_with(tokens, n, t->end, t->n_end)) return;
        if (!ends_with(tokens, n, t->start, t->n_start)) continue;
        t->within = true;
        return;
    }
}

void vengine_thinking_saw(vengine_thinking *t, const uint32_t *tokens, size_t n) {
    if (t->budget == 0) return;
    t->due = false;
    if (ends_with(tokens, n, t->start, t->n_start)) {
        t->within = true;
    } else if (ends_with(tokens, n, t->end, t->n_end)) {
        t->within = false;
        t->given = 0;
    } else if (t->within) {
        t->count++;
        t->due = t->count > t->budget && t->given < t->n_forced;
    }
}

bool vengine_thinking_forces(vengine_thinking *t, uint32_t *id) {
    if (!t->due) return false;
    *id = t->forced[t->given++];
    return true;
}
