/* SPDX-License-Identifier: MIT */
/* The processor config: which file names the class, case by case; both bodies carried; what is asked
 * when neither names one; transformers 5's single file. From memory and from a directory. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "support/dir.h"
#include "vlm/extend.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define PRE "preprocessor_config.json"
#define PROC "processor_config.json"
#define VIDEO "video_preprocessor_config.json"
#define TOK "tokenizer_config.json"

static vlm_error err;
static char logged[1000], told[1000];
static int log_lines;

static void take_line(void *user, vlm_log_level level, const char *line) {
    (void)user;
    (void)level;
    log_lines++;
    snprintf(logged, sizeof logged, "%s", line);
}

static void note(void *user, const char *path) {
    (void)user;
    size_t used = strlen(told);
    snprintf(told + used, sizeof told - used, "%s\n", strrchr(path, '/') + 1);
}

static vlm_load_options listening(void) {
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.log = take_line;
    o.opened = note;
    log_lines = 0;
    told[0] = 0;
    return o;
}

/* One row: the files there are, what comes of them. */
typedef struct layout {
    const char *pre, *proc, *tok; /* NULL: absent */
    const char *default_class;
    vlm_status status;
    const char *class_name, *named_by, *file; /* of a success */
    const char *says, *at;                    /* of a failure: in the message; the file in its data */
} layout;

static void check(const layout *l, vlm_status status, const vlm_processor_config *c) {
    if (status != l->status) fail_msg("%s | %s | %s: %s: %s", l->pre, l->proc, l->tok, vlm_status_name(status), err.message);
    assert_int_equal(status < 0, c == NULL);
    if (status < 0) {
        if (!strstr(err.message, l->says)) fail_msg("wanted '%s': %s", l->says, err.message);
        const char *slash = strrchr(err.file, '/');
        assert_string_equal(slash ? slash + 1 : err.file, l->at);
        return;
    }
    assert_string_equal(vlm_processor_config_class(c), l->class_name);
    assert_string_equal(vlm_processor_config_named_by(c), l->named_by);
    assert_string_equal(vlm_processor_config_file(c), l->file);
    const struct {
        const char *name, *text;
    } bodies[] = { { PRE, l->pre }, { PROC, l->proc } };
    for (size_t i = 0; i < 2; i++) { /* a body for each file that is there, byte for byte */
        size_t bytes;
        const char *text = vlm_processor_config_text(c, bodies[i].name, &bytes);
        assert_int_equal(text != NULL, bodies[i].text != NULL);
        assert_int_equal(bytes, bodies[i].text ? strlen(bodies[i].text) : 0);
        if (text) assert_string_equal(text, bodies[i].text);
    }
}

/* Both ways of reading give the same. */
static void expect(const layout *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const layout *l = &rows[i];
        vlm_processor_config *c = (void *)1;
        const vlm_config_text texts[] = {
            { PRE, l->pre, l->pre ? strlen(l->pre) : 0 },
            { "in/memory/" PROC, l->proc, l->proc ? strlen(l->proc) : 0 },
            { TOK, l->tok, l->tok ? strlen(l->tok) : 0 },
        };
        err = (vlm_error)VLM_ERROR_INIT;
        vlm_status status = vlm_processor_config_parse(&c, texts, 3, l->default_class, NULL, &err);
        check(l, status, c);
        vlm_processor_config_free(c);
        tdir_put(PRE, l->pre);
        tdir_put(PROC, l->proc);
        tdir_put(TOK, l->tok);
        const vlm_load_options o = listening();
        status = vlm_processor_config_load(&c, tdir, l->default_class, &o, &err);
        check(l, status, c);
        vlm_processor_config_free(c);
        for (const char *p = told; *p; p = strchr(p, '\n') + 1) { /* no file twice */
            char line[100];
            snprintf(line, sizeof line, "%.*s", (int)(strchr(p, '\n') - p + 1), p);
            for (const char *again = strstr(told, line); again; again = strstr(again + 1, line))
                if (again != p && (again == told || again[-1] == '\n')) fail_msg("twice: %s", line);
        }
    }
}

/* ---- the seed's cases ------------------------------------------------------------------------ */

