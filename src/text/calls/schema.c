/* SPDX-License-Identifier: MIT */
/* What the tools say of a parameter. Tools that are not shaped as they should be say nothing. */
#include "text/calls/calls.h"

const vcore_json *vtext_c_member(const vcore_json *object, vcore_str key) {
    for (vcore_json_iter it = { 0 }; vcore_json_next(object, &it);)
        if (vcore_str_eq(it.key, key)) return it.value;
    return NULL;
}

const vcore_json *vtext_c_schema(const vcore_json *tools, vcore_str name) {
    for (size_t i = 0; i < vcore_json_count(tools); i++) {
        const vcore_json *tool = vcore_json_at(tools, i), *function = vcore_json_get(tool, "function");
        vcore_str own;
        if (!function) function = tool;
        if (vcore_json_string(vcore_json_get(function, "name"), &own) && vcore_str_eq(own, name))
            return vcore_json_get(function, "parameters");
    }
    return NULL;
}

const vcore_json *vtext_c_property(const vcore_json *tools, vcore_str name, vcore_str parameter) {
    return vtext_c_member(vcore_json_get(vtext_c_schema(tools, name), "properties"), parameter);
}

bool vtext_c_is_string(const vcore_json *schema) {
    vcore_str type;
    return vcore_json_string(vcore_json_get(schema, "type"), &type)
           && vcore_str_eq(type, vcore_str_of("string"));
}

static unsigned type_named(const vcore_json *name) {
    static const struct {
        const char *name;
        unsigned type;
    } known[] = {
        { "integer", VTEXT_C_INT },   { "int", VTEXT_C_INT },       { "number", VTEXT_C_NUMBER },
        { "float", VTEXT_C_NUMBER },  { "boolean", VTEXT_C_BOOL },  { "bool", VTEXT_C_BOOL },
        { "object", VTEXT_C_OBJECT }, { "array", VTEXT_C_ARRAY },   { "string", VTEXT_C_STRING },
        { "str", VTEXT_C_STRING },    { "text", VTEXT_C_STRING },   { "null", VTEXT_C_NULL },
    };
    vcore_str s;
    if (!vcore_json_string(name, &s)) return 0;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (vtext_c_same(s, known[i].name)) return known[i].type;
    return 1u << 30; /* said, but none of these */
}

static unsigned type_of_value(const vcore_json *v) {
    static const unsigned types[] = {
        [VCORE_JSON_NULL] = VTEXT_C_NULL,     [VCORE_JSON_BOOL] = VTEXT_C_BOOL,
        [VCORE_JSON_INT] = VTEXT_C_INT,       [VCORE_JSON_REAL] = VTEXT_C_NUMBER,
        [VCORE_JSON_STRING] = VTEXT_C_STRING, [VCORE_JSON_ARRAY] = VTEXT_C_ARRAY,
        [VCORE_JSON_OBJECT] = VTEXT_C_OBJECT,
    };
    return types[vcore_json_kind_of(v)];
}

unsigned vtext_c_types(const vcore_json *schema) {
    static const char *const choices[] = { "anyOf", "oneOf", "allOf" };
    const vcore_json *type = vcore_json_get(schema, "type"), *values = vcore_json_get(schema, "enum");
    unsigned types = type_named(type);
    if (vcore_json_kind_of(type) == VCORE_JSON_ARRAY)
        for (size_t i = 0; i < vcore_json_count(type); i++) types |= type_named(vcore_json_at(type, i));
    if (vcore_json_kind_of(values) == VCORE_JSON_ARRAY)
        for (size_t i = 0; i < vcore_json_count(values); i++)
            types |= type_of_value(vcore_json_at(values, i));
    for (size_t c = 0; c < sizeof choices / sizeof choices[0]; c++) {
        const vcore_json *list = vcore_json_get(schema, choices[c]);
        if (vcore_json_kind_of(list) != VCORE_JSON_ARRAY) continue;
        for (size_t i = 0; i < vcore_json_count(list); i++)
            types |= vtext_c_types(vcore_json_at(list, i)); /* the depth of a document is limited */
    }
    return types ? types : VTEXT_C_STRING;
}
