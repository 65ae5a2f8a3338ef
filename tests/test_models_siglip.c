/* SPDX-License-Identifier: MIT */
/* The SigLIP tower with drawn weights: pixels behind the last whole patch of a row or column are not
 * seen, as a convolution without padding sees none (384 pixels by patches of 14). */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"
#include "support/checkpoint.h"
#include "support/cm.h"

enum { D = 12, INNER = 16, PATCH = 4, SIDE = 3, MOST = 32, VALUES = SIDE * SIDE * D };

typedef struct weights {
    vio_out_tensor list[MOST];
    char names[MOST][80];
    size_t n;
} weights;

static void draw(weights *w, const char *name, int rank, const uint64_t *shape) {
    vio_out_tensor *t = &w->list[w->n];
    size_t count = 1;
    snprintf(w->names[w->n], sizeof w->names[0], "%s", name);
    *t = (vio_out_tensor) { .name = w->names[w->n], .dtype = VIO_F32, .rank = rank };
    for (int i = 0; i < rank; i++) count *= (size_t)(t->shape[i] = shape[i]);
    float *data = malloc(count * sizeof *data);
    assert_non_null(data);
    uint32_t random = (uint32_t)w->n * 7919 + 1;
    for (size_t i = 0; i < count; i++) {
        random = random * 1664525 + 1013904223;
        data[i] = (float)(random >> 8) * 0x1p-25f - 0.25f;
    }
    t->data = data;
    w->n++;
}

static void draw_linear(weights *w, const char *name, uint64_t out, uint64_t in) {
    char full[80];
    snprintf(full, sizeof full, "%s.weight", name);
    draw(w, full, in ? 2 : 1, (uint64_t[]) { out, in });
    snprintf(full, sizeof full, "%s.bias", name);
    draw(w, full, 1, &out);
}

static void write_weights(const char *path) {
#define LAYER "encoder.layers.0."
    static const char *const squares[] = { LAYER "self_attn.q_proj", LAYER "self_attn.k_proj",
                                           LAYER "self_attn.v_proj", LAYER "self_attn.out_proj" };
    weights *w = calloc(1, sizeof *w);
    vlm_error err = VLM_ERROR_INIT;
    assert_non_null(w);
    draw(w, "embeddings.patch_embedding.weight", 4, (uint64_t[]) { D, 3, PATCH, PATCH });
    draw(w, "embeddings.patch_embedding.bias", 1, (uint64_t[]) { D });
    draw(w, "embeddings.position_embedding.weight", 2, (uint64_t[]) { SIDE * SIDE, D });
    draw_linear(w, "post_layernorm", D, 0);
    draw_linear(w, LAYER "layer_norm1", D, 0);
    draw_linear(w, LAYER "layer_norm2", D, 0);
    for (int i = 0; i < 4; i++) draw_linear(w, squares[i], D, D);
    draw_linear(w, LAYER "mlp.fc1", INNER, D);
    draw_linear(w, LAYER "mlp.fc2", D, INNER);
    if (vio_safetensors_write(path, w->list, w->n, "pt", &err) < 0) fail_msg("%s", err.message);
    for (size_t i = 0; i < w->n; i++) free((void *)w->list[i].data);
    free(w);
}

/* Features [SIDE * SIDE, D] of a picture of side x side whose pixels are drawn by their place; those behind
 * the last patch are `rest`. */
static void features(const char *type, int64_t side, float rest, float *out) {
    vlm_error err = VLM_ERROR_INIT;
    char *dir = tcheckpoint_temp_dir(), *path = tcheckpoint_path(dir, "model.safetensors"), json[256];
    const vtensor_cpu_options cpu = { .threads = 1 };
    vio_tensors *tensors;
    vtensor_backend *backend;
    vlm_frame *f;
    vcore_json_doc *config;
    vlm_build *build;
    vlm_vision *tower;
    static float pixels[3 * 32 * 32];
    for (int64_t c = 0; c < 3; c++)
        for (int64_t y = 0; y < side; y++)
            for (int64_t x = 0; x < side; x++) {
                bool seen = y < SIDE * PATCH && x < SIDE * PATCH;
                pixels[(c * side + y) * side + x] = seen ? (float)((c * 5 + y * 3 + x * 7) % 11) : rest;
            }
    snprintf(json, sizeof json,
             "{\"model_type\": \"%s\", \"hidden_size\": %d, \"intermediate_size\": %d, \"num_hidden_layers\": 1, "
             "\"num_attention_heads\": 2, \"image_size\": %d, \"patch_size\": %d}",
             type, D, INNER, (int)side, PATCH);
    write_weights(path);
    assert_int_equal(vio_tensors_open_file(&tensors, path, NULL, &err), VLM_OK);
    tcheckpoint_remove(dir);
    free(path);
    free(dir);
    vcore_arena *arena = vcore_arena_new();
    assert_int_equal(vtensor_backend_cpu(&backend, &cpu, &err), VLM_OK);
    assert_int_equal(vtensor_frame_new(&f, backend, VTENSOR_EXACT, &err), VLM_OK);
    assert_int_equal(vcore_json_parse(&config, json, strlen(json), "test", &err), VLM_OK);
    const vmodel_build_args args = { .tensors = tensors, .arena = arena, .backend = backend };
    assert_int_equal(vmodel_build_new(&build, &args, &err), VLM_OK);
    if (vlm_vision_new(&tower, build, &(vlm_vision_options) { .config = vcore_json_root(config), .prefix = "" }, &err) < 0)
        fail_msg("%s", err.message);
    vtensor_frame_begin(f);
    const int64_t shape[] = { 3, side, side };
    const vlm_vision_input input = { .pixels = vlm_tensor_view(f, VLM_DTYPE_F32, 3, shape, pixels) };
    vlm_tensor y = vlm_vision_forward(f, tower, &input);
    if (vlm_frame_ok(f)) {
        assert_int_equal(y.shape[0], SIDE * SIDE);
        assert_int_equal(vtensor_read(f, y, out, &err), VLM_OK);
    }
    if (vtensor_frame_end(f, &err) < 0) fail_msg("%s", err.message);
    vtensor_frame_free(f);
    vtensor_backend_free(backend);
    vmodel_build_free(build);
    vio_tensors_close(tensors);
    vcore_json_free(config);
    vcore_arena_free(arena);
}

static void pixels_behind_the_last_patch_are_not_seen(void **state) {
    static const char *const types[] = { "siglip_vision_model", "idefics3_vision" };
    (void)state;
    for (int i = 0; i < 2; i++) {
        float whole[VALUES], more[VALUES], other[VALUES];
        features(types[i], SIDE * PATCH, 0, whole);
        features(types[i], SIDE * PATCH + 3, 5, more);
        features(types[i], SIDE * PATCH + 3, -7, other);
        assert_memory_equal(whole, more, sizeof whole);
        assert_memory_equal(whole, other, sizeof whole);
        assert_true(whole[0] != whole[D] && whole[0] == whole[0]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_behind_the_last_patch_are_not_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
