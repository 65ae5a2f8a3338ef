/* SPDX-License-Identifier: MIT */
/* Out of memory at every allocation of the models: registries, building, plans, pixels, prepared
 * inputs and a session's prompt give an error, hand nothing out and leak nothing (the address
 * sanitizer watches). */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"
#include "support/alloc.h"
#include "support/checkpoint.h"
#include "support/cm.h"

static char *dir, *input;
static vlm_error err;
static vio_tensors *tensors;
static vcore_json_doc *config, *processor_config;
static vlm_context *context;
static vlm_image *picture;

/* Runs act with its first, second, ... allocation failing, until it has no more of them.
 * can_do_without: an act may get along (a frame that cannot have a large chunk asks for a smaller
 * one). */
static void sweep(vlm_status (*act)(void), bool can_do_without) {
    for (long k = 1; k < 100000; k++) {
        talloc_start(k);
        vlm_status status = act();
        if (talloc_stop() < k) {
            if (status != VLM_OK) fail_msg("%s", err.message);
            assert_true(k > 1);
            return;
        }
        if (status != VLM_ERR_MEMORY && !(can_do_without && status == VLM_OK))
            fail_msg("allocation %ld: %s: %s", k, vlm_status_name(status), err.message);
    }
    fail_msg("too many allocations");
}

static vlm_status make_registries(void) {
    static vlm_model_type another;
    another = *vlm_model_registry_find(vlm_model_registry_default(), "idefics3");
    another.model_type = "another";
    const vlm_model_type *const types[] = { &another };
    vlm_model_registry *models;
    vlm_processor_registry *processors = NULL;
    vlm_checkpoint_registry *checkpoints = NULL;
    vlm_status status =
        vlm_model_registry_with(&models, vlm_model_registry_default(), types, 1, &err);
    assert_int_equal(status >= 0, models != NULL);
    if (status >= 0)
        status = vlm_processor_registry_new(&processors, vlm_processor_registry_default(), &err);
    assert_int_equal(status >= 0, processors != NULL);
    if (status >= 0)
        status = vlm_checkpoint_registry_new(&checkpoints, vlm_checkpoint_registry_default(), &err);
    assert_int_equal(status >= 0, checkpoints != NULL);
    const vlm_model_configuration *known =
        vlm_checkpoint_registry_find(checkpoints, "Qwen/Qwen2.5-VL-3B-Instruct");
    if (status >= 0) status = vlm_checkpoint_registry_add(checkpoints, known, NULL, &err);
    vlm_model_registry_free(models);
    vlm_processor_registry_free(processors);
    vlm_checkpoint_registry_free(checkpoints);
    return status;
}

/* The row of a built-in class. */
static const vlm_processor_type *processor_type(const char *processor_class) {
    return vlm_processor_registry_find(vlm_processor_registry_default(), processor_class);
}

static vlm_status build_model(void) {
    vlm_build *b = NULL;
    void *model = NULL;
    vcore_arena *arena = vcore_arena_new();
    if (!arena) return VLM_ERR_MEMORY;
    const vmodel_build_args args = { .config = vcore_json_root(config),
                                     .tensors = tensors,
                                     .arena = arena };
    vlm_status status = vmodel_build_new(&b, &args, &err);
    if (status >= 0) status = vlm_model_registry_create(&model, vlm_model_registry_default(), b, &err);
    if (status >= 0) status = vmodel_build_check(b, false, &err);
    vmodel_build_free(b);
    vcore_arena_free(arena);
    return status;
}

