/* SPDX-License-Identifier: MIT */
/* The decoder of JPEG. */
#define DECODER vmedia_jpeg
#include "image_target.h"
