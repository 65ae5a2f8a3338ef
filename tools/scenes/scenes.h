/* SPDX-License-Identifier: MIT */
/*
 * The scene generator: pictures of a few shapes and a short text, with questions whose answers
 * are known exactly. It makes the training data of the bundled model, the held-out scenes of
 * `make eval` and the pictures in examples/. Owns what is in a scene, how it is drawn and what is
 * asked about it; knows nothing of models, tokenizers or processors.
 *
 * Everything follows from a 64-bit scene id by integer arithmetic and plain IEEE operations
 * (+ - * / and square root, no contraction, no libm), so that a scene has the same bytes on every
 * machine. The ids of the training scenes and of the held-out scenes differ in their top bit.
 */
#ifndef SCENES_H
#define SCENES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCENES_SIDE 128 /* units (and, in the held-out set, pixels) of the longer side */
#define SCENES_MAX_OBJECTS 4
#define SCENES_MAX_TEXT 3
#define SCENES_ATTEMPTS 64 /* scene ids that one (seed, index) may try until one fits its task */

/* ---- random numbers: a counter through splitmix64's mixing function ---- */

typedef struct {
    uint64_t key;
    uint64_t count;
} scenes_random;

static inline uint64_t scenes_mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Streams of one id are independent: what is asked does not change what is drawn. */
static inline scenes_random scenes_stream(uint64_t id, uint64_t stream) {
    return (scenes_random) { scenes_mix(scenes_mix(id) + stream), 0 };
}

static inline uint64_t scenes_next(scenes_random *r) {
    return scenes_mix(r->key + 0x9e3779b97f4a7c15u * ++r->count);
}

/* 0 <= result < n, n > 0 */
static inline int scenes_below(scenes_random *r, int n) {
    return (int)(((scenes_next(r) >> 32) * (uint64_t)n) >> 32);
}

/* lo <= result < hi */
static inline float scenes_between(scenes_random *r, float lo, float hi) {
    return lo + (hi - lo) * ((float)(scenes_next(r) >> 40) * (1.0f / 16777216.0f));
}

static inline bool scenes_chance(scenes_random *r, int percent) {
    return scenes_below(r, 100) < percent;
}

/* ---- what is in a scene ---- */

typedef enum {
    SCENES_CIRCLE,
    SCENES_SQUARE,
    SCENES_TRIANGLE,
    SCENES_DIAMOND,
    SCENES_STAR,
    SCENES_CROSS,
    SCENES_HEART,
    SCENES_RING,
    SCENES_MOON,
    SCENES_SHAPES
} scenes_shape;

typedef enum {
    SCENES_RED,
    SCENES_ORANGE,
    SCENES_YELLOW,
    SCENES_GREEN,
    SCENES_BLUE,
    SCENES_PURPLE,
    SCENES_PINK,
    SCENES_BROWN,
    SCENES_BLACK,
    SCENES_WHITE,
    SCENES_COLOURS
} scenes_colour;

typedef enum {
    SCENES_PLAIN,
    SCENES_GRADIENT,
    SCENES_STRIPES,
    SCENES_CHECKS,
    SCENES_DOTS,
    SCENES_CLOUDS,
    SCENES_GROUNDS
} scenes_ground;

typedef struct {
    uint8_t r, g, b;
} scenes_rgb;

typedef struct {
    scenes_shape shape;
    scenes_colour colour;
    bool large;
    float x, y, radius; /* centre and size in units */
    float cosine, sine; /* a small tilt */
    scenes_rgb rgb;     /* the shade that the colour's name stands for here */
} scenes_object;

typedef struct {
    char string[SCENES_MAX_TEXT + 1]; /* "" when the scene has no text */
    scenes_colour colour;
    float x, y, height; /* centre and letter height in units */
    float aspect;       /* letter width / height */
    float weight;       /* stroke width / height */
    float slant;
    int rounding; /* how often corners of curved strokes are cut */
    scenes_rgb rgb;
} scenes_text;

