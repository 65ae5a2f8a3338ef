/* SPDX-License-Identifier: MIT */
/* Video files: frames and times against FFmpeg's, in any order (tests/data/video/frames.txt, made by
 * tools/golden/video.py), sampling rules against mlx-vlm's, reads by time and rate, processing,
 * cancelling, limits, what is refused. Broken files are test_media_video_broken.c's. */
#include "media/media.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/cm.h"
#include "support/golden.h"

#define CLIPS "tests/data/video/"
enum { MOST_FRAMES = 64 };

/* What frames.txt says of one clip. */
typedef struct clip {
    char name[64];
    unsigned width, height, n;
    double duration, time[MOST_FRAMES];
    char digest[MOST_FRAMES][17];
} clip;

static clip *read_clips(size_t *n) {
    FILE *f = fopen(CLIPS "frames.txt", "r");
    assert_non_null(f);
    clip *clips = calloc(32, sizeof *clips);
    for (*n = 0; *n < 32; ++*n) {
        clip *c = &clips[*n];
        if (fscanf(f, "%63s %u %u %u %lf", c->name, &c->width, &c->height, &c->n, &c->duration) != 5)
            break;
        assert_true(c->n <= MOST_FRAMES);
        for (unsigned i = 0; i < c->n; i++)
            assert_int_equal(fscanf(f, "%lf %16s", &c->time[i], c->digest[i]), 2);
    }
    fclose(f);
    assert_true(*n >= 15);
    return clips;
}

static vlm_video *open_clip(const char *name, const vlm_video_options *options) {
    char path[256];
    snprintf(path, sizeof path, CLIPS "%s", name);
    vlm_video *video;
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_video_open(&video, path, options, &err) != VLM_OK) fail_msg("%s", err.message);
    return video;
}

static void assert_frame(const clip *c, const vlm_processed_frames *f, size_t i) {
    char digest[65];
    vlm_size size = vlm_image_size(f->frames[i]);
    int64_t k = f->numbers[i];
    assert_int_equal(size.width, c->width);
    assert_int_equal(size.height, c->height);
    tgolden_sha256(digest, vlm_image_pixels(f->frames[i]), (size_t)3 * size.width * size.height);
    digest[16] = 0;
    if (strcmp(digest, c->digest[k]))
        fail_msg("%s: frame %d hashes to %s, FFmpeg's to %s", c->name, (int)k, digest, c->digest[k]);
    if (fabs(f->times[i] - c->time[k]) > 1e-9)
        fail_msg("%s: frame %d is at %.9f, FFmpeg's at %.9f", c->name, (int)k, f->times[i], c->time[k]);
}

static void check_order(const clip *c, vlm_video *video, const int64_t *numbers, size_t n) {
    vlm_processed_frames frames;
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_video_read_frames(&frames, video, numbers, n, NULL, NULL, &err) != VLM_OK)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < n; i++) {
        if (i >= frames.n || frames.numbers[i] != numbers[i])
            fail_msg("%s: %zu of %zu frames; number %d is not there", c->name, frames.n, n,
                     (int)numbers[i]);
        assert_frame(c, &frames, i);
    }
    vlm_processed_frames_free(&frames);
    assert_null(frames.frames);
}

/* From the first to the last, from the last to the first, back and forth, and each alone. */
static void frames_are_ffmpegs(void **state) {
    (void)state;
    size_t n;
    clip *clips = read_clips(&n);
    for (size_t k = 0; k < n; k++) {
        const clip *c = &clips[k];
        int64_t order[4 * MOST_FRAMES];
        vlm_video *video = open_clip(c->name, NULL);
        const vlm_video_info *info = vlm_video_get_info(video);
        assert_int_equal(info->frames, c->n);
        assert_int_equal(info->size.width, c->width);
        assert_int_equal(info->size.height, c->height);
        if (fabs(info->duration - c->duration) > 1e-6)
            fail_msg("%s: %.9f s, FFmpeg says %.9f", c->name, info->duration, c->duration);
        assert_true(fabs(info->fps - c->n / c->duration) < 1e-3);
        for (unsigned i = 0; i < c->n; i++) order[i] = i;
        check_order(c, video, order, c->n);
        for (unsigned i = 0; i < c->n; i++) order[i] = c->n - 1 - i;
        check_order(c, video, order, c->n);
        for (unsigned i = 0; i < 2 * c->n; i++) order[i] = i * 17u % c->n;
        check_order(c, video, order, 2 * c->n);
        vlm_video_close(video);
        for (unsigned i = 0; i < c->n; i += 5) {
            video = open_clip(c->name, &(vlm_video_options) { .struct_size = sizeof(vlm_video_options),
                                                              .threads = 1 + (int)(i % 3) });
            check_order(c, video, (int64_t[]) { i }, 1);
            vlm_video_close(video);
        }
    }
    free(clips);
}

