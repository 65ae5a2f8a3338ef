/* SPDX-License-Identifier: MIT */
/* Any size under any rule: a plan whose parts fit together, or an error that says why. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vlm/extend/geometry.h"

typedef struct input {
    const uint8_t *p;
    size_t n;
} input;

/* Numbers of one to four bytes, so that small ones and limits are both common. */
static uint32_t number(input *in) {
    uint32_t value = 0;
    size_t bytes = in->n ? 1 + in->p[0] % 4u : 0;
    for (size_t i = 1; i <= bytes && i < in->n; i++) value = value << 8 | in->p[i];
    size_t used = bytes + 1 < in->n ? bytes + 1 : in->n;
    in->p += used;
    in->n -= used;
    return value;
}

static vlm_size pair(input *in) {
    uint32_t width = number(in);
    return (vlm_size) { width, number(in) };
}

static void require(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static bool positive(vlm_size s) {
    return s.width > 0 && s.height > 0 && s.width <= INT32_MAX && s.height <= INT32_MAX;
}

/* @param out what was made: read behind the call that made it */
static void said(vlm_status status, const vlm_size *out, const vlm_error *err) {
    if (status < 0)
        require(err->message[0] && out->width == 0 && out->height == 0,
                "an error without a message, or with a size");
    else
        require(positive(*out), "a size without pixels");
}

static void one_size(vlm_size size, input *in) {
    vlm_size s, box = pair(in), patch = pair(in);
    vlm_grid g;
    vlm_error err = VLM_ERROR_INIT;
    said(vlm_resize_shortest_edge(&s, size, box.width, &err), &s, &err);
    said(vlm_resize_edges(&s, size, box.width, box.height, &err), &s, &err);
    said(vlm_resize_into(&s, size, box, &err), &s, &err);
    said(vlm_resize_pixtral(&s, &g, size, box, patch, &err), &s, &err);
    require(s.width == g.columns * patch.width && s.height == g.rows * patch.height, "patches");
    said(vlm_resize_naflex(&s, size, patch.width, patch.height, &err), &s, &err);
    said(vlm_resize_gemma4(&s, size, patch.width, patch.height, 1 + number(in) % 8, &err), &s,
         &err);
    said(vlm_resize_muse_glimmer(&s, size, patch.width, patch.height, &err), &s, &err);
    vlm_smart_resize_rule rule = { patch.width, number(in), number(in), number(in) % 256,
                                   number(in) % 2 };
    said(vlm_smart_resize(&s, size, &rule, &err), &s, &err);
    require(s.width == 0 || s.width % rule.factor == 0, "a multiple of the factor");
    said(vlm_smart_resize_frames(&s, size, number(in), number(in), &rule, &err), &s, &err);
}

static void plans(vlm_size size, input *in) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_split_plan split;
    const vlm_split_rule how = { number(in) % 2, number(in) % 2, number(in), pair(in), number(in) };
    said(vlm_plan_splits(&split, size, &how, &err), &split.second, &err);
    const vlm_size pinpoints[] = { pair(in), pair(in), pair(in) };
    const vlm_anyres_rule canvases = { pinpoints, number(in) % 4, number(in), number(in) };
    vlm_anyres_plan on;
    if (vlm_plan_anyres(&on, size, &canvases, &err) == VLM_OK)
        require(on.x + on.resized.width <= on.canvas.width
                    && on.y + on.resized.height <= on.canvas.height
                    && on.patches.columns + 2 * on.cut_x
                           == on.tiles.columns * (canvases.tile / canvases.patch_size),
                "a picture outside of its canvas");
    const vlm_tile_rule tiles = { pair(in), number(in) % 64, number(in) % 1100, number(in) % 2 };
    vlm_tile_plan tiled;
    said(vlm_plan_tiles(&tiled, size, &tiles, &err), &tiled.resized, &err);
    const vlm_ocr_rule ocr = { number(in), number(in), number(in) % 64, number(in) % 64,
                               number(in) % 2 };
    vlm_ocr_plan read;
    said(vlm_plan_ocr(&read, size, &ocr, &err), &read.whole, &err);
    const vlm_lfm2_rule lfm2 = { number(in),     number(in),      number(in),      number(in),
                                 number(in),     number(in) % 64, number(in) % 64, number(in) % 2,
                                 number(in) % 2, number(in) % 8 };
    vlm_lfm2_plan views;
    said(vlm_plan_lfm2(&views, size, &lfm2, &err), &views.whole, &err);
}

static void crops(vlm_size size, input *in) {
    const vlm_pan_and_scan_rule rule = { number(in), number(in), number(in) % 8 };
    vlm_pan_and_scan_plan plan;
    if (vlm_plan_pan_and_scan(&plan, size, &rule, NULL) < 0) return;
    uint64_t n = (uint64_t)plan.crops.columns * plan.crops.rows;
    for (uint64_t i = 0; i < n && i < 1000; i++) {
        vlm_rect r = vlm_pan_and_scan_crop(&plan, size, (uint32_t)(n - 1 - i));
        require(r.width > 0 && r.height > 0 && r.width <= size.width && r.height <= size.height,
                "a crop");
    }
    vlm_rect rect = { (int32_t)number(in), (int32_t)number(in), number(in), number(in) };
    vlm_rect middle = vlm_rect_center_crop(rect, size);
    require(vlm_rect_smaller_or_equal(middle, size) && middle.width <= rect.width, "a middle");
    vlm_rect_in_square(size);
    vlm_size_fit_shortest_edge(size, rect.width);
    vlm_size_fit_longest_edge(size, rect.width);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = { data, size };
    vlm_size of = pair(&in);
    one_size(of, &in);
    plans(of, &in);
    crops(of, &in);
    return 0;
}
