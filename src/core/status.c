/* SPDX-License-Identifier: MIT */
/* Status names, errors, limits and the log. Owns how a failure is worded; never prints. */
#include "core/core.h"

#include <stdio.h>

const char *vlm_status_name(vlm_status status) {
    switch (status) {
#define NAME(name, value, text)                                                                    \
    case VLM_##name: return "VLM_" #name;
        VLM_STATUS_MAP(NAME)
#undef NAME
    }
    return "VLM_?";
}

const char *vlm_status_text(vlm_status status) {
    switch (status) {
#define TEXT(name, value, text)                                                                    \
    case VLM_##name: return text;
        VLM_STATUS_MAP(TEXT)
#undef TEXT
    }
    return "unknown status";
}

const char *vlm_version(void) {
#define STRINGIZE_(x) #x
#define STRINGIZE(x) STRINGIZE_(x)
    return STRINGIZE(VLM_VERSION_MAJOR) "." STRINGIZE(VLM_VERSION_MINOR) "." STRINGIZE(
        VLM_VERSION_PATCH);
}

/* What a file contains may end up in a message: keep it one printable line. */
static void make_printable(char *s) {
    size_t n = strlen(s);
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t used = vcore_utf8_decode(s + i, n - i, &cp);
        if (cp == VCORE_REPLACEMENT || cp < 0x20 || (cp >= 0x7F && cp < 0xA0))
            memset(s + i, '?', used);
        i += used;
    }
}

static void set_message(vlm_error *err, const char *fmt, va_list args) {
    vsnprintf(err->message, sizeof err->message, fmt, args);
    make_printable(err->message);
}

/* Copies as much of the end of s as fits: of a long path the file's name counts. */
static void set_end(char *to, size_t size, const char *s, size_t n) {
    size_t skip = n < size ? 0 : n - size + 1;
    memmove(to, n ? s + skip : "", n - skip);
    to[n - skip] = 0;
    make_printable(to);
}

static void set_data(vlm_error *err, vlm_status code, vcore_where where) {
    err->code = code;
    set_end(err->file, sizeof err->file, where.file, where.file ? strlen(where.file) : 0);
    set_end(err->field, sizeof err->field, where.field, where.field ? strlen(where.field) : 0);
    err->operation = where.operation;
    err->os_error = where.os_error;
    err->line = where.line;
    err->column = where.column;
    err->limit = where.limit;
}

vlm_status vcore_fail(vlm_error *err, vlm_status code, const char *fmt, ...) {
    if (err) {
        va_list args;
        va_start(args, fmt);
        set_data(err, code, (vcore_where) { 0 });
        set_message(err, fmt, args);
        va_end(args);
    }
    return code;
}

vlm_status vcore_fail_at(vlm_error *err, vlm_status code, vcore_where where, const char *fmt, ...) {
    if (err) {
        va_list args;
        va_start(args, fmt);
        set_data(err, code, where);
        set_message(err, fmt, args);
        va_end(args);
    }
    return code;
}

/* Where "<file>: <object>" ends its file; the whole of a path that holds ": " itself. */
static size_t file_length(const char *where) {
    const char *colon = strstr(where, ": ");
    for (const char *next; colon && (next = strstr(colon + 2, ": "));) colon = next;
    return colon && !strchr(colon, '/') ? (size_t)(colon - where) : strlen(where);
}

/* Sets the data and begins the message: "<file>: <field>: ". @return its length */
static size_t begin_field(vlm_error *err, vlm_status code, const char *where, const char *field) {
    size_t n = file_length(where), size = sizeof err->message;
    const char *object = where[n] ? where + n + 2 : "";
    char name[256];
    snprintf(name, sizeof name, "%s%s%s", object, *object && field ? "." : "", field ? field : "");
    set_data(err, code, (vcore_where) { .field = name });
    set_end(err->file, sizeof err->file, where, n);
    int used = snprintf(err->message, size, "%.*s: %s%s", (int)n, where, name, *name ? ": " : "");
    return used < 0 ? 0 : (size_t)used < size ? (size_t)used : size - 1;
}

