/* SPDX-License-Identifier: MIT */
/**
 * @file vlm.h
 * @brief Load a vision-language model from a checkpoint directory, ask it about pictures, read text.
 *
 * The four things to know:
 * - vlm_context: a loaded model with its processor, tokenizer and config. Immutable: any number of
 *   threads may use one at the same time.
 * - vlm_input: what a user says and shows (messages, images, videos).
 * - vlm_prepared: an input as token ids and pixels, made by vlm_prepare().
 * - vlm_session: one timeline of one conversation. Fed with prepared inputs, pulled for text. One thread
 *   at a time.
 *
 * @code
 * vlm_context *context;   vlm_input *input;   vlm_prepared *prepared;   vlm_session *session;
 * vlm_context_load(&context, "models/smolscene", NULL, &err);
 * vlm_input_new(&input, &err);
 * vlm_input_add_image_file(input, "photo.jpg", &err);
 * vlm_input_add_message(input, "user", "What is this?", &err);
 * vlm_prepare(&prepared, context, input, &err);
 * vlm_session_new(&session, context, NULL, &err);
 * vlm_session_feed(session, prepared, &err);
 * for (vlm_piece piece; vlm_session_next(session, &piece, &err) == VLM_OK;) fputs(piece.text, stdout);
 * @endcode
 *
 * Every function returns a vlm_status (negative: error, 0: fine, positive: a normal condition) and fills
 * the vlm_error, which may be NULL. On an error every out-handle is NULL and arguments keep their owner.
 * A null where a pointer is needed is VLM_ERR_ARGUMENT; functions without a status give NULL or do nothing.
 * Option structs start from their _INIT: a caller built against an older header may hand in a shorter one; in a
 * longer one, what this version does not know must be zero.
 * Ownership words: owned (the caller frees it), borrowed (valid as long as its source), consumed
 * (handed over, on success only). The library never exits, prints, reads the environment or keeps
 * global state.
 */
#ifndef VLM_VLM_H
#define VLM_VLM_H

#include <stdbool.h>

#include "vlm/base.h"
#include "vlm/load.h"
#include "vlm/media.h"
#include "vlm/reply.h"
#include "vlm/tokenizer.h"
#include "vlm/video.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- context ---------------------------------------------------------------------------------------- */
/** Numeric modes. */
typedef enum vlm_precision {
    VLM_PRECISION_AUTO = 0, /**< fast: bfloat16 products where weights are bfloat16, float32 accumulation */
    VLM_PRECISION_F32 = 1,  /**< exact: float32 activations and products whatever the weights' type */
    VLM_PRECISION_BF16 = 2,
    VLM_PRECISION_F16 = 3
} vlm_precision;

/** The stages of a load, in their order. What fails for ordinary reasons comes before what costs time: nothing
 * of a later stage is touched when one fails. */
typedef enum vlm_load_stage {
    VLM_LOAD_RESOLVE,          /**< which directory; a hub id is pulled into the cache */
    VLM_LOAD_CONFIG,           /**< config.json and generation_config.json, each read once */
    VLM_LOAD_MODEL_TYPE,       /**< the model type is registered, its quantization one that is known */
    VLM_LOAD_PROCESSOR_CONFIG, /**< the processor's files, each read once */
    VLM_LOAD_PROCESSOR_CLASS,  /**< the processor class, after any override, is registered */
    VLM_LOAD_TOKENIZER_SOURCE, /**< which directory the tokenizer comes from */
    VLM_LOAD_WEIGHTS,          /**< the weights are opened */
    VLM_LOAD_TOKENIZER,        /**< the tokenizer and the chat template are built, end tokens resolved */
    VLM_LOAD_MODEL,            /**< the model is constructed; no file is opened from here on */
    VLM_LOAD_PROCESSOR         /**< the processor is constructed */
} vlm_load_stage;

/** Where a load stands. Every stage is told of twice at least: when it begins and when it is over. */
typedef struct vlm_load_progress {
    vlm_load_stage stage;
    const char *what;     /**< file, directory or name concerned; borrowed for the call */
    uint64_t done, total; /**< 0 of 1, then 1 of 1; between them, bytes where something is downloaded */
} vlm_load_progress;
/** Told on the loading thread. Nonzero cancels: the load ends with VLM_ERR_CANCELLED and leaves nothing behind. */
typedef int (*vlm_load_progress_fn)(void *user, const vlm_load_progress *progress);

