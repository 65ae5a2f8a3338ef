/* SPDX-License-Identifier: MIT */
/* What happens when a mapped file is cut short by somebody else while its pages are in use: the
 * system sends SIGBUS, and the command ends with its one line. Everything here is
 * async-signal-safe. */
#include "cli/cli.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static char command[32];
static atomic_flag speaking = ATOMIC_FLAG_INIT;

/* One line of /proc/self/maps, "begin-end rights offset device inode   path", read byte by byte. */
typedef struct map_line {
    uintptr_t bounds[2];
    enum { BEGIN, END, BETWEEN, PATH } at;
    char path[4096];
    size_t n;
} map_line;

/* True when the line is complete. */
static bool take_byte(map_line *l, char c) {
    if (c == '\n') return true;
    if (l->at == PATH) {
        if (l->n < sizeof l->path) l->path[l->n++] = (unsigned char)c < 0x20 || c == 0x7F ? '?' : c;
    } else if (l->at == BETWEEN) {
        if (c == '/') {
            l->at = PATH;
            l->path[l->n++] = c;
        }
    } else if (c == '-' || c == ' ') {
        l->at++;
    } else {
        l->bounds[l->at] = l->bounds[l->at] * 16 + (uintptr_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return false;
}

/* The file that is mapped at an address, in l->path; l->n is 0 where the system does not say. */
static void find_file(map_line *l, uintptr_t address) {
    char bytes[1024];
    ssize_t got;
    l->n = 0;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    l->at = BEGIN;
    l->bounds[0] = l->bounds[1] = 0;
    while ((got = read(fd, bytes, sizeof bytes)) > 0)
        for (ssize_t i = 0; i < got; i++) {
            if (!take_byte(l, bytes[i])) continue;
            if (address >= l->bounds[0] && address < l->bounds[1]) {
                close(fd);
                return;
            }
            l->n = 0;
            l->at = BEGIN;
            l->bounds[0] = l->bounds[1] = 0;
        }
    close(fd);
    l->n = 0;
}

static void say(const char *text, size_t n) {
    while (n) {
        ssize_t wrote = write(STDERR_FILENO, text, n);
        if (wrote <= 0) return;
        text += wrote;
        n -= (size_t)wrote;
    }
}

static void cut_short(int number, siginfo_t *info, void *context) {
    (void)context;
    if (info->si_code != BUS_ADRERR) { /* a mistake of ours, not a file's */
        signal(number, SIG_DFL);
        return; /* the instruction is tried again, and ends the process */
    }
    while (atomic_flag_test_and_set(&speaking)) pause(); /* another thread does; it ends us all */
    static map_line line;
    find_file(&line, (uintptr_t)info->si_addr);
    static const char some[] = "a mapped file",
                      end[] = ": was cut short while in use; --no-mmap reads weights into memory\n";
    say("vlm: ", 5);
    say(command, strlen(command));
    say(": ", 2);
    if (line.n)
        say(line.path, line.n);
    else
        say(some, sizeof some - 1);
    say(end, sizeof end - 1);
    _exit(CLI_FAILED);
}

void cli_catch_cut_files(const char *name) {
    struct sigaction action = { .sa_sigaction = cut_short, .sa_flags = SA_SIGINFO };
    size_t n = strlen(name);
    memcpy(command, name, n < sizeof command ? n : sizeof command - 1);
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}
