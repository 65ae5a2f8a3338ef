/* SPDX-License-Identifier: MIT */
/* The thread pool. Owns who runs an item; what an item is belongs to the caller.
 *
 * One 64-bit word holds the number of the job and how many of its items are still to be claimed. A
 * worker claims an item by a compare-and-swap that takes one off, and reads the rest of the job
 * only then: a job with a claimed item that is not reported as done cannot end, so its fields stand
 * still. Workers that arrive late find nothing to claim and hold nobody up.
 *
 * Idle workers, and a caller that waits for the last items, spin for some microseconds before they
 * sleep: a decode step is a hundred short jobs, each far shorter than a wake-up. */
#include "core/core.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum { SPIN_NS = 30000, MAX_THREADS = 1024 };
#define LEFT_MASK 0xFFFFFFFFu

struct vlm_threads {
    _Atomic uint64_t word;     /* job number << 32 | items left to claim */
    _Atomic size_t unfinished; /* items of the job not yet reported as done */
    atomic_int sleepers;       /* workers in, or on their way into, cond_wait */
    atomic_bool caller_sleeps, stop;

    /* The job: written while no item is unfinished, read after a claim. */
    void (*fn)(void *arg, size_t i, int worker);
    void *arg;
    size_t end; /* index of the last item + 1 */

    pthread_mutex_t turn; /* held by the caller whose job it is */
    pthread_mutex_t lock; /* guards falling asleep */
    pthread_cond_t work, finished;
    int size; /* workers, the caller being worker 0 */
    pthread_t threads[];
};

typedef struct start {
    vcore_pool *pool;
    int worker;
} start;

static void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool has_work(vcore_pool *p) {
    return (atomic_load(&p->word) & LEFT_MASK) != 0 || atomic_load(&p->stop);
}

static bool is_done(vcore_pool *p) {
    return atomic_load(&p->unfinished) == 0;
}

/* True as soon as ready is, false when it was not for SPIN_NS. */
static bool spin(vcore_pool *p, bool (*ready)(vcore_pool *)) {
    uint64_t until = 0;
    for (unsigned i = 0;; i++) {
        if (ready(p)) return true;
        cpu_relax();
        if (i % 16 != 15) continue;
        uint64_t now = now_ns();
        if (!until) until = now + SPIN_NS;
        if (now >= until) return false;
    }
}

/* Claims and runs items until none is left. */
static void work(vcore_pool *p, int worker) {
    size_t did = 0;
    uint64_t word = atomic_load(&p->word);
    while (word & LEFT_MASK) {
        if (!atomic_compare_exchange_weak(&p->word, &word, word - 1)) continue;
        p->fn(p->arg, p->end - (word & LEFT_MASK), worker);
        did++;
        word = atomic_load(&p->word);
    }
    if (!did || atomic_fetch_sub(&p->unfinished, did) != did) return;
    if (worker != 0 && atomic_load(&p->caller_sleeps)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_signal(&p->finished);
        pthread_mutex_unlock(&p->lock);
    }
}

static void sleep_until_work(vcore_pool *p) {
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (!has_work(p)) pthread_cond_wait(&p->work, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg) {
    start s = *(start *)arg;
    vcore_free(arg);
    while (!atomic_load(&s.pool->stop)) {
        work(s.pool, s.worker);
        if (!spin(s.pool, has_work)) sleep_until_work(s.pool);
    }
    return NULL;
}

static int usable_cpus(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than cpu_set_t counts */
    return online > 0 ? (int)online : 1;
}

/* A pool with fewer threads than asked works as well: results do not depend on their number. */
static void start_threads(vcore_pool *p, int size) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the program's signals are its own threads' */
    for (p->size = 1; p->size < size; p->size++) {
        start *s = vcore_alloc(sizeof *s);
        if (!s) break;
        *s = (start) { p, p->size };
        if (pthread_create(&p->threads[p->size - 1], NULL, worker_main, s) != 0) {
            vcore_free(s);
            break;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int vcore_pool_asked(int threads) {
    if (threads <= 0) threads = usable_cpus();
    return threads < MAX_THREADS ? threads : MAX_THREADS;
}

vcore_pool *vcore_pool_new(int threads) {
    threads = vcore_pool_asked(threads);
    vcore_pool *p = vcore_alloc(sizeof *p + (size_t)(threads - 1) * sizeof p->threads[0]);
    if (!p) return NULL;
    pthread_mutex_init(&p->turn, NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->finished, NULL);
    start_threads(p, threads);
    return p;
}

int vcore_pool_size(const vcore_pool *p) {
    return p->size;
}

static void wake_workers(vcore_pool *p, size_t wanted) {
    int sleepers = atomic_load(&p->sleepers);
    if (!sleepers) return;
    pthread_mutex_lock(&p->lock);
    if (wanted < (size_t)sleepers)
        while (wanted--) pthread_cond_signal(&p->work);
    else
        pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
}

static void wait_done(vcore_pool *p) {
    if (spin(p, is_done)) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (!is_done(p)) pthread_cond_wait(&p->finished, &p->lock);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

void vcore_pool_run(vcore_pool *p, size_t n, void (*fn)(void *arg, size_t i, int worker),
                    void *arg) {
    pthread_mutex_lock(&p->turn); /* also inline: worker 0 names a scratch that only one may use */
    if (n <= 1 || p->size == 1) {
        for (size_t i = 0; i < n; i++) fn(arg, i, 0);
        pthread_mutex_unlock(&p->turn);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    for (size_t begin = 0; begin < n;) { /* more than once only beyond 2^32 items */
        size_t count = n - begin < LEFT_MASK ? n - begin : LEFT_MASK;
        uint64_t job = (atomic_load(&p->word) >> 32) + 1;
        p->end = begin + count;
        atomic_store(&p->unfinished, count);
        atomic_store(&p->word, job << 32 | count);
        wake_workers(p, count - 1);
        work(p, 0);
        wait_done(p);
        begin += count;
    }
    pthread_mutex_unlock(&p->turn);
}

void vcore_pool_free(vcore_pool *p) {
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < p->size; i++) pthread_join(p->threads[i - 1], NULL);
    pthread_cond_destroy(&p->finished);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->turn);
    vcore_free(p);
}

/* ---- the public names ---- */
vlm_status vlm_threads_new(vlm_threads **out, int threads, vlm_error *err) {
    if (out) *out = NULL;
    if (!out || threads < 0)
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "vlm_threads_new: out is NULL, or the number negative");
    *out = vcore_pool_new(threads);
    return *out ? VLM_OK : vcore_no_memory(err, "threads");
}

void vlm_threads_free(vlm_threads *threads) {
    vcore_pool_free(threads);
}

int vlm_threads_count(const vlm_threads *threads) {
    return threads ? threads->size : 1;
}

void vlm_threads_run(vlm_threads *threads, size_t n, void (*fn)(void *arg, size_t i, int worker),
                     void *arg) {
    if (threads)
        vcore_pool_run(threads, n, fn, arg);
    else
        for (size_t i = 0; i < n; i++) fn(arg, i, 0);
}
