/* SPDX-License-Identifier: MIT */
/* The ground floor: errors, memory, arenas, strings, UTF-8, JSON access, half floats, threads, CPU
 * features, the log. Everything above includes this page; it includes nothing but base.h. */
#ifndef VLM_CORE_H
#define VLM_CORE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "vlm/base.h"

/* ---- errors (status.c) --------------------------------------------------------------------------
 * The innermost frame sets the error once; outer frames prepend context. err may be NULL. Control
 * characters and invalid UTF-8 in the message are replaced, so that it stays one printable line. */
vlm_status vcore_fail(vlm_error *err, vlm_status code, const char *fmt, ...) VLM_PRINTF(3, 4);
/* What a failure is about, as data of vlm_error; zeros where nothing applies. */
typedef struct vcore_where {
    const char *file, *field, *operation; /* operation: static */
    int os_error;
    uint32_t line, column;
    uint64_t limit;
} vcore_where;
vlm_status vcore_fail_at(vlm_error *err, vlm_status code, vcore_where where, const char *fmt, ...)
    VLM_PRINTF(4, 5);
/* "<where>: <field>: <text>", with file and field as data. where: a file, or an object in it
 * ("config.json: text_config"), whose field is then joined by a point; field: NULL: where alone. */
vlm_status vcore_fail_field(vlm_error *err, vlm_status code, const char *where, const char *field,
                            const char *fmt, ...) VLM_PRINTF(5, 6);
/* Likewise ERR_LIMIT: "... more than <limit> <what>". */
vlm_status vcore_fail_limit(vlm_error *err, const char *where, const char *field, uint64_t limit,
                            const char *what);
/* Prepends "<context>: " to err's message; returns status unchanged. */
vlm_status vcore_context(vlm_error *err, vlm_status status, const char *fmt, ...) VLM_PRINTF(3, 4);
/* Prepends "<file>: ", and says the file as data, too. */
vlm_status vcore_context_file(vlm_error *err, vlm_status status, const char *file);
vlm_status vcore_no_memory(vlm_error *err, const char *what);

/* Returns early on an error; positive conditions pass through. */
#define VTRY(call)                                                                                 \
    do {                                                                                           \
        vlm_status vtry_status = (call);                                                           \
        if (vtry_status < 0) return vtry_status;                                                   \
    } while (0)

