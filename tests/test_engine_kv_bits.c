/* SPDX-License-Identifier: MIT */
/* Sessions with quantized keys and values over a tiny checkpoint of each family: how far their logits are
 * from unquantized ones, what they take, chunked against whole, synced against fed, together against alone. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/session/session.h"
#include "support/families.h"
#include "support/cm.h"
#include "support/parity.h"

static vlm_session *session_with(const tparity *p, uint32_t kv_bits, uint32_t prefill_step) {
    vlm_session *s;
    vlm_error err = VLM_ERROR_INIT;
    vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
    o.max_tokens = 6;
    o.ignore_eos = true;
    o.kv_bits = kv_bits;
    o.prefill_step = prefill_step;
    if (vlm_session_new(&s, p->context, &o, &err) < 0) fail_msg("%s", err.message);
    return s;
}

static vlm_session *fed(const tparity *p, uint32_t kv_bits, uint32_t prefill_step,
                        const vlm_prepared *prepared) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_session *s = session_with(p, kv_bits, prefill_step);
    if (vlm_session_feed(s, prepared, &err) < 0) fail_msg("feed: %s", err.message);
    return s;
}

static double apart(const tparity *p, const vlm_session *a, const vlm_session *b) {
    size_t vocab = vlm_context_get_info(p->context)->vocab_size;
    return tgolden_relative(vengine_session_logits(a), vengine_session_logits(b), vocab);
}

static uint64_t bytes_of(const vlm_session *s) {
    vlm_session_stats stats;
    vlm_session_get_stats(s, &stats);
    return stats.kv_bytes;
}

/* The bounds are what these checkpoints of random weights reach, and a half more. Gemma 3's queries and keys are long, of
 * which 16 bits lose more. */
typedef struct bounds {
    double most[3]; /* of 16, 8 and 4 bits */
} bounds;
static const bounds usual = { { 1e-2, 2e-2, 0.3 } }, gemma3 = { { 2.3e-2, 2.6e-2, 0.3 } };

static void fewer_bits_are_near(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    vlm_prepared *prepared = tparity_prepare(&p, tgolden_case_named(p.golden, "landscape"));
    static const uint32_t bits[] = { 16, 8, 4 };
    const double *most = strstr(*state, "gemma3") ? gemma3.most : usual.most;
    vlm_session *whole = fed(&p, 0, 0, prepared);
    uint64_t before = bytes_of(whole);
    for (int i = 0; i < 3; i++) {
        vlm_session *s = fed(&p, bits[i], 0, prepared);
        double error = apart(&p, s, whole);
        if (!(error <= most[i])) fail_msg("%u bits: relative error %.3g", bits[i], error);
        assert_true(error > 0);
        assert_true(bytes_of(s) < before);
        before = bytes_of(s);
        vlm_session_free(s);
    }
    vlm_session_free(whole);
    vlm_prepared_free(prepared);
    tparity_close(&p);
}

static void agree(const tparity *p, const vlm_session *a, const vlm_session *b, double most) {
    double error = apart(p, a, b);
    if (!(error <= most)) fail_msg("relative error %.3g > %.3g", error, most);
}

/* Steps change the last bits of a key, and with them, seldom, its code. */
static void steps_and_syncs_agree(void **state) {
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_F32, 2);
    vlm_prepared *prepared = tparity_prepare(&p, tgolden_case_named(p.golden, "landscape"));
    for (uint32_t bits = 4; bits <= 8; bits += 4) {
        double most = bits == 8 ? 2e-3 : 4e-2;
        vlm_session *whole = fed(&p, bits, 0, prepared), *chunked = fed(&p, bits, 7, prepared);
        agree(&p, chunked, whole, most);
        vlm_session_reset(chunked);
        assert_int_equal(vlm_session_sync(chunked, prepared, NULL), VLM_OK);
        agree(&p, chunked, whole, most);
        assert_int_equal(vlm_session_sync(chunked, prepared, NULL), VLM_OK); /* one row behind the rest */
        agree(&p, chunked, whole, most);
        vlm_session_free(chunked);
        vlm_session_free(whole);
    }
    vlm_prepared_free(prepared);
    tparity_close(&p);
}

/* Sessions of different states advance in one pass as they do alone. */
static void together_as_alone(void **state) {
    enum { N = 3, TOKENS = 5 };
    static const uint32_t bits[N] = { 8, 0, 4 };
    tparity p;
    tparity_open(&p, *state, NULL, VLM_PRECISION_AUTO, 2);
    vlm_prepared *prepared = tparity_prepare(&p, tgolden_case_named(p.golden, "landscape"));
    vlm_session *together[N];
    uint32_t want[N][TOKENS];
    for (int i = 0; i < N; i++) {
        vlm_session *alone = fed(&p, bits[i], 0, prepared);
        assert_int_equal(tparity_generate(alone, want[i], TOKENS), TOKENS);
        vlm_session_free(alone);
        together[i] = fed(&p, bits[i], 0, prepared);
    }
    for (int t = 0; t < TOKENS; t++) {
        vlm_piece pieces[N];
        vlm_status statuses[N];
        assert_int_equal(vlm_sessions_next(together, pieces, statuses, N, NULL), VLM_OK);
        for (int i = 0; i < N; i++) {
            assert_int_equal(statuses[i], VLM_OK);
            assert_int_equal(pieces[i].token, want[i][t]);
        }
    }
    for (int i = 0; i < N; i++) vlm_session_free(together[i]);
    vlm_prepared_free(prepared);
    tparity_close(&p);
}

static void other_widths_are_refused(void **state) {
    tparity p;
    vlm_error err = VLM_ERROR_INIT;
    tparity_open(&p, *state, NULL, VLM_PRECISION_AUTO, 1);
    static const uint32_t bad[] = { 1, 5, 32, UINT32_MAX };
    for (int i = 0; i < 4; i++) {
        vlm_session_options o = VLM_SESSION_OPTIONS_INIT;
        vlm_session *s;
        o.kv_bits = bad[i];
        assert_int_equal(vlm_session_new(&s, p.context, &o, &err), VLM_ERR_ARGUMENT);
        assert_null(s);
        assert_non_null(strstr(err.message, "kv_bits"));
    }
    tparity_close(&p);
}

int main(void) {
    static const tcheck checks[] = {
        { "fewer bits are near", fewer_bits_are_near },
        { "steps and syncs agree", steps_and_syncs_agree },
        { "together as alone", together_as_alone },
        { "other widths are refused", other_widths_are_refused },
    };
    return tfamilies_run("kv bits", checks, sizeof checks / sizeof checks[0]);
}
