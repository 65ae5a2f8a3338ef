/* SPDX-License-Identifier: MIT */
/* The grid of tiles next in shape to a picture, and the plans that are made of it: InternVL,
 * DeepSeek-OCR 2, LFM2-VL. */
#include "media/media.h"

#include <math.h>

/* Grids in the order of their number of tiles, then of their columns. transformers' LFM2-VL takes
 * those of one number in the order of a Python set: which matters only where two of them, with
 * nothing between them, are equally far from the picture. */
vlm_status vlm_closest_grid(vlm_grid *out, vlm_size size, vlm_size tile, uint32_t min_tiles,
                            uint32_t max_tiles, vlm_error *err) {
    *out = (vlm_grid) { 0, 0 };
    VTRY(vmedia_need_pixels(size, err));
    if (tile.width == 0 || tile.height == 0) return vmedia_bad_rule("a tile's side", err);
    if (max_tiles > VLM_MOST_TILES)
        return vcore_fail(err, VLM_ERR_LIMIT, "%u tiles are more than %d", max_tiles,
                          VLM_MOST_TILES);
    const double aspect = (double)size.width / size.height;
    const double area = (double)size.width * size.height;
    double least = INFINITY;
    vlm_grid best = { 1, 1 };
    for (uint32_t n = min_tiles ? min_tiles : 1; n <= max_tiles; n++) {
        const double half = 0.5 * tile.height * tile.width * n;
        for (uint32_t columns = 1; columns <= n; columns++) {
            if (n % columns) continue;
            double difference = fabs(aspect - (double)columns / (n / columns));
            if (difference > least || (difference == least && area <= half)) continue;
            least = difference;
            best = (vlm_grid) { columns, n / columns };
        }
    }
    *out = best;
    return VLM_OK;
}

static vlm_status size_of_grid(vlm_size *out, vlm_grid grid, vlm_size tile, vlm_size of,
                               vlm_error *err) {
    return vmedia_sides(out, (double)grid.columns * tile.width, (double)grid.rows * tile.height, of,
                        err);
}

vlm_status vlm_plan_tiles(vlm_tile_plan *out, vlm_size size, const vlm_tile_rule *rule,
                          vlm_error *err) {
    *out = (vlm_tile_plan) { 0 };
    vlm_tile_plan plan = { .tiles = { 1, 1 } };
    VTRY(vmedia_need_pixels(size, err));
    if (rule->crop_to_patches && rule->max_tiles > 1)
        VTRY(
            vlm_closest_grid(&plan.tiles, size, rule->tile, rule->min_tiles, rule->max_tiles, err));
    VTRY(size_of_grid(&plan.resized, plan.tiles, rule->tile, size, err));
    plan.views = (int64_t)plan.tiles.columns * plan.tiles.rows;
    plan.thumbnail = plan.views > 1;
    plan.views += plan.thumbnail;
    *out = plan;
    return VLM_OK;
}

vlm_status vlm_plan_ocr(vlm_ocr_plan *out, vlm_size size, const vlm_ocr_rule *rule,
                        vlm_error *err) {
    *out = (vlm_ocr_plan) { 0 };
    const vlm_size tile = { rule->tile, rule->tile };
    const double longer = fmax(size.width, size.height);
    vlm_ocr_plan plan = { 0 };
    VTRY(vmedia_need_pixels(size, err));
    if (rule->crop_to_patches && longer > rule->tile) {
        VTRY(vlm_closest_grid(&plan.tiles, size, tile, rule->min_tiles, rule->max_tiles, err));
        VTRY(size_of_grid(&plan.resized, plan.tiles, tile, size, err));
    }
    double scale = (rule->crop_to_patches ? rule->whole : rule->tile) / longer;
    VTRY(vmedia_sides(&plan.whole, nearbyint(size.width * scale), nearbyint(size.height * scale),
                      size, err));
    *out = plan;
    return VLM_OK;
}

/* ---- LFM2-VL --------------------------------------------------------------------------------- */
/* Tokens along a side: patches, of which downsample_factor become one. */
static int64_t tokens_along(uint32_t side, const vlm_lfm2_rule *rule) {
    int64_t patches = side / rule->encoder_patch_size;
    return (patches + rule->downsample_factor - 1) / rule->downsample_factor;
}

