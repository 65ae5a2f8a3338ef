/* SPDX-License-Identifier: MIT */
/* Out of memory at the allocations of a whole run: load, prepare with a picture, feed, decode, sync, dump,
 * inspect. Each gives an error, hands nothing out and leaks nothing (the address sanitizer watches); the same
 * call made again, on the same context and session, succeeds. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "support/alloc.h"
#include "support/checkpoint.h"
#include "support/cm.h"

#define PICTURE "tests/data/pictures/square.png"

static char *dir, *elsewhere, *out;
static vlm_error err;
static vlm_context *context;
static vlm_prepared *prompt, *longer;
static vlm_session *session;

/* Lets the first, second, ... allocation fail until the act has no more of them, each time followed by again()
 * without a failure (NULL: nothing). */
static void sweep(vlm_status (*act)(void), vlm_status (*again)(void)) {
    long failures = 0;
    for (long k = 1; k < 1000000; k++) {
        talloc_start(k);
        vlm_status status = act();
        bool reached = talloc_stop() >= k;
        if (reached && status >= 0) continue; /* it can do without (a smaller chunk, a file passed over) */
        if (reached && status != VLM_ERR_MEMORY)
            fail_msg("allocation %ld: %s: %s", k, vlm_status_name(status), err.message);
        if (!reached && status < 0) fail_msg("%s", err.message);
        if (reached) failures++;
        if (reached && again && again() < 0) fail_msg("after allocation %ld: %s", k, err.message);
        if (!reached) break;
    }
    assert_true(failures > 0);
}

static vlm_status load(void) {
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.threads = 1;
    vlm_context *c = (void *)1;
    vlm_status status = vlm_context_load(&c, dir, &o, &err);
    assert_int_equal(status < 0, c == NULL);
    vlm_context_free(c);
    return status;
}

static int go_on(void *user, const vlm_load_progress *p) {
    (void)user;
    (void)p;
    return 0;
}

/* With registries of its own, an entry for the checkpoint, a tokenizer from elsewhere. */
static vlm_status load_with_all(void) {
    static const char *const tokens[] = { "<|im_start|>" };
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    vlm_model_configuration known = VLM_MODEL_CONFIGURATION_INIT;
    vlm_model_registry *models = NULL;
    vlm_processor_registry *processors = NULL;
    vlm_checkpoint_registry *checkpoints = NULL;
    vlm_context *c = NULL;
    known.id = dir, known.default_prompt = "What?", known.tokenizer_source = elsewhere;
    known.extra_eos = tokens, known.n_extra_eos = 1;
    vlm_status status = vlm_model_registry_new(&models, vlm_model_registry_default(), &err);
    if (status >= 0) status = vlm_processor_registry_new(&processors, vlm_processor_registry_default(), &err);
    if (status >= 0) status = vlm_checkpoint_registry_new(&checkpoints, NULL, &err);
    if (status >= 0) status = vlm_checkpoint_registry_add(checkpoints, &known, NULL, &err);
    o.threads = 1, o.in_memory = true, o.progress = go_on;
    o.models = models, o.processors = processors, o.checkpoints = checkpoints;
    if (status >= 0) status = vlm_context_load(&c, dir, &o, &err);
    assert_int_equal(status < 0, c == NULL);
    vlm_model_registry_free(models);
    vlm_processor_registry_free(processors);
    vlm_checkpoint_registry_free(checkpoints);
    vlm_context_free(c);
    return status;
}

static vlm_status ask(vlm_prepared **prepared, const char *more) {
    vlm_input *in = NULL;
    *prepared = NULL;
    vlm_status status = vlm_input_new(&in, &err);
    if (status >= 0) status = vlm_input_add_image_file(in, PICTURE, &err);
    if (status >= 0) status = vlm_input_add_message(in, "user", "What is it?", &err);
    if (status >= 0 && more) status = vlm_input_add_message(in, "assistant", more, &err);
    if (status >= 0 && more) status = vlm_input_add_message(in, "user", more, &err);
    if (status >= 0) status = vlm_prepare(prepared, context, in, &err);
    assert_int_equal(status < 0, *prepared == NULL);
    vlm_input_free(in);
    return status;
}

