/* SPDX-License-Identifier: MIT */
/* Message formats: what the chat template gets for every model type of mlx-vlm's table (tests/data/message_formats.json, made by
 * tools/golden/message_formats.py), which bytes of it are the library's, and prompts whose places and media do not match. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "support/cm.h"
#include "support/parity.h"

#define PICTURES "tests/data/pictures/"
#define IMAGE "{\"type\": \"image\"}"
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static vlm_error err;

static vlm_image *pixel(void) {
    static const uint8_t rgb[3] = { 1, 2, 3 };
    vlm_image *image;
    assert_int_equal(vlm_image_from_pixels(&image, rgb, (vlm_size) { 1, 1 }, 3, 3, &err), VLM_OK);
    return image;
}

static int64_t number(const vlm_json *v, const char *key) {
    int64_t n = 0;
    vcore_json_int(vcore_json_get(v, key), &n);
    return n;
}

static const char *string(const vlm_json *v, const char *key) {
    vcore_str s = { "", 0 };
    vcore_json_string(vcore_json_get(v, key), &s);
    return s.p;
}

static void add_media(vlm_input *in, const vlm_json *from) {
    for (int64_t n = number(from, "images"); n > 0; n--)
        assert_int_equal(vlm_input_add_image(in, pixel(), &err), VLM_OK);
    for (int64_t n = number(from, "videos"); n > 0; n--) {
        vlm_image *frame = pixel();
        assert_int_equal(vlm_input_add_video(in, &frame, 1, 1, &err), VLM_OK);
    }
}

/* ---- the golden ------------------------------------------------------------------------------------------------- */

static vcore_json_doc *golden;

static int read_golden(void **state) {
    (void)state;
    FILE *f = fopen("tests/data/message_formats.json", "rb");
    assert_non_null(f);
    static char text[1 << 17];
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    assert_true(n < sizeof text);
    return vcore_json_parse(&golden, text, n, "golden", &err) < 0;
}

static int free_golden(void **state) {
    (void)state;
    vcore_json_free(golden);
    return 0;
}

/* A part without a path takes a picture that was added: as many as the reference counts. */
static void add_shown(vlm_input *in, const vlm_json *messages) {
    for (size_t i = 0; i < vcore_json_count(messages); i++) {
        const vlm_json *content = vcore_json_get(vcore_json_at(messages, i), "content");
        for (size_t k = 0; vcore_json_kind_of(content) == VCORE_JSON_ARRAY && k < vcore_json_count(content); k++)
            if (vengine_part_is(vcore_str_of(string(vcore_json_at(content, k), "type")), "image"))
                assert_int_equal(vlm_input_add_image(in, pixel(), &err), VLM_OK);
    }
}

static vlm_input *input_of(const vlm_json *c) {
    vlm_input *in;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    const vlm_json *turns = vcore_json_get(c, "turns"), *messages = vcore_json_get(c, "messages");
    for (size_t i = 0; i < vcore_json_count(turns); i++) {
        const vlm_json *turn = vcore_json_at(turns, i);
        add_media(in, turn);
        assert_int_equal(vlm_input_add_message(in, string(turn, "role"), string(turn, "text"), &err), VLM_OK);
    }
    if (!messages) return in;
    vcore_buf text = { 0 };
    vcore_json_put(&text, NULL, messages);
    assert_non_null(in->messages_json = vcore_strndup(text.p, text.n)); /* no file is opened for its URLs */
    vcore_buf_free(&text);
    add_shown(in, messages);
    add_media(in, c);
    return in;
}

/* Every marked piece is made of placeholders, and there are as many as images have a place. */
static size_t check_control(const vlm_json *written, const vlm_message_format *format) {
    const vlm_json *control = vcore_json_get(written, "_control");
    size_t images = 0;
    for (size_t i = 0; i < vcore_json_count(control); i++) {
        int64_t at[3];
        for (size_t k = 0; k < 3; k++)
            assert_true(vcore_json_int(vcore_json_at(vcore_json_at(control, i), k), &at[k]));
        const vlm_json *message = vcore_json_at(vcore_json_get(written, "messages"), (size_t)at[0]);
        const char *p = string(message, "content") + at[1], *end = string(message, "content") + at[2];
        while (p < end) {
            char token[64];
            const char *d = strstr(format->image, "%d");
            snprintf(token, sizeof token, "%s", format->image);
            if (d)
                snprintf(token, sizeof token, "%.*s%zu%s", (int)(d - format->image), format->image, images + 1, d + 2);
            assert_memory_equal(p, token, strlen(token));
            p += strlen(token);
            images++;
        }
        assert_ptr_equal(p, end);
    }
    return images;
}

