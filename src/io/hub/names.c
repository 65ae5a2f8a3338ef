/* SPDX-License-Identifier: MIT */
/* Names that come from users and servers, and which of a repository's files a model needs. Pure
 * functions: no network, no disk. */
#include "io/hub/hub.h"

#include <fnmatch.h>

static bool is_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* The rules of huggingface_hub: what begins or ends a part of the id, what may not be inside. */
bool vlm_hub_is_id(const char *id) {
    size_t n = id ? strlen(id) : 0, slashes = 0;
    if (n == 0 || n > 96) return false;
    for (size_t i = 0; i < n; i++) {
        char c = id[i];
        bool edge = i == 0 || i + 1 == n || id[i - 1] == '/' || id[i + 1] == '/';
        if (c == '/') {
            if (++slashes > 1 || i == 0 || i + 1 == n) return false;
        } else if (!is_alnum(c) && c != '_' && (edge || (c != '-' && c != '.'))) {
            return false;
        }
    }
    return !strstr(id, "--") && !strstr(id, "..") && (n < 4 || strcmp(id + n - 4, ".git") != 0);
}

static bool is_hex(vcore_str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f'))) return false;
    return true;
}

bool vio_hub_is_commit(vcore_str s) {
    return (s.n == 40 || s.n == 64) && is_hex(s);
}

bool vio_hub_is_etag(vcore_str s) {
    if (s.n == 0 || s.n > VIO_HUB_MAX_ETAG || s.p[0] == '.') return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && !strchr("._-+=", s.p[i])) return false;
    return memchr(s.p, 0, s.n) == NULL;
}

bool vio_hub_is_file_name(vcore_str s) {
    if (s.n == 0 || s.n > VIO_HUB_MAX_NAME || !vcore_utf8_valid(s.p, s.n)) return false;
    for (size_t i = 0, start = 0; i <= s.n; i++) {
        if (i < s.n && s.p[i] != '/') {
            if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7F || s.p[i] == '\\') return false;
            continue;
        }
        size_t length = i - start;
        const char *part = s.p + start;
        if (length == 0 || length > 255 || (length == 1 && part[0] == '.')
            || (length == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        start = i + 1;
    }
    return true;
}

bool vio_hub_is_revision(const char *revision) {
    size_t n = strlen(revision);
    return n <= VIO_HUB_MAX_REVISION && vio_hub_is_file_name((vcore_str) { revision, n });
}

void vio_hub_quote(vcore_buf *b, const char *s, const char *keep) {
    for (; *s; s++)
        if (is_alnum(*s) || strchr("-._~", *s) || strchr(keep, *s))
            vcore_buf_add(b, s, 1);
        else
            vcore_buf_printf(b, "%%%02X", (unsigned char)*s);
}

/* ---- which files -------------------------------------------------------------------------- */

static const char *const small[] = {
    "*config.json",      "tokenizer.json",  "special_tokens_map.json",
    "added_tokens.json", "vocab.json",      "vocab.txt",
    "merges.txt",        "*.model",         "*.tiktoken",
    "tekken.json",       "chat_template.*", "additional_chat_templates/*.jinja",
};
/* Formats of other programs, and what is loaded beside a model, not as one. */
static const char *const never[] = { "adapter*", "consolidated*" };

static bool matches(const char *name, const char *const *patterns, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (fnmatch(patterns[i], name, FNM_PATHNAME | FNM_PERIOD) == 0) return true;
    return false;
}

vio_hub_role vio_hub_role_of(const char *name) {
    if (matches(name, never, sizeof never / sizeof never[0])) return VIO_HUB_IGNORED;
    if (strcmp(name, "model.safetensors.index.json") == 0) return VIO_HUB_INDEX;
    if (fnmatch("*.safetensors", name, FNM_PATHNAME | FNM_PERIOD) == 0) return VIO_HUB_WEIGHTS;
    return matches(name, small, sizeof small / sizeof small[0]) ? VIO_HUB_SMALL : VIO_HUB_IGNORED;
}

static size_t find_name(const char *const *names, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) return i;
    return n;
}

static bool five_digits(const char *s, unsigned *out) {
    unsigned value = 0;
    for (int i = 0; i < 5; i++) {
        if (s[i] < '0' || s[i] > '9') return false;
        value = value * 10 + (unsigned)(s[i] - '0');
    }
    *out = value;
    return true;
}

