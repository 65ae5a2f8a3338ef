/* SPDX-License-Identifier: MIT */
/* Hugging Face's quantization_config, in the words of the tools that write it: which of them this
 * library translates into MLX's modes, with which parameters, and which it refuses. What cannot be
 * translated is kept as a refusal, so that the config can still be read. The tensors are routed in
 * quantized.c by what they are. */
#include <stdio.h>

#include "models/weights/weights.h"

static bool is_absent(const vlm_json *v) {
    return vcore_json_kind_of(v) == VCORE_JSON_NULL;
}

/* The config stays readable; whoever wants the weights is told this line. */
static vlm_status refuse(vlm_quantization *q, const char *where, const char *key, const char *what,
                         vlm_error *err) {
    char field[160];
    int n = snprintf(field, sizeof field, "%s.%s", where, key);
    q->refused_field = vcore_arena_strndup(q->memory, field,
                                           (size_t)n < sizeof field ? (size_t)n : sizeof field - 1);
    q->refusal = vcore_arena_strndup(q->memory, what, strlen(what));
    return q->refusal && q->refused_field ? VLM_OK : vcore_no_memory(err, "quantization");
}

/* A string entry, cut to what a message can show; "" when it is absent or something else. */
typedef struct word {
    char s[64];
} word;

static word string_of(const vlm_json *object, const char *key) {
    word w = { "" };
    vcore_str s;
    if (vcore_json_string(vcore_json_get(object, key), &s))
        snprintf(w.s, sizeof w.s, "%.*s", (int)(s.n < 60 ? s.n : 60), s.p);
    return w;
}

static bool is(word w, const char *name) {
    return strcmp(w.s, name) == 0;
}

static vlm_status refuse_value(vlm_quantization *q, const char *where, const char *key,
                               const vlm_json *v, const char *known, vlm_error *err) {
    char what[240];
    vcore_str s;
    if (vcore_json_string(v, &s))
        snprintf(what, sizeof what, "'%.*s' is not something this build can do (%s)",
                 (int)(s.n < 60 ? s.n : 60), s.p, known);
    else
        snprintf(what, sizeof what, "%s is not something this build can do (%s)",
                 is_absent(v) ? "nothing" : vcore_json_kind_name(v), known);
    return refuse(q, where, key, what, err);
}

static void set_whole(vlm_quantization *q, vlm_quantization_mode mode, int bits, int group_size) {
    if (q->has_whole) return;
    q->has_whole = true;
    q->whole = (vlm_quantization_params) { mode, bits, group_size };
}

/* ---- compressed-tensors ---------------------------------------------------------------------- */
/* Integers packed into words: MLX's own packing when the bits divide a word and zero is the middle.
 */
static vlm_status read_integers(vlm_quantization *q, const vlm_json *weights, const char *where,
                                vlm_error *err) {
    int64_t bits = 4, group = 32;
    bool symmetric = true;
    const vlm_json *v = vcore_json_get(weights, "type");
    if (!is_absent(v) && !is(string_of(weights, "type"), "int"))
        return refuse_value(q, where, "type", v, "int", err);
    vcore_json_bool(vcore_json_get(weights, "symmetric"), &symmetric);
    if (!symmetric) return refuse(q, where, "symmetric", "zero points are not translated", err);
    if (is(string_of(weights, "actorder"), "group"))
        return refuse(q, where, "actorder", "reordered columns are not translated", err);
    v = vcore_json_get(weights, "num_bits");
    if (!is_absent(v) && (!vcore_json_int(v, &bits) || (bits != 2 && bits != 4 && bits != 8)))
        return refuse(q, where, "num_bits", "packed integers must have 2, 4 or 8 bits", err);
    v = vcore_json_get(weights, "group_size");
    if (v && (!vcore_json_int(v, &group) || (group != 32 && group != 64 && group != 128)))
        return refuse(q, where, "group_size",
                      "packed integers must come in groups of 32, 64 or 128", err);
    q->integers = (vlm_quantization_params) { VLM_QUANTIZATION_AFFINE, (int)bits, (int)group };
    set_whole(q, VLM_QUANTIZATION_AFFINE, (int)bits, (int)group);
    return VLM_OK;
}

