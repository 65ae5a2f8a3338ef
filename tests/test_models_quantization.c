/* SPDX-License-Identifier: MIT */
/* Quantization: the table that config.json gives, what is translated and what is refused, and how
 * modules resolve to it. */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"
#include "support/cm.h"

/* ---- the table ------------------------------------------------------------------------------- */
static vlm_quantization *parse(const char *config) {
    vlm_quantization *q = NULL;
    vlm_error err = VLM_ERROR_INIT;
    if (vlm_quantization_parse(&q, config, strlen(config), &err) < 0) fail_msg("%s", err.message);
    return q;
}

static void assert_params(const vlm_quantization_params *p, const char *mode, int bits, int group) {
    assert_string_equal(vlm_quantization_mode_name(p->mode), mode);
    assert_int_equal(p->bits, bits);
    assert_int_equal(p->group_size, group);
}

static void assert_whole(const vlm_quantization *q, const char *mode, int bits, int group) {
    vlm_quantization_params p;
    assert_true(vlm_quantization_default(q, &p));
    assert_params(&p, mode, bits, group);
}

static void assert_given(const vlm_quantization *q, const char *module, const char *mode, int bits,
                         int group) {
    vlm_quantization_params p;
    assert_int_equal(vlm_quantization_find(q, module, &p), VLM_QUANTIZATION_GIVEN);
    assert_params(&p, mode, bits, group);
}

static void whole_model(void **state) {
    (void)state;
    static const struct {
        const char *config, *mode;
        int bits, group;
    } cases[] = {
        { "{\"quantization\":{\"group_size\":64,\"bits\":4}}", "affine", 4, 64 },
        { "{\"quantization\":{\"group_size\":128,\"bits\":3,\"mode\":\"affine\"}}", "affine", 3,
          128 },
        { "{\"quantization\":{\"group_size\":32,\"bits\":4,\"mode\":\"mxfp4\"}}", "mxfp4", 4, 32 },
        { "{\"quantization\":{\"group_size\":32,\"bits\":8,\"mode\":\"mxfp8\"}}", "mxfp8", 8, 32 },
        { "{\"quantization\":{\"group_size\":16,\"bits\":4,\"mode\":\"nvfp4\"}}", "nvfp4", 4, 16 },
        { "{\"quantization\":{\"bits\":4,\"group_size\":64,\"quant_method\":\"linear\","
          "\"linear_class\":\"x\",\"quantization_mode\":7,\"mode\":null}}",
          "affine", 4, 64 },
        /* MLX's key goes before Hugging Face's; its copy under that name counts when alone. */
        { "{\"quantization_config\":{\"quant_method\":\"awq\"},"
          "\"quantization\":{\"group_size\":64,\"bits\":8}}",
          "affine", 8, 64 },
        { "{\"quantization\":null,\"quantization_config\":{\"group_size\":64,\"bits\":4}}",
          "affine", 4, 64 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vlm_quantization *q = parse(cases[i].config);
        assert_whole(q, cases[i].mode, cases[i].bits, cases[i].group);
        assert_string_equal(vlm_quantization_method(q), "mlx");
        assert_int_equal(vlm_quantization_usable(q, NULL), VLM_OK);
        assert_null(vlm_quantization_at(q, 0, NULL, NULL));
        vlm_quantization_free(q);
    }
}

static void nothing_said(void **state) {
    (void)state;
    static const char *const configs[] = { "{}", "{\"quantization\":null}",
                                           "{\"text_config\":{\"quantization_config\":null}}",
                                           "{\"text_config\":7}" };
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) assert_null(parse(configs[i]));
    vlm_quantization_params p;
    assert_false(vlm_quantization_default(NULL, &p));
    assert_null(vlm_quantization_method(NULL));
    assert_int_equal(vlm_quantization_usable(NULL, NULL), VLM_OK);
    assert_int_equal(vlm_quantization_find(NULL, "a", &p), VLM_QUANTIZATION_UNMENTIONED);
    assert_null(vlm_quantization_at(NULL, 0, NULL, NULL));
    assert_null(vlm_quantization_mode_name((vlm_quantization_mode)4));
    vlm_quantization_free(NULL);
}

