/* SPDX-License-Identifier: MIT */
/* See checkpoint.h. A plan lists the tensors under the names of the convention asked for; shards
 * are cut from it in order, about equal in bytes; each is written header first, then tensor by
 * tensor. */
#include "support/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANK 8

typedef enum { DRAWN, ZEROS_F32, ZEROS_I64 } kind;

typedef struct {
    const char *name;  /* in the convention */
    const char *drawn; /* canonical name of the values (a copy names its original) */
    kind kind;
    int rank;
    int64_t shape[RANK]; /* as drawn */
    int axes[RANK];      /* stored axis i is drawn axis axes[i] */
    int64_t part, parts; /* of axis 1, which is drawn whole: parts times as long; 1: all of it */
    size_t count;
    float offset;
    int exponent, range;
} entry;

typedef struct {
    json_object *weights;
    uint64_t seed;
    size_t count;
    entry *entries;
} plan;

static const char *const CONVENTIONS[] = { "hf", "hf_old", NULL, "mlx" };
static const char *const DTYPE_CODES[] = { "F32", "BF16", "F16" };
static const char *const DTYPE_NAMES[] = { "float32", "bfloat16", "float16" };

static bool complain(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "checkpoint: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    return false;
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        fprintf(stderr, "checkpoint: out of memory\n");
        exit(1);
    }
    return memory;
}

/* Values. */

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint64_t fnv1a64(const char *text) {
    uint64_t h = 0xCBF29CE484222325u;
    for (; *text; text++) h = (h ^ (unsigned char)*text) * 0x100000001B3u;
    return h;
}

void tcheckpoint_values(float *out, size_t count, const char *name, uint64_t seed, float offset,
                        int exponent, int range) {
    uint64_t key = mix(fnv1a64(name) ^ seed);
    float scale = ldexpf(1.0f, exponent);
    for (size_t i = 0; i < count; i++) {
        uint64_t h = mix(key + (i + 1) * 0x9E3779B97F4A7C15u);
        int64_t k = (int64_t)(((h >> 32) * (uint64_t)(2 * range + 1)) >> 32) - range;
        out[i] = offset + (float)k * scale;
    }
}

/* The generator's values are exact in both half formats: no rounding is needed here. */
static uint16_t to_half(float value, tcheckpoint_dtype dtype) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (dtype == TCHECKPOINT_BF16) return (uint16_t)(bits >> 16);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    int exponent = (int)(bits >> 23 & 0xFF) - 127;
    uint32_t mantissa = bits & 0x7FFFFF;
    if ((bits & 0x7FFFFFFF) == 0) return sign;
    if (exponent < -14) return sign | (uint16_t)((mantissa | 0x800000) >> (-exponent - 1));
    return sign | (uint16_t)((exponent + 15) << 10 | (int)(mantissa >> 13));
}

/* Index of the stored element i among the drawn ones. */
static size_t drawn_index(const entry *e, size_t i) {
    size_t stride[RANK] = { 0 }, at = 0;
    for (int axis = e->rank - 1, step = 1; axis >= 0; axis--) {
        stride[axis] = (size_t)step;
        step *= (int)(e->shape[axis] * (axis == 1 ? e->parts : 1));
    }
    if (e->parts > 1) at = (size_t)(e->part * e->shape[1]) * stride[1];
    for (int axis = e->rank - 1; axis >= 0; axis--) {
        size_t size = (size_t)e->shape[e->axes[axis]];
        at += i % size * stride[e->axes[axis]];
        i /= size;
    }
    return at;
}

/* The plan. */

static bool in_order(const entry *e) {
    for (int axis = 0; axis < e->rank; axis++)
        if (e->axes[axis] != axis) return false;
    return e->parts == 1;
}

static int64_t integer(json_object *object, const char *key) {
    return json_object_get_int64(json_object_object_get(object, key));
}

static const char *string(json_object *object, const char *key) {
    return json_object_get_string(json_object_object_get(object, key));
}

