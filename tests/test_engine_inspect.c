/* SPDX-License-Identifier: MIT */
/* vlm_inspect: the form of what it says, what it says of directories that lack things, that it reads headers only,
 * and that the memory it predicts is what a run takes. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/session/session.h"
#include "support/dir.h"

#define GOLDEN "tests/golden/idefics3-split"
#define PICTURE "tests/data/pictures/landscape.jpg"
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static vlm_error err;

/* ---- help ------------------------------------------------------------------------------------------------------ */

/* Removes all files of the directory but these. */
static void keep_only(const char *const *kept, size_t n) {
    DIR *files = opendir(tdir);
    assert_non_null(files);
    for (struct dirent *f; (f = readdir(files));) {
        bool keep = f->d_name[0] == '.';
        for (size_t k = 0; k < n; k++) keep |= !strcmp(f->d_name, kept[k]);
        char *path = tdir_path(f->d_name);
        if (!keep) assert_int_equal(remove(path), 0);
        free(path);
    }
    closedir(files);
}

static vcore_json_doc *inspect_with(const char *where, const vlm_input *input, const vlm_session_options *session) {
    char *json;
    vcore_json_doc *doc;
    err = (vlm_error)VLM_ERROR_INIT;
    if (vlm_inspect(&json, where, NULL, input, session, &err) < 0) fail_msg("%s", err.message);
    if (vcore_json_parse(&doc, json, strlen(json), "inspect", &err) < 0) fail_msg("%s: %s", err.message, json);
    vlm_string_free(json);
    return doc;
}

static vcore_json_doc *inspect(void) {
    return inspect_with(tdir, NULL, NULL);
}

static const vcore_json *at(const vcore_json_doc *doc, const char *path) {
    const vcore_json *v = vcore_json_path(vcore_json_root(doc), path);
    if (!v) fail_msg("there is no %s", path);
    return v;
}

static int64_t number(const vcore_json_doc *doc, const char *path) {
    int64_t n = 0;
    assert_true(vcore_json_int(at(doc, path), &n));
    return n;
}

static bool truth(const vcore_json_doc *doc, const char *path) {
    bool b = false;
    assert_true(vcore_json_bool(at(doc, path), &b));
    return b;
}

static void assert_text(const vcore_json *v, const char *want) {
    vcore_str s = { "", 0 };
    if (!vcore_json_string(v, &s) || s.n != strlen(want) || memcmp(s.p, want, s.n))
        fail_msg("'%.*s' instead of '%s'", (int)s.n, s.p, want);
}

static void assert_null_at(const vcore_json_doc *doc, const char *path) {
    assert_int_equal(vcore_json_kind_of(at(doc, path)), VCORE_JSON_NULL);
}

static vlm_input *picture_input(size_t pictures) {
    vlm_input *in;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    for (size_t i = 0; i < pictures; i++) assert_int_equal(vlm_input_add_image_file(in, PICTURE, &err), VLM_OK);
    assert_int_equal(vlm_input_add_message(in, "user", "What is this, and what is that?", &err), VLM_OK);
    return in;
}

/* ---- the form ------------------------------------------------------------------------------------------------------ */

typedef struct member {
    const char *key;
    vcore_json_kind kind;
} member;

static void assert_members(const vcore_json *object, const member *want, size_t n) {
    vcore_json_iter it = { 0 };
    for (size_t i = 0; i < n; i++) {
        if (!vcore_json_next(object, &it)) fail_msg("%s is missing", want[i].key);
        if (!vcore_str_eq(it.key, vcore_str_of(want[i].key)) || vcore_json_kind_of(it.value) != want[i].kind)
            fail_msg("%.*s, %s, instead of %s", (int)it.key.n, it.key.p, vcore_json_kind_name(it.value), want[i].key);
    }
    assert_false(vcore_json_next(object, &it));
}

