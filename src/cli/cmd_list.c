/* SPDX-License-Identifier: MIT */
/* vlm list: the registries. */
#include "cli/cli.h"

#include <stdio.h>

/* ---- names and their aliases ------------------------------------------------------------------------- */
static void put_alias(vcore_buf *b, vcore_str alias, bool json, bool first) {
    if (json)
        vcore_json_put_str(b, NULL, alias);
    else
        vcore_buf_printf(b, "%s%.*s", first ? " (" : "|", (int)alias.n, alias.p);
}

/* The aliases of a row ('|'-separated), then, for a model type, those that every registry knows. */
static void put_aliases(vcore_buf *b, const char *key, const char *own, bool models, bool json) {
    const char *alias, *type;
    bool first = true;
    for (; own && *own; first = false) {
        size_t n = strcspn(own, "|");
        put_alias(b, (vcore_str) { own, n }, json, first);
        own += n + (own[n] == '|');
    }
    for (size_t i = 0; models && (alias = vlm_remap_at(i, &type)); i++) {
        if (strcmp(type, key) != 0) continue;
        put_alias(b, vcore_str_of(alias), json, first);
        first = false;
    }
    if (!json && !first) vcore_buf_puts(b, ")");
}

static void list_keys(vcore_buf *b, bool models, bool json) {
    const char *key, *aliases;
    for (size_t i = 0;; i++) {
        key = models ? vlm_model_registry_at(vlm_model_registry_default(), i, &aliases)
                     : vlm_processor_registry_at(vlm_processor_registry_default(), i, &aliases);
        if (!key) return;
        if (json) {
            vcore_json_open(b, NULL, '{');
            vcore_json_put_text(b, models ? "model_type" : "processor_class", key);
            vcore_json_open(b, "aliases", '[');
            put_aliases(b, key, aliases, models, true);
            vcore_json_close(b, ']');
            vcore_json_close(b, '}');
        } else {
            vcore_buf_puts(b, key);
            put_aliases(b, key, aliases, models, false);
            vcore_buf_puts(b, "\n");
        }
    }
}

/* ---- checkpoints ---------------------------------------------------------------------------------------- */
static void put_checkpoint(vcore_buf *b, const vlm_model_configuration *c) {
    vcore_json_open(b, NULL, '{');
    vcore_json_put_text(b, "id", c->id);
    vcore_json_put_text(b, "revision", c->revision);
    vcore_json_put_text(b, "model_type", c->model_type);
    vcore_json_put_text(b, "tokenizer_source", c->tokenizer_source);
    vcore_json_put_text(b, "default_prompt", c->default_prompt);
    vcore_json_open(b, "extra_eos", '[');
    for (size_t i = 0; i < c->n_extra_eos; i++)
        vcore_json_put_str(b, NULL, vcore_str_of(c->extra_eos[i]));
    vcore_json_close(b, ']');
    vcore_json_close(b, '}');
}

static void list_checkpoints(vcore_buf *b, bool json) {
    const vlm_model_configuration *c;
    for (size_t i = 0; (c = vlm_checkpoint_registry_at(vlm_checkpoint_registry_default(), i)); i++) {
        if (json)
            put_checkpoint(b, c);
        else
            vcore_buf_printf(b, "%-50s %s\n", c->id, c->model_type ? c->model_type : "");
    }
}

int cmd_list(int argc, char **argv) {
    bool json = false;
    const cli_option own[] = {
        { "--json", NULL, CLI_FLAG, &json, 0, 0, "a JSON array" },
        { NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL },
    };
    const cli_option *const tables[] = { own, NULL };
    cli_texts rest = { .n = 0 };
    int done = cli_parse(argc, argv, "list models|processors|checkpoints [--json]", tables, &rest, 1);
    if (done >= 0) return done;
    const char *what = rest.n ? rest.at[0] : "";
    bool models = !strcmp(what, "models"), processors = !strcmp(what, "processors");
    if (!models && !processors && strcmp(what, "checkpoints")) {
        fprintf(stderr, "vlm: list: models, processors or checkpoints\n");
        return CLI_USAGE;
    }
    vcore_buf b = { 0 };
    if (json) vcore_json_open(&b, NULL, '[');
    if (models || processors)
        list_keys(&b, models, json);
    else
        list_checkpoints(&b, json);
    if (json) {
        vcore_json_close(&b, ']');
        vcore_buf_puts(&b, "\n");
    }
    vlm_error err = VLM_ERROR_INIT;
    if (b.failed) vcore_no_memory(&err, what);
    bool written = !b.failed;
    if (written) fputs(b.p ? b.p : "", stdout);
    vcore_buf_free(&b);
    return written ? CLI_DONE : cli_fail("list", &err);
}
