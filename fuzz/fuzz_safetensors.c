/* SPDX-License-Identifier: MIT */
/* Safetensors: whatever is accepted tiles the data, and every byte of every view may be read. */
#include "io/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vio_tensors *t;
    vlm_error err = VLM_ERROR_INIT;
    vlm_status status = vio_tensors_open_memory(&t, data, size, "fuzz.safetensors", NULL, &err);
    if ((status < 0) != (t == NULL) || status != err.code) __builtin_trap();
    if (!t) return 0;
    uint64_t n;
    memcpy(&n, data, 8);
    if (vio_tensors_bytes(t) != size - 8 - n) __builtin_trap();
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < vio_tensors_count(t); i++) {
        const vio_tensor *v = vio_tensors_at(t, i);
        if (vio_tensors_find(t, v->name) != v || v->rank > VIO_MAX_RANK) __builtin_trap();
        for (uint64_t k = 0; k < v->bytes; k++) sum = (uint8_t)(sum + v->data[k]);
    }
    vio_tensors_metadata(t, "format");
    vio_tensors_close(t);
    return 0;
}