static const member form[] = {
    { "model_type", VCORE_JSON_STRING },       { "maps_to", VCORE_JSON_STRING },
    { "processor_class", VCORE_JSON_STRING },  { "processor_file", VCORE_JSON_STRING },
    { "has_weights", VCORE_JSON_BOOL },        { "has_tokenizer", VCORE_JSON_BOOL },
    { "has_chat_template", VCORE_JSON_BOOL },  { "message_format", VCORE_JSON_STRING },
    { "dtypes", VCORE_JSON_OBJECT },
    { "modules", VCORE_JSON_OBJECT },          { "quantization", VCORE_JSON_NULL },
    { "quantized_modules", VCORE_JSON_ARRAY }, { "parameters", VCORE_JSON_INT },
    { "parameters_from", VCORE_JSON_STRING },  { "weight_bytes", VCORE_JSON_INT },
    { "computed_bytes", VCORE_JSON_INT },      { "layers", VCORE_JSON_INT },
    { "vocab_size", VCORE_JSON_INT },          { "missing_file", VCORE_JSON_NULL },
    { "missing", VCORE_JSON_ARRAY },           { "unused", VCORE_JSON_ARRAY },
    { "eos", VCORE_JSON_ARRAY },               { "prompt_tokens", VCORE_JSON_INT },
    { "image_tokens", VCORE_JSON_INT },        { "memory", VCORE_JSON_OBJECT },
    { "pictures_bytes", VCORE_JSON_INT },      { "peak_bytes", VCORE_JSON_INT },
};
enum { WITHOUT_INPUT = 22 }; /* members of it */

static const member memory_form[] = {
    { "weights_bytes", VCORE_JSON_INT }, { "computed_bytes", VCORE_JSON_INT },    { "tokenizer_bytes", VCORE_JSON_INT },
    { "input_bytes", VCORE_JSON_INT },   { "kv_bytes", VCORE_JSON_INT },          { "temporaries_bytes", VCORE_JSON_INT },
    { "scratch_bytes", VCORE_JSON_INT }, { "logits_bytes", VCORE_JSON_INT },
};

static void the_form_of_what_it_says(void **state) {
    (void)state;
    vcore_json_doc *doc = inspect();
    assert_members(vcore_json_root(doc), form, WITHOUT_INPUT);
    vcore_json_free(doc);
    vlm_input *in = picture_input(2);
    doc = inspect_with(tdir, in, NULL);
    assert_members(vcore_json_root(doc), form, COUNT(form));
    assert_members(at(doc, "memory"), memory_form, COUNT(memory_form));
    int64_t sum = 0, part;
    for (vcore_json_iter it = { 0 }; vcore_json_next(at(doc, "memory"), &it); sum += part)
        assert_true(vcore_json_int(it.value, &part));
    assert_int_equal(sum, number(doc, "peak_bytes"));
    assert_int_equal(number(doc, "pictures_bytes"), 2 * 1500 * 1000 * 3);
    assert_text(at(doc, "model_type"), "idefics3");
    assert_text(at(doc, "maps_to"), "idefics3");
    assert_text(at(doc, "processor_class"), "Idefics3Processor");
    assert_text(at(doc, "processor_file"), "preprocessor_config.json");
    assert_text(at(doc, "parameters_from"), "weights");
    assert_int_equal(number(doc, "parameters"), 273744);
    const vcore_json *eos = vcore_json_at(at(doc, "eos"), 0);
    static const member eos_form[] = { { "id", VCORE_JSON_INT }, { "token", VCORE_JSON_STRING }, { "source", VCORE_JSON_STRING } };
    assert_members(eos, eos_form, COUNT(eos_form));
    assert_text(vcore_json_get(eos, "token"), "<end_of_utterance>");
    assert_text(vcore_json_get(eos, "source"), "generation_config.json");
    vcore_json_free(doc);
    vlm_input_free(in);
}

/* Bytes of the modules are those of the whole, by dtype. */
static void modules_add_up(void **state) {
    (void)state;
    vcore_json_doc *doc = inspect();
    int64_t sum = 0, bytes;
    for (vcore_json_iter it = { 0 }; vcore_json_next(at(doc, "modules"), &it); sum += bytes)
        assert_true(vcore_json_int(vcore_json_get(it.value, "F32"), &bytes));
    assert_int_equal(sum, number(doc, "dtypes.F32"));
    assert_int_equal(sum, number(doc, "weight_bytes"));
    assert_int_equal(vcore_json_count(at(doc, "modules")), 4);
    vcore_json_free(doc);
}

/* ---- what is not there ---------------------------------------------------------------------------------------------- */

