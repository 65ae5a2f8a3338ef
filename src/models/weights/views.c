/* SPDX-License-Identifier: MIT */
/* Parts of a weight seen where they lie: files have some linear layers one below the other. */
#include "models/models.h"

static vlm_tensor rows_of(vlm_tensor x, int64_t start, int64_t count) {
    if (x.rank == 0) return x;
    if (x.data) x.data = (char *)x.data + (size_t)(start * x.stride[0]) * vtensor_dtype_size(x.dtype);
    x.shape[0] = count;
    return x;
}

vlm_linear vmodel_linear_outputs(const vlm_linear *fused, int64_t start, int64_t count) {
    vlm_linear part = *fused;
    part.weight.out = count;
    part.weight.data = rows_of(part.weight.data, start, count);
    part.weight.scales = rows_of(part.weight.scales, start, count);
    part.weight.biases = rows_of(part.weight.biases, start, count);
    part.bias = rows_of(part.bias, start, count);
    return part;
}
