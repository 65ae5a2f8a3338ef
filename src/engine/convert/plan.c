/* SPDX-License-Identifier: MIT */
/* What a conversion writes: for every row that the load bound, its name in MLX, what becomes of it,
 * and the tensors it is stored as; then the files they go to. Owns mlx-vlm's rules of what is
 * quantized and its recipes; touches no weight. */
#include <stdio.h>

#include "engine/convert/convert.h"

/* ---- options ---------------------------------------------------------------------------------- */
typedef struct dtype_name {
    const char *name, *in_config;
    vlm_dtype dtype;
} dtype_name;
static const dtype_name dtypes[] = {
    { "bf16", "bfloat16", VLM_DTYPE_BF16 },
    { "f16", "float16", VLM_DTYPE_F16 },
    { "f32", "float32", VLM_DTYPE_F32 },
};
enum { N_DTYPES = sizeof dtypes / sizeof dtypes[0] };

/* As mlx-vlm: the option, else torch_dtype, else the text decoder's dtype. */
static vlm_status choose_dtype(vengine_plan *p, vlm_error *err) {
    const vlm_json *config = vlm_base_config_json(p->c->config);
    const vlm_json *said = vcore_json_get(config, "torch_dtype");
    vcore_str name;
    if (vcore_json_kind_of(said) == VCORE_JSON_NULL) said = vcore_json_path(config, "text_config.dtype");
    for (int i = 0; i < N_DTYPES; i++) {
        const dtype_name *d = &dtypes[i];
        bool given = p->options->dtype && !strcmp(p->options->dtype, d->name);
        bool in_config = !p->options->dtype && vcore_json_string(said, &name)
                         && vcore_str_eq(name, vcore_str_of(d->in_config));
        if (!given && !in_config) continue;
        p->dtype = d->dtype;
        p->has_dtype = true;
    }
    if (!p->options->dtype || p->has_dtype) return VLM_OK;
    return vcore_fail(err, VLM_ERR_ARGUMENT, "dtype: '%s' is not bf16, f16 or f32", p->options->dtype);
}

static vlm_status choose_recipe(vengine_plan *p, vlm_error *err) {
    static const struct recipe {
        const char *name;
        int low, high;
    } recipes[] = { { "mixed_2_6", 2, 6 }, { "mixed_3_4", 3, 4 }, { "mixed_3_5", 3, 5 },
                    { "mixed_3_6", 3, 6 }, { "mixed_3_8", 3, 8 }, { "mixed_4_6", 4, 6 },
                    { "mixed_4_8", 4, 8 } };
    const vlm_convert_options *o = p->options;
    for (size_t i = 0; o->recipe && i < sizeof recipes / sizeof recipes[0]; i++)
        if (!strcmp(o->recipe, recipes[i].name)) {
            p->low_bits = recipes[i].low;
            p->high_bits = recipes[i].high;
        }
    if (!o->recipe) return VLM_OK;
    if (!p->low_bits)
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "recipe: '%s' is not mixed_2_6, mixed_3_4, mixed_3_5, mixed_3_6, mixed_3_8, "
                          "mixed_4_6 or mixed_4_8",
                          o->recipe);
    if (o->mode != VLM_QUANTIZATION_AFFINE || o->bits || (o->group_size && o->group_size != 64))
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "recipe: '%s' has bits of its own, in groups of 64 of the affine mode", o->recipe);
    return VLM_OK;
}

static vlm_status choose_params(vengine_plan *p, vlm_error *err) {
    const vlm_convert_options *o = p->options;
    if (o->weights < VLM_CONVERT_KEEP || o->weights > VLM_CONVERT_DEQUANTIZE)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "weights: %d is none", (int)o->weights);
    if (o->weights != VLM_CONVERT_QUANTIZE) {
        if (!o->mode && !o->bits && !o->group_size && !o->recipe) return VLM_OK;
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "mode, bits, group size and recipe go with quantizing only");
    }
    const char *mode = vlm_quantization_mode_name(o->mode);
    if (!mode) return vcore_fail(err, VLM_ERR_ARGUMENT, "mode: %d is none", (int)o->mode);
    p->params = vmodel_quantization_params_of(o->mode);
    if (o->bits) p->params.bits = o->bits;
    if (o->group_size) p->params.group_size = o->group_size;
    if (!vmodel_quantization_has(&p->params))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "%s of %d bits in groups of %d is no quantization",
                          mode, p->params.bits, p->params.group_size);
    return choose_recipe(p, err);
}

