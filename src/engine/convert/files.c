/* SPDX-License-Identifier: MIT */
/* The small files of a converted checkpoint: config.json, the index, and copies of those that the
 * tokenizer, the processor and generation read. Owns which files go along and which would no longer
 * be true. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/convert/convert.h"

#define TEMPLATES "additional_chat_templates"

/* A new file; *exists (may be NULL): it is there already, which is no error then. */
static vlm_status write_file(const char *dir, const char *name, const char *text, size_t n, bool *exists,
                             vlm_error *err) {
    char *path = vio_join(dir, name);
    if (!path) return vcore_no_memory(err, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    vlm_status status = VLM_OK;
    if (exists) *exists = fd < 0 && errno == EEXIST;
    if (fd < 0 && !(exists && *exists)) status = vio_fail_errno(err, path, "create", errno);
    if (fd >= 0) {
        status = vio_write_at(fd, text, n, 0, path, err);
        if (status >= 0 && fsync(fd) != 0) status = vio_fail_errno(err, path, "write", errno);
        if (close(fd) != 0 && status >= 0) status = vio_fail_errno(err, path, "write", errno);
    }
    vcore_free(path);
    return status;
}

/* ---- JSON as people read it --------------------------------------------------------------------- */
static void new_line(vcore_buf *to, int depth) {
    vcore_buf_printf(to, "\n%*s", 4 * depth, "");
}

/* The same JSON, one value to a line, four blanks to a level. */
static void indent(vcore_buf *to, const vcore_buf *json) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < json->n; i++) {
        char c = json->p[i], next = i + 1 < json->n ? json->p[i + 1] : '\0';
        if (quoted || c == '"') {
            vcore_buf_add(to, &c, 1);
            if (c == '\\') vcore_buf_add(to, &json->p[++i], 1);
            quoted ^= c == '"';
            continue;
        }
        if (c == '}' || c == ']') new_line(to, --depth);
        vcore_buf_add(to, &c, 1);
        if ((c == '{' && next == '}') || (c == '[' && next == ']'))
            vcore_buf_add(to, &json->p[++i], 1);
        else if (c == '{' || c == '[')
            new_line(to, ++depth);
        else if (c == ',' && next == ' ')
            new_line(to, depth), i++;
    }
}

static vlm_status write_json(const char *dir, const char *name, const vcore_buf *json, vlm_error *err) {
    vcore_buf text = { 0 };
    indent(&text, json);
    vcore_buf_puts(&text, "\n");
    vlm_status status = json->failed || text.failed ? vcore_no_memory(err, name)
                                                    : write_file(dir, name, text.p, text.n, NULL, err);
    vcore_buf_free(&text);
    return status;
}

/* ---- config.json ---------------------------------------------------------------------------------- */
static bool same_params(const vlm_quantization_params *a, const vlm_quantization_params *b) {
    return a->mode == b->mode && a->bits == b->bits && a->group_size == b->group_size;
}

/* What the table says of the whole: as was asked for, else as the first module is. */
static bool whole_params(const vengine_plan *p, vlm_quantization_params *out) {
    *out = p->params;
    if (p->options->weights == VLM_CONVERT_QUANTIZE) return true;
    if (vlm_quantization_default(vlm_base_config_quantization(p->c->config), out)) return true;
    for (size_t i = 0; i < p->n_items; i++)
        if (p->items[i].quantized) {
            *out = p->items[i].params;
            return true;
        }
    return false;
}

static void put_params(vcore_buf *b, const vlm_quantization_params *params, bool with_mode) {
    vcore_json_put_int(b, "group_size", params->group_size);
    vcore_json_put_int(b, "bits", params->bits);
    if (with_mode) vcore_json_put_text(b, "mode", vlm_quantization_mode_name(params->mode));
}

/* A recipe names every module, otherwise those that differ from the whole are named, as mlx-vlm does. */
static void put_quantization(vcore_buf *b, const char *key, const vengine_plan *p,
                             const vlm_quantization_params *whole) {
    vcore_json_open(b, key, '{');
    put_params(b, whole, true);
    for (size_t i = 0; i < p->n_items; i++) {
        const vengine_item *item = &p->items[i];
        if (!item->quantized || (!p->low_bits && same_params(&item->params, whole))) continue;
        vcore_json_open(b, item->name, '{');
        put_params(b, &item->params, item->params.mode != VLM_QUANTIZATION_AFFINE);
        vcore_json_close(b, '}');
    }
    vcore_json_close(b, '}');
}

