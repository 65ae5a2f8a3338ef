/* SPDX-License-Identifier: MIT */
#include "support/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

tprocess tprocess_run(const char *const *argv, const char *input) {
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
        alarm(60); /* watchdog */
        execv(program, (char *const *)argv);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    fclose(in);
    tprocess p = { .status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status) };
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
