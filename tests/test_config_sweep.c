/* SPDX-License-Identifier: MIT */
/* Every field of the configs of every family set to values that no one means: each case either loads and gives
 * finite logits for one prompt with one picture, or is refused with one line. Which of the two is a committed table
 * (tests/data/config_sweep, one file per golden; --write makes them anew, --write NAME that of one). Never a crash, a hang of ten seconds, more
 * than 1 GB, or an error for lack of memory, which would mean that a file may ask for any amount.
 *
 * The fields are all keys of a golden's JSON files, nested ones too, so that keys no one reads are among them; every
 * row of the config tables that a load reads (vlm_config_read is wrapped in this program's link); and what is read by
 * hand. Under a sanitizer every eighteenth field is tried, in the plain build all of them. */
#include <dirent.h>
#include <json-c/json.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/session/session.h"
#include "support/checkpoint.h"
#include "support/cm.h"
#include "support/edit.h"
#include "support/process.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define FIND_LEAKS() __lsan_do_recoverable_leak_check()
#else
#define FIND_LEAKS() 0
#endif

#define TABLES "tests/data/config_sweep"
enum { SECONDS = 10, MOST_BYTES = 1 << 30, VALUES = 12, EACH_SANITIZED = 18, LEAST_CASES = 2000 };

static const char *const values[VALUES] = { "0",   "-1",    "1",    "2147483648", "4294967296", "9223372036854775808",
                                            "1e308", "NaN", "\"x\"", "null",      "[]",         "[1]" };

static const char *const goldens[] = {
    "idefics3-split",  "smolvlm-video",   "paligemma-gemma", "paligemma2-gemma2",
    "qwen2_5_vl-tied", "qwen2_5_vl-untied", "qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "glm_ocr",
    "lfm2_vl-split",
    "gemma3-old", "gemma3-new", "pixtral-llava", "mistral3-mistral", "mistral3-ministral3",
    "llava-clip", "llava_next-mistral", "llava_bunny-qwen2", "fastvlm-qwen2", "fastvlm-timm",
};
enum { GOLDENS = sizeof goldens / sizeof *goldens };

/* Fields that are read by no table and stand in no golden. */
static const char *const by_hand[] = {
    "config.json quantization",
    "config.json quantization/bits",
    "config.json quantization/group_size",
    "config.json quantization_config",
    "config.json quantization_config/quant_method",
    "config.json llm_config",
    "config.json llm_config/eos_token_id",
    "config.json text_config/layer_types",
    "config.json text_config/partial_rotary_factor",
    "config.json text_config/quantization_config",
    "config.json text_config/rope_parameters",
    "config.json text_config/rope_parameters/rope_type",
    "config.json text_config/rope_scaling",
    "config.json text_config/rope_scaling/factor",
    "config.json text_config/rope_scaling/rope_type",
    "config.json text_config/rope_scaling/type",
};

/* ---- lists of fields, "config.json text_config/hidden_size" --------------------------------------------------- */

typedef struct {
    char **at;
    size_t n;
} list;

static void list_add(list *l, const char *field) {
    l->at = realloc(l->at, (l->n + 1) * sizeof *l->at);
    assert_non_null(l->at);
    l->at[l->n++] = strdup(field);
}

static void list_free(list *l) {
    for (size_t i = 0; i < l->n; i++) free(l->at[i]);
    free(l->at);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_sort(list *l) {
    size_t n = 0;
    qsort(l->at, l->n, sizeof *l->at, by_text);
    for (size_t i = 0; i < l->n; i++) {
        if (n && !strcmp(l->at[i], l->at[n - 1]))
            free(l->at[i]);
        else
            l->at[n++] = l->at[i];
    }
    l->n = n;
}

/* Keys of an object and of what is in it; of a list, the first entry. */
static void add_keys(list *l, const char *prefix, json_object *value) {
    char field[512];
    if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach(value, key, member) {
            snprintf(field, sizeof field, "%s%s", prefix, key);
            list_add(l, field);
            snprintf(field, sizeof field, "%s%s/", prefix, key);
            add_keys(l, field, member);
        }
    } else if (json_object_is_type(value, json_type_array) && json_object_array_length(value)) {
        snprintf(field, sizeof field, "%s0", prefix);
        list_add(l, field);
    }
}

