/* SPDX-License-Identifier: MIT */
/* One resize that keeps the shape: to an edge, into a box, into a box in whole patches. */
#include "media/media.h"

#include <math.h>

vlm_status vlm_resize_shortest_edge(vlm_size *out, vlm_size size, uint32_t edge, vlm_error *err) {
    *out = (vlm_size) { 0, 0 };
    VTRY(vmedia_need_pixels(size, err));
    if (edge == 0) return vmedia_bad_rule("shortest_edge", err);
    const double w = size.width, h = size.height, e = edge;
    if (w <= h) return vmedia_sides(out, e, trunc(e * h / w), size, err);
    return vmedia_sides(out, trunc(e * w / h), e, size, err);
}

/* The bound is first divided by the shape without rounding, and that number, not the edge that it
 * rounds to, gives the longer side. */
vlm_status vlm_resize_edges(vlm_size *out, vlm_size size, uint32_t shortest, uint32_t longest,
                            vlm_error *err) {
    *out = (vlm_size) { 0, 0 };
    VTRY(vmedia_need_pixels(size, err));
    if (shortest == 0 || longest == 0) return vmedia_bad_rule("an edge", err);
    const double w = size.width, h = size.height, small = fmin(w, h), large = fmax(w, h);
    double edge = shortest, raw = shortest;
    if (large / small * edge > longest) {
        raw = longest * small / large;
        edge = nearbyint(raw);
    }
    if (small == edge) return vmedia_sides(out, w, h, size, err);
    if (w < h) return vmedia_sides(out, edge, trunc(raw * h / w), size, err);
    return vmedia_sides(out, trunc(raw * w / h), edge, size, err);
}

vlm_status vlm_resize_into(vlm_size *out, vlm_size size, vlm_size box, vlm_error *err) {
    *out = (vlm_size) { 0, 0 };
    VTRY(vmedia_need_pixels(size, err));
    if (box.width == 0 || box.height == 0) return vmedia_bad_rule("a side of the box", err);
    double down = (double)box.height / size.height, across = (double)box.width / size.width;
    double scale = fmin(down, across);
    return vmedia_sides(out, trunc(size.width * scale), trunc(size.height * scale), size, err);
}

vlm_status vlm_resize_pixtral(vlm_size *out, vlm_grid *patches, vlm_size size, vlm_size box,
                              vlm_size patch, vlm_error *err) {
    *out = (vlm_size) { 0, 0 };
    *patches = (vlm_grid) { 0, 0 };
    VTRY(vmedia_need_pixels(size, err));
    if (box.width == 0 || box.height == 0) return vmedia_bad_rule("a side of the box", err);
    if (patch.width == 0 || patch.height == 0) return vmedia_bad_rule("patch_size", err);
    double w = size.width, h = size.height;
    double ratio = fmax(h / box.height, w / box.width);
    if (ratio > 1) h = floor(h / ratio), w = floor(w / ratio);
    double columns = ceil(w / patch.width), rows = ceil(h / patch.height);
    VTRY(vmedia_sides(out, columns * patch.width, rows * patch.height, size, err));
    *patches = (vlm_grid) { (uint32_t)columns, (uint32_t)rows };
    return VLM_OK;
}
