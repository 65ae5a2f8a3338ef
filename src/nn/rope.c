/* SPDX-License-Identifier: MIT */
/* Frequencies of rotary positions. The rotation itself is an operation of the tensor layer. */
#include <math.h>

#include "nn/nn.h"

/* torch rounds the exponent, the power and the quotient to float32, one after the other. */
void vlm_rope_frequencies(float *out, int dim, double theta) {
    for (int j = 0; j < dim / 2; j++) {
        float exponent = (float)(2 * j) / (float)dim;
        float power = (float)pow((double)(float)theta, (double)exponent);
        out[j] = 1.0f / power;
    }
}
