/* SPDX-License-Identifier: MIT */
/* Mixtures of experts against plain loops in double: routes and their weights, products with stacks
 * that lie either way, sums; what is refused. */
#include "tensor/backend.h"
#include "tensor_check.h"

static void close_all(vlm_frame *f, vtensor_backend *b) {
    vtensor_frame_free(f);
    vtensor_backend_free(b);
}

/* ---- routes ---- */
static void check_routes(vlm_frame *f) {
    const int64_t n = rng_int(1, 30), experts = rng_int(1, 40), k = rng_int(1, experts);
    array x = make_array(VLM_DTYPE_F32, 4, 0, 2, (int64_t[]) { n, experts });
    vlm_routes y = vlm_route(f, x.t, k);
    assert_true(vlm_frame_ok(f));
    for (int64_t i = 0; i < n; i++) {
        const double *row = x.v + i * experts;
        const int32_t *chosen = (int32_t *)y.experts.data + i * k;
        const float *weights = (float *)y.weights.data + i * k;
        double sum = 0, total = 0;
        for (int64_t j = 0; j < k; j++) {
            int64_t above = 0; /* experts that come in front of this one */
            for (int64_t e = 0; e < experts; e++) above += row[e] > row[chosen[j]];
            assert_int_equal(above, j);
            assert_int_equal(((int32_t *)y.places.data)[i * k + j], i * k + j);
            sum += exp(row[chosen[j]]);
            total += weights[j];
        }
        for (int64_t j = 0; j < k; j++) assert_true(fabs(weights[j] - exp(row[chosen[j]]) / sum) < 1e-6);
        assert_true(fabs(total - 1) < 1e-6);
    }
    free_array(&x);
}

static void rows_go_to_their_likeliest_experts(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(0, 2);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    for (int i = 0; i < 200; i++) check_routes(f);
    float equal[] = { 1, 2, 2 };
    vlm_routes y = vlm_route(f, vtensor_of(equal, VLM_DTYPE_F32, 2, (int64_t[]) { 1, 3 }), 2);
    assert_int_equal(((int32_t *)y.experts.data)[0], 1); /* the first of equals */
    assert_int_equal(((int32_t *)y.experts.data)[1], 2);
    end_ok(f);
    close_all(f, b);
}

/* No logits make an expert come twice; what is no number stays visible in the weights. */
static void broken_logits_lead_to_different_experts(void **state) {
    (void)state;
    float rows[][4] = { { NAN, 2, 0, 1 }, { 2, 0, 1, NAN }, { NAN, NAN, NAN, NAN }, { INFINITY, 1, INFINITY, 0 },
                        { -INFINITY, 1, -INFINITY, -INFINITY } };
    enum { N = sizeof rows / sizeof rows[0] };
    vtensor_backend *b = open_backend(0, 1);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    for (int64_t k = 1; k <= 4; k++) {
        vlm_routes y = vlm_route(f, vtensor_of(rows, VLM_DTYPE_F32, 2, (int64_t[]) { N, 4 }), k);
        end_ok(f);
        for (int64_t i = 0; i < N; i++) {
            unsigned met = 0;
            for (int64_t j = 0; j < k; j++) {
                const int32_t e = ((int32_t *)y.experts.data)[i * k + j];
                assert_true(e >= 0 && e < 4);
                assert_false(met >> e & 1);
                met |= 1u << e;
                assert_int_equal(isnan(((float *)y.weights.data)[i * k + j]), i < N - 1);
            }
        }
    }
    close_all(f, b);
}

/* ---- products ---- */
typedef struct stack {
    int64_t experts, out, in;
    array w; /* [experts, out, in], or across: [experts, in, out] */
    vlm_matrix matrix;
} stack;

static stack make_stack(vlm_dtype type, bool across) {
    stack s = { .experts = rng_int(1, 9), .out = rng_int(1, 300), .in = rng_int(1, 90) };
    const int64_t rows = s.experts * (across ? s.in : s.out), columns = across ? s.out : s.in;
    s.w = make_array(type, 1, type == VLM_DTYPE_F32 ? 4 : 2, 2, (int64_t[]) { rows, columns });
    s.matrix = (vlm_matrix) { .out = s.experts * s.out, .in = s.in, .data = s.w.t, .across = across };
    return s;
}

