/* SPDX-License-Identifier: MIT */
/* The Hugging Face hub: what its answers say, how bytes are carried, where they lie. The public
 * page is vlm/load/hub.h. Owns no meaning of a checkpoint beyond which files one consists of. */
#ifndef VLM_IO_HUB_H
#define VLM_IO_HUB_H

#include "io/io.h"
#include "vlm/load/hub.h"

#define VIO_HUB_MAX_NAME 1024 /* bytes of a file's name in a repository */
#define VIO_HUB_MAX_REVISION 255
#define VIO_HUB_MAX_ETAG 128
#define VIO_HUB_HASH 65           /* a hash in hexadecimal digits, and its NUL */
#define VIO_HUB_MAX_WEIGHTS 10000 /* safetensors files of a repository */

/* ---- names (names.c): pure functions over untrusted text ---------------------------------- */
bool vio_hub_is_revision(const char *revision); /* a ref's name or a commit; no way out of refs/ */
bool vio_hub_is_commit(vcore_str s);            /* 40 or 64 lower-case hexadecimal digits */
bool vio_hub_is_etag(vcore_str s);              /* may be a file's name */
/* A relative path of plain components: no "..", no empty one, no control character, UTF-8. */
bool vio_hub_is_file_name(vcore_str s);
/* Appends s as a part of a URL; what stays as it is: letters, digits, "-._~" and those of keep. */
void vio_hub_quote(vcore_buf *b, const char *s, const char *keep);

/* What a file of a repository is to us, by its name. */
typedef enum vio_hub_role {
    VIO_HUB_IGNORED, /* what no model here needs */
    VIO_HUB_SMALL,   /* configs, tokenizer, templates */
    VIO_HUB_INDEX,   /* model.safetensors.index.json */
    VIO_HUB_WEIGHTS  /* a *.safetensors that may be chosen */
} vio_hub_role;
vio_hub_role vio_hub_role_of(const char *name);

/* Chooses the weights of n names whose role is WEIGHTS, which it sorts, by the loader's rule
 * (vio_select_weights); what is left of a set that is not complete is no model: ERR_NOT_FOUND. path:
 * of the index, NULL: there is none; where: what messages call the folder. */
vlm_status vio_hub_choose_weights(vio_selection *out, vcore_arena *arena, const char *where,
                                  const char *path, const char **names, size_t n,
                                  const vlm_limits *limits, const vcore_log *log, vlm_error *err);

/* ---- answers (answers.c) ------------------------------------------------------------------ */
typedef struct vio_hub_file {
    const char *name; /* in the repository */
    /* Name of its blob: sha256 or git's sha1 of it; "": not known. */
    char etag[VIO_HUB_MAX_ETAG + 1];
    uint64_t size;
    bool has_size;
} vio_hub_file;
/* What a repository has at a commit. */
typedef struct vio_hub_listing {
    vcore_arena *arena; /* owns the rest */
    char commit[VIO_HUB_HASH];
    vio_hub_file *files;
    size_t n;
} vio_hub_listing;
/* Answer of /api/models/ID/revision/REV?blobs=true. name: what messages call it. */
vlm_status vio_hub_listing_parse(vio_hub_listing *out, const char *text, size_t n, size_t max_files,
                                 const char *name, vlm_error *err);
void vio_hub_listing_free(vio_hub_listing *l);

/* The headers of one answer that matter; empty where absent or too long. */
typedef struct vio_hub_headers {
    size_t bytes;                    /* of the whole block */
    char etag[VIO_HUB_MAX_ETAG + 1]; /* X-Linked-Etag, else ETag; without quotes and "W/" */
    bool has_linked_etag;
    char commit[VIO_HUB_HASH];
    char error_code[64], error_message[200];
    uint64_t linked_size, content_length, range_start;
    bool has_linked_size, has_content_length, has_range;
} vio_hub_headers;
/* Takes one line, its end included; a status line starts anew. */
void vio_hub_headers_line(vio_hub_headers *h, const char *line, size_t n);
/* Size of the file that an answer is about; false: not said. */
bool vio_hub_headers_size(const vio_hub_headers *h, bool redirected, uint64_t *size);
/* Why an answer with this HTTP status (>= 400) is an error. what: "org/name", or with a file. */
vlm_status vio_hub_refused(vlm_error *err, const char *what, long http, bool with_token,
                           const vio_hub_headers *h);

/* ---- hashes (digest.c) -------------------------------------------------------------------- */
typedef struct vio_hub_digest {
    void *state; /* NULL: nothing to check */
} vio_hub_digest;
/* Which hash an etag is: 64 digits the content's sha256, 40 digits the sha1 of it as a git blob;
 * any other etag none (state stays NULL). */
vlm_status vio_hub_digest_start(vio_hub_digest *d, const char *etag, uint64_t size, vlm_error *err);
vlm_status vio_hub_digest_add(vio_hub_digest *d, const void *p, size_t n, vlm_error *err);
/* Frees the state, whatever comes out. hex: "" without a hash. */
vlm_status vio_hub_digest_end(vio_hub_digest *d, char hex[VIO_HUB_HASH], vlm_error *err);
void vio_hub_digest_free(vio_hub_digest *d);

/* ---- the cache (cache.c): models--org--name/{blobs,refs,snapshots}, .locks ---------------- */
typedef struct vio_hub_cache {
    const char *id; /* borrowed */
    char *base;     /* the cache directory */
    char *root;     /* of the repository in it */
    char *locks;    /* of the repository */
} vio_hub_cache;
vlm_status vio_hub_cache_open(vio_hub_cache *c, const char *cache_dir, const char *id,
                              vlm_error *err);
