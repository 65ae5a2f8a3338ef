#!/bin/sh
# SPDX-License-Identifier: MIT
# Holds the NEON code of resizes against plain C on a machine that has none: cross-compiled, run by qemu-user. Debian packages
# gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user.
set -eu
cd "$(dirname "$0")/.."
program=$(mktemp)
trap 'rm -f "$program"' EXIT
aarch64-linux-gnu-gcc -std=gnu11 -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -Iinclude -Isrc -ffunction-sections -Wl,--gc-sections -static -o "$program" \
    tests/cross/resize_kernels.c src/core/*.c src/media/axis.c src/media/resample.c src/media/resample_neon.c src/media/image.c \
    src/media/sizes.c -lm -pthread
qemu-aarch64 "$program"