static bool is_swept(const char *file) {
    size_t n = strlen(file);
    return n >= 11 && !strcmp(file + n - 11, "config.json");
}

static void add_golden(list *l, const char *golden) {
    char path[512], prefix[300];
    snprintf(path, sizeof path, "tests/golden/%s", golden);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        if (!is_swept(e->d_name)) continue;
        snprintf(path, sizeof path, "tests/golden/%s/%s", golden, e->d_name);
        snprintf(prefix, sizeof prefix, "%s ", e->d_name);
        json_object *root = json_object_from_file(path);
        assert_non_null(root);
        add_keys(l, prefix, root);
        json_object_put(root);
    }
    closedir(dir);
}

/* ---- rows of the config tables, seen as they are read ----------------------------------------------------------- */

static list *watched;  /* NULL: no one watches */
static bool text_at_top; /* the decoder's keys are not nested */

vlm_status __real_vlm_config_read(void *out, const vlm_json *object, const char *where, const vlm_config_field *fields,
                                  size_t n, vlm_error *err);
vlm_status __wrap_vlm_config_read(void *out, const vlm_json *object, const char *where, const vlm_config_field *fields,
                                  size_t n, vlm_error *err);

/* `where` is "config.json" or "config.json: text_config"; a key has alternatives and its path has dots. */
static void watch_row(const char *where, const char *keys) {
    char field[512], *alternatives = strdup(keys), *rest = alternatives;
    size_t file = strcspn(where, ":");
    const char *nested = where[file] ? where + file + 2 : "";
    if (text_at_top && !strcmp(nested, "text_config")) nested = "";
    for (char *key = strsep(&rest, "|"); key; key = strsep(&rest, "|")) {
        snprintf(field, sizeof field, "%.*s %s%s%s", (int)file, where, nested, *nested ? "." : "", key);
        for (char *c = field + file; *c; c++)
            if (*c == '.') *c = '/';
        list_add(watched, field);
    }
    free(alternatives);
}

vlm_status __wrap_vlm_config_read(void *out, const vlm_json *object, const char *where, const vlm_config_field *fields,
                                  size_t n, vlm_error *err) {
    for (size_t i = 0; watched && i < n; i++) watch_row(where, fields[i].key);
    return __real_vlm_config_read(out, object, where, fields, n, err);
}

/* ---- one case ----------------------------------------------------------------------------------------------------- */

/* 'L', 'R' or, which fails the test, 'N': not finite, 'M': out of memory, '?': not one line. */
static char judge(vlm_status status, const vlm_error *err, const float *logits, size_t n) {
    if (status == VLM_ERR_MEMORY) return 'M';
    if (status < 0) return err->message[0] && !strchr(err->message, '\n') ? 'R' : '?';
    for (size_t i = 0; i < n; i++)
        if (!isfinite(logits[i])) return 'N';
    return 'L';
}

static char load_and_run(const char *dir, vlm_error *err) {
    vlm_load_options load = VLM_LOAD_OPTIONS_INIT;
    load.precision = VLM_PRECISION_F32;
    load.threads = 1;
    vlm_context *context = NULL;
    vlm_input *input = NULL;
    vlm_prepared *prepared = NULL;
    vlm_session *session = NULL;
    vlm_status status = vlm_context_load(&context, dir, &load, err);
    if (status >= 0) status = vlm_input_new(&input, err);
    if (status >= 0) status = vlm_input_add_image_file(input, "tests/data/pictures/tiny.png", err);
    if (status >= 0) status = vlm_input_add_message(input, "user", "Hi", err);
    if (status >= 0) status = vlm_prepare(&prepared, context, input, err);
    if (status >= 0) status = vlm_session_new(&session, context, NULL, err);
    if (status >= 0) status = vlm_session_feed(session, prepared, err);
    char letter = judge(status, err, status < 0 ? NULL : vengine_session_logits(session),
                        status < 0 ? 0 : vlm_context_get_info(context)->vocab_size);
    vlm_session_free(session);
    vlm_prepared_free(prepared);
    vlm_input_free(input);
    vlm_context_free(context);
    return letter;
}

