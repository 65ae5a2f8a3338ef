/* SPDX-License-Identifier: MIT */
/* Idefics3 and SmolVLM: a picture is brought to an edge, then to whole tiles; when that is more
 * than one, the tiles and the whole are shown. */
#include "media/media.h"

#include <math.h>

/* Sides above this are scaled down after the first resize. */
#define LARGEST_SIDE 4096.0

typedef struct sides {
    double width, height;
} sides;

/* The longer side becomes `edge`, the other follows and is even. */
static sides to_edge(sides s, double edge) {
    double aspect = s.width / s.height;
    if (s.width >= s.height) {
        s.width = edge, s.height = trunc(s.width / aspect);
        s.height += fmod(s.height, 2);
    } else {
        s.height = edge, s.width = trunc(s.height * aspect);
        s.width += fmod(s.width, 2);
    }
    return (sides) { fmax(s.width, 1), fmax(s.height, 1) };
}

static sides below_largest(sides s) {
    double aspect = s.width / s.height;
    if (s.width >= s.height && s.width > LARGEST_SIDE)
        s.width = LARGEST_SIDE, s.height = trunc(s.width / aspect);
    else if (s.height > s.width && s.height > LARGEST_SIDE)
        s.height = LARGEST_SIDE, s.width = trunc(s.height * aspect);
    return (sides) { fmax(s.width, 1), fmax(s.height, 1) };
}

static double round_up(double x, double to) {
    return ceil(x / to) * to;
}

/* Both sides become multiples of a view's; 0 where nothing of a side is left. */
static sides to_tiles(sides s, double view) {
    double aspect = s.width / s.height;
    if (s.width >= s.height)
        s.width = round_up(s.width, view), s.height = round_up(trunc(s.width / aspect), view);
    else
        s.height = round_up(s.height, view), s.width = round_up(trunc(s.height * aspect), view);
    return s;
}

static vlm_status first_resize(vlm_split_plan *out, vlm_size size, const vlm_split_rule *rule,
                               vlm_error *err) {
    out->first = size;
    if (!rule->do_resize) return VLM_OK;
    if (rule->longest_edge == 0)
        return vmedia_sides(&out->first, rule->size.width, rule->size.height, size, err);
    sides s = below_largest(to_edge((sides) { size.width, size.height }, rule->longest_edge));
    return vmedia_sides(&out->first, s.width, s.height, size, err);
}

static vlm_status split(vlm_split_plan *out, vlm_size size, uint32_t view, vlm_error *err) {
    sides s = to_tiles((sides) { out->first.width, out->first.height }, view);
    if (s.width < 1 || s.height < 1)
        return vmedia_refuse_size(size, "is too narrow for tiles", err);
    VTRY(vmedia_sides(&out->second, s.width, s.height, size, err));
    if (out->second.width <= view && out->second.height <= view) return VLM_OK;
    out->tiles = (vlm_grid) { out->second.width / view, out->second.height / view };
    out->views = (int64_t)out->tiles.columns * out->tiles.rows + 1;
    return VLM_OK;
}

vlm_status vlm_plan_splits(vlm_split_plan *out, vlm_size size, const vlm_split_rule *rule,
                           vlm_error *err) {
    const uint32_t view = rule->max_image_size;
    *out = (vlm_split_plan) { 0 };
    VTRY(vmedia_need_pixels(size, err));
    if (view == 0) return vmedia_bad_rule("max_image_size", err);
    vlm_split_plan plan = { .views = 1 };
    VTRY(vmedia_sides(&plan.second, view, view, size, err));
    VTRY(first_resize(&plan, size, rule, err));
    if (rule->do_image_splitting) VTRY(split(&plan, size, view, err));
    *out = plan;
    return VLM_OK;
}
