/* SPDX-License-Identifier: MIT */
/* The two passes of a resize with AVX2. A narrow weight is one operand of the instruction that
 * multiplies 16-bit pairs and adds them. A weight of 22 bits is too wide for it; split into a high
 * and a low part it takes two of them, and both sums are exact. Compiled with AVX2 on, called only
 * where the processor has it. */
#include "media/media.h"

#include <immintrin.h>

/* The sum plus 1/2, cut to an integer pixel; narrow weights have all of it in `low`. */
static inline __m256i finish(__m256i high, __m256i low, const vmedia_axis *a, const bool narrow) {
    __m256i half = _mm256_set1_epi32(1 << (a->bits - 1));
    if (narrow) return _mm256_sra_epi32(_mm256_add_epi32(low, half), _mm_cvtsi32_si128(a->bits));
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, VMEDIA_LOW_BITS), low);
    return _mm256_srai_epi32(_mm256_add_epi32(sum, half), VMEDIA_BITS);
}

static inline __m256i multiply_add(__m256i sum, __m256i pixels, __m256i weights) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pixels, weights));
}

static inline __m256i weight_pair(const int16_t *w) {
    int32_t pair;
    memcpy(&pair, w, sizeof pair);
    return _mm256_set1_epi32(pair);
}

/* Five pixels of three bytes of one row in the low half, of another in the high one. */
static inline __m256i load_two_rows(const uint8_t *a, const uint8_t *b) {
    __m128i low = _mm_loadu_si128((const __m128i *)a), high = _mm_loadu_si128((const __m128i *)b);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/* Two neighbours of each row, as pairs of 16 bits by channel: (r0 r1) (g0 g1) (b0 b1) 0. */
static inline __m256i pair_channels(__m256i rows, const int first) {
    const int p = 3 * first;
    const __m256i order = _mm256_setr_epi8(p, -1, p + 3, -1, p + 1, -1, p + 4, -1, p + 2, -1, p + 5,
                                           -1, -1, -1, -1, -1, p, -1, p + 3, -1, p + 1, -1, p + 4,
                                           -1, p + 2, -1, p + 5, -1, -1, -1, -1, -1);
    return _mm256_shuffle_epi8(rows, order);
}

/* What an output pixel has so far of rows 0 and 1, and of rows 2 and 3. */
typedef struct pixel_sums {
    __m256i high[2], low[2];
} pixel_sums;

static inline __attribute__((always_inline)) void
add_pair(pixel_sums *sums, const __m256i rows[2], const int first, const int16_t *high_weights,
         const int16_t *low_weights, const bool narrow) {
    __m256i high = weight_pair(high_weights + first), low = weight_pair(low_weights + first);
    for (int h = 0; h < 2; h++) {
        __m256i pixels = pair_channels(rows[h], first);
        if (!narrow) sums->high[h] = multiply_add(sums->high[h], pixels, high);
        sums->low[h] = multiply_add(sums->low[h], pixels, low);
    }
}

/* One pixel of each of four rows. A fourth byte is written where a next pixel will overwrite it. */
static inline void store_pixels(uint8_t *const *out, size_t at, int rows, bool last,
                                const pixel_sums *sums, const vmedia_axis *x, const bool narrow) {
    __m256i bytes = _mm256_packs_epi32(finish(sums->high[0], sums->low[0], x, narrow),
                                       finish(sums->high[1], sums->low[1], x, narrow));
    bytes = _mm256_packus_epi16(bytes, bytes); /* rows 0 and 2, then rows 1 and 3 */
    const int32_t pixel[4] = { _mm256_extract_epi32(bytes, 0), _mm256_extract_epi32(bytes, 4),
                               _mm256_extract_epi32(bytes, 1), _mm256_extract_epi32(bytes, 5) };
    for (int r = 0; r < rows; r++) memcpy(out[r] + at, &pixel[r], last ? 3 : 4);
}

/* Up to four rows; those that are missing are the first one again. */
static inline __attribute__((always_inline)) void along_x(uint8_t *const *out,
                                                          const uint8_t *const *in, int rows,
                                                          const vmedia_axis *x, const bool narrow) {
    const uint8_t *row[4];
    for (int r = 0; r < 4; r++) row[r] = in[r < rows ? r : 0];
    for (uint32_t i = 0; i < x->outputs; i++) {
        size_t at = (size_t)x->first[i] * 3, weights = (size_t)i * x->taps;
        pixel_sums sums;
        for (int h = 0; h < 2; h++) sums.high[h] = sums.low[h] = _mm256_setzero_si256();
        for (uint32_t k = 0; k < x->count[i]; k += 4, at += 12) {
            const int16_t *high = x->high + weights + k, *low = x->low + weights + k;
            const __m256i pixels[2] = { load_two_rows(row[0] + at, row[1] + at),
                                        load_two_rows(row[2] + at, row[3] + at) };
            add_pair(&sums, pixels, 0, high, low, narrow);
            if (k + 2 < x->count[i]) add_pair(&sums, pixels, 2, high, low, narrow);
        }
        bool last = i + 1 == x->outputs;
        if (rows == 4 && !last)
            store_pixels(out, (size_t)i * 3, 4, false, &sums, x, narrow);
        else
            store_pixels(out, (size_t)i * 3, rows, last, &sums, x, narrow);
    }
}

void vmedia_along_x_avx2(uint8_t *const *out, const uint8_t *const *in, int rows,
                         const vmedia_axis *x) {
    if (x->narrow)
        along_x(out, in, rows, x, true);
    else
        along_x(out, in, rows, x, false);
}

/* Two rows of 32 bytes, interleaved to pairs of 16 bits, into four sums of eight columns each. */
static inline void add_rows(__m256i high[4], __m256i low[4], const uint8_t *a, const uint8_t *b,
                            __m256i high_weights, __m256i low_weights, const bool narrow) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i first = _mm256_loadu_si256((const __m256i *)a),
            second = _mm256_loadu_si256((const __m256i *)b);
    __m256i left = _mm256_unpacklo_epi8(first, second), right = _mm256_unpackhi_epi8(first, second);
    __m256i pairs[4] = { _mm256_unpacklo_epi8(left, zero), _mm256_unpackhi_epi8(left, zero),
                         _mm256_unpacklo_epi8(right, zero), _mm256_unpackhi_epi8(right, zero) };
    for (int q = 0; q < 4; q++) {
        if (!narrow) high[q] = multiply_add(high[q], pairs[q], high_weights);
        low[q] = multiply_add(low[q], pairs[q], low_weights);
    }
}

