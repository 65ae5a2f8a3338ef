/* SPDX-License-Identifier: MIT */
/* Which files of a directory hold the weights: the rule on names alone, then on real directories;
 * an index that is stale or lies; files that change while they are in use. */
#include "support/dir.h"

#include "io/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static vlm_error err;

static void add_line(void *user, vlm_log_level level, const char *line) {
    assert_int_equal(level, VLM_LOG_WARNING);
    vcore_buf_printf(user, "%s\n", line);
}

/* ---- the rule, on names ---------------------------------------------------------------------- */
typedef struct rule {
    const char *files; /* of the folder, sorted, separated by blanks */
    const char *index; /* its weight_map; NULL: none */
    vlm_status status;
    const char *chosen; /* as files; of an error, what the line says */
    const char *missing, *logged;
} rule;

#define A "\"a\":\"a.safetensors\""
#define B "\"b\":\"b.safetensors\""
#define S(k, n) "model-0000" #k "-of-0000" #n ".safetensors"

static const rule rules[] = {
    /* 1. the index, when all it names is there */
    { "a.safetensors b.safetensors c.safetensors model.safetensors", "{" A "," B "}", VLM_OK,
      "a.safetensors b.safetensors", 0, 0 },
    { "a.safetensors b.safetensors", "{" B ",\"c\":\"b.safetensors\"," A "}", VLM_OK,
      "a.safetensors b.safetensors", 0, 0 },
    { "a.safetensors consolidated.safetensors", "{\"x\":\"consolidated.safetensors\"}", VLM_OK,
      "consolidated.safetensors", 0, 0 },
    /* 2. else model.safetensors alone */
    { "a.safetensors model.safetensors", "{" A "," B "}", VLM_OK, "model.safetensors",
      "b.safetensors",
      "m/model.safetensors.index.json: stale: it names b.safetensors, which is not "
      "there (1 of its 2 tensors would be in absent files)\n" },
    { S(1, 2) " " S(2, 2) " model.safetensors", NULL, VLM_OK, "model.safetensors", 0, 0 },
    /* 3. else the one complete set */
    { "a.safetensors " S(1, 1), NULL, VLM_OK, S(1, 1), 0, 0 },
    { S(1, 3) " " S(2, 3) " " S(3, 3) " other.safetensors", NULL, VLM_OK,
      S(1, 3) " " S(2, 3) " " S(3, 3), 0, 0 },
    { "model-01-of-10.safetensors model-02-of-10.safetensors model-03-of-10.safetensors "
      "model-04-of-10.safetensors model-05-of-10.safetensors model-06-of-10.safetensors "
      "model-07-of-10.safetensors model-08-of-10.safetensors model-09-of-10.safetensors "
      "model-10-of-10.safetensors",
      NULL, VLM_OK,
      "model-01-of-10.safetensors model-02-of-10.safetensors model-03-of-10.safetensors "
      "model-04-of-10.safetensors model-05-of-10.safetensors model-06-of-10.safetensors "
      "model-07-of-10.safetensors model-08-of-10.safetensors model-09-of-10.safetensors "
      "model-10-of-10.safetensors",
      0, 0 },
    { S(1, 2) " " S(1, 3) " " S(2, 2), NULL, VLM_OK, S(1, 2) " " S(2, 2), 0,
      "m/" S(1, 3) ": one of an incomplete set, 1 of 3\n" },
    { S(1, 2) " " S(2, 2), "{\"a\":\"" S(3, 3) "\"}", VLM_OK, S(1, 2) " " S(2, 2), S(3, 3),
      "m/model.safetensors.index.json: stale: it names " S(
          3, 3) ", which is not there (1 of its 1 "
                "tensors would be in absent files)\n" },
    { S(1, 2) " " S(1, 3) " " S(2, 2) " " S(2, 3) " " S(3, 3), NULL, VLM_ERR_FORMAT,
      "m: two complete sets of weights, " S(1, 2) " and " S(1, 3) ", and no index to choose", 0,
      0 },
    { "model-1-of-1.safetensors " S(1, 1), NULL, VLM_ERR_FORMAT, "m: two complete sets", 0, 0 },
    /* 4. else the rest */
    { "a.safetensors b.safetensors", NULL, VLM_OK, "a.safetensors b.safetensors", 0, 0 },
    { "weights.safetensors", NULL, VLM_OK, "weights.safetensors", 0, 0 },
    { "a.safetensors adapter_model.safetensors adapters.safetensors "
      "consolidated-00001-of-00002.safetensors consolidated.00.safetensors "
      "consolidated.safetensors the_100_adapters.safetensors the_consolidated.safetensors",
      NULL, VLM_OK, "a.safetensors", 0, 0 },
    { S(1, 3) " " S(3, 3) " other.safetensors", NULL, VLM_OK,
      S(1, 3) " " S(3, 3) " other.safetensors", S(2, 3),
      "m/" S(1, 3) ": one of an incomplete set, 2 of 3\n" },
    { S(1, 3) " " S(2, 3), NULL, VLM_OK, S(1, 3) " " S(2, 3), S(3, 3),
      "m/" S(1, 3) ": one of an incomplete set, 2 of 3\n" },
    { S(2, 3), "{\"a\":\"" S(1, 3) "\",\"b\":\"" S(2, 3) "\"}", VLM_OK, S(2, 3), S(1, 3), NULL },
    { "model-00000-of-00002.safetensors model-00003-of-00002.safetensors "
      "model-0001-of-00001.safetensors model-1-of-1.safetensor.safetensors "
      "model-1234567890-of-1234567890.safetensors model--of-.safetensors",
      NULL, VLM_OK,
      "model-00000-of-00002.safetensors model-00003-of-00002.safetensors "
      "model-0001-of-00001.safetensors model-1-of-1.safetensor.safetensors "
      "model-1234567890-of-1234567890.safetensors model--of-.safetensors",
      0, 0 },
    { "model-000000001-of-999999999.safetensors", NULL, VLM_OK,
      "model-000000001-of-999999999.safetensors", "model-000000002-of-999999999.safetensors",
      "m/model-000000001-of-999999999.safetensors: one of an incomplete set, 1 of 999999999\n" },
    /* 5. nothing */
    { "", NULL, VLM_ERR_NOT_FOUND, "m: no .safetensors file", 0, 0 },
    { "adapters.safetensors consolidated.safetensors", NULL, VLM_ERR_NOT_FOUND,
      "m: no .safetensors file", 0, 0 },
    { "", "{" A "}", VLM_ERR_NOT_FOUND, "m: no .safetensors file (the index names a.safetensors)",
      0, NULL },
    /* 6. what an index may say */
    { "a.safetensors", "[]", VLM_ERR_FORMAT, "weight_map must be an object, is an array", 0, 0 },
    { "a.safetensors", "{}", VLM_ERR_FORMAT, "weight_map names no tensor", 0, 0 },
    { "a.safetensors", "{\"a\":1}", VLM_ERR_FORMAT, "weight_map.a must be the plain name", 0, 0 },
    { "a.safetensors", "{\"a\":\"\"}", VLM_ERR_FORMAT, "weight_map.a must be the plain name", 0,
      0 },
    { "a.safetensors", "{\"a\":\"..\"}", VLM_ERR_FORMAT, "weight_map.a must be", 0, 0 },
    { "a.safetensors", "{\"a\":\"../m/a.safetensors\"}", VLM_ERR_FORMAT, "weight_map.a must be", 0,
      0 },
    { "a.safetensors", "{\"a\":\"/etc/a.safetensors\"}", VLM_ERR_FORMAT, "weight_map.a must be", 0,
      0 },
    { "a.safetensors", "{\"a\":\"./a.safetensors\"}", VLM_ERR_FORMAT, "weight_map.a must be", 0,
      0 },
    { "a.safetensors", "{\"a\":\"a.safetensors\\u0000\"}", VLM_ERR_FORMAT, "weight_map.a must be",
      0, 0 },
    { "a.safetensors", "{\"a\":\"a.bin\"}", VLM_ERR_FORMAT, "weight_map.a must be", 0, 0 },
    { "a.safetensors", "{" A "," A "}", VLM_ERR_FORMAT, "tensor 'a' comes twice", 0, 0 },
};

