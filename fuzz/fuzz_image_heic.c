/* SPDX-License-Identifier: MIT */
/* The decoder of HEIC. */
#define DECODER vmedia_heic
#include "image_target.h"
