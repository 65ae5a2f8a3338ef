/* SPDX-License-Identifier: MIT */
/* Opens a video through FFmpeg's libraries: the bytes (ours, read here, and no other file), the
 * container (told by its first bytes), the track, the time stamps of all its frames. Owns what
 * FFmpeg allocates; frames are decoded in decode.c.
 *
 * FFmpeg prints by a handler that belongs to the whole process, and is left alone. Its contexts
 * have a level offset, which decoders have as a field; for the demuxer a copy of its AVClass names
 * `max_streams`, which is large, as that field. */
#include "media/media.h"

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libswscale/swscale.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    BUFFER = 1 << 15,
    MOST_STREAMS = 100, /* above every log level, too */
    MOST_THREADS = 4,
    MOST_DELAY = 16,
    TELL_EVERY = 256 /* packets */
};
#define FARTHEST ((int64_t)1 << 58) /* of a time stamp: no arithmetic on it overflows */

static vlm_status fail(const vlm_video *v, vlm_error *err, int code, const char *what) {
    char text[AV_ERROR_MAX_STRING_SIZE] = "";
    if (v->read_error) return vio_fail_errno(err, v->name, "read", v->read_error);
    if (code == AVERROR(ENOMEM)) return vcore_no_memory(err, v->name);
    av_strerror(code, text, sizeof text);
    return vcore_fail_field(err, VLM_ERR_VIDEO_NOT_DECODABLE, v->name, NULL, "%s: %s", what, text);
}

/* ---- bytes ----------------------------------------------------------------------------------- */
static int read_bytes(void *video, uint8_t *to, int n) {
    vlm_video *v = video;
    size_t got = vmedia_video_bytes(v, v->at, to, (size_t)n);
    v->at += got;
    if (v->read_error) return AVERROR(v->read_error);
    return got ? (int)got : AVERROR_EOF;
}

/* Does not tell the size: FFmpeg would print a line, of no context, about each packet beyond it. */
static int64_t seek_bytes(void *video, int64_t offset, int whence) {
    vlm_video *v = video;
    whence &= ~AVSEEK_FORCE;
    int64_t size = (int64_t)v->size, from = whence == SEEK_CUR ? (int64_t)v->at : 0;
    if (whence != SEEK_SET && whence != SEEK_CUR) return AVERROR(ENOSYS);
    if (offset > size - from) offset = size - from; /* beyond the end there is nothing to read */
    if (offset < -from) return AVERROR(EINVAL);
    v->at = (uint64_t)(from + offset);
    return from + offset;
}

static int open_nothing(AVFormatContext *format, AVIOContext **to, const char *url, int flags,
                        AVDictionary **options) {
    (void)format;
    (void)to;
    (void)url;
    (void)flags;
    (void)options;
    return AVERROR(EPERM);
}

/* ---- container and track --------------------------------------------------------------------- */
static const char *container_of(const uint8_t *p, size_t n) {
    static const char boxes[][5] = { "ftyp", "moov", "mdat", "free", "skip", "wide", "pnot", "styp",
                                     "moof", "sidx" };
    if (n >= 4 && memcmp(p, "\x1A\x45\xDF\xA3", 4) == 0) return "matroska";
    if (n >= 6 && (memcmp(p, "GIF87a", 6) == 0 || memcmp(p, "GIF89a", 6) == 0)) return "gif";
    for (size_t i = 0; n >= 8 && i < sizeof boxes / sizeof boxes[0]; i++)
        if (memcmp(p + 4, boxes[i], 4) == 0) return "mov";
    return NULL;
}

