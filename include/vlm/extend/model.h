/* SPDX-License-Identifier: MIT */
/**
 * @file model.h
 * @brief What a model unit is made of: config tables, weight tables, shared parts, processors,
 * registration.
 *
 * Part of the extension interface (vlm/extend.h): version-locked, without an ABI promise.
 *
 * A VLM is one unit: a table of its config fields, a table of its weights, features() that turns
 * prepared media into rows for the text decoder, and a processor that says how pictures become
 * pixels and prompt text. Constructors do no I/O: they see the config, its verbatim body and the
 * mapped weights.
 */
#ifndef VLM_EXTEND_MODEL_H
#define VLM_EXTEND_MODEL_H

#include "vlm/extend/config.h"
#include "vlm/extend/nn.h"
#include "vlm/media.h"
#include "vlm/tokenizer.h"
#include "vlm/vlm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- building a model ------------------------------------------------------------------------ */
/** What a model constructor works with; borrowed for the call. */
typedef struct vlm_build vlm_build;
/** Parsed config.json. Lives as long as the context. */
VLM_API const vlm_json *vlm_build_config(const vlm_build *build);
/** Verbatim config.json. Lives as long as the context. */
VLM_API const char *vlm_build_config_text(const vlm_build *build);
/** What config.json says of every model: type, end tokens, quantization. Lives as long as the context. */
VLM_API const vlm_base_config *vlm_build_base_config(const vlm_build *build);
/** The user pointer of the registry's row: one constructor may serve several rows. */
VLM_API const void *vlm_build_user(const vlm_build *build);
/** Zeroed memory that lives as long as the model; NULL: no memory. */
VLM_API void *vlm_build_alloc(vlm_build *build, size_t count, size_t size);

/** What a row of a weight table is. */
typedef enum vlm_weight_kind {
    VLM_WEIGHT_LINEAR, /**< vlm_linear: "<name>.weight" [dims[0], dims[1]], maybe quantized, bias */
    VLM_WEIGHT_MATRIX, /**< vlm_matrix: "<name>.weight" [dims[0], dims[1]], maybe quantized */
    /** vlm_matrix: "<name>.weight" [dims[0], dims[1], dims[2]], maybe quantized: experts one below
     * the other, [dims[0] * dims[1], dims[2]]; vlm_matrix_rows() gives one of them */
    VLM_WEIGHT_EXPERTS,
    VLM_WEIGHT_NORM,   /**< vlm_norm: "<name>.weight" [dims[0]], bias */
    VLM_WEIGHT_TENSOR, /**< vlm_tensor: "<name>" of shape dims, any rank up to 5 */
    /** vlm_linear: "<name>.weight" [dims[0], dims[1], kernel...], flattened in that order; a file
     * in MLX layout (channels last) is brought into it */
    VLM_WEIGHT_CONV,
    /** vlm_depthwise: dims are out, in, kernel. "<name>.weight" [out, 1, kernel, kernel] with its bias, or with a
     * batch normalisation behind it ("bn" in the place of the name's last word, eps 1e-5), which is folded into
     * it. In float32, tap by tap: made while loading */
    VLM_WEIGHT_DEPTHWISE,
    VLM_WEIGHT_IGNORED /**< pattern with '*': names that may be there and are not read */
} vlm_weight_kind;

#define VLM_NEVER 0u
#define VLM_ALWAYS (~0u)
/** Indices into the dims array end with -1. */
#define VLM_DIMS(...)                                                                              \
    { __VA_ARGS__, -1 }

/** Rows of a weight table: VLM_BIND_LINEAR(layer, q_proj, "layers.%d.self_attn.q_proj", VLM_NEVER,
 * Q, DIM) has its member, its name, when it has a bias, and its shape; _IF has the condition of the
 * row first. */
