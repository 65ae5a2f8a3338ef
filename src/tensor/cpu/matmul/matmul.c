/* SPDX-License-Identifier: MIT */
/* y = x Wᵀ + b, for one or several W over one x: which linears go together, and how they are cut
 * into items of work. An output is computed by one thread and in the same order whatever the number
 * of threads.
 *
 * In exact mode everything is multiplied in float32. In fast mode weights that are bfloat16 meet x
 * rounded to bfloat16 where the CPU multiplies bfloat16 pairs, and quantized weights meet x rounded
 * to integers (quantized.c); elsewhere fast is exact. */
#include "tensor/cpu/matmul/matmul.h"

/* ---- items ---- */
const vlm_linear *vcpu_find_item(const vcpu_matmul *m, size_t *i, vcpu_count *count,
                                 const vlm_tensor **y) {
    int l = 0;
    for (; l < m->n_linears - 1; l++) {
        size_t n = count(m, m->linears[l]);
        if (*i < n) break;
        *i -= n;
    }
    *y = &m->y[l];
    return m->linears[l];
}

size_t vcpu_count_items(const vcpu_matmul *m, vcpu_count *count) {
    size_t n = 0;
    for (int l = 0; l < m->n_linears; l++) n += count(m, m->linears[l]);
    return n;
}

size_t vcpu_outs_per_item(const vlm_linear *l) {
    size_t outs = VCPU_DOT_ITEM_BYTES / (vcpu_row_bytes(&l->weight) + 1) / 8 * 8;
    return outs ? outs : 8;
}

size_t vcpu_dot_items(const vcpu_matmul *m, const vlm_linear *l) {
    (void)m;
    return vcpu_ceil((size_t)l->weight.out, vcpu_outs_per_item(l));
}

enum { LEAST_RUN_BYTES = 16384 };

typedef struct runs {
    const vcpu_matmul *m;
    vcpu_outs *fn;
    size_t outs, threads, least; /* least: outs of the shortest runs */
} runs;

/* The outs [*begin, *end) of a run, counted over all linears; false behind the last run. As many
 * runs as there are threads share half of what is left, until they would be too short. */
static bool find_run(const runs *r, size_t item, size_t *begin, size_t *end) {
    size_t at = 0, size;
    for (;;) {
        size = (r->outs - at) / (2 * r->threads) / 8 * 8;
        if (size < r->least) size = r->least;
        if (size == r->least || item < r->threads) break;
        item -= r->threads;
        at += r->threads * size;
    }
    *begin = at + item * size;
    *end = vcpu_min(*begin + size, r->outs);
    return *begin < r->outs;
}

static size_t count_runs(const runs *r) {
    size_t n = 0, begin, end;
    while (find_run(r, n, &begin, &end)) n++;
    return n;
}

static void run_item(void *arg, size_t item, int worker) {
    const runs *r = arg;
    size_t begin = 0, end = 0, at = 0;
    find_run(r, item, &begin, &end);
    for (int i = 0; i < r->m->n_linears && at < end; i++) {
        const vlm_linear *l = r->m->linears[i];
        size_t outs = (size_t)l->weight.out, from = begin > at ? begin - at : 0;
        size_t to = vcpu_min(outs, end - at);
        if (from < to) r->fn(r->m, l, &r->m->y[i], from, to - from, worker);
        at += outs;
    }
}

void vcpu_run_outs(const vcpu_matmul *m, vcpu_outs *fn) {
    runs r = { .m = m, .fn = fn, .threads = m->b->n_workers };
    for (int i = 0; i < m->n_linears; i++) r.outs += (size_t)m->linears[i]->weight.out;
    r.least = vcpu_round_up(LEAST_RUN_BYTES / (vcpu_row_bytes(&m->linears[0]->weight) + 1) + 1, 8);
    vcpu_run(m->b, count_runs(&r), r.outs * vcpu_in(m) / 4, run_item, &r);
}

static void add_bias(const vcpu_kernels *k, float *y, vlm_tensor bias, size_t o, size_t n) {
    float buffer[64];
    size_t size = vtensor_dtype_size(bias.dtype);
    for (size_t at = 0; at < n; at += 64) {
        size_t count = vcpu_min(64, n - at);
        const char *from = (const char *)bias.data + (o + at) * size;
        k->add(y + at, vcpu_as_floats(k, buffer, from, bias.dtype, count), count);
    }
}

void vcpu_add_bias(const vcpu_matmul *m, float *y, size_t y_row, vlm_tensor bias, size_t o,
                   size_t n) {
    if (bias.rank == 0) return;
    for (size_t r = 0; r < m->rows; r++) add_bias(m->k, y + r * y_row, bias, o, n);
}

/* ---- the operations ---- */
/* How a linear is multiplied: those of one number go together. */
enum { AS_FLOATS, AS_PAIRS, AS_INTEGERS };

static int way_of(vlm_frame *f, const vlm_matrix *w) {
    if (f->mode != VTENSOR_FAST) return AS_FLOATS;
    if (vcpu_is_integers(w)) return AS_INTEGERS + 2 * w->group + (w->bits == 4);
    bool pairs = vcpu_of(f)->k.gemm_bf16.tile && w->data.dtype == VLM_DTYPE_BF16;
    return w->storage == VLM_STORAGE_DENSE && pairs ? AS_PAIRS : AS_FLOATS;
}

/* Whether rounding x to bytes is worth its error: of a decoder's matrices those of an MLP and the head,
 * which are most of the work and have many times as many outputs as inputs. */
enum { BYTES_FROM = 4 };
static bool is_wide(vlm_tensor x, const vlm_linear *const *linears, int n_linears) {
    int64_t outs = 0;
    for (int i = 0; i < n_linears; i++) outs += linears[i]->weight.out;
    return outs > BYTES_FROM * x.shape[1];
}

static void multiply(vlm_frame *f, const vlm_tensor *y, vlm_tensor x,
                     const vlm_linear *const *linears, int n_linears, int way, bool to_state) {
    vcpu_backend *b = vcpu_of(f);
    vcpu_matmul m = {
        .b = b, .k = &b->k, .x = x, .y = y, .linears = linears, .n_linears = n_linears
    };
    m.pairs = way == AS_PAIRS;
    m.bytes = !to_state && !b->no_int8 && is_wide(x, linears, n_linears);
    m.rows = (size_t)x.shape[0];
    if (way >= AS_INTEGERS)
        vcpu_quantized(f, &m);
    else if (m.rows <= VCPU_FEW_ROWS)
        vcpu_few_rows(f, &m);
    else
        vcpu_many_rows(f, &m);
}

void vcpu_linears(vlm_frame *f, const vlm_tensor *y, vlm_tensor x, const vlm_linear *const *linears,
                  int n_linears) {
    if (x.shape[0] == 0) return;
    for (int first = 0, end; first < n_linears; first = end) {
        int way = way_of(f, &linears[first]->weight);
        for (end = first + 1; end < n_linears; end++)
            if (way_of(f, &linears[end]->weight) != way) break;
        multiply(f, y + first, x, linears + first, end - first, way, false);
    }
}

void vcpu_linear(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_linear *linear) {
    vcpu_linears(f, &y, x, &linear, 1);
}

/* What is added to a layer's state stays there: the errors of all layers add up, so that x is
 * rounded to 16 bits at least. Bytes here alone would make up half of the logits' error. */
void vcpu_linear_for_sum(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_linear *linear) {
    multiply(f, &y, x, &linear, 1, way_of(f, &linear->weight), true);
}
