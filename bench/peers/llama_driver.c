/* SPDX-License-Identifier: MIT */
/*
 * Times llama.cpp through its public API: prefill of random ids, and decoding behind a number of them, one session. Owns no figure's meaning: it
 * prints the seconds of every repetition as JSON, and llama_cpp.py, which builds it, chooses. Its own llama-bench would do, but brings chat
 * templates and a JSON library, which take longer to build than everything that is measured.
 *
 *     llama_driver MODEL THREADS PREFILL DECODE DEPTH REPEATS REPACK FLASH MMAP
 *
 * REPACK, MMAP: 0, 1. FLASH: 0, 1, or -1 for the library's own choice.
 */
#include <llama.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { STEP = 512 };

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void quiet(enum ggml_log_level level, const char *text, void *user) {
    (void)user;
    if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

/* Feeds tokens in steps of the library's default batch; the time they take. */
static double feed(struct llama_context *session, llama_token *ids, int count) {
    double start = seconds();
    for (int at = 0; at < count; at += STEP) {
        int take = count - at < STEP ? count - at : STEP;
        if (llama_decode(session, llama_batch_get_one(ids + at, take)) != 0) {
            fprintf(stderr, "llama_decode failed\n");
            exit(1);
        }
    }
    llama_synchronize(session);
    return seconds() - start;
}

static void print_list(const char *name, const double *values, int count) {
    printf(", \"%s\": [", name);
    for (int i = 0; i < count; i++) printf("%s%.6f", i ? ", " : "", values[i]);
    printf("]");
}

int main(int argc, char **argv) {
    int n[8];
    if (argc != 10) return 2;
    for (int i = 0; i < 8; i++) n[i] = atoi(argv[2 + i]);
    int threads = n[0], prefill = n[1], decode = n[2], depth = n[3], repeats = n[4];
    llama_log_set(quiet, NULL);
    llama_backend_init();

    struct llama_model_params of_model = llama_model_default_params();
    of_model.n_gpu_layers = 0;
    of_model.use_extra_bufts = n[5] != 0;
    if (!n[7]) of_model.load_mode = LLAMA_LOAD_MODE_NONE;
    struct llama_model *model = llama_model_load_from_file(argv[1], of_model);
    if (!model) return 1;

    struct llama_context_params of_session = llama_context_default_params();
    of_session.n_ctx = (uint32_t)((prefill > depth ? prefill : depth) + decode * repeats + STEP);
    of_session.n_threads = of_session.n_threads_batch = threads;
    of_session.flash_attn_type = (enum llama_flash_attn_type)n[6];
    struct llama_context *session = llama_init_from_model(model, of_session);
    int longest = prefill > depth ? prefill : depth;
    llama_token *ids = malloc(sizeof *ids * (size_t)(longest + 1));
    double *times = malloc(sizeof *times * (size_t)repeats);
    if (!session || !ids || !times) return 1;
    for (int i = 0; i <= longest; i++) ids[i] = (llama_token)(1000 + rand() % 39000);

    feed(session, ids, 1); /* pages and threads are there */
    printf("{\"system\": \"%s\"", llama_print_system_info());
    for (int r = 0; r < repeats && prefill; r++) {
        llama_memory_clear(llama_get_memory(session), true);
        times[r] = feed(session, ids, prefill);
    }
    print_list("prefill_s", times, prefill ? repeats : 0);
    llama_memory_clear(llama_get_memory(session), true);
    feed(session, ids, depth + 1);
    for (int r = 0; r < repeats; r++) {
        times[r] = 0;
        for (int i = 0; i < decode; i++) times[r] += feed(session, ids, 1);
    }
    print_list("decode_s", times, repeats);
    printf("}\n");
    free(times);
    free(ids);
    llama_free(session);
    llama_model_free(model);
    return 0;
}
