/* SPDX-License-Identifier: MIT */
/* vlm generate: text streams to stdout as it comes, or one JSON object with --json. */
#include "cli/cli.h"
#include "vlm/extend/model.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

typedef struct generate_options {
    vlm_session_options session;
    cli_texts stops;
    const char *tool_parser; /* instead of what the chat template means */
    bool json, stats, thinking;
} generate_options;

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* What a run leaves behind for --json and --stats. */
typedef struct run_result {
    vcore_buf text;
    vcore_buf parts;  /* further members of the object: content, reasoning, tool calls */
    vcore_buf tokens; /* as JSON list */
    double load_ms, process_ms, first_ms;
    vlm_finish finish;
    vlm_session_stats stats;
    vlm_context_info info;
} run_result;

static const char *finish_name(vlm_finish finish) {
    return finish == VLM_FINISH_LENGTH ? "length" : finish == VLM_FINISH_CANCEL ? "cancel" : "stop";
}

static double decode_rate(const run_result *r) {
    /* The first token comes out of the prefill. */
    size_t n = r->stats.generated_tokens;
    return n > 1 && r->stats.decode_ms > 0 ? (double)(n - 1) * 1e3 / r->stats.decode_ms : 0;
}

static void put_thousandths(vcore_buf *b, const char *key, double x) {
    vcore_json_put_real(b, key, round(x * 1e3) / 1e3);
}

static void print_json(const run_result *r) {
    vcore_buf b = { 0 };
    vcore_json_open(&b, NULL, '{');
    vcore_json_put_str(&b, "text", (vcore_str) { r->text.p ? r->text.p : "", r->text.n });
    vcore_buf_add(&b, r->parts.p, r->parts.n);
    vcore_json_put_raw(&b, "tokens", r->tokens.p);
    vcore_json_put_uint(&b, "prompt_tokens", r->stats.prompt_tokens);
    vcore_json_put_uint(&b, "image_tokens", r->stats.media_tokens);
    vcore_json_put_text(&b, "finish_reason", finish_name(r->finish));
    vcore_json_open(&b, "timing", '{');
    put_thousandths(&b, "load_ms", r->load_ms);
    put_thousandths(&b, "process_ms", r->process_ms);
    put_thousandths(&b, "vision_ms", r->stats.vision_ms);
    put_thousandths(&b, "prefill_ms", r->stats.prefill_ms);
    put_thousandths(&b, "ttft_ms", r->first_ms);
    put_thousandths(&b, "decode_tok_s", decode_rate(r));
    vcore_json_close(&b, '}');
    vcore_json_open(&b, "memory", '{');
    vcore_json_put_uint(&b, "weights_bytes", r->info.weight_bytes);
    vcore_json_put_uint(&b, "kv_bytes", r->stats.kv_bytes);
    vcore_json_put_uint(&b, "peak_rss_bytes", cli_memory_now().peak);
    vcore_json_close(&b, '}');
    vcore_json_close(&b, '}');
    puts(b.p ? b.p : "{}");
    vcore_buf_free(&b);
}

static void print_stats(const run_result *r) {
    fprintf(stderr,
            "%zu prompt tokens (%zu of media), %zu generated; load %.0f ms, process %.0f ms, vision %.0f ms, "
            "prefill %.0f ms, decode %.1f tokens/s\n",
            r->stats.prompt_tokens, r->stats.media_tokens, r->stats.generated_tokens, r->load_ms, r->process_ms,
            r->stats.vision_ms, r->stats.prefill_ms, decode_rate(r));
}

static vlm_status pull(vlm_session *session, const generate_options *o, run_result *r, double start,
                       vlm_error *err) {
    for (;;) {
        vlm_piece piece;
        vlm_status status = vlm_session_next(session, &piece, err);
        VTRY(status);
        if (r->first_ms == 0) r->first_ms = now_ms() - start;
        if (o->json) {
            vcore_buf_add(&r->text, piece.text, piece.bytes);
            if (piece.has_token) vcore_json_put_uint(&r->tokens, NULL, piece.token);
        } else {
            fwrite(piece.text, 1, piece.bytes, stdout);
            fflush(stdout);
        }
        if (r->text.failed || r->tokens.failed) return vcore_no_memory(err, "answer");
        if (status != VLM_DONE) continue;
        r->finish = piece.finish;
        vcore_json_close(&r->tokens, ']');
        if (!o->json) putchar('\n');
        return VLM_OK;
    }
}

/* ---- the parts of a reply ------------------------------------------------------------------------------------- */

static bool wants_parts(const cli_input *in, const generate_options *o) {
    return o->json && (in->tools || o->tool_parser || o->thinking);
}

/* Does the prompt open a block of thinking? Its last tokens tell. */
static vlm_status prompt_is_open(bool *open, const vlm_context *context, const vlm_prepared *prepared,
                                 const char *start, vlm_error *err) {
    size_t n, most = 32;
    const uint32_t *ids = vlm_prepared_ids(prepared, &n);
    char *text;
    size_t first = n > most ? n - most : 0;
    VTRY(vlm_tokenizer_decode(&text, vlm_context_tokenizer(context), ids + first, n - first, 0, err));
    *open = vlm_thinking_is_open(text, start);
    vlm_string_free(text);
    return VLM_OK;
}

