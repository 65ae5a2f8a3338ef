/* SPDX-License-Identifier: MIT */
/* text_config as the decoder reads it: defaults of every type, windows by every rule, scaled
 * frequencies (figures of transformers). */
#include <math.h>
#include <stdio.h>

#include "models/text/decoder.h"
#include "support/cm.h"

static const text_type *type_named(const char *name) {
    for (const text_type *t = vmodel_text_types; t->model_type; t++)
        if (vmodel_is_one_of(t->model_type, vcore_str_of(name))) return t;
    fail_msg("%s", name);
    return NULL;
}

/* Reads a config; free the document. */
static vcore_json_doc *read(text_config *c, const text_type *type, const char *json) {
    vcore_json_doc *doc;
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vcore_json_parse(&doc, json, strlen(json), "test", &err), VLM_OK);
    if (vmodel_text_config_read(c, type, vcore_json_root(doc), &err) < 0)
        fail_msg("%s", err.message);
    return doc;
}

static void windows_of(const char *type_name, const char *json, const int64_t *want, int n) {
    const text_type *type = type_named(type_name);
    text_config c;
    int64_t windows[64];
    vlm_error err = VLM_ERROR_INIT;
    vcore_json_doc *doc = read(&c, type, json);
    assert_int_equal(c.num_hidden_layers, n);
    if (vmodel_text_config_windows(windows, &c, type, vcore_json_root(doc), &err) < 0)
        fail_msg("%s", err.message);
    for (int i = 0; i < n; i++)
        if (windows[i] != want[i])
            fail_msg("%s: layer %d has window %lld", type_name, i, (long long)windows[i]);
    vcore_json_free(doc);
}

static void windows(void **state) {
    (void)state;
    static const int64_t none[] = { 0, 0, 0, 0 };
    windows_of("llama", "{\"num_hidden_layers\": 4, \"sliding_window\": 8}", none, 4);
    windows_of("gemma", "{\"num_hidden_layers\": 4}", none, 4);
    windows_of("qwen2",
               "{\"num_hidden_layers\": 4, \"sliding_window\": 8, \"max_window_layers\": 2}", none,
               4);
    windows_of("qwen2",
               "{\"num_hidden_layers\": 4, \"sliding_window\": 8, \"max_window_layers\": 2,"
               " \"use_sliding_window\": true}",
               (int64_t[]) { 0, 0, 8, 8 }, 4);
    windows_of("mistral", "{\"num_hidden_layers\": 4}", (int64_t[]) { 4096, 4096, 4096, 4096 }, 4);
    windows_of("mistral", "{\"num_hidden_layers\": 4, \"sliding_window\": null}", none, 4);
    windows_of("gemma2", "{\"num_hidden_layers\": 4, \"sliding_window\": 9}",
               (int64_t[]) { 9, 0, 9, 0 }, 4);
    windows_of(
        "gemma2",
        "{\"num_hidden_layers\": 4, \"sliding_window\": 9, \"layer_types\": [\"full_attention\","
        " \"sliding_attention\", \"sliding_attention\", \"full_attention\"]}",
        (int64_t[]) { 0, 9, 9, 0 }, 4);
    windows_of("gemma3_text", "{\"num_hidden_layers\": 7, \"sliding_window\": 9}",
               (int64_t[]) { 9, 9, 9, 9, 9, 0, 9 }, 7);
    windows_of("gemma3_text",
               "{\"num_hidden_layers\": 4, \"sliding_window\": 9, \"sliding_window_pattern\": 3}",
               (int64_t[]) { 9, 9, 0, 9 }, 4);
}

static void defaults(void **state) {
    (void)state;
    text_config c;
    vcore_json_free(read(&c, type_named("llama"), "{}"));
    assert_int_equal(c.num_key_value_heads, 32);
    assert_int_equal(c.head_dim, 128);
    vcore_json_free(
        read(&c, type_named("gemma2"), "{\"attn_logit_softcapping\": null, \"hidden_size\": 100}"));
    assert_int_equal(c.head_dim, 256);
    assert_float_equal(c.attn_logit_softcapping, 0, 0);
    assert_float_equal(c.query_pre_attn_scalar, 256, 0);
    vcore_json_free(read(&c, type_named("gemma2"), "{\"hidden_activation\": \"gelu\"}"));
    assert_float_equal(c.attn_logit_softcapping, 50, 0);
    assert_int_equal(c.hidden_act, VLM_ACT_GELU);
    vcore_json_free(
        read(&c, type_named("qwen2_5_vl"),
             "{\"rope_scaling\": {\"type\": \"mrope\", \"mrope_section\": [16, 24, 24]}}"));
    assert_int_equal(c.mrope_section.at[2], 24);
    assert_float_equal(c.rope_theta, 1e6f, 0);
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vmodel_text_config_read(&c, type_named("qwen2_5_vl_text"), NULL, &err),
                     VLM_ERR_CONFIG);
    assert_non_null(strstr(err.message, "mrope_section"));
}

