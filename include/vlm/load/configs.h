/* SPDX-License-Identifier: MIT */
/**
 * @file configs.h
 * @brief The configs of a checkpoint, each usable alone: the base config (config.json with
 * generation_config.json) and the processor config (preprocessor_config.json, processor_config.json
 * and their kin).
 *
 * Both objects are immutable and thread-safe, and own all that their accessors lend: what is
 * borrowed from one lives until it is freed. Every file is opened once, as a regular file, and at
 * most limits->config_bytes + 1 bytes of it are read (tokenizer_bytes for tokenizer_config.json).
 * JSON is taken as Python's json writes it; a byte order mark is skipped.
 *
 * Errors, with vlm_error's file and field set: VLM_ERR_NOT_FOUND and VLM_ERR_IO (operation, errno),
 * VLM_ERR_LIMIT (the cap), VLM_ERR_ENCODING, VLM_ERR_PARSE (line, column), VLM_ERR_FORMAT (JSON, but
 * no object), VLM_ERR_MISSING_FIELD, VLM_ERR_CONFIG (a value of a wrong type), VLM_ERR_MEMORY.
 *
 * Follows load_vlm_base_config and load_processor_config of the mlxrs VLM load factory;
 * docs/LOADING.md says where it goes further.
 */
#ifndef VLM_LOAD_CONFIGS_H
#define VLM_LOAD_CONFIGS_H

#include "vlm/base.h"
#include "vlm/load/quantization.h"

