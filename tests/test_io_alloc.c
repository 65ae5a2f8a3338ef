/* SPDX-License-Identifier: MIT */
/* Out of memory at every allocation of core and io: an error, nothing handed out, nothing leaked
 * (the address sanitizer watches). And a run of the thread pool allocates nothing. */
#include "support/alloc.h"
#include "support/dir.h"

#include "io/io.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static vlm_error err;

/* Runs act with its first, second, ... allocation failing, until it has no more of them. */
static void sweep(vlm_status (*act)(void)) {
    for (long k = 1; k < 100000; k++) {
        talloc_start(k);
        vlm_status status = act();
        if (talloc_stop() < k) {
            assert_int_equal(status, VLM_OK);
            assert_true(k > 1);
            return;
        }
        assert_int_equal(status, VLM_ERR_MEMORY);
    }
    fail_msg("too many allocations");
}

static vlm_status parse_json(void) {
    static const char text[] = "{\"a\":[1,2,[3,{\"x\":\"y\"}]],\"b\":1,\"c\":2,\"d\":3,\"e\":4,"
                               "\"f\":5,\"g\":6,\"h\":7,\"i\":8,\"z\":[]}";
    vcore_json_doc *doc;
    vlm_status status = vcore_json_parse(&doc, text, sizeof text - 1, "t.json", &err);
    assert_int_equal(status >= 0, doc != NULL);
    if (doc) assert_int_equal(vcore_json_count(vcore_json_root(doc)), 10);
    vcore_json_free(doc);
    return status;
}

static vlm_status fill_map(void) {
    vcore_map *m = vcore_map_new(0);
    bool fine = m != NULL;
    for (uint32_t i = 0; i < 100 && fine; i++) {
        char key[8];
        int n = snprintf(key, sizeof key, "%u", i);
        fine = vcore_map_put(m, (vcore_str) { key, (size_t)n }, i);
        uint32_t value = 0;
        for (uint32_t k = 0; k < i; k++) { /* what was there stays there */
            n = snprintf(key, sizeof key, "%u", k);
            assert_true(vcore_map_get(m, (vcore_str) { key, (size_t)n }, &value) && value == k);
        }
    }
    vcore_map_free(m);
    return fine ? VLM_OK : VLM_ERR_MEMORY;
}

static vlm_status fill_buffer(void) {
    vcore_buf b = { 0 };
    for (int i = 0; i < 200; i++) vcore_buf_printf(&b, "%d,", i);
    char *taken = vcore_buf_take(&b);
    vcore_free(taken);
    return taken ? VLM_OK : VLM_ERR_MEMORY;
}

/* The folder with its index, without it, and with one that is stale: how many tensors are found. */
static size_t expected = 2;

static vlm_status open_shards(void) {
    vio_tensors *t;
    vlm_status status = vio_tensors_open_dir(&t, tdir, NULL, &err);
    assert_int_equal(status >= 0, t != NULL);
    if (t) assert_int_equal(vio_tensors_count(t), expected);
    vio_tensors_close(t);
    return status;
}

static char *out_path;

static vlm_status write_tensors(void) {
    static const float values[2] = { 1, 2 };
    const vio_out_tensor out[] = { { "d", VIO_F32, 1, { 2 }, values },
                                   { "c", VIO_F32, 0, { 0 }, values } };
    return vio_safetensors_write(out_path, out, 2, "pt", &err);
}

static vlm_status read_index(void) {
    vcore_json_doc *doc;
    vio_bytes text;
    char *path = vio_join(tdir, "model.safetensors.index.json");
    if (!path) return VLM_ERR_MEMORY;
    vlm_status status = vio_read_json(&doc, &text, path, 1000, NULL, &err);
    assert_int_equal(status >= 0, doc != NULL);
    assert_int_equal(status >= 0, text.p != NULL);
    vcore_json_free(doc);
    vcore_free(text.p);
    vcore_free(path);
    return status;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    sweep(parse_json);
    sweep(fill_map);
    sweep(fill_buffer);
    sweep(read_index);
    sweep(open_shards);
    sweep(write_tensors);
    char *path = vio_join(tdir, "2.safetensors");
    assert_int_equal(unlink(path), 0);
    vcore_free(path);
    expected = 3; /* 1, and what was just written */
    sweep(open_shards);
    path = vio_join(tdir, "model.safetensors.index.json");
    assert_int_equal(unlink(path), 0);
    vcore_free(path);
    sweep(open_shards);
    char *set = vio_join(tdir, "model-1-of-2.safetensors");
    path = vio_join(tdir, "1.safetensors");
    assert_int_equal(rename(path, set), 0); /* incomplete, so still one of the rest */
    sweep(open_shards);
    vcore_free(path);
    vcore_free(set);
}

static void count_item(void *arg, size_t i, int worker) {
    (void)i;
    (void)worker;
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void pool_runs_with_the_threads_it_got(void **state) {
    (void)state;
    for (long k = 1; k <= 4; k++) {
        talloc_start(k);
        vcore_pool *pool = vcore_pool_new(4);
        talloc_stop();
        assert_int_equal(pool == NULL, k == 1);
        if (!pool) continue;
        assert_int_equal(vcore_pool_size(pool), k - 1);
        atomic_int count = 0;
        talloc_start(0);
        for (int i = 0; i < 100; i++) vcore_pool_run(pool, 50, count_item, &count);
        assert_int_equal(talloc_stop(), 0); /* a run allocates nothing */
        assert_int_equal(count, 5000);
        vcore_pool_free(pool);
    }
}

static int make_shards(void **state) {
    static const float value = 1;
    const vio_out_tensor a = { "a", VIO_F32, 0, { 0 }, &value },
                         b = { "b", VIO_F32, 0, { 0 }, &value };
    if (tdir_make(state)) return -1;
    char *path = vio_join(tdir, "1.safetensors");
    if (vio_safetensors_write(path, &a, 1, NULL, &err) < 0) return -1;
    vcore_free(path);
    path = vio_join(tdir, "2.safetensors");
    if (vio_safetensors_write(path, &b, 1, NULL, &err) < 0) return -1;
    vcore_free(path);
    tdir_put("model.safetensors.index.json",
             "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}");
    out_path = vio_join(tdir, "out.safetensors");
    return 0;
}

static int remove_shards(void **state) {
    vcore_free(out_path);
    return tdir_remove(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(pool_runs_with_the_threads_it_got),
    };
    return cmocka_run_group_tests(tests, make_shards, remove_shards);
}
