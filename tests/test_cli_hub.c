/* SPDX-License-Identifier: MIT */
/* vlm pull and -m org/name as a user runs them: environment, exit status, one line; killed in the middle; two at
 * once; a full disk. */
#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/hub_server.h"
#include "support/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MODEL "models/smolscene"
#define PICTURE "examples/night.png"
#define QUESTION "What do you see?"
#define RUN(...) tprocess_run((const char *const[]) { "vlm", __VA_ARGS__, NULL }, NULL)

typedef struct fixture {
    thub *hub;
    char *home; /* $HF_HOME */
    char root[600];
} fixture;

static const char *const variables[] = {
    "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT",
    "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "http_proxy", "all_proxy", "ALL_PROXY",
};

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) unsetenv(variables[i]);
    f->hub = thub_start(0);
    thub_set_dir(f->hub, MODEL);
    f->home = tcheckpoint_temp_dir();
    snprintf(f->root, sizeof f->root, "%s/hub/models--acme--tiny-vlm", f->home);
    setenv("HF_HOME", f->home, 1);
    setenv("HF_ENDPOINT", thub_endpoint(f->hub), 1);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    thub_stop(f->hub);
    tcheckpoint_remove(f->home);
    free(f->home);
    free(f);
    return 0;
}

/* ---- helpers ---------------------------------------------------------------------------------------------- */

static void expect(tprocess p, int status, const char *out, const char *err) {
    if (p.status != status || (out && strcmp(p.out, out) != 0) || (err && !strstr(p.err, err)))
        fail_msg("status %d, out '%s', err '%s'", p.status, p.out, p.err);
    if (status) assert_int_equal(tprocess_lines(p.err), 1);
    tprocess_free(&p);
}

static void expect_file(const char *path, bool there) {
    if ((access(path, F_OK) == 0) != there) fail_msg("%s", path);
}

