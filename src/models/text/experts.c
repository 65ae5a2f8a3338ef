/* SPDX-License-Identifier: MIT */
/* A mixture of experts in place of a layer's MLP: a router sends every row to a few of them, and their
 * results are summed by its weights. Experts stay stacked as they lie in the file; only those that are
 * chosen are read. */
#include "models/text/decoder.h"

/* ---- weights --------------------------------------------------------------------------------- */
enum { D, EXPERTS, INNER, TWICE, DIMS };
#define FUSED "layers.%d.mlp.experts."
#define SPLIT "layers.%d.mlp.switch_mlp."
#define STACK(m, n, ...) VLM_BIND_ROW_(EXPERTS, VLM_ALWAYS, text_experts, m, n, VLM_NEVER, EXPERTS, __VA_ARGS__)

static const vlm_weight_row router_row = VLM_BIND_LINEAR(text_experts, router, "layers.%d.mlp.gate", VLM_NEVER, EXPERTS, D);
/* Hugging Face's files have gate and up of an expert one below the other, MLX's have them apart. */
static const vlm_weight_row fused_rows[] = {
    STACK(gate_up_proj, FUSED "gate_up_proj", TWICE, D),
    STACK(down_proj, FUSED "down_proj", D, INNER),
};
static const char *const fused_as[][2] = { { SPLIT "gate_proj", SPLIT "up_proj" }, { SPLIT "down_proj", NULL } };
static const vlm_weight_row split_rows[] = {
    STACK(gate_proj, SPLIT "gate_proj", INNER, D),
    STACK(up_proj, SPLIT "up_proj", INNER, D),
    STACK(down_proj, SPLIT "down_proj", D, INNER),
};

bool vmodel_text_has_experts(const text_config *c, int64_t layer) {
    for (int64_t i = 0; i < c->mlp_only_layers.n; i++)
        if (c->mlp_only_layers.at[i] == layer) return false;
    return c->num_experts > 0 && (layer + 1) % c->decoder_sparse_step == 0;
}

static vlm_status bind_fused(text_experts *m, vlm_build *build, const vlm_binding *at, vlm_error *err) {
    for (int i = 0; i < 2; i++) {
        VTRY(vlm_bind(build, m, &fused_rows[i], 1, at, err));
        VTRY(vmodel_build_keep_as(build, at, fused_as[i], err));
    }
    return VLM_OK;
}

vlm_status vmodel_text_experts_bind(text_layer *layer, const text_config *c, vlm_build *build,
                                    const vlm_binding *where, vlm_error *err) {
    const int64_t inner = c->moe_intermediate_size;
    const int64_t dims[DIMS] = { c->hidden_size, c->num_experts, inner, 2 * inner };
    const vlm_binding at = { .prefix = where->prefix, .layer = where->layer, .dims = dims };
    text_experts *m = layer->experts = vlm_build_alloc(build, 1, sizeof *m);
    if (!m) return vcore_no_memory(err, "text decoder");
    VTRY(vlm_bind(build, m, &router_row, 1, &at, err));
    m->fused = vmodel_build_has(build, &at, fused_rows[0].name);
    return m->fused ? bind_fused(m, build, &at, err) : vlm_bind(build, m, split_rows, 3, &at, err);
}

/* ---- the forward pass ------------------------------------------------------------------------ */
/* act(gate) * up of every row with each of its experts. @param x [n, dim] @return [n * k, inner] */
static vlm_tensor gated(vlm_frame *f, const text_experts *m, int64_t inner, vlm_activation act,
                        vlm_tensor x, const vlm_routes *routes) {
    vlm_tensor gate, up;
    if (m->fused) {
        vlm_tensor both = vlm_apply_experts(f, x, &m->gate_up_proj, 2 * inner, routes);
        gate = vlm_columns(f, both, 0, inner);
        up = vlm_columns(f, both, inner, inner);
    } else {
        gate = vlm_apply_experts(f, x, &m->gate_proj, inner, routes);
        up = vlm_apply_experts(f, x, &m->up_proj, inner, routes);
    }
    vlm_gate_to(f, gate, up, act);
    return gate;
}

void vmodel_text_experts(vlm_frame *f, const vlm_text *t, const text_layer *layer, vlm_tensor x) {
    const text_config *c = &t->config;
    const text_experts *m = layer->experts;
    const int64_t k = c->num_experts_per_tok, inner = c->moe_intermediate_size;
    for (vlm_pieces p = vlm_pieces_of(f, x, k * (2 * inner + c->hidden_size)); vlm_pieces_next(&p);) {
        vlm_tensor h = vlm_rms_norm(f, p.rows, &layer->mlp_norm);
        vlm_routes routes = vlm_route(f, vlm_apply_linear(f, h, &m->router), k);
        h = gated(f, m, inner, (vlm_activation)c->hidden_act, h, &routes);
        vlm_add_experts(f, p.rows, h, &m->down_proj, &routes);
    }
}
