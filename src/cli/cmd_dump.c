/* SPDX-License-Identifier: MIT */
/* vlm dump: what a run computes at a seam, as a safetensors file with the reference's names. */
#include "cli/cli.h"

#include <stdio.h>

static vlm_status run(const cli_input *in, const char *stage, const char *path, vlm_error *err) {
    vlm_context *context = NULL;
    vlm_prepared *prepared = NULL;
    vlm_status status = cli_load(&context, in, err);
    if (status >= 0) status = cli_prepare(&prepared, context, in, err);
    if (status >= 0) {
        if (!strcmp(stage, "processor"))
            status = vlm_prepared_save(prepared, path, err);
        else
            status = vlm_dump_stage(context, prepared,
                                    !strcmp(stage, "vision")   ? VLM_STAGE_VISION
                                    : !strcmp(stage, "layers") ? VLM_STAGE_LAYERS
                                                               : VLM_STAGE_LOGITS,
                                    path, err);
    }
    vlm_prepared_free(prepared);
    vlm_context_free(context);
    return status;
}

int cmd_dump(int argc, char **argv) {
    cli_input in = { 0 };
    const char *stage = NULL, *out = NULL;
    const cli_option own[] = {
        { "--stage", NULL, CLI_TEXT, &stage, 0, 0, "processor|vision|layers|logits   what to write" },
        { "--out", NULL, CLI_TEXT, &out, 0, 0, "FILE   safetensors file to write" },
        { NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL },
    };
    const cli_option *const tables[] = { own, cli_input_options(&in), NULL };
    cli_texts rest = { .n = 0 };
    int done = cli_parse(argc, argv, "dump -m DIR --stage STAGE --out FILE [INPUT OPTIONS]", tables, &rest, 0);
    if (done < 0) done = cli_input_check(&in);
    if (done >= 0) return done;
    static const char *const stages[] = { "processor", "vision", "layers", "logits" };
    bool known = false;
    for (size_t i = 0; stage && i < 4; i++) known |= !strcmp(stage, stages[i]);
    if (!known || !out) {
        fprintf(stderr, "vlm: dump: --stage processor|vision|layers|logits and --out FILE are needed\n");
        return CLI_USAGE;
    }
    vlm_error err = VLM_ERROR_INIT;
    return run(&in, stage, out, &err) < 0 ? cli_fail("dump", &err) : CLI_DONE;
}
