/* SPDX-License-Identifier: MIT */
/* Inside sessions: the timeline's struct and its parts: state, sampling, thinking, stop strings. */
#ifndef VLM_ENGINE_SESSION_H
#define VLM_ENGINE_SESSION_H

#include "engine/engine.h"

/* ---- state (state.c) -------------------------------------------------------------------------------------------------- */
/* Bytes of the state of all layers for so many tokens. kv_bits: as in vlm_session_options. */
vlm_status vengine_state_bytes(size_t *out, const vlm_context *c, uint32_t kv_bits, size_t capacity, vlm_error *err);
/* Lays kv [layers] out in such memory, layer by layer. NULL: shapes only. */
void vengine_state_place(vlm_kv *kv, const vlm_context *c, uint32_t kv_bits, size_t capacity, void *memory);

/* Whether a timeline whose state was written for `length` tokens, those that it went back over included, can go on behind the first `keep` of them: short
 * convolutions remember no more than the last few. */
bool vengine_state_reaches(const vlm_context *c, size_t length, size_t keep);

/* Sessions advanced in one pass; the arrays of a pass stand on the stack. */
enum { VENGINE_BATCH = 32 };

/* ---- sessions (session.c) -------------------------------------------------------------------------------------------- */
/* The options with their defaults in place; given: NULL for all defaults. */
vlm_status vengine_session_options(vlm_session_options *out, const vlm_session_options *given, vlm_error *err);
/* Tokens that the state of a session holds whose first prompt has n. */
size_t vengine_session_capacity(const vlm_session_options *options, size_t n);
/* Logits behind the last stored token, [vocab]; for tests. Sampling may have changed them. */
const float *vengine_session_logits(const vlm_session *s);
/* Most memory that its passes held for temporaries; for tests. */
size_t vengine_session_temporaries(const vlm_session *s);

/* ---- sampling (sampler.c) ------------------------------------------------------------------------------------------ */
typedef struct vengine_sampler vengine_sampler;
vlm_status vengine_sampler_new(vengine_sampler **out, const vlm_sampling *how, uint32_t vocab,
                               vlm_error *err);
/* Chooses from logits [vocab], which it may change; history: all tokens so far. */
uint32_t vengine_sampler_next(vengine_sampler *s, float *logits, const uint32_t *history, size_t n);
/* Whether the next token is simply that of the largest logit. */
bool vengine_sampler_is_greedy(const vengine_sampler *s);
void vengine_sampler_free(vengine_sampler *s);

/* ---- thinking (thinking.c) --------------------------------------------------------------------------------------------
 * As mlx-vlm's budget: once more than `budget` tokens follow a start, a line end and the end marker are forced. */
enum { VENGINE_MARKER = 8 }; /* most tokens of a marker */
typedef struct vengine_thinking {
    uint32_t budget; /* 0: none */
    uint32_t start[VENGINE_MARKER], end[VENGINE_MARKER], forced[VENGINE_MARKER + 1];
    size_t n_start, n_end, n_forced;
    size_t count, given; /* tokens counted in this turn; of the forced ones, given out */
    bool within, due;
} vengine_thinking;
vlm_status vengine_thinking_init(vengine_thinking *t, const vlm_session_options *options,
                                 const vlm_tokenizer *tokenizer, vlm_error *err);
/* A turn begins behind these tokens; a block that they open is open. */
void vengine_thinking_begin(vengine_thinking *t, const uint32_t *tokens, size_t n);
/* The last of the tokens was generated. */
void vengine_thinking_saw(vengine_thinking *t, const uint32_t *tokens, size_t n);
/* True: the next token is this one. */
bool vengine_thinking_forces(vengine_thinking *t, uint32_t *id);

/* ---- stop strings (stops.c): text is held back while it may be the beginning of one ---------------------------------- */
typedef struct vengine_stops {
    char **stop;
    size_t n;
    vcore_buf held;  /* not given out yet */
    vcore_buf ready; /* what the last call gave out */
} vengine_stops;
vlm_status vengine_stops_init(vengine_stops *s, const char *const *stops, size_t n, vlm_error *err);
/* Takes text, gives what is safe in s->ready; true when a stop string was met (and cut off). */
bool vengine_stops_push(vengine_stops *s, vcore_str text);
/* Takes the last text and gives everything in s->ready, up to a stop string; true when one was met. */
bool vengine_stops_finish(vengine_stops *s, vcore_str text);
void vengine_stops_reset(vengine_stops *s);
void vengine_stops_free(vengine_stops *s);

/* ---- the timeline ------------------------------------------------------------------------------------------------- */
/* What a pass brought: all logits of its last token, or where only the largest is wanted and the backend finds it, its
 * token (the logits stay where they were computed). */
typedef enum vengine_fresh { VENGINE_NOTHING, VENGINE_LOGITS, VENGINE_BEST } vengine_fresh;

struct vlm_session {
    const vlm_context *context;
    vlm_session_options options;
    vlm_frame *frame;
    vengine_sampler *sampler;
    vtext_stream *stream;
    vengine_stops stops;
    vengine_thinking thinking;
    vlm_kv *kv;           /* [layers] */
    void *kv_memory;
    size_t capacity;      /* tokens the state holds */
    uint32_t *tokens;     /* [capacity + 1]: all tokens of the timeline, the pending one included */
    int32_t *positions;   /* [capacity]: of the stored tokens, on the first axis */
    size_t length;        /* tokens whose state is stored */
    size_t seen;          /* tokens that the state has been written for since it was empty: `length`, or more after going back */
    int64_t next;         /* position of the token that follows them */
    vengine_fresh fresh;          /* what is known of the token behind the last stored one, until it is chosen */
    float *logits;        /* [vocab] */
    uint32_t best;
    bool pending;         /* tokens[length] was generated but its state is not stored yet */
    size_t generated;     /* in this turn */
    uint64_t media_hash;  /* of the media that the timeline was made from */
    size_t media_end;     /* tokens up to and with the last media token */
    uint32_t media_ids[VLM_MAX_FEATURES]; /* their tokens */
    int n_media_ids;
    bool turn_over;
    bool marked;          /* met already in this call for several */
    vlm_session_stats stats;
};
/* Milliseconds of a clock that only goes forward. */
double vengine_now_ms(void);
/* Stores the state of every session's pending token and gets the logits behind it: one pass, on the first session's
 * frame (next.c). n <= VENGINE_BATCH. */
vlm_status vengine_decode_pending(vlm_session *const *sessions, size_t n, vlm_error *err);
/* Room for n more tokens: the state is made by the first prompt, or is large enough (session.c). */
vlm_status vengine_session_room(vlm_session *s, size_t n, vlm_error *err);

#endif
