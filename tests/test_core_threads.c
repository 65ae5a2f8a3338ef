/* SPDX-License-Identifier: MIT */
/* The thread pool: every item once, workers named apart, callers in turn, sleep and wake. */
#include "support/cm.h"

#include "core/core.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

enum { ITEMS = 1000 };

typedef struct probe {
    atomic_int seen[ITEMS];
    atomic_int inside[64]; /* per worker: items running at this moment */
    atomic_int wrong;
    int size;
    long plain[ITEMS]; /* written without atomics: the pool must order it before the run returns */
} probe;

static void visit(void *arg, size_t i, int worker) {
    probe *p = arg;
    if (worker < 0 || worker >= p->size || i >= ITEMS) {
        atomic_fetch_add(&p->wrong, 1);
        return;
    }
    if (atomic_fetch_add(&p->inside[worker], 1) != 0) atomic_fetch_add(&p->wrong, 1);
    atomic_fetch_add(&p->seen[i], 1);
    p->plain[i] += (long)i;
    atomic_fetch_sub(&p->inside[worker], 1);
}

static void nap(long ns) {
    nanosleep(&(struct timespec) { 0, ns }, NULL);
}

static void every_item_once(void **state) {
    (void)state;
    for (int size = 1; size <= 8; size++) {
        vcore_pool *pool = vcore_pool_new(size);
        assert_int_equal(vcore_pool_size(pool), size);
        static probe p;
        memset(&p, 0, sizeof p);
        p.size = size;
        static const size_t counts[] = { 0, 1, 2, 3, 7, 100, ITEMS };
        int runs[ITEMS] = { 0 };
        for (int round = 0; round < 300; round++) {
            size_t n = counts[round % 7];
            vcore_pool_run(pool, n, visit, &p);
            for (size_t i = 0; i < n; i++) runs[i]++;
            if (round % 100 == 50) nap(2000000); /* long enough for the workers to fall asleep */
        }
        assert_int_equal(p.wrong, 0);
        for (size_t i = 0; i < ITEMS; i++) {
            assert_int_equal(p.seen[i], runs[i]);
            assert_int_equal(p.plain[i], (long)i * runs[i]);
        }
        vcore_pool_free(pool);
    }
}

static void slow_item(void *arg, size_t i, int worker) {
    (void)worker;
    if (i == 0) nap(3000000);
    atomic_fetch_add((atomic_int *)arg, 1);
}

/* The caller's share ends long before the other's, or the other way round: either waits asleep. */
static void the_last_item_is_waited_for(void **state) {
    (void)state;
    vcore_pool *pool = vcore_pool_new(2);
    for (int round = 1; round <= 20; round++) {
        atomic_int done = 0;
        vcore_pool_run(pool, 2, slow_item, &done);
        assert_int_equal(done, 2);
    }
    vcore_pool_free(pool);
}

typedef struct caller {
    vcore_pool *pool;
    probe *probe;
} caller;

static void *call_often(void *arg) {
    caller *c = arg;
    for (int i = 0; i < 200; i++) vcore_pool_run(c->pool, 64, visit, c->probe);
    return NULL;
}

static void callers_take_turns(void **state) {
    (void)state;
    static probe p;
    caller c = { vcore_pool_new(3), &p };
    p.size = 3;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &c), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_int_equal(p.wrong, 0);
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(p.seen[i], 800);
        assert_int_equal(p.plain[i], 800 * (long)i);
    }
    vcore_pool_free(c.pool);
}

static void default_size_is_the_usable_cpus(void **state) {
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    vcore_pool *pool = vcore_pool_new(0);
    assert_int_equal(vcore_pool_size(pool), CPU_COUNT(&before));
    vcore_pool_free(pool);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &before)) CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    pool = vcore_pool_new(0);
    assert_int_equal(vcore_pool_size(pool), 1);
    vcore_pool_free(pool);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    vcore_pool_free(NULL);
}

static void cpu_flags_are_consistent(void **state) {
    (void)state;
    unsigned flags = vcore_cpu_flags();
    if (flags & (VCORE_CPU_AVX512_BF16 | VCORE_CPU_AVX512_VNNI))
        assert_true(flags & VCORE_CPU_AVX512);
    if (flags & (VCORE_CPU_AVX512 | VCORE_CPU_AVX_VNNI)) assert_true(flags & VCORE_CPU_AVX2);
    if (flags & VCORE_CPU_AMX) assert_true(flags & VCORE_CPU_AVX512);
    if (flags & (VCORE_CPU_NEON_DOT | VCORE_CPU_NEON_BF16 | VCORE_CPU_NEON_I8MM))
        assert_true(flags & VCORE_CPU_NEON);
#if defined(__x86_64__)
    __builtin_cpu_init();
    assert_int_equal((flags & VCORE_CPU_AVX2) != 0,
                     __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
    assert_int_equal((flags & VCORE_CPU_AVX512) != 0, __builtin_cpu_supports("avx512f")
                                                          && __builtin_cpu_supports("avx512bw")
                                                          && __builtin_cpu_supports("avx512vl")
                                                          && __builtin_cpu_supports("avx512dq"));
#endif
}

/* By name, and as running where all its flags are there; scalar code runs anywhere. */
static void cpu_levels_are_found(void **state) {
    (void)state;
    assert_string_equal(vcore_cpu_levels[0].name, "scalar");
    assert_true(vcore_cpu_level_runs(&vcore_cpu_levels[0]));
    for (const vcore_cpu_level *l = vcore_cpu_levels; l->name; l++) {
        assert_ptr_equal(vcore_cpu_level_find(l->name), l);
        assert_int_equal(vcore_cpu_level_runs(l), (vcore_cpu_flags() & l->flags) == l->flags);
    }
    assert_null(vcore_cpu_level_find("avx3"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_once),
        cmocka_unit_test(the_last_item_is_waited_for),
        cmocka_unit_test(callers_take_turns),
        cmocka_unit_test(default_size_is_the_usable_cpus),
        cmocka_unit_test(cpu_flags_are_consistent),
        cmocka_unit_test(cpu_levels_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