/* What a child tells its parent. */
typedef struct {
    int at; /* value being tried */
    char letters[VALUES + 1];
    char why[VALUES][sizeof((vlm_error *)0)->message];
} outcome;

/* A field's file in a checkpoint. */
typedef struct {
    const char *dir, *path;
    char file[64];
    char *whole; /* path of the file */
    char *text;  /* as it was; NULL: it was not there */
} place;

static void try_values(const place *p, outcome *o) {
    for (; o->at < VALUES; o->at++) {
        vlm_error err = VLM_ERROR_INIT;
        char *text = tedit_set(p->text ? p->text : "{}", p->path, values[o->at]);
        if (!text || !tedit_write(p->dir, p->file, text, strlen(text))) _exit(3);
        free(text);
        /* Of processor time: a busy machine is no hang. */
        setitimer(ITIMER_PROF, &(struct itimerval) { .it_value.tv_sec = SECONDS }, NULL);
        o->letters[o->at] = load_and_run(p->dir, &err);
        memcpy(o->why[o->at], err.message, sizeof err.message);
    }
    _exit(FIND_LEAKS() ? 4 : 0);
}

/* Runs a field's values in a child, in further ones behind a value that killed it. */
static void run_field(const place *p, outcome *o) {
    *o = (outcome) { .letters = "" };
    while (o->at < VALUES) {
        struct rusage usage;
        int status;
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            const struct rlimit limit = { MOST_BYTES, MOST_BYTES };
            if (tprocess_can_limit()) setrlimit(RLIMIT_AS, &limit);
            try_values(p, o);
        }
        assert_int_equal(wait4(pid, &status, 0, &usage), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status)) fail_msg("%s %s: leaks or cannot be written", p->file, p->path);
        if ((size_t)usage.ru_maxrss * 1024 > (tprocess_can_limit() ? 1 : 2) * (size_t)MOST_BYTES)
            fail_msg("%s %s: takes %ld KB", p->file, p->path, usage.ru_maxrss);
        if (!WIFSIGNALED(status)) continue;
        snprintf(o->why[o->at], sizeof o->why[0], "signal %d", WTERMSIG(status));
        o->letters[o->at++] = WTERMSIG(status) == SIGPROF ? 'H' : '!';
    }
}

/* ---- a golden's table ------------------------------------------------------------------------------------------------ */

static outcome *shared; /* with the children */

/* One line of the table; complains about what is neither L nor R. False: it did. */
static bool sweep_field(const char *dir, const char *golden, const char *field, char *line, size_t bytes) {
    static place p; /* not on the stack, where a child that never returns would look like losing it */
    p = (place) { .dir = dir, .path = strchr(field, ' ') + 1 };
    size_t n;
    bool fine = true;
    snprintf(p.file, sizeof p.file, "%.*s", (int)(p.path - field - 1), field);
    p.whole = tcheckpoint_path(dir, p.file);
    if (access(p.whole, F_OK) == 0) p.text = tedit_read(dir, p.file, &n);
    run_field(&p, shared);
    if (p.text)
        assert_true(tedit_write(dir, p.file, p.text, n));
    else
        unlink(p.whole);
    for (int i = 0; i < VALUES; i++) {
        if (strchr("LR", shared->letters[i])) continue;
        print_error("%s: %s = %s: %c: %s\n", golden, field, values[i], shared->letters[i], shared->why[i]);
        fine = false;
    }
    snprintf(line, bytes, "%s %s", field, shared->letters);
    if (getenv("SWEEP_VERBOSE"))
        for (int i = 0; i < VALUES; i++)
            printf("%s: %s = %s: %c %s\n", golden, field, values[i], shared->letters[i], shared->why[i]);
    free(p.text);
    free(p.whole);
    return fine;
}

static bool has_field(const list *l, const char *field) {
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->at[i], field)) return true;
    return false;
}

/* The fields of a golden that is written to dir. */
static void collect_fields(list *l, const char *dir, const char *golden) {
    vlm_error err = VLM_ERROR_INIT;
    add_golden(l, golden);
    text_at_top = !has_field(l, "config.json text_config");
    for (size_t i = 0; i < sizeof by_hand / sizeof *by_hand; i++) list_add(l, by_hand[i]);
    watched = l;
    char letter = load_and_run(dir, &err);
    watched = NULL;
    if (letter != 'L') fail_msg("%s: %s", dir, err.message);
    list_sort(l);
}

