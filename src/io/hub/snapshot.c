/* SPDX-License-Identifier: MIT */
/* Is a snapshot in the cache complete? Told without the network: from the list of the repository's
 * files that newer versions of huggingface_hub leave beside it (trees/<commit>.json), else from the
 * files themselves. Our own pulls fetch weights last, so that complete weights mean a complete
 * snapshot. */
#include "io/hub/hub.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILES = 100000 };

typedef struct snapshot {
    const vio_hub_cache *cache;
    const char *commit;
    char *dir;
    int fd; /* of the directory; -1: it is not there */
    vcore_arena *arena;
    const char **names; /* of the repository where a list of it is there, else of the directory */
    size_t n;
} snapshot;

static bool holds(const snapshot *s, const char *name) {
    struct stat st;
    return fstatat(s->fd, name, &st, 0) == 0 && S_ISREG(st.st_mode);
}

static vlm_status missing(const snapshot *s, const char *name, vlm_error *err) {
    return vcore_fail_at(err, VLM_ERR_NOT_FOUND, (vcore_where) { .file = name },
                         "%s: the snapshot %.12s in the cache is incomplete: %s is missing",
                         s->cache->id, s->commit, name);
}

static bool add_name(snapshot *s, const char *p, size_t n) {
    char *copy = s->n < MAX_FILES ? vcore_arena_strndup(s->arena, p, n) : NULL;
    if (copy) s->names[s->n++] = copy;
    return copy != NULL;
}

/* {"format_version": 1, "files": {name: ...}}; anything else is as if it were not there. */
static bool names_of_tree(snapshot *s) {
    vcore_json_doc *doc = NULL;
    vcore_buf file = { 0 };
    vcore_buf_printf(&file, "%s.json", s->commit);
    char *path = file.failed ? NULL : vio_hub_cache_path(s->cache, "trees", file.p, NULL);
    vcore_buf_free(&file);
    int64_t version = 0;
    bool good = path && vio_read_json(&doc, NULL, path, 64u << 20, NULL, NULL) >= 0;
    vcore_free(path);
    if (good)
        good = vcore_json_int(vcore_json_get(vcore_json_root(doc), "format_version"), &version)
               && version == 1;
    const vcore_json *files = good ? vcore_json_get(vcore_json_root(doc), "files") : NULL;
    vcore_json_iter it = { 0 };
    good = vcore_json_count(files) > 0
           && (s->names = vcore_arena_array(s->arena, MAX_FILES, sizeof *s->names));
    while (good && vcore_json_next(files, &it))
        good = vio_hub_is_file_name(it.key) && add_name(s, it.key.p, it.key.n);
    vcore_json_free(doc);
    if (!good) s->n = 0;
    return good;
}

static vlm_status names_of_directory(snapshot *s, vlm_error *err) {
    DIR *dir = opendir(s->dir);
    if (!dir) return vio_fail_errno(err, s->dir, "open", errno);
    s->names = vcore_arena_array(s->arena, MAX_FILES, sizeof *s->names);
    bool good = s->names != NULL;
    for (struct dirent *e; good && (e = readdir(dir));)
        if (e->d_name[0] != '.' && holds(s, e->d_name))
            good = add_name(s, e->d_name, strlen(e->d_name));
    closedir(dir);
    return good ? VLM_OK : vcore_no_memory(err, s->dir);
}

static bool is_tokenizer(const char *name) {
    static const char *const known[] = {
        "tokenizer.json", "tokenizer.model",        "vocab.json", "vocab.txt", "tekken.json",
        "spiece.model",   "sentencepiece.bpe.model"
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i]) == 0) return true;
    size_t n = strlen(name);
    return n > 9 && strcmp(name + n - 9, ".tiktoken") == 0;
}

/* Everything but weights: what the list names, else the least that can be told. */
static vlm_status check_small(const snapshot *s, bool from_tree, bool without_weights,
                              vlm_error *err) {
    bool tokenizer = false;
    if (!holds(s, "config.json")) return missing(s, "config.json", err);
    for (size_t i = 0; i < s->n; i++) {
        vio_hub_role role = vio_hub_role_of(s->names[i]);
        tokenizer |= is_tokenizer(s->names[i]);
        if (from_tree && (role == VIO_HUB_SMALL || role == VIO_HUB_INDEX) && !holds(s, s->names[i]))
            return missing(s, s->names[i], err);
    }
    return tokenizer || from_tree || !without_weights ? VLM_OK : missing(s, "tokenizer.json", err);
}

static vlm_status check_weights(const snapshot *s, const vlm_limits *limits, vlm_error *err) {
    static const char index[] = "model.safetensors.index.json";
    vio_selection chosen;
    const char **weights = vcore_arena_array(s->arena, VIO_HUB_MAX_WEIGHTS, sizeof *weights);
    char *path = holds(s, index) ? vio_join(s->dir, index) : NULL;
    size_t n = 0;
    if (!weights || (!path && holds(s, index))) return vcore_no_memory(err, s->dir);
    for (size_t i = 0; i < s->n && n < VIO_HUB_MAX_WEIGHTS; i++)
        if (vio_hub_role_of(s->names[i]) == VIO_HUB_WEIGHTS) weights[n++] = s->names[i];
    vlm_status status =
        vio_hub_choose_weights(&chosen, s->arena, s->dir, path, weights, n, limits, NULL, err);
    vcore_free(path);
    if (status == VLM_ERR_NOT_FOUND)
        return missing(s, chosen.missing ? chosen.missing : "model.safetensors", err);
    VTRY(status);
    for (size_t i = 0; i < chosen.n; i++)
        if (!holds(s, chosen.names[i])) return missing(s, chosen.names[i], err);
    return VLM_OK;
}

vlm_status vio_hub_cache_complete(const vio_hub_cache *c, const char *commit, bool without_weights,
                                  const vlm_limits *limits, vlm_error *err) {
    snapshot s = { .cache = c, .commit = commit, .arena = vcore_arena_new() };
    s.dir = vio_hub_cache_path(c, "snapshots", commit, NULL);
    s.fd = s.dir ? open(s.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    vlm_status status = s.dir && s.arena ? VLM_OK : vcore_no_memory(err, commit);
    if (status >= 0 && s.fd < 0)
        status = vcore_fail_at(err, VLM_ERR_NOT_FOUND, (vcore_where) { .file = s.dir },
                               "%s: commit %s is not in the cache (%s)", c->id, commit, s.dir);
    bool from_tree = status >= 0 && names_of_tree(&s);
    if (status >= 0 && !from_tree) status = names_of_directory(&s, err);
    if (status >= 0) status = check_small(&s, from_tree, without_weights, err);
    if (status >= 0 && !without_weights) status = check_weights(&s, limits, err);
    if (s.fd >= 0) close(s.fd);
    vcore_arena_free(s.arena);
    vcore_free(s.dir);
    return status;
}