static void per_module(void **state) {
    (void)state;
    vlm_quantization *q =
        parse("{\"quantization\":{\"group_size\":32,\"bits\":4,\"mode\":\"mxfp4\","
              "\"model.a\":{\"group_size\":128,\"bits\":8},"
              "\"model.b\":{\"bits\":6},"
              "\"model.c\":{\"mode\":\"nvfp4\"},"
              "\"model.d\":{\"mode\":\"mxfp8\",\"group_size\":32},"
              "\"model.e\":false,\"model.f\":{},\"model.g\":true,"
              "\"model.h\":null,\"model.i\":{\"group_size\":32}}}");
    assert_whole(q, "mxfp4", 4, 32);
    /* Nothing is inherited: no mode is affine, what else is missing is the mode's own. */
    assert_given(q, "model.a", "affine", 8, 128);
    assert_given(q, "model.b", "affine", 6, 64);
    assert_given(q, "model.c", "nvfp4", 4, 16);
    assert_given(q, "model.d", "mxfp8", 8, 32);
    assert_given(q, "model.i", "affine", 4, 32);
    vlm_quantization_params p = { VLM_QUANTIZATION_NVFP4, 1, 2 };
    assert_int_equal(vlm_quantization_find(q, "model.e", &p), VLM_QUANTIZATION_SKIPPED);
    assert_int_equal(vlm_quantization_find(q, "model.f", &p), VLM_QUANTIZATION_SKIPPED);
    assert_int_equal(vlm_quantization_find(q, "model.g", &p), VLM_QUANTIZATION_UNMENTIONED);
    assert_int_equal(vlm_quantization_find(q, "model.h", &p), VLM_QUANTIZATION_UNMENTIONED);
    assert_int_equal(vlm_quantization_find(q, "model", &p), VLM_QUANTIZATION_UNMENTIONED);
    assert_int_equal(p.group_size, 2);
    vlm_quantization_answer answer;
    assert_string_equal(vlm_quantization_at(q, 1, &answer, &p), "model.b");
    assert_int_equal(answer, VLM_QUANTIZATION_GIVEN);
    assert_int_equal(p.bits, 6);
    assert_string_equal(vlm_quantization_at(q, 4, &answer, NULL), "model.e");
    assert_int_equal(answer, VLM_QUANTIZATION_SKIPPED);
    assert_null(vlm_quantization_at(q, 7, &answer, NULL));
    vlm_quantization_free(q);
}

static void with_and_without_the_prefix(void **state) {
    (void)state;
    vlm_quantization *q = parse("{\"quantization\":{\"group_size\":64,\"bits\":4,"
                                "\"model.a\":{\"bits\":8},\"language_model.model.b\":{\"bits\":6},"
                                "\"both\":{\"bits\":2},\"language_model.both\":{\"bits\":3}}}");
    assert_given(q, "model.a", "affine", 8, 64);
    assert_given(q, "language_model.model.a", "affine", 8, 64);
    assert_given(q, "model.b", "affine", 6, 64);
    assert_given(q, "language_model.model.b", "affine", 6, 64);
    assert_given(q, "both", "affine", 2, 64); /* the spelling as it is goes first */
    assert_given(q, "language_model.both", "affine", 3, 64);
    char longest[700];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(vlm_quantization_find(q, longest, NULL), VLM_QUANTIZATION_UNMENTIONED);
    vlm_quantization_free(q);
}

