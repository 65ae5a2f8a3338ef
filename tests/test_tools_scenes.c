/* SPDX-License-Identifier: MIT */
/* The scene generator: the same bytes everywhere, and answers that follow from the scene. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenes.h"
#include "support/cm.h"

#define SIDE SCENES_SIDE

static const scenes_look plain = { 1.0f, false };

static uint64_t hash(uint64_t h, const void *bytes, size_t n) {
    const uint8_t *p = bytes;

    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

/* The held-out set is committed as a seed: these sums are what makes it the same set. */
static void test_same_everywhere(void **state) {
    static uint8_t rgb[SIDE * SIDE * 3];
    uint64_t pixels = 0xcbf29ce484222325u, words = pixels, wide = pixels;
    scenes_scene scene;
    scenes_question q;

    (void)state;
    for (uint64_t i = 0; i < 48; i++) {
        assert_true(scenes_example(&scene, &q, SCENES_HELD_OUT, 1, i,
                                   (scenes_task)(i % SCENES_TASKS), plain));
        scenes_draw(&scene, SIDE, SIDE, rgb);
        pixels = hash(pixels, rgb, sizeof rgb);
        words = hash(words, q.question, strlen(q.question));
        words = hash(words, q.answer, strlen(q.answer));
        scenes_make(&scene, scenes_id(SCENES_TRAIN, 1, i, 0), (scenes_look) { 0, i % 2 == 0 });
        scenes_draw(&scene, 96, 80, rgb);
        wide = hash(wide, rgb, 96 * 80 * 3);
    }
    assert_int_equal(pixels, 0x2c7bbb35965b15d6u);
    assert_int_equal(words, 0xb033ea46afb20cf6u);
    assert_int_equal(wide, 0x73f15a85ef5be06bu);
}

static void test_splits_share_no_scene(void **state) {
    (void)state;
    for (int seed = 0; seed < 65536; seed += 4369) {
        uint64_t last = (1ull << 40) - 1;

        assert_true(scenes_id(SCENES_TRAIN, (uint32_t)seed, last, 63) >> 63 == 0);
        assert_true(scenes_id(SCENES_HELD_OUT, (uint32_t)seed, 0, 0) >> 63 == 1);
    }
    assert_true(scenes_id(SCENES_TRAIN, 1, 7, 63) < scenes_id(SCENES_TRAIN, 1, 8, 0));
    assert_true(scenes_id(SCENES_TRAIN, 1, 1ull << 39, 0) < scenes_id(SCENES_TRAIN, 2, 0, 0));
}

static float distance(float a, float b) {
    return a < b ? b - a : a - b;
}

static void test_things_keep_apart(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 2000; i++) {
        scenes_scene s;

        scenes_make(&s, scenes_id(SCENES_TRAIN, 9, i, 0), (scenes_look) { 0, false });
        assert_in_range(s.objects, 0, SCENES_MAX_OBJECTS);
        assert_true(s.objects > 0 || s.text.string[0]);
        for (int a = 0; a < s.objects; a++) {
            const scenes_object *o = &s.object[a];

            assert_true(o->x > o->radius && o->x + o->radius < s.width);
            assert_true(o->y > o->radius && o->y + o->radius < s.height);
            assert_true(o->large ? o->radius >= 17 : o->radius <= 12);
            for (int b = 0; b < a; b++) {
                const scenes_object *p = &s.object[b];
                float reach = o->radius + p->radius;

                assert_true(o->x >= p->x + 7);
                assert_true(distance(o->x, p->x) > reach || distance(o->y, p->y) > reach);
            }
        }
    }
}

/* ---- answers, worked out again from the words ---- */

/* Reads "[large|small] [colour] shape[s]" at the start of `words`. */
typedef struct {
    int large, colour, shape; /* -1: not said */
} phrase;

static bool take(const char **words, const char *word) {
    size_t n = strlen(word);

    if (strncmp(*words, word, n) != 0) return false;
    *words += n;
    while (**words == ' ') (*words)++;
    return true;
}

static phrase read_phrase(const char *words) {
    phrase p = { -1, -1, -1 };

    if (take(&words, "large ")) p.large = 1;
    if (take(&words, "small ")) p.large = 0;
    for (int c = 0; c < SCENES_COLOURS; c++) {
        if (take(&words, scenes_colour_name((scenes_colour)c))) p.colour = c;
    }
    for (int s = 0; s < SCENES_SHAPES; s++) {
        if (take(&words, scenes_shape_name((scenes_shape)s))) p.shape = s;
    }
    return p;
}