static double weight_at(const stack *s, int64_t e, int64_t o, int64_t i) {
    return s->matrix.across ? s->w.v[(e * s->in + i) * s->out + o] : s->w.v[(e * s->out + o) * s->in + i];
}

/* Row x of y for expert e, added with a weight. */
static void add_product(double *y, const stack *s, int64_t e, const double *x, double weight) {
    for (int64_t o = 0; o < s->out; o++)
        for (int64_t i = 0; i < s->in; i++) y[o] += weight * weight_at(s, e, o, i) * x[i];
}

static void check_products(vlm_frame *f, vlm_dtype type, bool across) {
    stack s = make_stack(type, across);
    const int64_t n = rng_int(0, 2) ? rng_int(2, 80) : 1, k = rng_int(1, s.experts);
    array logits = make_array(VLM_DTYPE_F32, 3, 0, 2, (int64_t[]) { n, s.experts });
    array x = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { n, s.in });
    array own = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { n * k, s.in });
    array sum = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { n, s.out });
    vlm_routes routes = vlm_route(f, logits.t, k);
    const int32_t *chosen = routes.experts.data;
    const float *weights = routes.weights.data;
    double *want = calloc((size_t)(n * k * s.out), sizeof *want);
    for (int64_t i = 0; i < n * k; i++) add_product(want + i * s.out, &s, chosen[i], x.v + i / k * s.in, 1);
    for (int64_t i = 0; i < n * k; i++)
        add_product(sum.v + i / k * s.out, &s, chosen[i], own.v + i * s.in, weights[i]);
    vlm_tensor y = vlm_apply_experts(f, x.t, &s.matrix, s.out, &routes);
    vlm_add_experts(f, sum.t, own.t, &s.matrix, &routes);
    assert_true(vlm_frame_ok(f) && y.shape[0] == n * k && y.shape[1] == s.out);
    assert_near(y.data, want, (size_t)(n * k * s.out), 2e-6, "products");
    assert_near(sum.t.data, sum.v, (size_t)(n * s.out), 2e-6, "sums");
    free(want);
    free_array(&s.w);
    free_array(&logits);
    free_array(&x);
    free_array(&own);
    free_array(&sum);
}

static void rows_meet_the_matrices_of_their_experts(void **state) {
    (void)state;
    static const vlm_dtype types[] = { VLM_DTYPE_F32, VLM_DTYPE_BF16, VLM_DTYPE_F16 };
    for (int l = 0; l < N_LEVELS; l++) {
        vtensor_backend *b = open_backend(l, 1 + l);
        vlm_frame *f = open_frame(b, VTENSOR_EXACT);
        for (int i = 0; i < 30; i++) check_products(f, types[i % 3], i % 2);
        end_ok(f);
        close_all(f, b);
    }
}

/* One row, as a step of decoding has it, reads its experts' matrices in one product, with the bits of one by one. */
static const vtensor_table *plain;
static int runs, linears_run;

static void count_linears(vlm_frame *f, const vlm_tensor *y, vlm_tensor x, const vlm_linear *const *linears, int n) {
    runs++;
    linears_run += n;
    plain->linears(f, y, x, linears, n);
}

static void one_row_meets_its_experts_at_once(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(0, 2);
    vtensor_table counts = *(plain = b->table);
    counts.linears = count_linears;
    b->table = &counts;
    vlm_frame *f = open_frame(b, VTENSOR_FAST);
    array w = make_array(VLM_DTYPE_BF16, 1, 0, 2, (int64_t[]) { 8 * 40, 70 });
    array x = make_array(VLM_DTYPE_F32, 1, 0, 2, (int64_t[]) { 1, 70 });
    array logits = make_array(VLM_DTYPE_F32, 3, 0, 2, (int64_t[]) { 1, 8 });
    const vlm_matrix m = { .out = 8 * 40, .in = 70, .data = w.t };
    for (int64_t k = 1; k <= 8; k++) {
        vlm_routes routes = vlm_route(f, logits.t, k);
        runs = linears_run = 0;
        vlm_tensor y = vlm_apply_experts(f, x.t, &m, 40, &routes);
        assert_true(runs == 1 && linears_run == k);
        for (int64_t j = 0; j < k; j++) {
            const vlm_linear own = { .weight = vlm_matrix_rows(f, &m, ((int32_t *)routes.experts.data)[j] * 40, 40) };
            vlm_tensor alone = vlm_apply_linear(f, x.t, &own);
            assert_memory_equal((float *)y.data + j * 40, alone.data, 40 * sizeof(float));
        }
    }
    end_ok(f);
    free_array(&w);
    free_array(&x);
    free_array(&logits);
    close_all(f, b);
}

