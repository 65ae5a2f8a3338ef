/* SPDX-License-Identifier: MIT */
/*
 * What is asked about a scene, in several phrasings, and the one answer that is right. Owns the
 * wording and the rules that keep a question unambiguous (a thing is named by attributes that no
 * other thing shares; a place is asked only away from the borders between places) and the answers
 * balanced: yes as often as no, counts spread over 0 to 4.
 */
#include "scenes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { QUESTION_STREAM = 16 };
enum { BY_SIZE = 1, BY_COLOUR = 2, BY_SHAPE = 4 };

#define NAME 64

static const char *const task_names[SCENES_TASKS] = {
    "describe", "count", "colour", "where", "yes/no", "read", "which",
};

const char *scenes_task_name(scenes_task task) {
    return task_names[task];
}

#define PHRASE(r, list) ((list)[scenes_below(r, (int)(sizeof(list) / sizeof((list)[0])))])

/* ---- naming things ---- */

static const char *general_noun(scenes_random *r) {
    static const char *const nouns[] = { "shape", "shape", "object", "thing" };

    return PHRASE(r, nouns);
}

/* "large red circle", with the attributes in `by` only; a general noun stands for an unnamed shape.
 */
static void name_thing(scenes_random *r, char out[NAME], const scenes_object *o, int by,
                       bool plural) {
    const char *shape = by & BY_SHAPE ? scenes_shape_name(o->shape) : general_noun(r);
    const char *ending = !plural ? "" : by & BY_SHAPE && o->shape == SCENES_CROSS ? "es" : "s";

    snprintf(out, NAME, "%s%s%s%s%s", by & BY_SIZE ? (o->large ? "large " : "small ") : "",
             by & BY_COLOUR ? scenes_colour_name(o->colour) : "", by & BY_COLOUR ? " " : "", shape,
             ending);
}

static const char *article(const char *noun) {
    return strchr("aeiou", noun[0]) ? "an" : "a";
}

static bool alike(const scenes_object *a, const scenes_object *b, int by) {
    return (!(by & BY_SIZE) || a->large == b->large)
           && (!(by & BY_COLOUR) || a->colour == b->colour)
           && (!(by & BY_SHAPE) || a->shape == b->shape);
}

static int count_alike(const scenes_scene *scene, const scenes_object *o, int by) {
    int n = 0;

    for (int i = 0; i < scene->objects; i++) n += alike(&scene->object[i], o, by);
    return n;
}

/* The attributes out of `allowed` that single the object out: one such set, or -1. */
static int single_out(scenes_random *r, const scenes_scene *scene, const scenes_object *o,
                      int allowed) {
    int found[8], n = 0;

    for (int by = 0; by < 8; by++) {
        if ((by & ~allowed) == 0 && count_alike(scene, o, by) == 1) found[n++] = by;
    }
    return n > 0 ? found[scenes_below(r, n)] : -1;
}

/* A thing of the scene (index `objects` is the text) with a definite name, or -1. */
static int pick_thing(scenes_random *r, const scenes_scene *scene, int allowed, bool text_too,
                      char out[NAME]) {
    int things = scene->objects + (text_too && scene->text.string[0] ? 1 : 0);
    int by, i;
    char name[NAME];

    if (things == 0) return -1;
    i = scenes_below(r, things);
    if (i == scene->objects) {
        snprintf(out, NAME, "the text");
        return i;
    }
    by = single_out(r, scene, &scene->object[i], allowed);
    if (by < 0) return -1;
    name_thing(r, name, &scene->object[i], by, false);
    snprintf(out, NAME, "the %.*s", NAME - 5, name);
    return i;
}

static float centre_x(const scenes_scene *scene, int i) {
    return (i < scene->objects ? scene->object[i].x : scene->text.x) / scene->width;
}

static float centre_y(const scenes_scene *scene, int i) {
    return (i < scene->objects ? scene->object[i].y : scene->text.y) / scene->height;
}

/* ---- wording ---- */

