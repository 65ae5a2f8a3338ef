/* SPDX-License-Identifier: MIT */
/* The hub for the command: the environment that Python's huggingface_hub reads, with its precedence; progress on a
 * terminal; the rule of what -m means. Only here is the environment read. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* NULL where unset or empty. */
static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

static bool is_true(const char *value) {
    return value && (!strcmp(value, "1") || !strcasecmp(value, "on") || !strcasecmp(value, "yes")
                     || !strcasecmp(value, "true"));
}

/* ---- paths ---------------------------------------------------------------------------------------------- */

static void add_home(vcore_buf *b) {
    const char *home = variable("HOME");
    vcore_buf_puts(b, home ? home : "");
}

/* "$NAME" or "${NAME}" at p: adds its value, returns the bytes used; 0: no such variable, it stays as it is. */
static size_t add_variable(vcore_buf *b, const char *p) {
    bool braces = p[1] == '{';
    const char *name = p + 1 + braces;
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    if (n == 0 || (braces && name[n] != '}')) return 0;
    char *key = vcore_strndup(name, n);
    const char *value = key ? getenv(key) : NULL;
    vcore_free(key);
    if (!value) return 0;
    vcore_buf_puts(b, value);
    return 1 + n + 2 * braces;
}

/* "~/x" and variables in a path, as os.path.expanduser and expandvars do. Owned. */
static char *expand(const char *path) {
    vcore_buf b = { 0 };
    if (path[0] == '~' && (path[1] == '/' || path[1] == 0)) {
        add_home(&b);
        path++;
    }
    while (*path) {
        size_t used = *path == '$' ? add_variable(&b, path) : 0;
        if (!used) vcore_buf_add(&b, path, 1);
        path += used ? used : 1;
    }
    return vcore_buf_take(&b);
}

/* $HF_HOME, else $XDG_CACHE_HOME/huggingface, else ~/.cache/huggingface; and name below it. Owned. */
static char *below_home(const char *name) {
    vcore_buf b = { 0 };
    const char *home = variable("HF_HOME"), *cache = variable("XDG_CACHE_HOME");
    if (home)
        vcore_buf_puts(&b, home);
    else if (cache)
        vcore_buf_printf(&b, "%s/huggingface", cache);
    else
        vcore_buf_puts(&b, "~/.cache/huggingface");
    vcore_buf_printf(&b, "/%s", name);
    char *path = b.failed ? NULL : expand(b.p);
    vcore_buf_free(&b);
    return path;
}

static char *cache_dir(void) {
    const char *given = variable("HF_HUB_CACHE");
    if (!given) given = variable("HUGGINGFACE_HUB_CACHE");
    return given ? expand(given) : below_home("hub");
}

/* ---- token ---------------------------------------------------------------------------------------------- */

/* Without line ends anywhere and blanks around; NULL when nothing is left. Takes text. */
static char *clean(char *text) {
    size_t n = 0, start = 0;
    if (!text) return NULL;
    for (const char *p = text; *p; p++)
        if (*p != '\r' && *p != '\n') text[n++] = *p;
    while (n && (text[n - 1] == ' ' || text[n - 1] == '\t')) n--;
    while (start < n && (text[start] == ' ' || text[start] == '\t')) start++;
    char *word = n > start ? vcore_strndup(text + start, n - start) : NULL;
    vcore_free(text);
    return word;
}