static vlm_status open_reply(vlm_reply **out, const vlm_context *context, const vlm_prepared *prepared,
                             const cli_input *in, const generate_options *o, vlm_error *err) {
    const vlm_context_info *info = vlm_context_get_info(context);
    const char *format = o->tool_parser;
    bool tools = in->tools || format, open = false;
    *out = NULL;
    if (tools && !format) VTRY(vlm_tool_format_of_dir(&format, info->tokenizer_directory, NULL, err));
    if (tools && !format) VTRY(vlm_tool_format_of_dir(&format, info->directory, NULL, err));
    char *json = in->tools ? cli_read_file(in->tools, 16u << 20, err) : NULL;
    vlm_status status = in->tools && !json ? VLM_ERR_IO : vlm_reply_new(out, format, json, err);
    vcore_free(json);
    VTRY(status);
    if (!o->thinking) return VLM_OK;
    VTRY(prompt_is_open(&open, context, prepared, o->session.thinking_start, err));
    return vlm_reply_split_thinking(*out, o->session.thinking_start, o->session.thinking_end, open, err);
}

static vcore_str trimmed(const vcore_buf *b) {
    vcore_str s = { b->p ? b->p : "", b->n };
    while (s.n && strchr(" \t\r\n", s.p[0]) && s.p[0]) s = (vcore_str) { s.p + 1, s.n - 1 };
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1]) && s.p[s.n - 1]) s.n--;
    return s;
}

static void put_call(vcore_buf *b, const vlm_reply_event *e) {
    vcore_json_open(b, NULL, '{');
    if (e->id) {
        vcore_json_put_text(b, "id", e->id);
    } else {
        char id[32];
        snprintf(id, sizeof id, "call_%zu", e->index);
        vcore_json_put_text(b, "id", id);
    }
    vcore_json_put_text(b, "name", e->name);
    vcore_json_put_str(b, "arguments", (vcore_str) { e->text, e->bytes });
    vcore_json_close(b, '}');
}

/* Members for the object: content and, where they were asked for, reasoning_content and tool_calls. */
static vlm_status take_apart(run_result *r, vlm_reply *reply, bool thinking, bool tools, vlm_error *err) {
    vcore_buf content = { 0 }, reasoning = { 0 }, calls = { 0 }, all = { 0 };
    vcore_json_open(&calls, NULL, '[');
    vlm_status status = vlm_reply_push(reply, r->text.p, r->text.n, err);
    if (status >= 0) status = vlm_reply_finish(reply, err);
    for (vlm_reply_event e; status >= 0 && vlm_reply_next(reply, &e, err) == VLM_OK;) {
        if (e.kind == VLM_REPLY_CONTENT) vcore_buf_add(&content, e.text, e.bytes);
        if (e.kind == VLM_REPLY_REASONING) vcore_buf_add(&reasoning, e.text, e.bytes);
        if (e.kind == VLM_REPLY_CALL) put_call(&calls, &e);
        if (e.kind == VLM_REPLY_BROKEN) fprintf(stderr, "vlm: warning: a tool call that cannot be read was left out\n");
    }
    vcore_json_close(&calls, ']');
    vcore_buf_puts(&all, "1"); /* a value stands before them */
    vcore_json_put_str(&all, "content", trimmed(&content));
    if (thinking) vcore_json_put_str(&all, "reasoning_content", trimmed(&reasoning));
    if (tools && calls.p) vcore_json_put_raw(&all, "tool_calls", calls.p);
    if (content.failed || reasoning.failed || calls.failed || all.failed)
        status = vcore_no_memory(err, "answer");
    else
        vcore_buf_add(&r->parts, all.p + 1, all.n - 1);
    vcore_buf_free(&content);
    vcore_buf_free(&reasoning);
    vcore_buf_free(&calls);
    vcore_buf_free(&all);
    return status;
}

static vlm_status run(const cli_input *in, const generate_options *o, run_result *r, vlm_error *err) {
    vlm_context *context = NULL;
    vlm_prepared *prepared = NULL;
    vlm_session *session = NULL;
    vlm_reply *reply = NULL;
    vcore_json_open(&r->tokens, NULL, '[');
    double start = now_ms();
    vlm_status status = cli_load(&context, in, err);
    double loaded = now_ms();
    if (status >= 0) status = cli_prepare(&prepared, context, in, err);
    double processed = now_ms();
    if (status >= 0 && wants_parts(in, o)) status = open_reply(&reply, context, prepared, in, o, err);
    if (status >= 0) status = vlm_session_new(&session, context, &o->session, err);
    if (status >= 0) status = vlm_session_feed(session, prepared, err);
    if (status >= 0) status = pull(session, o, r, start, err);
    if (status >= 0 && reply) status = take_apart(r, reply, o->thinking, in->tools || o->tool_parser, err);
    if (status >= 0) {
        r->load_ms = loaded - start;
        r->process_ms = processed - loaded;
        r->info = *vlm_context_get_info(context);
        vlm_session_get_stats(session, &r->stats);
        if (o->json) print_json(r);
        if (o->stats) print_stats(r);
    }
    vlm_reply_free(reply);
    vlm_session_free(session);
    vlm_prepared_free(prepared);
    vlm_context_free(context);
    return status;
}

