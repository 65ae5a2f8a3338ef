/* SPDX-License-Identifier: MIT */
#include "support/kernel_case.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/core.h"

enum {
    MAX_OPERANDS = 20,
    SLOT_BYTES = 256 * 1024,
    MAX_ELEMENTS = SLOT_BYTES,
    AROUND = 256, /* bytes beside an array that are looked after */
    GAP = 0xFF    /* a NaN in every type of floats */
};

/* One array in both memories. */
typedef struct kc_operand {
    int role;
    kc_type type;
    size_t rows, columns, row_bytes, bytes;
    char *at[2];           /* [0] of the reference */
    char *from[2], *to[2]; /* with what is looked after around it */
    double relative, absolute;
    double *allowed; /* or NULL */
} kc_operand;

static char *slots[2][MAX_OPERANDS]; /* each between two guard pages */
static double *bounds[MAX_OPERANDS];
static kc_operand operands[MAX_OPERANDS];
static char message[512];
static char running[256]; /* for the signal handler */

static const size_t sizes[] = { 1, 2, 2, 4, 4, 8 };

/* ---- failing ---- */
static _Noreturn void give_up(const char *what) {
    fprintf(stderr, "kernel_case: %s\n", what);
    exit(2);
}

static const char *wrong(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return message;
}

static void on_fault(int sig) {
    static const char text[] = ": touches memory that is not its own\n";
    ssize_t ignored = write(STDERR_FILENO, running, strlen(running));
    ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    (void)sig;
    _exit(1);
}

/* ---- numbers ---- */
uint64_t kc_random(kernel_case *c) {
    c->random += 0x9E3779B97F4A7C15u;
    uint64_t z = c->random;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

size_t kc_int(kernel_case *c, size_t lo, size_t hi) {
    return lo + (size_t)(kc_random(c) % (hi - lo + 1));
}

size_t kc_length(kernel_case *c, size_t most) {
    size_t limit = most;
    switch (kc_random(c) % 4) {
    case 0: limit = 9; break;
    case 1: limit = 40; break;
    case 2: limit = 150; break;
    default: break;
    }
    return kc_int(c, 0, limit < most ? limit : most);
}

float kc_float(kernel_case *c, float lo, float hi) {
    return (float)(lo + (double)(kc_random(c) >> 11) * 0x1p-53 * ((double)hi - lo));
}

double kc_value(kc_type type, const void *array, size_t i) {
    const char *at = (const char *)array + i * sizes[type];
    uint16_t half;
    int32_t integer;
    float f;
    double d;
    switch (type) {
    case KC_U8: return *(const uint8_t *)at;
    case KC_I32: memcpy(&integer, at, 4); return integer;
    case KC_F32: memcpy(&f, at, 4); return f;
    case KC_F64: memcpy(&d, at, 8); return d;
    default: break;
    }
    memcpy(&half, at, 2);
    return type == KC_BF16 ? vcore_bf16_to_f32(half) : vcore_f16_to_f32(half);
}

static void put(kc_type type, char *at, float value) {
    double d = value;
    uint16_t half;
    switch (type) {
    case KC_F32: memcpy(at, &value, 4); return;
    case KC_F64: memcpy(at, &d, 8); return;
    default: break;
    }
    half = type == KC_BF16 ? vcore_f32_to_bf16(value) : vcore_f32_to_f16(value);
    memcpy(at, &half, 2);
}

/* ---- filling ---- */
static float special(kernel_case *c, kc_values values) {
    static const float list[] = {
        0,        -0.0f,     1e-39f, -3e-41f, 1.17549435e-38f, -6e-8f, 1e-5f, /* KC_ZEROS */
        INFINITY, -INFINITY, NAN,                                             /* KC_SUMS */
        3.4e38f,  -3.4e38f,  65504,  -65519,  65520,           1e30f,  -88.5f, 88.72f, /* KC_ANY */
    };
    static const size_t counts[] = { [KC_ZEROS] = 7, [KC_SUMS] = 10, [KC_ANY] = 18 };
    return list[kc_random(c) % counts[values]];
}

/* How an array's values are drawn: once for all of them. */
typedef struct filling {
    kc_values values;
    bool sprinkled; /* one in eight is special */
    bool bits;      /* any bits */
    float scale;
} filling;

static filling draw_filling(kernel_case *c, kc_type type, kc_values values) {
    static const float scales[] = { 1, 1, 1, 8, 0.05f, 40 };
    unsigned kind = (unsigned)(kc_random(c) % 8);
    filling f = { .values = values, .scale = scales[kc_random(c) % 6] };
    if (type == KC_U8 || type == KC_I32)
        f.bits = true;
    else if (values == KC_ANY && kind == 0)
        f.bits = true;
    else if (values != KC_TAME && kind < 4)
        f.sprinkled = true;
    return f;
}

static void fill(kernel_case *c, filling f, const kc_operand *o, char *at) {
    for (size_t r = 0; r < o->rows; r++)
        for (size_t i = 0; i < o->columns; i++) {
            char *to = at + r * o->row_bytes + i * sizes[o->type];
            uint64_t bits = kc_random(c);
            if (f.bits)
                memcpy(to, &bits, sizes[o->type]);
            else if (f.sprinkled && bits % 8 == 0)
                put(o->type, to, special(c, f.values));
            else
                put(o->type, to, f.scale * ((float)(bits >> 40) * 0x1p-23f - 1));
        }
}

/* ---- memory ---- */
static char *map_slot(size_t page) {
    size_t bytes = SLOT_BYTES + 2 * page;
    char *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + page, SLOT_BYTES, PROT_READ | PROT_WRITE) != 0)
        give_up("no memory");
    return p + page;
}

