/* SPDX-License-Identifier: MIT */
/* The decoder of WebP. */
#define DECODER vmedia_webp
#include "image_target.h"