/* What mlx-vlm says of modules by tables of every kind of entry (tools/golden/quantization.py). */
static void modules_resolve_as_in_mlx_vlm(void **state) {
    (void)state;
    vio_bytes text;
    vcore_json_doc *doc;
    int given = 0, skipped = 0, silent = 0;
    assert_int_equal(
        vio_read(&text, "tests/data/quantization/resolution.json", 1 << 20, NULL, NULL), VLM_OK);
    assert_int_equal(vcore_json_parse(&doc, text.p, text.n, "resolution.json", NULL), VLM_OK);
    const vlm_json *cases = vcore_json_get(vcore_json_root(doc), "cases");
    for (size_t i = 0; i < vcore_json_count(cases); i++) {
        const vlm_json *c = vcore_json_at(cases, i);
        vlm_quantization *q;
        assert_int_equal(vmodel_quantization_new(&q, c, NULL, "config.json", NULL), VLM_OK);
        for (vcore_json_iter it = { 0 }; vcore_json_next(vcore_json_get(c, "answers"), &it);) {
            vcore_str mode;
            int64_t bits, group;
            switch (vcore_json_kind_of(it.value)) {
            case VCORE_JSON_ARRAY:
                assert_true(vcore_json_string(vcore_json_at(it.value, 0), &mode));
                assert_true(vcore_json_int(vcore_json_at(it.value, 1), &bits));
                assert_true(vcore_json_int(vcore_json_at(it.value, 2), &group));
                assert_given(q, it.key.p, mode.p, (int)bits, (int)group);
                given++;
                break;
            case VCORE_JSON_BOOL:
                assert_int_equal(vlm_quantization_find(q, it.key.p, NULL),
                                 VLM_QUANTIZATION_SKIPPED);
                skipped++;
                break;
            default:
                assert_int_equal(vlm_quantization_find(q, it.key.p, NULL),
                                 VLM_QUANTIZATION_UNMENTIONED);
                silent++;
            }
        }
        vlm_quantization_free(q);
    }
    assert_true(given > 50 && skipped > 20 && silent > 50);
    vcore_json_free(doc);
    vcore_free(text.p);
}