void kernel_case_start(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < MAX_OPERANDS; i++) {
        slots[0][i] = map_slot(page);
        slots[1][i] = map_slot(page);
        bounds[i] = malloc(MAX_ELEMENTS * sizeof *bounds[i]);
        if (!bounds[i]) give_up("no memory");
    }
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
}

/* Three times in four the end touches the guard page behind, otherwise the start the one before,
 * as near as the alignment lets it. */
static size_t place(kernel_case *c, const kc_operand *o) {
    uint64_t draw = kc_random(c);
    size_t step = o->role & KC_ANYWHERE ? 1 : sizes[o->type];
    size_t shift = (draw >> 8) % 64 * step; /* keeps most arrays off the alignment of vectors */
    if (draw % 4 == 0) return (draw >> 20) % 2 ? 0 : shift;
    size_t at = SLOT_BYTES - o->bytes;
    return at - at % step;
}

void *kc_array(kernel_case *c, int role, kc_type type, kc_values values, size_t rows,
               size_t columns, size_t row_bytes) {
    if (c->n_operands == MAX_OPERANDS) give_up("too many operands");
    kc_operand *o = &operands[c->n_operands];
    int side = !c->reference;
    if (!row_bytes) row_bytes = columns * sizes[type];
    if (c->reference) {
        size_t bytes = rows ? (rows - 1) * row_bytes + columns * sizes[type] : 0;
        *o = (kc_operand) { role, type, rows, columns, row_bytes, bytes, .allowed = NULL };
    } else if (o->rows != rows || o->columns != columns || o->row_bytes != row_bytes) {
        give_up("a case asks for other operands than with the reference");
    }
    if (o->bytes > SLOT_BYTES - 4096) give_up("too large an operand");
    char *slot = slots[side][c->n_operands++], *end = slot + SLOT_BYTES;
    char *at = slot + place(c, o);
    o->at[side] = at;
    o->from[side] = at - slot < AROUND ? slot : at - AROUND;
    o->to[side] = end - (at + o->bytes) < AROUND ? end : at + o->bytes + AROUND;
    memset(o->from[side], GAP, (size_t)(o->to[side] - o->from[side]));
    if (role & KC_READ) fill(c, draw_filling(c, type, values), o, at);
    return at;
}

static kc_operand *operand_of(kernel_case *c, const void *array) {
    for (int i = 0; i < c->n_operands; i++)
        if (operands[i].at[!c->reference] == array) return &operands[i];
    give_up("not an array of this case");
}

void kc_near(kernel_case *c, const void *array, double relative, double absolute) {
    kc_operand *o = operand_of(c, array);
    o->relative = relative;
    o->absolute = absolute;
}

