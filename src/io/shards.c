/* SPDX-License-Identifier: MIT */
/* Which files of a directory hold the weights. Owns the rule of selection and what an index may
 * say; knows nothing of what is in a weight file but the names of its tensors. */
#include "io/io.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define INDEX_NAME "model.safetensors.index.json"
#define SUFFIX ".safetensors"
enum { MAX_FILES = 16384, MAX_DIGITS = 9 };

/* A selection while it is made. */
typedef struct choice {
    vio_selection *out;
    vcore_arena *arena;
    const char *dir;
    const char *const *names; /* sorted */
    size_t n;
    const vcore_log *log;
    vlm_error *err;
} choice;

static bool begins_with(const char *s, const char *start) {
    return strncmp(s, start, strlen(start)) == 0;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Place of a file among the names; n when it is not there. */
static size_t place_of(const choice *c, const char *file) {
    const char *const *at =
        c->n ? bsearch(&file, c->names, c->n, sizeof *c->names, compare_names) : NULL;
    return at ? (size_t)(at - c->names) : c->n;
}

/* Where the selection's names are put; room for all. NULL: no memory. */
static const char **begin_list(const choice *c) {
    const char **list = vcore_arena_array(c->arena, c->n, sizeof *list);
    c->out->names = list;
    return list;
}

/* ---- by the index ---------------------------------------------------------------------------- */
static vlm_status fail_index(const choice *c, const char *tensor, const char *fmt, ...)
    VLM_PRINTF(3, 4);
static vlm_status fail_index(const choice *c, const char *tensor, const char *fmt, ...) {
    char file[256], what[300];
    va_list args;
    snprintf(file, sizeof file, "%s/" INDEX_NAME, c->dir);
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    vcore_where where = { .file = file, .field = tensor };
    return vcore_fail_at(c->err, VLM_ERR_FORMAT, where, "%s/" INDEX_NAME ": %s", c->dir, what);
}

/* An index may name weight files of its own directory only. */
static bool is_plain_name(vcore_str s) {
    return s.n && !memchr(s.p, '/', s.n) && !memchr(s.p, 0, s.n) && ends_with(s.p, SUFFIX);
}

static vlm_status check_weight_map(const choice *c, const vcore_json *weight_map) {
    if (vcore_json_kind_of(weight_map) != VCORE_JSON_OBJECT)
        return fail_index(c, "weight_map", "weight_map must be an object, is %s",
                          weight_map ? vcore_json_kind_name(weight_map) : "missing");
    const char *repeated = vcore_json_repeated(weight_map);
    if (repeated) return fail_index(c, repeated, "tensor '%s' comes twice", repeated);
    if (vcore_json_count(weight_map) == 0)
        return fail_index(c, "weight_map", "weight_map names no tensor");
    vcore_json_iter it = { 0 };
    while (vcore_json_next(weight_map, &it)) {
        vcore_str file;
        if (!vcore_json_string(it.value, &file) || !is_plain_name(file))
            return fail_index(
                c, it.key.p, "weight_map.%s must be the plain name of a " SUFFIX " file", it.key.p);
    }
    return VLM_OK;
}

/* VLM_DONE: the index is stale, it names a file that is not there. */
static vlm_status select_indexed(const choice *c, const vcore_json *weight_map) {
    size_t absent = 0;
    VTRY(check_weight_map(c, weight_map));
    bool *named = vcore_arena_array(c->arena, c->n + 1, sizeof *named);
    const char **list = begin_list(c);
    if (!named || (c->n && !list)) return vcore_no_memory(c->err, c->dir);
    const char *missing = NULL;
    vcore_json_iter it = { 0 };
    while (vcore_json_next(weight_map, &it)) {
        vcore_str file;
        vcore_json_string(it.value, &file);
        size_t place = place_of(c, file.p);
        named[place] = true;
        absent += place == c->n;
        if (place == c->n && (!missing || strcmp(file.p, missing) < 0)) missing = file.p;
    }
    if (!missing) {
        for (size_t i = 0; i < c->n; i++)
            if (named[i]) list[c->out->n++] = c->names[i];
        c->out->indexed = true;
        return VLM_OK;
    }
    c->out->missing = vcore_arena_strndup(c->arena, missing, strlen(missing));
    if (!c->out->missing) return vcore_no_memory(c->err, c->dir);
    if (c->n == 0) return VLM_DONE; /* no weights at all is another matter */
    vcore_log_line(c->log, VLM_LOG_WARNING,
                   "%s/" INDEX_NAME ": stale: it names %s, which is not there (%zu of its %zu "
                   "tensors would be in absent files)",
                   c->dir, missing, absent, vcore_json_count(weight_map));
    return VLM_DONE;
}

/* ---- by numbered names ----------------------------------------------------------------------- */
/* "model-00002-of-00003.safetensors" */
typedef struct numbered {
    const char *name;
    int digits; /* of both numbers: 5 */
    uint32_t k, of;
} numbered;

/* The digits at *s, which is moved behind them; 0 when there are none or too many. */
static int take_digits(const char **s, uint32_t *value) {
    int digits = 0;
    for (*value = 0; **s >= '0' && **s <= '9' && digits <= MAX_DIGITS; ++*s, digits++)
        *value = digits < MAX_DIGITS ? *value * 10 + (uint32_t)(**s - '0') : 0;
    return digits <= MAX_DIGITS ? digits : 0;
}

static bool parse_numbered(numbered *out, const char *name) {
    const char *s = name + strlen("model-");
    *out = (numbered) { .name = name };
    if (!begins_with(name, "model-") || !(out->digits = take_digits(&s, &out->k))) return false;
    if (!begins_with(s, "-of-")) return false;
    s += strlen("-of-");
    return take_digits(&s, &out->of) == out->digits && strcmp(s, SUFFIX) == 0 && out->k >= 1
           && out->k <= out->of;
}

static int compare_numbered(const void *a, const void *b) {
    const numbered *x = a, *y = b;
    if (x->digits != y->digits) return x->digits < y->digits ? -1 : 1;
    if (x->of != y->of) return x->of < y->of ? -1 : 1;
    return (x->k > y->k) - (x->k < y->k);
}

/* The first member that the set of n sorted names lacks; NULL: no memory. */
static const char *first_gap(const choice *c, const numbered *set, size_t n) {
    char name[64];
    uint32_t k = 1;
    while (k <= n && set[k - 1].k == k) k++;
    int length = snprintf(name, sizeof name, "model-%0*u-of-%0*u" SUFFIX, set->digits, k,
                          set->digits, set->of);
    return vcore_arena_strndup(c->arena, name, (size_t)length);
}

/* Looks at one set: the first complete one is the selection, a second one an error. */
static vlm_status take_set(const choice *c, const numbered *set, size_t n) {
    if (n != set->of) {
        vcore_log_line(c->log, VLM_LOG_WARNING, "%s/%s: one of an incomplete set, %zu of %u",
                       c->dir, set->name, n, set->of);
        c->out->partial = true;
        if (!c->out->missing && !(c->out->missing = first_gap(c, set, n)))
            return vcore_no_memory(c->err, c->dir);
        return VLM_OK;
    }
    if (c->out->n)
        return vcore_fail_at(c->err, VLM_ERR_FORMAT, (vcore_where) { .file = c->dir },
                             "%s: two complete sets of weights, %s and %s, and no index to choose",
                             c->dir, c->out->names[0], set->name);
    const char **list = begin_list(c);
    if (!list) return vcore_no_memory(c->err, c->dir);
    for (size_t i = 0; i < n; i++) list[i] = set[i].name;
    c->out->n = n;
    return VLM_OK;
}

/* A complete set selected does not lack what a left-over of another set lacks. */
static vlm_status select_numbered(const choice *c) {
    numbered *all = vcore_arena_array(c->arena, c->n + 1, sizeof *all);
    const char *stale = c->out->missing;
    size_t n = 0;
    if (!all) return vcore_no_memory(c->err, c->dir);
    for (size_t i = 0; i < c->n; i++) n += parse_numbered(&all[n], c->names[i]);
    qsort(all, n, sizeof *all, compare_numbered);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && all[end].digits == all[i].digits && all[end].of == all[i].of;)
            end++;
        VTRY(take_set(c, all + i, end - i));
    }
    if (c->out->n) c->out->missing = stale, c->out->partial = false;
    return VLM_OK;
}

