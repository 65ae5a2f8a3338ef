/* SPDX-License-Identifier: MIT */
/* Kernels for quantized weights against plain C, over random shapes, bits, groups and types of
 * scales, with data that ends where its memory ends.
 *
 *     test_kernels_quantized [cases]
 *
 * cases: of each kind; 1000 unless given. */
#include "tensor_check.h"

#include "tensor/cpu/kernels/kernels.h"

static int cases = 1000;

enum { MAX_ROWS = VCPU_DOT_ROWS };

/* Every set of kernels that this CPU has beyond plain C; all of them are made of its flags. */
static int kernel_sets(vcpu_kernels *sets) {
    unsigned flags = vcore_cpu_flags(), before = 0;
    int n = 0;
    for (int i = 0; i < N_LEVELS; i++) {
        unsigned have = flags & ~levels[i].mask;
        if (have == before) continue;
        vcpu_kernels_fill(&sets[n++], before = have);
    }
    return n;
}

/* ---- random weights ---- */
typedef struct weights {
    vcpu_quants w;
    char *data, *scales, *biases;
    size_t k, outs;
} weights;

static size_t number_size(vcpu_number type) {
    return type == VCPU_F32 ? 4 : type >= VCPU_E8M0 ? 1 : 2;
}

/* Exactly as many bytes as there are, so that a sanitizer sees who reads on. */
static char *numbers(size_t n, vcpu_number type, float scale) {
    size_t size = number_size(type);
    char *p = malloc(n * size);
    for (size_t i = 0; i < n; i++) {
        float f = rng_float() * scale;
        if (type == VCPU_E8M0)
            p[i] = (char)rng_int(120, 130);
        else if (type == VCPU_E4M3)
            p[i] = (char)rng_int(0, 126);
        else
            stored(type == VCPU_F32    ? VLM_DTYPE_F32
                   : type == VCPU_BF16 ? VLM_DTYPE_BF16
                                       : VLM_DTYPE_F16,
                   f, p + i * size);
    }
    return p;
}

static weights random_weights(void) {
    static const int bits[] = { 2, 3, 4, 5, 6, 8, 4, 8, 4 };
    weights a = { 0 };
    a.w.bits = bits[rng_int(0, 8)];
    a.w.group = (size_t)(32 << rng_int(0, 2));
    a.w.e2m1 = a.w.bits == 4 && rng_int(0, 2) == 0;
    if (a.w.e2m1) {
        a.w.group = (size_t)(16 << rng_int(0, 1));
        a.w.scale_type = a.w.group == 16 ? VCPU_E4M3 : VCPU_E8M0;
        a.w.factor = 0.5f;
    } else {
        a.w.scale_type = (vcpu_number)rng_int(VCPU_F32, VCPU_F16);
        a.w.bias_type = (vcpu_number)rng_int(VCPU_F32, VCPU_F16);
    }
    size_t most = rng_int(0, 15) ? 9 : 300;
    size_t groups = (size_t)rng_int(1, (int64_t)most);
    a.k = groups * a.w.group;
    if (a.k * (size_t)a.w.bits % 32) a.k += a.w.group, groups++;
    a.outs = (size_t)rng_int(1, rng_int(0, 3) ? 5 : 20);
    a.w.row_bytes = a.k * (size_t)a.w.bits / 8;
    a.w.scale_row_bytes = groups * number_size(a.w.scale_type);
    a.w.bias_row_bytes = groups * number_size(a.w.bias_type);
    size_t n = a.outs * a.w.row_bytes;
    a.w.data = a.data = malloc(n);
    for (size_t i = 0; i < n; i++) a.data[i] = (char)rng();
    a.w.end = a.data + n;
    a.w.scales = a.scales = numbers(a.outs * groups, a.w.scale_type, 0.1f);
    if (!a.w.e2m1) a.w.biases = a.biases = numbers(a.outs * groups, a.w.bias_type, 1);
    return a;
}

static void free_weights(weights *a) {
    free(a->data);
    free(a->scales);
    free(a->biases);
}

