/* SPDX-License-Identifier: MIT */
#include "support/binding.h"

enum { OUT, IN };

void tbinding_open(tbinding *x, const char *tensors, const char *config, bool inspect) {
    vcore_json_doc *doc;
    *x = (tbinding) { .arena = vcore_arena_new(), .err = VLM_ERROR_INIT };
    assert_int_equal(vcore_json_parse(&doc, config, strlen(config), "config.json", NULL), VLM_OK);
    if (vmodel_quantization_new(&x->quantization, vcore_json_root(doc), NULL, "config.json",
                                &x->err)
        < 0)
        fail_msg("%s", x->err.message);
    vcore_json_free(doc);
    if (vio_tensors_open_file(&x->tensors, tensors, NULL, &x->err) < 0)
        fail_msg("%s", x->err.message);
    const vmodel_build_args args = { .tensors = x->tensors,
                                     .arena = x->arena,
                                     .inspect = inspect,
                                     .quantization = x->quantization };
    assert_int_equal(vmodel_build_new(&x->build, &args, NULL), VLM_OK);
}

void tbinding_close(tbinding *x) {
    vmodel_build_free(x->build);
    vio_tensors_close(x->tensors);
    vcore_arena_free(x->arena);
    vlm_quantization_free(x->quantization);
}

vlm_status tbinding_try(tbinding *x, const char *prefix, const char *name, int64_t out,
                        int64_t in) {
    const int64_t dims[] = { out, in };
    const vlm_weight_row row = { VLM_WEIGHT_MATRIX, name,       offsetof(tbinding, m),
                                 { OUT, IN, -1 },   VLM_ALWAYS, VLM_NEVER };
    const vlm_binding at = { .prefix = prefix, .dims = dims };
    return vlm_bind(x->build, x, &row, 1, &at, &x->err);
}

void tbinding_bind(tbinding *x, const char *prefix, const char *name, int64_t out, int64_t in) {
    if (tbinding_try(x, prefix, name, out, in) < 0) fail_msg("%s", x->err.message);
}
