/* SPDX-License-Identifier: MIT */
/* Out of memory at every allocation of a pull and of a look into the cache: an error or a whole snapshot, nothing in
 * between, nothing leaked (the address sanitizer watches). The hub is another process, whose allocations are its own. */
#include "support/alloc.h"
#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/edit.h"

#include "vlm/load/hub.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char *model, endpoint[64];
static pid_t server;
static int server_input;

static void write_file(const char *name, const char *text) {
    assert_true(tedit_write(model, name, text, strlen(text)));
}

static int set_up(void **state) {
    (void)state;
    const char *build = getenv("VLM_BUILD_DIR");
    char program[1024], commit[64];
    int in[2], out[2];
    model = tcheckpoint_temp_dir();
    write_file("config.json", "{}");
    write_file("tokenizer.json", "{ }");
    write_file("model.safetensors.index.json", "{\"weight_map\": {\"a\": \"a.safetensors\"}}");
    write_file("a.safetensors", "weights");
    snprintf(program, sizeof program, "%s/tests/serve_hub", build ? build : "build");
    assert_true(pipe(in) == 0 && pipe(out) == 0);
    server = fork();
    assert_true(server >= 0);
    if (server == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        alarm(250);
        execl(program, program, model, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    server_input = in[1];
    FILE *f = fdopen(out[0], "r");
    assert_int_equal(fscanf(f, "%63s %63s", endpoint, commit), 2);
    fclose(f);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    close(server_input);
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    tcheckpoint_remove(model);
    free(model);
    return 0;
}

static void expect_whole(const char *dir) {
    static const char *const names[] = { "config.json", "tokenizer.json", "model.safetensors.index.json", "a.safetensors" };
    for (int i = 0; i < 4; i++) {
        char *path = tcheckpoint_path(dir, names[i]);
        assert_int_equal(access(path, R_OK), 0);
        free(path);
    }
}

static vlm_hub_options options_of(const char *cache) {
    vlm_hub_options o = VLM_HUB_OPTIONS_INIT;
    o.cache_dir = cache;
    o.endpoint = endpoint;
    o.retries = -1;
    return o;
}

static void pulling(void **state) {
    (void)state;
    for (long k = 1;; k++) {
        char *cache = tcheckpoint_temp_dir(), *dir;
        vlm_hub_options o = options_of(cache);
        vlm_error err = VLM_ERROR_INIT;
        talloc_start(k);
        vlm_status status = vlm_hub_pull(&dir, "acme/tiny-vlm", &o, &err);
        bool last = talloc_stop() < k;
        if (status < 0) {
            assert_null(dir);
            assert_int_equal(status, VLM_ERR_MEMORY);
            assert_int_equal(err.code, VLM_ERR_MEMORY);
            assert_int_equal(vlm_hub_pull(&dir, "acme/tiny-vlm", &o, &err), VLM_OK); /* nothing is in its way */
        }
        expect_whole(dir);
        vlm_string_free(dir);
        tcheckpoint_remove(cache);
        free(cache);
        if (last) {
            assert_int_equal(status, VLM_OK);
            assert_true(k > 50);
            return;
        }
    }
}

static void finding(void **state) {
    (void)state;
    char *cache = tcheckpoint_temp_dir(), *dir;
    vlm_hub_options o = options_of(cache);
    assert_int_equal(vlm_hub_pull(&dir, "acme/tiny-vlm", &o, NULL), VLM_OK);
    vlm_string_free(dir);
    for (long k = 1;; k++) {
        vlm_error err = VLM_ERROR_INIT;
        talloc_start(k);
        vlm_status status = vlm_hub_find(&dir, "acme/tiny-vlm", &o, &err);
        bool last = talloc_stop() < k;
        if (status < 0)
            assert_true(status == VLM_ERR_MEMORY && !dir);
        else
            expect_whole(dir);
        vlm_string_free(dir);
        if (last) {
            assert_int_equal(status, VLM_OK);
            assert_true(k > 10);
            break;
        }
    }
    tcheckpoint_remove(cache);
    free(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pulling),
        cmocka_unit_test(finding),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
