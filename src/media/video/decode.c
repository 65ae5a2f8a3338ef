/* SPDX-License-Identifier: MIT */
/* Frames of an opened video by number: whether to seek or to decode on, and the way of a frame to
 * RGB, which is that of `ffmpeg -pix_fmt rgb24`: swscale, bicubic, by the matrix and range that the
 * frame names (BT.601, limited, where it names none). docs/VIDEO.md tells the steps. */
#include "media/media.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

enum {
    NEAR = 8,       /* frames: decoding so many is cheaper than a seek */
    MOST_STUCK = 64 /* errors in a row without a packet taken */
};

/* ---- one frame after the other --------------------------------------------------------------- */
/* The first frame that is shown at this time stamp or later. */
static int64_t number_at(const vlm_video *v, int64_t stamp) {
    int64_t low = 0, high = v->info.frames - 1;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (v->shown[middle] < stamp)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void name_frame(vlm_video *v) {
    int64_t stamp = v->frame->best_effort_timestamp, number = v->current + 1;
    if (stamp != AV_NOPTS_VALUE) number = number_at(v, stamp);
    if (number <= v->current) number = v->current + 1; /* two of one time */
    if (number >= v->info.frames) number = v->info.frames - 1;
    v->previous = v->current < 0 && !v->from_start ? number : v->current;
    v->current = number;
}

/* Gives the decoder one more packet, or tells it that there are no more. False: it takes none. */
static bool feed(vlm_video *v) {
    while (!v->pending) {
        int code = av_read_frame(v->format, v->packet);
        if (code < 0) {
            if (code != AVERROR_EOF) v->damaged = true;
            avcodec_send_packet(v->decoder, NULL);
            v->drained = true;
            return true;
        }
        v->pending = v->packet->stream_index == v->track;
        if (!v->pending) av_packet_unref(v->packet);
    }
    int code = avcodec_send_packet(v->decoder, v->packet);
    if (code == AVERROR(EAGAIN)) return false;
    if (code < 0) v->damaged = true;
    av_packet_unref(v->packet);
    v->pending = false;
    return true;
}

static vlm_status decode_next(vlm_video *v, vlm_error *err) {
    for (int stuck = 0; stuck < MOST_STUCK;) {
        if (!vmedia_video_goes_on(v, v->done, v->total))
            return vcore_fail_field(err, VLM_ERR_CANCELLED, v->name, NULL, "cancelled");
        int code = avcodec_receive_frame(v->decoder, v->frame);
        if (code >= 0) {
            name_frame(v);
            return VLM_OK;
        }
        if (code == AVERROR(ENOMEM)) return vcore_no_memory(err, v->name);
        if (code == AVERROR_EOF) return VLM_DONE;
        if (code != AVERROR(EAGAIN)) v->damaged = true;
        bool taken = !v->drained && feed(v);
        stuck = taken ? 0 : stuck + 1;
    }
    return VLM_DONE;
}

/* ---- to RGB ---------------------------------------------------------------------------------- */
/* The "J" formats say by their name that the range is full. */
static enum AVPixelFormat plain_format(enum AVPixelFormat format, bool *full) {
    static const enum AVPixelFormat pairs[][2] = {
        { AV_PIX_FMT_YUVJ420P, AV_PIX_FMT_YUV420P }, { AV_PIX_FMT_YUVJ422P, AV_PIX_FMT_YUV422P },
        { AV_PIX_FMT_YUVJ444P, AV_PIX_FMT_YUV444P }, { AV_PIX_FMT_YUVJ440P, AV_PIX_FMT_YUV440P },
        { AV_PIX_FMT_YUVJ411P, AV_PIX_FMT_YUV411P },
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (format == pairs[i][0]) {
            *full = true;
            return pairs[i][1];
        }
    return format;
}

static void set_colours(struct SwsContext *sws, enum AVColorSpace matrix, bool full) {
    int *unused, from_full, to_full, brightness, contrast, saturation;
    sws_getColorspaceDetails(sws, &unused, &from_full, &unused, &to_full, &brightness, &contrast,
                             &saturation);
    const int *table = sws_getCoefficients((int)matrix);
    sws_setColorspaceDetails(sws, table, full, table, to_full, brightness, contrast, saturation);
}

static bool prepare_sws(vlm_video *v, const AVFrame *f, enum AVPixelFormat format, bool full) {
    const int key[6] = { f->width, f->height, (int)format, full, (int)f->colorspace, 1 };
    if (v->sws && memcmp(key, v->sws_key, sizeof key) == 0) return true;
    sws_freeContext(v->sws);
    v->sws = sws_alloc_context();
    if (!v->sws) return false;
    const struct {
        const char *name;
        int64_t value;
    } set[] = {
        { "srcw", f->width }, { "srch", f->height }, { "src_format", format },
        { "dstw", v->canvas.width }, { "dsth", v->canvas.height },
        { "dst_format", AV_PIX_FMT_RGB24 }, { "sws_flags", SWS_BICUBIC }, { "src_range", full },
        /* of 4:2:0, as FFmpeg's scale filter does */
        { "src_v_chr_pos", format == AV_PIX_FMT_YUV420P ? 128 : -513 },
    };
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++)
        av_opt_set_int(v->sws, set[i].name, set[i].value, 0);
    if (sws_init_context(v->sws, NULL, NULL) < 0) {
        sws_freeContext(v->sws);
        v->sws = NULL;
        return false;
    }
    set_colours(v->sws, f->colorspace, full);
    memcpy(v->sws_key, key, sizeof key);
    return true;
}

/* The first frame decides the size of all, and where they are turned: others are scaled to it. */
static vlm_status prepare_canvas(vlm_video *v, vlm_error *err) {
    if (v->canvas.width == 0) {
        vlm_size size = { (uint32_t)v->frame->width, (uint32_t)v->frame->height };
        v->info.size = vmedia_oriented_size(size, v->orientation);
        v->turn_rgb = v->orientation != 1 && !vmedia_video_turns(v->frame->format, v->orientation);
        v->canvas = v->turn_rgb ? size : v->info.size;
    }
    if (v->rgb->data[0]) return VLM_OK;
    v->rgb->format = AV_PIX_FMT_RGB24;
    v->rgb->width = (int)v->canvas.width;
    v->rgb->height = (int)v->canvas.height;
    /* padded rows: swscale's vector code leaves out the columns that it has no room behind */
    return av_frame_get_buffer(v->rgb, 0) < 0 ? vcore_no_memory(err, v->name) : VLM_OK;
}

static vlm_status convert(vlm_video *v, const AVFrame *f, vlm_error *err) {
    bool full = f->color_range == AVCOL_RANGE_JPEG;
    enum AVPixelFormat format = plain_format(f->format, &full);
    if (prepare_sws(v, f, format, full)
        && sws_scale(v->sws, (const uint8_t *const *)f->data, f->linesize, 0, f->height,
                     v->rgb->data, v->rgb->linesize)
               > 0)
        return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_VIDEO_NOT_DECODABLE, v->name, NULL,
                            "frames of format %s cannot become RGB", av_get_pix_fmt_name(format));
}

