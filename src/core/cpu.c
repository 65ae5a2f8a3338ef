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

static bool has(unsigned word, unsigned bits) {
    return (word & bits) == bits;
}

unsigned vcore_cpu_flags(void) {
    const unsigned vector = 1u << 12 | 1u << 27 | 1u << 28 | 1u << 29; /* FMA OSXSAVE AVX F16C */
    const unsigned avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F DQ BW VL */
    const unsigned amx = 1u << 22 | 1u << 24 | 1u << 25;               /* BF16 TILE INT8 */
    const unsigned ymm = 0x06, zmm = 0xE6, tiles = 0x60000;            /* of XCR0 */
    unsigned a, b, c, d, a1 = 0, ignored, flags;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, vector)) return 0;
    unsigned saved = saved_registers();
    if (!has(saved, ymm) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, 1u << 5)) return 0;
    if (a >= 1) __get_cpuid_count(7, 1, &a1, &ignored, &ignored, &ignored);
    flags = VCORE_CPU_AVX2;
    if (has(a1, 1u << 4)) flags |= VCORE_CPU_AVX_VNNI;
    if (!has(saved, zmm) || !has(b, avx512)) return flags;
    flags |= VCORE_CPU_AVX512;
    if (has(c, 1u << 11)) flags |= VCORE_CPU_AVX512_VNNI;
    if (has(a1, 1u << 5)) flags |= VCORE_CPU_AVX512_BF16;
    if (has(saved, tiles) && has(d, amx)) flags |= VCORE_CPU_AMX;
    return flags;
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

unsigned vcore_cpu_flags(void) {
    const unsigned long dot = 1ul << 20, i8mm = 1ul << 13, bf16 = 1ul << 14; /* of Linux's hwcaps */
    unsigned flags = VCORE_CPU_NEON; /* part of the base architecture */
    unsigned long more = getauxval(AT_HWCAP2);
    if (getauxval(AT_HWCAP) & dot) flags |= VCORE_CPU_NEON_DOT;
    if (more & i8mm) flags |= VCORE_CPU_NEON_I8MM;
    if (more & bf16) flags |= VCORE_CPU_NEON_BF16;
    return flags;
}
#else
unsigned vcore_cpu_flags(void) {
    return 0;
}
#endif

#define AVX512 (VCORE_CPU_AVX2 | VCORE_CPU_AVX512)
const vcore_cpu_level vcore_cpu_levels[] = {
    { "scalar", 0 },
#if defined(__x86_64__)
    { "avx2", VCORE_CPU_AVX2 },
    { "avxvnni", VCORE_CPU_AVX2 | VCORE_CPU_AVX_VNNI },
    { "avx512", AVX512 },
    { "avx512vnni", AVX512 | VCORE_CPU_AVX512_VNNI },
    { "avx512bf16", AVX512 | VCORE_CPU_AVX512_VNNI | VCORE_CPU_AVX512_BF16 },
#elif defined(__aarch64__)
    { "neon", VCORE_CPU_NEON },
    { "neondot", VCORE_CPU_NEON | VCORE_CPU_NEON_DOT },
    { "neoni8mm", VCORE_CPU_NEON | VCORE_CPU_NEON_DOT | VCORE_CPU_NEON_BF16 | VCORE_CPU_NEON_I8MM },
#endif
    { NULL, 0 },
};

const vcore_cpu_level *vcore_cpu_level_find(const char *name) {
    for (const vcore_cpu_level *l = vcore_cpu_levels; l->name; l++)
        if (strcmp(l->name, name) == 0) return l;
    return NULL;
}

bool vcore_cpu_level_runs(const vcore_cpu_level *level) {
    return (vcore_cpu_flags() & level->flags) == level->flags;
}