__attribute__((format(printf, 2, 3))) static void ask(scenes_question *q, const char *format, ...) {
    va_list args;

    va_start(args, format);
    vsnprintf(q->question, sizeof q->question, format, args);
    va_end(args);
}

__attribute__((format(printf, 2, 3))) static void reply(scenes_question *q, const char *format,
                                                        ...) {
    va_list args;

    va_start(args, format);
    vsnprintf(q->answer, sizeof q->answer, format, args);
    va_end(args);
}

/* ---- the tasks: each returns false when it found nothing to ask ---- */

static bool ask_describe(scenes_random *r, const scenes_scene *scene, scenes_question *q) {
    static const char *const phrases[] = {
        "Describe the picture.",
        "Describe this image.",
        "Describe the image.",
        "Describe what you see.",
        "What is in the picture?",
        "What is in this image?",
        "What's in the picture?",
        "What do you see?",
        "What can you see in the picture?",
        "What does the picture show?",
        "Describe the picture from left to right.",
        "List what you see.",
        "Tell me what you see.",
    };
    int things = scene->objects + (scene->text.string[0] != 0), done = 0;
    bool text_done = scene->text.string[0] == 0;
    size_t used = 0;

    if (things == 0) return false;
    ask(q, "%s", PHRASE(r, phrases));
    q->answer[0] = 0;
    for (int i = 0; done < things; done++) {
        const char *join = done == 0 ? "" : done + 1 == things ? " and " : ", ";
        char name[NAME];

        if (!text_done && (i == scene->objects || scene->text.x < scene->object[i].x)) {
            used +=
                (size_t)snprintf(q->answer + used, sizeof q->answer - used, "%sthe %s text \"%s\"",
                                 join, scenes_colour_name(scene->text.colour), scene->text.string);
            text_done = true;
        } else {
            name_thing(r, name, &scene->object[i++], BY_SIZE | BY_COLOUR | BY_SHAPE, false);
            used +=
                (size_t)snprintf(q->answer + used, sizeof q->answer - used, "%sa %s", join, name);
        }
    }
    return true;
}

/* Any shape, colour and size, in the scene or not. */
static scenes_object anything(scenes_random *r) {
    scenes_object o = { .shape = (scenes_shape)scenes_below(r, SCENES_SHAPES) };

    o.colour = (scenes_colour)scenes_below(r, SCENES_COLOURS);
    o.large = scenes_chance(r, 50);
    return o;
}

static bool ask_count(scenes_random *r, const scenes_scene *scene, int number, scenes_question *q) {
    static const char *const phrases[] = {
        "How many %s are there?",         "How many %s are in the picture?",
        "How many %s are in this image?", "How many %s can you see?",
        "How many %s do you see?",        "Count the %s.",
        "What is the number of %s?",      "How many %s?",
    };
    /* Every count is wanted equally often: by index, whichever scene then turns out to have it. */
    int wanted = (int)(scenes_mix(scene->id / SCENES_ATTEMPTS * 64 + (uint64_t)number) % 5);

    if (scene->id % SCENES_ATTEMPTS >= SCENES_ATTEMPTS / 2) wanted = 1; /* do not look for ever */
    for (int attempt = 0; attempt < 16; attempt++) {
        scenes_object like = anything(r);
        int by = scenes_chance(r, 75) ? 1 << scenes_below(r, 3) : scenes_below(r, 8);
        char name[NAME];

        if (scene->objects > 0 && scenes_chance(r, wanted > 0 ? 90 : 40)) {
            const scenes_object *o = &scene->object[scenes_below(r, scene->objects)];

            like.colour = o->colour;
            if (scenes_chance(r, 70)) like.shape = o->shape;
            like.large = o->large;
        }
        if (count_alike(scene, &like, by) != wanted) continue;
        name_thing(r, name, &like, by, true);
        ask(q, PHRASE(r, phrases), name);
        reply(q, "%d", wanted);
        return true;
    }
    return false;
}

