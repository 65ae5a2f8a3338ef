/* SPDX-License-Identifier: MIT */
/* AWQ's and GPTQ's matrices: packed integers stored input by input, with a zero point and a scale
 * for every group of inputs and every output. Turned around once while loading they are MLX's
 * affine mode, value = (q - zero) * scale = q * scale + bias, its biases in float32, in which they
 * are exact. Owns the two packings and nothing of what the config says. */
#include <math.h>
#include <stdatomic.h>

#include "models/weights/weights.h"

typedef struct transposed {
    const vio_tensor *weight, *zeros, *scales, *order; /* order: GPTQ's group of every input */
    bool awq;
    int64_t out, in, per_word, groups;
    vlm_quantization_params params;
    unsigned zero_offset;
} transposed;

/* AWQ spreads eight columns over the nibbles of a word: where a column is, and which a nibble has.
 */
static const uint8_t awq_nibble[8] = { 0, 4, 1, 5, 2, 6, 3, 7 };
static const uint8_t awq_column[8] = { 0, 2, 4, 6, 1, 3, 5, 7 };

static uint32_t word_at(const uint8_t *data, size_t i) {
    uint32_t word;
    memcpy(&word, data + 4 * i, sizeof word);
    return word;
}

/* ---- checks ---------------------------------------------------------------------------------- */
static vlm_status check_words(const vmodel_row *r, const vio_tensor *t, int64_t rows,
                              int64_t columns) {
    const int64_t dims[] = { rows, columns };
    if (t->dtype != VIO_I32 && t->dtype != VIO_U32)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, t, "packed integers are of type I32");
    return vmodel_row_check_shape(r, t, dims, 2, "the config");
}

/* Inputs must come group by group: no other order has a place in MLX's layout. */
static vlm_status check_order(const vmodel_row *r, const transposed *t) {
    const int64_t dims[] = { t->in };
    if (t->order->dtype != VIO_I32)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, t->order, "must be of type I32");
    VTRY(vmodel_row_check_shape(r, t->order, dims, 1, "the config"));
    for (int64_t i = 0; !r->b->args.inspect && i < t->in; i++)
        if (word_at(t->order->data, (size_t)i) != (uint32_t)(i / t->params.group_size))
            return vmodel_row_fail(r, VLM_ERR_UNSUPPORTED, t->order,
                                   "reordered columns are not translated");
    return VLM_OK;
}

static vlm_status check(const vmodel_row *r, const transposed *t) {
    if (t->in % t->params.group_size != 0 || t->out % t->per_word != 0)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, t->weight,
                               "the config's sizes are no whole number of groups and words");
    if (t->awq)
        VTRY(check_words(r, t->weight, t->in, t->out / t->per_word));
    else
        VTRY(check_words(r, t->weight, t->in / t->per_word, t->out));
    VTRY(check_words(r, t->zeros, t->groups, t->out / t->per_word));
    return t->order ? check_order(r, t) : VLM_OK;
}

/* ---- turning around -------------------------------------------------------------------------- */
enum { BLOCK = 16 }; /* words of a row read at a time: a line of the cache */

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* GPTQ packs along the inputs, as MLX does: its words change places only. */
static void turn_words(uint32_t *to, const transposed *t, int64_t first, int64_t end) {
    int64_t words = t->in / t->per_word;
    for (int64_t o0 = first; o0 < end; o0 += BLOCK)
        for (int64_t w = 0; w < words; w++)
            for (int64_t o = o0; o < smaller(o0 + BLOCK, end); o++)
                to[o * words + w] = word_at(t->weight->data, (size_t)(w * t->out + o));
}

/* Nibble j of word i and nibble i of word j change places. */
static void turn_nibbles(uint32_t words[8]) {
    static const uint32_t low[] = { 0x0000ffff, 0x00ff00ff, 0x0f0f0f0f };
    for (int step = 0, d = 4; step < 3; step++, d /= 2)
        for (int i = 0; i < 8; i++) {
            if (i & d) continue;
            uint32_t swap = (words[i] >> 4 * d ^ words[i + d]) & low[step];
            words[i + d] ^= swap;
            words[i] ^= swap << 4 * d;
        }
}

/* AWQ packs along the outputs: eight words of eight inputs become a word of each of eight outputs.
 */
static void turn_squares(uint32_t *to, const transposed *t, int64_t first, int64_t end) {
    int64_t words = t->in / 8, columns = t->out / 8;
    for (int64_t w = 0; w < words; w++)
        for (int64_t c = first / 8; c < end / 8; c++) {
            uint32_t square[8];
            for (int64_t i = 0; i < 8; i++)
                square[i] = word_at(t->weight->data, (size_t)((8 * w + i) * columns + c));
            turn_nibbles(square);
            for (int i = 0; i < 8; i++) to[(8 * c + awq_column[i]) * words + w] = square[i];
        }
}

