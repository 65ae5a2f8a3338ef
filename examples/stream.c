/* SPDX-License-Identifier: MIT */
/* A chat about a picture: stream MODEL_DIR PICTURE. Each line of standard input is a turn; the answer
 * streams as it comes. Ctrl-C cancels the answer, not the chat: to cancel is to stop calling. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <vlm/vlm.h>

static volatile sig_atomic_t cancelled;

static void on_interrupt(int signal) {
    (void)signal;
    cancelled = 1;
}

/* Pulls one answer; keeps it in answer[bytes] for the next turn's history. */
static vlm_status stream_answer(vlm_session *session, char *answer, size_t bytes, vlm_error *err) {
    vlm_piece piece;
    vlm_status status = VLM_OK;
    size_t used = 0;
    while (!cancelled && status == VLM_OK) {
        status = vlm_session_next(session, &piece, err);
        if (status < 0) break;
        fputs(piece.text, stdout);
        fflush(stdout);
        if (used + piece.bytes < bytes) {
            memcpy(answer + used, piece.text, piece.bytes);
            used += piece.bytes;
        }
    }
    answer[used] = 0;
    putchar('\n');
    return status < 0 ? status : VLM_OK;
}

/* One turn: the whole conversation is prepared again; the session keeps what it already holds of it. */
static vlm_status turn(vlm_context *context, vlm_session *session, vlm_input *input, const char *line,
                       vlm_error *err) {
    char answer[4096];
    vlm_prepared *prepared = NULL;
    cancelled = 0;
    vlm_status status = vlm_input_add_message(input, "user", line, err);
    if (status >= 0) status = vlm_prepare(&prepared, context, input, err);
    if (status >= 0) status = vlm_session_sync(session, prepared, err);
    if (status >= 0) status = stream_answer(session, answer, sizeof answer, err);
    if (status >= 0) status = vlm_input_add_message(input, "assistant", answer, err);
    vlm_prepared_free(prepared);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: stream MODEL_DIR PICTURE <questions\n");
        return 2;
    }
    signal(SIGINT, on_interrupt);
    vlm_error err = VLM_ERROR_INIT;
    vlm_context *context = NULL;
    vlm_session *session = NULL;
    vlm_input *input = NULL;
    vlm_session_options options = VLM_SESSION_OPTIONS_INIT;
    options.context = 2048;
    vlm_status status = vlm_context_load(&context, argv[1], NULL, &err);
    if (status >= 0) status = vlm_session_new(&session, context, &options, &err);
    if (status >= 0) status = vlm_input_new(&input, &err);
    if (status >= 0) status = vlm_input_add_image_file(input, argv[2], &err);
    for (char line[1024]; status >= 0 && fgets(line, sizeof line, stdin);) {
        line[strcspn(line, "\n")] = 0;
        status = turn(context, session, input, line, &err);
    }
    if (status < 0) fprintf(stderr, "stream: %s\n", err.message);
    vlm_input_free(input);
    vlm_session_free(session);
    vlm_context_free(context);
    return status >= 0 ? 0 : 1;
}
