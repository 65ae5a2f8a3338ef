/* SPDX-License-Identifier: MIT */
/* A CPU with AVX2 that says it has all of AVX-512 too, in the place of src/core/cpu.c. */
#define vcore_cpu_flags hardware_flags
#define vcore_cpu_level_runs hardware_level_runs
#include "../../../src/core/cpu.c"
#undef vcore_cpu_flags
#undef vcore_cpu_level_runs

unsigned vcore_cpu_flags(void) {
    unsigned flags = hardware_flags();
    if (!(flags & VCORE_CPU_AVX2)) return flags;
    return flags | VCORE_CPU_AVX512 | VCORE_CPU_AVX512_VNNI | VCORE_CPU_AVX512_BF16;
}

bool vcore_cpu_level_runs(const vcore_cpu_level *level) {
    return (vcore_cpu_flags() & level->flags) == level->flags;
}
