/* SPDX-License-Identifier: MIT */
/* The decoder of AVIF. */
#define DECODER vmedia_avif
#include "image_target.h"
