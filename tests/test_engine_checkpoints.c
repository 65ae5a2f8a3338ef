/* SPDX-License-Identifier: MIT */
/* The checkpoint registry: what is known of which id, what callers add, and what a load makes of it. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "support/dir.h"

static vlm_error err;

static const vlm_model_configuration *known(const char *id) {
    return vlm_checkpoint_registry_find(vlm_checkpoint_registry_default(), id);
}

/* The 18 of mlx-swift-lm's list that its registry had when it was looked at first, the two that came later, and
 * the three that are defined but not listed. */
static void the_known_checkpoints(void **state) {
    (void)state;
    static const char describe[] = "Describe the image in English";
    static const struct {
        const char *id, *prompt, *eos;
    } want[] = {
        { "mlx-community/paligemma-3b-mix-448-8bit", describe, NULL },
        { "mlx-community/Qwen2-VL-2B-Instruct-4bit", describe, "<|im_end|>" },
        { "mlx-community/Qwen2.5-VL-3B-Instruct-4bit", describe, "<|im_end|>" },
        { "lmstudio-community/Qwen3-VL-4B-Instruct-MLX-4bit", describe, "<|im_end|>" },
        { "mlx-community/Qwen3-VL-4B-Instruct-8bit", "Write a haiku about Swift programming", "<|im_end|>" },
        { "mlx-community/SmolVLM-Instruct-4bit", describe, NULL },
        { "mlx-community/gemma-3-4b-it-qat-4bit", describe, "<end_of_turn>" },
        { "mlx-community/gemma-3-12b-it-qat-4bit", describe, "<end_of_turn>" },
        { "mlx-community/gemma-3-27b-it-qat-4bit", describe, "<end_of_turn>" },
        { "mlx-community/gemma-4-e2b-it-4bit", describe, "<turn|>" },
        { "mlx-community/gemma-4-e4b-it-4bit", describe, "<turn|>" },
        { "mlx-community/gemma-4-26b-a4b-it-4bit", describe, "<turn|>" },
        { "mlx-community/gemma-4-31b-it-4bit", describe, "<turn|>" },
        { "HuggingFaceTB/SmolVLM2-500M-Video-Instruct-mlx",
          "What is the main action or notable event happening in this segment? Describe it in one brief sentence.", NULL },
        { "mlx-community/FastVLM-0.5B-bf16", "Describe this image in detail.", NULL },
        { "mlx-community/Qwen3.5-27B-4bit", describe, "<|im_end|>" },
        { "mlx-community/Qwen3.5-35B-A3B-4bit", describe, "<|im_end|>" },
        { "mlx-community/Muse-Glimmer-30B-4bit", describe, "<|eot|>" },
        { "mlx-community/DeepSeek-OCR-5bit", "Free OCR.", NULL },
        { "majentik/Unlimited-OCR-MLX-6bit", "document parsing. ", NULL },
        { "mlx-community/LFM2-VL-1.6B-4bit", NULL, NULL },
        { "mlx-community/LFM2.5-VL-1.6B-4bit", NULL, NULL },
        { "mlx-community/Ministral-3-3B-Instruct-2512-4bit", NULL, NULL },
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const vlm_model_configuration *c = known(want[i].id);
        if (!c) fail_msg("%s is not known", want[i].id);
        if (want[i].prompt)
            assert_string_equal(c->default_prompt, want[i].prompt);
        else
            assert_null(c->default_prompt);
        assert_int_equal(c->n_extra_eos > 0, want[i].eos != NULL);
        if (want[i].eos) assert_string_equal(c->extra_eos[0], want[i].eos);
    }
    assert_int_equal(known("mlx-community/Muse-Glimmer-30B-4bit")->n_extra_eos, 2);
}