/* Blocks that share a scale; absent or null: a scale for every row. */
static vlm_status read_blocks(vlm_quantization *q, const vlm_json *weights, const char *where,
                              vlm_error *err) {
    const vlm_json *v = vcore_json_get(weights, "block_structure");
    if (is_absent(v)) return VLM_OK;
    for (size_t i = 0; i < 2; i++)
        if (vcore_json_count(v) != 2 || !vcore_json_int(vcore_json_at(v, i), &q->block[i])
            || q->block[i] < 1 || q->block[i] > 1 << 20)
            return refuse(q, where, "block_structure", "must be two positive integers", err);
    return VLM_OK;
}

static vlm_status read_format(vlm_quantization *q, word format, const vlm_json *weights,
                              const char *where, vlm_error *err) {
    if (is(format, "pack-quantized")) return read_integers(q, weights, where, err);
    if (is(format, "float-quantized")) return read_blocks(q, weights, where, err);
    if (is(format, "nvfp4-pack-quantized")) set_whole(q, VLM_QUANTIZATION_NVFP4, 4, 16);
    if (is(format, "mxfp4-pack-quantized")) set_whole(q, VLM_QUANTIZATION_MXFP4, 4, 32);
    return VLM_OK;
}

/* Every group has a format, its own or that of all. The first of a format gives its parameters. */
static vlm_status read_groups(vlm_quantization *q, const vlm_json *c, word whole, const char *where,
                              vlm_error *err) {
    static const char known[] = "pack-quantized|float-quantized|nvfp4-pack-quantized|"
                                "mxfp4-pack-quantized|dense";
    bool seen_integers = false, seen_floats = false;
    for (vcore_json_iter it = { 0 }; vcore_json_next(vcore_json_get(c, "config_groups"), &it);) {
        char at[160];
        snprintf(at, sizeof at, "%s.config_groups.%.*s", where,
                 (int)(it.key.n < 40 ? it.key.n : 40), it.key.p);
        word format = string_of(it.value, "format");
        if (!format.s[0]) format = whole;
        if (!vmodel_is_one_of(known, vcore_str_of(format.s)))
            return refuse_value(q, at, "format", vcore_json_get(it.value, "format"), known, err);
        bool *seen = is(format, "pack-quantized")    ? &seen_integers
                     : is(format, "float-quantized") ? &seen_floats
                                                     : NULL;
        if (seen && *seen) continue;
        if (seen) *seen = true;
        size_t n = strlen(at);
        snprintf(at + n, sizeof at - n, ".weights");
        VTRY(read_format(q, format, vcore_json_get(it.value, "weights"), at, err));
        if (q->refusal) return VLM_OK;
    }
    return seen_integers || seen_floats ? VLM_OK : read_format(q, whole, NULL, where, err);
}

static vlm_status read_compressed(vlm_quantization *q, const vlm_json *c, const char *where,
                                  vlm_error *err) {
    static const char known[] = "pack-quantized|float-quantized|nvfp4-pack-quantized|"
                                "mxfp4-pack-quantized|mixed-precision|dense";
    q->layout = VMODEL_LAYOUT_COMPRESSED;
    if (vcore_json_count(vcore_json_path(c, "transform_config.config_groups")))
        return refuse(q, where, "transform_config", "rotated weights are not translated", err);
    word sparse = string_of(vcore_json_get(c, "sparsity_config"), "format");
    if (sparse.s[0] && !is(sparse, "dense"))
        return refuse(q, where, "sparsity_config", "sparse weights are not translated", err);
    const vlm_json *named = vcore_json_get(c, "format");
    if (is_absent(named)) named = vcore_json_path(c, "config_groups.group_0.format");
    word format = { "" };
    vcore_str s;
    if (vcore_json_string(named, &s))
        snprintf(format.s, sizeof format.s, "%.*s", (int)(s.n < 60 ? s.n : 60), s.p);
    if (!vmodel_is_one_of(known, vcore_str_of(format.s)))
        return refuse_value(q, where, "format", named, known, err);
    return read_groups(q, c, format, where, err);
}

/* ---- AWQ, GPTQ ------------------------------------------------------------------------------- */
/* The integer under either of two keys; false: refused. */
static bool read_number(int64_t *out, const vlm_json *c, const char *key, const char *other) {
    const vlm_json *v = vcore_json_get(c, key);
    if (is_absent(v)) v = vcore_json_get(c, other);
    return vcore_json_int(v, out);
}

