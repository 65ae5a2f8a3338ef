/* SPDX-License-Identifier: MIT */
/* Two minutes of 1080p through Qwen2.5-VL's processor: each frame taken adds to the memory as much as
 * the model sees of it, not the 6 MB that it has in the file. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/clip.h"
#include "support/cm.h"
#include "support/parity.h"
#include "support/process.h"

enum { RATE = 2, GOP = 64, FRAMES = 256, FEW = 16 };
static char path[] = "/tmp/vlm-minutes-XXXXXX";
static tparity qwen;

static int write_clip(void **state) {
    (void)state;
    close(mkstemp(path));
    tclip_write(path, &(tclip) { 1920, 1080, RATE, GOP, FRAMES });
    tparity_open(&qwen, "tests/golden/qwen2_5_vl-tied", NULL, VLM_PRECISION_F32, 1);
    return 0;
}

static int remove_clip(void **state) {
    (void)state;
    tparity_close(&qwen);
    return unlink(path);
}

/* Runs in a process of its own (below), whose memory is measured; prints the grid. */
static int take(const char *model, const char *clip, unsigned most) {
    vlm_context *context;
    vlm_input *in = NULL;
    vlm_prepared *prepared = NULL;
    vlm_error err = VLM_ERROR_INIT;
    vlm_processing wishes = VLM_PROCESSING_INIT;
    wishes.max_frames = most;
    vlm_status status = vlm_context_load(&context, model, NULL, &err);
    if (status >= 0) status = vlm_input_new(&in, &err);
    if (status >= 0) status = vlm_input_set_processing(in, &wishes, &err);
    if (status >= 0) status = vlm_input_add_video_file(in, clip, &err);
    if (status >= 0) status = vlm_input_add_message(in, "user", "What happens?", &err);
    if (status >= 0) status = vlm_prepare(&prepared, context, in, &err);
    if (status < 0) return fprintf(stderr, "%s\n", err.message), 1;
    size_t media;
    vlm_prepared_tokens(prepared, &media);
    printf("%zu\n", media);
    vlm_prepared_free(prepared);
    vlm_input_free(in);
    vlm_context_free(context);
    return 0;
}

/* @return the peak of memory; *pixels: of all frames as the model sees them */
static size_t peak(unsigned most, size_t *pixels) {
    const char *build = getenv("VLM_BUILD_DIR");
    char program[512], number[16];
    snprintf(program, sizeof program, "%s/tests/test_engine_video_long", build ? build : "build");
    snprintf(number, sizeof number, "%u", most);
    const char *argv[] = { program, qwen.dir, path, number, NULL };
    tprocess run = tprocess_run(argv, NULL);
    if (run.status) fail_msg("%s", run.err);
    /* a token is a square of 28 pixels in two frames */
    *pixels = 2 * 28 * 28 * (size_t)strtoul(run.out, NULL, 10);
    size_t bytes = run.peak_rss;
    tprocess_free(&run);
    return bytes;
}

static void frames_are_kept_as_the_model_sees_them(void **state) {
    (void)state;
    size_t few_pixels, pixels;
    size_t few = peak(FEW, &few_pixels), all = peak(FRAMES, &pixels);
    assert_int_equal(few_pixels / FEW, pixels / FRAMES);
    assert_true(pixels / FRAMES <= 23520); /* the checkpoint's max_pixels, of 2,073,600 */
    /* 3 bytes of a pixel that is kept, 12 of what is made of it */
    size_t more = 15 * (pixels - few_pixels);
    printf("%d frames: %zu MB at most; %d frames: %zu MB; frames of the model: %zu MB\n", FEW, few >> 20,
           FRAMES, all >> 20, more >> 20);
    if (tprocess_can_limit()) assert_true(all < few + more + more / 4);
}

int main(int argc, char **argv) {
    if (argc == 4) return take(argv[1], argv[2], (unsigned)strtoul(argv[3], NULL, 10));
    const struct CMUnitTest tests[] = { cmocka_unit_test(frames_are_kept_as_the_model_sees_them) };
    return cmocka_run_group_tests(tests, write_clip, remove_clip);
}