/* A translated checkpoint: its table, and matrices whose floats are computed. */
static const char *quantized_path;
static vlm_status bind_quantized(void) {
    enum { OUT, IN };
    struct object {
        vlm_matrix m;
    } object;
    static const char text[] =
        "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":"
        "\"mixed-precision\",\"config_groups\":{\"a\":{\"format\":\"pack-quantized\"}}}}";
    static const char words[] = "{\"quantization\":{\"group_size\":64,\"bits\":4,\"a\":false,"
                                "\"b\":{\"bits\":8},\"c\":{}}}";
    static const vlm_weight_row row = VLM_BIND_MATRIX(struct object, m, "quantized", OUT, IN);
    bool integers = strstr(quantized_path, "int4") != NULL;
    const int64_t dims[] = { integers ? 24 : 20, integers ? 256 : 100 };
    const vlm_binding at = { .prefix = "in/", .dims = dims };
    vlm_quantization *q = NULL;
    vio_tensors *t = NULL;
    vlm_build *b = NULL;
    vcore_arena *arena = vcore_arena_new();
    if (!arena) return VLM_ERR_MEMORY;
    vlm_status status = vlm_quantization_parse(&q, words, sizeof words - 1, &err);
    if (status >= 0) assert_non_null(vlm_quantization_at(q, 2, NULL, NULL));
    vlm_quantization_free(q);
    q = NULL;
    if (status >= 0) status = vlm_quantization_parse(&q, text, sizeof text - 1, &err);
    if (status >= 0) status = vio_tensors_open_file(&t, quantized_path, NULL, &err);
    const vmodel_build_args args = { .tensors = t, .arena = arena, .quantization = q };
    if (status >= 0) status = vmodel_build_new(&b, &args, &err);
    if (status >= 0) status = vlm_bind(b, &object, &row, 1, &at, &err);
    if (status >= 0) assert_non_null(object.m.data.data);
    vmodel_build_free(b);
    vio_tensors_close(t);
    vlm_quantization_free(q);
    vcore_arena_free(arena);
    return status;
}

/* Lists missing and unused tensors, too. */
static vlm_status inspect_model(void) {
    vlm_build *b = NULL;
    void *model = NULL;
    vcore_arena *arena = vcore_arena_new();
    if (!arena) return VLM_ERR_MEMORY;
    const vmodel_build_args args = { .config = vcore_json_root(config),
                                     .arena = arena,
                                     .inspect = true };
    vlm_status status = vmodel_build_new(&b, &args, &err);
    if (status >= 0) status = vlm_model_registry_create(&model, vlm_model_registry_default(), b, &err);
    vmodel_build_free(b);
    if (status >= 0) {
        const vmodel_build_args none = { .tensors = tensors, .arena = arena };
        status = vmodel_build_new(&b, &none, &err);
        if (status >= 0) status = vmodel_build_check(b, true, &err);
        if (status >= 0) assert_true(vmodel_build_usage(b)->n_unused > 10);
        vmodel_build_free(b);
    }
    vcore_arena_free(arena);
    return status;
}

static vlm_status fill(const vlm_processor_type *type, void *processor, vlm_prepared *p) {
    const vlm_media_item item = { .size = vlm_image_size(picture), .frames = 1 };
    const vlm_image *frames[] = { picture };
    const vlm_media media = { .frames = frames };
    vlm_plan *plan;
    VTRY(vmodel_plan_new(&plan, &item, 1, NULL, &err));
    vlm_status status = type->plan(processor, plan, &err);
    if (status >= 0) status = type->fill(processor, plan, &media, p, &err);
    vmodel_plan_free(plan);
    return status;
}

static vlm_status process(void) {
    vcore_arena *arena = vcore_arena_new();
    const vlm_processor_type *type = processor_type("SmolVLMProcessor");
    const vlm_json *root = vcore_json_root(processor_config);
    const vlm_processor_build build = { .processor_class = type->processor_class,
                                        .processor_config = root,
                                        .image_config = root,
                                        .video_config = root,
                                        .image_where = "image",
                                        .video_where = "video",
                                        .arena = arena };
    void *processor;
    vlm_prepared *p = NULL;
    if (!arena) return VLM_ERR_MEMORY;
    vlm_status status = type->create(&processor, &build, &err);
    if (status >= 0) status = vmodel_prepared_new(&p, &err);
    if (status >= 0) status = fill(type, processor, p);
    vlm_prepared_free(p);
    vcore_arena_free(arena);
    return status;
}