static vlm_status open_container(vlm_video *v, vlm_error *err) {
    uint8_t head[12] = { 0 };
    size_t n = vmedia_video_bytes(v, 0, head, sizeof head);
    if (v->read_error) return fail(v, err, 0, "");
    if (v->size == 0)
        return vcore_fail_field(err, VLM_ERR_VIDEO_NOT_DECODABLE, v->name, NULL,
                                "the file is empty");
    v->info.container = container_of(head, n);
    if (!v->info.container)
        return vcore_fail_field(err, VLM_ERR_VIDEO_NOT_DECODABLE, v->name, NULL,
                                "not a video that can be read (mp4, mov, webm, mkv, gif)");
    if (strcmp(v->info.container, "mov") == 0) VTRY(vmedia_video_check_boxes(v, err));
    uint8_t *buffer = av_malloc(BUFFER);
    AVIOContext *io =
        buffer ? avio_alloc_context(buffer, BUFFER, 0, v, read_bytes, NULL, seek_bytes) : NULL;
    v->format = io ? avformat_alloc_context() : NULL;
    v->quiet = v->format ? av_memdup(v->format->av_class, sizeof(AVClass)) : NULL;
    if (!v->quiet) {
        if (io) av_freep(&io->buffer);
        else av_free(buffer);
        avio_context_free(&io);
        return vcore_no_memory(err, v->name);
    }
    ((AVClass *)v->quiet)->log_level_offset_offset = offsetof(AVFormatContext, max_streams);
    v->format->av_class = v->quiet;
    v->format->max_streams = MOST_STREAMS;
    v->format->pb = io;
    v->format->io_open = open_nothing;
    v->format->flags |= AVFMT_FLAG_CUSTOM_IO;
    if (strcmp(v->info.container, "gif") != 0) /* whose packets have their times from FFmpeg */
        v->format->flags |= AVFMT_FLAG_NOPARSE | AVFMT_FLAG_NOFILLIN;
    int code = avformat_open_input(&v->format, "", av_find_input_format(v->info.container), NULL);
    if (code >= 0) return VLM_OK;
    av_freep(&io->buffer); /* FFmpeg frees the format, but not our bytes */
    avio_context_free(&io);
    return fail(v, err, code, "it cannot be opened");
}

/* The first track of moving pictures: not a cover. */
static vlm_status choose_track(vlm_video *v, vlm_error *err) {
    v->track = -1;
    for (unsigned i = 0; i < v->format->nb_streams; i++) {
        AVStream *s = v->format->streams[i];
        bool video = s->codecpar->codec_type == AVMEDIA_TYPE_VIDEO
                     && !(s->disposition & AV_DISPOSITION_ATTACHED_PIC);
        s->discard = AVDISCARD_ALL;
        if (!video || v->track >= 0) continue;
        s->discard = AVDISCARD_DEFAULT;
        v->track = (int)i;
    }
    if (v->track < 0)
        return vcore_fail_field(err, VLM_ERR_NO_VIDEO_TRACK, v->name, NULL,
                                "it holds no video track");
    return VLM_OK;
}

/* The orientation, as Exif counts them, that a display matrix comes nearest to. */
static int orientation_of(const AVStream *s) {
    size_t bytes = 0;
    const int32_t *m =
        (const int32_t *)av_stream_get_side_data(s, AV_PKT_DATA_DISPLAYMATRIX, &bytes);
    if (!m || bytes < 9 * sizeof *m) return 1;
    if (llabs(m[0]) >= llabs(m[1]))
        return m[0] >= 0 ? (m[4] >= 0 ? 1 : 4) : m[4] >= 0 ? 2 : 3;
    return m[1] >= 0 ? (m[3] >= 0 ? 5 : 6) : m[3] >= 0 ? 8 : 7;
}

/* The size as the header has it: the first frame decoded may know better. */
static vlm_status set_size(vlm_video *v, int width, int height, vlm_error *err) {
    if (width <= 0 || height <= 0) return VLM_OK;
    if ((uint64_t)width * (uint64_t)height > v->limits.video_pixels)
        return vcore_fail_at(err, VLM_ERR_LIMIT,
                             (vcore_where) { .file = v->name, .limit = v->limits.video_pixels },
                             "%s: frames of %dx%d pixels are above the limit of %llu pixels",
                             v->name, width, height, (unsigned long long)v->limits.video_pixels);
    vlm_size size = { (uint32_t)width, (uint32_t)height };
    v->info.size = vmedia_oriented_size(size, v->orientation);
    return VLM_OK;
}

