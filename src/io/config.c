/* SPDX-License-Identifier: MIT */
/* Config tables: fills a struct from a JSON object, row by row, each value checked against its type
 * and range. Owns the wording of what is wrong; which keys there are, and their meaning, is the
 * unit's. */
#include "vlm/extend/config.h"

#include "io/io.h"

#include <stdio.h>

/* One row while it is read. */
typedef struct row {
    const vlm_config_field *field;
    const char *where;
    vcore_str key; /* the alternative that was found, else the first */
    vlm_error *err;
} row;

static void describe(char *out, size_t bytes, const vcore_json *v) {
    vcore_str s;
    double real = 0;
    int64_t whole = 0;
    bool boolean = false;
    if (vcore_json_string(v, &s))
        snprintf(out, bytes, "\"%.*s\"%s", (int)(s.n < 40 ? s.n : 40), s.p, s.n > 40 ? "..." : "");
    else if (vcore_json_bool(v, &boolean))
        snprintf(out, bytes, "%s", boolean ? "true" : "false");
    else if (vcore_json_int(v, &whole))
        snprintf(out, bytes, "%lld", (long long)whole);
    else if (vcore_json_real(v, &real))
        snprintf(out, bytes, "%.17g", real);
    else
        snprintf(out, bytes, "%s", vcore_json_kind_name(v));
}

/* at: index in a list, or -1. */
static void row_name(char *out, size_t bytes, const row *r, int64_t at) {
    int n = snprintf(out, bytes, "%.*s", (int)(r->key.n < 90 ? r->key.n : 90), r->key.p);
    if (at >= 0) snprintf(out + n, bytes - (size_t)n, "[%lld]", (long long)at);
}

static vlm_status fail_value(const row *r, int64_t at, const char *must, const vcore_json *v) {
    char is[64], name[128];
    describe(is, sizeof is, v);
    row_name(name, sizeof name, r, at);
    return vcore_fail_field(r->err, VLM_ERR_CONFIG, r->where, name, "must be %s, is %s", must, is);
}

static vlm_status read_int(const row *r, int64_t at, const vcore_json *v, int64_t *out) {
    int64_t value;
    if (vcore_json_int(v, &value) && (double)value >= r->field->min
        && (double)value <= r->field->max) {
        *out = value;
        return VLM_OK;
    }
    char must[96];
    snprintf(must, sizeof must, "an integer in [%.15g, %.15g]", r->field->min, r->field->max);
    return fail_value(r, at, must, v);
}

static vlm_status read_double(const row *r, const vcore_json *v, double *out) {
    double value;
    /* Not NaN either: that compares false. */
    if (vcore_json_real(v, &value) && value >= r->field->min && value <= r->field->max) {
        *out = value;
        return VLM_OK;
    }
    char must[96];
    snprintf(must, sizeof must, "a number in [%.15g, %.15g]", r->field->min, r->field->max);
    return fail_value(r, -1, must, v);
}

static vlm_status read_real(const row *r, const vcore_json *v, float *out) {
    double value = 0;
    VTRY(read_double(r, v, &value));
    *out = (float)value;
    return VLM_OK;
}

static vlm_status read_name(const row *r, const vcore_json *v, int *out) {
    vcore_str s;
    char must[200] = "one of ";
    size_t used = strlen(must);
    bool string = vcore_json_string(v, &s);
    for (const vlm_name *n = r->field->names; n->name; n++) {
        if (string && vcore_str_eq(s, vcore_str_of(n->name))) {
            *out = n->value;
            return VLM_OK;
        }
        if (used < sizeof must)
            used += (size_t)snprintf(must + used, sizeof must - used, "%s%s",
                                     n == r->field->names ? "" : ", ", n->name);
    }
    return fail_value(r, -1, must, v);
}

/* An integer alone counts as a list of one: eos_token_id and image_size come both ways. */
static vlm_status read_ints(const row *r, const vcore_json *v, vlm_ints *out) {
    out->n = 0;
    if (vcore_json_kind_of(v) != VCORE_JSON_ARRAY) {
        VTRY(read_int(r, -1, v, &out->at[0]));
        out->n = 1;
        return VLM_OK;
    }
    size_t n = vcore_json_count(v);
    if (n > VLM_MAX_INTS) {
        char name[128];
        row_name(name, sizeof name, r, -1);
        return vcore_fail_limit(r->err, r->where, name, VLM_MAX_INTS, "entries");
    }
    for (size_t i = 0; i < n; i++) VTRY(read_int(r, (int64_t)i, vcore_json_at(v, i), &out->at[i]));
    out->n = (int64_t)n;
    return VLM_OK;
}

