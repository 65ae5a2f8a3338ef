/* SPDX-License-Identifier: MIT */
/**
 * @file config.h
 * @brief Config tables: key, aliases, type, range and default of every field that a unit reads.
 *
 * Part of the extension interface (vlm/extend.h): version-locked, without an ABI promise.
 * There is no getter without a range.
 */
#ifndef VLM_EXTEND_CONFIG_H
#define VLM_EXTEND_CONFIG_H

#include <stdbool.h>

#include "vlm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Fills err (which may be NULL) with one line that names file and field; returns code. */
VLM_API vlm_status vlm_fail(vlm_error *err, vlm_status code, const char *fmt, ...) VLM_PRINTF(3, 4);
/** The same of a field, for what a table cannot say: "<where>: <field>: <text>", and the data. @param where a file, or an
 * object in it as in vlm_config_read() @param field NULL: `where` itself is meant */
VLM_API vlm_status vlm_fail_field(vlm_error *err, vlm_status code, const char *where,
                                  const char *field, const char *fmt, ...) VLM_PRINTF(5, 6);

/** Entry of an object by dotted path ("rope_parameters.rope_theta"); NULL when absent. */
VLM_API const vlm_json *vlm_json_find(const vlm_json *value, const char *path);

/** How a config field is read and what it is stored as. */
typedef enum vlm_field_type {
    VLM_FIELD_INT,    /**< int64_t, within [min, max]; 4.0 is an integer, too */
    VLM_FIELD_REAL,   /**< float, within [min, max]; never NaN */
    VLM_FIELD_DOUBLE, /**< double, as before: for what sizes are computed from */
    VLM_FIELD_BOOL,   /**< bool */
    VLM_FIELD_NAME,   /**< int: value of the name found in `names` */
    VLM_FIELD_INTS    /**< vlm_ints, each within [min, max]; an integer alone is a list of one */
} vlm_field_type;

/** A name that a config may use and the value it stands for; a table of them ends with {NULL, 0}. */
typedef struct vlm_name {
    const char *name;
    int value;
} vlm_name;

#define VLM_MAX_INTS 128
/** List of integers; n is 0 when the field is absent. */
typedef struct vlm_ints {
    int64_t n;
    int64_t at[VLM_MAX_INTS];
} vlm_ints;

/** A row of a config table. A null value counts as absent. */
typedef struct vlm_config_field {
    const char *key;        /**< path below the object; alternatives separated by '|', first found wins */
    vlm_field_type type;
    size_t offset;          /**< of the member in the struct that is filled */
    double min, max;
    double fallback;        /**< value when absent; VLM_KEEP: the member stays as it is */
    bool required;          /**< absent is an error */
    const vlm_name *names;  /**< VLM_FIELD_NAME only */
} vlm_config_field;

/** Rows of a table: VLM_INT(config, hidden_size, "hidden_size", 1, 65536, VLM_REQUIRED). */
#define VLM_REQUIRED (-1e308)
/** Fallback of fields whose default is already in the struct (defaults that depend on the type). */
#define VLM_KEEP (-1e307)
#define VLM_ROW_(s, m, k, t, lo, hi, d, names)                                                     \
    { k, t, offsetof(s, m), lo, hi, d, (d) == VLM_REQUIRED, names }
#define VLM_INT(s, m, k, lo, hi, d) VLM_ROW_(s, m, k, VLM_FIELD_INT, lo, hi, d, NULL)
#define VLM_REAL(s, m, k, lo, hi, d) VLM_ROW_(s, m, k, VLM_FIELD_REAL, lo, hi, d, NULL)
#define VLM_DOUBLE(s, m, k, lo, hi, d) VLM_ROW_(s, m, k, VLM_FIELD_DOUBLE, lo, hi, d, NULL)
#define VLM_BOOL(s, m, k, d) VLM_ROW_(s, m, k, VLM_FIELD_BOOL, 0, 1, d, NULL)
#define VLM_NAME(s, m, k, names, d) VLM_ROW_(s, m, k, VLM_FIELD_NAME, 0, 0, d, names)
#define VLM_INTS(s, m, k, lo, hi) VLM_ROW_(s, m, k, VLM_FIELD_INTS, lo, hi, 0, NULL)

/**
 * Fills a struct from a JSON object by a table. @param object NULL: every field is absent.
 * @param where what to call the object in errors: "config.json", "config.json: text_config".
 * Error VLM_ERR_CONFIG: "config.json: text_config.hidden_size: must be an integer in [1, 65536], is
 * \"x\""; VLM_ERR_MISSING_FIELD for a required one that is absent; VLM_ERR_LIMIT for a list too
 * long; what was read before it stays in the struct. An object that is something else is an error,
 * too.
 */
VLM_API vlm_status vlm_config_read(void *out, const vlm_json *object, const char *where,
                                   const vlm_config_field *fields, size_t n_fields, vlm_error *err);

#ifdef __cplusplus
}
#endif
#endif