static void a_config_alone(void **state) {
    (void)state;
    vcore_json_doc *whole = inspect();
    static const char *const kept[] = { "config.json" };
    keep_only(kept, 1);
    vcore_json_doc *doc = inspect();
    assert_text(at(doc, "model_type"), "idefics3");
    assert_text(at(doc, "maps_to"), "idefics3");
    assert_null_at(doc, "processor_class");
    assert_null_at(doc, "processor_file");
    assert_false(truth(doc, "has_weights"));
    assert_false(truth(doc, "has_tokenizer"));
    assert_false(truth(doc, "has_chat_template"));
    assert_null_at(doc, "missing");
    assert_null_at(doc, "unused");
    assert_int_equal(vcore_json_count(at(doc, "dtypes")), 0);
    assert_text(at(doc, "parameters_from"), "config.json");
    assert_int_equal(number(doc, "parameters"), number(whole, "parameters"));
    assert_int_equal(number(doc, "layers"), number(whole, "layers"));
    assert_int_equal(number(doc, "vocab_size"), number(whole, "vocab_size"));
    vcore_json_free(doc);
    vcore_json_free(whole);
}

/* Tokens that have only an id are still end tokens. */
static void end_tokens_without_a_tokenizer(void **state) {
    (void)state;
    static const char *const kept[] = { "config.json", "generation_config.json" };
    keep_only(kept, 2);
    vcore_json_doc *doc = inspect();
    const vcore_json *eos = vcore_json_at(at(doc, "eos"), 0);
    int64_t id;
    assert_true(vcore_json_int(vcore_json_get(eos, "id"), &id));
    assert_int_equal(id, 521);
    assert_int_equal(vcore_json_kind_of(vcore_json_get(eos, "token")), VCORE_JSON_NULL);
    assert_text(vcore_json_get(eos, "source"), "generation_config.json");
    vcore_json_free(doc);
}

/* config.json, saying that weights are quantized. */
static void say_quantized(void) {
    char *path = tdir_path("config.json");
    vio_bytes text;
    assert_int_equal(vio_read(&text, path, 1 << 20, NULL, &err), VLM_OK);
    vcore_buf b = { 0 };
    vcore_buf_puts(&b, "{\"quantization\": {\"group_size\": 64, \"bits\": 4},");
    vcore_buf_puts(&b, strchr(text.p, '{') + 1);
    tdir_put("config.json", b.p);
    vcore_free(text.p);
    vcore_buf_free(&b);
    free(path);
}

#define PACKED "model.text_model.layers.0.self_attn.o_proj"

/* The checkpoint with one matrix, [64, 64], stored as MLX quantizes it. */
static void pack_one(void) {
    static uint32_t words[64 * 8];
    static float ones[64];
    static const char *const names[] = { PACKED ".weight", PACKED ".scales", PACKED ".biases" };
    char *path = tdir_path("model.safetensors");
    vio_tensors *t;
    assert_int_equal(vio_tensors_open_file(&t, path, NULL, &err), VLM_OK);
    size_t n = vio_tensors_count(t), count = 0;
    vio_out_tensor *out = calloc(n + 2, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        const vio_tensor *x = vio_tensors_at(t, i);
        if (!strcmp(x->name, names[0])) continue;
        out[count] = (vio_out_tensor) { x->name, x->dtype, x->rank, { 0 }, x->data };
        memcpy(out[count++].shape, x->shape, sizeof x->shape);
    }
    assert_int_equal(count, n - 1);
    out[count++] = (vio_out_tensor) { names[0], VIO_U32, 2, { 64, 8 }, words };
    for (int i = 1; i < 3; i++) out[count++] = (vio_out_tensor) { names[i], VIO_F32, 2, { 64, 1 }, ones };
    assert_int_equal(vio_safetensors_write(path, out, count, "pt", &err), VLM_OK);
    vio_tensors_close(t);
    free(out);
    free(path);
}

static void quantized_modules_are_listed(void **state) {
    (void)state;
    vcore_json_doc *before = inspect();
    pack_one();
    say_quantized();
    vcore_json_doc *doc = inspect();
    const vcore_json *all = at(doc, "quantized_modules"), *one = vcore_json_at(all, 0);
    static const member members[] = { { "mode", VCORE_JSON_STRING }, { "bits", VCORE_JSON_INT }, { "group_size", VCORE_JSON_INT },
                                      { "dense", VCORE_JSON_BOOL },  { "names", VCORE_JSON_ARRAY } };
    assert_int_equal(vcore_json_count(all), 1);
    assert_members(one, members, COUNT(members));
    assert_text(vcore_json_get(one, "mode"), "affine");
    assert_int_equal(vcore_json_count(vcore_json_get(one, "names")), 1);
    assert_text(vcore_json_at(vcore_json_get(one, "names"), 0), PACKED);
    assert_int_equal(number(doc, "dtypes.U32"), 64 * 8 * 4);
    assert_int_equal(number(doc, "parameters"), number(before, "parameters"));
    assert_int_equal(number(before, "weight_bytes") - number(doc, "weight_bytes"), 64 * 64 * 4 - 64 * 8 * 4 - 2 * 64 * 4);
    vcore_json_free(before);
    vcore_json_free(doc);
}

