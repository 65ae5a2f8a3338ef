/* SPDX-License-Identifier: MIT */
/* Tokens that a processor class adds to a tokenizer which lacks them: AutoProcessor's ids
 * (tools/golden/processor_tokens.py), and an id behind the embedding table as input. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "support/cm.h"
#include "support/parity.h"
#include "text/tokenizer/tok.h"

static vlm_error err;

static vlm_tokenizer *load(const vcore_json *of, const vlm_processor_type *type) {
    vtext_folder folder;
    vcore_buf json = { 0 };
    vlm_tokenizer *t;
    assert_non_null(type);
    assert_int_equal(vtext_folder_open(&folder, "nowhere", NULL, &err), VLM_OK);
    vtext_folder_give(&folder, VTEXT_TOKENIZER_CONFIG, vcore_json_get(of, "config"));
    folder.extra = type->extra_tokens;
    folder.n_extra = type->n_extra_tokens;
    vcore_json_put(&json, NULL, vcore_json_get(of, "tokenizer"));
    if (vtext_tokenizer_load_file(&t, &folder, "tokenizer.json", (vcore_str) { json.p, json.n }, (vcore_str) { 0 },
                                  &err)
        != VLM_OK)
        fail_msg("%s", err.message);
    vtext_folder_close(&folder);
    vcore_buf_free(&json);
    return t;
}

static void same_ids(const vlm_tokenizer *t, const vcore_json *text, const vcore_json *ids) {
    vcore_str s;
    vlm_tokens got;
    assert_true(vcore_json_string(text, &s));
    assert_int_equal(vlm_tokenizer_encode(&got, t, s.p, s.n, 0, &err), VLM_OK);
    if (got.count != vcore_json_count(ids)) fail_msg("'%s': %zu tokens, not %zu", s.p, got.count, vcore_json_count(ids));
    for (size_t i = 0; i < got.count; i++) {
        int64_t id = -1;
        assert_true(vcore_json_int(vcore_json_at(ids, i), &id));
        if (got.ids[i] != id) fail_msg("'%s': token %zu is %u, not %lld", s.p, i, got.ids[i], (long long)id);
    }
    vlm_tokens_free(&got);
}

static void ids_are_those_of_auto_processor(void **state) {
    (void)state;
    vcore_json_doc *doc;
    const vio_source from = vio_source_of(NULL);
    if (vio_read_json(&doc, NULL, "tests/data/tokenizers/processors.json", 1u << 20, &from, &err) != VLM_OK)
        fail_msg("%s", err.message);
    const vcore_json *cases = vcore_json_root(doc);
    assert_true(vcore_json_count(cases) >= 7);
    for (size_t i = 0; i < vcore_json_count(cases); i++) {
        const vcore_json *of = vcore_json_at(cases, i), *texts = vcore_json_get(of, "texts");
        vcore_str class;
        int64_t size;
        assert_true(vcore_json_string(vcore_json_get(of, "processor"), &class));
        assert_true(vcore_json_int(vcore_json_get(of, "size"), &size));
        vlm_tokenizer *t = load(of, vlm_processor_registry_find(vlm_processor_registry_default(), class.p));
        assert_int_equal(t->vocab_size, size);
        for (size_t k = 0; k < vcore_json_count(texts); k++)
            same_ids(t, vcore_json_at(texts, k), vcore_json_at(vcore_json_get(of, "ids"), k));
        vlm_tokenizer_free(t);
    }
    vcore_json_free(doc);
}

/* The checkpoint has embeddings for a few tokens more than its tokenizer.json; <loc1000> is none of them. */
static void an_id_behind_the_table_is_refused(void **state) {
    (void)state;
    tparity p;
    vlm_session *s;
    vlm_tokens loc;
    tparity_open(&p, "tests/golden/paligemma-gemma", NULL, VLM_PRECISION_F32, 1);
    uint32_t rows = vlm_context_get_info(p.context)->vocab_size;
    assert_int_equal(vlm_tokenizer_encode(&loc, p.context->tokenizer, "<loc1000>", 9, VLM_ENCODE_PLAIN, &err), VLM_OK);
    assert_int_equal(loc.count, 1);
    assert_true(loc.ids[0] >= rows);
    vlm_session_options options = VLM_SESSION_OPTIONS_INIT;
    assert_int_equal(vlm_session_new(&s, p.context, &options, &err), VLM_OK);
    vlm_prepared *prepared = tparity_prepare(&p, tgolden_case_named(p.golden, "landscape"));
    size_t n;
    const uint32_t *ids = vlm_prepared_ids(prepared, &n);
    uint32_t *all = malloc(n * sizeof *all);
    memcpy(all, ids, n * sizeof *all);
    all[n - 2] = loc.ids[0];
    assert_int_equal(vmodel_prepared_set_ids(prepared, all, n, NULL), VLM_OK);
    assert_int_equal(vlm_session_feed(s, prepared, &err), VLM_ERR_PROCESSING);
    char want[120];
    snprintf(want, sizeof want, "the prompt's token %zu has id %u, but the model has embeddings for %u", n - 2,
             loc.ids[0], rows);
    assert_string_equal(err.message, want);
    all[n - 2] = all[n - 1];
    assert_int_equal(vmodel_prepared_set_ids(prepared, all, n, NULL), VLM_OK);
    assert_int_equal(vlm_session_feed(s, prepared, &err), VLM_OK); /* the session is as before */
    free(all);
    vlm_prepared_free(prepared);
    vlm_session_free(s);
    vlm_tokens_free(&loc);
    tparity_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(ids_are_those_of_auto_processor),
                                        cmocka_unit_test(an_id_behind_the_table_is_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
