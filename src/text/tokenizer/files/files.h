/* SPDX-License-Identifier: MIT */
/* Inside of the files that a tokenizer comes from: what they share. Each unit reads one format; all
 * of them end in the members of one tokenizer.json, which the one loader (../load.c) reads.
 *
 *   auto_class.c     which tokenizer class a folder's files make, as AutoTokenizer decides it
 *   pipeline.c       what a class builds around a vocabulary
 *   named.c          named and added tokens as the files give them
 *   sentencepiece.c  tokenizer.model, a protobuf
 *   ranks.c          tiktoken files and tekken.json: tokens of bytes by rank
 *   vocabulary.c     vocab.json with merges.txt, vocab.txt
 *   merges.c         the merges that a vocabulary without any implies
 *   files.c          which file there is, and the whole */
#ifndef VLM_TEXT_FILES_H
#define VLM_TEXT_FILES_H

#include "text/tokenizer/tok.h"

enum {
    VTEXT_MAX_PIECE_BYTES = 1024, /* of a piece: bounds the ways in which it can be split */
    VTEXT_MAX_MERGES = 1 << 21
};

/* ---- pieces: a vocabulary by id ------------------------------------------------------------- */
typedef struct vtext_pieces {
    vcore_str *text; /* p NULL: no piece of that id; borrowed from arena or file */
    float *score;    /* NULL: none */
    uint8_t *type;   /* SentencePiece's; NULL: none */
    uint32_t count, cap;
    vcore_arena *arena; /* NULL until something is copied */
} vtext_pieces;
/* Sets the piece of an id, which may lie behind the last. */
vlm_status vtext_pieces_set(vtext_pieces *p, uint32_t id, vcore_str text, vlm_error *err);
void vtext_pieces_free(vtext_pieces *p);

/* ---- merges (merges.c) ---------------------------------------------------------------------- */
typedef enum vtext_split_by {
    VTEXT_SPLIT_CHARACTERS, /* pieces are text; a piece's merges by the length of their left part */
    VTEXT_SPLIT_BYTES       /* pieces are bytes; by the ranks of left and right part */
} vtext_split_by;
/* The array of all pairs of pieces that join into a piece, in the order of its id. Of two pieces
 * with the same text the last counts. Bytes are written in the byte-level alphabet. */
vlm_status vtext_write_merges(vcore_buf *out, const char *key, const vtext_pieces *p,
                              vtext_split_by by, const char *name, vlm_error *err);
/* Writes bytes as characters of the byte-level alphabet. */
void vtext_byte_text(vcore_buf *out, vcore_str bytes);

/* ---- SentencePiece (sentencepiece.c) -------------------------------------------------------- */
typedef enum vtext_spm_type {
    VTEXT_SPM_NORMAL = 1,
    VTEXT_SPM_UNKNOWN = 2,
    VTEXT_SPM_CONTROL = 3,
    VTEXT_SPM_USER_DEFINED = 4,
    VTEXT_SPM_UNUSED = 5,
    VTEXT_SPM_BYTE = 6
} vtext_spm_type;
typedef struct vtext_spm {
    vtext_pieces pieces;
    uint64_t model_type; /* 1 Unigram, 2 BPE */
    bool byte_fallback;
    int64_t unk_id, bos_id, eos_id;
    vcore_str unk_piece, bos_piece, eos_piece, charsmap;
} vtext_spm;
/* Text and charsmap are borrowed from p. */
vlm_status vtext_spm_parse(vtext_spm *out, const char *p, size_t n, const char *name,
                           vlm_error *err);
void vtext_spm_free(vtext_spm *spm);

/* ---- ranks (ranks.c) ------------------------------------------------------------------------ */
/* Lines "<base64> <rank>". */
vlm_status vtext_tiktoken_parse(vtext_pieces *out, const char *p, size_t n, const char *name,
                                vlm_error *err);
