/* SPDX-License-Identifier: MIT */
/* Weight files as the command meets them: sets without an index, what is missing or left over, files that
 * change while it runs. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/io.h"
#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/process.h"

#define GOLDEN "tests/golden/idefics3-split"
#define CHAT "[{\"role\": \"user\", \"content\": \"Hello there\"}]"

static char *dir, *weights, *answer; /* the checkpoint, its weights, what it answers */

static tprocess generate(const char *const *more) {
    const char *argv[16] = { "vlm", "generate", "-m", dir, "--dtype", "f32", "--max-tokens", "8", "--ignore-eos" };
    for (size_t n = 9; n < 15 && *more; n++) argv[n] = *more++;
    return tprocess_run(argv, NULL);
}

static int set_up(void **state) {
    const tcheckpoint_options *how = *state;
    dir = tcheckpoint_temp_dir();
    if (!dir || !tcheckpoint_write(GOLDEN, dir, how)) return -1;
    weights = tcheckpoint_path(dir, "model.safetensors");
    tprocess p = generate((const char *const[]) { "-p", "Hello there", NULL });
    answer = p.out;
    free(p.err);
    return p.status;
}

static int tear_down(void **state) {
    (void)state;
    tcheckpoint_remove(dir);
    free(dir);
    free(weights);
    free(answer);
    return 0;
}

static void remove_file(const char *name) {
    char *path = tcheckpoint_path(dir, name);
    assert_int_equal(unlink(path), 0);
    free(path);
}

static void answers(const char *const *more) {
    tprocess p = generate(more);
    if (p.status) fail_msg("%s", p.err);
    assert_string_equal(p.out, answer);
    tprocess_free(&p);
}

static void says(const char *const *more, const char *line) {
    tprocess p = generate(more);
    char want[1024];
    snprintf(want, sizeof want, "vlm: generate: %s%s", dir, line);
    if (strcmp(p.err, want)) fail_msg("'%s' is not '%s'", p.err, want);
    assert_int_equal(p.status, 1);
    tprocess_free(&p);
}

/* Of a call that must succeed; owned. */
static char *inspect(void) {
    tprocess p = tprocess_run((const char *const[]) { "vlm", "inspect", "-m", dir, "--json", NULL }, NULL);
    if (p.status) fail_msg("%s", p.err);
    free(p.err);
    return p.out;
}

static size_t count(const char *text, const char *word) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, word)); at++) n++;
    return n;
}

static const char *const hello[] = { "-p", "Hello there", NULL };

/* ---- while the command runs ------------------------------------------------------------------------------- */
static void replace_weights(void) {
    char *other = tcheckpoint_path(dir, "other");
    FILE *f = fopen(other, "w");
    if (!f || fputs("nonsense", f) < 0 || fclose(f) || rename(other, weights)) _exit(1);
}

static void unlink_weights(void) {
    if (unlink(weights)) _exit(1);
}

static void cut_weights(void) {
    if (truncate(weights, 0)) _exit(1);
}

/* Runs the command, which has loaded the model when it opens its chat, a FIFO; what is done then happens before
 * it reads a word of it. */
static tprocess generate_while(void (*act)(void), const char *option) {
    char *fifo = tcheckpoint_path(dir, "chat");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(60); /* watchdog */
        FILE *f = fopen(fifo, "w"); /* waits for the reader */
        if (!f) _exit(1);
        act();
        fputs(CHAT, f);
        fclose(f);
        _exit(0);
    }
    tprocess p = generate((const char *const[]) { "--messages", fifo, option, NULL });
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    free(fifo);
    return p;
}

static void answers_while(void (*act)(void), const char *option) {
    tprocess p = generate_while(act, option);
    if (p.status) fail_msg("status %d: %s", p.status, p.err);
    assert_string_equal(p.out, answer);
    tprocess_free(&p);
}

static void replaced_weights_do_no_harm(void **state) {
    (void)state;
    answers_while(replace_weights, NULL);
}

static void unlinked_weights_do_no_harm(void **state) {
    (void)state;
    answers_while(unlink_weights, NULL);
}

static void truncated_weights_end_the_command_with_one_line(void **state) {
    (void)state;
    tprocess p = generate_while(cut_weights, NULL);
    char *real = realpath(weights, NULL), want[1024];
    snprintf(want, sizeof want, "vlm: generate: %s: was cut short while in use; --no-mmap reads weights into memory\n",
             real);
    assert_string_equal(p.err, want);
    assert_string_equal(p.out, "");
    assert_int_equal(p.status, 1);
    free(real);
    tprocess_free(&p);
}

static void truncated_weights_do_no_harm_in_memory(void **state) {
    (void)state;
    answers_while(cut_weights, "--no-mmap");
}

static void weights_in_memory_answer_the_same(void **state) {
    (void)state;
    answers((const char *const[]) { "-p", "Hello there", "--no-mmap", NULL });
}

