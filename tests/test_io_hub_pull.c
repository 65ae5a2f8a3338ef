/* SPDX-License-Identifier: MIT */
/* Pulls from a hub on this machine that behaves, and misbehaves: what is asked for, what lies in the cache then,
 * what an error says and leaves. */
#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/hub_server.h"

#include "vlm/load/hub.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define WEIGHTS 300000
#define INDEX(...) "{\"weight_map\": {" __VA_ARGS__ "}}"

typedef struct fixture {
    thub *hub;
    char *cache;
    char root[600]; /* of the repository in the cache */
    vlm_hub_options o;
    char *dir; /* of the last pull */
    vlm_error err;
    char log[2048];
    vlm_hub_progress last;
    uint64_t cancel_at; /* bytes at which to cancel; 0: never */
} fixture;

static char weights[WEIGHTS];

static void take_log(void *user, vlm_log_level level, const char *line) {
    fixture *f = user;
    (void)level;
    if (strlen(f->log) + strlen(line) + 2 < sizeof f->log) strcat(strcat(f->log, line), "\n");
}

static int take_progress(void *user, const vlm_hub_progress *p) {
    fixture *f = user;
    f->last = *p;
    return f->cancel_at && p->bytes >= f->cancel_at;
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    f->hub = thub_start(0);
    f->cache = tcheckpoint_temp_dir();
    snprintf(f->root, sizeof f->root, "%s/models--acme--tiny-vlm", f->cache);
    f->o = (vlm_hub_options)VLM_HUB_OPTIONS_INIT;
    f->o.endpoint = thub_endpoint(f->hub);
    f->o.cache_dir = f->cache;
    f->o.retry_wait_ms = 1;
    f->o.retry_wait_max_ms = 5;
    f->o.log = take_log;
    f->o.progress = take_progress;
    f->o.log_user = f->o.progress_user = f;
    for (size_t i = 0; i < WEIGHTS; i++) weights[i] = (char)(i * 2654435761u >> 13);
    thub_set(f->hub, "config.json", "{\"model_type\": \"x\"}", 19, false);
    thub_set(f->hub, "tokenizer.json", "{}", 2, false);
    thub_set(f->hub, "model.safetensors", weights, WEIGHTS, true);
    thub_set(f->hub, "README.md", "# x", 3, false);
    thub_set(f->hub, "pytorch_model.bin", weights, 1000, true);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    thub_stop(f->hub);
    tcheckpoint_remove(f->cache);
    vlm_string_free(f->dir);
    free(f->cache);
    free(f);
    return 0;
}

/* ---- helpers ------------------------------------------------------------------------------------------ */

static vlm_status pull(fixture *f) {
    vlm_string_free(f->dir);
    f->err = (vlm_error)VLM_ERROR_INIT;
    f->log[0] = 0;
    vlm_status status = vlm_hub_pull(&f->dir, THUB_ID, &f->o, &f->err);
    assert_int_equal(f->dir != NULL, status >= 0);
    if (status < 0) assert_int_equal(f->err.code, status);
    assert_null(strchr(f->err.message, '\n'));
    return status;
}

static void pull_well(fixture *f) {
    if (pull(f) != VLM_OK) fail_msg("%s", f->err.message);
}

static void pull_badly(fixture *f, vlm_status status, const char *says) {
    vlm_status got = pull(f);
    if (got != status || !strstr(f->err.message, says)) fail_msg("%s: %s", vlm_status_name(got), f->err.message);
}

static void rule(fixture *f, thub_rule r) {
    thub_rule_add(f->hub, &r);
}

static char *path_of(const fixture *f, const char *kind, const char *name) {
    static char path[1200];
    snprintf(path, sizeof path, "%s/%s/%s", f->root, kind, name);
    return path;
}

static char *blob_of(const fixture *f, const char *name) {
    return path_of(f, "blobs", thub_etag(f->hub, name));
}

static char *partial_of(const fixture *f, const char *name) {
    return strcat(blob_of(f, name), ".incomplete");
}

static void expect_content(const char *path, const void *bytes, size_t n) {
    char *read = malloc(n + 2);
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s is not there", path);
    assert_int_equal(fread(read, 1, n + 1, file), n);
    assert_memory_equal(read, bytes, n);
    fclose(file);
    free(read);
}

static void expect_snapshot(const fixture *f, const char *name, const void *bytes, size_t n) {
    char path[1500];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    expect_content(path, bytes, n);
}

