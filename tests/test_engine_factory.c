/* SPDX-License-Identifier: MIT */
/* The load factory: its order, stage by stage (what fails leaves all later stages untouched, down to the files that
 * are opened), what constructors are given, what a context gives back, and how a load is watched and cancelled. */
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

/* ---- what constructors are given --------------------------------------------------------------------------------- */
/* A model and a processor of the built-in family, that note what they were given. */
typedef struct seen {
    const vlm_model_type *base_model;
    const vlm_processor_type *base_processor;
    char *model_text, *config_text, *preprocessor_text, *processor_text, *processor_class, *processor_file;
    const char *model_text_at, *config_text_at;
    const vlm_base_config *model_base, *processor_base;
    const vlm_tokenizer *tokenizer;
    const void *model, *processor;
    bool same_json;
    int destroyed_models, destroyed_processors, fail_model, fail_processor;
    const vlm_json *json;
} seen;

static char *copy(const char *text) {
    return text ? strdup(text) : NULL;
}

static vlm_status note_model(void **model, vlm_build *build, vlm_error *error) {
    seen *s = (seen *)vlm_build_user(build);
    s->model_text_at = vlm_build_config_text(build);
    s->model_text = copy(s->model_text_at);
    s->model_base = vlm_build_base_config(build);
    s->json = vlm_build_config(build);
    if (s->fail_model) return vlm_fail(error, VLM_ERR_UNSUPPORTED, "the model says no");
    vlm_status status = s->base_model->create(model, build, error);
    s->model = *model;
    return status;
}

static vlm_status note_processor(void **processor, const vlm_processor_build *build, vlm_error *error) {
    seen *s = (seen *)build->user;
    s->config_text_at = build->config_text;
    s->config_text = copy(build->config_text);
    s->preprocessor_text = copy(build->preprocessor_text);
    s->processor_text = copy(build->processor_text);
    s->processor_class = copy(build->processor_class);
    s->processor_file = copy(build->processor_file);
    s->processor_base = build->base;
    s->tokenizer = build->tokenizer;
    s->same_json = build->config == s->json;
    if (s->fail_processor) return vlm_fail(error, VLM_ERR_UNSUPPORTED, "the processor says no");
    vlm_status status = s->base_processor->create(processor, build, error);
    s->processor = *processor;
    return status;
}

static seen *current; /* of the rows' destroy, which gets no user pointer */
static void destroy_model(void *model) {
    (void)model;
    current->destroyed_models++;
}
static void destroy_processor(void *processor) {
    (void)processor;
    current->destroyed_processors++;
}

typedef struct noting {
    seen s;
    vlm_model_type model;
    vlm_processor_type processor;
    vlm_model_registry *models;
    vlm_processor_registry *processors;
} noting;

static void begin_noting(noting *n, const char *model_type, const char *processor_class) {
    *n = (noting) { .s = { .base_model = vlm_model_registry_find(vlm_model_registry_default(), "idefics3"),
                           .base_processor = vlm_processor_registry_find(vlm_processor_registry_default(), "Idefics3Processor") } };
    n->model = *n->s.base_model, n->processor = *n->s.base_processor;
    n->model.model_type = model_type, n->model.aliases = NULL, n->model.create = note_model, n->model.user = &n->s;
    n->model.destroy = destroy_model, n->processor.destroy = destroy_processor;
    n->processor.processor_class = processor_class, n->processor.create = note_processor, n->processor.user = &n->s;
    current = &n->s;
    const vlm_model_type *models[] = { &n->model };
    const vlm_processor_type *processors[] = { &n->processor };
    assert_int_equal(vlm_model_registry_with(&n->models, NULL, models, 1, &err), VLM_OK);
    assert_int_equal(vlm_processor_registry_with(&n->processors, NULL, processors, 1, &err), VLM_OK);
}

static vlm_status load_noting(vlm_context **c, noting *n) {
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.threads = 1, o.models = n->models, o.processors = n->processors;
    return vlm_context_load(c, tdir, &o, &err);
}

static void end_noting(noting *n) {
    char *texts[] = { n->s.model_text, n->s.config_text, n->s.preprocessor_text,
                      n->s.processor_text, n->s.processor_class, n->s.processor_file };
    for (size_t i = 0; i < 6; i++) free(texts[i]);
    vlm_model_registry_free(n->models);
    vlm_processor_registry_free(n->processors);
}