static vlm_status describe(vlm_video *v, vlm_error *err) {
    static const int degrees[] = { 0, 0, 0, 180, 180, 90, 90, 270, 270 };
    const AVStream *s = v->format->streams[v->track];
    const AVCodecParameters *codec = s->codecpar;
    v->orientation = orientation_of(s);
    v->info.rotation = degrees[v->orientation];
    v->info.mirrored = v->orientation == 2 || v->orientation == 4 || v->orientation == 5
                       || v->orientation == 7;
    v->info.codec = avcodec_get_name(codec->codec_id);
    v->info.frames_claimed = s->nb_frames > 0 ? s->nb_frames : 0;
    v->second = s->time_base.num > 0 && s->time_base.den > 0 ? 1 / av_q2d(s->time_base) : 1000;
    return set_size(v, codec->width, codec->height, err);
}

/* ---- frames ---------------------------------------------------------------------------------- */
typedef struct count {
    int64_t *shown, *keys;
    size_t n, n_keys, room, key_room;
    int64_t recent[MOST_DELAY]; /* in the order of decoding */
    int64_t last, last_duration;
} count;

static bool append(int64_t **to, size_t *n, size_t *room, int64_t value) {
    if (*n == *room) {
        size_t more = *room ? 2 * *room : 256;
        int64_t *bigger = vcore_realloc_array(*to, more, sizeof **to);
        if (!bigger) return false;
        *to = bigger;
        *room = more;
    }
    (*to)[(*n)++] = value;
    return true;
}

static vlm_status count_packet(vlm_video *v, count *c, const AVPacket *p, vlm_error *err) {
    int64_t at = p->pts != AV_NOPTS_VALUE ? p->pts : p->dts;
    if (p->flags & AV_PKT_FLAG_DISCARD) return VLM_OK;
    if (at < -FARTHEST || at > FARTHEST) { /* or no time stamp */
        v->damaged = true;
        return VLM_OK;
    }
    if (c->n >= v->limits.video_frames)
        return vcore_fail_limit(err, v->name, NULL, v->limits.video_frames, "frames");
    int delay = 0;
    for (size_t i = 0; i < MOST_DELAY && i < c->n; i++) delay += c->recent[i] > at;
    if (delay > v->delay) v->delay = delay;
    c->recent[c->n % MOST_DELAY] = at;
    if (c->n == 0 || at > c->last) {
        c->last = at;
        c->last_duration = p->duration > 0 && p->duration < FARTHEST ? p->duration : 0;
    }
    if (!append(&c->shown, &c->n, &c->room, at)
        || ((p->flags & AV_PKT_FLAG_KEY) && !append(&c->keys, &c->n_keys, &c->key_room, at)))
        return vcore_no_memory(err, v->name);
    return VLM_OK;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* How long the last frame lasts where its packet does not say: as the shortest of the others. */
static double last_duration(const vlm_video *v, const count *c) {
    AVRational rate = v->format->streams[v->track]->avg_frame_rate;
    int64_t shortest = 0;
    if (c->last_duration) return (double)c->last_duration / v->second;
    if (c->n == 1) return rate.num > 0 && rate.den > 0 ? 1 / av_q2d(rate) : 0;
    for (size_t i = 1; i < c->n; i++) {
        int64_t gap = c->shown[i] - c->shown[i - 1];
        if (gap > 0 && (shortest == 0 || gap < shortest)) shortest = gap;
    }
    return (double)shortest / v->second;
}

static void measure(vlm_video *v, const count *c) {
    double first = (double)v->shown[0] / v->second, last = (double)c->last / v->second;
    v->info.frames = (int64_t)c->n;
    v->info.duration = last + last_duration(v, c) - first;
    v->info.fps = v->info.duration > 0 ? (double)c->n / v->info.duration : 0;
}

/* Reads all packets of the track. The demuxer may give less than a frame where the file is cut. */
static vlm_status count_frames(vlm_video *v, vlm_error *err) {
    count c = { 0 };
    vlm_status status = VLM_OK;
    int code = 0;
    for (uint64_t i = 0; status >= 0 && (code = av_read_frame(v->format, v->packet)) >= 0; i++) {
        if (v->packet->stream_index == v->track) status = count_packet(v, &c, v->packet, err);
        av_packet_unref(v->packet);
        if (i % TELL_EVERY == 0 && !vmedia_video_goes_on(v, c.n, (uint64_t)v->info.frames_claimed))
            status = vcore_fail_field(err, VLM_ERR_CANCELLED, v->name, NULL, "cancelled");
    }
    v->shown = c.shown;
    v->keys = c.keys;
    v->n_keys = c.n_keys;
    if (status < 0) return status;
    if (c.n == 0) return fail(v, err, code, "it holds no frame");
    if (code != AVERROR_EOF) v->damaged = true;
    qsort(v->shown, c.n, sizeof *v->shown, ascending);
    if (c.n_keys) qsort(v->keys, c.n_keys, sizeof *v->keys, ascending);
    measure(v, &c);
    if (v->info.frames < v->info.frames_claimed)
        vcore_log_line(&v->log, VLM_LOG_WARNING, "%s: it is cut: %lld of %lld frames are there",
                       v->name, (long long)v->info.frames, (long long)v->info.frames_claimed);
    return VLM_OK;
}

/* ---- decoder --------------------------------------------------------------------------------- */
static bool is_known(enum AVCodecID id) {
    static const enum AVCodecID known[] = {
        AV_CODEC_ID_H264,  AV_CODEC_ID_HEVC,       AV_CODEC_ID_VP8,        AV_CODEC_ID_VP9,
        AV_CODEC_ID_AV1,   AV_CODEC_ID_MPEG4,      AV_CODEC_ID_GIF,        AV_CODEC_ID_MJPEG,
        AV_CODEC_ID_H263,  AV_CODEC_ID_MPEG1VIDEO, AV_CODEC_ID_MPEG2VIDEO, AV_CODEC_ID_PRORES,
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i] == id) return true;
    return false;
}

