/* SPDX-License-Identifier: MIT */
/* LFM2's gated short convolution, which some layers have in place of attention. */
#include "models/text/decoder.h"

/* x + out_proj(c * conv(b * y)), where b, c and y are thirds of in_proj(norm(x)), all [n, dim] */
vlm_tensor vmodel_text_conv(vlm_frame *f, const vlm_text *t, const text_layer *layer, vlm_tensor x,
                            const text_pass *pass) {
    const int64_t dim = t->config.hidden_size;
    const vlm_linear *const in_proj[] = { &layer->conv.in_proj };
    const bool some = pass->wanted.rank > 0;
    vlm_tensor sum = some ? vlm_gather(f, x, pass->wanted) : x;
    vlm_scope scope = vlm_scope_begin(f);
    vlm_tensor all; /* [n, 3 * dim] */
    vlm_apply_norm_linears(f, &all, x, &layer->attention_norm, in_proj, 1);
    vlm_tensor b = vlm_columns(f, all, 0, dim), c = vlm_columns(f, all, dim, dim);
    vlm_mul_to(f, b, vlm_columns(f, all, 2 * dim, dim));
    vlm_tensor y = vlm_short_conv(f, b, layer->conv.taps.weight.data, layer->conv.taps.bias,
                                  pass->segments, pass->n_segments);
    vlm_mul_to(f, y, c);
    if (some) y = vlm_gather(f, y, pass->wanted);
    vlm_add_linear(f, sum, y, &layer->conv.out_proj);
    vlm_scope_end(f, scope);
    return sum;
}
