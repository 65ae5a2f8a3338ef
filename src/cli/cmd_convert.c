/* SPDX-License-Identifier: MIT */
/* vlm convert: a checkpoint in MLX's form, quantized, dequantized or of another type. */
#include "cli/cli.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "vlm/load/convert.h"

typedef struct convert_options {
    const char *model, *target, *revision, *mode, *recipe, *dtype, *tokenizer;
    uint32_t bits, group_size, threads;
    uint64_t shard_bytes;
    bool dequantize, lenient;
} convert_options;

/* ---- stopping and showing ------------------------------------------------------------------------------- */
static volatile sig_atomic_t stopped;

static void stop(int number) {
    (void)number;
    stopped = 1;
}

/* What is half written is removed before the command ends; a file that may not grow is an error of its write. */
static void catch_signals(void) {
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction act = { .sa_handler = stop };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction before;
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &act, NULL);
    }
    act.sa_handler = SIG_IGN;
    sigaction(SIGXFSZ, &act, NULL);
}

typedef struct shown {
    double started, drawn; /* in seconds; 0: not yet */
    bool terminal;
} shown;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int draw(void *user, const vlm_convert_progress *p) {
    shown *s = user;
    double now = seconds();
    if (s->started == 0) s->started = now;
    if (s->terminal && now - s->drawn >= 0.2) {
        s->drawn = now;
        fprintf(stderr, "\r\033[K%.1f of %.1f MB  %.1f MB/s  %.60s", (double)p->done / 1e6, (double)p->total / 1e6,
                (double)p->done / 1e6 / (now - s->started + 1e-3), p->tensor);
        fflush(stderr);
    }
    return stopped;
}

static int check_stop(void *user, const vlm_load_progress *p) {
    (void)user, (void)p;
    return stopped;
}

/* ---- the command ------------------------------------------------------------------------------------------ */
static bool find_mode(vlm_quantization_mode *mode, const char *name) {
    const char *known;
    for (int i = 0; (known = vlm_quantization_mode_name((vlm_quantization_mode)i)); i++)
        if (!strcmp(name, known)) {
            *mode = (vlm_quantization_mode)i;
            return true;
        }
    return false;
}

static int usage(const char *what) {
    fprintf(stderr, "vlm: convert: %s\n", what);
    return CLI_USAGE;
}

/* What only usage can be wrong about; -1: nothing. */
static int check(const convert_options *o, vlm_convert_options *to) {
    if (!o->model || !o->target) return usage("-m and -o are needed");
    if (o->mode && !find_mode(&to->mode, o->mode)) return usage("--mode is affine, mxfp4, mxfp8 or nvfp4");
    if (o->dtype && strcmp(o->dtype, "bf16") && strcmp(o->dtype, "f16") && strcmp(o->dtype, "f32"))
        return usage("--dtype is bf16, f16 or f32");
    bool quantize = o->bits || o->group_size || o->mode || o->recipe;
    if (quantize && o->dequantize) return usage("--dequantize goes with no quantization");
    if (o->group_size && !o->bits && !o->mode) return usage("--group-size goes with --quantize or --mode");
    if (o->recipe && (o->bits || o->group_size || o->mode)) return usage("--recipe has bits, group size and mode of its own");
    to->weights = quantize ? VLM_CONVERT_QUANTIZE : o->dequantize ? VLM_CONVERT_DEQUANTIZE : VLM_CONVERT_KEEP;
    to->bits = (int)o->bits;
    to->group_size = (int)o->group_size;
    to->recipe = o->recipe;
    to->dtype = o->dtype;
    to->shard_bytes = o->shard_bytes;
    return -1;
}

static vlm_status run(const convert_options *o, vlm_convert_options *to, vlm_error *err) {
    vlm_load_options load = VLM_LOAD_OPTIONS_INIT;
    shown show = { .terminal = isatty(2) };
    cli_hub hub;
    load.tokenizer_source = o->tokenizer;
    load.threads = (int)o->threads;
    load.lenient = o->lenient;
    load.log = cli_keep_warning;
    load.progress = check_stop;
    vlm_status status = cli_hub_for(&hub, o->model, o->tokenizer, o->revision, err);
    load.hub = &hub.options;
    to->load = &load;
    to->progress = draw;
    to->progress_user = &show;
    if (status >= 0) status = vlm_convert(o->model, o->target, to, err);
    cli_hub_close(&hub);
    if (show.drawn > 0) fputs("\r\033[K", stderr);
    cli_loaded(status);
    return status;
}

int cmd_convert(int argc, char **argv) {
    convert_options o = { 0 };
    const cli_option own[] = {
        { "--model", "-m", CLI_TEXT, &o.model, 0, 0, "DIR or hub id   the checkpoint" },
        { "--output", "-o", CLI_TEXT, &o.target, 0, 0, "DIR   made by this; must not exist" },
        { "--quantize", "-q", CLI_COUNT, &o.bits, 1, 0, "BITS   of a weight: 2, 3, 4, 5, 6, 8" },
        { "--group-size", NULL, CLI_COUNT, &o.group_size, 1, 0, "N   weights that share a scale: 32, 64 (default), 128" },
        { "--mode", NULL, CLI_TEXT, &o.mode, 0, 0, "affine (default), mxfp4, mxfp8 or nvfp4" },
        { "--recipe", NULL, CLI_TEXT, &o.recipe, 0, 0, "mixed_A_B   A bits, and B for what matters more: mixed_2_6, 3_4, 3_5, 3_6, 3_8, 4_6, 4_8" },
        { "--dequantize", NULL, CLI_FLAG, &o.dequantize, 0, 0, "all matrices become floats" },
        { "--dtype", NULL, CLI_TEXT, &o.dtype, 0, 0, "bf16, f16 or f32   of floats and scales" },
        { "--shard-bytes", NULL, CLI_LONG, &o.shard_bytes, 0, 0, "N   most bytes of a file (5 GiB)" },
        { "--tokenizer", NULL, CLI_TEXT, &o.tokenizer, 0, 0, "DIR or hub id   of the tokenizer's files" },
        { "--revision", NULL, CLI_TEXT, &o.revision, 0, 0, "R   of the hub id: branch, tag or commit" },
        { "--threads", NULL, CLI_COUNT, &o.threads, 1, 1024, "N   (all CPUs)" },
        { "--lenient", NULL, CLI_FLAG, &o.lenient, 0, 0, "tensors that no part of the model names are left out" },
        { NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL },
    };
    const cli_option *const tables[] = { own, NULL };
    cli_texts rest = { .n = 0 };
    vlm_convert_options to = VLM_CONVERT_OPTIONS_INIT;
    int done = cli_parse(argc, argv, "convert -m DIR -o DIR [--quantize BITS | --dequantize] [--dtype D]", tables, &rest, 0);
    if (done < 0) done = check(&o, &to);
    if (done >= 0) return done;
    vlm_error err = VLM_ERROR_INIT;
    catch_signals();
    return run(&o, &to, &err) < 0 ? cli_fail("convert", &err) : CLI_DONE;
}
