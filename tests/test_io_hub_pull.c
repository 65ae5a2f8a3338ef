/* SPDX-License-Identifier: MIT */
/* Pulls from a hub on this machine that behaves: what is asked for, what lies in the cache then, who gets the token,
 * what others do at the same time. */
#include "hub_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/file.h>

/* ---- what a pull does ------------------------------------------------------------------------------------ */

static void layout(void **state) {
    fixture *f = *state;
    char target[200] = "";
    static const char jinja[] = "{{ x }}";
    thub_set(f->hub, "additional_chat_templates/tool.jinja", jinja, 7, false);
    pull_well(f);
    assert_string_equal(f->dir, path_of(f, "snapshots", thub_commit(f->hub)));
    expect_snapshot(f, "config.json", "{\"model_type\": \"x\"}", 19);
    expect_snapshot(f, "tokenizer.json", "{}", 2);
    expect_snapshot(f, "model.safetensors", weights, WEIGHTS);
    expect_snapshot(f, "additional_chat_templates/tool.jinja", jinja, 7);
    expect_content(blob_of(f, "model.safetensors"), weights, WEIGHTS);
    expect_content(path_of(f, "refs", "main"), thub_commit(f->hub), 40);
    char link[1500], wanted[200];
    snprintf(link, sizeof link, "%s/model.safetensors", f->dir);
    snprintf(wanted, sizeof wanted, "../../blobs/%s", thub_etag(f->hub, "model.safetensors"));
    assert_true(readlink(link, target, sizeof target - 1) > 0);
    assert_string_equal(target, wanted);
    snprintf(link, sizeof link, "%s/additional_chat_templates/tool.jinja", f->dir);
    snprintf(wanted, sizeof wanted, "../../../blobs/%s", thub_etag(f->hub, "additional_chat_templates/tool.jinja"));
    memset(target, 0, sizeof target);
    assert_true(readlink(link, target, sizeof target - 1) > 0);
    assert_string_equal(target, wanted);
    assert_int_equal(entries(path_of(f, "blobs", "")), 4); /* and nothing incomplete */
    assert_int_equal(entries(f->dir), 4);
    snprintf(link, sizeof link, "%s/.locks/models--acme--tiny-vlm/%s.lock", f->cache, thub_etag(f->hub, "config.json"));
    assert_int_equal(size_of(link), 0);
    snprintf(link, sizeof link, "%s/CACHEDIR.TAG", f->cache);
    assert_true(size_of(link) > 40);
    assert_int_equal(thub_counts(f->hub, "README").gets + thub_counts(f->hub, ".bin").gets, 0);
    assert_int_equal(thub_counts(f->hub, "").heads, 0); /* the list says sizes and hashes */
    assert_true(f->last.files == 4 && f->last.files_done == 4 && f->last.bytes == f->last.size
                && f->last.size == WEIGHTS + 28 && f->last.received == f->last.bytes);
}

static void what_is_there_is_not_fetched(void **state) {
    fixture *f = *state;
    char *found;
    pull_well(f);
    thub_forget(f->hub);
    pull_well(f);
    assert_int_equal(thub_counts(f->hub, "").gets, 1); /* the list */
    assert_int_equal(f->last.received, 0);
    unlink(strcat(strcpy((char[1500]) { 0 }, f->dir), "/config.json")); /* the link alone */
    pull_well(f);
    assert_int_equal(thub_counts(f->hub, "/config.json").gets, 0);
    expect_snapshot(f, "config.json", "{\"model_type\": \"x\"}", 19);
    assert_int_equal(vlm_hub_find(&found, THUB_ID, &f->o, &f->err), VLM_OK);
    assert_string_equal(found, f->dir);
    vlm_string_free(found);
    /* A blob that somebody cut is fetched anew. */
    assert_int_equal(truncate(blob_of(f, "model.safetensors"), 5), 0);
    pull_well(f);
    expect_snapshot(f, "model.safetensors", weights, WEIGHTS);
}

static void revisions(void **state) {
    fixture *f = *state;
    f->o.revision = "refs/pr/1";
    pull_well(f);
    expect_content(path_of(f, "refs", "refs/pr/1"), thub_commit(f->hub), 40);
    f->o.revision = "v1";
    pull_well(f);
    f->o.revision = thub_commit(f->hub);
    pull_well(f);
    assert_int_equal(entries(path_of(f, "refs", "")), 2); /* none for a commit */
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 1);
    f->o.revision = "v9";
    pull_badly(f, VLM_ERR_NO_REVISION, "v9");
}