vlm_status vcore_fail_field(vlm_error *err, vlm_status code, const char *where, const char *field,
                            const char *fmt, ...) {
    if (err) {
        size_t used = begin_field(err, code, where, field);
        va_list args;
        va_start(args, fmt);
        vsnprintf(err->message + used, sizeof err->message - used, fmt, args);
        va_end(args);
        make_printable(err->message);
    }
    return code;
}

vlm_status vcore_fail_limit(vlm_error *err, const char *where, const char *field, uint64_t limit,
                            const char *what) {
    vcore_fail_field(err, VLM_ERR_LIMIT, where, field, "more than %llu %s",
                     (unsigned long long)limit, what);
    if (err) err->limit = limit;
    return VLM_ERR_LIMIT;
}

vlm_status vcore_context(vlm_error *err, vlm_status status, const char *fmt, ...) {
    if (err && status < 0) {
        char inner[sizeof err->message];
        memcpy(inner, err->message, sizeof inner);
        va_list args;
        va_start(args, fmt);
        vsnprintf(err->message, sizeof err->message, fmt, args);
        va_end(args);
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof err->message - used, ": %s", inner);
        make_printable(err->message);
    }
    return status;
}

vlm_status vcore_context_file(vlm_error *err, vlm_status status, const char *file) {
    if (err && status < 0) set_end(err->file, sizeof err->file, file, strlen(file));
    return vcore_context(err, status, "%s", file);
}

vlm_status vcore_no_memory(vlm_error *err, const char *what) {
    return vcore_fail(err, VLM_ERR_MEMORY, "%s: out of memory", what);
}

void vcore_log_line(const vcore_log *log, vlm_log_level level, const char *fmt, ...) {
    if (!log || !log->fn) return;
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    make_printable(line);
    log->fn(log->user, level, line);
}

vlm_limits vcore_limits(const vlm_limits *given) {
    static const vlm_limits defaults = {
        .struct_size = sizeof(vlm_limits),
        .config_bytes = 1u << 20,
        .index_bytes = 16u << 20,
        .tokenizer_bytes = 64u << 20,
        .template_bytes = 1u << 20,
        .header_bytes = 100000000,
        .image_file_bytes = 256u << 20,
        .image_pixels = 178956970,
        .image_side = 65535,
        .template_steps = 10000000,
        .template_output = 4u << 20,
        .context_tokens = 1u << 20,
        .end_tokens = 4096,
        .image_scans = 500,
        .image_decode_bytes = UINT64_C(4) * 178956970,
        .video_file_bytes = 64ull << 30,
        .video_pixels = 1u << 26,
        .video_frames = 1u << 22,
        .video_kept_bytes = 8ull << 30,
    };
    vlm_limits limits = defaults;
    if (!given) return limits;
        /* A caller built against an older header gives a shorter struct. */
#define TAKE(field)                                                                                \
    if (given->struct_size >= offsetof(vlm_limits, field) + sizeof given->field && given->field)   \
    limits.field = given->field
    TAKE(config_bytes);
    TAKE(index_bytes);
    TAKE(tokenizer_bytes);
    TAKE(template_bytes);
    TAKE(header_bytes);
    TAKE(image_file_bytes);
    TAKE(image_pixels);
    TAKE(image_side);
    TAKE(template_steps);
    TAKE(template_output);
    TAKE(context_tokens);
    TAKE(end_tokens);
    TAKE(image_scans);
    uint64_t floor = 64u << 20, most = UINT64_MAX / 4;
    limits.image_decode_bytes = 4 * (limits.image_pixels < most ? limits.image_pixels : most);
    if (limits.image_decode_bytes < floor) limits.image_decode_bytes = floor;
    TAKE(image_decode_bytes);
    TAKE(video_file_bytes);
    TAKE(video_pixels);
    TAKE(video_frames);
    TAKE(video_kept_bytes);
#undef TAKE
    return limits;
}
