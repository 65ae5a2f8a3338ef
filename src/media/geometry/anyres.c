/* SPDX-License-Identifier: MIT */
/* LLaVA-NeXT: of the possible canvases the one that shows most of the picture, cut into tiles; the
 * patches that show only the canvas' padding are cut off again. */
#include "media/media.h"

#include <math.h>

/* The first of the pinpoints that keeps most pixels and, among those, wastes least. */
static vlm_size best_canvas(vlm_size size, const vlm_anyres_rule *rule) {
    vlm_size best = { 0, 0 };
    const double w = size.width, h = size.height;
    double most_kept = 0, least_wasted = INFINITY;
    for (size_t i = 0; i < rule->n_pinpoints; i++) {
        const vlm_size canvas = rule->pinpoints[i];
        double scale = fmin(canvas.width / w, canvas.height / h);
        double kept = fmin(trunc(w * scale) * trunc(h * scale), w * h);
        double wasted = (double)canvas.width * canvas.height - kept;
        if (kept < most_kept || (kept == most_kept && wasted >= least_wasted)) continue;
        most_kept = kept;
        least_wasted = wasted;
        best = canvas;
    }
    return best;
}

/* The picture in the middle of its canvas. */
static void place(vlm_anyres_plan *plan, vlm_size size) {
    const vlm_size canvas = plan->canvas;
    double across = (double)canvas.width / size.width, down = (double)canvas.height / size.height;
    plan->resized = canvas;
    if (across < down)
        plan->resized.height = (uint32_t)fmin(ceil(size.height * across), canvas.height);
    else
        plan->resized.width = (uint32_t)fmin(ceil(size.width * down), canvas.width);
    plan->x = (canvas.width - plan->resized.width) / 2;
    plan->y = (canvas.height - plan->resized.height) / 2;
}

/* Python's int(round(x, 7)): what is less than 5e-8 below a whole number is that number. */
static double whole(double x) {
    double above = ceil(x);
    return above - x < 5e-8 ? above : floor(x);
}

/* Patches of the canvas without those above and below, or left and right of the picture. */
static void unpad(vlm_anyres_plan *plan, vlm_size size, uint32_t patches_of_tile) {
    const double w = size.width, h = size.height;
    const double columns = (double)plan->tiles.columns * patches_of_tile;
    const double rows = (double)plan->tiles.rows * patches_of_tile;
    plan->patches = (vlm_grid) { (uint32_t)columns, (uint32_t)rows };
    if (w / h > columns / rows) {
        plan->cut_y = (uint32_t)fmax(0, floor((rows - whole(h * (columns / w))) / 2));
        plan->patches.rows -= 2 * plan->cut_y;
    } else {
        plan->cut_x = (uint32_t)fmax(0, floor((columns - whole(w * (rows / h))) / 2));
        plan->patches.columns -= 2 * plan->cut_x;
    }
}

static vlm_status check_rule(const vlm_anyres_rule *rule, vlm_error *err) {
    if (rule->patch_size == 0 || rule->tile < rule->patch_size || rule->tile > 1 << 16)
        return vcore_fail(err, VLM_ERR_CONFIG, "a tile of %u with patches of %u", rule->tile,
                          rule->patch_size);
    if (rule->n_pinpoints == 0)
        return vcore_fail(err, VLM_ERR_CONFIG, "image_grid_pinpoints is empty");
    for (size_t i = 0; i < rule->n_pinpoints; i++) {
        const vlm_size p = rule->pinpoints[i];
        if (p.width == 0 || p.height == 0 || p.width % rule->tile || p.height % rule->tile
            || p.width / rule->tile > VLM_MOST_TILES || p.height / rule->tile > VLM_MOST_TILES)
            return vcore_fail(err, VLM_ERR_CONFIG,
                              "image_grid_pinpoints: %u x %u is not made of tiles of %u", p.width,
                              p.height, rule->tile);
    }
    return VLM_OK;
}

vlm_status vlm_plan_anyres(vlm_anyres_plan *out, vlm_size size, const vlm_anyres_rule *rule,
                           vlm_error *err) {
    *out = (vlm_anyres_plan) { 0 };
    VTRY(vmedia_need_pixels(size, err));
    VTRY(check_rule(rule, err));
    vlm_anyres_plan plan = { .canvas = best_canvas(size, rule) };
    const uint32_t patches = rule->tile / rule->patch_size;
    plan.tiles = (vlm_grid) { plan.canvas.width / rule->tile, plan.canvas.height / rule->tile };
    place(&plan, size);
    unpad(&plan, size, patches);
    plan.tokens = (int64_t)patches * patches + (int64_t)plan.patches.rows * plan.patches.columns
                  + plan.patches.rows;
    *out = plan;
    return VLM_OK;
}