/* The names of a case; returns how many. */
static size_t split(char *text, const char **names) {
    size_t n = 0;
    for (char *at = strtok(text, " "); at; at = strtok(NULL, " ")) names[n++] = at;
    return n;
}

static void check_rule(const rule *r, size_t at) {
    char files[700], index[300];
    const char *names[32];
    snprintf(files, sizeof files, "%s", r->files);
    size_t n = split(files, names);
    vcore_json_doc *doc = NULL;
    snprintf(index, sizeof index, "{\"weight_map\":%s}", r->index ? r->index : "0");
    if (r->index) assert_int_equal(vcore_json_parse(&doc, index, strlen(index), "i", &err), VLM_OK);
    vcore_arena *arena = vcore_arena_new();
    vcore_buf lines = { 0 }, chosen = { 0 };
    const vcore_log log = { add_line, &lines };
    vio_selection s;
    vlm_status status =
        vio_select_weights(&s, arena, "m", doc ? vcore_json_root(doc) : NULL, names, n, &log, &err);
    for (size_t i = 0; status >= 0 && i < s.n; i++)
        vcore_buf_printf(&chosen, "%s%s", i ? " " : "", s.names[i]);
    const char *got = status < 0 ? err.message : chosen.p;
    bool fine = status == r->status && got && strstr(got, r->chosen)
                && (status < 0 || !strcmp(got, r->chosen));
    if (!fine) fail_msg("case %zu: %s, '%s'", at, vlm_status_name(status), got ? got : "");
    if (status >= 0) {
        assert_int_equal(s.indexed, r->index && !r->missing);
        if (strcmp(s.missing ? s.missing : "", r->missing ? r->missing : ""))
            fail_msg("case %zu: missing '%s'", at, s.missing ? s.missing : "");
        if (r->logged || !r->index)
            if (strcmp(lines.p ? lines.p : "", r->logged ? r->logged : ""))
                fail_msg("case %zu: logged '%s'", at, lines.p ? lines.p : "");
    }
    vcore_buf_free(&lines);
    vcore_buf_free(&chosen);
    vcore_arena_free(arena);
    vcore_json_free(doc);
}