/* ---- what is quantized -------------------------------------------------------------------------- */
/* mlx-vlm leaves these parts as they are, wherever the word is in the path. */
static bool is_skipped(const char *path) {
    static const char *const words[] = { "vision", "aligner", "vl_connector", "sam_model", "audio_model",
                                         "audio_tower", "code_predictor", "img_projector",
                                         "multi_modal_projector", "patch_merge_mlp" };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strstr(path, words[i])) return true;
    return false;
}

/* The first part of a path that is a number; 0: none is. */
static int64_t layer_of(const char *path) {
    for (const char *part = path; part; part = strchr(part, '.') ? strchr(part, '.') + 1 : NULL) {
        size_t digits = strspn(part, "0123456789");
        if (!digits || digits > 9 || (part[digits] && part[digits] != '.')) continue;
        int64_t layer = 0;
        for (size_t i = 0; i < digits; i++) layer = 10 * layer + part[i] - '0';
        return layer;
    }
    return 0;
}

/* The first and last eighth of the layers and every third between have more bits for what feeds the
 * residual stream. */
static int recipe_bits(const vengine_plan *p, const char *path) {
    int64_t layers = vlm_text_get_info(p->c->model_type->text(p->c->model))->layers;
    int64_t layer = layer_of(path), eighth = layers / 8;
    int64_t behind = layer - eighth;
    bool more = behind < 0 || layer >= 7 * layers / 8 || behind % 3 == 2;
    bool sensitive = strstr(path, "v_proj") || strstr(path, "down_proj") || strstr(path, "feed_forward.w2");
    if ((more && sensitive) || strstr(path, "lm_head") || strstr(path, "embed_tokens")) return p->high_bits;
    return p->low_bits;
}

static void choose_treat(const vengine_plan *p, vengine_item *item, const vlm_matrix *m) {
    bool stored = m->storage != VLM_STORAGE_DENSE;
    item->treat = VENGINE_FLOATS;
    if (stored && p->options->weights == VLM_CONVERT_KEEP) {
        item->treat = VENGINE_KEEP;
        item->quantized = true;
        item->params = (vlm_quantization_params) { vmodel_mode_of(m->storage), m->bits, m->group };
        return;
    }
    if (p->options->weights != VLM_CONVERT_QUANTIZE || is_skipped(item->name)) return;
    item->params = p->params;
    if (p->low_bits) item->params.bits = recipe_bits(p, item->name);
    if (m->in % item->params.group_size != 0) return;
    item->treat = VENGINE_QUANTIZE;
    item->quantized = true;
}

/* ---- the tensors of an item ----------------------------------------------------------------------- */
static vio_dtype stored_as(vlm_dtype type) {
    switch (type) {
    case VLM_DTYPE_BF16: return VIO_BF16;
    case VLM_DTYPE_F16: return VIO_F16;
    case VLM_DTYPE_U32: return VIO_U32;
    case VLM_DTYPE_U8: return VIO_U8;
    default: return VIO_F32;
    }
}

static vlm_status add(vengine_plan *p, vengine_item *item, int part, vlm_dtype type, const int64_t *dims,
                      int rank, vlm_error *err) {
    static const char *const suffixes[] = { ".weight", ".scales", ".biases", ".bias" };
    if (p->n_tensors == p->tensor_capacity) {
        size_t capacity = p->tensor_capacity ? 2 * p->tensor_capacity : 256;
        vio_out_tensor *list = vcore_realloc_array(p->tensors, capacity, sizeof *list);
        if (!list) return vcore_no_memory(err, "list of tensors");
        p->tensors = list;
        p->tensor_capacity = capacity;
    }
    const char *suffix = item->bound->row.kind == VLM_WEIGHT_TENSOR ? "" : suffixes[part];
    size_t n = strlen(item->name) + strlen(suffix) + 1;
    char *name = vcore_arena_alloc(p->arena, n);
    if (!name) return vcore_no_memory(err, "list of tensors");
    snprintf(name, n, "%s%s", item->name, suffix);
    vio_out_tensor *t = &p->tensors[p->n_tensors];
    *t = (vio_out_tensor) { .name = name, .dtype = stored_as(type), .rank = rank };
    for (int i = 0; i < rank; i++) t->shape[i] = (uint64_t)dims[i];
    item->part[part] = p->n_tensors++;
    return VLM_OK;
}

