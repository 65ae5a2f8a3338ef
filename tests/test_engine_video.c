/* SPDX-License-Identifier: MIT */
/* Video files through the families: which frames, and the tensors that transformers' processors make
 * of them (tests/data/video/samples.txt and families.txt, made by tools/golden/video.py); parts of
 * messages; the command. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/engine.h"
#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/golden.h"
#include "support/parity.h"
#include "support/process.h"

#define CLIPS "tests/data/video/"
enum { FAMILIES = 2 };
static const char *const variants[FAMILIES] = { "smolvlm-video", "qwen2_5_vl-tied" };
static tparity tiny[FAMILIES];

static tparity *family(const char *variant) {
    int i = strcmp(variant, variants[0]) == 0 ? 0 : 1;
    assert_string_equal(variant, variants[i]);
    return &tiny[i];
}

static int open_families(void **state) {
    (void)state;
    for (int i = 0; i < FAMILIES; i++) {
        char dir[64];
        snprintf(dir, sizeof dir, "tests/golden/%s", variants[i]);
        tparity_open(&tiny[i], dir, NULL, VLM_PRECISION_F32, 1);
    }
    return 0;
}

static int close_families(void **state) {
    (void)state;
    for (int i = 0; i < FAMILIES; i++) tparity_close(&tiny[i]);
    return 0;
}

/* ---- which frames ---------------------------------------------------------------------------- */
static void check_sample(const char *line, const char *rule, const vlm_clip *clip) {
    const tparity *p = &tiny[strcmp(rule, "smolvlm") == 0 ? 0 : 1];
    const char *expected = strchr(line, '=') + 2;
    bool none = strncmp(expected, "none", 4) == 0;
    int64_t *numbers = calloc((size_t)clip->frames, sizeof *numbers);
    size_t n = 0, at = 0;
    vlm_error err = VLM_ERROR_INIT;
    vlm_status status = p->context->processor_type->sample(p->context->processor, clip, numbers, &n, &err);
    if (none && clip->wish_nframes) {
        assert_int_equal(status, VLM_ERR_VIDEO_PROCESSING);
        free(numbers);
        return;
    }
    assert_int_equal(status, VLM_OK);
    assert_true(n > 0 && n <= (size_t)clip->frames);
    char *text = calloc(n, 12), digest[65], want[17];
    unsigned count;
    for (size_t i = 0; i < n; i++) {
        assert_true(numbers[i] < clip->frames && (i == 0 || numbers[i] > numbers[i - 1]));
        at += (size_t)sprintf(text + at, "%s%lld", i ? " " : "", (long long)numbers[i]);
    }
    tgolden_sha256(digest, text, at);
    digest[16] = 0;
    if (!none) { /* else the reference fails: a clip shorter than a step */
        assert_int_equal(sscanf(expected, "%u %16s", &count, want), 2);
        if (n != count || strcmp(digest, want))
            fail_msg("%.120s: %zu frames taken: %.200s", line, n, text);
    }
    free(text);
    free(numbers);
}

static void families_take_the_frames_of_the_reference(void **state) {
    (void)state;
    FILE *f = fopen(CLIPS "samples.txt", "r");
    assert_non_null(f);
    char line[512], rule[16];
    int seen = 0;
    while (fgets(line, sizeof line, f)) {
        long long total, most, least = 0, number = 0;
        double rate, fps;
        if (sscanf(line, "%15s %lld %lf %lf %lld %lld %lld", rule, &total, &rate, &fps, &most, &least, &number) < 5
            || strcmp(rule, "mlx-vlm") == 0)
            continue;
        vlm_clip clip = { .frames = total, .fps = rate, .duration = (double)total / rate, .wish_fps = fps,
                          .wish_frames = most, .wish_min_frames = least, .wish_nframes = number };
        check_sample(line, rule, &clip);
        seen++;
    }
    fclose(f);
    assert_true(seen >= 1900);
}