/** How to load. All pointers are borrowed for the call, except those to rows inside the registries. */
typedef struct vlm_load_options {
    size_t struct_size;
    const char *tokenizer_source; /**< directory or hub id; NULL: what the checkpoint registry says, else the
                                       checkpoint's directory */
    const char *backend;          /**< NULL, "auto" or "cpu"; "cuda": an NVIDIA GPU, through libvlm-cuda.so */
    int device;                   /**< which GPU */
    int threads;                  /**< 0: one per CPU the process may use */
    vlm_precision precision;
    bool lenient;                 /**< tensors that no part of the model names, or that an index makes up, are log lines, not an error */
    bool in_memory;               /**< weights are read into memory, not mapped: nobody can cut them short */
    const vlm_model_registry *models;           /**< NULL: what is built in, as for the next two */
    const vlm_processor_registry *processors;
    const vlm_checkpoint_registry *checkpoints;
    const char *const *extra_eos; /**< texts of further end tokens; those the vocabulary lacks are passed over */
    size_t n_extra_eos;
    const vlm_limits *limits;     /**< NULL: defaults */
    vlm_log_fn log;               /**< may be NULL */
    void *log_user;
    vlm_open_fn opened;           /**< told of every file before it is opened; may be NULL */
    void *opened_user;
    vlm_load_progress_fn progress; /**< may be NULL */
    void *progress_user;
    const vlm_hub_options *hub;   /**< where an id ("org/name") that is no directory is looked for: the snapshot in
                                       the cache, else it is pulled. Its revision goes before the checkpoint
                                       registry's. NULL: directories only */
    bool no_int8_activations;     /**< never round activations to 8 bits: where the fast mode multiplies them as
                                       bytes with quantized weights, it takes 16 bits, for half the speed */
} vlm_load_options;
#define VLM_LOAD_OPTIONS_INIT { sizeof(vlm_load_options), NULL, NULL, 0, 0, VLM_PRECISION_AUTO, false, false, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false }

/** A loaded model, processor, tokenizer and config. Immutable, thread-safe. Outlives its sessions. */
typedef struct vlm_context vlm_context;

/**
 * The load factory: loads a checkpoint in the order of vlm_load_stage.
 *
 * What is known of a checkpoint beside its files comes from the checkpoint registry: the entry of this id, or, for
 * a directory, the entry whose snapshot in a hub cache it is, else the first whose id ends in the directory's name.
 * @param out owned @param dir_or_id a directory, or the id of a checkpoint @param options NULL: defaults
 */
VLM_API vlm_status vlm_context_load(vlm_context **out, const char *dir_or_id,
                                    const vlm_load_options *options, vlm_error *err);
/** NULL is fine. Sessions of the context must be gone. */
VLM_API void vlm_context_free(vlm_context *context);

/** What a context is made of; borrowed from it. */
typedef struct vlm_context_info {
    const char *model_type;      /**< as registered, after remapping */
    const char *processor_class; /**< after any override */
    const char *processor_file;  /**< who named the class: see vlm_processor_config_named_by() */
    const char *config_json;     /**< verbatim config.json */
    const char *backend;
    const char *default_prompt;  /**< from the checkpoint registry; may be NULL */
    const uint32_t *eos_ids;
    size_t n_eos;
    uint64_t parameters;
    uint64_t weight_bytes;       /**< bytes of the tensors that the model uses */
    uint64_t computed_bytes;     /**< of them, held in memory beside the mapped files */
    uint32_t vocab_size;
    uint32_t layers;
    const char *directory;           /**< where the checkpoint's files are */
    const char *tokenizer_directory; /**< where the tokenizer's are */
    const char *const *eos_sources;  /**< [n_eos]: who named each: "config.json", "generation_config.json",
                                          "tokenizer", "checkpoint registry", "processor", "caller", ... */
} vlm_context_info;
VLM_API const vlm_context_info *vlm_context_get_info(const vlm_context *context);
/** The context's base config; borrowed. */
VLM_API const vlm_base_config *vlm_context_base_config(const vlm_context *context);
/** The context's processor config, as the files are: a model type may override its class; borrowed. */
VLM_API const vlm_processor_config *vlm_context_processor_config(const vlm_context *context);
/** The context's tokenizer; borrowed. */
VLM_API const vlm_tokenizer *vlm_context_tokenizer(const vlm_context *context);
/** How the context's processor makes pixels of a picture; borrowed. NULL when its class does not say. */
VLM_API const vlm_image_processor_config *vlm_context_image_processor_config(
    const vlm_context *context);

