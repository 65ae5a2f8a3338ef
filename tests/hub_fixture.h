/* SPDX-License-Identifier: MIT */
/* What the tests of pulls share: a hub with a small repository, an empty cache, and questions about what lies in it. */
#ifndef TESTS_HUB_FIXTURE_H
#define TESTS_HUB_FIXTURE_H

#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/hub_server.h"

#include "vlm/load/hub.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
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

static inline void take_log(void *user, vlm_log_level level, const char *line) {
    fixture *f = user;
    (void)level;
    if (strlen(f->log) + strlen(line) + 2 < sizeof f->log) strcat(strcat(f->log, line), "\n");
}

static inline int take_progress(void *user, const vlm_hub_progress *p) {
    fixture *f = user;
    f->last = *p;
    return f->cancel_at && p->bytes >= f->cancel_at;
}

static inline int set_up(void **state) {
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

static inline int tear_down(void **state) {
    fixture *f = *state;
    thub_stop(f->hub);
    tcheckpoint_remove(f->cache);
    vlm_string_free(f->dir);
    free(f->cache);
    free(f);
    return 0;
}

/* ---- helpers ------------------------------------------------------------------------------------------ */

static inline vlm_status pull(fixture *f) {
    vlm_string_free(f->dir);
    f->err = (vlm_error)VLM_ERROR_INIT;
    f->log[0] = 0;
    vlm_status status = vlm_hub_pull(&f->dir, THUB_ID, &f->o, &f->err);
    assert_int_equal(f->dir != NULL, status >= 0);
    if (status < 0) assert_int_equal(f->err.code, status);
    assert_null(strchr(f->err.message, '\n'));
    return status;
}

static inline void pull_well(fixture *f) {
    if (pull(f) != VLM_OK) fail_msg("%s", f->err.message);
}

static inline void pull_badly(fixture *f, vlm_status status, const char *says) {
    vlm_status got = pull(f);
    if (got != status || !strstr(f->err.message, says)) fail_msg("%s: %s", vlm_status_name(got), f->err.message);
}

static inline void rule(fixture *f, thub_rule r) {
    thub_rule_add(f->hub, &r);
}

static inline char *path_of(const fixture *f, const char *kind, const char *name) {
    static char path[1200];
    snprintf(path, sizeof path, "%s/%s/%s", f->root, kind, name);
    return path;
}

static inline char *blob_of(const fixture *f, const char *name) {
    return path_of(f, "blobs", thub_etag(f->hub, name));
}

static inline char *partial_of(const fixture *f, const char *name) {
    return strcat(blob_of(f, name), ".incomplete");
}

static inline void expect_content(const char *path, const void *bytes, size_t n) {
    char *read = malloc(n + 2);
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s is not there", path);
    assert_int_equal(fread(read, 1, n + 1, file), n);
    assert_memory_equal(read, bytes, n);
    fclose(file);
    free(read);
}

static inline void expect_snapshot(const fixture *f, const char *name, const void *bytes, size_t n) {
    char path[1500];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    expect_content(path, bytes, n);
}

static inline void write_file(const char *path, const void *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

static inline int64_t size_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static inline int entries(const char *dir) {
    int n = 0;
    DIR *d = opendir(dir);
    if (!d) return 0;
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* Leaves n bytes of the weights in the cache, as a killed pull does. */
static inline void leave_partial(fixture *f, const void *bytes, size_t n) {
    f->o.without_weights = true;
    pull_well(f);
    f->o.without_weights = false;
    write_file(partial_of(f, "model.safetensors"), bytes, n);
    thub_forget(f->hub);
}

static inline void set_shards(fixture *f) {
    static const char index[] =
        INDEX("\"a\": \"model-00001-of-00002.safetensors\", \"b\": \"model-00002-of-00002.safetensors\"");
    thub_set(f->hub, "model.safetensors.index.json", index, sizeof index - 1, false);
    thub_set(f->hub, "model-00001-of-00002.safetensors", weights, 1000, true);
    thub_set(f->hub, "model-00002-of-00002.safetensors", weights, 2000, true);
    thub_set(f->hub, "consolidated.safetensors", weights, 3000, true);
    thub_set(f->hub, "adapter_model.safetensors", weights, 4000, true);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
