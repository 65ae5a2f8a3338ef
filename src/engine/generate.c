/* SPDX-License-Identifier: MIT */
/* One answer in one call, for programs that need no stream. */
#include "engine/engine.h"

static vlm_status answer(vcore_buf *text, vlm_session *session, const vlm_prepared *prepared,
                         vlm_error *err) {
    VTRY(vlm_session_feed(session, prepared, err));
    for (;;) {
        vlm_piece piece;
        vlm_status status = vlm_session_next(session, &piece, err);
        VTRY(status);
        vcore_buf_add(text, piece.text, piece.bytes);
        if (status == VLM_DONE) return text->failed ? vcore_no_memory(err, "answer") : VLM_OK;
    }
}

vlm_status vlm_generate(char **text, const vlm_context *context, const vlm_input *input,
                        const vlm_session_options *options, vlm_error *err) {
    if (!text) return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_generate: a null argument");
    *text = NULL;
    vlm_prepared *prepared;
    VTRY(vlm_prepare(&prepared, context, input, err));
    vlm_session *session = NULL;
    vcore_buf collected = { 0 };
    vlm_status status = vlm_session_new(&session, context, options, err);
    if (status >= 0) status = answer(&collected, session, prepared, err);
    if (status >= 0) {
        *text = vcore_buf_take(&collected);
        if (!*text) status = vcore_no_memory(err, "answer");
    }
    vcore_buf_free(&collected);
    vlm_session_free(session);
    vlm_prepared_free(prepared);
    return status;
}
