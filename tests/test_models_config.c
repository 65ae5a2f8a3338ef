/* SPDX-License-Identifier: MIT */
/* Configs of a family with every field wrong in turn: the load fails, in the table's words, naming
 * the key; and with spellings that must be taken. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/dir.h"
#include "vlm/vlm.h"

#define GOLDEN "tests/golden/idefics3-split"


/* Sets a dotted path of an object to a value given as JSON; NULL removes it. */
static void set(json_object *object, const char *path, const char *value) {
    char key[128];
    const char *dot = strchr(path, '.');
    snprintf(key, sizeof key, "%.*s", (int)(dot ? dot - path : (long)strlen(path)), path);
    if (dot) {
        json_object *child;
        if (!json_object_object_get_ex(object, key, &child)) {
            child = json_object_new_object();
            json_object_object_add(object, key, child);
        }
        set(child, dot + 1, value);
    } else if (value) {
        json_object_object_add(object, key, json_tokener_parse(value));
    } else {
        json_object_object_del(object, key);
    }
}

/* Loads the checkpoint with config.json changed by (path, value) pairs ended by NULL. */
static vlm_status load_changed(const char *const *changes, vlm_error *err) {
    json_object *config = json_object_from_file(GOLDEN "/config.json");
    assert_non_null(config);
    for (; changes[0]; changes += 2) set(config, changes[0], changes[1]);
    char *path = tdir_path("config.json");
    assert_int_equal(json_object_to_file(path, config), 0);
    json_object_put(config);
    free(path);
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    options.threads = 1;
    vlm_context *context;
    vlm_status status = vlm_context_load(&context, tdir, &options, err);
    vlm_context_free(context);
    return status;
}

static vlm_status load_with(const char *path, const char *value, vlm_error *err) {
    const char *const changes[] = { path, value, NULL };
    return load_changed(changes, err);
}

static void refused(const char *path, const char *value, vlm_status status, const char *says) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_status got = load_with(path, value, &err);
    if (got != status || !strstr(err.message, says))
        fail_msg("%s = %s: %s: %s", path, value, vlm_status_name(got), err.message);
}

static void numbers(void **state) {
    (void)state;
    static const char *const keys[] = {
        "scale_factor",
        "text_config.vocab_size",
        "text_config.hidden_size",
        "text_config.intermediate_size",
        "text_config.num_hidden_layers",
        "text_config.num_attention_heads",
        "text_config.num_key_value_heads",
        "text_config.head_dim",
        "text_config.rope_theta",
        "vision_config.hidden_size",
        "vision_config.intermediate_size",
        "vision_config.num_hidden_layers",
        "vision_config.num_attention_heads",
        "vision_config.num_channels",
        "vision_config.image_size",
        "vision_config.patch_size",
    };
    static const char *const values[] = { "0",      "-1", "1e300", "9223372036854775807",
                                          "\"64\"", "[]", "{}",    "true" };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        for (size_t k = 0; k < sizeof values / sizeof values[0]; k++)
            refused(keys[i], values[k], VLM_ERR_CONFIG, keys[i]);
    refused("image_token_id", "-1", VLM_ERR_CONFIG, "image_token_id");
    refused("text_config.rms_norm_eps", "NaN", VLM_ERR_CONFIG, "text_config.rms_norm_eps");
    refused("vision_config.layer_norm_eps", "2", VLM_ERR_CONFIG, "vision_config.layer_norm_eps");
    refused("tie_word_embeddings", "1", VLM_ERR_CONFIG, "tie_word_embeddings");
    refused("text_config.hidden_act", "\"tanh\"", VLM_ERR_CONFIG, "text_config.hidden_a");
    refused("vision_config.hidden_act", "3", VLM_ERR_CONFIG, "vision_config.hidden_act");
}