/* The thing furthest to one side, when it clearly is: "the leftmost shape". */
static int pick_extreme(scenes_random *r, const scenes_scene *scene, char out[NAME]) {
    static const char *const sides[4][2] = {
        { "the leftmost %s", "the %s on the far left" },
        { "the rightmost %s", "the %s on the far right" },
        { "the topmost %s", "the %s at the very top" },
        { "the bottommost %s", "the %s at the very bottom" },
    };
    int side = scenes_below(r, 4), best = -1, form;
    float first = -9, second = -9;

    for (int i = 0; i < scene->objects; i++) {
        float v = side < 2 ? centre_x(scene, i) : centre_y(scene, i);

        if (side == 0 || side == 2) v = -v;
        if (v > first) {
            second = first;
            first = v;
            best = i;
        } else if (v > second) {
            second = v;
        }
    }
    if (scene->objects < 2 || first - second < 0.08f) return -1;
    form = scenes_below(r, 2);
    snprintf(out, NAME, sides[side][form], general_noun(r));
    return best;
}

static bool ask_colour(scenes_random *r, const scenes_scene *scene, scenes_question *q) {
    static const char *const phrases[] = {
        "What colour is %s?",         "What color is %s?",        "Which colour is %s?",
        "Which colour does %s have?", "What color does %s have?", "Name the colour of %s.",
        "What is the colour of %s?",  "What is the color of %s?",
    };
    char name[NAME];
    int i = -1;

    for (int attempt = 0; i < 0 && attempt < 4; attempt++) {
        i = scenes_chance(r, 15) ? pick_extreme(r, scene, name)
                                 : pick_thing(r, scene, BY_SIZE | BY_SHAPE, true, name);
    }
    if (i < 0) return false;
    ask(q, PHRASE(r, phrases), name);
    reply(q, "%s",
          scenes_colour_name(i < scene->objects ? scene->object[i].colour : scene->text.colour));
    return true;
}

/* 0, 1 or 2 along an axis; -1 too close to the border between two thirds. */
static int third(float v) {
    const float margin = 0.03f;

    if (v < 1.0f / 3 - margin) return 0;
    if (v > 1.0f / 3 + margin && v < 2.0f / 3 - margin) return 1;
    return v > 2.0f / 3 + margin ? 2 : -1;
}

static bool ask_place(scenes_random *r, const scenes_scene *scene, scenes_question *q) {
    static const char *const phrases[] = {
        "Where is %s?",
        "Where in the picture is %s?",
        "In which part of the picture is %s?",
        "Where can you see %s?",
        "Where do you see %s?",
    };
    static const char *const places[3][3] = {
        { "top left", "top", "top right" },
        { "left", "centre", "right" },
        { "bottom left", "bottom", "bottom right" },
    };
    char name[NAME];
    int i = pick_thing(r, scene, BY_SIZE | BY_COLOUR | BY_SHAPE, true, name), row, column;

    if (i < 0) return false;
    row = third(centre_y(scene, i));
    column = third(centre_x(scene, i));
    if (row < 0 || column < 0) return false;
    ask(q, PHRASE(r, phrases), name);
    reply(q, "%s", places[row][column]);
    return true;
}

static bool ask_which(scenes_random *r, const scenes_scene *scene, scenes_question *q) {
    static const char *const phrases[] = {
        "What is %s?",           "What shape is %s?",
        "Which shape is %s?",    "What shape does %s have?",
        "Name the shape of %s.",
    };
    char name[NAME];
    int i = -1;

    for (int attempt = 0; i < 0 && attempt < 4; attempt++) {
        i = scenes_chance(r, 35) ? pick_extreme(r, scene, name)
                                 : pick_thing(r, scene, BY_SIZE | BY_COLOUR, false, name);
    }
    if (i < 0) return false;
    ask(q, PHRASE(r, phrases), name);
    reply(q, "%s", scenes_shape_name(scene->object[i].shape));
    return true;
}

