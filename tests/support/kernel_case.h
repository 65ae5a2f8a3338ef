/* SPDX-License-Identifier: MIT */
/* Cases for the kernels of src/tensor/cpu: random operands in memory that ends at guard pages, and
 * the comparison of what a kernel left there with what plain C leaves. Needs libc only, so that it
 * can be built for a machine that has nothing else. tests/test_kernels.c runs them.
 *
 * A case is a function that draws its sizes, asks for its operands and calls the kernel:
 *
 *     static void add(kernel_case *c) {
 *         size_t n = kc_length(c, 300);
 *         float *x = kc_array(c, KC_READ | KC_WRITTEN, KC_F32, KC_ANY, 1, n, 0);
 *         const float *y = kc_array(c, KC_READ, KC_F32, KC_ANY, 1, n, 0);
 *         c->k->add(x, y, n);
 *     }
 *
 * It is called twice with the same random numbers, once with c->k the scalar table and once with
 * the table under test, over two memories of the same layout. Afterwards every byte of both must be
 * equal but elements of KC_WRITTEN arrays, which must be as near as kc_near or kc_allow said
 * (otherwise equal, any NaN for any NaN). Gaps between rows and what lies around an array hold
 * NaNs. Where the table under test has other tile sizes or no scalar twin, the case asks
 * c->tested for them and, where c->reference, computes what it wants itself. kc_absent says that
 * the table has no such kernel. */
#ifndef TEST_KERNEL_CASE_H
#define TEST_KERNEL_CASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/cpu/kernels/kernels.h"

typedef enum kc_role {
    KC_READ = 1,
    KC_WRITTEN = 2,
    KC_ANYWHERE = 4 /* any byte alignment, as in a mapped file; otherwise the element's */
} kc_role;

typedef enum kc_type { KC_U8, KC_BF16, KC_F16, KC_I32, KC_F32, KC_F64 } kc_type;

typedef enum kc_values {
    KC_TAME,  /* of about -1 to 1 times a power of two that the array has for itself */
    KC_ZEROS, /* likewise, with zeros of both signs, denormal and tiny values */
    KC_SUMS,  /* likewise, with infinities and NaNs too: what a sum of products may meet */
    KC_ANY,   /* likewise, with values near the largest and of any bits */
} kc_values;  /* integers: any bits, whatever is asked */

typedef struct kernel_case {
    const vcpu_kernels *k;      /* to call */
    const vcpu_kernels *tested; /* under test */
    bool reference;             /* k is scalar, or the case's own loops are wanted */
    /* the rest is kernel_case.c's */
    bool absent;
    uint64_t random;
    int n_operands;
} kernel_case;

/* An entry of the table and how to make a case of it. */
typedef struct kernel_entry {
    const char *name;
    void (*run)(kernel_case *c);
} kernel_entry;

/* ---- what a case draws ---- */
uint64_t kc_random(kernel_case *c);
size_t kc_int(kernel_case *c, size_t lo, size_t hi); /* both included */
size_t kc_length(kernel_case *c, size_t most);       /* 0 to most, the small ones more often */
float kc_float(kernel_case *c, float lo, float hi);

/* rows × columns elements; row_bytes 0: without gaps. At most 256 KB. */
void *kc_array(kernel_case *c, int role, kc_type type, kc_values values, size_t rows,
               size_t columns, size_t row_bytes);
/* |a - b| <= relative * |scalar's b| + absolute */
void kc_near(kernel_case *c, const void *array, double relative, double absolute);
/* |a - b| <= allowed[row * columns + column] for numbers to be filled in (zeros until then).
 * Infinities and NaNs must be the scalar ones whatever is allowed. NULL: not needed in this run */
double *kc_allow(kernel_case *c, const void *array);
void kc_absent(kernel_case *c);

double kc_value(kc_type type, const void *array, size_t i); /* of floats, exact */

/* ---- running ---- */
/* NULL, or what was wrong, in a buffer of its own. *absent: there was nothing to test. Ends the
 * process with a message where the kernel touches memory that is not its own. */
const char *kernel_case_run(const kernel_entry *entry, const vcpu_kernels *tested, uint64_t seed,
                            uint64_t number, bool *absent);
void kernel_case_start(void); /* before the first one */

#endif