static void the_preferred_file_is_absent(void **state) {
    (void)state;
    static const layout rows[] = {
        { NULL, "{\"processor_class\": \"P\"}", NULL, NULL, VLM_OK, "P", PROC, PROC, NULL, NULL },
        { NULL, NULL, NULL, NULL, VLM_ERR_NOT_FOUND, NULL, NULL, NULL, PROC ": no such file, nor is there a " PRE, PROC },
        { NULL, NULL, "{\"processor_class\": \"T\"}", "D", VLM_ERR_NOT_FOUND, NULL, NULL, NULL, PROC ": no such file", PROC },
        { NULL, "{", NULL, "D", VLM_ERR_PARSE, NULL, NULL, NULL, PROC ": line 1, column 2", PROC },
        { NULL, "[]", NULL, "D", VLM_ERR_FORMAT, NULL, NULL, NULL, PROC ": must hold an object", PROC },
        { NULL, "{\"processor_class\": 5}", NULL, "D", VLM_ERR_CONFIG, NULL, NULL, NULL, PROC ": processor_class: must be a string, is an integer", PROC },
        { NULL, "{}", NULL, NULL, VLM_ERR_MISSING_FIELD, NULL, NULL, NULL, PROC ": processor_class: is missing, and neither " PRE " nor " TOK, PROC },
    };
    expect(rows, COUNT(rows));
    assert_string_equal(err.field, "processor_class");
}

static void the_preferred_file_names_the_class(void **state) {
    (void)state;
    static const char named[] = "{\"processor_class\": \"A\", \"image_mean\": [0.5]}";
    static const layout rows[] = {
        { named, NULL, NULL, NULL, VLM_OK, "A", PRE, PRE, NULL, NULL },
        { named, "{\"processor_class\": \"B\"}", NULL, NULL, VLM_OK, "A", PRE, PRE, NULL, NULL },
        { named, "{\"processor_class\": 7}", NULL, NULL, VLM_OK, "A", PRE, PRE, NULL, NULL },
        { named, "not JSON", NULL, NULL, VLM_OK, "A", PRE, PRE, NULL, NULL }, /* unparsed */
        { named, "", NULL, NULL, VLM_OK, "A", PRE, PRE, NULL, NULL },
        { named, "{\"x\": 1}", "not JSON", "D", VLM_OK, "A", PRE, PRE, NULL, NULL }, /* nor opened */
        { "{\"processor_class\": \"\"}", NULL, NULL, "D", VLM_OK, "", PRE, PRE, NULL, NULL },
        { "{\"processor_class\": \"NoSuch_processor \"}", NULL, NULL, NULL, VLM_OK, "NoSuch_processor ", PRE, PRE, NULL, NULL },
        { "{\"processor_class\": \"A\", \"processor_class\": \"Z\"}", NULL, NULL, NULL, VLM_OK, "Z", PRE, PRE, NULL, NULL },
        { named, "\"\xFF\"", NULL, NULL, VLM_ERR_ENCODING, NULL, NULL, NULL, PROC ": is not UTF-8 text", PROC },
    };
    expect(rows, COUNT(rows));
}

static void a_preferred_file_of_no_use_is_an_error_even_if_the_other_is_good(void **state) {
    (void)state;
    static const char good[] = "{\"processor_class\": \"B\"}";
    static const layout rows[] = {
        { "not JSON", good, NULL, "D", VLM_ERR_PARSE, NULL, NULL, NULL, PRE ": line 1, column 1", PRE },
        { "", good, NULL, "D", VLM_ERR_PARSE, NULL, NULL, NULL, PRE ": line 1, column 1", PRE },
        { "\"A\"", good, NULL, "D", VLM_ERR_FORMAT, NULL, NULL, NULL, PRE ": must hold an object, holds a string", PRE },
        { "{\"processor_class\": 5}", good, NULL, "D", VLM_ERR_CONFIG, NULL, NULL, NULL, PRE ": processor_class: must be a string, is an integer", PRE },
        { "{\"processor_class\": [\"A\"]}", good, NULL, "D", VLM_ERR_CONFIG, NULL, NULL, NULL, "must be a string, is an array", PRE },
        { "{\"processor_class\": \"A\\u0000\"}", good, NULL, "D", VLM_ERR_CONFIG, NULL, NULL, NULL, "must be a name, holds a NUL", PRE },
        { "{\"x\": \"\xC3\"}", good, NULL, "D", VLM_ERR_ENCODING, NULL, NULL, NULL, PRE ": is not UTF-8 text", PRE },
    };
    expect(rows, COUNT(rows));
}

