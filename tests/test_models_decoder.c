/* SPDX-License-Identifier: MIT */
/* The text decoder of every type, with drawn weights: prefill in pieces, decode from the state and
 * several sequences in one pass give what one pass over one sequence gives. */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"
#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/golden.h"

enum { TOKENS = 23, OTHER = 9, VOCAB = 40, MOST_TENSORS = 80, MOST_LAYERS = 4 };

/* A type with the sizes of its tensors. */
typedef struct {
    const char *name, *config;
    int64_t hidden, inner, q, kv, layers;
    bool qkv_bias, sandwich;
    const char *conv; /* layers with a short convolution have a 'c'; NULL: Llama's names */
} kind;

#define SIZES "\"vocab_size\": 40, \"hidden_size\": 24, \"intermediate_size\": 40, "
static const kind kinds[] = {
    { "llama",
      "{\"model_type\": \"llama\", " SIZES "\"num_hidden_layers\": 2, \"num_attention_heads\": 4,"
      " \"num_key_value_heads\": 2, \"head_dim\": 8}",
      24, 40, 32, 16, 2, false, false, NULL },
    { "mistral",
      "{\"model_type\": \"mistral\", " SIZES "\"num_hidden_layers\": 2, \"num_attention_heads\": 3,"
      " \"num_key_value_heads\": 1, \"head_dim\": 8, \"sliding_window\": 6}",
      24, 40, 24, 8, 2, false, false, NULL },
    { "qwen2",
      "{\"model_type\": \"qwen2\", " SIZES "\"num_hidden_layers\": 2, \"num_attention_heads\": 3,"
      " \"num_key_value_heads\": 3}",
      24, 40, 24, 24, 2, true, false, NULL },
    { "qwen2_5_vl",
      "{\"model_type\": \"qwen2_5_vl_text\", " SIZES
      "\"num_hidden_layers\": 2, \"num_attention_heads\": 2,"
      " \"num_key_value_heads\": 1, \"rope_parameters\": {\"mrope_section\": [2, 1, 3]}}",
      24, 40, 24, 12, 2, true, false, NULL },
    { "gemma",
      "{\"model_type\": \"gemma\", " SIZES "\"num_hidden_layers\": 2, \"num_attention_heads\": 4,"
      " \"num_key_value_heads\": 1, \"head_dim\": 16}",
      24, 40, 64, 16, 2, false, false, NULL },
    { "gemma2",
      "{\"model_type\": \"gemma2\", " SIZES "\"num_hidden_layers\": 4, \"num_attention_heads\": 2,"
      " \"num_key_value_heads\": 2, \"head_dim\": 8, \"sliding_window\": 5, "
      "\"query_pre_attn_scalar\": 12}",
      24, 40, 16, 16, 4, false, true, NULL },
    { "lfm2",
      "{\"model_type\": \"lfm2\", " SIZES "\"num_hidden_layers\": 4, \"num_attention_heads\": 3,"
      " \"num_key_value_heads\": 1, \"block_auto_adjust_ff_dim\": false, \"conv_L_cache\": 4,"
      " \"conv_bias\": true, \"layer_types\": [\"conv\", \"full_attention\", \"conv\", \"conv\"]}",
      24, 40, 24, 8, 4, false, false, "cacc" },
};

/* ---- a decoder ------------------------------------------------------------------------------- */
typedef struct {
    vcore_json_doc *config;
    vio_tensors *tensors;
    vcore_arena *arena;
    vlm_build *build;
    vtensor_backend *backend;
    vlm_frame *frame;
    vlm_text *text;
    const vlm_text_info *info;
    float *kv_memory;
} decoder;

typedef struct {
    vio_out_tensor list[MOST_TENSORS];
    char names[MOST_TENSORS][80];
    size_t n;
} weights;