/* A null is "as many as heads" and "what is left of the width for each", whatever the type takes where nothing is said. */
static void nulls(void **state) {
    (void)state;
    static const char *const types[] = { "llama",         "mistral",       "ministral3",   "qwen2",
                                         "gemma",         "gemma2",        "gemma3_text",  "lfm2" };
    text_config c;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const bool grows = !strcmp(types[i], "ministral3");
        char json[300];
        snprintf(json, sizeof json, "{\"hidden_size\": 96, \"num_attention_heads\": 6, \"num_key_value_heads\": null,"
                 " \"head_dim\": null%s}", grows ? ", \"rope_parameters\": {\"llama_4_scaling_beta\": 0.1,"
                 " \"original_max_position_embeddings\": 16}" : "");
        vcore_json_free(read(&c, type_named(types[i]), json));
        assert_int_equal(c.num_key_value_heads, 6);
        assert_int_equal(c.head_dim, 16);
    }
}

/* Of 6000 by 0.7 a float would make 4199. */
static void widths_are_computed_in_doubles(void **state) {
    (void)state;
    text_config c;
    vcore_json_free(read(&c, type_named("lfm2"), "{\"intermediate_size\": 9000, \"block_ffn_dim_multiplier\": 0.7,"
                         " \"block_multiple_of\": 1}"));
    assert_int_equal(c.intermediate_size, 4200);
}

/* What transformers makes of rope_parameters, heads of 32. */
static const struct {
    const char *object;
    double theta;
    float attention_factor, inv_freq[16];
} scaled[] = {
    { "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0,"
      " \"original_max_position_embeddings\": 8192}",
      5e5, 1,
      { 1, 0.440366626f, 0.193922758f, 0.0853971019f, 0.0376060307f, 0.0165604409f, 0.00729266508f, 0.00321144611f,
        0.000524846022f, 7.78465546e-05f, 3.42810235e-05f, 1.50962178e-05f, 6.64786967e-06f, 2.92749974e-06f,
        1.28917316e-06f, 5.6770881e-07f } },
    { "{\"type\": \"linear\", \"factor\": 8.0}",
      1e6, 1,
      { 0.125f, 0.0527120642f, 0.0222284924f, 0.00937367696f, 0.00395284733f, 0.00166690187f, 0.000702926656f,
        0.000296421727f, 0.000125000006f, 5.2712061e-05f, 2.22284925e-05f, 9.37367804e-06f, 3.95284678e-06f,
        1.66690177e-06f, 7.02926684e-07f, 2.96421717e-07f } },
    { "{\"rope_type\": \"yarn\", \"factor\": 16.0, \"original_max_position_embeddings\": 4096, \"beta_fast\": 32.0,"
      " \"beta_slow\": 1.0, \"mscale\": 1.0, \"mscale_all_dim\": 1.0}",
      1e6, 1,
      { 1, 0.421696514f, 0.177827939f, 0.0749894157f, 0.0256935079f, 0.0083345091f, 0.00246024318f, 0.000592843455f,
        6.2500003e-05f, 2.63560305e-05f, 1.11142463e-05f, 4.68683902e-06f, 1.97642339e-06f, 8.33450883e-07f,
        3.51463342e-07f, 1.48210859e-07f } },
    { "{\"rope_type\": \"yarn\", \"factor\": 10.0, \"original_max_position_embeddings\": 2048, \"beta_fast\": 8.0,"
      " \"truncate\": false}",
      1e4, 1.2302585092994045f,
      { 1, 0.562341332f, 0.316227764f, 0.177827939f, 0.100000001f, 0.0562341288f, 0.0316227786f, 0.0153027866f,
        0.00611394271f, 0.00203707977f, 0.000357669807f, 0.00017782794f, 9.99999975e-05f, 5.62341302e-05f,
        3.16227779e-05f, 1.77827933e-05f } },
};

static void scaled_frequencies(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof scaled / sizeof scaled[0]; k++) {
        float got[16];
        text_rope rope = { .pairs = 16, .inv_freq = got };
        vlm_error err = VLM_ERROR_INIT;
        vcore_json_doc *doc;
        assert_int_equal(vcore_json_parse(&doc, scaled[k].object, strlen(scaled[k].object), "test", &err), VLM_OK);
        assert_int_equal(vmodel_text_rope_fill(&rope, scaled[k].theta, vcore_json_root(doc), &err), VLM_OK);
        assert_true(fabsf(rope.attention_factor - scaled[k].attention_factor) < 1e-6f);
        for (int i = 0; i < 16; i++)
            if (fabsf(got[i] - scaled[k].inv_freq[i]) > 3e-7f * scaled[k].inv_freq[i])
                fail_msg("%s: %d: %.9g, %.9g", scaled[k].object, i, (double)got[i], (double)scaled[k].inv_freq[i]);
        vcore_json_free(doc);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows),
        cmocka_unit_test(defaults),
        cmocka_unit_test(nulls),
        cmocka_unit_test(widths_are_computed_in_doubles),
        cmocka_unit_test(scaled_frequencies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
