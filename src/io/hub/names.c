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
