/* SPDX-License-Identifier: MIT */
/* Bounded reads and maps: regular files only, never waiting, never more than the cap. */
#include "support/dir.h"

#include "io/io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static vlm_error err;

static char *write_file(const char *name, const void *p, size_t n) {
    tdir_write(name, p, n);
    return vio_join(tdir, name);
}

static void reads_up_to_the_cap(void **state) {
    (void)state;
    vio_bytes b;
    char *path = write_file("five",
                            "a\0c\xFF"
                            "e",
                            5);
    assert_int_equal(vio_read(&b, path, 5, NULL, &err), VLM_OK);
    assert_int_equal(b.n, 5);
    assert_memory_equal(b.p,
                        "a\0c\xFF"
                        "e",
                        6);
    vcore_free(b.p);
    assert_int_equal(vio_read(&b, path, UINT64_MAX, NULL, &err), VLM_OK);
    vcore_free(b.p);
    assert_int_equal(vio_read(&b, path, 4, NULL, &err), VLM_ERR_LIMIT);
    assert_null(b.p);
    assert_non_null(strstr(err.message, "five: larger than the limit of 4 bytes"));
    assert_int_equal(vio_read_text(&b, path, 5, NULL, &err), VLM_ERR_ENCODING);
    assert_null(b.p);
    assert_non_null(strstr(err.message, "five: is not UTF-8 text"));
    vcore_free(path);
    path = write_file("empty", "", 0);
    assert_int_equal(vio_read(&b, path, 0, NULL, &err), VLM_OK);
    assert_int_equal(b.n, 0);
    assert_string_equal(b.p, "");
    vcore_free(b.p);
    vcore_free(path);
}

static void large_file_whole(void **state) {
    (void)state;
    enum { SIZE = 3000000 };
    char *data = vcore_alloc(SIZE);
    for (int i = 0; i < SIZE; i++) data[i] = (char)(i * 7 % 127);
    char *path = write_file("large", data, SIZE);
    vio_bytes b;
    assert_int_equal(vio_read(&b, path, SIZE, NULL, &err), VLM_OK);
    assert_int_equal(b.n, SIZE);
    assert_memory_equal(b.p, data, SIZE);
    vcore_free(b.p);
    vcore_free(path);
    vcore_free(data);
}

/* A file of /proc says that it has no bytes and then gives some: what is read counts. */
static void size_is_not_believed(void **state) {
    (void)state;
    vio_bytes b;
    assert_int_equal(vio_read(&b, "/proc/self/status", 1 << 20, NULL, &err), VLM_OK);
    assert_true(b.n > 100);
    assert_int_equal(b.p[b.n], 0);
    vcore_free(b.p);
    assert_int_equal(vio_read(&b, "/proc/self/status", 50, NULL, &err), VLM_ERR_LIMIT);
    assert_null(b.p);
}

static void absent_files(void **state) {
    (void)state;
    vio_bytes b = { (char *)1, 1 };
    char *path = vio_join(tdir, "absent");
    assert_int_equal(vio_read(&b, path, 10, NULL, &err), VLM_ERR_NOT_FOUND);
    assert_null(b.p);
    assert_non_null(strstr(err.message, "/absent: cannot open: No such file"));
    err = (vlm_error)VLM_ERROR_INIT;
    assert_int_equal(vio_read_text_optional(&b, path, 10, NULL, &err), VLM_OK);
    assert_null(b.p);
    assert_int_equal(err.code, VLM_OK);
    vcore_json_doc *doc = (vcore_json_doc *)1;
    assert_int_equal(vio_read_json(&doc, &b, path, 10, NULL, &err), VLM_ERR_NOT_FOUND);
    assert_null(doc);
    vcore_free(path);
    char *file = write_file("file", "x", 1);
    path = vio_join(file, "below");
    assert_int_equal(vio_read(&b, path, 10, NULL, &err), VLM_ERR_NOT_FOUND);
    vcore_free(path);
    vcore_free(file);
}

