/* SPDX-License-Identifier: MIT */
/* Mixtures of experts: which experts a row goes to, and the product of every row with the matrices
 * of its own. Routes may be known to the device alone, so that a backend with memory of its own takes
 * the product whole; on the host the rows of an expert are gathered, multiplied and put back. */
#include "tensor/backend.h"

enum { MAX_EXPERTS = 4096 };

/* ---- routes ---------------------------------------------------------------------------------- */
vlm_routes vlm_route(vlm_frame *f, vlm_tensor logits, int64_t k) {
    vlm_routes none = { 0 }, y;
    if (!vtensor_enter(f)) return none;
    bool fits = logits.rank == 2 && logits.dtype == VLM_DTYPE_F32 && vtensor_contiguous(logits)
                && k >= 1 && k <= logits.shape[1] && logits.shape[1] <= MAX_EXPERTS;
    if (!fits) {
        vlm_frame_fail(f, VLM_ERR_ARGUMENT, "route: %lld experts of %s", (long long)k,
                       vtensor_describe(logits).s);
        return none;
    }
    if (!VTENSOR_HAS(f, route)) return none;
    const int64_t shape[] = { logits.shape[0], k };
    y.experts = vtensor_new(f, VLM_DTYPE_I32, 2, shape);
    y.weights = vtensor_new(f, VLM_DTYPE_F32, 2, shape);
    y.places = vtensor_new(f, VLM_DTYPE_I32, 2, shape);
    if (y.experts.rank == 0 || y.weights.rank == 0 || y.places.rank == 0) return none;
    if (vtensor_count(logits) > 0) VTENSOR_RUN(f, route, &y, logits);
    return y;
}

/* ---- products -------------------------------------------------------------------------------- */
/* Rows of a product, sorted by the experts that they go to. */
typedef struct groups {
    int32_t *places; /* [n * k], expert by expert */
    int32_t *rows;   /* [n * k] of x */
    int64_t *starts; /* [experts + 1] */
} groups;

static void groups_free(groups *g) {
    vcore_free(g->places);
    vcore_free(g->rows);
    vcore_free(g->starts);
}

/* @param each a row of x serves so many places */
static bool groups_new(groups *g, const int32_t *experts, int64_t n, int64_t n_experts,
                       int64_t each) {
    *g = (groups) { vcore_alloc_array((size_t)n, sizeof *g->places),
                    vcore_alloc_array((size_t)n, sizeof *g->rows),
                    vcore_alloc_array((size_t)n_experts + 2, sizeof *g->starts) };
    if (!g->places || !g->rows || !g->starts) {
        groups_free(g);
        return false;
    }
    int64_t *next = g->starts + 1; /* where an expert's next row goes */
    for (int64_t i = 0; i < n; i++) next[experts[i] + 1]++;
    for (int64_t e = 0; e < n_experts; e++) next[e + 1] += next[e];
    for (int64_t i = 0; i < n; i++) {
        int64_t at = next[experts[i]]++;
        g->places[at] = (int32_t)i;
        g->rows[at] = (int32_t)(i / each);
    }
    return true; /* next[e] is now the end of e, which is the start of e + 1 */
}

/* The rows of one expert: gathered, multiplied, put at their places. */
static void multiply(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_matrix *w,
                     const int32_t *places, const int32_t *rows, int64_t n, bool for_sum) {
    const vlm_linear linear = { .weight = *w };
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor own = vlm_gather(f, x, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, rows));
    vlm_tensor made = for_sum ? vtensor_linear_for_sum(f, own, &linear)
                              : vlm_apply_linear(f, own, &linear);
    vlm_scatter_to(f, y, vlm_tensor_from(f, VLM_DTYPE_I32, 1, &n, places), made);
    vlm_scope_end(f, scope);
}

enum { MOST_AT_ONCE = 16 };

/* One row: its experts' matrices are linears of one input, which are run at once. */
static bool is_one_input(vlm_tensor x, const vlm_matrix *stack, vlm_tensor experts, bool for_sum) {
    return x.shape[0] == 1 && experts.shape[1] <= MOST_AT_ONCE && !stack->across && !for_sum;
}

/* @param experts NULL: the first ones */
static void multiply_row(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_matrix *stack, int64_t out,
                         const int32_t *experts) {
    const int n = (int)y.shape[0];
    vlm_tensor made[MOST_AT_ONCE];
    vlm_linear own[MOST_AT_ONCE];
    const vlm_linear *linears[MOST_AT_ONCE];
    vlm_scope scope = vlm_scope_begin(f);
    for (int i = 0; i < n; i++) {
        own[i] = (vlm_linear) { .weight = vlm_matrix_rows(f, stack, (experts ? experts[i] : i) * out, out) };
        linears[i] = &own[i];
    }
    vlm_apply_linears(f, made, x, linears, n);
    for (int i = 0; i < n; i++) vlm_copy_to(f, vlm_rows(f, y, i, 1), made[i]);
    vlm_scope_end(f, scope);
}

/* Tells of experts that a dry run would read. */
static void note_experts(vlm_frame *f, const vlm_matrix *stack, int64_t out, vlm_tensor experts) {
    const vtensor_part part = { VTENSOR_EXPERTS, experts.shape[0], experts.shape[1] };
    const vlm_tensor *of[] = { &stack->data, &stack->scales, &stack->biases };
    const int64_t n = stack->out / out;
    for (int i = 0; f->reads && i < 3; i++) {
        if (of[i]->rank == 0 || !of[i]->data) continue;
        const int64_t shape[] = { n, of[i]->shape[0] / n, of[i]->shape[1] };
        f->reads(f->reads_user, vtensor_of(of[i]->data, of[i]->dtype, 3, shape), part);
    }
}

