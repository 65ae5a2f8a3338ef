/* SPDX-License-Identifier: MIT */
/* The options that generate, dump and inspect share: which model, what is said and shown, on what it runs. */
#include "cli/cli.h"

#include <stdio.h>
#include <unistd.h>

#define MAX_JSON (16u << 20)

const cli_option *cli_input_options(cli_input *in) {
    static cli_option table[40];
    const cli_option rows[] = {
        { "--model", "-m", CLI_TEXT, &in->model, 0, 0, "DIR|ID   checkpoint directory, or hub id (org/name), fetched where the cache lacks it" },
        { "--revision", NULL, CLI_TEXT, &in->revision, 0, 0, "R   of a hub id: branch, tag or commit (main)" },
        { "--tokenizer", NULL, CLI_TEXT, &in->tokenizer, 0, 0, "DIR   tokenizer files from elsewhere" },
        { "--lenient", NULL, CLI_FLAG, &in->lenient, 0, 0, "unknown tensors are not an error" },
        { "--no-mmap", NULL, CLI_FLAG, &in->no_mmap, 0, 0, "read the weights into memory instead of mapping the files" },
        { "--image", "-i", CLI_TEXTS, &in->images, 0, 0, "FILE   a picture; repeatable, in prompt order" },
        { "--video", NULL, CLI_TEXTS, &in->containers, 0, 0, "FILE   a video (mp4, mov, webm, mkv, gif); repeatable" },
        { "--video-frames", NULL, CLI_TEXTS, &in->videos, 0, 0, "DIR   pictures in name order as one video" },
        { "--prompt", "-p", CLI_TEXT, &in->prompt, 0, 0, "TEXT   user message" },
        { "--system", NULL, CLI_TEXT, &in->system, 0, 0, "TEXT   system message" },
        { "--messages", NULL, CLI_TEXT, &in->messages, 0, 0, "FILE   a chat in OpenAI form, instead of -p" },
        { "--raw-prompt", NULL, CLI_TEXT, &in->raw, 0, 0, "TEXT   the prompt as it is, no template" },
        { "--template-var", NULL, CLI_TEXTS, &in->variables, 0, 0, "NAME=JSON   a variable of the template" },
        { "--tools", NULL, CLI_TEXT, &in->tools, 0, 0, "FILE   a JSON array of tools for the template" },
        { "--input", NULL, CLI_TEXT, &in->input_file, 0, 0, "FILE   a prepared input (dump --stage processor); no processor runs" },
        { "--min-pixels", NULL, CLI_LONG, &in->min_pixels, 0, 0, "N   least pixels of a picture" },
        { "--max-pixels", NULL, CLI_LONG, &in->max_pixels, 0, 0, "N   most pixels of a picture" },
        { "--resize", NULL, CLI_TEXT, &in->resize, 0, 0, "WxH   best fit inside, before all else" },
        { "--pan-and-scan", NULL, CLI_FLAG, &in->pan_and_scan, 0, 0, "a long picture is followed by its crops (Gemma 3)" },
        { "--image-backend", NULL, CLI_TEXT, &in->image_backend, 0, 0, "pillow|torchvision|torchvision-bicubic   whose pixels; pillow by default" },
        { "--fps", NULL, CLI_DOUBLE, &in->fps, 0.001, 1000, "F   frames per second: of --video-frames; to take of --video" },
        { "--max-frames", NULL, CLI_COUNT, &in->max_frames, 1, 0, "N   most frames of a video" },
        { "--backend", NULL, CLI_TEXT, &in->backend, 0, 0, "auto|cpu|cuda   where to compute; auto is cpu" },
        { "--device", NULL, CLI_COUNT, &in->device, 0, 1023, "N   which GPU" },
        { "--threads", NULL, CLI_COUNT, &in->threads, 1, 4096, "N   instead of one per CPU" },
        { "--dtype", NULL, CLI_TEXT, &in->dtype, 0, 0, "auto|f32|bf16|f16   f32 is the exact mode; no f16 in this build" },
        { "--no-int8-activations", NULL, CLI_FLAG, &in->no_int8_activations, 0, 0, "never round activations to 8 bits" },
        { "--context", NULL, CLI_COUNT, &in->context, 1, 0, "N   tokens the session can hold" },
        { "--prefill-step", NULL, CLI_COUNT, &in->prefill_step, 1, 0, "N   prompt tokens worked on at once" },
        { "--kv-bits", NULL, CLI_COUNT, &in->kv_bits, 1, 0, "16|8|4   bits of stored keys and values" },
        { NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL },
    };
    memcpy(table, rows, sizeof rows);
    return table;
}

