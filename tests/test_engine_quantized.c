/* SPDX-License-Identifier: MIT */
/* Whole checkpoints with quantized weights: each answers as the same model does whose weights are
 * the decoded values, logit for logit; what cannot be computed with is refused early. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/io.h"
#include "support/cm.h"
#include "support/parity.h"
#include "vlm/load/convert.h"

/* ---- quantizing ------------------------------------------------------------------------------ */
/* A checkpoint being rewritten: its tensors, quantized ones and their decoded twins. */
enum { MOST = 400 };
typedef struct {
    vcore_arena *memory;
    vio_out_tensor quantized[MOST], decoded[MOST];
    size_t n_quantized, n_decoded;
} rewrite;

static void *take(rewrite *r, size_t bytes) {
    void *p = vcore_arena_alloc(r->memory, bytes);
    assert_non_null(p);
    return p;
}

static const char *beside(rewrite *r, const char *weight, const char *suffix) {
    size_t stem = strlen(weight) - strlen(".weight");
    char *name = take(r, stem + strlen(suffix) + 1);
    sprintf(name, "%.*s%s", (int)stem, weight, suffix);
    return name;
}

static void put(rewrite *r, const char *name, vio_dtype dtype, uint64_t rows, uint64_t columns,
                const void *data) {
    assert_true(r->n_quantized < MOST);
    r->quantized[r->n_quantized++] =
        (vio_out_tensor) { name, dtype, rows ? 2 : 1, { rows ? rows : columns, columns }, data };
}

static void put_decoded(rewrite *r, const vio_tensor *t, vio_dtype dtype, const void *data) {
    vio_out_tensor *to = &r->decoded[r->n_decoded++];
    *to = (vio_out_tensor) { .name = t->name, .dtype = dtype, .rank = t->rank, .data = data };
    memcpy(to->shape, t->shape, sizeof to->shape);
}

static void keep(rewrite *r, const vio_tensor *t) {
    put_decoded(r, t, t->dtype, t->data);
    assert_true(r->n_quantized < MOST);
    r->quantized[r->n_quantized++] = r->decoded[r->n_decoded - 1];
}

/* Appends a value to a stream of bits, the lowest first. */
static void put_bits(uint8_t *stream, size_t at, int bits, unsigned value) {
    for (int b = 0; b < bits; b++)
        stream[(at + (size_t)b) / 8] |= (uint8_t)((value >> b & 1) << (at + (size_t)b) % 8);
}

/* MLX's affine mode: q * scale + bias, scales negative where a group's values are. */
static void affine(rewrite *r, const vio_tensor *t, int bits, size_t group) {
    size_t out = t->shape[0], in = t->shape[1], groups = in / group;
    const float *w = (const float *)(const void *)t->data;
    uint8_t *packed = take(r, out * in * (size_t)bits / 8);
    float *scales = take(r, out * groups * 4), *biases = take(r, out * groups * 4);
    float *decoded = take(r, out * in * 4), top = (float)((1 << bits) - 1);
    for (size_t g = 0; g < out * groups; g++) {
        float least = w[g * group], most = least;
        for (size_t i = g * group; i < (g + 1) * group; i++) {
            least = fminf(least, w[i]);
            most = fmaxf(most, w[i]);
        }
        bool down = most > -least;
        scales[g] = fmaxf((most - least) / top, 1e-7f) * (down ? -1 : 1);
        biases[g] = down ? most : least;
        for (size_t i = g * group; i < (g + 1) * group; i++) {
            float q = fminf(fmaxf(rintf((w[i] - biases[g]) / scales[g]), 0), top);
            put_bits(packed, i * (size_t)bits, bits, (unsigned)q);
            decoded[i] = q * scales[g] + biases[g];
        }
    }
    put(r, t->name, VIO_U32, out, in * (size_t)bits / 32, packed);
    put(r, beside(r, t->name, ".scales"), VIO_F32, out, groups, scales);
    put(r, beside(r, t->name, ".biases"), VIO_F32, out, groups, biases);
    put_decoded(r, t, VIO_F32, decoded);
}