static void check_case(const char *type, const vlm_json *c, const vlm_json *expected, const vlm_message_format *format) {
    vlm_input *in = input_of(c);
    vcore_buf b = { 0 }, want = { 0 }, have = { 0 };
    vcore_json_doc *doc;
    vcore_json_open(&b, NULL, '{');
    if (vengine_messages_write(&b, in, format, &err) < 0) fail_msg("%s: %s", type, err.message);
    vcore_json_close(&b, '}');
    assert_int_equal(vcore_json_parse(&doc, b.p, b.n, type, &err), VLM_OK);
    vcore_json_put(&want, NULL, expected);
    vcore_json_put(&have, NULL, vcore_json_get(vcore_json_root(doc), "messages"));
    if (strcmp(want.p, have.p))
        fail_msg("%s, %s:\nexpected %s\nwritten  %s", type, string(c, "name"), want.p, have.p);
    size_t marked = check_control(vcore_json_root(doc), format);
    bool strings = format->content == VLM_CONTENT_TEXT && format->image && !(in->n_videos && format->video_parts);
    assert_int_equal(marked, strings ? in->n_images : 0);
    vcore_json_free(doc);
    vcore_buf_free(&b);
    vcore_buf_free(&want);
    vcore_buf_free(&have);
    vlm_input_free(in);
}

static void every_type_gets_what_mlx_vlm_gives(void **state) {
    (void)state;
    const vlm_json *root = vcore_json_root(golden), *cases = vcore_json_get(root, "cases");
    size_t checked = 0;
    for (vcore_json_iter it = { 0 }; vcore_json_next(vcore_json_get(root, "types"), &it);) {
        bool single, said = false;
        const vlm_message_format *format = vmodel_message_format(it.key.p, &single);
        if (!format) fail_msg("%s is not in the table", it.key.p);
        vcore_json_bool(vcore_json_get(it.value, "single"), &said);
        assert_int_equal(single, said);
        const vlm_json *group = vcore_json_at(vcore_json_get(root, "groups"), (size_t)number(it.value, "group"));
        for (size_t i = 0; i < vcore_json_count(cases); i++) {
            const vlm_json *expected = vcore_json_at(group, i);
            if (vcore_json_kind_of(expected) == VCORE_JSON_NULL) { /* several images, and the type takes one */
                assert_true(single);
                continue;
            }
            check_case(it.key.p, vcore_json_at(cases, i), expected, format);
            checked++;
        }
    }
    assert_true(checked > 1500);
}

static void types_are_found_in_capital_letters_too(void **state) {
    (void)state;
    assert_ptr_equal(vmodel_message_format("LLaVA-Qwen2", NULL), vmodel_message_format("llava-qwen2", NULL));
    static const char *const none[] = { "", "llava|llava_next", "nobody", "lava",
                                        "a_name_that_is_longer_than_any_that_the_table_could_ever_hold_it_is" };
    for (size_t i = 0; i < COUNT(none); i++) assert_null(vmodel_message_format(none[i], NULL));
}