static void selection(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) check_rule(&rules[i], i);
}

/* ---- directories ----------------------------------------------------------------------------- */
static const char *sub_dir(const char *name) {
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", tdir, name);
    mkdir(path, 0777);
    return path;
}

static void put_one(const char *in, const char *file, const char *tensor, float value) {
    char *path = vio_join(in, file);
    vio_out_tensor t = { tensor, VIO_F32, 1, { 1 }, &value };
    assert_int_equal(vio_safetensors_write(path, &t, 1, "pt", &err), VLM_OK);
    vcore_free(path);
}

static float value_of(const vio_tensors *t, const char *name) {
    float f;
    memcpy(&f, vio_tensors_find(t, name)->data, 4);
    return f;
}

static void put_index(const char *in, const char *text) {
    assert_true(tedit_write(in, "model.safetensors.index.json", text, strlen(text)));
}

static vlm_status open_dir(vio_tensors **t, const char *path) {
    vlm_status status = vio_tensors_open_dir(t, path, NULL, &err);
    assert_int_equal(status >= 0, *t != NULL);
    if (status < 0) assert_int_equal(err.code, status);
    return status;
}

/* Opens and keeps what the log is told; free the lines. */
static vlm_status open_logged(vio_tensors **t, const char *path, bool lenient, vcore_buf *lines) {
    vio_source from = vio_source_of(NULL);
    from.log = (vcore_log) { add_line, lines };
    from.lenient = lenient;
    lines->n = 0;
    vcore_buf_puts(lines, "");
    return vio_tensors_open_dir(t, path, &from, &err);
}

static void directory_with_index(void **state) {
    (void)state;
    vio_tensors *t;
    const char *d = sub_dir("index");
    put_one(d, "s1.safetensors", "a", 1);
    put_one(d, "s2.safetensors", "b", 2);
    put_one(d, "unlisted.safetensors", "c", 3);
    put_one(d, "model.safetensors", "a", 4); /* the index goes first */
    put_index(d, "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"a\":\"s1.safetensors\","
                 "\"b\":\"s2.safetensors\"}}");
    assert_int_equal(open_dir(&t, d), VLM_OK);
    assert_int_equal(vio_tensors_count(t), 2);
    assert_true(value_of(t, "a") == 1 && value_of(t, "b") == 2);
    assert_non_null(strstr(vio_tensors_find(t, "b")->file, "/index/s2.safetensors"));
    assert_string_equal(vio_tensors_metadata(t, "format"), "pt");
    assert_null(vio_tensors_missing_file(t));
    vio_tensors_close(t);
}

