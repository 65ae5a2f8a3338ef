/* SPDX-License-Identifier: MIT */
/* LLaVA 1.5, LLaVA-NeXT and transformers' FastVLM: a tower whose hidden states of chosen layers go through two linear
 * layers, in front of a Llama, Qwen2 or Mistral decoder. LLaVA-NeXT shows a picture as a whole and as tiles; their rows are put together
 * line by line, without what is padding alone, each line with a newline behind it. */
#include "vlm/extend.h"

enum { DEFAULT_STRATEGY, FULL_STRATEGY };

/* What the types differ in, and take where config.json is silent. */
typedef struct kind {
    bool anyres; /* LLaVA-NeXT */
    int64_t image_token_id;
    vlm_ints feature_layer;
    int select_strategy;
    const char *vision_type, *text_type;
} kind;

static const kind llava_kind = { false, 32000, { 1, { -2 } }, DEFAULT_STRATEGY, "clip_vision_model", "llama" };
static const kind llava_next_kind = { true, 32000, { 1, { -2 } }, DEFAULT_STRATEGY, "clip_vision_model", "llama" };
static const kind fast_vlm_kind = { false, 151646, { 1, { -1 } }, FULL_STRATEGY, "timm_wrapper", "qwen2" };

typedef struct llava {
    int64_t image_token_id;
    bool tied, text_tied, projector_bias;
    int select_strategy, projector_act;
    vlm_ints feature_layer;
    vlm_pinpoints pinpoints;
    vlm_anyres_rule rule;
    vlm_vision *vision;
    vlm_text *text;
    vlm_mlp projector;
    vlm_tensor image_newline; /* [dim] */
} llava;

/* ---- building -------------------------------------------------------------------------------- */
static const vlm_name strategies[] = { { "default", DEFAULT_STRATEGY }, { "full", FULL_STRATEGY }, { NULL, 0 } };
static const vlm_config_field fields[] = {
    VLM_INT(llava, image_token_id, "image_token_id|image_token_index", 0, UINT32_MAX, VLM_KEEP),
    VLM_BOOL(llava, tied, "tie_word_embeddings", false),
    VLM_BOOL(llava, text_tied, "text_config.tie_word_embeddings", false),
    VLM_BOOL(llava, projector_bias, "multimodal_projector_bias", true),
    VLM_NAME(llava, projector_act, "projector_hidden_act", vlm_activation_names, VLM_ACT_GELU),
    VLM_NAME(llava, select_strategy, "vision_feature_select_strategy", strategies, VLM_KEEP),
    VLM_INTS(llava, feature_layer, "vision_feature_layer", -1024, 1024),
};

enum { TEXT, VISION, DIMS };
enum { BIAS = 1, ANYRES = 2 };
static const vlm_weight_row rows[] = {
    VLM_BIND_LINEAR(llava, projector.fc1, "multi_modal_projector.linear_1", BIAS, TEXT, VISION),
    VLM_BIND_LINEAR(llava, projector.fc2, "multi_modal_projector.linear_2", BIAS, TEXT, TEXT),
    VLM_BIND_TENSOR_IF(ANYRES, llava, image_newline, "image_newline", TEXT),
};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static vlm_status create_parts(llava *m, vlm_build *build, const kind *of, vlm_error *err) {
    const vlm_json *config = vlm_build_config(build);
    if (m->feature_layer.n == 0) m->feature_layer = of->feature_layer;
    const vlm_vision_options vision = {
        .config = vlm_json_find(config, "vision_config"),
        .fallback_type = of->vision_type,
        .prefix = "model.vision_tower.|vision_tower.|model.vision_tower.vision_model.|vision_tower.vision_model.",
        .layers = &m->feature_layer,
        .drop_class = m->select_strategy == DEFAULT_STRATEGY,
    };
    vlm_status status = vlm_vision_new(&m->vision, build, &vision, err);
    if (status < 0) return status;
    const vlm_text_options text = {
        .config = vlm_json_find(config, "text_config"),
        .fallback_type = of->text_type,
        .prefix = "model.language_model.|language_model.|language_model.model.",
        .head_prefix = "|language_model.",
        .tied = m->tied || m->text_tied,
    };
    return vlm_text_new(&m->text, build, &text, err);
}