/* Cases that the reference has no like of: media of a later answer, explicit and loose ones, nobody who asks. */
static void loose_media_keep_their_order(void **state) {
    (void)state;
    static const struct {
        const char *chat, *written;
        size_t images, videos;
    } cases[] = {
        { "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":[" IMAGE "]}]",
          "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},"
          "{\"role\":\"assistant\",\"content\":[" IMAGE ", " IMAGE "]}]", 2, 0 },
        { "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}," IMAGE "]}]",
          "[{\"role\":\"user\",\"content\":[{\"type\":\"video\"},{\"type\":\"text\",\"text\":\"a\"}," IMAGE "," IMAGE "]}]", 2, 1 },
        { "[{\"role\":\"system\",\"content\":\"s\"}]",
          "[{\"role\":\"system\",\"content\":[" IMAGE ",{\"type\":\"text\",\"text\":\"s\"}]}]", 1, 0 },
        { "[{\"role\":\"user\",\"name\":\"Ann\",\"content\":null},{\"role\":\"assistant\",\"tool_calls\":[]}]",
          "[{\"role\":\"user\",\"name\":\"Ann\",\"content\":[" IMAGE ",{\"type\":\"text\",\"text\":\"\"}]},"
          "{\"role\":\"assistant\",\"tool_calls\":[],\"content\":\"\"}]", 1, 0 },
        { "[]", "[]", 1, 0 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[400];
        vcore_json_doc *c, *expected;
        snprintf(text, sizeof text, "{\"name\": \"%zu\", \"messages\": %s}", i, cases[i].chat);
        assert_int_equal(vcore_json_parse(&c, text, strlen(text), "case", &err), VLM_OK);
        assert_int_equal(vcore_json_parse(&expected, cases[i].written, strlen(cases[i].written), "written", &err), VLM_OK);
        vlm_input *in = input_of(vcore_json_root(c));
        while (in->n_images < cases[i].images) assert_int_equal(vlm_input_add_image(in, pixel(), &err), VLM_OK);
        for (size_t k = 0; k < cases[i].videos; k++) {
            vlm_image *frame = pixel();
            assert_int_equal(vlm_input_add_video(in, &frame, 1, 1, &err), VLM_OK);
        }
        vcore_buf b = { 0 }, want = { 0 };
        vcore_json_open(&b, NULL, '{');
        assert_int_equal(vengine_messages_write(&b, in, &vmodel_message_parts, &err), VLM_OK);
        vcore_json_close(&b, '}');
        vcore_json_open(&want, NULL, '{');
        vcore_json_put(&want, "messages", vcore_json_root(expected));
        vcore_json_open(&want, "_control", '[');
        vcore_json_close(&want, ']');
        vcore_json_close(&want, '}');
        assert_string_equal(b.p, want.p);
        vcore_buf_free(&b);
        vcore_buf_free(&want);
        vcore_json_free(c);
        vcore_json_free(expected);
        vlm_input_free(in);
    }
}

/* Arguments as text become what they say; those that say nothing, nothing. */
static void arguments_of_calls_are_read(void **state) {
    (void)state;
    static const struct {
        const char *call, *written;
    } cases[] = {
        { "{\"function\": {\"name\": \"f\", \"arguments\": \"{\\\"x\\\": [1, \\\"<t>\\\"]}\"}, \"id\": 1}",
          "{\"function\": {\"name\": \"f\", \"arguments\": {\"x\": [1, \"<t>\"]}}, \"id\": 1}" },
        { "{\"function\": {\"arguments\": \"{\"}}", "{\"function\": {\"arguments\": {}}}" },
        { "{\"function\": {\"arguments\": \"\"}}", "{\"function\": {\"arguments\": {}}}" },
        { "{\"function\": {\"arguments\": {\"a\": \"1\"}}}", "{\"function\": {\"arguments\": {\"a\": \"1\"}}}" },
        { "{\"function\": \"1\", \"arguments\": \"1\"}", "{\"function\": \"1\", \"arguments\": \"1\"}" },
        { "3", "3" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        vlm_input *in;
        vcore_buf b = { 0 };
        char chat[300], written[300];
        static const char format[] = "[{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [%s]}]";
        snprintf(chat, sizeof chat, format, cases[i].call);
        snprintf(written, sizeof written, format, cases[i].written);
        assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
        assert_int_equal(vlm_input_set_messages(in, chat, &err), VLM_OK);
        vcore_json_open(&b, NULL, '{');
        assert_int_equal(vengine_messages_write(&b, in, &vmodel_message_parts, &err), VLM_OK);
        assert_memory_equal(b.p + strlen("{\"messages\": "), written, strlen(written));
        vcore_buf_free(&b);
        vlm_input_free(in);
    }
}

static void contents_of_other_kinds_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *chat, *message;
    } cases[] = {
        { "[{\"role\":\"user\",\"content\":3}]", "messages[0]: content: must be a string or an array, is an integer" },
        { "[{\"role\":\"user\",\"content\":{}}]", "messages[0]: content: must be a string or an array, is an object" },
        { "[{\"role\":\"user\",\"content\":[\"a\"]}]", "messages: a content part has no type" },
        { "[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]}]", "messages: content part of type 'input_audio'" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        vlm_input *in;
        vcore_buf b = { 0 };
        assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
        assert_int_equal(vlm_input_set_messages(in, cases[i].chat, &err), VLM_OK);
        assert_true(vengine_messages_write(&b, in, &vmodel_message_parts, &err) < 0);
        assert_string_equal(err.message, cases[i].message);
        vcore_buf_free(&b);
        vlm_input_free(in);
    }
}

