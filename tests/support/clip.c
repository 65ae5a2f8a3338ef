/* SPDX-License-Identifier: MIT */
#include "support/clip.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <stdlib.h>

#include "support/cm.h"

static void draw(AVFrame *f, int k) {
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++)
            f->data[0][y * f->linesize[0] + x] = (uint8_t)(x >= k * 20 && x < k * 20 + 16 ? 235 : 16 + y / 8);
    for (int plane = 1; plane < 3; plane++)
        memset(f->data[plane], 128, (size_t)f->linesize[plane] * (size_t)f->height / 2);
}

static AVCodecContext *encoder_new(const tclip *clip) {
    AVCodecContext *c = avcodec_alloc_context3(avcodec_find_encoder(AV_CODEC_ID_MPEG4));
    assert_non_null(c);
    c->width = clip->width;
    c->height = clip->height;
    c->pix_fmt = AV_PIX_FMT_YUV420P;
    c->time_base = (AVRational) { 1, clip->rate };
    c->gop_size = clip->gop;
    c->flags = AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_QSCALE;
    c->global_quality = 20 * FF_QP2LAMBDA;
    c->thread_count = 1;
    assert_int_equal(avcodec_open2(c, c->codec, NULL), 0);
    return c;
}

static void encode_gop(AVCodecContext *c, AVPacket **packets) {
    AVFrame *f = av_frame_alloc();
    f->format = AV_PIX_FMT_YUV420P;
    f->width = c->width;
    f->height = c->height;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    for (int k = 0; k < c->gop_size; k++) {
        assert_int_equal(av_frame_make_writable(f), 0);
        draw(f, k);
        f->pts = k;
        f->quality = c->global_quality;
        assert_int_equal(avcodec_send_frame(c, f), 0);
        packets[k] = av_packet_alloc();
        assert_int_equal(avcodec_receive_packet(c, packets[k]), 0);
    }
    av_frame_free(&f);
}

static void write_packets(AVFormatContext *file, const tclip *clip, AVPacket **packets) {
    const AVRational frame = { 1, clip->rate }, tick = file->streams[0]->time_base;
    AVPacket *p = av_packet_alloc();
    for (long i = 0; i < clip->frames; i++) {
        assert_int_equal(av_packet_ref(p, packets[i % clip->gop]), 0);
        p->pts = p->dts = av_rescale_q(i, frame, tick);
        p->duration = av_rescale_q(1, frame, tick);
        assert_true(av_write_frame(file, p) >= 0);
        av_packet_unref(p);
    }
    av_packet_free(&p);
}

void tclip_write(const char *path, const tclip *clip) {
    AVPacket **packets = calloc((size_t)clip->gop, sizeof(AVPacket *));
    AVFormatContext *file = NULL;
    AVCodecContext *encoder = encoder_new(clip);
    assert_non_null(packets);
    encode_gop(encoder, packets);
    assert_true(avformat_alloc_output_context2(&file, NULL, "mp4", path) >= 0);
    AVStream *track = avformat_new_stream(file, NULL);
    assert_non_null(track);
    avcodec_parameters_from_context(track->codecpar, encoder);
    track->time_base = encoder->time_base;
    assert_true(avio_open(&file->pb, path, AVIO_FLAG_WRITE) >= 0);
    assert_true(avformat_write_header(file, NULL) >= 0);
    write_packets(file, clip, packets);
    assert_int_equal(av_write_trailer(file), 0);
    avio_closep(&file->pb);
    avformat_free_context(file);
    for (int k = 0; k < clip->gop; k++) av_packet_free(&packets[k]);
    free(packets);
    avcodec_free_context(&encoder);
}
