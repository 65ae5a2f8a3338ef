/* SPDX-License-Identifier: MIT */
/* Chains: steps on a picture that fail together, with one check at the end. */
#include "media/media.h"

vlm_image_chain vlm_image_chain_begin(const vlm_image *image, vlm_error *err) {
    vlm_image_chain chain = { .image = image, .err = err, .status = VLM_OK };
    if (!image) chain.status = vcore_fail(err, VLM_ERR_ARGUMENT, "a chain without a picture");
    return chain;
}

/* Whether the next step finds bytes to work on. */
static bool has_bytes(vlm_image_chain *chain) {
    if (chain->status >= 0 && !chain->image)
        chain->status = vcore_fail(chain->err, VLM_ERR_ARGUMENT,
                                   "a chain: a step on bytes behind one on floats");
    return chain->status >= 0;
}

/* What a step made takes the place of what was; chain->status tells whether it did. */
static void took(vlm_image_chain *chain, vlm_image *made) {
    if (chain->status < 0) return;
    vlm_image_free(chain->owned);
    chain->image = chain->owned = made;
}

void vlm_image_chain_resize(vlm_image_chain *chain, vlm_size size, vlm_filter filter) {
    vlm_image *made = NULL;
    if (!has_bytes(chain)) return;
    chain->status = vlm_image_resize(&made, chain->image, size, filter, chain->err);
    took(chain, made);
}

void vlm_image_chain_center_crop(vlm_image_chain *chain, vlm_size size) {
    vlm_image *made = NULL;
    if (!has_bytes(chain)) return;
    chain->status = vlm_image_center_crop(&made, chain->image, size, chain->err);
    took(chain, made);
}

void vlm_image_chain_pad_to_square(vlm_image_chain *chain, const uint8_t colour[3]) {
    vlm_image *made = NULL;
    if (!has_bytes(chain)) return;
    chain->status = vlm_image_pad_to_square(&made, chain->image, colour, chain->err);
    took(chain, made);
}

/* Bytes become floats at the first step that needs them. */
static bool has_floats(vlm_image_chain *chain) {
    if (chain->status < 0 || chain->floats.pixels) return chain->status >= 0;
    chain->status = vlm_image_f32_from_image(&chain->floats, chain->image, 1.0 / 255, chain->err);
    vlm_image_free(chain->owned);
    chain->image = chain->owned = NULL;
    return chain->status >= 0;
}

void vlm_image_chain_to_srgb(vlm_image_chain *chain) {
    if (has_floats(chain)) vlm_image_f32_to_srgb(&chain->floats);
}

void vlm_image_chain_to_linear(vlm_image_chain *chain) {
    if (has_floats(chain)) vlm_image_f32_to_linear(&chain->floats);
}

void vlm_image_chain_normalize(vlm_image_chain *chain, const double mean[3], const double std[3]) {
    if (has_floats(chain)) vlm_image_f32_normalize(&chain->floats, mean, std);
}

static vlm_status end(vlm_image_chain *chain, vlm_status status) {
    vlm_image_free(chain->owned);
    vlm_image_f32_free(&chain->floats);
    *chain = (vlm_image_chain) { .status = VLM_ERR_ARGUMENT };
    return status;
}

vlm_status vlm_image_chain_to_image(vlm_image_chain *chain, vlm_image **out) {
    *out = NULL;
    if (!has_bytes(chain)) return end(chain, chain->status);
    if (chain->owned) {
        *out = chain->owned;
        chain->owned = NULL;
        return end(chain, VLM_OK);
    }
    return end(chain, vlm_image_crop(out, chain->image, 0, 0, chain->image->size, chain->err));
}

vlm_status vlm_image_chain_to_array(vlm_image_chain *chain, vlm_pixel_array *out,
                                    vlm_layout layout) {
    *out = (vlm_pixel_array) { 0 };
    if (!has_floats(chain)) return end(chain, chain->status);
    return end(chain, vlm_image_f32_to_array(out, &chain->floats, layout, chain->err));
}
