/* SPDX-License-Identifier: MIT */
/* Brings files of a repository into a snapshot. Each file goes its own way through a few states,
 * several at a time: ask (size and etag, where the list did not say), lock its blob, hash what an
 * earlier call left, fetch the rest, check, rename, link. Bytes are on disk before they count, so
 * that whoever is killed loses none. */
#include "io/hub/hub.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HASH_STEP = 4 << 20, STEP_MS = 100, LOCK_MS = 50 };

typedef enum state { NEW, ASKING, LOCKING, HASHING, FETCHING, DONE } state;

typedef struct item {
    vio_hub_pull *pull;
    vio_hub_file *file;
    state state;
    char *url, *what;     /* owned: messages call it "org/name: file" */
    char *blob, *partial; /* owned: paths of the blob and of its beginning */
    int lock, fd;         /* -1: none */
    bool held;            /* somebody else has the lock; asked again from time to time */
    bool resumed;         /* an earlier call's bytes are in it */
    uint64_t hashed;      /* of them, hashed so far */
    vio_hub_digest digest;
    vio_hub_transfer transfer;
} item;

/* ---- progress ----------------------------------------------------------------------------- */

vlm_status vio_hub_report(vio_hub_pull *p, vlm_error *err) {
    if (!p->o.progress || !p->o.progress(p->o.progress_user, &p->progress)) return VLM_OK;
    return vcore_fail(err, VLM_ERR_CANCELLED, "%s: cancelled", p->id);
}

static void show(item *it, uint64_t bytes) {
    vlm_hub_progress *g = &it->pull->progress;
    g->file = it->file->name;
    g->file_bytes = bytes;
    g->file_size = it->file->size;
}

/* ---- room ---------------------------------------------------------------------------------- */

vlm_status vio_hub_reserve(vio_hub_pull *p, vio_hub_file *const *files, size_t n, vlm_error *err) {
    uint64_t needed = 0, room = vio_hub_cache_free_bytes(&p->cache);
    for (size_t i = 0; i < n; i++) {
        uint64_t there = vio_hub_cache_has(&p->cache, files[i]->etag, files[i]->size);
        if (__builtin_add_overflow(needed, files[i]->size - there, &needed)) needed = UINT64_MAX;
    }
    if (__builtin_add_overflow(p->needed, needed, &p->needed)) p->needed = UINT64_MAX;
    if (p->o.total_bytes && p->needed > p->o.total_bytes)
        return vcore_fail_at(err, VLM_ERR_LIMIT, (vcore_where) { .limit = p->o.total_bytes },
                             "%s: %llu bytes to fetch, more than the limit of %llu", p->id,
                             (unsigned long long)p->needed, (unsigned long long)p->o.total_bytes);
    if (needed > room)
        return vcore_fail_at(err, VLM_ERR_IO, (vcore_where) { .file = p->cache.root },
                             "%s: %llu bytes to fetch, but only %llu free in %s", p->id,
                             (unsigned long long)needed, (unsigned long long)room, p->cache.base);
    return VLM_OK;
}

/* ---- the sink of a transfer --------------------------------------------------------------- */

static vlm_status write_bytes(void *user, const char *p, size_t n, vlm_error *err) {
    item *it = user;
    VTRY(vio_hub_digest_add(&it->digest, p, n, err));
    for (size_t done = 0; done < n;) {
        ssize_t written = write(it->fd, p + done, n - done);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0)
            return vio_fail_errno(err, it->partial, "write", written ? errno : ENOSPC);
        done += (size_t)written;
    }
    it->pull->progress.bytes += n;
    it->pull->progress.received += n;
    show(it, it->transfer.have + n);
    return VLM_OK;
}

/* Forgets what is there. */
static vlm_status restart(void *user, vlm_error *err) {
    item *it = user;
    it->pull->progress.bytes -= it->transfer.have;
    it->resumed = false;
    if (ftruncate(it->fd, 0) != 0 || lseek(it->fd, 0, SEEK_SET) != 0)
        return vio_fail_errno(err, it->partial, "truncate", errno);
    vio_hub_digest_free(&it->digest);
    return vio_hub_digest_start(&it->digest, it->file->etag, it->file->size, err);
}

