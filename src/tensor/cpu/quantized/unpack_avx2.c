/* SPDX-License-Identifier: MIT */
/* Quantized values as floats for AVX2, eight at a time, to the same bits as in unpack.c: every
 * product and every sum is rounded by itself. */
#include "tensor/cpu/kernels/kernels.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* The b bytes of eight codes; eight bytes are read where the piece has them. */
INLINE uint64_t bytes_of(const uint8_t *p, const uint8_t *end, int bits) {
    uint64_t u = 0;
    if (end - p >= 8)
        __builtin_memcpy(&u, p, 8);
    else
        __builtin_memcpy(&u, p, (size_t)bits);
    return u;
}

/* Codes of up to four bits share a word: every lane has it and shifts its own code down. */
INLINE __m256i from_word(const uint8_t *p, const uint8_t *end, int bits) {
    __m256i shifts = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(bits));
    return _mm256_srlv_epi32(_mm256_set1_epi32((int)bytes_of(p, end, bits)), shifts);
}

/* Codes of five and six bits lie in two bytes at most: every lane gets the two of its own. */
INLINE __m256i from_pairs(const uint8_t *p, const uint8_t *end, int bits) {
    __m256i at = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(bits));
    __m256i first = _mm256_srli_epi32(at, 3), shifts = _mm256_and_si256(at, _mm256_set1_epi32(7));
    __m256i second = _mm256_slli_epi32(_mm256_add_epi32(first, _mm256_set1_epi32(1)), 8);
    __m256i none = _mm256_set1_epi32((int)0x80800000); /* zeros above */
    __m256i pairs = _mm256_or_si256(_mm256_or_si256(first, second), none);
    __m256i all = _mm256_set1_epi64x((long long)bytes_of(p, end, bits));
    return _mm256_srlv_epi32(_mm256_shuffle_epi8(all, pairs), shifts);
}

INLINE __m256 integers(const uint8_t *p, const uint8_t *end, int bits, __m256 scale, __m256 bias) {
    __m256i q = bits == 8  ? _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p))
                : bits > 4 ? from_pairs(p, end, bits)
                           : from_word(p, end, bits);
    if (bits != 8) q = _mm256_and_si256(q, _mm256_set1_epi32((1 << bits) - 1));
    return _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(q), scale), bias);
}

/* The look-up takes a code's three lower bits; the fourth is the sign. */
INLINE __m256 e2m1(const uint8_t *p, __m256 scale) {
    __m256i word, shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    int four;
    __builtin_memcpy(&four, p, 4);
    word = _mm256_set1_epi32(four);
    __m256 magnitude = _mm256_permutevar8x32_ps(_mm256_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6),
                                                _mm256_srlv_epi32(word, shifts));
    __m256i up = _mm256_sllv_epi32(word, _mm256_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0));
    __m256 sign = _mm256_and_ps(_mm256_castsi256_ps(up), _mm256_set1_ps(-0.0f));
    return _mm256_mul_ps(_mm256_or_ps(magnitude, sign), scale);
}

/* The code's bits moved to where a half has them are the value less 2^8. */
INLINE __m256 e4m3(const uint8_t *p, __m256 scale) {
    __m128i wide = _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)p));
    __m128i half = _mm_and_si128(_mm_slli_epi16(wide, 7), _mm_set1_epi16((short)0xBF80));
    __m128i top = _mm_set1_epi16(0x3F80);
    __m128i nan = _mm_cmpeq_epi16(_mm_and_si128(half, top), top);
    half = _mm_or_si128(half, _mm_and_si128(nan, _mm_set1_epi16(0x7C00)));
    return _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256)), scale);
}

#define DEFINE_UNPACK(name, code_bits, value)                                                      \
    static void name(float *y, const vcpu_packed *from, size_t n) {                                \
        const uint8_t *p = from->data, *end = p + n / 8 * (code_bits);                             \
        for (size_t g = 0; p < end; g++) {                                                         \
            __m256 scale = _mm256_set1_ps(from->scales[g]);                                        \
            __m256 bias = _mm256_set1_ps(from->codes ? 0 : from->biases[g]);                       \
            (void)bias;                                                                            \
            for (size_t i = 0; i < from->group && p < end; i += 8, p += (code_bits), y += 8)       \
                _mm256_storeu_ps(y, value);                                                        \
        }                                                                                          \
    }
DEFINE_UNPACK(integers2, 2, integers(p, end, 2, scale, bias))
DEFINE_UNPACK(integers3, 3, integers(p, end, 3, scale, bias))
DEFINE_UNPACK(integers4, 4, integers(p, end, 4, scale, bias))
DEFINE_UNPACK(integers5, 5, integers(p, end, 5, scale, bias))
DEFINE_UNPACK(integers6, 6, integers(p, end, 6, scale, bias))
DEFINE_UNPACK(integers8, 8, integers(p, end, 8, scale, bias))
DEFINE_UNPACK(floats4, 4, e2m1(p, scale))
DEFINE_UNPACK(floats8, 8, e4m3(p, scale))

void vcpu_unpack_avx2(float *y, const vcpu_packed *from, size_t n) {
    static void (*const by_bits[9])(float *, const vcpu_packed *, size_t) = {
        [2] = integers2, [3] = integers3, [4] = integers4,
        [5] = integers5, [6] = integers6, [8] = integers8,
    };
    if (from->codes == VCPU_CODES_INTEGER)
        by_bits[from->bits](y, from, n);
    else if (from->codes == VCPU_CODES_E2M1)
        floats4(y, from, n);
    else
        floats8(y, from, n);
}