static void draw(weights *w, int64_t layer, const char *name, int64_t a, int64_t b) {
    assert_true(w->n < MOST_TENSORS);
    if (layer >= 0)
        snprintf(w->names[w->n], 80, "layers.%d.%s", (int)layer, name);
    else
        snprintf(w->names[w->n], 80, "%s", name);
    size_t count = (size_t)(a * (b ? b : 1));
    float *data = malloc(count * sizeof *data);
    tcheckpoint_values(data, count, w->names[w->n], 11, 0, -10, 300);
    w->list[w->n] =
        (vio_out_tensor) { w->names[w->n], VIO_F32, b ? 2 : 1, { (uint64_t)a, (uint64_t)b }, data };
    w->n++;
}

static void draw_lfm2_layer(weights *w, const kind *k, int64_t i) {
    const int64_t d = k->hidden;
    draw(w, i, "operator_norm.weight", d, 0);
    draw(w, i, "ffn_norm.weight", d, 0);
    draw(w, i, "feed_forward.w1.weight", k->inner, d);
    draw(w, i, "feed_forward.w2.weight", d, k->inner);
    draw(w, i, "feed_forward.w3.weight", k->inner, d);
    if (k->conv[i] == 'c') {
        draw(w, i, "conv.in_proj.weight", 3 * d, d);
        draw(w, i, "conv.in_proj.bias", 3 * d, 0);
        draw(w, i, "conv.conv.weight", d, 4);
        w->list[w->n - 1].rank = 3;
        w->list[w->n - 1].shape[1] = 1;
        w->list[w->n - 1].shape[2] = 4;
        draw(w, i, "conv.conv.bias", d, 0);
        draw(w, i, "conv.out_proj.weight", d, d);
        draw(w, i, "conv.out_proj.bias", d, 0);
        return;
    }
    draw(w, i, "self_attn.q_proj.weight", k->q, d);
    draw(w, i, "self_attn.k_proj.weight", k->kv, d);
    draw(w, i, "self_attn.v_proj.weight", k->kv, d);
    draw(w, i, "self_attn.out_proj.weight", d, k->q);
    draw(w, i, "self_attn.q_layernorm.weight", d / 3, 0);
    draw(w, i, "self_attn.k_layernorm.weight", d / 3, 0);
}

static void draw_layer(weights *w, const kind *k, int64_t i) {
    draw(w, i, "self_attn.q_proj.weight", k->q, k->hidden);
    draw(w, i, "self_attn.k_proj.weight", k->kv, k->hidden);
    draw(w, i, "self_attn.v_proj.weight", k->kv, k->hidden);
    draw(w, i, "self_attn.o_proj.weight", k->hidden, k->q);
    draw(w, i, "mlp.gate_proj.weight", k->inner, k->hidden);
    draw(w, i, "mlp.up_proj.weight", k->inner, k->hidden);
    draw(w, i, "mlp.down_proj.weight", k->hidden, k->inner);
    draw(w, i, "input_layernorm.weight", k->hidden, 0);
    draw(w, i, "post_attention_layernorm.weight", k->hidden, 0);
    if (k->sandwich) {
        draw(w, i, "pre_feedforward_layernorm.weight", k->hidden, 0);
        draw(w, i, "post_feedforward_layernorm.weight", k->hidden, 0);
    }
    if (k->qkv_bias) {
        draw(w, i, "self_attn.q_proj.bias", k->q, 0);
        draw(w, i, "self_attn.k_proj.bias", k->kv, 0);
        draw(w, i, "self_attn.v_proj.bias", k->kv, 0);
    }
}

static void write_weights(const kind *k, const char *path, const char *format) {
    weights *w = calloc(1, sizeof *w);
    vlm_error err = VLM_ERROR_INIT;
    draw(w, -1, "embed_tokens.weight", VOCAB, k->hidden);
    draw(w, -1, "lm_head.weight", VOCAB, k->hidden);
    draw(w, -1, k->conv ? "embedding_norm.weight" : "norm.weight", k->hidden, 0);
    for (int64_t i = 0; i < k->layers; i++) (k->conv ? draw_lfm2_layer : draw_layer)(w, k, i);
    if (vio_safetensors_write(path, w->list, w->n, format, &err) < 0) fail_msg("%s", err.message);
    for (size_t i = 0; i < w->n; i++) free((void *)w->list[i].data);
    free(w);
}