vlm_dtype vengine_floats_of(const vengine_plan *p, const vlm_matrix *m) {
    if (p->has_dtype) return p->dtype;
    if (m->storage == VLM_STORAGE_DENSE) return m->data.dtype;
    return m->storage == VLM_STORAGE_AFFINE ? m->scales.dtype : VLM_DTYPE_BF16;
}

static vlm_status add_quantized(vengine_plan *p, vengine_item *item, const vlm_matrix *m, vlm_error *err) {
    const vlm_quantization_params *q = &item->params;
    const vmodel_bound *b = item->bound;
    int64_t words[5], groups[5]; /* of a matrix, or a stack of them */
    memcpy(words, b->dims, sizeof words);
    memcpy(groups, b->dims, sizeof groups);
    words[b->rank - 1] = m->in * q->bits / 32;
    groups[b->rank - 1] = m->in / q->group_size;
    bool affine = q->mode == VLM_QUANTIZATION_AFFINE, keep = item->treat == VENGINE_KEEP;
    vlm_dtype scales = vengine_floats_of(p, m), biases = scales;
    if (keep && affine && !p->options->dtype) scales = m->scales.dtype, biases = m->biases.dtype;
    if (keep && m->factor.rank)
        return vcore_fail(err, VLM_ERR_UNSUPPORTED,
                          "module '%s': MLX's layout has no place for the scale of the whole matrix "
                          "(quantize or dequantize it)",
                          item->name);
    VTRY(add(p, item, VENGINE_WEIGHT, VLM_DTYPE_U32, words, b->rank, err));
    VTRY(add(p, item, VENGINE_SCALES, affine ? scales : VLM_DTYPE_U8, groups, b->rank, err));
    return affine ? add(p, item, VENGINE_BIASES, biases, groups, b->rank, err) : VLM_OK;
}

/* MLX has the channels of a convolution last. */
static vlm_status add_floats(vengine_plan *p, vengine_item *item, const vlm_matrix *m, vlm_error *err) {
    const vmodel_bound *b = item->bound;
    int64_t dims[VLM_MAX_RANK];
    memcpy(dims, b->dims, sizeof dims);
    if (b->row.kind == VLM_WEIGHT_CONV) {
        item->kernel = 1;
        for (int i = 2; i < b->rank; i++) item->kernel *= dims[i - 1] = b->dims[i];
        dims[b->rank - 1] = b->dims[1];
    }
    return add(p, item, VENGINE_WEIGHT, vengine_floats_of(p, m), dims, b->rank, err);
}

vlm_matrix vengine_member_floats(const vengine_item *item, const vengine_member *m, int part) {
    vlm_weight_kind kind = item->bound->row.kind;
    const vlm_tensor *t = kind == VLM_WEIGHT_TENSOR                         ? &m->u.tensor
                          : kind == VLM_WEIGHT_NORM && part == VENGINE_BIAS ? &m->u.norm.bias
                          : kind == VLM_WEIGHT_NORM                         ? &m->u.norm.weight
                                                                            : &m->u.linear.bias;
    vlm_matrix rows = { .storage = VLM_STORAGE_DENSE, .data = *t, .out = 1, .in = t->rank ? 1 : 0 };
    for (int i = 0; i < t->rank; i++) rows.in *= t->shape[i];
    return rows;
}

