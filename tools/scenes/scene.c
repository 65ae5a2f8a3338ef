/* SPDX-License-Identifier: MIT */
/*
 * What is in a scene: chooses background, shapes, colours, sizes, places and text from the
 * scene's id. Owns the ranges of all of these and the rules that keep a scene readable (nothing
 * overlaps, colours stand out from the background, no two things share a left edge to sort by).
 */
#include "scenes.h"

#include <string.h>

enum { LAYOUT_STREAM = 1, STYLE_STREAM = 2 };

#define SMALL_MIN 9.0f
#define SMALL_MAX 12.0f
#define LARGE_MIN 17.0f
#define LARGE_MAX 24.0f
#define GAP 2.5f     /* between two things, and between a thing and the border */
#define APART_X 7.0f /* between centres: the order from left to right is plain to see */
#define CONTRAST 95  /* weighted colour distance of a thing from both background colours */

static const char *const shape_names[SCENES_SHAPES] = {
    "circle", "square", "triangle", "diamond", "star", "cross", "heart", "ring", "moon",
};

static const char *const colour_names[SCENES_COLOURS] = {
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
};

static const scenes_rgb colour_values[SCENES_COLOURS] = {
    { 215, 38, 42 },  { 245, 138, 28 },  { 248, 218, 50 }, { 45, 160, 70 }, { 45, 92, 215 },
    { 128, 55, 172 }, { 246, 150, 192 }, { 118, 74, 38 },  { 28, 28, 30 },  { 245, 245, 243 },
};

static const scenes_rgb ground_values[] = {
    { 200, 200, 198 }, { 225, 218, 200 }, { 180, 205, 228 }, { 190, 222, 198 },
    { 214, 196, 226 }, { 236, 206, 190 }, { 150, 158, 166 }, { 110, 120, 132 },
    { 96, 130, 134 },  { 140, 130, 112 }, { 62, 70, 82 },    { 40, 52, 84 },
    { 44, 70, 62 },    { 72, 54, 78 },    { 232, 232, 230 }, { 128, 150, 190 },
};
#define GROUND_VALUES ((int)(sizeof ground_values / sizeof ground_values[0]))

const char *scenes_shape_name(scenes_shape shape) {
    return shape_names[shape];
}

const char *scenes_colour_name(scenes_colour colour) {
    return colour_names[colour];
}

uint64_t scenes_id(scenes_split split, uint32_t seed, uint64_t index, int attempt) {
    return (uint64_t)(split == SCENES_HELD_OUT) << 63 | (uint64_t)(seed & 0xffff) << 46
           | (index & 0xffffffffffu) << 6 | (uint64_t)(attempt & 63);
}

