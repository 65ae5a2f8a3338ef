/* SPDX-License-Identifier: MIT */
/* A checkpoint whose modules are bound one by one, as tests of quantized layouts do. */
#ifndef TESTS_SUPPORT_BINDING_H
#define TESTS_SUPPORT_BINDING_H

#include <stdio.h>

#include "models/models.h"
#include "support/cm.h"

/* What is open, and the matrix that was bound last. */
typedef struct {
    vlm_quantization *quantization;
    vio_tensors *tensors;
    vcore_arena *arena;
    vlm_build *build;
    vlm_matrix m;
    vlm_error err;
} tbinding;

/* Opens a file of tensors with the quantization that a config.json gives. */
void tbinding_open(tbinding *x, const char *tensors, const char *config, bool inspect);
void tbinding_close(tbinding *x);
/* Binds a matrix [out, in] under its name. */
vlm_status tbinding_try(tbinding *x, const char *prefix, const char *name, int64_t out, int64_t in);
/* The same; fails the running test when that does not work. */
void tbinding_bind(tbinding *x, const char *prefix, const char *name, int64_t out, int64_t in);

#endif
