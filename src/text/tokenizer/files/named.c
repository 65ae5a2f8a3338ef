/* SPDX-License-Identifier: MIT */
/* Named and added tokens as the small files of a folder give them, in the precedence of
 * transformers 5.17: an added_tokens_decoder in tokenizer_config.json makes special_tokens_map.json
 * and added_tokens.json void; else the map goes before the config. What neither names, the class
 * does. */
#include "text/tokenizer/files/files.h"

#include <stdio.h>

static const char *const keys[] = { "bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token" };
enum { KEYS = sizeof keys / sizeof keys[0] };

/* In the order of keys; NULL: none. */
static const char *const defaults[VTEXT_CLASSES][KEYS] = {
    [VTEXT_CLASS_LLAMA] = { "<s>", "</s>", "<unk>" },
    [VTEXT_CLASS_GEMMA] = { "<bos>", "<eos>", "<unk>", NULL, "<pad>", NULL, "<mask>" },
    [VTEXT_CLASS_SIGLIP2] = { "<bos>", "<eos>", "<unk>", NULL, "<pad>", NULL, "<mask>" },
    [VTEXT_CLASS_T5] = { NULL, "</s>", "<unk>", NULL, "<pad>" },
    [VTEXT_CLASS_GPT2] = { "<|endoftext|>", "<|endoftext|>", "<|endoftext|>" },
    [VTEXT_CLASS_GPT_NEOX] = { "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL,
                               "<|padding|>" },
    [VTEXT_CLASS_COHERE] = { "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>", "<SEP>", "<PAD>",
                             "<CLS>", "<MASK_TOKEN>" },
    [VTEXT_CLASS_QWEN2] = { NULL, "<|endoftext|>", "<|endoftext|>", NULL, "<|endoftext|>" },
    [VTEXT_CLASS_QWEN3_5] = { NULL, "<|endoftext|>", "<|endoftext|>", NULL, "<|endoftext|>" },
    [VTEXT_CLASS_ROBERTA] = { "<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>" },
    [VTEXT_CLASS_CLIP] = { "<|startoftext|>", "<|endoftext|>", "<|endoftext|>", NULL,
                           "<|endoftext|>" },
    [VTEXT_CLASS_BERT] = { NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]" },
};

/* ---- settings -------------------------------------------------------------------------------- */
static bool has_member(const vcore_json *object, const char *key) {
    return vcore_json_get(object, key) != NULL;
}

bool vtext_setting(const vtext_settings *s, const char *key, bool fallback) {
    bool value = fallback;
    return vcore_json_bool(vcore_json_get(s->config, key), &value) ? value : fallback;
}

bool vtext_setting_given(const vtext_settings *s, const char *key) {
    return has_member(s->config, key);
}

/* What the files say of a named token; NULL: nothing at all. */
static const vcore_json *given(const vtext_settings *s, const char *key) {
    bool map_counts = !has_member(s->config, "added_tokens_decoder");
    const vcore_json *v = map_counts ? vcore_json_get(s->map, key) : NULL;
    return v ? v : vcore_json_get(s->config, key);
}

/* A token is a string, or an object with its "content". */
static vcore_str token_text(const vcore_json *v) {
    vcore_str text = { NULL, 0 };
    if (!vcore_json_string(v, &text)) vcore_json_string(vcore_json_get(v, "content"), &text);
    return text;
}

/* What the class (or the SentencePiece model, where there is none) says. */
static vcore_str own(const vtext_settings *s, size_t key) {
    if (s->class != VTEXT_CLASS_BACKEND || !s->spm) return vcore_str_of(defaults[s->class][key]);
    if (key == 0 && s->spm->bos_id >= 0) return s->spm->bos_piece;
    if (key == 1 && s->spm->eos_id >= 0) return s->spm->eos_piece;
    if (key == 2 && s->spm->unk_id >= 0) return s->spm->unk_piece;
    return (vcore_str) { NULL, 0 };
}

vcore_str vtext_named_text(const vtext_settings *s, const char *key) {
    const vcore_json *v = given(s, key);
    if (v) return token_text(v);
    for (size_t i = 0; i < KEYS; i++)
        if (strcmp(keys[i], key) == 0) return own(s, i);
    return (vcore_str) { NULL, 0 };
}

void vtext_put_named(vcore_buf *out, const vtext_settings *s) {
    vcore_json_open(out, "named", '{');
    for (size_t i = 0; i < KEYS; i++) {
        vcore_str text = given(s, keys[i]) ? (vcore_str) { NULL, 0 } : own(s, i);
        if (text.n) vcore_json_put_str(out, keys[i], text);
    }
    vcore_json_close(out, '}');
}

/* ---- added tokens ---------------------------------------------------------------------------- */
static bool among(const vcore_json *list, vcore_str token) {
    for (size_t i = 0; i < vcore_json_count(list); i++)
        if (vcore_str_eq(token_text(vcore_json_at(list, i)), token)) return true;
    return false;
}

static bool is_special(const vtext_settings *s, vcore_str token) {
    for (size_t i = 0; i < KEYS; i++) {
        const vcore_json *v = given(s, keys[i]);
        if (v && vcore_str_eq(token_text(v), token)) return true;
    }
    return among(given(s, "extra_special_tokens"), token)
           || among(given(s, "additional_special_tokens"), token);
}

/* {"token": id}, the oldest form. */
static void put_numbered(vcore_buf *out, const vtext_settings *s) {
    int64_t id;
    for (vcore_json_iter it = { 0 }; vcore_json_next(s->added, &it);) {
        char key[24];
        if (!vcore_json_int(it.value, &id)) continue;
        bool special = is_special(s, it.key);
        snprintf(key, sizeof key, "%lld", (long long)id);
        vcore_json_open(out, key, '{');
        vcore_json_put_str(out, "content", it.key);
        vcore_json_put_bool(out, "special", special);
        vcore_json_put_bool(out, "normalized", !special);
        vcore_json_close(out, '}');
    }
}

/* A class that builds its pipeline itself takes the added tokens of tokenizer.json from here, too.
 */
void vtext_put_added(vcore_buf *out, const vtext_settings *s) {
    const vcore_json *list = vcore_json_get(s->file, "added_tokens");
    if (has_member(s->config, "added_tokens_decoder")) return;
    vcore_json_open(out, "added_tokens_decoder", '{');
    put_numbered(out, s);
    for (size_t i = 0; i < vcore_json_count(list); i++) {
        const vcore_json *token = vcore_json_at(list, i);
        char key[24];
        int64_t id;
        if (!vcore_json_int(vcore_json_get(token, "id"), &id)) continue;
        snprintf(key, sizeof key, "%lld", (long long)id);
        vcore_json_put(out, key, token);
    }
    vcore_json_close(out, '}');
}
