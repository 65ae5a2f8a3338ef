/* SPDX-License-Identifier: MIT */
/* The state of attention on the CPU: how its keys and values are stored, and how they are found
 * again. Quantized, a group of values along a head gets a scale and a bias that span it, and codes
 * between. */
#include "tensor/cpu/attention/attention.h"

#include <math.h>

/* ---- finding ---- */
static vcpu_kv_type type_of(const vlm_kv *kv, vlm_dtype dtype) {
    if (kv && kv->bits) return kv->bits == 8 ? VCPU_KV_U8 : VCPU_KV_U4;
    if (dtype == VLM_DTYPE_BF16) return VCPU_KV_BF16;
    return dtype == VLM_DTYPE_F16 ? VCPU_KV_F16 : VCPU_KV_F32;
}

/* Rows of x from `first` on; scales is empty but for codes. */
static vcpu_kv_heads heads_of(vlm_tensor x, vlm_tensor scales, size_t group, size_t first) {
    size_t size = vtensor_dtype_size(x.dtype), scale = sizeof(uint16_t);
    vcpu_kv_heads heads = {
        .rows = { .data = vcpu_row(x, first), .row_bytes = (size_t)x.stride[0] * size },
        .head_bytes = (size_t)x.stride[1] * size,
    };
    if (!scales.rank) return heads;
    heads.rows.scales = vcpu_row(scales, first);
    heads.rows.scales_row_bytes = (size_t)scales.stride[0] * scale;
    heads.rows.group = group;
    heads.scales_head_bytes = (size_t)scales.stride[1] * scale;
    return heads;
}

vcpu_keys vcpu_keys_of(const vcpu_attention_job *j, const vlm_segment *s) {
    static const vlm_tensor none;
    const vlm_kv *kv = s->kv;
    vlm_tensor k = kv ? kv->k : j->k, v = kv ? kv->v : j->v;
    size_t first = kv ? 0 : (size_t)s->start, group = kv ? (size_t)kv->group : 0;
    return (vcpu_keys) {
        .type = type_of(kv, k.dtype),
        .k = heads_of(k, kv ? kv->k_scales : none, group, first),
        .v = heads_of(v, kv ? kv->v_scales : none, group, first),
        .used_bytes = (size_t)k.shape[2] * vtensor_dtype_size(k.dtype),
        .n = (size_t)(s->past + s->length),
    };
}

/* ---- quantizing ---- */
static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* The next bfloat16 that is not above f, and the one not below: what they span has all values. */
static uint16_t bf16_below(float f) {
    uint32_t u = bits_of(f);
    return (uint16_t)((u + (u >> 31 ? 0xFFFFu : 0)) >> 16);
}
static uint16_t bf16_above(float f) {
    uint32_t u = bits_of(f);
    return (uint16_t)((u + (u >> 31 ? 0 : 0xFFFFu)) >> 16);
}

/* Codes of one group, one byte each. What is not finite makes the whole group NaN. */
static void quantize_group(uint8_t *codes, uint16_t scale_bias[2], const float *x, size_t n,
                           int levels) {
    float low = x[0], high = x[0], probe = 0;
    for (size_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        probe += x[i] * 0;
    }
    uint16_t bias_bits = bf16_below(low);
    float bias = vcore_bf16_to_f32(bias_bits);
    uint16_t scale_bits = bf16_above((high - bias) / (float)levels);
    float scale = vcore_bf16_to_f32(scale_bits), most = (float)levels;
    float inverse = probe == 0 && scale > 0 ? 1 / scale : 0;
    for (size_t i = 0; i < n; i++) {
        float t = (x[i] - bias) * inverse + 0.5f;
        codes[i] = (uint8_t)(t > most ? most : t > 0 ? t : 0);
    }
    scale_bias[0] = probe == 0 ? scale_bits : vcore_f32_to_bf16(NAN);
    scale_bias[1] = bias_bits;
}

/* One row of one head. */
static void quantize(uint8_t *to, uint16_t *scales, const float *x, size_t dim, const vlm_kv *kv) {
    size_t group = (size_t)kv->group, padded = vcpu_round_up(dim, VCPU_KV_PAD);
    for (size_t at = 0; at < dim; at += group, scales += 2) {
        size_t n = vcpu_min(group, dim - at), end = at + n == dim ? padded : at + n;
        uint8_t codes[VCPU_KV_GROUP + VCPU_KV_PAD] = { 0 };
        quantize_group(codes, scales, x + at, n, (1 << kv->bits) - 1);
        if (kv->bits == 8)
            memcpy(to + at, codes, end - at);
        else
            for (size_t i = at; i < end; i += 2)
                to[i / 2] = (uint8_t)(codes[i - at] | codes[i - at + 1] << 4);
    }
}

/* ---- storing ---- */
typedef struct store_job {
    const vcpu_attention_job *a;
    const vlm_segment *s;
} store_job;

static void store_row(const vcpu_attention_job *j, const vlm_kv *kv, vlm_tensor to,
                      vlm_tensor scales, size_t position, vlm_tensor from, size_t row) {
    size_t head_bytes = (size_t)to.stride[1] * vtensor_dtype_size(to.dtype);
    for (size_t h = 0; h < j->kv_heads; h++) {
        char *at = vcpu_row(to, position) + h * head_bytes;
        const float *x = vcpu_head(from, row, h);
        if (!kv->bits) {
            vcpu_narrow(&j->b->k, at, to.dtype, x, j->head_dim);
            continue;
        }
        uint16_t *pairs = (uint16_t *)(void *)vcpu_row(scales, position);
        quantize((uint8_t *)at, pairs + h * (size_t)scales.stride[1], x, j->head_dim, kv);
    }
}

static void store_item(void *arg, size_t i, int worker) {
    const store_job *job = arg;
    const vlm_kv *kv = job->s->kv;
    size_t position = (size_t)job->s->past + i, row = (size_t)job->s->start + i;
    (void)worker;
    store_row(job->a, kv, kv->k, kv->k_scales, position, job->a->k, row);
    store_row(job->a, kv, kv->v, kv->v_scales, position, job->a->v, row);
}

void vcpu_attention_store(const vcpu_attention_job *j) {
    for (int i = 0; i < j->n_segments; i++) {
        const vlm_segment *s = &j->segments[i];
        if (!s->kv) continue;
        size_t rows = (size_t)s->length;
        vcpu_run(j->b, rows, rows * j->kv_heads * j->head_dim * 2, store_item,
                 &(store_job) { j, s });
    }
}
