/* SPDX-License-Identifier: MIT */
/* Sizes and rectangles: fits, edges, the middle. What a family makes of them is in geometry/. */
#include "media/media.h"

#include <math.h>

double vlm_size_best_fit_scale(vlm_size size, vlm_size box) {
    if (size.width == 0 || size.height == 0) return 0;
    double across = (double)box.width / size.width, down = (double)box.height / size.height;
    return across < down ? across : down;
}

vlm_size vlm_size_best_fit(vlm_size size, vlm_size box) {
    double scale = vlm_size_best_fit_scale(size, box);
    return (vlm_size) { (uint32_t)round(size.width * scale), (uint32_t)round(size.height * scale) };
}

double vlm_size_aspect_ratio_for_resample(vlm_size from, vlm_size to) {
    if (from.width == 0 || from.height == 0 || to.height == 0) return 0;
    return 1 / ((double)from.width / from.height) * ((double)to.width / to.height);
}

static uint32_t side(double x) {
    return x < 1 ? 1 : x > UINT32_MAX ? UINT32_MAX : (uint32_t)x;
}

/* One side becomes `edge`: the width, or the height. */
static vlm_size with_edge(vlm_size size, uint32_t edge, bool width) {
    const double w = size.width, h = size.height, e = edge;
    if (size.width == 0 || size.height == 0 || edge == 0) return (vlm_size) { 0, 0 };
    if (width) return (vlm_size) { edge, side(e * h / w) };
    return (vlm_size) { side(e * w / h), edge };
}

vlm_size vlm_size_fit_shortest_edge(vlm_size size, uint32_t edge) {
    return with_edge(size, edge, size.width <= size.height);
}

vlm_size vlm_size_fit_longest_edge(vlm_size size, uint32_t edge) {
    if (size.width <= edge && size.height <= edge) return size;
    return with_edge(size, edge, size.width >= size.height);
}

bool vlm_rect_smaller_or_equal(vlm_rect rect, vlm_size size) {
    return rect.width <= size.width && rect.height <= size.height;
}

vlm_rect vlm_rect_center_crop(vlm_rect rect, vlm_size size) {
    const uint32_t width = rect.width < size.width ? rect.width : size.width;
    const uint32_t height = rect.height < size.height ? rect.height : size.height;
    return (vlm_rect) { (int32_t)(rect.x + (int64_t)(rect.width - width) / 2),
                        (int32_t)(rect.y + (int64_t)(rect.height - height) / 2), width, height };
}

vlm_rect vlm_rect_in_square(vlm_size size) {
    const uint32_t longer = size.width > size.height ? size.width : size.height;
    return (vlm_rect) { (int32_t)((longer - size.width) / 2), (int32_t)((longer - size.height) / 2),
                        size.width, size.height };
}