double *kc_allow(kernel_case *c, const void *array) {
    if (!c->reference) return NULL;
    kc_operand *o = operand_of(c, array);
    double *to = bounds[o - operands];
    for (size_t i = 0; i < o->rows * o->columns; i++) to[i] = 0;
    o->allowed = to;
    return to;
}

void kc_absent(kernel_case *c) {
    c->absent = true;
}

/* ---- comparing ---- */
static bool near(const kc_operand *o, size_t index, double want, double got) {
    double allowed = o->allowed ? o->allowed[index] : o->relative * fabs(want) + o->absolute;
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got);
    return want == got || (isfinite(want) && isfinite(got) && fabs(want - got) <= allowed);
}

static const char *compare_elements(const kc_operand *o, int which, size_t row) {
    const char *a = o->at[0] + row * o->row_bytes, *b = o->at[1] + row * o->row_bytes;
    size_t size = sizes[o->type];
    for (size_t i = 0; i < o->columns; i++) {
        if (memcmp(a + i * size, b + i * size, size) == 0) continue;
        double want = kc_value(o->type, a, i), got = kc_value(o->type, b, i);
        bool bitwise = !o->allowed && o->relative == 0 && o->absolute == 0;
        if (bitwise && isnan(want) && isnan(got) && o->type >= KC_F32) continue;
        if (bitwise || !near(o, row * o->columns + i, want, got))
            return wrong("operand %d of %zu x %zu: element %zu,%zu is %.9g instead of %.9g", which,
                         o->rows, o->columns, row, i, got, want);
    }
    return NULL;
}

static const char *compare_bytes(int which, const char *a, const char *b, size_t n, ptrdiff_t at) {
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return wrong("operand %d: byte %td, which is not to be written, has changed", which,
                         at + (ptrdiff_t)i);
    return NULL;
}

/* What lies between `from` and `to`, offsets from the array's start. */
static const char *compare_around(const kc_operand *o, int which, ptrdiff_t from, ptrdiff_t to) {
    if (from >= to || memcmp(o->at[0] + from, o->at[1] + from, (size_t)(to - from)) == 0)
        return NULL;
    return compare_bytes(which, o->at[0] + from, o->at[1] + from, (size_t)(to - from), from);
}

static const char *compare(const kc_operand *o, int which) {
    ptrdiff_t bytes = (ptrdiff_t)o->bytes;
    size_t row_end = o->columns * sizes[o->type];
    if (!(o->role & KC_WRITTEN))
        return compare_around(o, which, o->from[0] - o->at[0], o->to[0] - o->at[0]);
    const char *bad = compare_around(o, which, o->from[0] - o->at[0], 0);
    if (!bad) bad = compare_around(o, which, bytes, o->to[0] - o->at[0]);
    for (size_t r = 0; r < o->rows && !bad; r++) {
        size_t next = r + 1 < o->rows ? (r + 1) * o->row_bytes : o->bytes;
        bad = compare_elements(o, which, r);
        if (!bad && r * o->row_bytes + row_end < next)
            bad =
                compare_around(o, which, (ptrdiff_t)(r * o->row_bytes + row_end), (ptrdiff_t)next);
    }
    return bad;
}

/* ---- running ---- */
const char *kernel_case_run(const kernel_entry *entry, const vcpu_kernels *tested, uint64_t seed,
                            uint64_t number, bool *absent) {
    vcpu_kernels scalar;
    kernel_case c = { .tested = tested, .random = seed };
    for (const char *p = entry->name; *p; p++) c.random = (kc_random(&c) + (uint8_t)*p);
    c.random += number;
    uint64_t start = kc_random(&c);
    vcpu_kernels_scalar(&scalar);
    snprintf(running, sizeof running, "%s %s case %llu of seed %llu", tested->name, entry->name,
             (unsigned long long)number, (unsigned long long)seed);
    for (int side = 0; side < 2; side++) {
        c = (kernel_case) {
            .k = side ? tested : &scalar, .tested = tested, .reference = !side, .random = start
        };
        entry->run(&c);
        if ((*absent = c.absent)) return NULL;
    }
    for (int i = 0; i < c.n_operands; i++) {
        const char *bad = compare(&operands[i], i);
        if (bad) return bad;
    }
    return NULL;
}
