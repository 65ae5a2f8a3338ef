/* SPDX-License-Identifier: MIT */
/**
 * @file geometry.h
 * @brief How the image processors of the field size, tile and grid a picture: pure functions from
 * sizes to plans.
 *
 * Part of the extension interface (vlm/extend.h): version-locked, without an ABI promise.
 *
 * Every function computes what the reference computes (transformers 5.17; docs/GEOMETRY.md names
 * the function), in float64 and with its rounding. What the reference refuses, and what would have
 * a side above 2^31 - 1, is refused with VLM_ERR_IMAGE_PROCESSING; a rule that makes no sense with
 * VLM_ERR_CONFIG; more than VLM_MOST_TILES tiles with VLM_ERR_LIMIT; fewer frames than are taken at
 * a time with VLM_ERR_VIDEO_PROCESSING. None touches a pixel or takes memory; on error *out is
 * zeros.
 */
#ifndef VLM_EXTEND_GEOMETRY_H
#define VLM_EXTEND_GEOMETRY_H

#include "vlm/media.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Tiles, crops or patches, side by side. */
typedef struct vlm_grid {
    uint32_t columns, rows;
} vlm_grid;

/* ---- one size -------------------------------------------------------------------------------- */
/** The shorter side becomes `edge`, the other follows, truncated (CLIP, LLaVA, FastVLM). */
VLM_API vlm_status vlm_resize_shortest_edge(vlm_size *out, vlm_size size, uint32_t edge,
                                            vlm_error *err);
/** The same where the longer side may not pass `longest`, which is then what is kept (DETR's rule).
 */
VLM_API vlm_status vlm_resize_edges(vlm_size *out, vlm_size size, uint32_t shortest,
                                    uint32_t longest, vlm_error *err);
/** The largest size of the same shape in the box, truncated; smaller pictures grow. */
VLM_API vlm_status vlm_resize_into(vlm_size *out, vlm_size size, vlm_size box, vlm_error *err);
/** A picture that passes the box shrinks into it, floored; the sides then grow to multiples of the
 * patch (Pixtral; Mistral 3 with patch x merge). *patches tells how many. */
VLM_API vlm_status vlm_resize_pixtral(vlm_size *out, vlm_grid *patches, vlm_size size, vlm_size box,
                                      vlm_size patch, vlm_error *err);
/** The largest size that makes at most so many patches, by the reference's binary search over the
 * scale (SigLIP 2 NaFlex). */
VLM_API vlm_status vlm_resize_naflex(vlm_size *out, vlm_size size, uint32_t patch_size,
                                     uint32_t max_patches, vlm_error *err);
/** The largest size within max_patches patches whose sides are multiples of patch_size x pooling
 * (Gemma 4). */
VLM_API vlm_status vlm_resize_gemma4(vlm_size *out, vlm_size size, uint32_t patch_size,
                                     uint32_t max_patches, uint32_t pooling, vlm_error *err);
/** The grid next in shape to the picture, of at most max_tokens squares of side `patch`
 * (Muse Glimmer; patch is patch_size x merge_size there). */
VLM_API vlm_status vlm_resize_muse_glimmer(vlm_size *out, vlm_size size, uint32_t patch,
                                           uint32_t max_tokens, vlm_error *err);

/** What smart_resize is told. */
typedef struct vlm_smart_resize_rule {
    uint32_t factor; /**< both sides become multiples of it: patch_size x merge_size */
    uint64_t min_pixels, max_pixels;
    double longest_aspect;  /**< longer side by shorter above which a picture is refused; 0: none */
    bool at_least_a_factor; /**< a side that rounds to nothing becomes a factor before the budget is
                                 looked at (LFM2-VL); else the least number of pixels mends it */
} vlm_smart_resize_rule;
/** Sides to the nearest multiples of the factor, halves to even; then into the budget of pixels
 * (Qwen2-VL, 2.5, 3: pictures; 2 and 2.5 frame by frame; LFM2-VL). */
VLM_API vlm_status vlm_smart_resize(vlm_size *out, vlm_size size, const vlm_smart_resize_rule *rule,
                                    vlm_error *err);
/** The same with a budget for all frames, which count as the nearest multiple of temporal_factor;
 * a side shorter than the factor is brought to it first (GLM-4V, GLM-OCR: pictures as
 * temporal_factor frames; Qwen3-VL: videos). */
VLM_API vlm_status vlm_smart_resize_frames(vlm_size *out, vlm_size size, int64_t frames,
                                           uint32_t temporal_factor,
                                           const vlm_smart_resize_rule *rule, vlm_error *err);

/* ---- splits: Idefics3, SmolVLM --------------------------------------------------------------- */
typedef struct vlm_split_rule {
    bool do_resize, do_image_splitting;
    uint32_t longest_edge;   /**< of the first resize; 0: `size` says */
    vlm_size size;           /**< of the first resize where longest_edge is 0 */
    uint32_t max_image_size; /**< side of a view */
} vlm_split_rule;
/** The sizes that a picture goes through. */
typedef struct vlm_split_plan {
    vlm_size first;  /**< after the first resize */
    vlm_size second; /**< of which tiles are cut; the size of a view when there are none */
    vlm_grid tiles;  /**< zeros: the picture is one view */
    int64_t views;   /**< the tiles and the whole */
} vlm_split_plan;
VLM_API vlm_status vlm_plan_splits(vlm_split_plan *out, vlm_size size, const vlm_split_rule *rule,
                                   vlm_error *err);