static int find(const scenes_scene *s, phrase p, int *which) {
    int n = 0;

    for (int i = 0; i < s->objects; i++) {
        const scenes_object *o = &s->object[i];

        if ((p.large >= 0 && p.large != (int)o->large)
            || (p.colour >= 0 && p.colour != (int)o->colour)
            || (p.shape >= 0 && p.shape != (int)o->shape)) {
            continue;
        }
        *which = i;
        n++;
    }
    return n;
}

/* The noun phrase after one of these openings, or NULL. */
static const char *after(const char *question, const char *const *openings) {
    for (; *openings; openings++) {
        size_t n = strlen(*openings);

        if (strncmp(question, *openings, n) == 0) return question + n;
    }
    return NULL;
}

static void check_describe(const scenes_scene *s, const char *answer) {
    const char *words = answer;
    bool text_done = s->text.string[0] == 0;

    for (int i = 0; *words;) {
        if (take(&words, "the ")) {
            char expected[64];

            assert_false(text_done);
            assert_true(i == s->objects || s->text.x < s->object[i].x);
            snprintf(expected, sizeof expected, "%s text \"%s\"",
                     scenes_colour_name(s->text.colour), s->text.string);
            assert_true(take(&words, expected));
            text_done = true;
        } else {
            phrase p;

            assert_true(take(&words, "a "));
            p = read_phrase(words);
            assert_true(i < s->objects);
            assert_int_equal(p.large, s->object[i].large);
            assert_int_equal(p.colour, s->object[i].colour);
            assert_int_equal(p.shape, s->object[i].shape);
            words += strcspn(words, ", ") + 1;
            words += strcspn(words, ", ") + 1;
            words += strcspn(words, ", ");
            i++;
        }
        take(&words, ", ");
        while (*words == ' ') words++;
        take(&words, "and ");
        if (*words == 0) assert_int_equal(i, s->objects);
    }
    assert_true(text_done);
}

static void check_where(const scenes_scene *s, int i, const char *answer) {
    float x = s->object[i].x / s->width * 3, y = s->object[i].y / s->height * 3;

    assert_true((strstr(answer, "left") != NULL) == (x < 1));
    assert_true((strstr(answer, "right") != NULL) == (x > 2));
    assert_true((strstr(answer, "top") != NULL) == (y < 1));
    assert_true((strstr(answer, "bottom") != NULL) == (y > 2));
    assert_true((strcmp(answer, "centre") == 0) == (x > 1 && x < 2 && y > 1 && y < 2));
}

/* Does the question name shapes at all, or a thing that no scene has? */
static bool names_a_shape(const char *question) {
    if (strstr(question, "shape") || strstr(question, "object") || strstr(question, "thing")) {
        return true;
    }
    for (int s = 0; s < SCENES_SHAPES; s++) {
        if (strstr(question, scenes_shape_name((scenes_shape)s))) return true;
    }
    return false;
}

static bool contains_any(const char *question, const char *const *parts) {
    while (*parts && strstr(question, *parts) == NULL) parts++;
    return *parts != NULL;
}

/* Returns whether the question was of a form that is checked here. */
static bool check(const scenes_scene *s, const scenes_question *q) {
    static const char *const openings[SCENES_TASKS][7] = {
        [SCENES_COUNT] = { "How many ", "Count the ", "What is the number of " },
        [SCENES_COLOUR] = { "What colour is the ", "What color is the ", "Which colour is the ",
                            "Which colour does the ", "Name the colour of the " },
        [SCENES_WHERE] = { "Where is the ", "Where in the picture is the ",
                           "In which part of the picture is the " },
        [SCENES_YES_NO] = { "Is there a ", "Is there an ", "Can you see a ", "Can you see an ",
                            "Does the picture show a ", "Does the picture show an " },
        [SCENES_WHICH] = { "What is the ", "What shape is the ", "Which shape is the ",
                           "Name the shape of the " },
    };
    static const char *const special[] = {
        "text", "most ", "on the far ", "at the very ", "relative to", "seen from", NULL
    };
    const char *words = NULL;
    int which = 0, n;

    if (q->task == SCENES_DESCRIBE) {
        check_describe(s, q->answer);
        return true;
    }
    if (q->task == SCENES_READ) {
        assert_string_equal(q->answer, s->text.string[0] ? s->text.string : "nothing");
        return true;
    }
    words = after(q->question, openings[q->task]);
    if (words == NULL || contains_any(q->question, special)) return false;
    n = names_a_shape(q->question) ? find(s, read_phrase(words), &which) : 0;
    if (q->task == SCENES_COUNT) {
        assert_int_equal(atoi(q->answer), n);
    } else if (q->task == SCENES_YES_NO) {
        assert_string_equal(q->answer, n > 0 ? "yes" : "no");
    } else {
        const scenes_object *o = &s->object[which];

        assert_int_equal(n, 1);
        if (q->task == SCENES_WHERE) check_where(s, which, q->answer);
        if (q->task == SCENES_COLOUR) assert_string_equal(q->answer, scenes_colour_name(o->colour));
        if (q->task == SCENES_WHICH) assert_string_equal(q->answer, scenes_shape_name(o->shape));
    }
    return true;
}