static void read_shape(entry *e, json_object *row) {
    json_object *shape = json_object_object_get(row, "shape");
    e->rank = (int)json_object_array_length(shape);
    e->count = 1;
    e->parts = 1;
    for (int axis = 0; axis < e->rank && axis < RANK; axis++) {
        e->shape[axis] = json_object_get_int64(json_object_array_get_idx(shape, (size_t)axis));
        e->axes[axis] = axis;
        e->count *= (size_t)e->shape[axis];
    }
}

static void read_tensor(entry *e, json_object *row, tcheckpoint_names names) {
    read_shape(e, row);
    e->drawn = e->name = string(row, "name");
    e->offset = (float)json_object_get_double(json_object_object_get(row, "offset"));
    e->exponent = (int)integer(row, "exponent");
    e->range = (int)integer(row, "range");
    if (CONVENTIONS[names])
        e->name = string(json_object_object_get(row, "names"), CONVENTIONS[names]);
    const char *key = names == TCHECKPOINT_MLX ? "mlx_axes" : names == TCHECKPOINT_HF_OLD ? "hf_old_axes" : "";
    json_object *axes = json_object_object_get(row, key);
    for (int axis = 0; axes && axis < e->rank; axis++)
        e->axes[axis] = (int)json_object_get_int64(json_object_array_get_idx(axes, (size_t)axis));
}

/* The entries of a row: one, or, where MLX stores it in parts, one for each. */
static void read_row(plan *p, json_object *row, tcheckpoint_names names) {
    entry *first = &p->entries[p->count++];
    read_tensor(first, row, names);
    json_object *parts = json_object_object_get(row, "mlx_parts");
    if (names != TCHECKPOINT_MLX || !parts) return;
    first->parts = (int64_t)json_object_array_length(parts);
    first->shape[1] /= first->parts;
    first->count /= (size_t)first->parts;
    for (int64_t i = 0; i < first->parts; i++) {
        entry *e = &p->entries[p->count - 1 + (size_t)i];
        *e = *first;
        e->part = i;
        e->name = json_object_get_string(json_object_array_get_idx(parts, (size_t)i));
    }
    p->count += (size_t)first->parts - 1;
}

/* What only some conventions store: copies of other tensors (a tied head) and buffers that no one
 * reads. */
static void read_extra(plan *p, json_object *row, tcheckpoint_names names) {
    const char *convention = string(row, "convention");
    if (!CONVENTIONS[names] || strcmp(convention, CONVENTIONS[names]) != 0) return;
    entry *e = &p->entries[p->count];
    const char *of = string(row, "copy_of");
    if (of) {
        const entry *original = p->entries;
        while (strcmp(original->drawn, of) != 0) original++;
        *e = *original;
    } else {
        read_shape(e, row);
        e->kind = strcmp(string(row, "dtype"), "I64") == 0 ? ZEROS_I64 : ZEROS_F32;
    }
    e->name = string(row, "name");
    p->count++;
}

static bool plan_open(plan *p, const char *golden_dir, tcheckpoint_names names) {
    char *path = tcheckpoint_path(golden_dir, "weights.json");
    *p = (plan){ .weights = json_object_from_file(path) };
    if (!p->weights) complain("%s: %s", path, json_util_get_last_err());
    free(path);
    if (!p->weights) return false;
    p->seed = (uint64_t)integer(p->weights, "seed");
    json_object *rows = json_object_object_get(p->weights, "tensors");
    json_object *extras = json_object_object_get(p->weights, "extras");
    size_t drawn = json_object_array_length(rows);
    size_t extra = extras ? json_object_array_length(extras) : 0;
    p->entries = allocate(2 * drawn + extra, sizeof *p->entries); /* no row has more than two parts */
    for (size_t i = 0; i < drawn; i++) read_row(p, json_object_array_get_idx(rows, i), names);
    for (size_t i = 0; i < extra; i++) read_extra(p, json_object_array_get_idx(extras, i), names);
    return true;
}

static void plan_close(plan *p) {
    free(p->entries);
    json_object_put(p->weights);
}

/* Files. */

static size_t bytes_of(const entry *e, tcheckpoint_dtype dtype) {
    size_t size = e->kind == ZEROS_I64       ? 8
                  : e->kind == ZEROS_F32     ? 4
                  : dtype == TCHECKPOINT_F32 ? 4
                                             : 2;
    return e->count * size;
}