/* The canvases of LLaVA-NeXT, and that tiles give whole squares of rows. */
static vlm_status create_rule(llava *m, vlm_build *build, vlm_error *err) {
    const vlm_vision_info *vision = vlm_vision_get_info(m->vision);
    vlm_status status = vlm_pinpoints_read(&m->pinpoints, vlm_build_config(build), "config.json", err);
    if (status < 0) return status;
    m->rule = (vlm_anyres_rule) { m->pinpoints.at, m->pinpoints.n, (uint32_t)vision->image_size,
                                  (uint32_t)vision->patch_size };
    if (vision->image_size && vision->extra_rows == 0) return VLM_OK;
    return vlm_fail_field(err, VLM_ERR_UNSUPPORTED, "config.json", "vision_feature_select_strategy",
                          "tiles must be squares of patches, without a class token");
}

static vlm_status create(void **model, vlm_build *build, vlm_error *err) {
    llava *m = vlm_build_alloc(build, 1, sizeof *m);
    if (!m) return vlm_fail(err, VLM_ERR_MEMORY, "llava: out of memory");
    const kind *of = vlm_build_user(build);
    m->image_token_id = of->image_token_id;
    m->select_strategy = of->select_strategy;
    vlm_status status = vlm_config_read(m, vlm_build_config(build), "config.json", fields, COUNT(fields), err);
    if (status == VLM_OK) status = create_parts(m, build, of, err);
    if (status == VLM_OK && of->anyres) status = create_rule(m, build, err);
    if (status < 0) return status;
    m->projector.act = (vlm_activation)m->projector_act;
    const int64_t dims[DIMS] = { vlm_text_get_info(m->text)->hidden_size, vlm_vision_get_info(m->vision)->dim };
    const vlm_binding at = { .prefix = "model.|", .dims = dims,
                             .conditions = (m->projector_bias ? BIAS : 0) | (of->anyres ? ANYRES : 0) };
    if ((status = vlm_bind(build, m, rows, COUNT(rows), &at, err)) == VLM_OK) *model = m;
    return status;
}

static const vlm_text *text_of(const void *model) {
    return ((const llava *)model)->text;
}

/* ---- LLaVA 1.5: each picture is one view ----------------------------------------------------- */
/* Pictures of a prepared input. */
typedef struct pictures {
    int64_t n, views, height, width; /* of every view, padding included */
    const float *pixels;             /* [n, views, channels, height, width] */
    const int64_t *sizes;            /* [n, 2]: height, width; NULL: they have none */
} pictures;

static bool find_pictures(vlm_frame *f, pictures *p, const llava *m, const vlm_prepared *prepared, int rank) {
    const int64_t channels = vlm_vision_get_info(m->vision)->channels;
    const int64_t like[] = { -1, rank == 5 ? -1 : channels, rank == 5 ? channels : -1, -1, -1 };
    const vlm_array *pixels, *sizes = NULL;
    vlm_error err = VLM_ERROR_INIT;
    vlm_status status = vlm_prepared_get(&pixels, prepared, "pixel_values", VLM_DTYPE_F32, rank, like, &err);
    const int64_t n = pixels ? pixels->shape[0] : 0, pair[] = { n, 2 };
    if (status == VLM_OK && (rank == 5 || vlm_prepared_find(prepared, "image_sizes")))
        status = vlm_prepared_get(&sizes, prepared, "image_sizes", VLM_DTYPE_I64, 2, pair, &err);
    if (status < 0) return vlm_frame_fail(f, err.code, "%s", err.message), false;
    *p = (pictures) { n, rank == 5 ? pixels->shape[1] : 1, pixels->shape[rank - 2], pixels->shape[rank - 1],
                      pixels->data, sizes ? sizes->data : NULL };
    return true;
}

