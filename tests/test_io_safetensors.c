/* SPDX-License-Identifier: MIT */
/* One safetensors file: what is read, every lie that is refused, the writer. */
#include "support/dir.h"

#include "io/io.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static vlm_error err;

/* A file of this header and data_bytes bytes 0, 1, 2 ... */
static void build(vcore_buf *b, const char *header, size_t data_bytes) {
    uint64_t n = strlen(header);
    b->n = 0;
    vcore_buf_add(b, &n, 8);
    vcore_buf_puts(b, header);
    for (size_t i = 0; i < data_bytes; i++)
        vcore_buf_add(b, &(unsigned char) { (unsigned char)i }, 1);
}

static vlm_status open_header(vio_tensors **t, const char *header, size_t data_bytes) {
    vcore_buf b = { 0 };
    build(&b, header, data_bytes);
    /* On the heap, exactly sized: a read behind it is seen by the address sanitizer. */
    static char *exact;
    free(exact);
    exact = malloc(b.n);
    memcpy(exact, b.p, b.n);
    vlm_status status = vio_tensors_open_memory(t, exact, b.n, "m.safetensors", NULL, &err);
    vcore_buf_free(&b);
    assert_int_equal(status >= 0, *t != NULL);
    return status;
}

static void reads_views(void **state) {
    (void)state;
    vio_tensors *t;
    assert_int_equal(
        open_header(&t,
                    "{\"__metadata__\":{\"format\":\"pt\",\"k\":\"v\"},"
                    "\"z\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
                    "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[12,16]},"
                    "\"none\":{\"dtype\":\"I64\",\"shape\":[4,0],\"data_offsets\":[12,12]},"
                    "\"e\":{\"dtype\":\"F8_E8M0\",\"shape\":[1],\"data_offsets\":[16,17],"
                    "\"more\":1}}   ",
                    17),
        VLM_OK);
    assert_int_equal(vio_tensors_count(t), 4);
    assert_string_equal(vio_tensors_at(t, 0)->name, "a"); /* sorted */
    assert_string_equal(vio_tensors_at(t, 3)->name, "z");
    assert_null(vio_tensors_at(t, 4));
    const vio_tensor *z = vio_tensors_find(t, "z");
    assert_int_equal(z->dtype, VIO_BF16);
    assert_int_equal(z->rank, 2);
    assert_int_equal(z->shape[0], 2);
    assert_int_equal(z->shape[1], 3);
    assert_int_equal(z->bytes, 12);
    assert_int_equal(z->data[11], 11);
    assert_string_equal(z->file, "m.safetensors");
    assert_false(z->mlx);
    assert_int_equal(vio_tensors_find(t, "a")->rank, 0);
    assert_int_equal(vio_tensors_find(t, "a")->data[0], 12);
    assert_int_equal(vio_tensors_find(t, "none")->bytes, 0);
    assert_int_equal(vio_tensors_find(t, "e")->dtype, VIO_F8_E8M0);
    assert_null(vio_tensors_find(t, "b"));
    assert_null(vio_tensors_find(t, "__metadata__"));
    assert_string_equal(vio_tensors_metadata(t, "k"), "v");
    assert_null(vio_tensors_metadata(t, "x"));
    assert_int_equal(vio_tensors_bytes(t), 17);
    vio_tensors_close(t);
    assert_int_equal(open_header(&t, "{}", 0), VLM_OK);
    assert_int_equal(vio_tensors_count(t), 0);
    assert_null(vio_tensors_find(t, "a"));
    assert_null(vio_tensors_metadata(t, "format"));
    vio_tensors_close(t);
    assert_int_equal(open_header(&t,
                                 "{\"__metadata__\":{\"format\":\"mlx\"},"
                                 "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                                 1),
                     VLM_OK);
    assert_true(vio_tensors_at(t, 0)->mlx);
    vio_tensors_close(t);
    vio_tensors_close(NULL);
}

static void every_dtype(void **state) {
    (void)state;
    static const char *const names[] = { "BOOL", "U8",      "I8",      "I16",    "U16", "F16",
                                         "BF16", "I32",     "U32",     "F32",    "I64", "U64",
                                         "F64",  "F8_E4M3", "F8_E5M2", "F8_E8M0" };
    static const size_t sizes[] = { 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 8, 8, 8, 1, 1, 1 };
    for (int i = 0; i < 16; i++) {
        char header[200];
        vio_tensors *t;
        snprintf(header, sizeof header,
                 "{\"t\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%zu]}}", names[i],
                 3 * sizes[i]);
        assert_int_equal(open_header(&t, header, 3 * sizes[i]), VLM_OK);
        assert_int_equal(vio_tensors_at(t, 0)->dtype, i);
        assert_int_equal(vio_dtype_size((vio_dtype)i), sizes[i]);
        assert_string_equal(vio_dtype_name((vio_dtype)i), names[i]);
        vio_tensors_close(t);
    }
}

#define T(name, dtype, shape, offsets)                                                             \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void every_lie_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        vlm_status status;
        const char *message;
    } cases[] = {
        { "[]", 0, VLM_ERR_FORMAT, "the header does not begin with '{'" },
        { " {}", 0, VLM_ERR_FORMAT, "the header does not begin with '{'" },
        { "{}x", 0, VLM_ERR_PARSE, "line 1, column 3: text behind the value" },
        { "{\"a\":1}", 0, VLM_ERR_FORMAT, "tensor 'a': 'dtype' is missing or not a string" },
        { "{" T("a", "F33", "[1]", "[0,4]") "}", 4, VLM_ERR_UNSUPPORTED,
          "tensor 'a': dtype 'F33' is not supported" },
        { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, VLM_ERR_FORMAT,
          "tensor 'a': 'shape' is missing or not an array" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, VLM_ERR_FORMAT,
          "tensor 'a': 'data_offsets' is not a begin and an end" },
        { "{" T("a", "F32", "[-1]", "[0,4]") "}", 4, VLM_ERR_FORMAT,
          "tensor 'a': a dimension of 'shape' is not a natural number" },
        { "{" T("a", "F32", "[1.0]", "[0,4]") "}", 4, VLM_ERR_FORMAT,
          "tensor 'a': a dimension of 'shape' is not a natural number" },
        { "{" T("a", "F32", "[4294967296,4294967296]", "[0,4]") "}", 4, VLM_ERR_FORMAT,
          "tensor 'a': the size of 'shape' overflows" },
        { "{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, VLM_ERR_LIMIT,
          "tensor 'a': has 9 dimensions, at most 8 can be" },
        { "{" T("a", "F32", "[1]", "[4,0]") "}", 4, VLM_ERR_FORMAT,
          "tensor 'a': 'data_offsets' is not a begin and an end" },
        { "{" T("a", "F32", "[1]", "[0,4,8]") "}", 8, VLM_ERR_FORMAT,
          "tensor 'a': 'data_offsets' is not a begin and an end" },
        { "{" T("a", "F32", "[1]", "[0,18446744073709551615]") "}", 4, VLM_ERR_FORMAT,
          "tensor 'a': 'data_offsets' is not a begin and an end" },
        { "{" T("a", "F32", "[2]", "[0,8]") "}", 4, VLM_ERR_FORMAT,
          "tensor 'a': ends at byte 8 of the data, which has 4 (is the file truncated?)" },
        { "{" T("a", "F32", "[2]", "[0,4]") "}", 4, VLM_ERR_FORMAT,
          "tensor 'a': shape and dtype take 8 bytes, data_offsets 4" },
        { "{" T("a", "U8", "[4]", "[0,4]") "," T("b", "U8", "[4]", "[2,6]") "}", 6, VLM_ERR_FORMAT,
          "tensor 'b': overlaps another tensor" },
        { "{" T("b", "U8", "[4]", "[0,4]") "," T("b2", "U8", "[4]", "[0,4]") "}", 4, VLM_ERR_FORMAT,
          "tensor 'b*': overlaps another tensor" },
        { "{" T("a", "U8", "[4]", "[0,4]") "," T("z", "F32", "[3,0]", "[2,2]") "}", 4, VLM_ERR_FORMAT,
          "tensor 'z': overlaps another tensor" },
        { "{" T("a", "U8", "[4]", "[0,4]") "," T("z", "F32", "[3,0]", "[5,5]") "}", 4, VLM_ERR_FORMAT,
          "tensor 'z': ends at byte 5 of the data, which has 4 (is the file truncated?)" },
        { "{" T("z", "F32", "[9223372036854775807,4,0]", "[0,0]") "}", 0, VLM_ERR_FORMAT,
          "tensor 'z': the size of 'shape' overflows" },
        { "{" T("a", "U8", "[0,9223372036854775808]", "[0,0]") "}", 0, VLM_ERR_FORMAT,
          "tensor 'a': a dimension of 'shape' is not a natural number" },
        { "{" T("a", "U8", "[NaN]", "[0,0]") "}", 0, VLM_ERR_FORMAT,
          "tensor 'a': a dimension of 'shape' is not a natural number" },
        { "{" T("a", "u8", "[2]", "[0,2]") "}", 2, VLM_ERR_UNSUPPORTED,
          "tensor 'a': dtype 'u8' is not supported" },
        { "{" T("a", "F4", "[4]", "[0,2]") "}", 2, VLM_ERR_UNSUPPORTED,
          "tensor 'a': dtype 'F4' is not supported" },
        { "{" T("a", "C64", "[1]", "[0,8]") "}", 8, VLM_ERR_UNSUPPORTED,
          "tensor 'a': dtype 'C64' is not supported" },
        { "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2,
          VLM_ERR_FORMAT, "tensor 'a': 'dtype' comes twice" },
        { "{\"a\":[\"U8\",[2],[0,2]]}", 2, VLM_ERR_FORMAT,
          "tensor 'a': 'dtype' is missing or not a string" },
        { "{\"__metadata__\":{\"a\":\"\xff\"}}", 0, VLM_ERR_PARSE,
          "line 1, column 23: invalid UTF-8" },
        { "\xEF\xBB\xBF{}", 0, VLM_ERR_FORMAT, "the header does not begin with '{'" },
        { "{" T("a", "U8", "[2]", "[0,2]") "," T("b", "U8", "[2]", "[3,5]") "}", 5, VLM_ERR_FORMAT,
          "tensor 'b': there is a hole in the data before it" },
        { "{" T("a", "U8", "[2]", "[1,3]") "}", 3, VLM_ERR_FORMAT,
          "tensor 'a': there is a hole in the data before it" },
        { "{" T("a", "U8", "[2]", "[0,2]") "}", 5, VLM_ERR_FORMAT,
          "3 bytes behind the last tensor" },
        { "{" T("a", "U8", "[2]", "[0,2]") "," T("a", "U8", "[2]", "[0,2]") "}", 2, VLM_ERR_FORMAT,
          "tensor 'a': comes twice" },
        { "{" T("a\\u0000b", "U8", "[2]", "[0,2]") "}", 2, VLM_ERR_FORMAT,
          "tensor 'a': the name contains a NUL" },
        { "{\"__metadata__\":[]}", 0, VLM_ERR_FORMAT,
          "__metadata__ must be an object, is an array" },
        { "{\"__metadata__\":{\"format\":1}}", 0, VLM_ERR_FORMAT,
          "__metadata__.format must be a string, is an integer" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vio_tensors *t;
        vlm_status status = open_header(&t, cases[i].header, cases[i].data);
        char want[300];
        snprintf(want, sizeof want, "m.safetensors: %s", cases[i].message);
        if (status != cases[i].status || fnmatch(want, err.message, FNM_NOESCAPE) != 0)
            fail_msg("case %zu: %s, %s", i, vlm_status_name(status), err.message);
        assert_int_equal(err.code, status);
        assert_string_equal(err.file, "m.safetensors");
        if (!strncmp(cases[i].message, "tensor 'a'", 10)) assert_string_equal(err.field, "a");
    }
}

