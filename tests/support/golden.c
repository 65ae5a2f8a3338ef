/* SPDX-License-Identifier: MIT */
/* See golden.h. The safetensors file is read whole; cases point into the JSON tree, which lives as
 * long as the golden. */
#include "support/golden.h"
#include "support/checkpoint.h"

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tgolden {
    json_object *cases_json, *header;
    char *file;
    size_t tensor_count, case_count;
    tgolden_tensor *tensors;
    tgolden_case *cases;
};

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        fprintf(stderr, "golden: out of memory\n");
        exit(1);
    }
    return memory;
}

static tgolden_dtype dtype_of(const char *code) {
    return strcmp(code, "F32") == 0   ? TGOLDEN_F32
           : strcmp(code, "I64") == 0 ? TGOLDEN_I64
                                      : TGOLDEN_I32;
}

static json_object *get(json_object *object, const char *key) {
    json_object *value = NULL;
    json_object_object_get_ex(object, key, &value);
    return value;
}

static const char *string(json_object *object, const char *key) {
    json_object *value = get(object, key);
    return value ? json_object_get_string(value) : NULL;
}

static int read_shape(int64_t shape[TGOLDEN_RANK], json_object *array) {
    int rank = (int)json_object_array_length(array);
    for (int axis = 0; axis < rank && axis < TGOLDEN_RANK; axis++)
        shape[axis] = json_object_get_int64(json_object_array_get_idx(array, (size_t)axis));
    return rank;
}

/* golden.safetensors. */

static char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = allocate(*size + 1, 1);
    size_t got = fread(bytes, 1, *size, file);
    fclose(file);
    if (got == *size) return bytes;
    free(bytes);
    return NULL;
}

static bool read_tensors(tgolden *golden, const char *path) {
    size_t size = 0;
    uint64_t length;
    golden->file = read_file(path, &size);
    if (!golden->file || size < 8) return false;
    memcpy(&length, golden->file, 8);
    if (length > size - 8) return false;
    json_tokener *tokener = json_tokener_new();
    golden->header = json_tokener_parse_ex(tokener, golden->file + 8, (int)length);
    json_tokener_free(tokener);
    if (!golden->header) return false;
    golden->tensors =
        allocate((size_t)json_object_object_length(golden->header), sizeof *golden->tensors);
    json_object_object_foreach(golden->header, name, row) {
        if (strcmp(name, "__metadata__") == 0) continue;
        tgolden_tensor *t = &golden->tensors[golden->tensor_count++];
        json_object *offsets = get(row, "data_offsets");
        t->name = name;
        t->dtype = dtype_of(string(row, "dtype"));
        t->rank = read_shape(t->shape, get(row, "shape"));
        t->count = 1;
        for (int axis = 0; axis < t->rank; axis++) t->count *= (size_t)t->shape[axis];
        t->data = golden->file + 8 + length +
                  json_object_get_int64(json_object_array_get_idx(offsets, 0));
    }
    return true;
}

/* cases.json. */

static void read_edge(float edge[TGOLDEN_EDGE], json_object *array) {
    size_t count = json_object_array_length(array);
    for (size_t i = 0; i < count && i < TGOLDEN_EDGE; i++)
        edge[i] = (float)json_object_get_double(json_object_array_get_idx(array, i));
}

static void read_outputs(tgolden_case *c, json_object *processor) {
    tgolden_output *outputs =
        allocate((size_t)json_object_object_length(processor), sizeof *outputs);
    json_object_object_foreach(processor, name, row) {
        tgolden_output *o = &outputs[c->output_count++];
        o->name = name;
        o->dtype = dtype_of(string(row, "dtype"));
        o->rank = read_shape(o->shape, get(row, "shape"));
        o->stored = json_object_get_boolean(get(row, "stored"));
        snprintf(o->sha256, sizeof o->sha256, "%s", string(row, "sha256"));
        o->has_edges = get(row, "first") != NULL;
        if (o->has_edges) {
            read_edge(o->first, get(row, "first"));
            read_edge(o->last, get(row, "last"));
        }
    }
    c->outputs = outputs;
}

