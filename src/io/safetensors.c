/* SPDX-License-Identifier: MIT */
/* The tensor directory of a checkpoint. Owns the safetensors header and which files hold the
 * weights; owns no names or shapes that a model wants. Tensors are views into the maps: no data is
 * read here. */
#include "io/io.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors data is little-endian");

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [VIO_BOOL] = { "BOOL", 1 },       [VIO_U8] = { "U8", 1 },
    [VIO_I8] = { "I8", 1 },           [VIO_I16] = { "I16", 2 },
    [VIO_U16] = { "U16", 2 },         [VIO_F16] = { "F16", 2 },
    [VIO_BF16] = { "BF16", 2 },       [VIO_I32] = { "I32", 4 },
    [VIO_U32] = { "U32", 4 },         [VIO_F32] = { "F32", 4 },
    [VIO_I64] = { "I64", 8 },         [VIO_U64] = { "U64", 8 },
    [VIO_F64] = { "F64", 8 },         [VIO_F8_E4M3] = { "F8_E4M3", 1 },
    [VIO_F8_E5M2] = { "F8_E5M2", 1 }, [VIO_F8_E8M0] = { "F8_E8M0", 1 },
};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

size_t vio_dtype_size(vio_dtype t) {
    return dtypes[t].size;
}

const char *vio_dtype_name(vio_dtype t) {
    return dtypes[t].name;
}

struct vio_tensors {
    vio_tensor *list; /* sorted by name once complete */
    size_t count, capacity;
    vio_map **maps;
    size_t map_count;
    vcore_arena *arena;    /* names and paths */
    vcore_json_doc *first; /* header of the first file, for its metadata */
};

/* One file while its header is read. */
typedef struct header {
    vio_tensors *to;
    const char *path;
    const uint8_t *data; /* behind the header */
    uint64_t data_bytes;
    bool mlx;
    vlm_error *err;
} header;

/* ---- one entry of a header ------------------------------------------------------------------- */
static vlm_status fail_entry(const header *h, const char *tensor, const char *what) {
    return vcore_fail(h->err, VLM_ERR_FORMAT, "%s: tensor '%s': %s", h->path, tensor, what);
}

static vlm_status entry_dtype(const header *h, vio_tensor *t, const vcore_json *entry) {
    vcore_str name;
    if (!vcore_json_string(vcore_json_get(entry, "dtype"), &name))
        return fail_entry(h, t->name, "'dtype' is missing or not a string");
    for (int i = 0; i < DTYPES; i++) {
        if (!vcore_str_eq(name, vcore_str_of(dtypes[i].name))) continue;
        t->dtype = (vio_dtype)i;
        return VLM_OK;
    }
    return vcore_fail(h->err, VLM_ERR_UNSUPPORTED,
                      "%s: tensor '%s': dtype '%.40s' is not supported", h->path, t->name, name.p);
}

static bool natural(const vcore_json *v, uint64_t *out) {
    int64_t value;
    if (vcore_json_kind_of(v) != VCORE_JSON_INT || !vcore_json_int(v, &value) || value < 0)
        return false;
    *out = (uint64_t)value;
    return true;
}

/* Fills in the shape and the number of bytes that it takes. */
static vlm_status entry_shape(const header *h, vio_tensor *t, const vcore_json *entry) {
    const vcore_json *shape = vcore_json_get(entry, "shape");
    if (vcore_json_kind_of(shape) != VCORE_JSON_ARRAY)
        return fail_entry(h, t->name, "'shape' is missing or not an array");
    if (vcore_json_count(shape) > VIO_MAX_RANK)
        return vcore_fail(h->err, VLM_ERR_LIMIT,
                          "%s: tensor '%s': has %zu dimensions, at most %d can be", h->path,
                          t->name, vcore_json_count(shape), VIO_MAX_RANK);
    t->rank = (int)vcore_json_count(shape);
    t->bytes = dtypes[t->dtype].size;
    for (int i = 0; i < t->rank; i++) {
        if (!natural(vcore_json_at(shape, (size_t)i), &t->shape[i]))
            return fail_entry(h, t->name, "a dimension of 'shape' is not a natural number");
        if (__builtin_mul_overflow(t->bytes, t->shape[i], &t->bytes))
            return fail_entry(h, t->name, "the size of 'shape' overflows");
    }
    return VLM_OK;
}

