/* SPDX-License-Identifier: MIT */
/* Resizes of random pictures by plain C and by the machine's vector code: the same bytes. A program of its own
 * without other libraries, so that it can be built for another machine (tools/check_neon.sh). */
#include <stdio.h>

#include "media/media.h"

static uint64_t state = 1;

static uint32_t draw(uint32_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

/* Noise, noise of 0 and 255 only, or a ramp. */
static void paint(vlm_image *image) {
    uint32_t kind = draw(3);
    for (size_t i = 0; i < (size_t)image->size.width * image->size.height * 3; i++) {
        uint8_t noise = (uint8_t)draw(256);
        image->rgb[i] = kind == 0 ? noise : kind == 1 ? (noise & 1) * 255 : (uint8_t)i;
    }
}

/* 1: the bytes differ; -1: no memory. */
static int differs(const vlm_image *in, vlm_size to, vlm_filter filter, vlm_resampler resampler) {
    vlm_image *plain = NULL, *fast = NULL;
    int result = -1;
    if (vmedia_resize(&plain, in, to, filter, resampler, NULL, 0, NULL) == VLM_OK
        && vmedia_resize(&fast, in, to, filter, resampler, NULL, vcore_cpu_flags(), NULL) == VLM_OK)
        result = memcmp(plain->rgb, fast->rgb, (size_t)to.width * to.height * 3) != 0;
    vlm_image_free(plain);
    vlm_image_free(fast);
    return result;
}

int main(void) {
    int cases = 0, wrong = 0;
    if (!vcore_cpu_flags()) return fprintf(stderr, "this machine has no vector code here\n"), 2;
    for (int n = 0; n < 1000; n++) {
        uint32_t most = n % 10 ? 60 : 400;
        vlm_size from = { 1 + draw(most), 1 + draw(most) }, to = { 1 + draw(most), 1 + draw(most) };
        vlm_image *in;
        if (vmedia_image_new(&in, from, NULL, NULL) < 0) return 2;
        paint(in);
        for (vlm_filter f = VLM_FILTER_LANCZOS; f <= VLM_FILTER_HAMMING; f++, cases++)
            wrong += differs(in, to, f, VLM_RESAMPLER_PILLOW) != 0;
        for (vlm_filter f = VLM_FILTER_LANCZOS; f <= VLM_FILTER_BICUBIC; f++, cases++)
            wrong += differs(in, to, f, VLM_RESAMPLER_TORCHVISION) != 0;
        vlm_image_free(in);
    }
    printf("%d resizes, %d differ\n", cases, wrong);
    return wrong != 0;
}
