/* SPDX-License-Identifier: MIT */
/* Frames: the stack of temporaries and its scopes, the sticky error, the dry run, limits, dump
 * points, cancelling, and frames on several threads. */
#include "tensor_pass.h"

#include <pthread.h>

static vlm_tensor floats(vlm_frame *f, int64_t n) {
    return vlm_tensor_new(f, VLM_DTYPE_F32, 1, &n);
}

static void scopes_give_back(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(N_LEVELS - 1, 1);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    for (int pass = 0; pass < 3; pass++) {
        vtensor_frame_begin(f);
        float *kept = floats(f, 100).data;
        for (int i = 0; i < 100; i++) kept[i] = (float)i;
        vlm_scope outer = vlm_scope_begin(f);
        char *first = floats(f, 1000).data, *second;
        assert_int_equal((uintptr_t)first % 64, 0);
        vlm_scope inner = vlm_scope_begin(f);
        second = floats(f, 1 << 20).data; /* larger than what there is: another chunk */
        memset(second, 1, 4 << 20);
        vlm_scope_end(f, inner);
        if (pass > 0) assert_ptr_equal(floats(f, 3).data, second);
        vlm_scope_end(f, outer);
        assert_ptr_equal(floats(f, 5).data, first);
        for (int i = 0; i < 100; i++) assert_true(kept[i] == (float)i);
        end_ok(f);
        assert_int_equal(vtensor_frame_peak(f), 448 + 4032 + (4 << 20));
    }
    vlm_tensor none = vlm_tensor_new(f, VLM_DTYPE_F32, 2, (int64_t[]) { 0, 7 });
    assert_int_equal(none.rank, 2);
    assert_int_equal(vtensor_count(vlm_copy(f, none)), 0);
    vlm_scope_end(f, (vlm_scope)1 << 40);
    assert_false(vlm_frame_ok(f));
    vtensor_frame_free(f);
    vtensor_backend_free(b);
}

static void the_first_error_stays(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(N_LEVELS - 1, 1);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    vlm_error err = VLM_ERROR_INIT;
    vlm_tensor x = floats(f, 10);
    assert_int_equal(vlm_frame_fail(f, VLM_ERR_FORMAT, "row %d is %s", 3, "odd").rank, 0);
    vlm_frame_fail(f, VLM_ERR_IO, "later");
    assert_int_equal(vlm_copy(f, x).rank, 0);
    assert_int_equal(floats(f, 1).rank, 0);
    float host[10];
    assert_int_equal(vtensor_read(f, x, host, NULL), VLM_ERR_FORMAT);
    assert_int_equal(vtensor_frame_end(f, &err), VLM_ERR_FORMAT);
    assert_int_equal(err.code, VLM_ERR_FORMAT);
    assert_string_equal(err.message, "row 3 is odd");
    vtensor_frame_begin(f); /* a new pass starts without it */
    assert_int_equal(vlm_copy(f, floats(f, 10)).rank, 1);
    end_ok(f);
    vtensor_frame_free(f);
    vtensor_backend_free(b);
}