static void quantization_by_the_config(void **state) {
    (void)state;
    static const char *const kept[] = { "config.json" };
    keep_only(kept, 1);
    say_quantized();
    vcore_json_doc *doc = inspect();
    assert_text(at(doc, "quantization.method"), "mlx");
    assert_text(at(doc, "quantization.mode"), "affine");
    assert_int_equal(number(doc, "quantization.bits"), 4);
    assert_int_equal(number(doc, "quantization.group_size"), 64);
    vcore_json_free(doc);
}

static void refused(const vlm_input *input, vlm_status status, const char *a, const char *b) {
    char *json;
    err = (vlm_error)VLM_ERROR_INIT;
    assert_int_equal(vlm_inspect(&json, tdir, NULL, input, NULL, &err), status);
    assert_null(json);
    if (!strstr(err.message, a) || !strstr(err.message, b) || strchr(err.message, '\n')) fail_msg("%s", err.message);
}

/* A prediction runs the processor and the tokenizer; without them there is none, and it says why. */
static void no_prediction_without_the_parts_it_needs(void **state) {
    (void)state;
    static const char *const kept[] = { "config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json" };
    vlm_input *in = picture_input(1);
    keep_only(kept, 4);
    refused(in, VLM_ERR_NOT_FOUND, tdir, "weights");
    keep_only(kept, 3);
    refused(in, VLM_ERR_NOT_FOUND, tdir, "tokenizer.json");
    vcore_json_free(inspect());
    vlm_input_free(in);
}

static void an_unknown_type_is_named(void **state) {
    (void)state;
    static const char *const kept[] = { "config.json" };
    keep_only(kept, 1);
    tdir_put("config.json", "{\"model_type\": \"idefics4\"}");
    refused(NULL, VLM_ERR_UNKNOWN_MODEL_TYPE, "'idefics4'", "idefics3");
    tdir_put("config.json", "{\"model_type\": \"zoot\"}");
    refused(NULL, VLM_ERR_UNKNOWN_MODEL_TYPE, "'zoot'", "config.json");
}

/* ---- headers only --------------------------------------------------------------------------------------------------- */

/* A file with the header of the checkpoint's and one tensor more, its data a hole of this many bytes and those. */
static void make_sparse(uint64_t more) {
    char *path = tdir_path("model.safetensors");
    vio_tensors *t;
    assert_int_equal(vio_tensors_open_file(&t, path, NULL, &err), VLM_OK);
    vcore_buf b = { 0 };
    uint64_t begin = 0;
    vcore_json_open(&b, NULL, '{');
    for (size_t i = 0; i <= vio_tensors_count(t); i++) {
        bool last = i == vio_tensors_count(t);
        const vio_tensor *x = last ? NULL : vio_tensors_at(t, i);
        uint64_t bytes = last ? more : x->bytes;
        vcore_json_open(&b, last ? "surplus" : x->name, '{');
        vcore_json_put_text(&b, "dtype", last ? "U8" : vio_dtype_name(x->dtype));
        vcore_json_open(&b, "shape", '[');
        for (int k = 0; k < (last ? 1 : x->rank); k++) vcore_json_put_uint(&b, NULL, last ? more : x->shape[k]);
        vcore_json_close(&b, ']');
        vcore_json_open(&b, "data_offsets", '[');
        vcore_json_put_uint(&b, NULL, begin);
        vcore_json_put_uint(&b, NULL, begin += bytes);
        vcore_json_close(&b, ']');
        vcore_json_close(&b, '}');
    }
    vcore_json_close(&b, '}');
    vio_tensors_close(t);
    uint64_t length = b.n;
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, &length, 8), 8);
    assert_int_equal(write(fd, b.p, b.n), (ssize_t)b.n);
    assert_int_equal(ftruncate(fd, (off_t)(8 + length + begin)), 0);
    assert_int_equal(close(fd), 0);
    vcore_buf_free(&b);
    free(path);
}

