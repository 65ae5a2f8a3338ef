#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs every benchmark; each prints the machine's limits, measured in the same run, beside its own figures. What is
# measured beside Python's libraries needs a Python that has them (PYTHON, else python3; tools/requirements.txt).
#
#   QUICK=1                 a few minutes: SmolVLM-256M at 512 tokens, and no peers of whole models
#   SHAPES=.. FORMATS=..    of the table of shapes (bench/run.py), with commas between them
#   THREADS=N               of both; all CPUs, and the peers two, without it
#   CHECKPOINTS=DIR         where the shapes lie, or are made (build/shapes; 37 GB for all of them)
set -eu
build=${1:-build}
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."

checkpoints=${CHECKPOINTS:-$build/shapes}
shapes=${SHAPES:-${QUICK:+smolvlm-256m}}
set -- --vlm "$build"/vlm --checkpoints "$checkpoints" --python "$python" ${shapes:+--shapes "$shapes"} ${FORMATS:+--formats "$FORMATS"} \
    ${THREADS:+--threads "$THREADS"}
echo "== vlm bench"
python3 bench/run.py "$@" ${QUICK:+--quick} || echo "the table of shapes is missing"
if [ -z "${QUICK:-}" ] && [ -e bench/peers/run.py ]; then
    echo "== peers"
    "$python" bench/peers/run.py "$@" || echo "the peers are missing: they take a Python of tools/requirements.txt"
fi

echo "== bench_threads"
"$build"/bench/bench_threads
echo "== bench_ops"
"$build"/bench/bench_ops

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# TOKENIZERS: tokenizer.json files to measure beside the generated ones, as NAME=PATH.
echo "== bench_text"
"$python" bench/peers/text_data.py "$folder"/made
set -- "$folder"/made/generated-150k "$folder"/made/generated-256k
for named in ${TOKENIZERS:-}; do
    mkdir "$folder/${named%%=*}"
    cp "${named#*=}" "$folder/${named%%=*}"/tokenizer.json
    set -- "$@" "$folder/${named%%=*}"
done
peer="exec $python bench/peers/text.py"
if ! "$python" -c 'import tokenizers' 2>/dev/null; then
    echo "the peer is missing: $python has no tokenizers"
    peer=
fi
"$build"/bench/bench_text "$folder"/made/texts "$peer" "$@"

echo "== bench_media"
if [ ! -x "$build"/tests/write_checkpoint ]; then
    echo "left out: it needs the tests' program that writes checkpoints (VLM_BUILD_TESTS)"
    exit 0
fi
mkdir "$folder"/smolvlm "$folder"/qwen2_5_vl
"$build"/tests/write_checkpoint tests/golden/smolvlm-video "$folder"/smolvlm
cp bench/processors/smolvlm.json "$folder"/smolvlm/processor_config.json
"$build"/tests/write_checkpoint tests/golden/qwen2_5_vl-tied "$folder"/qwen2_5_vl
cp bench/processors/qwen2_5_vl.json "$folder"/qwen2_5_vl/preprocessor_config.json
peer="exec $python bench/peers/media.py bench/processors"
if ! "$python" -c 'import PIL, torch, torchvision, transformers' 2>/dev/null; then
    echo "the peer is missing: $python has no Pillow, torch, torchvision and transformers"
    peer=
fi
"$build"/bench/bench_media "$folder"/smolvlm "$folder"/qwen2_5_vl ${peer:+"$peer"}