static vlm_status read_bool(const row *r, const vcore_json *v, bool *out) {
    return vcore_json_bool(v, out) ? VLM_OK : fail_value(r, -1, "true or false", v);
}

static void set_fallback(const vlm_config_field *f, void *member) {
    if (f->fallback == VLM_KEEP) return;
    switch (f->type) {
    case VLM_FIELD_INT: *(int64_t *)member = (int64_t)f->fallback; break;
    case VLM_FIELD_REAL: *(float *)member = (float)f->fallback; break;
    case VLM_FIELD_DOUBLE: *(double *)member = f->fallback; break;
    case VLM_FIELD_BOOL: *(bool *)member = f->fallback != 0; break;
    case VLM_FIELD_NAME: *(int *)member = (int)f->fallback; break;
    case VLM_FIELD_INTS: ((vlm_ints *)member)->n = 0; break;
    }
}

static bool is_alternative(const row *r, vcore_str key) {
    for (const char *p = r->field->key; *p;) {
        size_t n = strcspn(p, "|");
        if (vcore_str_eq(key, (vcore_str) { p, n })) return true;
        p += n + (p[n] == '|');
    }
    return false;
}

/* What "size.height" goes through must be an object, unless a value in its place is an alternative of its
 * own ("patch_size.height|patch_size"). */
static vlm_status check_path(row *r, const vcore_json *object, vcore_str key) {
    for (size_t i = 0; i < key.n; i++) {
        if (key.p[i] != '.') continue;
        vcore_str outer = { key.p, i };
        const vcore_json *v = vcore_json_path_n(object, outer);
        vcore_json_kind kind = vcore_json_kind_of(v);
        if (kind == VCORE_JSON_OBJECT || kind == VCORE_JSON_NULL || is_alternative(r, outer)) continue;
        r->key = outer;
        return fail_value(r, -1, "an object", v);
    }
    return VLM_OK;
}

/* The value of the first alternative that is there and not null; NULL: none. Sets r->key. */
static vlm_status find_alternative(const vcore_json **out, row *r, const vcore_json *object) {
    const char *p = r->field->key;
    vcore_str first = { p, strcspn(p, "|") };
    for (*out = NULL;;) {
        r->key = (vcore_str) { p, strcspn(p, "|") };
        const vcore_json *v = vcore_json_path_n(object, r->key);
        if (vcore_json_kind_of(v) != VCORE_JSON_NULL) {
            *out = v;
            return VLM_OK;
        }
        VTRY(check_path(r, object, r->key));
        if (!p[r->key.n]) break;
        p += r->key.n + 1;
    }
    r->key = first;
    return VLM_OK;
}

static vlm_status read_row(row *r, void *member, const vcore_json *object) {
    const vcore_json *v;
    VTRY(find_alternative(&v, r, object));
    if (!v) {
        if (r->field->required) {
            char name[128];
            row_name(name, sizeof name, r, -1);
            return vcore_fail_field(r->err, VLM_ERR_MISSING_FIELD, r->where, name, "is missing");
        }
        set_fallback(r->field, member);
        return VLM_OK;
    }
    switch (r->field->type) {
    case VLM_FIELD_INT: return read_int(r, -1, v, member);
    case VLM_FIELD_REAL: return read_real(r, v, member);
    case VLM_FIELD_DOUBLE: return read_double(r, v, member);
    case VLM_FIELD_BOOL: return read_bool(r, v, member);
    case VLM_FIELD_NAME: return read_name(r, v, member);
    case VLM_FIELD_INTS: return read_ints(r, v, member);
    }
    return vcore_fail(r->err, VLM_ERR_ARGUMENT, "config table: unknown type of field '%s'",
                      r->field->key);
}

const vlm_json *vlm_json_find(const vlm_json *value, const char *path) {
    return vcore_json_path(value, path);
}

vlm_status vlm_config_read(void *out, const vlm_json *object, const char *where,
                           const vlm_config_field *fields, size_t n_fields, vlm_error *err) {
    vcore_json_kind kind = vcore_json_kind_of(object);
    if (kind != VCORE_JSON_OBJECT && kind != VCORE_JSON_NULL)
        return vcore_fail_field(err, VLM_ERR_CONFIG, where, NULL, "must be an object, is %s",
                                vcore_json_kind_name(object));
    for (size_t i = 0; i < n_fields; i++) {
        row r = { .field = &fields[i], .where = where, .err = err };
        VTRY(read_row(&r, (char *)out + fields[i].offset, object));
    }
    return VLM_OK;
}