static void relations(void **state) {
    (void)state;
    refused("scale_factor", "3", VLM_ERR_CONFIG, "scale_factor: 3 does not divide the 4 patches");
    refused("text_config.num_key_value_heads", "3", VLM_ERR_CONFIG, "num_attention_heads: 4");
    refused("text_config.head_dim", "15", VLM_ERR_CONFIG, "head_dim: must be even");
    const char *const heads[] = { "text_config.head_dim",
                                  NULL,
                                  "text_config.num_attention_heads",
                                  "5",
                                  "text_config.num_key_value_heads",
                                  "5",
                                  NULL };
    vlm_error err = VLM_ERROR_INIT;
    assert_int_equal(load_changed(heads, &err), VLM_ERR_CONFIG);
    assert_non_null(strstr(err.message, "hidden_size: 64 is no multiple"));
    refused("vision_config.num_attention_heads", "5", VLM_ERR_CONFIG,
            "hidden_size: 48 is no multiple");
    refused("vision_config.patch_size", "65", VLM_ERR_CONFIG, "patch_size: 65 exceeds");
    refused("vision_config", "[1]", VLM_ERR_CONFIG, "vision_config: must be an object");
    refused("text_config", "7", VLM_ERR_CONFIG, "text_config");
    refused("text_config.layer_types", "[\"full_attention\"]", VLM_ERR_CONFIG,
            "layer_types: 1 entries");
    refused("text_config.layer_types",
            "[\"full_attention\", \"full_attention\", \"linear_attention\"]", VLM_ERR_UNSUPPORTED,
            "'linear_attention'");
}

static void types(void **state) {
    (void)state;
    refused("text_config.model_type", "\"rwkv\"", VLM_ERR_UNSUPPORTED, "'rwkv'");
    refused("text_config.model_type", "5", VLM_ERR_CONFIG,
            "text_config.model_type: must be a string");
    refused("vision_config.model_type", "\"resnet\"", VLM_ERR_UNSUPPORTED, "'resnet'");
    refused("text_config.rope_scaling", "{\"rope_type\": \"longrope\", \"factor\": 2}",
            VLM_ERR_UNSUPPORTED, "'longrope'");
    refused("text_config.rope_scaling", "{\"type\": \"llama3\", \"factor\": 8}", VLM_ERR_MISSING_FIELD,
            "low_freq_factor: is missing");
    refused("text_config.rope_parameters", "{\"partial_rotary_factor\": 0.5}", VLM_ERR_UNSUPPORTED,
            "partial_rotary_factor");
}

/* A config that no longer fits the weights names the tensor and both shapes. */
static void weights(void **state) {
    (void)state;
    refused("text_config.vocab_size", "545", VLM_ERR_WEIGHTS, "shape [544, 64]");
    refused("text_config.hidden_size", "32", VLM_ERR_WEIGHTS, "embed_tokens.weight");
    refused("text_config.num_hidden_layers", "4", VLM_ERR_WEIGHTS, "layers.3.");
    refused("text_config.num_hidden_layers", "2", VLM_ERR_WEIGHTS, "not named by any part of the model");
    refused("text_config.attention_bias", "true", VLM_ERR_WEIGHTS, "q_proj.bias'");
    refused("vision_config.image_size", "96", VLM_ERR_WEIGHTS, "position_embedding.weight");
    refused("vision_config.patch_size", "8", VLM_ERR_WEIGHTS, "embeddings.p");
    refused("text_config.model_type", "\"qwen2\"", VLM_ERR_WEIGHTS, "q_proj.bias'");
}

static void accepted(void **state) {
    (void)state;
    static const char *const changes[][7] = {
        { "model_type", "\"smolvlm\"", NULL },
        { "text_config.model_type", NULL, NULL },
        { "vision_config.model_type", NULL, NULL },
        { "vision_config.model_type", "\"smolvlm_vision\"", NULL },
        { "text_config.head_dim", NULL, NULL },
        { "text_config.head_dim", "null", NULL },
        { "text_config.rope_theta", NULL, "text_config.rope_parameters",
          "{\"rope_type\": \"default\", \"rope_theta\": 100000.0}", NULL },
        { "text_config.rope_scaling",
          "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, "
          "\"high_freq_factor\": 4,"
          " \"original_max_position_embeddings\": 64}",
          NULL },
        { "tie_word_embeddings", "true", NULL },
        { "tie_word_embeddings", NULL, "text_config.tie_word_embeddings", "false", NULL },
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        vlm_error err = VLM_ERROR_INIT;
        if (load_changed(changes[i], &err) < 0) fail_msg("%s: %s", changes[i][0], err.message);
    }
}

static int make(void **state) {
    *state = GOLDEN;
    return tdir_make(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers), cmocka_unit_test(relations), cmocka_unit_test(types),
        cmocka_unit_test(weights), cmocka_unit_test(accepted),
    };
    return cmocka_run_group_tests(tests, make, tdir_remove);
}
