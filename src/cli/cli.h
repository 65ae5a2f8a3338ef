/* SPDX-License-Identifier: MIT */
/* The command `vlm`: one file per subcommand over the public API. Only this folder prints, reads files by
 * name for the user and chooses exit statuses: 0 done, 1 the work failed, 2 wrong usage. */
#ifndef VLM_CLI_H
#define VLM_CLI_H

#include "core/core.h"
#include "vlm/load/hub.h"
#include "vlm/vlm.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* ---- options (args.c) ---------------------------------------------------------------------------------
 * A subcommand lists its options in a table; parsing fills the targets. */
typedef enum cli_kind {
    CLI_FLAG,   /* bool * */
    CLI_TEXT,   /* const char ** */
    CLI_TEXTS,  /* cli_texts *, repeatable */
    CLI_COUNT,  /* uint32_t *, >= min */
    CLI_LONG,   /* uint64_t * */
    CLI_REAL,   /* float *, within [min, max] */
    CLI_DOUBLE  /* double *, likewise */
} cli_kind;
typedef struct cli_texts {
    const char *at[64];
    size_t n;
} cli_texts;
typedef struct cli_option {
    const char *name; /* "--image" */
    const char *shorthand; /* "-i", or NULL */
    cli_kind kind;
    void *target;
    double min, max; /* CLI_COUNT (max 0: none), CLI_REAL, CLI_DOUBLE */
    const char *help; /* "FILE   a picture; repeatable" */
} cli_option;
/* Positional arguments go to rest (at most max_rest); behind "--" everything is one. Prints the mistake, or the
 * help for --help.
 * Returns -1 to go on, else the exit status. */
int cli_parse(int argc, char **argv, const char *usage, const cli_option *const *tables, cli_texts *rest,
              size_t max_rest);

/* ---- what generate, dump, inspect and bench share (input.c) ---------------------------------------------------- */
typedef struct cli_input {
    const char *model, *tokenizer, *prompt, *system, *messages, *raw, *input_file, *tools;
    const char *resize, *image_backend, *backend, *dtype, *video_dir, *revision;
    cli_texts images, videos, containers, variables;
    uint64_t min_pixels, max_pixels;
    uint32_t max_frames, device, threads, context, prefill_step, kv_bits;
    double fps;
    bool lenient, no_mmap, no_int8_activations, pan_and_scan;
} cli_input;
const cli_option *cli_input_options(cli_input *in); /* table to hand to cli_parse; valid until the next call */
/* Checks what only usage can be wrong about; prints and returns CLI_USAGE, or -1. */
int cli_input_check(const cli_input *in);
/* Refuses what the options names and this build does not have. */
vlm_status cli_check_build(const cli_input *in, vlm_error *err);
vlm_load_options cli_load_options(const cli_input *in);
/* After a call with such options: prints its warnings, or drops them where it failed. */
void cli_loaded(vlm_status status);
void cli_keep_warning(void *user, vlm_log_level level, const char *line); /* for cli_loaded */
vlm_status cli_load(vlm_context **out, const cli_input *in, vlm_error *err);
/* Collects messages and media. default_prompt may be NULL. */
vlm_status cli_build_input(vlm_input **out, const cli_input *in, const char *default_prompt,
                           vlm_error *err);
/* Prepared input from --input, or from messages and media. */
vlm_status cli_prepare(vlm_prepared **out, const vlm_context *context, const cli_input *in,
                       vlm_error *err);

/* ---- the hub (hub.c) ------------------------------------------------------------------------------------- */
/* Options of the hub from the environment that huggingface_hub reads, and what they point to. */
typedef struct cli_hub {
    vlm_hub_options options;
    char *cache, *token;   /* owned */
    double started, drawn; /* of the progress line, in seconds; 0: not yet */
} cli_hub;
vlm_status cli_hub_open(cli_hub *h, const char *revision, vlm_error *err);
void cli_hub_close(cli_hub *h); /* after a failed open, too */
/* The same for a load of what -m and --tokenizer (may be NULL) name, the token only if one is a hub id; a revision
 * with a directory is a mistake. */
vlm_status cli_hub_for(cli_hub *h, const char *model, const char *tokenizer, const char *revision,
                       vlm_error *err);
/* What -m means where only the tokenizer's files are needed: an existing directory; else, if it looks like org/name,
 * its snapshot in the cache, pulled without weights if there is none; else itself, for others to complain about.
 * Owned. revision may be NULL. */
vlm_status cli_tokenizer_dir(char **dir, const char *model, const char *revision, vlm_error *err);

/* ---- output (main.c) ---------------------------------------------------------------------------------------- */
/* Prints "vlm: <what>: <why>" and returns CLI_FAILED. */
int cli_fail(const char *what, const vlm_error *err);
/* Whole file, NUL-terminated, owned; NULL with err set. */
char *cli_read_file(const char *path, size_t cap, vlm_error *err);

/* ---- signals (sigbus.c) ---- */
/* From here on, a mapped file that another process cuts short ends the command with its one line. */
void cli_catch_cut_files(const char *name);

/* ---- memory (memory.c) --------------------------------------------------------------------------------------
 * Bytes resident now, of the process's own and of files it has mapped (its program and libraries among them), and
 * the most there ever were of both. Zeros where the system does not say. */
typedef struct cli_memory {
    uint64_t own, files, peak;
} cli_memory;
cli_memory cli_memory_now(void);

int cmd_generate(int argc, char **argv);
int cmd_dump(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_detokenize(int argc, char **argv);
int cmd_template(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_pull(int argc, char **argv);
int cmd_convert(int argc, char **argv);

#endif
