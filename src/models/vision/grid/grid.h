/* SPDX-License-Identifier: MIT */
/* The one tower of packed grids: patches of any height and width, 2-D rotary positions, a merger that
 * makes one row of a square of patches (a unit). What Qwen2-VL and its successors differ in is a value
 * here: the traits of a type, its config, and what its layers hold. */
#ifndef VLM_MODELS_VISION_GRID_H
#define VLM_MODELS_VISION_GRID_H

#include "models/vision/vision.h"

/* Fields of vision_config. */
typedef struct grid_config {
    int64_t depth, hidden_size, intermediate_size, out_hidden_size, num_heads;
    int64_t in_channels, patch_size, temporal_patch_size, spatial_merge_size;
    int64_t window_size; /* in pixels; 0: none */
    int hidden_act;      /* vlm_activation */
    float norm_eps, rope_theta;
    double mlp_ratio; /* 0: intermediate_size says */
    bool attention_bias; /* of all linear layers of blocks */
    int64_t num_position_embeddings; /* rows of the position table; 0: none */
    vlm_ints fullatt_block_indexes;
    vlm_ints deepstack_visual_indexes; /* blocks behind which the decoder's layers look, too */
} grid_config;

/* Keys that only some types read, or under another name. */
enum {
    GRID_EMBED_DIM = 1, /* embed_dim is the tower's width and hidden_size that of its result */
    GRID_WIDTHS = 2,    /* hidden_size, intermediate_size, out_hidden_size */
    GRID_WINDOWS = 4,   /* window_size, fullatt_block_indexes */
    GRID_DEEPSTACK = 8, /* num_position_embeddings, deepstack_visual_indexes */
    GRID_GLM = 16,      /* rms_norm_eps, attention_bias */
};

/* What a type is, beyond its config. */
typedef struct grid_type {
    unsigned keys;        /* of those above */
    grid_config defaults; /* what the reference takes for absent keys */
    bool layer_norm;      /* norms are layer norms; else RMS norms */
    bool gated;           /* the MLPs of blocks are gated */
    bool qk_norm;         /* every head of q and k has a norm in front of the rotation */
    bool patch_bias;
    bool downsamples;  /* units are joined by a convolution and a gated MLP */
    bool linear_names; /* layers of MLPs are called linear_fc1 and linear_fc2 */
} grid_type;

typedef struct grid_block {
    vlm_norm norm1, norm2;
    vlm_linear qkv, q, k, v; /* the latter three are views of the first */
    vlm_norm q_norm, k_norm; /* [head_dim]; qk_norm only */
    vlm_linear proj;
    vlm_mlp mlp;         /* plain types */
    vlm_gated_mlp gated; /* gated types */
    bool full;           /* attends within the frame, not within windows */
    const struct grid_merger *deep; /* of what leaves it for the decoder's layers; NULL: nothing */
} grid_block;

/* Joins the patches of a unit. */
typedef struct grid_merger {
    vlm_norm norm;
    vlm_mlp mlp;
    bool norms_joined; /* the norm is of the unit's row, not of each patch's */
} grid_merger;

/* Joins the patches of a unit by a convolution. */
typedef struct grid_downsample {
    vlm_norm norm;   /* of each patch */
    vlm_linear conv; /* [out, hidden_size * unit]: a channel's patches lie together */
    vlm_linear proj;
    vlm_norm proj_norm; /* a layer norm */
    vlm_gated_mlp mlp;
} grid_downsample;

typedef struct grid_tower {
    vlm_vision base;
    const grid_type *type;
    grid_config config;
    int64_t unit;        /* patches that become one row */
    int64_t window_side; /* in units; 0: a frame is one window */
    float attention_scale;
    float *inv_freq;  /* [head_dim / 2]: of rows, then of columns */
    uint8_t *axis_of; /* [head_dim / 2] */
    vlm_linear patch_embed;
    int64_t table_side;    /* of the position table's square; 0: there is none */
    vlm_matrix pos_embed;  /* [num_position_embeddings, hidden_size] */
    grid_block *blocks;
    grid_merger merger;         /* or, of types that downsample, */
    grid_downsample downsample;
    grid_merger *deep;     /* [deepstack_visual_indexes.n] */
} grid_tower;

/* Reads vision_config, checks it as a whole and fills in what follows from it (config.c). */
vlm_status vmodel_grid_config_read(grid_config *out, const grid_type *type, const vlm_json *json,
                                   vlm_error *err);
/* Binds the tower's tensors (weights.c). Its config, unit and blocks are there. */
vlm_status vmodel_grid_bind(grid_tower *t, vlm_build *build, const char *prefix, vlm_error *err);
/* The tower of a type (tower.c). */
vlm_status vmodel_grid_new(vlm_vision **out, const grid_type *type, vlm_build *build,
                           const vlm_vision_options *options, vlm_error *err);

/* ---- where patches stand (layout.c) ---- */
/* A frame's units in the order of its windows. */
typedef struct grid_layout {
    int64_t rows, columns; /* in units */
    int32_t *order;        /* [units] unit of the picture at each place */
    int32_t *place;        /* [units] the inverse of order */
    int32_t *positions;    /* [2, patches] row and column of the patch at each place */
    vlm_segment *windows;  /* [n_windows] */
    int n_windows;
    int32_t *taps;         /* [patches, 4] rows of the position table around each patch; or NULL */
    float *weights;        /* [patches, 4] what each of them counts */
} grid_layout;
/* @param grid time, height, width in patches, checked. False: no memory. */
bool vmodel_grid_layout_new(grid_layout *l, const grid_tower *t, const int64_t *grid);
void vmodel_grid_layout_free(grid_layout *l);

#endif