static void is_the_file(const char *text, const char *name) {
    size_t n;
    char *bytes = tedit_read(tdir, name, &n);
    assert_non_null(bytes);
    assert_non_null(text);
    assert_string_equal(text, bytes);
    free(bytes);
}

/* Text that no writer of JSON would give back: what arrives is what the files say, byte for byte. */
static void constructors_are_given_the_files_verbatim(void **state) {
    (void)state;
    noting n;
    vlm_context *c;
    EDIT(REPLACE("config.json", "{", "\t{ \"x\" :NaN,\"x\": 1e400, \"\\u0000\\ud800\":[ ],  \"\xc3\xa9\": 18446744073709551616,\r\n"));
    EDIT(REPLACE("preprocessor_config.json", "{", "{ \"odd\"  : -Infinity, "));
    EDIT(REPLACE("processor_config.json", "{", "{\n\n\"odd\":\"\\/\", "));
    begin_noting(&n, "idefics3", "Idefics3Processor");
    if (load_noting(&c, &n) < 0) fail_msg("%s", err.message);
    is_the_file(n.s.model_text, "config.json");
    is_the_file(n.s.config_text, "config.json");
    is_the_file(n.s.preprocessor_text, "preprocessor_config.json");
    is_the_file(n.s.processor_text, "processor_config.json");
    /* Not a second reading of the same file: the same body. */
    assert_ptr_equal(n.s.model_text_at, n.s.config_text_at);
    assert_ptr_equal(n.s.model_text_at, vlm_context_get_info(c)->config_json);
    assert_true(n.s.same_json);
    assert_ptr_equal(n.s.model_base, n.s.processor_base);
    assert_ptr_equal(n.s.model_base, vlm_context_base_config(c));
    assert_ptr_equal(n.s.tokenizer, vlm_context_tokenizer(c));
    assert_string_equal(n.s.processor_class, "Idefics3Processor");
    assert_string_equal(n.s.processor_file, "preprocessor_config.json");
    assert_string_equal(vlm_processor_config_class(vlm_context_processor_config(c)), "Idefics3Processor");
    vlm_context_free(c);
    end_noting(&n);
}

/* The second file names the class and is carried, too; a file that is absent is NULL. */
static void both_bodies_arrive_whoever_names_the_class(void **state) {
    (void)state;
    noting n;
    vlm_context *c;
    EDIT(UNSET("preprocessor_config.json", "processor_class"));
    begin_noting(&n, "idefics3", "Idefics3Processor");
    if (load_noting(&c, &n) < 0) fail_msg("%s", err.message);
    is_the_file(n.s.preprocessor_text, "preprocessor_config.json");
    is_the_file(n.s.processor_text, "processor_config.json");
    assert_string_equal(n.s.processor_file, "processor_config.json");
    vlm_context_free(c);
    end_noting(&n);
    EDIT(SET("preprocessor_config.json", "processor_class", "\"Idefics3Processor\""));
    EDIT(REMOVE("processor_config.json"));
    begin_noting(&n, "idefics3", "Idefics3Processor");
    if (load_noting(&c, &n) < 0) fail_msg("%s", err.message);
    is_the_file(n.s.preprocessor_text, "preprocessor_config.json");
    assert_null(n.s.processor_text);
    vlm_context_free(c);
    end_noting(&n);
}

static void what_a_constructor_says_is_what_the_load_says(void **state) {
    (void)state;
    noting n;
    vlm_context *c = (void *)1;
    begin_noting(&n, "idefics3", "Idefics3Processor");
    n.s.fail_model = 1;
    assert_int_equal(load_noting(&c, &n), VLM_ERR_UNSUPPORTED);
    assert_string_equal(err.message, "the model says no");
    assert_null(c);
    assert_null(n.s.processor_class); /* never called */
    assert_int_equal(n.s.destroyed_models, 0);
    end_noting(&n);
    begin_noting(&n, "idefics3", "Idefics3Processor");
    n.s.fail_processor = 1;
    assert_int_equal(load_noting(&c, &n), VLM_ERR_UNSUPPORTED);
    assert_string_equal(err.message, "the processor says no");
    assert_null(c);
    assert_int_equal(n.s.destroyed_models, 1); /* what there was is gone */
    assert_int_equal(n.s.destroyed_processors, 0);
    end_noting(&n);
}

static const vlm_text *no_decoder(const void *model) {
    (void)model;
    return NULL;
}

