/* SPDX-License-Identifier: MIT */
/* Config tables: values, alternatives, fallbacks, and the one line that says what is wrong. */
#include "support/cm.h"

#include "io/io.h"
#include "vlm/extend/config.h"

typedef struct config {
    int64_t hidden;
    int64_t kept;
    int64_t theta_int;
    float eps;
    bool tied;
    int act;
    vlm_ints stops;
} config;

enum { ACT_SILU = 3, ACT_GELU = 5 };
static const vlm_name acts[] = {
    { "silu", ACT_SILU }, { "gelu", ACT_GELU }, { "swish", ACT_SILU }, { NULL, 0 }
};
static const vlm_config_field fields[] = {
    VLM_INT(config, hidden, "hidden_size|n_embd|dims.hidden", 1, 65536, VLM_REQUIRED),
    VLM_INT(config, kept, "kept", 0, 10, VLM_KEEP),
    VLM_INT(config, theta_int, "rope.theta|rope_theta", 1, 1e9, 10000),
    VLM_REAL(config, eps, "eps", 0, 1, 1e-6),
    VLM_BOOL(config, tied, "tied", true),
    VLM_NAME(config, act, "act", acts, ACT_GELU),
    VLM_INTS(config, stops, "stops", 0, 1000),
};

static vlm_error err;

static vlm_status read_text(config *c, const char *text, const char *path, const char *where) {
    vcore_json_doc *doc;
    assert_int_equal(vcore_json_parse(&doc, text, strlen(text), "config.json", &err), VLM_OK);
    err = (vlm_error)VLM_ERROR_INIT;
    *c = (config) { .kept = 7 };
    const vlm_json *object =
        path ? vlm_json_find(vcore_json_root(doc), path) : vcore_json_root(doc);
    vlm_status status =
        vlm_config_read(c, object, where, fields, sizeof fields / sizeof fields[0], &err);
    vcore_json_free(doc);
    return status;
}

static void reads_every_type(void **state) {
    (void)state;
    config c;
    assert_int_equal(
        read_text(&c,
                  "{\"hidden_size\":64,\"kept\":2,\"rope\":{\"theta\":5e5},\"eps\":1e-5,"
                  "\"tied\":false,\"act\":\"swish\",\"stops\":[2,0,1000],\"other\":{}}",
                  NULL, "config.json"),
        VLM_OK);
    assert_int_equal(c.hidden, 64);
    assert_int_equal(c.kept, 2);
    assert_int_equal(c.theta_int, 500000);
    assert_true(c.eps == 1e-5f);
    assert_false(c.tied);
    assert_int_equal(c.act, ACT_SILU);
    assert_int_equal(c.stops.n, 3);
    assert_int_equal(c.stops.at[0], 2);
    assert_int_equal(c.stops.at[2], 1000);
    assert_int_equal(read_text(&c, "{\"hidden_size\":1,\"stops\":9}", NULL, "config.json"), VLM_OK);
    assert_int_equal(c.stops.n, 1); /* alone: a list of one */
    assert_int_equal(c.stops.at[0], 9);
}

static void fallbacks_and_alternatives(void **state) {
    (void)state;
    config c;
    assert_int_equal(
        read_text(&c,
                  "{\"dims\":{\"hidden\":8},\"hidden_size\":null,\"rope\":null,\"rope_theta\":20,"
                  "\"tied\":null,\"stops\":[]}",
                  NULL, "config.json"),
        VLM_OK);
    assert_int_equal(c.hidden, 8); /* null counts as absent */
    assert_int_equal(c.kept, 7);
    assert_int_equal(c.theta_int, 20);
    assert_true(c.eps == 1e-6f);
    assert_true(c.tied);
    assert_int_equal(c.act, ACT_GELU);
    assert_int_equal(c.stops.n, 0);
    assert_int_equal(read_text(&c, "{\"n_embd\":4,\"dims\":{\"hidden\":8}}", NULL, "config.json"),
                     VLM_OK);
    assert_int_equal(c.hidden, 4); /* the first found wins */
    assert_int_equal(c.theta_int, 10000);
}

