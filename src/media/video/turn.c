/* SPDX-License-Identifier: MIT */
/* Turns and mirrors decoded frames plane by plane, before they become RGB, as the filters do that
 * FFmpeg puts in front of its conversion. Owns no size and no meaning of an orientation. */
#include <libavutil/frame.h>
#include <libavutil/pixdesc.h>

#include "media/media.h"

/* One plane of samples of 1 or 2 bytes, which comes to lie in rows `pitch` bytes apart. */
static void turn_plane(uint8_t *to, ptrdiff_t pitch, const uint8_t *from, ptrdiff_t from_pitch,
                       int width, int height, int bytes, int orientation) {
    bool turned = orientation >= 5;
    bool flip_x = orientation == 2 || orientation == 3 || orientation >= 7;
    bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    ptrdiff_t right = turned ? pitch : bytes, down = turned ? bytes : pitch;
    if (flip_x) to += (width - 1) * right, right = -right;
    if (flip_y) to += (height - 1) * down, down = -down;
    for (int y = 0; y < height; y++, to += down, from += from_pitch) {
        uint8_t *at = to;
        for (int x = 0; x < width; x++, at += right)
            for (int b = 0; b < bytes; b++) at[b] = from[x * bytes + b];
    }
}

/* Planes of samples, whose chroma is as coarse across as down where the two change places. */
bool vmedia_video_turns(int format, int orientation) {
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(format);
    const uint64_t others = AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_PAL;
    if (!d || (d->flags & others) || d->nb_components > av_pix_fmt_count_planes(format)) return false;
    return orientation < 5 || d->log2_chroma_w == d->log2_chroma_h;
}

vlm_status vmedia_video_turn(struct AVFrame *to, const struct AVFrame *from, int orientation,
                             vlm_error *err) {
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(from->format);
    bool turned = orientation >= 5;
    av_frame_unref(to);
    to->format = from->format;
    to->width = turned ? from->height : from->width;
    to->height = turned ? from->width : from->height;
    if (av_frame_get_buffer(to, 0) < 0 || av_frame_copy_props(to, from) < 0)
        return vcore_no_memory(err, "a frame");
    for (int p = 0; p < d->nb_components; p++) {
        int shift_x = p == 1 || p == 2 ? d->log2_chroma_w : 0;
        int shift_y = p == 1 || p == 2 ? d->log2_chroma_h : 0;
        turn_plane(to->data[p], to->linesize[p], from->data[p], from->linesize[p],
                   AV_CEIL_RSHIFT(from->width, shift_x), AV_CEIL_RSHIFT(from->height, shift_y),
                   (d->comp[p].depth + 7) / 8, orientation);
    }
    return VLM_OK;
}