/* "model-00002-of-00007.safetensors": 2 and 7. */
static bool shard_numbers(const char *name, unsigned *k, unsigned *of) {
    static const char form[] = "model-#####-of-#####.safetensors";
    if (strlen(name) != sizeof form - 1 || memcmp(name, form, 6) != 0
        || memcmp(name + 11, form + 11, 4) != 0 || memcmp(name + 20, form + 20, 12) != 0)
        return false;
    return five_digits(name + 6, k) && five_digits(name + 15, of) && *k >= 1 && *k <= *of;
}

/* The first set model-1-of-N ... model-N-of-N of which nothing is missing. */
static size_t choose_set(bool *chosen, const char *const *names, size_t n) {
    unsigned k, of, other_k, other_of;
    for (size_t i = 0; i < n; i++) {
        if (!shard_numbers(names[i], &k, &of) || k != 1) continue;
        size_t found = 0;
        for (size_t j = 0; j < n; j++) {
            chosen[j] = shard_numbers(names[j], &other_k, &other_of) && other_of == of;
            found += chosen[j];
        }
        if (found == of) return found;
    }
    memset(chosen, 0, n * sizeof *chosen);
    return 0;
}

static size_t choose_one(bool *chosen, const char *const *names, size_t n, const char *name) {
    size_t i = find_name(names, n, name);
    if (i == n) return 0;
    chosen[i] = true;
    return 1;
}

static size_t choose_shards(bool *chosen, const char *const *names, size_t n,
                            const char *const *shards, size_t n_shards, const char **absent) {
    /* Where there are more than names, one of the first n + 1 is absent. */
    if (n_shards > n + 1) n_shards = n + 1;
    for (size_t i = 0; i < n_shards; i++) {
        if (choose_one(chosen, names, n, shards[i])) continue;
        if (absent) *absent = shards[i];
        memset(chosen, 0, n * sizeof *chosen);
        return 0;
    }
    return n_shards;
}

size_t vio_hub_choose_weights(bool *chosen, const char *const *names, size_t n,
                              const char *const *shards, size_t n_shards, const char **absent) {
    if (absent) *absent = n == 0 && n_shards ? shards[0] : NULL;
    if (n == 0) return 0;
    memset(chosen, 0, n * sizeof *chosen);
    size_t found = choose_shards(chosen, names, n, shards, n_shards, absent);
    if (!found) found = choose_one(chosen, names, n, "model.safetensors");
    if (!found) found = choose_set(chosen, names, n);
    if (found) return found;
    for (size_t i = 0; i < n; i++) {
        unsigned k, of; /* a set that is not complete is no model */
        chosen[i] = !shard_numbers(names[i], &k, &of);
        found += chosen[i];
    }
    return found;
}

static bool is_plain(vcore_str s) {
    return vio_hub_is_file_name(s) && !memchr(s.p, '/', s.n);
}

vlm_status vio_hub_index_shards(const char *const **shards, size_t *n, vcore_arena *arena,
                                const vcore_json *root, const char *path, vlm_error *err) {
    const vcore_json *weights = vcore_json_get(root, "weight_map");
    vcore_map *seen = vcore_map_new(64);
    const char **names = vcore_arena_array(arena, vcore_json_count(weights) + 1, sizeof *names);
    vlm_status status = seen && names ? VLM_OK : vcore_no_memory(err, path);
    vcore_json_iter it = { 0 };
    uint32_t count = 0, known;
    if (status >= 0 && vcore_json_kind_of(weights) != VCORE_JSON_OBJECT)
        status = vcore_fail_at(err, VLM_ERR_FORMAT,
                               (vcore_where) { .file = path, .field = "weight_map" },
                               "%s: weight_map is not an object", path);
    while (status >= 0 && vcore_json_next(weights, &it)) {
        vcore_str name = { "", 0 };
        if (!vcore_json_string(it.value, &name) || !is_plain(name))
            status = vcore_fail_at(err, VLM_ERR_FORMAT,
                                   (vcore_where) { .file = path, .field = "weight_map" },
                                   "%s: '%.*s' is not the name of a file", path,
                                   (int)(name.n < 200 ? name.n : 200), name.p);
        else if (!vcore_map_get(seen, name, &known)
                 && (!vcore_map_put(seen, name, count)
                     || !(names[count++] = vcore_arena_strndup(arena, name.p, name.n))))
            status = vcore_no_memory(err, path);
    }
    vcore_map_free(seen);
    *shards = names;
    *n = status < 0 ? 0 : count;
    return status;
}