/* ---- input ------------------------------------------------------------------------------------------- */
/** Wishes about picture processing; zero means what the checkpoint says. */
typedef struct vlm_processing {
    size_t struct_size;
    uint64_t min_pixels, max_pixels; /**< pixel budget of a picture, for families that have one */
    vlm_size resize;                 /**< best fit inside, before the family's own processing */
    vlm_resampler image_backend;     /**< whose pixels: transformers' processors of which backend; Pillow's by
                                          default */
    double fps;                      /**< of videos given as frames; frames a second to take of video files */
    uint32_t max_frames;             /**< most frames of a video */
    uint32_t pan_and_scan;           /**< 1: a long picture is followed by its crops, for families that know how */
} vlm_processing;
#define VLM_PROCESSING_INIT { sizeof(vlm_processing), 0, 0, { 0, 0 }, VLM_RESAMPLER_PILLOW, 0, 0, 0 }

/** What a user says and shows. One thread at a time. */
typedef struct vlm_input vlm_input;
/** @param out owned */
VLM_API vlm_status vlm_input_new(vlm_input **out, vlm_error *err);
VLM_API void vlm_input_free(vlm_input *input);
/** Appends a message. Images and videos added before it and since the last message belong to it; those added
 * behind the last one, to the last message of a user.
 * @param role "user", "assistant", "system" @param text UTF-8, copied; plain text: no special token in it counts */
VLM_API vlm_status vlm_input_add_message(vlm_input *input, const char *role, const char *text,
                                         vlm_error *err);
/** Sets the whole chat, once: a JSON array of messages in OpenAI form (content parts text, image, image_url,
 * video). Pictures and videos named by path in parts are opened (a video may be a directory of frames or a list of
 * their paths; docs/VIDEO.md says what else its part may have); parts without a path take those added before, in
 * order. What no part takes belongs to the last message of a user. */
VLM_API vlm_status vlm_input_set_messages(vlm_input *input, const char *json, vlm_error *err);
/** Sets the prompt as it is: no template, special tokens parsed, media placeholders as the checkpoint writes them. */
VLM_API vlm_status vlm_input_set_raw(vlm_input *input, const char *text, vlm_error *err);
/** Adds a picture. @param image consumed */
VLM_API vlm_status vlm_input_add_image(vlm_input *input, vlm_image *image, vlm_error *err);
/** Opens and adds a picture file. */
VLM_API vlm_status vlm_input_add_image_file(vlm_input *input, const char *path, vlm_error *err);
/** Adds a video given as frames, all of one size. @param frames [n] consumed (the images, not the array)
 * @param fps frames per second; 0: unknown */
VLM_API vlm_status vlm_input_add_video(vlm_input *input, vlm_image *const *frames, size_t n, double fps,
                                       vlm_error *err);
/** Adds the pictures of a directory, in name order, as one video. */
VLM_API vlm_status vlm_input_add_video_dir(vlm_input *input, const char *dir, double fps,
                                           vlm_error *err);
/** Opens and adds a video file; which of its frames are taken is the processor's to say, from the wishes and the
 * checkpoint, when the input is prepared, and only those are decoded then. Errors: vlm_video_open()'s. */
VLM_API vlm_status vlm_input_add_video_file(vlm_input *input, const char *path, vlm_error *err);
/** The same of a video that is open. @param video consumed
 * @param fps, max_frames in place of the input's wishes; 0: those */
VLM_API vlm_status vlm_input_add_video_opened(vlm_input *input, vlm_video *video, double fps,
                                              uint32_t max_frames, vlm_error *err);
/** Copies the wishes. */
VLM_API vlm_status vlm_input_set_processing(vlm_input *input, const vlm_processing *processing,
                                            vlm_error *err);
