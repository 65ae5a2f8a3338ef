/* SPDX-License-Identifier: MIT */
/**
 * @file load.h
 * @brief The load factory's parts, each usable alone: configs, quantization, registries, the hub.
 *
 * vlm.h includes this page; vlm_context_load() is what puts the parts together.
 */
#ifndef VLM_LOAD_H
#define VLM_LOAD_H

#include "vlm/base.h"
#include "vlm/load/configs.h"
#include "vlm/load/hub.h"
#include "vlm/load/quantization.h"
#include "vlm/load/registries.h"

#endif
