/* SPDX-License-Identifier: MIT */
/* The decoder of PNG. */
#define DECODER vmedia_png
#include "image_target.h"
