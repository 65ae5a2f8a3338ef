/* SPDX-License-Identifier: MIT */
/*
 * The renderer: paints a scene into an RGB picture of any size. Shapes are signed distances, in
 * units of their radius, that become coverage over an edge a pixel or so wide; the text is a
 * coverage mask of thick strokes. Owns how things look, not what there is to see.
 */
#include "scenes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NOISE_STREAM = 3, CLOUD_STREAM = 4 };

typedef struct {
    int width, height;
    uint8_t *rgb;
    float scale_x, scale_y; /* pixels per unit */
    float unit_x, unit_y;   /* units per pixel */
} canvas;

static float minimum(float a, float b) {
    return a < b ? a : b;
}

static float maximum(float a, float b) {
    return a > b ? a : b;
}

static float clamp(float v, float lo, float hi) {
    return v < lo ? lo : v > hi ? hi : v;
}

/* ---- signed distances ---- */

typedef struct {
    float x, y;
} point;

static const point triangle_points[] = { { 0, -1.0f }, { 0.97f, 0.8f }, { -0.97f, 0.8f } };
static const point star_points[] = {
    { 0, -1.1f }, { 0.27f, -0.37f }, { 1.05f, -0.34f }, { 0.44f, 0.14f },   { 0.65f, 0.89f },
    { 0, 0.46f }, { -0.65f, 0.89f }, { -0.44f, 0.14f }, { -1.05f, -0.34f }, { -0.27f, -0.37f },
};
static const point cross_points[] = {
    { -0.34f, -1 },    { 0.34f, -1 },    { 0.34f, -0.34f }, { 1, -0.34f },
    { 1, 0.34f },      { 0.34f, 0.34f }, { 0.34f, 1 },      { -0.34f, 1 },
    { -0.34f, 0.34f }, { -1, 0.34f },    { -1, -0.34f },    { -0.34f, -0.34f },
};

