/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include <sys/wait.h>
#include <unistd.h>

bool peer_start(peer *p, const char *command) {
    int to[2], from[2];
    if (!command || !command[0] || pipe(to) != 0 || pipe(from) != 0) return false;
    fflush(stdout);
    p->pid = fork();
    if (p->pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        for (int i = 0; i < 2; i++) close(to[i]), close(from[i]);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    p->to = fdopen(to[1], "w");
    p->from = fdopen(from[0], "r");
    return p->pid > 0 && p->to && p->from;
}

void peer_end(peer *p, long *held, int n) {
    bool all = true;
    fclose(p->to);
    for (int i = 0; i < n; i++) all = all && fscanf(p->from, "%ld", &held[i]) == 1;
    for (int i = 0; i < n && !all; i++) held[i] = 0;
    fclose(p->from);
    waitpid(p->pid, NULL, 0);
}