static vlm_status open_decoder(vlm_video *v, int threads, vlm_error *err) {
    AVStream *s = v->format->streams[v->track];
    const AVCodec *codec =
        is_known(s->codecpar->codec_id) ? avcodec_find_decoder(s->codecpar->codec_id) : NULL;
    if (!codec)
        return vcore_fail_field(err, VLM_ERR_VIDEO_NOT_DECODABLE, v->name, NULL,
                                "its codec (%s) cannot be decoded by this build", v->info.codec);
    v->decoder = avcodec_alloc_context3(codec);
    if (!v->decoder) return vcore_no_memory(err, v->name);
    if (s->codecpar->video_delay < v->delay) s->codecpar->video_delay = v->delay;
    int code = avcodec_parameters_to_context(v->decoder, s->codecpar);
    v->decoder->pkt_timebase = s->time_base;
    v->decoder->log_level_offset = MOST_STREAMS;
    v->decoder->max_pixels = (int64_t)v->limits.video_pixels;
    int cpus = vcore_pool_asked(0);
    v->decoder->thread_count = threads > 0 ? threads : cpus < MOST_THREADS ? cpus : MOST_THREADS;
    v->unseekable = codec->id == AV_CODEC_ID_GIF; /* each of its frames is drawn over the last */
    if (code >= 0) code = avcodec_open2(v->decoder, codec, NULL);
    return code < 0 ? fail(v, err, code, "its decoder cannot be opened") : VLM_OK;
}

vlm_status vmedia_video_seek(vlm_video *v, int64_t stamp, vlm_error *err) {
    int64_t first = v->n_keys ? v->keys[0] : v->shown[0];
    int code = av_seek_frame(v->format, v->track, stamp, AVSEEK_FLAG_BACKWARD);
    if (code < 0 && stamp <= first)
        code = av_seek_frame(v->format, v->track, 0, AVSEEK_FLAG_BACKWARD | AVSEEK_FLAG_BYTE);
    avcodec_flush_buffers(v->decoder);
    av_packet_unref(v->packet);
    v->current = v->previous = -1;
    v->pending = v->drained = false;
    v->from_start = stamp <= first;
    if (code < 0 && stamp > first) {
        v->unseekable = true;
        return vmedia_video_seek(v, first, err);
    }
    return code < 0 ? fail(v, err, code, "its beginning cannot be found again") : VLM_OK;
}