static vlm_status prepare(void) {
    vlm_prepared *p;
    vlm_status status = ask(&p, "A square.");
    vlm_prepared_free(p);
    return status;
}

static vlm_status prepare_chat(void) {
    static const char chat[] = "[{\"role\": \"user\", \"content\": [{\"type\": \"image\", \"path\": \"" PICTURE "\"},"
                               "{\"type\": \"image\"}, {\"type\": \"text\", \"text\": \"Hi\"}]}]";
    vlm_input *in = NULL;
    vlm_prepared *p = NULL;
    vlm_status status = vlm_input_new(&in, &err);
    if (status >= 0) status = vlm_input_add_image_file(in, PICTURE, &err);
    if (status >= 0) status = vlm_input_set_messages(in, chat, &err);
    if (status >= 0) status = vlm_input_set_variable(in, "x", "[1.5]", &err);
    if (status >= 0) status = vlm_prepare(&p, context, in, &err);
    vlm_input_free(in);
    vlm_prepared_free(p);
    return status;
}

static vlm_status new_session(vlm_session **s) {
    static const char *const stops[] = { "no such answer" };
    vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
    o.context = 256;
    o.max_tokens = 8;
    o.ignore_eos = true;
    o.stops = stops;
    o.n_stops = 1;
    o.sampling.temperature = 1;
    o.sampling.repetition_penalty = 1.1f;
    return vlm_session_new(s, context, &o, &err);
}

static vlm_status three_steps(vlm_session *s) {
    for (int i = 0; i < 3; i++) {
        vlm_piece piece;
        VTRY(vlm_session_next(s, &piece, &err));
    }
    return VLM_OK;
}

static vlm_status talk(void) {
    vlm_session *s = NULL;
    vlm_status status = new_session(&s);
    if (status >= 0) status = vlm_session_feed(s, prompt, &err);
    if (status >= 0) status = three_steps(s);
    if (status >= 0) status = vlm_session_sync(s, longer, &err);
    if (status >= 0) status = three_steps(s);
    vlm_session_free(s);
    return status;
}

/* The same on one session, which must survive every failure. */
static vlm_status sync_again(void) {
    VTRY(vlm_session_sync(session, prompt, &err));
    VTRY(three_steps(session));
    VTRY(vlm_session_sync(session, longer, &err));
    return three_steps(session);
}

static vlm_status feed_again(void) {
    vlm_session_reset(session);
    VTRY(vlm_session_feed(session, prompt, &err));
    VTRY(three_steps(session));
    return vlm_session_feed(session, longer, &err);
}

static vlm_status dump(void) {
    for (int stage = VLM_STAGE_VISION; stage <= VLM_STAGE_LOGITS; stage++)
        VTRY(vlm_dump_stage(context, prompt, (vlm_stage)stage, out, &err));
    return VLM_OK;
}

static vlm_status inspect(void) {
    vlm_input *in = NULL;
    char *json = (void *)1;
    vlm_status status = vlm_input_new(&in, &err);
    if (status >= 0) status = vlm_input_add_image_file(in, PICTURE, &err);
    if (status >= 0) status = vlm_input_add_message(in, "user", "x", &err);
    if (status >= 0) {
        status = vlm_inspect(&json, dir, NULL, in, NULL, &err);
        assert_int_equal(status < 0, json == NULL);
        vlm_string_free(json);
    }
    vlm_input_free(in);
    return status;
}

static vlm_status generate(void) {
    vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
    o.max_tokens = 3;
    vlm_input *in = NULL;
    char *text = NULL;
    vlm_status status = vlm_input_new(&in, &err);
    if (status >= 0) status = vlm_input_add_message(in, "user", "x", &err);
    if (status >= 0) status = vlm_generate(&text, context, in, &o, &err);
    vlm_string_free(text);
    vlm_input_free(in);
    return status;
}

static void loading(void **state) {
    (void)state;
    sweep(load, load);
    sweep(load_with_all, NULL);
}

