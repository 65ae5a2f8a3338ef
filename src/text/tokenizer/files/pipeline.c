/* SPDX-License-Identifier: MIT */
/* What each tokenizer class of transformers 5.17 builds around a vocabulary: normalizer,
 * pre-tokenizer, decoder, post-processor, and the model's options. One function per class; what
 * several share is above them. */
#include "text/tokenizer/files/files.h"

#define SPACE_MARK "\xE2\x96\x81"

static const char qwen2_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
                                    "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
                                    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char qwen3_5_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char clip_pattern[] =
    "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|"
    "[^\\s\\p{L}\\p{N}]+";

/* ---- components ------------------------------------------------------------------------------ */
static void open_step(vcore_buf *out, const char *key, const char *type) {
    vcore_json_open(out, key, '{');
    vcore_json_put_text(out, "type", type);
}

static void open_sequence(vcore_buf *out, const char *key, const char *list) {
    open_step(out, key, "Sequence");
    vcore_json_open(out, list, '[');
}

static void close_sequence(vcore_buf *out) {
    vcore_json_close(out, ']');
    vcore_json_close(out, '}');
}

static void put_step(vcore_buf *out, const char *key, const char *type) {
    open_step(out, key, type);
    vcore_json_close(out, '}');
}

/* {"String": ..} or {"Regex": ..} and whatever else the step has. */
static void put_pattern(vcore_buf *out, const char *kind, vcore_str pattern) {
    vcore_json_open(out, "pattern", '{');
    vcore_json_put_str(out, kind, pattern);
    vcore_json_close(out, '}');
}

static void put_replace(vcore_buf *out, const char *key, const char *kind, const char *from,
                        const char *to) {
    open_step(out, key, "Replace");
    put_pattern(out, kind, vcore_str_of(from));
    vcore_json_put_text(out, "content", to);
    vcore_json_close(out, '}');
}

static void put_split(vcore_buf *out, const char *key, const char *kind, vcore_str pattern,
                      const char *behavior, bool invert) {
    open_step(out, key, "Split");
    put_pattern(out, kind, pattern);
    vcore_json_put_text(out, "behavior", behavior);
    vcore_json_put_bool(out, "invert", invert);
    vcore_json_close(out, '}');
}

static void put_byte_level(vcore_buf *out, const char *key, bool prefix_space, bool trim,
                           bool use_regex) {
    open_step(out, key, "ByteLevel");
    vcore_json_put_bool(out, "add_prefix_space", prefix_space);
    vcore_json_put_bool(out, "trim_offsets", trim);
    vcore_json_put_bool(out, "use_regex", use_regex);
    vcore_json_close(out, '}');
}

static void put_metaspace(vcore_buf *out, const char *key, const char *scheme, bool split) {
    open_step(out, key, "Metaspace");
    vcore_json_put_text(out, "replacement", SPACE_MARK);
    vcore_json_put_text(out, "prepend_scheme", scheme);
    vcore_json_put_bool(out, "split", split);
    vcore_json_close(out, '}');
}

/* SentencePiece's way back to text. strip: the blank in front goes. */
static void put_spm_decoder(vcore_buf *out, bool bytes, bool strip) {
    open_sequence(out, "decoder", "decoders");
    put_replace(out, NULL, "String", SPACE_MARK, " ");
    if (bytes) {
        put_step(out, NULL, "ByteFallback");
        put_step(out, NULL, "Fuse");
    }
    if (strip) {
        open_step(out, NULL, "Strip");
        vcore_json_put_text(out, "content", " ");
        vcore_json_put_int(out, "start", 1);
        vcore_json_put_int(out, "stop", 0);
        vcore_json_close(out, '}');
    }
    close_sequence(out);
}

static void put_charsmap(vcore_buf *out, const char *key, const vtext_settings *s) {
    open_step(out, key, "Precompiled");
    vtext_put_base64(out, "precompiled_charsmap", s->spm->charsmap);
    vcore_json_close(out, '}');
}

/* The first Precompiled of a normalizer in tokenizer.json; NULL: none. */
static const vcore_json *charsmap_of_file(const vtext_settings *s) {
    const vcore_json *v = vcore_json_get(s->file, "normalizer");
    const vcore_json *list = vcore_json_get(v, "normalizers");
    vcore_str type = { NULL, 0 };
    for (size_t i = 0; i <= vcore_json_count(list); i++) {
        const vcore_json *step = list ? vcore_json_at(list, i) : v;
        if (vcore_json_string(vcore_json_get(step, "type"), &type)
            && vcore_str_eq(type, vcore_str_of("Precompiled")))
            return step;
    }
    return NULL;
}

