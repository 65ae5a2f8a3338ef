/* SPDX-License-Identifier: MIT */
/* The CPU backend as an object: kernel table, thread pool, scratch, and the table of its
 * operations. */
#include "tensor/cpu/cpu.h"

/* Below this, waking other threads costs more than it saves. */
enum { INLINE_WORK = 16384 };

/* ---- scratch and threads ---- */
static bool grow(char **p, size_t *have, size_t need, size_t pieces) {
    if (need <= *have) return true;
    size_t bytes;
    vcore_free(*p);
    *have = 0;
    *p = vcore_mul(need, pieces, &bytes) ? vcore_alloc_aligned(bytes) : NULL;
    if (*p) *have = need;
    return *p != NULL;
}

/* In a dry run: what would have been taken. */
static void note(vcpu_backend *b, size_t shared_bytes, size_t worker_bytes) {
    if (shared_bytes > b->shared_bytes) b->shared_bytes = shared_bytes;
    if (worker_bytes > b->worker_bytes) b->worker_bytes = worker_bytes;
}

bool vcpu_begin(vlm_frame *f, size_t shared_bytes, size_t worker_bytes) {
    vcpu_backend *b = vcpu_of(f);
    worker_bytes = vcpu_round_up(worker_bytes, 64);
    pthread_mutex_lock(&b->turn);
    if (!b->base.pool) {
        note(b, shared_bytes, worker_bytes);
        pthread_mutex_unlock(&b->turn);
        return false;
    }
    if (grow(&b->shared, &b->shared_bytes, shared_bytes, 1)
        && grow(&b->workers, &b->worker_bytes, worker_bytes, b->n_workers))
        return true;
    pthread_mutex_unlock(&b->turn);
    vlm_frame_fail(f, VLM_ERR_MEMORY, "no memory for an operation's scratch of %zu bytes",
                   shared_bytes + worker_bytes);
    return false;
}

void vcpu_end(vlm_frame *f) {
    pthread_mutex_unlock(&vcpu_of(f)->turn);
}

void vcpu_run(vcpu_backend *b, size_t n, size_t work, void (*fn)(void *arg, size_t i, int worker),
              void *arg) {
    if (work >= INLINE_WORK && n > 1) {
        vcore_pool_run(b->base.pool, n, fn, arg);
        return;
    }
    for (size_t i = 0; i < n; i++) fn(arg, i, 0);
}

/* ---- values of any type ---- */
void vcpu_widen(const vcpu_kernels *k, float *to, const void *from, vlm_dtype dtype, size_t n) {
    if (dtype == VLM_DTYPE_BF16)
        k->widen_bf16(to, from, n);
    else if (dtype == VLM_DTYPE_F16)
        k->widen_f16(to, from, n);
    else
        memcpy(to, from, n * sizeof *to);
}

const float *vcpu_as_floats(const vcpu_kernels *k, float *buffer, const void *from, vlm_dtype dtype,
                            size_t n) {
    if (dtype == VLM_DTYPE_F32 && (uintptr_t)from % sizeof(float) == 0) return from;
    vcpu_widen(k, buffer, from, dtype, n);
    return buffer;
}

void vcpu_narrow(const vcpu_kernels *k, void *to, vlm_dtype dtype, const float *from, size_t n) {
    if (dtype == VLM_DTYPE_BF16)
        k->narrow_bf16(to, from, n);
    else if (dtype == VLM_DTYPE_F16)
        k->narrow_f16(to, from, n);
    else
        memcpy(to, from, n * sizeof *from);
}

/* ---- the object ---- */
static void cpu_free(vtensor_backend *base) {
    vcpu_backend *b = (vcpu_backend *)base;
    vcore_pool_free(b->base.pool);
    pthread_mutex_destroy(&b->turn);
    vcore_free(b->shared);
    vcore_free(b->workers);
    vcore_free(b);
}

