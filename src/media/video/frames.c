/* SPDX-License-Identifier: MIT */
/* Frames of an opened video, collected: by number, by time, by rate, each through the caller's
 * processing. Owns what a read keeps and its limits; decoding is decode.c's. */
#include "media/media.h"

#include <math.h>

void vlm_processed_frames_free(vlm_processed_frames *f) {
    if (!f) return;
    for (size_t i = 0; i < f->n; i++) vlm_image_free(f->frames[i]);
    vcore_free(f->frames);
    vcore_free(f->times);
    vcore_free(f->numbers);
    *f = (vlm_processed_frames) VLM_PROCESSED_FRAMES_INIT;
}

const vlm_video_info *vlm_video_get_info(const vlm_video *video) {
    return video ? &video->info : NULL;
}

double vlm_video_frame_time(const vlm_video *v, int64_t number) {
    if (!v || number < 0 || number >= v->info.frames) return NAN;
    return ((double)v->shown[number] - (double)v->shown[0]) / v->second;
}

/* ---- one read -------------------------------------------------------------------------------- */
typedef struct reader {
    vlm_video *video;
    vlm_processed_frames *out;
    vlm_frame_fn process;
    void *user;
    uint64_t bytes;   /* of the pictures kept */
    size_t replaced;  /* frames that another one stands for */
} reader;

static vlm_status charge(reader *r, const vlm_image *image, vlm_error *err) {
    vlm_size size = vlm_image_size(image);
    uint64_t most = r->video->limits.video_kept_bytes;
    r->bytes += 3 * (uint64_t)size.width * size.height;
    if (r->bytes > most)
        return vcore_fail_limit(err, r->video->name, NULL, most, "bytes of frames");
    return VLM_OK;
}

/* The frame goes into the result even where processing ends the read with VLM_DONE. */
static vlm_status keep(reader *r, vlm_image *image, int64_t number, vlm_error *err) {
    vlm_video_frame frame = { image, vlm_video_frame_time(r->video, number) };
    vlm_status status = r->process ? r->process(r->user, &frame, err) : VLM_OK;
    if (status >= 0 && !frame.image)
        status = vcore_fail(err, VLM_ERR_ARGUMENT, "%s: processing left no picture", r->video->name);
    if (status >= 0) {
        vlm_status charged = charge(r, frame.image, err);
        if (charged < 0) status = charged;
    }
    if (status < 0) {
        vlm_image_free(frame.image);
        return status;
    }
    vlm_processed_frames *out = r->out;
    out->frames[out->n] = frame.image;
    out->times[out->n] = frame.time;
    out->numbers[out->n++] = number;
    return status;
}

static vlm_status read_all(reader *r, const int64_t *numbers, size_t n, vlm_error *err) {
    vlm_video *v = r->video;
    size_t missing = 0;
    v->total = n;
    for (size_t i = 0; i < n; i++) {
        vlm_image *image = NULL;
        int64_t number = numbers[i];
        v->done = i;
        vlm_status status = vmedia_video_frame(&image, &number, v, numbers[i], err);
        if (status < 0) return status;
        if (status == VLM_DONE) {
            missing++;
            continue;
        }
        r->replaced += number != numbers[i];
        status = keep(r, image, number, err);
        if (status < 0 || status == VLM_DONE) return status;
    }
    if (missing && r->out->n)
        vcore_log_line(&v->log, VLM_LOG_WARNING,
                       "%s: %zu of %zu frames asked for cannot be decoded", v->name, missing, n);
    return VLM_OK;
}

static vlm_status check_numbers(const vlm_video *v, const int64_t *numbers, size_t n,
                                vlm_error *err) {
    for (size_t i = 0; i < n; i++)
        if (numbers[i] < 0 || numbers[i] >= v->info.frames)
            return vcore_fail(err, VLM_ERR_ARGUMENT, "%s: frame %lld of %lld", v->name,
                              (long long)numbers[i], (long long)v->info.frames);
    return VLM_OK;
}

static vlm_status finish(reader *r, vlm_status status, vlm_error *err) {
    vlm_video *v = r->video;
    if (status >= 0 && r->out->n == 0)
        status = vcore_fail_field(err, VLM_ERR_VIDEO_NOT_DECODABLE, v->name, NULL,
                                  "none of its frames can be decoded");
    if (status >= 0 && !vmedia_video_goes_on(v, v->total, v->total))
        status = vcore_fail_field(err, VLM_ERR_CANCELLED, v->name, NULL, "cancelled");
    if (status < 0) {
        vlm_processed_frames_free(r->out);
        return status;
    }
    if (r->replaced || v->damaged)
        vcore_log_line(&v->log, VLM_LOG_WARNING,
                       "%s: it is damaged: %zu of the frames read stand for others", v->name,
                       r->replaced);
    return VLM_OK;
}

