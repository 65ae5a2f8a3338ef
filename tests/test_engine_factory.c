/* SPDX-License-Identifier: MIT */
/* The load factory: its order, stage by stage (what fails leaves all later stages untouched, down to the files that
 * are opened), and how a load is watched and cancelled. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "support/dir.h"

#define GOLDEN "tests/golden/idefics3-whole"

static vlm_error err;

/* ---- watching a load --------------------------------------------------------------------------------------- */
enum { STAGES = VLM_LOAD_PROCESSOR + 1 };
/* What a load was seen to do: the stages it told of, and the files it opened in each, separated by spaces. */
typedef struct watch {
    char stages[400];
    char files[STAGES][400];
    int last; /* stage that was begun; -1: none */
    int cancel_stage, cancel_done;
} watch;

static void add(char *list, size_t bytes, const char *text) {
    size_t n = strlen(list);
    snprintf(list + n, bytes - n, "%s%s", n ? " " : "", text);
}

static void opened(void *user, const char *path) {
    watch *w = user;
    assert_true(w->last >= 0); /* nothing is opened before the first stage */
    const char *name = strcmp(path, tdir) ? strrchr(path, '/') + 1 : ".";
    add(w->files[w->last], sizeof w->files[0], name);
}

static int progress(void *user, const vlm_load_progress *p) {
    watch *w = user;
    char step[40];
    snprintf(step, sizeof step, "%d:%d/%d", (int)p->stage, (int)p->done, (int)p->total);
    add(w->stages, sizeof w->stages, step);
    assert_non_null(p->what);
    w->last = (int)p->stage;
    return w->last == w->cancel_stage && (int)p->done == w->cancel_done;
}

static vlm_load_options watched(watch *w) {
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    *w = (watch) { .last = -1, .cancel_stage = -1 };
    o.threads = 1;
    o.opened = opened, o.opened_user = w;
    o.progress = progress, o.progress_user = w;
    return o;
}

#define WEIGHT_FILES "model.safetensors.index.json . model.safetensors"
#define TOKENIZER_FILES "tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json chat_template.json additional_chat_templates"
/* What a good load opens in each stage. */
#define WEIGHT_FILES "model.safetensors.index.json . model.safetensors"
#define TOKENIZER_FILES \
    "tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json chat_template.json additional_chat_templates"
static const char *const good[STAGES] = {
    [VLM_LOAD_RESOLVE] = "",
    [VLM_LOAD_CONFIG] = "config.json hf_quant_config.json generation_config.json",
    [VLM_LOAD_MODEL_TYPE] = "",
    [VLM_LOAD_PROCESSOR_CONFIG] =
        "preprocessor_config.json processor_config.json video_preprocessor_config.json",
    [VLM_LOAD_PROCESSOR_CLASS] = "",
    [VLM_LOAD_TOKENIZER_SOURCE] = "",
    [VLM_LOAD_WEIGHTS] = WEIGHT_FILES,
    [VLM_LOAD_TOKENIZER] = TOKENIZER_FILES,
    [VLM_LOAD_MODEL] = "",
    [VLM_LOAD_PROCESSOR] = "",
};

static void the_stages_run_in_their_order(void **state) {
    (void)state;
    watch w;
    vlm_context *c;
    vlm_load_options o = watched(&w);
    if (vlm_context_load(&c, tdir, &o, &err) < 0) fail_msg("%s", err.message);
    vlm_context_free(c);
    assert_string_equal(w.stages, "0:0/1 0:1/1 1:0/1 1:1/1 2:0/1 2:1/1 3:0/1 3:1/1 4:0/1 4:1/1 "
                                  "5:0/1 5:1/1 6:0/1 6:1/1 7:0/1 7:1/1 8:0/1 8:1/1 9:0/1 9:1/1");
    for (int i = 0; i < STAGES; i++) assert_string_equal(w.files[i], good[i]);
}

/* ---- a failing stage leaves the later ones untouched ---------------------------------------------------------- */
typedef struct failing {
    const char *name;
    tedit edits[4];
    vlm_load_stage stage;
    const char *files; /* opened in that stage */
    vlm_status status;
    const char *says;
} failing;