/* In a dry run nothing is known of routes. A row meets an expert once (vlm_route): memory is largest where all rows
 * go to the same ones. */
static void multiply_dry(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_matrix *stack,
                         int64_t out, vlm_tensor experts, bool for_sum) {
    const int64_t n = experts.shape[0], k = experts.shape[1];
    const vtensor_reads_fn reads = f->reads;
    int32_t *zeros = vcore_alloc_array((size_t)n, sizeof *zeros);
    if (!zeros) vlm_frame_fail(f, VLM_ERR_MEMORY, "experts: out of memory");
    note_experts(f, stack, out, experts);
    f->reads = NULL; /* that was all */
    const bool at_once = is_one_input(x, stack, experts, for_sum);
    if (at_once) multiply_row(f, y, x, stack, out, NULL);
    for (int64_t e = 0; e < k && !at_once && vlm_frame_ok(f); e++) {
        const vlm_matrix w = vlm_matrix_rows(f, stack, e * out, out);
        multiply(f, y, x, &w, zeros, zeros, n, for_sum);
    }
    f->reads = reads;
    vcore_free(zeros);
}

/* The backend's own product: it takes what it takes. */
static void multiply_whole(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_matrix *stack, int64_t out,
                           vlm_tensor experts) {
    note_experts(f, stack, out, experts);
    if (f->work) f->work->linear += 2 * (uint64_t)vtensor_count(y) * (uint64_t)stack->in;
    VTENSOR_RUN(f, experts, y, x, stack, out, experts);
}

static void multiply_groups(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_matrix *stack,
                            int64_t out, vlm_tensor experts, bool for_sum) {
    const int64_t n_experts = stack->out / out;
    if (is_one_input(x, stack, experts, for_sum)) {
        multiply_row(f, y, x, stack, out, experts.data);
        return;
    }
    groups g;
    if (!groups_new(&g, experts.data, y.shape[0], n_experts, y.shape[0] / x.shape[0])) {
        vlm_frame_fail(f, VLM_ERR_MEMORY, "experts: out of memory");
        return;
    }
    for (int64_t e = 0; e < n_experts && vlm_frame_ok(f); e++) {
        const int64_t start = g.starts[e], n = g.starts[e + 1] - start;
        if (n == 0) continue;
        const vlm_matrix w = vlm_matrix_rows(f, stack, e * out, out);
        multiply(f, y, x, &w, g.places + start, g.rows + start, n, for_sum);
    }
    groups_free(&g);
}

/* Experts of host memory are checked; a device's are vlm_route()'s. */
static bool check_experts(vlm_frame *f, vlm_tensor experts, int64_t n_experts) {
    if (!f->table->host_memory || f->table->shapes_only) return true;
    for (int64_t i = 0; i < vtensor_count(experts); i++) {
        int32_t e = ((const int32_t *)experts.data)[i];
        if (e >= 0 && e < n_experts) continue;
        vlm_frame_fail(f, VLM_ERR_ARGUMENT, "experts: number %d at %lld is outside [0, %lld)",
                       (int)e, (long long)i, (long long)n_experts);
        return false;
    }
    return true;
}

static vlm_tensor apply(vlm_frame *f, vlm_tensor x, const vlm_matrix *stack, int64_t out,
                        const vlm_routes *routes, bool for_sum) {
    const vlm_tensor none = { 0 }, experts = routes->experts;
    if (!vtensor_enter(f)) return none;
    bool fits = x.rank == 2 && x.dtype == VLM_DTYPE_F32 && experts.rank == 2
                && experts.dtype == VLM_DTYPE_I32 && vtensor_contiguous(experts) && out > 0
                && stack->out % out == 0 && x.shape[1] == stack->in
                && (x.shape[0] == experts.shape[0] || x.shape[0] == vtensor_count(experts));
    if (!fits)
        return vlm_frame_fail(f, VLM_ERR_ARGUMENT, "experts: %s by %s of %lld rows each, routes %s",
                              vtensor_describe(x).s, vtensor_describe(stack->data).s,
                              (long long)out, vtensor_describe(experts).s);
    const int64_t shape[] = { vtensor_count(experts), out };
    vlm_tensor y = vtensor_new(f, VLM_DTYPE_F32, 2, shape);
    if (y.rank == 0 || shape[0] == 0 || !check_experts(f, experts, stack->out / out)) return y;
    if (f->table->experts)
        multiply_whole(f, y, x, stack, out, experts);
    else if (f->table->shapes_only)
        multiply_dry(f, y, x, stack, out, experts, for_sum);
    else if (f->table->host_memory)
        multiply_groups(f, y, x, stack, out, experts, for_sum);
    else
        VTENSOR_HAS(f, experts);
    return y;
}

vlm_tensor vlm_apply_experts(vlm_frame *f, vlm_tensor x, const vlm_matrix *stack, int64_t out,
                             const vlm_routes *routes) {
    return apply(f, x, stack, out, routes, false);
}

void vlm_add_experts(vlm_frame *f, vlm_tensor sum, vlm_tensor x, const vlm_matrix *stack,
                     const vlm_routes *routes) {
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor y = apply(f, x, stack, sum.rank ? sum.shape[sum.rank - 1] : 0, routes, true);
    vlm_add_to(f, sum, vlm_blend(f, y, routes->places, routes->weights));
    vlm_scope_end(f, scope);
}