/* The tower and the projector over the upper left of a view. @return [rows, dim] */
static vlm_tensor view_features(vlm_frame *f, const llava *m, const pictures *p, int64_t view, int64_t height,
                                int64_t width) {
    const int64_t shape[] = { vlm_vision_get_info(m->vision)->channels, p->height, p->width };
    vlm_vision_input input = {
        .pixels = vlm_tensor_view(f, VLM_DTYPE_F32, 3, shape, p->pixels + view * shape[0] * shape[1] * shape[2])
    };
    input.pixels.shape[1] = height;
    input.pixels.shape[2] = width;
    return vlm_apply_mlp(f, vlm_vision_forward(f, m->vision, &input), &m->projector);
}

/* Size and rows of a picture; 0 rows: it has a size that it cannot have. */
static int64_t rows_of(const llava *m, const pictures *p, int64_t i, int64_t *height, int64_t *width) {
    const vlm_vision_info *vision = vlm_vision_get_info(m->vision);
    *height = p->sizes ? p->sizes[2 * i] : p->height;
    *width = p->sizes ? p->sizes[2 * i + 1] : p->width;
    if (*height < vision->patch_size || *width < vision->patch_size || *height > p->height || *width > p->width)
        return 0;
    return (*height / vision->patch_size) * (*width / vision->patch_size) + vision->extra_rows;
}

static int features(vlm_frame *f, const void *model, const vlm_prepared *prepared, vlm_features *out) {
    const llava *m = model;
    pictures p;
    int64_t height, width, total = 0;
    if (!vlm_prepared_find(prepared, "pixel_values")) return 0;
    if (!find_pictures(f, &p, m, prepared, 4)) return 0;
    for (int64_t i = 0; i < p.n; i++) {
        int64_t n = rows_of(m, &p, i, &height, &width);
        if (n <= 0)
            return vlm_frame_fail(f, VLM_ERR_PROCESSING,
                                  "prepared input: '%s': picture %lld of %lld x %lld has no place in pixel_values of %lld x %lld",
                                  p.sizes ? "image_sizes" : "pixel_values", (long long)i, (long long)width,
                                  (long long)height, (long long)p.width, (long long)p.height), 0;
        total += n;
    }
    vlm_tensor all = vlm_tensor_new(f, VLM_DTYPE_F32, 2,
                                    (int64_t[]) { total, vlm_text_get_info(m->text)->hidden_size });
    for (int64_t i = 0, at = 0, n; i < p.n && vlm_frame_ok(f); i++, at += n) {
        vlm_scope scope = vlm_scope_begin(f);
        n = rows_of(m, &p, i, &height, &width);
        vlm_copy_to(f, vlm_rows(f, all, at, n), view_features(f, m, &p, i, height, width));
        vlm_scope_end(f, scope);
    }
    out[0] = (vlm_features) { .token_id = (uint32_t)m->image_token_id, .rows = all, .name = "image_features" };
    return 1;
}

const vlm_model_type vmodel_llava = {
    .model_type = "llava",
    .default_processor_class = "LlavaProcessor",
    .create = create,
    .text = text_of,
    .features = features,
    .user = &llava_kind,
};

const vlm_model_type vmodel_fast_vlm = {
    .model_type = "fast_vlm",
    .default_processor_class = "LlavaProcessor",
    .create = create,
    .text = text_of,
    .features = features,
    .user = &fast_vlm_kind,
};

/* ---- LLaVA-NeXT: the whole and tiles --------------------------------------------------------- */
static vlm_status plan_picture(vlm_anyres_plan *plan, const llava *m, const pictures *p, int64_t i, vlm_error *err) {
    const int64_t height = p->sizes[2 * i], width = p->sizes[2 * i + 1];
    if (height < 1 || width < 1 || height > INT32_MAX || width > INT32_MAX)
        return vlm_fail(err, VLM_ERR_PROCESSING, "prepared input: 'image_sizes': picture %lld is %lld x %lld",
                        (long long)i, (long long)width, (long long)height);
    vlm_status status = vlm_plan_anyres(plan, (vlm_size) { (uint32_t)width, (uint32_t)height }, &m->rule, err);
    const int64_t views = 1 + (int64_t)plan->tiles.columns * plan->tiles.rows;
    if (status == VLM_OK && (views > p->views || p->height != m->rule.tile || p->width != m->rule.tile))
        return vlm_fail(err, VLM_ERR_PROCESSING,
                        "prepared input: 'pixel_values': %lld views of %lld x %lld pixels where %lld of %u are needed",
                        (long long)p->views, (long long)p->width, (long long)p->height, (long long)views, m->rule.tile);
    return status;
}