static void what_a_file_says_of_itself(void **state) {
    (void)state;
    static const struct {
        const char *name, *container, *codec;
        int rotation;
        int64_t claimed;
        double fps;
    } cases[] = {
        { "h264.mp4", "mov", "h264", 0, 50, 25 },
        { "hevc.mp4", "mov", "hevc", 0, 24, 24 },
        { "vp9.webm", "matroska", "vp9", 0, 0, 15 },
        { "av1.mkv", "matroska", "av1", 0, 0, 15 },
        { "plain.mov", "mov", "mpeg4", 0, 20, 10 },
        { "turned-90.mov", "mov", "mpeg4", 90, 20, 10 },
        { "turned-180.mov", "mov", "mpeg4", 180, 20, 10 },
        { "turned-270.mov", "mov", "mpeg4", 270, 20, 10 },
        { "animation.gif", "gif", "gif", 0, 12, 10 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vlm_video *video = open_clip(cases[i].name, NULL);
        const vlm_video_info *info = vlm_video_get_info(video);
        assert_string_equal(info->container, cases[i].container);
        assert_string_equal(info->codec, cases[i].codec);
        assert_int_equal(info->rotation, cases[i].rotation);
        assert_false(info->mirrored);
        assert_int_equal(info->frames_claimed, cases[i].claimed);
        assert_true(fabs(info->fps - cases[i].fps) < 0.02);
        assert_true(isnan(vlm_video_frame_time(video, -1)));
        assert_true(isnan(vlm_video_frame_time(video, info->frames)));
        assert_true(vlm_video_frame_time(video, 0) == 0);
        vlm_video_close(video);
    }
    assert_true(vlm_video_supported());
    assert_null(vlm_video_get_info(NULL));
    vlm_video_close(NULL);
    vlm_processed_frames_free(NULL);
}

/* ---- orientation ----------------------------------------------------------------------------- */
static vio_bytes slurp(const char *name) {
    char path[256];
    snprintf(path, sizeof path, CLIPS "%s", name);
    vio_bytes file;
    assert_int_equal(vio_read(&file, path, 1 << 20, NULL, NULL), VLM_OK);
    return file;
}

static uint8_t *find(vio_bytes file, const char *what) {
    uint8_t *at = memmem(file.p, file.n, what, strlen(what));
    assert_non_null(at);
    return at;
}

static void put32(uint8_t *to, uint32_t value) {
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> (24 - 8 * i));
}

static vlm_image *first_frame(const void *data, size_t bytes) {
    vlm_video *video;
    vlm_processed_frames frames;
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_video_open_memory(&video, data, bytes, "clip", NULL, &err) != VLM_OK)
        fail_msg("%s", err.message);
    assert_int_equal(vlm_video_read_frames(&frames, video, (int64_t[]) { 0 }, 1, NULL, NULL, &err),
                     VLM_OK);
    vlm_image *image = frames.frames[0];
    frames.n = 0;
    vlm_processed_frames_free(&frames);
    vlm_video_close(video);
    return image;
}

/* All eight matrices of a track's header do what the eight Exif orientations do. */
static void frames_are_turned_as_the_header_says(void **state) {
    (void)state;
    static const int matrices[9][4] = { { 0 },           { 1, 0, 0, 1 },   { -1, 0, 0, 1 },
                                        { -1, 0, 0, -1 }, { 1, 0, 0, -1 }, { 0, 1, 1, 0 },
                                        { 0, 1, -1, 0 },  { 0, -1, -1, 0 }, { 0, -1, 1, 0 } };
    vio_bytes file = slurp("h264.mp4");
    uint8_t *matrix = find(file, "tkhd") + 44;
    for (int orientation = 1; orientation <= 8; orientation++) {
        const int *m = matrices[orientation];
        put32(matrix, 65536);
        put32(matrix + 4, 0);
        put32(matrix + 12, 0);
        put32(matrix + 16, 65536);
        vlm_image *expected = first_frame(file.p, file.n);
        assert_true(vmedia_orient(expected, orientation));
        put32(matrix, (uint32_t)(m[0] * 65536));
        put32(matrix + 4, (uint32_t)(m[1] * 65536));
        put32(matrix + 12, (uint32_t)(m[2] * 65536));
        put32(matrix + 16, (uint32_t)(m[3] * 65536));
        vlm_image *actual = first_frame(file.p, file.n);
        vlm_size size = vlm_image_size(actual);
        assert_int_equal(size.width, vlm_image_size(expected).width);
        assert_int_equal(size.height, vlm_image_size(expected).height);
        assert_memory_equal(vlm_image_pixels(actual), vlm_image_pixels(expected),
                            (size_t)3 * size.width * size.height);
        vlm_image_free(actual);
        vlm_image_free(expected);
    }
    vcore_free(file.p);
}

