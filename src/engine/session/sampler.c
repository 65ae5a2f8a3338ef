/* SPDX-License-Identifier: MIT */
/* Which token comes next. Owns penalties, filters and the random numbers; knows no model.
 *
 * Order, as in mlx-vlm: repetition, presence and frequency penalty on the logits of the last N tokens;
 * then top_p, min_p and top_k on the untempered probabilities; then one draw at the temperature. */
#include "engine/session/session.h"

#include <math.h>

typedef struct candidate {
    float logit;
    uint32_t id;
} candidate;

struct vengine_sampler {
    vlm_sampling how;
    uint32_t vocab;
    uint64_t state;        /* random numbers */
    candidate *heap;       /* [vocab]: tokens that come next, and after them those below `bound` */
    size_t left;           /* in the heap */
    float bound;
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

/* The first of the largest; the best of a block is found before its place, which seldom is asked for. */
static uint32_t argmax(const float *x, uint32_t n) {
    enum { BLOCK = 64 };
    uint32_t best = 0;
    while (best + 1 < n && isnan(x[best])) best++;
    for (uint32_t at = 0; at < n; at += BLOCK) {
        uint32_t end = n - at < BLOCK ? n : at + BLOCK;
        int better = 0;
        for (uint32_t i = at; i < end; i++) better |= x[i] > x[best];
        for (uint32_t i = at; better && i < end; i++)
            if (x[i] > x[best]) best = i;
    }
    return best;
}

/* e^x for x <= 0, relative error below 1e-6; e^-87 below that. */
static inline float exp_down(float x) {
    float t = x * 1.44269504f;
    t = t > -125 ? t : -125; /* NaN, too */
    int32_t whole = (int32_t)(t - 0.5f);
    float r = (t - (float)whole) * 0.693147181f, p = 0.00138888889f;
    p = p * r + 0.00833333333f;
    p = p * r + 0.0416666667f;
    p = p * r + 0.166666667f;
    p = p * r + 0.5f;
    p = p * r + 1;
    p = p * r + 1;
    int32_t bits = (whole + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* The sum of e^((x - top) / temperature). */
static double total_mass(const float *x, uint32_t n, float top, float temperature) {
    enum { BLOCK = 256 };
    float mass[BLOCK];
    double sum = 0;
    for (uint32_t at = 0; at < n; at += BLOCK) {
        uint32_t count = n - at < BLOCK ? n - at : BLOCK;
        for (uint32_t i = 0; i < count; i++) mass[i] = exp_down((x[at + i] - top) / temperature);
        for (uint32_t i = count; i < BLOCK; i++) mass[i] = 0;
        for (uint32_t half = BLOCK / 2; half; half /= 2)
            for (uint32_t i = 0; i < half; i++) mass[i] += mass[half + i];
        sum += mass[0];
    }
    return sum;
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

/* ---- tokens, best first ---- */
/* Those near the best one wait on the heap; seldom are more asked for. */
enum { NEAR = 8 };

static void fill_heap(vengine_sampler *s, const float *logits, bool near) {
    s->left = 0;
    for (uint32_t i = 0; i < s->vocab; i++)
        if (near ? logits[i] >= s->bound : logits[i] < s->bound)
            s->heap[s->left++] = (candidate) { logits[i], i };
    for (size_t i = s->left / 2; i-- > 0;) sift(s->heap, s->left, i);
}

static void begin(vengine_sampler *s, const float *logits, float top) {
    s->bound = top - NEAR;
    fill_heap(s, logits, true);
}

/* False behind the last one. */
static bool take(vengine_sampler *s, const float *logits, candidate *best) {
    if (!s->left && s->bound > -INFINITY) {
        fill_heap(s, logits, false);
        s->bound = -INFINITY;
    }
    if (!s->left) return false;
    *best = s->heap[0];
    s->heap[0] = s->heap[--s->left];
    sift(s->heap, s->left, 0);
    return true;
}

static bool has_filters(const vlm_sampling *how) {
    return (how->top_p > 0 && how->top_p < 1) || how->min_p > 0 || how->top_k > 0;
}

/* Moves the tokens that pass every filter to s->kept; returns how many. */
static size_t filter(vengine_sampler *s, const float *logits, float top) {
    const vlm_sampling *how = &s->how;
    double sum = total_mass(logits, s->vocab, top, 1);
    double p = how->top_p > 0 && how->top_p < 1 ? how->top_p : 2; /* 2: never reached */
    size_t most = how->top_k ? how->top_k : s->vocab, n = 0;
    double above = 0; /* mass of the tokens before this one */
    candidate best;
    while (n < most && take(s, logits, &best)) {
        double mass = exp((double)best.logit - top) / sum;
        if (n && (above >= p || mass < how->min_p * (1 / sum))) break;
        s->kept[n++] = best;
        above += mass;
    }
    return n;
}

/* One draw from the kept tokens. */
static uint32_t draw_kept(vengine_sampler *s, size_t kept, float top) {
    double sum = 0;
    for (size_t i = 0; i < kept; i++) sum += exp((s->kept[i].logit - top) / s->how.temperature);
    double at = draw(s) * sum;
    for (size_t i = 0; i < kept; i++) {
        at -= exp((s->kept[i].logit - top) / s->how.temperature);
        if (at < 0) return s->kept[i].id;
    }
    return s->kept[kept - 1].id;
}

/* One draw from all tokens. */
static uint32_t draw_any(vengine_sampler *s, const float *logits, uint32_t top) {
    double at = draw(s) * total_mass(logits, s->vocab, logits[top], s->how.temperature);
    candidate best = { .id = top };
    while (at >= 0) { /* behind the last one only by rounding */
        if (!take(s, logits, &best)) return top;
        at -= exp((best.logit - logits[top]) / s->how.temperature);
    }
    return best.id;
}

bool vengine_sampler_is_greedy(const vengine_sampler *s) {
    return s->how.temperature <= 0 && !has_penalties(&s->how);
}

uint32_t vengine_sampler_next(vengine_sampler *s, float *logits, const uint32_t *history, size_t n) {
    penalise(s, logits, history, n);
    uint32_t top = argmax(logits, s->vocab);
    if (s->how.temperature <= 0 || !isfinite(logits[top])) return top; /* no mass can be computed */
    begin(s, logits, logits[top]);
    if (!has_filters(&s->how)) return draw_any(s, logits, top);
    size_t kept = filter(s, logits, logits[top]);
    return kept ? draw_kept(s, kept, logits[top]) : top;
}
