/* SPDX-License-Identifier: MIT */
/* An hour of 1080p, of which 16 frames are taken: what is decoded is near them, and memory is that of
 * the frames. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/clip.h"
#include "support/cm.h"
#include "support/process.h"
#include "vlm/video.h"

enum { RATE = 30, GOP = 70, SECONDS = 3600, TAKEN = 16 };
static char path[] = "/tmp/vlm-hour-XXXXXX";

static int write_hour(void **state) {
    (void)state;
    close(mkstemp(path));
    tclip_write(path, &(tclip) { 1920, 1080, RATE, GOP, (long)SECONDS * RATE });
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