static char *in(const char *dir, const char *name) {
    static char path[1200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void rule(fixture *f, thub_rule r) {
    thub_rule_add(f->hub, &r);
}

static pid_t start_pull(void) {
    const char *build = getenv("VLM_BUILD_DIR");
    char program[1024];
    snprintf(program, sizeof program, "%s/vlm", build ? build : "build");
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int nowhere = open("/dev/null", O_RDWR);
        dup2(nowhere, 1);
        dup2(nowhere, 2);
        alarm(60);
        execl(program, "vlm", "pull", THUB_ID, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static int wait_for(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static off_t size_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

static void a_pulled_model_answers(void **state) {
    fixture *f = *state;
    char snapshot[800];
    tprocess want = RUN("generate", "-m", MODEL, "-i", PICTURE, "-p", QUESTION);
    assert_int_equal(want.status, 0);
    snprintf(snapshot, sizeof snapshot, "%s/snapshots/%s\n", f->root, thub_commit(f->hub));
    tprocess p = RUN("pull", THUB_ID);
    assert_string_equal(p.err, ""); /* no terminal, no progress */
    expect(p, 0, snapshot, NULL);
    thub_forget(f->hub);
    expect(RUN("generate", "-m", THUB_ID, "-i", PICTURE, "-p", QUESTION), 0, want.out, "");
    assert_int_equal(thub_counts(f->hub, "").gets, 0); /* what is whole is not asked for */
    setenv("HF_ENDPOINT", "http://127.0.0.1:1", 1);
    expect(RUN("pull", THUB_ID), 0, snapshot, "vlm: warning: " THUB_ID " (revision main): ");
    setenv("HF_HUB_OFFLINE", "1", 1);
    expect(RUN("generate", "-m", THUB_ID, "--revision", "main", "-i", PICTURE, "-p", QUESTION), 0, want.out, "");
    expect(RUN("pull", THUB_ID), 0, snapshot, "");
    expect(RUN("generate", "-m", "acme/other", "-p", "x"), 1, "", "no directory 'acme/other', and as a hub id: offline: acme/other: revision 'main' is not in the cache");
    tprocess_free(&want);
}

static void m_pulls_what_is_not_there(void **state) {
    fixture *f = *state;
    tprocess want = RUN("generate", "-m", MODEL, "-i", PICTURE, "-p", QUESTION);
    expect(RUN("generate", "-m", THUB_ID, "--revision", "v1", "-i", PICTURE, "-p", QUESTION), 0, want.out, "");
    expect_file(in(f->root, "refs/v1"), true);
    expect(RUN("inspect", "-m", THUB_ID, "--revision", "v1", "--json"), 0, NULL, "");
    expect(RUN("generate", "-m", THUB_ID, "--revision", "v9", "-p", "x"), 1, "", "no such revision");
    expect(RUN("generate", "-m", MODEL, "--revision", "v1", "-p", "x"), 1, "", "--revision goes with a hub id");
    tprocess_free(&want);
}

/* Those that need no weights fetch none. */
static void tokenizers_without_weights(void **state) {
    fixture *f = *state;
    tprocess want = RUN("tokenize", "-m", MODEL, "a red star"), chat;
    expect(RUN("tokenize", "-m", THUB_ID, "a red star"), 0, want.out, "");
    expect(RUN("tokenize", "-m", THUB_ID, "--revision", "v1", "a red star"), 0, want.out, "");
    expect(RUN("detokenize", "-m", THUB_ID, "5 6"), 0, NULL, "");
    write_file(in(f->home, "chat.json"), "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"x\"}]}]");
    expect(RUN("inspect", "-m", THUB_ID), 0, NULL, "");
    chat = RUN("template", "-m", MODEL, "--messages", in(f->home, "chat.json"));
    expect(RUN("template", "-m", THUB_ID, "--messages", in(f->home, "chat.json")), 0, chat.out, "");
    assert_int_equal(thub_counts(f->hub, "safetensors").gets, 0);
    tprocess_free(&want);
    tprocess_free(&chat);
}

static void a_directory_wins(void **state) {
    fixture *f = *state;
    char *dir = tcheckpoint_temp_dir(), here[1024], program[1200];
    assert_non_null(getcwd(here, sizeof here));
    const char *build = getenv("VLM_BUILD_DIR");
    snprintf(program, sizeof program, "%s%s%s/vlm", build && build[0] == '/' ? "" : here, build && build[0] == '/' ? "" : "/", build ? build : "build");
    assert_int_equal(mkdir(in(dir, "acme"), 0700), 0);
    assert_int_equal(mkdir(in(dir, "acme/tiny-vlm"), 0700), 0);
    assert_int_equal(chdir(dir), 0);
    tprocess p = tprocess_run((const char *const[]) { program, "generate", "-m", THUB_ID, "-p", "x", NULL }, NULL);
    assert_int_equal(chdir(here), 0);
    expect(p, 1, "", "acme/tiny-vlm/config.json");
    assert_int_equal(thub_counts(f->hub, "").gets, 0);
    tcheckpoint_remove(dir);
    free(dir);
}

static void usage(void **state) {
    (void)state;
    expect(RUN("pull"), 2, "", "hub id");
    expect(RUN("pull", "a/b/c"), 2, "", "hub id");
    expect(RUN("pull", "../x"), 2, "", "hub id");
    expect(RUN("pull", "--help"), 0, NULL, "");
}

static void failures_are_one_line(void **state) {
    fixture *f = *state;
    static const struct {
        int status;
        const char *headers, *says;
    } cases[] = {
        { 401, "X-Error-Code: RepoNotFound\r\n", "vlm: pull: acme/tiny-vlm (revision main): no such repository, or a private one, and no token was given (HTTP 401)\n" },
        { 403, "X-Error-Code: GatedRepo\r\n", "gated" },
        { 404, "X-Error-Code: RevisionNotFound\r\n", "no such revision" },
        { 500, "", "HTTP 500" },
        { 200, "", "vlm: pull: acme/tiny-vlm (revision main)" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        thub_rules_clear(f->hub);
        rule(f, (thub_rule) { .path = "/api/", .status = cases[i].status, .headers = cases[i].headers, .body = "not\nJSON" });
        expect(RUN("pull", "--no-retries", THUB_ID), 1, "", cases[i].says);
    }
    setenv("HF_ENDPOINT", "not a URL", 1);
    expect(RUN("pull", THUB_ID), 1, "", "not an endpoint");
    setenv("HF_ENDPOINT", "https://127.0.0.1:1", 1);
    expect(RUN("pull", "--no-retries", THUB_ID), 1, "", "connect");
    setenv("HF_ENDPOINT", thub_endpoint(f->hub), 1);
    thub_rules_clear(f->hub);
    rule(f, (thub_rule) { .path = "/cdn/", .flip = true });
    expect(RUN("pull", THUB_ID), 1, "", "acme/tiny-vlm: model.safetensors: what arrived has the hash");
    setenv("HF_HUB_CACHE", "/proc/nowhere", 1);
    expect(RUN("pull", THUB_ID), 1, "", "/proc/nowhere");
}

/* What has arrived when a pull is killed is not asked for again. */
static void killed_in_the_middle(void **state) {
    fixture *f = *state;
    char partial[1200];
    off_t whole = size_of(MODEL "/model.safetensors"), there = 0;
    snprintf(partial, sizeof partial, "%s/blobs/%s.incomplete", f->root, thub_etag(f->hub, "model.safetensors"));
    rule(f, (thub_rule) { .path = "/cdn/", .times = 1, .hold = true, .hold_at = 3000000 });
    pid_t pid = start_pull();
    assert_true(thub_wait_bytes(f->hub, "/cdn/", 3000000));
    while ((there = size_of(partial)) < 2000000) usleep(1000);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(wait_for(pid), 128 + SIGKILL);
    there = size_of(partial);
    assert_true(there >= 2000000 && there <= 3000000);
    setenv("HF_HUB_OFFLINE", "1", 1);
    expect(RUN("generate", "-m", THUB_ID, "-p", "x"), 1, "", "model.safetensors is missing");
    unsetenv("HF_HUB_OFFLINE");
    thub_forget(f->hub);
    expect(RUN("pull", THUB_ID), 0, NULL, "");
    thub_count c = thub_counts(f->hub, "/cdn/");
    assert_int_equal(c.gets, 1);
    assert_int_equal(c.last_range, there);
    assert_int_equal(c.bytes, whole - there);
    assert_int_equal(thub_counts(f->hub, "config.json").gets + thub_counts(f->hub, "tokenizer").gets, 0);
    expect_file(partial, false);
    tprocess p = RUN("generate", "-m", THUB_ID, "-i", PICTURE, "-p", QUESTION);
    assert_true(p.status == 0 && p.out[0]);
    tprocess_free(&p);
}

static void two_at_once(void **state) {
    fixture *f = *state;
    rule(f, (thub_rule) { .path = "/cdn/", .times = 1, .hold = true, .hold_at = 100000 });
    pid_t one = start_pull();
    assert_true(thub_wait_bytes(f->hub, "/cdn/", 100000)); /* it holds the lock */
    pid_t other = start_pull();
    while (thub_counts(f->hub, "/api/").gets < 2) usleep(1000);
    thub_release(f->hub);
    assert_int_equal(wait_for(one), 0);
    assert_int_equal(wait_for(other), 0);
    DIR *d = opendir(MODEL);
    for (struct dirent *e; (e = readdir(d));) {
        char path[300];
        snprintf(path, sizeof path, "/%s", e->d_name);
        assert_true(thub_counts(f->hub, path).gets <= 2); /* the hub's redirect and the content */
    }
    closedir(d);
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 1);
    assert_int_equal(thub_counts(f->hub, "/config.json").gets, 1);
}

/* One dies; the lock goes with it, and the other goes on from what it left. */
static void the_second_takes_over(void **state) {
    fixture *f = *state;
    rule(f, (thub_rule) { .path = "/cdn/", .times = 1, .hold = true, .hold_at = 1000000 });
    pid_t one = start_pull();
    assert_true(thub_wait_bytes(f->hub, "/cdn/", 1000000));
    pid_t other = start_pull();
    while (thub_counts(f->hub, "/api/").gets < 2) usleep(1000);
    kill(one, SIGKILL);
    wait_for(one);
    assert_int_equal(wait_for(other), 0);
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 2);
    assert_true(thub_counts(f->hub, "/cdn/").last_range > 0);
}

/* A limit on the size of files stands for the disk that is full. */
static void a_full_disk(void **state) {
    fixture *f = *state;
    const char *build = getenv("VLM_BUILD_DIR");
    char script[1200];
    snprintf(script, sizeof script, "trap '' XFSZ; ulimit -f 2000; exec %s/vlm pull " THUB_ID, build ? build : "build");
    expect(tprocess_run((const char *const[]) { "/bin/sh", "-c", script, NULL }, NULL), 1, "", ".incomplete: cannot write");
    expect(RUN("pull", THUB_ID), 0, NULL, "");
    assert_int_equal(thub_counts(f->hub, "/cdn/").gets, 2);
    assert_true(thub_counts(f->hub, "/cdn/").last_range > 0); /* what did fit was not lost */
}

static void tokens(void **state) {
    fixture *f = *state;
    write_file(in(f->home, "token"), "  from_file \n");
    write_file(in(f->home, "other"), "from_path\n");
    static const struct {
        const char *name, *value, *token;
    } steps[] = { /* each on top of the one before */
        { "X", "", "Bearer from_file" },
        { "HF_TOKEN_PATH", "~/other", "Bearer from_path" },
        { "HUGGING_FACE_HUB_TOKEN", "from_old", "Bearer from_old" },
        { "HF_TOKEN", " from_environment\n", "Bearer from_environment" },
        { "HF_HUB_DISABLE_IMPLICIT_TOKEN", "1", "" },
    };
    char *home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
    setenv("HOME", f->home, 1);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        setenv(steps[i].name, steps[i].value, 1);
        thub_forget(f->hub);
        expect(RUN("pull", "--without-weights", THUB_ID), 0, NULL, "");
        assert_string_equal(thub_counts(f->hub, "/api/").token, steps[i].token);
    }
    if (home) setenv("HOME", home, 1);
    free(home);
}

/* What is here needs none, so its file is left alone: this one would be waited for. */
static void no_token_for_a_directory(void **state) {
    fixture *f = *state;
    assert_int_equal(mkfifo(in(f->home, "token"), 0600), 0);
    static const char *const calls[][6] = { { "vlm", "inspect", "-m", MODEL },
                                            { "vlm", "tokenize", "-m", MODEL, "x" } };
    for (size_t i = 0; i < 2; i++) expect(tprocess_run_within(calls[i], NULL, 10, (size_t)1 << 32), 0, NULL, "");
}

/* Which of the variables say where the cache is; the last one that is set wins. */
static void places(void **state) {
    fixture *f = *state;
    char *home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
    unsetenv("HF_HOME");
    setenv("HOME", f->home, 1);
    setenv("PLACE", f->home, 1);
    static const struct {
        const char *name, *value, *cache;
    } steps[] = {
        { "X", "", ".cache/huggingface/hub" },
        { "XDG_CACHE_HOME", "$PLACE/xdg", "xdg/huggingface/hub" },
        { "HF_HOME", "~/hf", "hf/hub" },
        { "HUGGINGFACE_HUB_CACHE", "${PLACE}/old", "old" },
        { "HF_HUB_CACHE", "~/new", "new" },
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        char path[800];
        setenv(steps[i].name, steps[i].value, 1);
        snprintf(path, sizeof path, "%s/%s/models--acme--tiny-vlm/snapshots/%s\n", f->home, steps[i].cache, thub_commit(f->hub));
        expect(RUN("pull", "--without-weights", THUB_ID), 0, path, "");
    }
    setenv("TRANSFORMERS_OFFLINE", "Yes", 1);
    thub_forget(f->hub);
    expect(RUN("pull", "--without-weights", THUB_ID), 0, NULL, "");
    assert_int_equal(thub_counts(f->hub, "").gets, 0);
    if (home) setenv("HOME", home, 1);
    free(home);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(a_pulled_model_answers), T(m_pulls_what_is_not_there), T(tokenizers_without_weights), T(a_directory_wins), T(usage),
        T(failures_are_one_line), T(killed_in_the_middle), T(two_at_once), T(the_second_takes_over), T(a_full_disk),
        T(tokens), T(no_token_for_a_directory), T(places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
