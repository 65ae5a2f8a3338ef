/* SPDX-License-Identifier: MIT */
/* What the processor stage gives for every built-in family, with Pillow's pixels and with
 * torchvision's: every tensor of transformers' processors (tests/data/processors.txt, made by
 * tools/golden/processors.py), through the library and through the command; what is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/engine.h"
#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/edit.h"
#include "support/golden.h"
#include "support/process.h"

#define LIST "tests/data/processors.txt"
#define TEXT "Describe."
enum { EDITS = 512, MEDIA = 8, LONGEST_LINE = 4096 };

/* ---- checkpoints ----------------------------------------------------------------------------- */
/* Edits of a variant's image processor config, by the name of the setting. */
typedef struct edit {
    char variant[32], setting[32], file[64], path[64], json[256];
} edit;
static edit edits[EDITS];
static size_t n_edits;

/* The checkpoint of a variant in a setting, loaded; the lines of one lie together. */
static struct {
    char variant[32], setting[32];
    char *dir;
    vlm_context *context;
} now;

static void close_now(void) {
    vlm_context_free(now.context);
    if (now.dir) tcheckpoint_remove(now.dir);
    free(now.dir);
    memset(&now, 0, sizeof now);
}

static void open_now(const char *variant, const char *setting) {
    if (!strcmp(variant, now.variant) && !strcmp(setting, now.setting)) return;
    close_now();
    char golden[64];
    snprintf(golden, sizeof golden, "tests/golden/%s", variant);
    snprintf(now.variant, sizeof now.variant, "%s", variant);
    snprintf(now.setting, sizeof now.setting, "%s", setting);
    now.dir = tcheckpoint_temp_dir();
    assert_true(now.dir && tcheckpoint_write(golden, now.dir, NULL));
    for (size_t i = 0; i < n_edits; i++) {
        const tedit change = SET(edits[i].file, edits[i].path, edits[i].json);
        if (!strcmp(edits[i].variant, variant) && !strcmp(edits[i].setting, setting))
            assert_true(tedit_apply(now.dir, &change, 1));
    }
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    vlm_error err = VLM_ERROR_INIT;
    options.threads = 1;
    if (vlm_context_load(&now.context, now.dir, &options, &err) < 0) fail_msg("%s", err.message);
}

/* ---- a line ---------------------------------------------------------------------------------- */
typedef struct line {
    char variant[32], setting[32], backend[32];
    char *media[MEDIA];
    size_t n_media;
    char *tensors; /* NAME=... words */
    bool clips;    /* it has video files */
} line;

static void read_line(line *l, char *text) {
    *l = (line) { 0 };
    char *bar = strchr(text, '|');
    int words;
    assert_non_null(bar);
    *bar = 0;
    l->tensors = bar + 1;
    assert_int_equal(sscanf(text, "%31s %31s %31s %n", l->variant, l->setting, l->backend, &words), 3);
    for (char *word = strtok(text + words, " "); word; word = strtok(NULL, " ")) {
        assert_true(l->n_media < MEDIA);
        l->clips |= !strncmp(word, "video:", 6);
        l->media[l->n_media++] = word;
    }
}

static vlm_resampler backend_of(const char *name) {
    static const char *const names[] = { "pillow", "torchvision", "torchvision-bicubic" };
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, names[i])) return (vlm_resampler)i;
    fail_msg("%s: no such backend", name);
    return VLM_RESAMPLER_PILLOW;
}

/* "video:CLIP", "frames:FOLDER@FPS" or a picture. */
static vlm_status add_medium(vlm_input *in, const char *word, vlm_error *err) {
    char path[160], name[128];
    double fps;
    if (sscanf(word, "frames:%127[^@]@%lf", name, &fps) == 2) {
        snprintf(path, sizeof path, "tests/data/%s", name);
        return vlm_input_add_video_dir(in, path, fps, err);
    }
    bool clip = !strncmp(word, "video:", 6);
    snprintf(path, sizeof path, "tests/data/%s", clip ? word + 6 : word);
    return clip ? vlm_input_add_video_file(in, path, err) : vlm_input_add_image_file(in, path, err);
}

