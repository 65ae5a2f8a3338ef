/* SPDX-License-Identifier: MIT */
/* Byte buffers, the string map, and near names. Owns no encoding: utf8.c knows characters. */
#include "core/core.h"

#include <stdio.h>
#include <sys/random.h>

void vlm_string_free(char *string) {
    vcore_free(string);
}

/* ---- growing buffer -------------------------------------------------------------------------- */
/* Room for n more bytes and the NUL. */
static bool reserve(vcore_buf *b, size_t n) {
    size_t need;
    if (b->failed) return false;
    if (!vcore_add(b->n, n, &need) || !vcore_add(need, 1, &need)) return !(b->failed = true);
    if (need <= b->cap) return true;
    size_t cap = b->cap < 32 ? 64 : b->cap > SIZE_MAX / 2 ? need : b->cap * 2;
    if (cap < need) cap = need;
    char *p = vcore_realloc_array(b->p, cap, 1);
    if (!p) return !(b->failed = true);
    b->p = p;
    b->cap = cap;
    return true;
}

void vcore_buf_add(vcore_buf *b, const void *p, size_t n) {
    if (!reserve(b, n)) return;
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void vcore_buf_puts(vcore_buf *b, const char *s) {
    vcore_buf_add(b, s, strlen(s));
}

void vcore_buf_printf(vcore_buf *b, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0) {
        b->failed = true;
        return;
    }
    if (!reserve(b, (size_t)n)) return;
    va_start(args, fmt);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, args);
    va_end(args);
    b->n += (size_t)n;
}

void vcore_buf_free(vcore_buf *b) {
    vcore_free(b->p);
    *b = (vcore_buf) { 0 };
}

char *vcore_buf_take(vcore_buf *b) {
    char *p = NULL;
    if (!b->failed && reserve(b, 0)) {
        p = b->p;
        p[b->n] = 0;
        b->p = NULL;
    }
    vcore_buf_free(b);
    return p;
}

