/* SPDX-License-Identifier: MIT */
/* The decoder of BMP. */
#define DECODER vmedia_bmp
#include "image_target.h"