/* 32 columns of one output row. An odd row out is paired with itself: the weight behind it is zero.
 */
static inline __attribute__((always_inline)) __m256i
columns_along_y(const uint8_t *const *in, size_t at, const vmedia_axis *y, uint32_t i,
                const bool narrow) {
    const int16_t *high_weights = y->high + (size_t)i * y->taps,
                  *low_weights = y->low + (size_t)i * y->taps;
    uint32_t count = y->count[i];
    __m256i high[4], low[4];
    for (int q = 0; q < 4; q++) high[q] = low[q] = _mm256_setzero_si256();
    for (uint32_t k = 0; k < count; k += 2) {
        const uint8_t *second = in[k + 1 < count ? k + 1 : k];
        add_rows(high, low, in[k] + at, second + at, weight_pair(high_weights + k),
                 weight_pair(low_weights + k), narrow);
    }
    __m256i left =
        _mm256_packs_epi32(finish(high[0], low[0], y, narrow), finish(high[1], low[1], y, narrow));
    __m256i right =
        _mm256_packs_epi32(finish(high[2], low[2], y, narrow), finish(high[3], low[3], y, narrow));
    return _mm256_packus_epi16(left, right);
}

static inline __attribute__((always_inline)) void along_y(uint8_t *out, const uint8_t *const *in,
                                                          const vmedia_axis *y, uint32_t i,
                                                          size_t bytes, const bool narrow) {
    size_t at = 0;
    for (; bytes - at >= 32; at += 32)
        _mm256_storeu_si256((__m256i *)(out + at), columns_along_y(in, at, y, i, narrow));
    if (at == bytes) return;
    uint8_t rest[32];
    _mm256_storeu_si256((__m256i *)rest, columns_along_y(in, at, y, i, narrow));
    memcpy(out + at, rest, bytes - at);
}

void vmedia_along_y_avx2(uint8_t *out, const uint8_t *const *in, const vmedia_axis *y, uint32_t i,
                         size_t bytes) {
    if (y->narrow)
        along_y(out, in, y, i, bytes, true);
    else
        along_y(out, in, y, i, bytes, false);
}
