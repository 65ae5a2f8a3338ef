/* SPDX-License-Identifier: MIT */
/* Where the patches of a frame stand: its units window by window, so that rows that attend to each
 * other lie together, and the row and column of each patch. */
#include "models/vision/grid/grid.h"

void vmodel_grid_layout_free(grid_layout *l) {
    vcore_free(l->order);
    vcore_free(l->positions);
    vcore_free(l->windows);
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
    return true;
}