static const failing failures[] = {
    { "no config", { REMOVE("config.json") }, VLM_LOAD_CONFIG, "config.json", VLM_ERR_NOT_FOUND, "config.json" },
    { "a config that is a FIFO", { FIFO("config.json") }, VLM_LOAD_CONFIG, "config.json", VLM_ERR_IO, "config.json" },
    { "a config that is no JSON", { WRITE("config.json", "{") }, VLM_LOAD_CONFIG, "config.json", VLM_ERR_PARSE, "config.json" },
    { "a config that is no object", { WRITE("config.json", "[]") }, VLM_LOAD_CONFIG, "config.json", VLM_ERR_FORMAT, "config.json" },
    { "a config that is no UTF-8", { WRITE("config.json", "{\"x\": \"\xff\"}") }, VLM_LOAD_CONFIG, "config.json", VLM_ERR_ENCODING, "config.json" },
    { "no model type", { UNSET("config.json", "model_type") }, VLM_LOAD_CONFIG, "config.json", VLM_ERR_MISSING_FIELD, "model_type" },
    { "end tokens of a wrong type", { SET("config.json", "eos_token_id", "\"x\"") }, VLM_LOAD_CONFIG,
      "config.json hf_quant_config.json generation_config.json", VLM_ERR_CONFIG, "eos_token_id" },
    { "an unknown model type", { SET("config.json", "model_type", "\"idefics4\"") }, VLM_LOAD_MODEL_TYPE, "",
      VLM_ERR_UNKNOWN_MODEL_TYPE, "'idefics4' is not registered (close: idefics3" },
    { "an unknown model type in capitals", { SET("config.json", "model_type", "\"Idefics3\"") }, VLM_LOAD_MODEL_TYPE, "",
      VLM_ERR_UNKNOWN_MODEL_TYPE, "'Idefics3' is not registered (close: idefics3" },
    { "no processor file", { REMOVE("preprocessor_config.json"), REMOVE("processor_config.json") }, VLM_LOAD_PROCESSOR_CONFIG,
      "preprocessor_config.json processor_config.json", VLM_ERR_NOT_FOUND, "preprocessor_config.json" },
    { "a preferred file that is no JSON", { WRITE("preprocessor_config.json", "x") }, VLM_LOAD_PROCESSOR_CONFIG,
      "preprocessor_config.json", VLM_ERR_PARSE, "preprocessor_config.json" },
    { "an unknown class", { SET("preprocessor_config.json", "processor_class", "\"Idefics2Processor\"") }, VLM_LOAD_PROCESSOR_CLASS, "",
      VLM_ERR_UNKNOWN_PROCESSOR, "'Idefics2Processor' is not registered (close: Idefics3Processor" },
    { "no weights", { REMOVE("model.safetensors") }, VLM_LOAD_WEIGHTS, "model.safetensors.index.json .", VLM_ERR_NOT_FOUND, "safetensors" },
    { "weights cut short", { GROW("model.safetensors", -1) }, VLM_LOAD_WEIGHTS, WEIGHT_FILES, VLM_ERR_FORMAT, "model.safetensors" },
    { "no tokenizer", { REMOVE("tokenizer.json") }, VLM_LOAD_TOKENIZER,
      "tokenizer.json tekken.json tokenizer.model tiktoken.model spiece.model vocab.json vocab.txt qwen.tiktoken", VLM_ERR_NOT_FOUND, "tokenizer.json" },
    { "a tokenizer that is no JSON", { WRITE("tokenizer.json", "{]") }, VLM_LOAD_TOKENIZER, 
      "tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json", VLM_ERR_PARSE, "tokenizer.json" },
    { "a template that is none", { WRITE("chat_template.json", "{\"chat_template\": \"{% x %}\"}") }, VLM_LOAD_TOKENIZER,
      "tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json chat_template.json", VLM_ERR_TEMPLATE, "chat_template.json" },
    { "a value the model cannot have", { SET("config.json", "scale_factor", "0") }, VLM_LOAD_MODEL, "", VLM_ERR_CONFIG, "scale_factor" },
    { "a tensor that is missing", { DROP("model.safetensors", "model.connector.modality_projection.proj.weight") }, VLM_LOAD_MODEL, "",
      VLM_ERR_WEIGHTS, "model.connector.modality_projection.proj.weight" },
    { "a tensor too many", { TENSOR("model.safetensors", "x", "F32 2") }, VLM_LOAD_MODEL, "", VLM_ERR_WEIGHTS, "'x'" },
    { "a nested config that is no object", { SET("processor_config.json", "image_processor", "3") }, VLM_LOAD_PROCESSOR, "",
      VLM_ERR_CONFIG, "processor_config.json: image_processor: must be an object" },
    { "a value the processor cannot have", { SET("preprocessor_config.json", "resample", "9") }, VLM_LOAD_PROCESSOR, "", VLM_ERR_CONFIG, "resample" },
};

