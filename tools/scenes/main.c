/* SPDX-License-Identifier: MIT */
/*
 * The program `scenes`: writes pictures and a table of questions about them. Owns the command
 * line and the names of the files.
 */
#include "scenes.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    const char *out;
    scenes_split split;
    uint32_t seed;
    uint64_t first;
    int count, questions, width, height;
    bool neat, grey;
} options;

static const char usage[] =
    "usage: scenes --out DIR [options]\n"
    "Writes pictures DIR/NNNNNN.png or .jpg and DIR/questions.tsv, whose lines are\n"
    "file, task, question and answer, separated by tabs.\n"
    "  --split held-out|train   which scenes (default held-out); no scene is in both\n"
    "  --seed N                 0..65535 (default 1)\n"
    "  --first N  --count N     scenes N .. N+count-1 (default 0, 1000)\n"
    "  --questions N            questions per picture (default 1: the task is the scene's number "
    "modulo 6)\n"
    "  --size WxH               pixels (default 128x128)\n"
    "  --neat                   soft backgrounds, shadows, no noise, no JPEG\n"
    "  --grey                   the same questions, but every picture plain grey\n";

static bool parse_number(const char *text, uint64_t least, uint64_t most, uint64_t *out) {
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == 0 && errno == 0 && *out >= least
           && *out <= most;
}

static bool parse_size(const char *text, options *o) {
    return sscanf(text, "%dx%d", &o->width, &o->height) == 2 && o->width >= 32 && o->height >= 32
           && o->width <= 4096 && o->height <= 4096;
}

static bool parse(int argc, char **argv, options *o) {
    static const struct option names[] = {
        { "out", required_argument, NULL, 'o' },   { "split", required_argument, NULL, 's' },
        { "seed", required_argument, NULL, 'r' },  { "first", required_argument, NULL, 'f' },
        { "count", required_argument, NULL, 'c' }, { "questions", required_argument, NULL, 'q' },
        { "size", required_argument, NULL, 'z' },  { "neat", no_argument, NULL, 'n' },
        { "grey", no_argument, NULL, 'g' },        { NULL, 0, NULL, 0 },
    };
    uint64_t n = 0;
    bool ok = true;
    int c;

    while (ok && (c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (c) {
        case 'o': o->out = optarg; break;
        case 's':
            ok = strcmp(optarg, "train") == 0 || strcmp(optarg, "held-out") == 0;
            o->split = optarg[0] == 't' ? SCENES_TRAIN : SCENES_HELD_OUT;
            break;
        case 'r':
            ok = parse_number(optarg, 0, 65535, &n);
            o->seed = (uint32_t)n;
            break;
        case 'f': ok = parse_number(optarg, 0, 1ull << 39, &o->first); break;
        case 'c':
            ok = parse_number(optarg, 1, 1000000, &n);
            o->count = (int)n;
            break;
        case 'q':
            ok = parse_number(optarg, 1, 64, &n);
            o->questions = (int)n;
            break;
        case 'z': ok = parse_size(optarg, o); break;
        case 'n': o->neat = true; break;
        case 'g': o->grey = true; break;
        default: ok = false;
        }
    }
    return ok && optind == argc && o->out != NULL;
}

static bool write_picture(const char *path, const options *o, const scenes_scene *scene,
                          uint8_t *rgb) {
    if (o->grey) {
        memset(rgb, 128, 3 * (size_t)o->width * (size_t)o->height);
    } else {
        scenes_draw(scene, o->width, o->height, rgb);
    }
    return scene->style.jpeg > 0
               ? scenes_write_jpeg(path, rgb, o->width, o->height, scene->style.jpeg)
               : scenes_write_png(path, rgb, o->width, o->height);
}

static void write_question(FILE *table, const char *name, const scenes_question *q) {
    fprintf(table, "%s\t%s\t%s\t%s\n", name, scenes_task_name(q->task), q->question, q->answer);
}

/* One scene: its picture and its lines of the table. `path` begins with the directory. */
static bool write_scene(const options *o, uint64_t index, uint8_t *rgb, FILE *table) {
    scenes_look look = { (float)o->width / (float)o->height, o->neat };
    scenes_task task = (scenes_task)(index % SCENES_TASKS);
    scenes_scene scene;
    scenes_question q;
    char name[64], path[4096];

    if (!scenes_example(&scene, &q, o->split, o->seed, index, task, look)) return false;
    snprintf(name, sizeof name, "%06llu.%s", (unsigned long long)index,
             scene.style.jpeg > 0 ? "jpg" : "png");
    if (snprintf(path, sizeof path, "%s/%s", o->out, name) >= (int)sizeof path) return false;
    if (!write_picture(path, o, &scene, rgb)) return false;
    write_question(table, name, &q);
    for (int k = 1; k < o->questions; k++) {
        task = (scenes_task)((index + (uint64_t)k) % SCENES_TASKS);
        if (scenes_ask(&q, &scene, task, k)) write_question(table, name, &q);
    }
    return true;
}

static bool write_all(const options *o) {
    uint8_t *rgb = malloc(3 * (size_t)o->width * (size_t)o->height);
    char path[4096];
    FILE *table = NULL;
    bool ok = rgb != NULL && (mkdir(o->out, 0777) == 0 || errno == EEXIST)
              && snprintf(path, sizeof path, "%s/questions.tsv", o->out) < (int)sizeof path;

    if (ok) table = fopen(path, "w");
    ok = table != NULL;
    for (int i = 0; ok && i < o->count; i++)
        ok = write_scene(o, o->first + (uint64_t)i, rgb, table);
    if (table != NULL) ok = fclose(table) == 0 && ok;
    free(rgb);
    return ok;
}

int main(int argc, char **argv) {
    options o = { .split = SCENES_HELD_OUT,
                  .seed = 1,
                  .count = 1000,
                  .questions = 1,
                  .width = SCENES_SIDE,
                  .height = SCENES_SIDE };

    if (!parse(argc, argv, &o)) {
        fputs(usage, stderr);
        return 2;
    }
    if (!write_all(&o)) {
        fprintf(stderr, "scenes: %s: cannot write pictures\n", o.out);
        return 1;
    }
    return 0;
}