static vlm_status entry_data(const header *h, vio_tensor *t, const vcore_json *entry) {
    const vcore_json *offsets = vcore_json_get(entry, "data_offsets");
    uint64_t begin, end;
    if (vcore_json_count(offsets) != 2 || !natural(vcore_json_at(offsets, 0), &begin)
        || !natural(vcore_json_at(offsets, 1), &end) || begin > end)
        return fail_entry(h, t->name, "'data_offsets' is not a begin and an end");
    if (end > h->data_bytes)
        return vcore_fail(h->err, VLM_ERR_FORMAT,
                          "%s: tensor '%s': ends at byte %llu of the data, which has %llu "
                          "(is the file truncated?)",
                          h->path, t->name, (unsigned long long)end,
                          (unsigned long long)h->data_bytes);
    if (end - begin != t->bytes)
        return vcore_fail(h->err, VLM_ERR_FORMAT,
                          "%s: tensor '%s': shape and dtype take %llu bytes, data_offsets %llu",
                          h->path, t->name, (unsigned long long)t->bytes,
                          (unsigned long long)(end - begin));
    t->data = h->data + begin;
    return VLM_OK;
}

static vlm_status add_entry(const header *h, vcore_str name, const vcore_json *entry) {
    vio_tensor *t = &h->to->list[h->to->count];
    *t = (vio_tensor) { .file = h->path, .mlx = h->mlx };
    t->name = vcore_arena_strndup(h->to->arena, name.p, name.n);
    if (!t->name) return vcore_no_memory(h->err, h->path);
    if (strlen(t->name) != name.n) return fail_entry(h, t->name, "the name contains a NUL");
    VTRY(entry_dtype(h, t, entry));
    VTRY(entry_shape(h, t, entry));
    VTRY(entry_data(h, t, entry));
    h->to->count++;
    return VLM_OK;
}

