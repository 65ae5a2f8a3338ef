/* SPDX-License-Identifier: MIT */
/* What a user says and shows, collected before it is prepared. Owns the pictures given to it. */
#include "engine/engine.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static vlm_status null_argument(vlm_error *err, const char *function) {
    return vcore_fail(err, VLM_ERR_ARGUMENT, "%s: a null argument", function);
}

vlm_status vlm_input_new(vlm_input **out, vlm_error *err) {
    if (!out) return null_argument(err, "vlm_input_new");
    *out = vcore_alloc(sizeof **out);
    return *out ? VLM_OK : vcore_no_memory(err, "input");
}

static void free_video(vengine_video *v) {
    for (size_t i = 0; i < v->n; i++) vlm_image_free(v->frames[i]);
    vcore_free(v->frames);
    vlm_video_close(v->file);
}

void vlm_input_free(vlm_input *in) {
    if (!in) return;
    for (size_t i = 0; i < in->n_messages; i++) {
        vcore_free(in->messages[i].role);
        vcore_free(in->messages[i].text);
    }
    for (size_t i = 0; i < in->n_images; i++) vlm_image_free(in->images[i]);
    for (size_t i = 0; i < in->n_videos; i++) free_video(&in->videos[i]);
    for (size_t i = 0; i < in->n_variables; i++) {
        vcore_free(in->variable_names[i]);
        vcore_free(in->variable_values[i]);
    }
    vcore_free(in->messages);
    vcore_free(in->messages_json);
    vcore_free(in->raw);
    vcore_free(in->images);
    vcore_free(in->videos);
    vcore_free(in->variable_names);
    vcore_free(in->variable_values);
    vcore_free(in);
}

/* Room for one more element; the array is unchanged when it fails. */
static bool grow(void *array, size_t n, size_t size) {
    void **p = array;
    void *bigger = vcore_realloc_array(*p, n + 1, size);
    if (bigger) *p = bigger;
    return bigger != NULL;
}

static bool replace(char **to, const char *text) {
    char *copy = vcore_strdup(text);
    if (!copy) return false;
    vcore_free(*to);
    *to = copy;
    return true;
}

vlm_status vlm_input_add_message(vlm_input *in, const char *role, const char *text, vlm_error *err) {
    if (!in || !role || !text) return null_argument(err, "vlm_input_add_message");
    if (!vcore_utf8_valid(role, strlen(role)) || !vcore_utf8_valid(text, strlen(text)))
        return vcore_fail(err, VLM_ERR_FORMAT, "message: role or text is not UTF-8");
    vengine_message m = { vcore_strdup(role), vcore_strdup(text), 0, 0 };
    if (!m.role || !m.text || !grow(&in->messages, in->n_messages, sizeof m)) {
        vcore_free(m.role);
        vcore_free(m.text);
        return vcore_no_memory(err, "message");
    }
    m.images = in->n_images - in->claimed_images;
    m.videos = in->n_videos - in->claimed_videos;
    in->claimed_images = in->n_images;
    in->claimed_videos = in->n_videos;
    in->messages[in->n_messages++] = m;
    return VLM_OK;
}

vlm_status vlm_input_set_raw(vlm_input *in, const char *text, vlm_error *err) {
    if (!in || !text) return null_argument(err, "vlm_input_set_raw");
    if (!vcore_utf8_valid(text, strlen(text)))
        return vcore_fail(err, VLM_ERR_FORMAT, "raw prompt: text is not UTF-8");
    return replace(&in->raw, text) ? VLM_OK : vcore_no_memory(err, "raw prompt");
}

vlm_status vlm_input_add_image(vlm_input *in, vlm_image *image, vlm_error *err) {
    if (!in || !image) return null_argument(err, "vlm_input_add_image");
    if (!grow(&in->images, in->n_images, sizeof *in->images)) return vcore_no_memory(err, "image");
    in->images[in->n_images++] = image;
    return VLM_OK;
}

/* Of a picture that nobody else would free. */
static vlm_status add_or_free(vlm_input *in, vlm_image *image, vlm_error *err) {
    vlm_status status = vlm_input_add_image(in, image, err);
    if (status < 0) vlm_image_free(image);
    return status;
}

vlm_status vlm_input_add_image_file(vlm_input *in, const char *path, vlm_error *err) {
    if (!in || !path) return null_argument(err, "vlm_input_add_image_file");
    vlm_image *image;
    VTRY(vlm_image_open(&image, path, NULL, err));
    return add_or_free(in, image, err);
}