/* ---- x as integers ---- */
typedef struct ints {
    vcpu_ints x;
    int16_t *q; /* bytes, if so asked for */
    float *scales, *sums;
    bool bytes;
} ints;

static ints quantize(const vcpu_kernels *k, const float *x, int rows, const weights *a,
                     bool bytes) {
    ints i = { .bytes = bytes };
    i.x.row = (a->k + 63) / 64 * 64;
    i.x.group_row = (a->k / a->w.group + 15) / 16 * 16;
    i.x.q = i.q = malloc((size_t)rows * i.x.row * (bytes ? 1 : sizeof *i.q));
    i.x.scales = i.scales = malloc((size_t)rows * i.x.group_row * sizeof(float));
    i.x.sums = i.sums = malloc((size_t)rows * i.x.group_row * sizeof(float));
    for (size_t r = 0; r < (size_t)rows; r++) {
        float *scales = i.scales + r * i.x.group_row, *sums = i.sums + r * i.x.group_row;
        if (bytes)
            k->quantize_nibbles((int8_t *)i.q + r * i.x.row, scales, sums, x + r * a->k, a->k,
                                a->w.group);
        else
            k->quantize16(i.q + r * i.x.row, scales, sums, x + r * a->k, a->k, a->w.group,
                          a->w.bits);
    }
    return i;
}

/* What plain C makes of them, 16 bits wide and in order whether they come as bytes or not. */
static ints quantize_plainly(const vcpu_kernels *scalar, const float *x, int rows, const weights *a,
                             bool bytes) {
    ints i = quantize(scalar, x, rows, a, false);
    int8_t *q = malloc(i.x.row);
    for (size_t r = 0; bytes && r < (size_t)rows; r++) {
        size_t at = r * i.x.group_row;
        scalar->quantize8(q, i.scales + at, i.sums + at, x + r * a->k, a->k, a->w.group);
        for (size_t j = 0; j < i.x.row; j++) i.q[r * i.x.row + j] = q[j];
    }
    free(q);
    return i;
}

static void free_ints(ints *i) {
    free(i->q);
    free(i->scales);
    free(i->sums);
}

/* Rows whose values are now and then zero, huge, or far larger than their neighbours. */
static float *random_rows(size_t n) {
    float *x = malloc(n * sizeof *x), scale = rng_int(0, 7) ? 1 : rng_int(0, 1) ? 1e-20f : 1e20f;
    for (size_t i = 0; i < n; i++) x[i] = rng_float() * scale;
    for (int i = 0; i < 3 && rng_int(0, 3) == 0; i++) x[rng() % n] *= 1000;
    size_t zeros = rng_int(0, 3) ? 0 : rng() % n;
    memset(x + rng() % (n - zeros), 0, zeros * sizeof *x);
    return x;
}

/* What each result may be off by: so much of the sum of its terms' sizes. */
static void sizes(double *s, const ints *i, int rows, const weights *a) {
    static const float most[] = { 1, 1, 1, 0x1p4f, 448 };
    size_t groups = a->k / a->w.group;
    for (int r = 0; r < rows; r++) {
        s[r] = 1e-30;
        for (size_t g = 0; g < groups; g++) {
            double x = 0;
            for (size_t j = 0; j < a->w.group; j++)
                x += abs(i->q[(size_t)r * i->x.row + g * a->w.group + j]);
            double w = a->w.e2m1 ? 6 : 0.1 * (1 << a->w.bits) + 1;
            s[r] += x * i->scales[(size_t)r * i->x.group_row + g] * w * most[a->w.scale_type];
        }
    }
}

/* ---- tests ---- */
/* Four bits' integers may come in another order: in words every fourth is a neighbour, in bytes every
 * second. */
