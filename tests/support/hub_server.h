/* SPDX-License-Identifier: MIT */
/*
 * A Hugging Face hub in miniature, on two addresses of this machine: the hub itself, and the host of large files
 * that it redirects to. Holds one repository in memory, keeps a record of every request, misbehaves as told.
 * Does not use the library under test.
 */
#ifndef TESTS_SUPPORT_HUB_SERVER_H
#define TESTS_SUPPORT_HUB_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define THUB_ID "acme/tiny-vlm"

typedef struct thub thub;

/* Starts a hub without files; port 0: any. Ends the program when it cannot. */
thub *thub_start(int port);
void thub_stop(thub *hub);
const char *thub_endpoint(const thub *hub); /* "http://127.0.0.1:PORT" */
const char *thub_commit(const thub *hub);   /* of branch "main" and tag "v1" */
/* A new commit: the files stay until they are set anew. */
void thub_next_commit(thub *hub);

/* Sets a file of the repository. lfs: kept by sha256 and redirected, as large files are. */
void thub_set(thub *hub, const char *name, const void *bytes, size_t n, bool lfs);
/* Sets all plain files of a directory; *.safetensors as large ones. */
void thub_set_dir(thub *hub, const char *dir);
/* The name of a file's blob in a cache; borrowed. */
const char *thub_etag(const thub *hub, const char *name);
/* Lists files by their names only, so that sizes and hashes have to be asked for one by one. */
void thub_list_names_only(thub *hub);

/* What is done to requests instead of, or before, answering them. */
typedef struct thub_rule {
    const char *path;    /* a part of the request's path, and of "name" behind a redirect */
    int skip, times;     /* leaves the first `skip` alone, then meets `times` (0: all) */
    int status;          /* answers so, with headers and body */
    const char *headers; /* added; each ended by "\r\n" */
    const char *body;
    size_t body_size;    /* 0: strlen(body) */
    bool cut;            /* closes after cut_at bytes of the body */
    size_t cut_at;
    bool hold;           /* sends hold_at bytes, then waits for thub_release() or the other end to go */
    size_t hold_at;
    bool no_ranges;      /* sends all whatever part was asked for */
    bool wrong_range;    /* says 206, but of another part */
    bool flip;           /* one byte is not what it was */
    bool longer;         /* sends a byte more */
    bool silent;         /* never answers */
} thub_rule;
void thub_rule_add(thub *hub, const thub_rule *rule);
void thub_rules_clear(thub *hub);
void thub_release(thub *hub);

/* What was asked, by a part of the path; "" for all. */
typedef struct thub_count {
    int heads, gets;
    int tokens;         /* requests that brought a token */
    char token[64];     /* the last of them, as it came: "Bearer ..." */
    uint64_t bytes;     /* of bodies sent */
    int64_t last_range; /* where the last GET began; 0: no range */
} thub_count;
thub_count thub_counts(thub *hub, const char *path);
void thub_forget(thub *hub); /* sets the record to nothing */
/* Waits until so many bytes went out to a path (at most a minute). */
bool thub_wait_bytes(thub *hub, const char *path, uint64_t bytes);

#endif