/* ---- checked sizes (status.c) ---------------------------------------------------------------- */
/* True on success; false when the result does not fit and *out is then untouched. */
static inline bool vcore_mul(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool vcore_add(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

/* ---- memory (memory.c) --------------------------------------------------------------------------
 * Every allocation of the library goes through these, so that tests can make the k-th one fail by
 * hooking malloc, and so that a decode step can be proven to make none. Zeroed unless said. */
void *vcore_alloc(size_t bytes);                /* zeroed; NULL when bytes is 0 or no memory */
void *vcore_alloc_array(size_t n, size_t size); /* zeroed, n*size checked; NULL when that is 0 */
/* New bytes are not zeroed. NULL only without memory (p is then untouched); 0 bytes count as 1. */
void *vcore_realloc_array(void *p, size_t n, size_t size);
void *vcore_alloc_aligned(size_t bytes); /* 64-byte aligned, zeroed; free with vcore_free */
void vcore_free(void *p);
char *vcore_strdup(const char *s);
char *vcore_strndup(const char *s, size_t n);

/* Arena: many small allocations with one lifetime; 16-byte aligned, zeroed. NULL: no memory. */
typedef struct vcore_arena vcore_arena;
vcore_arena *vcore_arena_new(void);
void *vcore_arena_alloc(vcore_arena *a, size_t bytes);
void *vcore_arena_array(vcore_arena *a, size_t n, size_t size);
char *vcore_arena_strndup(vcore_arena *a, const char *s, size_t n);
size_t vcore_arena_bytes(const vcore_arena *a); /* of memory it holds; NULL: 0 */
void vcore_arena_free(vcore_arena *a); /* NULL is fine */

/* ---- strings (str.c) ------------------------------------------------------------------------- */
/* A borrowed piece of text; not NUL-terminated. */
typedef struct vcore_str {
    const char *p;
    size_t n;
} vcore_str;
static inline vcore_str vcore_str_of(const char *s) {
    return (vcore_str) { s, s ? strlen(s) : 0 };
}
static inline bool vcore_str_eq(vcore_str a, vcore_str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Growing byte buffer. A failed append sets `failed` and makes later appends no-ops: check once. */
typedef struct vcore_buf {
    char *p; /* NUL-terminated after each append; NULL while empty */
    size_t n, cap;
    bool failed;
} vcore_buf;
void vcore_buf_add(vcore_buf *b, const void *p, size_t n);
void vcore_buf_puts(vcore_buf *b, const char *s);
void vcore_buf_printf(vcore_buf *b, const char *fmt, ...) VLM_PRINTF(2, 3);
void vcore_buf_free(vcore_buf *b);
char *vcore_buf_take(vcore_buf *b); /* owned by the caller, "" when empty; NULL when failed */

/* Keyed hash: with a seed of its own per table, no file can be made to collide. Never stored. */
uint64_t vcore_hash_seed(void);
uint64_t vcore_hash(uint64_t seed, vcore_str s);

/* String -> uint32 hash map; keys are copied into its arena. */
typedef struct vcore_map vcore_map;
vcore_map *vcore_map_new(size_t expected);
bool vcore_map_put(vcore_map *m, vcore_str key, uint32_t value); /* replaces; false: no memory */
bool vcore_map_get(const vcore_map *m, vcore_str key, uint32_t *value);
size_t vcore_map_count(const vcore_map *m);
size_t vcore_map_bytes(const vcore_map *m); /* of memory it holds; NULL: 0 */
void vcore_map_free(vcore_map *m);

/* Up to max entries of names[0..n) nearest to word (edit distance), joined ", ": did you mean? */
void vcore_closest(char *out, size_t out_bytes, const char *word, const char *const *names,
                   size_t n, size_t max);

/* ---- UTF-8 (utf8.c) -------------------------------------------------------------------------- */
#define VCORE_REPLACEMENT 0xFFFDu
bool vcore_utf8_valid(const char *s, size_t n);
/* Decodes one code point at s (n > 0 bytes there); returns the bytes used (>= 1). Invalid input
 * gives VCORE_REPLACEMENT and uses the maximal invalid part, as Python's "replace" does. */
size_t vcore_utf8_decode(const char *s, size_t n, uint32_t *cp);
size_t vcore_utf8_encode(uint32_t cp, char out[4]); /* bytes written, 1..4 */
/* Number of bytes at the end of s[0..n) that start a character not yet complete (0..3). */
size_t vcore_utf8_incomplete(const char *s, size_t n);

/* ---- JSON (json.c) ------------------------------------------------------------------------------
 * Python's json as transformers uses it: NaN, Infinity and -Infinity are taken, the last of two
 * equal keys wins, \u0000 is kept, an integer beyond 64 bits is read as a real; a byte order mark,
 * invalid UTF-8 and text behind the value are refused. Unlike there, a lone surrogate escape gives
 * U+FFFD (in keys, too); depth beyond 256 and more than 8,388,608 values are refused. Errors say
 * file, line and column. A document is immutable: any thread may read it. */
typedef struct vcore_json vcore_json;            /* a value inside a document */
typedef struct vcore_json_doc vcore_json_doc;    /* owns the values */
typedef enum vcore_json_kind {
    VCORE_JSON_NULL, VCORE_JSON_BOOL, VCORE_JSON_INT, VCORE_JSON_REAL, VCORE_JSON_STRING,
    VCORE_JSON_ARRAY, VCORE_JSON_OBJECT
} vcore_json_kind;
/* name: what to call the text in errors (file name). The text is copied as needed. */
vlm_status vcore_json_parse(vcore_json_doc **out, const char *text, size_t n, const char *name,
                            vlm_error *err);
/* Likewise, but the text, of vcore_ memory with a NUL behind it, becomes the document's (or is freed
 * on failure): no copy of a large file is made. */
vlm_status vcore_json_take(vcore_json_doc **out, char *text, size_t n, const char *name,
                           vlm_error *err);
void vcore_json_free(vcore_json_doc *doc);
const vcore_json *vcore_json_root(const vcore_json_doc *doc);
/* All accessors take NULL (then: VCORE_JSON_NULL, NULL, 0, false). */
vcore_json_kind vcore_json_kind_of(const vcore_json *v);
const char *vcore_json_kind_name(const vcore_json *v); /* "an object", "a string", ... for errors */
const vcore_json *vcore_json_get(const vcore_json *object, const char *key); /* NULL if absent */
const vcore_json *vcore_json_path(const vcore_json *v, const char *dotted); /* "text_config.rope" */
const vcore_json *vcore_json_path_n(const vcore_json *v, vcore_str dotted);
size_t vcore_json_count(const vcore_json *v);                          /* array or object entries */
const vcore_json *vcore_json_at(const vcore_json *array, size_t i);
bool vcore_json_bool(const vcore_json *v, bool *out);
bool vcore_json_int(const vcore_json *v, int64_t *out); /* also a real of integral value */
bool vcore_json_real(const vcore_json *v, double *out); /* any number */
bool vcore_json_digits(const vcore_json *v, vcore_str *out); /* a real as the text has it */
bool vcore_json_string(const vcore_json *v, vcore_str *out); /* may hold NULs; one follows it */
/* A key that the object's text has more than once; NULL: none. For formats that forbid it. */
const char *vcore_json_repeated(const vcore_json *object);
/* Before a document is shared: the member object.key of its root takes the value of another document,
 * which must outlive this one. False: there is no such member. */
bool vcore_json_graft(vcore_json_doc *doc, const char *object, const char *key, const vcore_json *value);
/* Iterates an object in file order: start with it zeroed; false at the end. */
typedef struct vcore_json_iter {
    void *state;
    const vcore_json *object;
    vcore_str key;
    const vcore_json *value;
} vcore_json_iter;
bool vcore_json_next(const vcore_json *object, vcore_json_iter *it);
/* ---- writing JSON (json_write.c) ----------------------------------------------------------------
 * A buffer holds one document; commas come by themselves. key: NULL in an array, and behind
 * vcore_json_key. Text as json.dumps(ensure_ascii=False) writes it, invalid bytes as U+FFFD. */
void vcore_json_open(vcore_buf *b, const char *key, char bracket); /* '{' or '[' */
void vcore_json_close(vcore_buf *b, char bracket);                 /* '}' or ']' */
void vcore_json_key(vcore_buf *b, vcore_str key);
void vcore_json_put_text(vcore_buf *b, const char *key, const char *text); /* NULL: null */
void vcore_json_put_str(vcore_buf *b, const char *key, vcore_str s);
void vcore_json_put_bool(vcore_buf *b, const char *key, bool value);
void vcore_json_put_int(vcore_buf *b, const char *key, int64_t n);
void vcore_json_put_uint(vcore_buf *b, const char *key, uint64_t n);
void vcore_json_put_real(vcore_buf *b, const char *key, double d); /* 1 is "1.0" */
void vcore_json_put_raw(vcore_buf *b, const char *key, const char *json); /* text known to be JSON */
void vcore_json_put(vcore_buf *b, const char *key, const vcore_json *v); /* what was parsed */
void vcore_json_quote(vcore_buf *b, const char *s, size_t n); /* s in quotes alone */

/* ---- half floats (half.c) -------------------------------------------------------------------- */
static inline float vcore_bf16_to_f32(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
uint16_t vcore_f32_to_bf16(float f); /* round to nearest even; NaN stays NaN */
float vcore_f16_to_f32(uint16_t h);
uint16_t vcore_f32_to_f16(float f);  /* round to nearest even */
float vcore_e4m3_to_f32(uint8_t b);  /* OCP's: no infinities; 0x7F and 0xFF are NaN */
float vcore_e8m0_to_f32(uint8_t b);  /* 2^(b - 127); 255 is NaN */

/* ---- threads (threads.c) ------------------------------------------------------------------------
 * A pool runs fn(arg, i, worker) for every i in [0, n); items go to whichever worker is free, so
 * results must not depend on who does what. worker is in [0, vcore_pool_size) and names a worker's
 * scratch. One caller at a time: concurrent callers take turns. The caller works too, as worker 0;
 * fn must not run the same pool. A run allocates nothing. */
typedef struct vlm_threads vcore_pool; /* public as vlm_threads_... */
vcore_pool *vcore_pool_new(int threads); /* <= 0: one per usable CPU. NULL: no memory */
int vcore_pool_size(const vcore_pool *p); /* less than asked where the system starts no more */
int vcore_pool_asked(int threads); /* the size that a pool asked for so many threads aims at */
void vcore_pool_run(vcore_pool *p, size_t n, void (*fn)(void *arg, size_t i, int worker),
                    void *arg);
void vcore_pool_free(vcore_pool *p);

/* ---- CPU features (cpu.c) -------------------------------------------------------------------- */
typedef enum vcore_cpu_flag {
    VCORE_CPU_AVX2 = 1,        /* AVX2, FMA and F16C */
    VCORE_CPU_AVX512 = 2,      /* F, BW, VL, DQ */
    VCORE_CPU_AVX512_BF16 = 4,
    VCORE_CPU_AVX512_VNNI = 8,
    VCORE_CPU_NEON = 16,
    VCORE_CPU_AVX_VNNI = 32,
    VCORE_CPU_AMX = 64, /* tiles, bfloat16 and int8: told of, not used */
    VCORE_CPU_NEON_DOT = 128, /* SDOT, UDOT */
    VCORE_CPU_NEON_BF16 = 256,
    VCORE_CPU_NEON_I8MM = 512
} vcore_cpu_flag;
unsigned vcore_cpu_flags(void);
/* Instruction sets by name, each with all the flags it may use: what tests and benchmarks choose
 * from. */
typedef struct vcore_cpu_level {
    const char *name;
    unsigned flags;
} vcore_cpu_level;
extern const vcore_cpu_level vcore_cpu_levels[]; /* from little to much; ends with a NULL name */
const vcore_cpu_level *vcore_cpu_level_find(const char *name); /* NULL: no such name */
bool vcore_cpu_level_runs(const vcore_cpu_level *level); /* on this CPU */

/* ---- log (status.c) -------------------------------------------------------------------------- */
typedef struct vcore_log {
    vlm_log_fn fn; /* may be NULL */
    void *user;
} vcore_log;
void vcore_log_line(const vcore_log *log, vlm_log_level level, const char *fmt, ...)
    VLM_PRINTF(3, 4);

/* ---- limits (status.c): the caller's values with zeros replaced by the defaults of base.h ---- */
vlm_limits vcore_limits(const vlm_limits *given); /* NULL: all defaults */

#endif
