/* SPDX-License-Identifier: MIT */
/* The feed-forward half of a decoder layer. */
#include "models/text/decoder.h"

void vmodel_text_mlp(vlm_frame *f, const vlm_text *t, const text_layer *layer, vlm_tensor x) {
    if (layer->experts) {
        vmodel_text_experts(f, t, layer, x);
        return;
    }
    for (vlm_pieces p = vlm_pieces_of(f, x, t->config.intermediate_size); vlm_pieces_next(&p);) {
        if (t->type->sandwich_norms)
            vlm_add_normed_gated_mlp(f, p.rows, &layer->mlp_norm, &layer->mlp, &layer->mlp_post_norm);
        else
            vlm_add_gated_mlp(f, p.rows, &layer->mlp_norm, &layer->mlp);
    }
}