static uint8_t clamp_byte(int v) {
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static scenes_rgb jitter(scenes_random *r, scenes_rgb c, int amount) {
    int span = 2 * amount + 1;

    c.r = clamp_byte(c.r + scenes_below(r, span) - amount);
    c.g = clamp_byte(c.g + scenes_below(r, span) - amount);
    c.b = clamp_byte(c.b + scenes_below(r, span) - amount);
    return c;
}

static bool stands_out(scenes_rgb a, scenes_rgb b) {
    int dr = a.r - b.r, dg = a.g - b.g, db = a.b - b.b;

    return 3 * dr * dr + 4 * dg * dg + 2 * db * db > 3 * CONTRAST * CONTRAST;
}

/* A direction on the unit circle without trigonometry: half-angle formulas and a quarter turn. */
static void choose_direction(scenes_random *r, float spread, float *x, float *y) {
    float t = scenes_between(r, -spread, spread);
    float c = (1 - t * t) / (1 + t * t), s = 2 * t / (1 + t * t);
    bool turn = scenes_chance(r, 50);

    *x = turn ? -s : c;
    *y = turn ? c : s;
}

static void choose_style(scenes_style *style, uint64_t id, bool neat) {
    scenes_random r = scenes_stream(id, STYLE_STREAM);

    style->ground = neat ? (scenes_chance(&r, 60) ? SCENES_GRADIENT : SCENES_CLOUDS)
                         : (scenes_ground)scenes_below(&r, SCENES_GROUNDS);
    style->from = jitter(&r, ground_values[scenes_below(&r, GROUND_VALUES)], 14);
    style->to = jitter(&r, style->from, 32);
    if (style->ground == SCENES_PLAIN) style->to = style->from;
    choose_direction(&r, 1.0f, &style->angle_x, &style->angle_y);
    style->period = scenes_between(&r, 6, 26);
    style->shadow = scenes_chance(&r, 35);
    style->outline = scenes_chance(&r, 35);
    style->softness = scenes_between(&r, 0.7f, 1.7f);
    style->noise = scenes_chance(&r, 50) ? scenes_below(&r, 22) : 0;
    style->jpeg = scenes_chance(&r, 50) ? 50 + scenes_below(&r, 46) : 0;
    if (neat) {
        style->period = scenes_between(&r, 24, 48);
        style->shadow = true;
        style->softness = 1;
        style->noise = style->jpeg = 0;
    }
}

/* A colour that is seen on this background; `wish` is taken if it is one and not negative. */
static scenes_colour choose_colour(scenes_random *r, const scenes_style *style, int wish,
                                   scenes_rgb *rgb) {
    for (int attempt = 0;; attempt++) {
        int c = attempt == 0 && wish >= 0 ? wish : scenes_below(r, SCENES_COLOURS);

        *rgb = jitter(r, colour_values[c], 16);
        if (attempt == 50 || (stands_out(*rgb, style->from) && stands_out(*rgb, style->to))) {
            return (scenes_colour)c;
        }
    }
}

static void choose_object(scenes_random *r, const scenes_scene *scene, scenes_object *o) {
    const scenes_object *twin =
        scene->objects > 0 ? &scene->object[scenes_below(r, scene->objects)] : NULL;
    bool same_shape = twin && scenes_chance(r, 35), same_colour = twin && scenes_chance(r, 35);
    float t = scenes_between(r, -0.1f, 0.1f);

    o->shape = same_shape ? twin->shape : (scenes_shape)scenes_below(r, SCENES_SHAPES);
    o->colour = choose_colour(r, &scene->style, same_colour ? (int)twin->colour : -1, &o->rgb);
    o->large = scenes_chance(r, 50);
    o->radius = o->large ? scenes_between(r, LARGE_MIN, LARGE_MAX)
                         : scenes_between(r, SMALL_MIN, SMALL_MAX);
    o->cosine = (1 - t * t) / (1 + t * t);
    o->sine = 2 * t / (1 + t * t);
}

static void choose_text(scenes_random *r, const scenes_style *style, scenes_text *text) {
    static const char characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    int length = 1 + scenes_below(r, SCENES_MAX_TEXT);

    for (int i = 0; i < length; i++) text->string[i] = characters[scenes_below(r, 36)];
    text->string[length] = 0;
    text->colour = choose_colour(r, style, -1, &text->rgb);
    text->height = scenes_between(r, 19, 32);
    text->aspect = scenes_between(r, 0.58f, 0.8f);
    text->weight = scenes_between(r, 0.11f, 0.17f);
    text->slant = scenes_between(r, -0.08f, 0.16f);
    text->rounding = scenes_chance(r, 70) ? 3 : 1;
}

void scenes_text_extent(const scenes_text *text, float *half_width, float *half_height) {
    float width = text->height * text->aspect, gap = text->height * 0.3f;
    float length = (float)strlen(text->string);
    float slant = text->slant < 0 ? -text->slant : text->slant;

    *half_width = (length * width + (length - 1) * gap + text->height * (text->weight + slant)) / 2;
    *half_height = text->height * (1 + text->weight) / 2;
}

typedef struct {
    float x, y, half_width, half_height;
} box;

/* A place inside the scene that keeps its distance from the boxes so far. */
static bool place(scenes_random *r, const scenes_scene *scene, const box *boxes, int n, box *b) {
    float border_x = b->half_width + GAP, border_y = b->half_height + GAP;

    if (2 * border_x >= scene->width || 2 * border_y >= scene->height) return false;
    for (int attempt = 0; attempt < 40; attempt++) {
        bool fits = true;

        b->x = scenes_between(r, border_x, scene->width - border_x);
        b->y = scenes_between(r, border_y, scene->height - border_y);
        for (int i = 0; i < n && fits; i++) {
            float dx = b->x < boxes[i].x ? boxes[i].x - b->x : b->x - boxes[i].x;
            float dy = b->y < boxes[i].y ? boxes[i].y - b->y : b->y - boxes[i].y;

            fits = dx >= APART_X
                   && (dx >= b->half_width + boxes[i].half_width + GAP
                       || dy >= b->half_height + boxes[i].half_height + GAP);
        }
        if (fits) return true;
    }
    return false;
}

static bool place_all(scenes_random *r, scenes_scene *scene) {
    box boxes[SCENES_MAX_OBJECTS + 1];
    int n = 0;

    if (scene->text.string[0]) {
        box *b = &boxes[n];

        scenes_text_extent(&scene->text, &b->half_width, &b->half_height);
        if (!place(r, scene, boxes, n, b)) return false;
        scene->text.x = b->x;
        scene->text.y = b->y;
        n++;
    }
    for (int i = 0; i < scene->objects; i++, n++) {
        scenes_object *o = &scene->object[i];
        box *b = &boxes[n];

        b->half_width = b->half_height = o->radius * 1.12f; /* the tips of tilted shapes */
        if (!place(r, scene, boxes, n, b)) return false;
        o->x = b->x;
        o->y = b->y;
    }
    return true;
}

static void sort_from_left(scenes_scene *scene) {
    for (int i = 1; i < scene->objects; i++) {
        for (int j = i; j > 0 && scene->object[j].x < scene->object[j - 1].x; j--) {
            scenes_object swap = scene->object[j];

            scene->object[j] = scene->object[j - 1];
            scene->object[j - 1] = swap;
        }
    }
}

static void choose_frame(scenes_random *r, scenes_scene *scene, float aspect) {
    static const float usual[] = { 4.0f / 3, 3.0f / 4, 3.0f / 2, 2.0f / 3, 16.0f / 9 };

    if (aspect == 0) aspect = scenes_chance(r, 20) ? usual[scenes_below(r, 5)] : 1;
    scene->width = aspect >= 1 ? SCENES_SIDE : SCENES_SIDE * aspect;
    scene->height = aspect >= 1 ? SCENES_SIDE / aspect : SCENES_SIDE;
}

void scenes_make(scenes_scene *scene, uint64_t id, scenes_look look) {
    scenes_random r = scenes_stream(id, LAYOUT_STREAM);

    memset(scene, 0, sizeof *scene);
    scene->id = id;
    choose_style(&scene->style, id, look.neat);
    choose_frame(&r, scene, look.aspect);
    /* A crowd that does not fit is chosen anew; in the end one thing always fits. */
    for (int attempt = 0;; attempt++) {
        int most = attempt < 30 ? SCENES_MAX_OBJECTS : 1;
        int objects = 1 + scenes_below(&r, most);

        scene->objects = 0;
        scene->text.string[0] = 0;
        if (attempt < 30 && scenes_chance(&r, 60)) choose_text(&r, &scene->style, &scene->text);
        if (scene->text.string[0] && scenes_chance(&r, 8)) objects = 0;
        for (int i = 0; i < objects; i++, scene->objects++) {
            choose_object(&r, scene, &scene->object[i]);
        }
        if (place_all(&r, scene)) break;
    }
    sort_from_left(scene);
}
