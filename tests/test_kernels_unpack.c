/* SPDX-License-Identifier: MIT */
/* Every unpack kernel that this CPU runs against the scalar one, bit for bit: random codes, groups,
 * lengths, alignments, scales of every kind. An argument is the number of cases: a thousand unless
 * one is given. Data end where a page does, so that a byte read too much is noticed. */
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/core.h"
#include "tensor/cpu/kernels/kernels.h"
#include "tensor_check.h"

static long n_cases = 1000;

enum { MOST = 4096, SPARE = 64 }; /* values of a case */

/* Scales as they come: ordinary, of any exponent, zero, infinite, NaN. */
static float any_scale(void) {
    static const float odd[] = { 0, -0.0f, 1, INFINITY, -INFINITY, NAN, 0x1p-149f, 0x1p127f };
    int64_t kind = rng_int(0, 9);
    if (kind == 0) return odd[rng_int(0, 7)];
    return kind < 4 ? ldexpf(rng_float(), (int)rng_int(-140, 120)) : rng_float() / 16;
}

static vcpu_packed any_case(uint8_t *page_end, const float *scales, const float *biases, size_t *n) {
    static const int bits[] = { 2, 3, 4, 5, 6, 8 };
    static const size_t groups[] = { 16, 32, 64, 128 };
    vcpu_packed p = { .codes = (vcpu_codes)rng_int(0, 2), .scales = scales };
    p.group = rng_int(0, 9) ? groups[rng_int(0, 3)] : 8 * (size_t)rng_int(1, 20);
    p.bits = p.codes == VCPU_CODES_INTEGER ? bits[rng_int(0, 5)] : p.codes == VCPU_CODES_E2M1 ? 4 : 8;
    p.biases = p.codes == VCPU_CODES_INTEGER ? biases : NULL;
    *n = 8 * (size_t)rng_int(0, rng_int(0, 1) ? MOST / 8 : 20);
    p.data = page_end - *n / 8 * (size_t)p.bits - (rng_int(0, 1) ? rng_int(0, 7) : 0);
    return p;
}

static bool same(float a, float b) {
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static void compare(void (*unpack)(float *, const vcpu_packed *, size_t), const vcpu_packed *p, size_t n,
                    long number) {
    static float want[MOST + SPARE], got[MOST + SPARE];
    size_t at = (size_t)rng_int(0, 15);
    for (size_t i = 0; i < n + SPARE; i++) want[i] = got[i] = 12345;
    vcpu_unpack_scalar(want + at, p, n);
    unpack(got + at, p, n);
    for (size_t i = 0; i < n + SPARE; i++)
        if (!same(got[i], want[i]))
            fail_msg("case %ld: codes %d of %d bits, groups of %zu: value %zd of %zu is %a, %a is wanted",
                     number, p->codes, p->bits, p->group, (ssize_t)(i - at), n, (double)got[i],
                     (double)want[i]);
}

static void as_scalar(void **state) {
    (void)state;
    vcpu_kernels k;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = 2 * MOST + page;
    bytes = bytes / page * page;
    uint8_t *map = mmap(NULL, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    float scales[MOST / 8], biases[MOST / 8];
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mprotect(map + bytes, page, PROT_NONE), 0);
    vcpu_kernels_scalar(&k);
    assert_ptr_equal(k.unpack, vcpu_unpack_scalar);
#if defined(__x86_64__)
    if (vcore_cpu_flags() & VCORE_CPU_AVX2) k.unpack = vcpu_unpack_avx2;
#endif
    for (long i = 0; i < n_cases; i++) {
        size_t n;
        vcpu_packed p = any_case(map + bytes, scales, biases, &n);
        for (size_t j = 0; j < bytes; j += 8) {
            uint64_t r = rng();
            if (i % 16 == 0) memcpy(map + j, &r, 8);
        }
        for (size_t g = 0; g * p.group < n; g++) {
            scales[g] = any_scale();
            biases[g] = any_scale();
        }
        compare(k.unpack, &p, n, i);
    }
    munmap(map, bytes + page);
}

/* ---- the codes themselves ---- */
static void unpack_bytes(float *y, vcpu_codes codes, int bits, float scale, const uint8_t *data, size_t n) {
    const float bias = 0;
    const vcpu_packed p = { codes, bits, n, data, &scale, &bias };
    vcpu_unpack_scalar(y, &p, n);
}

/* What the formats say: 2^(e - 7) (1 + m / 8), 2^-6 (m / 8) below; no infinity. */
static void eight_bit_floats(void **state) {
    (void)state;
    uint8_t all[256];
    float y[256];
    for (int i = 0; i < 256; i++) all[i] = (uint8_t)i;
    unpack_bytes(y, VCPU_CODES_E4M3, 8, 1, all, 256);
    for (int i = 0; i < 256; i++) {
        int e = i >> 3 & 15, m = i & 7;
        double v = e ? ldexp(1 + m / 8.0, e - 7) : ldexp(m / 8.0, -6);
        if ((i & 127) == 127)
            assert_true(isnan(y[i]));
        else
            assert_true(y[i] == (float)(i & 128 ? -v : v) && (signbit(y[i]) != 0) == (i >> 7));
    }
    for (int i = 0; i < 255; i++)
        assert_true(vcore_e8m0_to_f32((uint8_t)i) == (float)ldexp(1, i - 127));
    assert_true(isnan(vcore_e8m0_to_f32(255)));
}

static void four_bit_floats(void **state) {
    (void)state;
    static const uint8_t all[] = { 0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE };
    static const float want[] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };
    float y[16];
    unpack_bytes(y, VCPU_CODES_E2M1, 4, 1, all, 16);
    for (int i = 0; i < 16; i++) {
        assert_true(fabsf(y[i]) == want[i % 8]);
        assert_int_equal(signbit(y[i]) != 0, i / 8);
    }
}

/* Code i of the stream is bits [i b, (i + 1) b). */
static void integers(void **state) {
    (void)state;
    static const int bits[] = { 2, 3, 4, 5, 6, 8 };
    for (int b = 0; b < 6; b++) {
        uint8_t data[64];
        float y[64];
        for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)rng();
        unpack_bytes(y, VCPU_CODES_INTEGER, bits[b], 1, data, 64);
        for (int i = 0; i < 64; i++) {
            unsigned q = 0;
            for (int j = 0; j < bits[b]; j++) {
                int at = i * bits[b] + j;
                q |= (unsigned)(data[at / 8] >> at % 8 & 1) << j;
            }
            assert_true(y[i] == (float)q);
        }
    }
}

int main(int argc, char **argv) {
    if (argc > 1) n_cases = strtol(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_scalar),
        cmocka_unit_test(eight_bit_floats),
        cmocka_unit_test(four_bit_floats),
        cmocka_unit_test(integers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