vlm_status vlm_input_add_video(vlm_input *in, vlm_image *const *frames, size_t n, double fps,
                               vlm_error *err) {
    if (n == 0) return vcore_fail(err, VLM_ERR_NO_VIDEO_TRACK, "video: it has no frames");
    if (!in || !frames) return null_argument(err, "vlm_input_add_video");
    for (size_t i = 0; i < n; i++)
        if (!frames[i]) return null_argument(err, "vlm_input_add_video");
    vlm_size size = vlm_image_size(frames[0]);
    for (size_t i = 1; i < n; i++) {
        vlm_size other = vlm_image_size(frames[i]);
        if (other.width != size.width || other.height != size.height)
            return vcore_fail(err, VLM_ERR_VIDEO_PROCESSING,
                              "video: frame %zu is %ux%u, the first is %ux%u", i, other.width,
                              other.height, size.width, size.height);
    }
    vengine_video video = { .frames = vcore_alloc_array(n, sizeof *frames), .n = n, .fps = fps };
    if (!video.frames || !grow(&in->videos, in->n_videos, sizeof video)) {
        vcore_free(video.frames);
        return vcore_no_memory(err, "video");
    }
    memcpy(video.frames, frames, n * sizeof *frames);
    in->videos[in->n_videos++] = video;
    return VLM_OK;
}

static int visible(const struct dirent *e) {
    return e->d_name[0] != '.';
}

/* In byte order, whatever the locale. */
static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* What a picture that is broken is in a video. */
static vlm_status as_frame(vlm_status status, vlm_error *err) {
    if (status != VLM_ERR_IMAGE_PROCESSING) return status;
    if (err) err->code = VLM_ERR_VIDEO_NOT_DECODABLE;
    return VLM_ERR_VIDEO_NOT_DECODABLE;
}

static vlm_status open_frames(vlm_image **frames, const char *dir, struct dirent **names, int n,
                              vlm_error *err) {
    for (int i = 0; i < n; i++) {
        char *path = vio_join(dir, names[i]->d_name);
        if (!path) return vcore_no_memory(err, dir);
        vlm_status status = as_frame(vlm_image_open(&frames[i], path, NULL, err), err);
        vcore_free(path);
        VTRY(status);
    }
    return VLM_OK;
}

vlm_status vlm_input_add_video_dir(vlm_input *in, const char *dir, double fps, vlm_error *err) {
    if (!in || !dir) return null_argument(err, "vlm_input_add_video_dir");
    if (!vio_is_dir(dir))
        return vcore_fail_field(err, VLM_ERR_NOT_FOUND, dir, NULL, "no such directory");
    struct dirent **names = NULL;
    int n = scandir(dir, &names, visible, by_name);
    if (n < 0) return vio_fail_errno(err, dir, "open", errno);
    vlm_status status = VLM_OK;
    vlm_image **frames = n ? vcore_alloc_array((size_t)n, sizeof *frames) : NULL;
    if (n == 0)
        status = vcore_fail_field(err, VLM_ERR_NO_VIDEO_TRACK, dir, NULL, "it holds no frames");
    else if (!frames)
        status = vcore_no_memory(err, dir);
    if (status >= 0) status = open_frames(frames, dir, names, n, err);
    if (status >= 0) status = vlm_input_add_video(in, frames, (size_t)n, fps, err);
    for (int i = 0; i < n; i++) {
        if (status < 0 && frames) vlm_image_free(frames[i]);
        free(names[i]); /* scandir's own memory */
    }
    free(names);
    vcore_free(frames);
    return status;
}

vlm_status vlm_input_add_video_opened(vlm_input *in, vlm_video *file, double fps, uint32_t max_frames,
                                      vlm_error *err) {
    if (!in || !file) return null_argument(err, "vlm_input_add_video_opened");
    if (!grow(&in->videos, in->n_videos, sizeof *in->videos)) return vcore_no_memory(err, "video");
    in->videos[in->n_videos++] =
        (vengine_video) { .file = file, .wish = { .fps = fps > 0 ? fps : 0, .max_frames = max_frames } };
    return VLM_OK;
}