static bool is_quantized(const vengine_plan *p) {
    if (p->options->weights == VLM_CONVERT_QUANTIZE) return true;
    for (size_t i = 0; i < p->n_items; i++)
        if (p->items[i].quantized) return true;
    return false;
}

/* What was true of the source only. */
static bool is_dropped(vcore_str key) {
    return vmodel_is_one_of("_name_or_path|quantization|quantization_config|compression_config", key);
}

static const char *dtype_name(const char *dtype) {
    return !strcmp(dtype, "bf16") ? "bfloat16" : !strcmp(dtype, "f16") ? "float16" : "float32";
}

/* An object without what is dropped; the type of floats as it now is, where one was asked for. */
static void put_section(vcore_buf *b, const vengine_plan *p, const vlm_json *object) {
    vcore_json_open(b, NULL, '{');
    for (vcore_json_iter it = { 0 }; vcore_json_next(object, &it);) {
        if (is_dropped(it.key)) continue;
        vcore_json_key(b, it.key);
        if (p->options->dtype && vmodel_is_one_of("dtype|torch_dtype", it.key))
            vcore_json_put_text(b, NULL, dtype_name(p->options->dtype));
        else
            vcore_json_put(b, NULL, it.value);
    }
    vcore_json_close(b, '}');
}

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void put_member(vcore_buf *b, const vengine_plan *p, const char *key, const vlm_json *value,
                       const vlm_quantization_params *whole) {
    static const char sections[] = "text_config|llm_config|vision_config|audio_config";
    if (!strncmp(key, "quantization", 12)) {
        put_quantization(b, key, p, whole);
        return;
    }
    vcore_json_key(b, vcore_str_of(key));
    if (p->options->dtype && !strcmp(key, "dtype"))
        vcore_json_put_text(b, NULL, dtype_name(p->options->dtype));
    else if (vmodel_is_one_of(sections, vcore_str_of(key)) && vcore_json_kind_of(value) == VCORE_JSON_OBJECT)
        put_section(b, p, value);
    else
        vcore_json_put(b, NULL, value);
}

/* The keys sorted, as mlx-vlm writes them. */
static vlm_status write_config(const vengine_plan *p, const char *dir, vlm_error *err) {
    const vlm_json *config = vlm_base_config_json(p->c->config);
    size_t n = 0, most = vcore_json_count(config) + 2;
    const char **keys = vcore_arena_array(p->arena, most, sizeof *keys);
    vlm_quantization_params whole;
    if (!keys) return vcore_no_memory(err, "config.json");
    for (vcore_json_iter it = { 0 }; n + 2 < most && vcore_json_next(config, &it);)
        if (!is_dropped(it.key) && !vcore_str_eq(it.key, vcore_str_of("torch_dtype"))
            && !(keys[n++] = vcore_arena_strndup(p->arena, it.key.p, it.key.n)))
            return vcore_no_memory(err, "config.json");
    if (is_quantized(p) && whole_params(p, &whole)) {
        keys[n++] = "quantization";
        keys[n++] = "quantization_config";
    }
    qsort(keys, n, sizeof *keys, compare_keys);
    vcore_buf b = { 0 };
    vcore_json_open(&b, NULL, '{');
    for (size_t i = 0; i < n; i++) put_member(&b, p, keys[i], vcore_json_get(config, keys[i]), &whole);
    vcore_json_close(&b, '}');
    vlm_status status = write_json(dir, "config.json", &b, err);
    vcore_buf_free(&b);
    return status;
}

/* ---- the index -------------------------------------------------------------------------------------- */
typedef struct entry {
    const char *tensor, *file;
} entry;

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const entry *)a)->tensor, ((const entry *)b)->tensor);
}

static vlm_status write_index(const vengine_plan *p, const char *dir, vlm_error *err) {
    static const char name[] = "model.safetensors.index.json";
    entry *entries = vcore_arena_array(p->arena, p->n_tensors ? p->n_tensors : 1, sizeof *entries);
    if (!entries) return vcore_no_memory(err, name);
    for (size_t s = 0; s < p->n_shards; s++)
        for (size_t t = p->shards[s].first; t < p->shards[s].first + p->shards[s].n; t++)
            entries[t] = (entry) { p->tensors[t].name, p->shards[s].name };
    qsort(entries, p->n_tensors, sizeof *entries, compare_entries);
    vcore_buf b = { 0 };
    vcore_json_open(&b, NULL, '{');
    vcore_json_open(&b, "metadata", '{');
    vcore_json_put_uint(&b, "total_size", p->bytes);
    vcore_json_close(&b, '}');
    vcore_json_open(&b, "weight_map", '{');
    for (size_t t = 0; t < p->n_tensors; t++) vcore_json_put_text(&b, entries[t].tensor, entries[t].file);
    vcore_json_close(&b, '}');
    vcore_json_close(&b, '}');
    vlm_status status = write_json(dir, name, &b, err);
    vcore_buf_free(&b);
    return status;
}