static vlm_status read_and_write(void) {
    vlm_prepared *p;
    vlm_status status = vmodel_prepared_load(&p, input, NULL, &err);
    assert_int_equal(status >= 0, p != NULL);
    if (status >= 0) status = vlm_prepared_save(p, input, &err);
    vlm_prepared_free(p);
    return status;
}

static vlm_status feed(void) {
    vlm_prepared *p = NULL;
    vlm_session *session = NULL;
    vlm_status status = vlm_prepared_load(&p, context, input, &err);
    if (status >= 0) status = vlm_session_new(&session, context, NULL, &err);
    if (status >= 0) status = vlm_session_feed(session, p, &err);
    vlm_session_free(session);
    vlm_prepared_free(p);
    return status;
}

static void registries(void **state) {
    (void)state;
    sweep(make_registries, false);
}

static void building(void **state) {
    (void)state;
    sweep(build_model, false);
    sweep(inspect_model, false);
    quantized_path = "tests/data/quantization/int4.safetensors";
    sweep(bind_quantized, false);
    quantized_path = "tests/data/quantization/fp8.safetensors";
    sweep(bind_quantized, false);
}

static void processors(void **state) {
    (void)state;
    sweep(process, false);
}

static void prepared_inputs(void **state) {
    (void)state;
    sweep(read_and_write, false);
}

static void prompts(void **state) {
    (void)state;
    sweep(feed, true);
}

static bool write_input(void) {
    static uint32_t ids[69] = { 1 };
    for (int i = 1; i < 69; i++) ids[i] = 520; /* 17 views of 4 tokens */
    vlm_prepared *p = NULL;
    void *processor;
    const vlm_json *root = vcore_json_root(processor_config);
    vcore_arena *arena = vcore_arena_new();
    const vlm_processor_type *type = processor_type("Idefics3Processor");
    const vlm_processor_build build = { .processor_config = root,
                                        .image_config = root,
                                        .image_where = "image",
                                        .arena = arena };
    bool done = type->create(&processor, &build, &err) >= 0 && vmodel_prepared_new(&p, &err) >= 0
                && vmodel_prepared_set_ids(p, ids, 69, &err) >= 0 && fill(type, processor, p) >= 0
                && vlm_prepared_save(p, input, &err) >= 0;
    vlm_prepared_free(p);
    vcore_arena_free(arena);
    return done;
}

static int make(void **state) {
    (void)state;
    static const char json[] = "{\"size\": {\"longest_edge\": 256}, \"image_seq_len\": 4,"
                               " \"max_image_size\": {\"longest_edge\": 64}}";
    vio_bytes text;
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    options.threads = 1;
    dir = tcheckpoint_temp_dir();
    input = tcheckpoint_path(dir, "input.bin");
    bool done =
        tcheckpoint_write("tests/golden/idefics3-split", dir, NULL)
        && vio_tensors_open_dir(&tensors, dir, NULL, &err) >= 0
        && vio_read_json(&config, &text, "tests/golden/idefics3-split/config.json", 1 << 20, NULL, &err)
               >= 0
        && vcore_json_parse(&processor_config, json, sizeof json - 1, "test", &err) >= 0
        && vlm_image_open(&picture, "tests/data/pictures/square.png", NULL, &err) >= 0
        && vlm_context_load(&context, dir, &options, &err) >= 0 && write_input();
    if (!done) fprintf(stderr, "%s\n", err.message);
    vcore_free(text.p);
    return done ? 0 : -1;
}

static int unmake(void **state) {
    (void)state;
    vlm_context_free(context);
    vlm_image_free(picture);
    vcore_json_free(config);
    vcore_json_free(processor_config);
    vio_tensors_close(tensors);
    tcheckpoint_remove(dir);
    free(input);
    free(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registries),      cmocka_unit_test(building), cmocka_unit_test(processors),
        cmocka_unit_test(prepared_inputs), cmocka_unit_test(prompts),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
