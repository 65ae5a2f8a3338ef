/* SPDX-License-Identifier: MIT */
/* The decoder of TIFF. */
#define DECODER vmedia_tiff
#include "image_target.h"
