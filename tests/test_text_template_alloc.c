/* SPDX-License-Identifier: MIT */
/* Out of memory at every allocation of parsing and rendering a chat template: an error, nothing
 * handed out, nothing leaked (the address sanitizer watches). */
#include "support/alloc.h"
#include "support/cm.h"

#include "text/text.h"

static const char source[] =
    "{% macro m(a, b='x') %}{{ a ~ b }}{{ kwargs }}{{ varargs }}{% endmacro %}"
    "{% set ns = namespace(t='') %}{% set d = dict(k=[1, 2.5], **{'z': none}) %}"
    "{% for m_ in messages if m_.role != 'x' %}{% set ns.t = ns.t + m_.content | upper %}"
    "{{ loop.length }}{{ m_ | tojson(indent=2) }}{{ m_.content.split('a') | join('-') }}{% endfor "
    "%}"
    "{% filter replace('a', 'b') %}{{ m(ns.t, 'q', 'r', w=1) }}{% endfilter %}"
    "{% set t %}{{ '%s %5d' | format(d, 7) }}{% endset %}{{ t ~ '{:>4}'.format(1) }}{{ "
    "undefined_name }}"
    "{{ [3, 1, 2] | sort | map('string') | list }}{{ d.items() | list }}{{ 'a' 'b' ~ range(20) | "
    "list }}"
    "{{ messages | groupby('role') | map(attribute='grouper') | join }}{{ strftime_now('%Y') }}";
static const char variables[] =
    "{\"_now\":0,\"messages\":[{\"role\":\"user\",\"content\":\"caf\xC3\xA9 <a>\"},"
    "{\"role\":\"assistant\",\"content\":\"yes\",\"more\":{\"a\":1,\"b\":[true,null,1.5]}}]}";

static void parsing(void **state) {
    vlm_status status = VLM_ERR_MEMORY;
    (void)state;
    for (long k = 1; status != VLM_OK; k++) {
        vlm_error err = VLM_ERROR_INIT;
        vtext_template *t;
        talloc_start(k);
        status = vtext_template_parse(&t, source, sizeof source - 1, "t", &err);
        talloc_stop();
        assert_int_equal(status == VLM_OK, t != NULL);
        assert_int_equal(status, err.code);
        if (status != VLM_OK) assert_int_equal(status, VLM_ERR_MEMORY);
        vtext_template_free(t);
    }
}

static void rendering(void **state) {
    vlm_status status = VLM_ERR_MEMORY;
    vtext_template *t;
    vtext_rendered expected, r;
    (void)state;
    assert_int_equal(vtext_template_parse(&t, source, sizeof source - 1, "t", NULL), VLM_OK);
    assert_int_equal(
        vtext_template_render(t, variables, sizeof variables - 1, NULL, &expected, NULL), VLM_OK);
    for (long k = 1; status != VLM_OK; k++) {
        vlm_error err = VLM_ERROR_INIT;
        talloc_start(k);
        status = vtext_template_render(t, variables, sizeof variables - 1, NULL, &r, &err);
        talloc_stop();
        assert_int_equal(status, err.code);
        if (status == VLM_OK) break;
        assert_int_equal(status, VLM_ERR_MEMORY);
        assert_null(r.text);
        assert_null(r.spans);
    }
    assert_string_equal(r.text, expected.text);
    vtext_rendered_free(&r);
    vtext_rendered_free(&expected);
    vtext_template_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parsing),
        cmocka_unit_test(rendering),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