/* What is shown of a tile, line by line into the picture's lines. @param out [lines * (columns + 1), dim]
 * @param y [side * side, dim] */
static void place_tile(vlm_frame *f, vlm_tensor out, vlm_tensor y, const vlm_anyres_plan *plan, int64_t side,
                       int64_t tile) {
    const int64_t columns = plan->patches.columns, lines = plan->patches.rows;
    const int64_t left = tile % plan->tiles.columns * side - plan->cut_x; /* of the tile, in what is shown */
    const int64_t top = tile / plan->tiles.columns * side - plan->cut_y;
    const int64_t from = left < 0 ? -left : 0, to = left + side > columns ? columns - left : side;
    for (int64_t line = 0; line < side && from < to; line++)
        if (top + line >= 0 && top + line < lines)
            vlm_copy_to(f, vlm_rows(f, out, (top + line) * (columns + 1) + left + from, to - from),
                        vlm_rows(f, y, line * side + from, to - from));
}

/* One picture. @param out [plan->tokens, dim] */
static void picture_features(vlm_frame *f, const llava *m, const pictures *p, int64_t picture,
                             const vlm_anyres_plan *plan, vlm_tensor out) {
    const int64_t side = m->rule.tile / m->rule.patch_size, whole = side * side, tile = m->rule.tile;
    const int64_t line = plan->patches.columns + 1, views = 1 + (int64_t)plan->tiles.columns * plan->tiles.rows;
    vlm_tensor lines = vlm_rows(f, out, whole, plan->tokens - whole);
    for (int64_t i = 0; i < views && vlm_frame_ok(f); i++) {
        vlm_scope scope = vlm_scope_begin(f);
        vlm_tensor y = view_features(f, m, p, picture * p->views + i, tile, tile);
        if (i == 0)
            vlm_copy_to(f, vlm_rows(f, out, 0, whole), y);
        else
            place_tile(f, lines, y, plan, side, i - 1);
        vlm_scope_end(f, scope);
    }
    const vlm_tensor newline = vlm_reshape2(f, m->image_newline, 1, -1);
    for (int64_t i = 0; i < plan->patches.rows && vlm_frame_ok(f); i++)
        vlm_copy_to(f, vlm_rows(f, lines, (i + 1) * line - 1, 1), newline);
}

static int anyres_features(vlm_frame *f, const void *model, const vlm_prepared *prepared, vlm_features *out) {
    const llava *m = model;
    pictures p;
    vlm_anyres_plan plan;
    vlm_error err = VLM_ERROR_INIT;
    int64_t total = 0;
    if (!vlm_prepared_find(prepared, "pixel_values")) return 0;
    if (!find_pictures(f, &p, m, prepared, 5)) return 0;
    for (int64_t i = 0; i < p.n; i++) {
        if (plan_picture(&plan, m, &p, i, &err) < 0) return vlm_frame_fail(f, err.code, "%s", err.message), 0;
        total += plan.tokens;
    }
    vlm_tensor all = vlm_tensor_new(f, VLM_DTYPE_F32, 2,
                                    (int64_t[]) { total, vlm_text_get_info(m->text)->hidden_size });
    for (int64_t i = 0, at = 0; i < p.n && vlm_frame_ok(f); i++, at += plan.tokens) {
        plan_picture(&plan, m, &p, i, NULL);
        picture_features(f, m, &p, i, &plan, vlm_rows(f, all, at, plan.tokens));
    }
    out[0] = (vlm_features) { .token_id = (uint32_t)m->image_token_id, .rows = all, .name = "image_features" };
    return 1;
}

const vlm_model_type vmodel_llava_next = {
    .model_type = "llava_next",
    .default_processor_class = "LlavaNextProcessor",
    .create = create,
    .text = text_of,
    .features = anyres_features,
    .user = &llava_next_kind,
};