static void write_file(const char *path, const void *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

static int64_t size_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static int entries(const char *dir) {
    int n = 0;
    DIR *d = opendir(dir);
    if (!d) return 0;
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* Leaves n bytes of the weights in the cache, as a killed pull does. */
static void leave_partial(fixture *f, const void *bytes, size_t n) {
    f->o.without_weights = true;
    pull_well(f);
    f->o.without_weights = false;
    write_file(partial_of(f, "model.safetensors"), bytes, n);
    thub_forget(f->hub);
}

static void set_shards(fixture *f) {
    static const char index[] =
        INDEX("\"a\": \"model-00001-of-00002.safetensors\", \"b\": \"model-00002-of-00002.safetensors\"");
    thub_set(f->hub, "model.safetensors.index.json", index, sizeof index - 1, false);
    thub_set(f->hub, "model-00001-of-00002.safetensors", weights, 1000, true);
    thub_set(f->hub, "model-00002-of-00002.safetensors", weights, 2000, true);
    thub_set(f->hub, "consolidated.safetensors", weights, 3000, true);
    thub_set(f->hub, "adapter_model.safetensors", weights, 4000, true);
}

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
    pull_badly(f, VLM_ERR_FORMAT, "'../../../../x.safetensors'");
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

/* ---- refusals -------------------------------------------------------------------------------------------- */

static void refusals(void **state) {
    fixture *f = *state;
    static const struct {
        const char *path, *headers;
        int http;
        vlm_status status;
        const char *says;
    } cases[] = {
        { "/api/", "X-Error-Code: GatedRepo\r\n", 403, VLM_ERR_ACCESS, "gated" },
        { "/api/", "X-Error-Code: RepoNotFound\r\n", 401, VLM_ERR_NO_REPOSITORY, "no such repository" },
        { "/api/", "X-Error-Message: Invalid credentials in Authorization header\r\n", 401, VLM_ERR_ACCESS, "Invalid credentials" },
        { "/api/", "", 403, VLM_ERR_ACCESS, "HTTP 403" },
        { "/api/", "", 404, VLM_ERR_NOT_FOUND, "HTTP 404" },
        { "/api/", "", 418, VLM_ERR_NETWORK, "HTTP 418" },
        { "/api/", "", 204, VLM_ERR_NETWORK, "HTTP 204" },
        { "/config.json", "X-Error-Code: GatedRepo\r\n", 401, VLM_ERR_ACCESS, "config.json: gated" },
        { "/config.json", "X-Error-Code: EntryNotFound\r\nX-Repo-Commit: aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\r\n", 404, VLM_ERR_NOT_FOUND, "config.json: no such file" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        thub_rules_clear(f->hub);
        rule(f, (thub_rule) { .path = cases[i].path, .status = cases[i].http, .headers = cases[i].headers });
        thub_forget(f->hub);
        pull_badly(f, cases[i].status, cases[i].says);
        assert_int_equal(thub_counts(f->hub, cases[i].path).gets, 1); /* nothing to try again */
    }
    assert_int_equal(size_of(path_of(f, ".no_exist", "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d/config.json")), 0);
    vlm_string_free(f->dir);
    assert_int_equal(vlm_hub_pull(&f->dir, "acme/other", &f->o, &f->err), VLM_ERR_NO_REPOSITORY);
    assert_null(f->dir);
}

static void passing_failures(void **state) {
    fixture *f = *state;
    rule(f, (thub_rule) { .path = "/api/", .times = 1, .status = 429, .headers = "Retry-After: 3600\r\n" });
    rule(f, (thub_rule) { .path = "/api/", .skip = 0, .times = 1, .status = 503 });
    rule(f, (thub_rule) { .path = "/config.json", .times = 2, .status = 500 });
    rule(f, (thub_rule) { .path = "/resolve/", .times = 1, .status = 502 });
    rule(f, (thub_rule) { .path = "/cdn/", .times = 3, .status = 504 });
    pull_well(f);
    assert_int_equal(thub_counts(f->hub, "/api/").gets, 3);
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 4);
    expect_snapshot(f, "model.safetensors", weights, WEIGHTS);
}

static void failures_that_do_not_pass(void **state) {
    fixture *f = *state;
    f->o.retries = 2;
    rule(f, (thub_rule) { .path = "/api/", .status = 503, .headers = "X-Error-Message: overloaded\r\n" });
    pull_badly(f, VLM_ERR_NETWORK, "HTTP 503: overloaded");
    assert_int_equal(thub_counts(f->hub, "/api/").gets, 3);
    thub_rules_clear(f->hub);
    rule(f, (thub_rule) { .path = "/cdn/", .cut = true, .cut_at = 10 });
    pull_badly(f, VLM_ERR_NETWORK, "model.safetensors");
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 3);
    assert_int_equal(size_of(partial_of(f, "model.safetensors")), 30); /* each began where the last had ended */
}

/* ---- bodies ---------------------------------------------------------------------------------------------- */

static void a_cut_body_goes_on(void **state) {
    fixture *f = *state;
    rule(f, (thub_rule) { .path = "/cdn/", .times = 1, .cut = true, .cut_at = 100000 });
    pull_well(f);
    thub_count c = thub_counts(f->hub, "/cdn/");
    assert_int_equal(c.gets, 2);
    assert_int_equal(c.last_range, 100000);
    assert_int_equal(c.bytes, WEIGHTS);
    expect_snapshot(f, "model.safetensors", weights, WEIGHTS);
}

static void a_cut_list_is_asked_for_again(void **state) {
    fixture *f = *state;
    rule(f, (thub_rule) { .path = "/api/", .times = 1, .cut = true, .cut_at = 20 });
    pull_well(f);
    assert_int_equal(thub_counts(f->hub, "/api/").gets, 2);
}

static void an_earlier_call_s_bytes_count(void **state) {
    fixture *f = *state;
    leave_partial(f, weights, 200000);
    pull_well(f);
    thub_count c = thub_counts(f->hub, "/cdn/");
    assert_int_equal(c.last_range, 200000);
    assert_int_equal(c.bytes, WEIGHTS - 200000);
    assert_int_equal(f->last.received, WEIGHTS - 200000);
    assert_int_equal(f->last.bytes, f->last.size);
    expect_snapshot(f, "model.safetensors", weights, WEIGHTS);
}

static void all_but_the_rename(void **state) {
    fixture *f = *state;
    leave_partial(f, weights, WEIGHTS);
    pull_well(f);
    assert_int_equal(thub_counts(f->hub, "model.safetensors").gets, 0);
    expect_snapshot(f, "model.safetensors", weights, WEIGHTS);
}

static void ranges_that_are_none(void **state) {
    fixture *f = *state;
    static const thub_rule rules[] = {
        { .path = "/cdn/", .no_ranges = true },
        { .path = "/cdn/", .wrong_range = true },
        { .path = "/cdn/", .times = 1, .status = 416 },
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        thub_rules_clear(f->hub);
        leave_partial(f, weights, 1000);
        rule(f, rules[i]);
        pull_well(f);
        expect_snapshot(f, "model.safetensors", weights, WEIGHTS);
        assert_int_equal(f->last.bytes, f->last.size);
        assert_int_equal(unlink(blob_of(f, "model.safetensors")), 0);
    }
}

static void a_wrong_beginning_is_fetched_anew(void **state) {
    fixture *f = *state;
    leave_partial(f, "nothing of the kind", 19);
    pull_well(f);
    expect_snapshot(f, "model.safetensors", weights, WEIGHTS);
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 2);
    assert_int_equal(f->last.bytes, f->last.size);
    assert_int_equal(unlink(blob_of(f, "model.safetensors")), 0);
    char *longer = calloc(1, WEIGHTS + 10);
    leave_partial(f, longer, WEIGHTS + 10);
    free(longer);
    pull_well(f);
    expect_snapshot(f, "model.safetensors", weights, WEIGHTS);
}

