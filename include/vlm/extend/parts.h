/* SPDX-License-Identifier: MIT */
/**
 * @file parts.h
 * @brief Parts that several families share beyond their decoders and towers.
 *
 * Part of the extension interface (vlm/extend.h): version-locked, without an ABI promise.
 *
 * Grids of patches: a picture of any size is a grid of patches, squares of which become one token; a video is
 * a grid with times. Qwen2-VL brought them; its successors are a table of values each.
 */
#ifndef VLM_EXTEND_PARTS_H
#define VLM_EXTEND_PARTS_H

#include "vlm/extend/geometry.h"
#include "vlm/extend/model.h"
#include "vlm/video.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- rules of pixels that classes begin with ------------------------------------------------------- */
/** Initialisers of a vlm_pixel_rules: CLIP's mean and deviation, bicubic; and 0.5 for both. */
#define VLM_CLIP_PIXEL_RULES                                                                       \
    {                                                                                              \
        .resample = VLM_FILTER_BICUBIC, .do_rescale = true, .do_normalize = true,                  \
        .rescale_factor = 1.0 / 255, .mean = { 0.48145466, 0.4578275, 0.40821073 },                \
        .std = { 0.26862954, 0.26130258, 0.27577711 }                                              \
    }
#define VLM_HALF_PIXEL_RULES(filter)                                                               \
    {                                                                                              \
        .resample = filter, .do_rescale = true, .do_normalize = true, .rescale_factor = 1.0 / 255, \
        .mean = { 0.5, 0.5, 0.5 }, .std = { 0.5, 0.5, 0.5 }                                        \
    }

/* ---- models over grids of patches ------------------------------------------------------------------ */
/** What a family of them is. */
typedef struct vlm_grid_spec {
    vlm_vision_options vision; /**< their configs, */
    vlm_text_options text;     /**< and whether the head is tied, are found by the part */
    uint32_t image_token_id, video_token_id; /**< where config.json is silent */
    /** A step of a video's time is tokens_per_second times 'second_per_grid_ts' positions (Qwen2.5-VL); else one. */
    bool paced;
    bool nested_tie;   /**< text_config.tie_word_embeddings ties the head, too (files of transformers 4) */
    bool shared_token; /**< a video's tokens are those of pictures, too; a prompt has the one or the other (GLM-OCR) */
    bool frames_apart; /**< each time of a video is a run of tokens by itself, with text between them (Qwen3-VL) */
} vlm_grid_spec;
/** A tower that takes grids, a decoder whose positions have three axes (M-RoPE): a media token stands at its time,
 * row and column. */
typedef struct vlm_grid_model vlm_grid_model;
/** For create() of a vlm_model_type. @param spec must outlive the model */
VLM_API vlm_status vlm_grid_model_new(void **model, vlm_build *build, const vlm_grid_spec *spec,
                                      vlm_error *err);
/** The other functions of that row. */
VLM_API const vlm_text *vlm_grid_text(const void *model);
VLM_API int vlm_grid_features(vlm_frame *f, const void *model, const vlm_prepared *prepared,
                              vlm_features *out);
VLM_API vlm_status vlm_grid_positions(const void *model, const vlm_prepared *prepared,
                                      vlm_positions *positions, vlm_error *err);

/* ---- processors that make grids of patches --------------------------------------------------------- */
/** How media of one kind are made: what a class takes where the image or video processor's config is silent. */
typedef struct vlm_grid_recipe {
    bool do_resize;
    int64_t patch_size, merge_size, temporal_patch_size;
    int64_t min_pixels, max_pixels;
    bool frames_count; /**< the budget of pixels is for all frames: of a video, or those that a picture is repeated to */
    bool even_files;   /**< for that budget, the last frame of a video file fills up its time */
    vlm_pixel_rules rules;
    float fps; /**< of a video file: frames a second to take, */
    int64_t num_frames, min_frames, max_frames; /**< or so many of them; 0: not */
} vlm_grid_recipe;
/** One time of a video, for its text in the prompt. */
typedef struct vlm_grid_time {
    const char *first, *middle; /**< seconds at which its first frame stands, and of the middle between that and its
                                     last one, with one decimal */
    const char *tokens;         /**< its media tokens */
} vlm_grid_time;
/** What a class of such processors is. */
typedef struct vlm_grid_processor_spec {
    const char *image_token, *video_token; /**< what the template prints for a picture, a video */
    bool shared_token; /**< the tokens of a video are image_token, too */
    vlm_grid_recipe image, video;
    bool paced; /**< returns 'second_per_grid_ts', the seconds of a step in a video's time */
    /** Prompt text of one time of a video, from vlm_plan_printf(); NULL: a video is its tokens alone. */
    char *(*time_text)(vlm_plan *plan, const vlm_grid_time *time);
} vlm_grid_processor_spec;
/** Recipes of Qwen2VLImageProcessor and Qwen2VLVideoProcessor. */
#define VLM_GRID_QWEN2_IMAGE                                                                       \
    {                                                                                              \
        .do_resize = true, .patch_size = 14, .merge_size = 2, .temporal_patch_size = 2,            \
        .min_pixels = 56 * 56, .max_pixels = 28 * 28 * 1280, .rules = VLM_CLIP_PIXEL_RULES         \
    }
