/* SPDX-License-Identifier: MIT */
/* The registries of model types and processor classes, and the names of model types: what is registered under
 * which name, which row a name finds, whose constructor runs with what, and that many threads may ask at once. */
#include <pthread.h>

#include "models/models.h"
#include "support/cm.h"

static vlm_error err;

/* ---- rows that note what they are given ---------------------------------------------------------------- */
typedef struct made {
    const void *user;
    const char *config_text;
} made;

static vlm_status create(void **model, vlm_build *build, vlm_error *error) {
    (void)error;
    made *m = vlm_build_alloc(build, 1, sizeof *m);
    if (!m) return VLM_ERR_MEMORY;
    m->user = vlm_build_user(build);
    m->config_text = vlm_build_config_text(build);
    *model = m;
    return VLM_OK;
}

/* Leaves something in *model and fails. */
static vlm_status create_fails(void **model, vlm_build *build, vlm_error *error) {
    *model = build;
    return vlm_fail(error, VLM_ERR_CONFIG, "no such thing");
}

static const vlm_text *no_text(const void *model) {
    (void)model;
    return NULL;
}

static vlm_status create_processor(void **processor, const vlm_processor_build *build, vlm_error *error) {
    (void)error;
    made *m = vlm_processor_alloc(build, 1, sizeof *m);
    if (!m) return VLM_ERR_MEMORY;
    m->user = build->user;
    m->config_text = build->config_text;
    *processor = m;
    return VLM_OK;
}

static vlm_model_type row(const char *name, const char *aliases) {
    return (vlm_model_type) { .model_type = name, .aliases = aliases, .create = create, .text = no_text };
}

static vlm_model_registry *empty_models(void) {
    vlm_model_registry *r;
    assert_int_equal(vlm_model_registry_new(&r, NULL, &err), VLM_OK);
    return r;
}

static void add(vlm_model_registry *r, const vlm_model_type *type) {
    const vlm_model_type *displaced = type;
    if (vlm_model_registry_add(r, type, &displaced, &err) < 0) fail_msg("%s", err.message);
    assert_null(displaced);
}

/* ---- names ------------------------------------------------------------------------------------------------ */
static void aliases_are_remapped(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        { "bunny-llama", "llava_bunny" },         { "cohere2_vision", "aya_vision" },
        { "falcon-perception", "falcon_perception" }, { "granite-vision", "granite_vision" },
        { "granite4-vision", "granite4_vision" }, { "granite4_vision", "granite4_vision" },
        { "jvlm", "jina_vlm" },                   { "lfm2-vl", "lfm2_vl" },
        { "llava-qwen2", "llava_bunny" },         { "llava_qwen2", "fastvlm" },
        { "nemotronh_nano_omni_reasoning_v3", "nemotron_h_nano_omni" },
        { "phi4-siglip", "phi4_siglip" },         { "rf-detr", "rfdetr" },
        { "sam3.1_video", "sam3_1" },             { "sam3_video", "sam3" },
        /* of mlx-vlm's later tables */
        { "inkling_mm_model", "inkling" },        { "moondream1", "moondream2" },
        { "muse_spark_open", "muse_spark" },      { "nemotron_h_omni", "nemotron_h_nano_omni" },
        { "unlimited-ocr", "unlimited_ocr" },
    };
    size_t n = sizeof pairs / sizeof *pairs;
    for (size_t i = 0; i < n; i++)
        assert_string_equal(vlm_remap_model_type(pairs[i][0]), pairs[i][1]);
    const char *last = "", *from, *to;
    for (size_t i = 0; (from = vlm_remap_at(i, &to)); i++) {
        assert_true(i < n);
        assert_true(strcmp(last, from) < 0); /* sorted */
        assert_string_equal(vlm_remap_model_type(from), to);
        assert_string_equal(vlm_remap_model_type(to), to); /* one step is enough */
        last = from;
    }
    assert_non_null(vlm_remap_at(n - 1, NULL));
    assert_null(vlm_remap_at(n, NULL));
}

