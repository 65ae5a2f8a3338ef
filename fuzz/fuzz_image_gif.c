/* SPDX-License-Identifier: MIT */
/* The decoder of GIF. */
#define DECODER vmedia_gif
#include "image_target.h"