/* Families with templates of their own. */
static void loading_others(void **state) {
    (void)state;
    static const char *const goldens[] = { "tests/golden/paligemma-gemma", "tests/golden/smolvlm-video",
                                           "tests/golden/gemma3-new", "tests/golden/mistral3-ministral3",
                                           "tests/golden/qwen3_vl_moe", "tests/golden/glm_ocr" };
    char *const good = dir;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        dir = tcheckpoint_temp_dir();
        assert_true(tcheckpoint_write(goldens[i], dir, NULL));
        sweep(load, NULL);
        tcheckpoint_remove(dir);
        free(dir);
    }
    dir = good;
}

static const char *refused_type, *refused_class;

/* A load of a checkpoint that nobody serves: refused, or out of memory before that could be said. */
static vlm_status load_unknown(void) {
    vlm_model_registry *models = NULL;
    vlm_processor_registry *processors = NULL;
    vlm_context *c = (void *)1;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    vlm_status status = VLM_OK;
    if (refused_type) status = vlm_model_registry_new(&models, NULL, &err);
    if (status >= 0 && refused_class) status = vlm_processor_registry_new(&processors, NULL, &err);
    o.threads = 1, o.models = models, o.processors = processors;
    if (status >= 0) status = vlm_context_load(&c, dir, &o, &err);
    assert_true(status < 0);
    if (status == VLM_ERR_UNKNOWN_MODEL_TYPE) assert_non_null(strstr(err.message, refused_type));
    if (status == VLM_ERR_UNKNOWN_PROCESSOR) assert_non_null(strstr(err.message, refused_class));
    vlm_model_registry_free(models);
    vlm_processor_registry_free(processors);
    return status;
}

static void refusing(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        const vlm_status says = i ? VLM_ERR_UNKNOWN_PROCESSOR : VLM_ERR_UNKNOWN_MODEL_TYPE;
        refused_type = i ? NULL : "idefics3", refused_class = i ? "Idefics3Processor" : NULL;
        long k = 1;
        for (bool reached = true; reached; k++) {
            talloc_start(k);
            vlm_status status = load_unknown();
            reached = talloc_stop() >= k;
            if (status != says && !(reached && status == VLM_ERR_MEMORY))
                fail_msg("allocation %ld: %s: %s", k, vlm_status_name(status), err.message);
        }
        assert_true(k > 10);
    }
}

static void preparing(void **state) {
    (void)state;
    sweep(prepare, prepare);
    sweep(prepare_chat, prepare_chat);
}

static void talking(void **state) {
    (void)state;
    sweep(talk, talk);
    sweep(generate, NULL);
}

static void a_session_survives(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(new_session(&session), VLM_OK);
        sweep(i ? feed_again : sync_again, i ? feed_again : sync_again);
        vlm_session_free(session);
    }
}

static void dumping(void **state) {
    (void)state;
    sweep(dump, dump);
}

static void inspecting(void **state) {
    (void)state;
    sweep(inspect, NULL);
}

static int make(void **state) {
    (void)state;
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.threads = 1;
    dir = tcheckpoint_temp_dir();
    elsewhere = tcheckpoint_temp_dir();
    out = tcheckpoint_path(dir, "dump.bin");
    bool done = tcheckpoint_write("tests/golden/idefics3-whole", dir, NULL) &&
                tcheckpoint_write("tests/golden/idefics3-whole", elsewhere, NULL) &&
                vlm_context_load(&context, dir, &o, &err) >= 0 && ask(&prompt, NULL) >= 0 &&
                ask(&longer, "And then?") >= 0;
    if (!done) fprintf(stderr, "%s\n", err.message);
    return done ? 0 : -1;
}

static int unmake(void **state) {
    (void)state;
    vlm_prepared_free(prompt);
    vlm_prepared_free(longer);
    vlm_context_free(context);
    tcheckpoint_remove(dir);
    tcheckpoint_remove(elsewhere);
    free(elsewhere);
    free(out);
    free(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading),    cmocka_unit_test(loading_others),
        cmocka_unit_test(refusing),   cmocka_unit_test(preparing),
        cmocka_unit_test(talking),    cmocka_unit_test(dumping),
        cmocka_unit_test(inspecting), cmocka_unit_test(a_session_survives),
    };
    return cmocka_run_group_tests_name("out of memory", tests, make, unmake);
}