/* ---- the life of a video --------------------------------------------------------------------- */
void vlm_video_close(vlm_video *v) {
    if (!v) return;
    AVIOContext *io = v->format ? v->format->pb : NULL;
    avcodec_free_context(&v->decoder);
    avformat_close_input(&v->format);
    if (io) av_freep(&io->buffer);
    avio_context_free(&io);
    av_packet_free(&v->packet);
    av_frame_free(&v->frame);
    av_frame_free(&v->turned);
    av_frame_free(&v->rgb);
    sws_freeContext(v->sws);
    av_free(v->quiet);
    if (v->fd >= 0) close(v->fd);
    vcore_free(v->shown);
    vcore_free(v->keys);
    vcore_free(v->name);
    vcore_free(v);
}

bool vlm_video_supported(void) {
    return true;
}

void vlm_video_silence_ffmpeg(void) {
    av_log_set_level(AV_LOG_QUIET);
}

static vlm_status open_any(vlm_video *v, int threads, vlm_error *err) {
    v->packet = av_packet_alloc();
    v->frame = av_frame_alloc();
    v->turned = av_frame_alloc();
    v->rgb = av_frame_alloc();
    if (!v->packet || !v->frame || !v->turned || !v->rgb) return vcore_no_memory(err, v->name);
    VTRY(open_container(v, err));
    VTRY(choose_track(v, err));
    VTRY(describe(v, err));
    VTRY(count_frames(v, err));
    VTRY(open_decoder(v, threads, err));
    VTRY(vmedia_video_seek(v, v->n_keys ? v->keys[0] : v->shown[0], err));
    if (v->info.size.width) return VLM_OK;
    vlm_image *image = NULL; /* MPEG-4 in mov: only the frames say */
    int64_t number;
    vlm_status status = vmedia_video_frame(&image, &number, v, 0, err);
    vlm_image_free(image);
    return status == VLM_DONE ? VLM_OK : status; /* no frame: a read will say so */
}

/* The options, whatever the age of the caller's struct. */
static vlm_video_options take(const vlm_video_options *given) {
    vlm_video_options o = VLM_VIDEO_OPTIONS_INIT;
    if (given) memcpy(&o, given, given->struct_size < sizeof o ? given->struct_size : sizeof o);
    return o;
}

static vlm_video *video_new(const char *name, const vlm_video_options *o) {
    vlm_video *v = vcore_alloc(sizeof *v);
    if (!v) return NULL;
    v->fd = v->track = -1;
    v->current = -1;
    v->name = vcore_strdup(name);
    v->limits = vcore_limits(o->limits);
    v->log = (vcore_log) { o->log, o->log_user };
    v->progress = o->progress;
    v->progress_user = o->progress_user;
    if (v->name) return v;
    vlm_video_close(v);
    return NULL;
}

static vlm_status finish(vlm_video **out, vlm_video *v, vlm_status status) {
    if (status < 0)
        vlm_video_close(v);
    else
        *out = v;
    return status;
}

vlm_status vlm_video_open(vlm_video **out, const char *path, const vlm_video_options *options,
                          vlm_error *err) {
    if (out) *out = NULL;
    if (!out || !path) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_video_open: a NULL argument");
    vlm_video_options o = take(options);
    vlm_video *v = video_new(path, &o);
    if (!v) return vcore_no_memory(err, path);
    vio_source from = vio_source_of(&v->limits);
    vlm_status status = vio_open_regular(&v->fd, &v->size, path, &from, err);
    if (status >= 0 && v->size > v->limits.video_file_bytes)
        status = vcore_fail_limit(err, path, NULL, v->limits.video_file_bytes, "bytes");
    if (status >= 0) status = open_any(v, o.threads, err);
    return finish(out, v, status);
}

vlm_status vlm_video_open_memory(vlm_video **out, const void *data, size_t bytes, const char *name,
                                 const vlm_video_options *options, vlm_error *err) {
    static const uint8_t nothing[1] = { 0 };
    if (out) *out = NULL;
    if (!out || (!data && bytes))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_video_open_memory: a NULL argument");
    if (!name) name = "video";
    vlm_video_options o = take(options);
    vlm_video *v = video_new(name, &o);
    if (!v) return vcore_no_memory(err, name);
    v->data = data ? data : nothing;
    v->size = bytes;
    vlm_status status = bytes > v->limits.video_file_bytes
                            ? vcore_fail_limit(err, name, NULL, v->limits.video_file_bytes, "bytes")
                            : open_any(v, o.threads, err);
    return finish(out, v, status);
}
