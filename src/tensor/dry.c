/* SPDX-License-Identifier: MIT */
/* The backend that runs shapes only: no operation of it is ever called and its temporaries have no
 * memory, so a forward pass on it costs microseconds and tells the arena's size. */
#include "tensor/backend.h"

static void dry_free(vtensor_backend *b) {
    vcore_free(b);
}

/* State memory does not exist either, but must not look like a lack of memory. */
static void *dry_memory_new(vtensor_backend *b, size_t bytes) {
    (void)bytes;
    return b;
}

static void dry_memory_free(vtensor_backend *b, void *p) {
    (void)b;
    (void)p;
}

static const vtensor_table dry_table = {
    .name = "dry",
    .shapes_only = true,
    .host_memory = true,
    .free = dry_free,
    .memory_new = dry_memory_new,
    .memory_free = dry_memory_free,
};

vlm_status vtensor_backend_dry(vtensor_backend **out, vlm_error *err) {
    vtensor_backend *b = *out = vcore_alloc(sizeof *b);
    if (!b) return vcore_no_memory(err, "dry backend");
    b->table = &dry_table;
    return VLM_OK;
}
