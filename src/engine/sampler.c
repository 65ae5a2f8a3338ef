/* SPDX-License-Identifier: MIT */
/* Which token comes next. Owns penalties, filters and the random numbers; knows no model.
 *
 * Order, as in mlx-vlm: repetition, presence and frequency penalty on the logits of the last N tokens;
 * then top_p, min_p and top_k on the untempered probabilities; then one draw at the temperature. */
#include "engine/engine.h"

#include <math.h>

typedef struct candidate {
    float logit;
    uint32_t id;
} candidate;

struct vengine_sampler {
    vlm_sampling how;
    uint32_t vocab;
    uint64_t state;        /* random numbers */
    candidate *heap;       /* [vocab] */
    candidate *kept;       /* [vocab], best first */
    uint64_t *seen;        /* [vocab]: the last call whose window held the token; with penalties only */
    uint64_t calls;
};

static bool has_repetition(const vlm_sampling *how) {
    return how->repetition_penalty > 0 && how->repetition_penalty != 1;
}

static bool has_penalties(const vlm_sampling *how) {
    return has_repetition(how) || how->presence_penalty != 0 || how->frequency_penalty != 0;
}

vlm_status vengine_sampler_new(vengine_sampler **out, const vlm_sampling *how, uint32_t vocab,
                               vlm_error *err) {
    *out = NULL;
    const float values[] = { how->temperature, how->top_p, how->min_p, how->repetition_penalty,
                             how->presence_penalty, how->frequency_penalty };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        if (!isfinite(values[i]))
            return vcore_fail(err, VLM_ERR_ARGUMENT, "sampling: a value is not finite");
    if (how->temperature < 0 || how->top_p < 0 || how->top_p > 1 || how->min_p < 0 ||
        how->min_p > 1 || how->repetition_penalty < 0)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "sampling: a value is out of its range");
    vengine_sampler *s = vcore_alloc(sizeof *s);
    if (!s) return vcore_no_memory(err, "sampler");
    s->how = *how;
    if (s->how.penalty_window == 0) s->how.penalty_window = 20;
    s->vocab = vocab;
    s->state = how->seed;
    bool sample = how->temperature > 0, penalties = has_penalties(how);
    if (sample) s->heap = vcore_alloc_array(vocab, sizeof *s->heap);
    if (sample) s->kept = vcore_alloc_array(vocab, sizeof *s->kept);
    if (penalties) s->seen = vcore_alloc_array(vocab, sizeof *s->seen);
    if ((sample && (!s->heap || !s->kept)) || (penalties && !s->seen)) {
        vengine_sampler_free(s);
        return vcore_no_memory(err, "sampler");
    }
    *out = s;
    return VLM_OK;
}

void vengine_sampler_free(vengine_sampler *s) {
    if (!s) return;
    vcore_free(s->heap);
    vcore_free(s->kept);
    vcore_free(s->seen);
    vcore_free(s);
}

/* splitmix64; 53 bits of it as a number in [0, 1). */
static double draw(vengine_sampler *s) {
    uint64_t z = s->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static void penalise(vengine_sampler *s, float *logits, const uint32_t *history, size_t n) {
    const vlm_sampling *how = &s->how;
    if (!has_penalties(how)) return;
    bool repetition = has_repetition(how);
    s->calls++;
    size_t first = n > how->penalty_window ? n - how->penalty_window : 0;
    for (size_t i = first; i < n; i++) {
        uint32_t id = history[i];
        if (id >= s->vocab) continue;
        if (s->seen[id] != s->calls) { /* once per distinct token */
            s->seen[id] = s->calls;
            if (repetition)
                logits[id] = logits[id] < 0 ? logits[id] * how->repetition_penalty
                                            : logits[id] / how->repetition_penalty;
            logits[id] -= how->presence_penalty;
        }
        logits[id] -= how->frequency_penalty;
    }
}

static uint32_t argmax(const float *x, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

/* Higher logit first, then lower id. */
static bool before(candidate a, candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sift(candidate *heap, size_t n, size_t i) {
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n) return;
        if (child + 1 < n && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], heap[i])) return;
        candidate t = heap[i];
        heap[i] = heap[child];
        heap[child] = t;
        i = child;
    }
}

/* Moves the tokens that pass every filter to s->kept, best first; returns how many. Tokens come off a
 * heap, so that a narrow nucleus of a large vocabulary costs little. */
static size_t filter(vengine_sampler *s, const float *logits) {
    const vlm_sampling *how = &s->how;
    float top = logits[argmax(logits, s->vocab)];
    double sum = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        s->heap[i] = (candidate) { logits[i], i };
        sum += exp((double)logits[i] - top);
    }
    for (size_t i = s->vocab / 2; i-- > 0;) sift(s->heap, s->vocab, i);
    double p = how->top_p > 0 && how->top_p < 1 ? how->top_p : 2; /* 2: never reached */
    size_t most = how->top_k ? how->top_k : s->vocab, n = 0, left = s->vocab;
    double above = 0; /* mass of the tokens before this one */
    while (left && n < most) {
        candidate best = s->heap[0];
        double mass = exp((double)best.logit - top) / sum;
        if (n && (above >= p || mass < how->min_p * (1 / sum))) break;
        s->kept[n++] = best;
        above += mass;
        s->heap[0] = s->heap[--left];
        sift(s->heap, left, 0);
    }
    return n;
}

uint32_t vengine_sampler_next(vengine_sampler *s, float *logits, const uint32_t *history, size_t n) {
    penalise(s, logits, history, n);
    if (s->how.temperature <= 0) return argmax(logits, s->vocab);
    size_t kept = filter(s, logits);
    double top = s->kept[0].logit, sum = 0;
    for (size_t i = 0; i < kept; i++) sum += exp((s->kept[i].logit - top) / s->how.temperature);
    double at = draw(s) * sum;
    for (size_t i = 0; i < kept; i++) {
        at -= exp((s->kept[i].logit - top) / s->how.temperature);
        if (at < 0) return s->kept[i].id;
    }
    return s->kept[kept - 1].id;
}