static void a_new_commit(void **state) {
    fixture *f = *state;
    pull_well(f);
    char *old = strdup(f->dir), first[41];
    strcpy(first, thub_commit(f->hub));
    thub_next_commit(f->hub);
    thub_set(f->hub, "config.json", "{ }", 3, false);
    thub_forget(f->hub);
    rule(f, (thub_rule) { .path = "/config.json", .status = 500 });
    f->o.retries = -1;
    pull_badly(f, VLM_ERR_NETWORK, "config.json");
    expect_content(path_of(f, "refs", "main"), first, 40); /* the old one is still whole */
    thub_rules_clear(f->hub);
    pull_well(f);
    expect_content(path_of(f, "refs", "main"), thub_commit(f->hub), 40);
    assert_string_not_equal(f->dir, old);
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 0);
    expect_snapshot(f, "config.json", "{ }", 3);
    expect_content(strcat(strcpy((char[1500]) { 0 }, old), "/config.json"), "{\"model_type\": \"x\"}", 19);
    free(old);
}

static void shards_of_the_index(void **state) {
    fixture *f = *state;
    set_shards(f);
    pull_well(f);
    expect_snapshot(f, "model-00001-of-00002.safetensors", weights, 1000);
    expect_snapshot(f, "model-00002-of-00002.safetensors", weights, 2000);
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 2);
    static const char stale[] = INDEX("\"a\": \"gone.safetensors\"");
    thub_next_commit(f->hub);
    thub_set(f->hub, "model.safetensors.index.json", stale, sizeof stale - 1, false);
    pull_well(f);
    assert_non_null(strstr(f->log, "gone.safetensors"));
    expect_snapshot(f, "model.safetensors", weights, WEIGHTS);
    static const char evil[] = INDEX("\"a\": \"../../../../x.safetensors\"");
    thub_next_commit(f->hub);
    thub_set(f->hub, "model.safetensors.index.json", evil, sizeof evil - 1, false);
    pull_badly(f, VLM_ERR_FORMAT, "weight_map.a must be the plain name of a .safetensors file");
}

static void no_weights_wanted(void **state) {
    fixture *f = *state;
    char *found;
    f->o.without_weights = true;
    pull_well(f);
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 0);
    assert_int_equal(vlm_hub_find(&found, THUB_ID, &f->o, &f->err), VLM_OK);
    vlm_string_free(found);
    f->o.without_weights = false;
    assert_int_equal(vlm_hub_find(&found, THUB_ID, &f->o, &f->err), VLM_ERR_NOT_FOUND);
    assert_non_null(strstr(f->err.message, "model.safetensors is missing"));
    assert_string_equal(f->err.file, "model.safetensors");
}

static void not_a_checkpoint(void **state) {
    fixture *f = *state;
    rule(f, (thub_rule) { .path = "/api/", .times = 1, .status = 200,
                          .body = "{\"sha\": \"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\", \"siblings\": [{\"rfilename\": \"model.gguf\"}]}" });
    rule(f, (thub_rule) { .path = "/api/", .status = 200,
                          .body = "{\"sha\": \"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\", \"siblings\": [{\"rfilename\": \"config.json\"}, {\"rfilename\": \"a.bin\"}]}" });
    pull_badly(f, VLM_ERR_NOT_FOUND, "no config.json");
    pull_badly(f, VLM_ERR_NOT_FOUND, "no safetensors");
    assert_int_equal(thub_counts(f->hub, "/resolve/").gets, 0);
}

static void same_content_and_no_content(void **state) {
    fixture *f = *state;
    thub_set(f->hub, "a_config.json", "same", 4, false);
    thub_set(f->hub, "b_config.json", "same", 4, false);
    thub_set(f->hub, "merges.txt", "", 0, false);
    pull_well(f);
    assert_int_equal(thub_counts(f->hub, "a_config.json").gets + thub_counts(f->hub, "b_config.json").gets, 1);
    expect_snapshot(f, "a_config.json", "same", 4);
    expect_snapshot(f, "b_config.json", "same", 4);
    expect_snapshot(f, "merges.txt", "", 0);
}

/* ---- tokens and redirects -------------------------------------------------------------------------------- */

static void the_token_stays_with_the_hub(void **state) {
    fixture *f = *state;
    f->o.token = "hf_secret";
    thub_list_names_only(f->hub);
    pull_well(f);
    thub_count hub = thub_counts(f->hub, "acme"), cdn = thub_counts(f->hub, "/cdn/");
    assert_int_equal(hub.tokens, hub.gets + hub.heads);
    assert_string_equal(hub.token, "Bearer hf_secret");
    assert_int_equal(cdn.gets, 1);
    assert_int_equal(cdn.tokens, 0);
    assert_int_equal(cdn.heads, 0);
    assert_int_equal(hub.heads, 3); /* what the list does not say is asked for, of what is needed only */
    expect_snapshot(f, "model.safetensors", weights, WEIGHTS);
    assert_int_equal(size_of(blob_of(f, "model.safetensors")), WEIGHTS);
}

