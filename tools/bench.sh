#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs every benchmark; each prints the machine's limits, measured in the same run, beside its own figures. bench_text
# has a stanza of its own: it needs texts and tokenizers, and a Python that makes them (PYTHON, else python3).
set -eu
build=${1:-build}
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."
for bench in "$build"/bench/bench_*; do
    [ -x "$bench" ] && [ -f "$bench" ] && [ "$(basename "$bench")" != bench_text ] || continue
    echo "== $(basename "$bench")"
    "$bench"
done

# TOKENIZERS: tokenizer.json files to measure beside the generated ones, as NAME=PATH.
echo "== bench_text"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" bench/peers/text_data.py "$work"/made
set -- "$work"/made/generated-150k "$work"/made/generated-256k
for named in ${TOKENIZERS:-}; do
    mkdir "$work/${named%%=*}"
    cp "${named#*=}" "$work/${named%%=*}"/tokenizer.json
    set -- "$@" "$work/${named%%=*}"
done
peer="exec $python bench/peers/text.py"
if ! "$python" -c 'import tokenizers' 2>/dev/null; then
    echo "the peer is missing: $python has no tokenizers"
    peer=
fi
"$build"/bench/bench_text "$work"/made/texts "$peer" "$@"