bool vtext_is_tiktoken(const char *p, size_t n); /* does it begin like one? */
typedef struct vtext_tekken {
    vtext_pieces pieces; /* by rank, special ones not among them */
    vcore_str pattern;   /* borrowed from the document, as are special[] */
    vcore_str *special;  /* p NULL: "<SPECIAL_i>" */
    uint32_t n_special;
} vtext_tekken;
vlm_status vtext_tekken_parse(vtext_tekken *out, const vcore_json *root, const char *name,
                              vlm_error *err);
void vtext_tekken_free(vtext_tekken *t);

void vtext_put_base64(vcore_buf *out, const char *key, vcore_str bytes);

/* ---- vocabularies as text (vocabulary.c) ---------------------------------------------------- */
/* Lines of merges.txt as the array "merges". */
void vtext_put_merge_lines(vcore_buf *out, vcore_str text);
/* Lines of vocab.txt as an object: the last of two equal lines counts. */
void vtext_put_vocab_lines(vcore_buf *out, const char *key, vcore_str text);

/* ---- classes (auto_class.c, pipeline.c) ----------------------------------------------------- */
typedef enum vtext_tokenizer_class {
    VTEXT_CLASS_BACKEND, /* TokenizersBackend and all that is not known: the file counts */
    VTEXT_CLASS_LLAMA,
    VTEXT_CLASS_GEMMA,
    VTEXT_CLASS_SIGLIP2,
    VTEXT_CLASS_T5,
    VTEXT_CLASS_GPT2,
    VTEXT_CLASS_GPT_NEOX,
    VTEXT_CLASS_COHERE,
    VTEXT_CLASS_QWEN2,
    VTEXT_CLASS_QWEN3_5,
    VTEXT_CLASS_ROBERTA,
    VTEXT_CLASS_CLIP,
    VTEXT_CLASS_BERT,
    VTEXT_CLASSES
} vtext_tokenizer_class;
/* tokenizer: tokenizer_config.json; config: config.json; NULL where there is none. */
vtext_tokenizer_class vtext_auto_class(const vcore_json *tokenizer, const vcore_json *config);

/* ---- what the files say beside the vocabulary (named.c) -------------------------------------- */
typedef struct vtext_settings {
    vtext_tokenizer_class class;
    const vcore_json *config, *map, *added; /* tokenizer_config.json, special_tokens_map.json,
                                               added_tokens.json; NULL where there is none */
    const vcore_json *file;                 /* root of tokenizer.json; NULL: there is none */
    const vtext_spm *spm;                   /* NULL: the vocabulary is no SentencePiece model */
    const vtext_pieces *pieces;             /* to look ids up in, where vocab is NULL */
    const char *name;                       /* of the file, for errors */
} vtext_settings;
/* A member of tokenizer_config.json: true, false or absent. */
bool vtext_setting(const vtext_settings *s, const char *key, bool fallback);
bool vtext_setting_given(const vtext_settings *s, const char *key);
/* The text of a named token: what the files say, else what the class says. p NULL: none. */
vcore_str vtext_named_text(const vtext_settings *s, const char *key);
/* Writes the member "named": the class's own names of tokens that no file names. */
void vtext_put_named(vcore_buf *out, const vtext_settings *s);
/* Writes the member "added_tokens_decoder" where tokenizer_config.json lacks it. */
void vtext_put_added(vcore_buf *out, const vtext_settings *s);

/* ---- pipelines (pipeline.c) ------------------------------------------------------------------ */
/* Is the model of pieces that have scores? Else it is one of merges, or BERT's. */
bool vtext_makes_unigram(const vtext_settings *s);
/* Writes normalizer, pre_tokenizer, decoder and post_processor of the settings' class. */
void vtext_put_pipeline(vcore_buf *out, const vtext_settings *s);
/* Writes the members of "model" that are neither vocabulary nor merges. */
void vtext_put_model_options(vcore_buf *out, const vtext_settings *s);
/* The byte-level pipeline that tiktoken files and tekken.json get. */
void vtext_put_ranks_pipeline(vcore_buf *out, const vtext_settings *s, vcore_str pattern);

#endif