/* ---- post-processors --------------------------------------------------------------------------
 * A template around the text, of named tokens. */
static void put_template(vcore_buf *out, vcore_str before, vcore_str after) {
    vcore_str token[2] = { before, after };
    open_step(out, "post_processor", "TemplateProcessing");
    vcore_json_open(out, "single", '[');
    for (int i = 0; i < 3; i++) {
        if (i != 1 && !token[i / 2].n) continue;
        vcore_json_open(out, NULL, '{');
        vcore_json_open(out, i == 1 ? "Sequence" : "SpecialToken", '{');
        vcore_json_put_str(out, "id", i == 1 ? vcore_str_of("A") : token[i / 2]);
        vcore_json_put_int(out, "type_id", 0);
        vcore_json_close(out, '}');
        vcore_json_close(out, '}');
    }
    vcore_json_close(out, ']');
    vcore_json_open(out, "special_tokens", '{'); /* the loader finds their ids */
    vcore_json_close(out, '}');
    vcore_json_close(out, '}');
}

static void put_template_named(vcore_buf *out, const vtext_settings *s, const char *before,
                               const char *after) {
    vcore_str none = { NULL, 0 };
    put_template(out, before ? vtext_named_text(s, before) : none,
                 after ? vtext_named_text(s, after) : none);
}

/* As add_bos_token and add_eos_token say; beside a tokenizer.json they do not count, and its own
 * post-processor stays unless it has none. */
static void put_bos_eos(vcore_buf *out, const vtext_settings *s) {
    const vcore_json *kept = vcore_json_get(s->file, "post_processor");
    if (vcore_json_kind_of(kept) != VCORE_JSON_NULL && s->class != VTEXT_CLASS_GPT_NEOX) {
        vcore_json_put(out, "post_processor", kept);
        return;
    }
    bool counts = s->file == NULL;
    put_template_named(out, s,
                       counts && vtext_setting(s, "add_bos_token", false) ? "bos_token" : NULL,
                       counts && vtext_setting(s, "add_eos_token", false) ? "eos_token" : NULL);
}

static void put_roberta(vcore_buf *out, const vtext_settings *s, const char *before,
                        const char *after, bool trim, bool prefix_space) {
    open_step(out, "post_processor", "RobertaProcessing");
    for (int i = 0; i < 2; i++) {
        vcore_json_open(out, i ? "cls" : "sep", '[');
        vcore_json_put_str(out, NULL, vtext_named_text(s, i ? before : after));
        vcore_json_close(out, ']');
    }
    vcore_json_put_bool(out, "trim_offsets", trim);
    vcore_json_put_bool(out, "add_prefix_space", prefix_space);
    vcore_json_close(out, '}');
}

/* ---- the classes ----------------------------------------------------------------------------- */
static void put_llama(vcore_buf *out, const vtext_settings *s) {
    bool prefix = vtext_setting(s, "add_prefix_space", true);
    bool legacy = vtext_setting(s, "legacy", false);
    put_metaspace(out, "pre_tokenizer", !prefix ? "never" : legacy ? "always" : "first", false);
    put_spm_decoder(out, true, prefix);
    put_bos_eos(out, s);
}

static void put_gemma(vcore_buf *out, const vtext_settings *s) {
    bool lower = s->class == VTEXT_CLASS_SIGLIP2;
    if (lower) {
        open_sequence(out, "normalizer", "normalizers");
        put_step(out, NULL, "Lowercase");
    }
    put_replace(out, lower ? NULL : "normalizer", "String", " ", SPACE_MARK);
    if (lower) close_sequence(out);
    put_split(out, "pre_tokenizer", "String", vcore_str_of(" "), "MergedWithPrevious", false);
    put_spm_decoder(out, true, false);
    put_bos_eos(out, s);
}

static void put_t5(vcore_buf *out, const vtext_settings *s) {
    const vcore_json *kept = charsmap_of_file(s);
    if (kept)
        vcore_json_put(out, "normalizer", kept);
    else if (s->spm && s->spm->charsmap.n)
        put_charsmap(out, "normalizer", s);
    open_sequence(out, "pre_tokenizer", "pretokenizers");
    put_step(out, NULL, "WhitespaceSplit");
    put_metaspace(out, NULL, "always", true);
    close_sequence(out);
    put_metaspace(out, "decoder", "always", true);
    put_template(out, (vcore_str) { NULL, 0 }, vtext_named_text(s, "eos_token"));
}

