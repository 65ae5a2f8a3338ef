/* SPDX-License-Identifier: MIT */
/* Kernels for avx2. */
#include "tensor/cpu/kernels.h"

void vcpu_kernels_avx2(vcpu_kernels *k) {
    (void)k;
}
