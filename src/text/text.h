/* SPDX-License-Identifier: MIT */
/* Text: tokenizer.json to ids and back, and chat templates. Knows nothing of models or media. */
#ifndef VLM_TEXT_H
#define VLM_TEXT_H

#include "core/core.h"
#include "io/io.h"
#include "vlm/tokenizer.h"

/* A piece of prompt text and where it came from: special tokens are matched in template text only. */
typedef struct vtext_span {
    const char *p;
    size_t n;
    bool user; /* true: typed by the user, never a special token */
} vtext_span;

/* ---- files that several readers ask for (folder.c) ---------------------------------------------------------
 * Each is opened at most once, when it is first asked for. */
typedef enum vtext_file {
    VTEXT_TOKENIZER_CONFIG, VTEXT_SPECIAL_TOKENS, VTEXT_ADDED_TOKENS, VTEXT_PROCESSOR_CONFIG,
    VTEXT_CONFIG, VTEXT_FILES
} vtext_file;
typedef struct vtext_folder {
    const char *dir; /* borrowed */
    vio_source source;
    struct {
        char *path;
        bool known;             /* read, given or found absent */
        vcore_json_doc *doc;    /* owned; NULL: given or absent */
        const vcore_json *root; /* NULL: absent */
    } file[VTEXT_FILES];
    const vlm_extra_token *extra; /* of the processor, for the tokenizer; borrowed; NULL: none */
    size_t n_extra;
} vtext_folder;
/* Opens no file yet. from: NULL: default limits. */
vlm_status vtext_folder_open(vtext_folder *f, const char *dir, const vio_source *from, vlm_error *err);
/* What the caller has read of the folder already; borrowed. NULL: there is no such file. */
void vtext_folder_give(vtext_folder *f, vtext_file which, const vcore_json *root);
/* *root is NULL where the file is absent. */
vlm_status vtext_folder_read(const vcore_json **root, vtext_folder *f, vtext_file which,
                             vlm_error *err);
void vtext_folder_close(vtext_folder *f);

/* ---- tokenizer (tokenizer/); the type vlm_tokenizer is public and immutable -------------------------------- */
/* Reads tokenizer.json, or the first other file that has a vocabulary (docs/TEXT.md), and the small
 * files beside it. */
vlm_status vtext_tokenizer_load(vlm_tokenizer **out, vtext_folder *folder, vlm_error *err);
/* Likewise, with the bytes of the vocabulary's file (and of merges.txt, p NULL: read) given: fuzzing, tests. */
vlm_status vtext_tokenizer_load_file(vlm_tokenizer **out, vtext_folder *folder, const char *file,
                                     vcore_str bytes, vcore_str merges, vlm_error *err);
/* From memory (fuzzing, tests); config_json may be NULL. */
vlm_status vtext_tokenizer_parse(vlm_tokenizer **out, const char *json, size_t n,
                                 const char *config_json, size_t config_n, const char *name,
                                 vlm_error *err);
size_t vtext_tokenizer_bytes(const vlm_tokenizer *t); /* of memory it holds; NULL: 0 */
void vtext_tokenizer_free(vlm_tokenizer *t);

typedef struct vtext_ids {
    uint32_t *id;   /* owned; free with vtext_ids_free */
    size_t n, cap;
    uint32_t *begin, *end; /* byte offsets into the joined spans; NULL unless asked for */
} vtext_ids;
void vtext_ids_free(vtext_ids *ids);
/* Encodes spans as one text: the text between special tokens is joined before it is normalised and
 * pre-tokenised, so ids are Hugging Face's. Special tokens (flagged so, or named in a config) are
 * matched in template spans only; other added tokens (Gemma's runs of line ends, HTML tags) are
 * vocabulary and are matched anywhere. out: zeroed or used before; what it held is replaced.
 * add_special: apply the post-processor (BOS, EOS) as tokenizer(text) does. */
vlm_status vtext_encode(const vlm_tokenizer *t, const vtext_span *spans, size_t n_spans,
                        bool add_special, bool offsets, vtext_ids *out, vlm_error *err);
/* Whole decode, as tokenizer.decode(ids, skip_special_tokens=...). Appends to out. */
vlm_status vtext_decode(const vlm_tokenizer *t, const uint32_t *ids, size_t n, bool skip_special,
                        vcore_buf *out, vlm_error *err);