vlm_status vlm_input_add_video_file(vlm_input *in, const char *path, vlm_error *err) {
    if (!in || !path) return null_argument(err, "vlm_input_add_video_file");
    vlm_video *file;
    VTRY(vlm_video_open(&file, path, NULL, err));
    vlm_status status = vlm_input_add_video_opened(in, file, 0, 0, err);
    if (status < 0) vlm_video_close(file);
    return status;
}

vlm_status vlm_input_set_processing(vlm_input *in, const vlm_processing *processing, vlm_error *err) {
    if (!in || !processing) return null_argument(err, "vlm_input_set_processing");
    vlm_processing taken = VLM_PROCESSING_INIT;
    VTRY(vengine_take_options(&taken, sizeof taken, processing, "processing", err));
    if ((unsigned)taken.image_backend > VLM_RESAMPLER_TORCHVISION_BICUBIC)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "processing: there is no image backend %d",
                          (int)taken.image_backend);
    in->processing = taken;
    return VLM_OK;
}

vlm_status vlm_input_set_variable(vlm_input *in, const char *name, const char *json, vlm_error *err) {
    if (!in || !name || !json) return null_argument(err, "vlm_input_set_variable");
    vcore_json_doc *doc;
    VTRY(vcore_json_parse(&doc, json, strlen(json), name, err));
    vcore_json_free(doc);
    char *key = vcore_strdup(name), *value = vcore_strdup(json);
    if (!key || !value || !grow(&in->variable_names, in->n_variables, sizeof(char *)) ||
        !grow(&in->variable_values, in->n_variables, sizeof(char *))) {
        vcore_free(key);
        vcore_free(value);
        return vcore_no_memory(err, name);
    }
    in->variable_names[in->n_variables] = key;
    in->variable_values[in->n_variables++] = value;
    return VLM_OK;
}

/* ---- a whole chat in OpenAI form -------------------------------------------------------------------- */

/* Path of a content part that names a file; empty when it names none. */
static vcore_str part_path(const vlm_json *part, const char *type) {
    static const char *const keys[] = { "path", "url", "image", "video", "image_url", NULL };
    vcore_str path = { NULL, 0 };
    const vlm_json *inner = vcore_json_get(part, type); /* image_url: a string or {url} */
    if (vcore_json_string(inner, &path)) return path;
    if (vcore_json_string(vcore_json_get(inner, "url"), &path)) return path;
    for (size_t i = 0; keys[i]; i++)
        if (vcore_json_string(vcore_json_get(part, keys[i]), &path)) return path;
    return path;
}

/* The media of a chat in the order of its parts. */
typedef struct arrangement {
    vlm_input *in;            /* media added before, taken by parts that name no file */
    size_t images, videos;    /* of them, taken so far */
    vlm_input own;            /* arrays of everything in order; pictures of `in` are borrowed */
} arrangement;

static vlm_status take_added(arrangement *a, bool video, vlm_error *err) {
    vlm_input *own = &a->own;
    if (!video) {
        if (a->images == a->in->n_images) return VLM_OK; /* the prompt's places are counted later */
        return vlm_input_add_image(own, a->in->images[a->images++], err);
    }
    if (a->videos == a->in->n_videos) return VLM_OK;
    if (!grow(&own->videos, own->n_videos, sizeof *own->videos)) return vcore_no_memory(err, "video");
    own->videos[own->n_videos++] = a->in->videos[a->videos++];
    return VLM_OK;
}

/* ---- videos of a chat: Qwen's vocabulary ---- */

static bool has(const vlm_json *part, const char *key) {
    return vcore_json_kind_of(vcore_json_get(part, key)) != VCORE_JSON_NULL;
}

/* What is not known here would be other frames or pixels, so that it is not passed over. */
static vlm_status read_wishes(vengine_frame_wishes *out, const vlm_json *part, vlm_error *err) {
    static const char *const others[] = { "video_start",   "video_end",  "resized_height", "resized_width",
                                          "min_pixels",    "max_pixels", "total_pixels",   "raw_fps" };
    const struct {
        const char *key;
        int64_t *to;
    } counts[] = { { "nframes", &out->nframes }, { "min_frames", &out->min_frames }, { "max_frames", &out->max_frames } };
    *out = (vengine_frame_wishes) { 0 };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (has(part, others[i]))
            return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, "messages", others[i], "is not supported in a video's part");
    const char *rate = has(part, "sample_fps") ? "sample_fps" : "fps"; /* the first of frames that are given */
    if (has(part, rate) && (!vcore_json_real(vcore_json_get(part, rate), &out->fps) || !(out->fps > 0)))
        return vcore_fail_field(err, VLM_ERR_FORMAT, "messages", rate, "must be a number above 0");
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const vlm_json *value = vcore_json_get(part, counts[i].key);
        if (has(part, counts[i].key)
            && (!vcore_json_int(value, counts[i].to) || *counts[i].to < 1 || *counts[i].to > UINT32_MAX))
            return vcore_fail_field(err, VLM_ERR_FORMAT, "messages", counts[i].key, "must be a whole number above 0");
    }
    if (has(part, rate) && out->nframes)
        return vcore_fail_field(err, VLM_ERR_FORMAT, "messages", "nframes", "and %s exclude each other", rate);
    return VLM_OK;
}

