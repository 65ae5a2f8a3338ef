/* SPDX-License-Identifier: MIT */
/* The load factory and the hub: an id that is no directory is found in the cache or pulled into it, as a part of
 * the load that is watched and cancelled like the rest. How a pull behaves is test_io_hub_pull.c's. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/hub_server.h"
#include "vlm/vlm.h"

static thub *hub;
static char *cache, *model_dir;
static vlm_error err;
static vlm_hub_options hub_options;
static vlm_load_options options;

/* Of the last load. */
static int own_calls, own_cancels, cancel_stage;
static uint64_t most_bytes;
static vlm_load_stage most_at;

static int own_progress(void *user, const vlm_hub_progress *p) {
    (void)user;
    (void)p;
    own_calls++;
    return own_cancels;
}

static int progress(void *user, const vlm_load_progress *p) {
    (void)user;
    if (p->done > most_bytes) most_bytes = p->done, most_at = p->stage;
    return p->done > 1 && (int)p->stage == cancel_stage;
}

static int make(void **state) {
    (void)state;
    hub = thub_start(0);
    cache = tcheckpoint_temp_dir();
    model_dir = tcheckpoint_temp_dir();
    if (!tcheckpoint_write("tests/golden/idefics3-whole", model_dir, NULL)) return -1;
    thub_set_dir(hub, model_dir);
    hub_options = (vlm_hub_options)VLM_HUB_OPTIONS_INIT;
    hub_options.endpoint = thub_endpoint(hub);
    hub_options.cache_dir = cache;
    hub_options.retries = -1;
    hub_options.progress = own_progress;
    options = (vlm_load_options)VLM_LOAD_OPTIONS_INIT;
    options.threads = 1;
    options.hub = &hub_options;
    options.progress = progress;
    own_calls = own_cancels = 0, most_bytes = 0, cancel_stage = -1;
    return 0;
}

static int unmake(void **state) {
    (void)state;
    thub_stop(hub);
    tcheckpoint_remove(cache);
    tcheckpoint_remove(model_dir);
    free(cache);
    free(model_dir);
    return 0;
}

static vlm_context *load(const char *id) {
    vlm_context *c;
    if (vlm_context_load(&c, id, &options, &err) < 0) fail_msg("%s", err.message);
    return c;
}

static void refused(const char *id, vlm_status status, const char *says) {
    vlm_context *c = (void *)1;
    vlm_status got = vlm_context_load(&c, id, &options, &err);
    if (got != status || !strstr(err.message, says)) fail_msg("%s: %s", vlm_status_name(got), err.message);
    assert_null(c);
}

static void an_id_is_pulled_once_and_found_then(void **state) {
    (void)state;
    vlm_context *c = load(THUB_ID);
    const char *dir = vlm_context_get_info(c)->directory;
    assert_int_equal(strncmp(dir, cache, strlen(cache)), 0);
    assert_non_null(strstr(dir, thub_commit(hub)));
    assert_string_equal(vlm_context_get_info(c)->tokenizer_directory, dir);
    assert_true(own_calls > 0); /* the hub's own progress is told, too */
    assert_true(most_bytes > 1000);
    assert_int_equal(most_at, VLM_LOAD_RESOLVE);
    vlm_context_free(c);
    thub_forget(hub);
    vlm_context_free(load(THUB_ID));
    assert_int_equal(thub_counts(hub, "").gets + thub_counts(hub, "").heads, 0); /* the cache will do */
}

/* "acme/tiny-vlm" below the working directory is a directory, and no id. */
static void a_directory_goes_before_an_id(void **state) {
    (void)state;
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(cache), 0);
    assert_int_equal(mkdir("acme", 0777), 0);
    assert_int_equal(symlink(model_dir, THUB_ID), 0);
    vlm_context *c = load(THUB_ID);
    assert_string_equal(vlm_context_get_info(c)->directory, THUB_ID);
    vlm_context_free(c);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(thub_counts(hub, "").gets + thub_counts(hub, "").heads, 0);
}

static void what_is_known_of_an_id_counts(void **state) {
    (void)state;
    vlm_model_configuration known = VLM_MODEL_CONFIGURATION_INIT;
    vlm_checkpoint_registry *r;
    known.id = THUB_ID, known.default_prompt = "What?", known.revision = "no-such-branch";
    assert_int_equal(vlm_checkpoint_registry_new(&r, NULL, &err), VLM_OK);
    assert_int_equal(vlm_checkpoint_registry_add(r, &known, NULL, &err), VLM_OK);
    options.checkpoints = r;
    refused(THUB_ID, VLM_ERR_NO_REVISION, "no-such-branch"); /* the entry's revision */
    hub_options.revision = "v1";                              /* the caller's goes before it */
    vlm_context *c = load(THUB_ID);
    assert_string_equal(vlm_context_get_info(c)->default_prompt, "What?");
    vlm_context_free(c);
    vlm_checkpoint_registry_free(r);
}

static void a_tokenizer_may_come_from_the_hub(void **state) {
    (void)state;
    options.tokenizer_source = THUB_ID;
    hub_options.revision = "no-such-branch"; /* of the model, not of the tokenizer */
    vlm_context *c = load(model_dir);
    assert_string_equal(vlm_context_get_info(c)->directory, model_dir);
    assert_int_equal(strncmp(vlm_context_get_info(c)->tokenizer_directory, cache, strlen(cache)), 0);
    assert_int_equal(most_at, VLM_LOAD_TOKENIZER_SOURCE);
    assert_int_equal(thub_counts(hub, "safetensors").gets, 0);
    vlm_context_free(c);
}

static void a_pull_is_cancelled_like_any_stage(void **state) {
    (void)state;
    cancel_stage = VLM_LOAD_RESOLVE;
    refused(THUB_ID, VLM_ERR_CANCELLED, THUB_ID);
    cancel_stage = -1;
    own_cancels = 1; /* the hub's own progress may, too */
    refused(THUB_ID, VLM_ERR_CANCELLED, THUB_ID);
    own_cancels = 0;
    vlm_context_free(load(THUB_ID)); /* goes on */
}

static void what_cannot_be_pulled_is_one_line(void **state) {
    (void)state;
    const vlm_hub_options *h = options.hub;
    options.hub = NULL;
    refused(THUB_ID, VLM_ERR_NOT_FOUND, THUB_ID ": no such checkpoint directory");
    options.hub = h;
    refused("name-without-org", VLM_ERR_NOT_FOUND, "no such checkpoint directory"); /* no id is meant */
    refused("a/b/c", VLM_ERR_NOT_FOUND, "no such checkpoint directory");
    refused("acme/other", VLM_ERR_NO_REPOSITORY, "no directory 'acme/other', and as a hub id");
    hub_options.offline = true;
    refused(THUB_ID, VLM_ERR_NOT_FOUND, "no directory '" THUB_ID "', and as a hub id");
    hub_options.struct_size = 0;
    refused(THUB_ID, VLM_ERR_ARGUMENT, "hub options: struct_size is not set");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
    const struct CMUnitTest tests[] = {
        TEST(an_id_is_pulled_once_and_found_then),
        TEST(a_directory_goes_before_an_id),
        TEST(what_is_known_of_an_id_counts),
        TEST(a_tokenizer_may_come_from_the_hub),
        TEST(a_pull_is_cancelled_like_any_stage),
        TEST(what_cannot_be_pulled_is_one_line),
    };
    return cmocka_run_group_tests_name("loads from the hub", tests, NULL, NULL);
}