/* PaliGemma's prompts have no turns: its pictures are placed as a raw prompt places them. */
static vlm_status add_text(vlm_input *in, const line *l, vlm_error *err) {
    if (strncmp(l->variant, "paligemma", 9)) return vlm_input_add_message(in, "user", TEXT, err);
    char text[MEDIA * 8 + sizeof TEXT] = "";
    for (size_t i = 0; i < l->n_media; i++) strcat(text, "<image>");
    return vlm_input_set_raw(in, strcat(text, TEXT), err);
}

static vlm_status prepare(vlm_prepared **out, const line *l, vlm_error *err) {
    vlm_input *in;
    vlm_processing wishes = VLM_PROCESSING_INIT;
    wishes.image_backend = backend_of(l->backend);
    *out = NULL;
    open_now(l->variant, l->setting);
    assert_int_equal(vlm_input_new(&in, err), VLM_OK);
    vlm_status status = vlm_input_set_processing(in, &wishes, err);
    for (size_t i = 0; i < l->n_media && status >= 0; i++) status = add_medium(in, l->media[i], err);
    if (status >= 0) status = add_text(in, l, err);
    if (status >= 0) status = vlm_prepare(out, now.context, in, err);
    vlm_input_free(in);
    return status;
}

/* ---- tensors --------------------------------------------------------------------------------- */
/* Of pixels, the values that the list tells beside those that are there. */
static void show_values(const vio_tensor *t, const char *values) {
    const float *v = (const void *)t->data;
    const size_t n = t->bytes / sizeof *v;
    if (*values)
        print_error("values %.9g,%.9g,%.9g,%.9g, the reference's %s\n", (double)v[0],
                    (double)v[n / 3], (double)v[n / 2], (double)v[n - 1], values);
}

/* "DTYPE:SHAPE:HASH[:VALUES]" against a tensor. */
static void check_tensor(const vio_tensor *t, const char *want, const char *where) {
    char type[8], shape[64], hash[17], values[128] = "", is[160] = "", digest[65];
    assert_true(sscanf(want, "%7[^:]:%63[^:]:%16[^:]:%127s", type, shape, hash, values) >= 3);
    for (int i = 0; i < t->rank; i++)
        sprintf(is + strlen(is), "%s%lld", i ? "x" : "", (long long)t->shape[i]);
    if (strcmp(is, shape)) fail_msg("%s: is %s, not %s", where, is, shape);
    const char *name = t->dtype == VIO_F32   ? "F32"
                       : t->dtype == VIO_I64 ? "I64"
                       : t->dtype == VIO_I32 ? "I32"
                                             : "?";
    if (strcmp(name, type)) fail_msg("%s: is %s, not %s", where, name, type);
    tgolden_sha256(digest, t->data, t->bytes);
    digest[16] = 0;
    if (!strcmp(digest, hash)) return;
    show_values(t, values);
    fail_msg("%s: is not the reference's", where);
}

/* A file of the processor stage has the tensors of the line and no others. */
static void check_file(const char *path, const line *l) {
    vio_tensors *file;
    size_t seen = 0;
    char where[512];
    assert_int_equal(vio_tensors_open_file(&file, path, NULL, NULL), VLM_OK);
    for (char *word = strtok(l->tensors, " \n"); word; word = strtok(NULL, " \n"), seen++) {
        char *equals = strchr(word, '=');
        *equals = 0;
        snprintf(where, sizeof where, "%s, %s, %s: %s and %zu more: %s", l->variant, l->setting,
                 l->backend, l->media[0], l->n_media - 1, word);
        const vio_tensor *t = vio_tensors_find(file, word);
        if (!t) fail_msg("%s: is not there", where);
        check_tensor(t, equals + 1, where);
    }
    assert_int_equal(vio_tensors_count(file), seen);
    vio_tensors_close(file);
}