static void check_ints(const vcpu_kernels *k, const ints *got, const ints *want, const weights *a) {
    size_t step = got->bytes ? 2 : 4;
    for (size_t at = 0; at < got->x.row; at++) {
        size_t i = at / 64 * 64 + at % (64 / step) * step + at % 64 / (64 / step);
        int q = got->bytes ? ((const int8_t *)got->q)[at] : got->q[at];
        if (q == want->q[i] && a->w.bits == 4) continue;
        if (q != want->q[at] || got->bytes) fail_msg("%s: integer %zu of a row", k->name, at);
    }
    assert_memory_equal(got->scales, want->scales, got->x.group_row * sizeof(float));
    assert_memory_equal(got->sums, want->sums, got->x.group_row * sizeof(float));
}

/* One set of kernels, given what plain C makes of the same rows of x. */
static void check_few_rows(const vcpu_kernels *k, const float *x, int rows, const weights *a,
                           const ints *plain, const float *want) {
    float y[MAX_ROWS * 20], one[20];
    double size[MAX_ROWS];
    ints q = quantize(k, x, rows, a, plain->bytes);
    vcpu_dot_quants *dot = plain->bytes ? k->dot_nibbles : k->dot_quants;
    check_ints(k, &q, plain, a);
    sizes(size, plain, rows, a);
    dot(y, a->outs, &q.x, rows, &a->w, a->outs, a->k);
    for (size_t r = 0; r < (size_t)rows; r++) {
        for (size_t o = 0; o < a->outs; o++)
            if (!(fabs((double)y[r * a->outs + o] - want[r * a->outs + o]) <= 1e-6 * size[r]))
                fail_msg("%s: %d bits, x %s, group %zu, k %zu, row %zu of %d, out %zu: %g is %g",
                         k->name, a->w.bits, q.bytes ? "bytes" : "16 bits", a->w.group, a->k, r,
                         rows, o, want[r * a->outs + o], y[r * a->outs + o]);
        vcpu_ints alone = q.x; /* the same bits when the row comes alone */
        alone.q = (const char *)alone.q + r * alone.row * (q.bytes ? 1 : sizeof *q.q);
        alone.scales += r * alone.group_row;
        alone.sums += r * alone.group_row;
        dot(one, a->outs, &alone, 1, &a->w, a->outs, a->k);
        assert_memory_equal(one, y + r * a->outs, a->outs * sizeof *one);
    }
    free_ints(&q);
}

static void few_rows(void **state) {
    (void)state;
    vcpu_kernels scalar, sets[N_LEVELS];
    vcpu_kernels_fill(&scalar, 0);
    int n_sets = kernel_sets(sets);
    for (int i = 0; i < cases; i++) {
        weights a = random_weights();
        int rows = (int)rng_int(1, MAX_ROWS);
        float *x = random_rows((size_t)rows * a.k), want[MAX_ROWS * 20];
        for (int bytes = 0; bytes < (a.w.bits == 4 ? 2 : 1); bytes++) {
            ints plain = quantize_plainly(&scalar, x, rows, &a, bytes);
            scalar.dot_quants(want, a.outs, &plain.x, rows, &a.w, a.outs, a.k);
            plain.bytes = bytes;
            for (int s = 0; s < n_sets; s++)
                if (!bytes || sets[s].dot_nibbles)
                    check_few_rows(&sets[s], x, rows, &a, &plain, want);
            free_ints(&plain);
        }
        free(x);
        free_weights(&a);
    }
}

/* A group that holds what is not finite makes its row's results NaN, and nothing else. */
static void not_finite(void **state) {
    (void)state;
    vcpu_kernels sets[N_LEVELS + 1];
    int n_sets = kernel_sets(sets);
    vcpu_kernels_fill(&sets[n_sets++], 0);
    static const float bad[] = { NAN, -NAN, INFINITY, -INFINITY };
    for (int i = 0; i < 100; i++)
        for (int s = 0; s < n_sets; s++) {
            weights a = random_weights();
            float *x = random_rows(2 * a.k), y[2 * 20];
            x[rng() % a.k] = bad[rng() % 4];
            bool bytes = a.w.bits == 4 && sets[s].dot_nibbles;
            ints q = quantize(&sets[s], x, 2, &a, bytes);
            (bytes ? sets[s].dot_nibbles : sets[s].dot_quants)(y, a.outs, &q.x, 2, &a.w, a.outs, a.k);
            for (size_t o = 0; o < a.outs; o++) {
                assert_true(isnan(y[o]));
                assert_true(isfinite(y[a.outs + o]));
            }
            free_ints(&q);
            free(x);
            free_weights(&a);
        }
}