static vlm_status plan_item(vengine_plan *p, vengine_item *item, vlm_error *err) {
    vengine_member member = { 0 };
    char name[256];
    item->n = p->n_tensors;
    item->first = p->n_tensors;
    for (int i = 0; i < VENGINE_PARTS; i++) item->part[i] = SIZE_MAX;
    if (!vmodel_bound_name(item->bound, name, sizeof name))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "weight table: row '%s': its name is too long",
                          item->bound->row.name);
    if (!(item->name = vcore_arena_strndup(p->arena, name, strlen(name))))
        return vcore_no_memory(err, "list of tensors");
    VTRY(vmodel_bound_again(item->bound, p->scratch, &member, err));
    vlm_weight_kind kind = item->bound->row.kind;
    bool lone = kind == VLM_WEIGHT_MATRIX || kind == VLM_WEIGHT_EXPERTS, matrix = lone || kind == VLM_WEIGHT_LINEAR;
    vlm_matrix m = matrix || kind == VLM_WEIGHT_CONV ? member.u.linear.weight
                                                     : vengine_member_floats(item, &member, VENGINE_WEIGHT);
    item->treat = VENGINE_FLOATS;
    if (matrix) choose_treat(p, item, &m);
    VTRY(item->quantized ? add_quantized(p, item, &m, err) : add_floats(p, item, &m, err));
    if (!lone && kind != VLM_WEIGHT_TENSOR) {
        vlm_matrix bias = vengine_member_floats(item, &member, VENGINE_BIAS);
        if (bias.in) VTRY(add(p, item, VENGINE_BIAS, vengine_floats_of(p, &bias), &bias.in, 1, err));
    }
    item->n = p->n_tensors - item->first;
    return VLM_OK;
}

/* ---- files ------------------------------------------------------------------------------------------ */
/* A file holds as many items as fit, one at least. */
static vlm_status plan_shards(vengine_plan *p, vlm_error *err) {
    const uint64_t most = p->options->shard_bytes ? p->options->shard_bytes : (uint64_t)5 << 30;
    if (!(p->shards = vcore_arena_array(p->arena, p->n_items ? p->n_items : 1, sizeof *p->shards)))
        return vcore_no_memory(err, "list of files");
    for (size_t i = 0; i < p->n_items; i++) {
        vengine_item *item = &p->items[i];
        uint64_t bytes = 0, one;
        for (size_t t = item->first; t < item->first + item->n; t++, bytes += one)
            VTRY(vio_out_tensor_bytes(&one, &p->tensors[t], "convert", err));
        vengine_shard *s = p->n_shards ? &p->shards[p->n_shards - 1] : NULL;
        if (!s || s->bytes + bytes > most) {
            s = &p->shards[p->n_shards++];
            s->first = item->first;
        }
        s->n += item->n;
        s->bytes += bytes;
        p->bytes += bytes;
        item->shard = p->n_shards - 1;
    }
    if (p->n_shards > 99999)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "shard size: makes %zu files", p->n_shards);
    for (size_t i = 0; i < p->n_shards; i++)
        snprintf(p->shards[i].name, sizeof p->shards[i].name,
                 p->n_shards > 1 ? "model-%05zu-of-%05zu.safetensors" : "model.safetensors", i + 1,
                 p->n_shards);
    return VLM_OK;
}

vlm_status vengine_plan_make(vengine_plan *p, const vlm_context *c, const vlm_convert_options *options,
                             vlm_error *err) {
    size_t n;
    p->c = c;
    p->options = options;
    VTRY(choose_params(p, err));
    VTRY(choose_dtype(p, err));
    const vmodel_bound *bound = vmodel_build_bound(c->build, &n);
    static const vcore_log silent;
    vmodel_build_args args = { .tensors = c->tensors,
                               .quantization = vlm_base_config_quantization(c->config),
                               .inspect = true,
                               .log = &silent };
    if (!(p->arena = args.arena = vcore_arena_new())) return vcore_no_memory(err, "plan");
    VTRY(vmodel_build_new(&p->scratch, &args, err));
    if (!(p->items = vcore_arena_array(p->arena, n ? n : 1, sizeof *p->items)))
        return vcore_no_memory(err, "plan");
    for (; p->n_items < n; p->n_items++) {
        p->items[p->n_items].bound = &bound[p->n_items];
        VTRY(plan_item(p, &p->items[p->n_items], err));
    }
    return plan_shards(p, err);
}

void vengine_plan_free(vengine_plan *p) {
    vmodel_build_free(p->scratch);
    vcore_free(p->tensors);
    vcore_arena_free(p->arena);
}
