/* SPDX-License-Identifier: MIT */
/* Video files of an input: which of their frames are taken, and what is kept of each as it comes from
 * the decoder. What is made of them is the processor's. */
#include "engine/engine.h"

/* mlx-vlm's rule, for a class that has none of its own. */
static vlm_status sample_any(const vlm_clip *clip, int64_t *numbers, size_t *n, vlm_error *err) {
    vlm_nframes_rule rule = { .fps = clip->wish_fps, .nframes = clip->wish_nframes,
                              .min_frames = clip->wish_min_frames, .max_frames = clip->wish_frames };
    int64_t count;
    bool exact = clip->wish_nframes > 0;
    vlm_status status = vlm_smart_nframes(&count, clip->frames, clip->fps, &rule, exact ? err : NULL);
    if (status < 0 && exact) return status;
    if (status < 0) count = clip->frames;
    vlm_sample_linspace(numbers, (size_t)count, 0, clip->frames - 1, false);
    *n = (size_t)count;
    return VLM_OK;
}

static vlm_clip wished_clip(const vlm_video_info *info, const vlm_processing *all,
                            const vengine_frame_wishes *own) {
    return (vlm_clip) {
        .frames = info->frames,
        .fps = info->fps,
        .duration = info->duration,
        .wish_fps = own->nframes ? 0 : own->fps > 0 ? own->fps : all->fps,
        .wish_frames = own->max_frames ? own->max_frames : all->max_frames,
        .wish_min_frames = own->min_frames,
        .wish_nframes = own->nframes,
    };
}

/* ---- frames as they are decoded -------------------------------------------------------------- */

typedef struct intake {
    const vlm_context *context;
    const vlm_processing *wishes;
    vlm_media_item *item;
} intake;

/* Replaces *image, which is owned, by itself in another size. */
static vlm_status resize(vlm_image **image, vlm_size size, vlm_filter filter, vlm_resampler backend,
                         vlm_error *err) {
    vlm_size has = vlm_image_size(*image);
    if (has.width == size.width && has.height == size.height) return VLM_OK;
    vlm_image *resized;
    VTRY(vlm_image_resample(&resized, *image, size, filter, backend, err));
    vlm_image_free(*image);
    *image = resized;
    return VLM_OK;
}

static uint64_t pixels(vlm_size size) {
    return (uint64_t)size.width * size.height;
}

/* The user's resize, then the processor's first one, which its fill() then finds done: of a long
 * video all that is kept are pictures as small as the model sees them. */
static vlm_status take_frame(void *user, vlm_video_frame *frame, vlm_error *err) {
    const intake *to = user;
    const vlm_processor_type *type = to->context->processor_type;
    vlm_size size = vengine_wished_size(vlm_image_size(frame->image), to->wishes->resize);
    VTRY(resize(&frame->image, size, VLM_FILTER_BICUBIC, to->wishes->image_backend, err));
    to->item->size = size;
    if (!type->frame_size) return VLM_OK;
    const vlm_pixel_rules *config;
    vlm_pixel_rules rules;
    vlm_size first;
    VTRY(type->frame_size(to->context->processor, to->item, to->wishes, &first, &config, err));
    VTRY(vlm_pixel_rules_for(&rules, config, to->wishes, err));
    if (pixels(first) >= pixels(size)) return VLM_OK; /* what is smaller is kept */
    return resize(&frame->image, first, rules.resample, rules.backend, err);
}

/* Times are the reference's: by number and mean rate. */
static void finish_item(vengine_clip *out, const vlm_video_info *info) {
    vlm_processed_frames *kept = &out->kept;
    for (size_t i = 0; info->fps > 0 && i < kept->n; i++)
        kept->times[i] = (double)kept->numbers[i] / info->fps;
    out->item.frames = (int64_t)kept->n;
    out->item.fps = (double)kept->n / (double)info->frames * info->fps;
    out->item.times = kept->times;
}

vlm_status vengine_clip_read(vengine_clip *out, const vlm_context *c, const vlm_input *in,
                             const vengine_video *v, vlm_error *err) {
    const vlm_processor_type *type = c->processor_type;
    const vlm_video_info *info = vlm_video_get_info(v->file);
    const vlm_clip clip = wished_clip(info, &in->processing, &v->wish);
    int64_t *numbers = vcore_alloc_array((size_t)info->frames, sizeof *numbers);
    if (!numbers) return vcore_no_memory(err, "video");
    size_t n = 0;
    vlm_status status = type->sample ? type->sample(c->processor, &clip, numbers, &n, err)
                                     : sample_any(&clip, numbers, &n, err);
    out->item = (vlm_media_item) { .video = true, .frames = (int64_t)n, .duration = info->duration };
    intake to = { c, &in->processing, &out->item };
    if (status >= 0)
        status = vlm_video_read_frames(&out->kept, v->file, numbers, n, take_frame, &to, err);
    vcore_free(numbers);
    if (status >= 0) finish_item(out, info);
    return status < 0 ? status : VLM_OK;
}