/* ---- many rows ---- */
/* What W is unpacked to, and x rounded to, is what plain C says. */
static void panels(void **state) {
    (void)state;
    vcpu_kernels scalar, sets[N_LEVELS];
    vcpu_kernels_fill(&scalar, 0);
    int n_sets = kernel_sets(sets);
    for (int i = 0; i < cases; i++) {
        weights a = random_weights();
        size_t padded = (a.k + 63) / 64 * 64, groups = a.k / a.w.group;
        size_t width = (groups + 15) / 16 * 16, row = rng() % a.outs;
        float *x = random_rows(a.k), *f[2];
        int16_t *w16[2];
        int8_t *w8[2], *q[2];
        for (int j = 0; j < 2; j++) {
            w16[j] = malloc(a.k * sizeof *w16[j]);
            w8[j] = malloc(a.k);
            q[j] = malloc(padded);
            f[j] = malloc((2 * width + groups + 8) * sizeof *f[j]);
        }
        size_t start = rng() % (groups + 1) * a.w.group / 32 * 32, n = a.k - start;
        for (int s = 0; s <= n_sets; s++) {
            const vcpu_kernels *k = s ? &sets[s - 1] : &scalar;
            int j = s != 0;
            k->unpack16(w16[j], &a.w, row, start, n);
            k->unpack8((uint8_t *)w8[j], &a.w, row, start, n);
            k->quantize8(q[j], f[j], f[j] + width, x, a.k, a.w.group);
            k->numbers(f[j] + 2 * width, a.w.scales, groups, a.w.scale_type, a.w.factor);
            assert_memory_equal(w16[j], w16[0], n * sizeof **w16);
            assert_memory_equal(w8[j], w8[0], n);
            assert_memory_equal(q[j], q[0], padded);
            assert_memory_equal(f[j], f[0], (2 * width + groups + 8) * sizeof **f);
        }
        for (int j = 0; j < 2; j++) {
            free(w16[j]);
            free(w8[j]);
            free(q[j]);
            free(f[j]);
        }
        free(x);
        free_weights(&a);
    }
}