static void only_regular_files(void **state) {
    (void)state;
    vio_bytes b;
    vio_map *m;
    char *fifo = vio_join(tdir, "fifo"), *loop = vio_join(tdir, "loop"),
         *link = vio_join(tdir, "link");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(symlink("loop", loop), 0);
    char *file = write_file("target", "t", 1);
    assert_int_equal(symlink("target", link), 0);
    assert_int_equal(vio_read(&b, fifo, 10, NULL, &err), VLM_ERR_IO); /* nobody writes: must not wait */
    assert_non_null(strstr(err.message, "fifo: is not a regular file"));
    assert_int_equal(vio_map_open(&m, fifo, NULL, &err), VLM_ERR_IO);
    assert_int_equal(vio_read(&b, "/dev/zero", 10, NULL, &err), VLM_ERR_IO);
    assert_int_equal(vio_read_text_optional(&b, tdir, 10, NULL, &err), VLM_ERR_IO);
    assert_non_null(strstr(err.message, ": is a directory, not a file"));
    assert_int_equal(vio_read(&b, loop, 10, NULL, &err), VLM_ERR_IO);
    assert_int_equal(vio_read(&b, link, 10, NULL, &err), VLM_OK); /* the hub's cache is made of links */
    assert_string_equal(b.p, "t");
    vcore_free(b.p);
    if (geteuid() != 0) { /* root may read anything */
        assert_int_equal(chmod(file, 0), 0);
        assert_int_equal(vio_read(&b, file, 10, NULL, &err), VLM_ERR_IO);
        assert_non_null(strstr(err.message, "Permission denied"));
    }
    assert_int_equal(vio_read(&b, fifo, 10, NULL, NULL), VLM_ERR_IO);
    vcore_free(fifo);
    vcore_free(loop);
    vcore_free(link);
    vcore_free(file);
}

static void byte_order_mark_is_skipped(void **state) {
    (void)state;
    vio_bytes b;
    vcore_json_doc *doc;
    char *path = write_file("mark.json", "\xEF\xBB\xBF{\"a\": 1}", 11);
    assert_int_equal(vio_read_json(&doc, &b, path, 11, NULL, &err), VLM_OK);
    assert_int_equal(vcore_json_count(vcore_json_root(doc)), 1);
    assert_string_equal(b.p, "{\"a\": 1}");
    assert_int_equal(b.n, 8);
    vcore_free(b.p);
    vcore_json_free(doc);
    vcore_free(path);
    path = write_file("bad.json", "{\n\"a\": }", 8);
    assert_int_equal(vio_read_json(&doc, &b, path, 11, NULL, &err), VLM_ERR_PARSE);
    assert_null(doc);
    assert_null(b.p);
    assert_non_null(strstr(err.message, "bad.json: line 2, column 6: invalid value"));
    vcore_free(path);
}

static void maps(void **state) {
    (void)state;
    vio_map *m;
    char *path = write_file("mapped", "tensor", 6);
    assert_int_equal(vio_map_open(&m, path, NULL, &err), VLM_OK);
    assert_int_equal(vio_map_size(m), 6);
    assert_memory_equal(vio_map_data(m), "tensor", 6);
    vio_map_close(m);
    vcore_free(path);
    path = write_file("nothing", "", 0);
    assert_int_equal(vio_map_open(&m, path, NULL, &err), VLM_OK);
    assert_int_equal(vio_map_size(m), 0);
    vio_map_close(m);
    vcore_free(path);
    assert_int_equal(vio_map_open(&m, tdir, NULL, &err), VLM_ERR_IO);
    assert_null(m);
    vio_map_close(NULL);
}

static void paths(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        { "a", "b", "a/b" }, { "a/", "b", "a/b" }, { "", "b", "b" }, { "/", "b", "/b" }
    };
    for (size_t i = 0; i < 4; i++) {
        char *path = vio_join(cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        vcore_free(path);
    }
    assert_true(vio_is_dir(tdir));
    assert_false(vio_is_dir("/dev/null"));
    assert_false(vio_is_dir("/does/not/exist"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_up_to_the_cap),
        cmocka_unit_test(large_file_whole),
        cmocka_unit_test(size_is_not_believed),
        cmocka_unit_test(absent_files),
        cmocka_unit_test(only_regular_files),
        cmocka_unit_test(byte_order_mark_is_skipped),
        cmocka_unit_test(maps),
        cmocka_unit_test(paths),
    };
    return cmocka_run_group_tests(tests, tdir_make, tdir_remove);
}
