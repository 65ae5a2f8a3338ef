/* SPDX-License-Identifier: MIT */
/* The checkpoint registry: model configurations by id. What is built in are the checkpoints that mlx-swift-lm's
 * VLMRegistry knows, with its prompts and end tokens, and the originals of the built-in families. */
#include "engine/engine.h"

#define DESCRIBE "Describe the image in English"

static const char *const im_end[] = { "<|im_end|>" };
static const char *const end_of_turn[] = { "<end_of_turn>" };
static const char *const turn[] = { "<turn|>" };
static const char *const eot[] = { "<|eot|>", "<|end_of_text|>" };

#define KNOWN(id, type, prompt)                                                                    \
    { sizeof(vlm_model_configuration), id, NULL, NULL, prompt, NULL, 0, type }
#define KNOWN_EOS(id, type, prompt, eos)                                                           \
    { sizeof(vlm_model_configuration), id, NULL, NULL, prompt, eos, sizeof eos / sizeof *eos, type }
/* clang-format off */
static const vlm_model_configuration known[] = {
    KNOWN("mlx-community/paligemma-3b-mix-448-8bit", "paligemma", DESCRIBE),
    KNOWN_EOS("mlx-community/Qwen2-VL-2B-Instruct-4bit", "qwen2_vl", DESCRIBE, im_end),
    KNOWN_EOS("mlx-community/Qwen2.5-VL-3B-Instruct-4bit", "qwen2_5_vl", DESCRIBE, im_end),
    KNOWN_EOS("lmstudio-community/Qwen3-VL-4B-Instruct-MLX-4bit", "qwen3_vl", DESCRIBE, im_end),
    KNOWN_EOS("mlx-community/Qwen3-VL-4B-Instruct-8bit", "qwen3_vl", "Write a haiku about Swift programming", im_end),
    KNOWN("mlx-community/SmolVLM-Instruct-4bit", "idefics3", DESCRIBE),
    KNOWN_EOS("mlx-community/gemma-3-4b-it-qat-4bit", "gemma3", DESCRIBE, end_of_turn),
    KNOWN_EOS("mlx-community/gemma-3-12b-it-qat-4bit", "gemma3", DESCRIBE, end_of_turn),
    KNOWN_EOS("mlx-community/gemma-3-27b-it-qat-4bit", "gemma3", DESCRIBE, end_of_turn),
    KNOWN_EOS("mlx-community/gemma-4-e2b-it-4bit", "gemma4", DESCRIBE, turn),
    KNOWN_EOS("mlx-community/gemma-4-e4b-it-4bit", "gemma4", DESCRIBE, turn),
    KNOWN_EOS("mlx-community/gemma-4-26b-a4b-it-4bit", "gemma4", DESCRIBE, turn),
    KNOWN_EOS("mlx-community/gemma-4-31b-it-4bit", "gemma4", DESCRIBE, turn),
    KNOWN("HuggingFaceTB/SmolVLM2-500M-Video-Instruct-mlx", "smolvlm",
          "What is the main action or notable event happening in this segment? Describe it in one brief sentence."),
    KNOWN("mlx-community/FastVLM-0.5B-bf16", "fastvlm", "Describe this image in detail."),
    KNOWN_EOS("mlx-community/Qwen3.5-27B-4bit", "qwen3_5", DESCRIBE, im_end),
    KNOWN_EOS("mlx-community/Qwen3.5-35B-A3B-4bit", "qwen3_5_moe", DESCRIBE, im_end),
    KNOWN("mlx-community/DeepSeek-OCR-5bit", "deepseekocr", "Free OCR."),
    KNOWN("majentik/Unlimited-OCR-MLX-6bit", "unlimited_ocr", "document parsing. "),
    KNOWN_EOS("mlx-community/Muse-Glimmer-30B-4bit", "muse_glimmer", DESCRIBE, eot),
    /* Defined there, but not in its list. */
    KNOWN("mlx-community/LFM2-VL-1.6B-4bit", "lfm2_vl", NULL),
    KNOWN("mlx-community/LFM2.5-VL-1.6B-4bit", "lfm2_vl", NULL),
    KNOWN("mlx-community/Ministral-3-3B-Instruct-2512-4bit", "mistral3", NULL),
    /* The originals. */
    KNOWN("HuggingFaceTB/SmolVLM-256M-Instruct", "idefics3", DESCRIBE),
    KNOWN("HuggingFaceTB/SmolVLM-500M-Instruct", "idefics3", DESCRIBE),
    KNOWN("HuggingFaceTB/SmolVLM-Instruct", "idefics3", DESCRIBE),
    KNOWN("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", "smolvlm", "What is happening here?"),
    KNOWN("google/paligemma-3b-mix-448", "paligemma", DESCRIBE),
    KNOWN_EOS("Qwen/Qwen2.5-VL-3B-Instruct", "qwen2_5_vl", DESCRIBE, im_end),
    KNOWN_EOS("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", DESCRIBE, im_end),
};
/* clang-format on */