/* Bounds that keep the products of these numbers whole. */
static vlm_status check_lfm2(const vlm_lfm2_rule *rule, vlm_error *err) {
    const struct {
        const char *name;
        uint32_t value, least, most;
    } bounds[] = {
        { "encoder_patch_size", rule->encoder_patch_size, 1, 1 << 12 },
        { "downsample_factor", rule->downsample_factor, 1, 1 << 8 },
        { "tile_size", rule->tile_size, 1, 1 << 16 },
        { "min_image_tokens", rule->min_image_tokens, 0, 1 << 20 },
        { "max_image_tokens", rule->max_image_tokens, 1, 1 << 20 },
    };
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++)
        if (bounds[i].value < bounds[i].least || bounds[i].value > bounds[i].most)
            return vcore_fail(err, VLM_ERR_CONFIG, "%s is %u, not in [%u, %u]", bounds[i].name,
                              bounds[i].value, bounds[i].least, bounds[i].most);
    if (!rule->do_image_splitting || rule->min_tiles <= rule->max_tiles) return VLM_OK;
    return vcore_fail(err, VLM_ERR_CONFIG, "min_tiles is %u, max_tiles %u", rule->min_tiles,
                      rule->max_tiles);
}

/* More pixels than one view may show, with the tolerance. */
static bool too_large(vlm_size size, const vlm_lfm2_rule *rule, double most_pixels) {
    const double patch = rule->encoder_patch_size, factor = patch * rule->downsample_factor;
    double height = fmax(patch, nearbyint(size.height / factor) * factor);
    double width = fmax(patch, nearbyint(size.width / factor) * factor);
    return height * width > most_pixels * rule->max_pixels_tolerance;
}

static vlm_status split_lfm2(vlm_lfm2_plan *plan, vlm_size size, const vlm_lfm2_rule *rule,
                             vlm_error *err) {
    const vlm_size tile = { rule->tile_size, rule->tile_size };
    VTRY(vlm_closest_grid(&plan->tiles, size, tile, rule->min_tiles, rule->max_tiles, err));
    VTRY(size_of_grid(&plan->resized, plan->tiles, tile, size, err));
    int64_t tiles = (int64_t)plan->tiles.columns * plan->tiles.rows;
    plan->thumbnail = rule->use_thumbnail && tiles > 1;
    if (tiles > 1)
        plan->tokens = tiles * plan->tile_tokens + (plan->thumbnail ? plan->whole_tokens : 0);
    return VLM_OK;
}

vlm_status vlm_plan_lfm2(vlm_lfm2_plan *out, vlm_size size, const vlm_lfm2_rule *rule,
                         vlm_error *err) {
    *out = (vlm_lfm2_plan) { 0 };
    VTRY(vmedia_need_pixels(size, err));
    VTRY(check_lfm2(rule, err));
    const uint32_t factor = rule->encoder_patch_size * rule->downsample_factor;
    const uint64_t pixels = (uint64_t)factor * factor;
    const vlm_smart_resize_rule whole = { .factor = factor,
                                          .min_pixels = rule->min_image_tokens * pixels,
                                          .max_pixels = rule->max_image_tokens * pixels,
                                          .at_least_a_factor = true };
    vlm_lfm2_plan plan = { .tiles = { 1, 1 } };
    VTRY(vlm_smart_resize(&plan.whole, size, &whole, err));
    int64_t side = tokens_along(rule->tile_size, rule);
    plan.tile_tokens = side * side;
    plan.whole_tokens =
        tokens_along(plan.whole.width, rule) * tokens_along(plan.whole.height, rule);
    plan.tokens = plan.whole_tokens;
    bool splitting = rule->do_image_splitting && !(rule->min_tiles == 1 && rule->max_tiles == 1);
    if (splitting && too_large(size, rule, (double)whole.max_pixels))
        VTRY(split_lfm2(&plan, size, rule, err));
    *out = plan;
    return VLM_OK;
}