static void write_header(FILE *file, const entry *entries, size_t count,
                         const tcheckpoint_options *options) {
    json_object *header = json_object_new_object(), *metadata = json_object_new_object();
    const char *format = options->names == TCHECKPOINT_MLX ? "mlx" : "pt";
    json_object_object_add(metadata, "format", json_object_new_string(format));
    json_object_object_add(header, "__metadata__", metadata);
    size_t at = 0;
    for (const entry *e = entries; e < entries + count; e++) {
        json_object *row = json_object_new_object(), *shape = json_object_new_array();
        json_object *offsets = json_object_new_array();
        for (int axis = 0; axis < e->rank; axis++)
            json_object_array_add(shape, json_object_new_int64(e->shape[e->axes[axis]]));
        json_object_array_add(offsets, json_object_new_int64((int64_t)at));
        at += bytes_of(e, options->dtype);
        json_object_array_add(offsets, json_object_new_int64((int64_t)at));
        const char *code = e->kind == ZEROS_I64   ? "I64"
                           : e->kind == ZEROS_F32 ? "F32"
                                                  : DTYPE_CODES[options->dtype];
        json_object_object_add(row, "dtype", json_object_new_string(code));
        json_object_object_add(row, "shape", shape);
        json_object_object_add(row, "data_offsets", offsets);
        json_object_object_add(header, e->name, row);
    }
    size_t length;
    const char *text = json_object_to_json_string_length(
        header, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
    uint64_t padded = (length + 7) & ~(uint64_t)7;
    fwrite(&padded, sizeof padded, 1, file);
    fprintf(file, "%-*s", (int)padded, text);
    json_object_put(header);
}

static void write_values(FILE *file, const entry *e, uint64_t seed, tcheckpoint_dtype dtype) {
    size_t size = bytes_of(e, dtype) / (e->count ? e->count : 1);
    char *out = allocate(e->count, size);
    if (e->kind == DRAWN) {
        const size_t drawn = e->count * (size_t)e->parts;
        float *values = allocate(drawn, sizeof *values);
        bool straight = in_order(e);
        tcheckpoint_values(values, drawn, e->drawn, seed, e->offset, e->exponent, e->range);
        for (size_t i = 0; i < e->count; i++) {
            float value = values[straight ? i : drawn_index(e, i)];
            uint16_t half = to_half(value, dtype);
            memcpy(out + i * size, dtype == TCHECKPOINT_F32 ? (void *)&value : (void *)&half, size);
        }
        free(values);
    }
    fwrite(out, size, e->count, file);
    free(out);
}

static bool write_shard(const char *path, const entry *entries, size_t count, uint64_t seed,
                        const tcheckpoint_options *options) {
    FILE *file = fopen(path, "wb");
    if (!file) return complain("%s: %s", path, strerror(errno));
    write_header(file, entries, count, options);
    for (size_t i = 0; i < count; i++) write_values(file, &entries[i], seed, options->dtype);
    bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed) return complain("%s: cannot write", path);
    return true;
}

static bool write_json(const char *path, json_object *value) {
    int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE;
    if (json_object_to_file_ext(path, value, flags) == 0) return true;
    return complain("%s: %s", path, json_util_get_last_err());
}

static bool write_weights(const plan *p, const char *out_dir, const tcheckpoint_options *options) {
    size_t shards = options->shards > 1 ? (size_t)options->shards : 1, total = 0, at = 0, done = 0;
    for (size_t i = 0; i < p->count; i++) total += bytes_of(&p->entries[i], options->dtype);
    json_object *index = json_object_new_object(), *map = json_object_new_object();
    json_object *metadata = json_object_new_object();
    json_object_object_add(metadata, "total_size", json_object_new_int64((int64_t)total));
    json_object_object_add(index, "metadata", metadata);
    json_object_object_add(index, "weight_map", map);
    bool ok = true;
    for (size_t shard = 1; shard <= shards && ok; shard++) {
        char name[64] = "model.safetensors";
        if (shards > 1)
            snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard, shards);
        size_t first = at;
        for (; at < p->count && (shard == shards || done < total * shard / shards); at++) {
            done += bytes_of(&p->entries[at], options->dtype);
            json_object_object_add(map, p->entries[at].name, json_object_new_string(name));
        }
        char *path = tcheckpoint_path(out_dir, name);
        ok = write_shard(path, p->entries + first, at - first, p->seed, options);
        free(path);
    }
    if (ok && shards > 1) {
        char *path = tcheckpoint_path(out_dir, "model.safetensors.index.json");
        ok = write_json(path, index);
        free(path);
    }
    json_object_put(index);
    return ok;
}

