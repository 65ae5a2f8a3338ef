# SPDX-License-Identifier: MIT
"""Tokenizers that lack what their processor adds, and the ids that AutoProcessor's tokenizer gives.

    python -m tools.golden.processor_tokens tests/data/tokenizers/processors.json

Writes a list of cases: processor class, tokenizer.json, tokenizer_config.json, texts and their ids, number of ids.
Needs transformers 5.17.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from transformers import AutoProcessor  # noqa: E402

TEXTS = [
    "<image>a", "a <image> b", "<loc0000><loc1023> <seg000> <seg127>", "<loc1024> <loc001> <seg128>", "a<loc0001>b<seg001> c",
    "<fake_token_around_image><image><end_of_utterance>", "<im> <end_of_utterance> a", "<LOC0001> <loc 0001>",
]
IMAGES = {"PaliGemmaProcessor": {"image_processor_type": "SiglipImageProcessor", "image_seq_length": 4},
          "Idefics3Processor": {"image_processor_type": "Idefics3ImageProcessor"}}


def added(number: int, content: str, special: bool) -> dict:
    return {"id": number, "content": content, "special": special, "normalized": not special, "lstrip": False, "rstrip": False, "single_word": False}


def tokenizer(*extra: str, tokens: list[tuple[str, bool]] = (), lower: bool = False) -> dict:
    """Characters and a few pieces, with spaces as U+2581; tokens: added ones."""
    pieces = ["<unk>", *map(chr, range(33, 127)), "\u2581", *extra]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    listed = []
    for text, special in tokens:
        listed.append(added(vocab.setdefault(text, len(vocab)), text, special))
    marks = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": listed,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, marks]} if lower else marks,
        "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": []},
    }


def cases() -> list[tuple[str, dict, dict]]:
    pali, idefics = "PaliGemmaProcessor", "Idefics3Processor"
    plain = {"tokenizer_class": "PreTrainedTokenizerFast"}
    return [
        (pali, tokenizer(), plain),
        (pali, tokenizer(lower=True), plain),
        (pali, tokenizer("<image>", "<loc0001>", "<seg127>"), plain),
        (pali, tokenizer(tokens=[("<image>", False), ("<loc0001>", True), ("<seg001>", False)]), plain),
        (pali, tokenizer(), {**plain, "extra_special_tokens": {"image_token": "<im>"}}),
        (idefics, tokenizer(), plain),
        (idefics, tokenizer("<end_of_utterance>", tokens=[("<image>", False), ("<fake_token_around_image>", True)]), plain),
    ]


def main() -> None:
    out = []
    for name, document, config in cases():
        with tempfile.TemporaryDirectory() as folder:
            files = {"tokenizer.json": document, "tokenizer_config.json": config,
                     "processor_config.json": {"processor_class": name}, "preprocessor_config.json": {"processor_class": name, **IMAGES[name]}}
            for file, data in files.items():
                (Path(folder) / file).write_text(json.dumps(data))
            ours = AutoProcessor.from_pretrained(folder).tokenizer
            out.append({"processor": name, "tokenizer": document, "config": config, "size": len(ours), "texts": TEXTS,
                        "ids": [ours(text, add_special_tokens=False)["input_ids"] for text in TEXTS]})
            print(name, len(ours))
    Path(sys.argv[1]).write_text("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in out) + "\n]\n")


if __name__ == "__main__":
    main()