/* ---- what is refused, and a dry run ---- */
static void refused(vlm_frame *f, const char *text) {
    vlm_error err = VLM_ERROR_INIT;
    assert_true(vtensor_frame_end(f, &err) < 0);
    if (!strstr(err.message, text)) fail_msg("'%s' is not said: %s", text, err.message);
    vtensor_frame_begin(f);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(0, 1);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    float memory[64] = { 0 };
    int32_t numbers[] = { 0, 2 };
    vlm_tensor x = vtensor_of(memory, VLM_DTYPE_F32, 2, (int64_t[]) { 2, 3 });
    vlm_route(f, x, 4);
    refused(f, "route: 4 experts of F32 [2, 3]");
    const vlm_matrix m = { .out = 4, .in = 3, .data = vtensor_of(memory, VLM_DTYPE_F32, 2, (int64_t[]) { 4, 3 }) };
    const vlm_routes routes = { .experts = vtensor_of(numbers, VLM_DTYPE_I32, 2, (int64_t[]) { 2, 1 }) };
    vlm_apply_experts(f, x, &m, 2, &routes);
    refused(f, "experts: number 2 at 1 is outside [0, 2)");
    vlm_apply_experts(f, x, &m, 3, &routes);
    refused(f, "experts: F32 [2, 3] by F32 [4, 3] of 3 rows each");
    close_all(f, b);
}

static void note_part(void *user, vlm_tensor weight, vtensor_part part) {
    int64_t *told = user;
    assert_int_equal(part.kind, VTENSOR_EXPERTS);
    assert_int_equal(weight.shape[0], 4);
    assert_int_equal(weight.shape[1] * weight.shape[2], 2 * 3);
    told[0]++;
    told[1] = part.rows;
    told[2] = part.each;
}

/* It is said once, of the whole stack, how many rows meet how many of its experts. */
static void a_dry_run_tells_of_experts(void **state) {
    (void)state;
    float memory[24] = { 0 };
    vtensor_backend *b = NULL;
    assert_int_equal(vtensor_backend_cpu(&b, &(vtensor_cpu_options) { .dry = true }, NULL), VLM_OK);
    for (int across = 0; across < 2; across++) {
        const int64_t shape[] = { across ? 12 : 8, across ? 2 : 3 };
        const vlm_tensor w = vtensor_of(memory, VLM_DTYPE_F32, 2, shape);
        const vlm_matrix m = { .out = 8, .in = 3, .data = w, .across = across };
        for (int64_t k = 1; k <= 4; k++) {
            vlm_frame *f = open_frame(b, VTENSOR_FAST);
            int64_t told[3] = { 0 };
            vtensor_frame_reads(f, note_part, told);
            vlm_tensor x = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { 50, 3 });
            vlm_routes routes = vlm_route(f, vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { 50, 4 }), k);
            vlm_apply_experts(f, x, &m, 2, &routes);
            end_ok(f);
            assert_true(told[0] == 1 && told[1] == 50 && told[2] == k);
            vtensor_frame_free(f);
        }
    }
    vtensor_backend_free(b);
}

/* A pass over shapes: 48 rows of 64 values, two of four experts each. */
static void run_dry(vlm_frame *f, vtensor_work *work) {
    vlm_tensor x = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { 48, 64 });
    const vlm_matrix m = { .out = 4 * 32, .in = 64, .data = vtensor_of(NULL, VLM_DTYPE_BF16, 2, (int64_t[]) { 128, 64 }) };
    vtensor_frame_count(f, work);
    vlm_routes routes = vlm_route(f, vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { 48, 4 }), 2);
    vlm_tensor y = vlm_apply_experts(f, x, &m, 32, &routes);
    assert_true(y.shape[0] == 96 && y.shape[1] == 32);
    end_ok(f);
}