static void put_gpt2(vcore_buf *out, const vtext_settings *s) {
    bool prefix = vtext_setting(s, "add_prefix_space", false);
    bool digits = s->class == VTEXT_CLASS_COHERE;
    if (digits || s->class == VTEXT_CLASS_GPT_NEOX) put_step(out, "normalizer", "NFC");
    if (digits) {
        open_sequence(out, "pre_tokenizer", "pretokenizers");
        open_step(out, NULL, "Digits");
        vcore_json_put_bool(out, "individual_digits", true);
        vcore_json_close(out, '}');
    }
    put_byte_level(out, digits ? NULL : "pre_tokenizer", prefix, true, true);
    if (digits) close_sequence(out);
    put_byte_level(out, "decoder", true, true, true);
    if (s->class == VTEXT_CLASS_ROBERTA)
        put_roberta(out, s, "cls_token", "sep_token", vtext_setting(s, "trim_offsets", true),
                    prefix);
    else
        put_bos_eos(out, s);
}

/* A pattern, then bytes. */
static void put_pattern_bytes(vcore_buf *out, vcore_str pattern, bool prefix_space) {
    open_sequence(out, "pre_tokenizer", "pretokenizers");
    put_split(out, NULL, "Regex", pattern, "Isolated", false);
    put_byte_level(out, NULL, prefix_space, true, false);
    close_sequence(out);
    put_byte_level(out, "decoder", true, true, true);
}

static void put_qwen(vcore_buf *out, const vtext_settings *s) {
    bool second = s->class == VTEXT_CLASS_QWEN2;
    put_step(out, "normalizer", "NFC");
    put_pattern_bytes(out, vcore_str_of(second ? qwen2_pattern : qwen3_5_pattern),
                      vtext_setting(s, "add_prefix_space", false));
    put_bos_eos(out, s);
}

/* The class wraps its tokenizer's decode: "</w>" becomes a blank, and blanks at the ends go. */
static void put_clip_decoder(vcore_buf *out) {
    open_sequence(out, "decoder", "decoders");
    put_byte_level(out, NULL, true, true, true);
    put_replace(out, NULL, "String", "</w>", " ");
    open_step(out, NULL, "Strip");
    vcore_json_put_text(out, "content", " ");
    vcore_json_put_int(out, "start", INT32_MAX);
    vcore_json_put_int(out, "stop", INT32_MAX);
    vcore_json_close(out, '}');
    close_sequence(out);
}

static void put_clip(vcore_buf *out, const vtext_settings *s) {
    open_sequence(out, "normalizer", "normalizers");
    put_step(out, NULL, "NFC");
    put_replace(out, NULL, "Regex", "\\s+", " ");
    put_step(out, NULL, "Lowercase");
    close_sequence(out);
    open_sequence(out, "pre_tokenizer", "pretokenizers");
    put_split(out, NULL, "Regex", vcore_str_of(clip_pattern), "Removed", true);
    put_byte_level(out, NULL, false, true, true);
    close_sequence(out);
    put_clip_decoder(out);
    put_roberta(out, s, "bos_token", "eos_token", false, false);
}

static void put_bert(vcore_buf *out, const vtext_settings *s) {
    const vcore_json *accents = vcore_json_get(s->config, "strip_accents");
    open_step(out, "normalizer", "BertNormalizer");
    vcore_json_put_bool(out, "clean_text", true);
    vcore_json_put_bool(out, "handle_chinese_chars",
                        vtext_setting(s, "tokenize_chinese_chars", true));
    vcore_json_put(out, "strip_accents", accents);
    vcore_json_put_bool(out, "lowercase", vtext_setting(s, "do_lower_case", true));
    vcore_json_close(out, '}');
    put_step(out, "pre_tokenizer", "BertPreTokenizer");
    open_step(out, "decoder", "WordPiece");
    vcore_json_put_text(out, "prefix", "##");
    vcore_json_put_bool(out, "cleanup", true);
    vcore_json_close(out, '}');
    put_template_named(out, s, "cls_token", "sep_token");
}

