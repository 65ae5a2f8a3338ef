/* SPDX-License-Identifier: MIT */
/* Kernels for avx512. */
#include "tensor/cpu/kernels.h"

void vcpu_kernels_avx512(vcpu_kernels *k) {
    (void)k;
}