static void other_names_stay_as_they_are(void **state) {
    (void)state;
    /* Spelling counts; aliases of text models are none of a VLM's. */
    static const char *const names[] = { "qwen2_5_vl", "", "LFM2-VL", "lfm2-vl ", "Llava_Qwen2", "mistral", "kimi_k2",
                                         "phi-msft", "cohere2moe", "nemotron-nas", "falcon_mamba" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_ptr_equal(vlm_remap_model_type(names[i]), names[i]);
}

static void one_letter_tells_fastvlm_from_bunny(void **state) {
    (void)state;
    const vlm_model_type fast = row("fastvlm", NULL), bunny = row("llava_bunny", NULL);
    vlm_model_registry *r = empty_models();
    add(r, &fast);
    add(r, &bunny);
    assert_ptr_equal(vlm_model_registry_find(r, "llava_qwen2"), &fast);
    assert_ptr_equal(vlm_model_registry_find(r, "llava-qwen2"), &bunny);
    vlm_model_registry_free(r);
}

/* ---- registering --------------------------------------------------------------------------------------------- */
static void a_registry_starts_empty_or_from_another(void **state) {
    (void)state;
    const vlm_model_type mine = row("mine", NULL);
    vlm_model_registry *r = empty_models(), *copy;
    assert_null(vlm_model_registry_at(r, 0, NULL));
    assert_false(vlm_model_registry_contains(r, "idefics3"));
    add(r, &mine);
    assert_int_equal(vlm_model_registry_new(&copy, r, &err), VLM_OK);
    vlm_model_registry_free(r);
    assert_true(vlm_model_registry_contains(copy, "mine"));
    vlm_model_registry_free(copy);
    assert_int_equal(vlm_model_registry_new(&r, vlm_model_registry_default(), &err), VLM_OK);
    add(r, &mine);
    assert_true(vlm_model_registry_contains(r, "idefics3"));
    assert_false(vlm_model_registry_contains(vlm_model_registry_default(), "mine"));
    assert_ptr_equal(vlm_model_registry_default(), vlm_model_registry_default());
    vlm_model_registry_free(r);
}

static void what_is_built_in_is_listed_in_order(void **state) {
    (void)state;
    const char *aliases = NULL;
    const vlm_model_registry *r = vlm_model_registry_default();
    assert_string_equal(vlm_model_registry_at(r, 0, &aliases), "idefics3");
    assert_string_equal(aliases, "smolvlm");
    assert_string_equal(vlm_model_registry_at(r, 1, &aliases), "paligemma");
    assert_null(aliases);
    for (size_t i = 0; vlm_model_registry_at(r, i, NULL); i++) {
        const char *name = vlm_model_registry_at(r, i, NULL);
        assert_string_equal(vlm_remap_model_type(name), name); /* registered under its canonical name */
        assert_true(vlm_model_registry_contains(r, name));
    }
    const vlm_processor_registry *p = vlm_processor_registry_default();
    assert_string_equal(vlm_processor_registry_at(p, 0, NULL), "Idefics3Processor");
    for (size_t i = 0; vlm_processor_registry_at(p, i, NULL); i++)
        assert_true(vlm_processor_registry_contains(p, vlm_processor_registry_at(p, i, NULL)));
}

static void a_row_is_found_by_its_canonical_name_and_any_alias(void **state) {
    (void)state;
    const vlm_model_type lfm = row("lfm2-vl", "other|lfm-classic"); /* registered by an alias */
    vlm_model_registry *r = empty_models();
    add(r, &lfm);
    assert_string_equal(vlm_model_registry_at(r, 0, NULL), "lfm2_vl");
    static const char *const names[] = { "lfm2-vl", "lfm2_vl", "other", "lfm-classic" };
    for (size_t i = 0; i < 4; i++) {
        assert_ptr_equal(vlm_model_registry_find(r, names[i]), &lfm);
        assert_true(vlm_model_registry_contains(r, names[i]));
    }
    static const char *const none[] = { "LFM2_VL", "lfm2", "other|lfm-classic", "" };
    for (size_t i = 0; i < 4; i++) assert_false(vlm_model_registry_contains(r, none[i]));
    assert_false(vlm_model_registry_contains(r, NULL));
    vlm_model_registry_free(r);
}

static void registering_again_displaces(void **state) {
    (void)state;
    const vlm_model_type first = row("lfm2_vl", NULL), between = row("x", NULL), second = row("lfm2-vl", NULL);
    const vlm_model_type *displaced = NULL;
    vlm_model_registry *r = empty_models();
    add(r, &first);
    add(r, &between);
    assert_int_equal(vlm_model_registry_add(r, &second, &displaced, &err), VLM_OK);
    assert_ptr_equal(displaced, &first);
    assert_ptr_equal(vlm_model_registry_find(r, "lfm2_vl"), &second);
    assert_string_equal(vlm_model_registry_at(r, 0, NULL), "lfm2_vl"); /* in the other's place */
    assert_string_equal(vlm_model_registry_at(r, 1, NULL), "x");
    assert_null(vlm_model_registry_at(r, 2, NULL));
    assert_int_equal(vlm_model_registry_add(r, &first, NULL, &err), VLM_OK); /* nobody wants to know */
    assert_ptr_equal(vlm_model_registry_find(r, "lfm2_vl"), &first);
    vlm_model_registry_free(r);

    const vlm_processor_type a = { .processor_class = "P", .create = create_processor }, b = a;
    const vlm_processor_type *before = &a;
    vlm_processor_registry *p;
    assert_int_equal(vlm_processor_registry_new(&p, NULL, &err), VLM_OK);
    assert_int_equal(vlm_processor_registry_add(p, &a, &before, &err), VLM_OK);
    assert_null(before);
    assert_int_equal(vlm_processor_registry_add(p, &b, &before, &err), VLM_OK);
    assert_ptr_equal(before, &a);
    assert_ptr_equal(vlm_processor_registry_find(p, "P"), &b);
    vlm_processor_registry_free(p);
}

static void a_name_goes_before_the_alias_of_another_row(void **state) {
    (void)state;
    const vlm_model_type own = row("smolvlm", NULL);
    vlm_model_registry *r;
    assert_int_equal(vlm_model_registry_with(&r, vlm_model_registry_default(),
                                             (const vlm_model_type *const[]) { &own }, 1, &err), VLM_OK);
    assert_ptr_equal(vlm_model_registry_find(r, "smolvlm"), &own);
    assert_ptr_equal(vlm_model_registry_find(r, "idefics3"),
                     vlm_model_registry_find(vlm_model_registry_default(), "idefics3"));
    vlm_model_registry_free(r);
}

/* One call makes a registry of several rows, or nothing. */
static void the_builder_takes_all_rows_or_gives_nothing(void **state) {
    (void)state;
    const vlm_model_type a = row("a", NULL), b = row("b", NULL), again = row("a", NULL);
    vlm_model_type bad = row("bad", NULL);
    bad.create = NULL;
    const vlm_model_type *rows[] = { &a, &b, &again };
    vlm_model_registry *r;
    assert_int_equal(vlm_model_registry_with(&r, NULL, rows, 3, &err), VLM_OK);
    assert_ptr_equal(vlm_model_registry_find(r, "a"), &again);
    assert_string_equal(vlm_model_registry_at(r, 1, NULL), "b");
    assert_null(vlm_model_registry_at(r, 2, NULL));
    vlm_model_registry_free(r);
    rows[2] = &bad;
    assert_int_equal(vlm_model_registry_with(&r, vlm_model_registry_default(), rows, 3, &err), VLM_ERR_ARGUMENT);
    assert_null(r);
    rows[2] = NULL;
    assert_int_equal(vlm_model_registry_with(&r, NULL, rows, 3, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_model_registry_with(&r, NULL, NULL, 1, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_model_registry_with(NULL, NULL, rows, 2, &err), VLM_ERR_ARGUMENT);

    const vlm_processor_type p = { .processor_class = "P", .create = create_processor }, no = { .create = create_processor };
    vlm_processor_registry *processors;
    assert_int_equal(vlm_processor_registry_with(&processors, NULL, (const vlm_processor_type *const[]) { &p }, 1, &err), VLM_OK);
    assert_true(vlm_processor_registry_contains(processors, "P"));
    vlm_processor_registry_free(processors);
    assert_int_equal(vlm_processor_registry_with(&processors, NULL, (const vlm_processor_type *const[]) { &p, &no }, 2, &err),
                     VLM_ERR_ARGUMENT);
    assert_null(processors);
    assert_int_equal(vlm_processor_registry_with(&processors, NULL, NULL, 1, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_processor_registry_with(NULL, NULL, NULL, 0, &err), VLM_ERR_ARGUMENT);
}

static const char *placeholder(const void *processor, bool video) {
    (void)processor;
    return video ? NULL : "<image>";
}

static void incomplete_rows_are_refused(void **state) {
    (void)state;
    vlm_model_registry *r = empty_models();
    vlm_model_type m[3] = { row("m", NULL), row("m", NULL), row("m", NULL) };
    const vlm_model_type *displaced = m;
    m[0].model_type = NULL, m[1].create = NULL, m[2].text = NULL;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(vlm_model_registry_add(r, &m[i], &displaced, &err), VLM_ERR_ARGUMENT);
    assert_null(displaced);
    assert_int_equal(vlm_model_registry_add(r, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_model_registry_add(NULL, m, NULL, &err), VLM_ERR_ARGUMENT);
    assert_null(vlm_model_registry_at(r, 0, NULL));
    vlm_model_registry_free(r);
    vlm_processor_registry *p;
    assert_int_equal(vlm_processor_registry_new(&p, NULL, &err), VLM_OK);
    const vlm_processor_type bad[] = { { .create = create_processor },
                                       { .processor_class = "P" },
                                       { .processor_class = "P", .create = create_processor, .placeholder = placeholder } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(vlm_processor_registry_add(p, &bad[i], NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_processor_registry_add(p, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_processor_registry_add(NULL, bad, NULL, &err), VLM_ERR_ARGUMENT);
    vlm_processor_registry_free(p);
}

/* Class names are taken as they are written: no remapping, no other case, no override. */
static void class_names_are_not_canonicalised(void **state) {
    (void)state;
    const vlm_processor_type p = { .processor_class = "lfm2-vl", .aliases = "B|C", .create = create_processor };
    vlm_processor_registry *r;
    assert_int_equal(vlm_processor_registry_with(&r, NULL, (const vlm_processor_type *const[]) { &p }, 1, &err), VLM_OK);
    assert_true(vlm_processor_registry_contains(r, "lfm2-vl"));
    assert_true(vlm_processor_registry_contains(r, "C"));
    static const char *const none[] = { "lfm2_vl", "LFM2-VL", "c", "B|C", "", NULL };
    for (size_t i = 0; i < 6; i++) assert_false(vlm_processor_registry_contains(r, none[i]));
    vlm_processor_registry_free(r);
    vlm_model_type mistral = row("mistral3", NULL), unified = row("gemma4_unified", NULL), other = row("pixtral", NULL);
    assert_string_equal(vmodel_processor_override(&mistral), "Mistral3Processor");
    assert_string_equal(vmodel_processor_override(&unified), "Gemma4UnifiedProcessor");
    assert_null(vmodel_processor_override(&other));
    mistral.processor_class = "MyProcessor"; /* a row knows best */
    assert_string_equal(vmodel_processor_override(&mistral), "MyProcessor");
}

/* ---- creating ------------------------------------------------------------------------------------------------- */
typedef struct building {
    vcore_arena *arena;
    vcore_json_doc *config;
    vlm_build *build;
} building;

static building begin(const char *config) {
    building b = { .arena = vcore_arena_new() };
    assert_int_equal(vcore_json_parse(&b.config, config, strlen(config), "config.json", &err), VLM_OK);
    const vmodel_build_args args = { .config = vcore_json_root(b.config), .config_text = config, .arena = b.arena };
    assert_int_equal(vmodel_build_new(&b.build, &args, &err), VLM_OK);
    return b;
}

static void end(building *b) {
    vmodel_build_free(b->build);
    vcore_json_free(b->config);
    vcore_arena_free(b->arena);
}

static void one_constructor_serves_several_rows(void **state) {
    (void)state;
    static const int wide, narrow;
    vlm_model_type rows[2] = { row("wide", NULL), row("narrow", "slim") };
    rows[0].user = &wide, rows[1].user = &narrow;
    vlm_model_registry *r = empty_models();
    add(r, &rows[0]);
    add(r, &rows[1]);
    static const char *const configs[] = { "{\"model_type\": \"wide\"}", "{\"model_type\": \"slim\"}" };
    for (size_t i = 0; i < 2; i++) {
        building b = begin(configs[i]);
        void *model = NULL;
        assert_int_equal(vlm_model_registry_create(&model, r, b.build, &err), VLM_OK);
        const made *m = model;
        assert_ptr_equal(m->user, rows[i].user);
        assert_ptr_equal(m->config_text, configs[i]);
        assert_null(vlm_build_user(b.build)); /* of the call only */
        end(&b);
    }
    vlm_model_registry_free(r);

    static const int tall;
    const vlm_processor_type p = { .processor_class = "P", .create = create_processor, .user = &tall };
    vlm_processor_registry *processors;
    assert_int_equal(vlm_processor_registry_with(&processors, NULL, (const vlm_processor_type *const[]) { &p }, 1, &err), VLM_OK);
    vcore_arena *arena = vcore_arena_new();
    vlm_processor_build build = { .processor_class = "P", .config_text = "x", .arena = arena };
    void *processor = NULL;
    assert_int_equal(vlm_processor_registry_create(&processor, processors, &build, &err), VLM_OK);
    assert_ptr_equal(((const made *)processor)->user, &tall);
    vcore_arena_free(arena);
    vlm_processor_registry_free(processors);
}

static void an_unknown_name_creates_nothing_and_is_told_the_nearest(void **state) {
    (void)state;
    building b = begin("{\"model_type\": \"qwen2_5_vll\"}");
    void *model = &b;
    assert_int_equal(vlm_model_registry_create(&model, vlm_model_registry_default(), b.build, &err), VLM_ERR_UNKNOWN_MODEL_TYPE);
    assert_null(model);
    assert_non_null(strstr(err.message, "model_type: 'qwen2_5_vll' is not registered (close: qwen2_5_vl"));
    assert_string_equal(err.field, "model_type");
    vlm_model_registry *none = empty_models();
    assert_int_equal(vlm_model_registry_create(&model, none, b.build, &err), VLM_ERR_UNKNOWN_MODEL_TYPE);
    assert_non_null(strstr(err.message, "is not registered (nothing is)"));
    vlm_model_registry_free(none);
    end(&b);
    b = begin("{}");
    assert_int_equal(vlm_model_registry_create(&model, vlm_model_registry_default(), b.build, &err), VLM_ERR_UNKNOWN_MODEL_TYPE);
    assert_int_equal(vlm_model_registry_create(NULL, vlm_model_registry_default(), b.build, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_model_registry_create(&model, NULL, b.build, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_model_registry_create(&model, vlm_model_registry_default(), NULL, &err), VLM_ERR_ARGUMENT);
    end(&b);
    const vlm_processor_build build = { .processor_class = "PaligemmaProcessor", .processor_file = "here.json" };
    void *processor = &b;
    assert_int_equal(vlm_processor_registry_create(&processor, vlm_processor_registry_default(), &build, &err),
                     VLM_ERR_UNKNOWN_PROCESSOR);
    assert_null(processor);
    assert_non_null(strstr(err.message, "here.json: processor_class: 'PaligemmaProcessor' is not registered "
                                        "(close: PaliGemmaProcessor, "));
    assert_string_equal(err.file, "here.json");
    const vlm_processor_build nameless = { .processor_file = "here.json" };
    assert_int_equal(vlm_processor_registry_create(&processor, vlm_processor_registry_default(), &nameless, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_processor_registry_create(NULL, vlm_processor_registry_default(), &build, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_processor_registry_create(&processor, NULL, &build, &err), VLM_ERR_ARGUMENT);
}

static void a_constructor_that_fails_hands_nothing_out(void **state) {
    (void)state;
    vlm_model_type fails = row("fails", NULL);
    fails.create = create_fails;
    vlm_model_registry *r = empty_models();
    add(r, &fails);
    building b = begin("{\"model_type\": \"fails\"}");
    void *model = NULL;
    assert_int_equal(vlm_model_registry_create(&model, r, b.build, &err), VLM_ERR_CONFIG);
    assert_null(model);
    assert_string_equal(err.message, "no such thing");
    end(&b);
    vlm_model_registry_free(r);
}

static void an_extension_of_another_interface_is_refused(void **state) {
    (void)state;
    assert_int_equal(vlm_extend_check(VLM_API_VERSION, &err), VLM_OK);
    assert_int_equal(vlm_extend_check(VLM_API_VERSION + 1, &err), VLM_ERR_UNSUPPORTED);
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */
static void *ask_many_times(void *registry) {
    const vlm_model_registry *r = registry;
    size_t found = 0;
    for (int i = 0; i < 2000; i++) {
        const char *aliases;
        for (size_t k = 0; vlm_model_registry_at(r, k, &aliases); k++) found++;
        found += vlm_model_registry_contains(r, "smolvlm");
        found += vlm_model_registry_find(r, "lfm2-vl") != NULL;
        found += vlm_processor_registry_find(vlm_processor_registry_default(), "SmolVLMProcessor") != NULL;
        found += vlm_checkpoint_registry_find(vlm_checkpoint_registry_default(), "Qwen/Qwen2.5-VL-3B-Instruct") != NULL;
    }
    return (void *)found;
}

/* The thread sanitizer watches (preset tsan). */
static void a_registry_is_shared_by_threads(void **state) {
    (void)state;
    const vlm_model_type lfm = row("lfm2_vl", NULL);
    vlm_model_registry *r;
    pthread_t threads[4];
    assert_int_equal(vlm_model_registry_with(&r, vlm_model_registry_default(),
                                             (const vlm_model_type *const[]) { &lfm }, 1, &err), VLM_OK);
    size_t rows = 0;
    while (vlm_model_registry_at(r, rows, NULL)) rows++;
    for (size_t i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, ask_many_times, r), 0);
    for (size_t i = 0; i < 4; i++) {
        void *found;
        assert_int_equal(pthread_join(threads[i], &found), 0);
        assert_int_equal((size_t)found, 2000 * (rows + 4));
    }
    vlm_model_registry_free(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aliases_are_remapped),
        cmocka_unit_test(other_names_stay_as_they_are),
        cmocka_unit_test(one_letter_tells_fastvlm_from_bunny),
        cmocka_unit_test(a_registry_starts_empty_or_from_another),
        cmocka_unit_test(what_is_built_in_is_listed_in_order),
        cmocka_unit_test(a_row_is_found_by_its_canonical_name_and_any_alias),
        cmocka_unit_test(registering_again_displaces),
        cmocka_unit_test(a_name_goes_before_the_alias_of_another_row),
        cmocka_unit_test(the_builder_takes_all_rows_or_gives_nothing),
        cmocka_unit_test(incomplete_rows_are_refused),
        cmocka_unit_test(class_names_are_not_canonicalised),
        cmocka_unit_test(one_constructor_serves_several_rows),
        cmocka_unit_test(an_unknown_name_creates_nothing_and_is_told_the_nearest),
        cmocka_unit_test(a_constructor_that_fails_hands_nothing_out),
        cmocka_unit_test(an_extension_of_another_interface_is_refused),
        cmocka_unit_test(a_registry_is_shared_by_threads),
    };
    return cmocka_run_group_tests_name("registries", tests, NULL, NULL);
}
