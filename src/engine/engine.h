/* SPDX-License-Identifier: MIT */
/* The engine: the load factory, prompt assembly, forward passes, sessions, sampling, generation. It knows
 * families only through the registries. */
#ifndef VLM_ENGINE_H
#define VLM_ENGINE_H

#include "models/models.h"
#include "vlm/vlm.h"

/* ---- the configs of a checkpoint directory -------------------------------------------------------------
 * The pages are vlm/load/configs.h's. */
/* One JSON file (configs.c). */
typedef struct vengine_document {
    char *name;          /* path, as messages have it */
    char *text;          /* verbatim, NUL-terminated; NULL: absent */
    size_t bytes;
    vcore_json_doc *doc; /* NULL: absent, or not parsed */
} vengine_document;
/* Where documents come from: a directory, or texts in memory. */
typedef struct vengine_reader {
    const char *dir; /* NULL: memory */
    const vlm_config_text *texts; /* told apart by what is behind the last '/' of their names */
    size_t n_texts;
    vio_source source;
    vtext_folder *folder; /* of dir, for the files that others read, too; NULL: reads them itself */
} vengine_reader;
/* Of the part of the options that says how files are read. */
vio_source vengine_source_of(const vlm_load_options *options);
/* VLM_ERR_NOT_FOUND: what should be a checkpoint directory is a file, or nothing. */
vlm_status vengine_fail_no_dir(vlm_error *err, const char *dir);
/* The same of a caller's options, which may be NULL. */
vlm_status vengine_take_source(vio_source *out, const vlm_load_options *options, vlm_error *err);
/* A reader of texts: each must have a name. who: the function that was given them. */
vlm_status vengine_take_texts(vengine_reader *out, const vlm_config_text *texts, size_t n,
                              const vlm_load_options *options, const char *who, vlm_error *err);
/* An absent file is no error. On an error the document is empty. */
vlm_status vengine_document_read(vengine_document *out, const vengine_reader *from, const char *name,
                                 vlm_error *err);
vlm_status vengine_document_parse(vengine_document *d, vlm_error *err); /* it must hold an object */
const vlm_json *vengine_document_json(const vengine_document *d);       /* NULL: not parsed */
void vengine_document_free(vengine_document *d);

/* base_config.c and processor_config.c: what the public functions are made of. */
vlm_status vengine_base_config_new(vlm_base_config **out, const vengine_reader *from, vlm_error *err);
vlm_status vengine_processor_config_new(vlm_processor_config **out, const vengine_reader *from,
                                        const char *default_class, vlm_error *err);

/* ---- end tokens (eos.c) ------------------------------------------------------------------------------ */
/* The rule of vlm_base_config_eos; *ids is owned, and out points into it. config_file: in messages. */
vlm_status vengine_eos_resolve(vlm_config_eos *out, uint32_t **ids, const vlm_json *config,
                               const char *config_file, const vlm_json *generation,
                               const char *generation_file, uint64_t limit, vlm_error *err);
/* A context's set: each id once, with who named it first. */
typedef struct vengine_eos {
    uint32_t *id;
    const char **source; /* static: as vlm_config_eos says, "tokenizer", "processor", ... */
    size_t n, cap;
    uint64_t limit;
} vengine_eos;
/* Starts with the configs' or, where they say nothing, the tokenizer's own. */
vlm_status vengine_eos_start(vengine_eos *eos, const vlm_config_eos *config,
                             const vlm_tokenizer *tokenizer, uint64_t limit, vlm_error *err);
/* Adds the ids of token texts; a text the vocabulary lacks is skipped. */
vlm_status vengine_eos_add(vengine_eos *eos, const vlm_tokenizer *tokenizer,
                           const char *const *tokens, size_t n, const char *source, vlm_error *err);
bool vengine_eos_has(const vengine_eos *eos, uint32_t id);
void vengine_eos_free(vengine_eos *eos);

/* ---- option structs (options.c) -----------------------------------------------------------------------------
 * Copies a caller's option struct over the defaults in `to`: an older caller's is shorter; a newer one's is
 * longer, and refused when something this library does not know is set. */
vlm_status vengine_take_options(void *to, size_t size, const void *from, const char *what,
                                vlm_error *err);

/* ---- the user's wishes (processing.c) ---- */
/* Largest size with the picture's aspect inside the wished box; the picture's own when none is wished. */
vlm_size vengine_wished_size(vlm_size size, vlm_size box);

/* ---- checkpoints (checkpoints.c) -------------------------------------------------------------------------
 * What the registry knows of a checkpoint: the entry of this id; for a directory, the first one whose id ends in
 * the directory's name. NULL: nothing. */