static void a_model_without_a_decoder_is_refused(void **state) {
    (void)state;
    noting n;
    vlm_context *c = (void *)1;
    begin_noting(&n, "idefics3", "Idefics3Processor");
    n.model.text = no_decoder;
    assert_int_equal(load_noting(&c, &n), VLM_ERR_ARGUMENT);
    assert_string_equal(err.message, "model type 'idefics3': its text() gives no decoder");
    assert_null(c);
    assert_int_equal(n.s.destroyed_models, 1);
    end_noting(&n);
}

/* Neither a file nor the model type names the class: refused before any weight is opened. */
static void a_class_that_nobody_names_is_refused(void **state) {
    (void)state;
    noting n;
    watch w;
    vlm_context *c = (void *)1;
    EDIT(UNSET("preprocessor_config.json", "processor_class"));
    EDIT(UNSET("processor_config.json", "processor_class"));
    begin_noting(&n, "idefics3", "Idefics3Processor");
    n.model.default_processor_class = NULL;
    vlm_load_options o = watched(&w);
    o.models = n.models, o.processors = n.processors;
    assert_int_equal(vlm_context_load(&c, tdir, &o, &err), VLM_ERR_MISSING_FIELD);
    assert_null(c);
    assert_string_equal(err.field, "processor_class");
    assert_int_equal(w.last, VLM_LOAD_PROCESSOR_CONFIG);
    assert_string_equal(w.files[VLM_LOAD_PROCESSOR_CONFIG],
                        "preprocessor_config.json processor_config.json tokenizer_config.json");
    end_noting(&n);
}

/* What no file names and the model type takes then may be unknown, too; the line says whose wish it was. */
static void a_default_class_that_is_not_registered_is_told_as_such(void **state) {
    (void)state;
    noting n;
    vlm_context *c = (void *)1;
    EDIT(UNSET("preprocessor_config.json", "processor_class"));
    EDIT(UNSET("processor_config.json", "processor_class"));
    begin_noting(&n, "idefics3", "Idefics3Processor");
    n.model.default_processor_class = "Idefics4Processor";
    assert_int_equal(load_noting(&c, &n), VLM_ERR_UNKNOWN_PROCESSOR);
    assert_null(c);
    assert_non_null(strstr(err.message, "/preprocessor_config.json: processor_class: no file names one, and that of model type "
                                        "'idefics3': 'Idefics4Processor' is not registered (close: Idefics3Processor)"));
    end_noting(&n);
}

/* ---- overrides --------------------------------------------------------------------------------------------------- */
static void some_model_types_need_another_class_than_their_files_name(void **state) {
    (void)state;
    static const char *const pairs[][2] = { { "mistral3", "Mistral3Processor" }, { "gemma4_unified", "Gemma4UnifiedProcessor" } };
    for (size_t i = 0; i < 2; i++) {
        noting n;
        vlm_context *c = (void *)1;
        char json[60], want[200];
        snprintf(json, sizeof json, "\"%s\"", pairs[i][0]);
        EDIT(SET("config.json", "model_type", json));
        EDIT(SET("preprocessor_config.json", "processor_class", "\"PixtralProcessor\""));
        begin_noting(&n, pairs[i][0], pairs[i][1]);
        if (load_noting(&c, &n) < 0) fail_msg("%s", err.message);
        assert_string_equal(n.s.processor_class, pairs[i][1]); /* the constructor sees the class after the override */
        assert_string_equal(vlm_context_get_info(c)->processor_class, pairs[i][1]);
        assert_string_equal(vlm_processor_config_class(vlm_context_processor_config(c)), "PixtralProcessor");
        vlm_context_free(c);
        end_noting(&n);
        /* What the files name is not asked for then, even where it is registered. */
        begin_noting(&n, pairs[i][0], "PixtralProcessor");
        assert_int_equal(load_noting(&c, &n), VLM_ERR_UNKNOWN_PROCESSOR);
        snprintf(want, sizeof want, "preprocessor_config.json: processor_class: model type '%s' needs another class than "
                                    "'PixtralProcessor': '%s' is not registered", pairs[i][0], pairs[i][1]);
        if (!strstr(err.message, want)) fail_msg("%s", err.message);
        assert_null(c);
        end_noting(&n);
    }
}

/* The override goes by the canonical model type: an alias of it gets there, too. */
static void an_alias_of_a_model_type_is_served_by_its_row(void **state) {
    (void)state;
    noting n;
    vlm_context *c;
    EDIT(SET("config.json", "model_type", "\"lfm2-vl\""));
    begin_noting(&n, "lfm2_vl", "Idefics3Processor");
    if (load_noting(&c, &n) < 0) fail_msg("%s", err.message);
    assert_string_equal(vlm_context_get_info(c)->model_type, "lfm2_vl");
    assert_string_equal(vlm_base_config_model_type(vlm_context_base_config(c)), "lfm2-vl");
    vlm_context_free(c);
    end_noting(&n);
}

