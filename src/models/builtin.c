/* SPDX-License-Identifier: MIT */
/* The built-in families: one line each. */
#include "models/models.h"

const vlm_model_type *const vmodel_builtin[] = {
    NULL,
};

const vlm_processor_type *const vmodel_builtin_processors[] = {
    NULL,
};