const vlm_model_configuration *vengine_configuration_of(const vlm_checkpoint_registry *registry,
                                                        const char *dir_or_id, bool is_dir);

/* ---- context (context.c) ---------------------------------------------------------------------------------- */
struct vlm_context {
    vlm_context_info info;
    vio_source source; /* how its files are opened: limits, log */
    char *dir, *tokenizer_dir, *default_prompt;
    vlm_base_config *config;
    vlm_processor_config *processor_config;
    vio_tensors *tensors;
    vlm_tokenizer *tokenizer;
    vtext_template *chat_template, *video_template; /* may be NULL */
    vtensor_backend *backend;
    vtensor_mode mode;
    vcore_arena *arena;         /* the model's memory */
    vlm_build *build;
    const vlm_model_type *model_type;
    void *model;
    const vlm_processor_type *processor_type;
    void *processor;
    const vlm_message_format *message_format; /* never NULL where the tokenizer is loaded */
    bool single_image; /* mlx-vlm's table says so of the type */
    vlm_image_processor_config image_processor;
    vengine_eos eos;
};

/* ---- the load factory (factory.c) -------------------------------------------------------------------------- */
/* How far to load: an inspection reads headers only, runs on the dry backend, and goes on without weights,
 * tokenizer or processor files: what is not there is NULL. A conversion reads headers only, too, refuses what a load
 * refuses, and keeps the rows that were bound. */
typedef enum vengine_depth { VENGINE_LOAD, VENGINE_INSPECT, VENGINE_CONVERT } vengine_depth;
vlm_status vengine_load(vlm_context **out, const char *dir_or_id, const vlm_load_options *options,
                        vengine_depth depth, vlm_error *err);

/* ---- input (input.c) and prompt assembly (prompt.c) ---------------------------------------------------------- */
/* Wishes for the frames of one video, in place of the input's; zeros: none. */
typedef struct vengine_frame_wishes {
    double fps;
    int64_t nframes, min_frames, max_frames;
} vengine_frame_wishes;
typedef struct vengine_video {
    vlm_image **frames; /* given; NULL where they come from a file */
    size_t n;
    double fps;
    vlm_video *file; /* decoded when the input is prepared: the processor decides which frames; or NULL */
    vengine_frame_wishes wish;
} vengine_video;
typedef struct vengine_message {
    char *role, *text;
    size_t images, videos; /* that belong to it */
} vengine_message;
struct vlm_input {
    vengine_message *messages;
    size_t n_messages;
    char *messages_json; /* whole chat in OpenAI form, instead of messages */
    char *raw;           /* raw prompt, instead of both */
    vlm_image **images;
    size_t n_images, claimed_images; /* claimed: by a message */
    vengine_video *videos;
    size_t n_videos, claimed_videos;
    vlm_processing processing;
    char **variable_names, **variable_values;
    size_t n_variables;
};
/* ---- messages for the template (messages.c) ---- */
/* Whether a content part's type is of a kind ("image", "video"): image, image_url, input_image. */
bool vengine_part_is(vcore_str type, const char *kind);
/* Adds "messages" and "_control" (see vtext_template_render) to an open object: media as the format shows them, in
 * the message that has them; media of no message in the last one of a user. */
vlm_status vengine_messages_write(vcore_buf *b, const vlm_input *input, const vlm_message_format *format,
                                  vlm_error *err);

/* Frames of a video file (clips.c), as small as the processor needs them, and what it plans by. */
typedef struct vengine_clip {
    vlm_processed_frames kept;
    vlm_media_item item; /* its size is a frame's before the processor's resize; times: kept's */
} vengine_clip;
/* @param out zeroed; kept is freed by the caller, after an error, too */
vlm_status vengine_clip_read(vengine_clip *out, const vlm_context *c, const vlm_input *in,
                             const vengine_video *v, vlm_error *err);
/* vlm_prepare (prepare.c); *decoded: bytes of the pictures and frames that it worked on, given ones and kept ones. */
vlm_status vengine_prepare(vlm_prepared **out, uint64_t *decoded, const vlm_context *c,
                           const vlm_input *in, vlm_error *err);
/* Prompt text with expansions in place, as spans of template and user text. */
typedef struct vengine_prompt {
    vcore_buf text;
    vtext_span *spans; /* into text */
    size_t n_spans, cap;
    bool add_special;
    vtext_rendered rendered; /* before expansion; empty for a raw prompt */
} vengine_prompt;
/* What stands for a picture or video in the template; NULL: the processor takes none. */
const char *vengine_placeholder(const vlm_context *c, bool video);
/* Renders and, of a chat, counts places and media, before anything is decoded. out: to be freed, failed or not. */
vlm_status vengine_prompt_begin(vengine_prompt *out, const vlm_context *c, const vlm_input *input, vlm_error *err);
/* Puts the plan's expansions in their places: images first, then videos. */
vlm_status vengine_prompt_expand(vengine_prompt *prompt, const vlm_context *c, const vlm_input *input,
                                 vlm_plan *plan, vlm_error *err);