/* ---- states ------------------------------------------------------------------------------- */

static void drop(item *it) {
    vio_hub_transfer_end(it->pull->http, &it->transfer);
    vio_hub_digest_free(&it->digest);
    if (it->fd >= 0) close(it->fd);
    if (it->lock >= 0) close(it->lock); /* which gives it free */
    it->fd = it->lock = -1;
    vcore_free(it->url);
    vcore_free(it->what);
    vcore_free(it->blob);
    vcore_free(it->partial);
    it->url = it->what = it->blob = it->partial = NULL;
}

/* bytes: of it that progress did not count yet. */
static vlm_status complete(item *it, uint64_t bytes, vlm_error *err) {
    vio_hub_pull *p = it->pull;
    it->state = DONE;
    p->progress.bytes += bytes;
    p->progress.files_done++;
    show(it, it->file->size);
    drop(it);
    return vio_hub_report(p, err);
}

static bool in_snapshot(const item *it) {
    char *path =
        vio_hub_cache_path(&it->pull->cache, "snapshots", it->pull->listing.commit, it->file->name);
    bool there = path && vio_hub_is_file(path, it->file->has_size ? it->file->size : UINT64_MAX);
    vcore_free(path);
    return there;
}

static vlm_status make_url(item *it, vlm_error *err) {
    const vio_hub_pull *p = it->pull;
    vcore_buf url = { 0 }, what = { 0 };
    vcore_buf_printf(&url, "%s/%s/resolve/%s/", vio_hub_http_endpoint(p->http), p->id,
                     p->listing.commit);
    vio_hub_quote(&url, it->file->name, "/");
    vcore_buf_printf(&what, "%s: %s", p->id, it->file->name);
    it->url = vcore_buf_take(&url);
    it->what = vcore_buf_take(&what);
    return it->url && it->what ? VLM_OK : vcore_no_memory(err, it->file->name);
}

static vlm_status start_transfer(item *it, bool head, vlm_error *err) {
    it->transfer = (vio_hub_transfer) {
        .url = it->url,
        .what = it->what,
        .head = head,
        .retries = it->pull->o.retries,
        .have = head ? 0 : it->hashed,
        .size = it->file->size,
        .max = UINT64_MAX,
        .write = write_bytes,
        .restart = restart,
        .user = it,
    };
    return vio_hub_transfer_start(it->pull->http, &it->transfer, err);
}

/* Where the list lacks them: etag and size from the answer to a HEAD. */
static vlm_status take_answer(item *it, vlm_error *err) {
    const vio_hub_headers *h = &it->transfer.headers;
    bool redirected = it->transfer.http >= 300;
    if (!it->file->has_size)
        it->file->has_size = vio_hub_headers_size(h, redirected, &it->file->size);
    if (!it->file->etag[0]) memcpy(it->file->etag, h->etag, sizeof it->file->etag);
    if (!it->file->etag[0] || !it->file->has_size)
        return vcore_fail(err, VLM_ERR_FORMAT, "%s: the answer has no %s", it->what,
                          it->file->etag[0] ? "size" : "etag");
    if (strcmp(h->commit, it->pull->listing.commit) != 0 && h->commit[0])
        return vcore_fail(err, VLM_ERR_FORMAT, "%s: the answer is of commit %.12s, not %.12s",
                          it->what, h->commit, it->pull->listing.commit);
    it->pull->progress.size += it->file->size;
    VTRY(vio_hub_reserve(it->pull, &it->file, 1, err));
    it->state = LOCKING;
    return VLM_OK;
}

