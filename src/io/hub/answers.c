/* SPDX-License-Identifier: MIT */
/* What the hub answers: the list of a repository's files, the headers beside a body, refusals. Pure
 * functions over untrusted bytes; nothing here is believed about a file but its name, size and
 * hash, and each of these is checked for its form. */
#include "io/hub/hub.h"

#include <strings.h>

/* ---- listing ------------------------------------------------------------------------------ */

/* A hash of so many digits, or "". */
static void take_hash(char *out, const vcore_json *v, size_t digits) {
    vcore_str s = { "", 0 };
    bool good = vcore_json_string(v, &s) && s.n == digits && vio_hub_is_commit(s);
    memcpy(out, s.p, good ? s.n : 0);
    out[good ? s.n : 0] = 0;
}

/* {"rfilename": ..., "size": ..., "blobId": ..., "lfs": {"sha256": ..., "size": ...}}; all but the
 * name may be absent. */
static vlm_status take_file(vio_hub_file *f, vcore_arena *arena, const vcore_json *v,
                            const char *name, vlm_error *err) {
    vcore_str text = { "", 0 };
    if (!vcore_json_string(vcore_json_get(v, "rfilename"), &text))
        return vcore_fail(err, VLM_ERR_FORMAT, "%s: a file without rfilename", name);
    if (!vio_hub_is_file_name(text))
        return vcore_fail_at(err, VLM_ERR_FORMAT, (vcore_where) { .field = "rfilename" },
                             "%s: '%.*s' is not the name of a file in a repository", name,
                             (int)(text.n < 200 ? text.n : 200), text.p);
    f->name = vcore_arena_strndup(arena, text.p, text.n);
    if (!f->name) return vcore_no_memory(err, name);
    const vcore_json *lfs = vcore_json_get(v, "lfs");
    int64_t size = -1;
    if (vcore_json_kind_of(lfs) == VCORE_JSON_OBJECT) {
        take_hash(f->etag, vcore_json_get(lfs, "sha256"), 64);
        vcore_json_int(vcore_json_get(lfs, "size"), &size);
    } else {
        take_hash(f->etag, vcore_json_get(v, "blobId"), 40);
    }
    if (size < 0) vcore_json_int(vcore_json_get(v, "size"), &size);
    f->has_size = size >= 0;
    f->size = size >= 0 ? (uint64_t)size : 0;
    return VLM_OK;
}

static vlm_status take_files(vio_hub_listing *l, const vcore_json *siblings, const char *name,
                             vlm_error *err) {
    vcore_map *seen = vcore_map_new(l->n);
    uint32_t other;
    vlm_status status = seen ? VLM_OK : vcore_no_memory(err, name);
    for (size_t i = 0; status >= 0 && i < l->n; i++) {
        vio_hub_file *f = &l->files[i];
        status = take_file(f, l->arena, vcore_json_at(siblings, i), name, err);
        if (status < 0) break;
        if (vcore_map_get(seen, vcore_str_of(f->name), &other))
            status = vcore_fail(err, VLM_ERR_FORMAT, "%s: '%s' is listed twice", name, f->name);
        else if (!vcore_map_put(seen, vcore_str_of(f->name), (uint32_t)i))
            status = vcore_no_memory(err, name);
    }
    vcore_map_free(seen);
    return status;
}

static vlm_status read_listing(vio_hub_listing *l, const vcore_json *root, size_t max_files,
                               const char *name, vlm_error *err) {
    const vcore_json *siblings = vcore_json_get(root, "siblings");
    vcore_str sha = { "", 0 };
    if (!vcore_json_string(vcore_json_get(root, "sha"), &sha) || !vio_hub_is_commit(sha))
        return vcore_fail_at(err, VLM_ERR_FORMAT, (vcore_where) { .field = "sha" },
                             "%s: the answer names no commit ('sha')", name);
    if (vcore_json_kind_of(siblings) != VCORE_JSON_ARRAY)
        return vcore_fail_at(err, VLM_ERR_FORMAT, (vcore_where) { .field = "siblings" },
                             "%s: the answer lists no files ('siblings')", name);
    memcpy(l->commit, sha.p, sha.n);
    l->n = vcore_json_count(siblings);
    if (l->n > max_files)
        return vcore_fail_at(err, VLM_ERR_LIMIT, (vcore_where) { .limit = max_files },
                             "%s: %zu files, more than the limit of %zu", name, l->n, max_files);
    l->files = vcore_arena_array(l->arena, l->n + 1, sizeof *l->files);
    if (!l->files) return vcore_no_memory(err, name);
    return take_files(l, siblings, name, err);
}

vlm_status vio_hub_listing_parse(vio_hub_listing *out, const char *text, size_t n, size_t max_files,
                                 const char *name, vlm_error *err) {
    vcore_json_doc *doc;
    *out = (vio_hub_listing) { 0 };
    VTRY(vcore_json_parse(&doc, text, n, name, err));
    out->arena = vcore_arena_new();
    vlm_status status = out->arena ? read_listing(out, vcore_json_root(doc), max_files, name, err)
                                   : vcore_no_memory(err, name);
    vcore_json_free(doc);
    if (status < 0) vio_hub_listing_free(out);
    return status;
}

void vio_hub_listing_free(vio_hub_listing *l) {
    vcore_arena_free(l->arena);
    *l = (vio_hub_listing) { 0 };
}

/* ---- headers ------------------------------------------------------------------------------ */