/* ---- what a context gives back ------------------------------------------------------------------------------------- */
static void the_row_is_the_tag_of_what_it_made(void **state) {
    (void)state;
    noting n;
    vlm_context *c;
    begin_noting(&n, "idefics3", "Idefics3Processor");
    if (load_noting(&c, &n) < 0) fail_msg("%s", err.message);
    assert_non_null(n.s.model);
    assert_ptr_equal(vlm_context_model(c, &n.model), n.s.model);
    assert_ptr_equal(vlm_context_processor(c, &n.processor), n.s.processor);
    /* The built-in rows of the same names are not what made them. */
    assert_null(vlm_context_model(c, n.s.base_model));
    assert_null(vlm_context_processor(c, n.s.base_processor));
    assert_null(vlm_context_model(c, NULL));
    assert_null(vlm_context_processor(c, NULL));
    assert_null(vlm_context_model(NULL, &n.model));
    assert_null(vlm_context_processor(NULL, &n.processor));
    end_noting(&n); /* a context does not need the registries */
    vlm_context_free(c);
    assert_int_equal(n.s.destroyed_models, 1);
    assert_int_equal(n.s.destroyed_processors, 1);
}

static const vlm_image_processor_config *image_config(vlm_context **c, const char *golden) {
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.threads = 1;
    tdir_renew(golden);
    if (vlm_context_load(c, tdir, &o, &err) < 0) fail_msg("%s", err.message);
    const vlm_image_processor_config *p = vlm_context_image_processor_config(*c);
    assert_non_null(p);
    assert_true(p->do_resize && p->do_rescale && p->do_normalize);
    assert_int_equal(p->crop.width + p->crop.height, 0);
    assert_int_equal(p->channels, VLM_CHANNELS_RGB);
    assert_float_equal(p->rescale_factor, 1.0 / 255, 1e-12);
    return p;
}

static void the_image_processors_config_of_each_family(void **state) {
    (void)state;
    vlm_context *c;
    const vlm_image_processor_config *p = image_config(&c, GOLDEN);
    assert_int_equal(p->size.width, p->size.height);
    assert_true(p->size.width > 0);
    assert_int_equal(p->resample, VLM_FILTER_LANCZOS);
    assert_float_equal(p->mean[2], 0.5, 0);
    vlm_context_free(c);
    p = image_config(&c, "tests/golden/paligemma-gemma");
    assert_int_equal(p->size.width, 56);
    assert_int_equal(p->size.height, 56);
    assert_int_equal(p->resample, VLM_FILTER_BICUBIC);
    assert_float_equal(p->std[1], 0.5, 0);
    vlm_context_free(c);
    p = image_config(&c, "tests/golden/qwen2_5_vl-tied");
    assert_int_equal(p->size.width + p->size.height, 0); /* follows the picture */
    assert_int_equal(p->resample, VLM_FILTER_BICUBIC);
    assert_float_equal(p->mean[0], 0.48145466, 1e-9);
    vlm_context_free(c);
}

static void a_class_may_keep_its_image_processor_to_itself(void **state) {
    (void)state;
    noting n;
    vlm_context *c;
    begin_noting(&n, "idefics3", "Idefics3Processor");
    n.processor.image_processor_config = NULL;
    if (load_noting(&c, &n) < 0) fail_msg("%s", err.message);
    assert_null(vlm_context_image_processor_config(c));
    vlm_context_free(c);
    end_noting(&n);
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
        TEST(constructors_are_given_the_files_verbatim),
        TEST(both_bodies_arrive_whoever_names_the_class),
        TEST(what_a_constructor_says_is_what_the_load_says), TEST(a_model_without_a_decoder_is_refused),
        TEST(a_class_that_nobody_names_is_refused),
        TEST(a_default_class_that_is_not_registered_is_told_as_such),
        TEST(some_model_types_need_another_class_than_their_files_name),
        TEST(an_alias_of_a_model_type_is_served_by_its_row),
        TEST(the_row_is_the_tag_of_what_it_made),
        TEST(the_image_processors_config_of_each_family),
        TEST(a_class_may_keep_its_image_processor_to_itself),
        TEST(threads_load_with_the_same_registries),
    };
    return cmocka_run_group_tests_name("factory", tests, NULL, NULL);
}