static void bad_tables(void **state) {
    (void)state;
#define GOOD "\"group_size\":64,\"bits\":4"
    static const struct {
        const char *quantization;
        vlm_status status;
        const char *field, *says;
    } cases[] = {
        { "7", VLM_ERR_CONFIG, "quantization", "must be an object, is" },
        { "[]", VLM_ERR_CONFIG, "quantization", "must be an object, is" },
        { "{}", VLM_ERR_MISSING_FIELD, "quantization.group_size", "is missing" },
        { "{\"bits\":4}", VLM_ERR_MISSING_FIELD, "quantization.group_size", "is missing" },
        { "{\"group_size\":64}", VLM_ERR_MISSING_FIELD, "quantization.bits", "is missing" },
        { "{\"group_size\":64,\"bits\":null}", VLM_ERR_MISSING_FIELD, "quantization.bits", "is" },
        { "{\"group_size\":64,\"bits\":\"4\"}", VLM_ERR_CONFIG, "quantization.bits", "integer" },
        { "{\"group_size\":64,\"bits\":NaN}", VLM_ERR_CONFIG, "quantization.bits", "integer" },
        { "{\"group_size\":64,\"bits\":-4}", VLM_ERR_CONFIG, "quantization.bits", "integer" },
        { "{\"group_size\":1e308,\"bits\":4}", VLM_ERR_CONFIG, "quantization.group_size", "int" },
        { "{\"group_size\":9223372036854775808,\"bits\":4}", VLM_ERR_CONFIG,
          "quantization.group_size", "integer" },
        { "{\"group_size\":64,\"bits\":7}", VLM_ERR_CONFIG, "quantization",
          "affine of 7 bits in groups of 64 is no quantization" },
        { "{\"group_size\":63,\"bits\":4}", VLM_ERR_CONFIG, "quantization", "groups of 63" },
        { "{\"group_size\":16,\"bits\":4}", VLM_ERR_CONFIG, "quantization", "groups of 16" },
        { "{\"group_size\":64,\"bits\":1}", VLM_ERR_UNSUPPORTED, "quantization", "1 bits" },
        { "{\"group_size\":64,\"bits\":4,\"mode\":\"mxfp4\"}", VLM_ERR_CONFIG, "quantization",
          "mxfp4 of 4 bits in groups of 64" },
        { "{\"group_size\":32,\"bits\":4,\"mode\":\"mxfp8\"}", VLM_ERR_CONFIG, "quantization",
          "mxfp8 of 4 bits" },
        { "{\"group_size\":32,\"bits\":4,\"mode\":\"nvfp4\"}", VLM_ERR_CONFIG, "quantization",
          "nvfp4 of 4 bits in groups of 32" },
        { "{" GOOD ",\"mode\":\"int8\"}", VLM_ERR_UNSUPPORTED, "quantization.mode", "'int8'" },
        { "{" GOOD ",\"mode\":4}", VLM_ERR_CONFIG, "quantization.mode", "must be a string" },
        { "{" GOOD ",\"a.b\":4}", VLM_ERR_CONFIG, "quantization.a.b", "an object, true or false" },
        { "{" GOOD ",\"a.b\":\"x\"}", VLM_ERR_CONFIG, "quantization.a.b", "is a string" },
        { "{" GOOD ",\"a.b\":[]}", VLM_ERR_CONFIG, "quantization.a.b", "is an array" },
        { "{" GOOD ",\"a.b\":{\"bits\":9}}", VLM_ERR_CONFIG, "quantization.a.b", "9 bits" },
        { "{" GOOD ",\"a.b\":{\"bits\":true}}", VLM_ERR_CONFIG, "quantization.a.b.bits", "int" },
        { "{" GOOD ",\"a.b\":{\"mode\":\"fp2\"}}", VLM_ERR_UNSUPPORTED, "quantization.a.b.mode",
          "'fp2'" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char config[512];
        vlm_quantization *q = (void *)&q;
        vlm_error err = VLM_ERROR_INIT;
        snprintf(config, sizeof config, "{\"quantization\":%s}", cases[i].quantization);
        vlm_status status = vlm_quantization_parse(&q, config, strlen(config), &err);
        if (status != cases[i].status || !strstr(err.message, cases[i].says))
            fail_msg("%s: %s: %s", config, vlm_status_name(status), err.message);
        assert_string_equal(err.field, cases[i].field);
        assert_string_equal(err.file, "config.json");
        assert_non_null(strstr(err.message, cases[i].field));
        assert_null(q);
    }
    vlm_error err = VLM_ERROR_INIT;
    vlm_quantization *q = NULL;
    assert_int_equal(vlm_quantization_parse(&q, "[]", 2, &err), VLM_ERR_FORMAT);
    assert_int_equal(vlm_quantization_parse(&q, "{", 1, &err), VLM_ERR_PARSE);
    assert_int_equal(vlm_quantization_parse(&q, NULL, 1, &err), VLM_ERR_ARGUMENT);
    assert_int_equal(vlm_quantization_parse(NULL, "{}", 2, &err), VLM_ERR_ARGUMENT);
}

/* ---- Hugging Face's words -------------------------------------------------------------------- */
static void translated_methods(void **state) {
    (void)state;
#define INT4 "\"weights\":{\"num_bits\":4,\"type\":\"int\",\"symmetric\":true,\"group_size\":128}"
    static const struct {
        const char *config, *method, *mode; /* mode NULL: none of the whole model */
        int bits, group;
    } cases[] = {
        { "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\","
          "\"config_groups\":{\"group_0\":{" INT4 "}}}",
          "compressed-tensors", "affine", 4, 128 },
        { "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\"}",
          "compressed-tensors", "affine", 4, 32 },
        { "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\","
          "\"config_groups\":{\"group_0\":{\"weights\":{\"type\":\"int\",\"num_bits\":8}}}}",
          "compressed-tensors", "affine", 8, 32 },
        { "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"group_0\":{\"format\":"
          "\"nvfp4-pack-quantized\"}}}",
          "compressed-tensors", "nvfp4", 4, 16 },
        { "{\"quant_method\":\"compressed-tensors\",\"format\":\"nvfp4-pack-quantized\"}",
          "compressed-tensors", "nvfp4", 4, 16 },
        { "{\"quant_method\":\"compressed-tensors\",\"format\":\"mxfp4-pack-quantized\"}",
          "compressed-tensors", "mxfp4", 4, 32 },
        { "{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\"}",
          "compressed-tensors", NULL, 0, 0 },
        { "{\"quant_method\":\"compressed-tensors\",\"format\":\"mixed-precision\","
          "\"config_groups\":{\"group_0\":{\"format\":\"float-quantized\"},"
          "\"group_1\":{\"format\":\"pack-quantized\"," INT4 "}}}",
          "compressed-tensors", "affine", 4, 128 },
        { "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":128,\"version\":\"gemm\"}", "awq",
          "affine", 4, 128 },
        { "{\"quant_method\":\"awq\",\"w_bit\":4,\"q_group_size\":64,\"version\":\"GEMM\"}", "awq",
          "affine", 4, 64 },
        { "{\"quant_method\":\"gptq\",\"bits\":8,\"group_size\":32,\"desc_act\":true}", "gptq",
          "affine", 8, 32 },
        { "{\"quant_method\":\"mxfp4\"}", "mxfp4", "mxfp4", 4, 32 },
        { "{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4\"}", "modelopt", "nvfp4", 4, 16 },
        { "{\"quant_method\":\"modelopt_mixed\",\"quant_algo\":\"MIXED_PRECISION\"}", "modelopt",
          "nvfp4", 4, 16 },
    };
    static const char *const places[] = { "{\"quantization_config\":%s}",
                                          "{\"text_config\":{\"quantization_config\":%s}}",
                                          "{\"llm_config\":{\"quantization_config\":%s}}" };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t k = 0; k < 3; k++) {
            char config[600];
            snprintf(config, sizeof config,
                     k == 0   ? places[0]
                     : k == 1 ? places[1]
                              : places[2],
                     cases[i].config);
            vlm_error err = VLM_ERROR_INIT;
            vlm_quantization *q = parse(config);
            if (vlm_quantization_usable(q, &err) < 0) fail_msg("%s", err.message);
            assert_string_equal(vlm_quantization_method(q), cases[i].method);
            vlm_quantization_params p;
            assert_int_equal(vlm_quantization_default(q, &p), cases[i].mode != NULL);
            if (cases[i].mode) assert_params(&p, cases[i].mode, cases[i].bits, cases[i].group);
            vlm_quantization_free(q);
        }
}

