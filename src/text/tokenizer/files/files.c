/* SPDX-License-Identifier: MIT */
/* From the files of a folder to one tokenizer.json: which file has the vocabulary, and what goes
 * around it. Owns the order in which files are looked for and the document's outline; formats,
 * classes and named tokens are the other units'.
 *
 * A tokenizer.json whose class builds its own pipeline gives vocabulary and merges, which are
 * grafted into the new document rather than copied. */
#include "text/tokenizer/files/files.h"

#include <errno.h>
#include <stdio.h>

/* The pattern that a tiktoken file gets whose class is not known: Llama 3's. */
static const char tiktoken_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
                                       "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
                                       "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
/* Qwen 1's, whose class is its checkpoints' own code. */
static const char qwen_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{"
                                   "N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
                                   "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
/* Kimi's, whose class TikTokenTokenizer is its checkpoints' own code, too. */
static const char kimi_pattern[] =
    "[\\p{Han}]+"
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*"
    "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+"
    "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

enum { MAX_RESERVED = 1 << 16 }; /* tokens that a gap in added_tokens_decoder stands for */

typedef struct maker {
    vtext_document *out;
    vtext_folder *folder;
    vtext_settings s;
    vcore_buf text;   /* the document under construction */
    vio_bytes bytes;  /* of the vocabulary's file */
    vcore_str merges; /* of merges.txt; p NULL: to be read from the folder */
} maker;

/* The text becomes the document's. */
static vlm_status add_document(vtext_document *d, char **text, size_t n, const char *name,
                               const vcore_json **root, vlm_error *err) {
    vcore_json_doc **slot = &d->doc[d->docs];
    char *taken = *text;
    *text = NULL;
    VTRY(vcore_json_take(slot, taken, n, name, err));
    *root = vcore_json_root(*slot);
    d->docs++;
    return VLM_OK;
}

/* An id written as the key of an object; UINT32_MAX: none. */
static uint32_t id_of_key(vcore_str key) {
    uint32_t id = 0;
    if (!key.n || key.n > 7) return UINT32_MAX;
    for (size_t i = 0; i < key.n; i++) {
        if (key.p[i] < '0' || key.p[i] > '9') return UINT32_MAX;
        id = id * 10 + (uint32_t)(key.p[i] - '0');
    }
    return id;
}

/* ---- the document ---------------------------------------------------------------------------- */
static void begin_document(maker *m) {
    vcore_json_open(&m->text, NULL, '{');
    vtext_put_named(&m->text, &m->s);
    vtext_put_added(&m->text, &m->s);
}

/* vocab, merges: grafted where given. */
static vlm_status finish(maker *m, const vcore_json *vocab, const vcore_json *merges,
                         vlm_error *err) {
    vcore_json_close(&m->text, '}');
    if (m->text.failed) return vcore_no_memory(err, m->s.name);
    VTRY(add_document(m->out, &m->text.p, m->text.n, m->s.name, &m->out->root, err));
    m->out->more = m->out->root;
    vcore_json_doc *doc = m->out->doc[m->out->docs - 1];
    if (vocab) vcore_json_graft(doc, "model", "vocab", vocab);
    if (merges) vcore_json_graft(doc, "model", "merges", merges);
    return VLM_OK;
}

/* Opens the member "model" with the class's options; the caller closes it. */
static void open_model(maker *m) {
    vcore_json_open(&m->text, "model", '{');
    vtext_put_model_options(&m->text, &m->s);
}

/* ---- tokenizer.json -------------------------------------------------------------------------- */
static bool is_kind(const vcore_json *model, const char *key, vcore_json_kind kind) {
    return vcore_json_kind_of(vcore_json_get(model, key)) == kind;
}

/* The model of the file must be what the class makes; else the file is left to the loader. */
static bool fits(const maker *m, const vcore_json *model) {
    if (m->s.class == VTEXT_CLASS_BACKEND) return false;
    if (m->s.class == VTEXT_CLASS_T5) return is_kind(model, "vocab", VCORE_JSON_ARRAY);
    return is_kind(model, "vocab", VCORE_JSON_OBJECT)
           && (m->s.class == VTEXT_CLASS_BERT || is_kind(model, "merges", VCORE_JSON_ARRAY));
}

static vlm_status from_json(maker *m, vlm_error *err) {
    const vcore_json *root;
    VTRY(add_document(m->out, &m->bytes.p, m->bytes.n, m->s.name, &root, err));
    const vcore_json *model = vcore_json_get(root, "model");
    bool rebuilt = fits(m, model);
    if (rebuilt) m->s.file = root;
    if (!rebuilt) m->s.class = VTEXT_CLASS_BACKEND;
    begin_document(m);
    if (rebuilt) {
        vtext_put_pipeline(&m->text, &m->s);
        open_model(m);
        vcore_json_put_text(&m->text, "vocab", NULL);
        if (m->s.class != VTEXT_CLASS_BERT) vcore_json_put_text(&m->text, "merges", NULL);
        vcore_json_close(&m->text, '}');
    }
    VTRY(finish(m, rebuilt ? vcore_json_get(model, "vocab") : NULL,
                rebuilt ? vcore_json_get(model, "merges") : NULL, err));
    if (!rebuilt) m->out->root = root;
    return VLM_OK;
}

/* ---- tokenizer.model: SentencePiece ---------------------------------------------------------- */
/* A class's own name for a piece goes before the model's: placeholders that a fine-tune named. */
static vlm_status rename_pieces(vtext_pieces *p, const vcore_json *decoder, vlm_error *err) {
    for (vcore_json_iter it = { 0 }; vcore_json_next(decoder, &it);) {
        vcore_str text;
        uint32_t id = id_of_key(it.key);
        bool taken = false;
        if (id >= p->count) continue;
        if (!vcore_json_string(vcore_json_get(it.value, "content"), &text) || !text.n) continue;
        for (uint32_t i = 0; i < p->count && !taken; i++) taken = vcore_str_eq(p->text[i], text);
        if (!taken) VTRY(vtext_pieces_set(p, id, text, err));
    }
    return VLM_OK;
}

static void put_pieces(vcore_buf *out, const vtext_spm *spm, bool unigram) {
    vcore_json_open(out, "vocab", unigram ? '[' : '{');
    for (uint32_t i = 0; i < spm->pieces.count; i++) {
        if (unigram) {
            vcore_json_open(out, NULL, '[');
            vcore_json_put_str(out, NULL, spm->pieces.text[i]);
            vcore_json_put_real(out, NULL, spm->pieces.score[i]);
            vcore_json_close(out, ']');
        } else {
            vcore_json_key(out, spm->pieces.text[i]);
            vcore_json_put_uint(out, NULL, i);
        }
    }
}

/* T5's sentinels, which its model file does not have. */
static void put_extra_ids(vcore_buf *out, const maker *m) {
    int64_t n = 100;
    char text[40];
    vcore_json_int(vcore_json_get(m->s.config, "extra_ids"), &n);
    for (int64_t i = n < 4096 ? n : 4096; i-- > 0;) {
        snprintf(text, sizeof text, "<extra_id_%d>", (int)i);
        vcore_json_open(out, NULL, '[');
        vcore_json_put_text(out, NULL, text);
        vcore_json_put_real(out, NULL, 0);
        vcore_json_close(out, ']');
    }
}

static void put_token(vcore_buf *out, vcore_str text, bool special) {
    vcore_json_open(out, NULL, '{');
    vcore_json_put_str(out, "content", text);
    vcore_json_put_bool(out, "special", special);
    vcore_json_put_bool(out, "normalized", false);
    vcore_json_close(out, '}');
}

/* Control and user-defined pieces are added tokens, unless the config lists extra ones itself. */
static void put_spm_added(maker *m) {
    const vtext_pieces *p = &m->s.spm->pieces;
    if (vtext_setting_given(&m->s, "extra_special_tokens")
        || vtext_setting_given(&m->s, "additional_special_tokens"))
        return;
    vcore_json_open(&m->text, "added_tokens", '[');
    for (uint32_t i = 0; i < p->count; i++)
        if (p->type[i] == VTEXT_SPM_CONTROL || p->type[i] == VTEXT_SPM_USER_DEFINED)
            put_token(&m->text, p->text[i], p->type[i] == VTEXT_SPM_CONTROL);
    for (int i = 0; m->s.class == VTEXT_CLASS_T5 && i < 100; i++) {
        char text[40];
        snprintf(text, sizeof text, "<extra_id_%d>", i);
        put_token(&m->text, vcore_str_of(text), true);
    }
    vcore_json_close(&m->text, ']');
}

static vlm_status put_spm_model(maker *m, vtext_spm *spm, vlm_error *err) {
    bool unigram = vtext_makes_unigram(&m->s);
    open_model(m);
    if (!unigram)
        VTRY(vtext_write_merges(&m->text, "merges", &spm->pieces, VTEXT_SPLIT_CHARACTERS, m->s.name,
                                err));
    if (!unigram && m->s.class == VTEXT_CLASS_BACKEND)
        VTRY(rename_pieces(&spm->pieces, vcore_json_get(m->s.config, "added_tokens_decoder"), err));
    put_pieces(&m->text, spm, unigram);
    if (m->s.class == VTEXT_CLASS_T5) put_extra_ids(&m->text, m);
    vcore_json_close(&m->text, unigram ? ']' : '}');
    vcore_json_close(&m->text, '}');
    return VLM_OK;
}

static vlm_status from_spm(maker *m, vlm_error *err) {
    vtext_spm spm;
    VTRY(vtext_spm_parse(&spm, m->bytes.p, m->bytes.n, m->s.name, err));
    m->s.spm = &spm;
    begin_document(m);
    put_spm_added(m);
    vtext_put_pipeline(&m->text, &m->s);
    vlm_status status = put_spm_model(m, &spm, err);
    if (status == VLM_OK) status = finish(m, NULL, NULL, err);
    vtext_spm_free(&spm);
    m->s.spm = NULL;
    return status;
}

/* ---- tiktoken and tekken --------------------------------------------------------------------- */
/* Pieces come behind tekken's special tokens. */
static vlm_status put_ranks_model(maker *m, const vtext_pieces *p, const vtext_tekken *tekken,
                                  vlm_error *err) {
    uint32_t first = tekken ? tekken->n_special : 0;
    vcore_buf token = { 0 };
    vcore_json_open(&m->text, "model", '{');
    vcore_json_put_text(&m->text, "type", "BPE");
    vcore_json_put_bool(&m->text, "ignore_merges", true);
    VTRY(vtext_write_merges(&m->text, "merges", p, VTEXT_SPLIT_BYTES, m->s.name, err));
    vcore_json_open(&m->text, "vocab", '{');
    for (uint32_t i = 0; i < p->count; i++) {
        if (!p->text[i].p) continue;
        token.n = 0;
        vtext_byte_text(&token, p->text[i]);
        vcore_json_key(&m->text, (vcore_str) { token.p, token.n });
        vcore_json_put_uint(&m->text, NULL, first + i);
    }
    if (token.failed) m->text.failed = true;
    vcore_buf_free(&token);
    for (uint32_t i = 0; i < first; i++) {
        char filler[32];
        snprintf(filler, sizeof filler, "<SPECIAL_%u>", (unsigned)i);
        vcore_json_key(&m->text, tekken->special[i].p ? tekken->special[i] : vcore_str_of(filler));
        vcore_json_put_uint(&m->text, NULL, i);
    }
    vcore_json_close(&m->text, '}');
    vcore_json_close(&m->text, '}');
    return VLM_OK;
}

/* The added tokens behind the ranks, in the order of their ids; gaps are reserved tokens. */
static vlm_status put_reserved(maker *m, uint32_t base, vlm_error *err) {
    const vcore_json *decoder = vcore_json_get(m->s.config, "added_tokens_decoder");
    uint32_t last = 0;
    for (vcore_json_iter it = { 0 }; vcore_json_next(decoder, &it);) {
        uint32_t id = id_of_key(it.key);
        if (id != UINT32_MAX && id > last) last = id;
    }
    if (last < base) return VLM_OK;
    if (last - base > MAX_RESERVED)
        return vcore_fail_limit(err, m->s.name, "added_tokens_decoder", MAX_RESERVED,
                                "tokens behind the ranks");
    for (uint32_t i = base; i <= last; i++) {
        char key[24], reserved[48];
        vcore_str text;
        snprintf(key, sizeof key, "%u", (unsigned)i);
        snprintf(reserved, sizeof reserved, "<|reserved_token_%u|>", (unsigned)i);
        if (!vcore_json_string(vcore_json_get(vcore_json_get(decoder, key), "content"), &text))
            text = vcore_str_of(reserved);
        put_token(&m->text, text, true);
    }
    return VLM_OK;
}

/* Qwen 1's special tokens lie in its code, as do those of its vision model. */
static void put_qwen_special(vcore_buf *out, bool vision) {
    static const char *const chat[] = { "<|endoftext|>", "<|im_start|>", "<|im_end|>" };
    static const char *const tags[] = { "<ref>",   "</ref>", "<box>",  "</box>",  "<quad>",
                                        "</quad>", "<img>",  "</img>", "<imgpad>" };
    char extra[32];
    for (size_t i = 0; i < sizeof chat / sizeof chat[0]; i++)
        put_token(out, vcore_str_of(chat[i]), true);
    for (int i = 0; i < 205; i++) {
        snprintf(extra, sizeof extra, "<|extra_%d|>", i);
        put_token(out, vcore_str_of(extra), true);
    }
    for (size_t i = 0; vision && i < sizeof tags / sizeof tags[0]; i++)
        put_token(out, vcore_str_of(tags[i]), true);
}

static vlm_status put_tiktoken(maker *m, const vtext_pieces *p, bool qwen, vlm_error *err) {
    vcore_str class = { NULL, 0 };
    uint32_t base = 0;
    for (uint32_t i = 0; i < p->count; i++) base += p->text[i].p != NULL;
    vcore_json_string(vcore_json_get(m->s.config, "tokenizer_class"), &class);
    bool kimi = vcore_str_eq(class, vcore_str_of("TikTokenTokenizer"));
    begin_document(m);
    vcore_json_open(&m->text, "added_tokens", '[');
    if (qwen)
        put_qwen_special(&m->text, m->out->vision);
    else
        VTRY(put_reserved(m, base, err));
    vcore_json_close(&m->text, ']');
    const char *pattern = qwen ? qwen_pattern : kimi ? kimi_pattern : tiktoken_pattern;
    vtext_put_ranks_pipeline(&m->text, &m->s, vcore_str_of(pattern));
    VTRY(put_ranks_model(m, p, NULL, err));
    return finish(m, NULL, NULL, err);
}

static vlm_status read_tiktoken(maker *m, bool qwen, vlm_error *err) {
    vtext_pieces pieces;
    VTRY(vtext_tiktoken_parse(&pieces, m->bytes.p, m->bytes.n, m->s.name, err));
    vlm_status status = put_tiktoken(m, &pieces, qwen, err);
    vtext_pieces_free(&pieces);
    return status;
}

static vlm_status from_tiktoken(maker *m, vlm_error *err) {
    return read_tiktoken(m, false, err);
}

static vlm_status from_qwen(maker *m, vlm_error *err) {
    return read_tiktoken(m, true, err);
}

/* A tokenizer.model is SentencePiece's, unless it reads as tiktoken's. */
static vlm_status from_model(maker *m, vlm_error *err) {
    return vtext_is_tiktoken(m->bytes.p, m->bytes.n) ? from_tiktoken(m, err) : from_spm(m, err);
}

static vlm_status put_tekken(maker *m, const vtext_tekken *t, vlm_error *err) {
    begin_document(m);
    vcore_json_open(&m->text, "added_tokens", '[');
    for (uint32_t i = 0; i < t->n_special; i++) {
        char filler[32];
        snprintf(filler, sizeof filler, "<SPECIAL_%u>", (unsigned)i);
        put_token(&m->text, t->special[i].p ? t->special[i] : vcore_str_of(filler), true);
    }
    vcore_json_close(&m->text, ']');
    vtext_put_ranks_pipeline(&m->text, &m->s, t->pattern);
    VTRY(put_ranks_model(m, &t->pieces, t, err));
    return finish(m, NULL, NULL, err);
}

static vlm_status from_tekken(maker *m, vlm_error *err) {
    const vcore_json *root;
    vtext_tekken tekken;
    VTRY(add_document(m->out, &m->bytes.p, m->bytes.n, m->s.name, &root, err));
    VTRY(vtext_tekken_parse(&tekken, root, m->s.name, err));
    vlm_status status = put_tekken(m, &tekken, err);
    vtext_tekken_free(&tekken);
    return status;
}

/* ---- vocab.json and merges.txt, vocab.txt ---------------------------------------------------- */
/* Neither says how text is cut into words: that takes a class. */
static vlm_status need_class(const maker *m, bool known, vlm_error *err) {
    if (known) return VLM_OK;
    return vcore_fail_field(
        err, VLM_ERR_UNSUPPORTED, m->s.name, NULL,
        "is only read where tokenizer_config.json or config.json make known the "
        "class of its tokenizer");
}

static vlm_status read_merges(const maker *m, vio_bytes *out, vlm_error *err) {
    const vio_source *from = &m->folder->source;
    char *path = vio_join(m->folder->dir, "merges.txt");
    if (!path) return vcore_no_memory(err, "merges.txt");
    vlm_status status = vio_read_text(out, path, from->limits.tokenizer_bytes, from, err);
    vcore_free(path);
    return status;
}

static vlm_status from_vocab(maker *m, vlm_error *err) {
    const vcore_json *root;
    vio_bytes merges;
    bool bytes = m->s.class >= VTEXT_CLASS_GPT2 && m->s.class <= VTEXT_CLASS_CLIP;
    VTRY(need_class(m, bytes, err));
    VTRY(add_document(m->out, &m->bytes.p, m->bytes.n, m->s.name, &root, err));
    begin_document(m);
    vtext_put_pipeline(&m->text, &m->s);
    open_model(m);
    vcore_json_put_text(&m->text, "vocab", NULL);
    if (m->merges.p) {
        vtext_put_merge_lines(&m->text, m->merges);
    } else {
        VTRY(read_merges(m, &merges, err));
        vtext_put_merge_lines(&m->text, (vcore_str) { merges.p, merges.n });
        vcore_free(merges.p);
    }
    vcore_json_close(&m->text, '}');
    return finish(m, root, NULL, err);
}

static vlm_status from_vocab_lines(maker *m, vlm_error *err) {
    const vcore_json *lines = NULL;
    vcore_buf vocab = { 0 };
    VTRY(need_class(m, m->s.class == VTEXT_CLASS_BERT, err));
    vtext_put_vocab_lines(&vocab, NULL, (vcore_str) { m->bytes.p, m->bytes.n });
    vlm_status status = vocab.failed
                            ? vcore_no_memory(err, "vocabulary")
                            : add_document(m->out, &vocab.p, vocab.n, m->s.name, &lines, err);
    vcore_buf_free(&vocab);
    VTRY(status);
    begin_document(m);
    vtext_put_pipeline(&m->text, &m->s);
    open_model(m);
    vcore_json_put_text(&m->text, "vocab", NULL);
    vcore_json_close(&m->text, '}');
    return finish(m, lines, NULL, err);
}

/* ---- the folder ------------------------------------------------------------------------------ */
/* The first that there is, is read. */
static const struct {
    const char *name;
    bool text;
    vlm_status (*read)(maker *m, vlm_error *err);
} files[] = {
    { "tokenizer.json", true, from_json },    { "tekken.json", true, from_tekken },
    { "tokenizer.model", false, from_model }, { "tiktoken.model", false, from_tiktoken },
    { "spiece.model", false, from_model },    { "vocab.json", true, from_vocab },
    { "vocab.txt", true, from_vocab_lines },  { "qwen.tiktoken", false, from_qwen },
};
enum { FILES = sizeof files / sizeof files[0] };

static vlm_status fail_absent(const vtext_folder *folder, vlm_error *err) {
    vcore_buf others = { 0 };
    char *path = vio_join(folder->dir, files[0].name);
    for (int i = 1; i < FILES; i++)
        vcore_buf_printf(&others, "%s%s", i > 1 ? ", " : "", files[i].name);
    vlm_status status =
        path && !others.failed
            ? vcore_fail_at(err, VLM_ERR_NOT_FOUND,
                            (vcore_where) { .file = path, .operation = "open", .os_error = ENOENT },
                            "%s: cannot open it, nor is there any of %s", path, others.p)
            : vcore_no_memory(err, files[0].name);
    vcore_buf_free(&others);
    vcore_free(path);
    return status;
}

static vlm_status find_file(maker *m, int *which, vlm_error *err) {
    const vio_source *from = &m->folder->source;
    uint64_t cap = from->limits.tokenizer_bytes;
    for (*which = 0; *which < FILES; ++*which) {
        vcore_free(m->out->path);
        m->out->path = vio_join(m->folder->dir, files[*which].name);
        if (!m->out->path) return vcore_no_memory(err, files[*which].name);
        m->s.name = m->out->path;
        vlm_status status = files[*which].text
                                ? vio_read_text_optional(&m->bytes, m->out->path, cap, from, err)
                                : vio_read_optional(&m->bytes, m->out->path, cap, from, err);
        if (status < 0 || m->bytes.p) return status;
    }
    return fail_absent(m->folder, err);
}

static vlm_status read_settings(maker *m, vlm_error *err) {
    const vcore_json *config;
    VTRY(vtext_folder_read(&m->s.config, m->folder, VTEXT_TOKENIZER_CONFIG, err));
    VTRY(vtext_folder_read(&m->s.map, m->folder, VTEXT_SPECIAL_TOKENS, err));
    VTRY(vtext_folder_read(&m->s.added, m->folder, VTEXT_ADDED_TOKENS, err));
    VTRY(vtext_folder_read(&config, m->folder, VTEXT_CONFIG, err));
    m->s.class = vtext_auto_class(m->s.config, config);
    m->out->vision = vcore_json_get(config, "visual") != NULL;
    m->out->config = m->s.config;
    m->out->map = m->s.map;
    return VLM_OK;
}

/* status: of finding the file, which m has the bytes of. */
static vlm_status make(maker *m, int which, vlm_status status, vlm_error *err) {
    if (status == VLM_OK) status = read_settings(m, err);
    if (status == VLM_OK) status = files[which].read(m, err);
    vcore_buf_free(&m->text);
    if (status < 0) vtext_document_free(m->out);
    return status;
}

vlm_status vtext_document_read(vtext_document *out, vtext_folder *folder, vlm_error *err) {
    maker m = { .out = out, .folder = folder };
    int which = 0;
    *out = (vtext_document) { 0 };
    vlm_status status = make(&m, which, find_file(&m, &which, err), err);
    vcore_free(m.bytes.p);
    return status;
}

vlm_status vtext_document_parse(vtext_document *out, vtext_folder *folder, const char *file,
                                vcore_str bytes, vcore_str merges, vlm_error *err) {
    /* A document takes its text. */
    maker m = { .out = out, .folder = folder,
                .bytes = { vcore_strndup(bytes.p, bytes.n), bytes.n }, .merges = merges };
    int which = 0;
    *out = (vtext_document) { .path = vcore_strdup(file) };
    m.s.name = out->path;
    while (which < FILES && strcmp(files[which].name, file) != 0) which++;
    vlm_status status =
        which == FILES             ? vcore_fail(err, VLM_ERR_NOT_FOUND, "%s: is no tokenizer", file)
        : out->path && m.bytes.p ? VLM_OK
                                 : vcore_no_memory(err, file);
    status = make(&m, which, status, err);
    vcore_free(m.bytes.p);
    return status;
}

void vtext_document_free(vtext_document *d) {
    while (d->docs) vcore_json_free(d->doc[--d->docs]);
    vcore_free(d->path);
    *d = (vtext_document) { 0 };
}