/* ---- one file -------------------------------------------------------------------------------- */
static int by_place(const void *a, const void *b) {
    const vio_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The tensors of a file lie end to end, as Hugging Face demands: no overlap, no hole, nothing
 * behind. */
static vlm_status check_tiling(const header *h, vio_tensor *list, size_t n) {
    qsort(list, n, sizeof *list, by_place);
    const uint8_t *end = h->data;
    for (size_t i = 0; i < n; i++) {
        if (list[i].data != end)
            return fail_entry(h, list[i].name,
                              list[i].data < end ? "overlaps another tensor"
                                                 : "there is a hole in the data before it");
        end += list[i].bytes;
    }
    if (end != h->data + h->data_bytes)
        return vcore_fail(h->err, VLM_ERR_FORMAT, "%s: %llu bytes behind the last tensor", h->path,
                          (unsigned long long)(h->data + h->data_bytes - end));
    return VLM_OK;
}

static vlm_status read_metadata(header *h, const vcore_json *root) {
    const vcore_json *metadata = vcore_json_get(root, "__metadata__");
    vcore_json_iter it = { 0 };
    vcore_str value;
    if (metadata && vcore_json_kind_of(metadata) != VCORE_JSON_OBJECT)
        return vcore_fail(h->err, VLM_ERR_FORMAT, "%s: __metadata__ must be an object, is %s",
                          h->path, vcore_json_kind_name(metadata));
    while (vcore_json_next(metadata, &it))
        if (!vcore_json_string(it.value, &value))
            return vcore_fail(h->err, VLM_ERR_FORMAT, "%s: __metadata__.%s must be a string, is %s",
                              h->path, it.key.p, vcore_json_kind_name(it.value));
    h->mlx = vcore_json_string(vcore_json_get(metadata, "format"), &value)
             && vcore_str_eq(value, vcore_str_of("mlx"));
    return VLM_OK;
}

static vlm_status add_entries(header *h, const vcore_json *root) {
    if (vcore_json_kind_of(root) != VCORE_JSON_OBJECT)
        return vcore_fail(h->err, VLM_ERR_FORMAT, "%s: the header must be an object, is %s",
                          h->path, vcore_json_kind_name(root));
    if (vcore_json_repeated(root)) return fail_entry(h, vcore_json_repeated(root), "comes twice");
    VTRY(read_metadata(h, root));
    vio_tensors *to = h->to;
    size_t need = to->count + vcore_json_count(root), before = to->count;
    if (need > to->capacity || !to->list) {
        vio_tensor *list = vcore_realloc_array(to->list, need, sizeof *list);
        if (!list) return vcore_no_memory(h->err, h->path);
        to->list = list;
        to->capacity = need;
    }
    vcore_json_iter it = { 0 };
    while (vcore_json_next(root, &it))
        if (!vcore_str_eq(it.key, vcore_str_of("__metadata__")))
            VTRY(add_entry(h, it.key, it.value));
    return check_tiling(h, to->list + before, to->count - before);
}

/* Adds the tensors of the file that lies at data; path is borrowed for as long as `to` lives. */
static vlm_status add_file(vio_tensors *to, const uint8_t *data, size_t size, const char *path,
                           const vio_source *from, vlm_error *err) {
    if (size < 8)
        return vcore_fail(err, VLM_ERR_FORMAT, "%s: too short for a safetensors file", path);
    uint64_t n;
    memcpy(&n, data, 8);
    if (n > from->limits.header_bytes)
        return vcore_fail(err, VLM_ERR_LIMIT, "%s: header of %llu bytes, the limit is %llu", path,
                          (unsigned long long)n, (unsigned long long)from->limits.header_bytes);
    if (n > size - 8)
        return vcore_fail(err, VLM_ERR_FORMAT,
                          "%s: header of %llu bytes in a file of %zu "
                          "(is it truncated?)",
                          path, (unsigned long long)n, size);
    if (n == 0 || data[8] != '{')
        return vcore_fail(err, VLM_ERR_FORMAT, "%s: the header does not begin with '{'", path);
    vcore_json_doc *doc;
    VTRY(vcore_json_parse(&doc, (const char *)data + 8, n, path, err));
    header h = { to, path, data + 8 + n, size - 8 - n, false, err };
    vlm_status status = add_entries(&h, vcore_json_root(doc));
    if (status >= 0 && !to->first)
        to->first = doc;
    else
        vcore_json_free(doc);
    return status;
}

/* Maps a file and adds its tensors. */
static vlm_status add_path(vio_tensors *to, const char *path, const vio_source *from,
                           vlm_error *err) {
    vio_map **maps = vcore_realloc_array(to->maps, to->map_count + 1, sizeof *maps);
    if (!maps) return vcore_no_memory(err, path);
    to->maps = maps;
    const char *kept = vcore_arena_strndup(to->arena, path, strlen(path));
    if (!kept) return vcore_no_memory(err, path);
    VTRY(vio_map_open(&maps[to->map_count], path, from, err));
    vio_map *map = maps[to->map_count++];
    return add_file(to, vio_map_data(map), vio_map_size(map), kept, from, err);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const vio_tensor *)a)->name, ((const vio_tensor *)b)->name);
}

/* The last step of every way to open: order, and no name in two files. */
static vlm_status finish(vio_tensors *t, vlm_error *err) {
    if (t->count) qsort(t->list, t->count, sizeof *t->list, by_name);
    for (size_t i = 1; i < t->count; i++)
        if (by_name(&t->list[i - 1], &t->list[i]) == 0)
            return vcore_fail(err, VLM_ERR_FORMAT, "%s: tensor '%s' is also in %s", t->list[i].file,
                              t->list[i].name, t->list[i - 1].file);
    return VLM_OK;
}

static vio_tensors *new_tensors(void) {
    vio_tensors *t = vcore_alloc(sizeof *t);
    if (t && !(t->arena = vcore_arena_new())) {
        vcore_free(t);
        return NULL;
    }
    return t;
}

/* Hands t over, or closes it where status is an error. */
static vlm_status deliver(vio_tensors **out, vio_tensors *t, vlm_status status, vlm_error *err) {
    if (status >= 0) status = finish(t, err);
    if (status < 0) {
        vio_tensors_close(t);
        return status;
    }
    *out = t;
    return VLM_OK;
}

vlm_status vio_tensors_open_memory(vio_tensors **out, const void *data, size_t size,
                                   const char *name, const vio_source *from, vlm_error *err) {
    vio_source source = from ? *from : vio_source_of(NULL);
    vio_tensors *t = new_tensors();
    *out = NULL;
    if (!t) return vcore_no_memory(err, name);
    const char *kept = vcore_arena_strndup(t->arena, name, strlen(name));
    vlm_status status = kept ? add_file(t, data, size, kept, &source, err) : vcore_no_memory(err, name);
    return deliver(out, t, status, err);
}

