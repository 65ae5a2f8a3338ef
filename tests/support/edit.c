/* SPDX-License-Identifier: MIT */
/* See edit.h. Files are read whole, changed in memory and written in place of what was there. */
#include "support/edit.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/checkpoint.h"

/* Stands for the verbatim text until the document is written. */
#define MARK "@here@"

static bool complain(const char *file, const char *what) {
    fprintf(stderr, "edit: %s: %s\n", file, what);
    return false;
}

static void *allocate(size_t n) {
    void *memory = calloc(n ? n : 1, 1);
    if (!memory) abort();
    return memory;
}

/* Files. */

char *tedit_read(const char *dir, const char *name, size_t *n) {
    char *path = tcheckpoint_path(dir, name), *bytes = NULL;
    FILE *file = fopen(path, "rb");
    if (file && fseek(file, 0, SEEK_END) == 0) {
        *n = (size_t)ftell(file);
        rewind(file);
        bytes = allocate(*n + 1);
        if (fread(bytes, 1, *n, file) != *n) *n = 0;
    } else {
        complain(path, strerror(errno));
    }
    if (file) fclose(file);
    free(path);
    return bytes;
}

bool tedit_write(const char *dir, const char *name, const void *bytes, size_t n) {
    char *path = tcheckpoint_path(dir, name);
    unlink(path); /* what was there may be a link */
    FILE *file = fopen(path, "wb");
    bool ok = file && fwrite(bytes, 1, n, file) == n;
    if (file && fclose(file) != 0) ok = false;
    if (!ok) complain(path, strerror(errno));
    free(path);
    return ok;
}

static bool write_owned(const char *dir, const char *name, char *bytes, size_t n) {
    bool ok = bytes && tedit_write(dir, name, bytes, n);
    free(bytes);
    return ok;
}

/* The bytes with the first `from` replaced; owned, NULL when it is not there. */
static char *replaced(const char *bytes, size_t *n, const char *from, const char *to) {
    size_t m = strlen(from), k = strlen(to);
    const char *at = memmem(bytes, *n, from, m);
    if (!at) return NULL;
    size_t before = (size_t)(at - bytes), behind = *n - before - m;
    char *out = allocate(before + k + behind + 1);
    memcpy(out, bytes, before);
    memcpy(out + before, to, k);
    memcpy(out + before + k, at + m, behind);
    *n = before + k + behind;
    return out;
}

static bool replace(const char *dir, const tedit *e) {
    size_t n;
    char *bytes = tedit_read(dir, e->file, &n);
    char *out = bytes ? replaced(bytes, &n, e->at, e->to) : NULL;
    if (!out) complain(e->file, e->at);
    free(bytes);
    return write_owned(dir, e->file, out, n);
}

static bool repeat(const char *dir, const tedit *e) {
    size_t m = strlen(e->at), count = (size_t)e->n;
    char *out = allocate(m * count);
    for (size_t i = 0; i < count; i++) memcpy(out + i * m, e->at, m);
    return write_owned(dir, e->file, out, m * count);
}

static bool copy(const char *dir, const tedit *e) {
    size_t n;
    char *bytes = tedit_read(dir, e->file, &n);
    return write_owned(dir, e->to, bytes, n);
}

static bool grow(const char *path, int64_t by) {
    struct stat st;
    return stat(path, &st) == 0 && truncate(path, st.st_size + by) == 0;
}

/* JSON. */

static json_object *child(json_object *parent, const char *key) {
    if (json_object_is_type(parent, json_type_array))
        return json_object_array_get_idx(parent, (size_t)atoi(key));
    return json_object_object_get(parent, key);
}

static bool put(json_object *parent, const char *key, json_object *value) {
    if (json_object_is_type(parent, json_type_array))
        return json_object_array_put_idx(parent, (size_t)atoi(key), value) == 0;
    return json_object_is_type(parent, json_type_object) &&
           json_object_object_add(parent, key, value) == 0;
}

static bool take_out(json_object *parent, const char *key) {
    if (!child(parent, key) && !json_object_object_get_ex(parent, key, NULL)) return false;
    if (json_object_is_type(parent, json_type_array))
        return json_object_array_del_idx(parent, (size_t)atoi(key), 1) == 0;
    json_object_object_del(parent, key);
    return true;
}

/* Puts the mark at path, or takes out what is there. */
static bool mark(json_object *root, const char *path, bool remove) {
    char *keys = strdup(path), *rest = keys;
    json_object *at = root;
    bool ok = true;
    for (char *key = strsep(&rest, "/"); ok && key; key = strsep(&rest, "/")) {
        json_object *next = child(at, key);
        if (!rest)
            ok = remove ? take_out(at, key) : put(at, key, json_object_new_string(MARK));
        else if (!json_object_is_type(next, json_type_object) && !json_object_is_type(next, json_type_array))
            ok = put(at, key, next = json_object_new_object());
        at = next;
    }
    free(keys);
    return ok;
}