/* Calls `check` for every line that this build can do; returns how many. */
static int each_line(void (*check)(const line *, const char *path)) {
    static char text[LONGEST_LINE];
    char path[] = "/tmp/vlm-processor-XXXXXX";
    int seen = 0;
    FILE *f = fopen(LIST, "r");
    assert_non_null(f);
    close(mkstemp(path));
    n_edits = 0;
    while (fgets(text, sizeof text, f)) {
        edit *e = &edits[n_edits < EDITS ? n_edits : 0];
        line l;
        if (sscanf(text, "edit %31s %31s %63s %63s %255[^\n]", e->variant, e->setting, e->file,
                   e->path, e->json) == 5) {
            assert_true(n_edits++ < EDITS);
            continue;
        }
        assert_non_null(strchr(text, '\n'));
        read_line(&l, text);
        if (l.clips && !vlm_video_supported()) continue;
        check(&l, path);
        seen++;
    }
    unlink(path);
    fclose(f);
    close_now();
    return seen;
}

/* Under a sanitizer, whose processes are slow, every fourth line. */
static void check_library(const line *l, const char *path) {
    static size_t lines;
    if (lines++ % 4 && !tprocess_can_limit()) return;
    vlm_prepared *prepared;
    vlm_error err = VLM_ERROR_INIT;
    if (prepare(&prepared, l, &err) < 0)
        fail_msg("%s, %s, %s: %s", l->variant, l->setting, l->backend, err.message);
    assert_int_equal(vlm_prepared_save(prepared, path, NULL), VLM_OK);
    check_file(path, l);
    vlm_prepared_free(prepared);
}

static void tensors_are_the_references(void **state) {
    (void)state;
    assert_true(each_line(check_library) >= 310);
}

/* ---- the command ----------------------------------------------------------------------------- */
static int commands;

/* Of each variant as it is, what has several pictures. */
static void check_command(const line *l, const char *path) {
    if (strcmp(l->setting, "own") || l->n_media != 3) return;
    char raw[MEDIA * 8 + sizeof TEXT] = "", pictures[MEDIA][160];
    const char *argv[32] = { "vlm", "dump", "--stage", "processor", "--out", path };
    size_t n = 6;
    open_now(l->variant, l->setting);
    argv[n++] = "-m", argv[n++] = now.dir;
    argv[n++] = "--image-backend", argv[n++] = l->backend;
    for (size_t i = 0; i < l->n_media; i++) {
        snprintf(pictures[i], sizeof pictures[i], "tests/data/%s", l->media[i]);
        argv[n++] = "-i", argv[n++] = pictures[i];
        strcat(raw, "<image>");
    }
    bool is_raw = !strncmp(l->variant, "paligemma", 9);
    argv[n++] = is_raw ? "--raw-prompt" : "-p";
    argv[n++] = is_raw ? strcat(raw, TEXT) : TEXT;
    tprocess p = tprocess_run(argv, NULL);
    if (p.status) fail_msg("%s", p.err);
    tprocess_free(&p);
    check_file(path, l);
    commands++;
}

static void the_command_dumps_the_references_tensors(void **state) {
    (void)state;
    each_line(check_command);
    assert_true(commands >= 2 * 2 * 7);
}

/* ---- what a dump is good for ----------------------------------------------------------------- */
/* A mask of floats, as torchvision's Idefics3 has it, comes back through a file, and hides what it
 * hides as whole numbers do. */
static float *features(const char *path, const char *out, size_t *n) {
    vlm_prepared *prepared;
    vio_tensors *file;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_prepared_load(&prepared, now.context, path, &err), VLM_OK);
    if (vlm_dump_stage(now.context, prepared, VLM_STAGE_VISION, out, &err) < 0)
        fail_msg("%s", err.message);
    vlm_prepared_free(prepared);
    assert_int_equal(vio_tensors_open_file(&file, out, NULL, NULL), VLM_OK);
    const vio_tensor *t = vio_tensors_find(file, "image_features");
    float *copy = malloc(t->bytes);
    memcpy(copy, t->data, t->bytes);
    *n = t->bytes;
    vio_tensors_close(file);
    return copy;
}