/* $HF_TOKEN, else the file $HF_TOKEN_PATH or $HF_HOME/token. Owned; NULL: none. */
static char *token(void) {
    const char *given = variable("HF_TOKEN"), *path = variable("HF_TOKEN_PATH");
    if (!given) given = variable("HUGGING_FACE_HUB_TOKEN");
    if (is_true(getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return NULL;
    if (given) return clean(vcore_strdup(given));
    char *file = path ? expand(path) : below_home("token");
    char *text = file ? cli_read_file(file, 65536, NULL) : NULL;
    vcore_free(file);
    return clean(text);
}

/* ---- progress --------------------------------------------------------------------------------------------- */

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int draw(void *user, const vlm_hub_progress *p) {
    cli_hub *h = user;
    double now = seconds();
    bool last = p->files && p->files_done == p->files;
    if (!p->file || (now - h->drawn < 0.2 && !last)) return 0;
    if (h->drawn == 0) h->started = now;
    h->drawn = now;
    fprintf(stderr, "\r\033[K%zu/%zu files  %.1f of %.1f MB  %.1f MB/s  %.60s", p->files_done, p->files,
            (double)p->bytes / 1e6, (double)p->size / 1e6, (double)p->received / 1e6 / (now - h->started + 1e-3),
            p->file);
    fflush(stderr);
    return 0;
}

/* What is of use while one waits goes to a terminal only; warnings wait for the end (cli_loaded). */
static void take_line(void *user, vlm_log_level level, const char *line) {
    (void)user;
    if (level == VLM_LOG_WARNING)
        cli_keep_warning(user, level, line);
    else if (level == VLM_LOG_INFO && isatty(2))
        fprintf(stderr, "vlm: %s\n", line);
}

/* ---- what the subcommands call ------------------------------------------------------------------------------ */

static vlm_status open_hub(cli_hub *h, const char *revision, bool with_token, vlm_error *err) {
    *h = (cli_hub) { .options = VLM_HUB_OPTIONS_INIT, .cache = cache_dir(), .token = with_token ? token() : NULL };
    vlm_hub_options *o = &h->options;
    const char *offline = variable("HF_HUB_OFFLINE");
    o->cache_dir = h->cache;
    o->token = h->token;
    o->endpoint = variable("HF_ENDPOINT");
    o->ca_file = variable("SSL_CERT_FILE");
    o->revision = revision;
    o->offline = is_true(offline ? offline : getenv("TRANSFORMERS_OFFLINE"));
    o->log = take_line;
    if (isatty(2) && !is_true(getenv("HF_HUB_DISABLE_PROGRESS_BARS"))) o->progress = draw;
    o->progress_user = h;
    return h->cache ? VLM_OK : vcore_no_memory(err, "hub");
}

vlm_status cli_hub_open(cli_hub *h, const char *revision, vlm_error *err) {
    return open_hub(h, revision, true, err);
}

void cli_hub_close(cli_hub *h) {
    if (h->drawn > 0) fputc('\n', stderr);
    vcore_free(h->cache);
    vcore_free(h->token);
    *h = (cli_hub) { 0 };
}

/* Nothing of that name here, and it looks like a hub id. */
static bool is_id(const char *name) {
    struct stat st;
    return name && stat(name, &st) != 0 && strchr(name, '/') && vlm_hub_is_id(name);
}

vlm_status cli_hub_for(cli_hub *h, const char *model, const char *tokenizer, const char *revision,
                       vlm_error *err) {
    struct stat st;
    *h = (cli_hub) { 0 };
    if (revision && stat(model, &st) == 0)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "%s: --revision goes with a hub id (org/name), not with a directory", model);
    return open_hub(h, revision, is_id(model) || is_id(tokenizer), err); /* a secret is read for a reason only */
}

vlm_status cli_tokenizer_dir(char **dir, const char *model, const char *revision, vlm_error *err) {
    cli_hub h;
    vlm_status status = cli_hub_for(&h, model, NULL, revision, err);
    h.options.without_weights = true;
    *dir = NULL;
    if (status >= 0 && !is_id(model)) {
        *dir = vcore_strdup(model);
        if (!*dir) status = vcore_no_memory(err, model);
    } else if (status >= 0 && vlm_hub_find(dir, model, &h.options, NULL) < 0) {
        status = vlm_hub_pull(dir, model, &h.options, err);
        vcore_context(err, status, "no directory '%s', and as a hub id", model);
    }
    cli_hub_close(&h);
    return status;
}
