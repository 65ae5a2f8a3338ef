/* SPDX-License-Identifier: MIT */
/* Pulls from a hub that refuses, fails, lies or falls silent, into caches that cannot take it: what an error says, what
 * it leaves, what is tried again. */
#include "hub_fixture.h"

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
    char *body = malloc(1 << 20);
    memset(body, ' ', 1 << 20);
    rule(f, (thub_rule) { .path = "/api/", .status = 200, .body = body, .body_size = 1 << 20 });
    f->o.listing_bytes = 100000;
    pull_badly(f, VLM_ERR_LIMIT, "100000 bytes");
    assert_int_equal(f->err.limit, 100000);
    thub_rules_clear(f->hub);
    body[0] = 0;
    for (int i = 0; i < 300; i++) sprintf(body + 1000 * i, "X: %0995d\r\n", i);
    rule(f, (thub_rule) { .path = "/api/", .status = 200, .headers = body });
    pull_badly(f, VLM_ERR_LIMIT, "headers are larger than");
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
}

/* The limit is of the whole pull, small files and weights, and holds where sizes are asked for file by file, too. */
static void a_limit_of_all_bytes(void **state) {
    fixture *f = *state;
    f->o.total_bytes = WEIGHTS;
    pull_badly(f, VLM_ERR_LIMIT, "bytes to fetch, more than the limit of");
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 0);
    f->o.total_bytes = WEIGHTS - 1; /* the small ones are there now */
    thub_list_names_only(f->hub);
    pull_badly(f, VLM_ERR_LIMIT, "bytes to fetch, more than the limit of");
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 0);
    f->o.total_bytes = WEIGHTS;
    pull_well(f);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        T(refusals), T(passing_failures), T(failures_that_do_not_pass), T(a_cut_body_goes_on),
        T(a_cut_list_is_asked_for_again), T(an_earlier_call_s_bytes_count), T(all_but_the_rename),
        T(ranges_that_are_none), T(a_wrong_beginning_is_fetched_anew), T(wrong_content),
        T(answers_without_measure), T(a_limit_of_all_bytes), T(malformed_lists), T(silence), T(a_cache_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