static size_t scratch(const vtensor_backend *base) {
    const vcpu_backend *b = (const vcpu_backend *)base;
    return b->shared_bytes + b->n_workers * b->worker_bytes;
}

static void *memory_new(vtensor_backend *b, size_t bytes) {
    (void)b;
    return vcore_alloc_aligned(bytes);
}

static void memory_free(vtensor_backend *b, void *p) {
    (void)b;
    vcore_free(p);
}

/* Memory that does not exist, but must not look like a lack of memory. */
static void *dry_memory_new(vtensor_backend *b, size_t bytes) {
    (void)bytes;
    return b;
}

static void dry_memory_free(vtensor_backend *b, void *p) {
    (void)b;
    (void)p;
}

static void upload(vlm_frame *f, void *to, const void *host, size_t bytes) {
    (void)f;
    memcpy(to, host, bytes);
}

static void download(vlm_frame *f, void *host, const void *from, size_t bytes) {
    (void)f;
    memcpy(host, from, bytes);
}

static const vtensor_table cpu_table = {
    .name = "cpu",
    .host_memory = true,
    .quantized_state = true,
    .free = cpu_free,
    .memory_new = memory_new,
    .memory_free = memory_free,
    .scratch = scratch,
    .upload = upload,
    .download = download,
    .copy = vcpu_copy,
    .gather = vcpu_gather,
    .scatter = vcpu_scatter,
    .add = vcpu_add,
    .mul = vcpu_mul,
    .scale = vcpu_scale,
    .softcap = vcpu_softcap,
    .activation = vcpu_activation,
    .linear = vcpu_linear,
    .embed = vcpu_embed,
    .norm = vcpu_norm,
    .rope_angles = vcpu_rope_angles,
    .rope = vcpu_rope,
    .attention = vcpu_attention,
    .gate = vcpu_gate,
    .linears = vcpu_linears,
    .linear_for_sum = vcpu_linear_for_sum,
    .blend = vcpu_blend,
    .short_conv = vcpu_short_conv,
    .route = vcpu_route,
    .linear_across = vcpu_linear_across,
    .depthwise_conv = vcpu_depthwise_conv,
};

/* The operations that take scratch go as far as to say how much; see vcpu_begin. */
static const vtensor_table dry_table = {
    .name = "dry",
    .shapes_only = true,
    .host_memory = true,
    .quantized_state = true,
    .free = cpu_free,
    .memory_new = dry_memory_new,
    .memory_free = dry_memory_free,
    .scratch = scratch,
    .linear = vcpu_linear,
    .linears = vcpu_linears,
    .linear_for_sum = vcpu_linear_for_sum,
    .norm = vcpu_norm,
    .attention = vcpu_attention,
    .route = vcpu_route,
    .linear_across = vcpu_linear_across,
    .depthwise_conv = vcpu_depthwise_conv,
};

vlm_status vtensor_backend_cpu(vtensor_backend **out, const vtensor_cpu_options *options,
                               vlm_error *err) {
    vtensor_cpu_options none = { 0 };
    if (!options) options = &none;
    *out = NULL;
    vcpu_backend *b = vcore_alloc(sizeof *b);
    if (!b) return vcore_no_memory(err, "cpu backend");
    if (!options->dry && !(b->base.pool = vcore_pool_new(options->threads))) {
        vcore_free(b);
        return vcore_no_memory(err, "cpu backend");
    }
    b->n_workers =
        (size_t)(b->base.pool ? vcore_pool_size(b->base.pool) : vcore_pool_asked(options->threads));
    pthread_mutex_init(&b->turn, NULL);
    b->no_int8 = options->no_int8_activations;
    b->base.table = options->dry ? &dry_table : &cpu_table;
    vcpu_kernels_fill(&b->k, vcpu_worthwhile(vcore_cpu_flags() & ~options->cpu_mask));
    *out = &b->base;
    return VLM_OK;
}
