/* SPDX-License-Identifier: MIT */
/**
 * @file tokenizer.h
 * @brief Text to token ids and back, and chat templates, usable without a model.
 *
 * A vlm_tokenizer is immutable: any number of threads may use one at the same time.
 */
#ifndef VLM_TOKENIZER_H
#define VLM_TOKENIZER_H

#include "vlm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Tokenizer of a checkpoint. Immutable, thread-safe. */
typedef struct vlm_tokenizer vlm_tokenizer;

/** A token that is added where a tokenizer lacks it, or a row of numbered ones: <loc0000>, <loc0001>, ..
 * It gets the tokenizer's next id unless it is in the vocabulary; an id behind the model's embedding table is
 * refused as input. */
typedef struct vlm_extra_token {
    const char *text;         /**< at most 64 bytes; of numbered ones what stands in front of the number */
    const char *behind;       /**< what stands behind the number */
    int count, digits;        /**< numbered from 0, in so many digits; count 0: one token, text */
    bool special;             /**< matched in template text only */
    const char *unless_named; /**< not added where a config names such a token ("image_token"); may be NULL */
} vlm_extra_token;

/**
 * Ids with the bytes of the input that each came from: whole characters, so that the tokens of one
 * character share its place, and as Hugging Face's offsets (which count characters) otherwise.
 * Special tokens of the post-processor are at 0..0. Owned by the caller.
 */
typedef struct vlm_tokens {
    uint32_t *ids;    /**< [count] */
    uint32_t *begins; /**< [count] byte offset of the first character in the text */
    uint32_t *ends;   /**< [count] byte offset behind the last character */
    size_t count;
} vlm_tokens;

/**
 * Loads the tokenizer of a checkpoint directory (tokenizer.json, tokenizer_config.json,
 * special_tokens_map.json). What it cannot do is refused with the file and the key in err:
 * VLM_ERR_UNSUPPORTED, VLM_ERR_FORMAT, VLM_ERR_LIMIT.
 * @param out owned by the caller. @param limits NULL for defaults.
 */
VLM_API vlm_status vlm_tokenizer_load(vlm_tokenizer **out, const char *dir,
                                      const vlm_limits *limits, vlm_error *err);
/** Frees a tokenizer; NULL is fine. */
VLM_API void vlm_tokenizer_free(vlm_tokenizer *tokenizer);

/** Flags of vlm_tokenizer_encode(). */
typedef enum vlm_encode_flag {
    VLM_ENCODE_ADD_SPECIAL = 1,  /**< apply the post-processor (BOS, EOS) as Hugging Face's call does */
    VLM_ENCODE_PLAIN = 2         /**< the text is a user's: no special token is matched in it; added
                                      tokens that are not special are vocabulary, and are */
} vlm_encode_flag;

/**
 * Encodes UTF-8 text. Ids equal Hugging Face tokenizers'. Bytes that are no UTF-8 are taken as
 * U+FFFD, as Python's "replace" has it. Errors: VLM_ERR_LIMIT for text above 1 GiB, VLM_ERR_FORMAT when the
 * tokenizer needs an unknown token that it lacks.
 * @param out filled; free with vlm_tokens_free(). @param bytes length of text.
 */
VLM_API vlm_status vlm_tokenizer_encode(vlm_tokens *out, const vlm_tokenizer *tokenizer,
                                        const char *text, size_t bytes, unsigned flags,
                                        vlm_error *err);
/** Frees what vlm_tokenizer_encode() filled in. */
VLM_API void vlm_tokens_free(vlm_tokens *tokens);

/**
 * Decodes ids to UTF-8; ids that do not exist give no text.
 * @param out owned, NUL-terminated; free with vlm_string_free().
 * @param skip_special nonzero: special tokens give no text.
 */
VLM_API vlm_status vlm_tokenizer_decode(char **out, const vlm_tokenizer *tokenizer,
                                        const uint32_t *ids, size_t count, int skip_special,
                                        vlm_error *err);

/** Text of a token as written in the vocabulary; borrowed; NULL for an id it does not have. */
VLM_API const char *vlm_tokenizer_token(const vlm_tokenizer *tokenizer, uint32_t id);

/**
 * Renders the chat template of a checkpoint directory over messages in OpenAI form.
 * @param out owned; free with vlm_string_free(). @param messages_json a JSON array of messages.
 * @param variables_json a JSON object of further template variables (tools, documents, enable_thinking, ...),
 * or NULL. These members are not the template's but say how to render:
 * - "chat_template": the name of one of the directory's templates, or the text of another one. Without it, of
 *   several templates "tool_use" is taken where there are tools, else "default";
 * - "add_generation_prompt": true: the beginning of the assistant's answer is added (the template sees this one);
 * - "continue_final_message": true, or the name of a member of the last message: the text ends with that member's;
 * - "_trusted_roles": an array of roles whose messages may hold special tokens, as in text of the template;
 * - "_control": an array of [message, begin, end], in order: bytes of that message's content string that are the
 *   template's (a place for a picture), not what somebody typed;
 * - "_now": what strftime_now() shows: seconds since 1970 of the wall clock (default: the system's, in UTC).
 * Follows transformers' apply_chat_template; the directory's named special tokens are variables too.
 */
VLM_API vlm_status vlm_template_render(char **out, const char *dir, const char *messages_json,
                                       const char *variables_json, const vlm_limits *limits,
                                       vlm_error *err);

#ifdef __cplusplus
}
#endif
#endif
