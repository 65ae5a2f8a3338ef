/* SPDX-License-Identifier: MIT */
/* 8-bit floats (OCP's E4M3) with scales by row, by block or for all: no mode of MLX has these
 * scales, so they become 16-bit floats in memory of the model's own, by all threads. */
#include <stdatomic.h>

#include "models/weights/weights.h"

enum { ITEM_VALUES = 1 << 16 }; /* of one thread at a time */

/* Codes [out, in]; blocks of [rows, columns] share a scale, scales [blocks down, blocks across]. */
typedef struct decoding {
    const uint8_t *codes;
    uint16_t *to;
    vlm_dtype type, scale_type;
    const void *scales;
    unsigned cpu_flags;
    size_t out, in, rows, columns, across, rows_per_item;
    atomic_bool failed;
} decoding;

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

static void decode_row(decoding *d, size_t o) {
    const uint8_t *codes = d->codes + o * d->in;
    uint16_t *to = d->to + o * d->in;
    for (size_t i = 0, b = 0; i < d->in; i += d->columns, b++) {
        float scale = vmodel_float_at(d->scales, d->scale_type, o / d->rows * d->across + b);
        vtensor_e4m3(to + i, d->type, codes + i, scale, smaller(d->columns, d->in - i),
                     d->cpu_flags);
    }
    if (!vmodel_all_finite((vmodel_number)d->type, to, d->in * sizeof *to))
        atomic_store(&d->failed, true);
}

static void decode_item(void *arg, size_t item, int worker) {
    decoding *d = arg;
    size_t end = smaller(d->out, (item + 1) * d->rows_per_item);
    (void)worker;
    for (size_t o = item * d->rows_per_item; o < end; o++) decode_row(d, o);
}

/* Rows and columns that share a scale: as the config says, else all, else every row. */
static vlm_status scale_blocks(const vmodel_row *r, const vio_tensor *scales, decoding *d) {
    const vlm_quantization *q = r->b->args.quantization;
    int64_t out = r->dims[0], in = r->dims[1], flat[] = { out }, dims[] = { out, 1 };
    bool one = scales->bytes == vio_dtype_size(scales->dtype);
    d->rows = one ? d->out : 1;
    d->columns = d->in;
    d->across = 1;
    if (q->block[0]) {
        d->rows = (size_t)q->block[0];
        d->columns = (size_t)q->block[1];
        dims[0] = (out - 1) / q->block[0] + 1;
        dims[1] = (in - 1) / q->block[1] + 1;
        d->across = (size_t)dims[1];
    } else if (one) {
        return VLM_OK;
    } else if (scales->rank == 1) {
        return vmodel_row_check_shape(r, scales, flat, 1, "the weight");
    }
    return vmodel_row_check_shape(r, scales, dims, 2, "the weight");
}

vlm_status vmodel_bind_float8(vmodel_row *r, const vio_tensor *w, const vio_tensor *scales,
                              vlm_matrix *m) {
    decoding d = { .codes = w->data, .scales = scales->data };
    void *data = NULL;
    size_t bytes;
    d.cpu_flags = vcore_cpu_flags();
    d.out = (size_t)m->out;
    d.in = (size_t)m->in;
    d.rows_per_item = ITEM_VALUES / (d.in + 1) + 1;
    VTRY(vmodel_row_check_shape(r, w, r->dims, 2, "the config"));
    VTRY(vmodel_row_float_type(r, scales, &d.scale_type));
    VTRY(scale_blocks(r, scales, &d));
    d.type = d.scale_type == VLM_DTYPE_F32 ? VLM_DTYPE_BF16 : d.scale_type;
    if (!vcore_mul(w->bytes, 2, &bytes)) return vcore_no_memory(r->err, w->name);
    VTRY(vmodel_row_materialise(r, &data, w, bytes));
    d.to = data;
    if (data)
        vmodel_row_run(r, (d.out + d.rows_per_item - 1) / d.rows_per_item, decode_item, &d);
    if (d.failed)
        return vmodel_row_fail(r, VLM_ERR_WEIGHTS, scales, VMODEL_NOT_FINITE);
    m->data = vtensor_of(data, d.type, 2, r->dims);
    vmodel_row_take(r, w, (uint64_t)m->out * (uint64_t)m->in);
    vmodel_row_take(r, scales, 0);
    return vmodel_row_note(r, (vmodel_module) { .mode = "fp8", .bits = 8, .dense = true });
}