/* A tile of integers of any size that a group allows, beside a sum in double. */
static void check_tile(const vcpu_kernels *k, const vcpu_int_gemm *gemm, int per, int most_w) {
    size_t mr = (size_t)gemm->mr, nr = (size_t)gemm->nr, groups = (size_t)rng_int(1, 4);
    size_t group = (size_t)(16 << rng_int(0, 3)), depth = group / (size_t)per, n = groups * depth;
    if (most_w == 24 && group > 32) most_w = 15; /* nibbles */
    size_t c_row = nr + (size_t)rng_int(0, 3);
    int32_t *a = malloc(n * mr * 4), *b = malloc(n * nr * 4);
    float *xs = malloc(4 * groups * mr), *sums = malloc(4 * groups * mr);
    float *ws = malloc(4 * groups * nr), *wb = malloc(4 * groups * nr), *c = malloc(4 * mr * c_row);
    bool most = rng_int(0, 9) == 0; /* the largest sum there is */
    for (size_t i = 0; i < n * mr * (size_t)per; i++)
        if (per == 2)
            ((int16_t *)a)[i] = (int16_t)(most ? 32767 : rng_int(-32767, 32767));
        else
            ((int8_t *)a)[i] = (int8_t)(most ? 127 : rng_int(-127, 127));
    for (size_t i = 0; i < n * nr * (size_t)per; i++)
        if (per == 2)
            ((int16_t *)b)[i] = (int16_t)(most ? 255 : rng_int(-12, 255));
        else
            ((uint8_t *)b)[i] = (uint8_t)(most ? most_w : rng_int(0, most_w));
    for (size_t i = 0; i < groups * mr; i++) xs[i] = rng_float(), sums[i] = rng_float();
    for (size_t i = 0; i < groups * nr; i++) ws[i] = rng_float(), wb[i] = rng_float();
    double *want = malloc(mr * nr * sizeof *want);
    for (size_t r = 0; r < mr; r++)
        for (size_t o = 0; o < nr; o++) {
            double total = c[r * c_row + o] = rng_float();
            for (size_t g = 0; g < groups; g++) {
                int64_t s = 0;
                for (size_t i = g * depth; i < (g + 1) * depth; i++)
                    for (size_t j = 0; j < (size_t)per; j++) {
                        size_t ai = (i * mr + r) * (size_t)per + j;
                        size_t bi = (i * nr + o) * (size_t)per + j;
                        s += per == 2 ? ((int16_t *)a)[ai] * ((int16_t *)b)[bi]
                                      : ((int8_t *)a)[ai] * ((uint8_t *)b)[bi];
                    }
                total += (double)s * xs[g * mr + r] * ws[g * nr + o];
                total += (double)sums[g * mr + r] * wb[g * nr + o];
            }
            want[r * nr + o] = total;
        }
    gemm->tile(&(vcpu_int_tile) { c, c_row, a, b, xs, sums, ws, wb, groups, depth });
    double size = (per == 2 ? 32767.0 : 127.0) * most_w * (double)group;
    for (size_t r = 0; r < mr; r++)
        for (size_t o = 0; o < nr; o++)
            if (!(fabs(c[r * c_row + o] - want[r * nr + o]) <= 1e-6 * size))
                fail_msg("%s: tile of %d, group %zu: [%zu][%zu] %g is %g", k->name, per, group, r,
                         o, want[r * nr + o], (double)c[r * c_row + o]);
    free(a);
    free(b);
    free(xs);
    free(sums);
    free(ws);
    free(wb);
    free(c);
    free(want);
}

static void tiles(void **state) {
    (void)state;
    vcpu_kernels sets[N_LEVELS + 1];
    int n_sets = kernel_sets(sets);
    vcpu_kernels_fill(&sets[n_sets++], 0);
    for (int i = 0; i < cases; i++)
        for (int s = 0; s < n_sets; s++) {
            check_tile(&sets[s], &sets[s].gemm_int16, 2, 255);
            check_tile(&sets[s], &sets[s].gemm_int8, 4, 255);
            if (sets[s].gemm_nibbles.tile) check_tile(&sets[s], &sets[s].gemm_nibbles, 4, 24);
        }
}

/* A feature that is masked takes those with it that are built on it. */
static void masks(void **state) {
    (void)state;
#if defined(__x86_64__)
    const unsigned extensions = VCORE_CPU_AVX512_VNNI | VCORE_CPU_AVX512_BF16;
    vcpu_kernels with, without;
    for (int i = 0; i < 2; i++) {
        unsigned base = i ? VCORE_CPU_AVX2 : 0;
        vcpu_kernels_fill(&without, base);
        vcpu_kernels_fill(&with, base | extensions | (i ? 0 : VCORE_CPU_AVX512));
        assert_string_equal(with.name, without.name);
        assert_ptr_equal(with.dot_quants, without.dot_quants);
        assert_ptr_equal(with.gemm_int8.tile, without.gemm_int8.tile);
        assert_ptr_equal(with.dot_nibbles, without.dot_nibbles);
        assert_ptr_equal(with.gemm_bf16.tile, without.gemm_bf16.tile);
        assert_false(with.prefers_int8);
    }
#endif
}

int main(int argc, char **argv) {
    if (argc > 1) cases = atoi(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_rows),
        cmocka_unit_test(not_finite),
        cmocka_unit_test(panels),
        cmocka_unit_test(tiles),
        cmocka_unit_test(masks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