/* ---- by what is left ------------------------------------------------------------------------- */
/* Mistral's second copy of the weights, and adapters, which are no weights of their own. */
static bool is_other(const char *name) {
    static const char *const ends[] = { "consolidated" SUFFIX, "adapter" SUFFIX,
                                        "adapters" SUFFIX };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(name, ends[i])) return true;
    return begins_with(name, "consolidated") || begins_with(name, "adapter");
}

static vlm_status select_rest(const choice *c) {
    const char **list = begin_list(c);
    if (c->n && !list) return vcore_no_memory(c->err, c->dir);
    for (size_t i = 0; i < c->n; i++)
        if (!is_other(c->names[i])) list[c->out->n++] = c->names[i];
    return VLM_OK;
}

vlm_status vio_select_weights(vio_selection *out, vcore_arena *arena, const char *dir,
                              const vcore_json *index, const char *const *names, size_t n,
                              const vcore_log *log, vlm_error *err) {
    const choice c = { out, arena, dir, names, n, log, err };
    *out = (vio_selection) { 0 };
    if (index) {
        vlm_status status = select_indexed(&c, vcore_json_get(index, "weight_map"));
        if (status != VLM_DONE) return status;
    }
    size_t single = place_of(&c, "model" SUFFIX);
    if (single < n) {
        out->names = names + single;
        out->n = 1;
        return VLM_OK;
    }
    VTRY(select_numbered(&c));
    if (!out->n) VTRY(select_rest(&c));
    if (out->n) return VLM_OK;
    vcore_where where = { .file = dir };
    return vcore_fail_at(err, VLM_ERR_NOT_FOUND, where, "%s: no " SUFFIX " file%s%s%s", dir,
                         out->missing ? " (the index names " : "", out->missing ? out->missing : "",
                         out->missing ? ")" : "");
}

