/* SPDX-License-Identifier: MIT */
/* Quantized modules: whatever config and tensors meet, a module is refused, or bound so that all of
 * its arrays may be read and an operation takes it. The input chooses what a checkpoint is made of:
 * a config, sizes, then five bytes for a tensor: name, type and rank, three dimensions. */
#include <stdio.h>

#include "models/models.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CT(form, more)                                                                             \
    "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"" form         \
    "\"" more "}}"
#define PACKED(method, bits, group)                                                                \
    "{\"quantization_config\":{\"quant_method\":\"" method "\",\"bits\":" bits                     \
    ",\"group_size\":" group "}}"
static const char *const configs[] = {
    "{}",
    "{\"quantization\":{\"group_size\":64,\"bits\":4}}",
    "{\"quantization\":{\"group_size\":32,\"bits\":3,\"m\":{\"bits\":6},\"a.m\":false}}",
    "{\"quantization\":{\"group_size\":32,\"bits\":4,\"mode\":\"mxfp4\"}}",
    "{\"quantization\":{\"group_size\":32,\"bits\":8,\"mode\":\"mxfp8\"}}",
    "{\"quantization\":{\"group_size\":16,\"bits\":4,\"mode\":\"nvfp4\"}}",
    CT("pack-quantized", ""),
    CT("nvfp4-pack-quantized", ""),
    CT("float-quantized", ""),
    CT("float-quantized", ",\"config_groups\":{\"g\":{\"weights\":{\"block_structure\":[3,40]}}}"),
    CT("mixed-precision", ",\"config_groups\":{\"g\":{\"format\":\"pack-quantized\",\"weights\":"
                          "{\"num_bits\":8,\"group_size\":32}}}"),
    "{\"quantization_config\":{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4\"}}",
    PACKED("awq", "4", "32"),
    PACKED("gptq", "2", "32"),
    PACKED("gptq", "4", "64"),
    PACKED("gptq", "8", "128"),
};
static const char *const suffixes[] = { ".weight",         ".scales",       ".biases",
                                        ".weight_packed",  ".weight_scale", ".qweight",
                                        ".qzeros",         ".g_idx",        ".weight_global_scale",
                                        ".weight_scale_2", ".bias",         ".weight_shape",
                                        ".weight_g_idx",   ".input_scale",  ".weight_zero_point",
                                        ".k_scale" };
static const uint16_t sizes[] = { 0, 1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 40, 64, 96, 128 };
#define OF(list, i) (list)[(i) % (sizeof(list) / sizeof(list)[0])]

/* A safetensors file of what the bytes choose; its data are the bytes again and again. */
static void make_file(vcore_buf *file, const uint8_t *data, size_t size) {
    uint64_t length = 0, begin = 0;
    unsigned seen = 0;
    vcore_buf_add(file, &length, 8);
    vcore_buf_puts(file, "{");
    for (size_t i = 0; i + 5 <= size && begin < 1 << 16; i += 5) {
        vio_dtype dtype = (vio_dtype)(data[i + 1] % (VIO_F8_E8M0 + 1));
        int rank = data[i + 1] >> 4 & 3;
        uint64_t bytes = vio_dtype_size(dtype);
        if (seen >> data[i] % 16 & 1) continue;
        seen |= 1u << data[i] % 16;
        vcore_buf_printf(file, "%s\"m%s\":{\"dtype\":\"%s\",\"shape\":[",
                         begin || seen & (seen - 1) ? "," : "", suffixes[data[i] % 16],
                         vio_dtype_name(dtype));
        for (int d = 0; d < rank; d++) {
            uint16_t n = OF(sizes, data[i + 2 + (size_t)d]);
            vcore_buf_printf(file, "%s%u", d ? "," : "", n);
            bytes *= n;
        }
        vcore_buf_printf(file, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
                         (unsigned long long)(begin + bytes));
        begin += bytes;
    }
    vcore_buf_puts(file, "}");
    length = file->n - 8;
    memcpy(file->p, &length, 8);
    uint8_t block[4096];
    for (size_t i = 0; i < sizeof block; i++) block[i] = data[i % size];
    for (size_t n; begin; begin -= n) {
        n = begin < sizeof block ? (size_t)begin : sizeof block;
        vcore_buf_add(file, block, n);
    }
}