static FILE *open_table(const char *golden, const char *mode) {
    char path[512];
    snprintf(path, sizeof path, TABLES "/%s.txt", golden);
    FILE *file = fopen(path, mode);
    if (!file) fail_msg("%s: cannot be opened", path);
    return file;
}

/* A line of the table without its end; false: there is none left. */
static bool next_line(FILE *table, char *line, size_t bytes) {
    do {
        if (!fgets(line, (int)bytes, table)) return false;
        line[strcspn(line, "\n")] = 0;
    } while (line[0] == '#');
    return true;
}

static bool compare_line(const char *golden, const char *want, const char *got, bool tried) {
    size_t n = strlen(got) - VALUES;
    if (!strncmp(want, got, n) && (!tried || !strcmp(want, got))) return true;
    print_error("%s: %s\n%*s is now %s\n", golden, want, (int)strlen(golden), "", got);
    return false;
}

static size_t cases;

static void write_golden(const char *golden, const char *dir, const list *fields) {
    FILE *table = open_table(golden, "w");
    fprintf(table, "# Each field of this golden set to ");
    for (int i = 0; i < VALUES; i++) fprintf(table, "%s%s", values[i], i + 1 < VALUES ? ", " : ":\n");
    fprintf(table, "# L loads and gives finite logits, R is refused with one line. "
                   "Made by test_config_sweep --write.\n");
    for (size_t i = 0; i < fields->n; i++) {
        char line[600];
        sweep_field(dir, golden, fields->at[i], line, sizeof line);
        fprintf(table, "%s\n", line);
    }
    fclose(table);
}

static void check_golden(const char *golden, const char *dir, const list *fields) {
    FILE *table = open_table(golden, "r");
    size_t wrong = 0;
    for (size_t i = 0; i < fields->n; i++) {
        char want[600] = "", got[600];
        bool tried = tprocess_can_limit() || i % EACH_SANITIZED == 0;
        if (tried)
            wrong += !sweep_field(dir, golden, fields->at[i], got, sizeof got);
        else
            snprintf(got, sizeof got, "%s ............", fields->at[i]);
        next_line(table, want, sizeof want);
        wrong += !compare_line(golden, want, got, tried);
        if (tried) cases += VALUES;
    }
    char more[600];
    if (next_line(table, more, sizeof more)) fail_msg("%s: more lines than fields: %s", golden, more);
    fclose(table);
    if (wrong) fail_msg("%s: %zu fields behave otherwise (review, then --write)", golden, wrong);
}

static bool writing;

static void sweep(void **state) {
    const char *golden = *state;
    char from[512];
    list fields = { NULL, 0 };
    char *dir = tcheckpoint_temp_dir();
    assert_non_null(dir);
    snprintf(from, sizeof from, "tests/golden/%s", golden);
    assert_true(tcheckpoint_write(from, dir, NULL));
    collect_fields(&fields, dir, golden);
    (writing ? write_golden : check_golden)(golden, dir, &fields);
    list_free(&fields);
    tcheckpoint_remove(dir);
    free(dir);
}

static void enough_cases(void **state) {
    (void)state;
    if (!writing && tprocess_can_limit()) assert_true(cases >= LEAST_CASES);
    print_message("%zu cases\n", cases);
}

int main(int argc, char **argv) {
    writing = argc > 1 && !strcmp(argv[1], "--write");
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 1;
    struct CMUnitTest tests[GOLDENS + 1];
    size_t n = 0;
    for (size_t i = 0; i < GOLDENS; i++)
        if (!writing || argc < 3 || !strcmp(argv[2], goldens[i]))
            tests[n++] = (struct CMUnitTest) { goldens[i], sweep, NULL, NULL, (void *)goldens[i] };
    tests[n++] = (struct CMUnitTest) { "enough_cases", enough_cases, NULL, NULL, NULL };
    return _cmocka_run_group_tests("config sweep", tests, n, NULL, NULL);
}
