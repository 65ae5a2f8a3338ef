#!/bin/sh
# SPDX-License-Identifier: MIT
# Asks the bundled model about the pictures in examples/: picture, question, answer, tokens per second.
set -eu
build=${1:-build}
cd "$(dirname "$0")/.."
model=$(ls -d models/*/ | head -n 1)
json=$(mktemp)
trap 'rm -f "$json"' EXIT
while IFS="$(printf '\t')" read -r picture question expected; do
    [ -n "$picture" ] || continue
    "$build/vlm" generate -m "$model" -i "examples/$picture" -p "$question" --json >"$json"
    answer=$(sed 's/^{"text": "\(.*\)", "tokens".*/\1/; s/\\"/"/g' "$json")
    speed=$(sed 's/.*"decode_tok_s": \([0-9.]*\).*/\1/' "$json")
    printf '%s\n  Q: %s\n  A: %s\n  %.0f tokens/s\n\n' "examples/$picture" "$question" "$answer" "$speed"
done <examples/questions.tsv