/* ---- sets of files ---------------------------------------------------------------------------------------- */
static void a_set_without_an_index(void **state) {
    (void)state;
    remove_file("model.safetensors.index.json");
    answers(hello);
    char *from = tcheckpoint_path(dir, "model-00002-of-00003.safetensors"), *to = tcheckpoint_path(dir, "b.safetensors");
    assert_int_equal(rename(from, to), 0); /* not a set any more, but all there */
    answers(hello);
    assert_int_equal(unlink(to), 0);
    says(hello, "/model-00002-of-00003.safetensors: is not there; 14 tensors are missing: "
                "'model.text_model.embed_tokens.weight', 'model.text_model.layers.0.input_layernorm.weight', "
                "'model.text_model.layers.0.self_attn.q_proj.weight' and 11 more\n");
    free(from);
    free(to);
}

static void a_stale_index(void **state) {
    (void)state;
    char *from = tcheckpoint_path(dir, "model-00002-of-00003.safetensors"), *to = tcheckpoint_path(dir, "b.safetensors");
    assert_int_equal(rename(from, to), 0);
    tprocess p = generate(hello); /* the index is wrong about the name of a file: the tensors are there */
    assert_string_equal(p.out, answer);
    assert_int_equal(p.status, 0);
    assert_non_null(strstr(p.err, "vlm: warning: "));
    assert_non_null(strstr(p.err, "stale: it names model-00002-of-00003.safetensors, which is not there"));
    tprocess_free(&p);
    free(from);
    free(to);
}

/* ---- missing and left over -------------------------------------------------------------------------------- */
/* A second file beside the weights, of n tensors that nobody knows. */
static void add_unknown(int n) {
    char *path = tcheckpoint_path(dir, "more.safetensors"), *to = tcheckpoint_path(dir, "weights.safetensors");
    static const float value = 1;
    static char names[64][64];
    vio_out_tensor list[64];
    for (int i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "model.unknown.%d.weight", i);
        list[i] = (vio_out_tensor) { names[i], VIO_F32, 1, { 1 }, &value };
    }
    assert_int_equal(vio_safetensors_write(path, list, (size_t)n, "pt", NULL), VLM_OK);
    assert_int_equal(rename(weights, to), 0);
    free(path);
    free(to);
}

static void left_over_tensors_are_an_error_or_warnings(void **state) {
    (void)state;
    add_unknown(12);
    says(hello, "/more.safetensors: 12 tensors are not named by any part of the model: 'model.unknown.0.weight', "
                "'model.unknown.1.weight', 'model.unknown.10.weight' and 9 more (a lenient load passes over them)\n");
    tprocess p = generate((const char *const[]) { "-p", "Hello there", "--lenient", NULL });
    assert_int_equal(p.status, 0);
    assert_string_equal(p.out, answer);
    assert_int_equal(count(p.err, "vlm: warning: tensor 'model.unknown."), 10);
    assert_non_null(strstr(p.err, "vlm: warning: 2 more tensors are not used\n"));
    tprocess_free(&p);
    char *json = inspect();
    assert_int_equal(count(json, "model.unknown."), 12);
    free(json);
}

/* One name wrong: what is wanted and what is there stand side by side. Lenient is no help. */
static void missing_tensors_are_an_error_always(void **state) {
    (void)state;
    FILE *f = fopen(weights, "r+b");
    char header[65536];
    size_t n = fread(header, 1, sizeof header, f);
    char *at = memmem(header, n, "text_model.norm.weight", 22);
    assert_non_null(at);
    assert_int_equal(fseek(f, (long)(at - header) + 14, SEEK_SET), 0);
    assert_int_equal(fputc('k', f), 'k');
    assert_int_equal(fclose(f), 0);
    const char line[] = ": 1 tensor is missing: 'model.text_model.norm.weight'; 1 tensor is not named by any part of the "
                        "model: 'model.text_model.nork.weight'\n";
    tprocess p = generate(hello);
    assert_non_null(strstr(p.err, line + 2));
    assert_int_equal(p.status, 1);
    assert_int_equal(tprocess_lines(p.err), 1);
    tprocess_free(&p);
    p = generate((const char *const[]) { "-p", "Hello there", "--lenient", NULL });
    assert_non_null(strstr(p.err, line + 2));
    assert_int_equal(p.status, 1);
    assert_int_equal(tprocess_lines(p.err), 1);
    tprocess_free(&p);
}

static void inspect_lists_all_that_is_missing(void **state) {
    (void)state;
    remove_file("model-00002-of-00003.safetensors");
    char *json = inspect();
    char *missing = strstr(json, "\"missing\": ["), *end = missing ? strchr(missing, ']') : NULL;
    assert_non_null(end);
    *end = 0;
    assert_int_equal(count(missing, ".weight\"") + count(missing, ".bias\""), 14);
    free(json);
}

int main(void) {
    tcheckpoint_options one = { .shards = 1 }, three = { .shards = 3 };
#define TEST(function, how)                                                                                            \
    { #function, function, set_up, tear_down, &how }
    const struct CMUnitTest tests[] = {
        TEST(replaced_weights_do_no_harm, one),
        TEST(unlinked_weights_do_no_harm, one),
        TEST(truncated_weights_end_the_command_with_one_line, one),
        TEST(truncated_weights_do_no_harm_in_memory, one),
        TEST(weights_in_memory_answer_the_same, one),
        TEST(a_set_without_an_index, three),
        TEST(a_stale_index, three),
        TEST(left_over_tensors_are_an_error_or_warnings, one),
        TEST(missing_tensors_are_an_error_always, one),
        TEST(inspect_lists_all_that_is_missing, three),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