static void check_failing(const failing *f) {
    watch w;
    vlm_context *c = (void *)1;
    vlm_load_options o = watched(&w);
    err = (vlm_error) VLM_ERROR_INIT;
    vlm_status status = vlm_context_load(&c, tdir, &o, &err);
    if (status != f->status || !strstr(err.message, f->says) || strchr(err.message, '\n'))
        fail_msg("%s: %s: %s", f->name, vlm_status_name(status), err.message);
    assert_null(c);
    if (w.last != (int)f->stage) fail_msg("%s: ended in stage %d", f->name, w.last);
    for (int i = 0; i < STAGES; i++) {
        const char *want = i < (int)f->stage ? good[i] : i == (int)f->stage ? f->files : "";
        if (strcmp(w.files[i], want)) fail_msg("%s: stage %d opened '%s'", f->name, i, w.files[i]);
    }
}

static void a_failing_stage_leaves_later_ones_untouched(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        if (i) tdir_renew(GOLDEN);
        if (!tedit_apply(tdir, failures[i].edits, 4)) fail_msg("%s: cannot be made", failures[i].name);
        check_failing(&failures[i]);
    }
}

static void quantization_that_nobody_computes_is_refused_before_the_processor(void **state) {
    (void)state;
    EDIT(SET("config.json", "quantization_config", "{\"quant_method\": \"hqq\"}"));
    const failing f = { "hqq", { { TEDIT_NONE, NULL, NULL, NULL, 0 } }, VLM_LOAD_MODEL_TYPE, "", VLM_ERR_UNSUPPORTED, "hqq" };
    watch w;
    vlm_context *c;
    vlm_load_options o = watched(&w);
    assert_int_equal(vlm_context_load(&c, tdir, &o, &err), f.status);
    assert_non_null(strstr(err.message, f.says));
    assert_int_equal(w.last, f.stage);
    assert_string_equal(w.files[VLM_LOAD_PROCESSOR_CONFIG], "");
}

static void a_directory_that_is_none_is_refused_at_once(void **state) {
    (void)state;
    static const char *const names[] = { "no/such/directory", "org/name", "", "tests/test_engine_factory.c" };
    for (size_t i = 0; i < 4; i++) {
        watch w;
        vlm_context *c = (void *)1;
        vlm_load_options o = watched(&w);
        err = (vlm_error) VLM_ERROR_INIT;
        vlm_status status = vlm_context_load(&c, names[i], &o, &err);
        if (status != VLM_ERR_NOT_FOUND) fail_msg("'%s': %s: %s", names[i], vlm_status_name(status), err.message);
        assert_null(c);
        assert_string_equal(w.stages, "0:0/1");
        assert_string_equal(err.file, names[i]);
    }
}

static void a_tokenizer_directory_that_is_none_is_refused_before_the_weights(void **state) {
    (void)state;
    watch w;
    vlm_context *c = (void *)1;
    vlm_load_options o = watched(&w);
    o.tokenizer_source = "no/such/directory";
    assert_int_equal(vlm_context_load(&c, tdir, &o, &err), VLM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "no/such/directory"));
    assert_int_equal(w.last, VLM_LOAD_TOKENIZER_SOURCE);
    assert_string_equal(w.files[VLM_LOAD_WEIGHTS], "");
    assert_null(c);
}

static void options_that_are_wrong_open_nothing(void **state) {
    (void)state;
    watch w;
    vlm_context *c = (void *)1;
    vlm_load_options o = watched(&w);
    o.backend = "tpu";
    assert_int_equal(vlm_context_load(&c, tdir, &o, &err), VLM_ERR_UNSUPPORTED);
    o = watched(&w), o.precision = (vlm_precision)9;
    assert_int_equal(vlm_context_load(&c, tdir, &o, &err), VLM_ERR_ARGUMENT);
    o = watched(&w), o.precision = VLM_PRECISION_F16;
    assert_int_equal(vlm_context_load(&c, tdir, &o, &err), VLM_ERR_UNSUPPORTED);
    assert_string_equal(w.stages, "");
    assert_null(c);
}