static void read_case(tgolden_case *c, json_object *row) {
    json_object *pictures = get(row, "pictures"), *options = get(row, "options");
    c->name = string(row, "name");
    json_object *messages = get(row, "messages");
    if (messages)
        c->messages = json_object_to_json_string_ext(messages, JSON_C_TO_STRING_PLAIN |
                                                                   JSON_C_TO_STRING_NOSLASHESCAPE);
    c->prompt = string(row, "prompt");
    c->text = string(row, "text");
    c->frames = string(row, "frames");
    c->fps = json_object_get_double(get(row, "fps"));
    c->picture_count = pictures ? json_object_array_length(pictures) : 0;
    c->pictures = allocate(c->picture_count, sizeof *c->pictures);
    for (size_t i = 0; i < c->picture_count; i++)
        c->pictures[i] = json_object_get_string(json_object_array_get_idx(pictures, i));
    c->min_pixels = options ? json_object_get_int64(get(options, "min_pixels")) : 0;
    c->max_pixels = options ? json_object_get_int64(get(options, "max_pixels")) : 0;
    c->pan_and_scan = options && json_object_get_boolean(get(options, "do_pan_and_scan"));
    c->all_rows = strcmp(string(row, "rows"), "all") == 0;
    c->prompt_tokens = json_object_get_int64(get(row, "prompt_tokens"));
    c->image_tokens = json_object_get_int64(get(row, "image_tokens"));
    c->bf16_logits_error = json_object_get_double(get(row, "bf16_logits_error"));
    read_outputs(c, get(row, "processor"));
}

static bool read_cases(tgolden *golden, const char *path) {
    golden->cases_json = json_object_from_file(path);
    json_object *rows = golden->cases_json ? get(golden->cases_json, "cases") : NULL;
    if (!rows) return false;
    size_t count = json_object_array_length(rows);
    golden->cases = allocate(count, sizeof *golden->cases);
    for (; golden->case_count < count; golden->case_count++)
        read_case(&golden->cases[golden->case_count],
                  json_object_array_get_idx(rows, golden->case_count));
    return true;
}

tgolden *tgolden_open(const char *dir) {
    tgolden *golden = allocate(1, sizeof *golden);
    char *tensors = tcheckpoint_path(dir, "golden.safetensors");
    char *cases = tcheckpoint_path(dir, "cases.json");
    bool ok = read_tensors(golden, tensors) && read_cases(golden, cases);
    free(tensors);
    free(cases);
    if (ok) return golden;
    fprintf(stderr, "golden: %s: cannot read\n", dir);
    tgolden_close(golden);
    return NULL;
}

void tgolden_close(tgolden *golden) {
    if (!golden) return;
    for (size_t i = 0; i < golden->case_count; i++) {
        free(golden->cases[i].pictures);
        free((void *)golden->cases[i].outputs);
    }
    free(golden->cases);
    free(golden->tensors);
    free(golden->file);
    json_object_put(golden->header);
    json_object_put(golden->cases_json);
    free(golden);
}

size_t tgolden_case_count(const tgolden *golden) {
    return golden->case_count;
}

const tgolden_case *tgolden_case_at(const tgolden *golden, size_t index) {
    return &golden->cases[index];
}

const tgolden_case *tgolden_case_named(const tgolden *golden, const char *name) {
    for (size_t i = 0; i < golden->case_count; i++)
        if (strcmp(golden->cases[i].name, name) == 0) return &golden->cases[i];
    return NULL;
}

const tgolden_tensor *tgolden_find(const tgolden *golden, const tgolden_case *of,
                                   const char *name) {
    size_t length = strlen(of->name);
    for (size_t i = 0; i < golden->tensor_count; i++) {
        const char *full = golden->tensors[i].name;
        if (strncmp(full, of->name, length) == 0 && full[length] == '.' &&
            strcmp(full + length + 1, name) == 0)
            return &golden->tensors[i];
    }
    return NULL;
}

static const void *typed(const tgolden *golden, const tgolden_case *of, const char *name,
                         tgolden_dtype dtype, size_t *count) {
    const tgolden_tensor *t = tgolden_find(golden, of, name);
    if (!t || t->dtype != dtype) return NULL;
    if (count) *count = t->count;
    return t->data;
}

const float *tgolden_f32(const tgolden *golden, const tgolden_case *of, const char *name,
                         size_t *count) {
    return typed(golden, of, name, TGOLDEN_F32, count);
}

const int64_t *tgolden_i64(const tgolden *golden, const tgolden_case *of, const char *name,
                           size_t *count) {
    return typed(golden, of, name, TGOLDEN_I64, count);
}

const tgolden_output *tgolden_output_named(const tgolden_case *of, const char *name) {
    for (size_t i = 0; i < of->output_count; i++)
        if (strcmp(of->outputs[i].name, name) == 0) return &of->outputs[i];
    return NULL;
}

static const char *const CODES[] = { "F32", "I64", "I32" };
static const size_t SIZES[] = { 4, 8, 4 };