/* The image processor's file alone says nothing of the class: the other does. Absent and null are the
 * same, a wrong type is not. */
static void the_preferred_file_leaves_the_class_open(void **state) {
    (void)state;
    static const char image[] = "{\"image_mean\": [0.5]}", null[] = "{\"processor_class\": null}";
    static const layout rows[] = {
        { image, "{\"processor_class\": \"B\"}", NULL, NULL, VLM_OK, "B", PROC, PRE, NULL, NULL },
        { null, "{\"processor_class\": \"B\"}", NULL, NULL, VLM_OK, "B", PROC, PRE, NULL, NULL },
        { image, "{\"processor_class\": \"B\"}", "not JSON", "D", VLM_OK, "B", PROC, PRE, NULL, NULL },
        { image, "not JSON", NULL, "D", VLM_ERR_PARSE, NULL, NULL, NULL, PROC ": line 1, column 1", PROC },
        { image, "[]", NULL, "D", VLM_ERR_FORMAT, NULL, NULL, NULL, PROC ": must hold an object", PROC },
        { image, "{\"processor_class\": true}", NULL, "D", VLM_ERR_CONFIG, NULL, NULL, NULL, PROC ": processor_class: must be a string", PROC },
        { image, NULL, NULL, NULL, VLM_ERR_MISSING_FIELD, NULL, NULL, NULL, PRE ": processor_class: is missing, and neither " PROC " nor " TOK, PRE },
        { null, "{}", NULL, NULL, VLM_ERR_MISSING_FIELD, NULL, NULL, NULL, "processor_class: is missing", PRE },
        { null, null, NULL, NULL, VLM_ERR_MISSING_FIELD, NULL, NULL, NULL, "processor_class: is missing", PRE },
    };
    expect(rows, COUNT(rows));
}

/* ---- further than the seed: layouts of real checkpoints --------------------------------------- */

static void a_class_that_neither_file_names(void **state) {
    (void)state;
    static const char type_only[] = "{\"image_processor_type\": \"Qwen2VLImageProcessor\"}";
    static const char mapped[] = "{\"auto_map\": {\"AutoProcessor\": \"processing_kimi.KimiProcessor\"}}";
    static const layout rows[] = {
        /* tokenizer_config.json, as most published checkpoints have it */
        { type_only, NULL, "{\"processor_class\": \"T\"}", "D", VLM_OK, "T", TOK, PRE, NULL, NULL },
        { type_only, "{}", "{\"processor_class\": \"T\"}", NULL, VLM_OK, "T", TOK, PRE, NULL, NULL },
        { NULL, "{}", "{\"processor_class\": \"T\"}", NULL, VLM_OK, "T", TOK, PROC, NULL, NULL },
        { mapped, NULL, "{\"processor_class\": \"T\"}", NULL, VLM_OK, "T", TOK, PRE, NULL, NULL },
        { type_only, NULL, "{\"processor_class\": 5}", "D", VLM_ERR_CONFIG, NULL, NULL, NULL, TOK ": processor_class: must be a string", TOK },
        { type_only, NULL, "not JSON", "D", VLM_ERR_PARSE, NULL, NULL, NULL, TOK ": line 1", TOK },
        /* the class of a checkpoint with code of its own, where the model type knows of none */
        { mapped, NULL, NULL, NULL, VLM_OK, "KimiProcessor", PRE ": auto_map", PRE, NULL, NULL },
        { mapped, NULL, NULL, "D", VLM_OK, "D", "default", PRE, NULL, NULL },
        { type_only, mapped, "{}", NULL, VLM_OK, "KimiProcessor", PROC ": auto_map", PRE, NULL, NULL },
        { type_only, NULL, "{\"auto_map\": {\"AutoProcessor\": \"org/repo--m.C\"}}", NULL, VLM_OK, "C", TOK ": auto_map", PRE, NULL, NULL },
        { "{\"auto_map\": {\"AutoProcessor\": \"C\"}}", NULL, NULL, NULL, VLM_OK, "C", PRE ": auto_map", PRE, NULL, NULL },
        { "{\"auto_map\": {\"AutoProcessor\": \"m.\"}}", NULL, NULL, NULL, VLM_ERR_MISSING_FIELD, NULL, NULL, NULL, "is missing", PRE },
        { "{\"auto_map\": {\"AutoProcessor\": [\"m.C\"]}}", NULL, NULL, NULL, VLM_ERR_MISSING_FIELD, NULL, NULL, NULL, "is missing", PRE },
        { "{\"auto_map\": \"m.C\"}", NULL, NULL, NULL, VLM_ERR_MISSING_FIELD, NULL, NULL, NULL, "is missing", PRE },
        /* the model type's: an image processor's type names no class (several share one) */
        { type_only, NULL, "{}", "D", VLM_OK, "D", "default", PRE, NULL, NULL },
        { type_only, NULL, NULL, "D", VLM_OK, "D", "default", PRE, NULL, NULL },
        { "{\"feature_extractor_type\": \"F\"}", NULL, NULL, "D", VLM_OK, "D", "default", PRE, NULL, NULL },
        { NULL, "{\"image_processor\": {}}", NULL, "D", VLM_OK, "D", "default", PROC, NULL, NULL },
        { type_only, NULL, NULL, NULL, VLM_ERR_MISSING_FIELD, NULL, NULL, NULL, "processor_class: is missing", PRE },
    };
    expect(rows, COUNT(rows));
}

