/* SPDX-License-Identifier: MIT */
/*
 * A stroke font drawn for this project: capital letters and digits. Owns the letter forms, not
 * how they are painted.
 *
 * A glyph is a string of strokes separated by blanks; a stroke is a run of points, two digits
 * each (x 0..6, y 0..8, y downwards). A stroke that begins with '~' is curved: its points are a
 * control polygon whose inner corners are cut repeatedly (Chaikin). Letters and digits that look
 * alike elsewhere differ here: 0 is slashed, I has serifs, 1 a flag, 2 is round and Z is not.
 */
#include "scenes.h"

static const char *const letters[26] = {
    "083068 1555",                      /* A */
    "0008 ~003050543404 ~043464683808", /* B */
    "~626030000408386866",              /* C */
    "0008 ~0030606266683808",           /* D */
    "60000868 0454",                    /* E */
    "600008 0454",                      /* F */
    "~62603000040838686765 6535",       /* G */
    "0008 6068 0464",                   /* H */
    "1050 3038 1858",                   /* I */
    "2060 ~606468380806",               /* J */
    "0008 6005 2368",                   /* K */
    "000868",                           /* L */
    "0800346068",                       /* M */
    "08006860",                         /* N */
    "~306064683808040030",              /* O */
    "0008 ~004060644404",               /* P */
    "~306064683808040030 4568",         /* Q */
    "0008 ~004060644404 3468",          /* R */
    "~6260300004346468380806",          /* S */
    "0060 3038",                        /* T */
    "~00050838686560",                  /* U */
    "003860",                           /* V */
    "0018325860",                       /* W */
    "0068 6008",                        /* X */
    "003460 3438",                      /* Y */
    "00600868",                         /* Z */
};

static const char *const digits[10] = {
    "~305054583818141030 4117",        /* 0 */
    "123038 1858",                     /* 1 */
    "~02003060633508 0868",            /* 2 */
    "~020030606434 ~346468380806",     /* 3 */
    "48400666",                        /* 4 */
    "600003 ~03336368380806",          /* 5 */
    "~61603000040838686434 3404 0405", /* 6 */
    "006028",                          /* 7 */
    "~30505434141030 ~34646838080434", /* 8 */
    "~07083868646030000434 3464 6463", /* 9 */
};

#define MAX_POINTS 128

typedef struct {
    float x, y;
} point;

/* Replaces every inner corner by two points on its arms; the ends stay. */
static int cut_corners(point *p, int n) {
    point out[MAX_POINTS];
    int m = 0;

    if (n < 3 || 2 * n > MAX_POINTS) return n;
    out[m++] = p[0];
    for (int i = 1; i + 1 < n; i++) {
        out[m++] =
            (point) { 0.75f * p[i].x + 0.25f * p[i - 1].x, 0.75f * p[i].y + 0.25f * p[i - 1].y };
        out[m++] =
            (point) { 0.75f * p[i].x + 0.25f * p[i + 1].x, 0.75f * p[i].y + 0.25f * p[i + 1].y };
    }
    out[m++] = p[n - 1];
    for (int i = 0; i < m; i++) p[i] = out[i];
    return m;
}

static const char *find_glyph(char c) {
    if (c >= 'A' && c <= 'Z') return letters[c - 'A'];
    if (c >= '0' && c <= '9') return digits[c - '0'];
    return "";
}

int scenes_glyph(char c, int rounding, float segment[SCENES_MAX_SEGMENTS][4]) {
    const char *s = find_glyph(c);
    int count = 0;

    while (*s) {
        point p[MAX_POINTS];
        int n = 0;
        bool curved = *s == '~';

        for (s += curved; *s && *s != ' '; s += 2) {
            p[n++] = (point) { (float)(s[0] - '0'), (float)(s[1] - '0') };
        }
        while (*s == ' ') s++;
        for (int k = 0; curved && k < rounding; k++) n = cut_corners(p, n);
        for (int i = 0; i + 1 < n && count < SCENES_MAX_SEGMENTS; i++, count++) {
            segment[count][0] = p[i].x;
            segment[count][1] = p[i].y;
            segment[count][2] = p[i + 1].x;
            segment[count][3] = p[i + 1].y;
        }
    }
    return count;
}