/* ---- a directory ----------------------------------------------------------------------------- */
/* A growing list of names that lie in the arena. */
typedef struct listing {
    vcore_arena *arena;
    const char **names; /* owned */
    size_t n, capacity;
} listing;

static vlm_status add_name(listing *l, const char *name, const char *dir, vlm_error *err) {
    vcore_where where = { .file = dir, .limit = MAX_FILES };
    if (l->n == MAX_FILES)
        return vcore_fail_at(err, VLM_ERR_LIMIT, where, "%s: more than %d " SUFFIX " files", dir,
                             MAX_FILES);
    if (l->n == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 64;
        const char **names = vcore_realloc_array(l->names, capacity, sizeof *names);
        if (!names) return vcore_no_memory(err, dir);
        l->names = names;
        l->capacity = capacity;
    }
    l->names[l->n] = vcore_arena_strndup(l->arena, name, strlen(name));
    return l->names[l->n++] ? VLM_OK : vcore_no_memory(err, dir);
}

/* The *.safetensors of dir, sorted. A link to nothing (a blob that the hub cache lacks) is not
 * there; names that begin with a dot are what other systems leave beside files. */
static vlm_status list_dir(listing *l, const char *dir, const vio_source *from, vlm_error *err) {
    vlm_status status = VLM_OK;
    vio_source_tell(from, dir);
    DIR *d = opendir(dir);
    if (!d) return vio_fail_errno(err, dir, "open", errno);
    for (struct dirent *e; status >= 0 && (errno = 0, e = readdir(d));)
        if (e->d_name[0] != '.' && ends_with(e->d_name, SUFFIX)
            && faccessat(dirfd(d), e->d_name, F_OK, 0) == 0)
            status = add_name(l, e->d_name, dir, err);
    if (status >= 0 && errno) status = vio_fail_errno(err, dir, "read", errno);
    closedir(d);
    if (l->n) qsort(l->names, l->n, sizeof *l->names, compare_names);
    return status;
}