static void redirects_of_the_hub(void **state) {
    fixture *f = *state;
    f->o.token = "hf_secret";
    rule(f, (thub_rule) { .path = "/api/", .times = 1, .status = 307,
                          .headers = "Location: /api/models/" THUB_ID "/revision/main?blobs=true\r\n" });
    pull_well(f);
    assert_int_equal(thub_counts(f->hub, "/api/").tokens, 2);
    rule(f, (thub_rule) { .path = "/api/", .status = 307, .headers = "Location: /api/models/x\r\n" });
    f->o.revision = "v1";
    pull_badly(f, VLM_ERR_NETWORK, "redirected too often");
}

static void redirects_elsewhere(void **state) {
    fixture *f = *state;
    f->o.token = "hf_secret";
    f->o.retries = -1;
    rule(f, (thub_rule) { .path = "/api/", .times = 1, .status = 302, .headers = "Location: file:///etc/passwd\r\n" });
    pull_badly(f, VLM_ERR_NETWORK, "redirected");
    rule(f, (thub_rule) { .path = "/api/", .times = 1, .status = 302 });
    pull_badly(f, VLM_ERR_NETWORK, "without a target");
    thub_rules_clear(f->hub);
    rule(f, (thub_rule) { .path = "/cdn/", .status = 403, .body = "expired" });
    pull_badly(f, VLM_ERR_NETWORK, "content answers HTTP 403");
    /* Another port is another host. */
    thub *other = thub_start(0);
    char location[200];
    snprintf(location, sizeof location, "Location: %s/x\r\n", thub_endpoint(other));
    thub_rules_clear(f->hub);
    rule(f, (thub_rule) { .path = "/api/", .status = 302, .headers = location });
    assert_true(pull(f) < 0);
    assert_int_equal(thub_counts(other, "/x").gets, 1);
    assert_int_equal(thub_counts(other, "/x").tokens, 0);
    thub_stop(other);
}

/* ---- without a network -------------------------------------------------------------------------------------- */

static void without_a_network(void **state) {
    fixture *f = *state;
    thub *gone = thub_start(0);
    char nowhere[64];
    strcpy(nowhere, thub_endpoint(gone));
    thub_stop(gone);
    f->o.endpoint = nowhere;
    f->o.retries = -1;
    pull_badly(f, VLM_ERR_NETWORK, "connect");
    f->o.offline = true;
    pull_badly(f, VLM_ERR_NOT_FOUND, "offline: " THUB_ID ": revision 'main' is not in the cache");
    f->o.offline = false;
    f->o.endpoint = thub_endpoint(f->hub);
    pull_well(f);
    f->o.endpoint = nowhere;
    pull_well(f);
    assert_non_null(strstr(f->log, "using the snapshot in the cache"));
    f->o.offline = true;
    pull_well(f);
    assert_string_equal(f->log, "");
    unlink(blob_of(f, "model.safetensors"));
    pull_badly(f, VLM_ERR_NOT_FOUND, "model.safetensors is missing");
    f->o.offline = false;
    pull_badly(f, VLM_ERR_NETWORK, "connect");
}

static void an_incomplete_snapshot_names_what_is_missing(void **state) {
    fixture *f = *state;
    set_shards(f);
    rule(f, (thub_rule) { .path = "/model-0000", .status = 403 });
    pull_badly(f, VLM_ERR_ACCESS, "model-0000");
    f->o.offline = true;
    pull_badly(f, VLM_ERR_NOT_FOUND, "model-00001-of-00002.safetensors is missing");
    thub_rules_clear(f->hub);
    f->o.offline = false;
    pull_well(f);
    f->o.offline = true;
    unlink(blob_of(f, "model-00002-of-00002.safetensors"));
    pull_badly(f, VLM_ERR_NOT_FOUND, "model-00002-of-00002.safetensors is missing");
    /* The list that newer versions of Python's tool leave says more than the files themselves. */
    f->o.without_weights = true;
    pull_well(f);
    char name[64], tree[200];
    assert_int_equal(mkdir(path_of(f, "trees", ""), 0700), 0);
    snprintf(name, sizeof name, "%s.json", thub_commit(f->hub));
    int n = snprintf(tree, sizeof tree, "{\"format_version\": 1, \"files\": {\"config.json\": {}, \"merges.txt\": {}, \"README.md\": {}}}");
    write_file(path_of(f, "trees", name), tree, (size_t)n);
    pull_badly(f, VLM_ERR_NOT_FOUND, "merges.txt is missing");
    write_file(path_of(f, "trees", name), "{\"format_version\": 2}", 21);
    pull_well(f);
}