static void one_line_says_what_is_wrong(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "{}", "config.json: hidden_size: is missing" },
        { "[]", "config.json: must be an object, is an array" },
        { "{\"hidden_size\":0}",
          "config.json: hidden_size: must be an integer in [1, 65536], is 0" },
        { "{\"hidden_size\":65537}",
          "config.json: hidden_size: must be an integer in [1, 65536], is 65537" },
        { "{\"n_embd\":\"x\"}", "config.json: n_embd: must be an integer in [1, 65536], is \"x\"" },
        { "{\"dims\":{\"hidden\":-1}}",
          "config.json: dims.hidden: must be an integer in [1, 65536], is -1" },
        { "{\"hidden_size\":1.5}",
          "config.json: hidden_size: must be an integer in [1, 65536], is 1.5" },
        { "{\"hidden_size\":true}",
          "config.json: hidden_size: must be an integer in [1, 65536], is true" },
        { "{\"hidden_size\":NaN}",
          "config.json: hidden_size: must be an integer in [1, 65536], is nan" },
        { "{\"hidden_size\":1e300}", "config.json: hidden_size: must be an integer in [1, 65536], "
                                     "is 1.0000000000000001e+300" },
        { "{\"hidden_size\":1,\"rope\":3,\"rope_theta\":20}",
          "config.json: rope: must be an object, is 3" },
        { "{\"dims\":[8]}", "config.json: dims: must be an object, is an array" },
        { "{\"hidden_size\":1,\"rope_theta\":{}}",
          "config.json: rope_theta: must be an integer in [1, 1000000000], is an object" },
        { "{\"hidden_size\":1,\"eps\":NaN}",
          "config.json: eps: must be a number in [0, 1], is nan" },
        { "{\"hidden_size\":1,\"eps\":-Infinity}",
          "config.json: eps: must be a number in [0, 1], is -inf" },
        { "{\"hidden_size\":1,\"eps\":\"1e-5\"}",
          "config.json: eps: must be a number in [0, 1], is \"1e-5\"" },
        { "{\"hidden_size\":1,\"tied\":1}", "config.json: tied: must be true or false, is 1" },
        { "{\"hidden_size\":1,\"act\":\"relu\"}",
          "config.json: act: must be one of silu, gelu, swish, is \"relu\"" },
        { "{\"hidden_size\":1,\"act\":4}",
          "config.json: act: must be one of silu, gelu, swish, is 4" },
        { "{\"hidden_size\":1,\"act\":\"silu\\u0000\"}",
          "config.json: act: must be one of silu, gelu, swish, is \"silu\"" },
        { "{\"hidden_size\":1,\"stops\":[1,1001]}",
          "config.json: stops[1]: must be an integer in [0, 1000], is 1001" },
        { "{\"hidden_size\":1,\"stops\":[null]}",
          "config.json: stops[0]: must be an integer in [0, 1000], is null" },
        { "{\"hidden_size\":1,\"stops\":\"\"}",
          "config.json: stops: must be an integer in [0, 1000], is \"\"" },
        { "{\"hidden_size\":\"0123456789012345678901234567890123456789\\n1\"}",
          "config.json: hidden_size: must be an integer in [1, 65536], is "
          "\"0123456789012345678901234567890123456789\"..." },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        config c;
        bool missing = strstr(cases[i].message, "is missing") != NULL;
        assert_int_equal(read_text(&c, cases[i].text, NULL, "config.json"),
                         missing ? VLM_ERR_MISSING_FIELD : VLM_ERR_CONFIG);
        assert_string_equal(err.message, cases[i].message);
        assert_string_equal(err.file, "config.json");
        const char *field = cases[i].message + strlen("config.json: ");
        assert_int_equal(strlen(err.field), strchr(field, ':') ? strcspn(field, ":") : 0);
        assert_memory_equal(err.field, field, strlen(err.field));
    }
}

static void nested_objects(void **state) {
    (void)state;
    config c;
    assert_int_equal(read_text(&c, "{\"text_config\":{\"hidden_size\":0}}", "text_config",
                               "config.json: text_config"),
                     VLM_ERR_CONFIG);
    assert_string_equal(
        err.message,
        "config.json: text_config.hidden_size: must be an integer in [1, 65536], is 0");
    assert_int_equal(
        read_text(&c, "{\"text_config\":5}", "text_config", "config.json: text_config"),
        VLM_ERR_CONFIG);
    assert_string_equal(err.message, "config.json: text_config: must be an object, is an integer");
    assert_string_equal(err.field, "text_config");
    assert_int_equal(read_text(&c, "{}", "text_config", "config.json: text_config"),
                     VLM_ERR_MISSING_FIELD);
    assert_string_equal(err.field, "text_config.hidden_size");
    assert_string_equal(err.message, "config.json: text_config.hidden_size: is missing");
    assert_null(vlm_json_find(NULL, "a.b"));
}

static void long_lists(void **state) {
    (void)state;
    vcore_buf b = { 0 };
    config c;
    vcore_buf_puts(&b, "{\"hidden_size\":1,\"stops\":[1");
    for (int i = 1; i < VLM_MAX_INTS; i++) vcore_buf_puts(&b, ",1");
    size_t n = b.n;
    vcore_buf_puts(&b, "]}");
    assert_int_equal(read_text(&c, b.p, NULL, "config.json"), VLM_OK);
    assert_int_equal(c.stops.n, VLM_MAX_INTS);
    b.n = n;
    vcore_buf_puts(&b, ",1]}");
    assert_int_equal(read_text(&c, b.p, NULL, "config.json"), VLM_ERR_LIMIT);
    assert_string_equal(err.message, "config.json: stops: more than 128 entries");
    assert_int_equal(err.limit, 128);
    vcore_buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_type),
        cmocka_unit_test(fallbacks_and_alternatives),
        cmocka_unit_test(one_line_says_what_is_wrong),
        cmocka_unit_test(nested_objects),
        cmocka_unit_test(long_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
