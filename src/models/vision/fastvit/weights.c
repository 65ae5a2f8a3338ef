/* SPDX-License-Identifier: MIT */
/* FastViTHD's config and weights. Its layers stand in one list, as Apple and MLX number them: the blocks of a stage, what
 * halves the map for the next one, its positions, its blocks ...; in timm's files, each in its stage. */
#include <stdio.h>

#include "models/vision/fastvit/fastvit.h"

/* ---- config ---------------------------------------------------------------------------------- */
#define WHERE "config.json: vision_config"
#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])
static const vlm_config_field fields[] = {
    VLM_INT(fastvit_config, image_size, "image_size", 64, FASTVIT_MOST_SIDE, 1024),
    VLM_INTS(fastvit_config, layers, "layers", 1, 256),
    VLM_INTS(fastvit_config, embed_dims, "embed_dims", 1, 1 << 14),
    VLM_INTS(fastvit_config, mlp_ratios, "mlp_ratios", 1, 64),
};
static const vlm_name architectures[] = { { "fastvit_mci3", 0 }, { NULL, 0 } };
static const vlm_config_field timm_fields[] = {
    VLM_NAME(fastvit_config, architecture, "architecture", architectures, VLM_REQUIRED),
    VLM_INTS(fastvit_config, layers, "model_args.layers", 1, 256),
    VLM_INTS(fastvit_config, embed_dims, "model_args.embed_dims", 1, 1 << 14),
    VLM_INTS(fastvit_config, mlp_ratios, "model_args.mlp_ratios", 1, 64),
};

static vlm_status check_list(const vlm_ints *list, const char *key, vlm_error *err) {
    if (list->n == FASTVIT_STAGES) return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, WHERE, key, "must have %d entries, has %lld", FASTVIT_STAGES,
                            (long long)list->n);
}

vlm_status vmodel_fastvit_config(fastvit *t, const vlm_json *json, vlm_error *err) {
    static const vlm_ints layers = { 5, { 2, 12, 24, 4, 2 } }, dims = { 5, { 96, 192, 384, 768, 1536 } };
    static const vlm_ints ratios = { 5, { 4, 4, 4, 4, 4 } };
    fastvit_config *c = &t->config;
    if (c->timm)
        VTRY(vlm_config_read(c, json, WHERE, timm_fields, COUNT(timm_fields), err));
    else
        VTRY(vlm_config_read(c, json, WHERE, fields, COUNT(fields), err));
    if (c->layers.n == 0) c->layers = layers;
    if (c->embed_dims.n == 0) c->embed_dims = dims;
    if (c->mlp_ratios.n == 0) c->mlp_ratios = ratios;
    VTRY(check_list(&c->layers, "layers", err));
    VTRY(check_list(&c->embed_dims, "embed_dims", err));
    VTRY(check_list(&c->mlp_ratios, "mlp_ratios", err));
    if (c->image_size % FASTVIT_PATCH != 0)
        return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "image_size", "%lld is no multiple of %d",
                                (long long)c->image_size, FASTVIT_PATCH);
    for (int i = 0; i < FASTVIT_STAGES; i++) {
        const int64_t dim = c->embed_dims.at[i], before = i ? c->embed_dims.at[i - 1] : dim;
        if (dim % before != 0 || (i >= FASTVIT_ATTENTION && dim % FASTVIT_HEAD_DIM != 0))
            return vcore_fail_field(err, VLM_ERR_CONFIG, WHERE, "embed_dims",
                                    "%lld is no multiple of %lld%s", (long long)dim, (long long)before,
                                    i >= FASTVIT_ATTENTION ? ", or not of whole heads" : "");
        t->stages[i] = (fastvit_stage) { .dim = dim, .depth = c->layers.at[i], .inner = dim * c->mlp_ratios.at[i] };
    }
    return VLM_OK;
}

