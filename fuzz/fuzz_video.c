/* SPDX-License-Identifier: MIT */
/* Any bytes as a video under small limits: its first, middle and last frame, or an error with a
 * message; and the sampling rules with numbers out of the bytes. */
#include <stdlib.h>
#include <string.h>

#include "vlm/video.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool goes_on(void *user, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    return ++*(unsigned *)user < 2000;
}

static void rules(const uint8_t *data, size_t size) {
    int64_t numbers[64], n, total = 1;
    double fps = 1;
    if (size < 32) return;
    memcpy(&total, data + 8, 4);
    memcpy(&fps, data + 16, 8);
    total &= 0xffffff;
    vlm_sample_times(numbers, 64, total, data[12], fps, data[13], data[14]);
    vlm_sample_linspace(numbers, data[13] % 65, 0, total, data[14] & 1);
    vlm_sample_arange(numbers, data[13] % 65, total);
    vlm_nframes_rule rule = { fps, data[12], data[13], data[14], data[15] };
    if (vlm_smart_nframes(&n, total, fps, &rule, NULL) == VLM_OK && (n < 1 || n > total)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    unsigned steps = 0;
    vlm_limits limits = VLM_LIMITS_INIT;
    limits.video_pixels = 1 << 16;
    limits.video_frames = 200;
    vlm_video_options o = VLM_VIDEO_OPTIONS_INIT;
    o.limits = &limits;
    o.threads = 1;
    o.progress = goes_on;
    o.progress_user = &steps;
    vlm_video *video;
    vlm_processed_frames f;
    vlm_error err = VLM_ERROR_INIT;
    vlm_video_silence_ffmpeg();
    rules(data, size);
    vlm_status status = vlm_video_open_memory(&video, data, size, "fuzz", &o, &err);
    if (status != VLM_OK) {
        if (video || err.code != status || !err.message[0]) abort();
        return 0;
    }
    int64_t frames = vlm_video_get_info(video)->frames;
    if (frames < 1 || frames > 200) abort();
    const int64_t numbers[] = { 0, frames / 2, frames - 1, frames / 3 };
    status = vlm_video_read_frames(&f, video, numbers, 4, NULL, NULL, &err);
    if (status != VLM_OK && (f.n || err.code != status || !err.message[0])) abort();
    unsigned sum = 0; /* touches every byte, for the sanitizers */
    for (size_t i = 0; i < f.n; i++) {
        vlm_size s = vlm_image_size(f.frames[i]);
        for (size_t k = 0; k < (size_t)3 * s.width * s.height; k++) sum += vlm_image_pixels(f.frames[i])[k];
    }
    vlm_processed_frames_free(&f);
    vlm_video_close(video);
    return sum == 1 ? -1 : 0;
}