/* A tensor without data lies on a border between two others, or at an end; any number may be there. */
static void tensors_of_no_size(void **state) {
    (void)state;
    vio_tensors *t;
    static const char *const headers[] = {
        "{" T("z", "F32", "[0,4]", "[0,0]") "," T("a", "U8", "[4]", "[0,4]") "}",
        "{" T("a", "U8", "[4]", "[0,4]") "," T("z", "F32", "[3,0]", "[4,4]") "}",
        "{" T("a", "U8", "[2]", "[0,2]") "," T("b", "U8", "[2]", "[2,4]") ","
            T("z", "F32", "[3,0]", "[2,2]") "}",
        "{" T("z", "F32", "[0,9223372036854775807,4]", "[0,0]") "," T("y", "U8", "[0]", "[0,0]") ","
            T("a", "U8", "[4]", "[0,4]") ",\"__metadata__\":null}",
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        if (open_header(&t, headers[i], 4) < 0) fail_msg("case %zu: %s", i, err.message);
        assert_int_equal(vio_tensors_find(t, "z")->bytes, 0);
        assert_int_equal(vio_tensors_find(t, "a")->data[1], 1);
        vio_tensors_close(t);
    }
}

static void lying_header_length(void **state) {
    (void)state;
    vio_tensors *t;
    static const struct {
        uint64_t length;
        size_t size;
        vlm_status status;
        const char *message;
    } cases[] = {
        { 0, 0, VLM_ERR_FORMAT, "too short" },
        { 0, 7, VLM_ERR_FORMAT, "too short" },
        { 0, 8, VLM_ERR_FORMAT, "does not begin with '{'" },
        { 3, 10, VLM_ERR_FORMAT, "header of 3 bytes in a file of 10 (is it truncated?)" },
        { 100000001, 10, VLM_ERR_LIMIT, "header of 100000001 bytes, the limit is 100000000" },
        { UINT64_MAX, 10, VLM_ERR_LIMIT, "the limit is" },
        { UINT64_MAX - 7, 10, VLM_ERR_LIMIT, "the limit is" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char bytes[10] = { 0 };
        memcpy(bytes, &cases[i].length, 8);
        memcpy(bytes + 8, "{}", 2);
        assert_int_equal(vio_tensors_open_memory(&t, bytes, cases[i].size, "f", NULL, &err),
                         cases[i].status);
        assert_null(t);
        assert_non_null(strstr(err.message, cases[i].message));
    }
    vio_source from = vio_source_of(NULL);
    from.limits.header_bytes = 1;
    assert_int_equal(vio_tensors_open_memory(&t, "\2\0\0\0\0\0\0\0{}", 10, "f", &from, &err),
                     VLM_ERR_LIMIT);
    from.limits.header_bytes = 2;
    assert_int_equal(vio_tensors_open_memory(&t, "\2\0\0\0\0\0\0\0{}", 10, "f", &from, &err),
                     VLM_OK);
    vio_tensors_close(t);
}

/* Every prefix of a good file is refused. */
static void truncated_anywhere(void **state) {
    (void)state;
    vcore_buf b = { 0 };
    vio_tensors *t;
    build(&b, "{" T("a", "U8", "[4]", "[0,4]") "," T("b", "F16", "[2,2]", "[4,12]") "}", 12);
    for (size_t n = 0; n < b.n; n++) {
        char *exact = malloc(n ? n : 1);
        memcpy(exact, b.p, n);
        assert_int_equal(vio_tensors_open_memory(&t, exact, n, "f", NULL, &err), VLM_ERR_FORMAT);
        free(exact);
    }
    assert_int_equal(vio_tensors_open_memory(&t, b.p, b.n, "f", NULL, &err), VLM_OK);
    vio_tensors_close(t);
    vcore_buf_free(&b);
}

static void many_tensors(void **state) {
    (void)state;
    enum { N = 20000 };
    vcore_buf header = { 0 };
    vio_tensors *t;
    for (int i = 0; i < N; i++)
        vcore_buf_printf(&header,
                         "%s\"layer.%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                         i ? "," : "{", i, N - 1 - i, N - i);
    vcore_buf_puts(&header, "}");
    assert_int_equal(open_header(&t, header.p, N), VLM_OK);
    for (int i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof name, "layer.%d", i);
        assert_int_equal(vio_tensors_find(t, name)->data[0], (N - 1 - i) & 0xFF);
    }
    vio_tensors_close(t);
    vcore_buf_free(&header);
}

/* ---- writer ---------------------------------------------------------------------------------- */
static void what_is_written_is_read(void **state) {
    (void)state;
    static const uint8_t bytes[3] = { 1, 2, 3 };
    static const float floats[4] = { 0.5f, -1, 2, 3 };
    static const uint16_t halves[2] = { 0x3C00, 0x4000 };
    const vio_out_tensor out[] = {
        { "u8", VIO_U8, 1, { 3 }, bytes },
        { "f \"quoted\" \xC3\xA9", VIO_F32, 2, { 2, 2 }, floats },
        { "h", VIO_F16, 3, { 1, 2, 1 }, halves },
        { "scalar", VIO_F32, 0, { 0 }, floats },
        { "empty", VIO_I64, 1, { 0 }, NULL },
    };
    vio_tensors *t;
    char *path = vio_join(tdir, "written.safetensors");
    assert_int_equal(vio_safetensors_write(path, out, 5, "mlx", &err), VLM_OK);
    assert_int_equal(vio_tensors_open_file(&t, path, NULL, &err), VLM_OK);
    assert_int_equal(vio_tensors_count(t), 5);
    for (size_t i = 0; i < 5; i++) {
        const vio_tensor *in = vio_tensors_find(t, out[i].name);
        assert_non_null(in);
        assert_int_equal(in->dtype, out[i].dtype);
        assert_int_equal(in->rank, out[i].rank);
        for (int k = 0; k < in->rank; k++) assert_int_equal(in->shape[k], out[i].shape[k]);
        if (in->bytes) assert_memory_equal(in->data, out[i].data, in->bytes);
        assert_int_equal((uintptr_t)in->data % vio_dtype_size(in->dtype), 0);
        assert_true(in->mlx);
    }
    vio_tensors_close(t);
    /* Over an existing file, without metadata, without tensors. */
    assert_int_equal(vio_safetensors_write(path, NULL, 0, NULL, &err), VLM_OK);
    assert_int_equal(vio_tensors_open_file(&t, path, NULL, &err), VLM_OK);
    assert_int_equal(vio_tensors_count(t), 0);
    vio_tensors_close(t);
    vcore_free(path);
}

static void writer_refuses(void **state) {
    (void)state;
    const vio_out_tensor huge = { "a", VIO_F32, 2, { UINT64_MAX / 2, 4 }, NULL };
    const vio_out_tensor deep = { "a", VIO_F32, 9, { 0 }, NULL };
    const vio_out_tensor twice[] = { { "a", VIO_U8, 1, { 1 }, "x" },
                                     { "a", VIO_U8, 1, { 1 }, "x" } };
    char *path = vio_join(tdir, "refused.safetensors");
    assert_int_equal(vio_safetensors_write(path, &huge, 1, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vio_safetensors_write(path, &deep, 1, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vio_safetensors_write(path, twice, 2, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(access(path, F_OK), -1);
    vcore_free(path);
    assert_int_equal(vio_safetensors_write("/does/not/exist/x", twice, 1, NULL, &err),
                     VLM_ERR_NOT_FOUND);
    path = vio_join(tdir, "a-directory");
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(vio_safetensors_write(path, twice, 1, NULL, &err),
                     VLM_ERR_IO); /* rename fails */
    char temporary[700];
    snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    assert_int_equal(access(temporary, F_OK), -1); /* nothing is left behind */
    vcore_free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_views),
        cmocka_unit_test(every_dtype),
        cmocka_unit_test(every_lie_is_refused),
        cmocka_unit_test(tensors_of_no_size),
        cmocka_unit_test(lying_header_length),
        cmocka_unit_test(truncated_anywhere),
        cmocka_unit_test(many_tensors),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(writer_refuses),
    };
    return cmocka_run_group_tests(tests, tdir_make, tdir_remove);
}