/* ---- samplers -------------------------------------------------------------------------------- */
static void assert_numbers(const int64_t *numbers, size_t n, const char *expected, const char *line) {
    char text[1 << 15] = "", digest[65];
    unsigned count;
    char want[17];
    if (strncmp(expected, "none", 4) == 0) {
        if (n) fail_msg("%s: %zu frames taken, the reference refuses", line, n);
        return;
    }
    assert_int_equal(sscanf(expected, "%u %16s", &count, want), 2);
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        at += (size_t)sprintf(text + at, "%s%lld", i ? " " : "", (long long)numbers[i]);
    tgolden_sha256(digest, text, at);
    digest[16] = 0;
    if (n != count || strcmp(digest, want))
        fail_msg("%s: %zu frames taken: %.200s", line, n, text);
}

static void numbers_are_mlx_vlms(void **state) {
    (void)state;
    FILE *f = fopen(CLIPS "samples.txt", "r");
    assert_non_null(f);
    char line[512];
    int seen = 0;
    while (fgets(line, sizeof line, f)) {
        long long total, most, nframes;
        double rate, fps;
        if (sscanf(line, "mlx-vlm %lld %lf %lf %lld %lld", &total, &rate, &fps, &most, &nframes) != 5)
            continue;
        vlm_nframes_rule rule = { .fps = fps, .max_frames = most, .nframes = nframes };
        int64_t n, numbers[768];
        vlm_error err = VLM_ERROR_INIT;
        vlm_status status = vlm_smart_nframes(&n, total, rate, &rule, &err);
        assert_true(status == VLM_OK || (status == VLM_ERR_VIDEO_PROCESSING && n == 0));
        vlm_sample_linspace(numbers, (size_t)n, 0, total - 1, false);
        assert_numbers(numbers, (size_t)n, strchr(line, '=') + 2, line);
        seen++;
    }
    fclose(f);
    assert_true(seen >= 400);
}

static void rules_at_their_edges(void **state) {
    (void)state;
    int64_t t[8];
    assert_int_equal(vlm_sample_times(t, 8, 600, 600, 5, 0, 0), 5); /* one second at 5 */
    assert_int_equal(t[0], 0);
    assert_int_equal(t[1], 150);
    assert_int_equal(t[4], 600);
    assert_int_equal(vlm_sample_times(t, 8, 600, 600, 5, 3, 0), 3);
    assert_int_equal(t[1], 300);
    assert_int_equal(vlm_sample_times(t, 8, 600, 600, 5, 3, 2), 2);
    assert_int_equal(vlm_sample_times(t, 8, 600, 600, 0.1, 0, 0), 1); /* rounds to none: one */
    assert_int_equal(t[0], 0);
    assert_int_equal(vlm_sample_times(t, 8, 1500, 600, 0, 0, 0), 3); /* 2.5: away from zero */
    assert_int_equal(t[1], 750);
    assert_int_equal(vlm_sample_times(t, 8, 3, 1, 1, 3, 0), 3);
    assert_int_equal(t[1], 2); /* 1.5: away from zero */
    assert_int_equal(vlm_sample_times(NULL, 0, 1 << 20, 1, 1, 0, 0), 1 << 20);
    assert_int_equal(vlm_sample_times(t, 8, -5, 0, 2, 0, 0), 1);
    vlm_sample_linspace(t, 3, 0, 5, false);
    assert_int_equal(t[1], 2); /* 2.5: half to even */
    vlm_sample_linspace(t, 3, 0, 7, false);
    assert_int_equal(t[1], 4); /* 3.5 */
    vlm_sample_linspace(t, 3, 0, 7, true);
    assert_int_equal(t[1], 3);
    vlm_sample_linspace(t, 1, 4, 7, false);
    assert_int_equal(t[0], 4);
    assert_int_equal(vlm_sample_arange(t, 0, 5), 0);
    assert_int_equal(vlm_sample_arange(t, 6, 5), 0);
    assert_int_equal(vlm_sample_arange(t, 2, 5), 2);
    assert_int_equal(t[1], 2);
}

