/* SPDX-License-Identifier: MIT */
/* From a user's input to a prepared one: places for media, plan, prompt, ids, pixels, in that order, so that whatever
 * can fail without touching a pixel fails first. */
#include "engine/engine.h"

/* The pictures as the processor sees them, in the plan's order: resized copies where the user wished. */
typedef struct shown {
    vlm_media_item *items;
    const vlm_image **frames;
    vlm_image **copies; /* owned; NULL where the input's own picture is shown */
    vengine_clip *clips; /* [n_clips] what was decoded for this; empty where frames were given */
    size_t n_items, n_frames, n_clips;
} shown;

static void shown_free(shown *s) {
    for (size_t i = 0; s->copies && i < s->n_frames; i++) vlm_image_free(s->copies[i]);
    for (size_t i = 0; s->clips && i < s->n_clips; i++) vlm_processed_frames_free(&s->clips[i].kept);
    vcore_free(s->clips);
    vcore_free(s->copies);
    vcore_free(s->frames);
    vcore_free(s->items);
}

static vlm_status show(shown *s, const vlm_input *in, const vlm_image *image, vlm_error *err) {
    vlm_size size = vlm_image_size(image), wished = vengine_wished_size(size, in->processing.resize);
    if (wished.width != size.width || wished.height != size.height) {
        VTRY(vlm_image_resample(&s->copies[s->n_frames], image, wished, VLM_FILTER_BICUBIC,
                                in->processing.image_backend, err));
        image = s->copies[s->n_frames];
    }
    s->frames[s->n_frames++] = image;
    return VLM_OK;
}

static vlm_status read_clips(shown *s, const vlm_context *c, const vlm_input *in, size_t *frames,
                             vlm_error *err) {
    s->n_clips = in->n_videos;
    s->clips = vcore_alloc_array(in->n_videos + 1, sizeof *s->clips);
    if (!s->clips) return vcore_no_memory(err, "video");
    for (size_t i = 0; i < in->n_videos; i++) {
        if (in->videos[i].file) VTRY(vengine_clip_read(&s->clips[i], c, in, &in->videos[i], err));
        *frames += in->videos[i].n + s->clips[i].kept.n;
    }
    return VLM_OK;
}

static void show_clip(shown *s, const vengine_clip *clip) {
    for (size_t k = 0; k < clip->kept.n; k++) s->frames[s->n_frames++] = clip->kept.frames[k];
    s->items[s->n_items++] = clip->item;
}

static vlm_status show_frames(shown *s, const vlm_input *in, const vengine_video *v, vlm_error *err) {
    size_t n = v->n, most = v->wish.max_frames ? (size_t)v->wish.max_frames : in->processing.max_frames;
    if (most && n > most) n = most;
    for (size_t k = 0; k < n; k++) VTRY(show(s, in, v->frames[k * v->n / n], err));
    s->items[s->n_items++] = (vlm_media_item) {
        .video = true,
        .size = vlm_image_size(s->frames[s->n_frames - 1]),
        .frames = (int64_t)n,
        .fps = (v->fps > 0 ? v->fps : in->processing.fps) * (double)n / (double)v->n,
    };
    return VLM_OK;
}

static vlm_status show_all(shown *s, const vlm_context *c, const vlm_input *in, vlm_error *err) {
    *s = (shown) { 0 };
    size_t frames = in->n_images;
    VTRY(read_clips(s, c, in, &frames, err));
    s->items = vcore_alloc_array(in->n_images + in->n_videos + 1, sizeof *s->items);
    s->frames = vcore_alloc_array(frames + 1, sizeof *s->frames);
    s->copies = vcore_alloc_array(frames + 1, sizeof *s->copies);
    if (!s->items || !s->frames || !s->copies) return vcore_no_memory(err, "media");
    for (size_t i = 0; i < in->n_images; i++) {
        VTRY(show(s, in, in->images[i], err));
        s->items[s->n_items++] = (vlm_media_item) {
            .size = vlm_image_size(s->frames[s->n_frames - 1]), .frames = 1
        };
    }
    for (size_t i = 0; i < in->n_videos; i++) {
        if (in->videos[i].file)
            show_clip(s, &s->clips[i]);
        else
            VTRY(show_frames(s, in, &in->videos[i], err));
    }
    return VLM_OK;
}

/* What a family does not take is refused before anything else is done. */
static vlm_status check_media(const vlm_context *c, const vlm_input *in, vlm_error *err) {
    const vlm_processor_type *t = c->processor_type;
    const char *who = t->processor_class;
    if (t->image_required && in->n_images == 0)
        return vcore_fail(err, VLM_ERR_IMAGE_REQUIRED, "%s: an image is required", who);
    if ((t->single_image || c->single_image) && in->n_images > 1)
        return vcore_fail(err, VLM_ERR_SINGLE_IMAGE_ALLOWED, "%s: only a single image is allowed, %zu given",
                          who, in->n_images);
    if (t->single_video && in->n_videos > 1)
        return vcore_fail(err, VLM_ERR_SINGLE_VIDEO_ALLOWED, "%s: only a single video is allowed, %zu given",
                          who, in->n_videos);
    if (t->single_media_type && in->n_images && in->n_videos)
        return vcore_fail(err, VLM_ERR_SINGLE_MEDIA_TYPE_ALLOWED,
                          "%s: images or videos are allowed, not both", who);
    for (int k = 0; k < 2; k++)
        if ((k ? in->n_videos : in->n_images) && !vengine_placeholder(c, k == 1))
            return vcore_fail(err, VLM_ERR_PROCESSING, "%s: takes no %s", who, k ? "videos" : "images");
    return VLM_OK;
}