/* A tokenizer elsewhere: only its files are opened there, and none of them in the checkpoint's directory. */
static void a_separate_tokenizer_is_read_from_its_own_directory(void **state) {
    (void)state;
    static const char *const names[] = { "tokenizer.json", "tokenizer_config.json", "chat_template.json" };
    char *model_dir = tdir, *elsewhere = tcheckpoint_temp_dir();
    for (size_t i = 0; i < 3; i++) {
        char *from = tdir_path(names[i]), *to = tcheckpoint_path(elsewhere, names[i]);
        assert_int_equal(rename(from, to), 0);
        free(from);
        free(to);
    }
    watch w;
    vlm_context *c;
    vlm_load_options o = watched(&w);
    o.tokenizer_source = elsewhere;
    if (vlm_context_load(&c, model_dir, &o, &err) < 0) fail_msg("%s", err.message);
    /* its own processor_config.json may hold a chat template */
    assert_string_equal(w.files[VLM_LOAD_TOKENIZER], "tokenizer.json tokenizer_config.json special_tokens_map.json "
                                                     "added_tokens.json config.json processor_config.json chat_template.json additional_chat_templates");
    assert_string_equal(vlm_context_get_info(c)->tokenizer_directory, elsewhere);
    vlm_context_free(c);
    tcheckpoint_remove(elsewhere);
    free(elsewhere);
}

/* ---- cancelling ---------------------------------------------------------------------------------------------- */
static void every_stage_can_be_cancelled(void **state) {
    (void)state;
    for (int stage = 0; stage < STAGES; stage++)
        for (int done = 0; done < 2; done++) {
            watch w;
            vlm_context *c = (void *)1;
            vlm_load_options o = watched(&w);
            w.cancel_stage = stage, w.cancel_done = done;
            assert_int_equal(vlm_context_load(&c, tdir, &o, &err), VLM_ERR_CANCELLED);
            assert_null(c);
            assert_non_null(strstr(err.message, "the load was cancelled ("));
            for (int i = 0; i < STAGES; i++)
                assert_string_equal(w.files[i], i < stage || (i == stage && done) ? good[i] : "");
        }
}

/* ---- threads ---------------------------------------------------------------------------------------------------------- */
static void *load_some(void *options) {
    size_t loaded = 0;
    for (int i = 0; i < 2; i++) {
        vlm_error error = VLM_ERROR_INIT;
        vlm_context *c;
        loaded += vlm_context_load(&c, tdir, options, &error) >= 0;
        vlm_context_free(c);
    }
    return (void *)loaded;
}

/* The thread sanitizer watches (preset tsan). */
static void threads_load_with_the_same_registries(void **state) {
    (void)state;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    vlm_model_registry *models;
    vlm_processor_registry *processors;
    vlm_checkpoint_registry *checkpoints;
    pthread_t threads[3];
    assert_int_equal(vlm_model_registry_new(&models, vlm_model_registry_default(), &err), VLM_OK);
    assert_int_equal(vlm_processor_registry_new(&processors, vlm_processor_registry_default(), &err), VLM_OK);
    assert_int_equal(vlm_checkpoint_registry_new(&checkpoints, vlm_checkpoint_registry_default(), &err), VLM_OK);
    o.threads = 1, o.models = models, o.processors = processors, o.checkpoints = checkpoints;
    for (size_t i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, load_some, &o), 0);
    for (size_t i = 0; i < 3; i++) {
        void *loaded;
        assert_int_equal(pthread_join(threads[i], &loaded), 0);
        assert_int_equal((size_t)loaded, 2);
    }
    vlm_model_registry_free(models);
    vlm_processor_registry_free(processors);
    vlm_checkpoint_registry_free(checkpoints);
}

int main(void) {
#define TEST(name) TDIR_TEST(name, GOLDEN)
    const struct CMUnitTest tests[] = {
        TEST(the_stages_run_in_their_order),
        TEST(a_failing_stage_leaves_later_ones_untouched),
        TEST(quantization_that_nobody_computes_is_refused_before_the_processor),
        TEST(a_directory_that_is_none_is_refused_at_once),
        TEST(a_tokenizer_directory_that_is_none_is_refused_before_the_weights),
        TEST(options_that_are_wrong_open_nothing),
        TEST(a_separate_tokenizer_is_read_from_its_own_directory),
        TEST(every_stage_can_be_cancelled),
        TEST(threads_load_with_the_same_registries),
    };
    return cmocka_run_group_tests_name("factory", tests, NULL, NULL);
}
