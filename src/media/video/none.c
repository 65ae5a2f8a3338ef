/* SPDX-License-Identifier: MIT */
/* Video files where FFmpeg's libraries were not there when this was built: each is refused. */
#include "media/media.h"

static vlm_status refuse(vlm_video **out, const char *name, vlm_error *err) {
    if (out) *out = NULL;
    return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, name ? name : "video", NULL,
                            "this build reads no video files: it was made without FFmpeg's libraries");
}

bool vlm_video_supported(void) {
    return false;
}

void vlm_video_silence_ffmpeg(void) {
}

vlm_status vlm_video_open(vlm_video **out, const char *path, const vlm_video_options *options,
                          vlm_error *err) {
    (void)options;
    return refuse(out, path, err);
}

vlm_status vlm_video_open_memory(vlm_video **out, const void *data, size_t bytes, const char *name,
                                 const vlm_video_options *options, vlm_error *err) {
    (void)data;
    (void)bytes;
    (void)options;
    return refuse(out, name, err);
}

void vlm_video_close(vlm_video *video) {
    (void)video;
}

vlm_status vmedia_video_frame(vlm_image **out, int64_t *number, vlm_video *video, int64_t wanted,
                              vlm_error *err) {
    (void)out;
    (void)number;
    (void)wanted;
    return refuse(NULL, video->name, err);
}