static vlm_processor_config *load(void) {
    vlm_processor_config *c;
    const vlm_load_options o = listening();
    if (vlm_processor_config_load(&c, tdir, NULL, &o, &err) < 0) fail_msg("%s", err.message);
    return c;
}

static bool holds(const vlm_json *v, const char *key) {
    return vlm_json_find(v, key) != NULL;
}

static void transformers_5_writes_one_file(void **state) {
    (void)state;
    tdir_put(PROC, "{\"processor_class\": \"P\", \"image_processor\": {\"a\": 1}, \"video_processor\": {\"b\": 1}}");
    vlm_processor_config *c = load();
    assert_string_equal(vlm_processor_config_class(c), "P");
    assert_true(holds(vlm_processor_config_image(c), "a"));
    assert_true(holds(vlm_processor_config_video(c), "b"));
    vlm_processor_config_free(c);
    /* the nested objects win over a file of the older layout beside them, but for the video's own */
    tdir_put(PRE, "{\"c\": 1}");
    tdir_put(VIDEO, "{\"d\": 1}");
    c = load();
    assert_true(holds(vlm_processor_config_image(c), "a"));
    assert_true(holds(vlm_processor_config_video(c), "d"));
    assert_non_null(vlm_processor_config_text(c, VIDEO, NULL));
    vlm_processor_config_free(c);
    tdir_put(PROC, "{\"processor_class\": \"P\"}");
    tdir_put(VIDEO, NULL);
    c = load();
    assert_true(holds(vlm_processor_config_image(c), "c"));
    assert_true(holds(vlm_processor_config_video(c), "c"));
    vlm_processor_config_free(c);
    tdir_put(PRE, NULL);
    c = load();
    assert_true(holds(vlm_processor_config_image(c), "processor_class"));
    assert_null(vlm_processor_config_video(c));
    vlm_processor_config_free(c);
}

static void a_second_file_that_is_not_json_is_said_in_the_log(void **state) {
    (void)state;
    tdir_put(PRE, "{\"processor_class\": \"A\"}");
    tdir_put(PROC, "version https://git-lfs.github.com/spec/v1");
    vlm_processor_config *c = load();
    assert_int_equal(log_lines, 1);
    assert_non_null(strstr(logged, PROC ": line 1, column 1"));
    assert_null(vlm_processor_config_json(c, PROC));
    assert_string_equal(vlm_processor_config_text(c, PROC, NULL), "version https://git-lfs.github.com/spec/v1");
    vlm_processor_config_free(c);
    tdir_put(PROC, NULL);
    vlm_processor_config_free(load());
    assert_int_equal(log_lines, 0);
}

