/* SPDX-License-Identifier: MIT */
/* Whether what a file holds is numbers: of scales and biases that are viewed where they lie, every
 * one is looked at once while loading, eight bytes at a time by all threads. */
#include <stdatomic.h>

#include "models/weights/weights.h"

/* A value is none when these bits of it are all ones: then adding the lowest of them carries into
 * the highest bit of the value, and nowhere else does anything reach it. */
typedef struct pattern {
    uint64_t ones, lowest, highest;
    bool negative; /* its highest bit must be set as well */
} pattern;

static const pattern patterns[] = {
    [VMODEL_F32] = { 0x7F8000007F800000, 0x0080000000800000, 0x8000000080000000, false },
    [VMODEL_F16] = { 0x7C007C007C007C00, 0x0400040004000400, 0x8000800080008000, false },
    [VMODEL_BF16] = { 0x7F807F807F807F80, 0x0080008000800080, 0x8000800080008000, false },
    [VMODEL_E4M3] = { 0x7F7F7F7F7F7F7F7F, 0x0101010101010101, 0x8080808080808080, false },
    [VMODEL_E8M0] = { 0x7F7F7F7F7F7F7F7F, 0x0101010101010101, 0x8080808080808080, true },
};

static uint64_t found(const pattern *p, uint64_t u) {
    uint64_t carried = (u & p->ones) + p->lowest;
    return p->negative ? carried & u : carried;
}

bool vmodel_all_finite(vmodel_number kind, const void *data, size_t bytes) {
    const pattern *p = &patterns[kind];
    const uint8_t *from = data;
    uint64_t any = 0, u;
    for (; bytes >= sizeof u; bytes -= sizeof u, from += sizeof u) {
        memcpy(&u, from, sizeof u);
        any |= found(p, u);
    }
    u = 0;
    memcpy(&u, from, bytes);
    any |= found(p, u);
    return !(any & p->highest);
}

/* ---- tensors of a file, with all threads ----------------------------------------------------- */
enum { PIECE = 1 << 17 };
typedef struct search {
    vmodel_number kind;
    const uint8_t *data;
    size_t bytes;
    atomic_bool failed;
} search;

static void search_piece(void *arg, size_t i, int worker) {
    search *s = arg;
    size_t at = i * PIECE, left = s->bytes - at;
    (void)worker;
    if (!vmodel_all_finite(s->kind, s->data + at, left < PIECE ? left : PIECE))
        atomic_store(&s->failed, true);
}

void vmodel_row_run(const vmodel_row *r, size_t n, void (*fn)(void *arg, size_t i, int worker),
                    void *arg) {
    vtensor_backend *b = r->b->args.backend;
    vcore_pool *pool = b ? vtensor_backend_pool(b) : NULL;
    if (pool && n > 1)
        vcore_pool_run(pool, n, fn, arg);
    else
        for (size_t i = 0; i < n; i++) fn(arg, i, 0);
}

vlm_status vmodel_row_check_finite(const vmodel_row *r, const vio_tensor *t, vmodel_number kind) {
    search s = { .kind = kind, .data = t->data, .bytes = (size_t)t->bytes };
    if (r->b->args.inspect) return VLM_OK;
    vmodel_row_run(r, (s.bytes + PIECE - 1) / PIECE, search_piece, &s);
    return s.failed ? vmodel_row_fail(r, VLM_ERR_WEIGHTS, t, "holds what is no finite number")
                    : VLM_OK;
}