static void sizes_are_bounded(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(N_LEVELS - 1, 1);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    static const struct {
        int rank;
        int64_t shape[4];
        vlm_status status;
    } cases[] = {
        { 2, { INT64_MAX, 8 }, VLM_ERR_LIMIT },
        { 4, { 1 << 16, 1 << 16, 1 << 16, 1 << 16 }, VLM_ERR_LIMIT },
        { 2, { (int64_t)1 << 40, 1 << 20 }, VLM_ERR_LIMIT },
        { 1, { -1 }, VLM_ERR_ARGUMENT },
        { 0, { 1 }, VLM_ERR_ARGUMENT },
        { 6, { 1 }, VLM_ERR_ARGUMENT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vtensor_frame_begin(f);
        assert_int_equal(vlm_tensor_new(f, VLM_DTYPE_F32, cases[i].rank, cases[i].shape).rank, 0);
        assert_int_equal(vtensor_frame_end(f, NULL), cases[i].status);
    }
    vtensor_frame_limit(f, 1 << 16);
    vtensor_frame_begin(f);
    assert_int_equal(floats(f, 16384).rank, 1);
    assert_int_equal(floats(f, 1).rank, 0);
    assert_int_equal(vtensor_frame_end(f, NULL), VLM_ERR_LIMIT);
    vtensor_frame_free(f);
    vtensor_backend_free(b);
}

/* The dry run sees the same sizes as the real one, and needs no weights. */
static void dry_run_measures(void **state) {
    (void)state;
    vtensor_backend *cpu = open_backend(N_LEVELS - 1, 2), *dry;
    const vtensor_cpu_options options = { .threads = 2, .dry = true };
    assert_int_equal(vtensor_backend_cpu(&dry, &options, NULL), VLM_OK);
    assert_string_equal(vtensor_backend_name(dry), "dry");
    vlm_frame *real = open_frame(cpu, VTENSOR_FAST), *shapes = open_frame(dry, VTENSOR_FAST);
    layer l = make_layer(), unread = l;
    unread.up_linear.weight.data.data = unread.down_linear.weight.data.data = NULL;
    unread.kv.k.data = unread.kv.v.data = NULL;
    for (int64_t n = 1; n <= 300; n = n * 3 + 7) {
        vtensor_frame_begin(real);
        vtensor_frame_begin(shapes);
        vlm_tensor x = run_pass(real, &l, 3, n, 5), y = run_pass(shapes, &unread, 3, n, 5);
        end_ok(real);
        end_ok(shapes);
        assert_null(y.data);
        assert_non_null(x.data);
        x.data = NULL;
        assert_memory_equal(&x, &y, sizeof x);
        assert_true(vtensor_frame_peak(real) > 0);
        assert_int_equal(vtensor_frame_peak(real), vtensor_frame_peak(shapes));
        assert_int_equal(vtensor_frame_held(real), vtensor_frame_held(shapes));
        assert_true(vtensor_frame_held(real) >= vtensor_frame_peak(real));
        assert_true(vtensor_backend_scratch(cpu) > 0);
        assert_int_equal(vtensor_backend_scratch(cpu), vtensor_backend_scratch(dry));
    }
    vtensor_frame_begin(shapes); /* it refuses what the real one refuses */
    run_pass(shapes, &unread, 1, 300, PASS_CAPACITY - 200);
    assert_int_equal(vtensor_frame_end(shapes, NULL), VLM_ERR_CONTEXT_FULL);
    free_layer(&l);
    vtensor_frame_free(real);
    vtensor_frame_free(shapes);
    vtensor_backend_free(cpu);
    vtensor_backend_free(dry);
}

static void note_read(void *user, vlm_tensor weight, vtensor_part part) {
    const void **seen = user;
    assert_int_equal(part.kind, VTENSOR_ALL);
    assert_non_null(weight.data);
    for (; *seen; seen++)
        if (*seen == weight.data) return;
    *seen = weight.data;
}

/* A dry run tells the weights that a run would read, and nothing else. */
static void dry_run_tells_what_is_read(void **state) {
    (void)state;
    vtensor_backend *dry;
    const vtensor_cpu_options options = { .threads = 2, .dry = true };
    assert_int_equal(vtensor_backend_cpu(&dry, &options, NULL), VLM_OK);
    vlm_frame *f = open_frame(dry, VTENSOR_FAST);
    layer l = make_layer(), shapes = l;
    const void *seen[100] = { NULL };
    shapes.kv.k.data = shapes.kv.v.data = NULL;
    vtensor_frame_reads(f, note_read, seen);
    vtensor_frame_begin(f);
    run_pass(f, &shapes, 3, 40, 5);
    end_ok(f);
    bool up = false, down = false;
    for (size_t i = 0; seen[i]; i++) {
        up |= seen[i] == l.up_linear.weight.data.data;
        down |= seen[i] == l.down_linear.weight.data.data;
    }
    assert_true(up && down);
    free_layer(&l);
    vtensor_frame_free(f);
    vtensor_backend_free(dry);
}

static void note_dump(void *user, vlm_frame *f, const char *name, vlm_tensor x) {
    float values[4 * PASS_DIM];
    assert_int_equal(vtensor_read(f, x, values, NULL), VLM_OK);
    assert_int_equal(x.shape[1], PASS_DIM);
    strcat(user, name);
    strcat(user, " ");
}

static int stop_at_zero(void *user) {
    return --*(int *)user == 0;
}

static void dump_and_cancel(void **state) {
    (void)state;
    vtensor_backend *b = open_backend(N_LEVELS - 1, 2);
    vlm_frame *f = open_frame(b, VTENSOR_EXACT);
    layer l = make_layer();
    char names[100] = "";
    vtensor_frame_dump(f, note_dump, names);
    run_pass(f, &l, 3, 4, 0);
    end_ok(f);
    assert_string_equal(names, "hidden.0 hidden.1 hidden.2 ");
    vtensor_frame_dump(f, NULL, NULL);
    for (int calls = 1; calls < 30; calls += 7) {
        int left = calls;
        vtensor_frame_begin(f);
        vtensor_frame_cancel(f, stop_at_zero, &left);
        run_pass(f, &l, 3, 4, 0);
        assert_int_equal(vtensor_frame_end(f, NULL), VLM_ERR_CANCELLED);
        assert_int_equal(left, 0); /* not asked again */
    }
    free_layer(&l);
    vtensor_frame_free(f);
    vtensor_backend_free(b);
}

/* Frames of one backend on several threads: everyone gets what they would get alone. */
typedef struct runner {
    vtensor_backend *b;
    layer l;
    float first[PASS_DIM * 60];
} runner;

static void *run_alone(void *arg) {
    runner *r = arg;
    vlm_frame *f;
    float again[PASS_DIM * 60];
    if (vtensor_frame_new(&f, r->b, VTENSOR_FAST, NULL) != VLM_OK) return r;
    bool same = true;
    for (int round = 0; round < 8; round++) {
        vtensor_frame_begin(f);
        vlm_tensor y = run_pass(f, &r->l, 2, 60, 0);
        same = same && vtensor_frame_end(f, NULL) == VLM_OK
               && vtensor_read(f, y, round ? again : r->first, NULL) == VLM_OK
               && (!round || memcmp(again, r->first, sizeof again) == 0);
    }
    vtensor_frame_free(f);
    return same ? NULL : r;
}

static void frames_on_threads(void **state) {
    (void)state;
    enum { RUNNERS = 3 };
    vtensor_backend *b = open_backend(N_LEVELS - 1, 2);
    static runner runners[RUNNERS];
    pthread_t threads[RUNNERS];
    for (int i = 0; i < RUNNERS; i++) {
        rng_state = 7; /* the same weights for each */
        runners[i].b = b;
        runners[i].l = make_layer();
    }
    for (int i = 0; i < RUNNERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_alone, &runners[i]), 0);
    for (int i = 0; i < RUNNERS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
        assert_memory_equal(runners[i].first, runners[0].first, sizeof runners[0].first);
        free_layer(&runners[i].l);
    }
    vtensor_backend_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scopes_give_back),  cmocka_unit_test(the_first_error_stays),
        cmocka_unit_test(sizes_are_bounded), cmocka_unit_test(dry_run_measures), cmocka_unit_test(dry_run_tells_what_is_read),
        cmocka_unit_test(dump_and_cancel),   cmocka_unit_test(frames_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