static vlm_status read_packed(vlm_quantization *q, const vlm_json *c, vmodel_layout layout,
                              const char *where, vlm_error *err) {
    int64_t bits, group;
    bool awq = layout == VMODEL_LAYOUT_AWQ;
    q->layout = layout;
    if (!read_number(&bits, c, "bits", "w_bit")
        || !(bits == 4 || (!awq && (bits == 2 || bits == 8))))
        return refuse(q, where, "bits",
                      awq ? "packed integers must have 4 bits"
                          : "packed integers must have 2, 4 or 8 bits",
                      err);
    if (!read_number(&group, c, "group_size", "q_group_size")
        || (group != 32 && group != 64 && group != 128))
        return refuse(q, where, "group_size",
                      "packed integers must come in groups of 32, 64 or 128", err);
    q->integers = (vlm_quantization_params) { VLM_QUANTIZATION_AFFINE, (int)bits, (int)group };
    set_whole(q, VLM_QUANTIZATION_AFFINE, (int)bits, (int)group);
    return VLM_OK;
}

static vlm_status read_awq(vlm_quantization *q, const vlm_json *c, const char *where,
                           vlm_error *err) {
    word version = string_of(c, "version");
    if (version.s[0] && !is(version, "gemm") && !is(version, "GEMM"))
        return refuse_value(q, where, "version", vcore_json_get(c, "version"), "gemm", err);
    return read_packed(q, c, VMODEL_LAYOUT_AWQ, where, err);
}

/* The first format stores zero points less one. */
static vlm_status read_gptq(vlm_quantization *q, const vlm_json *c, const char *where,
                            vlm_error *err) {
    word format = string_of(c, "checkpoint_format");
    if (format.s[0] && !is(format, "gptq") && !is(format, "gptq_v2"))
        return refuse_value(q, where, "checkpoint_format", vcore_json_get(c, "checkpoint_format"),
                            "gptq|gptq_v2", err);
    q->zero_offset = is(format, "gptq_v2") ? 0 : 1;
    return read_packed(q, c, VMODEL_LAYOUT_GPTQ, where, err);
}

/* ---- the other methods ----------------------------------------------------------------------- */
static vlm_status read_mxfp4(vlm_quantization *q, const vlm_json *c, const char *where,
                             vlm_error *err) {
    (void)c, (void)where, (void)err;
    set_whole(q, VLM_QUANTIZATION_MXFP4, 4, 32);
    return VLM_OK;
}

vlm_status vmodel_quantization_read_modelopt(vlm_quantization *q, const vlm_json *c,
                                             const char *where, vlm_error *err) {
    static const char known[] = "NVFP4|W4A16_NVFP4|MIXED_PRECISION";
    q->method = "modelopt";
    q->layout = VMODEL_LAYOUT_MODELOPT;
    word algorithm = string_of(c, "quant_algo");
    if (!vmodel_is_one_of(known, vcore_str_of(algorithm.s)))
        return refuse_value(q, where, "quant_algo", vcore_json_get(c, "quant_algo"), known, err);
    set_whole(q, VLM_QUANTIZATION_NVFP4, 4, 16);
    return VLM_OK;
}

vlm_status vmodel_quantization_read_hf(vlm_quantization *q, const vlm_json *c, const char *where,
                                       vlm_error *err) {
    static const char known[] = "compressed-tensors, awq, gptq, modelopt, mxfp4";
    static const struct {
        const char *name;
        vlm_status (*read)(vlm_quantization *, const vlm_json *, const char *, vlm_error *);
    } methods[] = {
        { "compressed-tensors", read_compressed },
        { "awq", read_awq },
        { "gptq", read_gptq },
        { "modelopt", vmodel_quantization_read_modelopt },
        { "modelopt_mixed", vmodel_quantization_read_modelopt },
        { "mxfp4", read_mxfp4 },
    };
    if (vcore_json_kind_of(c) != VCORE_JSON_OBJECT)
        return vcore_fail_at(err, VLM_ERR_CONFIG, (vcore_where) { .file = q->file, .field = where },
                             "%s: %s: must be an object, is %s", q->file, where,
                             vcore_json_kind_name(c));
    const vlm_json *method = vcore_json_get(c, "quant_method");
    /* MLX writes its own key a second time under this name. */
    if (is_absent(method) && vcore_json_get(c, "bits") && vcore_json_get(c, "group_size"))
        return vmodel_quantization_read_mlx(q, c, where, err);
    word name = string_of(c, "quant_method");
    q->method = vcore_arena_strndup(q->memory, name.s, strlen(name.s));
    if (!q->method) return vcore_no_memory(err, "quantization");
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (is(name, methods[i].name)) return methods[i].read(q, c, where, err);
    return refuse_value(q, where, "quant_method", method, known, err);
}
