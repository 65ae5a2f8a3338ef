/* SPDX-License-Identifier: MIT */
/* Where the patches of a frame stand: its units window by window, so that rows that attend to each
 * other lie together, the row and column of each patch, and what of a learned table of positions is
 * around it. */
#include <math.h>

#include "models/vision/grid/grid.h"

void vmodel_grid_layout_free(grid_layout *l) {
    vcore_free(l->order);
    vcore_free(l->positions);
    vcore_free(l->windows);
    vcore_free(l->taps);
    vcore_free(l->weights);
}

/* Adds the window whose first unit is (top, left), cut off at the picture's edge. */
static void add_window(grid_layout *l, const grid_tower *t, int64_t top, int64_t left, int64_t side,
                       int32_t *at) {
    const int64_t merge = t->config.spatial_merge_size, patches = l->rows * l->columns * t->unit;
    vlm_segment *window = &l->windows[l->n_windows++];
    *window = (vlm_segment) { .start = *at * t->unit };
    for (int64_t y = top; y < top + side && y < l->rows; y++) {
        for (int64_t x = left; x < left + side && x < l->columns; x++, ++*at) {
            l->order[*at] = (int32_t)(y * l->columns + x);
            l->place[l->order[*at]] = *at;
            for (int64_t k = 0; k < t->unit; k++) {
                int32_t *position = &l->positions[*at * t->unit + k];
                position[0] = (int32_t)(y * merge + k / merge);
                position[patches] = (int32_t)(x * merge + k % merge);
            }
        }
    }
    window->length = *at * t->unit - window->start;
}

/* Place i of n on an axis whose ends are those of a table's: the entries around it and what they
 * count, in the reference's float32. */
static void find_taps(int32_t *taps, float *weights, int64_t i, int64_t n, int64_t side) {
    float at = (float)i * (float)(side - 1) / (float)(n > 1 ? n - 1 : 1), below = floorf(at);
    for (int k = 0; k < 2; k++) {
        int64_t tap = (int64_t)below + k;
        taps[k] = (int32_t)(tap < side ? tap : side - 1);
        weights[k] = fmaxf(0, 1 - fabsf(at - below - (float)k));
    }
}

static bool place_on_table(grid_layout *l, const grid_tower *t) {
    const int64_t merge = t->config.spatial_merge_size, side = t->table_side;
    const int64_t patches = l->rows * l->columns * t->unit;
    l->taps = vcore_alloc_array((size_t)patches, 4 * sizeof *l->taps);
    l->weights = vcore_alloc_array((size_t)patches, 4 * sizeof *l->weights);
    if (!l->taps || !l->weights) return false;
    for (int64_t i = 0; i < patches; i++) {
        int32_t y[2], x[2];
        float down[2], across[2];
        find_taps(y, down, l->positions[i], l->rows * merge, side);
        find_taps(x, across, l->positions[patches + i], l->columns * merge, side);
        for (int k = 0; k < 4; k++) {
            l->taps[4 * i + k] = (int32_t)(y[k / 2] * side + x[k % 2]);
            l->weights[4 * i + k] = down[k / 2] * across[k % 2];
        }
    }
    return true;
}

bool vmodel_grid_layout_new(grid_layout *l, const grid_tower *t, const int64_t *grid) {
    const int64_t merge = t->config.spatial_merge_size;
    *l = (grid_layout) { .rows = grid[1] / merge, .columns = grid[2] / merge };
    const int64_t longer = l->rows > l->columns ? l->rows : l->columns;
    const int64_t side = t->window_side ? t->window_side : longer;
    size_t units = (size_t)(l->rows * l->columns);
    size_t windows = (size_t)(((l->rows - 1) / side + 1) * ((l->columns - 1) / side + 1));
    l->order = vcore_alloc_array(2 * units, sizeof *l->order);
    l->positions = vcore_alloc_array(2 * units, (size_t)t->unit * sizeof *l->positions);
    l->windows = vcore_alloc_array(windows, sizeof *l->windows);
    if (!l->order || !l->positions || !l->windows) {
        vmodel_grid_layout_free(l);
        return false;
    }
    l->place = l->order + units;
    int32_t at = 0;
    for (int64_t top = 0; top < l->rows; top += side)
        for (int64_t left = 0; left < l->columns; left += side)
            add_window(l, t, top, left, side, &at);
    if (!t->table_side || place_on_table(l, t)) return true;
    vmodel_grid_layout_free(l);
    return false;
}