static void refused_methods(void **state) {
    (void)state;
#define CT "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\""
#define CT_WEIGHTS(w) CT ",\"config_groups\":{\"group_0\":{\"weights\":{" w "}}}}"
    static const struct {
        const char *config, *field, *says;
    } cases[] = {
        { "{\"quant_method\":\"awq\",\"bits\":4}", "group_size", "32, 64 or 128" },
        { "{\"quant_method\":\"awq\",\"bits\":8,\"group_size\":64}", "bits", "4 bits" },
        { "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":-1}", "group_size", "groups of" },
        { "{\"quant_method\":\"awq\",\"version\":\"gemv\"}", "version", "'gemv'" },
        { "{\"quant_method\":\"gptq\"}", "bits", "2, 4 or 8 bits" },
        { "{\"quant_method\":\"gptq\",\"bits\":3,\"group_size\":64}", "bits", "2, 4 or 8" },
        { "{\"quant_method\":\"gptq\",\"checkpoint_format\":\"marlin\"}", "checkpoint_format",
          "'marlin'" },
        { "{\"quant_method\":\"auto-round\"}", "quant_method", "'auto-round'" },
        { "{\"quant_method\":\"bitsandbytes\"}", "quant_method", "'bitsandbytes'" },
        { "{\"quant_method\":\"fp8\"}", "quant_method", "'fp8'" },
        { "{\"load_in_4bit\":true}", "quant_method", "nothing is not" },
        { "{\"quant_method\":7}", "quant_method", "an integer is not" },
        { "{\"quant_method\":\"modelopt\",\"quant_algo\":\"FP8\"}", "quant_algo", "'FP8'" },
        { "{\"quant_method\":\"compressed-tensors\"}", "format", "nothing" },
        { "{\"quant_method\":\"compressed-tensors\",\"format\":\"marlin-24\"}", "format",
          "'marlin-24'" },
        { CT_WEIGHTS("\"type\":\"float\""), "config_groups.group_0.weights.type", "'float'" },
        { CT_WEIGHTS("\"symmetric\":false"), "config_groups.group_0.weights.symmetric", "zero" },
        { CT_WEIGHTS("\"num_bits\":3"), "config_groups.group_0.weights.num_bits", "2, 4 or 8" },
        { CT_WEIGHTS("\"group_size\":null"), "config_groups.group_0.weights.group_size", "128" },
        { CT_WEIGHTS("\"group_size\":-1"), "config_groups.group_0.weights.group_size", "128" },
        { CT_WEIGHTS("\"actorder\":\"group\""), "config_groups.group_0.weights.actorder", "col" },
        { CT ",\"sparsity_config\":{\"format\":\"sparse-24-bitmask\"}}", "sparsity_config", "sp" },
        { CT ",\"transform_config\":{\"config_groups\":{\"R1\":{}}}}", "transform_config", "rot" },
        { CT ",\"config_groups\":{\"g\":{\"format\":\"x\"}}}", "config_groups.g.format", "'x'" },
        { "{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\","
          "\"config_groups\":{\"g\":{\"weights\":{\"block_structure\":[128,0]}}}}",
          "config_groups.g.weights.block_structure", "two positive" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char config[600], field[200];
        vlm_error err = VLM_ERROR_INIT;
        snprintf(config, sizeof config, "{\"quantization_config\":%s}", cases[i].config);
        snprintf(field, sizeof field, "quantization_config.%s", cases[i].field);
        vlm_quantization *q = parse(config); /* the config can still be read */
        vlm_status status = vlm_quantization_usable(q, &err);
        if (status != VLM_ERR_UNSUPPORTED || !strstr(err.message, cases[i].says))
            fail_msg("%s: %s: %s", config, vlm_status_name(status), err.message);
        assert_string_equal(err.field, field);
        assert_string_equal(err.file, "config.json");
        vlm_quantization_free(q);
    }
    vlm_error err = VLM_ERROR_INIT;
    vlm_quantization *q;
    static const char text[] = "{\"quantization_config\":\"awq\"}";
    assert_int_equal(vlm_quantization_parse(&q, text, sizeof text - 1, &err), VLM_ERR_CONFIG);
    assert_string_equal(err.message,
                        "config.json: quantization_config: must be an object, is a string");
}

static vlm_quantization *with_hf_quant(const char *config, const char *hf_quant) {
    vcore_json_doc *a, *b;
    vlm_quantization *q;
    assert_int_equal(vcore_json_parse(&a, config, strlen(config), "a", NULL), VLM_OK);
    assert_int_equal(vcore_json_parse(&b, hf_quant, strlen(hf_quant), "b", NULL), VLM_OK);
    assert_int_equal(vmodel_quantization_new(&q, vcore_json_root(a), vcore_json_root(b),
                                             "dir/config.json", NULL),
                     VLM_OK);
    vcore_json_free(a);
    vcore_json_free(b);
    return q;
}

static void hf_quant_config(void **state) {
    (void)state;
    static const char nvfp4[] = "{\"quantization\":{\"quant_algo\":\"NVFP4\"}}";
    vlm_quantization *q = with_hf_quant("{}", nvfp4);
    assert_whole(q, "nvfp4", 4, 16);
    assert_string_equal(vlm_quantization_method(q), "modelopt");
    vlm_quantization_free(q);
    q = with_hf_quant("{\"quantization_config\":{\"quant_method\":\"mxfp4\"}}", nvfp4);
    assert_whole(q, "mxfp4", 4, 32); /* what the config says goes first */
    vlm_quantization_free(q);
    assert_null(with_hf_quant("{}", "{\"quantization\":{\"quant_algo\":null}}"));
    assert_null(with_hf_quant("{}", "[]"));
    q = with_hf_quant("{}", "{\"quantization\":{\"quant_algo\":\"FP8\"}}");
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(vlm_quantization_usable(q, &err), VLM_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "hf_quant_config.json: quantization.quant_algo: 'FP8'"));
    vlm_quantization_free(q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_model),
        cmocka_unit_test(nothing_said),
        cmocka_unit_test(per_module),
        cmocka_unit_test(with_and_without_the_prefix),
        cmocka_unit_test(modules_resolve_as_in_mlx_vlm),
        cmocka_unit_test(bad_tables),
        cmocka_unit_test(translated_methods),
        cmocka_unit_test(refused_methods),
        cmocka_unit_test(hf_quant_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