static void fill_image(vlm_image *image, vlm_video *v) {
    size_t row = 3 * (size_t)v->canvas.width;
    uint8_t *rows = v->rgb->data[0];
    for (uint32_t y = 0; y < v->canvas.height; y++)
        memmove(rows + y * row, rows + (size_t)y * (size_t)v->rgb->linesize[0], row);
    if (v->turn_rgb)
        vmedia_place_rows(image, v->orientation, v->canvas, rows, 0, v->canvas.height);
    else
        memcpy(image->rgb, rows, row * v->canvas.height);
}

static vlm_status to_image(vlm_image **out, vlm_video *v, vlm_error *err) {
    const AVFrame *f = v->frame;
    vlm_image *image;
    if (f->width <= 0 || f->height <= 0 || !f->data[0]) return VLM_DONE;
    VTRY(prepare_canvas(v, err));
    if (v->orientation != 1 && !v->turn_rgb) {
        if (!vmedia_video_turns(f->format, v->orientation)) return VLM_DONE; /* another format */
        VTRY(vmedia_video_turn(v->turned, f, v->orientation, err));
        f = v->turned;
    }
    VTRY(vmedia_image_new(&image, v->info.size, &v->limits, err));
    vlm_status status = convert(v, f, err);
    if (status < 0) {
        vlm_image_free(image);
        return status;
    }
    fill_image(image, v);
    *out = image;
    return VLM_OK;
}

/* ---- by number ------------------------------------------------------------------------------- */
static int64_t first_key(const vlm_video *v) {
    return v->n_keys ? v->keys[0] : v->shown[0];
}

/* The last stamp by then at which decoding can begin; the first of all when there is none. */
static int64_t key_before(const vlm_video *v, int64_t stamp) {
    size_t low = 0, high = v->n_keys;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (v->keys[middle] <= stamp)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? v->keys[low - 1] : first_key(v);
}

/* Is what lies in v->frame what is shown for this number? */
static bool is_here(const vlm_video *v, int64_t wanted) {
    return v->current >= wanted && (v->current == wanted || v->previous < wanted);
}

/* Seeks to where decoding can begin, unless decoding on is cheaper. */
static vlm_status go_to(vlm_video *v, int64_t wanted, vlm_error *err) {
    int64_t key = v->unseekable ? first_key(v) : key_before(v, v->shown[wanted]);
    if (wanted > v->current && number_at(v, key) <= v->current + NEAR) return VLM_OK;
    return vmedia_video_seek(v, key, err);
}

/* Another way to a frame that was not there, behind a seek that a decoder may recover from late or
 * that led too far: first from one place earlier, then from the beginning. VLM_DONE: that was it. */
static vlm_status go_back(vlm_video *v, int64_t wanted, int attempt, bool landing, vlm_error *err) {
    if (v->from_start || attempt > 1 || (attempt == 1 && !landing)) return VLM_DONE;
    int64_t key = key_before(v, v->shown[wanted]);
    if (attempt == 0 && key > first_key(v)) return vmedia_video_seek(v, key_before(v, key - 1), err);
    v->unseekable = true;
    return vmedia_video_seek(v, first_key(v), err);
}

/* Decodes until the frame is here, or one behind it where it cannot be had. */
static vlm_status reach(vlm_video *v, int64_t wanted, vlm_error *err) {
    if (v->current >= 0 && is_here(v, wanted)) return VLM_OK;
    VTRY(go_to(v, wanted, err));
    for (int attempt = 0;;) {
        bool landing = v->current < 0;
        vlm_status status = decode_next(v, err);
        if (status == VLM_OK && v->current < wanted) continue;
        if (status < 0 || (status == VLM_OK && v->current == wanted)) return status;
        vlm_status again = go_back(v, wanted, attempt++, landing, err);
        if (again == VLM_DONE) return status;
        VTRY(again);
    }
}

vlm_status vmedia_video_frame(vlm_image **out, int64_t *number, vlm_video *v, int64_t wanted,
                              vlm_error *err) {
    vlm_status status = reach(v, wanted, err);
    if (status != VLM_OK) return status;
    *number = v->current;
    return to_image(out, v, err);
}
