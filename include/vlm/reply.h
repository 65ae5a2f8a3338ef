/* SPDX-License-Identifier: MIT */
/**
 * @file reply.h
 * @brief A model's reply taken apart, as it streams in: thinking, content, tool calls.
 *
 * @code
 * const char *format;   vlm_reply *reply;   vlm_reply_event event;
 * vlm_tool_format_of_dir(&format, "models/qwen", NULL, &err);
 * vlm_reply_new(&reply, format, tools_json, &err);
 * while (...) {
 *     vlm_reply_push(reply, piece.text, piece.bytes, &err);
 *     while (vlm_reply_next(reply, &event, &err) == VLM_OK) ...
 * }
 * vlm_reply_finish(reply, &err);
 * while (vlm_reply_next(reply, &event, &err) == VLM_OK) ...
 * @endcode
 *
 * What comes out does not depend on how the text was cut into pieces. Markers are often special tokens: their text is
 * needed here (vlm_session_options.special_text).
 */
#ifndef VLM_REPLY_H
#define VLM_REPLY_H

#include <stdbool.h>

#include "vlm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Name of the format in which a chat template's model writes tool calls; static. NULL: none that is known. */
VLM_API const char *vlm_tool_format_of_template(const char *chat_template);
/** The same of a checkpoint directory: its template for tools, else its chat template.
 * @param name static, NULL when there is none that is known (nor a directory). Errors: VLM_ERR_IO, VLM_ERR_PARSE,
 * VLM_ERR_FORMAT, VLM_ERR_LIMIT. */
VLM_API vlm_status vlm_tool_format_of_dir(const char **name, const char *dir, const vlm_limits *limits,
                                          vlm_error *err);
/** Name of the i-th format; static. NULL: there are no more. */
VLM_API const char *vlm_tool_format_name(size_t i);

/** Does the text of a prompt end with the start of a thinking block, so that the reply begins inside?
 * @param start a marker beside those that are known; may be NULL */
VLM_API bool vlm_thinking_is_open(const char *prompt, const char *start);

/** What a part of a reply is. */
typedef enum vlm_reply_kind {
    VLM_REPLY_CONTENT,   /**< text for the user. Each span of tool calls leaves one blank in it */
    VLM_REPLY_REASONING, /**< text of the thinking block */
    VLM_REPLY_CALL,      /**< a tool call */
    VLM_REPLY_BROKEN     /**< a span of which no call, or not every call, could be read */
} vlm_reply_kind;

/** A part of a reply. Its texts are borrowed until the next vlm_reply_next(), reset or free. */
typedef struct vlm_reply_event {
    vlm_reply_kind kind;
    const char *text; /**< NUL-terminated; of a call: its arguments, as json.dumps(ensure_ascii=False) writes them, or the
                           model's own text where it gave a string in their place; of a broken span: as written */
    size_t bytes;
    const char *name; /**< of a call; else NULL */
    const char *id;   /**< of a call whose format has one; else NULL */
    size_t index;     /**< of a call: how many came before it */
} vlm_reply_event;

/** One reply being read. One thread at a time. */
typedef struct vlm_reply vlm_reply;

/**
 * @param out owned
 * @param format a name of vlm_tool_format_name(); NULL: no tool calls are looked for. Unknown: VLM_ERR_NOT_FOUND
 * @param tools_json a JSON array of tools in OpenAI form, whose schemas say the types of arguments that are written
 * as plain text; may be NULL; copied. Errors: VLM_ERR_PARSE, VLM_ERR_FORMAT
 */
VLM_API vlm_status vlm_reply_new(vlm_reply **out, const char *format, const char *tools_json, vlm_error *err);
/** From now on the thinking block is split off; what was read is forgotten.
 * @param start,end markers beside those that are known; copied; NULL: none
 * @param open the prompt has opened the block already */
VLM_API vlm_status vlm_reply_split_thinking(vlm_reply *reply, const char *start, const char *end, bool open,
                                            vlm_error *err);
/** Takes text. Errors end the reply: VLM_ERR_LIMIT (a span of 8 MiB, 4,096 calls), VLM_ERR_MEMORY. */
VLM_API vlm_status vlm_reply_push(vlm_reply *reply, const char *text, size_t bytes, vlm_error *err);
/** No more text comes: what was held back is given. A span that is not closed is content. */
VLM_API vlm_status vlm_reply_finish(vlm_reply *reply, vlm_error *err);
/** The next part that is certain. VLM_OK: event holds it. VLM_DONE: none so far. */
VLM_API vlm_status vlm_reply_next(vlm_reply *reply, vlm_reply_event *event, vlm_error *err);
/** Ready for another reply. */
VLM_API void vlm_reply_reset(vlm_reply *reply);
/** NULL is fine. */
VLM_API void vlm_reply_free(vlm_reply *reply);

#ifdef __cplusplus
}
#endif
#endif
