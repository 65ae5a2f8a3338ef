/* SPDX-License-Identifier: MIT */
/* Out of memory with video files: every allocation of ours that opening a clip, reading its frames and
 * preparing them for a model make, failing in turn; and FFmpeg's own, which are refused above a size
 * (av_max_alloc). An error, nothing handed out, and, as the sanitizers say, no leak. */
#include <limits.h>

#include <libavutil/mem.h>

#include "support/alloc.h"
#include "support/cm.h"
#include "support/parity.h"

#define CLIPS "tests/data/video/"

static const char *const clips[] = { "h264.mp4", "turned-90.mov", "vp9.webm", "yuv422-10.mkv",
                                     "animation.gif" };

static vlm_status halve(void *user, vlm_video_frame *frame, vlm_error *err) {
    (void)user;
    vlm_image *half;
    vlm_size size = vlm_image_size(frame->image);
    vlm_status status = vlm_image_resize(&half, frame->image, (vlm_size) { size.width / 2, size.height / 2 },
                                         VLM_FILTER_BILINEAR, err);
    if (status < 0) return status;
    vlm_image_free(frame->image);
    frame->image = half;
    return VLM_OK;
}

/* Opens a clip and reads frames of it by number, time and rate. */
static vlm_status read_clip(const char *name, vlm_error *err) {
    static const int64_t numbers[] = { 0, 3, 1 };
    static const double times[] = { 0, 0.5 };
    char path[64];
    snprintf(path, sizeof path, CLIPS "%s", name);
    vlm_video_options o = VLM_VIDEO_OPTIONS_INIT;
    o.threads = 1;
    vlm_video *video = (void *)1;
    vlm_processed_frames f;
    vlm_status status = vlm_video_open(&video, path, &o, err);
    assert_true((status < 0) == (video == NULL));
    for (int i = 0; i < 4 && status >= 0; i++) {
        if (i == 0) status = vlm_video_read_frames(&f, video, numbers, 3, halve, NULL, err);
        if (i == 1) status = vlm_video_read_times(&f, video, times, 2, NULL, NULL, err);
        if (i == 2) status = vlm_video_read_rate(&f, video, 2, NULL, NULL, err);
        if (i == 3) status = vlm_video_read_at_most(&f, video, 2, NULL, NULL, NULL, NULL, err);
        assert_true((status < 0) == (f.n == 0));
        assert_true((status < 0) == (f.frames == NULL));
        vlm_processed_frames_free(&f);
    }
    vlm_video_close(video);
    return status;
}

static void reading(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof clips / sizeof clips[0]; i++) {
        vlm_status status = VLM_ERR_MEMORY;
        for (long k = 1; status == VLM_ERR_MEMORY; k++) {
            vlm_error err = VLM_ERROR_INIT;
            assert_true(k < 1000);
            talloc_start(k);
            status = read_clip(clips[i], &err);
            bool reached = talloc_stop() >= k;
            if (reached != (status == VLM_ERR_MEMORY))
                fail_msg("%s, allocation %ld: %s", clips[i], k, vlm_status_name(status));
            assert_int_equal(err.code, status);
        }
        assert_int_equal(status, VLM_OK);
    }
}

/* Of FFmpeg's, each size at which something more fits. Its decoders answer to a lack of memory in their
 * own ways, as to damage, too; that of VP9 crashes in FFmpeg 5.1, so that it is left out. */
static void reading_with_little_for_ffmpeg(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof clips / sizeof clips[0]; i++) {
        if (strcmp(clips[i], "vp9.webm") == 0) continue;
        int refused = 0;
        vlm_status status = VLM_ERR_MEMORY;
        for (size_t most = 64; most < 1 << 22; most += most / 16) {
            vlm_error err = VLM_ERROR_INIT;
            av_max_alloc(most);
            status = read_clip(clips[i], &err);
            av_max_alloc(INT_MAX);
            assert_int_equal(err.code, status);
            assert_true(status == VLM_OK || err.message[0]);
            refused += status < 0;
        }
        assert_int_equal(status, VLM_OK);
        assert_true(refused > 20); /* sizes */
    }
}

static void preparing(void **state) {
    tparity *p = *state;
    int failures = 0;
    for (long k = 1;; k++) {
        vlm_input *in = NULL;
        vlm_prepared *prepared = NULL;
        vlm_error err = VLM_ERROR_INIT;
        assert_true(k < 5000);
        talloc_start(k);
        vlm_status status = vlm_input_new(&in, &err);
        if (status >= 0) status = vlm_input_add_video_file(in, CLIPS "h264.mp4", &err);
        if (status >= 0) status = vlm_input_add_message(in, "user", "What happens?", &err);
        if (status >= 0) status = vlm_prepare(&prepared, p->context, in, &err);
        bool reached = talloc_stop() >= k;
        assert_true((status < 0) == (prepared == NULL));
        if (status < 0 && (!reached || status != VLM_ERR_MEMORY))
            fail_msg("allocation %ld: %s: %s", k, vlm_status_name(status), err.message);
        failures += status < 0;
        vlm_prepared_free(prepared);
        vlm_input_free(in);
        if (!reached) break;
    }
    assert_true(failures > 100);
}

static int open_qwen(void **state) {
    static tparity qwen;
    vlm_video_silence_ffmpeg();
    tparity_open(&qwen, "tests/golden/qwen2_5_vl-tied", NULL, VLM_PRECISION_F32, 1);
    *state = &qwen;
    return 0;
}

static int close_qwen(void **state) {
    tparity_close(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading),
        cmocka_unit_test(reading_with_little_for_ffmpeg),
        cmocka_unit_test(preparing),
    };
    return cmocka_run_group_tests(tests, open_qwen, close_qwen);
}