bool tgolden_write_input(const tgolden *golden, const tgolden_case *of, const char *path) {
    json_object *header = json_object_new_object();
    int64_t at = 0;
    for (size_t i = 0; i < of->output_count; i++) {
        const tgolden_tensor *t = tgolden_find(golden, of, of->outputs[i].name);
        if (!t) continue;
        json_object *row = json_object_new_object(), *shape = json_object_new_array();
        json_object *offsets = json_object_new_array();
        for (int axis = 0; axis < t->rank; axis++)
            json_object_array_add(shape, json_object_new_int64(t->shape[axis]));
        json_object_array_add(offsets, json_object_new_int64(at));
        at += (int64_t)(t->count * SIZES[t->dtype]);
        json_object_array_add(offsets, json_object_new_int64(at));
        json_object_object_add(row, "dtype", json_object_new_string(CODES[t->dtype]));
        json_object_object_add(row, "shape", shape);
        json_object_object_add(row, "data_offsets", offsets);
        json_object_object_add(header, of->outputs[i].name, row);
    }
    size_t length;
    const char *text = json_object_to_json_string_length(header, JSON_C_TO_STRING_PLAIN, &length);
    uint64_t padded = (length + 7) & ~(uint64_t)7;
    FILE *file = fopen(path, "wb");
    if (file) {
        fwrite(&padded, sizeof padded, 1, file);
        fprintf(file, "%-*s", (int)padded, text);
        for (size_t i = 0; i < of->output_count; i++) {
            const tgolden_tensor *t = tgolden_find(golden, of, of->outputs[i].name);
            if (t) fwrite(t->data, SIZES[t->dtype], t->count, file);
        }
    }
    json_object_put(header);
    return file && fclose(file) == 0;
}

double tgolden_relative(const float *a, const float *b, size_t count) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return sqrt(difference / (norm > 0 ? norm : 1));
}

/* SHA-256 (FIPS 180-4). The round constants are the first 32 bits of the fractions of the cube
 * roots of the first primes, the start values those of their square roots: computed here rather
 * than listed. */

typedef struct {
    uint32_t start[8], round[64];
} sha256_constants;

/* floor(frac(root) * 2^32) for a square (power 2) or cube root (power 3), by bisection over
 * integers. */
static uint32_t root_fraction(unsigned prime, int power) {
    uint64_t low = 0, high = (uint64_t)1 << 37; /* root * 2^32, roots below 2^5 */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        unsigned __int128 value = (unsigned __int128)middle * middle, bound = prime;
        if (power == 3) {
            /* middle^3 <= prime * 2^96, compared as middle^2 <= floor(prime * 2^96 / middle) */
            bound = middle ? ((unsigned __int128)prime << 96) / middle : ~(unsigned __int128)0;
        } else {
            bound <<= 64;
        }
        if (value <= bound)
            low = middle;
        else
            high = middle;
    }
    return (uint32_t)low;
}

static void sha256_init(sha256_constants *c) {
    for (unsigned n = 2, found = 0; found < 64; n++) {
        bool prime = true;
        for (unsigned d = 2; d * d <= n; d++) prime = prime && n % d != 0;
        if (!prime) continue;
        if (found < 8) c->start[found] = root_fraction(n, 2);
        c->round[found++] = root_fraction(n, 3);
    }
}

static uint32_t rotate(uint32_t x, int by) {
    return x >> by | x << (32 - by);
}

static void sha256_block(uint32_t state[8], const uint32_t round[64],
                         const unsigned char block[64]) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) +
               (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(v, state, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t a = v[0], e = v[4];
        uint32_t t1 = v[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                      ((e & v[5]) ^ (~e & v[6])) + round[i] + w[i];
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                      ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) state[i] += v[i];
}

void tgolden_sha256(char out[65], const void *data, size_t bytes) {
    sha256_constants constants;
    uint32_t state[8];
    unsigned char tail[128] = { 0 };
    size_t whole = bytes / 64 * 64, rest = bytes - whole, tail_size = rest < 56 ? 64 : 128;
    sha256_init(&constants);
    memcpy(state, constants.start, sizeof state);
    for (size_t at = 0; at < whole; at += 64)
        sha256_block(state, constants.round, (const unsigned char *)data + at);
    if (rest) memcpy(tail, (const unsigned char *)data + whole, rest);
    tail[rest] = 0x80;
    for (int i = 0; i < 8; i++)
        tail[tail_size - 1 - i] = (unsigned char)((uint64_t)bytes * 8 >> 8 * i);
    for (size_t at = 0; at < tail_size; at += 64) sha256_block(state, constants.round, tail + at);
    for (int i = 0; i < 8; i++) snprintf(out + 8 * i, 9, "%08x", state[i]);
}
