/* SPDX-License-Identifier: MIT */
/* The tensor directory of a checkpoint. Owns the safetensors header and the tensors of one file or
 * of several together; owns neither which files those are (shards.c) nor names or shapes that a
 * model wants. Tensors are views into the maps: no data is read here. */
#include "io/io.h"

#include <stdio.h>
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
    const char *missing_file;
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
static vlm_status fail_file(const header *h, const char *what) {
    return vcore_fail_at(h->err, VLM_ERR_FORMAT, (vcore_where) { .file = h->path }, "%s: %s",
                         h->path, what);
}

static vlm_status fail_entry(const header *h, const char *tensor, const char *fmt, ...)
    VLM_PRINTF(3, 4);
static vlm_status fail_entry(const header *h, const char *tensor, const char *fmt, ...) {
    char what[160];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    vcore_where where = { .file = h->path, .field = tensor };
    return vcore_fail_at(h->err, VLM_ERR_FORMAT, where, "%s: tensor '%s': %s", h->path, tensor,
                         what);
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
    vcore_where where = { .file = h->path, .field = t->name };
    return vcore_fail_at(h->err, VLM_ERR_UNSUPPORTED, where,
                         "%s: tensor '%s': dtype '%.40s' is not supported", h->path, t->name,
                         name.p);
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
    vcore_where where = { .file = h->path, .field = t->name, .limit = VIO_MAX_RANK };
    if (vcore_json_count(shape) > VIO_MAX_RANK)
        return vcore_fail_at(h->err, VLM_ERR_LIMIT, where,
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
        return fail_entry(h, t->name,
                          "ends at byte %llu of the data, which has %llu (is the file truncated?)",
                          (unsigned long long)end, (unsigned long long)h->data_bytes);
    if (end - begin != t->bytes)
        return fail_entry(h, t->name, "shape and dtype take %llu bytes, data_offsets %llu",
                          (unsigned long long)t->bytes, (unsigned long long)(end - begin));
    t->data = h->data + begin;
    return VLM_OK;
}

static vlm_status add_entry(const header *h, vcore_str name, const vcore_json *entry) {
    vio_tensor *t = &h->to->list[h->to->count];
    *t = (vio_tensor) { .file = h->path, .mlx = h->mlx };
    t->name = vcore_arena_strndup(h->to->arena, name.p, name.n);
    if (!t->name) return vcore_no_memory(h->err, h->path);
    if (strlen(t->name) != name.n) return fail_entry(h, t->name, "the name contains a NUL");
    if (vcore_json_repeated(entry))
        return fail_entry(h, t->name, "'%.40s' comes twice", vcore_json_repeated(entry));
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
            return fail_entry(h, list[i].name, "%s",
                              list[i].data < end ? "overlaps another tensor"
                                                 : "there is a hole in the data before it");
        end += list[i].bytes;
    }
    if (end != h->data + h->data_bytes)
        return vcore_fail_at(h->err, VLM_ERR_FORMAT, (vcore_where) { .file = h->path },
                             "%s: %llu bytes behind the last tensor", h->path,
                             (unsigned long long)(h->data + h->data_bytes - end));
    return VLM_OK;
}

static vlm_status read_metadata(header *h, const vcore_json *root) {
    const vcore_json *metadata = vcore_json_get(root, "__metadata__");
    vcore_json_iter it = { 0 };
    vcore_str value;
    vcore_where where = { .file = h->path, .field = "__metadata__" };
    if (vcore_json_kind_of(metadata) != VCORE_JSON_NULL
        && vcore_json_kind_of(metadata) != VCORE_JSON_OBJECT)
        return vcore_fail_at(h->err, VLM_ERR_FORMAT, where,
                             "%s: __metadata__ must be an object, is %s", h->path,
                             vcore_json_kind_name(metadata));
    while (vcore_json_next(metadata, &it))
        if (!vcore_json_string(it.value, &value))
            return vcore_fail_at(h->err, VLM_ERR_FORMAT, where,
                                 "%s: __metadata__.%s must be a string, is %s", h->path, it.key.p,
                                 vcore_json_kind_name(it.value));
    h->mlx = vcore_json_string(vcore_json_get(metadata, "format"), &value)
             && vcore_str_eq(value, vcore_str_of("mlx"));
    return VLM_OK;
}

/* Room for n more tensors; doubled, so that many files cost no more than one. */
static vlm_status reserve(vio_tensors *to, size_t n, const char *path, vlm_error *err) {
    size_t need = to->count + n, capacity = 2 * to->capacity;
    if (to->list && need <= to->capacity) return VLM_OK;
    if (capacity < need) capacity = need;
    vio_tensor *list = vcore_realloc_array(to->list, capacity, sizeof *list);
    if (!list) return vcore_no_memory(err, path);
    to->list = list;
    to->capacity = capacity;
    return VLM_OK;
}

static vlm_status add_entries(header *h, const vcore_json *root) {
    vio_tensors *to = h->to;
    size_t before = to->count;
    if (vcore_json_repeated(root)) return fail_entry(h, vcore_json_repeated(root), "comes twice");
    VTRY(read_metadata(h, root));
    VTRY(reserve(to, vcore_json_count(root), h->path, h->err));
    vcore_json_iter it = { 0 };
    while (vcore_json_next(root, &it))
        if (!vcore_str_eq(it.key, vcore_str_of("__metadata__")))
            VTRY(add_entry(h, it.key, it.value));
    return check_tiling(h, to->list + before, to->count - before);
}