/* compressed-tensors' packed integers of 4 bits. */
static void integers(rewrite *r, const vio_tensor *t, size_t group) {
    size_t out = t->shape[0], in = t->shape[1], groups = in / group;
    const float *w = (const float *)(const void *)t->data;
    uint8_t *packed = take(r, out * in / 2);
    uint16_t *scales = take(r, out * groups * 2);
    float *decoded = take(r, out * in * 4);
    int64_t *shape = take(r, 16);
    for (size_t g = 0; g < out * groups; g++) {
        float most = 1e-6f;
        for (size_t i = g * group; i < (g + 1) * group; i++) most = fmaxf(most, fabsf(w[i]));
        scales[g] = vcore_f32_to_bf16(most / 7.5f);
        float scale = vcore_bf16_to_f32(scales[g]);
        for (size_t i = g * group; i < (g + 1) * group; i++) {
            float q = fminf(fmaxf(rintf(w[i] / scale), -8), 7);
            put_bits(packed, 4 * i, 4, (unsigned)(q + 8));
            decoded[i] = q * scale;
        }
    }
    shape[0] = (int64_t)out;
    shape[1] = (int64_t)in;
    put(r, beside(r, t->name, ".weight_packed"), VIO_I32, out, in / 8, packed);
    put(r, beside(r, t->name, ".weight_scale"), VIO_BF16, out, groups, scales);
    put(r, beside(r, t->name, ".weight_shape"), VIO_I64, 0, 2, shape);
    put_decoded(r, t, VIO_F32, decoded);
}

static float e4m3(unsigned code) {
    float value = code >> 3 & 15 ? ldexpf((float)(8 + (code & 7)), (int)(code >> 3 & 15) - 10)
                                 : ldexpf((float)(code & 7), -9);
    return code & 128 ? -value : value;
}

/* 8-bit floats with a scale for every row. Any codes will do, as long as they are numbers. */
static void floats8(rewrite *r, const vio_tensor *t) {
    size_t out = t->shape[0], in = t->shape[1];
    const float *w = (const float *)(const void *)t->data;
    uint8_t *codes = take(r, out * in);
    float *scales = take(r, out * 4);
    uint16_t *decoded = take(r, out * in * 2);
    for (size_t o = 0; o < out; o++) {
        float most = 1e-6f;
        for (size_t i = 0; i < in; i++) most = fmaxf(most, fabsf(w[o * in + i]));
        scales[o] = most / 448;
        for (size_t i = o * in; i < (o + 1) * in; i++) {
            unsigned code = (unsigned)(i * 2654435761u >> 13) % 96;
            codes[i] = (uint8_t)(code | (w[i] < 0 ? 128u : 0));
            decoded[i] = vcore_f32_to_bf16(e4m3(codes[i]) * scales[o]);
        }
    }
    put(r, t->name, VIO_F8_E4M3, out, in, codes);
    put(r, beside(r, t->name, ".weight_scale"), VIO_F32, out, 1, scales);
    put_decoded(r, t, VIO_BF16, decoded);
}