static void copy(char *out, size_t room, vcore_str s) {
    size_t n = s.n < room ? s.n : 0; /* too long is as if absent */
    memcpy(out, s.p, n);
    out[n] = 0;
}

static bool number(vcore_str s, uint64_t *out) {
    uint64_t value = 0;
    if (s.n == 0 || s.n > 18) return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        value = value * 10 + (uint64_t)(s.p[i] - '0');
    }
    *out = value;
    return true;
}

/* W/"abc" and "abc" as abc. */
static void take_etag(char *out, vcore_str s) {
    if (s.n >= 2 && s.p[0] == 'W' && s.p[1] == '/') s = (vcore_str) { s.p + 2, s.n - 2 };
    if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"') s = (vcore_str) { s.p + 1, s.n - 2 };
    copy(out, VIO_HUB_MAX_ETAG + 1, vio_hub_is_etag(s) ? s : (vcore_str) { "", 0 });
}

/* "bytes 100-999/1000": 100. */
static bool take_range(vcore_str s, uint64_t *start) {
    if (s.n < 6 || strncasecmp(s.p, "bytes ", 6) != 0) return false;
    const char *dash = memchr(s.p, '-', s.n);
    return dash && number((vcore_str) { s.p + 6, (size_t)(dash - s.p) - 6 }, start);
}

static bool is_named(vcore_str name, const char *wanted) {
    return name.n == strlen(wanted) && strncasecmp(name.p, wanted, name.n) == 0;
}

static void take_header(vio_hub_headers *h, vcore_str name, vcore_str value) {
    if (is_named(name, "x-linked-etag")) {
        h->has_linked_etag = true;
        take_etag(h->etag, value);
    } else if (is_named(name, "etag") && !h->has_linked_etag) {
        take_etag(h->etag, value);
    } else if (is_named(name, "x-linked-size")) {
        h->has_linked_size = number(value, &h->linked_size);
    } else if (is_named(name, "content-length")) {
        h->has_content_length = number(value, &h->content_length);
    } else if (is_named(name, "content-range")) {
        h->has_range = take_range(value, &h->range_start);
    } else if (is_named(name, "x-repo-commit")) {
        copy(h->commit, sizeof h->commit, vio_hub_is_commit(value) ? value : (vcore_str) { "", 0 });
    } else if (is_named(name, "x-error-code")) {
        copy(h->error_code, sizeof h->error_code, value);
    } else if (is_named(name, "x-error-message")) {
        copy(h->error_message, sizeof h->error_message, value);
    }
}

static vcore_str trimmed(const char *p, size_t n) {
    while (n && strchr(" \t\r\n", p[n - 1]) && p[n - 1]) n--;
    while (n && (*p == ' ' || *p == '\t')) p++, n--;
    return (vcore_str) { p, n };
}

void vio_hub_headers_line(vio_hub_headers *h, const char *line, size_t n) {
    size_t bytes = h->bytes + n;
    if (n >= 5 && memcmp(line, "HTTP/", 5) == 0) *h = (vio_hub_headers) { 0 };
    h->bytes = bytes;
    const char *colon = memchr(line, ':', n);
    if (!colon) return;
    size_t name = (size_t)(colon - line);
    take_header(h, trimmed(line, name), trimmed(colon + 1, n - name - 1));
}

bool vio_hub_headers_size(const vio_hub_headers *h, bool redirected, uint64_t *size) {
    if (h->has_linked_size) {
        *size = h->linked_size;
        return true;
    }
    *size = h->content_length; /* a redirect's own is of its page */
    return h->has_content_length && !redirected;
}

/* ---- refusals ----------------------------------------------------------------------------- */

vlm_status vio_hub_refused(vlm_error *err, const char *what, long http, bool with_token,
                           const vio_hub_headers *h) {
    const char *token = with_token ? "the token given has no access" : "no token was given";
    if (strcmp(h->error_code, "RevisionNotFound") == 0)
        return vcore_fail(err, VLM_ERR_NO_REVISION, "%s: no such revision (HTTP %ld)", what, http);
    if (strcmp(h->error_code, "EntryNotFound") == 0)
        return vcore_fail(err, VLM_ERR_NOT_FOUND, "%s: no such file on the hub (HTTP %ld)", what,
                          http);
    if (strcmp(h->error_code, "GatedRepo") == 0)
        return vcore_fail(
            err, VLM_ERR_ACCESS,
            "%s: gated: its terms must be accepted on the hub's page of it, and %s (HTTP %ld)",
            what, token, http);
    if (strcmp(h->error_code, "RepoNotFound") == 0)
        return vcore_fail(err, VLM_ERR_NO_REPOSITORY,
                          "%s: no such repository, or a private one, and %s (HTTP %ld)", what,
                          token, http);
    bool said = h->error_message[0] != 0;
    if (http == 401 || http == 403)
        return vcore_fail(err, VLM_ERR_ACCESS, "%s: access refused, and %s (HTTP %ld%s%s)", what,
                          token, http, said ? ": " : "", h->error_message);
    if (http == 404 || http == 410)
        return vcore_fail(err, VLM_ERR_NOT_FOUND, "%s: not found (HTTP %ld%s%s)", what, http,
                          said ? ": " : "", h->error_message);
    return vcore_fail(err, VLM_ERR_NETWORK, "%s: the server answers HTTP %ld%s%s", what, http,
                      said ? ": " : "", h->error_message);
}