/* ---- reads ----------------------------------------------------------------------------------- */
static double twice(void *user, double duration) {
    *(double *)user = duration;
    return 2;
}

static void reads_by_time_and_rate(void **state) {
    (void)state;
    vlm_video *video = open_clip("plain.mov", NULL); /* 2 s, 10 a second */
    vlm_processed_frames f;
    vlm_error err = VLM_ERROR_INIT;
    const double times[] = { -1, 0, 0.05, 0.1, 0.3, 0.9999, 1.95, 7 };
    const int64_t at[] = { 0, 0, 0, 1, 3, 9, 19, 19 };
    assert_int_equal(vlm_video_read_times(&f, video, times, 8, NULL, NULL, &err), VLM_OK);
    for (int i = 0; i < 8; i++) assert_int_equal(f.numbers[i], at[i]);
    assert_true(fabs(f.duration - 2) < 1e-9);
    vlm_processed_frames_free(&f);
    assert_int_equal(vlm_video_read_rate(&f, video, 2, NULL, NULL, &err), VLM_OK);
    const int64_t spread[] = { 0, 6, 13, 19 }; /* 0, 2/3, 4/3, 2 s */
    assert_int_equal(f.n, 4);
    for (int i = 0; i < 4; i++) assert_int_equal(f.numbers[i], spread[i]);
    vlm_processed_frames_free(&f);
    double told = 0;
    assert_int_equal(vlm_video_read_at_most(&f, video, 3, twice, &told, NULL, NULL, &err), VLM_OK);
    assert_int_equal(f.n, 3);
    assert_int_equal(f.numbers[1], 10);
    assert_true(fabs(told - 2) < 1e-9);
    vlm_processed_frames_free(&f);
    assert_int_equal(vlm_video_read_at_most(&f, video, 9, NULL, NULL, NULL, NULL, &err), VLM_OK);
    assert_int_equal(f.n, 2); /* 1 a second */
    vlm_processed_frames_free(&f);
    assert_int_equal(vlm_video_read_rate(&f, video, 1000, NULL, NULL, &err), VLM_OK);
    assert_int_equal(f.n, 20); /* not more than there are */
    vlm_processed_frames_free(&f);
    assert_int_equal(vlm_video_read_rate(&f, video, 0, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_video_read_rate(&f, video, NAN, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_video_read_at_most(&f, video, 0, NULL, NULL, NULL, NULL, &err),
                     VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_video_read_times(&f, video, times, 0, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_video_read_frames(&f, video, (int64_t[]) { 20 }, 1, NULL, NULL, &err),
                     VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_video_read_frames(&f, video, (int64_t[]) { -1 }, 1, NULL, NULL, &err),
                     VLM_ERR_ARGUMENT);
    assert_null(f.frames);
    vlm_video_close(video);
}

typedef struct processing {
    int calls, end_at;
    vlm_status end;
    bool lose;
} processing;

/* Halves the picture and moves the time by a second. */
static vlm_status process(void *user, vlm_video_frame *frame, vlm_error *err) {
    processing *p = user;
    vlm_image *half;
    vlm_size size = vlm_image_size(frame->image);
    VTRY(vlm_image_resize(&half, frame->image, (vlm_size) { size.width / 2, size.height / 2 },
                          VLM_FILTER_BOX, err));
    vlm_image_free(frame->image);
    frame->image = half;
    frame->time += 1;
    if (p->lose) {
        vlm_image_free(half);
        frame->image = NULL;
    }
    if (++p->calls < p->end_at) return VLM_OK;
    return p->end < 0 ? vcore_fail(err, p->end, "enough") : p->end;
}

static void frames_are_processed(void **state) {
    (void)state;
    vlm_video *video = open_clip("plain.mov", NULL);
    vlm_processed_frames f;
    vlm_error err = VLM_ERROR_INIT;
    processing p = { .end_at = 100 };
    assert_int_equal(vlm_video_read_rate(&f, video, 2, process, &p, &err), VLM_OK);
    assert_int_equal(p.calls, 4);
    assert_int_equal(vlm_image_size(f.frames[3]).width, 36);
    assert_true(fabs(f.times[3] - 2.9) < 1e-9);
    vlm_processed_frames_free(&f);
    p = (processing) { .end_at = 2, .end = VLM_DONE };
    assert_int_equal(vlm_video_read_rate(&f, video, 2, process, &p, &err), VLM_OK);
    assert_int_equal(f.n, 2);
    vlm_processed_frames_free(&f);
    p = (processing) { .end_at = 2, .end = VLM_ERR_CANCELLED };
    assert_int_equal(vlm_video_read_rate(&f, video, 2, process, &p, &err), VLM_ERR_CANCELLED);
    assert_string_equal(err.message, "enough");
    assert_null(f.frames);
    p = (processing) { .end_at = 9, .lose = true };
    assert_int_equal(vlm_video_read_rate(&f, video, 2, process, &p, &err), VLM_ERR_ARGUMENT);
    vlm_video_close(video);
}

typedef struct progress {
    uint64_t calls, stop_at, done, total;
} progress;

static bool goes_on(void *user, uint64_t done, uint64_t total) {
    progress *p = user;
    p->done = done;
    p->total = total;
    return ++p->calls != p->stop_at;
}

static void a_read_is_cancelled_at_any_step(void **state) {
    (void)state;
    progress all = { 0 };
    vlm_video_options o = VLM_VIDEO_OPTIONS_INIT;
    o.progress = goes_on;
    o.progress_user = &all;
    o.threads = 1;
    vlm_processed_frames f;
    vlm_error err = VLM_ERROR_INIT;
    vlm_video *video = open_clip("h264.mp4", &o);
    assert_int_equal(all.total, 50);
    assert_int_equal(vlm_video_read_rate(&f, video, 4, NULL, NULL, &err), VLM_OK);
    assert_int_equal(all.done, 8);
    assert_int_equal(all.total, 8);
    vlm_processed_frames_free(&f);
    vlm_video_close(video);
    for (uint64_t stop = 1; stop <= all.calls; stop++) {
        progress p = { .stop_at = stop };
        o.progress_user = &p;
        vlm_status status = vlm_video_open(&video, CLIPS "h264.mp4", &o, &err);
        if (status == VLM_OK) status = vlm_video_read_rate(&f, video, 4, NULL, NULL, &err);
        assert_int_equal(status, VLM_ERR_CANCELLED);
        vlm_video_close(video);
    }
}

/* ---- what is refused ------------------------------------------------------------------------- */
static void assert_refused(const char *path, const vlm_limits *limits, vlm_status status,
                           const char *words) {
    vlm_video *video = (vlm_video *)&limits;
    vlm_error err = VLM_ERROR_INIT;
    vlm_video_options o = VLM_VIDEO_OPTIONS_INIT;
    o.limits = limits;
    assert_int_equal(vlm_video_open(&video, path, &o, &err), status);
    assert_null(video);
    assert_int_equal(err.code, status);
    if (strncmp(err.message, path, strlen(path)) || !strstr(err.message, words))
        fail_msg("'%s' has not '%s: ... %s'", err.message, path, words);
}

static void what_is_no_video_is_refused(void **state) {
    (void)state;
    assert_refused("no/such/clip.mp4", NULL, VLM_ERR_NOT_FOUND, "open");
    assert_refused("tests/data", NULL, VLM_ERR_IO, "directory");
    assert_refused("/dev/null", NULL, VLM_ERR_IO, "regular");
    assert_refused(CLIPS "frames.txt", NULL, VLM_ERR_VIDEO_NOT_DECODABLE, "mp4, mov, webm");
    assert_refused(CLIPS "sound.m4a", NULL, VLM_ERR_NO_VIDEO_TRACK, "no video track");
    vlm_video *video;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_video_open_memory(&video, NULL, 0, NULL, NULL, &err),
                     VLM_ERR_VIDEO_NOT_DECODABLE);
    assert_non_null(strstr(err.message, "empty"));
    assert_int_equal(vlm_video_open(NULL, "x", NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_video_open(&video, NULL, NULL, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_video_open_memory(&video, NULL, 3, NULL, NULL, &err), VLM_ERR_ARGUMENT);
}

static void limits_hold(void **state) {
    (void)state;
    vlm_limits limits = VLM_LIMITS_INIT;
    limits.video_pixels = 96 * 64 - 1;
    assert_refused(CLIPS "h264.mp4", &limits, VLM_ERR_LIMIT, "96x64");
    limits = (vlm_limits)VLM_LIMITS_INIT;
    limits.video_frames = 49;
    assert_refused(CLIPS "h264.mp4", &limits, VLM_ERR_LIMIT, "49 frames");
    limits = (vlm_limits)VLM_LIMITS_INIT;
    limits.video_file_bytes = 1000;
    assert_refused(CLIPS "h264.mp4", &limits, VLM_ERR_LIMIT, "1000 bytes");
    limits = (vlm_limits)VLM_LIMITS_INIT;
    limits.video_kept_bytes = 3 * 96 * 64 * 3;
    vlm_video_options o = VLM_VIDEO_OPTIONS_INIT;
    o.limits = &limits;
    vlm_video *video = open_clip("h264.mp4", &o);
    vlm_processed_frames f;
    vlm_error err = VLM_ERROR_INIT;
    const int64_t numbers[] = { 1, 2, 3, 4 };
    assert_int_equal(vlm_video_read_frames(&f, video, numbers, 3, NULL, NULL, &err), VLM_OK);
    vlm_processed_frames_free(&f);
    assert_int_equal(vlm_video_read_frames(&f, video, numbers, 4, NULL, NULL, &err), VLM_ERR_LIMIT);
    assert_int_equal(err.limit, limits.video_kept_bytes);
    vlm_video_close(video);
    limits = (vlm_limits)VLM_LIMITS_INIT;
    limits.image_side = 90;
    video = open_clip("h264.mp4", &o);
    assert_int_equal(vlm_video_read_frames(&f, video, numbers, 1, NULL, NULL, &err), VLM_ERR_LIMIT);
    vlm_video_close(video);
}

/* ---- nothing else is opened ------------------------------------------------------------------ */
static void write_file(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

static void try_all(const char *path) {
    vlm_video *video;
    vlm_processed_frames f;
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_video_open(&video, path, NULL, &err) < 0) return;
    if (vlm_video_read_rate(&f, video, 5, NULL, NULL, &err) == VLM_OK) vlm_processed_frames_free(&f);
    vlm_video_close(video);
}

/* A playlist, a list of FFmpeg's, a mov whose samples lie in another file: named as videos. */
static void nothing_else_is_opened(void **state) {
    (void)state;
    char dir[] = "/tmp/vlm-video-XXXXXX", bait[64], path[64], text[512];
    assert_non_null(mkdtemp(dir));
    snprintf(bait, sizeof bait, "%s/bait.mp4", dir);
    snprintf(path, sizeof path, "%s/clip.mp4", dir);
    vio_bytes file = slurp("plain.mov");
    write_file(bait, file.p, file.n);
    int watch = inotify_init1(IN_NONBLOCK);
    assert_true(watch >= 0 && inotify_add_watch(watch, bait, IN_OPEN | IN_ACCESS) >= 0);
    static const char *const lists[] = {
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n%s\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '%s'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\ni=%s\nm=video 5004 RTP/AVP 96\n",
        "<?xml version=\"1.0\"?><MPD><Period><BaseURL>%s</BaseURL></Period></MPD>",
        "file:%s",
    };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        int n = snprintf(text, sizeof text, lists[i], bait);
        write_file(path, text, (size_t)n);
        assert_refused(path, NULL, VLM_ERR_VIDEO_NOT_DECODABLE, "not a video");
    }
    /* dref: the entry "url " with the flag "self-contained" becomes one that names the bait */
    uint8_t *dref = find(file, "dref");
    uint8_t *entry = dref + 12;
    assert_memory_equal(entry + 4, "url ", 4);
    entry[11] = 0;
    write_file(path, file.p, file.n);
    try_all(path);
    memcpy(entry + 4, "alis", 4);
    write_file(path, file.p, file.n);
    try_all(path);
    vcore_free(file.p);
    assert_true(read(watch, text, sizeof text) < 0); /* nobody has touched it */
    try_all(bait);
    assert_true(read(watch, text, sizeof text) > 0); /* and the watch does see who does */
    close(watch);
    unlink(bait);
    unlink(path);
    rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_ffmpegs),
        cmocka_unit_test(what_a_file_says_of_itself),
        cmocka_unit_test(frames_are_turned_as_the_header_says),
        cmocka_unit_test(numbers_are_mlx_vlms),
        cmocka_unit_test(rules_at_their_edges),
        cmocka_unit_test(reads_by_time_and_rate),
        cmocka_unit_test(frames_are_processed),
        cmocka_unit_test(a_read_is_cancelled_at_any_step),
        cmocka_unit_test(what_is_no_video_is_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(nothing_else_is_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
