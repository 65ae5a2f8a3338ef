/* SPDX-License-Identifier: MIT */
/* Long clips, made where they are needed: some seconds encoded (MPEG-4), their packets repeated. */
#ifndef TESTS_SUPPORT_CLIP_H
#define TESTS_SUPPORT_CLIP_H

typedef struct tclip {
    int width, height, rate; /* frames a second */
    int gop;                 /* frames that are encoded, and that lie between two key frames */
    long frames;             /* of the whole */
} tclip;

/* Writes an mp4 file: a grey ramp with a bar that moves. Fails the running test when that does not work. */
void tclip_write(const char *path, const tclip *clip);

#endif