char *tedit_set(const char *text, const char *path, const char *json) {
    int flags = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE;
    json_object *root = json_tokener_parse(text);
    char *out = NULL;
    if (root && mark(root, path, !json)) {
        const char *marked = json_object_to_json_string_ext(root, flags);
        size_t n = strlen(marked);
        out = json ? replaced(marked, &n, "\"" MARK "\"", json) : strdup(marked);
    }
    json_object_put(root);
    if (!out) complain(path, "cannot be set");
    return out;
}

static bool set(const char *dir, const tedit *e) {
    size_t n;
    char *text = tedit_read(dir, e->file, &n);
    char *out = text ? tedit_set(text, e->at, e->to) : NULL;
    free(text);
    return write_owned(dir, e->file, out, out ? strlen(out) : 0);
}

/* Safetensors. */

typedef struct {
    char *bytes; /* of the whole file, owned */
    char *text;  /* of the header, owned */
    const char *data;
    size_t data_bytes;
} parts;

static bool open_parts(parts *p, const char *dir, const char *name) {
    size_t n;
    uint64_t header;
    *p = (parts) { .bytes = tedit_read(dir, name, &n) };
    if (!p->bytes || n < 8) return false;
    memcpy(&header, p->bytes, 8);
    if (header > n - 8) return false;
    p->text = strndup(p->bytes + 8, header);
    p->data = p->bytes + 8 + header;
    p->data_bytes = n - 8 - header;
    return true;
}

static void close_parts(parts *p) {
    free(p->bytes);
    free(p->text);
}

static bool write_parts(const char *dir, const char *name, const char *text, uint64_t length,
                        const void *data, size_t data_bytes) {
    char *out = allocate(8 + length + data_bytes);
    memcpy(out, &length, 8);
    memcpy(out + 8, text, length);
    if (data_bytes) memcpy(out + 8 + length, data, data_bytes);
    return write_owned(dir, name, out, 8 + length + data_bytes);
}

/* The header's text padded with spaces, as writers do so that the data is aligned. */
static bool write_padded(const char *dir, const char *name, const char *text, const void *data,
                         size_t data_bytes) {
    size_t n = strlen(text), padded = (n + 7) & ~(size_t)7;
    char *header = allocate(padded);
    memset(header, ' ', padded);
    memcpy(header, text, n);
    bool ok = write_parts(dir, name, header, padded, data, data_bytes);
    free(header);
    return ok;
}

static bool set_header(const char *dir, const tedit *e) {
    parts p;
    bool ok = open_parts(&p, dir, e->file);
    char *text = ok ? tedit_set(p.text, e->at, e->to) : NULL;
    ok = text && write_padded(dir, e->file, text, p.data, p.data_bytes);
    free(text);
    close_parts(&p);
    return ok;
}

static bool set_header_text(const char *dir, const tedit *e) {
    parts p;
    bool ok = open_parts(&p, dir, e->file) &&
              write_parts(dir, e->file, e->at, (uint64_t)e->n, p.data, p.data_bytes);
    close_parts(&p);
    return ok;
}

static bool set_header_length(const char *dir, const tedit *e) {
    size_t n;
    uint64_t length = (uint64_t)e->n;
    char *bytes = tedit_read(dir, e->file, &n);
    if (bytes) memcpy(bytes, &length, 8);
    return write_owned(dir, e->file, bytes, n);
}

/* A new header's entry and its bytes, "U32 64 8". */
static json_object *new_entry(const char *type, size_t *bytes) {
    static const struct { const char *name; size_t size; } sizes[] = {
        { "F64", 8 }, { "F32", 4 }, { "F16", 2 }, { "BF16", 2 }, { "F8_E4M3", 1 }, { "I64", 8 },
        { "I32", 4 }, { "I8", 1 },  { "U32", 4 }, { "U16", 2 },  { "U8", 1 },      { "BOOL", 1 },
    };
    char *words = strdup(type), *rest = words, *dtype = strsep(&rest, " ");
    json_object *entry = json_object_new_object(), *shape = json_object_new_array();
    *bytes = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!strcmp(sizes[i].name, dtype)) *bytes = sizes[i].size;
    json_object_object_add(entry, "dtype", json_object_new_string(dtype));
    for (char *dim = strsep(&rest, " "); dim; dim = strsep(&rest, " ")) {
        *bytes *= (size_t)atol(dim);
        json_object_array_add(shape, json_object_new_int64(atol(dim)));
    }
    json_object_object_add(entry, "shape", shape);
    free(words);
    return entry;
}

