/* SPDX-License-Identifier: MIT */
/* Load a checkpoint, show it one picture, print one answer: minimal MODEL_DIR PICTURE QUESTION */
#include <stdio.h>
#include <vlm/vlm.h>

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: minimal MODEL_DIR PICTURE QUESTION\n");
        return 2;
    }
    vlm_error err = VLM_ERROR_INIT;
    vlm_context *context = NULL;
    vlm_input *input = NULL;
    char *answer = NULL;
    vlm_status status = vlm_context_load(&context, argv[1], NULL, &err);
    if (status >= 0) status = vlm_input_new(&input, &err);
    if (status >= 0) status = vlm_input_add_image_file(input, argv[2], &err);
    if (status >= 0) status = vlm_input_add_message(input, "user", argv[3], &err);
    if (status >= 0) status = vlm_generate(&answer, context, input, NULL, &err);
    if (status >= 0)
        puts(answer);
    else
        fprintf(stderr, "minimal: %s\n", err.message);
    vlm_string_free(answer);
    vlm_input_free(input);
    vlm_context_free(context);
    return status >= 0 ? 0 : 1;
}