/* Sets dtype and torch_dtype wherever a config has them. */
static void set_dtype(json_object *config, const char *dtype) {
    json_object_object_foreach(config, key, value) {
        if (json_object_is_type(value, json_type_object))
            set_dtype(value, dtype);
        else if (strcmp(key, "dtype") == 0 || strcmp(key, "torch_dtype") == 0)
            json_object_set_string(value, dtype);
    }
}

static bool copy_file(const char *from, const char *to) {
    FILE *in = fopen(from, "rb"), *out = in ? fopen(to, "wb") : NULL;
    char buffer[1 << 14];
    size_t got;
    bool ok = in && out;
    while (ok && (got = fread(buffer, 1, sizeof buffer, in)) > 0)
        ok = fwrite(buffer, 1, got, out) == got;
    if (out && fclose(out) != 0) ok = false;
    if (in) fclose(in);
    return ok || complain("%s: %s", from, strerror(errno));
}

static bool write_small_file(const char *golden_dir, const char *out_dir, const char *name,
                             tcheckpoint_dtype dtype) {
    char *from = tcheckpoint_path(golden_dir, name), *to = tcheckpoint_path(out_dir, name);
    bool ok;
    if (strcmp(name, "config.json") == 0) {
        json_object *config = json_object_from_file(from);
        if (config) set_dtype(config, DTYPE_NAMES[dtype]);
        ok = config ? write_json(to, config) : complain("%s: %s", from, json_util_get_last_err());
        json_object_put(config);
    } else {
        ok = copy_file(from, to);
    }
    free(from);
    free(to);
    return ok;
}

static bool write_small_files(const char *golden_dir, const char *out_dir,
                              tcheckpoint_dtype dtype) {
    static const char *const ours[] = { "weights.json", "cases.json", "golden.safetensors" };
    DIR *dir = opendir(golden_dir);
    if (!dir) return complain("%s: %s", golden_dir, strerror(errno));
    bool ok = true;
    for (struct dirent *item; ok && (item = readdir(dir));) {
        bool skip = item->d_name[0] == '.';
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
            skip = skip || strcmp(item->d_name, ours[i]) == 0;
        if (!skip) ok = write_small_file(golden_dir, out_dir, item->d_name, dtype);
    }
    closedir(dir);
    return ok;
}

bool tcheckpoint_write(const char *golden_dir, const char *out_dir,
                       const tcheckpoint_options *options) {
    tcheckpoint_options defaults = { 0 };
    plan p;
    if (!options) options = &defaults;
    if (!plan_open(&p, golden_dir, options->names)) return false;
    bool ok = write_small_files(golden_dir, out_dir, options->dtype) &&
              write_weights(&p, out_dir, options);
    plan_close(&p);
    return ok;
}

char *tcheckpoint_path(const char *dir, const char *name) {
    size_t size = strlen(dir) + strlen(name) + 2;
    char *path = allocate(size, 1);
    snprintf(path, size, "%s/%s", dir, name);
    return path;
}

char *tcheckpoint_temp_dir(void) {
    const char *base = getenv("TMPDIR");
    char *path = tcheckpoint_path(base && *base ? base : "/tmp", "vlm-test-XXXXXX");
    if (mkdtemp(path)) return path;
    complain("%s: %s", path, strerror(errno));
    free(path);
    return NULL;
}

void tcheckpoint_remove(const char *dir) {
    DIR *open = opendir(dir);
    for (struct dirent *item; open && (item = readdir(open));) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0) continue;
        char *path = tcheckpoint_path(dir, item->d_name);
        struct stat info;
        if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode))
            tcheckpoint_remove(path);
        else
            unlink(path);
        free(path);
    }
    if (open) closedir(open);
    rmdir(dir);
}