/* Distance to the border of a polygon, negative inside (even-odd rule). */
static float polygon_distance(float x, float y, const point *p, int n) {
    float best = 1e9f;
    bool inside = false;

    for (int i = 0, j = n - 1; i < n; j = i++) {
        float ex = p[j].x - p[i].x, ey = p[j].y - p[i].y;
        float wx = x - p[i].x, wy = y - p[i].y;
        float t = clamp((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1);
        float dx = wx - t * ex, dy = wy - t * ey;

        best = minimum(best, dx * dx + dy * dy);
        if ((p[i].y > y) != (p[j].y > y) && (wy * ex < wx * ey) == (ey < 0)) {
            inside = !inside;
        }
    }
    return inside ? -sqrtf(best) : sqrtf(best);
}

static float circle_distance(float x, float y, float cx, float cy, float radius) {
    float dx = x - cx, dy = y - cy;

    return sqrtf(dx * dx + dy * dy) - radius;
}

/* A square on its tip and a circle on each of its upper sides. */
static float heart_distance(float x, float y) {
    const float half = 0.778f, side = 1.1f, root = 0.70711f;
    float ax = x < 0 ? -x : x, cy = 0.12f, ay = y - cy;
    float tip = (ax + (ay < 0 ? -ay : ay) - half) * root;

    return minimum(tip, circle_distance(ax, ay, half / 2, -half / 2, side / 2));
}

static float shape_distance(scenes_shape shape, float x, float y) {
    float ax = x < 0 ? -x : x, ay = y < 0 ? -y : y;

    switch (shape) {
    case SCENES_CIRCLE: return circle_distance(x, y, 0, 0, 1);
    case SCENES_SQUARE: return maximum(ax, ay) - 0.88f;
    case SCENES_TRIANGLE: return polygon_distance(x, y, triangle_points, 3);
    case SCENES_DIAMOND: return (ax * 1.1f + ay * 0.78f - 0.86f) * 0.742f;
    case SCENES_STAR: return polygon_distance(x, y, star_points, 10);
    case SCENES_CROSS: return polygon_distance(x, y, cross_points, 12);
    case SCENES_HEART: return heart_distance(x, y);
    case SCENES_RING: {
        float d = circle_distance(x, y, 0, 0, 0.76f);
        return (d < 0 ? -d : d) - 0.24f;
    }
    default: /* SCENES_MOON */
        return maximum(circle_distance(x, y, 0, 0, 1), -circle_distance(x, y, 0.5f, -0.12f, 0.82f));
    }
}

/* ---- painting ---- */

static void blend(uint8_t *pixel, scenes_rgb c, int alpha) {
    pixel[0] = (uint8_t)(pixel[0] + (((c.r - pixel[0]) * alpha + 128) >> 8));
    pixel[1] = (uint8_t)(pixel[1] + (((c.g - pixel[1]) * alpha + 128) >> 8));
    pixel[2] = (uint8_t)(pixel[2] + (((c.b - pixel[2]) * alpha + 128) >> 8));
}

static scenes_rgb mix_rgb(scenes_rgb a, scenes_rgb b, int share) {
    uint8_t p[3] = { a.r, a.g, a.b };

    blend(p, b, share);
    return (scenes_rgb) { p[0], p[1], p[2] };
}

/* 0..256: how much of a pixel lies inside an edge at this distance (in pixels). */
static int coverage(float distance, float softness) {
    return (int)(clamp(0.5f - distance / softness, 0, 1) * 256);
}

/* The contour is a darker shade of the colour itself, a lighter one of a dark colour. */
static scenes_rgb contour_of(scenes_rgb c) {
    const scenes_rgb black = { 0, 0, 0 }, white = { 255, 255, 255 };

    return c.r + c.g + c.b < 150 ? mix_rgb(c, white, 90) : mix_rgb(c, black, 110);
}

typedef struct {
    int x0, y0, x1, y1;
} window;

/* The pixels that a thing with this centre and these half extents (in units) may touch. */
static window window_of(const canvas *c, float x, float y, float half_width, float half_height) {
    float x0 = (x - half_width) * c->scale_x - 2, x1 = (x + half_width) * c->scale_x + 3;
    float y0 = (y - half_height) * c->scale_y - 2, y1 = (y + half_height) * c->scale_y + 3;

    return (window) { (int)clamp(x0, 0, (float)c->width), (int)clamp(y0, 0, (float)c->height),
                      (int)clamp(x1, 0, (float)c->width), (int)clamp(y1, 0, (float)c->height) };
}

static void paint_object(const canvas *c, const scenes_object *o, const scenes_style *style,
                         bool shadow) {
    const scenes_rgb black = { 0, 0, 0 };
    scenes_rgb contour = contour_of(o->rgb);
    float cx = shadow ? o->x + 1.8f : o->x, cy = shadow ? o->y + 2.2f : o->y;
    float reach = o->radius * 1.2f + (shadow ? 3 : 0);
    float pixels = o->radius * minimum(c->scale_x, c->scale_y); /* per unit of shape_distance */
    float soft = shadow ? 4 * c->scale_x : style->softness;
    float line = 1.3f * minimum(c->scale_x, c->scale_y);
    window w = window_of(c, cx, cy, reach, reach);

    for (int py = w.y0; py < w.y1; py++) {
        for (int px = w.x0; px < w.x1; px++) {
            float ux = (((float)px + 0.5f) * c->unit_x - cx) / o->radius;
            float uy = (((float)py + 0.5f) * c->unit_y - cy) / o->radius;
            float x = ux * o->cosine + uy * o->sine, y = uy * o->cosine - ux * o->sine;
            uint8_t *pixel = c->rgb + 3 * ((size_t)py * (size_t)c->width + (size_t)px);
            float d;
            int a;

            if (ux * ux + uy * uy > 1.5f && !shadow) continue;
            d = shape_distance(o->shape, x, y) * pixels;
            a = coverage(d, soft);
            if (a == 0) continue;
            if (shadow) {
                blend(pixel, black, a * 70 >> 8);
            } else if (style->outline) {
                int inner = coverage(d + line, soft);
                blend(pixel, mix_rgb(contour, o->rgb, inner), a);
            } else {
                blend(pixel, o->rgb, a);
            }
        }
    }
}

/* Raises the mask along one thick segment with round ends; all in pixels of the window. */
static void stroke(uint8_t *mask, int width, int height, const float s[4], float radius,
                   float softness) {
    float ex = s[2] - s[0], ey = s[3] - s[1], reach = radius + softness;
    float length = ex * ex + ey * ey;
    int x0 = (int)clamp(minimum(s[0], s[2]) - reach, 0, (float)width);
    int x1 = (int)clamp(maximum(s[0], s[2]) + reach + 1, 0, (float)width);
    int y0 = (int)clamp(minimum(s[1], s[3]) - reach, 0, (float)height);
    int y1 = (int)clamp(maximum(s[1], s[3]) + reach + 1, 0, (float)height);

    for (int y = y0; y < y1; y++) {
        for (int x = x0; x < x1; x++) {
            float wx = (float)x + 0.5f - s[0], wy = (float)y + 0.5f - s[1];
            float t = length > 0 ? clamp((wx * ex + wy * ey) / length, 0, 1) : 0;
            float dx = wx - t * ex, dy = wy - t * ey, square = dx * dx + dy * dy;
            uint8_t *m = &mask[(size_t)y * (size_t)width + (size_t)x];
            int a;

            if (square > reach * reach) continue;
            a = coverage(sqrtf(square) - radius, softness);
            if (a > 255) a = 255;
            if (a > *m) *m = (uint8_t)a;
        }
    }
}

static void paint_text(const canvas *c, const scenes_text *t, const scenes_style *style) {
    float half_width, half_height, segment[SCENES_MAX_SEGMENTS][4];
    float advance = t->height * (t->aspect + 0.3f), left, top = t->y - t->height / 2;
    float radius = t->height * t->weight / 2 * minimum(c->scale_x, c->scale_y);
    float length = (float)strlen(t->string);
    window w;
    int width, height;
    uint8_t *mask;

    scenes_text_extent(t, &half_width, &half_height);
    w = window_of(c, t->x, t->y, half_width + 1, half_height + 1);
    width = w.x1 - w.x0;
    height = w.y1 - w.y0;
    mask = calloc((size_t)width * (size_t)height + 1, 1);
    if (mask == NULL) return;
    left = t->x - (length * t->height * t->aspect + (length - 1) * t->height * 0.3f) / 2;
    for (const char *p = t->string; *p; p++, left += advance) {
        int n = scenes_glyph(*p, t->rounding, segment);

        for (int i = 0; i < n; i++) {
            float s[4];

            for (int k = 0; k < 4; k += 2) {
                float gx = segment[i][k] / 6 * t->height * t->aspect;
                float gy = segment[i][k + 1] / 8 * t->height;

                s[k] = (left + gx + (t->height / 2 - gy) * t->slant) * c->scale_x - (float)w.x0;
                s[k + 1] = (top + gy) * c->scale_y - (float)w.y0;
            }
            stroke(mask, width, height, s, radius, style->softness);
        }
    }
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            int a = mask[(size_t)y * (size_t)width + (size_t)x];
            size_t at = (size_t)(y + w.y0) * (size_t)c->width + (size_t)(x + w.x0);

            if (a > 0) blend(c->rgb + 3 * at, t->rgb, a + (a >> 7));
        }
    }
    free(mask);
}

