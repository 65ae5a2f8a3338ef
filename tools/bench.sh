#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs every benchmark; each prints the machine's limits, measured in the same run, beside its own figures.
set -eu
build=${1:-build}
cd "$(dirname "$0")/.."
for bench in "$build"/bench/bench_*; do
    [ -x "$bench" ] && [ -f "$bench" ] || continue
    echo "== $(basename "$bench")"
    "$bench"
done