static void wrong_content(void **state) {
    fixture *f = *state;
    static const char *const paths[] = { "/tokenizer.json", "/cdn/" }; /* git's sha1, sha256 */
    static const char *const names[] = { "tokenizer.json", "model.safetensors" };
    for (int i = 0; i < 2; i++) {
        thub_rules_clear(f->hub);
        rule(f, (thub_rule) { .path = paths[i], .flip = true });
        pull_badly(f, VLM_ERR_CHECKSUM, names[i]);
        assert_string_equal(f->err.file, names[i]);
        assert_int_equal(size_of(blob_of(f, names[i])), -1);
        assert_int_equal(size_of(partial_of(f, names[i])), -1); /* nothing of it is of use */
        thub_rules_clear(f->hub);
        rule(f, (thub_rule) { .path = paths[i], .longer = true });
        pull_badly(f, VLM_ERR_CHECKSUM, "longer than");
        assert_int_equal(size_of(blob_of(f, names[i])), -1);
    }
    thub_rules_clear(f->hub);
    pull_well(f);
}

static void answers_without_measure(void **state) {
    fixture *f = *state;
    char *body = malloc(1 << 20), *header = malloc(3 << 10);
    memset(body, ' ', 1 << 20);
    rule(f, (thub_rule) { .path = "/api/", .status = 200, .body = body, .body_size = 1 << 20 });
    f->o.listing_bytes = 100000;
    pull_badly(f, VLM_ERR_LIMIT, "100000 bytes");
    assert_int_equal(f->err.limit, 100000);
    thub_rules_clear(f->hub);
    f->o.listing_files = 3;
    pull_badly(f, VLM_ERR_LIMIT, "5 files");
    f->o.listing_files = 0;
    f->o.total_bytes = 1000;
    pull_badly(f, VLM_ERR_LIMIT, "limit of 1000");
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 0);
    f->o.total_bytes = 0;
    rule(f, (thub_rule) { .path = "/api/", .status = 200,
                          .body = "{\"sha\": \"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\", \"siblings\": [{\"rfilename\": \"config.json\", \"size\": 2, "
                                  "\"blobId\": \"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\"}, {\"rfilename\": \"tokenizer.json\", \"size\": 4611686018427387904}, "
                                  "{\"rfilename\": \"a.safetensors\", \"size\": 1}]}" });
    thub_forget(f->hub);
    pull_badly(f, VLM_ERR_IO, "free in");
    assert_int_equal(thub_counts(f->hub, "/resolve/").gets, 0); /* refused before anything came */
    free(body);
    free(header);
}

