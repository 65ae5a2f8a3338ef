/* SPDX-License-Identifier: MIT */
/* The two public functions: look into the cache; ask the hub what a revision is and bring what is
 * missing. Small files come first and weights last, so that whatever stops a pull, a snapshot with
 * its weights is a whole one. Owns the order of steps; how they are done is said in the other
 * files. */
#include "io/hub/hub.h"

#include <stdlib.h>

/* ---- looking into the cache --------------------------------------------------------------- */

static vlm_status find(char **out, const vio_hub_cache *cache, const vlm_hub_options *o,
                       vlm_error *err) {
    char commit[VIO_HUB_HASH];
    VTRY(vio_hub_cache_commit(cache, o->revision, commit, err));
    VTRY(vio_hub_cache_complete(cache, commit, o->without_weights, o->limits, err));
    *out = vio_hub_cache_path(cache, "snapshots", commit, NULL);
    return *out ? VLM_OK : vcore_no_memory(err, cache->id);
}

static vlm_status check_call(char **snapshot_dir, const char *id, const vlm_hub_options *given,
                             vlm_hub_options *o, vlm_error *err) {
    if (!snapshot_dir) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_hub: snapshot_dir is NULL");
    *snapshot_dir = NULL;
    if (!vlm_hub_is_id(id))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "'%s': not a hub id (org/name)", id ? id : "");
    return vio_hub_options_of(o, given, err);
}

vlm_status vlm_hub_find(char **snapshot_dir, const char *id, const vlm_hub_options *options,
                        vlm_error *err) {
    vlm_hub_options o;
    vio_hub_cache cache;
    VTRY(check_call(snapshot_dir, id, options, &o, err));
    VTRY(vio_hub_cache_open(&cache, o.cache_dir, id, err));
    vlm_status status = find(snapshot_dir, &cache, &o, err);
    vio_hub_cache_close(&cache);
    return status;
}

/* ---- the list of files -------------------------------------------------------------------- */

static vlm_status add_text(void *user, const char *p, size_t n, vlm_error *err) {
    vcore_buf *text = user;
    vcore_buf_add(text, p, n);
    return text->failed ? vcore_no_memory(err, "hub") : VLM_OK;
}

static vlm_status drop_text(void *user, vlm_error *err) {
    (void)err;
    vcore_buf_free(user);
    return VLM_OK;
}

static vlm_status run(vio_hub_pull *p, vio_hub_transfer *t, vlm_error *err) {
    vlm_status status = vio_hub_transfer_start(p->http, t, err);
    while (status >= 0 && !t->finished) {
        status = vio_hub_http_step(p->http, 100, err);
        if (status >= 0) status = vio_hub_report(p, err);
    }
    vio_hub_transfer_end(p->http, t);
    if (status >= 0 && t->status < 0 && err) *err = t->err;
    return status < 0 ? status : t->status;
}

static vlm_status list(vio_hub_pull *p, int retries, vlm_error *err) {
    vcore_buf url = { 0 }, what = { 0 }, text = { 0 };
    vcore_buf_printf(&url, "%s/api/models/%s/revision/", vio_hub_http_endpoint(p->http), p->id);
    vio_hub_quote(&url, p->o.revision, "");
    vcore_buf_puts(&url, "?blobs=true");
    vcore_buf_printf(&what, "%s (revision %s)", p->id, p->o.revision);
    if (url.failed || what.failed) {
        vcore_buf_free(&url);
        vcore_buf_free(&what);
        return vcore_no_memory(err, p->id);
    }
    vio_hub_transfer t = { .url = url.p,
                           .what = what.p,
                           .retries = retries,
                           .size = UINT64_MAX,
                           .max = p->o.listing_bytes,
                           .write = add_text,
                           .restart = drop_text,
                           .user = &text };
    vlm_status status = run(p, &t, err);
    if (status >= 0)
        status = vio_hub_listing_parse(&p->listing, text.p ? text.p : "", text.n,
                                       p->o.listing_files, what.p, err);
    if (status >= 0 && vio_hub_is_commit(vcore_str_of(p->o.revision))
        && strcmp(p->o.revision, p->listing.commit) != 0)
        status = vcore_fail(err, VLM_ERR_FORMAT, "%s: the hub answers with another commit, %.12s",
                            what.p, p->listing.commit);
    vcore_buf_free(&url);
    vcore_buf_free(&what);
    vcore_buf_free(&text);
    return status;
}

