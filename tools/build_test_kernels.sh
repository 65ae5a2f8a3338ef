#!/bin/sh
# SPDX-License-Identifier: MIT
# tests/test_kernels.c as one static program without other libraries, to run on another machine (or under qemu-user):
#
#     tools/build_test_kernels.sh OUT [compiler [flags]]
set -eu
out=$1
compiler=${2:-cc}
[ $# -gt 1 ] && shift
shift
cd "$(dirname "$0")/.."
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
case $($compiler -dumpmachine) in x86_64*) other='neon*.c' ;; aarch64*) other='avx*.c' ;; *) other='[an]*.c' ;; esac
avx2='-mavx2 -mfma -mf16c'
avx512="$avx2 -mavx512f -mavx512bw -mavx512vl -mavx512dq"
for source in $(find src/tensor -name "*.c") src/core/*.c tests/test_kernels.c tests/support/kernel_case*.c; do
  case $source in # the same flags as in CMakeLists.txt
    src/*_$other) continue ;;
    src/*_avx2.c) extra=$avx2 ;;
    src/*_avx512.c) extra=$avx512 ;;
    src/*_avx512*.c) extra="$avx512 -mavx512bf16 -mavx512vnni" ;;
    src/*_neondot.c) extra=-march=armv8.2-a+dotprod ;;
    src/*_neonbf16.c) extra=-march=armv8.2-a+bf16 ;;
    *) extra= ;;
  esac
  # shellcheck disable=SC2086
  $compiler -std=gnu11 -O2 -Wall -Wextra -Werror -ffp-contract=off -fno-math-errno -D_GNU_SOURCE -Iinclude -Isrc -Itests "$@" $extra \
    -c -o "$objects/$(echo "$source" | tr / _).o" "$source"
done
$compiler -static "$@" -o "$out" "$objects"/*.o -lm -pthread