static void every_known_checkpoint_is_well_formed(void **state) {
    (void)state;
    const vlm_model_configuration *c;
    size_t n = 0;
    for (; (c = vlm_checkpoint_registry_at(vlm_checkpoint_registry_default(), n)); n++) {
        assert_ptr_equal(known(c->id), c); /* no id twice */
        assert_int_equal(c->struct_size, sizeof *c);
        assert_non_null(c->model_type);
        assert_string_equal(vlm_remap_model_type(c->model_type), c->model_type);
        const char *slash = strchr(c->id, '/');
        assert_true(slash && slash > c->id && slash[1] && !strchr(slash + 1, '/'));
        for (size_t i = 0; i < c->n_extra_eos; i++) assert_true(c->extra_eos[i][0] != 0);
    }
    assert_true(n >= 23);
}

static void an_id_counts_as_it_is_written(void **state) {
    (void)state;
    static const char *const none[] = { "qwen/Qwen2.5-VL-3B-Instruct", "Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-3B-Instruct/", "" };
    for (size_t i = 0; i < 4; i++) assert_null(known(none[i]));
    assert_null(known(NULL));
}

static void callers_add_entries(void **state) {
    (void)state;
    char id[] = "me/mine", prompt[] = "What?", token[] = "<a|b>";
    const char *tokens[] = { token, "</s>" };
    vlm_model_configuration mine = VLM_MODEL_CONFIGURATION_INIT;
    mine.id = id, mine.default_prompt = prompt, mine.extra_eos = tokens, mine.n_extra_eos = 2;
    mine.revision = "v1", mine.tokenizer_source = "elsewhere", mine.model_type = "toy";
    const vlm_model_configuration *before = &mine;
    vlm_checkpoint_registry *r, *copy;
    assert_int_equal(vlm_checkpoint_registry_new(&r, NULL, &err), VLM_OK);
    assert_null(vlm_checkpoint_registry_at(r, 0));
    assert_int_equal(vlm_checkpoint_registry_add(r, &mine, &before, &err), VLM_OK);
    assert_null(before);
    memset(id, 'x', 2), memset(prompt, 'x', 2), memset(token, 'x', 2); /* it has copies */
    assert_int_equal(vlm_checkpoint_registry_new(&copy, r, &err), VLM_OK);
    vlm_checkpoint_registry_free(r); /* of their own */
    const vlm_model_configuration *c = vlm_checkpoint_registry_find(copy, "me/mine");
    assert_non_null(c);
    assert_string_equal(c->default_prompt, "What?");
    assert_int_equal(c->n_extra_eos, 2);
    assert_string_equal(c->extra_eos[0], "<a|b>"); /* a '|' in it is part of it */
    assert_string_equal(c->extra_eos[1], "</s>");
    assert_string_equal(c->revision, "v1");
    assert_string_equal(c->tokenizer_source, "elsewhere");
    assert_string_equal(c->model_type, "toy");
    vlm_checkpoint_registry_free(copy);
}

static void adding_an_id_again_displaces(void **state) {
    (void)state;
    vlm_model_configuration mine = VLM_MODEL_CONFIGURATION_INIT;
    const vlm_model_configuration *before = NULL;
    vlm_checkpoint_registry *r;
    size_t n = 0;
    while (vlm_checkpoint_registry_at(vlm_checkpoint_registry_default(), n)) n++;
    assert_int_equal(vlm_checkpoint_registry_new(&r, vlm_checkpoint_registry_default(), &err), VLM_OK);
    mine.id = "Qwen/Qwen2.5-VL-3B-Instruct", mine.default_prompt = "Hm?";
    assert_int_equal(vlm_checkpoint_registry_add(r, &mine, &before, &err), VLM_OK);
    assert_string_equal(before->default_prompt, "Describe the image in English");
    assert_string_equal(before->extra_eos[0], "<|im_end|>");
    assert_string_equal(vlm_checkpoint_registry_find(r, mine.id)->default_prompt, "Hm?");
    assert_int_equal(vlm_checkpoint_registry_find(r, mine.id)->n_extra_eos, 0);
    assert_non_null(vlm_checkpoint_registry_at(r, n - 1));
    assert_null(vlm_checkpoint_registry_at(r, n));
    assert_string_equal(known(mine.id)->default_prompt, "Describe the image in English"); /* the default is constant */
    vlm_checkpoint_registry_free(r);
}

