/* SPDX-License-Identifier: MIT */
/* An hour of 1080p, of which 16 frames are taken: what is decoded is near them, and memory is that of
 * the frames. The clip is made here: two seconds encoded (MPEG-4), their packets repeated. */
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/cm.h"
#include "support/process.h"
#include "vlm/video.h"

enum { WIDTH = 1920, HEIGHT = 1080, RATE = 30, GOP = 70, SECONDS = 3600, TAKEN = 16 };
static char path[] = "/tmp/vlm-hour-XXXXXX";

/* A grey ramp with a bar that moves. */
static void draw(AVFrame *f, int k) {
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            f->data[0][y * f->linesize[0] + x] = (uint8_t)(x >= k * 20 && x < k * 20 + 16 ? 235 : 16 + y / 8);
    for (int plane = 1; plane < 3; plane++)
        memset(f->data[plane], 128, (size_t)f->linesize[plane] * HEIGHT / 2);
}

static AVCodecContext *encoder_new(void) {
    AVCodecContext *c = avcodec_alloc_context3(avcodec_find_encoder(AV_CODEC_ID_MPEG4));
    assert_non_null(c);
    c->width = WIDTH;
    c->height = HEIGHT;
    c->pix_fmt = AV_PIX_FMT_YUV420P;
    c->time_base = (AVRational) { 1, RATE };
    c->gop_size = GOP;
    c->flags = AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_QSCALE;
    c->global_quality = 20 * FF_QP2LAMBDA;
    c->thread_count = 1;
    assert_int_equal(avcodec_open2(c, c->codec, NULL), 0);
    return c;
}

static void encode_gop(AVCodecContext *c, AVPacket **packets) {
    AVFrame *f = av_frame_alloc();
    f->format = AV_PIX_FMT_YUV420P;
    f->width = WIDTH;
    f->height = HEIGHT;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    for (int k = 0; k < GOP; k++) {
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

static int write_hour(void **state) {
    (void)state;
    AVPacket *packets[GOP];
    AVFormatContext *file = NULL;
    close(mkstemp(path));
    AVCodecContext *encoder = encoder_new();
    encode_gop(encoder, packets);
    assert_true(avformat_alloc_output_context2(&file, NULL, "mp4", path) >= 0);
    AVStream *track = avformat_new_stream(file, NULL);
    assert_non_null(track);
    avcodec_parameters_from_context(track->codecpar, encoder);
    track->time_base = encoder->time_base;
    assert_true(avio_open(&file->pb, path, AVIO_FLAG_WRITE) >= 0);
    assert_true(avformat_write_header(file, NULL) >= 0);
    AVPacket *p = av_packet_alloc();
    for (int64_t i = 0; i < (int64_t)SECONDS * RATE; i++) {
        assert_int_equal(av_packet_ref(p, packets[i % GOP]), 0);
        p->pts = p->dts = av_rescale_q(i, encoder->time_base, track->time_base);
        p->duration = av_rescale_q(1, encoder->time_base, track->time_base);
        assert_true(av_write_frame(file, p) >= 0);
        av_packet_unref(p);
    }
    assert_int_equal(av_write_trailer(file), 0);
    avio_closep(&file->pb);
    avformat_free_context(file);
    av_packet_free(&p);
    for (int k = 0; k < GOP; k++) av_packet_free(&packets[k]);
    avcodec_free_context(&encoder);
    return 0;
}

static int remove_hour(void **state) {
    (void)state;
    return unlink(path);
}

static bool count_steps(void *user, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    ++*(uint64_t *)user;
    return true;
}

/* Runs in a process of its own (below), whose memory is measured. */
static int take(const char *clip) {
    uint64_t steps = 0;
    vlm_video_options o = VLM_VIDEO_OPTIONS_INIT;
    o.progress = count_steps;
    o.progress_user = &steps;
    vlm_video *video;
    vlm_processed_frames f;
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_video_open(&video, clip, &o, &err) < 0) return fprintf(stderr, "%s\n", err.message), 1;
    const vlm_video_info *info = vlm_video_get_info(video);
    printf("%lld %.3f ", (long long)info->frames, info->duration);
    steps = 0;
    if (vlm_video_read_at_most(&f, video, TAKEN, NULL, NULL, NULL, NULL, &err) < 0) return 1;
    printf("%zu %llu %.3f\n", f.n, (unsigned long long)steps, f.times[f.n - 1]);
    vlm_processed_frames_free(&f);
    vlm_video_close(video);
    return 0;
}

static void sixteen_frames_of_an_hour(void **state) {
    (void)state;
    const char *argv[] = { "tests/test_media_video_long", path, NULL };
    const char *build = getenv("VLM_BUILD_DIR");
    char program[512];
    snprintf(program, sizeof program, "%s/%s", build ? build : "build", argv[0]);
    argv[0] = program;
    tprocess run = tprocess_run(argv, NULL);
    if (run.status) fail_msg("%s", run.err);
    long long frames;
    double duration, last;
    size_t taken, steps;
    assert_int_equal(sscanf(run.out, "%lld %lf %zu %zu %lf", &frames, &duration, &taken, &steps, &last), 5);
    assert_int_equal(frames, SECONDS * RATE);
    assert_int_equal(taken, TAKEN);
    assert_true(duration > SECONDS - 0.01 && duration < SECONDS + 0.01);
    assert_true(last > SECONDS - 0.1);
    printf("%zu steps of the decoder, %zu MB at most\n", steps, run.peak_rss >> 20);
    assert_true(steps < 3 * TAKEN * GOP); /* of 108,000 frames */
    if (tprocess_can_limit()) assert_true(run.peak_rss < (size_t)300 << 20);
    tprocess_free(&run);
}

int main(int argc, char **argv) {
    if (argc == 2) return take(argv[1]);
    const struct CMUnitTest tests[] = { cmocka_unit_test(sixteen_frames_of_an_hour) };
    return cmocka_run_group_tests(tests, write_hour, remove_hour);
}
