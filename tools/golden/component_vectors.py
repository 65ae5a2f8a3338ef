# SPDX-License-Identifier: MIT
"""What Hugging Face tokenizers makes of tests/data/tokenizers/lines.json with each normalizer, pre-tokenizer and
post-processor of tools/golden/components.py.

    python -m tools.golden.component_vectors tests/data/tokenizers

Writes components.json: the models with their added tokens, and for each component the rest of its file (the test joins
them) and a hash of all ids and places (FNV-1a of 32-bit little-endian words: for each line without and with special tokens,
the number of ids, then id, begin, end in bytes of each). tools/compare_tokenizers.py shows where something differs.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path

os.environ["RUST_BACKTRACE"] = "0"

from tokenizers import Tokenizer  # noqa: E402

from tools.golden import components  # noqa: E402

FAMILIES = (components.normalizers, components.normalizer_sequences, components.pre_tokenizers,
            components.pre_tokenizer_sequences, components.post_processors)


class Hash:
    def __init__(self) -> None:
        self.value = 0xCBF29CE484222325

    def add(self, word: int) -> None:
        for byte in word.to_bytes(4, "little"):
            self.value = (self.value ^ byte) * 0x100000001B3 % (1 << 64)


def body(members: dict) -> str:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"))[1:-1]


def hash_of(tokenizer: Tokenizer, lines: list[str]) -> str:
    total = Hash()
    for line in lines:
        at = [0, *itertools.accumulate(len(c.encode()) for c in line)]
        for special in (False, True):
            encoded = tokenizer.encode(line, add_special_tokens=special)
            total.add(len(encoded.ids))
            for token, (begin, end) in zip(encoded.ids, encoded.offsets):
                for word in (token, at[begin], at[end]):
                    total.add(word)
    return f"{total.value:016x}"


def main() -> None:
    out = Path(sys.argv[1])
    lines = json.loads((out / "lines.json").read_text())
    models: dict[str, str] = {}
    cases = []
    for family in FAMILIES:
        for name, file in family():
            model = body({key: file.pop(key) for key in ("added_tokens", "model")})
            known = next((key for key, text in models.items() if text == model), None)
            if known is None:
                known = name.split("/")[-1]
                models[known] = model
            tokenizer = Tokenizer.from_str("{" + body(file) + "," + model + "}")
            text = body({key: value for key, value in file.items() if value is not None and key != "version"})
            try:
                cases.append({"name": name, "model": known, "file": text, "hash": hash_of(tokenizer, lines)})
            except BaseException as error:  # a panic is no Exception
                print(f"{name}: left out, the reference fails: {error}")
    rows = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (out / "components.json").write_text(
        '{"models": ' + json.dumps(models, ensure_ascii=False) + ',\n"cases": [\n' + rows + "\n]}\n")
    print(f"{len(cases)} components, {len(lines)} lines")


if __name__ == "__main__":
    main()