/* Two different things by name, at least one of them not the text. */
static bool pick_two(scenes_random *r, const scenes_scene *scene, int which[2], char a[NAME],
                     char b[NAME]) {
    which[0] = pick_thing(r, scene, BY_SIZE | BY_COLOUR | BY_SHAPE, true, a);
    which[1] = pick_thing(r, scene, BY_SIZE | BY_COLOUR | BY_SHAPE, true, b);
    return which[0] >= 0 && which[1] >= 0 && which[0] != which[1];
}

static bool ask_relation(scenes_random *r, const scenes_scene *scene, scenes_question *q) {
    char a[NAME], b[NAME];
    int which[2];
    float dx, dy, ax, ay, stretch = scene->width / scene->height;

    if (!pick_two(r, scene, which, a, b)) return false;
    dx = centre_x(scene, which[0]) - centre_x(scene, which[1]);
    dy = centre_y(scene, which[0]) - centre_y(scene, which[1]);
    ax = dx < 0 ? -dx : dx;
    ay = dy < 0 ? -dy : dy;
    /* One direction must prevail in the picture as it is and in the square the model sees. */
    if (ax > 0.1f && ax > 1.6f * ay && ax * stretch > 1.6f * ay) {
        reply(q, "%s", dx < 0 ? "to the left" : "to the right");
    } else if (ay > 0.1f && ay > 1.6f * ax && ay > 1.6f * ax * stretch) {
        reply(q, "%s", dy < 0 ? "above" : "below");
    } else {
        return false;
    }
    switch (scenes_below(r, 3)) {
    case 0: ask(q, "Where is %s relative to %s?", a, b); break;
    case 1: ask(q, "Where is %s seen from %s?", a, b); break;
    default: ask(q, "On which side of %s is %s?", b, a); break;
    }
    return true;
}

static bool ask_where(scenes_random *r, const scenes_scene *scene, scenes_question *q) {
    for (int attempt = 0; attempt < 4; attempt++) {
        if (scenes_chance(r, 60) ? ask_place(r, scene, q) : ask_relation(r, scene, q)) return true;
    }
    return false;
}

/* ---- yes or no: the truth is drawn first, then a question that has it ---- */

/* Things that no scene ever has. */
static void ask_stranger(scenes_random *r, const scenes_scene *scene, const char *phrase,
                         scenes_question *q) {
    static const char *const strangers[] = {
        "cat",  "dog",  "house", "tree",  "car",  "person", "bird",  "flower",
        "face", "boat", "horse", "apple", "book", "fish",   "table", "ball",
    };
    const char *noun = PHRASE(r, strangers);
    char name[NAME];

    if (scene->objects > 0 && scenes_chance(r, 30)) {
        snprintf(name, NAME, "%s %s", scenes_colour_name(scene->object[0].colour), noun);
    } else {
        snprintf(name, NAME, "%s", noun);
    }
    ask(q, phrase, article(name), name);
}

/* A thing like one that is there, with one or two attributes borrowed from elsewhere. */
static bool ask_exists(scenes_random *r, const scenes_scene *scene, scenes_question *q,
                       bool truth) {
    static const char *const phrases[] = {
        "Is there %s %s?",   "Is there %s %s in the picture?", "Can you see %s %s?",
        "Do you see %s %s?", "Does the picture show %s %s?",
    };
    static const int kinds[] = {
        BY_SHAPE,  BY_COLOUR | BY_SHAPE,          BY_COLOUR | BY_SHAPE, BY_SIZE | BY_SHAPE,
        BY_COLOUR, BY_SIZE | BY_COLOUR | BY_SHAPE
    };
    int by = PHRASE(r, kinds);
    scenes_object like;
    char name[NAME];

    if (!truth && scenes_chance(r, 15)) {
        ask_stranger(r, scene, PHRASE(r, phrases), q);
        return true;
    }
    if (scene->objects == 0) return false;
    like = scene->object[scenes_below(r, scene->objects)];
    if (!truth) {
        const scenes_object *other = &scene->object[scenes_below(r, scene->objects)];
        bool near = scenes_chance(r, 50); /* of what is there, or of anything */

        if (scenes_chance(r, 60)) {
            like.shape = near ? other->shape : (scenes_shape)scenes_below(r, SCENES_SHAPES);
        } else {
            like.colour = near ? other->colour : (scenes_colour)scenes_below(r, SCENES_COLOURS);
        }
        if (by & BY_SIZE && scenes_chance(r, 40)) like.large = !like.large;
    }
    if ((count_alike(scene, &like, by) > 0) != truth) return false;
    name_thing(r, name, &like, by, false);
    ask(q, PHRASE(r, phrases), article(name), name);
    return true;
}