static void bad_entries_are_refused(void **state) {
    (void)state;
    vlm_checkpoint_registry *r;
    const char *tokens[] = { "x", NULL };
    assert_int_equal(vlm_checkpoint_registry_new(&r, NULL, &err), VLM_OK);
    vlm_model_configuration c = VLM_MODEL_CONFIGURATION_INIT;
    assert_int_equal(vlm_checkpoint_registry_add(r, &c, NULL, &err), VLM_ERR_ARGUMENT);
    c.id = "";
    assert_int_equal(vlm_checkpoint_registry_add(r, &c, NULL, &err), VLM_ERR_ARGUMENT);
    c.id = "x/y", c.n_extra_eos = 1;
    assert_int_equal(vlm_checkpoint_registry_add(r, &c, NULL, &err), VLM_ERR_ARGUMENT);
    c.extra_eos = tokens, c.n_extra_eos = 2;
    assert_int_equal(vlm_checkpoint_registry_add(r, &c, NULL, &err), VLM_ERR_ARGUMENT);
    c.n_extra_eos = 1, c.struct_size = 0;
    assert_int_equal(vlm_checkpoint_registry_add(r, &c, NULL, &err), VLM_ERR_ARGUMENT);
    c.struct_size = offsetof(vlm_model_configuration, extra_eos); /* of an older header */
    assert_int_equal(vlm_checkpoint_registry_add(r, &c, NULL, &err), VLM_OK);
    assert_int_equal(vlm_checkpoint_registry_at(r, 0)->n_extra_eos, 0);
    assert_int_equal(vlm_checkpoint_registry_add(NULL, &c, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_checkpoint_registry_add(r, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    vlm_checkpoint_registry_free(r);
}

/* ---- what a load makes of it -------------------------------------------------------------------------------- */

static vlm_checkpoint_registry *registry_of(const char *id, const char *tokenizer_source) {
    static const char *const tokens[] = { "<|im_start|>", "no such token" };
    vlm_model_configuration c = VLM_MODEL_CONFIGURATION_INIT;
    vlm_checkpoint_registry *r;
    c.id = id, c.default_prompt = "What is it?", c.extra_eos = tokens, c.n_extra_eos = 2;
    c.tokenizer_source = tokenizer_source;
    assert_int_equal(vlm_checkpoint_registry_new(&r, vlm_checkpoint_registry_default(), &err), VLM_OK);
    assert_int_equal(vlm_checkpoint_registry_add(r, &c, NULL, &err), VLM_OK);
    return r;
}

static vlm_context *load(const char *path, const vlm_checkpoint_registry *checkpoints, const char *tokenizer_source) {
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    vlm_context *c;
    o.threads = 1, o.checkpoints = checkpoints, o.tokenizer_source = tokenizer_source;
    if (vlm_context_load(&c, path, &o, &err) < 0) fail_msg("%s", err.message);
    return c;
}

static size_t named_by(const vlm_context *c, const char *source) {
    size_t n = 0;
    for (size_t i = 0; i < c->eos.n; i++) n += !strcmp(c->eos.source[i], source);
    return n;
}

static void what_is_not_known_loads_as_its_files_say(void **state) {
    (void)state;
    vlm_context *c = load(tdir, NULL, NULL);
    assert_null(vlm_context_get_info(c)->default_prompt);
    assert_int_equal(named_by(c, "checkpoint registry"), 0);
    assert_string_equal(vlm_context_get_info(c)->directory, tdir);
    assert_string_equal(vlm_context_get_info(c)->tokenizer_directory, tdir);
    vlm_context_free(c);
}

/* The id itself, or the last part of it where a directory is loaded, slashes at its end or not. */
static void an_entry_gives_prompt_and_end_tokens(void **state) {
    (void)state;
    char id[300], path[300];
    const char *ids[] = { tdir, id };
    snprintf(id, sizeof id, "me%s", strrchr(tdir, '/'));
    snprintf(path, sizeof path, "%s//", tdir);
    for (size_t i = 0; i < 2; i++) {
        vlm_checkpoint_registry *r = registry_of(ids[i], NULL);
        vlm_context *c = load(i ? path : tdir, r, NULL);
        vlm_checkpoint_registry_free(r); /* the context has what it needs */
        assert_string_equal(vlm_context_get_info(c)->default_prompt, "What is it?");
        assert_int_equal(named_by(c, "checkpoint registry"), 1);
        vlm_context_free(c);
    }
}

/* A snapshot's folder is called like the commit: the id is two folders above. */
static void a_snapshot_of_the_hub_cache_is_known_by_its_id(void **state) {
    (void)state;
    const vlm_checkpoint_registry *r = vlm_checkpoint_registry_default();
    static const char *const ours[] = {
        "/c/hub/models--Qwen--Qwen2.5-VL-3B-Instruct/snapshots/0123",
        "models--Qwen--Qwen2.5-VL-3B-Instruct/snapshots/0123/",
        "/models--a/models--Qwen--Qwen2.5-VL-3B-Instruct/snapshots/x",
    };
    static const char *const others[] = {
        "/c/models--Qwen--Qwen2.5-VL-3B-Instruct2/snapshots/0123", "/c/models--Qwen--Qwen2.5-VL-3B-Instruct/blobs/0123",
        "/c/xmodels--Qwen--Qwen2.5-VL-3B-Instruct/snapshots/0123", "/c/models--Qwen--Qwen2.5-VL-3B/snapshots/0123",
    };
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        const vlm_model_configuration *c = vengine_configuration_of(r, ours[i], true);
        assert_non_null(c);
        assert_string_equal(c->id, "Qwen/Qwen2.5-VL-3B-Instruct");
        assert_null(vengine_configuration_of(r, ours[i], false));
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_null(vengine_configuration_of(r, others[i], true));
}

static void another_name_is_not_the_entry(void **state) {
    (void)state;
    char id[300];
    snprintf(id, sizeof id, "me%s2", strrchr(tdir, '/'));
    vlm_checkpoint_registry *r = registry_of(id, NULL);
    vlm_context *c = load(tdir, r, NULL);
    assert_null(vlm_context_get_info(c)->default_prompt);
    vlm_context_free(c);
    vlm_checkpoint_registry_free(r);
}

static void an_entry_names_the_tokenizer_unless_the_caller_does(void **state) {
    (void)state;
    char *elsewhere = tcheckpoint_temp_dir();
    assert_true(tcheckpoint_write("tests/golden/idefics3-whole", elsewhere, NULL));
    vlm_checkpoint_registry *r = registry_of(tdir, elsewhere);
    vlm_context *c = load(tdir, r, NULL);
    assert_string_equal(vlm_context_get_info(c)->tokenizer_directory, elsewhere);
    assert_string_equal(vlm_context_get_info(c)->directory, tdir);
    vlm_context_free(c);
    c = load(tdir, r, tdir);
    assert_string_equal(vlm_context_get_info(c)->tokenizer_directory, tdir);
    vlm_context_free(c);
    vlm_checkpoint_registry_free(r);
    tcheckpoint_remove(elsewhere);
    free(elsewhere);
}

int main(void) {
#define LOADS(name) TDIR_TEST(name, "tests/golden/idefics3-whole")
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_known_checkpoints),
        cmocka_unit_test(every_known_checkpoint_is_well_formed),
        cmocka_unit_test(an_id_counts_as_it_is_written),
        cmocka_unit_test(callers_add_entries),
        cmocka_unit_test(adding_an_id_again_displaces),
        cmocka_unit_test(bad_entries_are_refused),
        cmocka_unit_test(a_snapshot_of_the_hub_cache_is_known_by_its_id),
        LOADS(what_is_not_known_loads_as_its_files_say),
        LOADS(an_entry_gives_prompt_and_end_tokens),
        LOADS(another_name_is_not_the_entry),
        LOADS(an_entry_names_the_tokenizer_unless_the_caller_does),
    };
    return cmocka_run_group_tests_name("checkpoints", tests, NULL, NULL);
}