vlm_status vlm_video_read_frames(vlm_processed_frames *out, vlm_video *video,
                                 const int64_t *numbers, size_t n, vlm_frame_fn process, void *user,
                                 vlm_error *err) {
    if (out) *out = (vlm_processed_frames) VLM_PROCESSED_FRAMES_INIT;
    if (!out || !video || !numbers || n == 0)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_video_read_frames: a NULL argument, or n is 0");
    VTRY(check_numbers(video, numbers, n, err));
    reader r = { .video = video, .out = out, .process = process, .user = user };
    out->duration = video->info.duration;
    out->frames = vcore_alloc_array(n, sizeof *out->frames);
    out->times = vcore_alloc_array(n, sizeof *out->times);
    out->numbers = vcore_alloc_array(n, sizeof *out->numbers);
    vlm_status status = out->frames && out->times && out->numbers
                            ? read_all(&r, numbers, n, err)
                            : vcore_no_memory(err, video->name);
    return finish(&r, status, err);
}

/* ---- by time --------------------------------------------------------------------------------- */
/* The last frame that begins by then. A time that is off by less than a rounding still counts. */
static int64_t number_by(const vlm_video *v, double time) {
    double stamp = time * v->second;
    stamp += 1e-6 + 1e-12 * fabs(stamp);
    int64_t low = 0, high = v->info.frames;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if ((double)v->shown[middle] - (double)v->shown[0] <= stamp)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? low - 1 : 0;
}

vlm_status vlm_video_read_times(vlm_processed_frames *out, vlm_video *video, const double *times,
                                size_t n, vlm_frame_fn process, void *user, vlm_error *err) {
    if (out) *out = (vlm_processed_frames) VLM_PROCESSED_FRAMES_INIT;
    if (!out || !video || !times || n == 0)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_video_read_times: a NULL argument, or n is 0");
    int64_t *numbers = vcore_alloc_array(n, sizeof *numbers);
    if (!numbers) return vcore_no_memory(err, video->name);
    for (size_t i = 0; i < n; i++) numbers[i] = number_by(video, times[i]);
    vlm_status status = vlm_video_read_frames(out, video, numbers, n, process, user, err);
    vcore_free(numbers);
    return status;
}

/* mlx-swift's times, in ticks of the track. */
static vlm_status read_spread(vlm_processed_frames *out, vlm_video *v, size_t most, double fps,
                              vlm_frame_fn process, void *user, vlm_error *err) {
    int64_t duration = llround(v->info.duration * v->second);
    int64_t second = llround(v->second);
    size_t available = (size_t)v->info.frames;
    size_t n = vlm_sample_times(NULL, 0, duration, second, fps, most, available);
    int64_t *numbers = vcore_alloc_array(n, sizeof *numbers);
    if (!numbers) return vcore_no_memory(err, v->name);
    vlm_sample_times(numbers, n, duration, second, fps, most, available);
    for (size_t i = 0; i < n; i++) numbers[i] = number_by(v, (double)numbers[i] / v->second);
    vlm_status status = vlm_video_read_frames(out, v, numbers, n, process, user, err);
    vcore_free(numbers);
    return status;
}

vlm_status vlm_video_read_rate(vlm_processed_frames *out, vlm_video *video,
                               double samples_per_second, vlm_frame_fn process, void *user,
                               vlm_error *err) {
    if (out) *out = (vlm_processed_frames) VLM_PROCESSED_FRAMES_INIT;
    if (!out || !video || !(samples_per_second > 0) || !isfinite(samples_per_second))
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "vlm_video_read_rate: a NULL argument, or a rate that is none");
    return read_spread(out, video, 0, samples_per_second, process, user, err);
}

vlm_status vlm_video_read_at_most(vlm_processed_frames *out, vlm_video *video, size_t max_frames,
                                  vlm_target_fps_fn target, void *target_user, vlm_frame_fn process,
                                  void *user, vlm_error *err) {
    if (out) *out = (vlm_processed_frames) VLM_PROCESSED_FRAMES_INIT;
    if (!out || !video || max_frames == 0)
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "vlm_video_read_at_most: a NULL argument, or max_frames is 0");
    double fps = target ? target(target_user, video->info.duration) : 1;
    return read_spread(out, video, max_frames, fps, process, user, err);
}