/* ---- which files -------------------------------------------------------------------------- */

/* The files of a role, in the list's order; allocated in its arena. */
static vlm_status files_of(vio_hub_file ***out, size_t *n, const vio_hub_listing *l,
                           vio_hub_role first, vio_hub_role last, vlm_error *err) {
    vio_hub_file **files = vcore_arena_array(l->arena, l->n + 1, sizeof *files);
    if (!files) return vcore_no_memory(err, "hub");
    *n = 0;
    for (size_t i = 0; i < l->n; i++) {
        vio_hub_role role = vio_hub_role_of(l->files[i].name);
        if (role >= first && role <= last) files[(*n)++] = &l->files[i];
    }
    *out = files;
    return VLM_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(vio_hub_file *const *)a)->name, (*(vio_hub_file *const *)b)->name);
}

/* Keeps of n candidates those to fetch; index: path of the index, which has arrived; NULL: none. */
static vlm_status choose(vio_hub_pull *p, vio_hub_file **files, size_t *n, const char *index,
                         vlm_error *err) {
    vio_selection chosen;
    size_t kept = 0;
    if (*n > VIO_HUB_MAX_WEIGHTS)
        return vcore_fail_at(err, VLM_ERR_LIMIT, (vcore_where) { .limit = VIO_HUB_MAX_WEIGHTS },
                             "%s: %zu safetensors files, more than the limit of %d", p->id, *n,
                             VIO_HUB_MAX_WEIGHTS);
    const char **names = vcore_arena_array(p->listing.arena, *n + 1, sizeof *names);
    if (!names) return vcore_no_memory(err, p->id);
    qsort(files, *n, sizeof *files, by_name);
    for (size_t i = 0; i < *n; i++) names[i] = files[i]->name;
    VTRY(vio_hub_choose_weights(&chosen, p->listing.arena, p->id, index, names, *n, p->o.limits,
                                &p->log, err));
    for (size_t i = 0; i < *n && kept < chosen.n; i++) /* both are sorted */
        if (strcmp(files[i]->name, chosen.names[kept]) == 0) files[kept++] = files[i];
    *n = kept;
    return VLM_OK;
}

static vlm_status add_sizes(vio_hub_pull *p, vio_hub_file *const *files, size_t n, vlm_error *err) {
    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(p->progress.size, files[i]->size, &p->progress.size))
            return vcore_fail(err, VLM_ERR_FORMAT, "%s: sizes that cannot be", p->id);
    p->progress.files += n;
    return VLM_OK;
}

/* ---- the steps of a pull ------------------------------------------------------------------ */

static bool has_index(vio_hub_file *const *files, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (vio_hub_role_of(files[i]->name) == VIO_HUB_INDEX) return true;
    return false;
}

static vlm_status fetch_weights(vio_hub_pull *p, bool indexed, vlm_error *err) {
    vio_hub_file **files = NULL;
    char *index = NULL;
    size_t n = 0;
    VTRY(files_of(&files, &n, &p->listing, VIO_HUB_WEIGHTS, VIO_HUB_WEIGHTS, err));
    if (indexed
        && !(index = vio_hub_cache_path(&p->cache, "snapshots", p->listing.commit,
                                        "model.safetensors.index.json")))
        return vcore_no_memory(err, p->id);
    vlm_status status = choose(p, files, &n, index, err);
    vcore_free(index);
    VTRY(status);
    VTRY(add_sizes(p, files, n, err));
    VTRY(vio_hub_reserve(p, files, n, err));
    return vio_hub_fetch(p, files, n, err);
}