/* GPTQ's integers of 4 bits, packed along the inputs; zero points differ, stored less one. */
static void gptq(rewrite *r, const vio_tensor *t, size_t group) {
    size_t out = t->shape[0], in = t->shape[1], groups = in / group;
    const float *w = (const float *)(const void *)t->data;
    uint32_t *packed = take(r, out * in / 2), *zeros = take(r, out * groups / 2);
    uint16_t *scales = take(r, out * groups * 2);
    float *decoded = take(r, out * in * 4);
    for (size_t o = 0; o < out; o++)
        for (size_t g = 0; g < groups; g++) {
            size_t at = g * out + o, first = o * in + g * group;
            float most = 1e-4f, zero = (float)(7 + at % 3);
            for (size_t i = first; i < first + group; i++) most = fmaxf(most, fabsf(w[i]));
            scales[at] = vcore_f32_to_f16(most / 6);
            float scale = vcore_f16_to_f32(scales[at]);
            zeros[at / 8] |= (uint32_t)(zero - 1) << 4 * (at % 8);
            for (size_t i = first; i < first + group; i++) {
                float q = fminf(fmaxf(rintf(w[i] / scale) + zero, 0), 15);
                packed[(i - o * in) / 8 * out + o] |= (uint32_t)q << 4 * (i % 8);
                decoded[i] = (q - zero) * scale;
            }
        }
    put(r, beside(r, t->name, ".qweight"), VIO_I32, in / 8, out, packed);
    put(r, beside(r, t->name, ".qzeros"), VIO_I32, groups, out / 8, zeros);
    put(r, beside(r, t->name, ".scales"), VIO_F16, groups, out, scales);
    put_decoded(r, t, VIO_F32, decoded);
}

/* The modes whose elements are floats: any codes of numbers, scales near one. */
static void floats(rewrite *r, const vio_tensor *t, bool eight, size_t group) {
    static const float e2m1[] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };
    size_t out = t->shape[0], in = t->shape[1];
    const float *w = (const float *)(const void *)t->data;
    uint8_t *codes = take(r, out * in), *scales = take(r, out * in / group);
    float *decoded = take(r, out * in * 4);
    for (size_t i = 0; i < out * in; i++) {
        unsigned random = (unsigned)(i * 2654435761u >> 13), sign = w[i] < 0;
        uint8_t scale = (uint8_t)(group == 16 ? 0x10 + i / group % 8 : 119 + i / group % 4);
        unsigned code = random % (eight ? 64 : 8);
        float value = eight ? e4m3(code) : e2m1[code];
        scales[i / group] = scale;
        decoded[i] = (sign ? -value : value) * (group == 16 ? e4m3(scale) : ldexpf(1, scale - 127));
        put_bits(codes, i * (eight ? 8 : 4), eight ? 8 : 4, code | sign << (eight ? 7 : 3));
    }
    put(r, t->name, VIO_U32, out, in / (eight ? 4 : 8), codes);
    put(r, beside(r, t->name, ".scales"), VIO_U8, out, in / group, scales);
    put_decoded(r, t, VIO_F32, decoded);
}

/* ---- recipes --------------------------------------------------------------------------------- */
static bool has(const vio_tensor *t, const char *part) {
    return strstr(t->name, part) != NULL;
}

/* Every way of saying it: as the whole model, by an object without a mode, with `false`, with and
 * without the prefix; the embeddings (and with them a tied head) in 8 bits. */
static void mlx_mixed(rewrite *r, const vio_tensor *t) {
    size_t in = t->shape[1];
    if (has(t, "layers.0.self_attn.q_proj"))
        keep(r, t);
    else if (has(t, "embed_tokens"))
        affine(r, t, 8, 32);
    else if (has(t, "layers.1.mlp.down_proj") && in % 32 == 0)
        affine(r, t, 3, 32);
    else if (has(t, "mlp.down_proj") || in % 64 != 0)
        keep(r, t);
    else
        affine(r, t, 4, 64);
}
static const char mlx_words[] =
    "\"quantization\":{\"group_size\":64,\"bits\":4,\"mode\":\"affine\","
    "\"language_model.model.embed_tokens\":{\"group_size\":32,\"bits\":8},"
    "\"model.layers.1.mlp.down_proj\":{\"group_size\":32,\"bits\":3},"
    "\"language_model.model.layers.0.self_attn.q_proj\":false}";

static void int4(rewrite *r, const vio_tensor *t) {
    if (t->shape[1] % 32 == 0 && !has(t, "embed_tokens") && !has(t, "lm_head"))
        integers(r, t, 32);
    else
        keep(r, t);
}
static const char int4_words[] =
    "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-"
    "quantized\","
    "\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":4,\"type\":"
    "\"int\",\"symmetric\":true,\"group_size\":32}}},\"ignore\":[\"lm_head\"]}";