/* ---- backgrounds ---- */

#define LATTICE 32

static void fill_lattice(uint64_t id, int16_t lattice[LATTICE][LATTICE]) {
    scenes_random r = scenes_stream(id, CLOUD_STREAM);

    for (int y = 0; y < LATTICE; y++) {
        for (int x = 0; x < LATTICE; x++) lattice[y][x] = (int16_t)scenes_below(&r, 257);
    }
}

/* Smooth noise: values on a lattice, joined by cubic steps. */
static float cloud(int16_t lattice[LATTICE][LATTICE], float x, float y) {
    int ix = (int)x, iy = (int)y;
    float fx = x - (float)ix, fy = y - (float)iy;
    const int16_t *upper = lattice[iy % LATTICE], *lower = lattice[(iy + 1) % LATTICE];
    int a = ix % LATTICE, b = (ix + 1) % LATTICE;
    float u = fx * fx * (3 - 2 * fx), v = fy * fy * (3 - 2 * fy);
    float high = (float)upper[a] + (float)(upper[b] - upper[a]) * u;
    float low = (float)lower[a] + (float)(lower[b] - lower[a]) * u;

    return high + (low - high) * v;
}

/* Position within a period, 0..1. */
static float phase(float v, float rate) {
    float q = v * rate + 4096;

    return q - (float)(int)q;
}