/* Bytes of a file that are in the page cache. */
static uint64_t cached_bytes(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    size_t size = (size_t)st.st_size, page = (size_t)sysconf(_SC_PAGESIZE), pages = (size + page - 1) / page, n = 0;
    void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    unsigned char *present = malloc(pages);
    assert_int_equal(mincore(map, size, present), 0);
    for (size_t i = 0; i < pages; i++) n += present[i] & 1;
    free(present);
    munmap(map, size);
    close(fd);
    return (uint64_t)n * page;
}

/* Fifty gigabytes that nobody has: reading them would fill the memory. */
static void no_weight_is_read(void **state) {
    (void)state;
    const uint64_t size = 50000000000;
    make_sparse(size);
    char *path = tdir_path("model.safetensors");
    uint64_t before = cached_bytes(path);
    vlm_input *in = picture_input(1);
    vcore_json_doc *doc = inspect_with(tdir, in, NULL);
    assert_int_equal(vcore_json_count(at(doc, "unused")), 1);
    assert_text(vcore_json_at(at(doc, "unused"), 0), "surplus");
    assert_int_equal(vcore_json_count(at(doc, "missing")), 0);
    assert_int_equal(number(doc, "dtypes.U8"), size);
    assert_int_equal(number(doc, "parameters"), 273744);
    uint64_t read = cached_bytes(path) - before; /* what the system reads ahead of the header's end */
    if (read > 1 << 20) fail_msg("%llu bytes were read", (unsigned long long)read);
    vcore_json_free(doc);
    vlm_input_free(in);
    free(path);
}

enum { SHARDS = 100 };

static char *shard_path(int k) {
    char name[64];
    snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", k + 1, SHARDS);
    return tdir_path(name);
}

/* The checkpoint's tensors dealt out to a hundred files, each with one more that no part of the model names. */
static void make_shards(void) {
    char *path = tdir_path("model.safetensors");
    vio_tensors *t;
    assert_int_equal(vio_tensors_open_file(&t, path, NULL, &err), VLM_OK);
    size_t n = vio_tensors_count(t), most = n / SHARDS + 2;
    for (size_t k = 0; k < SHARDS; k++) {
        char surplus[32];
        float zero = 0;
        vio_out_tensor out[8] = { { surplus, VIO_F32, 1, { 1 }, &zero } };
        size_t count = 1;
        assert_true(most <= COUNT(out));
        snprintf(surplus, sizeof surplus, "surplus.%zu", k);
        for (size_t i = k; i < n; i += SHARDS) {
            const vio_tensor *x = vio_tensors_at(t, i);
            out[count] = (vio_out_tensor) { x->name, x->dtype, x->rank, { 0 }, x->data };
            memcpy(out[count++].shape, x->shape, sizeof x->shape);
        }
        char *to = shard_path((int)k);
        assert_int_equal(vio_safetensors_write(to, out, count, "pt", &err), VLM_OK);
        free(to);
    }
    vio_tensors_close(t);
    assert_int_equal(remove(path), 0);
    free(path);
}

static void count_open(void *user, const char *path) {
    size_t n = strlen(path);
    *(int *)user += n > 12 && !strcmp(path + n - 12, ".safetensors");
}

/* Each opened once, all tensors found; with one gone, its tensors are missing, all of them named. */
static void a_hundred_shards(void **state) {
    (void)state;
    vcore_json_doc *whole = inspect();
    make_shards();
    int opened = 0;
    vlm_load_options load = VLM_LOAD_OPTIONS_INIT;
    load.opened = count_open;
    load.opened_user = &opened;
    char *json;
    assert_int_equal(vlm_inspect(&json, tdir, &load, NULL, NULL, &err), VLM_OK);
    vlm_string_free(json);
    assert_int_equal(opened, SHARDS);
    vcore_json_doc *doc = inspect();
    assert_int_equal(number(doc, "weight_bytes"), number(whole, "weight_bytes"));
    assert_int_equal(vcore_json_count(at(doc, "missing")), 0);
    assert_int_equal(vcore_json_count(at(doc, "unused")), SHARDS);
    vcore_json_free(doc);
    char *path = shard_path(2);
    assert_int_equal(remove(path), 0);
    doc = inspect();
    assert_text(at(doc, "missing_file"), path);
    assert_int_equal(vcore_json_count(at(doc, "missing")), 1);
    assert_int_equal(vcore_json_count(at(doc, "unused")), SHARDS - 1);
    assert_true(number(doc, "weight_bytes") < number(whole, "weight_bytes"));
    vcore_json_free(doc);
    vcore_json_free(whole);
    free(path);
}