vlm_status vio_tensors_open_file(vio_tensors **out, const char *path, const vio_source *from,
                                 vlm_error *err) {
    vio_source source = from ? *from : vio_source_of(NULL);
    vio_tensors *t = new_tensors();
    *out = NULL;
    if (!t) return vcore_no_memory(err, path);
    return deliver(out, t, add_path(t, path, &source, err), err);
}

/* ---- a directory ----------------------------------------------------------------------------- */
/* An index may name files of its own directory only. */
static bool is_plain_name(vcore_str s) {
    if (s.n == 0 || memchr(s.p, '/', s.n) || memchr(s.p, 0, s.n)) return false;
    return strcmp(s.p, ".") != 0 && strcmp(s.p, "..") != 0;
}

/* The files that the index names, each once, in the order of their first mention. */
static vlm_status index_files(vcore_map *files, const vcore_json *weight_map, const char *path,
                              vlm_error *err) {
    if (vcore_json_kind_of(weight_map) != VCORE_JSON_OBJECT)
        return vcore_fail(err, VLM_ERR_FORMAT, "%s: weight_map must be an object, is %s", path,
                          weight_map ? vcore_json_kind_name(weight_map) : "missing");
    if (vcore_json_repeated(weight_map))
        return vcore_fail(err, VLM_ERR_FORMAT, "%s: tensor '%s' comes twice", path,
                          vcore_json_repeated(weight_map));
    vcore_json_iter it = { 0 };
    while (vcore_json_next(weight_map, &it)) {
        vcore_str file;
        if (!vcore_json_string(it.value, &file) || !is_plain_name(file))
            return vcore_fail(err, VLM_ERR_FORMAT, "%s: weight_map.%s must be a plain file name",
                              path, it.key.p);
        if (vcore_map_get(files, file, NULL)) continue;
        if (!vcore_map_put(files, file, (uint32_t)vcore_map_count(files)))
            return vcore_no_memory(err, path);
    }
    return VLM_OK;
}

/* Every tensor of the index must be in the file that the index says. */
static vlm_status check_index(const vio_tensors *t, const vcore_json *weight_map, const char *dir,
                              const char *path, vlm_error *err) {
    vcore_json_iter it = { 0 };
    while (vcore_json_next(weight_map, &it)) {
        vcore_str file;
        vcore_json_string(it.value, &file);
        const vio_tensor *found = vio_tensors_find(t, it.key.p);
        char *shard = vio_join(dir, file.p);
        if (!shard) return vcore_no_memory(err, path);
        bool there = found && strlen(it.key.p) == it.key.n && strcmp(found->file, shard) == 0;
        vcore_free(shard);
        if (!there)
            return vcore_fail(err, VLM_ERR_FORMAT, "%s: tensor '%s' is not in %s", path, it.key.p,
                              file.p);
    }
    return VLM_OK;
}