/* ---- keyed hash ------------------------------------------------------------------------------ */
uint64_t vcore_hash_seed(void) {
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
        seed = (uint64_t)(uintptr_t)&seed; /* stack addresses are randomised, too */
    return seed;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 u128;
    u128 product = (u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t vcore_hash(uint64_t seed, vcore_str s) {
    const uint64_t k = 0x9E3779B97F4A7C15u; /* odd, bits well spread: 2^64 over the golden ratio */
    uint64_t h = mix(seed ^ s.n, k), word;
    while (s.n >= 8) {
        memcpy(&word, s.p, 8);
        h = mix(h ^ word, k ^ seed);
        s.p += 8;
        s.n -= 8;
    }
    word = 0;
    if (s.n) memcpy(&word, s.p, s.n);
    return mix(h ^ word, k);
}

/* ---- map: open addressing, linear probing, at most half full --------------------------------- */
typedef struct slot {
    vcore_str key; /* p is NULL in a free slot */
    uint32_t hash; /* high half of the hash: spares most comparisons */
    uint32_t value;
} slot;

struct vcore_map {
    vcore_arena *keys;
    slot *slots;
    size_t count, mask;
    uint64_t seed;
};

vcore_map *vcore_map_new(size_t expected) {
    size_t size = 16;
    while (size / 2 < expected && size <= SIZE_MAX / 4) size *= 2;
    vcore_map *m = vcore_alloc(sizeof *m);
    if (!m) return NULL;
    m->keys = vcore_arena_new();
    m->slots = vcore_alloc_array(size, sizeof *m->slots);
    m->mask = size - 1;
    m->seed = vcore_hash_seed();
    if (m->keys && m->slots) return m;
    vcore_map_free(m);
    return NULL;
}

/* The slot that holds key, or the free slot where it would go. */
static slot *map_slot(const vcore_map *m, vcore_str key, uint64_t hash) {
    size_t i = hash & m->mask;
    for (; m->slots[i].key.p; i = (i + 1) & m->mask)
        if (m->slots[i].hash == (uint32_t)(hash >> 32) && vcore_str_eq(m->slots[i].key, key)) break;
    return &m->slots[i];
}

static bool map_grow(vcore_map *m) {
    vcore_map bigger = *m;
    size_t size = (m->mask + 1) * 2;
    bigger.slots = vcore_alloc_array(size, sizeof *m->slots);
    bigger.mask = size - 1;
    if (!bigger.slots) return false;
    for (size_t i = 0; i <= m->mask; i++) {
        const slot *s = &m->slots[i];
        if (s->key.p) *map_slot(&bigger, s->key, vcore_hash(m->seed, s->key)) = *s;
    }
    vcore_free(m->slots);
    *m = bigger;
    return true;
}

bool vcore_map_put(vcore_map *m, vcore_str key, uint32_t value) {
    if (m->count >= (m->mask + 1) / 2 && !map_grow(m)) return false;
    uint64_t hash = vcore_hash(m->seed, key);
    slot *s = map_slot(m, key, hash);
    if (!s->key.p) {
        char *copy = vcore_arena_strndup(m->keys, key.p, key.n);
        if (!copy) return false;
        *s = (slot) { { copy, key.n }, (uint32_t)(hash >> 32), 0 };
        m->count++;
    }
    s->value = value;
    return true;
}

bool vcore_map_get(const vcore_map *m, vcore_str key, uint32_t *value) {
    const slot *s = map_slot(m, key, vcore_hash(m->seed, key));
    if (!s->key.p) return false;
    if (value) *value = s->value;
    return true;
}

size_t vcore_map_count(const vcore_map *m) {
    return m->count;
}

size_t vcore_map_bytes(const vcore_map *m) {
    return m ? sizeof *m + vcore_arena_bytes(m->keys) + (m->mask + 1) * sizeof *m->slots : 0;
}

void vcore_map_free(vcore_map *m) {
    if (!m) return;
    vcore_arena_free(m->keys);
    vcore_free(m->slots);
    vcore_free(m);
}

/* ---- near names ------------------------------------------------------------------------------ */
enum { NEAR_BYTES = 63, NEAR_MAX = 8 };

/* Levenshtein distance in bytes; both at most NEAR_BYTES long. */
static unsigned distance(vcore_str a, vcore_str b) {
    unsigned row[NEAR_BYTES + 1];
    for (size_t j = 0; j <= b.n; j++) row[j] = (unsigned)j;
    for (size_t i = 0; i < a.n; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < b.n; j++) {
            unsigned best = diagonal + (a.p[i] != b.p[j]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j + 1] + 1 < best) best = row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    return row[b.n];
}

void vcore_closest(char *out, size_t out_bytes, const char *word, const char *const *names,
                   size_t n, size_t max) {
    struct {
        const char *name;
        unsigned distance;
    } best[NEAR_MAX];
    size_t count = 0, used = 0;
    vcore_str w = vcore_str_of(word);
    if (!out_bytes) return;
    out[0] = 0;
    if (max > NEAR_MAX) max = NEAR_MAX;
    if (w.n > NEAR_BYTES || !max) return;
    for (size_t i = 0; i < n; i++) {
        vcore_str name = vcore_str_of(names[i]);
        if (name.n > NEAR_BYTES) continue;
        unsigned d = distance(w, name);
        if (d * 2 > (w.n > name.n ? w.n : name.n)) continue; /* less than half in common */
        size_t at = count < max ? count++ : max;
        for (; at > 0 && best[at - 1].distance > d; at--)
            if (at < max) best[at] = best[at - 1];
        if (at < max) {
            best[at].name = names[i];
            best[at].distance = d;
        }
    }
    for (size_t i = 0; i < count; i++) {
        int wrote = snprintf(out + used, out_bytes - used, "%s%s", i ? ", " : "", best[i].name);
        if (wrote < 0 || (size_t)wrote >= out_bytes - used) {
            out[used] = 0; /* no half names */
            return;
        }
        used += (size_t)wrote;
    }
}