void vio_hub_cache_close(vio_hub_cache *c);
char *vio_hub_cache_path(const vio_hub_cache *c, const char *kind, const char *a, const char *b);
/* The commit of a revision: itself, or what refs/ says. ERR_NOT_FOUND: it does not. */
vlm_status vio_hub_cache_commit(const vio_hub_cache *c, const char *revision,
                                char commit[VIO_HUB_HASH], vlm_error *err);
/* Makes refs/<revision> say commit, unless the revision is the commit or it says so already. */
vlm_status vio_hub_cache_set_commit(const vio_hub_cache *c, const char *revision,
                                    const char *commit, vlm_error *err);
/* The directories of the repository, and the tag that keeps backups away. */
vlm_status vio_hub_cache_make(const vio_hub_cache *c, vlm_error *err);
/* True if path, links followed, is a regular file of this size (UINT64_MAX: any). */
bool vio_hub_is_file(const char *path, uint64_t size);
/* How many bytes of a blob of this size are there, in it or in what was begun. */
uint64_t vio_hub_cache_has(const vio_hub_cache *c, const char *etag, uint64_t size);
/* Tries the lock of a blob. OK: *fd holds it until closed, -1 where the file system knows no locks;
 * DONE: somebody else has it. */
vlm_status vio_hub_cache_lock(int *fd, const vio_hub_cache *c, const char *etag, vlm_error *err);
/* The relative link snapshots/<commit>/<name> -> blobs/<etag>, replaced at once. */
vlm_status vio_hub_cache_link(const vio_hub_cache *c, const char *commit, const char *name,
                              const char *etag, vlm_error *err);
/* Remembers, as Python does, that the commit has no such file. Best effort. */
void vio_hub_cache_no_exist(const vio_hub_cache *c, const char *commit, const char *name);
/* Bytes free where the cache is; UINT64_MAX: not known. */
uint64_t vio_hub_cache_free_bytes(const vio_hub_cache *c);
/* A snapshot directory by its own names: OK when it holds all that a model needs, ERR_NOT_FOUND
 * naming the file that is missing. */
vlm_status vio_hub_cache_complete(const vio_hub_cache *c, const char *commit, bool without_weights,
                                  const vlm_limits *limits, vlm_error *err);

/* ---- transfers (http.c) ------------------------------------------------------------------- */
typedef struct vio_hub_http vio_hub_http; /* connections and options of one pull; one thread */
/* One request until it is answered: redirects and retries included. Zeroed, then the first part
 * set. */
typedef struct vio_hub_transfer {
    const char *url;  /* of the endpoint; borrowed */
    const char *what; /* what messages call it; borrowed */
    bool head;
    int retries;   /* further attempts after a passing failure */
    uint64_t have; /* bytes of the body that are there already; advances */
    uint64_t size; /* of the whole body; UINT64_MAX: not known */
    uint64_t max;  /* a longer body is ERR_LIMIT */
    /* Where the body goes. restart: it comes from its beginning although `have` was not 0. */
    vlm_status (*write)(void *user, const char *p, size_t n, vlm_error *err);
    vlm_status (*restart)(void *user, vlm_error *err);
    void *user;
    /* Results. */
    bool finished;
    vlm_status status;       /* once finished */
    vlm_error err;           /* likewise */
    long http;               /* status of the last answer; 0: none */
    vio_hub_headers headers; /* of the endpoint's own answer, not of where it redirects to */
    uint64_t received;       /* bytes of body over the network, all attempts */
    struct vio_hub_attempt *attempt; /* http.c's */
} vio_hub_transfer;
vlm_status vio_hub_http_open(vio_hub_http **out, const vlm_hub_options *o, vlm_error *err);
void vio_hub_http_close(vio_hub_http *h); /* after vio_hub_transfer_end of all; NULL is fine */
/* The endpoint, without a slash at its end; borrowed. */
const char *vio_hub_http_endpoint(const vio_hub_http *h);
vlm_status vio_hub_transfer_start(vio_hub_http *h, vio_hub_transfer *t, vlm_error *err);
void vio_hub_transfer_end(vio_hub_http *h, vio_hub_transfer *t); /* breaks off; twice is fine */
/* Moves what is under way, waiting at most wait_ms for something to happen. */
vlm_status vio_hub_http_step(vio_hub_http *h, int wait_ms, vlm_error *err);
int64_t vio_hub_now_ms(void); /* of a clock that nobody sets */
/* Options with zeros replaced by the defaults, checked. */
vlm_status vio_hub_options_of(vlm_hub_options *out, const vlm_hub_options *given, vlm_error *err);

/* ---- fetching (fetch.c) ------------------------------------------------------------------- */
/* One pull: what it is about and how far it is. */
typedef struct vio_hub_pull {
    const char *id;
    vlm_hub_options o; /* with defaults */
    vcore_log log;
    vio_hub_cache cache;
    vio_hub_http *http;
    vio_hub_listing listing;
    vlm_hub_progress progress;
    uint64_t needed;      /* bytes of the files so far that the cache lacked */
    bool told_waiting;    /* that another process holds a lock */
    int64_t ask_locks_at; /* next time, as vio_hub_now_ms() */
} vio_hub_pull;
/* Before files of known size are fetched: do limit and disk have room for what the cache lacks? */
vlm_status vio_hub_reserve(vio_hub_pull *p, vio_hub_file *const *files, size_t n, vlm_error *err);
/* Brings n files of the listing into the snapshot. */
vlm_status vio_hub_fetch(vio_hub_pull *p, vio_hub_file *const *files, size_t n, vlm_error *err);
/* Tells the caller's callback; ERR_CANCELLED when it says so. */
vlm_status vio_hub_report(vio_hub_pull *p, vlm_error *err);

#endif