/* To the video that was arranged last. Frames that are given have a rate, and are taken or left out evenly. */
static vlm_status apply_wishes(vengine_video *v, const vlm_json *part, const vengine_frame_wishes *wish,
                               vlm_error *err) {
    static const char *const of_files[] = { "nframes", "min_frames" };
    for (size_t i = 0; i < 2; i++)
        if (!v->file && has(part, of_files[i]))
            return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, "messages", of_files[i], "is for video files, not for frames");
    if (v->file && has(part, "sample_fps"))
        return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, "messages", "sample_fps", "is for frames, not for video files");
    if (wish->fps > 0) v->fps = v->wish.fps = wish->fps;
    if (wish->nframes) v->wish.nframes = wish->nframes;
    if (wish->min_frames) v->wish.min_frames = wish->min_frames;
    if (wish->max_frames) v->wish.max_frames = wish->max_frames;
    return VLM_OK;
}

static vlm_status open_list(vlm_image **frames, const vlm_json *list, vlm_error *err) {
    for (size_t i = 0; i < vcore_json_count(list); i++) {
        vcore_str path;
        if (!vcore_json_string(vcore_json_at(list, i), &path))
            return vcore_fail(err, VLM_ERR_FORMAT, "messages: frame %zu of a video must be a path", i + 1);
        char *copy = vcore_strndup(path.p, path.n);
        if (!copy) return vcore_no_memory(err, "messages");
        vlm_status status = as_frame(vlm_image_open_url(&frames[i], copy, NULL, err), err);
        vcore_free(copy);
        VTRY(status);
    }
    return VLM_OK;
}

/* A video as a list of pictures. */
static vlm_status arrange_list(arrangement *a, const vlm_json *list, vlm_error *err) {
    size_t n = vcore_json_count(list);
    if (n == 0) return vcore_fail(err, VLM_ERR_NO_VIDEO_TRACK, "messages: a video has no frames");
    vlm_image **frames = vcore_alloc_array(n, sizeof *frames);
    if (!frames) return vcore_no_memory(err, "messages");
    vlm_status status = open_list(frames, list, err);
    if (status >= 0) status = vlm_input_add_video(&a->own, frames, n, a->in->processing.fps, err);
    for (size_t i = 0; i < n && status < 0; i++) vlm_image_free(frames[i]);
    vcore_free(frames);
    return status;
}

static vlm_status arrange_path(arrangement *a, const char *path, vlm_error *err) {
    if (strstr(path, "://") || !strncmp(path, "data:", 5))
        return vcore_fail(err, VLM_ERR_UNSUPPORTED, "messages: '%.60s': a video must be a file", path);
    if (vio_is_dir(path)) return vlm_input_add_video_dir(&a->own, path, a->in->processing.fps, err);
    return vlm_input_add_video_file(&a->own, path, err);
}

/* A video file, a directory of frames, a list of them, or the next video that was added. */
static vlm_status arrange_video(arrangement *a, const vlm_json *part, vcore_str path, vlm_error *err) {
    vengine_frame_wishes wish;
    VTRY(read_wishes(&wish, part, err));
    const vlm_json *list = vcore_json_get(part, "video");
    size_t before = a->own.n_videos;
    if (vcore_json_kind_of(list) == VCORE_JSON_ARRAY) {
        VTRY(arrange_list(a, list, err));
    } else if (path.n == 0) {
        VTRY(take_added(a, true, err));
    } else {
        char *copy = vcore_strndup(path.p, path.n);
        if (!copy) return vcore_no_memory(err, "messages");
        vlm_status status = arrange_path(a, copy, err);
        vcore_free(copy);
        VTRY(status);
    }
    return a->own.n_videos == before ? VLM_OK : apply_wishes(&a->own.videos[before], part, &wish, err);
}