/* By the numbers of vlm_resampler. */
static const char *const image_backends[] = { "pillow", "torchvision", "torchvision-bicubic", NULL };

static bool one_of(const char *value, const char *const *names) {
    if (!value) return true;
    for (; *names; names++)
        if (!strcmp(value, *names)) return true;
    return false;
}

static int usage(const char *message) {
    fprintf(stderr, "vlm: %s\n", message);
    return CLI_USAGE;
}

int cli_input_check(const cli_input *in) {
    static const char *const backends[] = { "auto", "cpu", "cuda", NULL };
    static const char *const dtypes[] = { "auto", "f32", "bf16", "f16", NULL };
    if (!in->model) return usage("-m DIR is missing");
    if (!one_of(in->backend, backends)) return usage("--backend: auto, cpu or cuda");
    if (!one_of(in->dtype, dtypes)) return usage("--dtype: auto, f32, bf16 or f16");
    if (!one_of(in->image_backend, image_backends))
        return usage("--image-backend: pillow, torchvision or torchvision-bicubic");
    if (in->kv_bits && in->kv_bits != 16 && in->kv_bits != 8 && in->kv_bits != 4)
        return usage("--kv-bits: 16, 8 or 4");
    unsigned w, h;
    char rest;
    if (in->resize && (sscanf(in->resize, "%ux%u%c", &w, &h, &rest) != 2 || !w || !h))
        return usage("--resize: WxH, two numbers");
    int ways = (in->prompt != NULL) + (in->messages != NULL) + (in->raw != NULL) + (in->input_file != NULL);
    if (ways > 1) return usage("-p, --messages, --raw-prompt and --input: one of them");
    if (in->system && (in->messages || in->raw || in->input_file))
        return usage("--system goes with -p; a chat of --messages has its own");
    if (in->input_file && (in->images.n || in->videos.n || in->containers.n))
        return usage("--input holds its pictures: no --image, --video or --video-frames beside it");
    for (size_t i = 0; i < in->variables.n; i++)
        if (!strchr(in->variables.at[i], '=')) return usage("--template-var: NAME=JSON");
    return -1;
}

/* Warnings wait until the load is through: a failure says one line. */
static vcore_buf warnings;

void cli_keep_warning(void *user, vlm_log_level level, const char *line) {
    (void)user;
    if (level == VLM_LOG_WARNING) vcore_buf_printf(&warnings, "vlm: warning: %s\n", line);
}

void cli_loaded(vlm_status status) {
    if (status >= 0 && warnings.p) fputs(warnings.p, stderr);
    vcore_buf_free(&warnings);
}

vlm_load_options cli_load_options(const cli_input *in) {
    vlm_load_options o = VLM_LOAD_OPTIONS_INIT;
    o.tokenizer_source = in->tokenizer;
    o.backend = in->backend;
    o.device = (int)in->device;
    o.threads = (int)in->threads;
    o.lenient = in->lenient;
    o.in_memory = in->no_mmap;
    o.no_int8_activations = in->no_int8_activations;
    o.log = cli_keep_warning;
    const char *d = in->dtype ? in->dtype : "auto";
    o.precision = !strcmp(d, "f32")    ? VLM_PRECISION_F32
                  : !strcmp(d, "bf16") ? VLM_PRECISION_BF16
                  : !strcmp(d, "f16")  ? VLM_PRECISION_F16
                                       : VLM_PRECISION_AUTO;
    return o;
}

vlm_status cli_check_build(const cli_input *in, vlm_error *err) {
    if (in->containers.n && !vlm_video_supported())
        return vcore_fail(err, VLM_ERR_UNSUPPORTED, "%s: video files are not in this build; give its frames with --video-frames",
                          in->containers.at[0]);
    return VLM_OK;
}

vlm_status cli_load(vlm_context **out, const cli_input *in, vlm_error *err) {
    VTRY(cli_check_build(in, err));
    vlm_load_options options = cli_load_options(in);
    cli_hub hub;
    vlm_status status = cli_hub_for(&hub, in->model, in->tokenizer, in->revision, err);
    options.hub = &hub.options;
    if (status >= 0) status = vlm_context_load(out, in->model, &options, err);
    cli_hub_close(&hub);
    cli_loaded(status);
    return status;
}

static void print_warning(void *user, vlm_log_level level, const char *line) {
    (void)user;
    if (level == VLM_LOG_WARNING) fprintf(stderr, "vlm: warning: %s\n", line);
}