static void malformed_lists(void **state) {
    fixture *f = *state;
    static const struct {
        const char *body;
        vlm_status status;
    } cases[] = {
        { "<html>sign in</html>", VLM_ERR_PARSE },
        { "{\"sha\": 3}", VLM_ERR_FORMAT },
        { "{\"sha\": \"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\", \"siblings\": [{\"rfilename\": \"../../../config.json\", \"size\": 1}]}", VLM_ERR_FORMAT },
        { "{\"sha\": \"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\", \"siblings\": [{\"rfilename\": \"/tmp/config.json\", \"size\": 1}]}", VLM_ERR_FORMAT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        thub_rules_clear(f->hub);
        rule(f, (thub_rule) { .path = "/api/", .status = 200, .body = cases[i].body });
        pull_badly(f, cases[i].status, THUB_ID);
    }
    assert_int_equal(thub_counts(f->hub, "/resolve/").gets, 0);
    assert_int_equal(entries(f->cache), 0);
    thub_rules_clear(f->hub);
    f->o.revision = thub_commit(f->hub);
    rule(f, (thub_rule) { .path = "/api/", .status = 200, .body = "{\"sha\": \"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\", \"siblings\": []}" });
    pull_badly(f, VLM_ERR_FORMAT, "another commit");
}

static void silence(void **state) {
    fixture *f = *state;
    f->o.idle_timeout_ms = 50;
    f->o.retries = 1;
    rule(f, (thub_rule) { .path = "/api/", .silent = true });
    pull_badly(f, VLM_ERR_NETWORK, "nothing came for 50 ms");
    assert_int_equal(thub_counts(f->hub, "/api/").gets, 2);
    thub_rules_clear(f->hub);
    rule(f, (thub_rule) { .path = "/cdn/", .times = 1, .hold = true, .hold_at = 1000 });
    f->o.idle_timeout_ms = 1000;
    pull_well(f); /* it stopped in the middle; the next attempt goes on from there */
    assert_int_equal(thub_counts(f->hub, "/cdn/").last_range, 1000);
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

static void a_cache_that_cannot_be_written(void **state) {
    fixture *f = *state;
    char path[1200];
    snprintf(path, sizeof path, "%s/file", f->cache);
    write_file(path, "x", 1);
    strcat(path, "/hub");
    f->o.cache_dir = path;
    pull_badly(f, VLM_ERR_IO, "/file: cannot make the directory");
    f->o.cache_dir = "/proc/hub";
    pull_badly(f, VLM_ERR_IO, "/proc/hub");
    assert_int_equal(thub_counts(f->hub, "/resolve/").gets, 0);
    /* Something else is where a blob is to be. */
    f->o.cache_dir = f->cache;
    leave_partial(f, "", 0);
    assert_int_equal(unlink(partial_of(f, "model.safetensors")), 0);
    assert_int_equal(mkdir(partial_of(f, "model.safetensors"), 0700), 0);
    pull_badly(f, VLM_ERR_IO, ".incomplete");
    assert_int_equal(rmdir(partial_of(f, "model.safetensors")), 0);
    assert_int_equal(symlink("/etc/hostname", partial_of(f, "model.safetensors")), 0); /* never written through */
    pull_badly(f, VLM_ERR_IO, ".incomplete");
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(layout), T(what_is_there_is_not_fetched), T(revisions), T(a_new_commit), T(shards_of_the_index),
        T(no_weights_wanted), T(not_a_checkpoint), T(same_content_and_no_content), T(the_token_stays_with_the_hub),
        T(redirects_of_the_hub), T(redirects_elsewhere), T(refusals), T(passing_failures), T(failures_that_do_not_pass),
        T(a_cut_body_goes_on), T(a_cut_list_is_asked_for_again), T(an_earlier_call_s_bytes_count), T(all_but_the_rename),
        T(ranges_that_are_none), T(a_wrong_beginning_is_fetched_anew), T(wrong_content), T(answers_without_measure),
        T(malformed_lists), T(silence), T(without_a_network), T(an_incomplete_snapshot_names_what_is_missing), T(cancelled),
        T(a_lock_is_waited_for), T(several_threads_fetch_each_file_once), T(many_files_few_at_a_time),
        T(a_cache_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
