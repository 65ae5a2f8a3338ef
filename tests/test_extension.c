/* SPDX-License-Identifier: MIT */
/* A model type and processors from outside the library (tests/extension), and every error of use, each by the
 * rule that triggers it. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/process.h"

#define PICTURE "tests/data/pictures/square.png"
#define FRAMES "tests/data/pictures/frames-four"

/* A checkpoint of idefics3's with another model type and processor class. */
static char *toy_checkpoint(const char *processor) {
    char *dir = tcheckpoint_temp_dir(), command[2048];
    const tcheckpoint_options how = { .names = TCHECKPOINT_CANONICAL };
    assert_true(tcheckpoint_write("tests/golden/idefics3-split", dir, &how));
    snprintf(command, sizeof command,
             "sed -i '0,/\"model_type\": \"idefics3\"/s//\"model_type\": \"toy_vlm\"/' '%s/config.json' && "
             "sed -i 's/Idefics3Processor/%s/' '%s/preprocessor_config.json' '%s/processor_config.json'",
             dir, processor, dir, dir);
    assert_int_equal(system(command), 0);
    return dir;
}

static void ask(const char *processor, const char *const *media, const char *status_name) {
    char *dir = toy_checkpoint(processor);
    const char *argv[8] = { "tests/extension", dir, "Hello" };
    char program[512];
    const char *build = getenv("VLM_BUILD_DIR");
    snprintf(program, sizeof program, "%s/tests/extension", build ? build : "build");
    argv[0] = program;
    for (size_t i = 0; media[i]; i++) argv[3 + i] = media[i];
    tprocess p = tprocess_run(argv, NULL);
    if (status_name) {
        if (p.status != 1 || strncmp(p.err, status_name, strlen(status_name)) || tprocess_lines(p.err) != 1)
            fail_msg("%s: wanted %s, status %d, says: %s", processor, status_name, p.status, p.err);
    } else if (p.status != 0) {
        fail_msg("%s: status %d, says: %s", processor, p.status, p.err);
    }
    tprocess_free(&p);
    tcheckpoint_remove(dir);
    free(dir);
}

static void an_extension_answers(void **state) {
    (void)state;
    ask("ToyProcessor", (const char *const[]) { PICTURE, NULL }, NULL);
    ask("ToyProcessor", (const char *const[]) { NULL }, NULL);
}

static void errors_of_use_have_their_own_status(void **state) {
    (void)state;
    ask("ToyImageRequired", (const char *const[]) { NULL }, "VLM_ERR_IMAGE_REQUIRED");
    ask("ToyMask", (const char *const[]) { PICTURE, NULL }, "VLM_ERR_MASK_REQUIRED");
    ask("ToySingleImage", (const char *const[]) { PICTURE, PICTURE, NULL }, "VLM_ERR_SINGLE_IMAGE_ALLOWED");
    ask("ToySingleVideo", (const char *const[]) { FRAMES, FRAMES, NULL }, "VLM_ERR_SINGLE_VIDEO_ALLOWED");
    ask("ToySingleType", (const char *const[]) { PICTURE, FRAMES, NULL }, "VLM_ERR_SINGLE_MEDIA_TYPE_ALLOWED");
    ask("ToyProcessor", (const char *const[]) { "LICENSE", NULL }, "VLM_ERR_IMAGE_PROCESSING");
    ask("ToyFails", (const char *const[]) { NULL }, "VLM_ERR_PROCESSING");
    ask("ToyProcessor", (const char *const[]) { "tests/extension", NULL }, "VLM_ERR_VIDEO_NOT_DECODABLE");
}

static void frames_of_different_sizes_are_no_video(void **state) {
    (void)state;
    char *mixed = tcheckpoint_temp_dir(), here[1024], target[2048];
    assert_non_null(getcwd(here, sizeof here));
    static const char *const names[] = { "square.png", "tiny.png" };
    for (size_t i = 0; i < 2; i++) {
        char *link = tcheckpoint_path(mixed, names[i]);
        snprintf(target, sizeof target, "%s/tests/data/pictures/%s", here, names[i]);
        assert_int_equal(symlink(target, link), 0);
        free(link);
    }
    ask("ToyProcessor", (const char *const[]) { mixed, NULL }, "VLM_ERR_VIDEO_PROCESSING");
    tcheckpoint_remove(mixed);
    free(mixed);
}

static void a_directory_without_frames_has_no_video_track(void **state) {
    (void)state;
    char *empty = tcheckpoint_temp_dir();
    ask("ToyProcessor", (const char *const[]) { empty, NULL }, "VLM_ERR_NO_VIDEO_TRACK");
    tcheckpoint_remove(empty);
    free(empty);
}

static void an_unknown_processor_class_is_named(void **state) {
    (void)state;
    ask("ToyProcesor", (const char *const[]) { NULL }, "VLM_ERR_UNKNOWN_PROCESSOR");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_extension_answers),
        cmocka_unit_test(errors_of_use_have_their_own_status),
        cmocka_unit_test(frames_of_different_sizes_are_no_video),
        cmocka_unit_test(a_directory_without_frames_has_no_video_track),
        cmocka_unit_test(an_unknown_processor_class_is_named),
    };
    return cmocka_run_group_tests_name("extension", tests, NULL, NULL);
}