/* A checkpoint with a head of its own, in a file of Hugging Face's or MLX's. */
static void open_as(decoder *d, const kind *k, const char *format, bool tied) {
    vlm_error err = VLM_ERROR_INIT;
    char *dir = tcheckpoint_temp_dir(), *path = tcheckpoint_path(dir, "model.safetensors");
    const vtensor_cpu_options cpu = { .threads = 2 };
    write_weights(k, path, format);
    *d = (decoder) { .arena = vcore_arena_new() };
    assert_int_equal(vio_tensors_open_file(&d->tensors, path, NULL, &err), VLM_OK);
    tcheckpoint_remove(dir);
    free(path);
    free(dir);
    assert_int_equal(vtensor_backend_cpu(&d->backend, &cpu, &err), VLM_OK);
    assert_int_equal(vtensor_frame_new(&d->frame, d->backend, VTENSOR_EXACT, &err), VLM_OK);
    assert_int_equal(vcore_json_parse(&d->config, k->config, strlen(k->config), k->name, &err),
                     VLM_OK);
    const vmodel_build_args args = { .tensors = d->tensors,
                                     .arena = d->arena,
                                     .backend = d->backend };
    assert_int_equal(vmodel_build_new(&d->build, &args, &err), VLM_OK);
    const vlm_text_options options = { .config = vcore_json_root(d->config), .fallback_type = "llama", .prefix = "", .head_prefix = "", .tied = tied };
    if (vlm_text_new(&d->text, d->build, &options, &err) < 0)
        fail_msg("%s: %s", k->name, err.message);
    assert_int_equal(vmodel_build_check(d->build, false, &err), VLM_OK);
    d->info = vlm_text_get_info(d->text);
    assert_int_equal(d->info->layers, k->layers);
}

static void decoder_open(decoder *d, const kind *k) {
    open_as(d, k, "pt", false);
}

static void decoder_close(decoder *d) {
    vtensor_frame_free(d->frame);
    vtensor_backend_free(d->backend);
    vmodel_build_free(d->build);
    vio_tensors_close(d->tensors);
    vcore_json_free(d->config);
    vcore_arena_free(d->arena);
}

/* ---- passes ---------------------------------------------------------------------------------- */
/* Fills kv for `capacity` positions; returns the memory, to be freed. A short convolution has a few rows more
 * than it sees. */
static float *make_kv(const decoder *d, vlm_kv *kv, int64_t capacity) {
    enum { MORE = 3, MOST = 64 * 64 };
    float *memory = calloc(2 * (size_t)d->info->layers * MOST, sizeof *memory), *at = memory;
    for (int64_t i = 0; i < d->info->layers; i++, at += 2 * MOST) {
        const vlm_state_layer *s = &d->info->state[i];
        const bool conv = s->kind == VLM_STATE_CONV;
        const int64_t shape[] = { conv ? s->window + MORE : capacity, s->kv_heads, s->head_dim };
        assert_true(shape[0] * shape[1] * shape[2] <= MOST);
        kv[i] = (vlm_kv) { .k = vtensor_of(at, VLM_DTYPE_F32, 3, shape) };
        if (!conv) kv[i].v = vtensor_of(at + MOST, VLM_DTYPE_F32, 3, shape);
    }
    return memory;
}

/* Rows of a pass: of which sequence, and at which index. M-RoPE's axes run apart. */
typedef struct {
    int n;
    int32_t id[64];
    int64_t index[64];
} rows;

static void add_rows(rows *r, int sequence, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
        r->id[r->n] = (int32_t)((i * 7 + sequence * 5 + i * i) % VOCAB);
        r->index[r->n++] = i;
    }
}

