/* SPDX-License-Identifier: MIT */
/* Plans: what a processor decided from the sizes of media, with the memory it lives in. */
#include <stdio.h>

#include "models/models.h"

vlm_status vmodel_plan_new(vlm_plan **out, const vlm_media_item *media, size_t n,
                           const vlm_processing *processing, vlm_error *err) {
    static const vlm_processing no_wishes = VLM_PROCESSING_INIT;
    *out = NULL;
    vcore_arena *arena = vcore_arena_new();
    vlm_plan *plan = arena ? vcore_arena_alloc(arena, sizeof *plan) : NULL;
    vlm_media_item *copy = plan ? vcore_arena_array(arena, n + 1, sizeof *copy) : NULL;
    vlm_plan_item *items = copy ? vcore_arena_array(arena, n + 1, sizeof *items) : NULL;
    if (!items) {
        vcore_arena_free(arena);
        return vcore_no_memory(err, "plan");
    }
    if (n) memcpy(copy, media, n * sizeof *copy);
    *plan = (vlm_plan) { copy, items, n, processing ? processing : &no_wishes, arena };
    *out = plan;
    return VLM_OK;
}

void vmodel_plan_free(vlm_plan *plan) {
    if (plan) vcore_arena_free(plan->arena);
}

void *vlm_plan_alloc(vlm_plan *plan, size_t count, size_t size) {
    return vcore_arena_array(plan->arena, count, size);
}

char *vlm_plan_printf(vlm_plan *plan, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    char *text = n < 0 ? NULL : vcore_arena_alloc(plan->arena, (size_t)n + 1);
    if (text) vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(args);
    return text;
}