void vengine_prompt_free(vengine_prompt *p);

/* ---- forward passes (merge.c, forward.c) ------------------------------------------------------------------------- */
/* One prompt's run through the model inside a frame that has begun. */
typedef struct vengine_run {
    const vlm_context *context;
    vlm_frame *frame;
    const uint32_t *ids;
    size_t n;
    const int32_t *positions;         /* [axes, n] */
    vlm_features features[VLM_MAX_FEATURES];
    int n_features;
} vengine_run;
/* Runs the tower over a prepared input's media and checks that features and media tokens agree in number. */
vlm_status vengine_run_features(vengine_run *run, const vlm_prepared *prepared, vlm_error *err);
/* From `first` on every id must be a row of the embeddings, or the media token of one of the run's features. */
vlm_status vengine_run_check_ids(const vengine_run *run, size_t first, vlm_error *err);
/* What the rows [begin, end) of a run are made of: features in the place of media tokens, and what the decoder is told of
 * them. Positions count from the beginning of the sequence, `past` tokens before the run. */
typedef struct vengine_rows {
    vlm_tensor embeddings; /* [end - begin, dim] */
    const vlm_span *spans; /* that see each other; into the next two */
    int n_spans;
    vlm_span whole, *own;
    vlm_injection injections[VLM_MAX_FEATURES * VLM_MAX_DEEP];
    int n_injections;
} vengine_rows;
/* Free it after the pass, whatever became of the frame. */
void vengine_rows_of(vengine_rows *rows, const vengine_run *run, size_t begin, size_t end, size_t past);
void vengine_rows_free(vengine_rows *rows);
/* Where a pass that begins at `begin` ends: behind `step` rows, or where no tokens that see each other are parted. */
size_t vengine_run_cut(const vengine_run *run, size_t begin, size_t step);
/* Reads rows [first, run->n) of a prompt that begins behind `past` tokens, in the steps of the options; a prompt
 * whose tokens all see each other goes in one. The last row's logits stay: [vocab]. */
typedef struct vengine_prefill {
    size_t first, past;
    const vlm_kv *kv;                   /* [layers] */
    const vlm_session_options *options; /* prefill_step, progress */
    float *logits;                      /* untouched in a dry run */
} vengine_prefill;
vlm_status vengine_run_prefill(const vengine_run *run, const vengine_prefill *how, vlm_error *err);
/* Rows [begin, end) of the prompt through the decoder. @param wanted as in vlm_text_input
 * @return hidden [end - begin, dim], or of the rows wanted */
vlm_tensor vengine_run_rows(const vengine_run *run, size_t begin, size_t end, size_t past,
                            const vlm_kv *kv, vlm_tensor wanted);
/* One token of each of n sequences, with the positions of its axes: [axes, n]. @return logits [n, vocab] */
vlm_tensor vengine_run_step(vlm_frame *f, const vlm_context *c, const int32_t *ids,
                            const int32_t *positions, const vlm_sequence *sequences, size_t n);
/* Positions of a prepared prompt behind `past` tokens; *next as in vlm_positions. out is [axes, n], owned. */
vlm_status vengine_positions(int32_t **out, int64_t *next, const vlm_context *c,
                             const vlm_prepared *prepared, size_t past, vlm_error *err);

/* ---- predicted memory (predict.c) -------------------------------------------------------------------------------------- */
/* Bytes that a run holds at its peak, by what they are for. */
typedef struct vengine_memory {
    size_t prompt_tokens, media_tokens;
    uint64_t weights;     /* pages of the checkpoint's files that are read */
    uint64_t computed;    /* weights held beside the files */
    uint64_t tokenizer, input;
    uint64_t state;
    uint64_t temporaries; /* of the passes */
    uint64_t scratch;     /* of the operations */
    uint64_t logits;
    uint64_t peak;        /* of all that */
    bool on_device;       /* state and temporaries are a device's, as a copy of the weights is: what follows counts them, */
    uint64_t device_weights, device_state, device_temporaries, device_own; /* own: what a session has there beside them */
    uint64_t device_peak, device_free, device_total;
    uint64_t pictures;    /* decoded, frames of video files, too, while the input is prepared */
} vengine_memory;
/* Prepares the input and runs it over shapes alone. c: loaded as VENGINE_INSPECT. */
vlm_status vengine_predict(vengine_memory *out, const vlm_context *c, const vlm_input *input,
                           const vlm_session_options *options, vlm_error *err);

#endif