/* ERR_NOT_FOUND when a file of the index is missing. */
static vlm_status open_index(vio_tensors **out, const char *dir, const char *path,
                             const vcore_json *weight_map, const vio_source *from,
                             vlm_error *err) {
    vcore_map *files = vcore_map_new(16);
    vio_tensors *t = new_tensors();
    vlm_status status = files && t ? VLM_OK : vcore_no_memory(err, path);
    if (status >= 0) status = index_files(files, weight_map, path, err);
    vcore_json_iter it = { 0 };
    while (status >= 0 && vcore_json_next(weight_map, &it)) {
        vcore_str file;
        uint32_t order;
        vcore_json_string(it.value, &file);
        if (!vcore_map_get(files, file, &order) || order != t->map_count) continue;
        char *shard = vio_join(dir, file.p);
        status = shard ? add_path(t, shard, from, err) : vcore_no_memory(err, path);
        vcore_free(shard);
    }
    vcore_map_free(files);
    VTRY(deliver(out, t, status, err));
    status = check_index(t, weight_map, dir, path, err);
    if (status < 0) {
        vio_tensors_close(t);
        *out = NULL;
    }
    return status;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* The path of the only *.safetensors in dir. */
static vlm_status find_only(char **out, const char *dir, const vio_source *from, vlm_error *err) {
    vlm_status status = VLM_OK;
    *out = NULL;
    vio_source_tell(from, dir);
    DIR *d = opendir(dir);
    if (!d) return vio_fail_errno(err, dir, "open", errno);
    for (struct dirent *e; status >= 0 && (e = readdir(d));) {
        if (!ends_with(e->d_name, ".safetensors")
            || ends_with(e->d_name, "consolidated.safetensors"))
            continue;
        if (*out)
            status = vcore_fail(err, VLM_ERR_NOT_FOUND,
                                "%s: several .safetensors files, but neither "
                                "model.safetensors nor a model.safetensors.index.json",
                                dir);
        else if (!(*out = vio_join(dir, e->d_name)))
            status = vcore_no_memory(err, dir);
    }
    closedir(d);
    if (status >= 0 && !*out)
        status = vcore_fail(err, VLM_ERR_NOT_FOUND, "%s: no .safetensors file", dir);
    if (status < 0) {
        vcore_free(*out);
        *out = NULL;
    }
    return status;
}

/* By the index. ERR_NOT_FOUND: a shard is missing (the message names it). VLM_DONE: there is no
 * index. */
static vlm_status try_index(vio_tensors **out, const char *dir, const vio_source *from,
                            vlm_error *err) {
    vio_bytes text = { 0 };
    vcore_json_doc *doc = NULL;
    char *path = vio_join(dir, "model.safetensors.index.json");
    if (!path) return vcore_no_memory(err, dir);
    vlm_status status = vio_read_text_optional(&text, path, from->limits.index_bytes, from, err);
    if (status >= 0 && !text.p) status = VLM_DONE;
    if (status == VLM_OK) status = vcore_json_parse(&doc, text.p, text.n, path, err);
    if (status == VLM_OK)
        status = open_index(out, dir, path, vcore_json_get(vcore_json_root(doc), "weight_map"),
                            from, err);
    vcore_json_free(doc);
    vcore_free(text.p);
    vcore_free(path);
    return status;
}

vlm_status vio_tensors_open_dir(vio_tensors **out, const char *dir, const vio_source *from, vlm_error *err) {
    vio_source source = from ? *from : vio_source_of(NULL);
    vlm_error shard = VLM_ERROR_INIT, why = VLM_ERROR_INIT;
    *out = NULL;
    vlm_status indexed = try_index(out, dir, &source, &shard), status;
    if (indexed < 0 && indexed != VLM_ERR_NOT_FOUND) {
        if (err) *err = shard;
        return indexed;
    }
    if (indexed == VLM_OK) return VLM_OK;
    char *path = vio_join(dir, "model.safetensors");
    if (!path) return vcore_no_memory(err, dir);
    status = vio_tensors_open_file(out, path, &source, &why);
    if (status >= 0 && indexed < 0)
        vcore_log_line(&source.log, VLM_LOG_WARNING, "%s; reading %s instead", shard.message, path);
    vcore_free(path);
    if (status == VLM_ERR_NOT_FOUND && indexed < 0) {
        why = shard;
    } else if (status == VLM_ERR_NOT_FOUND && (status = find_only(&path, dir, &source, &why)) >= 0) {
        status = vio_tensors_open_file(out, path, &source, &why);
        vcore_free(path);
    }
    if (status < 0 && err) *err = why;
    return status;
}

/* ---- access ---------------------------------------------------------------------------------- */
size_t vio_tensors_count(const vio_tensors *t) {
    return t->count;
}

const vio_tensor *vio_tensors_at(const vio_tensors *t, size_t i) {
    return i < t->count ? &t->list[i] : NULL;
}

const vio_tensor *vio_tensors_find(const vio_tensors *t, const char *name) {
    vio_tensor key = { .name = name };
    return t->count ? bsearch(&key, t->list, t->count, sizeof key, by_name) : NULL;
}

const char *vio_tensors_metadata(const vio_tensors *t, const char *key) {
    const vcore_json *metadata = vcore_json_get(vcore_json_root(t->first), "__metadata__");
    vcore_str value;
    return vcore_json_string(vcore_json_get(metadata, key), &value) ? value.p : NULL;
}

uint64_t vio_tensors_bytes(const vio_tensors *t) {
    uint64_t sum = 0;
    for (size_t i = 0; i < t->count; i++) sum += t->list[i].bytes;
    return sum;
}

void vio_tensors_close(vio_tensors *t) {
    if (!t) return;
    for (size_t i = 0; i < t->map_count; i++) vio_map_close(t->maps[i]);
    vcore_json_free(t->first);
    vcore_arena_free(t->arena);
    vcore_free(t->maps);
    vcore_free(t->list);
    vcore_free(t);
}
