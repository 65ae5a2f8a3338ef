/* SPDX-License-Identifier: MIT */
/* Pictures for the layers above: decoded 8-bit RGB and Pillow-exact resampling. Owns formats and
 * geometry; what a model wants done with a picture is said in models/. */
#ifndef VLM_MEDIA_INTERNAL_H
#define VLM_MEDIA_INTERNAL_H

#include "core/core.h"
#include "io/io.h"
#include "vlm/extend/geometry.h"
#include "vlm/media.h"
#include "vlm/video.h"

/* ---- pictures (image.c) ---- */
/* Bytes behind the pixels that vector code may read: their content never reaches a result. */
#define VMEDIA_SLACK 32

struct vlm_image {
    vlm_size size;
    uint8_t *rgb; /* [height, width, 3] and VMEDIA_SLACK bytes, owned */
};

/* A size from a header against the limits: sides, pixels, and the memory that the picture takes
 * together with `scratch` bytes that decoding it needs besides. Before anything is allocated. */
vlm_status vmedia_check_size(vlm_size size, uint64_t scratch, const vlm_limits *limits,
                             vlm_error *err);
/* Allocates an image after checking size against limits (NULL: defaults); pixels zeroed. */
vlm_status vmedia_image_new(vlm_image **out, vlm_size size, const vlm_limits *limits,
                            vlm_error *err);

/* ---- decoding (decode.c; formats/, a file each) ---- */
/* The bytes of a picture file and what is wanted of them. */
typedef struct vmedia_file {
    const uint8_t *p;
    size_t n;
    const char *name;         /* what errors call it */
    const vlm_limits *limits; /* without zeros */
    bool salvage;             /* of a broken file, what can be decoded is wanted */
} vmedia_file;
/* Each decoder checks the header against limits before it allocates, turns alpha, palette, grey,
 * CMYK and 16 bit into RGB as Pillow's convert("RGB") does, and applies the orientation it finds.
 * The list of them, in decode.c, is the only place that knows which there are. */
typedef struct vmedia_decoder {
    const char *name;                            /* "JPEG" */
    bool (*matches)(const uint8_t *p, size_t n); /* by magic bytes */
    vlm_status (*decode)(vlm_image **out, const vmedia_file *file, vlm_error *err);
} vmedia_decoder;
extern const vmedia_decoder vmedia_jpeg, vmedia_png, vmedia_webp, vmedia_gif, vmedia_bmp,
    vmedia_tiff, vmedia_avif, vmedia_heic;
/* Whether the first box of an ISO media file names a brand. */
bool vmedia_has_brand(const uint8_t *p, size_t n, const char brand[4]);
/* How a decoder begins: vmedia_check_size and vmedia_image_new, the file's name in errors. */
vlm_status vmedia_begin(vlm_image **out, const vmedia_file *file, vlm_size size, uint64_t scratch,
                        vlm_error *err);
/* How it ends when the file turns out to be broken: VLM_DAMAGED where *image is wanted all the
 * same; else it is freed, NULL, and the error is VLM_ERR_IMAGE_PROCESSING. *image may be NULL. */
vlm_status vmedia_broken(vlm_image **image, const vmedia_file *file, const char *format,
                         const char *reason, vlm_error *err);

/* One colour of CMYK: how much ink of it lies on paper that black leaves `white` of, with Pillow's
 * rounding of x * y / 255. */
static inline uint8_t vmedia_ink(int ink, int white) {
    int product = ink * white + 128;
    int value = white - (((product >> 8) + product) >> 8);
    return (uint8_t)(value < 0 ? 0 : value);
}

/* ---- orientation (exif.c finds it, orient.c applies it) ---- */
/* Orientation 1..8 of an Exif blob ("Exif\0\0" optional); 0 when it holds no such tag. */
int vmedia_exif_orientation(const uint8_t *p, size_t n);
/* The same of an XMP packet, which Pillow asks when Exif does not say. */
int vmedia_xmp_orientation(const uint8_t *p, size_t n);
/* The steps of ImageOps.exif_transpose; an orientation outside of 2..8 changes nothing. A decoder
 * that knows the orientation beforehand places its rows, best VMEDIA_STRIP of them at a time. */