static void an_index_that_cannot_be_read(void **state) {
    (void)state;
    vio_tensors *t;
    const char *d = sub_dir("bad");
    put_one(d, "model.safetensors", "a", 1); /* no way round it */
    put_index(d, "{\n\"weight_map\":");
    assert_int_equal(open_dir(&t, d), VLM_ERR_PARSE);
    assert_non_null(strstr(err.message, "model.safetensors.index.json: line 2"));
    assert_int_equal(err.line, 2);
    put_index(d, "{\"weight_map\":{\"\xff\":\"model.safetensors\"}}");
    assert_int_equal(open_dir(&t, d), VLM_ERR_ENCODING);
    put_index(d, "{\"weight_map\":{\"a\":\"model.safetensors\"}}");
    vio_source from = vio_source_of(NULL);
    from.limits.index_bytes = 10;
    assert_int_equal(vio_tensors_open_dir(&t, d, &from, &err), VLM_ERR_LIMIT);
    assert_int_equal(err.limit, 10);
    put_index(d, "{}");
    assert_int_equal(open_dir(&t, d), VLM_ERR_FORMAT);
    assert_non_null(strstr(err.message, "bad/model.safetensors.index.json: weight_map must be an "
                                        "object, is missing"));
    assert_string_equal(err.field, "weight_map");
    assert_non_null(strstr(err.file, "bad/model.safetensors.index.json"));
    char *path = vio_join(d, "model.safetensors.index.json");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(open_dir(&t, d), VLM_ERR_IO);
    vcore_free(path);
}

static void an_index_that_lies(void **state) {
    (void)state;
    vio_tensors *t;
    vcore_buf lines = { 0 };
    const char *d = sub_dir("lies");
    put_one(d, "s1.safetensors", "a", 1);
    put_one(d, "s2.safetensors", "a", 2);
    put_one(d, "s3.safetensors", "b", 3);
    /* A tensor in two of its files: never "the later wins". */
    put_index(d, "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}}");
    assert_int_equal(open_dir(&t, d), VLM_ERR_FORMAT);
    assert_non_null(strstr(err.message, "s2.safetensors: tensor 'a' is also in "));
    assert_string_equal(err.field, "a");
    /* Tensors change places: found all the same, and reported. */
    put_index(d, "{\"weight_map\":{\"a\":\"s3.safetensors\",\"b\":\"s1.safetensors\"}}");
    assert_int_equal(open_logged(&t, d, false, &lines), VLM_OK);
    assert_true(value_of(t, "a") == 1 && value_of(t, "b") == 3);
    assert_non_null(
        strstr(lines.p, "stale: tensor 'a' lies in another file than it says (2 such)"));
    vio_tensors_close(t);
    /* A tensor of its files that it does not name is there: the headers say what is. */
    put_index(d, "{\"weight_map\":{\"x\":\"s3.safetensors\",\"a\":\"s1.safetensors\"}}");
    assert_int_equal(open_logged(&t, d, true, &lines), VLM_OK);
    assert_true(value_of(t, "b") == 3);
    assert_non_null(strstr(lines.p, "tensor 'x' is not in s3.safetensors (1 such)"));
    vio_tensors_close(t);
    /* A tensor that is in no file: which parts a model has may hang on it. */
    assert_int_equal(open_dir(&t, d), VLM_ERR_FORMAT);
    assert_non_null(strstr(err.message, "lies/model.safetensors.index.json: tensor 'x' is not in "
                                        "s3.safetensors (1 such)"));
    vcore_buf_free(&lines);
}

static void a_stale_index(void **state) {
    (void)state;
    vio_tensors *t;
    vcore_buf lines = { 0 };
    const char *d = sub_dir("stale");
    put_one(d, "s1.safetensors", "a", 1);
    put_index(d, "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}}");
    assert_int_equal(open_logged(&t, d, false, &lines), VLM_OK);
    assert_int_equal(vio_tensors_count(t), 1);
    assert_non_null(strstr(vio_tensors_missing_file(t), "/stale/s2.safetensors"));
    assert_non_null(strstr(lines.p, "stale: it names s2.safetensors, which is not there"));
    assert_non_null(strstr(lines.p, "/stale: reading s1.safetensors instead"));
    vio_tensors_close(t);
    put_one(d, "model.safetensors", "w", 9);
    assert_int_equal(open_logged(&t, d, false, &lines), VLM_OK);
    assert_true(value_of(t, "w") == 9);
    assert_non_null(strstr(lines.p, "/stale: reading model.safetensors instead"));
    vio_tensors_close(t);
    assert_true(tedit_write(d, "s2.safetensors", "x", 1)); /* there, but broken: no way round it */
    assert_int_equal(open_dir(&t, d), VLM_ERR_FORMAT);
    assert_non_null(strstr(err.message, "s2.safetensors: too short"));
    vcore_buf_free(&lines);
}