/* A file being laid out anew. */
typedef struct {
    json_object *header;
    char *data;
    size_t n;
} layout;

/* Takes the entry over; data NULL: the byte `fill` again and again. */
static void lay(layout *to, const char *name, json_object *entry, const char *data, size_t bytes, int fill) {
    json_object *offsets = json_object_new_array();
    json_object_array_add(offsets, json_object_new_int64((int64_t)to->n));
    to->data = realloc(to->data, to->n + bytes + 1);
    if (!to->data) abort();
    if (data)
        memcpy(to->data + to->n, data, bytes);
    else
        memset(to->data + to->n, fill, bytes);
    to->n += bytes;
    json_object_array_add(offsets, json_object_new_int64((int64_t)to->n));
    json_object_object_add(entry, "data_offsets", offsets);
    json_object_object_add(to->header, name, entry);
}

static int64_t offset(json_object *entry, size_t i) {
    return json_object_get_int64(json_object_array_get_idx(json_object_object_get(entry, "data_offsets"), i));
}

/* Every tensor but one, in the order of the header, which is that of the data; then the new one. */
static void lay_all(layout *to, const parts *p, json_object *header, const tedit *e, bool *found) {
    json_object_object_foreach(header, name, entry) {
        bool this = !strcmp(name, e->at);
        *found |= this;
        if (this && e->kind == TEDIT_TENSOR) continue;
        json_object *copy = NULL;
        json_object_deep_copy(entry, &copy, NULL);
        if (!strcmp(name, "__metadata__"))
            json_object_object_add(to->header, name, copy);
        else
            lay(to, this ? e->to : name, copy, p->data + offset(entry, 0),
                (size_t)(offset(entry, 1) - offset(entry, 0)), 0);
    }
    if (e->kind != TEDIT_TENSOR || !e->to) return;
    size_t bytes;
    json_object *added = new_entry(e->to, &bytes);
    lay(to, e->at, added, NULL, bytes, (int)e->n);
}

static bool set_tensor(const char *dir, const tedit *e) {
    parts p;
    bool ok = open_parts(&p, dir, e->file), found = false;
    json_object *header = ok ? json_tokener_parse(p.text) : NULL;
    layout to = { .header = json_object_new_object() };
    if (header) lay_all(&to, &p, header, e, &found);
    ok = header && (found || (e->kind == TEDIT_TENSOR && e->to));
    if (!ok) complain(e->file, e->at);
    const char *text = json_object_to_json_string_ext(
        to.header, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    ok = ok && write_padded(dir, e->file, text, to.data, to.n);
    json_object_put(to.header);
    json_object_put(header);
    free(to.data);
    close_parts(&p);
    return ok;
}

/* All of them. */

static bool apply_to_path(const char *dir, const char *path, const tedit *e) {
    if (e->kind == TEDIT_GROW) return grow(path, e->n);
    if (e->kind == TEDIT_MOVE) {
        char *to = tcheckpoint_path(dir, e->to);
        bool ok = rename(path, to) == 0;
        free(to);
        return ok;
    }
    bool there = unlink(path) == 0;
    switch (e->kind) {
    case TEDIT_FIFO: return mkfifo(path, 0600) == 0;
    case TEDIT_DIRECTORY: return mkdir(path, 0700) == 0;
    case TEDIT_LINK: return symlink(e->to, path) == 0;
    default: return there;
    }
}

static bool apply(const char *dir, const tedit *e) {
    switch (e->kind) {
    case TEDIT_WRITE: return tedit_write(dir, e->file, e->at, (size_t)e->n);
    case TEDIT_REPEAT: return repeat(dir, e);
    case TEDIT_REPLACE: return replace(dir, e);
    case TEDIT_SET: return set(dir, e);
    case TEDIT_COPY: return copy(dir, e);
    case TEDIT_HEADER: return set_header(dir, e);
    case TEDIT_HEADER_TEXT: return set_header_text(dir, e);
    case TEDIT_HEADER_LENGTH: return set_header_length(dir, e);
    case TEDIT_TENSOR:
    case TEDIT_RENAME: return set_tensor(dir, e);
    default: break;
    }
    char *path = tcheckpoint_path(dir, e->file);
    bool ok = apply_to_path(dir, path, e);
    free(path);
    return ok || complain(e->file, strerror(errno));
}

bool tedit_apply(const char *dir, const tedit *edits, size_t n) {
    for (size_t i = 0; i < n && edits[i].kind != TEDIT_NONE; i++)
        if (!apply(dir, &edits[i])) return false;
    return true;
}