/* Inputs, routes, the result; and what an expert takes that all rows meet once: their copies and products. */
static void a_dry_run_needs_no_routes(void **state) {
    (void)state;
    vtensor_backend *b = NULL;
    vtensor_work work = { 0 };
    assert_int_equal(vtensor_backend_cpu(&b, &(vtensor_cpu_options) { .dry = true }, NULL), VLM_OK);
    vlm_frame *f = open_frame(b, VTENSOR_FAST);
    run_dry(f, &work);
    const size_t kept = 48 * (64 + 4 + 3 * 2) + 96 * 32, expert = 48 * (64 + 32);
    assert_true(vtensor_frame_peak(f) >= (kept + expert) * sizeof(float));
    assert_true(vtensor_frame_peak(f) <= (kept + expert + 2 * 48) * sizeof(float) + 8 * VTENSOR_ALIGN);
    assert_int_equal(work.linear, 2 * 96 * 32 * 64);
    close_all(f, b);
}

/* No less than a run takes whose rows all meet the same experts. */
static void a_dry_run_takes_what_the_worst_run_takes(void **state) {
    (void)state;
    static float logits[48 * 4], values[48 * 64], weights[128 * 64];
    for (int64_t rows = 1; rows <= 48; rows += 47) {
        vtensor_backend *dry = NULL, *b = open_backend(0, 1);
        assert_int_equal(vtensor_backend_cpu(&dry, &(vtensor_cpu_options) { .dry = true, .threads = 1 }, NULL), VLM_OK);
        vlm_frame *frames[] = { open_frame(dry, VTENSOR_FAST), open_frame(b, VTENSOR_FAST) };
        for (int i = 0; i < 2; i++) {
            const vlm_matrix m = { .out = 128, .in = 64, .data = vtensor_of(weights, VLM_DTYPE_F32, 2, (int64_t[]) { 128, 64 }) };
            vlm_routes routes = vlm_route(frames[i], vtensor_of(logits, VLM_DTYPE_F32, 2, (int64_t[]) { rows, 4 }), 2);
            vlm_apply_experts(frames[i], vtensor_of(values, VLM_DTYPE_F32, 2, (int64_t[]) { rows, 64 }), &m, 32, &routes);
            end_ok(frames[i]);
        }
        assert_int_equal(vtensor_frame_peak(frames[0]), vtensor_frame_peak(frames[1]));
        vtensor_frame_free(frames[0]);
        vtensor_backend_free(dry);
        close_all(frames[1], b);
    }
}

/* A backend with a product of its own, as a device has: what a dry run takes beside it is the result. */
static int products;

static void own_product(vlm_frame *f, vlm_tensor y, vlm_tensor x, const vlm_matrix *w, int64_t out,
                        vlm_tensor experts) {
    assert_true(vlm_frame_ok(f) && x.shape[1] == w->in && y.shape[1] == out && experts.shape[1] == 2);
    products++;
}

static void a_dry_run_takes_no_more_than_the_backend_does(void **state) {
    (void)state;
    vtensor_backend *b = NULL;
    vtensor_work work = { 0 };
    assert_int_equal(vtensor_backend_cpu(&b, &(vtensor_cpu_options) { .dry = true }, NULL), VLM_OK);
    vtensor_table own = *b->table;
    own.experts = own_product;
    b->table = &own;
    vlm_frame *f = open_frame(b, VTENSOR_FAST);
    products = 0;
    run_dry(f, &work);
    assert_int_equal(products, 1);
    assert_true(vtensor_frame_peak(f) <= (48 * (64 + 4 + 3 * 2) + 96 * 32) * sizeof(float) + 8 * VTENSOR_ALIGN);
    assert_int_equal(work.linear, 2 * 96 * 32 * 64);
    close_all(f, b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_go_to_their_likeliest_experts),
        cmocka_unit_test(broken_logits_lead_to_different_experts),
        cmocka_unit_test(rows_meet_the_matrices_of_their_experts),
        cmocka_unit_test(one_row_meets_its_experts_at_once),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(a_dry_run_needs_no_routes),
        cmocka_unit_test(a_dry_run_takes_what_the_worst_run_takes),
        cmocka_unit_test(a_dry_run_takes_no_more_than_the_backend_does),
        cmocka_unit_test(a_dry_run_tells_of_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
