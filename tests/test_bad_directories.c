/* SPDX-License-Identifier: MIT */
/* Hostile checkpoint directories, made by hand, through the command. A bad one: exit status 1, one line on
 * stderr that names what is wrong and where, nothing on stdout, within ten seconds and 1 GB. An odd one that is
 * good all the same loads. The rows are in tests/hostile/; under AddressSanitizer this is also the proof that no
 * error path leaks. */
#include <stdio.h>
#include <stdlib.h>

#include "hostile/config.h"
#include "hostile/gemma3.h"
#include "hostile/grids.h"
#include "hostile/llava.h"
#include "hostile/mistral3.h"
#include "hostile/model.h"
#include "hostile/odd.h"
#include "hostile/processor.h"
#include "hostile/tensors.h"
#include "hostile/text.h"
#include "hostile/weights.h"
#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/process.h"

enum { SECONDS = 10, MOST_BYTES = 1 << 30, MOST_ROWS = 1024 };

static const struct {
    const char *golden;
    tcheckpoint_options how;
} bases[] = {
    [SPLIT] = { "tests/golden/idefics3-split", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [SHARDED] = { "tests/golden/idefics3-split", { TCHECKPOINT_HF, TCHECKPOINT_F32, 3 } },
    [MLX] = { "tests/golden/idefics3-split", { TCHECKPOINT_MLX, TCHECKPOINT_BF16, 0 } },
    [PALI] = { "tests/golden/paligemma-gemma", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [PALI2] = { "tests/golden/paligemma2-gemma2", { TCHECKPOINT_HF, TCHECKPOINT_F16, 0 } },
    [QWEN] = { "tests/golden/qwen2_5_vl-tied", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [QWEN_NEST] = { "tests/golden/qwen2_5_vl-untied", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [SMOL] = { "tests/golden/smolvlm-video", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [QWEN2] = { "tests/golden/qwen2_vl", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [QWEN3] = { "tests/golden/qwen3_vl", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [QWEN3_MOE] = { "tests/golden/qwen3_vl_moe", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [GLM] = { "tests/golden/glm_ocr", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [GEMMA3] = { "tests/golden/gemma3-old", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [MISTRAL3] = { "tests/golden/mistral3-ministral3", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [PIXTRAL] = { "tests/golden/pixtral-llava", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [LLAVA] = { "tests/golden/llava-clip", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [LLAVA_NEXT] = { "tests/golden/llava_next-mistral", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [BUNNY] = { "tests/golden/llava_bunny-qwen2", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [FASTVLM] = { "tests/golden/fastvlm-qwen2", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
    [TIMM] = { "tests/golden/fastvlm-timm", { TCHECKPOINT_HF, TCHECKPOINT_F32, 0 } },
};

/* Runs the command on a row's directory. */
static tprocess run(const hostile *row) {
    char *dir = tcheckpoint_temp_dir();
    assert_non_null(dir);
    assert_true(tcheckpoint_write(bases[row->base].golden, dir, &bases[row->base].how));
    if (!tedit_apply(dir, row->edits, HOSTILE_EDITS)) fail_msg("%s: cannot be made", row->name);
    const char *argv[] = { "vlm", "generate", "-m", dir, "-p", "What is it?", "-i", "tests/data/pictures/tiny.png",
                           "--max-tokens", "2", "--threads", "2", NULL };
    tprocess p = tprocess_run_within(argv, NULL, SECONDS, MOST_BYTES);
    tcheckpoint_remove(dir);
    free(dir);
    /* A sanitizer's own memory comes on top. */
    size_t most = tprocess_can_limit() ? MOST_BYTES : 2 * (size_t)MOST_BYTES;
    if (p.peak_rss > most) fail_msg("%s: took %zu bytes", row->name, p.peak_rss);
    if (p.status > 1) fail_msg("%s: status %d, says: %s", row->name, p.status, p.err);
    return p;
}

static void check_says(const hostile *row, const char *line) {
    for (size_t i = 0; i < HOSTILE_SAYS && row->says[i]; i++)
        if (!strstr(line, row->says[i])) fail_msg("%s: '%s' is not named: %s", row->name, row->says[i], line);
}

static void is_refused(void **state) {
    const hostile *row = *state;
    tprocess p = run(row);
    if (p.status != 1) fail_msg("%s: is loaded", row->name);
    if (tprocess_lines(p.err) != 1 || strncmp(p.err, "vlm: generate: ", 15))
        fail_msg("%s: is not one line: %s", row->name, p.err);
    for (const unsigned char *c = (const unsigned char *)p.err; *c; c++)
        if ((*c < 0x20 && *c != '\n') || *c == 0x7F || (*c == 0xC2 && c[1] < 0xA0))
            fail_msg("%s: says a control character: %s", row->name, p.err);
    assert_string_equal(p.out, "");
    check_says(row, p.err);
    tprocess_free(&p);
}

static void is_loaded(void **state) {
    const hostile *row = *state;
    tprocess p = run(row);
    if (p.status != 0) fail_msg("%s: is refused: %s", row->name, p.err);
    if ((tprocess_lines(p.err) > 0) != (row->says[0] != NULL)) fail_msg("%s: says: %s", row->name, p.err);
    check_says(row, p.err);
    assert_true(p.out[0]);
    tprocess_free(&p);
}

/* Under a sanitizer, whose processes are slow, every second row. */
static void add(struct CMUnitTest *tests, size_t *n, const hostile *rows, size_t count, CMUnitTestFunction run_row) {
    if (*n + count > MOST_ROWS) abort();
    for (size_t i = 0; i < count; i += tprocess_can_limit() ? 1 : 2)
        tests[(*n)++] = (struct CMUnitTest) { rows[i].name, run_row, NULL, NULL, (void *)&rows[i] };
}
#define ADD(rows, how) add(tests, &n, rows, sizeof(rows) / sizeof *(rows), how)

int main(void) {
    static struct CMUnitTest tests[MOST_ROWS];
    size_t n = 0;
    ADD(bad_config, is_refused);
    ADD(bad_model, is_refused);
    ADD(bad_processor, is_refused);
    ADD(bad_text, is_refused);
    ADD(bad_weights, is_refused);
    ADD(bad_headers, is_refused);
    ADD(bad_tensors, is_refused);
    ADD(bad_quantized, is_refused);
    ADD(bad_grids, is_refused);
    ADD(bad_gemma3, is_refused);
    ADD(bad_mistral3, is_refused);
    ADD(bad_llava, is_refused);
    ADD(odd_but_good, is_loaded);
    return _cmocka_run_group_tests("hostile directories", tests, n, NULL, NULL);
}