/* A path, a file: URL or a data: URL; nothing is downloaded. */
static vlm_status add_image_url(vlm_input *in, vcore_str url, vlm_error *err) {
    vlm_image *image;
    char *copy = vcore_strndup(url.p, url.n);
    if (!copy) return vcore_no_memory(err, "messages");
    vlm_status status = vlm_image_open_url(&image, copy, NULL, err);
    vcore_free(copy);
    return status < 0 ? status : add_or_free(in, image, err);
}

static vlm_status arrange_part(arrangement *a, const vlm_json *part, vlm_error *err) {
    vcore_str type, path;
    if (!vcore_json_string(vcore_json_get(part, "type"), &type)) return VLM_OK;
    bool video = vengine_part_is(type, "video");
    if (!video && !vengine_part_is(type, "image")) return VLM_OK;
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)(type.n < 31 ? type.n : 31), type.p);
    path = part_path(part, name);
    if (video) return arrange_video(a, part, path, err);
    return path.n ? add_image_url(&a->own, path, err) : take_added(a, false, err);
}

static vlm_status arrange(arrangement *a, const vlm_json *messages, vlm_error *err) {
    if (vcore_json_kind_of(messages) != VCORE_JSON_ARRAY)
        return vcore_fail(err, VLM_ERR_FORMAT, "messages: must be an array, is %s",
                          vcore_json_kind_name(messages));
    for (size_t i = 0; i < vcore_json_count(messages); i++) {
        const vlm_json *message = vcore_json_at(messages, i);
        if (vcore_json_kind_of(message) != VCORE_JSON_OBJECT)
            return vcore_fail(err, VLM_ERR_FORMAT, "messages[%zu]: must be an object, is %s", i,
                              vcore_json_kind_name(message));
        const vlm_json *content = vcore_json_get(message, "content");
        if (vcore_json_kind_of(content) != VCORE_JSON_ARRAY) continue;
        for (size_t k = 0; k < vcore_json_count(content); k++)
            VTRY(arrange_part(a, vcore_json_at(content, k), err));
    }
    while (a->images < a->in->n_images) VTRY(take_added(a, false, err)); /* without a place: refused later */
    while (a->videos < a->in->n_videos) VTRY(take_added(a, true, err));
    return VLM_OK;
}

static bool is_added(const vlm_input *in, const vlm_image *image) {
    for (size_t i = 0; i < in->n_images; i++)
        if (in->images[i] == image) return true;
    return false;
}

static bool is_added_video(const vlm_input *in, const vengine_video *video) {
    for (size_t i = 0; i < in->n_videos; i++)
        if (in->videos[i].frames == video->frames && in->videos[i].file == video->file) return true;
    return false;
}

/* Frees what the arrangement opened itself. */
static void forget(arrangement *a) {
    for (size_t i = 0; i < a->own.n_images; i++)
        if (!is_added(a->in, a->own.images[i])) vlm_image_free(a->own.images[i]);
    for (size_t i = 0; i < a->own.n_videos; i++)
        if (!is_added_video(a->in, &a->own.videos[i])) free_video(&a->own.videos[i]);
    vcore_free(a->own.images);
    vcore_free(a->own.videos);
}

/* The arranged media take the place of those added. */
static void settle(arrangement *a) {
    vcore_free(a->in->images);
    vcore_free(a->in->videos);
    a->in->images = a->own.images;
    a->in->n_images = a->own.n_images;
    a->in->videos = a->own.videos;
    a->in->n_videos = a->own.n_videos;
}

vlm_status vlm_input_set_messages(vlm_input *in, const char *json, vlm_error *err) {
    if (!in || !json) return null_argument(err, "vlm_input_set_messages");
    if (in->messages_json) return vcore_fail(err, VLM_ERR_ARGUMENT, "messages: they are set already");
    vcore_json_doc *doc;
    VTRY(vcore_json_parse(&doc, json, strlen(json), "messages", err));
    arrangement a = { .in = in };
    vlm_status status = arrange(&a, vcore_json_root(doc), err);
    vcore_json_free(doc);
    if (status >= 0 && !replace(&in->messages_json, json)) status = vcore_no_memory(err, "messages");
    if (status < 0)
        forget(&a);
    else
        settle(&a);
    return status;
}
