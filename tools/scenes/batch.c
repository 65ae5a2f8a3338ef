/* SPDX-License-Identifier: MIT */
/*
 * Training batches: many scenes drawn into one buffer, several questions about each. Owns the
 * mix of tasks that the model is trained on.
 */
#include "scenes.h"

#include <stdio.h>
#include <string.h>

enum { MIX_STREAM = 8 };

/* Reading and describing are the hardest to learn: they come more often. */
static const scenes_task mix[] = {
    SCENES_DESCRIBE, SCENES_DESCRIBE, SCENES_COUNT,  SCENES_COLOUR, SCENES_WHERE,
    SCENES_WHERE,    SCENES_YES_NO,   SCENES_YES_NO, SCENES_READ,   SCENES_WHICH,
};

static void put(char *text, const scenes_question *q) {
    snprintf(text, SCENES_BATCH_TEXT, "%d%s\n%s", (int)q->task, q->question, q->answer);
}

int scenes_batch(int split, uint32_t seed, uint64_t first, int count, int questions,
                 uint8_t *pixels, char *text) {
    const scenes_look look = { split == SCENES_HELD_OUT ? 1.0f : 0, false };

    for (int i = 0; i < count; i++) {
        uint64_t index = first + (uint64_t)i;
        uint8_t *rgb = pixels + (size_t)i * SCENES_SIDE * SCENES_SIDE * 3;
        scenes_scene scene;
        scenes_question q;
        scenes_random r;
        scenes_task task = (scenes_task)(index % SCENES_TASKS);

        if (!scenes_example(&scene, &q, (scenes_split)split, seed, index, task, look)) return -1;
        scenes_draw(&scene, SCENES_SIDE, SCENES_SIDE, rgb);
        if (scene.style.jpeg > 0
            && !scenes_jpeg_round_trip(rgb, SCENES_SIDE, SCENES_SIDE, scene.style.jpeg)) {
            return -1;
        }
        r = scenes_stream(scene.id, MIX_STREAM);
        for (int k = 0; k < questions; k++, text += SCENES_BATCH_TEXT) {
            bool asked = true;

            if (k > 0) {
                task = mix[scenes_below(&r, (int)(sizeof mix / sizeof mix[0]))];
                asked = scenes_ask(&q, &scene, task, k);
            }
            text[0] = 0;
            if (asked) put(text, &q);
        }
    }
    return 0;
}