/* ---- memory ---------------------------------------------------------------------------------------------------------- */

/* The dry run takes what a run takes, byte by byte, in every family. */
static void memory_is_that_of_a_run(void **state) {
    static const char *const families[] = { "tests/golden/idefics3-split", "tests/golden/paligemma2-gemma2",
                                            "tests/golden/qwen2_5_vl-untied" };
    (void)state;
    for (size_t i = 0; i < COUNT(families); i++) {
        char *other = tcheckpoint_temp_dir();
        assert_true(tcheckpoint_write(families[i], other, NULL));
        vlm_input *in = picture_input(1);
        vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
        o.max_tokens = 7;
        o.prefill_step = 23;
        o.kv_bits = i == 0 ? 8 : i == 1 ? 4 : 0;
        vcore_json_doc *doc = inspect_with(other, in, &o);
        vlm_context *c;
        vlm_prepared *prepared;
        vlm_session *s;
        assert_int_equal(vlm_context_load(&c, other, NULL, &err), VLM_OK);
        assert_int_equal(vlm_prepare(&prepared, c, in, &err), VLM_OK);
        assert_int_equal(vlm_session_new(&s, c, &o, &err), VLM_OK);
        assert_int_equal(vlm_session_feed(s, prepared, &err), VLM_OK);
        vlm_session_stats stats;
        vlm_session_get_stats(s, &stats);
        assert_int_equal(number(doc, "memory.kv_bytes"), stats.kv_bytes);
        assert_int_equal(number(doc, "memory.temporaries_bytes"), vengine_session_temporaries(s));
        assert_int_equal(number(doc, "memory.scratch_bytes"), vtensor_backend_scratch(c->backend));
        assert_int_equal(number(doc, "memory.tokenizer_bytes"), vtext_tokenizer_bytes(c->tokenizer));
        assert_int_equal(number(doc, "computed_bytes"), vlm_context_get_info(c)->computed_bytes);
        assert_int_equal(number(doc, "prompt_tokens"), stats.prompt_tokens);
        assert_int_equal(number(doc, "image_tokens"), stats.media_tokens);
        vlm_session_free(s);
        vlm_prepared_free(prepared);
        vlm_context_free(c);
        vcore_json_free(doc);
        vlm_input_free(in);
        tcheckpoint_remove(other);
        free(other);
    }
}

/* Weights are counted where they are read: the tower only with a picture, the tables of embeddings by rows. */
static void weights_that_are_read(void **state) {
    (void)state;
    vlm_input *none = picture_input(0), *one = picture_input(1);
    vcore_json_doc *text = inspect_with(tdir, none, NULL), *picture = inspect_with(tdir, one, NULL);
    int64_t file = number(text, "weight_bytes");
    assert_true(number(text, "memory.weights_bytes") < file);
    assert_in_range(number(picture, "memory.weights_bytes"), (uint64_t)file, (uint64_t)file + 2 * 65536);
    vcore_json_free(text);
    vcore_json_free(picture);
    vlm_input_free(none);
    vlm_input_free(one);
}

/* Experts are read as far as rows can meet them, those of tokens to come too; a step through the prompt is no
 * prompt of its own. */