/** A further variable of the chat template. @param json any JSON value ("tools" is an array of tools). The members
 * of vlm_template_render() that say how to render ("chat_template", "continue_final_message", "_trusted_roles",
 * "_now") may be set here, too. */
VLM_API vlm_status vlm_input_set_variable(vlm_input *input, const char *name, const char *json,
                                          vlm_error *err);

/* ---- prepared input ------------------------------------------------------------------------------------ */
/** Token ids, masks, pixels and grids. Immutable once made, thread-safe. */
typedef struct vlm_prepared vlm_prepared;
/** Renders the chat template, expands media, tokenizes, processes pictures.
 * A later turn of a session takes an input with only the new messages. */
VLM_API vlm_status vlm_prepare(vlm_prepared **out, const vlm_context *context, const vlm_input *input,
                               vlm_error *err);
/** Reads a prepared input (a safetensors file with the names Hugging Face's processor uses). */
VLM_API vlm_status vlm_prepared_load(vlm_prepared **out, const vlm_context *context, const char *path,
                                     vlm_error *err);
/** Writes a prepared input as such a file. */
VLM_API vlm_status vlm_prepared_save(const vlm_prepared *prepared, const char *path, vlm_error *err);
VLM_API void vlm_prepared_free(vlm_prepared *prepared);
/** Number of prompt tokens, and how many of them are media tokens (*media_tokens may be NULL). */
VLM_API size_t vlm_prepared_tokens(const vlm_prepared *prepared, size_t *media_tokens);

/* ---- session ----------------------------------------------------------------------------------------------- */
/** How the next token is chosen. Zero means the default named. Filters act on untempered probabilities,
 * in the order top_p, min_p, top_k, and the temperature comes last, as in mlx-vlm. */
typedef struct vlm_sampling {
    float temperature;         /**< 0: greedy */
    float top_p;               /**< 0 or 1: off */
    float min_p;               /**< 0: off */
    uint32_t top_k;            /**< 0: off */
    float repetition_penalty;  /**< 0 or 1: off */
    float presence_penalty;    /**< 0: off */
    float frequency_penalty;   /**< 0: off */
    uint32_t penalty_window;   /**< last tokens that penalties look at, prompt included; 0: 20 */
    uint64_t seed;
} vlm_sampling;

/** How a session runs. */
typedef struct vlm_session_options {
    size_t struct_size;
    uint32_t context;            /**< tokens the session can hold; 0: what the first feed and max_tokens need */
    uint32_t max_tokens;         /**< tokens to generate per turn; 0: 256 */
    uint32_t prefill_step;       /**< rows of the prompt worked on at once; 0: 2,048 */
    vlm_sampling sampling;
    bool ignore_eos;
    const char *const *stops;    /**< stop strings; copied */
    size_t n_stops;
    /** Called between prefill steps with rows done and in all; a nonzero return cancels. May be NULL. */
    int (*progress)(void *user, size_t done, size_t total);
    void *progress_user;
    uint32_t thinking_budget;    /**< most tokens of thinking per turn: behind them a line end and the end marker are
                                      forced. 0: no budget. A block that the prompt opens counts from its first token */
    const char *thinking_start, *thinking_end; /**< the markers, of up to 8 tokens each; NULL: those that are known and
                                                    whose end the vocabulary has */
    bool special_text;           /**< special tokens give text, too, as vlm_reply needs it */
    uint32_t kv_bits;            /**< bits of a stored key or value: 16, 8 or 4 (these two quantized, in groups of 64, or
                                      of 32 where heads are no multiple of it); 0: 16, or float32 in the exact mode */
} vlm_session_options;
#define VLM_SESSION_OPTIONS_INIT { sizeof(vlm_session_options), 0, 0, 0, { 0, 0, 0, 0, 0, 0, 0, 0, 0 }, false, NULL, 0, NULL, NULL, 0, NULL, NULL, false, 0 }

/**
 * Describes a checkpoint directory without reading its weights: types, processor, dtypes, missing and unused
 * tensors, end tokens and where each came from. What is not there (processor, tokenizer, weights) is said to be
 * absent; of a hub id that the cache lacks, everything but the weights is pulled. With an input (may be NULL) also
 * what a session with these options (NULL: defaults) would hold in memory: a dry run of its forward pass.
 * @param json owned, a JSON object; free with vlm_string_free()
 * @param dir a directory, or an id as in vlm_context_load()
 */
