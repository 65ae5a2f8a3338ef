/* SPDX-License-Identifier: MIT */
/* Kernels for avx512bf16. */
#include "tensor/cpu/kernels.h"

void vcpu_kernels_avx512bf16(vcpu_kernels *k) {
    (void)k;
}
