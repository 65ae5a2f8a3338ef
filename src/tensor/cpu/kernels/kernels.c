/* SPDX-License-Identifier: MIT */
/* Which kernels a CPU gets. */
#include "tensor/cpu/kernels/kernels.h"

#include "core/core.h"

void vcpu_kernels_fill(vcpu_kernels *k, unsigned flags) {
    vcpu_kernels_scalar(k);
    vcpu_kernels_quantized(k);
#if defined(__x86_64__)
    if (!(flags & VCORE_CPU_AVX2)) return;
    vcpu_kernels_avx2(k);
    vcpu_kernels_quantized_avx2(k);
    vcpu_kernels_nibbles_avx2(k);
    if (!(flags & VCORE_CPU_AVX512)) return; /* without it, masked, its extensions are, too */
    vcpu_kernels_avx512(k);
    if (flags & VCORE_CPU_AVX512_VNNI) vcpu_kernels_quantized_avx512vnni(k);
    if (flags & VCORE_CPU_AVX512_BF16) vcpu_kernels_avx512bf16(k);
#elif defined(__aarch64__)
    if (!(flags & VCORE_CPU_NEON)) return;
    vcpu_kernels_neon(k);
    vcpu_kernels_quantized_neon(k);
    if (flags & VCORE_CPU_NEON_DOT) vcpu_kernels_quantized_neondot(k);
    if (flags & VCORE_CPU_NEON_BF16) vcpu_kernels_neonbf16(k);
#else
    (void)flags;
#endif
}

/* Intel's cores multiply pairs of bfloat16 at half the rate of float32 multiply-adds (Sapphire
 * Rapids: 110 to 220 GFLOP/s of one core), AMD's at twice: elsewhere than there widening to float32
 * is both faster and more accurate. */
unsigned vcpu_worthwhile(unsigned flags) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_is("amd")) flags &= ~(unsigned)VCORE_CPU_AVX512_BF16;
#endif
    return flags;
}
