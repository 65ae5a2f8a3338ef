/* SPDX-License-Identifier: MIT */
/* The hub's names and answers, without a network: what is believed of them, what is refused, which files a model
 * needs. */
#include "support/cm.h"

#include "io/hub/hub.h"

#include <stdio.h>
#include <stdlib.h>

#define SHA1 "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"
#define SHA256 "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

static void ids(void **state) {
    (void)state;
    static const char *const good[] = { "gpt2", "org/name", "Foo-BAR_foo.bar123", "Qwen/Qwen2.5-VL-3B-Instruct", "_a/b_" };
    static const char *const bad[] = { "", "/", "a/", "/a", "a/b/c", "a--b", "a..b", ".a", "a.", "-a", "a-", "org/.name",
                                       "org/name-", "org-/name", "a b", "a\\b", "../etc", "a.git", "é/b", "a/b?c", "a%2Fb",
                                       "a\nb" };
    char longest[98];
    memset(longest, 'a', 97);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) assert_true(vlm_hub_is_id(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_false(vlm_hub_is_id(bad[i]));
    assert_false(vlm_hub_is_id(NULL));
    longest[97] = 0;
    assert_false(vlm_hub_is_id(longest));
    longest[96] = 0;
    assert_true(vlm_hub_is_id(longest));
}

static void file_names(void **state) {
    (void)state;
    static const char *const good[] = { "config.json", "a/b/c.txt", "..a", "a..", "...", "ünï/ c", "a b" };
    static const char *const bad[] = { "", "/", "/etc/passwd", "..", ".", "../a", "a/..", "a/../b", "a/./b", "a//b", "a/",
                                       "a\\b", "a\nb", "a\x7f", "\xff", "a\x01" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) assert_true(vio_hub_is_file_name(vcore_str_of(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_false(vio_hub_is_file_name(vcore_str_of(bad[i])));
    assert_false(vio_hub_is_file_name((vcore_str) { "a\0b", 3 }));
    char name[VIO_HUB_MAX_NAME + 2];
    for (size_t i = 0; i < sizeof name; i++) name[i] = i % 100 == 99 ? '/' : 'a';
    assert_true(vio_hub_is_file_name((vcore_str) { name, VIO_HUB_MAX_NAME }));
    assert_false(vio_hub_is_file_name((vcore_str) { name, VIO_HUB_MAX_NAME + 1 }));
    memset(name, 'a', 256);
    assert_true(vio_hub_is_file_name((vcore_str) { name, 255 }));
    assert_false(vio_hub_is_file_name((vcore_str) { name, 256 })); /* no file system takes it */
}

static void revisions_and_etags(void **state) {
    (void)state;
    assert_true(vio_hub_is_revision("main") && vio_hub_is_revision("refs/pr/1") && vio_hub_is_revision("v1.0"));
    assert_false(vio_hub_is_revision("") || vio_hub_is_revision("../../x") || vio_hub_is_revision("/x")
                 || vio_hub_is_revision("a\r\nb"));
    assert_true(vio_hub_is_commit(vcore_str_of(SHA1)) && vio_hub_is_commit(vcore_str_of(SHA256)));
    assert_false(vio_hub_is_commit(vcore_str_of("main")) || vio_hub_is_commit((vcore_str) { SHA1, 39 })
                 || vio_hub_is_commit(vcore_str_of("AAF4C61DDCC5E8A2DABEDE0F3B482CD9AEA9434D")));
    assert_true(vio_hub_is_etag(vcore_str_of(SHA1)) && vio_hub_is_etag(vcore_str_of("1f-2.x")));
    assert_false(vio_hub_is_etag(vcore_str_of("")) || vio_hub_is_etag(vcore_str_of("..")) || vio_hub_is_etag(vcore_str_of("a/b"))
                 || vio_hub_is_etag(vcore_str_of(".lock")) || vio_hub_is_etag((vcore_str) { "a\0b", 3 }));
}

static void quoting(void **state) {
    (void)state;
    vcore_buf b = { 0 };
    vio_hub_quote(&b, "refs/pr/1", "");
    vio_hub_quote(&b, " a/b c%?#\xc3\xa9", "/");
    assert_string_equal(b.p, "refs%2Fpr%2F1%20a/b%20c%25%3F%23%C3%A9");
    vcore_buf_free(&b);
}

static void roles(void **state) {
    (void)state;
    static const struct {
        const char *name;
        vio_hub_role role;
    } cases[] = {
        { "config.json", VIO_HUB_SMALL },
        { "generation_config.json", VIO_HUB_SMALL },
        { "preprocessor_config.json", VIO_HUB_SMALL },
        { "processor_config.json", VIO_HUB_SMALL },
        { "video_preprocessor_config.json", VIO_HUB_SMALL },
        { "tokenizer.json", VIO_HUB_SMALL },
        { "tokenizer_config.json", VIO_HUB_SMALL },
        { "tokenizer.model", VIO_HUB_SMALL },
        { "special_tokens_map.json", VIO_HUB_SMALL },
        { "added_tokens.json", VIO_HUB_SMALL },
        { "vocab.json", VIO_HUB_SMALL },
        { "merges.txt", VIO_HUB_SMALL },
        { "qwen.tiktoken", VIO_HUB_SMALL },
        { "chat_template.json", VIO_HUB_SMALL },
        { "chat_template.jinja", VIO_HUB_SMALL },
        { "additional_chat_templates/tool_use.jinja", VIO_HUB_SMALL },
        { "model.safetensors.index.json", VIO_HUB_INDEX },
        { "model.safetensors", VIO_HUB_WEIGHTS },
        { "model-00001-of-00002.safetensors", VIO_HUB_WEIGHTS },
        { "weights.00.safetensors", VIO_HUB_WEIGHTS },
        { "consolidated.safetensors", VIO_HUB_IGNORED },
        { "consolidated.safetensors.index.json", VIO_HUB_IGNORED },
        { "adapter_model.safetensors", VIO_HUB_IGNORED },
        { "adapter_config.json", VIO_HUB_IGNORED },
        { "pytorch_model.bin", VIO_HUB_IGNORED },
        { "pytorch_model.bin.index.json", VIO_HUB_IGNORED },
        { "model.gguf", VIO_HUB_IGNORED },
        { "onnx/model.onnx", VIO_HUB_IGNORED },
        { "onnx/config.json", VIO_HUB_IGNORED },
        { "original/model.safetensors", VIO_HUB_IGNORED },
        { "README.md", VIO_HUB_IGNORED },
        { ".gitattributes", VIO_HUB_IGNORED },
        { ".config.json", VIO_HUB_IGNORED },
        { "modeling_x.py", VIO_HUB_IGNORED },
        { "trainer_state.json", VIO_HUB_IGNORED },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (vio_hub_role_of(cases[i].name) != cases[i].role) fail_msg("%s", cases[i].name);
}

/* Chooses among names (NULL-ended), with an index of shards where these are given; gives the chosen as
 * "name name ", and the file that was missed. */
static const char *chosen_of(const char *const *names, const char *const *shards, const char **absent) {
    static char text[512], missing[100];
    const char *copy[16], *path = NULL;
    char index[] = "/tmp/vlm-index-XXXXXX";
    vcore_arena *arena = vcore_arena_new();
    vio_selection chosen;
    vlm_error err = VLM_ERROR_INIT;
    size_t n = 0;
    for (; names[n]; n++) copy[n] = names[n];
    if (shards) {
        FILE *f = fdopen(mkstemp(index), "w");
        fprintf(f, "{\"weight_map\": {");
        for (size_t i = 0; shards[i]; i++) fprintf(f, "%s\"t%zu\": \"%s\"", i ? ", " : "", i, shards[i]);
        fprintf(f, "}}");
        assert_int_equal(fclose(f), 0);
        path = index;
    }
    vlm_status status = vio_hub_choose_weights(&chosen, arena, "org/name", path, copy, n, NULL, NULL, &err);
    if (path) remove(path);
    text[0] = 0;
    for (size_t i = 0; i < chosen.n && status >= 0; i++) strcat(strcat(text, chosen.names[i]), " ");
    assert_int_equal(status, text[0] ? VLM_OK : VLM_ERR_NOT_FOUND);
    if (absent) *absent = chosen.missing ? strcpy(missing, chosen.missing) : NULL;
    vcore_arena_free(arena);
    return text;
}

#define LIST(...) ((const char *const[]) { __VA_ARGS__, NULL })
#define A "model-00001-of-00002.safetensors"
#define B "model-00002-of-00002.safetensors"
#define C "model-00001-of-00003.safetensors"

static void weights(void **state) {
    (void)state;
    const char *absent;
    assert_string_equal(chosen_of(LIST("model.safetensors", "x.safetensors", A, B), LIST("x.safetensors"), &absent), "x.safetensors ");
    assert_null(absent);
    assert_string_equal(chosen_of(LIST("model.safetensors", A, B), NULL, &absent), "model.safetensors ");
    assert_string_equal(chosen_of(LIST(B, C, "x.safetensors", A), NULL, NULL), A " " B " ");
    assert_string_equal(chosen_of(LIST("b.safetensors", "a.safetensors"), NULL, NULL), "a.safetensors b.safetensors ");
    /* An index that names what is not there. */
    assert_string_equal(chosen_of(LIST("model.safetensors", A), LIST(A, B), &absent), "model.safetensors ");
    assert_string_equal(absent, B);
    assert_string_equal(chosen_of(LIST(A, B), LIST("gone.safetensors", A), &absent), A " " B " ");
    assert_string_equal(absent, "gone.safetensors");
    /* Part of a set is no model. */
    assert_string_equal(chosen_of(LIST(A), LIST(A, B), &absent), "");
    assert_string_equal(chosen_of(LIST(C, B), NULL, &absent), "");
    assert_string_equal(absent, A);
    assert_string_equal(chosen_of(LIST(NULL), NULL, &absent), "");
    assert_null(absent);
}

static vlm_status parse(vio_hub_listing *l, const char *text, vlm_error *err) {
    return vio_hub_listing_parse(l, text, strlen(text), 4, "org/name", err);
}

static void listing(void **state) {
    (void)state;
    vio_hub_listing l;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(parse(&l,
                           "{\"sha\": \"" SHA1 "\", \"gated\": \"auto\", \"siblings\": [{\"rfilename\": \"config.json\", \"size\": 5, "
                           "\"blobId\": \"" SHA1 "\"}, {\"rfilename\": \"d/w\", \"size\": 134, \"blobId\": \"" SHA1
                           "\", \"lfs\": {\"sha256\": \"" SHA256 "\", \"size\": 9007199254740993}}, {\"rfilename\": \"bare\"}]}",
                           &err),
                     VLM_OK);
    assert_string_equal(l.commit, SHA1);
    assert_int_equal(l.n, 3);
    assert_string_equal(l.files[0].etag, SHA1);
    assert_true(l.files[0].has_size && l.files[0].size == 5);
    assert_string_equal(l.files[1].name, "d/w");
    assert_string_equal(l.files[1].etag, SHA256);
    assert_true(l.files[1].has_size && l.files[1].size == 9007199254740993);
    assert_true(!l.files[2].has_size && !l.files[2].etag[0]);
    vio_hub_listing_free(&l);
}

static void bad_listings(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
        vlm_status status;
    } cases[] = {
        { "", "org/name", VLM_ERR_PARSE },
        { "<html>", "org/name", VLM_ERR_PARSE },
        { "{\"sha\": \"" SHA1 "\", \"siblings\": [", "org/name", VLM_ERR_PARSE },
        { "[]", "sha", VLM_ERR_FORMAT },
        { "{\"sha\": \"main\", \"siblings\": []}", "sha", VLM_ERR_FORMAT },
        { "{\"sha\": \"../../../../../../../../../../../../../x\", \"siblings\": []}", "sha", VLM_ERR_FORMAT },
        { "{\"sha\": \"" SHA1 "\"}", "siblings", VLM_ERR_FORMAT },
        { "{\"sha\": \"" SHA1 "\", \"siblings\": {}}", "siblings", VLM_ERR_FORMAT },
        { "{\"sha\": \"" SHA1 "\", \"siblings\": [3]}", "rfilename", VLM_ERR_FORMAT },
        { "{\"sha\": \"" SHA1 "\", \"siblings\": [{\"rfilename\": \"../x\"}]}", "'../x'", VLM_ERR_FORMAT },
        { "{\"sha\": \"" SHA1 "\", \"siblings\": [{\"rfilename\": \"/etc/passwd\"}]}", "'/etc/passwd'", VLM_ERR_FORMAT },
        { "{\"sha\": \"" SHA1 "\", \"siblings\": [{\"rfilename\": \"a\\u0000b\"}]}", "'a", VLM_ERR_FORMAT },
        { "{\"sha\": \"" SHA1 "\", \"siblings\": [{\"rfilename\": \"a\"}, {\"rfilename\": \"a\"}]}", "'a' is listed twice", VLM_ERR_FORMAT },
        { "{\"sha\": \"" SHA1 "\", \"siblings\": [1, 2, 3, 4, 5]}", "limit", VLM_ERR_LIMIT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vio_hub_listing l;
        vlm_error err = VLM_ERROR_INIT;
        assert_int_equal(parse(&l, cases[i].text, &err), cases[i].status);
        assert_null(l.arena);
        if (!strstr(err.message, cases[i].says)) fail_msg("%s: %s", cases[i].text, err.message);
    }
    /* A hash or size that is none is as if it were not there. */
    vio_hub_listing l;
    assert_int_equal(parse(&l, "{\"sha\": \"" SHA1 "\", \"siblings\": [{\"rfilename\": \"a\", \"size\": -1, \"blobId\": \"../x\"}, "
                               "{\"rfilename\": \"b\", \"size\": \"5\", \"lfs\": {\"sha256\": \"" SHA1 "\"}}]}", NULL), VLM_OK);
    for (int i = 0; i < 2; i++) assert_true(!l.files[i].has_size && !l.files[i].etag[0]);
    vio_hub_listing_free(&l);
}

static vio_hub_headers headers_of(const char *const *lines) {
    vio_hub_headers h = { 0 };
    for (; *lines; lines++) vio_hub_headers_line(&h, *lines, strlen(*lines));
    return h;
}

static void headers(void **state) {
    (void)state;
    uint64_t size;
    vio_hub_headers h = headers_of(LIST("HTTP/1.1 302 Found\r\n", "ETag: \"page\"\r\n", "x-LINKED-etag: W/\"" SHA256 "\"\r\n",
                                        "X-Linked-Size:  12 \r\n", "Content-Length: 3\r\n", "X-Repo-Commit: " SHA1 "\r\n", "\r\n"));
    assert_string_equal(h.etag, SHA256);
    assert_string_equal(h.commit, SHA1);
    assert_true(vio_hub_headers_size(&h, true, &size) && size == 12);
    h = headers_of(LIST("X-Linked-Etag: \"" SHA256 "\"\r\n", "ETag: \"page\"\r\n")); /* in either order */
    assert_string_equal(h.etag, SHA256);
    h = headers_of(LIST("HTTP/2 200\r\n", "ETag: W/\"" SHA1 "\"\r\n", "Content-Length: 7\r\n", "X-Error-Code: GatedRepo\r\n"));
    assert_string_equal(h.etag, SHA1);
    assert_string_equal(h.error_code, "GatedRepo");
    assert_true(vio_hub_headers_size(&h, false, &size) && size == 7);
    assert_false(vio_hub_headers_size(&h, true, &size)); /* of the page that redirects */
    vio_hub_headers_line(&h, "HTTP/1.1 200 OK\r\n", 17);  /* the next answer */
    assert_true(!h.etag[0] && !h.error_code[0] && !h.has_content_length && h.bytes > 17);
    h = headers_of(LIST("Content-Range: bytes 100-199/200\r\n", "etag: \"../../x\"\r\n", "X-Repo-Commit: ../..\r\n",
                        "Content-Length: 99999999999999999999\r\n", "nonsense\r\n", ": x\r\n", "X-Linked-Size: -4\r\n"));
    assert_true(h.has_range && h.range_start == 100);
    assert_true(!h.etag[0] && !h.commit[0] && !h.has_content_length && !h.has_linked_size);
    assert_false(headers_of(LIST("Content-Range: bytes */200\r\n")).has_range);
    assert_false(headers_of(LIST("Content-Range: bytes\r\n")).has_range);
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *code;
        long http;
        vlm_status status;
    } cases[] = {
        { "RepoNotFound", 404, VLM_ERR_NO_REPOSITORY }, { "RepoNotFound", 401, VLM_ERR_NO_REPOSITORY },
        { "RevisionNotFound", 404, VLM_ERR_NO_REVISION }, { "EntryNotFound", 404, VLM_ERR_NOT_FOUND },
        { "GatedRepo", 401, VLM_ERR_ACCESS }, { "GatedRepo", 403, VLM_ERR_ACCESS },
        { "", 401, VLM_ERR_ACCESS }, { "", 403, VLM_ERR_ACCESS }, { "", 404, VLM_ERR_NOT_FOUND },
        { "", 429, VLM_ERR_NETWORK }, { "", 500, VLM_ERR_NETWORK }, { "", 451, VLM_ERR_NETWORK },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vio_hub_headers h = { .error_message = "why\r\nnot" };
        vlm_error err = VLM_ERROR_INIT;
        strcpy(h.error_code, cases[i].code);
        assert_int_equal(vio_hub_refused(&err, "org/name", cases[i].http, i % 2, &h), cases[i].status);
        assert_int_equal(err.code, cases[i].status);
        assert_null(strchr(err.message, '\n'));
        assert_non_null(strstr(err.message, "org/name: "));
    }
}

static void hashes(void **state) {
    (void)state;
    vio_hub_digest d;
    char hex[VIO_HUB_HASH];
    assert_int_equal(vio_hub_digest_start(&d, SHA256, 5, NULL), VLM_OK);
    assert_int_equal(vio_hub_digest_add(&d, "hel", 3, NULL), VLM_OK);
    assert_int_equal(vio_hub_digest_add(&d, "lo", 2, NULL), VLM_OK);
    assert_int_equal(vio_hub_digest_end(&d, hex, NULL), VLM_OK);
    assert_string_equal(hex, SHA256); /* of "hello" */
    assert_int_equal(vio_hub_digest_start(&d, SHA1, 5, NULL), VLM_OK);
    assert_int_equal(vio_hub_digest_add(&d, "hello", 5, NULL), VLM_OK);
    assert_int_equal(vio_hub_digest_end(&d, hex, NULL), VLM_OK);
    assert_string_equal(hex, "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"); /* git hash-object */
    assert_int_equal(vio_hub_digest_start(&d, "not-a-hash", 5, NULL), VLM_OK);
    assert_null(d.state);
    assert_int_equal(vio_hub_digest_add(&d, "x", 1, NULL), VLM_OK);
    assert_int_equal(vio_hub_digest_end(&d, hex, NULL), VLM_OK);
    assert_string_equal(hex, "");
}

static void options(void **state) {
    (void)state;
    vlm_error err = VLM_ERROR_INIT;
    char *dir;
    vlm_hub_options o = VLM_HUB_OPTIONS_INIT;
    assert_int_equal(vlm_hub_find(&dir, "a/b", NULL, &err), VLM_ERR_ARGUMENT); /* no cache_dir */
    assert_int_equal(vlm_hub_find(&dir, "a/b", &o, &err), VLM_ERR_ARGUMENT);
    o.cache_dir = "no/such/cache";
    assert_int_equal(vlm_hub_find(NULL, "a/b", &o, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_hub_find(&dir, "../b", &o, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_hub_find(&dir, NULL, &o, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_hub_find(&dir, "a/b", &o, &err), VLM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "no/such/cache/models--a--b"));
    o.revision = "../x";
    assert_int_equal(vlm_hub_pull(&dir, "a/b", &o, &err), VLM_ERR_ARGUMENT);
    o.revision = NULL;
    o.endpoint = "ftp://x";
    assert_int_equal(vlm_hub_pull(&dir, "a/b", &o, &err), VLM_ERR_ARGUMENT);
    o.endpoint = NULL;
    o.token = "a\r\nX-Evil: 1";
    assert_int_equal(vlm_hub_pull(&dir, "a/b", &o, &err), VLM_ERR_ARGUMENT);
    o.token = NULL;
    o.struct_size = 0;
    assert_int_equal(vlm_hub_pull(&dir, "a/b", &o, &err), VLM_ERR_ARGUMENT);
    struct {
        vlm_hub_options o;
        int unknown;
    } newer = { .o = VLM_HUB_OPTIONS_INIT };
    newer.o.struct_size = sizeof newer;
    newer.o.cache_dir = "no/such/cache";
    assert_int_equal(vlm_hub_find(&dir, "a/b", &newer.o, &err), VLM_ERR_NOT_FOUND);
    newer.unknown = 1;
    assert_int_equal(vlm_hub_find(&dir, "a/b", &newer.o, &err), VLM_ERR_UNSUPPORTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids),       cmocka_unit_test(file_names), cmocka_unit_test(revisions_and_etags),
        cmocka_unit_test(quoting),   cmocka_unit_test(roles),      cmocka_unit_test(weights), cmocka_unit_test(listing), cmocka_unit_test(bad_listings),
        cmocka_unit_test(headers),   cmocka_unit_test(refusals),   cmocka_unit_test(hashes),
        cmocka_unit_test(options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