static vlm_status encode(vlm_prepared *prepared, const vlm_context *c, const vlm_input *in,
                         vengine_prompt *prompt, vlm_plan *plan, vlm_error *err) {
    vtext_ids ids = { 0 };
    VTRY(vengine_prompt_expand(prompt, c, in, plan, err));
    vlm_status status = vtext_encode(c->tokenizer, prompt->spans, prompt->n_spans, prompt->add_special,
                                     false, &ids, err);
    vengine_prompt_free(prompt);
    if (status >= 0 && ids.n == 0) status = vcore_fail(err, VLM_ERR_PROCESSING, "the prompt is empty");
    if (status >= 0 && ids.n > c->source.limits.context_tokens)
        status = vcore_fail_at(err, VLM_ERR_CONTEXT_FULL,
                               (vcore_where) { .limit = c->source.limits.context_tokens },
                               "the prompt has %zu tokens, the limit is %llu", ids.n,
                               (unsigned long long)c->source.limits.context_tokens);
    if (status >= 0) status = vmodel_prepared_set_ids(prepared, ids.id, ids.n, err);
    vtext_ids_free(&ids);
    return status;
}

/* Processors come from outside, too: what they owe is asked for. */
static vlm_status plan_media(vlm_plan *plan, const vlm_context *c, vlm_error *err) {
    const vlm_processor_type *t = c->processor_type;
    if (t->plan) VTRY(t->plan(c->processor, plan, err));
    for (size_t i = 0; i < plan->n; i++)
        if (!plan->items[i].expansion)
            return vcore_fail(err, VLM_ERR_PROCESSING, "%s: planned no text for medium %zu of %zu",
                              t->processor_class, i + 1, plan->n);
    return VLM_OK;
}

static vlm_status prepare(vlm_prepared *prepared, const vlm_context *c, const vlm_input *in,
                          vengine_prompt *prompt, const shown *s, vlm_error *err) {
    vlm_plan *plan;
    VTRY(vmodel_plan_new(&plan, s->items, s->n_items, &in->processing, err));
    vlm_status status = plan_media(plan, c, err);
    if (status >= 0) status = encode(prepared, c, in, prompt, plan, err);
    size_t media_tokens = 0;
    for (size_t i = 0; i < plan->n; i++) media_tokens += (size_t)plan->items[i].tokens;
    vmodel_prepared_set_media_tokens(prepared, media_tokens);
    vlm_media media = { .frames = s->frames, .threads = vtensor_backend_pool(c->backend) };
    const vlm_processor_type *t = c->processor_type;
    if (status >= 0 && t->fill) status = t->fill(c->processor, plan, &media, prepared, err);
    vmodel_plan_free(plan);
    return status;
}

static uint64_t bytes_of(vlm_size size) {
    return (uint64_t)size.width * size.height * 3;
}

/* Given pictures, frames that are kept of files, and the one that was decoded last. */
static uint64_t decoded_bytes(const shown *s, const vlm_input *in) {
    uint64_t bytes = 0, largest = 0;
    for (size_t i = 0; i < in->n_images; i++) bytes += bytes_of(vlm_image_size(in->images[i]));
    for (size_t i = 0; i < in->n_videos; i++) {
        const vengine_video *v = &in->videos[i];
        const vlm_processed_frames *kept = &s->clips[i].kept;
        uint64_t frame = v->file ? bytes_of(vlm_video_get_info(v->file)->size) : 0;
        if (frame > largest) largest = frame;
        for (size_t k = 0; k < v->n; k++) bytes += bytes_of(vlm_image_size(v->frames[k]));
        for (size_t k = 0; k < kept->n; k++) bytes += bytes_of(vlm_image_size(kept->frames[k]));
    }
    return bytes + largest;
}

vlm_status vengine_prepare(vlm_prepared **out, uint64_t *decoded, const vlm_context *c,
                           const vlm_input *in, vlm_error *err) {
    *out = NULL;
    VTRY(check_media(c, in, err));
    shown s = { 0 };
    vengine_prompt prompt;
    vlm_prepared *prepared = NULL;
    vlm_status status = vengine_prompt_begin(&prompt, c, in, err);
    if (status >= 0) status = show_all(&s, c, in, err);
    if (status >= 0) status = vmodel_prepared_new(&prepared, err);
    if (status >= 0) status = prepare(prepared, c, in, &prompt, &s, err);
    if (status >= 0) *decoded = decoded_bytes(&s, in);
    vengine_prompt_free(&prompt);
    shown_free(&s);
    if (status < 0) {
        vlm_prepared_free(prepared);
        return status;
    }
    *out = prepared;
    return VLM_OK;
}

vlm_status vlm_prepare(vlm_prepared **out, const vlm_context *c, const vlm_input *in, vlm_error *err) {
    uint64_t decoded;
    if (out) *out = NULL;
    if (!out || !c || !in) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_prepare: a null argument");
    return vengine_prepare(out, &decoded, c, in, err);
}

vlm_status vlm_prepared_load(vlm_prepared **out, const vlm_context *context, const char *path,
                             vlm_error *err) {
    if (out) *out = NULL;
    if (!out || !context || !path)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_prepared_load: a null argument");
    return vmodel_prepared_load(out, path, &context->source.limits, err);
}