static void fp8(rewrite *r, const vio_tensor *t) {
    if (has(t, "proj.weight") && !has(t, "patch_embed"))
        floats8(r, t);
    else
        keep(r, t);
}
static const char fp8_words[] =
    "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":"
    "\"float-quantized\",\"config_groups\":{\"group_0\":{\"weights\":{\"num_bits\":8,\"type\":"
    "\"float\",\"strategy\":\"channel\"}}}}";

static void gptq4(rewrite *r, const vio_tensor *t) {
    if (t->shape[1] % 32 == 0 && t->shape[0] % 8 == 0 && has(t, "proj.weight"))
        gptq(r, t, 32);
    else
        keep(r, t);
}
static const char gptq_words[] = "\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,"
                                 "\"group_size\":32,\"desc_act\":false,\"sym\":false}";

/* Tables, heads and layers in each of the modes of floats, beside affine ones. */
static void mlx_floats(rewrite *r, const vio_tensor *t) {
    size_t in = t->shape[1];
    if (has(t, "embed_tokens"))
        floats(r, t, false, 16);
    else if (has(t, "lm_head"))
        floats(r, t, true, 32);
    else if (has(t, "layers.0.mlp") && in % 32 == 0)
        floats(r, t, true, 32);
    else if (has(t, "layers.0.self_attn") && in % 32 == 0)
        affine(r, t, 6, 32);
    else if (has(t, "layers.1") && in % 32 == 0)
        floats(r, t, false, 32);
    else
        keep(r, t);
}
static const char floats_words[] =
    "\"quantization\":{\"group_size\":32,\"bits\":4,\"mode\":\"mxfp4\","
    "\"language_model.model.embed_tokens\":{\"mode\":\"nvfp4\"},"
    "\"language_model.lm_head\":{\"mode\":\"mxfp8\"},"
#define EIGHT(name) "\"language_model.model.layers.0.mlp." name "\":{\"mode\":\"mxfp8\"},"
#define SIX(name) "\"model.layers.0.self_attn." name "\":{\"bits\":6,\"group_size\":32},"
    EIGHT("gate_proj") EIGHT("up_proj") EIGHT("down_proj") SIX("q_proj") SIX("k_proj") SIX("v_proj")
        "\"model.layers.0.self_attn.o_proj\":{\"bits\":6,\"group_size\":32}}";

/* Puts words in front of everything else that a config says. */
static void say(const char *dir, const char *words) {
    char *path = tcheckpoint_path(dir, "config.json");
    vio_bytes text;
    assert_int_equal(vio_read(&text, path, 1 << 20, NULL, NULL), VLM_OK);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fprintf(f, "{%s,%s", words, strchr(text.p, '{') + 1) > 0);
    assert_int_equal(fclose(f), 0);
    vcore_free(text.p);
    free(path);
}

static void write(const char *dir, const vio_out_tensor *tensors, size_t n, const char *format) {
    vlm_error err = VLM_ERROR_INIT;
    char *path = tcheckpoint_path(dir, "model.safetensors");
    if (vio_safetensors_write(path, tensors, n, format, &err) < 0) fail_msg("%s", err.message);
    free(path);
}

typedef struct {
    char *quantized, *decoded; /* directories */
} pair;

