#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs every fuzz target over its seeds for a number of seconds each; says executions and edge coverage.
set -eu
build=$1
seconds=$2
cd "$(dirname "$0")/.."
for target in "$build"/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    name=$(basename "$target")
    work=$(mktemp -d)
    log=$(mktemp)
    seeds=fuzz/corpus/$name
    [ -d "$seeds" ] || { echo "$name: no seeds in $seeds"; exit 1; }
    # shellcheck disable=SC2086
    if "$target" -max_total_time="$seconds" -rss_limit_mb=4096 -timeout=25 -print_final_stats=1 "$work" $seeds >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        edges=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
        echo "$name: $runs executions, $edges edges, no finding"
    else
        tail -n 40 "$log"
        echo "$name: FAILED"
        exit 1
    fi
    rm -rf "$work" "$log"
done
