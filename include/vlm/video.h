/* SPDX-License-Identifier: MIT */
/**
 * @file video.h
 * @brief Video files: what is in them, and frames of them by number, by time or by rate.
 *
 * Frames are numbered from 0 in the order in which they are shown; times are seconds from the first
 * of them. Pixels are those of `ffmpeg -pix_fmt rgb24`, turned as the file says (docs/VIDEO.md).
 * What a read keeps in memory is the frames it gives, not the file.
 */
#ifndef VLM_VIDEO_H
#define VLM_VIDEO_H

#include <stdbool.h>

#include "vlm/media.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A picture and when it is shown. */
typedef struct vlm_video_frame {
    vlm_image *image; /**< owned by whoever holds the frame */
    double time;      /**< seconds from the beginning */
} vlm_video_frame;

/** Frames taken of a video, as they were processed. */
typedef struct vlm_processed_frames {
    vlm_image **frames; /**< [n], owned */
    double *times;      /**< [n], seconds */
    int64_t *numbers;   /**< [n], which frames of the file these are */
    size_t n;
    double duration;    /**< of the whole video, seconds */
} vlm_processed_frames;
#define VLM_PROCESSED_FRAMES_INIT { 0, 0, 0, 0, 0 }
/** Frees what is in it, and leaves it empty; an empty one and NULL are fine. */
VLM_API void vlm_processed_frames_free(vlm_processed_frames *frames);

/** What a video file says of itself, and what counting its frames found. */
typedef struct vlm_video_info {
    vlm_size size;          /**< of a frame, turned; zeros: known when one is decoded */
    int rotation;           /**< clockwise degrees by which frames are turned: 0, 90, 180, 270 */
    bool mirrored;          /**< frames are mirrored, too */
    double duration;        /**< from the first frame to the end of the last, seconds */
    double fps;             /**< frames by duration */
    int64_t frames;         /**< that the file really holds */
    int64_t frames_claimed; /**< that its header counts; 0: it does not say */
    const char *container;  /**< "mov", "matroska", "gif"; static */
    const char *codec;      /**< as FFmpeg calls it: "h264"; static */
} vlm_video_info;

/** Is told how far a call is; false: the call ends with VLM_ERR_CANCELLED. Opening counts frames of the
 * file (total 0: unknown), a read those it was asked for. */
typedef bool (*vlm_video_progress_fn)(void *user, uint64_t done, uint64_t total);

/** How a video is opened. */
typedef struct vlm_video_options {
    size_t struct_size;
    const vlm_limits *limits; /**< NULL: the defaults */
    int threads;              /**< of the decoder; 0: one per CPU, at most 4 */
    vlm_log_fn log;           /**< is told of damage; may be NULL */
    void *log_user;
    vlm_video_progress_fn progress; /**< of the opening and of every read; may be NULL */
    void *progress_user;
} vlm_video_options;
#define VLM_VIDEO_OPTIONS_INIT { sizeof(vlm_video_options), 0, 0, 0, 0, 0, 0 }

/** An opened video file. One thread at a time. */
typedef struct vlm_video vlm_video;

/** False: this build has no FFmpeg, and opening a video is VLM_ERR_UNSUPPORTED. */
VLM_API bool vlm_video_supported(void);
/** Sets the log level of FFmpeg's libraries to quiet, for the whole process: for a program that owns
 * it. Without this, two kinds of damage make them print a line to stderr (docs/VIDEO.md). */
VLM_API void vlm_video_silence_ffmpeg(void);
/**
 * Opens a video file (mp4, mov, webm, mkv, gif) and finds its frames: reads through it without
 * decoding. Of several video tracks the first is taken; sound and subtitles are passed over. Nothing
 * but this file is opened, whatever it names.
 * @param out owned @param options may be NULL
 * Errors: VLM_ERR_NOT_FOUND, VLM_ERR_IO, VLM_ERR_NO_VIDEO_TRACK, VLM_ERR_VIDEO_NOT_DECODABLE (no
 * such file, broken, no frames, a codec that is not built in), VLM_ERR_LIMIT, VLM_ERR_CANCELLED,
 * VLM_ERR_UNSUPPORTED.
 */
VLM_API vlm_status vlm_video_open(vlm_video **out, const char *path,
                                  const vlm_video_options *options, vlm_error *err);
/** The same from memory. @param data borrowed until the video is closed @param name for errors */
VLM_API vlm_status vlm_video_open_memory(vlm_video **out, const void *data, size_t bytes,
                                         const char *name, const vlm_video_options *options,
                                         vlm_error *err);
