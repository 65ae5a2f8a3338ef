/* SPDX-License-Identifier: MIT */
/* Broken videos, made here of the good ones: beginnings, flipped bits, headers that lie. Each gives
 * frames or an error with a message, and nothing is printed that can be kept from it. */
#include "media/media.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/cm.h"

#define CLIPS "tests/data/video/"

typedef struct tally {
    int tried, shown, refused, warned;
} tally;

static void count_warning(void *user, vlm_log_level level, const char *line) {
    assert_non_null(line);
    ((tally *)user)->warned += level == VLM_LOG_WARNING;
}

static void try_bytes(tally *t, const uint8_t *data, size_t n) {
    vlm_limits limits = VLM_LIMITS_INIT;
    limits.video_pixels = 1 << 20;
    vlm_video_options o = VLM_VIDEO_OPTIONS_INIT;
    o.limits = &limits;
    o.log = count_warning;
    o.log_user = t;
    o.threads = 1 + t->tried % 2;
    vlm_video *video;
    vlm_processed_frames f;
    vlm_error err = VLM_ERROR_INIT;
    t->tried++;
    vlm_status status = vlm_video_open_memory(&video, data, n, "broken", &o, &err);
    if (status == VLM_OK) {
        const vlm_video_info *info = vlm_video_get_info(video);
        assert_true(info->frames > 0);
        const int64_t numbers[] = { 0, info->frames / 2, info->frames - 1, info->frames / 3 };
        status = vlm_video_read_frames(&f, video, numbers, 4, NULL, NULL, &err);
        assert_true(status != VLM_OK || (f.n >= 1 && f.n <= 4));
        for (size_t i = 1; status == VLM_OK && i < f.n; i++)
            assert_int_equal(vlm_image_size(f.frames[i]).width, vlm_image_size(f.frames[0]).width);
        if (status == VLM_OK) vlm_processed_frames_free(&f);
        vlm_video_close(video);
    }
    if (status == VLM_OK) {
        t->shown++;
        return;
    }
    t->refused++;
    assert_int_equal(err.code, status);
    assert_true(strncmp(err.message, "broken", 6) == 0 || status == VLM_ERR_LIMIT);
}

static uint32_t next(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void cut(tally *t, const vio_bytes *file) {
    for (int i = 0; i < 24; i++) try_bytes(t, (uint8_t *)file->p, file->n * (size_t)i / 24);
    for (size_t i = 0; i < 6; i++) try_bytes(t, (uint8_t *)file->p, file->n - 1 - i * i);
}

static void flip(tally *t, const vio_bytes *file, uint32_t seed) {
    uint8_t *copy = vcore_alloc(file->n);
    for (int i = 0; i < 30; i++) {
        memcpy(copy, file->p, file->n);
        uint32_t range = i % 3 == 0 ? 600 : (uint32_t)file->n; /* the header often */
        for (int k = 0; k < 1 + i; k++) {
            uint32_t at = next(&seed) % range;
            if (i % 3 == 1) at = (uint32_t)file->n - 1 - at % 2000;
            copy[at % file->n] ^= (uint8_t)(1u << next(&seed) % 8);
        }
        try_bytes(t, copy, file->n);
    }
    vcore_free(copy);
}

/* Sizes and counts that are nothing like the truth. */
static void lie(tally *t, const vio_bytes *file) {
    static const char *const words[] = { "stsz", "stco", "stts", "ctts", "stsc", "stss", "tkhd", "mdhd",
                                         "stsd", "avcC", "hvcC", "esds", "trun", "tfhd", "elst", "mdat",
                                         "moov", "trak", "\xAE", "\x1F\x43\xB6\x75", "\x16\x54\xAE\x6B" };
    static const uint32_t values[] = { 0, 1, 0x7fffffff, 0xffffffff, 0x00ffffff };
    uint8_t *copy = vcore_alloc(file->n + 32);
    for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
        const uint8_t *at = memmem(file->p, file->n, words[w], strlen(words[w]));
        for (int offset = -4; at && offset <= 16; offset += 4)
            for (size_t k = 0; k < sizeof values / sizeof values[0]; k += offset == -4 ? 1 : 2) {
                ptrdiff_t to = at - (uint8_t *)file->p + offset + (offset >= 0 ? 4 : 0);
                if (to < 0 || (size_t)to + 4 > file->n) continue;
                memcpy(copy, file->p, file->n);
                for (int b = 0; b < 4; b++) copy[to + b] = (uint8_t)(values[k] >> (24 - 8 * b));
                try_bytes(t, copy, file->n);
            }
    }
    vcore_free(copy);
}

static int other_stderr(char *path) {
    int saved = dup(2), to = mkstemp(path);
    assert_true(saved >= 0 && to >= 0);
    fflush(stderr);
    dup2(to, 2);
    close(to);
    return saved;
}

/* Lines printed, but for the two kinds that FFmpeg gives no handle on (docs/VIDEO.md). */
static int lines_of(const char *path) {
    FILE *f = fopen(path, "r");
    char line[300] = "";
    int n = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (strstr(line, "[IMGUTILS @") || strncmp(line, "delta scale ", 12) == 0) continue;
        fputs(line, stderr);
        n++;
    }
    fclose(f);
    return n;
}

static void broken_files_give_frames_or_errors_and_print_nothing(void **state) {
    (void)state;
    tally t = { 0 };
    struct dirent **names;
    char path[320], said[] = "/tmp/vlm-video-stderr-XXXXXX";
    int n = scandir(CLIPS, &names, NULL, alphasort), saved = other_stderr(said);
    for (int i = 0; i < n; i++) {
        vio_bytes file = { 0 };
        snprintf(path, sizeof path, CLIPS "%s", names[i]->d_name);
        if (!strstr(path, ".txt") && names[i]->d_name[0] != '.'
            && vio_read(&file, path, 1 << 20, NULL, NULL) == VLM_OK) {
            cut(&t, &file);
            flip(&t, &file, (uint32_t)i);
            lie(&t, &file);
        }
        vcore_free(file.p);
        free(names[i]);
    }
    free(names);
    dup2(saved, 2);
    close(saved);
    int printed = lines_of(said);
    unlink(said);
    printf("%d broken videos: %d shown, %d refused, %d warnings\n", t.tried, t.shown, t.refused, t.warned);
    assert_int_equal(printed, 0);
    assert_true(t.tried >= 300 && t.shown > 50 && t.refused > 50 && t.warned > 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_files_give_frames_or_errors_and_print_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
