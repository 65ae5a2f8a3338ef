/* SPDX-License-Identifier: MIT */
/* vlm list: the registries. */
#include "cli/cli.h"

#include <stdio.h>

/* '|'-separated names as a JSON list. */
static void put_names(vcore_buf *b, const char *key, const char *names) {
    vcore_json_open(b, key, '[');
    while (names && *names) {
        size_t n = strcspn(names, "|");
        vcore_json_put_str(b, NULL, (vcore_str) { names, n });
        names += n + (names[n] == '|');
    }
    vcore_json_close(b, ']');
}

typedef const char *(*list_fn)(const vlm_registry *, size_t, const char **);

static void list_keys(vcore_buf *b, const vlm_registry *registry, list_fn at, const char *name, bool json) {
    const char *key, *aliases;
    for (size_t i = 0; (key = at(registry, i, &aliases)); i++) {
        if (json) {
            vcore_json_open(b, NULL, '{');
            vcore_json_put_text(b, name, key);
            put_names(b, "aliases", aliases);
            vcore_json_close(b, '}');
        } else {
            vcore_buf_printf(b, "%s%s%s%s\n", key, aliases ? " (" : "", aliases ? aliases : "",
                             aliases ? ")" : "");
        }
    }
}

static void list_checkpoints(vcore_buf *b, bool json) {
    const vlm_checkpoint *c;
    for (size_t i = 0; (c = vlm_checkpoint_at(i)); i++) {
        if (json) {
            vcore_json_open(b, NULL, '{');
            vcore_json_put_text(b, "id", c->id);
            vcore_json_put_text(b, "model_type", c->model_type);
            vcore_json_put_text(b, "default_prompt", c->default_prompt);
            vcore_json_put_text(b, "extra_eos", c->extra_eos);
            vcore_json_close(b, '}');
        } else {
            vcore_buf_printf(b, "%-44s %s\n", c->id, c->model_type);
        }
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
    vlm_error err = VLM_ERROR_INIT;
    vlm_registry *registry;
    if (vlm_registry_new(&registry, &err) < 0) return cli_fail("list", &err);
    vcore_buf b = { 0 };
    if (json) vcore_json_open(&b, NULL, '[');
    if (models)
        list_keys(&b, registry, vlm_registry_model, "model_type", json);
    else if (processors)
        list_keys(&b, registry, vlm_registry_processor, "processor_class", json);
    else
        list_checkpoints(&b, json);
    if (json) {
        vcore_json_close(&b, ']');
        vcore_buf_puts(&b, "\n");
    }
    fputs(b.p ? b.p : "", stdout);
    vcore_buf_free(&b);
    vlm_registry_free(registry);
    return CLI_DONE;
}