/* Logits of n_wanted rows, [n_wanted, VOCAB], copied to out. wanted: NULL: every row. */
static void pass_wanted(decoder *d, const rows *r, const vlm_sequence *sequences, int n,
                        const int32_t *wanted, int64_t n_wanted, float *out) {
    vlm_error err = VLM_ERROR_INIT;
    const int64_t count = r->n, axes = d->info->position_axes;
    int32_t at[3 * 64];
    for (int64_t a = 0; a < axes; a++)
        for (int i = 0; i < r->n; i++) at[a * count + i] = (int32_t)(r->index[i] / (a + 1) + a);
    vtensor_frame_begin(d->frame);
    vlm_text_input input = {
        .embeddings = vlm_text_embed(d->frame, d->text,
                                     vlm_tensor_from(d->frame, VLM_DTYPE_I32, 1, &count, r->id)),
        .positions = vlm_tensor_from(d->frame, VLM_DTYPE_I32, 2, (int64_t[]) { axes, count }, at),
        .sequences = sequences,
        .n_sequences = n,
    };
    if (wanted) input.wanted = vlm_tensor_from(d->frame, VLM_DTYPE_I32, 1, &n_wanted, wanted);
    vlm_tensor logits =
        vlm_text_logits(d->frame, d->text, vlm_text_forward(d->frame, d->text, &input));
    if (vlm_frame_ok(d->frame)) vtensor_read(d->frame, logits, out, &err);
    if (vtensor_frame_end(d->frame, &err) < 0) fail_msg("%s", err.message);
}

/* Logits of every row, [n, VOCAB], copied to out. */
static void pass(decoder *d, const rows *r, const vlm_sequence *sequences, int n, float *out) {
    pass_wanted(d, r, sequences, n, NULL, 0, out);
}

static void alone(decoder *d, int sequence, int64_t n, float *out) {
    rows r = { 0 };
    add_rows(&r, sequence, 0, n);
    pass(d, &r, &(vlm_sequence) { .length = n }, 1, out);
}

static void assert_close(const kind *k, const char *what, const float *a, const float *b,
                         int64_t n) {
    double error = tgolden_relative(a, b, (size_t)(n * VOCAB));
    if (!(error <= 1e-5)) fail_msg("%s: %s: relative error %.3g", k->name, what, error);
}

static void pieces(const kind *k, decoder *d, const float *whole) {
    static const int64_t steps[] = { TOKENS, 1, 5, 8 };
    float got[TOKENS * VOCAB];
    for (int s = 0; s < 4; s++) {
        vlm_kv kv[MOST_LAYERS];
        float *memory = make_kv(d, kv, TOKENS + s);
        for (int64_t at = 0; at < TOKENS; at += steps[s]) {
            int64_t end = at + steps[s] < TOKENS ? at + steps[s] : TOKENS;
            rows r = { 0 };
            add_rows(&r, 0, at, end);
            pass(d, &r, &(vlm_sequence) { .length = end - at, .past = at, .kv = kv }, 1,
                 got + at * VOCAB);
        }
        assert_close(k, "in pieces", got, whole, TOKENS);
        free(memory);
    }
}

/* Rows that nobody wants leave their keys and values all the same. */
static void wanted(const kind *k, decoder *d, const float *whole) {
    static const int32_t some[] = { 4, 1 };
    float got[2 * VOCAB] = { 0 };
    vlm_kv kv[MOST_LAYERS];
    float *memory = make_kv(d, kv, TOKENS);
    rows before = { 0 }, rest = { 0 };
    add_rows(&before, 0, 0, TOKENS - 6);
    add_rows(&rest, 0, TOKENS - 6, TOKENS);
    pass_wanted(d, &before, &(vlm_sequence) { .length = TOKENS - 6, .kv = kv }, 1, some, 0, got);
    assert_true(got[0] == 0);
    pass_wanted(d, &rest, &(vlm_sequence) { .length = 6, .past = TOKENS - 6, .kv = kv }, 1, some, 2,
                got);
    for (int i = 0; i < 2; i++)
        assert_close(k, "rows wanted", got + i * VOCAB, whole + (TOKENS - 6 + some[i]) * VOCAB, 1);
    free(memory);
}