VLM_API void vlm_video_close(vlm_video *video);
/** Borrowed from the video. */
VLM_API const vlm_video_info *vlm_video_get_info(const vlm_video *video);
/** When a frame is shown, seconds from the first; NaN when there is no such frame. */
VLM_API double vlm_video_frame_time(const vlm_video *video, int64_t number);

/**
 * Processes a frame before it is kept: may change its time and put another picture in the place of
 * frame->image (which is then the caller's to free). An error ends the read and is its result;
 * VLM_DONE keeps this frame and ends the read well.
 */
typedef vlm_status (*vlm_frame_fn)(void *user, vlm_video_frame *frame, vlm_error *err);
/** Frames a second to aim at, of a video of so many seconds. */
typedef double (*vlm_target_fps_fn)(void *user, double duration);

/**
 * Reads the frames of these numbers, in this order, which is fastest when it ascends. A frame that
 * is damaged beyond decoding is replaced by the next one that is not; frames that the file is too
 * short for are left out. Both are logged. Fewer frames than asked are no error, none are.
 * @param process may be NULL
 * Errors: VLM_ERR_ARGUMENT (a number out of range), VLM_ERR_VIDEO_NOT_DECODABLE (nothing could be
 * decoded), VLM_ERR_LIMIT, VLM_ERR_CANCELLED, those of process.
 */
VLM_API vlm_status vlm_video_read_frames(vlm_processed_frames *out, vlm_video *video,
                                         const int64_t *numbers, size_t n, vlm_frame_fn process,
                                         void *user, vlm_error *err);
/** Reads what is shown at these times: the last frame that begins by then, or the first. */
VLM_API vlm_status vlm_video_read_times(vlm_processed_frames *out, vlm_video *video,
                                        const double *times, size_t n, vlm_frame_fn process,
                                        void *user, vlm_error *err);
/** Reads so many frames a second, at evenly spread times from the beginning to the end. */
VLM_API vlm_status vlm_video_read_rate(vlm_processed_frames *out, vlm_video *video,
                                       double samples_per_second, vlm_frame_fn process, void *user,
                                       vlm_error *err);
/** The same of at most max_frames, at a rate that the duration decides.
 * @param target may be NULL: 1 a second */
VLM_API vlm_status vlm_video_read_at_most(vlm_processed_frames *out, vlm_video *video,
                                          size_t max_frames, vlm_target_fps_fn target,
                                          void *target_user, vlm_frame_fn process, void *user,
                                          vlm_error *err);

/* ---- which frames: rules as pure functions ---------------------------------------------------- */
/**
 * mlx-swift's rule: max(1, min(round(duration * fps), max_frames, available)) times, from 0 to the
 * duration inclusive, each rounded to a tick; halves away from zero.
 * @param ticks [capacity] may be NULL @param duration in ticks, of which `timescale` make a second
 * @param fps <= 0: 1 @param max_frames, available 0: no bound @return the number of times
 */
VLM_API size_t vlm_sample_times(int64_t *ticks, size_t capacity, int64_t duration,
                                int64_t timescale, double fps, size_t max_frames, size_t available);
/** numpy's linspace(first, last, n) of frame numbers, its end exact; rounded half to even, or floored. */
VLM_API void vlm_sample_linspace(int64_t *numbers, size_t n, int64_t first, int64_t last, bool floored);
/** transformers' arange(0, total, total / n), floored: numbers of n frames of a video of `total`.
 * @return how many were written, n; 0 when n is 0 or above total */
VLM_API size_t vlm_sample_arange(int64_t *numbers, size_t n, int64_t total);
/** How many frames Qwen's rule takes. */
typedef struct vlm_nframes_rule {
    double fps;                     /**< to aim at; 0: 2 */
    int64_t nframes;                /**< this many instead, rounded to the factor; 0: not */
    int64_t min_frames, max_frames; /**< 0: 4, 768 */
    int64_t factor;                 /**< the number is a multiple of it; 0: 2 */
} vlm_nframes_rule;
/** smart_nframes of mlx-vlm: the numbers go with vlm_sample_linspace(0, total - 1), rounded.
 * Errors: VLM_ERR_VIDEO_PROCESSING when the result is outside of [factor, total]. */
VLM_API vlm_status vlm_smart_nframes(int64_t *n, int64_t total, double video_fps,
                                     const vlm_nframes_rule *rule, vlm_error *err);

#ifdef __cplusplus
}
#endif
#endif