static vlm_status add_video_file(vlm_input *to, const char *path, vlm_error *err) {
    vlm_video_options options = VLM_VIDEO_OPTIONS_INIT;
    options.log = print_warning;
    vlm_video_silence_ffmpeg();
    vlm_video *video;
    VTRY(vlm_video_open(&video, path, &options, err));
    vlm_status status = vlm_input_add_video_opened(to, video, 0, 0, err);
    if (status < 0) vlm_video_close(video);
    return status;
}

static vlm_status add_media(vlm_input *to, const cli_input *in, vlm_error *err) {
    vlm_processing p = VLM_PROCESSING_INIT;
    p.min_pixels = in->min_pixels;
    p.max_pixels = in->max_pixels;
    p.max_frames = in->max_frames;
    p.pan_and_scan = in->pan_and_scan;
    p.fps = in->fps;
    for (int i = 0; in->image_backend && image_backends[i]; i++)
        if (!strcmp(in->image_backend, image_backends[i])) p.image_backend = (vlm_resampler)i;
    if (in->resize) sscanf(in->resize, "%ux%u", &p.resize.width, &p.resize.height);
    VTRY(vlm_input_set_processing(to, &p, err));
    for (size_t i = 0; i < in->images.n; i++) VTRY(vlm_input_add_image_file(to, in->images.at[i], err));
    for (size_t i = 0; i < in->videos.n; i++)
        VTRY(vlm_input_add_video_dir(to, in->videos.at[i], in->fps, err));
    for (size_t i = 0; i < in->containers.n; i++) VTRY(add_video_file(to, in->containers.at[i], err));
    return VLM_OK;
}

static vlm_status add_variable_file(vlm_input *to, const char *name, const char *path, vlm_error *err) {
    char *json = cli_read_file(path, MAX_JSON, err);
    if (!json) return VLM_ERR_IO;
    vlm_status status = vlm_input_set_variable(to, name, json, err);
    vcore_free(json);
    return status;
}

static vlm_status add_variables(vlm_input *to, const cli_input *in, vlm_error *err) {
    if (in->tools) VTRY(add_variable_file(to, "tools", in->tools, err));
    for (size_t i = 0; i < in->variables.n; i++) {
        const char *equals = strchr(in->variables.at[i], '=');
        char *name = vcore_strndup(in->variables.at[i], (size_t)(equals - in->variables.at[i]));
        if (!name) return vcore_no_memory(err, "--template-var");
        vlm_status status = vlm_input_set_variable(to, name, equals + 1, err);
        vcore_free(name);
        VTRY(status);
    }
    return VLM_OK;
}

static vlm_status add_text(vlm_input *to, const cli_input *in, const char *default_prompt,
                           vlm_error *err) {
    if (in->raw) return vlm_input_set_raw(to, in->raw, err);
    if (in->messages) {
        char *json = cli_read_file(in->messages, MAX_JSON, err);
        if (!json) return VLM_ERR_IO;
        vlm_status status = vlm_input_set_messages(to, json, err);
        vcore_free(json);
        return status;
    }
    const char *prompt = in->prompt ? in->prompt : default_prompt;
    if (!prompt) return vcore_fail(err, VLM_ERR_ARGUMENT, "no prompt given (-p) and none known for this checkpoint");
    return vlm_input_add_message(to, "user", prompt, err);
}

vlm_status cli_build_input(vlm_input **out, const cli_input *in, const char *default_prompt,
                           vlm_error *err) {
    vlm_input *input;
    VTRY(vlm_input_new(&input, err));
    vlm_status status = VLM_OK;
    if (in->system) status = vlm_input_add_message(input, "system", in->system, err);
    if (status >= 0) status = add_media(input, in, err);
    if (status >= 0) status = add_variables(input, in, err);
    if (status >= 0) status = add_text(input, in, default_prompt, err);
    if (status < 0) {
        vlm_input_free(input);
        return status;
    }
    *out = input;
    return VLM_OK;
}

vlm_status cli_prepare(vlm_prepared **out, const vlm_context *context, const cli_input *in,
                       vlm_error *err) {
    if (in->input_file) return vlm_prepared_load(out, context, in->input_file, err);
    vlm_input *input;
    VTRY(cli_build_input(&input, in, vlm_context_get_info(context)->default_prompt, err));
    vlm_status status = vlm_prepare(out, context, input, err);
    vlm_input_free(input);
    return status;
}