static void together(const kind *k, decoder *d, const float *first, const float *second) {
    float got[(TOKENS + OTHER) * VOCAB];
    rows r = { 0 };
    add_rows(&r, 0, 0, TOKENS);
    add_rows(&r, 1, 0, OTHER);
    const vlm_sequence both[] = { { .length = TOKENS }, { .start = TOKENS, .length = OTHER } };
    pass(d, &r, both, 2, got);
    assert_close(k, "first of two", got, first, TOKENS);
    assert_close(k, "second of two", got + TOKENS * VOCAB, second, OTHER);
    /* One step of both from their states, one of them with the last two rows. */
    vlm_kv kv[2][MOST_LAYERS];
    float *memory[] = { make_kv(d, kv[0], TOKENS), make_kv(d, kv[1], 2 * OTHER) };
    for (int i = 0; i < 2; i++) {
        int64_t n = i ? OTHER - 2 : TOKENS - 1;
        rows before = { 0 };
        add_rows(&before, i, 0, n);
        pass(d, &before, &(vlm_sequence) { .length = n, .kv = kv[i] }, 1, got);
    }
    rows step = { 0 };
    add_rows(&step, 0, TOKENS - 1, TOKENS);
    add_rows(&step, 1, OTHER - 2, OTHER);
    const vlm_sequence next[] = { { .length = 1, .past = TOKENS - 1, .kv = kv[0] },
                                  { .start = 1, .length = 2, .past = OTHER - 2, .kv = kv[1] } };
    pass(d, &step, next, 2, got);
    assert_close(k, "step of the first", got, first + (TOKENS - 1) * VOCAB, 1);
    assert_close(k, "step of the second", got + VOCAB, second + (OTHER - 2) * VOCAB, 2);
    free(memory[0]);
    free(memory[1]);
}

static void every_way_gives_the_same(void **state) {
    const kind *k = *state;
    decoder d;
    float first[TOKENS * VOCAB], second[OTHER * VOCAB];
    decoder_open(&d, k);
    alone(&d, 0, TOKENS, first);
    alone(&d, 1, OTHER, second);
    pieces(k, &d, first);
    wanted(k, &d, first);
    together(k, &d, first, second);
    decoder_close(&d);
}

static void too_many_sequences(void **state) {
    (void)state;
    decoder d;
    decoder_open(&d, &kinds[0]);
    vlm_sequence none = { 0 };
    vtensor_frame_begin(d.frame);
    vlm_text_input input = { .sequences = &none, .n_sequences = 100000 };
    assert_int_equal(vlm_text_forward(d.frame, d.text, &input).rank, 0);
    assert_int_equal(vtensor_frame_end(d.frame, NULL), VLM_ERR_LIMIT);
    decoder_close(&d);
}

/* A file's own head counts although the config ties it, as transformers has it; in MLX's files it does not. */
static void heads_that_the_config_ties(void **state) {
    (void)state;
    static const struct {
        const char *format;
        bool tied, own;
    } cases[] = { { "pt", false, true }, { "pt", true, true }, { "mlx", true, false } };
    float want[TOKENS * VOCAB], got[TOKENS * VOCAB];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        decoder d;
        open_as(&d, &kinds[0], cases[i].format, cases[i].tied);
        alone(&d, 0, TOKENS, i ? got : want);
        decoder_close(&d);
        if (i) assert_int_equal(!memcmp(got, want, sizeof want), cases[i].own);
    }
}

int main(void) {
    enum { KINDS = sizeof kinds / sizeof kinds[0] };
    struct CMUnitTest tests[KINDS + 2];
    for (int i = 0; i < KINDS; i++)
        tests[i] = (struct CMUnitTest) { kinds[i].name, every_way_gives_the_same, NULL, NULL,
                                         (void *)&kinds[i] };
    tests[KINDS] = (struct CMUnitTest)cmocka_unit_test(too_many_sequences);
    tests[KINDS + 1] = (struct CMUnitTest)cmocka_unit_test(heads_that_the_config_ties);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