typedef struct {
    scenes_ground ground;
    scenes_rgb from, to;
    float angle_x, angle_y; /* direction of gradient and stripes, |(x, y)| = 1 */
    float period;           /* of stripes, checks, dots and clouds, in units */
    bool shadow, outline;
    float softness; /* width of an edge in pixels */
    int noise;      /* amplitude of the pixel noise */
    int jpeg;       /* quality, or 0: lossless */
} scenes_style;

typedef struct {
    uint64_t id;
    float width, height; /* in units, the longer is SCENES_SIDE */
    int objects;
    scenes_object object[SCENES_MAX_OBJECTS]; /* sorted from left to right */
    scenes_text text;
    scenes_style style;
} scenes_scene;

/* How a scene is to be made: the held-out set is square and varied, the examples are neat. */
typedef struct {
    float aspect; /* width / height; 0: mostly square, sometimes not (training) */
    bool neat;    /* soft background, shadows, no noise, no JPEG */
} scenes_look;

typedef enum { SCENES_TRAIN, SCENES_HELD_OUT } scenes_split;

/* seed < 2^16, index < 2^40, attempt < SCENES_ATTEMPTS */
uint64_t scenes_id(scenes_split split, uint32_t seed, uint64_t index, int attempt);
void scenes_make(scenes_scene *scene, uint64_t id, scenes_look look);
const char *scenes_shape_name(scenes_shape shape);
const char *scenes_colour_name(scenes_colour colour);

/* Half the width and half the height that a text takes, in units. */
void scenes_text_extent(const scenes_text *text, float *half_width, float *half_height);

/* ---- drawing ---- */

/* rgb: [height, width, 3]; a picture of another shape than the scene's is squashed. */
void scenes_draw(const scenes_scene *scene, int width, int height, uint8_t *rgb);

/* One letter or digit as line segments (x0, y0, x1, y1) in a box 6 wide and 8 high; returns their
 * number, 0 for a character that the font lacks. */
#define SCENES_MAX_SEGMENTS 160
int scenes_glyph(char c, int rounding, float segment[SCENES_MAX_SEGMENTS][4]);

/* ---- questions ---- */

typedef enum {
    SCENES_DESCRIBE,
    SCENES_COUNT,
    SCENES_COLOUR,
    SCENES_WHERE,
    SCENES_YES_NO,
    SCENES_READ,
    SCENES_WHICH, /* which shape a thing has */
    SCENES_TASKS
} scenes_task;

typedef struct {
    scenes_task task;
    char question[160];
    char answer[240];
} scenes_question;

const char *scenes_task_name(scenes_task task);
/* False when the scene leaves nothing unambiguous to ask. */
bool scenes_ask(scenes_question *out, const scenes_scene *scene, scenes_task task, int number);

/* The index-th scene of a split that allows `task`, and one question about it. */
bool scenes_example(scenes_scene *scene, scenes_question *question, scenes_split split,
                    uint32_t seed, uint64_t index, scenes_task task, scenes_look look);

/* ---- files ---- */

/* rgb becomes what a decoder makes of it after JPEG compression at this quality. */
bool scenes_jpeg_round_trip(uint8_t *rgb, int width, int height, int quality);
bool scenes_write_jpeg(const char *path, const uint8_t *rgb, int width, int height, int quality);
bool scenes_write_png(const char *path, const uint8_t *rgb, int width, int height);

/* ---- training batches (called through ctypes by tools/train_bundled.py) ---- */

/*
 * Draws scenes first .. first+count-1 at 128 x 128 as the model sees them. pixels: [count, 128,
 * 128, 3]; text: [count, questions, 416]: task as a digit, question, newline, answer, NUL; an empty
 * string where the scene had nothing left to ask. With one question per scene, scene i is asked for
 * task i % SCENES_TASKS and equals the i-th scene of the split on disk.
 */
#define SCENES_BATCH_TEXT 416
int scenes_batch(int split, uint32_t seed, uint64_t first, int count, int questions,
                 uint8_t *pixels, char *text);

#endif