/* ---- whole prompts ------------------------------------------------------------------------------------------------ */

static vlm_status prepare(const vlm_context *c, const char *raw, const char *chat, size_t images, const char *template,
                          size_t *tokens, size_t *media) {
    vlm_input *in;
    vlm_prepared *p;
    assert_int_equal(vlm_input_new(&in, &err), VLM_OK);
    for (size_t i = 0; i < images; i++)
        assert_int_equal(vlm_input_add_image_file(in, PICTURES "square.png", &err), VLM_OK);
    if (raw) assert_int_equal(vlm_input_set_raw(in, raw, &err), VLM_OK);
    if (chat && chat[0] == '[') assert_int_equal(vlm_input_set_messages(in, chat, &err), VLM_OK);
    if (chat && chat[0] != '[') assert_int_equal(vlm_input_add_message(in, "user", chat, &err), VLM_OK);
    if (template) {
        vcore_buf b = { 0 };
        vcore_json_quote(&b, template, strlen(template));
        assert_int_equal(vlm_input_set_variable(in, "chat_template", b.p, &err), VLM_OK);
        vcore_buf_free(&b);
    }
    err = (vlm_error) VLM_ERROR_INIT;
    vlm_status status = vlm_prepare(&p, c, in, &err);
    if (status >= 0) {
        *tokens = vlm_prepared_tokens(p, media);
        vlm_prepared_free(p);
    }
    vlm_input_free(in);
    return status;
}