VLM_API vlm_status vlm_inspect(char **json, const char *dir, const vlm_load_options *options,
                               const vlm_input *input, const vlm_session_options *session, vlm_error *err);

/** Why a turn ended. */
typedef enum vlm_finish { VLM_FINISH_NONE, VLM_FINISH_STOP, VLM_FINISH_LENGTH, VLM_FINISH_CANCEL } vlm_finish;

/** One step of generation. */
typedef struct vlm_piece {
    const char *text;  /**< UTF-8, whole characters, NUL-terminated; may be empty; borrowed until the next call */
    size_t bytes;
    uint32_t token;    /**< the id generated */
    bool has_token;    /**< false for the last piece, which may carry held-back text only */
    vlm_finish finish; /**< set on the last piece */
} vlm_piece;

/** One timeline: the state of every layer, and the sampler. One thread at a time. */
typedef struct vlm_session vlm_session;
/** @param out owned; must be freed before the context @param options NULL: defaults; copied */
VLM_API vlm_status vlm_session_new(vlm_session **out, const vlm_context *context,
                                   const vlm_session_options *options, vlm_error *err);
VLM_API void vlm_session_free(vlm_session *session);
/** Reads a prompt (prefill): the first turn, or a further one behind what is there. On an error the session
 * is as before the call. */
VLM_API vlm_status vlm_session_feed(vlm_session *session, const vlm_prepared *prepared, vlm_error *err);
/** Brings the session to a whole conversation: `prepared` is the prompt of all its turns. What the session
 * already holds of it is kept (the longest common beginning whose pictures are the same too), the rest is
 * read. Gives what feeding the whole prompt to a fresh session gives. An error (a cancelled prefill) may leave
 * less of the timeline, down to nothing, and the turn over; it can be synced or fed again. */
VLM_API vlm_status vlm_session_sync(vlm_session *session, const vlm_prepared *prepared, vlm_error *err);
/** Generates one token. VLM_OK: piece holds it. VLM_DONE: the turn is over, piece holds what text was left
 * and the finish reason. To cancel is to stop calling. When the text of a token is lost to a lack of memory the
 * turn is over; after other errors the call can be made again. */
VLM_API vlm_status vlm_session_next(vlm_session *session, vlm_piece *piece, vlm_error *err);
/** Advances several sessions of one context together by one token each; none may be given twice.
 * @param sessions,pieces,statuses [n]; statuses get what vlm_session_next would return, the error of one
 * session among them. A negative return is about the whole call: then no session has chosen a token. */
VLM_API vlm_status vlm_sessions_next(vlm_session *const *sessions, vlm_piece *pieces,
                                     vlm_status *statuses, size_t n, vlm_error *err);
/** Forgets everything; the memory is kept. */
VLM_API void vlm_session_reset(vlm_session *session);

/** What happened so far. */
typedef struct vlm_session_stats {
    size_t prompt_tokens, generated_tokens; /**< of the last turn */
    size_t media_tokens;                    /**< of the prompt tokens, those that features took the place of */
    size_t length, capacity;                /**< tokens held, tokens that fit */
    double vision_ms, prefill_ms, decode_ms;
    uint64_t kv_bytes, scratch_bytes;
} vlm_session_stats;
VLM_API void vlm_session_get_stats(const vlm_session *session, vlm_session_stats *stats);

/** One answer in one call. @param text owned; free with vlm_string_free() */
VLM_API vlm_status vlm_generate(char **text, const vlm_context *context, const vlm_input *input,
                                const vlm_session_options *options, vlm_error *err);

/** Stages of a forward pass that can be written to a file. */
typedef enum vlm_stage { VLM_STAGE_VISION, VLM_STAGE_LAYERS, VLM_STAGE_LOGITS } vlm_stage;
/** Runs a prompt and writes the values of one stage: `image_features`; `hidden.0` ... `hidden.norm`;
 * `logits`. (The processor's stage is vlm_prepared_save().) */
VLM_API vlm_status vlm_dump_stage(const vlm_context *context, const vlm_prepared *prepared,
                                  vlm_stage stage, const char *path, vlm_error *err);

#ifdef __cplusplus
}
#endif
#endif