/* A SentencePiece model whose class is not known. */
static void put_spm(vcore_buf *out, const vtext_settings *s) {
    open_sequence(out, "normalizer", "normalizers");
    if (s->spm->charsmap.n) put_charsmap(out, NULL, s);
    put_replace(out, NULL, "String", " ", SPACE_MARK);
    close_sequence(out);
    put_spm_decoder(out, s->spm->byte_fallback, false);
    put_bos_eos(out, s);
}

void vtext_put_pipeline(vcore_buf *out, const vtext_settings *s) {
    switch (s->class) {
    case VTEXT_CLASS_LLAMA: put_llama(out, s); break;
    case VTEXT_CLASS_GEMMA:
    case VTEXT_CLASS_SIGLIP2: put_gemma(out, s); break;
    case VTEXT_CLASS_T5: put_t5(out, s); break;
    case VTEXT_CLASS_GPT2:
    case VTEXT_CLASS_GPT_NEOX:
    case VTEXT_CLASS_COHERE:
    case VTEXT_CLASS_ROBERTA: put_gpt2(out, s); break;
    case VTEXT_CLASS_QWEN2:
    case VTEXT_CLASS_QWEN3_5: put_qwen(out, s); break;
    case VTEXT_CLASS_CLIP: put_clip(out, s); break;
    case VTEXT_CLASS_BERT: put_bert(out, s); break;
    case VTEXT_CLASS_BACKEND:
    case VTEXT_CLASSES: put_spm(out, s); break;
    }
}

void vtext_put_ranks_pipeline(vcore_buf *out, const vtext_settings *s, vcore_str pattern) {
    put_pattern_bytes(out, pattern, false);
    if (vtext_setting_given(s, "add_bos_token") || vtext_setting_given(s, "add_eos_token"))
        put_bos_eos(out, s);
    else
        put_byte_level(out, "post_processor", true, false, true);
}

/* ---- the model ------------------------------------------------------------------------------- */
bool vtext_class_is_unigram(vtext_tokenizer_class c) {
    return c == VTEXT_CLASS_T5;
}

static bool is_gemma(vtext_tokenizer_class c) {
    return c == VTEXT_CLASS_GEMMA || c == VTEXT_CLASS_SIGLIP2;
}

static void put_unigram_options(vcore_buf *out, const vtext_settings *s) {
    bool t5 = s->class == VTEXT_CLASS_T5;
    vcore_json_put_text(out, "type", "Unigram");
    vcore_json_put_int(out, "unk_id", t5 ? 2 : s->spm->unk_id);
    vcore_json_put_bool(out, "byte_fallback", !t5 && s->spm->byte_fallback);
}

static void put_word_piece_options(vcore_buf *out, const vtext_settings *s) {
    vcore_json_put_text(out, "type", "WordPiece");
    vcore_json_put_str(out, "unk_token", vtext_named_text(s, "unk_token"));
    vcore_json_put_text(out, "continuing_subword_prefix", "##");
    vcore_json_put_int(out, "max_input_chars_per_word", 100);
}

static void put_bpe_options(vcore_buf *out, const vtext_settings *s) {
    bool backend = s->class == VTEXT_CLASS_BACKEND, llama = s->class == VTEXT_CLASS_LLAMA;
    vcore_str unk = { NULL, 0 };
    vcore_json_put_text(out, "type", "BPE");
    if (is_gemma(s->class) || s->class == VTEXT_CLASS_CLIP) unk = vtext_named_text(s, "unk_token");
    if (backend) unk = s->spm->unk_piece;
    if (unk.p) vcore_json_put_str(out, "unk_token", unk);
    vcore_json_put_bool(out, "fuse_unk", backend || llama || is_gemma(s->class));
    vcore_json_put_bool(out, "byte_fallback",
                        llama || is_gemma(s->class) || (backend && s->spm->byte_fallback));
    if (s->class == VTEXT_CLASS_CLIP) vcore_json_put_text(out, "end_of_word_suffix", "</w>");
}

bool vtext_makes_unigram(const vtext_settings *s) {
    return s->class == VTEXT_CLASS_T5
           || (s->class == VTEXT_CLASS_BACKEND && s->spm && s->spm->model_type == 1);
}

void vtext_put_model_options(vcore_buf *out, const vtext_settings *s) {
    if (vtext_makes_unigram(s))
        put_unigram_options(out, s);
    else if (s->class == VTEXT_CLASS_BERT)
        put_word_piece_options(out, s);
    else
        put_bpe_options(out, s);
}