static pair make(const char *golden, tcheckpoint_names names, const char *words,
                 void (*recipe)(rewrite *, const vio_tensor *)) {
    pair p = { tcheckpoint_temp_dir(), tcheckpoint_temp_dir() };
    const tcheckpoint_options options = { .names = names };
    rewrite *r = calloc(1, sizeof *r);
    vio_tensors *tensors;
    assert_true(tcheckpoint_write(golden, p.quantized, &options));
    assert_true(tcheckpoint_write(golden, p.decoded, &options));
    assert_int_equal(vio_tensors_open_dir(&tensors, p.decoded, NULL, NULL), VLM_OK);
    r->memory = vcore_arena_new();
    for (size_t i = 0; i < vio_tensors_count(tensors); i++) {
        const vio_tensor *t = vio_tensors_at(tensors, i);
        bool matrix =
            t->rank == 2 && t->dtype == VIO_F32 && has(t, ".weight") && !has(t, "position");
        if (matrix)
            recipe(r, t);
        else
            keep(r, t);
    }
    const char *format = names == TCHECKPOINT_MLX ? "mlx" : "pt";
    write(p.quantized, r->quantized, r->n_quantized, format);
    write(p.decoded, r->decoded, r->n_decoded, format);
    assert_true(r->n_quantized > r->n_decoded);
    say(p.quantized, words);
    vio_tensors_close(tensors);
    vcore_arena_free(r->memory);
    free(r);
    return p;
}

static void unmake(pair *p) {
    tcheckpoint_remove(p->quantized);
    tcheckpoint_remove(p->decoded);
    free(p->quantized);
    free(p->decoded);
}

/* ---- answers --------------------------------------------------------------------------------- */
static vlm_context *load(const char *dir) {
    vlm_context *c;
    vlm_error err = VLM_ERROR_INIT;
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    options.precision = VLM_PRECISION_F32;
    options.threads = 1;
    if (vlm_context_load(&c, dir, &options, &err) < 0) fail_msg("%s", err.message);
    return c;
}

static float *logits(tgolden *golden, const tgolden_case *of, vlm_context *context, char *dir,
                     size_t *n) {
    tparity p = { golden, dir, context };
    vlm_prepared *prepared = tparity_prepare(&p, of);
    char *path = tparity_dump(&p, prepared, VLM_STAGE_LOGITS);
    float *values = tparity_read(path, "logits", n, NULL);
    vlm_prepared_free(prepared);
    free(path);
    return values;
}

/* What a conversion makes of the quantized checkpoint, in MLX's layout or as floats; its path, owned. */
static char *converted(const pair *p, vlm_convert_weights weights) {
    vlm_convert_options options = VLM_CONVERT_OPTIONS_INIT;
    vlm_error err = VLM_ERROR_INIT;
    char *to = tcheckpoint_path(p->decoded, weights == VLM_CONVERT_KEEP ? "kept" : "floats");
    options.weights = weights;
    if (weights == VLM_CONVERT_DEQUANTIZE) options.dtype = "f32";
    if (vlm_convert(p->quantized, to, &options, &err) < 0) fail_msg("%s", err.message);
    return to;
}

/* It answers with the same bits as the decoded model. */
static void converted_alike(const pair *p, tgolden *golden, vlm_convert_weights weights, const float *want) {
    size_t n;
    char *dir = converted(p, weights);
    vlm_context *c = load(dir);
    float *got = logits(golden, tgolden_case_at(golden, 0), c, dir, &n);
    assert_memory_equal(got, want, n * sizeof *got);
    free(got);
    vlm_context_free(c);
    tcheckpoint_remove(dir);
    free(dir);
}

/* Same bits as the decoded model, and not those of the reference's weights. */
static void answers_alike(const char *dir, tcheckpoint_names names, const char *words,
                          void (*recipe)(rewrite *, const vio_tensor *), bool computes) {
    pair p = make(dir, names, words, recipe);
    tgolden *golden = tgolden_open(dir);
    assert_non_null(golden);
    vlm_context *quantized = load(p.quantized), *decoded = load(p.decoded);
    const vlm_context_info *info = vlm_context_get_info(quantized);
    assert_int_equal(info->parameters, vlm_context_get_info(decoded)->parameters);
    assert_true(info->weight_bytes < vlm_context_get_info(decoded)->weight_bytes);
    assert_int_equal(info->computed_bytes > vlm_context_get_info(decoded)->computed_bytes,
                     computes);
    for (size_t i = 0; i < tgolden_case_count(golden) && i < 2; i++) {
        const tgolden_case *of = tgolden_case_at(golden, i);
        size_t n, m, k;
        float *a = logits(golden, of, quantized, p.quantized, &n);
        float *b = logits(golden, of, decoded, p.decoded, &m);
        const float *reference = tgolden_f32(golden, of, "logits", &k);
        assert_int_equal(n, m);
        assert_memory_equal(a, b, n * sizeof *a);
        assert_true(tgolden_relative(a + n - k, reference, k) > 1e-3);
        if (i == 0) {
            converted_alike(&p, golden, VLM_CONVERT_KEEP, b);
            converted_alike(&p, golden, VLM_CONVERT_DEQUANTIZE, b);
        }
        free(a);
        free(b);
    }
    vlm_context_free(quantized);
    vlm_context_free(decoded);
    tgolden_close(golden);
    unmake(&p);
}

