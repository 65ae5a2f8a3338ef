/* SPDX-License-Identifier: MIT */
/* Blocks shared by models; the page that model authors read is vlm/extend/nn.h. */
#ifndef VLM_NN_INTERNAL_H
#define VLM_NN_INTERNAL_H

#include "core/core.h"
#include "tensor/tensor.h"
#include "vlm/extend/nn.h"

#endif
