/* SPDX-License-Identifier: MIT */
/* What the processor and the operating system together allow. Owns no choice of kernels. */
#include "core/core.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* Register sets that the operating system saves (XCR0). */
static unsigned saved_registers(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

unsigned vcore_cpu_flags(void) {
    enum { FMA = 1 << 12, OSXSAVE = 1 << 27, AVX = 1 << 28, F16C = 1 << 29 };
    enum { YMM = 0x06, ZMM = 0xE6 };
    const unsigned avx512_bits = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    unsigned a, b, c, d, flags = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if ((c & (FMA | OSXSAVE | AVX | F16C)) != (FMA | OSXSAVE | AVX | F16C)) return 0;
    unsigned saved = saved_registers();
    if ((saved & YMM) != YMM || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    if (b & 1u << 5) flags |= VCORE_CPU_AVX2;
    if ((saved & ZMM) != ZMM || (b & avx512_bits) != avx512_bits || !flags) return flags;
    flags |= VCORE_CPU_AVX512;
    if (c & 1u << 11) flags |= VCORE_CPU_AVX512_VNNI;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & 1u << 5)
        flags |= VCORE_CPU_AVX512_BF16;
    return flags;
}
#elif defined(__aarch64__)
unsigned vcore_cpu_flags(void) {
    return VCORE_CPU_NEON; /* part of the base architecture */
}
#else
unsigned vcore_cpu_flags(void) {
    return 0;
}
#endif