/* Streaming decode: push ids, get text that is final (never half a character). */
typedef struct vtext_stream vtext_stream;
vtext_stream *vtext_stream_new(const vlm_tokenizer *t, bool skip_special);
/* *piece is borrowed until the next call; may be empty. No allocation after the first few tokens. */
vlm_status vtext_stream_push(vtext_stream *s, uint32_t id, vcore_str *piece);
vlm_status vtext_stream_finish(vtext_stream *s, vcore_str *piece); /* what was held back; then reset */
void vtext_stream_reset(vtext_stream *s);
void vtext_stream_free(vtext_stream *s);

uint32_t vtext_vocab_size(const vlm_tokenizer *t);             /* largest id + 1 */
bool vtext_token_to_id(const vlm_tokenizer *t, vcore_str token, uint32_t *id);
bool vtext_id_to_token(const vlm_tokenizer *t, uint32_t id, vcore_str *token);
bool vtext_is_special(const vlm_tokenizer *t, uint32_t id);    /* added token with special: true */
/* From now on an added token is matched in template spans only, whatever the files say of it. For the
 * load factory, before the tokenizer is shared. */
void vtext_control_token(vlm_tokenizer *t, uint32_t id);
/* From tokenizer_config.json / special_tokens_map.json; false when there is none. */
bool vtext_named_token(const vlm_tokenizer *t, const char *name /* "bos_token" */, vcore_str *token);

/* ---- thinking (calls/thinking.c): the markers that are known; false: no more ------------------------------- */
bool vtext_thinking_pair(size_t i, const char **start, const char **end);

/* ---- chat templates (jinja/, chat.c) ------------------------------------------------------------------ */
typedef struct vtext_template vtext_template; /* parsed template; immutable */
vlm_status vtext_template_parse(vtext_template **out, const char *source, size_t n, const char *name,
                                vlm_error *err);
void vtext_template_free(vtext_template *t);
vcore_str vtext_template_source(const vtext_template *t); /* as it was read; empty if it could not be */
/* The templates of a folder, as transformers' processors find them: the chat_template of
 * processor_config.json over chat_template.json over chat_template.jinja and
 * additional_chat_templates over tokenizer_config.json's. *out is the first of them, which owns the
 * others; NULL: it has none. */
vlm_status vtext_template_load(vtext_template **out, vtext_folder *folder, vlm_error *err);
/* The one of a folder's templates that is called so; asked.p NULL: the only one, else "tool_use"
 * where there are tools, else "default". */
vlm_status vtext_template_choose(const vtext_template **out, const vtext_template *all,
                                 vcore_str asked, bool tools, vlm_error *err);

typedef struct vtext_block {
    size_t begin, end;
} vtext_block;
typedef struct vtext_rendered {
    char *text;        /* owned */
    size_t n;
    vtext_span *spans; /* owned array; pieces of text in order, joined they are text */
    size_t n_spans;
    vtext_block *generation; /* owned; bytes of the text that generation blocks printed */
    size_t n_generation;
} vtext_rendered;
/* Renders with variables given as a JSON object text (messages, tools, add_generation_prompt,
 * bos_token,
 * ...), as transformers' apply_chat_template configures jinja2 (trim_blocks, lstrip_blocks, loop
 * controls, tojson, raise_exception, strftime_now, generation blocks). t: of several templates the
 * first one. tools, documents (None) and add_generation_prompt (False) are defined always, as
 * transformers does.
 *
 * In "messages", "tools" and "documents" every string is user text, but words of letters, digits, -
 * and _ that are not what a message or part says ("content", "text"); all else is template text.
 * Origin is carried byte by byte through every filter and operation.
 *
 * Members that steer the render and that the template does not see: "chat_template" (a name among
 * t's, or the text of another template), "continue_final_message" (true, or the member to go on
 * with), "_now" (for strftime_now: seconds since 1970 of the wall clock to show; without it, the
 * system's clock in UTC),
 * "_trusted_roles" (messages of these roles are template text), "_control" (an array of [message,
 * begin, end], in order: bytes of that message's content string that are template text). steps and output are bounded by
 * limits, memory by 256 MiB. */
vlm_status vtext_template_render(const vtext_template *t, const char *variables_json, size_t n,
                                 const vlm_limits *limits, vtext_rendered *out, vlm_error *err);
/* The same with the variables of several objects; later ones win. */
vlm_status vtext_template_render_objects(const vtext_template *t, const vcore_json *const *objects,
                                         size_t n_objects, const vlm_limits *limits,
                                         vtext_rendered *out, vlm_error *err);
void vtext_rendered_free(vtext_rendered *r);

#endif