static vlm_status begin(item *it, vlm_error *err) {
    if (in_snapshot(it)) return complete(it, it->file->size, err);
    VTRY(make_url(it, err));
    it->state = it->file->etag[0] && it->file->has_size ? LOCKING : ASKING;
    return it->state == ASKING ? start_transfer(it, true, err) : VLM_OK;
}

static vlm_status open_partial(item *it, vlm_error *err) {
    struct stat st;
    it->fd = open(it->partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (it->fd < 0) return vio_fail_errno(err, it->partial, "create", errno);
    if (fstat(it->fd, &st) != 0) return vio_fail_errno(err, it->partial, "stat", errno);
    if (!S_ISREG(st.st_mode))
        return vcore_fail_at(err, VLM_ERR_IO, (vcore_where) { .file = it->partial },
                             "%s: is not a regular file", it->partial);
    VTRY(vio_hub_digest_start(&it->digest, it->file->etag, it->file->size, err));
    if (!it->digest.state)
        vcore_log_line(&it->pull->log, VLM_LOG_WARNING,
                       "%s: the hub gives no hash of it; only its size is checked", it->what);
    it->state = HASHING;
    it->resumed = st.st_size > 0;
    if ((uint64_t)st.st_size <= it->file->size) return VLM_OK;
    it->resumed = false; /* longer than the file: not its beginning */
    return ftruncate(it->fd, 0) == 0 ? VLM_OK : vio_fail_errno(err, it->partial, "truncate", errno);
}

static vlm_status take_lock(item *it, vlm_error *err) {
    vio_hub_pull *p = it->pull;
    vlm_status status = vio_hub_cache_lock(&it->lock, &p->cache, it->file->etag, err);
    if (status < 0) return status;
    it->held = status == VLM_DONE;
    if (it->held) {
        if (!p->told_waiting)
            vcore_log_line(&p->log, VLM_LOG_INFO,
                           "%s: another download of it is under way; waiting for it", it->what);
        p->told_waiting = true;
        return VLM_OK;
    }
    vcore_buf partial = { 0 };
    it->blob = vio_hub_cache_path(&p->cache, "blobs", it->file->etag, NULL);
    vcore_buf_printf(&partial, "%s.incomplete", it->blob ? it->blob : "");
    it->partial = vcore_buf_take(&partial);
    if (!it->blob || !it->partial) return vcore_no_memory(err, it->what);
    if (!vio_hub_is_file(it->blob, it->file->size)) return open_partial(it, err);
    VTRY(vio_hub_cache_link(&p->cache, p->listing.commit, it->file->name, it->file->etag, err));
    return complete(it, it->file->size, err);
}

/* Checks the hash of the whole file. DONE: it is not right, but what an earlier call left may be
 * why. */
static vlm_status check(item *it, vlm_error *err) {
    char hex[VIO_HUB_HASH];
    VTRY(vio_hub_digest_end(&it->digest, hex, err));
    if (!hex[0] || strcmp(hex, it->file->etag) == 0) return VLM_OK;
    if (it->resumed) return VLM_DONE;
    unlink(it->partial);
    return vcore_fail_at(err, VLM_ERR_CHECKSUM, (vcore_where) { .file = it->file->name },
                         "%s: what arrived has the hash %.16s..., not %.16s...", it->what, hex,
                         it->file->etag);
}

static vlm_status keep(item *it, vlm_error *err) {
    vio_hub_pull *p = it->pull;
    if (fdatasync(it->fd) != 0 && errno != EINVAL && errno != ENOSYS)
        return vio_fail_errno(err, it->partial, "write", errno);
    if (rename(it->partial, it->blob) != 0) return vio_fail_errno(err, it->blob, "replace", errno);
    VTRY(vio_hub_cache_link(&p->cache, p->listing.commit, it->file->name, it->file->etag, err));
    return complete(it, 0, err);
}

static vlm_status fetch_rest(item *it, vlm_error *err) {
    it->state = FETCHING;
    return start_transfer(it, false, err);
}

static vlm_status finish(item *it, vlm_error *err) {
    vlm_status status = check(it, err);
    if (status < 0) return status;
    if (status == VLM_OK) return keep(it, err);
    it->transfer.have = it->file->size;
    VTRY(restart(it, err));
    it->hashed = 0;
    return fetch_rest(it, err);
}

/* A piece of what an earlier call left. */
static vlm_status hash_step(item *it, vlm_error *err) {
    void *piece = vcore_alloc(HASH_STEP);
    if (!piece) return vcore_no_memory(err, it->what);
    ssize_t got = read(it->fd, piece, HASH_STEP);
    vlm_status status = got < 0 ? vio_fail_errno(err, it->partial, "read", errno) : VLM_OK;
    if (got > 0) {
        status = vio_hub_digest_add(&it->digest, piece, (size_t)got, err);
        it->hashed += (uint64_t)got;
        it->pull->progress.bytes += (uint64_t)got;
        show(it, it->hashed);
    }
    vcore_free(piece);
    if (status < 0 || got > 0) return status;
    return it->hashed == it->file->size ? finish(it, err) : fetch_rest(it, err);
}

static vlm_status take_result(item *it, vlm_error *err) {
    vio_hub_transfer *t = &it->transfer;
    vio_hub_transfer_end(it->pull->http, t); /* the results stay */
    if (t->status >= 0) return it->state == ASKING ? take_answer(it, err) : finish(it, err);
    if (t->status == VLM_ERR_NOT_FOUND && t->headers.commit[0])
        vio_hub_cache_no_exist(&it->pull->cache, t->headers.commit, it->file->name);
    if (err) *err = t->err;
    return t->status;
}

static vlm_status step(item *it, vlm_error *err) {
    switch (it->state) {
    case NEW: return begin(it, err);
    case LOCKING: return take_lock(it, err);
    case HASHING: return hash_step(it, err);
    case ASKING:
    case FETCHING: return it->transfer.finished ? take_result(it, err) : VLM_OK;
    case DONE: break;
    }
    return VLM_OK;
}

/* ---- all of them -------------------------------------------------------------------------- */

/* One round over all items. *left: not done; *busy: some have work that needs no waiting. */
static vlm_status round_over(item *items, size_t n, vio_hub_pull *p, size_t *left, bool *busy,
                             vlm_error *err) {
    int active = 0;
    int64_t now = vio_hub_now_ms();
    bool ask_locks = now >= p->ask_locks_at;
    if (ask_locks) p->ask_locks_at = now + LOCK_MS;
    *left = 0;
    *busy = false;
    for (size_t i = 0; i < n; i++) {
        item *it = &items[i];
        if (it->state == DONE) continue;
        /* Who waits for a lock takes no place. */
        bool works = it->state != NEW && it->state != LOCKING;
        if (!works && (active >= p->o.parallel || (it->held && !ask_locks))) {
            ++*left;
            continue;
        }
        state before = it->state;
        VTRY(step(it, err));
        *left += it->state != DONE;
        *busy |= it->state != before || it->state == HASHING;
        active += it->state != DONE && it->state != LOCKING;
    }
    return VLM_OK;
}

vlm_status vio_hub_fetch(vio_hub_pull *p, vio_hub_file *const *files, size_t n, vlm_error *err) {
    item *items = vcore_alloc_array(n ? n : 1, sizeof *items);
    if (!items) return vcore_no_memory(err, p->id);
    for (size_t i = 0; i < n; i++)
        items[i] = (item) { .pull = p, .file = files[i], .lock = -1, .fd = -1 };
    vlm_status status = VLM_OK;
    size_t left = n;
    while (status >= 0 && left) {
        bool busy;
        status = round_over(items, n, p, &left, &busy, err);
        if (status >= 0 && left) status = vio_hub_report(p, err);
        if (status >= 0 && left) status = vio_hub_http_step(p->http, busy ? 0 : STEP_MS, err);
    }
    for (size_t i = 0; i < n; i++) drop(&items[i]);
    vcore_free(items);
    return status;
}
