/* SPDX-License-Identifier: MIT */
/**
 * @file measure.h
 * @brief What `vlm bench` takes to measure a checkpoint: prompts without words, work counted by a dry run,
 * single parts of a pass.
 *
 * Version-locked, without an ABI promise, as vlm/extend.h is. Nothing here gives an answer
 * worth reading.
 */
#ifndef VLM_MEASURE_H
#define VLM_MEASURE_H

#include "vlm/vlm.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A prompt of n ids drawn from the vocabulary, the same every time: no template, no media, no special token.
 * @param out owned */
VLM_API vlm_status vlm_prepared_draw(vlm_prepared **out, const vlm_context *context, size_t n,
                                     vlm_error *err);

/** What a pass computes and reads. Counted where the operations are, on shapes alone. */
typedef struct vlm_work {
    uint64_t linear;       /**< operations of linear layers (a multiply-add is two) */
    uint64_t attention;    /**< of attention: scores and sums over the keys that each row sees */
    uint64_t weight_bytes; /**< read of the checkpoint's tensors: all of a matrix whenever it is used; of embeddings,
                                in a step, the rows of its tokens, in a prompt nothing */
    uint64_t kv_bytes;     /**< read of the state of earlier tokens and this pass's own, once per layer and use */
} vlm_work;
/** Of reading a prompt in a fresh session: of its tower (zeros when there are no media), and of its decoder, in the
 * session's prefill steps. @param session NULL: defaults */
VLM_API vlm_status vlm_prepared_work(vlm_work *vision, vlm_work *prefill, const vlm_context *context,
                                     const vlm_prepared *prepared, const vlm_session_options *session,
                                     vlm_error *err);
/** Of one step of `batch` sessions together that hold `past` tokens each. @param batch 1 to 32
 * @param session NULL: defaults */
VLM_API vlm_status vlm_context_work(vlm_work *step, const vlm_context *context, size_t past, size_t batch,
                                    const vlm_session_options *session, vlm_error *err);

/** Runs the tower over a prepared input's media and forgets what it gave. */
VLM_API vlm_status vlm_session_see(vlm_session *session, const vlm_prepared *prepared, vlm_error *err);
/** Brings a session to a state as if a prompt of n tokens had been read, without reading any: a new turn begins, over
 * keys, values and logits that mean nothing. */
VLM_API vlm_status vlm_session_assume(vlm_session *session, size_t n, vlm_error *err);

#ifdef __cplusplus
}
#endif
#endif
