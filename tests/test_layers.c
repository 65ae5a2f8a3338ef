/* SPDX-License-Identifier: MIT */
/* The layer rule: which folder may include which, which public headers, and which libraries. */
#include "support/cm.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODELS_BELOW "src/core src/io src/text src/media src/tensor src/nn src/models"

/* Folder; the folders it may include besides itself; the public headers it may include. */
static const struct layer {
    const char *name, *below, *headers;
} layers[] = {
    { "src/core", "", "vlm/base.h" },
    { "src/io", "src/core", "vlm/base.h vlm/extend/config.h vlm/load/hub.h" },
    { "src/text", "src/core src/io", "vlm/base.h vlm/extend/config.h vlm/reply.h vlm/tokenizer.h" },
    { "src/media", "src/core src/io", "vlm/base.h vlm/extend/config.h vlm/extend/geometry.h vlm/media.h vlm/video.h" },
    { "src/tensor", "src/core", "vlm/base.h vlm/extend/tensor.h" },
    { "src/nn", "src/core src/tensor", "vlm/base.h vlm/extend/tensor.h vlm/extend/nn.h" },
    /* What families share; every other folder in there is a family (below). */
    { "src/models/parts", MODELS_BELOW, "*" },
    { "src/models/text", MODELS_BELOW, "*" },
    { "src/models/vision", MODELS_BELOW, "*" },
    { "src/models/weights", MODELS_BELOW, "*" },
    { "src/models", "src/core src/io src/text src/media src/tensor src/nn", "*" },
    { "src/engine", "src/core src/io src/text src/media src/tensor src/nn src/models", "*" },
    { "src/server", "src/core", "*" },
    { "src/cli", "src/core", "*" },
    { "include/vlm", "", "*" },
};

/* A family: nothing of ours but what an extension has, which proves that it suffices. */
static const struct layer family = { "src/models/*", "", "vlm/extend.h" };

/* Beginnings of library headers and the only folder that may include them. */
static const struct {
    const char *header, *folder;
} libraries[] = {
    { "jpeglib.h", "src/media" },     { "png.h", "src/media" },
    { "webp/", "src/media" },         { "libav", "src/media" },
    { "libsw", "src/media" },         { "utf8proc.h", "src/text" },
    { "pcre2.h", "src/text" },        { "curl/", "src/io/hub" },
    { "openssl/", "src/io/hub" },
    { "microhttpd.h", "src/server" }, { "cuda", "src/tensor/cuda" },
    { "cublas", "src/tensor/cuda" },  { "json-c/", "tests" },
};

static int wrong, seen;

static void complain(const char *file, int line, const char *what, const char *header) {
    fprintf(stderr, "%s:%d: %s '%s'\n", file, line, what, header);
    wrong++;
}

static bool is_below(const char *path, const char *folder) {
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && path[n] == '/';
}

static const struct layer *layer_of(const char *path) {
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
        if (!is_below(path, layers[i].name)) continue;
        bool models = strcmp(layers[i].name, "src/models") == 0;
        return models && strchr(path + strlen("src/models/"), '/') ? &family : &layers[i];
    }
    return NULL;
}

/* True if word stands in the list of words. */
static bool contains(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return true;
    return false;
}

static void check_own(const char *file, int line, const char *header) {
    static const char *const roots[] = { NULL, "src", "include" };
    char path[1024] = "";
    for (int i = 0; i < 3; i++) {
        int directory = (int)(strrchr(file, '/') - file);
        if (roots[i])
            snprintf(path, sizeof path, "%s/%s", roots[i], header);
        else
            snprintf(path, sizeof path, "%.*s/%s", directory, file, header);
        if (access(path, F_OK) == 0) break;
        path[0] = 0;
    }
    const struct layer *from = layer_of(file), *to = layer_of(path);
    if (!to || strstr(path, "..")) {
        complain(file, line, "includes what is in no layer,", header);
        return;
    }
    if (to == from) return;
    bool allowed = is_below(path, "include/vlm")
                       ? strcmp(from->headers, "*") == 0 || contains(from->headers, header)
                       : contains(from->below, to->name);
    if (!allowed) complain(file, line, "may not include", header);
}

static void check_library(const char *file, int line, const char *header) {
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        size_t n = strlen(libraries[i].header);
        if (strncmp(header, libraries[i].header, n) == 0 && !is_below(file, libraries[i].folder))
            complain(file, line, "may not include", header);
    }
}

static void check_file(const char *file) {
    FILE *f = fopen(file, "r");
    assert_non_null(f);
    char text[4096], header[256], open;
    for (int line = 1; fgets(text, sizeof text, f); line++) {
        if (sscanf(text, " # include %c%255[^\">]", &open, header) != 2) continue;
        seen++;
        if (open == '"')
            check_own(file, line, header);
        else
            check_library(file, line, header);
    }
    fclose(f);
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static void check_folder(const char *folder) {
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char path[1024];
        struct stat st;
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        assert_int_equal(stat(path, &st), 0);
        if (S_ISDIR(st.st_mode)) {
            check_folder(path);
        } else if (ends_with(path, ".c") || ends_with(path, ".h") || ends_with(path, ".cu")
                   || ends_with(path, ".cuh") || ends_with(path, ".inc")) {
            if (layer_of(path))
                check_file(path);
            else
                complain(path, 1, "lies in no layer", "");
        }
    }
    closedir(d);
}

static void includes_point_downwards(void **state) {
    (void)state;
    wrong = seen = 0;
    check_folder("src");
    check_folder("include");
    assert_int_equal(wrong, 0);
    assert_true(seen > 50); /* the check did look at something */
}

/* The check itself sees what it must see. */
static void wrong_includes_are_seen(void **state) {
    (void)state;
    static const struct {
        const char *file, *header;
        bool own, allowed;
    } cases[] = {
        { "src/io/read.c", "core/core.h", true, true },
        { "src/io/read.c", "io/io.h", true, true },
        { "src/core/json.c", "io/io.h", true, false },
        { "src/text/x.c", "media/media.h", true, false },
        { "src/tensor/cpu/x.c", "io/io.h", true, false },
        { "src/tensor/cpu/x.c", "tensor/tensor.h", true, true },
        { "src/core/json.c", "vlm/base.h", true, true },
        { "src/core/json.c", "vlm/media.h", true, false },
        { "src/cli/x.c", "vlm/vlm.h", true, true },
        { "src/cli/x.c", "io/io.h", true, false },
        { "src/io/read.c", "../core/core.h", true, false },
        { "src/io/read.c", "nowhere.h", true, false },
        { "src/media/formats/jpeg.c", "jpeglib.h", false, true },
        { "src/models/x.c", "jpeglib.h", false, false },
        { "src/nn/x.c", "cuda_runtime.h", false, false },
        { "src/nn/x.c", "math.h", false, true },
        { "src/models/new_family/model.c", "vlm/extend.h", true, true },
        { "src/models/new_family/model.c", "models/models.h", true, false },
        { "src/models/parts/x.c", "models/models.h", true, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wrong = 0;
        if (cases[i].own)
            check_own(cases[i].file, (int)i, cases[i].header);
        else
            check_library(cases[i].file, (int)i, cases[i].header);
        assert_int_equal(wrong, !cases[i].allowed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(includes_point_downwards),
        cmocka_unit_test(wrong_includes_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