#define VMEDIA_STRIP 128
vlm_size vmedia_oriented_size(vlm_size stored, int orientation);
/* Puts rows [first, first + count) of the stored picture to their places in `to`. */
void vmedia_place_rows(vlm_image *to, int orientation, vlm_size stored, const uint8_t *rows,
                       uint32_t first, uint32_t count);
/* Turns a whole picture in place, with a few columns of it as scratch memory. False: no memory. */
bool vmedia_orient(vlm_image *image, int orientation);

/* ---- resampling (axis.c: weights; resample.c, resample_avx2.c, resample_neon.c: pixels) ---- */
/* One direction of a resize: output i is the sum of `count[i]` inputs from `first[i]`, weighted in
 * fixed point of `bits` bits. Pillow's weights have VMEDIA_BITS of them; torch's are narrow: they
 * fit 16 bits. */
#define VMEDIA_BITS 22
#define VMEDIA_LOW_BITS 12
typedef struct vmedia_axis {
    uint32_t outputs;
    uint32_t most; /* largest count */
    uint32_t taps; /* weights kept per output: most, rounded up to a multiple of 4; rest zero */
    int bits;
    bool narrow;
    uint32_t *first, *count;
    int32_t *weight;     /* [outputs, taps] */
    int16_t *high, *low; /* [outputs, taps]: high * 2^VMEDIA_LOW_BITS + low; narrow: low is all */
} vmedia_axis;
/* False: no memory; to be freed all the same. Any filter but nearest. */
bool vmedia_axis_init(vmedia_axis *a, uint32_t in, uint32_t out, vlm_filter filter, bool narrow);
void vmedia_axis_free(vmedia_axis *a);
/* The input that each output takes, or `in` for none; owned, NULL: no memory. */
uint32_t *vmedia_nearest_inputs(uint32_t in, uint32_t out, bool narrow);
/* The two passes, over rows of RGB: `rows` (1..4) rows along x; one output row from the rows of its
 * window, index i of the axis. Inputs are followed by VMEDIA_SLACK readable bytes. */
typedef void vmedia_along_x(uint8_t *const *out, const uint8_t *const *in, int rows,
                            const vmedia_axis *x);
typedef void vmedia_along_y(uint8_t *out, const uint8_t *const *in, const vmedia_axis *y,
                            uint32_t i, size_t bytes);
#if defined(__x86_64__)
vmedia_along_x vmedia_along_x_avx2;
vmedia_along_y vmedia_along_y_avx2;
#elif defined(__aarch64__)
vmedia_along_x vmedia_along_x_neon;
vmedia_along_y vmedia_along_y_neon;
#endif
/* What a resampler makes of a filter; VLM_ERR_UNSUPPORTED where it does not have it. */
vlm_status vmedia_choose_filter(vlm_filter *filter, vlm_resampler resampler, vlm_error *err);
/* vlm_image_resample on the threads of a pool (NULL: on the caller's), with the given CPU features
 * (vcore_cpu_flags()). The bytes are always the same. */
vlm_status vmedia_resize(vlm_image **out, const vlm_image *image, vlm_size size, vlm_filter filter,
                         vlm_resampler resampler, vcore_pool *pool, unsigned cpu, vlm_error *err);

/* ---- pixels to floats (planar.c) ---- */
/* What the image processors of Hugging Face do to a byte, in the roundings of one of their backends.
 */
typedef struct vmedia_normalize {
    bool torchvision; /* else Pillow */
    bool do_rescale, do_normalize;
    double rescale_factor;
    double mean[3], std[3];
} vmedia_normalize;
typedef vlm_pixel_table vmedia_float_table;
void vmedia_float_table_init(vmedia_float_table *t, const vmedia_normalize *how);
/* out is [3, height, width] with the given strides in floats; rgb_stride in bytes. */
void vmedia_to_planar(float *out, size_t row_stride, size_t plane_stride, const uint8_t *rgb,
                      size_t rgb_stride, vlm_size size, const vmedia_float_table *table);