static float zero_of(const transposed *t, int64_t group, int64_t o) {
    int64_t slot = t->awq ? awq_nibble[o % 8] : o % t->per_word;
    uint32_t mask = (1u << t->params.bits) - 1;
    uint32_t word = word_at(t->zeros->data, (size_t)((group * t->out + o) / t->per_word));
    return (float)(((word >> t->params.bits * slot) + t->zero_offset) & mask);
}

/* What becomes of it, by threads that take some outputs each. */
enum { OUTS = 8 * BLOCK };
typedef struct turned {
    const transposed *t;
    vlm_dtype type; /* of the scales */
    void *data, *scales, *biases;
    atomic_bool failed; /* what is no finite number was met */
} turned;

/* Scales turned around, and biases. */
static bool turn_scales(const turned *to, int64_t first, int64_t end) {
    const transposed *t = to->t;
    size_t size = vtensor_dtype_size(to->type);
    bool finite = true;
    for (int64_t o = first; o < end; o++)
        for (int64_t g = 0; g < t->groups; g++) {
            size_t from = (size_t)(g * t->out + o), at = (size_t)(o * t->groups + g);
            float bias = -zero_of(t, g, o) * vmodel_float_at(t->scales->data, to->type, from);
            memcpy((uint8_t *)to->scales + at * size, t->scales->data + from * size, size);
            ((float *)to->biases)[at] = bias;
            finite &= isfinite(bias) != 0;
        }
    return finite;
}

static void turn_item(void *arg, size_t item, int worker) {
    turned *to = arg;
    int64_t first = (int64_t)item * OUTS, end = smaller(first + OUTS, to->t->out);
    (void)worker;
    if (to->t->awq)
        turn_squares(to->data, to->t, first, end);
    else
        turn_words(to->data, to->t, first, end);
    if (!turn_scales(to, first, end)) atomic_store(&to->failed, true);
}

static vlm_status turn(vmodel_row *r, const transposed *t, vlm_matrix *m, vlm_dtype type) {
    const int64_t words[] = { t->out, t->in / t->per_word }, groups[] = { t->out, t->groups };
    turned to = { .t = t, .type = type };
    size_t bytes;
    if (!vcore_mul((size_t)(t->out * t->groups), sizeof(float), &bytes))
        return vcore_no_memory(r->err, t->weight->name);
    VTRY(vmodel_row_materialise(r, &to.data, t->weight, t->weight->bytes));
    VTRY(vmodel_row_materialise(r, &to.scales, t->scales, t->scales->bytes));
    VTRY(vmodel_row_materialise(r, &to.biases, t->scales, bytes));
    if (to.data) vmodel_row_run(r, (size_t)((t->out + OUTS - 1) / OUTS), turn_item, &to);
    if (to.failed) return vmodel_row_fail(r, VLM_ERR_WEIGHTS, t->scales, VMODEL_NOT_FINITE);
    m->storage = VLM_STORAGE_AFFINE;
    m->bits = t->params.bits;
    m->group = t->params.group_size;
    m->data = vtensor_of(to.data, VLM_DTYPE_U32, 2, words);
    m->scales = vtensor_of(to.scales, type, 2, groups);
    m->biases = vtensor_of(to.biases, VLM_DTYPE_F32, 2, groups);
    return VLM_OK;
}

vlm_status vmodel_bind_transposed(vmodel_row *r, vlm_matrix *m, bool *bound) {
    const vlm_quantization *q = r->b->args.quantization;
    const vio_tensor *weight = vmodel_row_locate(r, ".qweight");
    *bound = weight != NULL;
    if (!weight) return VLM_OK;
    transposed t = { .weight = weight,
                     .zeros = vmodel_row_companion(r, ".qzeros"),
                     .scales = vmodel_row_companion(r, ".scales"),
                     .order = vmodel_row_companion(r, ".g_idx"),
                     .awq = q->layout == VMODEL_LAYOUT_AWQ,
                     .out = r->dims[0],
                     .in = r->dims[1],
                     .per_word = 32 / q->integers.bits,
                     .groups = r->dims[1] / q->integers.group_size,
                     .params = q->integers,
                     .zero_offset = q->zero_offset };
    const int64_t scale_dims[] = { t.groups, t.out };
    vlm_dtype type;
    if (!t.zeros) return vmodel_build_missing(r->b, r->stem, ".qzeros", r->err);
    if (!t.scales) return vmodel_build_missing(r->b, r->stem, ".scales", r->err);
    VTRY(check(r, &t));
    VTRY(vmodel_row_float_type(r, t.scales, &type));
    VTRY(vmodel_row_check_shape(r, t.scales, scale_dims, 2, "the config"));
    VTRY(turn(r, &t, m, type));
    vmodel_row_take(r, t.weight, (uint64_t)t.out * (uint64_t)t.in);
    vmodel_row_take(r, t.zeros, 0);
    vmodel_row_take(r, t.scales, 0);
    if (t.order) vmodel_row_take(r, t.order, 0);
    return vmodel_row_note(
        r, (vmodel_module) { .mode = "affine", .bits = m->bits, .group_size = m->group });
}