/* 0..256: how much of the second background colour is at (x, y), in units. */
static int ground_share(const scenes_scene *scene, int16_t lattice[LATTICE][LATTICE], float x,
                        float y) {
    const scenes_style *s = &scene->style;
    float rate = 1 / s->period;
    float along = x * s->angle_x + y * s->angle_y, across = y * s->angle_x - x * s->angle_y;

    switch (s->ground) {
    case SCENES_GRADIENT: {
        float cx = x - scene->width / 2, cy = y - scene->height / 2;
        return (int)(clamp(0.5f + (cx * s->angle_x + cy * s->angle_y) / SCENES_SIDE, 0, 1) * 256);
    }
    case SCENES_STRIPES: return phase(along, rate) < 0.5f ? 256 : 0;
    case SCENES_CHECKS:
        return (phase(along, rate) < 0.5f) != (phase(across, rate) < 0.5f) ? 256 : 0;
    case SCENES_DOTS: {
        float u = phase(along, rate) - 0.5f, v = phase(across, rate) - 0.5f;
        return u * u + v * v < 0.08f ? 256 : 0;
    }
    case SCENES_CLOUDS: return (int)cloud(lattice, x * rate, y * rate);
    default: return 0;
    }
}

static void paint_ground(const canvas *c, const scenes_scene *scene) {
    int16_t lattice[LATTICE][LATTICE];
    uint8_t *pixel = c->rgb;

    if (scene->style.ground == SCENES_CLOUDS) fill_lattice(scene->id, lattice);
    for (int py = 0; py < c->height; py++) {
        float y = ((float)py + 0.5f) * c->unit_y;

        for (int px = 0; px < c->width; px++, pixel += 3) {
            float x = ((float)px + 0.5f) * c->unit_x;
            int share = ground_share(scene, lattice, x, y);

            pixel[0] = scene->style.from.r;
            pixel[1] = scene->style.from.g;
            pixel[2] = scene->style.from.b;
            if (share > 0) blend(pixel, scene->style.to, share);
        }
    }
}

static void add_noise(const canvas *c, const scenes_scene *scene) {
    scenes_random r = scenes_stream(scene->id, NOISE_STREAM);
    int amplitude = scene->style.noise;
    size_t n = (size_t)c->width * (size_t)c->height;

    for (size_t i = 0; i < n; i++) {
        uint64_t bits = scenes_next(&r);

        for (int k = 0; k < 3; k++, bits >>= 16) {
            int v = c->rgb[3 * i + (size_t)k];

            v += ((int)(bits & 0xffff) * (2 * amplitude + 1) >> 16) - amplitude;
            c->rgb[3 * i + (size_t)k] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
}

void scenes_draw(const scenes_scene *scene, int width, int height, uint8_t *rgb) {
    canvas c = { width,
                 height,
                 rgb,
                 (float)width / scene->width,
                 (float)height / scene->height,
                 scene->width / (float)width,
                 scene->height / (float)height };

    paint_ground(&c, scene);
    for (int i = 0; scene->style.shadow && i < scene->objects; i++) {
        paint_object(&c, &scene->object[i], &scene->style, true);
    }
    for (int i = 0; i < scene->objects; i++) {
        paint_object(&c, &scene->object[i], &scene->style, false);
    }
    if (scene->text.string[0]) paint_text(&c, &scene->text, &scene->style);
    if (scene->style.noise > 0) add_noise(&c, scene);
}