static void check_counts(const char *golden_dir, const char *place) {
    tparity family;
    char two[100], chat[300], one_place[400], none[100], says[200];
    size_t tokens, media;
    tparity_open(&family, golden_dir, NULL, VLM_PRECISION_F32, 1);
    snprintf(two, sizeof two, "%s and %s", place, place);
    snprintf(chat, sizeof chat, "[{\"role\":\"user\",\"content\":[" IMAGE "," IMAGE ",{\"type\":\"text\",\"text\":\"%s?\"}]}]", place);
    snprintf(one_place, sizeof one_place, "{{ '%s' }}{{ messages | length }}", place);
    snprintf(none, sizeof none, "{{ messages | length }}");
    const struct {
        const char *raw, *chat, *template;
        size_t images, places;
    } cases[] = {
        { two, NULL, NULL, 1, 2 },  { two, NULL, NULL, 3, 2 },
        { NULL, chat, NULL, 1, 2 }, { NULL, place, one_place, 2, 1 },
        { NULL, place, none, 1, 0 }, { NULL, place, two, 1, 2 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char template[400];
        if (cases[i].template == two) snprintf(template, sizeof template, "{{ '%s' }}", two);
        vlm_status status = prepare(family.context, cases[i].raw, cases[i].chat, cases[i].images,
                                    cases[i].template == two ? template : cases[i].template, &tokens, &media);
        if (status != VLM_ERR_MEDIA_COUNT) fail_msg("%s, case %zu: %d, %s", golden_dir, i, (int)status, err.message);
        snprintf(says, sizeof says, "the prompt has %zu %s for images (%s), but %zu %s given", cases[i].places,
                 cases[i].places == 1 ? "place" : "places", place, cases[i].images, cases[i].images == 1 ? "is" : "are");
        assert_string_equal(err.message, says);
    }
    if (prepare(family.context, NULL, chat, 2, NULL, &tokens, &media) < 0) fail_msg("%s", err.message);
    snprintf(one_place, sizeof one_place, "{{ '%s' * 200000 }}", place); /* one pass counts them */
    assert_int_equal(prepare(family.context, NULL, "?", 1, one_place, &tokens, &media), VLM_ERR_MEDIA_COUNT);
    snprintf(says, sizeof says, "the prompt has 200000 places for images (%s), but 1 is given", place);
    assert_string_equal(err.message, says);
    tparity_close(&family);
}

static void places_and_media_must_match(void **state) {
    (void)state;
    check_counts("tests/golden/idefics3-whole", "<image>");
    check_counts("tests/golden/paligemma-gemma", "<image>");
    check_counts("tests/golden/qwen2_5_vl-tied", "<|image_pad|>");
    check_counts("tests/golden/smolvlm-video", "<image>");
}

/* A family of another format, on the built-in model: its messages are strings that hold the placeholder. */
static const char *image_token = "<image>";
static const char *placeholder_of_format(const void *self, bool video) {
    (void)self;
    return video ? NULL : image_token;
}

static const char strings[] =
    "{% for m in messages %}{{ m.role ~ ': ' ~ (m.content | trim) ~ '\\n' }}{% endfor %}";

static vlm_status open_with(tparity *p, const vlm_message_format *format, const char *placeholder, const char *template) {
    static vlm_processor_type row;
    tparity_open(p, "tests/golden/paligemma-gemma", NULL, VLM_PRECISION_F32, 1);
    vlm_context_free(p->context);
    p->context = NULL;
    row = *vlm_processor_registry_find(vlm_processor_registry_default(), "PaliGemmaProcessor");
    row.message_format = format;
    row.chat_template = template;
    row.image_required = false;
    row.raw_prompt = NULL;
    image_token = placeholder;
    row.placeholder = placeholder_of_format;
    vlm_processor_registry *registry;
    const vlm_processor_type *rows[] = { &row };
    assert_int_equal(vlm_processor_registry_with(&registry, vlm_processor_registry_default(), rows, 1, &err), VLM_OK);
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    options.processors = registry;
    options.threads = 1;
    vlm_status status = vlm_context_load(&p->context, p->dir, &options, &err);
    vlm_processor_registry_free(registry);
    return status;
}

static void what_is_typed_is_no_place(void **state) {
    (void)state;
    static const struct {
        const char *type, *place, *typed;
    } formats[] = {
        { "llava-qwen2", "<image>", "<image>" },      { "gemma3", "<start_of_image>", "<start_of_image> <image>" },
        { "phi3_v", "<|image_%d|>", "<|image_1|>" },  { "minicpmv4_6", "(<image>./</image>)", "(<image>./</image>)\n<image>" },
        { "unlimited-ocr", "<image>", "<image>\n<image" },
    };
    for (size_t i = 0; i < COUNT(formats); i++) {
        tparity p;
        size_t tokens, media, of_one;
        char chat[400];
        if (open_with(&p, vmodel_message_format(formats[i].type, NULL), formats[i].place, strings) < 0)
            fail_msg("%s: %s", formats[i].type, err.message);
        if (prepare(p.context, NULL, "?", 1, NULL, &tokens, &of_one) < 0) fail_msg("%s: %s", formats[i].type, err.message);
        if (prepare(p.context, NULL, formats[i].typed, 1, NULL, &tokens, &media) < 0)
            fail_msg("%s: %s", formats[i].type, err.message);
        assert_int_equal(media, of_one);
        assert_true(of_one > 0);
        assert_int_equal(prepare(p.context, NULL, formats[i].typed, 0, NULL, &tokens, &media), VLM_OK);
        assert_int_equal(media, 0);
        if (prepare(p.context, NULL, formats[i].typed, 3, NULL, &tokens, &media) < 0) fail_msg("%s", err.message);
        assert_int_equal(media, 3 * of_one);
        snprintf(chat, sizeof chat,
                 "[{\"role\":\"user\",\"content\":[" IMAGE ",{\"type\":\"text\",\"text\":\"<image><|image_2|>\"}," IMAGE
                 "]},{\"role\":\"assistant\",\"content\":\"<image>\"},{\"role\":\"user\",\"content\":[" IMAGE "]}]");
        if (prepare(p.context, NULL, chat, 3, NULL, &tokens, &media) < 0) fail_msg("%s", err.message);
        assert_int_equal(media, 3 * of_one);
        assert_int_equal(prepare(p.context, NULL, chat, 2, NULL, &tokens, &media), VLM_ERR_MEDIA_COUNT);
        tparity_close(&p);
    }
}

static void numbered_places_come_in_order(void **state) {
    (void)state;
    tparity p;
    size_t tokens, media;
    assert_int_equal(open_with(&p, vmodel_message_format("phi3_v", NULL), "<|image_%d|>", strings), VLM_OK);
    assert_int_equal(prepare(p.context, "<|image_1|><|image_2|><|image_x|> <|image_", NULL, 2, NULL, &tokens, &media), VLM_OK);
    assert_int_equal(prepare(p.context, "<|image_2|><|image_1|>", NULL, 2, NULL, &tokens, &media), VLM_ERR_MEDIA_COUNT);
    assert_string_equal(err.message, "the prompt names image 2 in place 1: places are numbered in order");
    assert_int_equal(prepare(p.context, "<|image_1|><|image_1|>", NULL, 2, NULL, &tokens, &media), VLM_ERR_MEDIA_COUNT);
    tparity_close(&p);
}

/* mlx-vlm's table says it of the type; the row of the class says nothing. */
static void single_image_types_refuse_a_second(void **state) {
    (void)state;
    tparity p;
    size_t tokens, media;
    assert_int_equal(open_with(&p, NULL, "<image>", strings), VLM_OK); /* paligemma's own row */
    assert_int_equal(prepare(p.context, NULL, "?", 1, NULL, &tokens, &media), VLM_OK);
    assert_int_equal(prepare(p.context, NULL, "?", 2, NULL, &tokens, &media), VLM_ERR_SINGLE_IMAGE_ALLOWED);
    assert_string_equal(err.message, "PaliGemmaProcessor: only a single image is allowed, 2 given");
    tparity_close(&p);
}

/* Without a template the prompt is what was said last; what was typed in it is text there, too. */
static void a_prompt_only_type_needs_no_template(void **state) {
    (void)state;
    static const char chat[] = "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"What?\"}]";
    tparity p;
    size_t tokens, media, raw_tokens, raw_media;
    assert_int_equal(open_with(&p, vmodel_message_format("paligemma", NULL), "<image>", NULL), VLM_OK);
    if (prepare(p.context, NULL, chat, 1, NULL, &tokens, &media) < 0) fail_msg("%s", err.message);
    assert_int_equal(prepare(p.context, "<image>What?", NULL, 1, NULL, &raw_tokens, &raw_media), VLM_OK);
    assert_int_equal(tokens, raw_tokens);
    assert_int_equal(media, raw_media);
    assert_int_equal(prepare(p.context, NULL, "<image>", 0, NULL, &tokens, &media), VLM_OK);
    assert_int_equal(media, 0);
    tparity_close(&p);
    assert_int_equal(open_with(&p, vmodel_message_format("florence2", NULL), "<image>", NULL), VLM_OK);
    assert_int_equal(prepare(p.context, NULL, "What?", 0, NULL, &tokens, &media), VLM_OK);
    assert_int_equal(prepare(p.context, NULL, "What?", 1, NULL, &tokens, &media), VLM_ERR_MEDIA_COUNT);
    tparity_close(&p);
    assert_int_equal(open_with(&p, vmodel_message_format("gemma3", NULL), "<image>", NULL), VLM_OK);
    assert_int_equal(prepare(p.context, NULL, "What?", 0, NULL, &tokens, &media), VLM_ERR_TEMPLATE);
    tparity_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_gets_what_mlx_vlm_gives),
        cmocka_unit_test(types_are_found_in_capital_letters_too),
        cmocka_unit_test(loose_media_keep_their_order),
        cmocka_unit_test(arguments_of_calls_are_read),
        cmocka_unit_test(contents_of_other_kinds_are_refused),
        cmocka_unit_test(places_and_media_must_match),
        cmocka_unit_test(what_is_typed_is_no_place),
        cmocka_unit_test(numbered_places_come_in_order),
        cmocka_unit_test(single_image_types_refuse_a_second),
        cmocka_unit_test(a_prompt_only_type_needs_no_template),
    };
    return cmocka_run_group_tests_name("formats", tests, read_golden, free_golden);
}