/* Texts of entries that were added lie in the arena; those that were there from the start, too: a copy may outlive
 * what it was copied from. */
struct vlm_checkpoint_registry {
    const vlm_model_configuration *at;
    vlm_model_configuration *own; /* at, unless the registry is the constant one */
    size_t n;
    vcore_arena *arena;
};

const vlm_checkpoint_registry *vlm_checkpoint_registry_default(void) {
    static const vlm_checkpoint_registry registry = { known, NULL, sizeof known / sizeof *known, NULL };
    return &registry;
}

vlm_status vlm_checkpoint_registry_new(vlm_checkpoint_registry **out,
                                       const vlm_checkpoint_registry *from, vlm_error *err) {
    if (!out) return vcore_fail(err, VLM_ERR_ARGUMENT, "checkpoint registry: a null argument");
    *out = NULL;
    vlm_checkpoint_registry *r = vcore_alloc(sizeof *r);
    if (!r) return vcore_no_memory(err, "registry");
    r->arena = vcore_arena_new();
    vlm_status status = r->arena ? VLM_OK : vcore_no_memory(err, "registry");
    for (size_t i = 0; from && i < from->n && status >= 0; i++)
        status = vlm_checkpoint_registry_add(r, &from->at[i], NULL, err);
    if (status < 0) {
        vlm_checkpoint_registry_free(r);
        return status;
    }
    *out = r;
    return VLM_OK;
}

void vlm_checkpoint_registry_free(vlm_checkpoint_registry *registry) {
    if (!registry) return;
    vcore_arena_free(registry->arena);
    vcore_free(registry->own);
    vcore_free(registry);
}

/* ---- adding -------------------------------------------------------------------------------------- */
static bool copy_text(const char **text, vcore_arena *arena) {
    if (*text) *text = vcore_arena_strndup(arena, *text, strlen(*text));
    return *text != NULL;
}

/* Replaces borrowed texts by copies. */
static bool copy_texts(vlm_model_configuration *c, vcore_arena *arena) {
    const char **const texts[] = { &c->id, &c->revision, &c->tokenizer_source, &c->default_prompt,
                                   &c->model_type };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (*texts[i] && !copy_text(texts[i], arena)) return false;
    if (c->n_extra_eos == 0) return true;
    const char **tokens = vcore_arena_array(arena, c->n_extra_eos, sizeof *tokens);
    for (size_t i = 0; tokens && i < c->n_extra_eos; i++) {
        tokens[i] = c->extra_eos[i];
        if (!copy_text(&tokens[i], arena)) return false;
    }
    c->extra_eos = tokens;
    return tokens != NULL;
}

