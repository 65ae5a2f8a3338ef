#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The CUDA backend on a machine with a GPU: builds it (unless BUILD has it already), tests it, measures it.
#
#     tools/cuda.sh [BUILD [STEP ...]]     steps: build checkpoints test sanitize bench peer table; all of them by default
#
# Results go to $OUT (cuda-results), the table of docs/SPEED.md last; random checkpoints of real sizes to $MODELS (/tmp/vlm-models: 46 GB). Needs
# nvcc and what README needs to build, and for checkpoints and the peer a $PYTHON of tools/requirements.txt with transformers on CUDA.
set -uo pipefail
cd "$(dirname "$0")/.."
build=$(realpath -m "${1:-build}")
steps=${*:2}
steps=${steps:-build checkpoints test sanitize bench peer table}
out=${OUT:-cuda-results}
models=${MODELS:-/tmp/vlm-models}
python=${PYTHON:-python3}
failed=0
export LD_LIBRARY_PATH=$build${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} # programs in folders of the build find libvlm-cuda.so
mkdir -p "$out" "$models"

# Prints the last lines of a command's output, which goes to a file as a whole.
tell() {
    local name=$1 lines=$2
    shift 2
    echo "== $name"
    "$@" >"$out/$name.txt" 2>&1 || { failed=1; echo "$name: exit status $?"; }
    tail -n "$lines" "$out/$name.txt"
}

make_build() {
    [ -x "$build/vlm" ] && [ -e "$build/libvlm-cuda.so" ] && return 0
    cmake --preset default -B "$build" && cmake --build "$build"
}

# NAME-bf16, NAME-8bit and NAME-4bit of both sizes, side by side.
make_checkpoints() {
    local size bits
    for size in 3b 7b; do
        local config=tools/configs/qwen2.5-vl-$size/config.json
        [ -e "$models/$size-bf16" ] || $python tools/random_checkpoint.py $config "$models/$size-bf16" &
        for bits in 8 4; do
            [ -e "$models/$size-${bits}bit" ] || $python tools/random_checkpoint.py $config "$models/$size-${bits}bit" --quantize $bits &
        done
    done
    wait
    mkdir -p "$models/tiny"
    "$build/tests/write_checkpoint" tests/golden/qwen2_5_vl-tied "$models/tiny" hf bf16 >/dev/null
}

# All at a time: each is slow by itself. cuBLASLt's own kernels have a hazard that racecheck tells of.
sanitize() {
    local tool
    for tool in memcheck racecheck initcheck; do
        tell "$tool-ops" 1 timeout 200 compute-sanitizer --tool $tool "$build/tests/cuda_ops" 1 7 &
        tell "$tool-model" 1 timeout 200 compute-sanitizer --tool $tool "$build/vlm" generate -m "$models/tiny" \
            -i examples/night.png -p "What do you see?" --backend cuda --max-tokens 6 --ignore-eos &
    done
    wait
    grep -L "SUMMARY: 0 " "$out"/*check-*.txt | sed 's/^/not clean: /'
}

bench() {
    local size format
    for size in 3b 7b; do
        for format in bf16 8bit 4bit; do
            "$build/vlm" bench --json -m "$models/$size-$format" --backend cuda --picture 1008x1008 --prompt-tokens 1358 \
                --kv 1400 --batch "$([ $format = bf16 ] && echo 1,32 || echo 1)" --rounds 7 --seconds 3 --generate 64 \
                >"$out/vlm-$size-$format.json" || failed=1
        done
    done
}

for step in $steps; do
    case $step in
    build) tell build 3 make_build ;;
    checkpoints) tell checkpoints 6 make_checkpoints ;;
    test)
        tell cuda_ops 3 "$build/tests/cuda_ops" 10
        tell cuda_steps 8 "$build/tests/cuda/cuda_steps" "$models/tiny"
        tell parity 30 $python tools/parity.py "$build" --backend cuda --jobs 12 --save "$out/parity.json"
        ;;
    sanitize)
        sanitize
        ;;
    bench)
        tell bench_cuda 40 "$build/bench/bench_cuda"
        bench
        ;;
    peer)
        for size in 3b 7b; do
            $python bench/peers/transformers_cuda.py "$models/$size-bf16" >"$out/transformers-$size.json" 2>"$out/transformers-$size.txt" || failed=1
        done
        ;;
    table) $python bench/cuda_table.py "$out" | tee "$out/table.md" ;;
    *) echo "no such step: $step" && exit 2 ;;
    esac
done
exit $failed
