#!/bin/sh
# SPDX-License-Identifier: MIT
# Holds the NEON code against plain C on a machine that has none, cross-compiled and run by qemu-user: resizes, every kernel of the CPU
# backend, and the tests of the tensor layer. Debian packages gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user.
set -eu
cd "$(dirname "$0")/.."
compiler=aarch64-linux-gnu-gcc
cases=${1:-1000}
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
flags="-std=gnu11 -O2 -Wall -Wextra -Werror -ffp-contract=off -fno-math-errno -D_GNU_SOURCE -Iinclude -Isrc -Itests"
# shellcheck disable=SC2086
$compiler $flags -ffunction-sections -Wl,--gc-sections -static -o "$programs/resize" tests/cross/resize_kernels.c src/core/*.c \
    src/media/axis.c src/media/resample.c src/media/resample_neon.c src/media/image.c src/media/sizes.c -lm -pthread
qemu-aarch64 "$programs/resize"
tools/build_test_kernels.sh "$programs/kernels" $compiler
qemu-aarch64 -cpu max "$programs/kernels" --cases "$cases"
tensor=$(find src/tensor src/nn -name '*.c' ! -name '*_avx*') # tests use nn's frequencies
for source in $tensor src/core/*.c; do
  case $source in
    *_neondot.c) extra=-march=armv8.2-a+dotprod ;;
    *_neonbf16.c) extra=-march=armv8.2-a+bf16 ;;
    *) extra= ;;
  esac
  # shellcheck disable=SC2086
  $compiler $flags $extra -c -o "$programs/$(basename "$source" .c)_$(basename "$(dirname "$source")").o" "$source"
done
for test in tensor_ops tensor_linear tensor_mix tensor_experts tensor_quantized tensor_attention tensor_frame kernels_quantized; do
  # shellcheck disable=SC2086
  $compiler $flags -Itests/cross/cmocka -static -o "$programs/test" tests/test_$test.c "$programs"/*.o -lm -pthread
  qemu-aarch64 -cpu max "$programs/test"
done