static int check_parts(const generate_options *o) {
    const char *wrong = NULL, *name = NULL;
    if (!o->session.thinking_start != !o->session.thinking_end)
        wrong = "--thinking-start-token and --thinking-end-token go together";
    for (size_t i = 0; o->tool_parser && (name = vlm_tool_format_name(i)); i++)
        if (!strcmp(name, o->tool_parser)) break;
    if (o->tool_parser && !name) wrong = "--tool-parser: no format has this name; docs/TEXT.md lists them";
    if (!wrong) return -1;
    fprintf(stderr, "vlm: %s\n", wrong);
    return CLI_USAGE;
}

int cmd_generate(int argc, char **argv) {
    cli_input in = { 0 };
    generate_options o = { .session = VLM_SESSION_OPTIONS_INIT };
    vlm_sampling *s = &o.session.sampling;
    const cli_option own[] = {
        { "--max-tokens", NULL, CLI_COUNT, &o.session.max_tokens, 1, 0, "N   most tokens to generate (256)" },
        { "--temp", NULL, CLI_REAL, &s->temperature, 0, 100, "T   temperature (0: greedy)" },
        { "--top-p", NULL, CLI_REAL, &s->top_p, 0, 1, "P   keep the likeliest tokens that make up P (off)" },
        { "--top-k", NULL, CLI_COUNT, &s->top_k, 0, 0, "K   keep the K likeliest tokens (off)" },
        { "--min-p", NULL, CLI_REAL, &s->min_p, 0, 1, "P   keep tokens of P times the likeliest's probability (off)" },
        { "--repetition-penalty", NULL, CLI_REAL, &s->repetition_penalty, 0, 100, "R   divides the logits of tokens seen (1: off)" },
        { "--presence-penalty", NULL, CLI_REAL, &s->presence_penalty, -100, 100, "P   taken from the logits of tokens seen" },
        { "--frequency-penalty", NULL, CLI_REAL, &s->frequency_penalty, -100, 100, "F   taken once for every time a token was seen" },
        { "--penalty-window", NULL, CLI_COUNT, &s->penalty_window, 1, 0, "N   tokens that penalties look at (20)" },
        { "--seed", NULL, CLI_LONG, &s->seed, 0, 0, "S   of the random numbers (0)" },
        { "--stop", NULL, CLI_TEXTS, &o.stops, 0, 0, "TEXT   ends the answer; repeatable" },
        { "--ignore-eos", NULL, CLI_FLAG, &o.session.ignore_eos, 0, 0, "go on behind end tokens" },
        { "--enable-thinking", NULL, CLI_FLAG, &o.thinking, 0, 0, "ask the template for thinking; --json tells it apart" },
        { "--thinking-budget", NULL, CLI_COUNT, &o.session.thinking_budget, 1, 0, "N   most tokens of thinking" },
        { "--thinking-start-token", NULL, CLI_TEXT, &o.session.thinking_start, 0, 0, "TEXT   where thinking starts (known ones)" },
        { "--thinking-end-token", NULL, CLI_TEXT, &o.session.thinking_end, 0, 0, "TEXT   where it ends" },
        { "--tool-parser", NULL, CLI_TEXT, &o.tool_parser, 0, 0, "NAME   how the model writes tool calls (as its template says)" },
        { "--json", NULL, CLI_FLAG, &o.json, 0, 0, "one JSON object instead of text" },
        { "--stats", NULL, CLI_FLAG, &o.stats, 0, 0, "figures to stderr" },
        { NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL },
    };
    const cli_option *const tables[] = { own, cli_input_options(&in), NULL };
    cli_texts rest = { .n = 0 };
    int done = cli_parse(argc, argv, "generate -m DIR [-i FILE ...] -p TEXT [OPTIONS]", tables, &rest, 0);
    if (done < 0 && o.thinking && in.variables.n < sizeof in.variables.at / sizeof in.variables.at[0])
        in.variables.at[in.variables.n++] = "enable_thinking=true";
    if (done < 0) done = cli_input_check(&in);
    if (done < 0) done = check_parts(&o);
    if (done >= 0) return done;
    if (o.session.thinking_budget || o.session.thinking_start) o.thinking = true;
    o.session.special_text = wants_parts(&in, &o);
    o.session.context = in.context;
    o.session.prefill_step = in.prefill_step;
    o.session.kv_bits = in.kv_bits;
    o.session.stops = o.stops.at;
    o.session.n_stops = o.stops.n;
    vlm_error err = VLM_ERROR_INIT;
    run_result r = { .first_ms = 0 };
    vlm_status status = run(&in, &o, &r, &err);
    vcore_buf_free(&r.text);
    vcore_buf_free(&r.parts);
    vcore_buf_free(&r.tokens);
    return status < 0 ? cli_fail("generate", &err) : CLI_DONE;
}