static bool ask_attribute(scenes_random *r, const scenes_scene *scene, scenes_question *q,
                          bool truth) {
    int what = 1 << scenes_below(r, 3), i;
    scenes_object claim, other;
    char name[NAME];

    i = pick_thing(r, scene, (BY_SIZE | BY_COLOUR | BY_SHAPE) & ~what, what == BY_COLOUR, name);
    if (i < 0) return false;
    other = anything(r);
    if (scene->objects > 0 && scenes_chance(r, 50)) {
        other = scene->object[scenes_below(r, scene->objects)];
    }
    claim =
        i < scene->objects ? scene->object[i] : (scenes_object) { .colour = scene->text.colour };
    other.large = !claim.large;
    if (!truth && alike(&claim, &other, what)) return false;
    if (!truth) claim = other;
    if (what == BY_SHAPE) {
        ask(q, "Is %s a %s?", name, scenes_shape_name(claim.shape));
    } else {
        ask(q, "Is %s %s?", name,
            what == BY_COLOUR ? scenes_colour_name(claim.colour)
            : claim.large     ? "large"
                              : "small");
    }
    return true;
}

static bool ask_order(scenes_random *r, const scenes_scene *scene, scenes_question *q, bool truth) {
    static const char *const sides[] = { "to the left of", "to the right of", "above", "below" };
    int which[2], side = scenes_below(r, 4);
    char a[NAME], b[NAME];
    float d;

    if (!pick_two(r, scene, which, a, b)) return false;
    d = side < 2 ? centre_x(scene, which[0]) - centre_x(scene, which[1])
                 : centre_y(scene, which[0]) - centre_y(scene, which[1]);
    if (side == 0 || side == 2) d = -d;
    if ((d < 0 ? -d : d) < 0.09f || (d > 0) != truth) return false;
    ask(q, "Is %s %s %s?", a, sides[side], b);
    return true;
}

static bool ask_larger(scenes_random *r, const scenes_scene *scene, scenes_question *q,
                       bool truth) {
    bool larger = scenes_chance(r, 50);
    int which[2];
    char a[NAME], b[NAME];
    const scenes_object *o = scene->object;

    which[0] = pick_thing(r, scene, BY_COLOUR | BY_SHAPE, false, a);
    which[1] = pick_thing(r, scene, BY_COLOUR | BY_SHAPE, false, b);
    if (which[0] < 0 || which[1] < 0 || o[which[0]].large == o[which[1]].large) return false;
    if ((o[which[0]].large == larger) != truth) return false;
    ask(q, "Is %s %s than %s?", a, larger ? "larger" : "smaller", b);
    return true;
}

static bool ask_number(scenes_random *r, const scenes_scene *scene, scenes_question *q,
                       bool truth) {
    static const char *const numbers[] = { "no", "one", "two", "three", "four" };
    int by = scenes_below(r, 8), n, claim;
    char name[NAME];
    scenes_object like;

    if (scene->objects == 0) return false;
    like = scene->object[scenes_below(r, scene->objects)];
    n = count_alike(scene, &like, by);
    claim = truth ? n : 1 + scenes_below(r, 4);
    if ((claim == n) != truth || claim < 1) return false;
    name_thing(r, name, &like, by, claim != 1);
    if (claim == 1) {
        ask(q, "Is there exactly one %s?", name);
    } else {
        ask(q, "Are there exactly %s %s?", numbers[claim], name);
    }
    return true;
}

