/* SPDX-License-Identifier: MIT */
/* Entry of the command: chooses the subcommand. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

typedef struct subcommand {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} subcommand;

static const subcommand subcommands[] = {
    { "generate", cmd_generate, "answer a prompt about pictures or video" },
    { "dump", cmd_dump, "write what a run computes at a seam" },
    { "inspect", cmd_inspect, "describe a checkpoint directory" },
    { "bench", cmd_bench, "how fast a checkpoint runs, beside what the machine can do" },
    { "tokenize", cmd_tokenize, "text to ids" },
    { "detokenize", cmd_detokenize, "ids to text" },
    { "template", cmd_template, "render the chat template" },
    { "list", cmd_list, "the registries: models, processors, checkpoints" },
    { "pull", cmd_pull, "fetch a checkpoint from the Hugging Face hub into its cache" },
    { "convert", cmd_convert, "write a checkpoint in MLX's form, quantized or not" },
};
enum { N_SUBCOMMANDS = sizeof subcommands / sizeof subcommands[0] };

static void help(FILE *to) {
    fprintf(to, "usage: vlm SUBCOMMAND [OPTIONS]\n\n");
    for (int i = 0; i < N_SUBCOMMANDS; i++)
        fprintf(to, "  %-12s%s\n", subcommands[i].name, subcommands[i].help);
    fprintf(to, "\nvlm SUBCOMMAND --help tells its options; vlm --version the version.\n");
}

int cli_fail(const char *what, const vlm_error *err) {
    fflush(stdout);
    fprintf(stderr, "vlm: %s: %s\n", what, err->message[0] ? err->message : vlm_status_text(err->code));
    return CLI_FAILED;
}

/* Reads what was opened; the file may be a pipe, so its size is not asked. */
static char *read_stream(FILE *file, const char *path, size_t cap, vlm_error *err) {
    vcore_buf text = { 0 };
    char chunk[65536];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, file)) > 0) {
        vcore_buf_add(&text, chunk, n);
        if (text.n > cap) {
            vcore_fail(err, VLM_ERR_LIMIT, "%s: larger than %zu bytes", path, cap);
            vcore_buf_free(&text);
            return NULL;
        }
    }
    if (ferror(file) || text.failed) {
        vcore_fail(err, VLM_ERR_IO, "%s: %s", path, text.failed ? "out of memory" : strerror(errno));
        vcore_buf_free(&text);
        return NULL;
    }
    return vcore_buf_take(&text);
}

char *cli_read_file(const char *path, size_t cap, vlm_error *err) {
    struct stat st;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &st) != 0 || S_ISDIR(st.st_mode)) {
        vcore_fail(err, VLM_ERR_IO, "%s: %s", path, file ? "is a directory" : strerror(errno));
        if (file) fclose(file);
        return NULL;
    }
    char *text = read_stream(file, path, cap, err);
    fclose(file);
    return text;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        help(stderr);
        return CLI_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        help(stdout);
        return CLI_DONE;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("vlm %s\n", vlm_version());
        return CLI_DONE;
    }
    for (int i = 0; i < N_SUBCOMMANDS; i++) {
        if (strcmp(argv[1], subcommands[i].name)) continue;
        cli_catch_cut_files(argv[1]);
        int status = subcommands[i].run(argc - 1, argv + 1);
        bool lost = ferror(stdout); /* of an earlier write */
        if ((fflush(stdout) != 0 || lost) && status == CLI_DONE) {
            fprintf(stderr, "vlm: stdout: %s\n", lost ? "cannot be written" : strerror(errno));
            status = CLI_FAILED;
        }
        return status;
    }
    fprintf(stderr, "vlm: '%s' is not a subcommand\n", argv[1]);
    help(stderr);
    return CLI_USAGE;
}
