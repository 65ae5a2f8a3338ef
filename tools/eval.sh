#!/bin/sh
# SPDX-License-Identifier: MIT
# Asks the bundled model about the 1,000 held-out scenes (a seed stands for their files) through
# `vlm` and counts exact answers. Builds nothing. The last line is `eval: N of 1000`.
#   tools/eval.sh [BUILD] [--model DIR] [--grey] [--count N] [--keep FILE] [--dtype f32]
# --model asks another one (what `vlm convert` made of it), --dtype f32 in exact mode.
# --grey puts a plain grey picture in place of each scene: what a model scores that sees nothing.
# --keep writes file, task, question, expected and given answer, separated by tabs, to FILE.
set -eu
build=build grey='' count=1000 keep='' dtype=''
model=$(dirname "$0")/../models/smolscene
while [ $# -gt 0 ]; do
    case $1 in
    --grey) grey=--grey ;;
    --model) model=$2 && shift ;;
    --dtype) dtype="--dtype $2" && shift ;;
    --count) count=$2 && shift ;;
    --keep) keep=$2 && shift ;;
    -*) echo "usage: tools/eval.sh [BUILD] [--model DIR] [--grey] [--count N] [--keep FILE] [--dtype f32]" >&2 && exit 2 ;;
    *) build=$1 ;;
    esac
    shift
done
scenes=$(mktemp -d)
trap 'rm -rf "$scenes"' EXIT
"$build/scenes" --out "$scenes" --seed 1 --count "$count" $grey

while IFS="$(printf '\t')" read -r file task question expected; do
    answer=$("$build/vlm" generate -m "$model" -i "$scenes/$file" -p "$question" --max-tokens 48 $dtype </dev/null) ||
        answer="(vlm failed)"
    printf '%s\t%s\t%s\t%s\t%s\n' "$file" "$task" "$question" "$expected" "$answer"
done <"$scenes/questions.tsv" >"$scenes/answers.tsv"
[ -z "$keep" ] || cp "$scenes/answers.tsv" "$keep"

awk -F '\t' '
    !($2 in asked) { order[++tasks] = $2 }
    { asked[$2]++; right[$2] += $4 == $5; total += $4 == $5 }
    END {
        for (i = 1; i <= tasks; i++) {
            t = order[i]
            printf "%-9s %4d of %4d  %5.1f %%\n", t, right[t], asked[t], 100 * right[t] / asked[t]
        }
        printf "eval: %d of %d\n", total, NR
    }' "$scenes/answers.tsv"