/* The length of the header that begins behind the first 8 bytes. */
static vlm_status header_length(uint64_t *n, const header *h, const uint8_t *data, size_t size,
                                uint64_t most) {
    if (size < 8) return fail_file(h, "too short for a safetensors file");
    memcpy(n, data, 8);
    vcore_where where = { .file = h->path, .limit = most };
    if (*n > most)
        return vcore_fail_at(h->err, VLM_ERR_LIMIT, where,
                             "%s: header of %llu bytes, the limit is %llu", h->path,
                             (unsigned long long)*n, (unsigned long long)most);
    where.limit = 0;
    if (*n > size - 8)
        return vcore_fail_at(h->err, VLM_ERR_FORMAT, where,
                             "%s: header of %llu bytes in a file of %zu (is it truncated?)",
                             h->path, (unsigned long long)*n, size);
    if (*n == 0 || data[8] != '{') return fail_file(h, "the header does not begin with '{'");
    return VLM_OK;
}

/* Adds the tensors of the file that lies at data; path is borrowed for as long as `to` lives. */
static vlm_status add_file(vio_tensors *to, const uint8_t *data, size_t size, const char *path,
                           const vio_source *from, vlm_error *err) {
    header h = { .to = to, .path = path, .err = err };
    uint64_t n = 0;
    VTRY(header_length(&n, &h, data, size, from->limits.header_bytes));
    vcore_json_doc *doc;
    VTRY(vcore_json_parse(&doc, (const char *)data + 8, n, path, err));
    h.data = data + 8 + n;
    h.data_bytes = size - 8 - n;
    vlm_status status = add_entries(&h, vcore_json_root(doc));
    if (status >= 0 && !to->first)
        to->first = doc;
    else
        vcore_json_free(doc);
    return status;
}

/* Maps a file, for which there is room, and adds its tensors. path: in the arena. */
static vlm_status add_path(vio_tensors *to, const char *path, const vio_source *from,
                           vlm_error *err) {
    vio_map **map = &to->maps[to->map_count];
    VTRY(vio_map_open(map, path, from, err));
    to->map_count++;
    return add_file(to, vio_map_data(*map), vio_map_size(*map), path, from, err);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const vio_tensor *)a)->name, ((const vio_tensor *)b)->name);
}

/* The last step of every way to open: order, and no name in two files. */
static vlm_status finish(vio_tensors *t, vlm_error *err) {
    if (t->count) qsort(t->list, t->count, sizeof *t->list, by_name);
    for (size_t i = 1; i < t->count; i++) {
        const vio_tensor *a = &t->list[i - 1], *b = &t->list[i];
        vcore_where where = { .file = b->file, .field = b->name };
        if (by_name(a, b) == 0)
            return vcore_fail_at(err, VLM_ERR_FORMAT, where, "%s: tensor '%s' is also in %s",
                                 b->file, b->name, a->file);
    }
    return VLM_OK;
}

/* With room for the maps of n files. */
static vio_tensors *new_tensors(size_t n) {
    vio_tensors *t = vcore_alloc(sizeof *t);
    if (!t) return NULL;
    t->arena = vcore_arena_new();
    t->maps = n ? vcore_alloc_array(n, sizeof(vio_map *)) : NULL;
    if (t->arena && (t->maps || !n)) return t;
    vio_tensors_close(t);
    return NULL;
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

static const char *keep(vio_tensors *t, const char *s) {
    return vcore_arena_strndup(t->arena, s, strlen(s));
}

/* "<dir>/<name>"; dir NULL: the name is a path. */
static const char *keep_path(vio_tensors *t, const char *dir, const char *name) {
    if (!dir) return keep(t, name);
    char *path = vio_join(dir, name);
    const char *kept = path ? keep(t, path) : NULL;
    vcore_free(path);
    return kept;
}

vlm_status vio_tensors_open_memory(vio_tensors **out, const void *data, size_t size,
                                   const char *name, const vio_source *from, vlm_error *err) {
    vio_source source = from ? *from : vio_source_of(NULL);
    vio_tensors *t = new_tensors(0);
    *out = NULL;
    if (!t) return vcore_no_memory(err, name);
    const char *kept = keep(t, name);
    vlm_status status =
        kept ? add_file(t, data, size, kept, &source, err) : vcore_no_memory(err, name);
    return deliver(out, t, status, err);
}

vlm_status vio_tensors_open_files(vio_tensors **out, const char *dir, const vio_selection *files,
                                  const vio_source *from, vlm_error *err) {
    vio_source source = from ? *from : vio_source_of(NULL);
    vio_tensors *t = new_tensors(files->n);
    vlm_status status = VLM_OK;
    *out = NULL;
    if (!t) return vcore_no_memory(err, dir);
    if (files->missing && !(t->missing_file = keep_path(t, dir, files->missing)))
        status = vcore_no_memory(err, dir);
    for (size_t i = 0; i < files->n && status >= 0; i++) {
        const char *path = keep_path(t, dir, files->names[i]);
        status = path ? add_path(t, path, &source, err) : vcore_no_memory(err, files->names[i]);
    }
    return deliver(out, t, status, err);
}

vlm_status vio_tensors_open_file(vio_tensors **out, const char *path, const vio_source *from,
                                 vlm_error *err) {
    const vio_selection one = { .names = &path, .n = 1 };
    return vio_tensors_open_files(out, NULL, &one, from, err);
}

/* ---- access ---------------------------------------------------------------------------------- */
size_t vio_tensors_count(const vio_tensors *t) {
    return t->count;
}

const vio_tensor *vio_tensors_at(const vio_tensors *t, size_t i) {
    return i < t->count ? &t->list[i] : NULL;
}

const char *vio_tensors_missing_file(const vio_tensors *t) {
    return t->missing_file;
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