#ifdef __cplusplus
extern "C" {
#endif

struct vlm_load_options;

/** The text of a JSON file that is in memory already. */
typedef struct vlm_config_text {
    const char *name; /**< "config.json", maybe with folders in front; errors call it so */
    const char *text; /**< UTF-8; needs no NUL behind it; NULL: there is no such file */
    size_t bytes;
} vlm_config_text;

/* ---- base config ----------------------------------------------------------------------------- */
/** What every VLM's config.json says of itself. Immutable, thread-safe. */
typedef struct vlm_base_config vlm_base_config;

/**
 * Reads config.json (required), generation_config.json (optional) and, where config.json does not
 * speak of quantization, hf_quant_config.json (optional) of a checkpoint directory. `model_type`
 * must be there, what is said of quantization must be well-formed (vlm_quantization_parse);
 * everything else passes through as it stands. A generation_config.json that cannot be used is a
 * line to the log, never an error.
 * @param out owned @param options limits, log and opened are used, the rest is not looked at;
 * NULL: defaults
 */
VLM_API vlm_status vlm_base_config_load(vlm_base_config **out, const char *dir,
                                        const struct vlm_load_options *options, vlm_error *err);
/**
 * The same from memory; opens no file. The texts are copied.
 * @param out owned @param texts [n], told apart by what is behind the last '/' of their names:
 * "config.json" must be among them; those of other names are not looked at @param options log and
 * limits->end_tokens are used; NULL: defaults
 */
VLM_API vlm_status vlm_base_config_parse(vlm_base_config **out, const vlm_config_text *texts,
                                         size_t n, const struct vlm_load_options *options,
                                         vlm_error *err);
/** NULL is fine. */
VLM_API void vlm_base_config_free(vlm_base_config *config);

/** `model_type` as the file says it, before any remapping; borrowed. */
VLM_API const char *vlm_base_config_model_type(const vlm_base_config *config);
/** The verbatim body of config.json, all that the typed fields were read from, without a byte order
 * mark; borrowed, NUL-terminated. @param bytes may be NULL */
VLM_API const char *vlm_base_config_text(const vlm_base_config *config, size_t *bytes);
/** The same, parsed; borrowed. See vlm/extend/config.h. */
VLM_API const vlm_json *vlm_base_config_json(const vlm_base_config *config);
/** generation_config.json, parsed; borrowed. NULL: there is none that can be used. */
VLM_API const vlm_json *vlm_base_config_generation(const vlm_base_config *config);
/** How the weights are quantized; borrowed. NULL: they are not. */
VLM_API const vlm_quantization *vlm_base_config_quantization(const vlm_base_config *config);

/** How `eos_token_id` was written. */
typedef enum vlm_eos_form {
    VLM_EOS_ABSENT, /**< nowhere: the tokenizer's own eos_token counts */
    VLM_EOS_ONE,    /**< an id */
    VLM_EOS_MANY    /**< a list; it may be empty */
} vlm_eos_form;
/** End tokens as the configs say. They take the place of the tokenizer's. */
typedef struct vlm_config_eos {
    vlm_eos_form form;
    const uint32_t *ids; /**< [n], in the file's order, repetitions kept */
    size_t n;
    const char *source;  /**< who named them all: "config.json", "config.json: text_config",
                              "config.json: llm_config", "generation_config.json"; static; NULL:
                              nobody */
} vlm_config_eos;
/**
 * The end tokens; borrowed, never NULL for a config. `eos_token_id` at the top of config.json
 * stands as it is, 0 and [] too; where it is absent or null, the first of text_config and llm_config
 * that has the key decides, and counts if truthy: an id other than 0, or a list that is not empty,
 * kept as it is but for items that are no ids. A truthy one of generation_config.json replaces
 * either. At the top a wrong type is an error, elsewhere it counts as absent. More than
 * limits->end_tokens are VLM_ERR_LIMIT.
 */
VLM_API const vlm_config_eos *vlm_base_config_eos(const vlm_base_config *config);

/* ---- processor config ------------------------------------------------------------------------ */
/** Which processor a checkpoint asks for, and the bodies it is configured by. Immutable,
 * thread-safe. */
typedef struct vlm_processor_config vlm_processor_config;

/**
 * Reads preprocessor_config.json, processor_config.json and video_preprocessor_config.json, each of
 * them optional, but not both of the first two.
 *
 * The class is the `processor_class` of preprocessor_config.json, which must then be JSON; where it
 * is absent or null there, that of processor_config.json. Where the first file names the class, the
 * second need not even be JSON (it is carried as text, and said in the log). Where neither does:
 * `processor_class` of tokenizer_config.json; default_class; the class of `auto_map.AutoProcessor`
 * in these three files ("module.Class"). Nobody: VLM_ERR_MISSING_FIELD. The name is taken as it
 * stands.
 * @param out owned @param default_class what to take when no file names one (the model type's);
 * copied; may be NULL @param options as in vlm_base_config_load
 */
VLM_API vlm_status vlm_processor_config_load(vlm_processor_config **out, const char *dir,
                                             const char *default_class,
                                             const struct vlm_load_options *options, vlm_error *err);
/**
 * The same from memory; opens no file. The texts are copied.
 * @param out owned @param texts [n], told apart by what is behind the last '/' of their names; those
 * of other names are not looked at
 */
VLM_API vlm_status vlm_processor_config_parse(vlm_processor_config **out,
                                              const vlm_config_text *texts, size_t n,
                                              const char *default_class,
                                              const struct vlm_load_options *options, vlm_error *err);
/** NULL is fine. */
VLM_API void vlm_processor_config_free(vlm_processor_config *config);

/** The class, before a model type overrides it; borrowed. */
VLM_API const char *vlm_processor_config_class(const vlm_processor_config *config);
/** Who named the class: "preprocessor_config.json", "processor_config.json",
 * "tokenizer_config.json", the same with ": auto_map" behind it, or "default". Static. */
VLM_API const char *vlm_processor_config_named_by(const vlm_processor_config *config);
/** The file of the image processor's values: "preprocessor_config.json" where there is one, whoever
 * named the class, else "processor_config.json". Static. */
VLM_API const char *vlm_processor_config_file(const vlm_processor_config *config);
/** Verbatim body of a file, without a byte order mark; borrowed, NUL-terminated; NULL: there is no
 * such file. @param name one of the three @param bytes may be NULL */
VLM_API const char *vlm_processor_config_text(const vlm_processor_config *config, const char *name,
                                              size_t *bytes);
/** The same, parsed; borrowed. NULL: there is none, or it need not be JSON and is not. */
VLM_API const vlm_json *vlm_processor_config_json(const vlm_processor_config *config,
                                                  const char *name);
/** Where the image processor's values are: the `image_processor` in processor_config.json
 * (transformers 5), else preprocessor_config.json, else processor_config.json. Borrowed. */
VLM_API const vlm_json *vlm_processor_config_image(const vlm_processor_config *config);
/** Likewise the video processor's: video_preprocessor_config.json, else the `video_processor` in
 * processor_config.json, else preprocessor_config.json. NULL: nowhere. Borrowed. */
VLM_API const vlm_json *vlm_processor_config_video(const vlm_processor_config *config);

#ifdef __cplusplus
}
#endif
#endif
