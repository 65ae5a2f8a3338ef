/* SPDX-License-Identifier: MIT */
/* How good a model's answers are about the scenes of tools/scenes: how many expected answers it gives word for word
 * when it always takes the likeliest token, and the mean negative log-likelihood of the expected answers' tokens.
 *   build/scenes --out DIR --seed 1 --count 1000; build/bench/bench_quality MODEL DIR [COUNT] [f32 | no-int8]
 * One prefill a question serves both: the expected answer is fed token by token, and given if each of its tokens, and
 * the end, is the likeliest in its place. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/session/session.h"
#include "vlm/tokenizer.h"

enum { MOST_TOKENS = 256 };

static vlm_error err = VLM_ERROR_INIT;

static void check(vlm_status status, const char *what) {
    if (status >= 0) return;
    fprintf(stderr, "bench_quality: %s: %s\n", what, err.message);
    exit(1);
}

typedef struct score {
    int asked, right;
    double nll;
    long tokens;
} score;

/* -log p(id); *likeliest: no token is likelier. */
static double cost(const float *logits, uint32_t vocab, uint32_t id, bool *likeliest) {
    double sum = 0;
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    for (uint32_t i = 0; i < vocab; i++) sum += exp((double)logits[i] - logits[best]);
    *likeliest = best == id;
    return log(sum) + logits[best] - logits[id];
}

static void feed_token(vlm_session *session, uint32_t id) {
    vlm_prepared *one;
    check(vmodel_prepared_new(&one, &err), "token");
    check(vmodel_prepared_set_ids(one, &id, 1, &err), "token");
    check(vlm_session_feed(session, one, &err), "token");
    vlm_prepared_free(one);
}

/* The answer's tokens behind the prompt, and the end. */
static void follow(score *s, const vlm_context *c, vlm_session *session, const char *answer) {
    vlm_tokens tokens;
    bool all = true;
    check(vlm_tokenizer_encode(&tokens, c->tokenizer, answer, strlen(answer), 0, &err), answer);
    for (size_t i = 0; i <= tokens.count; i++) {
        bool likeliest;
        uint32_t id = i < tokens.count ? tokens.ids[i] : c->eos.id[0];
        s->nll += cost(vengine_session_logits(session), c->info.vocab_size, id, &likeliest);
        s->tokens++;
        all &= likeliest;
        if (i < tokens.count) feed_token(session, id);
    }
    vlm_tokens_free(&tokens);
    s->asked++;
    s->right += all;
}

static void ask(score *s, const vlm_context *c, const char *picture, const char *question, const char *answer) {
    vlm_input *input;
    vlm_prepared *prepared;
    vlm_session *session;
    vlm_session_options options = VLM_SESSION_OPTIONS_INIT;
    options.max_tokens = MOST_TOKENS;
    check(vlm_input_new(&input, &err), "input");
    check(vlm_input_add_image_file(input, picture, &err), picture);
    check(vlm_input_add_message(input, "user", question, &err), question);
    check(vlm_prepare(&prepared, c, input, &err), picture);
    check(vlm_session_new(&session, c, &options, &err), "session");
    check(vlm_session_feed(session, prepared, &err), picture);
    follow(s, c, session, answer);
    vlm_session_free(session);
    vlm_prepared_free(prepared);
    vlm_input_free(input);
}

static void run(score *s, const vlm_context *c, const char *scenes, int count) {
    char line[2048], path[4096];
    snprintf(path, sizeof path, "%s/questions.tsv", scenes);
    FILE *table = fopen(path, "r");
    if (!table) {
        fprintf(stderr, "bench_quality: %s: cannot be opened\n", path);
        exit(1);
    }
    while (s->asked < count && fgets(line, sizeof line, table)) {
        char *column[4], *at = line;
        line[strcspn(line, "\n")] = '\0';
        for (int i = 0; i < 4; i++) {
            column[i] = at;
            at += strcspn(at, "\t");
            if (*at) *at++ = '\0';
        }
        snprintf(path, sizeof path, "%s/%s", scenes, column[0]);
        ask(s, c, path, column[2], column[3]);
    }
    fclose(table);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: bench_quality MODEL SCENES [COUNT] [f32 | no-int8]\n");
        return 2;
    }
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    vlm_context *c;
    score s = { 0 };
    const char *mode = argc > 4 ? argv[4] : "fast";
    if (!strcmp(mode, "f32")) options.precision = VLM_PRECISION_F32;
    options.no_int8_activations = !strcmp(mode, "no-int8");
    check(vlm_context_load(&c, argv[1], &options, &err), argv[1]);
    run(&s, c, argv[2], argc > 3 ? atoi(argv[3]) : 1000);
    vlm_context_free(c);
    printf("%s %s: right %d of %d, mean -log p %.5f over %ld tokens\n", argv[1], mode, s.right, s.asked,
           s.nll / (double)s.tokens, s.tokens);
    return 0;
}