static void experts_that_are_met(void **state) {
    (void)state;
    static const char *const layers[] = { "0", "1", "3" };
    EDIT(SET("config.json", "text_config/num_experts", "512"));
    EDIT(SET("config.json", "text_config/num_experts_per_tok", "1"));
    for (int i = 0; i < 3; i++) {
        static const char *const parts[][2] = { { "gate.weight", "F32 512 60" },
                                                { "experts.gate_up_proj", "F32 512 48 60" },
                                                { "experts.down_proj", "F32 512 60 24" } };
        for (int k = 0; k < 3; k++) {
            char name[100];
            snprintf(name, sizeof name, "model.language_model.layers.%s.mlp.%s", layers[i], parts[k][0]);
            EDIT(TENSOR("model.safetensors", name, parts[k][1]));
        }
    }
    vlm_input *in = picture_input(0);
    vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
    int64_t bytes[5];
    static const struct {
        uint32_t max_tokens, step;
    } runs[] = { { 1, 512 }, { 1, 4 }, { 9, 512 }, { 600, 512 }, { 1200, 512 } };
    for (int i = 0; i < 5; i++) {
        o.max_tokens = runs[i].max_tokens;
        o.prefill_step = runs[i].step;
        vcore_json_doc *doc = inspect_with(tdir, in, &o);
        bytes[i] = number(doc, "memory.weights_bytes");
        if (i == 0) assert_true(number(doc, "prompt_tokens") < 60);
        if (i == 4) assert_true(bytes[4] >= 3 * 512 * (48 * 60 + 60 * 24) * 4);
        vcore_json_free(doc);
    }
    assert_true(bytes[0] < bytes[4] / 2);
    assert_int_equal(bytes[1], bytes[0]);
    assert_true(bytes[2] > bytes[0]);
    assert_int_equal(bytes[3], bytes[4]);
    vlm_input_free(in);
}

/* MLX's layout of convolutions is turned by the load: those weights are held twice, and inspect turns nothing. */
static void weights_that_the_load_copies(void **state) {
    (void)state;
    const tcheckpoint_options options = { .names = TCHECKPOINT_MLX };
    assert_true(tcheckpoint_write(GOLDEN, tdir, &options));
    vlm_input *in = picture_input(1);
    vcore_json_doc *doc = inspect_with(tdir, in, NULL);
    assert_true(number(doc, "memory.computed_bytes") > 0);
    assert_int_equal(number(doc, "memory.computed_bytes"), number(doc, "computed_bytes"));
    assert_true(number(doc, "memory.weights_bytes") >= number(doc, "weight_bytes"));
    vcore_json_free(doc);
    vlm_input_free(in);
}

static void memory_follows_the_options(void **state) {
    (void)state;
    vlm_input *in = picture_input(2);
    vlm_session_options small = VLM_SESSION_OPTIONS_INIT, room = VLM_SESSION_OPTIONS_INIT;
    small.prefill_step = 8;
    small.max_tokens = 1;
    room.context = 4096;
    vcore_json_doc *a = inspect_with(tdir, in, NULL), *b = inspect_with(tdir, in, &small),
                   *c = inspect_with(tdir, in, &room);
    int64_t tokens = number(a, "prompt_tokens"), kv = number(b, "memory.kv_bytes");
    assert_int_equal(kv % (tokens + 1), 0);
    assert_int_equal(number(a, "memory.kv_bytes"), kv / (tokens + 1) * (tokens + 256));
    assert_int_equal(number(c, "memory.kv_bytes"), kv / (tokens + 1) * 4096);
    assert_true(number(b, "memory.temporaries_bytes") <= number(a, "memory.temporaries_bytes"));
    vcore_json_free(a);
    vcore_json_free(b);
    vcore_json_free(c);
    vlm_input_free(in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TDIR_TEST(the_form_of_what_it_says, GOLDEN),
        TDIR_TEST(modules_add_up, GOLDEN),
        TDIR_TEST(a_config_alone, GOLDEN),
        TDIR_TEST(end_tokens_without_a_tokenizer, GOLDEN),
        TDIR_TEST(quantization_by_the_config, GOLDEN),
        TDIR_TEST(quantized_modules_are_listed, GOLDEN),
        TDIR_TEST(no_prediction_without_the_parts_it_needs, GOLDEN),
        TDIR_TEST(an_unknown_type_is_named, GOLDEN),
        TDIR_TEST(no_weight_is_read, GOLDEN),
        TDIR_TEST(a_hundred_shards, GOLDEN),
        TDIR_TEST(memory_is_that_of_a_run, GOLDEN),
        TDIR_TEST(weights_that_are_read, GOLDEN),
        TDIR_TEST(experts_that_are_met, "tests/golden/qwen3_vl_moe"),
        TDIR_TEST(weights_that_the_load_copies, GOLDEN),
        TDIR_TEST(memory_follows_the_options, GOLDEN),
    };
    return cmocka_run_group_tests_name("inspect", tests, NULL, NULL);
}