static void directory_without_index(void **state) {
    (void)state;
    vio_tensors *t;
    const char *d = sub_dir("plain");
    assert_int_equal(open_dir(&t, d), VLM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "plain: no .safetensors file"));
    put_one(d, "consolidated.safetensors", "c", 1);
    put_one(d, "._weights.safetensors", "c", 1);
    put_one(d, ".safetensors", "c", 1);
    assert_int_equal(open_dir(&t, d), VLM_ERR_NOT_FOUND);
    put_one(d, "weights.safetensors", "a", 2);
    put_one(d, "more.safetensors", "b", 3);
    assert_int_equal(open_dir(&t, d), VLM_OK);
    assert_int_equal(vio_tensors_count(t), 2);
    assert_true(value_of(t, "a") == 2 && value_of(t, "b") == 3);
    vio_tensors_close(t);
    put_one(d, "other.safetensors", "a", 3);
    assert_int_equal(open_dir(&t, d), VLM_ERR_FORMAT);
    assert_non_null(strstr(err.message, "plain/weights.safetensors: tensor 'a' is also in "));
    put_one(d, "model.safetensors", "a", 4);
    assert_int_equal(open_dir(&t, d), VLM_OK);
    assert_int_equal(vio_tensors_count(t), 1);
    assert_true(value_of(t, "a") == 4);
    vio_tensors_close(t);
    assert_true(tedit_write(d, "model.safetensors", "", 0));
    assert_int_equal(open_dir(&t, d), VLM_ERR_FORMAT);
    assert_int_equal(open_dir(&t, "/does/not/exist"), VLM_ERR_NOT_FOUND);
    assert_int_equal(open_dir(&t, "/dev/null"), VLM_ERR_NOT_FOUND);
    assert_int_equal(vio_tensors_open_file(&t, tdir, NULL, &err), VLM_ERR_IO);
    assert_null(t);
}

/* The hub cache: a snapshot of links into a folder of blobs. */
static void links_are_followed(void **state) {
    (void)state;
    vio_tensors *t;
    char blobs[600];
    snprintf(blobs, sizeof blobs, "%s", sub_dir("blobs"));
    put_one(blobs, "0f", "a", 5);
    const char *d = sub_dir("snapshot");
    char *one = vio_join(d, "model-00001-of-00002.safetensors");
    char *two = vio_join(d, "model-00002-of-00002.safetensors");
    assert_int_equal(symlink("../blobs/0f", one), 0);
    assert_int_equal(symlink("../blobs/1f", two), 0); /* not downloaded yet */
    put_index(d, "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\","
                 "\"b\":\"model-00002-of-00002.safetensors\"}}");
    assert_int_equal(open_dir(&t, d), VLM_OK);
    assert_true(value_of(t, "a") == 5);
    assert_non_null(
        strstr(vio_tensors_missing_file(t), "snapshot/model-00002-of-00002.safetensors"));
    vio_tensors_close(t);
    put_one(blobs, "1f", "b", 6);
    assert_int_equal(open_dir(&t, d), VLM_OK);
    assert_true(value_of(t, "a") == 5 && value_of(t, "b") == 6);
    assert_null(vio_tensors_missing_file(t));
    vio_tensors_close(t);
    assert_int_equal(unlink(two), 0);
    assert_int_equal(mkfifo(two, 0600), 0); /* refused at once, no writer is waited for */
    assert_int_equal(open_dir(&t, d), VLM_ERR_IO);
    assert_non_null(strstr(err.message, "model-00002-of-00002.safetensors: is not a regular file"));
    vcore_free(one);
    vcore_free(two);
}

/* ---- files that change while they are in use ---------------------------------------------------
 */