/* Carried unparsed is not carried unchecked: it is still a file that can be read, within the cap. */
static void every_file_is_bounded(void **state) {
    (void)state;
    vlm_processor_config *c;
    vlm_limits limits = VLM_LIMITS_INIT;
    vlm_load_options o = listening();
    static const char *const names[] = { PRE, PROC, VIDEO };
    limits.config_bytes = 60;
    o.limits = &limits;
    for (size_t i = 0; i < COUNT(names); i++) {
        tdir_put(PRE, "{\"processor_class\": \"A\"}");
        tdir_put(PROC, "{}");
        tdir_put(VIDEO, "{}");
        tdir_put(names[i], "{\"processor_class\": \"A\",                                    }");
        assert_int_equal(vlm_processor_config_load(&c, tdir, NULL, &o, &err), VLM_ERR_LIMIT);
        assert_int_equal(err.limit, 60);
        assert_non_null(strstr(err.file, names[i]));
        tdir_put(names[i], NULL);
        char *path = tdir_path(names[i]);
        assert_int_equal(mkfifo(path, 0600), 0); /* must not wait for a writer */
        assert_int_equal(vlm_processor_config_load(&c, tdir, NULL, &o, &err), VLM_ERR_IO);
        assert_non_null(strstr(err.message, "is not a regular file"));
        free(path);
    }
    assert_null(c);
    tdir_put(VIDEO, "{");
    tdir_put(PRE, "{\"processor_class\": \"A\"}");
    tdir_put(PROC, NULL);
    assert_int_equal(vlm_processor_config_load(&c, tdir, NULL, &o, &err), VLM_ERR_PARSE);
    assert_non_null(strstr(err.file, VIDEO));
}

static void files_are_asked_in_order_and_only_if_needed(void **state) {
    (void)state;
    tdir_put(PRE, "{\"processor_class\": \"A\"}");
    vlm_processor_config_free(load());
    assert_string_equal(told, PRE "\n" PROC "\n" VIDEO "\n");
    tdir_put(PRE, "{}");
    tdir_put(TOK, "{\"processor_class\": \"T\"}");
    vlm_processor_config_free(load());
    assert_string_equal(told, PRE "\n" PROC "\n" TOK "\n" VIDEO "\n");
    tdir_put(PRE, "{");
    vlm_processor_config *c;
    const vlm_load_options o = listening();
    assert_int_equal(vlm_processor_config_load(&c, tdir, NULL, &o, &err), VLM_ERR_PARSE);
    assert_string_equal(told, PRE "\n"); /* the rest is left alone */
}

static void misuse_is_an_error(void **state) {
    (void)state;
    vlm_processor_config *c = (void *)1;
    const vlm_config_text nameless = { NULL, "{}", 2 };
    assert_int_equal(vlm_processor_config_load(NULL, tdir, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_processor_config_load(&c, NULL, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_null(c);
    assert_int_equal(vlm_processor_config_parse(NULL, NULL, 0, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_processor_config_parse(&c, NULL, 1, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_processor_config_parse(&c, &nameless, 1, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_processor_config_parse(&c, NULL, 0, NULL, NULL, NULL), VLM_ERR_NOT_FOUND);
    vlm_processor_config_free(NULL);
    assert_null(vlm_processor_config_class(NULL));
    assert_null(vlm_processor_config_named_by(NULL));
    assert_null(vlm_processor_config_file(NULL));
    assert_null(vlm_processor_config_text(NULL, PRE, NULL));
    assert_null(vlm_processor_config_json(NULL, PRE));
    assert_null(vlm_processor_config_image(NULL));
    assert_null(vlm_processor_config_video(NULL));
    tdir_put(PRE, "{\"processor_class\": \"A\"}");
    c = load();
    assert_null(vlm_processor_config_text(c, "config.json", NULL));
    assert_null(vlm_processor_config_text(c, NULL, NULL));
    vlm_processor_config_free(c);
}

int main(void) {
#define TEST(name) TDIR_TEST(name, NULL)
    const struct CMUnitTest tests[] = {
        TEST(the_preferred_file_is_absent),
        TEST(the_preferred_file_names_the_class),
        TEST(a_preferred_file_of_no_use_is_an_error_even_if_the_other_is_good),
        TEST(the_preferred_file_leaves_the_class_open),
        TEST(a_class_that_neither_file_names),
        TEST(transformers_5_writes_one_file),
        TEST(a_second_file_that_is_not_json_is_said_in_the_log),
        TEST(every_file_is_bounded),
        TEST(files_are_asked_in_order_and_only_if_needed),
        TEST(misuse_is_an_error),
    };
    return cmocka_run_group_tests_name("processor config", tests, NULL, NULL);
}
