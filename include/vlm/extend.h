/* SPDX-License-Identifier: MIT */
/**
 * @file extend.h
 * @brief Everything that adding a model type or a processor class takes.
 *
 * Version-locked: an extension is compiled against the headers of the library it runs with
 * (vlm_extend_check()). The built-in families include nothing else.
 */
#ifndef VLM_EXTEND_H
#define VLM_EXTEND_H

#include "vlm/extend/config.h"
#include "vlm/extend/geometry.h"
#include "vlm/extend/model.h"
#include "vlm/extend/nn.h"
#include "vlm/extend/parts.h"
#include "vlm/extend/tensor.h"

#endif
