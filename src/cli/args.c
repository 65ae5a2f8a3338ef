/* SPDX-License-Identifier: MIT */
/* Command lines: option tables, values with their ranges, help. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const cli_option *find(const cli_option *const *tables, const char *word, size_t n) {
    for (; *tables; tables++)
        for (const cli_option *o = *tables; o->name; o++)
            if ((strlen(o->name) == n && !strncmp(o->name, word, n)) ||
                (o->shorthand && !strcmp(o->shorthand, word)))
                return o;
    return NULL;
}

static void print_help(const char *usage, const cli_option *const *tables) {
    printf("usage: vlm %s\n\n", usage);
    for (; *tables; tables++) {
        for (const cli_option *o = *tables; o->name; o++)
            printf("  %s%s%-22s %s\n", o->shorthand ? o->shorthand : "  ", o->shorthand ? ", " : "  ",
                   o->name, o->help);
        if (tables[1]) putchar('\n');
    }
}

static bool take_whole(const char *value, double max, uint64_t *out) {
    char *end;
    errno = 0;
    unsigned long long n = strtoull(value, &end, 10);
    if (errno || end == value || *end || strchr(value, '-') || (double)n > max) return false;
    *out = n;
    return true;
}

static int wrong(const cli_option *o, const char *value, const char *why) {
    fprintf(stderr, "vlm: %s: '%s': %s\n", o->name, value, why);
    return CLI_USAGE;
}

static int take_value(const cli_option *o, const char *value) {
    uint64_t whole;
    switch (o->kind) {
    case CLI_FLAG: *(bool *)o->target = true; break;
    case CLI_TEXT: *(const char **)o->target = value; break;
    case CLI_TEXTS: {
        cli_texts *list = o->target;
        if (list->n == sizeof list->at / sizeof list->at[0]) return wrong(o, value, "given too often");
        list->at[list->n++] = value;
        break;
    }
    case CLI_COUNT:
        if (!take_whole(value, o->max > 0 ? o->max : 4294967295.0, &whole) || (double)whole < o->min)
            return wrong(o, value, "not a number in range");
        *(uint32_t *)o->target = (uint32_t)whole;
        break;
    case CLI_LONG:
        if (!take_whole(value, 1.8e19, &whole)) return wrong(o, value, "not a number in range");
        *(uint64_t *)o->target = whole;
        break;
    case CLI_REAL:
    case CLI_DOUBLE: {
        char *end;
        double real = strtod(value, &end);
        if (end == value || *end || !isfinite(real) || real < o->min || real > o->max)
            return wrong(o, value, "not a number in range");
        if (o->kind == CLI_REAL)
            *(float *)o->target = (float)real;
        else
            *(double *)o->target = real;
        break;
    }
    }
    return -1;
}

int cli_parse(int argc, char **argv, const char *usage, const cli_option *const *tables, cli_texts *rest,
              size_t max_rest) {
    bool options = true; /* until "--" */
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (options && !strcmp(word, "--")) {
            options = false;
            continue;
        }
        if (options && (!strcmp(word, "--help") || !strcmp(word, "-h"))) {
            print_help(usage, tables);
            return CLI_DONE;
        }
        if (!options || word[0] != '-' || word[1] == 0) {
            if (rest->n >= max_rest) {
                fprintf(stderr, "vlm: '%s': not expected here\nusage: vlm %s\n", word, usage);
                return CLI_USAGE;
            }
            rest->at[rest->n++] = word;
            continue;
        }
        const char *equals = word[1] == '-' ? strchr(word, '=') : NULL;
        const cli_option *o = find(tables, word, equals ? (size_t)(equals - word) : strlen(word));
        if (!o) {
            fprintf(stderr, "vlm: '%s': no such option\nusage: vlm %s\n", word, usage);
            return CLI_USAGE;
        }
        if (equals && o->kind == CLI_FLAG) return wrong(o, equals + 1, "it takes no value");
        const char *value = equals ? equals + 1 : "";
        if (o->kind != CLI_FLAG && !equals) {
            if (++i == argc) {
                fprintf(stderr, "vlm: %s: its value is missing\n", o->name);
                return CLI_USAGE;
            }
            value = argv[i];
        }
        int status = take_value(o, value);
        if (status >= 0) return status;
    }
    return -1;
}