static void masks_of_floats_hide_patches(void **state) {
    (void)state;
    char *media[] = { "pictures/photo.jpg" };
    char path[] = "/tmp/vlm-mask-XXXXXX", out[] = "/tmp/vlm-mask-out-XXXXXX";
    float *seen[2];
    size_t n[2];
    close(mkstemp(path));
    close(mkstemp(out));
    for (int floats = 0; floats < 2; floats++) {
        line l = { "idefics3-split", "own", "pillow", { media[0] }, 1, NULL, false };
        vlm_prepared *prepared, *masked;
        vlm_error err = VLM_ERROR_INIT;
        void *data;
        assert_int_equal(prepare(&prepared, &l, &err), VLM_OK);
        const vlm_array *pixels = vlm_prepared_find(prepared, "pixel_values");
        const vlm_array *mask = vlm_prepared_find(prepared, "pixel_attention_mask");
        size_t ids, values = 1, places = 1;
        const uint32_t *id = vlm_prepared_ids(prepared, &ids);
        for (int i = 0; i < 5; i++) values *= (size_t)pixels->shape[i];
        for (int i = 0; i < 4; i++) places *= (size_t)mask->shape[i];
        assert_int_equal(vmodel_prepared_new(&masked, &err), VLM_OK);
        assert_int_equal(vmodel_prepared_set_ids(masked, id, ids, &err), VLM_OK);
        assert_int_equal(vlm_prepared_add(masked, "pixel_values", VLM_DTYPE_F32, 5, pixels->shape,
                                          &data, &err), VLM_OK);
        memcpy(data, pixels->data, values * sizeof(float));
        assert_int_equal(vlm_prepared_add(masked, "pixel_attention_mask",
                                          floats ? VLM_DTYPE_F32 : VLM_DTYPE_I64, 4, mask->shape,
                                          &data, &err), VLM_OK);
        for (size_t i = 0; i < places; i++) { /* the lower half of each view is hidden */
            bool shown = i / 64 % 64 < 32;
            if (floats)
                ((float *)data)[i] = shown ? 0.5f : 0;
            else
                ((int64_t *)data)[i] = shown;
        }
        assert_int_equal(vlm_prepared_save(masked, path, &err), VLM_OK);
        seen[floats] = features(path, out, &n[floats]);
        vlm_prepared_free(prepared);
        vlm_prepared_free(masked);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(seen[0], seen[1], n[0]);
    free(seen[0]);
    free(seen[1]);
    unlink(path);
    unlink(out);
    close_now();
}

/* ---- refusals -------------------------------------------------------------------------------- */
static void set_edit(const char *variant, const char *file, const char *path, const char *json) {
    n_edits = 1;
    edits[0] = (edit) { .setting = "refused" };
    snprintf(edits[0].variant, sizeof edits[0].variant, "%s", variant);
    snprintf(edits[0].file, sizeof edits[0].file, "%s", file);
    snprintf(edits[0].path, sizeof edits[0].path, "%s", path);
    snprintf(edits[0].json, sizeof edits[0].json, "%s", json);
}

static void filters_that_torchvision_lacks(void **state) {
    (void)state;
    static const struct {
        const char *variant, *file, *path, *json, *media, *says;
    } cases[] = {
        { "idefics3-split", "preprocessor_config.json", "resample", "4", "pictures/photo.jpg",
          "preprocessor_config.json: resample: torchvision has no box filter" },
        { "paligemma-gemma", "preprocessor_config.json", "resample", "5", "pictures/photo.jpg",
          "preprocessor_config.json: resample: torchvision has no Hamming filter" },
        { "qwen2_5_vl-untied", "processor_config.json", "image_processor/resample", "4",
          "pictures/photo.jpg",
          "processor_config.json: image_processor.resample: torchvision has no box filter" },
        { "smolvlm-video", "processor_config.json", "video_processor/resample", "\"hamming\"",
          "frames:pictures/frames-four@2",
          "processor_config.json: video_processor.resample: torchvision has no Hamming filter" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        line l = { "", "refused", "torchvision", { (char *)(uintptr_t)cases[i].media }, 1, NULL, false };
        vlm_prepared *prepared;
        vlm_error err = VLM_ERROR_INIT;
        snprintf(l.variant, sizeof l.variant, "%s", cases[i].variant);
        set_edit(cases[i].variant, cases[i].file, cases[i].path, cases[i].json);
        assert_int_equal(prepare(&prepared, &l, &err), VLM_ERR_UNSUPPORTED);
        assert_null(prepared);
        assert_string_equal(err.message, cases[i].says);
        strcpy(l.backend, "pillow"); /* which has them */
        assert_int_equal(prepare(&prepared, &l, &err), VLM_OK);
        vlm_prepared_free(prepared);
    }
    close_now();
}

/* The reference would hand on frames of any size. */
static void frames_that_may_not_be_resized(void **state) {
    (void)state;
    char *media[] = { "frames:pictures/frames-five@2" };
    line l = { "smolvlm-video", "refused", "torchvision", { media[0] }, 1, NULL, false };
    vlm_prepared *prepared;
    vlm_error err = VLM_ERROR_INIT;
    set_edit(l.variant, "processor_config.json", "video_processor/do_resize", "false");
    assert_int_equal(prepare(&prepared, &l, &err), VLM_ERR_VIDEO_PROCESSING);
    assert_string_equal(err.message, "frames of 64 x 48 are not of max_image_size, and do_resize is off");
    close_now();
}

static void backends_that_there_are_not(void **state) {
    (void)state;
    vlm_input *in;
    vlm_image *image, *out;
    vlm_error err = VLM_ERROR_INIT;
    vlm_processing wishes = VLM_PROCESSING_INIT;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    for (int i = 3; i > -2; i -= 4) {
        wishes.image_backend = (vlm_resampler)i;
        assert_int_equal(vlm_input_set_processing(in, &wishes, &err), VLM_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "image backend"));
    }
    vlm_input_free(in);
    assert_int_equal(vlm_image_from_pixels(&image, "123456", (vlm_size) { 2, 1 }, 3, 6, &err), VLM_OK);
    assert_int_equal(vlm_image_apply(&out, image, &wishes, &err), VLM_ERR_ARGUMENT);
    vlm_image_free(image);
    const char *argv[] = { "vlm", "dump", "--stage", "processor", "-m", "x", "--image-backend", "PIL", NULL };
    tprocess p = tprocess_run(argv, NULL);
    assert_int_equal(p.status, 2);
    assert_string_equal(p.err, "vlm: --image-backend: pillow, torchvision or torchvision-bicubic\n");
    tprocess_free(&p);
}

/* The box that a user wishes pictures to fit in is of the same backend. */
static void wished_sizes_are_of_the_backend(void **state) {
    (void)state;
    vlm_image *image, *out[2], *want;
    vlm_error err = VLM_ERROR_INIT;
    vlm_processing wishes = VLM_PROCESSING_INIT;
    wishes.resize = (vlm_size) { 50, 50 };
    assert_int_equal(vlm_image_open(&image, "tests/data/pictures/photo.jpg", NULL, &err), VLM_OK);
    for (int i = 0; i < 2; i++) {
        wishes.image_backend = (vlm_resampler)i;
        assert_int_equal(vlm_image_apply(&out[i], image, &wishes, &err), VLM_OK);
        vlm_size size = vlm_image_size(out[i]);
        assert_int_equal(vlm_image_resample(&want, image, size, VLM_FILTER_BICUBIC, (vlm_resampler)i, &err), VLM_OK);
        assert_memory_equal(vlm_image_pixels(out[i]), vlm_image_pixels(want), 3 * size.width * size.height);
        vlm_image_free(want);
    }
    vlm_size size = vlm_image_size(out[0]);
    assert_memory_not_equal(vlm_image_pixels(out[0]), vlm_image_pixels(out[1]), 3 * size.width * size.height);
    vlm_image_free(out[0]);
    vlm_image_free(out[1]);
    vlm_image_free(image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_the_references),
        cmocka_unit_test(the_command_dumps_the_references_tensors),
        cmocka_unit_test(masks_of_floats_hide_patches),
        cmocka_unit_test(filters_that_torchvision_lacks),
        cmocka_unit_test(frames_that_may_not_be_resized),
        cmocka_unit_test(backends_that_there_are_not),
        cmocka_unit_test(wished_sizes_are_of_the_backend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
