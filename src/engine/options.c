/* SPDX-License-Identifier: MIT */
/* Option structs of callers built against an older or a newer header. */
#include "engine/engine.h"

enum { LARGEST_STRUCT = 4096 }; /* beyond it, struct_size is garbage */

vlm_status vengine_take_options(void *to, size_t size, const void *from, const char *what,
                                vlm_error *err) {
    size_t given;
    memcpy(&given, from, sizeof given); /* struct_size, the first member */
    if (given < sizeof given || given > LARGEST_STRUCT)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "%s: struct_size is not set (start from its _INIT)", what);
    for (size_t i = size; i < given; i++)
        if (((const char *)from)[i])
            return vcore_fail(err, VLM_ERR_UNSUPPORTED,
                              "%s: a field is set that this version of the library does not know", what);
    memcpy(to, from, given < size ? given : size);
    return VLM_OK;
}