/* ---- tensors --------------------------------------------------------------------------------- */
static vlm_prepared *prepare(const tparity *p, const char *clip, double fps, uint32_t most,
                             const char *messages) {
    vlm_input *in;
    vlm_prepared *prepared = NULL;
    vlm_error err = VLM_ERROR_INIT;
    char path[128];
    snprintf(path, sizeof path, CLIPS "%s", clip ? clip : "");
    vlm_processing wishes = VLM_PROCESSING_INIT;
    wishes.fps = fps;
    wishes.max_frames = most;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    assert_int_equal(vlm_input_set_processing(in, &wishes, &err), VLM_OK);
    vlm_status status = clip ? vlm_input_add_video_file(in, path, &err) : VLM_OK;
    if (status >= 0)
        status = messages ? vlm_input_set_messages(in, messages, &err)
                          : vlm_input_add_message(in, "user", "What happens?", &err);
    if (status >= 0) status = vlm_prepare(&prepared, p->context, in, &err);
    if (status < 0) fail_msg("%s", err.message);
    vlm_input_free(in);
    return prepared;
}

/* Each NAME=HASH of the line is a tensor of the file. */
static void check_tensors(const char *path, char *words, const char *where) {
    vio_tensors *file;
    int seen = 0;
    assert_int_equal(vio_tensors_open_file(&file, path, NULL, NULL), VLM_OK);
    for (char *word = strtok(words, " \n"); word; word = strtok(NULL, " \n"), seen++) {
        char *equals = strchr(word, '='), digest[65];
        *equals = 0;
        const vio_tensor *t = vio_tensors_find(file, word);
        if (!t) fail_msg("%s: there is no %s", where, word);
        tgolden_sha256(digest, t->data, t->bytes);
        digest[16] = 0;
        if (strcmp(digest, equals + 1)) fail_msg("%s: %s is not the reference's", where, word);
    }
    vio_tensors_close(file);
    assert_true(seen >= 4);
}

static void clips_become_the_tensors_of_the_reference(void **state) {
    (void)state;
    FILE *f = fopen(CLIPS "families.txt", "r");
    assert_non_null(f);
    char line[1024], variant[32], clip[32], path[] = "/tmp/vlm-clip-XXXXXX";
    int seen = 0, words = 0;
    close(mkstemp(path));
    while (fgets(line, sizeof line, f)) {
        double fps;
        unsigned most;
        char where[160];
        assert_int_equal(sscanf(line, "%31s %31s %lf %u %n", variant, clip, &fps, &most, &words), 4);
        snprintf(where, sizeof where, "%s %s at %g, most %u", variant, clip, fps, most);
        vlm_prepared *prepared = prepare(family(variant), clip, fps, most, NULL);
        assert_int_equal(vlm_prepared_save(prepared, path, NULL), VLM_OK);
        check_tensors(path, line + words, where);
        vlm_prepared_free(prepared);
        seen++;
    }
    fclose(f);
    unlink(path);
    assert_true(seen >= 32);
}

/* ---- frames are resized as they come --------------------------------------------------------- */
static const vlm_processing wishes[] = {
    { .struct_size = sizeof(vlm_processing), .fps = 1 },
    { .struct_size = sizeof(vlm_processing), .fps = 1, .max_pixels = 6272 },
    { .struct_size = sizeof(vlm_processing), .fps = 1, .min_pixels = 200704, .max_pixels = 401408 },
    { .struct_size = sizeof(vlm_processing), .fps = 1, .resize = { 50, 90 } },
    { .struct_size = sizeof(vlm_processing), .fps = 1, .resize = { 700, 500 } },
    { .struct_size = sizeof(vlm_processing), .fps = 2, .max_frames = 3 },
    { .struct_size = sizeof(vlm_processing), .fps = 1, .image_backend = VLM_RESAMPLER_TORCHVISION },
    { .struct_size = sizeof(vlm_processing), .fps = 1, .resize = { 90, 90 }, .image_backend = VLM_RESAMPLER_TORCHVISION },
};
enum { WISHES = sizeof wishes / sizeof wishes[0] };

static vlm_prepared *prepare_again(const tparity *p, vlm_input *in, const vlm_processing *wish) {
    vlm_prepared *prepared;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_input_set_processing(in, wish, &err), VLM_OK);
    if (vlm_prepare(&prepared, p->context, in, &err) < 0) fail_msg("%s", err.message);
    return prepared;
}