static vlm_status check(const vlm_model_configuration *c, vlm_error *err) {
    bool good = c->id && c->id[0] && (c->n_extra_eos == 0 || c->extra_eos);
    for (size_t i = 0; good && i < c->n_extra_eos; i++) good = c->extra_eos[i] != NULL;
    if (good) return VLM_OK;
    return vcore_fail(err, VLM_ERR_ARGUMENT, "model configuration: an id and no null among the end tokens are needed");
}

vlm_status vlm_checkpoint_registry_add(vlm_checkpoint_registry *registry,
                                       const vlm_model_configuration *configuration,
                                       const vlm_model_configuration **displaced, vlm_error *err) {
    vlm_model_configuration c = VLM_MODEL_CONFIGURATION_INIT;
    if (displaced) *displaced = NULL;
    if (!registry || !configuration)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "checkpoint registry: a null argument");
    VTRY(vengine_take_options(&c, sizeof c, configuration, "model configuration", err));
    c.struct_size = sizeof c;
    VTRY(check(&c, err));
    if (!copy_texts(&c, registry->arena)) return vcore_no_memory(err, "model configuration");
    for (size_t i = 0; i < registry->n; i++) {
        vlm_model_configuration *same = &registry->own[i];
        if (strcmp(same->id, c.id) != 0) continue;
        vlm_model_configuration *before = vcore_arena_alloc(registry->arena, sizeof *before);
        if (!before) return vcore_no_memory(err, "model configuration");
        *before = *same;
        *same = c;
        if (displaced) *displaced = before;
        return VLM_OK;
    }
    vlm_model_configuration *own = vcore_realloc_array(registry->own, registry->n + 1, sizeof *own);
    if (!own) return vcore_no_memory(err, "checkpoint registry");
    own[registry->n++] = c;
    registry->at = registry->own = own;
    return VLM_OK;
}

/* ---- looking up ------------------------------------------------------------------------------------ */
const vlm_model_configuration *vlm_checkpoint_registry_at(const vlm_checkpoint_registry *registry,
                                                          size_t i) {
    return registry && i < registry->n ? &registry->at[i] : NULL;
}

const vlm_model_configuration *vlm_checkpoint_registry_find(const vlm_checkpoint_registry *registry,
                                                            const char *id) {
    for (size_t i = 0; registry && id && i < registry->n; i++)
        if (strcmp(registry->at[i].id, id) == 0) return &registry->at[i];
    return NULL;
}

/* "c" of "a/b/c"; slashes at the end do not count. */
static vcore_str last_part(const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    return (vcore_str) { path + begin, end - begin };
}

/* True when dir lies where the hub cache keeps id: ".../models--org--name/snapshots/<commit>". */
static bool is_snapshot_of(const char *dir, const char *id) {
    static const char start[] = "models--", end[] = "/snapshots/";
    for (const char *at = strstr(dir, start); at; at = strstr(at + 1, start)) {
        const char *p = at + strlen(start), *c = id;
        if (at != dir && at[-1] != '/') continue;
        for (; *c; c++) {
            const char one[] = { *c, 0 }, *part = *c == '/' ? "--" : one;
            if (strncmp(p, part, strlen(part)) != 0) break;
            p += strlen(part);
        }
        if (!*c && strncmp(p, end, strlen(end)) == 0) return true;
    }
    return false;
}

const vlm_model_configuration *vengine_configuration_of(const vlm_checkpoint_registry *registry,
                                                        const char *dir_or_id, bool is_dir) {
    const vlm_model_configuration *c = vlm_checkpoint_registry_find(registry, dir_or_id);
    vcore_str name = last_part(dir_or_id);
    for (size_t i = 0; !c && is_dir && i < registry->n; i++)
        if (is_snapshot_of(dir_or_id, registry->at[i].id)) c = &registry->at[i];
    for (size_t i = 0; !c && is_dir && i < registry->n; i++)
        if (vcore_str_eq(last_part(registry->at[i].id), name)) c = &registry->at[i];
    return c;
}
