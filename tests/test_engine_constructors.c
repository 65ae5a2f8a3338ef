/* SPDX-License-Identifier: MIT */
/* What the load factory gives to constructors of models and processors, which ones it calls, and what a context gives
 * back of them. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "support/dir.h"

#define GOLDEN "tests/golden/idefics3-whole"

static vlm_error err;

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
static void note_file(void *user, const char *path) {
    char *list = user;
    assert_true(strlen(list) + strlen(path) + 2 < 1000);
    strcat(strcat(list, " "), strrchr(path, '/') + 1);
}

static void a_class_that_nobody_names_is_refused(void **state) {
    (void)state;
    noting n;
    char files[1000] = "";
    vlm_context *c = (void *)1;
    EDIT(UNSET("preprocessor_config.json", "processor_class"));
    EDIT(UNSET("processor_config.json", "processor_class"));
    begin_noting(&n, "idefics3", "Idefics3Processor");
    n.model.default_processor_class = NULL;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.models = n.models, o.processors = n.processors;
    o.opened = note_file, o.opened_user = files;
    assert_int_equal(vlm_context_load(&c, tdir, &o, &err), VLM_ERR_MISSING_FIELD);
    assert_null(c);
    assert_string_equal(err.field, "processor_class");
    const char *tried = strstr(files, " preprocessor_config.json");
    assert_non_null(tried);
    assert_string_equal(tried, " preprocessor_config.json processor_config.json tokenizer_config.json");
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

int main(void) {
#define TEST(name) TDIR_TEST(name, GOLDEN)
    const struct CMUnitTest tests[] = {
        TEST(constructors_are_given_the_files_verbatim),
        TEST(both_bodies_arrive_whoever_names_the_class),
        TEST(what_a_constructor_says_is_what_the_load_says),
        TEST(a_model_without_a_decoder_is_refused),
        TEST(a_class_that_nobody_names_is_refused),
        TEST(a_default_class_that_is_not_registered_is_told_as_such),
        TEST(some_model_types_need_another_class_than_their_files_name),
        TEST(an_alias_of_a_model_type_is_served_by_its_row),
        TEST(the_row_is_the_tag_of_what_it_made),
        TEST(the_image_processors_config_of_each_family),
        TEST(a_class_may_keep_its_image_processor_to_itself),
    };
    return cmocka_run_group_tests_name("constructors", tests, NULL, NULL);
}