static vlm_input *input_of(const char *clip) {
    vlm_input *in;
    assert_int_equal(vlm_input_new(&in, NULL), VLM_OK);
    if (clip) assert_int_equal(vlm_input_add_video_file(in, clip, NULL), VLM_OK);
    if (clip) assert_int_equal(vlm_input_add_message(in, "user", "What happens?", NULL), VLM_OK);
    return in;
}

static void assert_same_prepared(const vlm_prepared *a, const vlm_prepared *b) {
    size_t n, m;
    const uint32_t *ids = vlm_prepared_ids(a, &n), *others = vlm_prepared_ids(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(ids, others, n * sizeof *ids);
    assert_int_equal(vmodel_prepared_count(a), vmodel_prepared_count(b));
    for (size_t i = 0; i < vmodel_prepared_count(a); i++) {
        const vlm_array *x = vmodel_prepared_at(a, i), *y = vlm_prepared_find(b, x->name);
        assert_non_null(y);
        size_t bytes = vtensor_dtype_size(x->dtype);
        assert_int_equal(x->rank, y->rank);
        for (int d = 0; d < x->rank; d++) {
            assert_int_equal(x->shape[d], y->shape[d]);
            bytes *= (size_t)x->shape[d];
        }
        assert_memory_equal(x->data, y->data, bytes);
    }
}

/* One input under one wish after the other, and inputs of their own. */
static void an_input_is_prepared_again_with_other_wishes(void **state) {
    (void)state;
    for (int f = 0; f < FAMILIES; f++) {
        vlm_input *used = input_of(CLIPS "h264.mp4");
        for (int k = 0; k < 2 * WISHES; k++) {
            vlm_input *fresh = input_of(CLIPS "h264.mp4");
            vlm_prepared *a = prepare_again(&tiny[f], used, &wishes[k % WISHES]);
            vlm_prepared *b = prepare_again(&tiny[f], fresh, &wishes[k % WISHES]);
            assert_same_prepared(a, b);
            vlm_prepared_free(a);
            vlm_prepared_free(b);
            vlm_input_free(fresh);
        }
        vlm_input_free(used);
    }
}

/* The same frames given as pictures, which nobody resizes before the processor does. */
static void frames_of_a_file_become_what_given_frames_do(void **state) {
    (void)state;
    for (int k = 0; k < FAMILIES * WISHES; k++) {
        const tparity *p = &tiny[k % FAMILIES];
        const char *name = k % FAMILIES ? "pixel_values_videos" : "pixel_values";
        vlm_input *of_file = input_of(CLIPS "h264.mp4"), *given = input_of(NULL);
        vlm_prepared *a = prepare_again(p, of_file, &wishes[k / FAMILIES]);
        vlm_video *video = of_file->videos[0].file;
        const vlm_video_info *info = vlm_video_get_info(video);
        vlm_clip clip = { .frames = info->frames, .fps = info->fps, .duration = info->duration,
                          .wish_fps = of_file->processing.fps, .wish_frames = of_file->processing.max_frames };
        int64_t *numbers = calloc((size_t)info->frames, sizeof *numbers);
        vlm_processed_frames frames;
        size_t n;
        assert_int_equal(p->context->processor_type->sample(p->context->processor, &clip, numbers, &n, NULL), VLM_OK);
        assert_int_equal(vlm_video_read_frames(&frames, video, numbers, n, NULL, NULL, NULL), VLM_OK);
        assert_int_equal(vlm_input_add_video(given, frames.frames, n, 1, NULL), VLM_OK);
        frames.n = 0; /* the input's now */
        assert_int_equal(vlm_input_add_message(given, "user", "What happens?", NULL), VLM_OK);
        vlm_prepared *b = prepare_again(p, given, &wishes[k / FAMILIES]);
        const vlm_array *x = vlm_prepared_find(a, name), *y = vlm_prepared_find(b, name);
        size_t bytes = sizeof(float);
        assert_true(x && y && x->rank == y->rank);
        for (int d = 0; d < x->rank; d++) {
            assert_int_equal(x->shape[d], y->shape[d]);
            bytes *= (size_t)x->shape[d];
        }
        assert_memory_equal(x->data, y->data, bytes);
        free(numbers);
        vlm_processed_frames_free(&frames);
        vlm_prepared_free(a);
        vlm_prepared_free(b);
        vlm_input_free(of_file);
        vlm_input_free(given);
    }
}

static size_t media_tokens(vlm_prepared *prepared) {
    size_t n;
    vlm_prepared_tokens(prepared, &n);
    vlm_prepared_free(prepared);
    return n;
}

static const char form[] = "[{\"role\": \"user\", \"content\": [{\"type\": \"video\", %s}, "
                           "{\"type\": \"text\", \"text\": \"What?\"}]}]";

static vlm_prepared *prepare_part(const tparity *p, const char *part) {
    char messages[512];
    snprintf(messages, sizeof messages, form, part);
    return prepare(p, NULL, 0, 0, messages);
}

static void parts_of_messages_name_clips(void **state) {
    (void)state;
    const tparity *p = family("smolvlm-video");
    size_t one = media_tokens(prepare(p, "h264.mp4", 0.5, 0, NULL)); /* one frame */
    static const struct {
        const char *part;
        size_t frames;
    } good[] = {
        { "\"path\": \"" CLIPS "h264.mp4\"", 2 }, /* one a second */
        { "\"video\": \"" CLIPS "h264.mp4\", \"fps\": 2", 4 },
        { "\"video\": \"" CLIPS "h264.mp4\", \"fps\": 5, \"max_frames\": 3", 3 },
        { "\"video\": [\"tests/data/media/rgba.png\", \"tests/data/media/rgba.png\"]", 2 },
        { "\"video\": [\"tests/data/media/rgba.png\"], \"sample_fps\": 1, \"max_frames\": 4", 1 },
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(media_tokens(prepare_part(p, good[i].part)), good[i].frames * one);
}

/* Steps in time of two frames each, and how long one is. */
static void check_steps(const char *part, int64_t steps, float seconds) {
    vlm_prepared *prepared = prepare_part(family("qwen2_5_vl-tied"), part);
    assert_int_equal(((const int64_t *)vlm_prepared_find(prepared, "video_grid_thw")->data)[0], steps);
    assert_float_equal(((const float *)vlm_prepared_find(prepared, "second_per_grid_ts")->data)[0], seconds, 1e-5);
    vlm_prepared_free(prepared);
}

/* 50 frames in two seconds. */
static void parts_of_messages_say_which_frames(void **state) {
    (void)state;
    static const char clip[] = "\"video\": \"" CLIPS "h264.mp4\", ", dot[] = "tests/data/media/rgba.png";
    const struct {
        const char *wishes;
        int64_t steps;
        float seconds;
    } good[] = {
        { "\"fps\": 4", 4, 0.5F },
        { "\"nframes\": 6", 3, 2.0F / 3 },
        { "\"nframes\": 7, \"min_frames\": 20", 4, 0.5F },
        { "\"fps\": 1, \"min_frames\": 10", 5, 0.4F },
        { "\"fps\": 10, \"max_frames\": 8", 4, 0.5F },
        { "\"nframes\": null, \"fps\": 4, \"video_start\": null", 4, 0.5F },
    };
    char part[256];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(part, sizeof part, "%s%s", clip, good[i].wishes);
        check_steps(part, good[i].steps, good[i].seconds);
    }
    snprintf(part, sizeof part, "\"video\": [\"%s\", \"%s\", \"%s\"], \"sample_fps\": 4", dot, dot, dot);
    check_steps(part, 2, 0.5F);
    snprintf(part, sizeof part, "\"video\": [\"%s\", \"%s\", \"%s\", \"%s\"], \"fps\": 4, \"max_frames\": 2", dot, dot, dot, dot);
    check_steps(part, 1, 1);
}

static void wishes_reach_a_video_that_was_added(void **state) {
    (void)state;
    const tparity *p = family("qwen2_5_vl-tied");
    char messages[512];
    snprintf(messages, sizeof messages, form, "\"nframes\": 6");
    vlm_prepared *prepared = prepare(p, "h264.mp4", 9, 30, messages);
    assert_int_equal(((const int64_t *)vlm_prepared_find(prepared, "video_grid_thw")->data)[0], 3);
    vlm_prepared_free(prepared);
}

static void wrong_wishes_are_refused_by_name(void **state) {
    (void)state;
    static const char file[] = "\"path\": \"" CLIPS "h264.mp4\"", list[] = "\"video\": [\"tests/data/media/rgba.png\"]";
    static const struct {
        const char *video, *wish, *name;
        vlm_status status;
    } wrong[] = {
        { file, "\"fps\": 0", "fps", VLM_ERR_FORMAT },
        { file, "\"fps\": \"2\"", "fps", VLM_ERR_FORMAT },
        { file, "\"max_frames\": 0", "max_frames", VLM_ERR_FORMAT },
        { file, "\"max_frames\": 1.5", "max_frames", VLM_ERR_FORMAT },
        { file, "\"min_frames\": -1", "min_frames", VLM_ERR_FORMAT },
        { file, "\"nframes\": 4294967296", "nframes", VLM_ERR_FORMAT },
        { file, "\"nframes\": 4, \"fps\": 2", "nframes", VLM_ERR_FORMAT },
        { file, "\"sample_fps\": 2", "sample_fps", VLM_ERR_UNSUPPORTED },
        { file, "\"video_start\": 0", "video_start", VLM_ERR_UNSUPPORTED },
        { file, "\"video_end\": 1", "video_end", VLM_ERR_UNSUPPORTED },
        { file, "\"resized_height\": 28", "resized_height", VLM_ERR_UNSUPPORTED },
        { file, "\"resized_width\": 28", "resized_width", VLM_ERR_UNSUPPORTED },
        { file, "\"min_pixels\": 1", "min_pixels", VLM_ERR_UNSUPPORTED },
        { file, "\"max_pixels\": 1", "max_pixels", VLM_ERR_UNSUPPORTED },
        { file, "\"total_pixels\": 1", "total_pixels", VLM_ERR_UNSUPPORTED },
        { list, "\"raw_fps\": 1", "raw_fps", VLM_ERR_UNSUPPORTED },
        { list, "\"nframes\": 1", "nframes", VLM_ERR_UNSUPPORTED },
        { list, "\"min_frames\": 1", "min_frames", VLM_ERR_UNSUPPORTED },
        { "\"video\": []", "\"fps\": 1", "no frames", VLM_ERR_NO_VIDEO_TRACK },
        { "\"video\": [7]", "\"fps\": 1", "frame 1", VLM_ERR_FORMAT },
        { "\"video\": [\"tests/data/media/rgba.png\", \"no/such.png\"]", "\"fps\": 1", "no/such.png", VLM_ERR_NOT_FOUND },
        { "\"video\": [\"tests/data/video/samples.txt\"]", "\"fps\": 1", "samples.txt", VLM_ERR_VIDEO_NOT_DECODABLE },
        { "\"video\": [\"tests/data/media/rgba.png\", \"tests/data/pictures/square.png\"]", "\"fps\": 1", "frame 1", VLM_ERR_VIDEO_PROCESSING },
        { "\"video\": \"https://example.com/a.mp4\"", "\"fps\": 1", "must be a file", VLM_ERR_UNSUPPORTED },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char part[256], messages[512];
        vlm_input *in = input_of(NULL);
        vlm_error err = VLM_ERROR_INIT;
        snprintf(part, sizeof part, "%s, %s", wrong[i].video, wrong[i].wish);
        snprintf(messages, sizeof messages, form, part);
        vlm_status status = vlm_input_set_messages(in, messages, &err);
        if (status != wrong[i].status || err.code != status || !strstr(err.message, wrong[i].name))
            fail_msg("%s: %s: %s", part, vlm_status_name(status), err.message);
        vlm_input_free(in);
    }
}

/* What only the family can say: more frames than there are, a rule that has no such wish. */
static void wishes_that_a_family_cannot_meet(void **state) {
    (void)state;
    static const struct {
        const char *variant, *wish;
        vlm_status status;
    } wrong[] = {
        { "qwen2_5_vl-tied", "\"nframes\": 52", VLM_ERR_VIDEO_PROCESSING },
        { "qwen2_5_vl-tied", "\"nframes\": 1", VLM_ERR_VIDEO_PROCESSING },
        { "smolvlm-video", "\"nframes\": 4", VLM_ERR_UNSUPPORTED },
        { "smolvlm-video", "\"min_frames\": 4", VLM_ERR_UNSUPPORTED },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char part[256], messages[512];
        vlm_input *in = input_of(NULL);
        vlm_prepared *prepared;
        vlm_error err = VLM_ERROR_INIT;
        snprintf(part, sizeof part, "\"path\": \"" CLIPS "h264.mp4\", %s", wrong[i].wish);
        snprintf(messages, sizeof messages, form, part);
        assert_int_equal(vlm_input_set_messages(in, messages, &err), VLM_OK);
        assert_int_equal(vlm_prepare(&prepared, family(wrong[i].variant)->context, in, &err), wrong[i].status);
        assert_null(prepared);
        assert_non_null(strstr(err.message, strstr(wrong[i].wish, "min") ? "min_frames" : "nframes"));
        vlm_input_free(in);
    }
}

static void wrong_clips_are_refused(void **state) {
    (void)state;
    vlm_input *in;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    assert_int_equal(vlm_input_add_video_file(in, CLIPS "sound.m4a", &err), VLM_ERR_NO_VIDEO_TRACK);
    assert_int_equal(vlm_input_add_video_file(in, "no/clip.mp4", &err), VLM_ERR_NOT_FOUND);
    assert_int_equal(vlm_input_add_video_file(in, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_input_add_video_file(NULL, "x", &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_input_add_video_opened(in, NULL, 0, 0, &err), VLM_ERR_ARGUMENT);
    vlm_input_free(in);
}

static size_t asked; /* how often somebody wanted to know which frames to decode */
static vlm_status count_and_sample(const void *self, const vlm_clip *clip, int64_t *numbers, size_t *n, vlm_error *err) {
    (void)self, (void)err;
    asked++;
    numbers[0] = 0, numbers[1] = clip->frames - 1;
    *n = 2;
    return VLM_OK;
}

/* Decoding is what costs: a chat that has no place for its clip fails before. */
static void places_are_counted_before_a_clip_is_decoded(void **state) {
    (void)state;
    static const char *const templates[] = { "\"{{ 'no place' }}\"",
                                             "\"{{ '<|video_pad|><|video_pad|>' }}\"", "\"{{ '<|video_pad|>' }}\"" };
    vlm_context *c = family("qwen2_5_vl-tied")->context;
    const vlm_processor_type *type = c->processor_type;
    vlm_processor_type row = *type;
    row.sample = count_and_sample;
    c->processor_type = &row;
    for (size_t i = 0; i < 3; i++) {
        vlm_input *in;
        vlm_prepared *prepared;
        vlm_error err = VLM_ERROR_INIT;
        assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
        assert_int_equal(vlm_input_add_video_file(in, CLIPS "h264.mp4", &err), VLM_OK);
        assert_int_equal(vlm_input_add_message(in, "user", "<|video_pad|>", &err), VLM_OK);
        assert_int_equal(vlm_input_set_variable(in, "chat_template", templates[i], &err), VLM_OK);
        vlm_status status = vlm_prepare(&prepared, c, in, &err);
        assert_int_equal(status, i == 2 ? VLM_OK : VLM_ERR_MEDIA_COUNT);
        assert_int_equal(asked, i == 2);
        if (i < 2)
            assert_string_equal(err.message, i == 0 ? "the prompt has 0 places for videos (<|video_pad|>), but 1 is given"
                                                    : "the prompt has 2 places for videos (<|video_pad|>), but 1 is given");
        vlm_prepared_free(prepared);
        vlm_input_free(in);
    }
    c->processor_type = type;
}

static uint64_t predicted_pictures(const tparity *p, const vlm_input *in) {
    vlm_error err = VLM_ERROR_INIT;
    vcore_json_doc *doc;
    char *json;
    int64_t bytes;
    if (vlm_inspect(&json, p->dir, NULL, in, NULL, &err) < 0) fail_msg("%s", err.message);
    assert_int_equal(vcore_json_parse(&doc, json, strlen(json), "inspect", NULL), VLM_OK);
    assert_true(vcore_json_int(vcore_json_get(vcore_json_root(doc), "pictures_bytes"), &bytes));
    vcore_json_free(doc);
    vlm_string_free(json);
    return (uint64_t)bytes;
}

/* 96 x 64 at two frames a second of a clip of two seconds. */
static void frames_of_files_are_predicted(void **state) {
    (void)state;
    const tparity *qwen = family("qwen2_5_vl-tied"), *smol = family("smolvlm-video");
    vlm_input *in = input_of(CLIPS "h264.mp4");
    vlm_processing wish = VLM_PROCESSING_INIT;
    wish.fps = 2;
    assert_int_equal(vlm_input_set_processing(in, &wish, NULL), VLM_OK);
    assert_int_equal(predicted_pictures(smol, in), 3 * 96 * 64 * 5); /* no smaller in its squares */
    assert_int_equal(predicted_pictures(qwen, in), 3 * (96 * 64 + 84 * 56 * 4));
    wish.max_pixels = 3136;
    assert_int_equal(vlm_input_set_processing(in, &wish, NULL), VLM_OK);
    assert_int_equal(predicted_pictures(qwen, in), 3 * (96 * 64 + 56 * 28 * 4));
    vlm_input_free(in);
}

/* Two runs of the command: the tensors of --video; a clip that is cut warns, and prints nothing else. */
static void the_command_takes_clips(void **state) {
    (void)state;
    char out[] = "/tmp/vlm-clip-XXXXXX", cut[] = "/tmp/vlm-cut-XXXXXX";
    vio_bytes whole;
    close(mkstemp(out));
    int fd = mkstemp(cut);
    assert_int_equal(vio_read(&whole, CLIPS "variable.mkv", 1 << 20, NULL, NULL), VLM_OK);
    assert_true(write(fd, whole.p, whole.n * 2 / 3) > 0);
    close(fd);
    vcore_free(whole.p);
    const char *clips[] = { CLIPS "variable.mkv", cut };
    for (int i = 0; i < 2; i++) {
        const char *argv[] = { "vlm",   "dump",     "--stage", "processor", "-m",    tiny[1].dir,
                               "--video", clips[i], "--fps",   "4",         "-p",    "What happens?",
                               "--out", out,        NULL };
        tprocess run = tprocess_run(argv, NULL);
        if (run.status) fail_msg("%s", run.err);
        assert_true(tprocess_lines(run.err) <= (i ? 1 : 0));
        tprocess_free(&run);
        vio_tensors *file;
        assert_int_equal(vio_tensors_open_file(&file, out, NULL, NULL), VLM_OK);
        const vio_tensor *grid = vio_tensors_find(file, "video_grid_thw");
        assert_non_null(grid);
        int64_t steps = ((const int64_t *)(const void *)grid->data)[0];
        assert_true(i ? steps >= 2 && steps < 6 : steps == 6);
        vio_tensors_close(file);
    }
    unlink(out);
    unlink(cut);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_take_the_frames_of_the_reference),
        cmocka_unit_test(clips_become_the_tensors_of_the_reference),
        cmocka_unit_test(an_input_is_prepared_again_with_other_wishes),
        cmocka_unit_test(frames_of_a_file_become_what_given_frames_do),
        cmocka_unit_test(parts_of_messages_name_clips),
        cmocka_unit_test(parts_of_messages_say_which_frames),
        cmocka_unit_test(wishes_reach_a_video_that_was_added),
        cmocka_unit_test(wrong_wishes_are_refused_by_name),
        cmocka_unit_test(wishes_that_a_family_cannot_meet),
        cmocka_unit_test(wrong_clips_are_refused),
        cmocka_unit_test(places_are_counted_before_a_clip_is_decoded),
        cmocka_unit_test(frames_of_files_are_predicted),
        cmocka_unit_test(the_command_takes_clips),
    };
    return cmocka_run_group_tests(tests, open_families, close_families);
}
