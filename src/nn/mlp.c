/* SPDX-License-Identifier: MIT */
/* MLPs, the names of activation functions, and the walk over rows that keeps wide middles small. */
#include "nn/nn.h"

const vlm_name vlm_activation_names[] = {
    { "gelu", VLM_ACT_GELU },          { "gelu_pytorch_tanh", VLM_ACT_GELU_TANH },
    { "gelu_new", VLM_ACT_GELU_TANH }, { "quick_gelu", VLM_ACT_QUICK_GELU },
    { "silu", VLM_ACT_SILU },          { "swish", VLM_ACT_SILU },
    { "relu", VLM_ACT_RELU },          { NULL, 0 },
};

vlm_tensor vlm_apply_mlp(vlm_frame *f, vlm_tensor x, const vlm_mlp *mlp) {
    vlm_tensor h = vlm_apply_linear(f, x, &mlp->fc1); /* [n, inner] */
    vlm_activation_to(f, h, mlp->act);
    return vlm_apply_linear(f, h, &mlp->fc2);
}

vlm_tensor vlm_apply_gated_mlp(vlm_frame *f, vlm_tensor x, const vlm_gated_mlp *mlp) {
    const vlm_linear *const both[] = { &mlp->gate_proj, &mlp->up_proj };
    vlm_tensor h[2]; /* gate and up, [n, inner] each */
    vlm_apply_linears(f, h, x, both, 2);
    vlm_gate_to(f, h[0], h[1], mlp->act);
    return vlm_apply_linear(f, h[0], &mlp->down_proj);
}

void vlm_add_gated_mlp(vlm_frame *f, vlm_tensor x, const vlm_norm *norm, const vlm_gated_mlp *mlp) {
    const vlm_linear *const linears[] = { &mlp->gate_proj, &mlp->up_proj, &mlp->down_proj };
    vlm_add_gated(f, x, x, norm, linears, mlp->act);
}

void vlm_add_normed_gated_mlp(vlm_frame *f, vlm_tensor x, const vlm_norm *norm, const vlm_gated_mlp *mlp, const vlm_norm *after) {
    const vlm_linear *const both[] = { &mlp->gate_proj, &mlp->up_proj };
    vlm_tensor h[2]; /* gate and up, [n, inner] each */
    vlm_apply_norm_linears(f, h, x, norm, both, 2);
    vlm_gate_to(f, h[0], h[1], mlp->act);
    vlm_add_normed_linear(f, x, h[0], &mlp->down_proj, after);
}

/* A piece's widest temporary holds about this many values, and a piece has rows enough for the
 * matrix products to be worth reading the weights again. */
enum { PIECE_VALUES = 4 << 20, PIECE_ROWS = 64 };

vlm_pieces vlm_pieces_of(vlm_frame *f, vlm_tensor x, int64_t width) {
    int64_t values = vtensor_frame_piece_values(f);
    int64_t step = (values ? values : PIECE_VALUES) / (width > 0 ? width : 1) / PIECE_ROWS * PIECE_ROWS;
    return (vlm_pieces) { .frame = f, .x = x, .step = step > PIECE_ROWS ? step : PIECE_ROWS };
}

bool vlm_pieces_next(vlm_pieces *p) {
    if (p->open) vlm_scope_end(p->frame, p->scope);
    p->open = p->x.rank > 0 && p->next < p->x.shape[0] && vlm_frame_ok(p->frame);
    if (!p->open) return false;
    int64_t left = p->x.shape[0] - p->next;
    p->rows = vlm_rows(p->frame, p->x, p->next, left < p->step ? left : p->step);
    p->next += p->step;
    p->scope = vlm_scope_begin(p->frame);
    return true;
}
