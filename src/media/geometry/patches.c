/* SPDX-License-Identifier: MIT */
/* As large as a budget of patches allows, in the picture's shape: SigLIP 2's NaFlex, Gemma 4, Muse
 * Glimmer. */
#include "media/media.h"

#include <math.h>

/* ---- SigLIP 2 -------------------------------------------------------------------------------- */
#define PRECISION 1e-5

static double naflex_side(double side, double scale, double patch) {
    return fmax(patch, ceil(side * scale / patch) * patch);
}

vlm_status vlm_resize_naflex(vlm_size *out, vlm_size size, uint32_t patch_size,
                             uint32_t max_patches, vlm_error *err) {
    *out = (vlm_size) { 0, 0 };
    VTRY(vmedia_need_pixels(size, err));
    if (patch_size == 0 || max_patches == 0)
        return vmedia_bad_rule("patch_size, max_num_patches", err);
    const double w = size.width, h = size.height, patch = patch_size;
    double low = PRECISION / 10, high = 100;
    while (high - low >= PRECISION) {
        double scale = (low + high) / 2;
        double rows = naflex_side(h, scale, patch) / patch;
        double columns = naflex_side(w, scale, patch) / patch;
        if (rows * columns <= max_patches)
            low = scale;
        else
            high = scale;
    }
    return vmedia_sides(out, naflex_side(w, low, patch), naflex_side(h, low, patch), size, err);
}

/* ---- Gemma 4 --------------------------------------------------------------------------------- */
vlm_status vlm_resize_gemma4(vlm_size *out, vlm_size size, uint32_t patch_size,
                             uint32_t max_patches, uint32_t pooling, vlm_error *err) {
    *out = (vlm_size) { 0, 0 };
    VTRY(vmedia_need_pixels(size, err));
    if (patch_size == 0 || pooling == 0)
        return vmedia_bad_rule("patch_size, pooling_kernel_size", err);
    const double w = size.width, h = size.height, patch = patch_size;
    const double pixels = max_patches * (patch * patch), square = (double)pooling * patch;
    const double longest = floor(max_patches / ((double)pooling * pooling)) * square;
    const double scale = sqrt(pixels / (h * w));
    double height = floor(scale * h / square) * square, width = floor(scale * w / square) * square;
    if (height == 0 && width == 0) return vmedia_refuse_size(size, "has no room for a patch", err);
    if (height == 0) {
        height = square;
        width = fmin(floor(w / h) * square, longest);
    } else if (width == 0) {
        width = square;
        height = fmin(floor(h / w) * square, longest);
    }
    if (height * width > pixels)
        return vmedia_refuse_size(size, "has more patches than its budget", err);
    return vmedia_sides(out, width, height, size, err);
}

/* ---- Muse Glimmer ---------------------------------------------------------------------------- */
/* The reference takes the first of the best grids in the order of a Python set, and a square
 * picture always has two: so that order is part of its plan. These are CPython's hash of a pair of
 * small integers and the place of a new entry in a set of eight slots. */
static uint64_t pair_hash(uint64_t first, uint64_t second) {
    const uint64_t p1 = 11400714785074694791u, p2 = 14029467366897019727u,
                   p5 = 2870177450012600261u;
    const uint64_t lanes[] = { first, second };
    uint64_t hash = p5;
    for (int i = 0; i < 2; i++) {
        hash += lanes[i] * p2;
        hash = hash << 31 | hash >> 33;
        hash *= p1;
    }
    return hash + (2 ^ (p5 ^ 3527539u));
}

enum { SLOTS = 8 };
typedef struct grid_set {
    bool used[SLOTS];
    double rows[SLOTS], columns[SLOTS];
} grid_set;

static void add_grid(grid_set *set, double rows, double columns) {
    uint64_t hash = pair_hash((uint64_t)rows, (uint64_t)columns), rest = hash;
    uint64_t i = hash % SLOTS;
    while (set->used[i]) {
        if (set->rows[i] == rows && set->columns[i] == columns) return;
        rest >>= 5;
        i = (i * 5 + 1 + rest) % SLOTS;
    }
    set->used[i] = true;
    set->rows[i] = rows;
    set->columns[i] = columns;
}

vlm_status vlm_resize_muse_glimmer(vlm_size *out, vlm_size size, uint32_t patch,
                                   uint32_t max_tokens, vlm_error *err) {
    *out = (vlm_size) { 0, 0 };
    VTRY(vmedia_need_pixels(size, err));
    if (patch == 0 || max_tokens == 0) return vmedia_bad_rule("patch_size, max_image_tokens", err);
    double rows = (double)size.height / patch, columns = (double)size.width / patch;
    const double shape = columns / rows, wanted = (double)size.height / size.width;
    if (rows * columns > max_tokens) {
        rows = pow(max_tokens / shape, 0.5);
        columns = rows * shape;
    }
    grid_set set = { 0 };
    for (int k = 0; k < 4; k++)
        add_grid(&set, k < 2 ? floor(rows) : ceil(rows), k % 2 ? ceil(columns) : floor(columns));
    double best_rows = fmax(1, nearbyint(rows)), best_columns = fmax(1, nearbyint(columns));
    double least = INFINITY;
    for (int i = 0; i < SLOTS; i++) {
        if (!set.used[i] || set.rows[i] < 1 || set.columns[i] < 1) continue;
        if (set.rows[i] * set.columns[i] > max_tokens) continue;
        double difference = fabs(set.rows[i] / set.columns[i] - wanted);
        if (difference >= least) continue;
        least = difference;
        best_rows = set.rows[i];
        best_columns = set.columns[i];
    }
    return vmedia_sides(out, best_columns * patch, best_rows * patch, size, err);
}