/* ---- anyres: LLaVA-NeXT ---------------------------------------------------------------------- */
typedef struct vlm_anyres_rule {
    const vlm_size *pinpoints; /**< possible canvases, in the config's order; whole tiles */
    size_t n_pinpoints;
    uint32_t tile;       /**< side of a tile and of the view of the whole */
    uint32_t patch_size; /**< of the vision tower */
} vlm_anyres_rule;
typedef struct vlm_anyres_plan {
    vlm_size canvas;       /**< the pinpoint that wastes least */
    vlm_size resized;      /**< the picture on it */
    uint32_t x, y;         /**< where it lies there; the rest is black */
    vlm_grid tiles;        /**< of the canvas */
    vlm_grid patches;      /**< of the tiles together, those that only show padding cut off */
    uint32_t cut_x, cut_y; /**< patches cut off at the left (and right), at the top (and bottom) */
    int64_t tokens;        /**< the whole, the patches, a newline per row of them */
} vlm_anyres_plan;
VLM_API vlm_status vlm_plan_anyres(vlm_anyres_plan *out, vlm_size size, const vlm_anyres_rule *rule,
                                   vlm_error *err);

/* ---- tiles: InternVL, DeepSeek-OCR, LFM2-VL -------------------------------------------------- */
/** Most tiles of any rule here. */
#define VLM_MOST_TILES 1024
/** The grid of min_tiles to max_tiles tiles next in shape to the picture; of several, the one with
 * the most tiles that the picture fills to more than a half. */
VLM_API vlm_status vlm_closest_grid(vlm_grid *out, vlm_size size, vlm_size tile, uint32_t min_tiles,
                                    uint32_t max_tiles, vlm_error *err);

typedef struct vlm_tile_rule {
    vlm_size tile;
    uint32_t min_tiles, max_tiles;
    bool crop_to_patches; /**< false: the picture is one view */
} vlm_tile_rule;
typedef struct vlm_tile_plan {
    vlm_grid tiles;
    vlm_size resized; /**< of which the tiles are cut */
    bool thumbnail;   /**< a view of the whole, of a tile's size, follows them */
    int64_t views;
} vlm_tile_plan;
/** dynamic_preprocess of InternVL (GotOcr2ImageProcessor). */
VLM_API vlm_status vlm_plan_tiles(vlm_tile_plan *out, vlm_size size, const vlm_tile_rule *rule,
                                  vlm_error *err);

typedef struct vlm_ocr_rule {
    uint32_t whole, tile; /**< sides of the view of the whole and of a tile */
    uint32_t min_tiles, max_tiles;
    bool crop_to_patches;
} vlm_ocr_rule;
typedef struct vlm_ocr_plan {
    vlm_grid tiles;   /**< zeros: none */
    vlm_size resized; /**< of which the tiles are cut */
    vlm_size whole;   /**< the picture in the view of the whole, which is padded to a square */
} vlm_ocr_plan;
/** DeepSeek-OCR 2: tiles of a picture with a side longer than a tile's, and the whole. */
VLM_API vlm_status vlm_plan_ocr(vlm_ocr_plan *out, vlm_size size, const vlm_ocr_rule *rule,
                                vlm_error *err);

typedef struct vlm_lfm2_rule {
    uint32_t encoder_patch_size, downsample_factor, tile_size;
    uint32_t min_image_tokens, max_image_tokens, min_tiles, max_tiles;
    bool do_image_splitting, use_thumbnail;
    double max_pixels_tolerance;
} vlm_lfm2_rule;
typedef struct vlm_lfm2_plan {
    vlm_size whole;   /**< the picture as one view, or the thumbnail */
    vlm_size resized; /**< of which the tiles are cut; zeros: it is not split */
    vlm_grid tiles;   /**< 1 x 1 when it is not split */
    bool thumbnail;
    int64_t tile_tokens, whole_tokens; /**< of one tile, of the whole */
    int64_t tokens;
} vlm_lfm2_plan;
VLM_API vlm_status vlm_plan_lfm2(vlm_lfm2_plan *out, vlm_size size, const vlm_lfm2_rule *rule,
                                 vlm_error *err);

/* ---- crops: Gemma 3 -------------------------------------------------------------------------- */
typedef struct vlm_pan_and_scan_rule {
    uint32_t min_crop_size, max_num_crops;
    double min_ratio_to_activate;
} vlm_pan_and_scan_rule;
typedef struct vlm_pan_and_scan_plan {
    vlm_grid crops; /**< zeros: only the whole is shown */
    vlm_size crop;  /**< the last of a row or column ends where the picture does */
} vlm_pan_and_scan_plan;
VLM_API vlm_status vlm_plan_pan_and_scan(vlm_pan_and_scan_plan *out, vlm_size size,
                                         const vlm_pan_and_scan_rule *rule, vlm_error *err);
/** Crop number i, row by row, of a picture of that size. */
VLM_API vlm_rect vlm_pan_and_scan_crop(const vlm_pan_and_scan_plan *plan, vlm_size size,
                                       uint32_t i);

#ifdef __cplusplus
}
#endif
#endif