static bool ask_about_text(scenes_random *r, const scenes_scene *scene, scenes_question *q,
                           bool truth) {
    static const char *const phrases[] = {
        "Is there any text?",
        "Is there text in the picture?",
        "Can you see any text?",
        "Do you see any text?",
        "Does the picture show any letters or digits?",
    };
    char claim[SCENES_MAX_TEXT + 1];
    int i;

    if (scene->text.string[0] == 0 || scenes_chance(r, 30)) {
        ask(q, "%s", PHRASE(r, phrases));
        return (scene->text.string[0] != 0) == truth;
    }
    memcpy(claim, scene->text.string, sizeof claim);
    i = scenes_below(r, (int)strlen(claim));
    if (!truth) {
        char c =
            (char)(scenes_chance(r, 70) ? 'A' + scenes_below(r, 26) : '0' + scenes_below(r, 10));

        if (c == claim[i]) return false;
        claim[i] = c;
    }
    if (scenes_chance(r, 50)) {
        ask(q, "Does the text say \"%s\"?", claim);
        return true;
    }
    ask(q, "Is there %s %c in the text?", claim[i] > '9' ? "the letter" : "the digit", claim[i]);
    return (strchr(scene->text.string, claim[i]) != NULL) == truth;
}

static bool ask_yes_no(scenes_random *r, const scenes_scene *scene, scenes_question *q) {
    static bool (*const forms[])(scenes_random *, const scenes_scene *, scenes_question *, bool) = {
        ask_exists, ask_exists, ask_attribute, ask_order, ask_larger, ask_number, ask_about_text,
    };
    bool truth = scenes_chance(r, 50);

    reply(q, "%s", truth ? "yes" : "no");
    for (int attempt = 0; attempt < 40; attempt++) {
        if (PHRASE(r, forms)(r, scene, q, truth)) return true;
    }
    return false;
}

static bool ask_read(scenes_random *r, const scenes_scene *scene, scenes_question *q) {
    static const char *const phrases[] = {
        "What does the text say?",
        "Read the text.",
        "What is the text?",
        "What text is in the picture?",
        "What is written in the picture?",
        "What is written here?",
        "What does it say?",
        "Which letters or digits can you see?",
    };

    ask(q, "%s", PHRASE(r, phrases));
    if (scene->text.string[0] == 0) {
        reply(q, "nothing");
        return scenes_chance(r, 4);
    }
    reply(q, "%s", scene->text.string);
    return true;
}

/* As people type: sometimes without the capital, sometimes without the mark at the end. */
static void type_carelessly(scenes_random *r, char *question) {
    size_t n = strlen(question);

    if (scenes_chance(r, 12)) question[0] = (char)(question[0] - 'A' + 'a');
    if (scenes_chance(r, 12)) question[n - 1] = 0;
}

bool scenes_ask(scenes_question *out, const scenes_scene *scene, scenes_task task, int number) {
    scenes_random r = scenes_stream(scene->id, QUESTION_STREAM + (uint64_t)number);
    bool asked;

    out->task = task;
    switch (task) {
    case SCENES_DESCRIBE: asked = ask_describe(&r, scene, out); break;
    case SCENES_COUNT: asked = ask_count(&r, scene, number, out); break;
    case SCENES_COLOUR: asked = ask_colour(&r, scene, out); break;
    case SCENES_WHERE: asked = ask_where(&r, scene, out); break;
    case SCENES_YES_NO: asked = ask_yes_no(&r, scene, out); break;
    case SCENES_READ: asked = ask_read(&r, scene, out); break;
    default: asked = ask_which(&r, scene, out);
    }
    if (asked) type_carelessly(&r, out->question);
    return asked;
}

bool scenes_example(scenes_scene *scene, scenes_question *question, scenes_split split,
                    uint32_t seed, uint64_t index, scenes_task task, scenes_look look) {
    for (int attempt = 0; attempt < SCENES_ATTEMPTS; attempt++) {
        scenes_make(scene, scenes_id(split, seed, index, attempt), look);
        if (scenes_ask(question, scene, task, 0)) return true;
    }
    return false;
}