/* ---- weights --------------------------------------------------------------------------------- */
enum { D, BELOW, INNER, QKV, ONE, THREE, SEVEN, LAST, REDUCED, DIMS };
enum { REPMIXER = 1, ATTENTION = 2 };
static const vlm_weight_row block_rows[] = {
    { VLM_WEIGHT_DEPTHWISE, "token_mixer.reparam_conv", offsetof(fastvit_block, mixer), VLM_DIMS(D, D, THREE), REPMIXER,
      VLM_ALWAYS },
    VLM_BIND_NORM_IF(ATTENTION, fastvit_block, norm, "norm", VLM_ALWAYS, D),
    VLM_BIND_LINEAR_IF(ATTENTION, fastvit_block, qkv, "token_mixer.qkv", VLM_NEVER, QKV, D),
    VLM_BIND_LINEAR_IF(ATTENTION, fastvit_block, proj, "token_mixer.proj", VLM_ALWAYS, D, D),
    VLM_BIND_TENSOR_IF(ATTENTION, fastvit_block, layer_scale_1, "layer_scale_1|layer_scale_1.gamma", ONE, ONE, D),
    VLM_BIND_DEPTHWISE(fastvit_block, conv, "convffn.conv.conv|mlp.conv.conv", VLM_NEVER, D, D, SEVEN),
    VLM_BIND_IGNORED("convffn.conv.bn.num_batches_tracked|mlp.conv.bn.num_batches_tracked"),
    VLM_BIND_CONV(fastvit_block, mlp.fc1, "convffn.fc1|mlp.fc1", VLM_ALWAYS, INNER, D, ONE, ONE),
    VLM_BIND_CONV(fastvit_block, mlp.fc2, "convffn.fc2|mlp.fc2", VLM_ALWAYS, D, INNER, ONE, ONE),
    VLM_BIND_TENSOR_IF(REPMIXER, fastvit_block, layer_scale, "layer_scale|layer_scale.gamma", ONE, ONE, D),
    VLM_BIND_TENSOR_IF(ATTENTION, fastvit_block, layer_scale, "layer_scale_2|layer_scale_2.gamma", ONE, ONE, D),
};
static const vlm_weight_row down_rows[] = {
    VLM_BIND_DEPTHWISE(fastvit_stage, down, "proj.0.lkb_reparam|proj.0.reparam_conv", VLM_ALWAYS, D, BELOW, SEVEN),
    VLM_BIND_CONV(fastvit_stage, mix, "proj.1.reparam_conv", VLM_ALWAYS, D, D, ONE, ONE),
};
static const vlm_weight_row position_rows[] = {
    VLM_BIND_DEPTHWISE(fastvit_stage, positions, "reparam_conv", VLM_ALWAYS, D, D, SEVEN),
};
#define STEM(i) "patch_embed." i ".reparam_conv|patch_embed.blocks." i ".reparam_conv|stem." i ".reparam_conv"
static const vlm_weight_row tower_rows[] = { /* of the first stage's channels */
    VLM_BIND_CONV(fastvit, stem, STEM("0"), VLM_ALWAYS, D, THREE,
                  THREE, THREE),
    VLM_BIND_DEPTHWISE(fastvit, stem_down, STEM("1"), VLM_ALWAYS,
                       D, D, THREE),
    VLM_BIND_CONV(fastvit, stem_mix, STEM("2"), VLM_ALWAYS, D, D,
                  ONE, ONE),
    VLM_BIND_DEPTHWISE(fastvit, expand, "conv_exp.reparam_conv|final_conv.reparam_conv", VLM_ALWAYS, LAST, BELOW, THREE),
    VLM_BIND_CONV(fastvit, squeeze, "conv_exp.se.reduce|final_conv.se.fc1", VLM_ALWAYS, REDUCED, LAST, ONE, ONE),
    VLM_BIND_CONV(fastvit, excite, "conv_exp.se.expand|final_conv.se.fc2", VLM_ALWAYS, LAST, REDUCED, ONE, ONE),
    VLM_BIND_IGNORED("head.*"), /* a pooling head that no VLM uses */
};

