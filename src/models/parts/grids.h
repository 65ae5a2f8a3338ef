/* SPDX-License-Identifier: MIT */
/* What the parts over grids of patches share among themselves; the page for families is
 * vlm/extend/parts.h. */
#ifndef VLM_MODELS_PARTS_GRIDS_H
#define VLM_MODELS_PARTS_GRIDS_H

#include "models/models.h"

/* ---- models (grid_model.c, grid_positions.c) ---- */
struct vlm_grid_model {
    const vlm_grid_spec *spec;
    int64_t image_token_id, video_token_id;
    int64_t spatial_merge_size, tokens_per_second;
    bool tie_word_embeddings, text_tie_word_embeddings; /* either ties the head */
    vlm_vision *vision;
    vlm_text *text;
};

typedef enum grid_kind { GRID_IMAGE, GRID_VIDEO, GRID_TEXT } grid_kind;
extern const char *const vmodel_grid_name[2]; /* of the arrays of grids */

/* The pictures or the videos of a prompt, checked against each other; n is 0 when there are none. */
typedef struct grid_media {
    const vlm_array *pixels; /* [rows, values] */
    const int64_t *grids;    /* [n][3]: time, height, width in patches */
    int64_t n;
} grid_media;
/* ERR_PROCESSING when there are pictures and videos where they share a token. */
vlm_status vmodel_grid_check_kinds(const vlm_grid_model *m, const vlm_prepared *prepared,
                                   vlm_error *err);
/* The token of a video's rows. */
int64_t vmodel_grid_video_token(const vlm_grid_model *m);
vlm_status vmodel_grid_media(grid_media *out, const vlm_grid_model *m, const vlm_prepared *prepared,
                             grid_kind of, vlm_error *err);

/* ---- processors (grid_processor.c, grid_pixels.c) ---- */
typedef struct grid_processor {
    const vlm_grid_processor_spec *spec;
    vlm_grid_recipe image, video;
    uint32_t image_token_id, video_token_id;
} grid_processor;

typedef struct grid_geometry {
    const vlm_grid_recipe *how;
    vlm_pixel_rules rules; /* its, of the backend that the user wishes */
    vlm_size size;         /* after resizing */
    int64_t grid[3];       /* time, height, width in patches */
} grid_geometry;
int64_t vmodel_grid_patches(const grid_geometry *g);
/* Values of a row: [3, time, patch, patch]. */
size_t vmodel_grid_row_values(const vlm_grid_recipe *how);
/* The rows of one item. @param rows in the prepared array @param n frames */
vlm_status vmodel_grid_fill_rows(float *rows, const grid_geometry *g, const vlm_image *const *frames,
                                 int64_t n, vlm_threads *threads, vlm_error *err);

#endif