/* Holds an index whose files are all there against them. A tensor that lies in another of them than
 * the index says is found all the same; one that is in none makes the checkpoint another than the
 * index describes. */
static vlm_status check_index(const choice *c, const vio_tensors *t, const vcore_json *weight_map,
                              bool lenient) {
    vcore_str moved = { 0 }, absent = { 0 }, file;
    size_t n_moved = 0, n_absent = 0;
    vcore_json_iter it = { 0 };
    while (vcore_json_next(weight_map, &it)) {
        const vio_tensor *found = vio_tensors_find(t, it.key.p);
        vcore_json_string(it.value, &file);
        if (!found || strlen(it.key.p) != it.key.n) {
            if (!n_absent++) absent = it.key;
        } else if (strcmp(strrchr(found->file, '/') + 1, file.p) != 0) {
            if (!n_moved++) moved = it.key;
        }
    }
    if (n_moved)
        vcore_log_line(c->log, VLM_LOG_WARNING,
                       "%s/" INDEX_NAME ": stale: tensor '%s' lies in another file than it says "
                       "(%zu such)",
                       c->dir, moved.p, n_moved);
    if (!n_absent) return VLM_OK;
    vcore_json_string(vcore_json_get(weight_map, absent.p), &file);
    if (!lenient)
        return fail_index(c, absent.p, "tensor '%.120s' is not in %s (%zu such)", absent.p, file.p,
                          n_absent);
    vcore_log_line(c->log, VLM_LOG_WARNING,
                   "%s/" INDEX_NAME ": tensor '%s' is not in %s (%zu such)", c->dir, absent.p,
                   file.p, n_absent);
    return VLM_OK;
}

/* NULL in *doc: there is no index. */
static vlm_status read_index(vcore_json_doc **doc, const char *dir, const vio_source *from,
                             vlm_error *err) {
    vio_bytes text = { 0 };
    char *path = vio_join(dir, INDEX_NAME);
    *doc = NULL;
    if (!path) return vcore_no_memory(err, dir);
    vlm_status status = vio_read_text_optional(&text, path, from->limits.index_bytes, from, err);
    if (status >= 0 && text.p) status = vcore_json_parse(doc, text.p, text.n, path, err);
    vcore_free(text.p);
    vcore_free(path);
    return status;
}

static vlm_status open_selected(vio_tensors **out, choice *c, const vcore_json *index,
                                const vio_source *from) {
    VTRY(vio_select_weights(c->out, c->arena, c->dir, index, c->names, c->n, c->log, c->err));
    if (!c->out->indexed && c->out->missing)
        vcore_log_line(c->log, VLM_LOG_WARNING, "%s: reading %s%s instead", c->dir,
                       c->out->names[0], c->out->n > 1 ? " and more" : "");
    VTRY(vio_tensors_open_files(out, c->dir, c->out, from, c->err));
    if (!c->out->indexed) return VLM_OK;
    vlm_status status = check_index(c, *out, vcore_json_get(index, "weight_map"), from->lenient);
    if (status < 0) {
        vio_tensors_close(*out);
        *out = NULL;
    }
    return status;
}

vlm_status vio_tensors_open_dir(vio_tensors **out, const char *dir, const vio_source *from,
                                vlm_error *err) {
    vio_source source = from ? *from : vio_source_of(NULL);
    vio_selection selection;
    vcore_json_doc *index = NULL;
    listing files = { .arena = vcore_arena_new() };
    *out = NULL;
    if (!files.arena) return vcore_no_memory(err, dir);
    vlm_status status = read_index(&index, dir, &source, err);
    if (status >= 0) status = list_dir(&files, dir, &source, err);
    choice c = { &selection, files.arena, dir, files.names, files.n, &source.log, err };
    if (status >= 0)
        status = open_selected(out, &c, index ? vcore_json_root(index) : NULL, &source);
    vcore_json_free(index);
    vcore_free(files.names);
    vcore_arena_free(files.arena);
    return status;
}