#define VLM_GRID_QWEN2_VIDEO                                                                       \
    {                                                                                              \
        .do_resize = true, .patch_size = 14, .merge_size = 2, .temporal_patch_size = 2,            \
        .min_pixels = 128 * 28 * 28, .max_pixels = 768 * 28 * 28, .rules = VLM_CLIP_PIXEL_RULES,   \
        .fps = 2, .min_frames = 4, .max_frames = 768                                               \
    }

/** For create() of a vlm_processor_type. @param spec must outlive the processor */
VLM_API vlm_status vlm_grid_processor_new(void **processor, const vlm_processor_build *build,
                                          const vlm_grid_processor_spec *spec, vlm_error *err);
/** The other functions of that row. */
VLM_API const char *vlm_grid_placeholder(const void *processor, bool video);
VLM_API vlm_status vlm_grid_plan(const void *processor, vlm_plan *plan, vlm_error *err);
VLM_API vlm_status vlm_grid_fill(const void *processor, const vlm_plan *plan,
                                 const vlm_media *media, vlm_prepared *prepared, vlm_error *err);
VLM_API vlm_status vlm_grid_frame_size(const void *processor, const vlm_media_item *item,
                                       const vlm_processing *processing, vlm_size *size,
                                       const vlm_pixel_rules **rules, vlm_error *err);
VLM_API void vlm_grid_image_processor_config(const void *processor,
                                             vlm_image_processor_config *out);
/** sample() as Qwen2VLVideoProcessor has it; another class has its own, over the recipe of its videos. */
VLM_API vlm_status vlm_grid_sample(const void *processor, const vlm_clip *clip, int64_t *numbers,
                                   size_t *n, vlm_error *err);
VLM_API const vlm_grid_recipe *vlm_grid_video_recipe(const void *processor);

/* ---- views of one size (views.c) ------------------------------------------------------------- */
/**
 * How any picture becomes a view of the tower's size: CLIP's, SigLIP's and LLaVA's image processors. In this order:
 * padded to a square of the mean colour, resized, cut to its middle, rescaled, normalised.
 */
typedef struct vlm_view_rules {
    bool do_pad, do_resize, do_center_crop;
    uint32_t shortest_edge; /**< what the resize makes of the shorter side; 0: `size` says */
    vlm_size size, crop_size;
    vlm_pixel_rules pixels;
} vlm_view_rules;
/** Reads them under transformers' names, with the defaults of the class that image_processor_type names.
 * VLM_ERR_UNSUPPORTED for a class that makes no views of one size, and where sizes would follow the picture.
 * @param fallback_type class where the config names none: "CLIPImageProcessor" */
VLM_API vlm_status vlm_view_rules_read(vlm_view_rules *out, const vlm_json *image_config, const char *where,
                                       const char *fallback_type, vlm_error *err);
/** The size of a view. */
VLM_API vlm_size vlm_view_size(const vlm_view_rules *rules);
/** Adds "pixel_values" [pictures, 3, height, width], by the backend of the plan. */
VLM_API vlm_status vlm_views_fill(const vlm_view_rules *rules, const vlm_plan *plan, const vlm_media *media,
                                  vlm_prepared *prepared, vlm_error *err);
/** Copies the rules into what image_processor_config() fills. */
VLM_API void vlm_view_rules_describe(vlm_image_processor_config *out, const vlm_view_rules *rules);

/** Features of "pixel_values" [pictures, channels, side, side], of which the tower takes one at a time: what project()
 * makes of its rows. Empty when the input has no pictures, and when the frame failed.
 * @param project rows [n, vision dim] to [n, dim] @return [pictures * n, dim] */
VLM_API vlm_tensor vlm_view_features(vlm_frame *f, const vlm_prepared *prepared, const vlm_vision *vision, int64_t dim,
                                     vlm_tensor (*project)(vlm_frame *f, const void *model, vlm_tensor rows),
                                     const void *model);

/* ---- canvases of LLaVA-NeXT (pinpoints.c) ---------------------------------------------------- */
#define VLM_MAX_PINPOINTS 64
typedef struct vlm_pinpoints {
    size_t n;
    vlm_size at[VLM_MAX_PINPOINTS];
} vlm_pinpoints;
/** Reads "image_grid_pinpoints", a list of [height, width]; absent: LLaVA-NeXT's five. */
VLM_API vlm_status vlm_pinpoints_read(vlm_pinpoints *out, const vlm_json *config, const char *where,
                                      vlm_error *err);

/* ---- text of plans (views.c) ----------------------------------------------------------------- */
/** n copies of a text, one behind the other, that live as long as the plan; NULL: no memory. */
VLM_API char *vlm_plan_repeat(vlm_plan *plan, const char *text, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