static void test_answers_follow_from_the_scene(void **state) {
    int checked[SCENES_TASKS] = { 0 };

    (void)state;
    for (uint64_t i = 0; i < 3000; i++) {
        scenes_scene s;
        scenes_question q;

        assert_true(
            scenes_example(&s, &q, SCENES_HELD_OUT, 2, i, (scenes_task)(i % SCENES_TASKS), plain));
        checked[q.task] += check(&s, &q);
    }
    for (int t = 0; t < SCENES_TASKS; t++) assert_true(checked[t] > 60);
}

/* No answer may be right so often that a model which sees nothing scores with it. */
static void test_answers_are_balanced(void **state) {
    int yes = 0, counts[5] = { 0 }, colours[SCENES_COLOURS] = { 0 };

    (void)state;
    for (uint64_t i = 0; i < 3000; i++) {
        scenes_scene s;
        scenes_question q;

        assert_true(
            scenes_example(&s, &q, SCENES_HELD_OUT, 3, i, (scenes_task)(i % SCENES_TASKS), plain));
        if (q.task == SCENES_YES_NO) yes += q.answer[0] == 'y';
        if (q.task == SCENES_COUNT) counts[q.answer[0] - '0']++;
        for (int c = 0; q.task == SCENES_COLOUR && c < SCENES_COLOURS; c++) {
            colours[c] += strcmp(q.answer, scenes_colour_name((scenes_colour)c)) == 0;
        }
    }
    assert_in_range(yes, 180, 250);
    for (int i = 0; i < 5; i++) assert_in_range(counts[i], 50, 130);
    for (int c = 0; c < SCENES_COLOURS; c++) assert_in_range(colours[c], 15, 90);
}

static void test_font(void **state) {
    float segment[SCENES_MAX_SEGMENTS][4];

    (void)state;
    for (const char *c = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"; *c; c++) {
        int n = scenes_glyph(*c, 3, segment);

        assert_in_range(n, 1, SCENES_MAX_SEGMENTS - 1);
        for (int i = 0; i < n; i++) {
            assert_true(segment[i][0] >= 0 && segment[i][0] <= 6 && segment[i][2] >= 0);
            assert_true(segment[i][1] >= 0 && segment[i][1] <= 8 && segment[i][3] <= 8);
        }
    }
    assert_int_equal(scenes_glyph('?', 3, segment), 0);
}

/* A batch is the scenes of the split, drawn one after the other. */
static void test_batch(void **state) {
    static uint8_t pixels[SCENES_TASKS * SIDE * SIDE * 3], rgb[SIDE * SIDE * 3];
    static char text[SCENES_TASKS * SCENES_BATCH_TEXT];

    (void)state;
    assert_int_equal(scenes_batch(SCENES_HELD_OUT, 1, 14, SCENES_TASKS, 1, pixels, text), 0);
    for (int i = 0; i < SCENES_TASKS; i++) {
        char expected[SCENES_BATCH_TEXT];
        scenes_scene s;
        scenes_question q;
        long off = 0;

        assert_true(
            scenes_example(&s, &q, SCENES_HELD_OUT, 1, 14 + (uint64_t)i, (scenes_task)i, plain));
        snprintf(expected, sizeof expected, "%d%s\n%s", i, q.question, q.answer);
        assert_string_equal(text + i * SCENES_BATCH_TEXT, expected);
        scenes_draw(&s, SIDE, SIDE, rgb);
        for (size_t k = 0; k < sizeof rgb; k++) {
            off += labs((long)rgb[k] - pixels[(size_t)i * sizeof rgb + k]);
        }
        /* Lossless scenes are the same bytes, the others what JPEG leaves of them. */
        assert_true(s.style.jpeg ? off > 0 && off < 25 * (long)sizeof rgb : off == 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_everywhere),
        cmocka_unit_test(test_splits_share_no_scene),
        cmocka_unit_test(test_things_keep_apart),
        cmocka_unit_test(test_answers_follow_from_the_scene),
        cmocka_unit_test(test_answers_are_balanced),
        cmocka_unit_test(test_font),
        cmocka_unit_test(test_batch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