/* A repository that cannot be a checkpoint is refused before a byte of it is fetched. */
static vlm_status check_listing(vio_hub_pull *p, vlm_error *err) {
    bool config = false, weights = p->o.without_weights;
    for (size_t i = 0; i < p->listing.n; i++) {
        config |= strcmp(p->listing.files[i].name, "config.json") == 0;
        weights |= vio_hub_role_of(p->listing.files[i].name) == VIO_HUB_WEIGHTS;
    }
    if (!config)
        return vcore_fail(err, VLM_ERR_NOT_FOUND, "%s: no config.json in the repository", p->id);
    if (!weights)
        return vcore_fail(err, VLM_ERR_NOT_FOUND, "%s: no safetensors weights in the repository",
                          p->id);
    return VLM_OK;
}

/* A revision new to the cache is written down at once, so that what is missing can be named; one
 * that is known keeps its old snapshot until the new one is whole. */
static vlm_status fetch_all(vio_hub_pull *p, vlm_error *err) {
    vio_hub_file **files = NULL;
    size_t n = 0;
    char known[VIO_HUB_HASH];
    VTRY(check_listing(p, err));
    VTRY(files_of(&files, &n, &p->listing, VIO_HUB_SMALL, VIO_HUB_INDEX, err));
    VTRY(vio_hub_cache_make(&p->cache, err));
    if (vio_hub_cache_commit(&p->cache, p->o.revision, known, NULL) < 0)
        VTRY(vio_hub_cache_set_commit(&p->cache, p->o.revision, p->listing.commit, err));
    VTRY(add_sizes(p, files, n, err));
    VTRY(vio_hub_reserve(p, files, n, err));
    VTRY(vio_hub_fetch(p, files, n, err));
    if (!p->o.without_weights) VTRY(fetch_weights(p, has_index(files, n), err));
    return vio_hub_cache_set_commit(&p->cache, p->o.revision, p->listing.commit, err);
}

static vlm_status pull_online(char **out, vio_hub_pull *p, vlm_error *err) {
    char *cached = NULL;
    vlm_error why = VLM_ERROR_INIT;
    find(&cached, &p->cache, &p->o, NULL);
    vlm_status status = list(p, cached ? 0 : p->o.retries, &why);
    if (status == VLM_ERR_NETWORK && cached) {
        vcore_log_line(&p->log, VLM_LOG_WARNING, "%s; using the snapshot in the cache",
                       why.message);
        *out = cached;
        return VLM_OK;
    }
    vcore_free(cached);
    if (status < 0) {
        if (err) *err = why;
        return status;
    }
    VTRY(fetch_all(p, err));
    *out = vio_hub_cache_path(&p->cache, "snapshots", p->listing.commit, NULL);
    return *out ? VLM_OK : vcore_no_memory(err, p->id);
}

vlm_status vlm_hub_pull(char **snapshot_dir, const char *id, const vlm_hub_options *options,
                        vlm_error *err) {
    vio_hub_pull p = { .id = id };
    VTRY(check_call(snapshot_dir, id, options, &p.o, err));
    p.log = (vcore_log) { p.o.log, p.o.log_user };
    VTRY(vio_hub_cache_open(&p.cache, p.o.cache_dir, id, err));
    vlm_status status;
    if (p.o.offline) {
        status = find(snapshot_dir, &p.cache, &p.o, err);
        vcore_context(err, status, "offline");
    } else {
        status = vio_hub_http_open(&p.http, &p.o, err);
        if (status >= 0) status = pull_online(snapshot_dir, &p, err);
    }
    vio_hub_http_close(p.http);
    if (p.listing.arena) vio_hub_listing_free(&p.listing);
    vio_hub_cache_close(&p.cache);
    return status;
}
