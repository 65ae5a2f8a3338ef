/* SPDX-License-Identifier: MIT */
/* Where the patches of a picture stand in the plain ViT: its grid, the learned position of each, and
 * the order in which padding comes last. */
#include "models/vision/vit/vit.h"

/* The patches of a picture. Those that hold picture come first while the encoder works, so that
 * padding is what lies behind the last of them. */
typedef struct layout {
    int64_t rows, columns;
    int64_t visible;   /* patches that hold picture */
    int32_t *position; /* of each patch, in picture order, behind that of a class token */
    int32_t *order;    /* [rows * columns] patch at each place of the encoder */
    int32_t *place;    /* [rows * columns] the inverse of order */
} layout;

/* Which of `side` equal parts of [0, 1) the start of patch i of n lies in, in the reference's
 * float32. */
static int64_t bucket(int64_t i, int64_t n, int64_t side) {
    float at = (float)i * (1.0f / (float)n), limit = (float)(1.0 - 1e-6);
    int64_t b = 0;
    if (at > limit) at = limit;
    while (b + 1 < side && (float)((double)(b + 1) / (double)side) <= at) b++;
    return b;
}

/* NaViT: by a patch's place among those of the first row and column that hold picture. */
static void positions_by_place(vit_layout *l, const uint8_t *mask, int64_t side) {
    int64_t rows = 0, columns = 0;
    for (int64_t i = 0; i < l->rows; i++) rows += !mask || mask[i * l->columns];
    for (int64_t i = 0; i < l->columns; i++) columns += !mask || mask[i];
    for (int64_t i = 0; i < l->rows * l->columns; i++)
        if (!mask || mask[i])
            l->position[i] = (int32_t)(bucket(i / l->columns, rows, side) * side
                                       + bucket(i % l->columns, columns, side));
}

/* Which patches hold picture: those with any pixel that does. held [rows * columns] is zeroed. */
static void find_held(uint8_t *held, const vit_layout *l, const vlm_vision_input *input, int64_t width,
                      int64_t patch) {
    const float *real = input->pixel_mask;
    const int64_t *whole = input->pixel_mask;
    const bool floats = input->mask_dtype == VLM_DTYPE_F32;
    for (int64_t y = 0; y < l->rows * patch; y++)
        for (int64_t x = 0; x < l->columns * patch; x++)
            if (floats ? real[y * width + x] != 0 : whole[y * width + x] != 0)
                held[y / patch * l->columns + x / patch] = 1;
}

static void order_patches(vit_layout *l, const uint8_t *mask) {
    int64_t n = l->rows * l->columns, hidden;
    for (int64_t i = 0; i < n; i++) l->visible += !mask || mask[i];
    hidden = l->visible;
    for (int64_t i = 0, seen = 0; i < n; i++) {
        int64_t place = !mask || mask[i] ? seen++ : hidden++;
        l->place[i] = (int32_t)place;
        l->order[place] = (int32_t)i;
    }
}

/* The grid of a picture that the tower takes. */
static bool find_grid(vit_layout *l, const vit *s, const vlm_vision_input *input) {
    const int64_t *shape = input->pixels.shape, *grid = input->grids, patch = s->config.patch_size;
    if (s->type->naflex) {
        if (input->pixels.rank != 2 || input->n_grids != 1 || grid[0] != 1) return false;
        *l = (vit_layout) { .rows = grid[1], .columns = grid[2], .visible = shape[0] };
        return l->rows >= 1 && l->columns >= 1 && shape[0] % l->rows == 0
               && shape[0] / l->rows == l->columns && shape[1] == s->patch_embedding.weight.in;
    }
    if (input->pixels.rank != 3) return false;
    *l = (vit_layout) { .rows = shape[1] / patch, .columns = shape[2] / patch };
    return shape[0] == s->config.num_channels && l->rows >= 1 && l->columns >= 1
           && (s->type->navit || (l->rows == s->side && l->columns == s->side))
           && !(s->type->clip && input->pixel_mask);
}

bool vmodel_vit_layout(vit_layout *l, vlm_frame *f, const vit *s, const vlm_vision_input *input) {
    const int64_t *shape = input->pixels.shape, patch = s->config.patch_size;
    const bool found = find_grid(l, s, input);
    if (!found && s->type->naflex) {
        vlm_frame_fail(f, VLM_ERR_PROCESSING,
                       "vision tower: %lld rows of %lld values do not fit a view of patches of %lld values",
                       (long long)shape[0], (long long)shape[1], (long long)s->patch_embedding.weight.in);
        return false;
    }
    if (!found) {
        vlm_frame_fail(
            f, VLM_ERR_PROCESSING,
            "vision tower: a picture [%lld, %lld, %lld] does not fit patches of %lld and a "
            "side of %lld",
            (long long)shape[0], (long long)shape[1], (long long)shape[2], (long long)patch,
            (long long)s->config.image_size);
        return false;
    }
    if (s->type->naflex) return true;
    size_t n = (size_t)(l->rows * l->columns), first = s->type->clip;
    if (!(l->position = vcore_alloc_array(4 * n + first, sizeof *l->position))) {
        vlm_frame_fail(f, VLM_ERR_MEMORY, "vision tower: out of memory");
        return false;
    }
    l->order = l->position + first + n;
    l->place = l->order + n;
    uint8_t *held = input->pixel_mask ? (uint8_t *)(l->place + n) : NULL;
    if (held) find_held(held, l, input, shape[2], patch);
    if (s->type->navit)
        positions_by_place(l, held, s->side);
    else
        for (size_t i = 0; i < first + n; i++) l->position[i] = (int32_t)i;
    order_patches(l, held);
    if (l->visible == 0)
        vlm_frame_fail(f, VLM_ERR_PROCESSING, "vision tower: a picture is padding altogether");
    return l->visible > 0;
}