static void unlinked_or_replaced_files_stay(void **state) {
    (void)state;
    vio_tensors *t;
    const char *d = sub_dir("replaced");
    put_one(d, "a.safetensors", "a", 1);
    put_one(d, "b.safetensors", "b", 2);
    assert_int_equal(open_dir(&t, d), VLM_OK);
    char *a = vio_join(d, "a.safetensors"), *b = vio_join(d, "b.safetensors");
    put_one(d, "new", "a", 7);
    char *new = vio_join(d, "new");
    assert_int_equal(rename(new, a), 0);
    assert_int_equal(unlink(b), 0);
    assert_true(value_of(t, "a") == 1 && value_of(t, "b") == 2);
    vio_tensors_close(t);
    vcore_free(a);
    vcore_free(b);
    vcore_free(new);
}

static void truncation_does_not_reach_memory(void **state) {
    (void)state;
    vio_tensors *t;
    const char *d = sub_dir("memory");
    enum { N = 100000 };
    float *values = malloc(N * sizeof *values);
    for (int i = 0; i < N; i++) values[i] = (float)i;
    char *path = vio_join(d, "model.safetensors");
    const vio_out_tensor out = { "a", VIO_F32, 1, { N }, values };
    assert_int_equal(vio_safetensors_write(path, &out, 1, NULL, &err), VLM_OK);
    vio_source from = vio_source_of(NULL);
    from.in_memory = true;
    assert_int_equal(vio_tensors_open_dir(&t, d, &from, &err), VLM_OK);
    assert_int_equal(truncate(path, 0), 0);
    assert_memory_equal(vio_tensors_find(t, "a")->data, values, N * sizeof *values);
    assert_int_equal((uintptr_t)vio_tensors_find(t, "a")->data % 8, 0);
    vio_tensors_close(t);
    assert_int_equal(vio_tensors_open_dir(&t, d, &from, &err), VLM_ERR_FORMAT); /* now empty */
    assert_int_equal(truncate(path, (off_t)1 << 43), 0); /* 8 TiB that take no room */
    assert_int_equal(vio_tensors_open_dir(&t, d, &from, &err), VLM_ERR_LIMIT);
    assert_true(err.limit > 0 && err.limit < (uint64_t)1 << 43);
    free(values);
    vcore_free(path);
}

/* ---- many files ------------------------------------------------------------------------------ */
static void a_hundred_shards(void **state) {
    (void)state;
    enum { SHARDS = 100, EACH = 20 };
    vio_tensors *t;
    const char *d = sub_dir("hundred");
    static char names[SHARDS * EACH][40];
    vcore_buf index = { 0 };
    for (int k = 0; k < SHARDS; k++) {
        vio_out_tensor out[EACH];
        float values[EACH];
        char file[64];
        snprintf(file, sizeof file, "model-%05d-of-%05d.safetensors", k + 1, SHARDS);
        for (int i = 0; i < EACH; i++) {
            int at = k * EACH + i;
            values[i] = (float)at;
            snprintf(names[at], sizeof names[at], "model.layers.%d.mlp.%d.weight", k, i);
            out[i] = (vio_out_tensor) { names[at], VIO_F32, 1, { 1 }, &values[i] };
            vcore_buf_printf(&index, "%s\"%s\":\"%s\"", at ? "," : "{\"weight_map\":{", names[at],
                             file);
        }
        char *path = vio_join(d, file);
        assert_int_equal(vio_safetensors_write(path, out, EACH, "pt", &err), VLM_OK);
        vcore_free(path);
    }
    vcore_buf_puts(&index, "}}");
    for (int indexed = 0; indexed < 2; indexed++) {
        if (indexed) put_index(d, index.p);
        assert_int_equal(open_dir(&t, d), VLM_OK);
        assert_int_equal(vio_tensors_count(t), SHARDS * EACH);
        for (int i = 0; i < SHARDS * EACH; i++) assert_true(value_of(t, names[i]) == (float)i);
        vio_tensors_close(t);
    }
    vcore_buf_free(&index);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selection),
        cmocka_unit_test(directory_with_index),
        cmocka_unit_test(an_index_that_cannot_be_read),
        cmocka_unit_test(an_index_that_lies),
        cmocka_unit_test(a_stale_index),
        cmocka_unit_test(directory_without_index),
        cmocka_unit_test(links_are_followed),
        cmocka_unit_test(unlinked_or_replaced_files_stay),
        cmocka_unit_test(truncation_does_not_reach_memory),
        cmocka_unit_test(a_hundred_shards),
    };
    return cmocka_run_group_tests(tests, tdir_make, tdir_remove);
}