/* ---- others at work ------------------------------------------------------------------------------------------ */

static void cancelled(void **state) {
    fixture *f = *state;
    rule(f, (thub_rule) { .path = "/cdn/", .times = 1, .hold = true, .hold_at = 65536 });
    f->cancel_at = 60000;
    pull_badly(f, VLM_ERR_CANCELLED, "cancelled");
    int64_t there = size_of(partial_of(f, "model.safetensors"));
    assert_true(there >= 60000 - 21 && there <= 65536);
    f->cancel_at = 0;
    thub_forget(f->hub);
    pull_well(f);
    assert_int_equal(thub_counts(f->hub, "/cdn/").last_range, there);
    assert_int_equal(thub_counts(f->hub, "/cdn/").bytes, WEIGHTS - there);
}

static atomic_bool waits;

static void note_waiting(void *user, vlm_log_level level, const char *line) {
    (void)user;
    (void)level;
    if (strstr(line, "waiting")) atomic_store(&waits, true);
}

static void *pull_aside(void *arg) {
    fixture *f = arg;
    vlm_hub_options o = f->o;
    char *dir;
    o.log = note_waiting;
    o.progress = NULL;
    vlm_status status = vlm_hub_pull(&dir, THUB_ID, &o, NULL);
    vlm_string_free(dir);
    return status == VLM_OK ? f : NULL;
}

static void a_lock_is_waited_for(void **state) {
    fixture *f = *state;
    pthread_t thread;
    void *result;
    char lock[1500];
    leave_partial(f, weights, 1000);
    snprintf(lock, sizeof lock, "%s/.locks/models--acme--tiny-vlm/%s.lock", f->cache, thub_etag(f->hub, "model.safetensors"));
    int fd = open(lock, O_RDWR | O_CREAT, 0600);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    atomic_store(&waits, false);
    assert_int_equal(pthread_create(&thread, NULL, pull_aside, f), 0);
    while (!atomic_load(&waits)) usleep(1000);
    assert_int_equal(thub_counts(f->hub, "model.safetensors").gets, 0);
    /* The other one ends its work. */
    char blob[1200];
    strcpy(blob, blob_of(f, "model.safetensors"));
    write_file(blob, weights, WEIGHTS);
    close(fd);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_non_null(result);
    assert_int_equal(thub_counts(f->hub, "model.safetensors").gets, 0);
}

static void several_threads_fetch_each_file_once(void **state) {
    fixture *f = *state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, pull_aside, f), 0);
    for (int i = 0; i < 4; i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_non_null(result);
    }
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 1);
    assert_int_equal(thub_counts(f->hub, "/config.json").gets, 1);
    assert_int_equal(thub_counts(f->hub, "/tokenizer.json").gets, 1);
}

static void many_files_few_at_a_time(void **state) {
    fixture *f = *state;
    char name[64], index[4096] = "{\"weight_map\": {";
    for (int i = 1; i <= 20; i++) {
        snprintf(name, sizeof name, "model-%05d-of-00020.safetensors", i);
        thub_set(f->hub, name, weights + i, 50000, true);
        sprintf(index + strlen(index), "%s\"t%d\": \"%s\"", i > 1 ? ", " : "", i, name);
    }
    strcat(index, "}}");
    thub_set(f->hub, "model.safetensors.index.json", index, strlen(index), false);
    f->o.parallel = 2;
    pull_well(f);
    assert_int_equal(entries(f->dir), 23);
    for (int i = 1; i <= 20; i++) {
        snprintf(name, sizeof name, "model-%05d-of-00020.safetensors", i);
        expect_snapshot(f, name, weights + i, 50000);
    }
    assert_true(f->last.files == 23 && f->last.files_done == 23);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        T(layout), T(what_is_there_is_not_fetched), T(revisions), T(a_new_commit), T(shards_of_the_index),
        T(no_weights_wanted), T(not_a_checkpoint), T(same_content_and_no_content), T(the_token_stays_with_the_hub),
        T(redirects_of_the_hub), T(redirects_elsewhere), T(without_a_network),
        T(an_incomplete_snapshot_names_what_is_missing), T(cancelled), T(a_lock_is_waited_for),
        T(several_threads_fetch_each_file_once), T(many_files_few_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
