/* SPDX-License-Identifier: MIT */
/* The entries of vcpu_kernels as cases, by kind; each list ends with a NULL name. */
#ifndef TEST_KERNEL_CASES_H
#define TEST_KERNEL_CASES_H

#include "support/kernel_case.h"

extern const kernel_entry kernel_cases_values[];   /* conversions, elementwise, norms */
extern const kernel_entry kernel_cases_products[]; /* dot, tile, pack */
extern const kernel_entry kernel_cases_attention[];

#endif
