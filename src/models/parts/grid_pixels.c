/* SPDX-License-Identifier: MIT */
/* Pixels of a picture or video as rows of patches: squares of patches row by row, the patches of a
 * square row by row, each [channel, time, y, x]. */
#include <string.h>

#include "models/parts/grids.h"

size_t vmodel_grid_row_values(const vlm_grid_recipe *how) {
    return 3 * (size_t)(how->temporal_patch_size * how->patch_size * how->patch_size);
}

/* A frame on its way into the rows of its time: an item of work is a row of squares. */
typedef struct frame {
    const grid_geometry *g;
    const vlm_image *image;
    vlm_pixel_table table;
    float *rows;    /* those of its time */
    int64_t moment; /* of a patch's time: number of the frame in it; */
    int64_t last;   /* it is repeated up to this one */
} frame;

/* Squares of patches lie row by row, the patches of a square row by row. */
static void put_squares(void *arg, size_t i, int worker) {
    (void)worker;
    const frame *f = arg;
    const vlm_grid_recipe *how = f->g->how;
    const int64_t patch = how->patch_size, merge = how->merge_size, top = (int64_t)i * merge;
    const size_t area = (size_t)(patch * patch), plane = area * (size_t)how->temporal_patch_size;
    const vlm_size size = { (uint32_t)patch, (uint32_t)patch };
    float *at = f->rows + (size_t)(top * f->g->grid[2]) * vmodel_grid_row_values(how)
                + area * (size_t)f->moment;
    for (int64_t left = 0; left < f->g->grid[2]; left += merge)
        for (int64_t k = 0; k < merge * merge; k++, at += vmodel_grid_row_values(how)) {
            vlm_pixels_planar_by(at, (size_t)patch, plane, f->image,
                                 (uint32_t)((left + k % merge) * patch),
                                 (uint32_t)((top + k / merge) * patch), size, &f->table);
            for (int64_t later = 1; later <= f->last - f->moment; later++)
                for (size_t c = 0; c < 3; c++)
                    memcpy(at + c * plane + area * (size_t)later, at + c * plane,
                           area * sizeof *at);
        }
}

/* The last frame fills what is left of its patches' time. */
vlm_status vmodel_grid_fill_rows(float *rows, const grid_geometry *g, const vlm_image *const *frames,
                                 int64_t n, vlm_threads *threads, vlm_error *err) {
    const int64_t times = g->how->temporal_patch_size, patches = g->grid[1] * g->grid[2];
    frame f = { .g = g };
    vlm_pixel_table_init(&f.table, &g->rules);
    for (int64_t i = 0; i < n; i++) {
        vlm_image *image;
        vlm_status status = vlm_pixels_resize(&image, frames[i], g->size, &g->rules, threads, err);
        if (status < 0) return status;
        f.image = image;
        f.rows = rows + (size_t)(i / times * patches) * vmodel_grid_row_values(g->how);
        f.moment = i % times;
        f.last = i == n - 1 ? times - 1 : f.moment;
        vlm_threads_run(threads, (size_t)(g->grid[1] / g->how->merge_size), put_squares, &f);
        vlm_image_free(image);
    }
    return VLM_OK;
}
