# SPDX-License-Identifier: MIT
"""What bench_text works on, the same every time: `python text_data.py OUT` makes OUT/texts/{prose,code,cjk}.txt of 1 MB each and, for the time of
loading, byte-level BPE tokenizers of 150,000 and 256,000 entries, OUT/generated-150k and OUT/generated-256k.

Prose is a chain over the words of this repository's documentation, code is its sources, CJK is words of one to three characters, drawn by rank as
natural ones are. Only Python's own modules.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SIZE = 1_000_000


def cut(text: str) -> bytes:
    return text.encode()[:SIZE].decode(errors="ignore").encode()


def prose(rng: random.Random) -> bytes:
    words = " ".join(path.read_text() for path in sorted(ROOT.glob("**/*.md"))).split(" ")
    follow: dict[str, list[str]] = {}
    for word, after in itertools.pairwise(words):
        follow.setdefault(word, []).append(after)
    out, size = [words[0]], 0
    while size < SIZE:
        out.append(rng.choice(follow.get(out[-1]) or words))
        size += len(out[-1]) + 1
    return cut(" ".join(out))


def code() -> bytes:
    text = "".join(path.read_text() for path in sorted(itertools.chain(ROOT.glob("src/**/*.[ch]"), ROOT.glob("tools/**/*.py"))))
    return cut(text * (SIZE // len(text) + 1))


def cjk(rng: random.Random) -> bytes:
    characters = [chr(c) for c in range(0x4E00, 0x9FA6)] + [chr(c) for c in range(0x3041, 0x30FB)] * 4
    rng.shuffle(characters)
    rank = list(itertools.accumulate(1 / (i + 20) for i in range(len(characters))))
    lexicon = ["".join(rng.choices(characters, cum_weights=rank, k=rng.choice((1, 2, 2, 3)))) for _ in range(20000)]
    weight = list(itertools.accumulate(1 / (i + 3) for i in range(len(lexicon))))
    words = rng.choices(lexicon, cum_weights=weight, k=SIZE // 5)
    return cut("".join(word + (rng.choice("，，，。。、！？\n") if rng.random() < 0.12 else "") for word in words))


def byte_alphabet() -> list[str]:
    """The characters that stand for the 256 bytes."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(c) for c in plain] + [chr(256 + i) for i in range(256 - len(plain))]


def tokenizer(rng: random.Random, entries: int) -> dict:
    tokens = byte_alphabet()
    vocab, merges = {token: i for i, token in enumerate(tokens)}, []
    while len(tokens) < entries:
        left, right = rng.choice(tokens[-20000:] if rng.random() < 0.3 else tokens[:3000]), rng.choice(tokens[:1000])
        if len(left) + len(right) < 24 and left + right not in vocab:
            vocab[left + right] = len(tokens)
            tokens.append(left + right)
            merges.append([left, right])
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
             "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": merges}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": byte_level,
            "post_processor": None, "decoder": byte_level, "model": model}


def main() -> None:
    out, rng = Path(sys.argv[1]), random.Random(1)
    (out / "texts").mkdir(parents=True)
    for name, text in (("prose", prose(rng)), ("code", code()), ("cjk", cjk(rng))):
        (out / "texts" / f"{name}.txt").write_bytes(text)
    for name, entries in (("generated-150k", 150_000), ("generated-256k", 256_000)):
        (out / name).mkdir()
        (out / name / "tokenizer.json").write_text(json.dumps(tokenizer(rng, entries), ensure_ascii=False, indent=2))


if __name__ == "__main__":
    main()
