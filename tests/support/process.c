/* SPDX-License-Identifier: MIT */
#include "support/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/cm.h"

static char *slurp(FILE *file) {
    fseek(file, 0, SEEK_END);
    long n = ftell(file);
    rewind(file);
    char *text = malloc((size_t)n + 1);
    size_t got = fread(text, 1, (size_t)n, file);
    text[got] = 0;
    fclose(file);
    return text;
}

bool tprocess_can_limit(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return false;
#endif
#endif
    return true;
}

tprocess tprocess_run(const char *const *argv, const char *input) {
    return tprocess_run_within(argv, input, 60, 0);
}

tprocess tprocess_run_within(const char *const *argv, const char *input, unsigned seconds, size_t address_space) {
    const char *build = getenv("VLM_BUILD_DIR");
    char program[1024];
    if (strchr(argv[0], '/'))
        snprintf(program, sizeof program, "%s", argv[0]);
    else
        snprintf(program, sizeof program, "%s/%s", build ? build : "build", argv[0]);
    FILE *in = tmpfile(), *out = tmpfile(), *err = tmpfile();
    assert_non_null(in);
    assert_non_null(out);
    assert_non_null(err);
    if (input) fwrite(input, 1, strlen(input), in);
    fflush(in);
    rewind(in);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fileno(in), 0);
        dup2(fileno(out), 1);
        dup2(fileno(err), 2);
        const struct rlimit limit = { address_space, address_space };
        if (address_space && tprocess_can_limit()) setrlimit(RLIMIT_AS, &limit);
        alarm(seconds); /* watchdog */
        execv(program, (char *const *)argv);
        _exit(127);
    }
    int status;
    struct rusage usage;
    assert_int_equal(wait4(pid, &status, 0, &usage), pid);
    fclose(in);
    tprocess p = { .status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status) };
    p.peak_rss = (size_t)usage.ru_maxrss * 1024;
    p.out = slurp(out);
    p.err = slurp(err);
    if (p.status == 127) fail_msg("%s: cannot be run", program);
    return p;
}

void tprocess_free(tprocess *p) {
    free(p->out);
    free(p->err);
}

size_t tprocess_lines(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}