#define VLM_BIND_ROW_(k, w, s, m, n, b, ...)                                                       \
    { VLM_WEIGHT_##k, n, offsetof(s, m), VLM_DIMS(__VA_ARGS__), w, b }
#define VLM_BIND_LINEAR(...) VLM_BIND_ROW_(LINEAR, VLM_ALWAYS, __VA_ARGS__)
#define VLM_BIND_LINEAR_IF(when, ...) VLM_BIND_ROW_(LINEAR, when, __VA_ARGS__)
#define VLM_BIND_MATRIX(s, m, n, ...)                                                              \
    VLM_BIND_ROW_(MATRIX, VLM_ALWAYS, s, m, n, VLM_NEVER, __VA_ARGS__)
#define VLM_BIND_EXPERTS(s, m, n, ...)                                                             \
    VLM_BIND_ROW_(EXPERTS, VLM_ALWAYS, s, m, n, VLM_NEVER, __VA_ARGS__)
#define VLM_BIND_NORM(...) VLM_BIND_ROW_(NORM, VLM_ALWAYS, __VA_ARGS__)
#define VLM_BIND_NORM_IF(when, ...) VLM_BIND_ROW_(NORM, when, __VA_ARGS__)
#define VLM_BIND_TENSOR(...) VLM_BIND_TENSOR_IF(VLM_ALWAYS, __VA_ARGS__)
#define VLM_BIND_TENSOR_IF(when, s, m, n, ...)                                                     \
    VLM_BIND_ROW_(TENSOR, when, s, m, n, VLM_NEVER, __VA_ARGS__)
#define VLM_BIND_CONV(...) VLM_BIND_ROW_(CONV, VLM_ALWAYS, __VA_ARGS__)
#define VLM_BIND_CONV_IF(when, ...) VLM_BIND_ROW_(CONV, when, __VA_ARGS__)
#define VLM_BIND_DEPTHWISE(...) VLM_BIND_ROW_(DEPTHWISE, VLM_ALWAYS, __VA_ARGS__)
#define VLM_BIND_IGNORED(n)                                                                        \
    { VLM_WEIGHT_IGNORED, n, 0, { -1 }, VLM_ALWAYS, VLM_NEVER }
#define VLM_BIND_IGNORED_IF(when, n)                                                               \
    { VLM_WEIGHT_IGNORED, n, 0, { -1 }, when, VLM_NEVER }

/** A row of a weight table. */
typedef struct vlm_weight_row {
    vlm_weight_kind kind;
    const char *name; /**< below the prefix; "%d" stands for the layer; alternatives by '|', MLX's
                           last */
    size_t offset;    /**< of the member in the object that is bound */
    int8_t dims[VLM_MAX_RANK + 1]; /**< shape as indices into the dims given at binding, ended by -1 */
    unsigned when;    /**< the row applies if any of these conditions holds; VLM_ALWAYS */
    unsigned bias;    /**< "<name>.bias" is there if any of these conditions holds; VLM_NEVER */
} vlm_weight_row;

/** Weight tables of a part, bound in one call for one object (a layer, a tower, a model). */
typedef struct vlm_binding {
    const char *prefix;  /**< in front of every name, its last dot included; alternatives by '|'
                              (one may be empty): Hugging Face's old and new nesting, and last
                              MLX's, under which a conversion writes */
    int layer;           /**< value of "%d" */
    const int64_t *dims; /**< what the rows' dims index */
    unsigned conditions; /**< bits that hold; the last bit always does */
} vlm_binding;
/**
 * Binds every row to its tensor: found under one of its names, of the demanded shape, or
 * VLM_ERR_WEIGHTS naming it. Data stays in the mapped file where its layout can be used as it is.
 */
VLM_API vlm_status vlm_bind(vlm_build *build, void *object, const vlm_weight_row *rows,
                            size_t n_rows, const vlm_binding *binding, vlm_error *err);

/* ---- shared parts: text decoders and vision towers ------------------------------------------- */
/** A text decoder, chosen by text_config.model_type. Immutable. */
typedef struct vlm_text vlm_text;
/** What a layer remembers of a sequence. */
typedef enum vlm_state_kind {
    VLM_STATE_KV,  /**< keys and values of every position */
    VLM_STATE_CONV /**< what the last positions brought a short convolution: kv_heads is 1, head_dim the
                        channels */
} vlm_state_kind;
typedef struct vlm_state_layer {
    vlm_state_kind kind;
    int64_t kv_heads, head_dim;
    int64_t window; /**< positions that are seen, the newest included; 0: all */
} vlm_state_layer;

/** Rows of one sequence in a batch. */
typedef struct vlm_sequence {
    int64_t start, length; /**< rows of this call */
    int64_t past;          /**< positions before them */
    const vlm_kv *kv;      /**< [layers], or NULL: nothing is remembered (past is 0) */
    const vlm_span *spans; /**< bidirectional spans, in positions */
    int n_spans;
} vlm_sequence;
/** Features that are added to some rows of a pass behind a layer (DeepStack). */
typedef struct vlm_injection {
    int layer;        /**< behind this one, from 0 */
    vlm_tensor index; /**< I32 [k]: rows of the pass, each once */
    vlm_tensor rows;  /**< [k, dim] */
} vlm_injection;
/** Input of a text decoder. */
typedef struct vlm_text_input {
    vlm_tensor embeddings; /**< [n, dim] float32; the forward pass works in it */
    vlm_tensor positions;  /**< I32 [axes, n]: one axis, or three for M-RoPE */
    const int32_t *host_positions; /**< the first axis [n] on the host, for decoders whose scores grow
                                        with positions; NULL: they do not grow */
    const vlm_sequence *sequences;
    int n_sequences;
    vlm_tensor wanted; /**< I32 [m]: rows whose hidden state is wanted; empty (of rank 0): all */
    const vlm_injection *injections;
    int n_injections;
} vlm_text_input;

/** Properties of a decoder that others need. */
typedef struct vlm_text_info {
    const char *model_type;
    int64_t hidden_size, vocab_size, layers, position_axes;
    const vlm_state_layer *state; /**< [layers] */
} vlm_text_info;

/** What a decoder is built from. */
typedef struct vlm_text_options {
    const vlm_json *config;    /**< text_config; NULL: the defaults of fallback_type */
    const char *fallback_type; /**< type when the config names none */
    const char *prefix; /**< in front of "embed_tokens", "layers.0", "norm"; as in vlm_binding */
    const char *head_prefix; /**< in front of "lm_head" */
    bool tied; /**< the head is the embedding table; a copy of it in the file is ignored */
    bool mlx_untied; /**< MLX's model has a head of its own even so: a conversion writes the copy */
} vlm_text_options;

/** Builds the decoder that the config's model_type names. */
VLM_API vlm_status vlm_text_new(vlm_text **out, vlm_build *build, const vlm_text_options *options,
                                vlm_error *err);
VLM_API const vlm_text_info *vlm_text_get_info(const vlm_text *text);
/** Token embeddings as they enter the merge. @param ids I32 [n] @return [n, dim] */
VLM_API vlm_tensor vlm_text_embed(vlm_frame *f, const vlm_text *text, vlm_tensor ids);
/** All layers and the final norm. Dumps hidden.0 ... hidden.N, hidden.norm. Behind the last layer's
 * keys and values, only rows that are wanted are computed. @return [n, dim], or [m, dim] */
VLM_API vlm_tensor vlm_text_forward(vlm_frame *f, const vlm_text *text,
                                    const vlm_text_input *input);
/** Logits of chosen rows. @param hidden [m, dim] @return float32 [m, vocab] */
VLM_API vlm_tensor vlm_text_logits(vlm_frame *f, const vlm_text *text, vlm_tensor hidden);

/** Most layers of the decoder that features enter behind. */
#define VLM_MAX_DEEP 8
/** A vision tower, chosen by vision_config.model_type. Immutable. */
typedef struct vlm_vision vlm_vision;
/** Input of a tower; each type says which fields it reads. */
typedef struct vlm_vision_input {
    /** One picture [channels, height, width], or [patches, values] with grids. */
    vlm_tensor pixels;
    /** Host [height, width], nonzero where there is picture; NULL: everywhere. A patch counts when
     * any of its pixels does. */
    const void *pixel_mask;
    vlm_dtype mask_dtype; /**< of pixel_mask: I64 or F32 */
    const int64_t *grids; /**< host [n_grids][3]: time, height, width in patches */
    int n_grids;
    vlm_tensor *deep; /**< [info.n_deep], written: features for behind the decoder's layers (DeepStack), [rows, dim]
                           each; NULL: not wanted */
} vlm_vision_input;
/** What a tower is built from. */
typedef struct vlm_vision_options {
    const vlm_json *config;    /**< vision_config; NULL: the defaults of fallback_type */
    const char *fallback_type; /**< type when the config names none */
    const char *prefix;        /**< as in vlm_binding */
    /** Hidden states that the features are made of, as transformers' vision_feature_layer counts
     * them: 0 enters the first layer, -1 leaves the last, -2 enters it; several stand side by side
     * in a row. NULL: what the tower itself gives. A tower may refuse (VLM_ERR_UNSUPPORTED). */
    const vlm_ints *layers;
    bool drop_class; /**< without the row of a class token: the first row, also where there is no
                          such token, as the reference has it */
} vlm_vision_options;
/** Builds the tower that the config's model_type names. */
VLM_API vlm_status vlm_vision_new(vlm_vision **out, vlm_build *build,
                                  const vlm_vision_options *options, vlm_error *err);
/** Properties of a tower that others need. */
typedef struct vlm_vision_info {
    int64_t dim; /**< width of a row of vlm_vision_forward */
    int64_t channels;
    int64_t image_size; /**< side of a picture in pixels; 0: any */
    int64_t patch_size; /**< side of a patch in pixels */
    int64_t extra_rows; /**< of a picture beyond one for each of its patches: 1 for a class token in
                             front of them, -1 for a first one that is dropped; 0 where rows are merged */
    int n_deep; /**< features that vlm_vision_input.deep takes; at most VLM_MAX_DEEP */
} vlm_vision_info;
VLM_API const vlm_vision_info *vlm_vision_get_info(const vlm_vision *vision);
/** @return [rows, dim]: patches in order, picture by picture; merged ones where the tower merges */
VLM_API vlm_tensor vlm_vision_forward(vlm_frame *f, const vlm_vision *vision,
                                      const vlm_vision_input *input);

/* ---- prepared input: what a processor makes and a model reads -------------------------------- */
/** Longest rank of an array in a prepared input. */
#define VLM_PREPARED_RANK 6
/** An array of a prepared input under the name Hugging Face's processor gives it. */
typedef struct vlm_array {
    const char *name; /**< "pixel_values", "image_grid_thw", ... */
    vlm_dtype dtype;  /**< F32 or I64 (as Hugging Face's), U8 for nothing yet */
    int rank;
    int64_t shape[VLM_PREPARED_RANK];
    void *data; /**< host memory, contiguous, owned by the prepared input */
} vlm_array;
/** Adds an array; *data is its zeroed memory to fill. */
VLM_API vlm_status vlm_prepared_add(vlm_prepared *prepared, const char *name, vlm_dtype dtype,
                                    int rank, const int64_t *shape, void **data, vlm_error *err);
/** Finds an array; NULL when the input has none of that name. */
VLM_API const vlm_array *vlm_prepared_find(const vlm_prepared *prepared, const char *name);
/** Finds an array that must be there, of this type and rank; shape[i] is demanded, -1: any. */
VLM_API vlm_status vlm_prepared_get(const vlm_array **out, const vlm_prepared *prepared,
                                    const char *name, vlm_dtype dtype, int rank,
                                    const int64_t *shape, vlm_error *err);
/** Writes a token's id as the model knows it, for a media token that is none of the vocabulary (-200 of LLaVA's
 * kin; an id is 32 bits, of which a prepared input's file shows the upper half as negative numbers). */
VLM_API void vlm_prepared_replace_token(vlm_prepared *prepared, uint32_t from, uint32_t to);
/** Token ids of a prepared input: [*count]. */
VLM_API const uint32_t *vlm_prepared_ids(const vlm_prepared *prepared, size_t *count);

/* ---- the model type -------------------------------------------------------------------------- */
/** Rows that take the place of a token's embeddings, in prompt order. */
typedef struct vlm_features {
    uint32_t token_id; /**< the media token whose rows they replace */
    vlm_tensor rows;   /**< [tokens, dim] */
    const char *name;  /**< of the seam, static: "image_features", "video_features" */
    vlm_tensor deep[VLM_MAX_DEEP]; /**< [tokens, dim] each: deep[i] is added to the same tokens'
                                        hidden state behind decoder layer i (DeepStack) */
    int n_deep;
} vlm_features;
#define VLM_MAX_FEATURES 4

/** Result of positions(): where every token of a prompt stands. */
typedef struct vlm_positions {
    int32_t *at;  /**< [axes, n], given by the caller, to be filled */
    int64_t n;    /**< tokens */
    int64_t past; /**< tokens of the session before them */
    int64_t next; /**< in: position that follows what was before (equals past without M-RoPE);
                       out: position of the first token generated after the prompt */
} vlm_positions;

/** A model type: one row of the registry. All functions but create may run on several threads at
 * once. */
typedef struct vlm_model_type {
    const char *model_type; /**< key of the registry */
    const char *aliases;    /**< further spellings in config.json, separated by '|'; may be NULL */
    const char
        *processor_class; /**< overrides the class that the processor files name; may be NULL */
    const char *default_processor_class; /**< taken when no file names one; may be NULL */
    /** Builds the model from build's config and weights. Memory from vlm_build_alloc needs no
     * freeing. */
    vlm_status (*create)(void **model, vlm_build *build, vlm_error *err);
    /** The decoder. */
    const vlm_text *(*text)(const void *model);
    /** Features of the media of a prepared input; writes up to VLM_MAX_FEATURES entries, returns
     * how many. */
    int (*features)(vlm_frame *f, const void *model, const vlm_prepared *prepared,
                    vlm_features *out);
    /** Positions of the prompt; NULL: 0, 1, 2, ... on the one axis. */
    vlm_status (*positions)(const void *model, const vlm_prepared *prepared,
                            vlm_positions *positions, vlm_error *err);
    /** The prompt's tokens all see each other (PaliGemma). */
    bool bidirectional_prompt;
    /** Media tokens of a kind that follow each other all see each other (Gemma 3). */
    bool bidirectional_media;
    /** Frees what create took beyond vlm_build_alloc; may be NULL. */
    void (*destroy)(void *model);
    const void *user; /**< what vlm_build_user() gives to create; may be NULL */
} vlm_model_type;

/* ---- the processor class --------------------------------------------------------------------- */
/** What a processor constructor sees. All borrowed; the JSON values live as long as the context. */
typedef struct vlm_processor_build {
    const char *processor_class;         /**< after any override */
    const char *processor_file;          /**< the file that named the class */
    const vlm_json *preprocessor_config; /**< preprocessor_config.json, or NULL */
    const vlm_json *processor_config;    /**< processor_config.json, or NULL */
    const char *preprocessor_text;       /**< verbatim preprocessor_config.json, or NULL */
    const char *processor_text;          /**< verbatim processor_config.json, or NULL */
    const vlm_json *image_config;        /**< where image processor keys are: the nested
                                              image_processor of transformers 5, else the above */
    const vlm_json *video_config;        /**< likewise; NULL when there is none */
    const char *image_where;             /**< what to call them in errors: the file and, where they
                                              are nested, the key */
    const char *video_where;
    const vlm_json *config;              /**< config.json */
    const char *config_text;             /**< verbatim config.json: the very text the model's constructor got */
    const vlm_base_config *base;         /**< what config.json says of every model */
    const vlm_tokenizer *tokenizer;
    const void *user;                    /**< user pointer of the registry's row */
    void *arena;
} vlm_processor_build;
/** Zeroed memory that lives as long as the processor; NULL: no memory. */
VLM_API void *vlm_processor_alloc(const vlm_processor_build *build, size_t count, size_t size);

/** A picture or a video to plan for: sizes only. */
typedef struct vlm_media_item {
    bool video;
    vlm_size size;  /**< of the picture, or of every frame */
    int64_t frames; /**< 1 for a picture */
    double fps;     /**< frames per second of the video; 0: unknown */
    const double *times; /**< [frames] seconds, of a video file; NULL: those that fps gives */
    double duration;     /**< of a video file, seconds */
} vlm_media_item;

/** A video file, for the choice of its frames. */
typedef struct vlm_clip {
    int64_t frames; /**< it holds */
    double fps;     /**< 0: unknown */
    double duration;
    double wish_fps;     /**< frames a second that the user wants; 0: as the checkpoint says */
    int64_t wish_frames; /**< most frames that the user wants; 0: likewise */
    int64_t wish_min_frames; /**< least frames that the user wants; 0: likewise */
    int64_t wish_nframes; /**< how many frames the user wants, whatever the rate; 0: as the rate says */
} vlm_clip;

/** What a processor decided for one item. */
typedef struct vlm_plan_item {
    char *expansion; /**< template text that takes the placeholder's place; from vlm_plan_alloc */
    int64_t tokens;  /**< media tokens in it */
    void *geometry;  /**< the processor's own; from vlm_plan_alloc */
} vlm_plan_item;
/** A plan for all media of one input, in the order images first, then videos. */
typedef struct vlm_plan {
    const vlm_media_item *media;
    vlm_plan_item *items; /**< [n], zeroed, to be filled */
    size_t n;
    const vlm_processing *processing; /**< the user's wishes; never NULL */
    void *arena;
} vlm_plan;
/** Zeroed memory that lives as long as the plan; NULL: no memory. */
VLM_API void *vlm_plan_alloc(vlm_plan *plan, size_t count, size_t size);
/** Formatted string that lives as long as the plan; NULL: no memory. */
VLM_API char *vlm_plan_printf(vlm_plan *plan, const char *fmt, ...) VLM_PRINTF(2, 3);

/** Decoded media, in the plan's order: item i has plan->media[i].frames pictures. */
typedef struct vlm_media {
    const vlm_image *const *frames;
    vlm_threads *threads; /**< of the context, for vlm_threads_run() and vlm_pixels_resize(); may be NULL */
} vlm_media;

/** What a message's content is for the chat template. */
typedef enum vlm_content {
    VLM_CONTENT_PARTS, /**< a list of parts: {"type": "image"}, {"type": "text", "text": ...} */
    VLM_CONTENT_TEXT   /**< a string: media are pieces of template text in it */
} vlm_content;

/** How messages show their media to the chat template. Images that a message shows as parts of its own stay
 * where they are; the others come in front of its text. */
typedef struct vlm_message_format {
    const char *name; /**< for lists; static */
    vlm_content content;
    /** PARTS: the type of an image's part. TEXT: what stands for an image, "%d" in it its number in the chat,
     * from 1. NULL: images have no place in messages. */
    const char *image;
    bool behind;         /**< images come behind the text; not in a message that has a video */
    bool together;       /**< TEXT: all images of a message stand where its first one does */
    bool video_parts;    /**< TEXT: a message that has a video is written as parts */
    bool assistant_text; /**< PARTS: of an assistant, the content is a string */
    bool bare;           /**< a checkpoint without a chat template is given the last message's content as it is */
} vlm_message_format;

/** How pixels of a picture become floats (below). */
typedef struct vlm_pixel_rules vlm_pixel_rules;

/** A processor class: one row of the registry. */
typedef struct vlm_processor_type {
    const char *processor_class;
    const char *aliases; /**< further spellings, separated by '|'; may be NULL */
    vlm_status (*create)(void **processor, const vlm_processor_build *build, vlm_error *err);
    void (*destroy)(void *processor); /**< may be NULL when create allocates nothing */
    /** Text that stands for an image / a video in the rendered template ("%d" in it: its number, from 1); NULL:
     * takes none. The function may be NULL when it takes neither; plan and fill may then be, too. */
    const char *(*placeholder)(const void *processor, bool video);
    /** Chat template used when the checkpoint has none; NULL: a checkpoint must have one. */
    const char *chat_template;
    /** Chat template used in place of the checkpoint's when the chat holds a video; may be NULL. */
    const char *video_chat_template;
    /** Texts of the processor's own end tokens ("<end_of_utterance>"). */
    const char *const *extra_eos;
    size_t n_extra_eos;
    /** Tokens that the reference's processor adds where the tokenizer lacks them, in its order. */
    const vlm_extra_token *extra_tokens;
    size_t n_extra_tokens;
    /** How messages show media to the template. NULL: as mlx-vlm's table says of the model type, which then also
     * says whether several images are refused; for a type that it lacks, parts with media in front of the text. */
    const vlm_message_format *message_format;
    /** Encode with the tokenizer's own special tokens (BOS), as the reference does. */
    bool add_special_tokens;
    /** Images and videos may not be mixed / several are refused / at least one is needed. */
    bool single_media_type, single_image, single_video, image_required;
    /** From sizes alone: geometry, expansions, token counts. No pixel is touched. */
    vlm_status (*plan)(const void *processor, vlm_plan *plan, vlm_error *err);
    /** Pixels straight into the arrays of the prepared input. */
    vlm_status (*fill)(const void *processor, const vlm_plan *plan, const vlm_media *media,
                       vlm_prepared *prepared, vlm_error *err);
    /** Which frames of a video file the reference takes, as numbers in ascending order.
       @param numbers [clip->frames] @param n how many; > 0. NULL: 2 a second by mlx-vlm's rule. */
    vlm_status (*sample)(const void *processor, const vlm_clip *clip, int64_t *numbers, size_t *n,
                         vlm_error *err);
    /** The size to which fill() resizes a frame of a video first, and the rules whose filter it takes: frames of a
       file are resized to it as they are decoded, where that is smaller, and only so kept. The item tells a frame's
       size and how many are asked for. A pure function; NULL: frames are kept as they are decoded. */
    vlm_status (*frame_size)(const void *processor, const vlm_media_item *item,
                             const vlm_processing *processing, vlm_size *size,
                             const vlm_pixel_rules **rules, vlm_error *err);
    /** Adjusts a raw prompt as the reference's processor does (PaliGemma's prefix); may be NULL.
       The text returned is owned by the plan's arena. */
    const char *(*raw_prompt)(const void *processor, vlm_plan *plan, const char *text);
    /** Says how it makes pixels (vlm_context_image_processor_config()); *out is zeroed. May be NULL. */
    void (*image_processor_config)(const void *processor, vlm_image_processor_config *out);
    const void *user; /**< what create finds in its vlm_processor_build; may be NULL */
} vlm_processor_type;

/* ---- pixels for processors ------------------------------------------------------------------- */
/** The generic picture pipeline: what image processor configs of all families share. */
struct vlm_pixel_rules {
    vlm_filter resample;
    bool do_rescale, do_normalize;
    double rescale_factor;
    double mean[3], std[3];
    vlm_resampler backend; /**< whose arithmetic; vlm_pixel_rules_for() sets it */
    const char *where;     /**< what errors call the config; borrowed */
};
/** Reads resample, do_rescale, rescale_factor, do_normalize, image_mean, image_std of an image
 * config. */
VLM_API vlm_status vlm_pixel_rules_read(vlm_pixel_rules *out, const vlm_json *image_config,
                                        const char *where, const vlm_pixel_rules *fallback,
                                        vlm_error *err);
/** The rules of a config with the backend that the user wishes (plan->processing). VLM_ERR_UNSUPPORTED, naming
 * file and key, when that has no such filter. */
VLM_API vlm_status vlm_pixel_rules_for(vlm_pixel_rules *out, const vlm_pixel_rules *rules,
                                       const vlm_processing *processing, vlm_error *err);
/** Copies the rules into what image_processor_config() fills. */
VLM_API void vlm_pixel_rules_describe(vlm_image_processor_config *out,
                                      const vlm_pixel_rules *rules);
/** Resizes by the filter and the backend of the rules. @param out owned, a copy in any case
 * @param threads of vlm_media, or NULL: the caller's */
VLM_API vlm_status vlm_pixels_resize(vlm_image **out, const vlm_image *image, vlm_size size,
                                     const vlm_pixel_rules *rules, vlm_threads *threads,
                                     vlm_error *err);
/** Rescaled and normalised planar floats of a rectangle of an image, bit for bit as transformers'
 * processors of the rules' backend. @param out [3, size.height, size.width] with row_stride and
 * plane_stride in floats */
VLM_API void vlm_pixels_planar(float *out, size_t row_stride, size_t plane_stride,
                               const vlm_image *image, uint32_t x, uint32_t y, vlm_size size,
                               const vlm_pixel_rules *rules);
/** For many small rectangles: what the rules make of bytes, once, */
VLM_API void vlm_pixel_table_init(vlm_pixel_table *out, const vlm_pixel_rules *rules);
/** and vlm_pixels_planar() by it. */
VLM_API void vlm_pixels_planar_by(float *out, size_t row_stride, size_t plane_stride,
                                  const vlm_image *image, uint32_t x, uint32_t y, vlm_size size,
                                  const vlm_pixel_table *table);

/* ---- registration ---------------------------------------------------------------------------- */
/** Adds a model type under vlm_remap_model_type() of its name; a row of the same key is replaced.
 * @param type must outlive the registry and what is loaded with it
 * @param displaced the row that was replaced, or NULL; may be NULL */
VLM_API vlm_status vlm_model_registry_add(vlm_model_registry *registry, const vlm_model_type *type,
                                          const vlm_model_type **displaced, vlm_error *err);
/** A registry in one call: what `from` holds (NULL: nothing), then these rows, a later one in the place of an
 * earlier one of its key. @param out owned @param types [n] */
VLM_API vlm_status vlm_model_registry_with(vlm_model_registry **out, const vlm_model_registry *from,
                                           const vlm_model_type *const *types, size_t n,
                                           vlm_error *err);
/** The row that serves a model type; NULL: none. A key goes before the alias of another row. */
VLM_API const vlm_model_type *vlm_model_registry_find(const vlm_model_registry *registry,
                                                      const char *model_type);
/** Constructs the model that the config of `build` names: the constructor runs with its row's user pointer.
 * VLM_ERR_UNKNOWN_MODEL_TYPE when no row serves it. */
VLM_API vlm_status vlm_model_registry_create(void **model, const vlm_model_registry *registry,
                                             vlm_build *build, vlm_error *err);

/** Adds a processor class under the very name it has; a row of the same key is replaced.
 * @param type,displaced as for model types */
VLM_API vlm_status vlm_processor_registry_add(vlm_processor_registry *registry,
                                              const vlm_processor_type *type,
                                              const vlm_processor_type **displaced, vlm_error *err);
/** A registry in one call, as for model types. */
VLM_API vlm_status vlm_processor_registry_with(vlm_processor_registry **out,
                                               const vlm_processor_registry *from,
                                               const vlm_processor_type *const *types, size_t n,
                                               vlm_error *err);
/** The row of a processor class; NULL: none. */
VLM_API const vlm_processor_type *vlm_processor_registry_find(const vlm_processor_registry *registry,
                                                              const char *processor_class);
/** Constructs the processor that build->processor_class names, which no override changes any more.
 * VLM_ERR_UNKNOWN_PROCESSOR when no row is of that name. */
VLM_API vlm_status vlm_processor_registry_create(void **processor,
                                                 const vlm_processor_registry *registry,
                                                 const vlm_processor_build *build, vlm_error *err);

/** The context's model, when `type` is the row that made it; NULL otherwise: the row is the class tag that makes
 * the cast to the concrete type safe. Borrowed. */
VLM_API const void *vlm_context_model(const vlm_context *context, const vlm_model_type *type);
/** The context's processor, likewise. */
VLM_API const void *vlm_context_processor(const vlm_context *context,
                                          const vlm_processor_type *type);
/** Fails unless the library's VLM_API_VERSION is the one the extension was compiled with. */
VLM_API vlm_status vlm_extend_check(int api_version, vlm_error *err);

#ifdef __cplusplus
}
#endif
#endif
