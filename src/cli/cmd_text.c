/* SPDX-License-Identifier: MIT */
/* vlm tokenize, detokenize, template: the three that need only the tokenizer files of a directory. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_JSON (16u << 20)

/* The tokenizer of a directory or hub id. */
static vlm_status load_tokenizer(vlm_tokenizer **out, const char *model, const char *revision, vlm_error *err) {
    char *dir;
    VTRY(cli_tokenizer_dir(&dir, model, revision, err));
    vlm_status status = vlm_tokenizer_load(out, dir, NULL, err);
    cli_loaded(status);
    vcore_free(dir);
    return status;
}

static void print_ids(const vlm_tokens *t) {
    vcore_buf b = { 0 };
    vcore_json_open(&b, NULL, '[');
    for (size_t i = 0; i < t->count; i++) vcore_json_put_uint(&b, NULL, t->ids[i]);
    vcore_json_close(&b, ']');
    puts(b.p ? b.p : "[]");
    vcore_buf_free(&b);
}

static void print_pieces(const vlm_tokenizer *tokenizer, const vlm_tokens *t) {
    vcore_buf b = { 0 };
    vcore_json_open(&b, NULL, '[');
    for (size_t i = 0; i < t->count; i++) {
        const char *piece = vlm_tokenizer_token(tokenizer, t->ids[i]);
        vcore_json_open(&b, NULL, '{');
        vcore_json_put_uint(&b, "id", t->ids[i]);
        vcore_json_put_text(&b, "piece", piece ? piece : "");
        vcore_json_put_uint(&b, "begin", t->begins[i]);
        vcore_json_put_uint(&b, "end", t->ends[i]);
        vcore_json_close(&b, '}');
    }
    vcore_json_close(&b, ']');
    puts(b.p ? b.p : "[]");
    vcore_buf_free(&b);
}

int cmd_tokenize(int argc, char **argv) {
    const char *model = NULL, *revision = NULL;
    bool json = false, plain = false, no_special = false;
    const cli_option own[] = {
        { "--model", "-m", CLI_TEXT, &model, 0, 0, "DIR|ID   where the tokenizer files are; or a hub id" },
        { "--revision", NULL, CLI_TEXT, &revision, 0, 0, "R   of a hub id (main)" },
        { "--json", NULL, CLI_FLAG, &json, 0, 0, "ids, pieces and byte offsets" },
        { "--plain", NULL, CLI_FLAG, &plain, 0, 0, "as a user's text: no special tokens in it" },
        { "--no-special", NULL, CLI_FLAG, &no_special, 0, 0, "add no BOS or EOS" },
        { NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL },
    };
    const cli_option *const tables[] = { own, NULL };
    cli_texts rest = { .n = 0 };
    int done = cli_parse(argc, argv, "tokenize -m DIR [--json] [--] TEXT", tables, &rest, 1);
    if (done >= 0) return done;
    if (!model || rest.n != 1) {
        fprintf(stderr, "vlm: tokenize: -m DIR and a TEXT are needed\n");
        return CLI_USAGE;
    }
    vlm_error err = VLM_ERROR_INIT;
    vlm_tokenizer *tokenizer;
    if (load_tokenizer(&tokenizer, model, revision, &err) < 0) return cli_fail("tokenize", &err);
    vlm_tokens tokens;
    unsigned flags = (no_special ? 0 : VLM_ENCODE_ADD_SPECIAL) | (plain ? VLM_ENCODE_PLAIN : 0);
    vlm_status status =
        vlm_tokenizer_encode(&tokens, tokenizer, rest.at[0], strlen(rest.at[0]), flags, &err);
    if (status >= 0) {
        if (json)
            print_pieces(tokenizer, &tokens);
        else
            print_ids(&tokens);
        vlm_tokens_free(&tokens);
    }
    vlm_tokenizer_free(tokenizer);
    return status < 0 ? cli_fail("tokenize", &err) : CLI_DONE;
}

/* Ids as a JSON list, or as numbers with commas or blanks between them. */
static vlm_status parse_ids(uint32_t **out, size_t *n, const cli_texts *words, vlm_error *err) {
    *out = NULL;
    *n = 0;
    for (size_t i = 0; i < words->n; i++) {
        for (const char *p = words->at[i]; *p;) {
            if (strchr("[], \t\n", *p)) {
                p++;
                continue;
            }
            char *end;
            unsigned long long id = strtoull(p, &end, 10);
            if (end == p || *p == '-' || id > UINT32_MAX) {
                vcore_free(*out);
                *out = NULL;
                return vcore_fail(err, VLM_ERR_FORMAT, "'%.20s': not an id", p);
            }
            uint32_t *bigger = vcore_realloc_array(*out, *n + 1, sizeof **out);
            if (!bigger) {
                vcore_free(*out);
                *out = NULL;
                return vcore_no_memory(err, "ids");
            }
            *out = bigger;
            (*out)[(*n)++] = (uint32_t)id;
            p = end;
        }
    }
    return VLM_OK;
}