/* ---- video (video/: sample.c, frames.c; with FFmpeg: open.c, boxes.c, decode.c, turn.c;
 * without: none.c) ---- */
struct vlm_video {
    vlm_video_info info;
    char *name;
    vlm_limits limits;
    vcore_log log;
    vlm_video_progress_fn progress; /* may be NULL */
    void *progress_user;
    uint64_t done, total; /* of the read that runs, for progress */
    /* the bytes: of a file, or in memory */
    int fd;
    const uint8_t *data;
    uint64_t size, at;
    int read_error; /* errno; 0: none */
    /* its frames */
    int64_t *shown; /* [info.frames] time stamps, ascending, of which `second` make a second */
    int64_t *keys;  /* [n_keys] those at which decoding can begin, ascending */
    size_t n_keys;
    double second;
    /* FFmpeg's, made by open.c */
    struct AVFormatContext *format;
    struct AVCodecContext *decoder;
    struct AVPacket *packet;
    struct AVFrame *frame; /* the last one decoded, where current >= 0 */
    struct SwsContext *sws;
    int sws_key[6]; /* what sws was made for */
    void *quiet;    /* an AVClass that says nothing */
    struct AVFrame *turned; /* the frame as it is shown, before it becomes RGB */
    struct AVFrame *rgb;    /* of the canvas' size, rows padded */
    vlm_size canvas;        /* of frames that become RGB; zeros: none is decoded yet */
    bool turn_rgb;          /* frames are turned when they are RGB */
    int track, orientation, delay;
    int64_t current;    /* number of the frame in `frame`; -1: none since the last seek */
    int64_t previous;   /* of the one before it */
    bool pending;       /* packet is still to be decoded */
    bool drained;       /* there are no more packets */
    bool from_start;    /* the last seek was to the beginning */
    bool unseekable, damaged;
};
static inline bool vmedia_video_goes_on(const vlm_video *v, uint64_t done, uint64_t total) {
    return !v->progress || v->progress(v->progress_user, done, total);
}
/* Decodes the frame of a number, or where that is damaged the next one; *number says which.
 * VLM_DONE: there are none any more. *out: owned. */
vlm_status vmedia_video_frame(vlm_image **out, int64_t *number, vlm_video *video, int64_t wanted,
                              vlm_error *err);
/* A frame turned before it becomes RGB, where its format can be (turn.c). */
bool vmedia_video_turns(int format, int orientation);
vlm_status vmedia_video_turn(struct AVFrame *to, const struct AVFrame *from, int orientation,
                             vlm_error *err);
/* Up to n bytes of the file from an offset; fewer at its end, or with read_error set. */
size_t vmedia_video_bytes(vlm_video *video, uint64_t at, void *to, size_t n);
/* Refuses an mp4 file whose tables count more than it can hold (boxes.c). */
vlm_status vmedia_video_check_boxes(vlm_video *video, vlm_error *err);
/* Begins anew at the frame where decoding can begin before this time stamp (open.c). */
vlm_status vmedia_video_seek(vlm_video *video, int64_t stamp, vlm_error *err);

/* ---- geometry (geometry/geometry.c; the plans are public, vlm/extend/geometry.h) ---- */
/* Errors of a size: the picture's, and why. */
vlm_status vmedia_refuse_size(vlm_size size, const char *why, vlm_error *err);
vlm_status vmedia_need_pixels(vlm_size size, vlm_error *err); /* no pixels are refused */
vlm_status vmedia_bad_rule(const char *name, vlm_error *err);
/* Whole numbers as a size, which must have pixels and be no larger than any picture; `of` is what
 * it was before. */
vlm_status vmedia_sides(vlm_size *out, double width, double height, vlm_size of, vlm_error *err);

#endif