static void a_tied_head(void **state) {
    (void)state;
    answers_alike("tests/golden/qwen2_5_vl-tied", TCHECKPOINT_MLX, mlx_words, mlx_mixed, false);
}

static void a_head_of_its_own(void **state) {
    (void)state;
    answers_alike("tests/golden/idefics3-split", TCHECKPOINT_MLX, mlx_words, mlx_mixed, false);
}

static void modes_of_floats(void **state) {
    (void)state;
    answers_alike("tests/golden/qwen2_5_vl-tied", TCHECKPOINT_MLX, floats_words, mlx_floats, false);
    answers_alike("tests/golden/idefics3-split", TCHECKPOINT_MLX, floats_words, mlx_floats, false);
}

static void packed_integers(void **state) {
    (void)state;
    answers_alike("tests/golden/paligemma-gemma", TCHECKPOINT_HF, int4_words, int4, true);
}

static void eight_bit_floats(void **state) {
    (void)state;
    answers_alike("tests/golden/qwen2_5_vl-untied", TCHECKPOINT_HF, fp8_words, fp8, true);
}

static void turned_around(void **state) {
    (void)state;
    answers_alike("tests/golden/idefics3-split", TCHECKPOINT_HF, gptq_words, gptq4, true);
}

/* ---- refusals -------------------------------------------------------------------------------- */
typedef struct {
    bool weights, tokenizer;
} opened;

static void note_open(void *user, const char *path) {
    opened *o = user;
    if (strstr(path, ".safetensors")) o->weights = true;
    if (strstr(path, "tokenizer.json")) o->tokenizer = true;
}

static void refused(const char *dir, const char *says) {
    opened o = { 0 };
    vlm_context *c = (void *)&o;
    vlm_error err = VLM_ERROR_INIT;
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    options.opened = note_open;
    options.opened_user = &o;
    assert_int_equal(vlm_context_load(&c, dir, &options, &err), VLM_ERR_UNSUPPORTED);
    if (!strstr(err.message, says)) fail_msg("'%s' is not in '%s'", says, err.message);
    assert_null(c);
    assert_false(o.weights);
    assert_false(o.tokenizer);
}

static void methods_that_are_not_translated(void **state) {
    (void)state;
    static const char *const methods[] = { "auto-round", "bitsandbytes", "fp8", "hqq" };
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        char words[120], says[80], *dir = tcheckpoint_temp_dir();
        snprintf(words, sizeof words,
                 "\"quantization_config\":{\"quant_method\":\"%s\",\"bits\":4}", methods[i]);
        snprintf(says, sizeof says, "config.json: quantization_config.quant_method: '%s'",
                 methods[i]);
        assert_true(tcheckpoint_write("tests/golden/idefics3-whole", dir, NULL));
        say(dir, words);
        refused(dir, says);
        tcheckpoint_remove(dir);
        free(dir);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tied_head),
        cmocka_unit_test(a_head_of_its_own),
        cmocka_unit_test(modes_of_floats),
        cmocka_unit_test(packed_integers),
        cmocka_unit_test(eight_bit_floats),
        cmocka_unit_test(turned_around),
        cmocka_unit_test(methods_that_are_not_translated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