int cmd_detokenize(int argc, char **argv) {
    const char *model = NULL, *revision = NULL;
    bool skip_special = false;
    const cli_option own[] = {
        { "--model", "-m", CLI_TEXT, &model, 0, 0, "DIR|ID   where the tokenizer files are; or a hub id" },
        { "--revision", NULL, CLI_TEXT, &revision, 0, 0, "R   of a hub id (main)" },
        { "--skip-special", NULL, CLI_FLAG, &skip_special, 0, 0, "special tokens give no text" },
        { NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL },
    };
    const cli_option *const tables[] = { own, NULL };
    cli_texts rest = { .n = 0 };
    int done = cli_parse(argc, argv, "detokenize -m DIR IDS   (a JSON list, or numbers)", tables, &rest, 64);
    if (done >= 0) return done;
    if (!model || rest.n == 0) {
        fprintf(stderr, "vlm: detokenize: -m DIR and IDS are needed\n");
        return CLI_USAGE;
    }
    vlm_error err = VLM_ERROR_INIT;
    vlm_tokenizer *tokenizer = NULL;
    uint32_t *ids = NULL;
    size_t n;
    char *text = NULL;
    vlm_status status = load_tokenizer(&tokenizer, model, revision, &err);
    if (status >= 0) status = parse_ids(&ids, &n, &rest, &err);
    if (status >= 0) status = vlm_tokenizer_decode(&text, tokenizer, ids, n, skip_special, &err);
    if (status >= 0) puts(text);
    vlm_string_free(text);
    vcore_free(ids);
    vlm_tokenizer_free(tokenizer);
    return status < 0 ? cli_fail("detokenize", &err) : CLI_DONE;
}

/* What the template gets beside the messages, as one JSON object. */
static vlm_status variables_json(vcore_buf *b, const cli_texts *variables, const char *tools, bool generation,
                                 vlm_error *err) {
    static const char continued[] = "continue_final_message=";
    vcore_json_open(b, NULL, '{');
    for (size_t i = 0; i < variables->n; i++)
        if (!strncmp(variables->at[i], continued, sizeof continued - 1)) {
            const char *json = variables->at[i] + sizeof continued - 1;
            json += strspn(json, " \t\r\n");
            generation &= *json == 'f' || *json == 'n'; /* false, null */
        }
    vcore_json_put_bool(b, "add_generation_prompt", generation);
    if (tools) {
        char *json = cli_read_file(tools, MAX_JSON, err);
        if (!json) return VLM_ERR_IO;
        vcore_json_put_raw(b, "tools", json);
        vcore_free(json);
    }
    for (size_t i = 0; i < variables->n; i++) {
        const char *text = variables->at[i], *equals = strchr(text, '=');
        vcore_json_doc *doc; /* a value that is none would change the object around it */
        VTRY(vcore_json_parse(&doc, equals + 1, strlen(equals + 1), text, err));
        vcore_json_free(doc);
        vcore_json_key(b, (vcore_str) { text, (size_t)(equals - text) });
        vcore_json_put_raw(b, NULL, equals + 1);
    }
    vcore_json_close(b, '}');
    return b->failed ? vcore_no_memory(err, "variables") : VLM_OK;
}

int cmd_template(int argc, char **argv) {
    const char *model = NULL, *revision = NULL, *messages = NULL, *tools = NULL;
    cli_texts variables = { .n = 0 };
    bool no_generation_prompt = false;
    const cli_option own[] = {
        { "--model", "-m", CLI_TEXT, &model, 0, 0, "DIR|ID   where the chat template is; or a hub id" },
        { "--revision", NULL, CLI_TEXT, &revision, 0, 0, "R   of a hub id (main)" },
        { "--messages", NULL, CLI_TEXT, &messages, 0, 0, "FILE   the chat, a JSON array of messages" },
        { "--template-var", NULL, CLI_TEXTS, &variables, 0, 0, "NAME=JSON   a variable of the template; repeatable" },
        { "--tools", NULL, CLI_TEXT, &tools, 0, 0, "FILE   a JSON array of tools for the template" },
        { "--no-generation-prompt", NULL, CLI_FLAG, &no_generation_prompt, 0, 0, "without the assistant's beginning" },
        { NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL },
    };
    const cli_option *const tables[] = { own, NULL };
    cli_texts rest = { .n = 0 };
    int done = cli_parse(argc, argv, "template -m DIR --messages FILE.json [OPTIONS]", tables, &rest, 0);
    if (done >= 0) return done;
    bool named = true;
    for (size_t i = 0; i < variables.n; i++) named &= strchr(variables.at[i], '=') != NULL;
    if (!model || !messages || !named) {
        fprintf(stderr, named ? "vlm: template: -m DIR and --messages FILE are needed\n"
                              : "vlm: --template-var: NAME=JSON\n");
        return CLI_USAGE;
    }
    vlm_error err = VLM_ERROR_INIT;
    vcore_buf more = { 0 };
    char *chat = cli_read_file(messages, MAX_JSON, &err), *text = NULL;
    vlm_status status = chat ? variables_json(&more, &variables, tools, !no_generation_prompt, &err) : VLM_ERR_IO;
    char *dir = NULL;
    if (status >= 0) status = cli_tokenizer_dir(&dir, model, revision, &err);
    if (status >= 0) status = vlm_template_render(&text, dir, chat, more.p, NULL, &err);
    vcore_free(dir);
    cli_loaded(status);
    if (status >= 0) fputs(text, stdout);
    vlm_string_free(text);
    vcore_free(chat);
    vcore_buf_free(&more);
    return status < 0 ? cli_fail("template", &err) : CLI_DONE;
}