/* ---- copies ------------------------------------------------------------------------------------------ */
static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static bool begins_with(const char *s, const char *start) {
    return strncmp(s, start, strlen(start)) == 0;
}

static bool goes_along(const char *name) {
    static const char *const ends[] = { ".json", ".txt", ".jinja", ".model", ".tiktoken", ".py" };
    if (!strcmp(name, "config.json") || ends_with(name, ".index.json") || begins_with(name, "hf_quant_config")
        || begins_with(name, "quantize_config") || name[0] == '.')
        return false;
    if (begins_with(name, "LICENSE") || begins_with(name, "NOTICE")) return true;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends_with(name, ends[i])) return true;
    return false;
}

/* Of a directory that has the tokenizer only. */
static bool is_tokenizers(const char *name) {
    static const char *const starts[] = { "tokenizer", "special_tokens", "added_tokens", "vocab",
                                          "merges", "chat_template" };
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        if (begins_with(name, starts[i])) return true;
    return ends_with(name, ".model") || ends_with(name, ".tiktoken");
}

/* One that is no regular file, or too large to be what its name says, stays behind. */
static vlm_status copy_file(const vengine_plan *p, const char *from, const char *name, const char *to,
                            vlm_error *err) {
    const vio_source *source = &p->c->source;
    struct stat st;
    vio_bytes bytes = { 0 };
    bool exists;
    char *path = vio_join(from, name);
    if (!path) return vcore_no_memory(err, name);
    vlm_status status = VLM_OK;
    bool regular = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    if (regular && (uint64_t)st.st_size > source->limits.tokenizer_bytes)
        vcore_log_line(&source->log, VLM_LOG_WARNING, "%s: too large to go along", path);
    else if (regular)
        status = vio_read(&bytes, path, source->limits.tokenizer_bytes, source, err);
    if (status >= 0 && bytes.p) status = write_file(to, name, bytes.p, bytes.n, &exists, err);
    vcore_free(bytes.p);
    vcore_free(path);
    return status;
}

static vlm_status copy_files(const vengine_plan *p, const char *from, bool (*wanted)(const char *),
                             const char *to, vlm_error *err) {
    enum { MOST = 4096 };
    DIR *dir = opendir(from);
    if (!dir) return vio_fail_errno(err, from, "open", errno);
    vlm_status status = VLM_OK;
    int n = 0;
    for (struct dirent *e; status >= 0 && (e = readdir(dir));) {
        if (!wanted(e->d_name)) continue;
        if (++n > MOST)
            status = vcore_fail_limit(err, from, NULL, MOST, "files that go along");
        else
            status = copy_file(p, from, e->d_name, to, err);
    }
    closedir(dir);
    return status;
}

static vlm_status copy_templates(const vengine_plan *p, const char *to, vlm_error *err) {
    char *from = vio_join(p->c->tokenizer_dir, TEMPLATES), *below = vio_join(to, TEMPLATES);
    vlm_status status = from && below ? VLM_OK : vcore_no_memory(err, TEMPLATES);
    if (status >= 0 && vio_is_dir(from)) {
        if (mkdir(below, 0777) != 0) status = vio_fail_errno(err, below, "create", errno);
        if (status >= 0) status = copy_files(p, from, goes_along, below, err);
        if (status >= 0) vio_sync_dir(below);
    }
    vcore_free(from);
    vcore_free(below);
    return status;
}

vlm_status vengine_write_files(const vengine_plan *p, const char *dir, vlm_error *err) {
    const vlm_context *c = p->c;
    VTRY(write_config(p, dir, err));
    VTRY(write_index(p, dir, err));
    VTRY(copy_templates(p, dir, err));
    if (strcmp(c->tokenizer_dir, c->dir) != 0)
        VTRY(copy_files(p, c->tokenizer_dir, is_tokenizers, dir, err));
    return copy_files(p, c->dir, goes_along, dir, err);
}
