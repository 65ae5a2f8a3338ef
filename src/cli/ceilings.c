/* SPDX-License-Identifier: MIT */
#include "cli/ceilings.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* An empty line asks for a round, whose figures are the answer; any other names a file to read. The end of input ends
 * it. */
static void serve(FILE *from, int to, int threads) {
    machine m;
    char line[4096];
    machine_init(&m, threads);
    unsigned flags = vcore_cpu_flags();
    while (fgets(line, sizeof line, from)) {
        line[strcspn(line, "\n")] = 0;
        if (line[0]) {
            machine_map(&m, line);
            continue;
        }
        limits l = measure(&m, flags);
        if (write(to, &l, sizeof l) != sizeof l) break;
    }
    machine_free(&m);
}

static void close_both(int pipe[2]) {
    close(pipe[0]);
    close(pipe[1]);
}

vlm_status ceilings_start(ceilings *c, int threads, vlm_error *err) {
    int to[2], from[2];
    *c = (ceilings) { .pid = -1 };
    if (pipe(to) != 0) return vcore_fail(err, VLM_ERR_IO, "limits: %s", strerror(errno));
    if (pipe(from) != 0) {
        close_both(to);
        return vcore_fail(err, VLM_ERR_IO, "limits: %s", strerror(errno));
    }
    fflush(stdout);
    signal(SIGPIPE, SIG_IGN); /* when it ends, that is an error of ours to tell */
    c->pid = fork();
    if (c->pid == 0) {
        close(to[1]);
        close(from[0]);
        FILE *asked = fdopen(to[0], "r");
        if (asked) serve(asked, from[1], threads);
        _exit(0);
    }
    int why = errno;
    close(to[0]);
    close(from[1]);
    c->ask = fdopen(to[1], "w");
    c->answer = fdopen(from[0], "r");
    if (c->pid < 0) return vcore_fail(err, VLM_ERR_IO, "limits: %s", strerror(why));
    if (!c->ask) close(to[1]); /* or the process would wait for questions for ever */
    if (!c->answer) close(from[0]);
    if (!c->ask || !c->answer) return vcore_no_memory(err, "limits");
    return VLM_OK;
}

void ceilings_read_file(ceilings *c, const char *path) {
    if (!c->ask) return;
    fprintf(c->ask, "%s\n", path);
}

vlm_status ceilings_measure(ceilings *c, limits *out, vlm_error *err) {
    *out = (limits) { 0 };
    if (!c->ask) return VLM_OK;
    if (fputc('\n', c->ask) != EOF && fflush(c->ask) == 0 && fread(out, sizeof *out, 1, c->answer) == 1)
        return VLM_OK;
    return vcore_fail(err, VLM_ERR_BACKEND, "limits: the process that measures them ended (is there memory for it?)");
}

void ceilings_stop(ceilings *c) {
    if (c->ask) fclose(c->ask);
    if (c->answer) fclose(c->answer);
    if (c->pid > 0) waitpid(c->pid, NULL, 0);
    *c = (ceilings) { .pid = -1 };
}