static void read_all(vlm_tensor t) {
    volatile uint8_t sum = 0;
    size_t n = t.rank ? (size_t)vtensor_count(t) * vtensor_dtype_size(t.dtype) : 0;
    for (size_t i = 0; t.data && i < n; i++) sum = (uint8_t)(sum + ((const uint8_t *)t.data)[i]);
}

/* Backends and frames outlive an input: threads take long to start. */
static vlm_frame *frame_of(bool dry) {
    static vlm_frame *frames[2];
    vtensor_backend *backend;
    vlm_error err = VLM_ERROR_INIT;
    vtensor_cpu_options options = { .threads = 1, .dry = dry };
    if (!frames[dry]
        && (vtensor_backend_cpu(&backend, &options, &err) < 0
            || vtensor_frame_new(&frames[dry], backend, VTENSOR_EXACT, &err) < 0))
        __builtin_trap();
    return frames[dry];
}

/* An operation over all rows. */
static void use(const vlm_matrix *m, bool inspect) {
    vlm_frame *f = frame_of(inspect);
    int32_t ids[128];
    const int64_t n[] = { m->out };
    vlm_error err = VLM_ERROR_INIT;
    for (int i = 0; i < 128; i++) ids[i] = i;
    vtensor_frame_begin(f);
    vlm_embed(f, m, vlm_tensor_from(f, VLM_DTYPE_I32, 1, n, ids));
    if (vtensor_frame_end(f, &err) < 0) __builtin_trap();
}

static void bind(const vio_tensors *tensors, const vlm_quantization *q, int64_t out, int64_t in,
                 bool inspect) {
    struct {
        vlm_matrix m;
    } object;
    vlm_build *b;
    vlm_error err = VLM_ERROR_INIT;
    vcore_arena *arena = vcore_arena_new();
    const vmodel_build_args args = {
        .tensors = tensors, .arena = arena, .inspect = inspect, .quantization = q
    };
    const vlm_weight_row row = { VLM_WEIGHT_MATRIX, "x|m", 0, { 0, 1, -1 }, VLM_ALWAYS, VLM_NEVER };
    const int64_t dims[] = { out, in };
    const vlm_binding at = { .prefix = "a.|", .dims = dims };
    if (vmodel_build_new(&b, &args, &err) < 0) __builtin_trap();
    vlm_status status = vlm_bind(b, &object, &row, 1, &at, &err);
    if (status < 0 && (status != err.code || strchr(err.message, '\n'))) __builtin_trap();
    if (status >= 0) {
        read_all(object.m.data);
        read_all(object.m.scales);
        read_all(object.m.biases);
        read_all(object.m.factor);
        if (object.m.data.data || inspect) use(&object.m, inspect);
    }
    vmodel_build_check(b, true, &err);
    vmodel_build_free(b);
    vcore_arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t widths[] = { 16, 32, 48, 64, 96, 128, 3, 40 };
    if (size < 5) return 0;
    vcore_buf file = { 0 };
    vio_tensors *tensors = NULL;
    vlm_quantization *q = NULL;
    vlm_error err = VLM_ERROR_INIT;
    const char *config = OF(configs, data[0]);
    make_file(&file, data + 4, size - 4);
    if (vlm_quantization_parse(&q, config, strlen(config), &err) < 0) __builtin_trap();
    if (vlm_quantization_usable(q, &err) < 0) __builtin_trap();
    if (vio_tensors_open_memory(&tensors, file.p, file.n, "fuzz", NULL, &err) >= 0) {
        bind(tensors, q, OF(widths, data[1]), OF(widths, data[2]), data[3] & 1);
    }
    vio_tensors_close(tensors);
    vlm_quantization_free(q);
    vcore_buf_free(&file);
    return 0;
}