/* The alternatives of a prefix, each with the same behind it; NULL: no memory. */
static const char *below(vlm_build *build, const char *prefix, const char *behind) {
    vcore_buf out = { 0 };
    for (vcore_str at; vmodel_alternative(&prefix, &at);)
        vcore_buf_printf(&out, "%s%.*s%s", out.n ? "|" : "", (int)at.n, at.p, behind);
    char *copy = out.failed ? NULL : vlm_build_alloc(build, out.n + 1, 1);
    if (copy) memcpy(copy, out.p, out.n);
    vcore_buf_free(&out);
    return copy;
}

/* Binds what stands under a name. */
static vlm_status bind_at(void *object, vlm_build *build, const char *prefix, const char *name, const vlm_weight_row *rows,
                          size_t n, vlm_binding at, vlm_error *err) {
    if (!(at.prefix = below(build, prefix, name))) return vcore_no_memory(err, "vision tower");
    return vlm_bind(build, object, rows, n, &at, err);
}

/* What the next layer of the list is called. */
typedef struct place {
    bool timm;
    int stage, next;
    char name[48];
} place;

static const char *next_layer(place *p, const char *in_stage) {
    if (p->timm)
        snprintf(p->name, sizeof p->name, "stages.%d.%s.", p->stage, in_stage);
    else
        snprintf(p->name, sizeof p->name, "network.%d.", p->next++);
    return p->name;
}

static vlm_status bind_stage(fastvit_stage *s, place *p, int64_t channels_below, vlm_build *build, const char *prefix,
                             vlm_error *err) {
    const int64_t dims[DIMS] = { s->dim, channels_below, s->inner, 3 * s->dim, 1, 3, 7, 0, 0 };
    const bool attends = p->stage >= FASTVIT_ATTENTION;
    const vlm_binding at = { .dims = dims, .conditions = attends ? ATTENTION : REPMIXER };
    if (p->stage > 0)
        VTRY(bind_at(s, build, prefix, next_layer(p, "downsample"), down_rows, COUNT(down_rows), at, err));
    if (attends)
        VTRY(bind_at(s, build, prefix, next_layer(p, "pos_emb"), position_rows, COUNT(position_rows), at, err));
    s->blocks = vlm_build_alloc(build, (size_t)s->depth, sizeof *s->blocks);
    if (!s->blocks || !(prefix = below(build, prefix, next_layer(p, "blocks"))))
        return vcore_no_memory(err, "vision tower");
    for (int k = 0; k < s->depth; k++) {
        char number[16];
        snprintf(number, sizeof number, "%d.", k);
        s->blocks[k].norm.eps = 1e-5f;
        s->blocks[k].mlp.act = VLM_ACT_GELU;
        VTRY(bind_at(&s->blocks[k], build, prefix, number, block_rows, COUNT(block_rows), at, err));
    }
    return VLM_OK;
}

vlm_status vmodel_fastvit_bind(fastvit *t, vlm_build *build, const char *prefix, vlm_error *err) {
    const int64_t first = t->stages[0].dim, end = t->stages[FASTVIT_STAGES - 1].dim;
    const int64_t dims[DIMS] = { first, end, 0, 0, 1, 3, 7, 2 * end, 2 * end / 16 ? 2 * end / 16 : 1 };
    place p = { .timm = t->config.timm };
    if (p.timm && !(prefix = below(build, prefix, "timm_model."))) return vcore_no_memory(err, "vision tower");
    const vlm_binding at = { .prefix = prefix, .dims = dims };
    VTRY(vlm_bind(build, t, tower_rows, COUNT(tower_rows), &at, err));
    for (; p.stage < FASTVIT_STAGES; p.stage++)
        VTRY(bind_stage(&t->stages[p.stage], &p, p.stage ? t->stages[p.stage - 1].dim : first, build, prefix, err));
    return VLM_OK;
}
