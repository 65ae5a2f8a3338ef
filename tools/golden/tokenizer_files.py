# SPDX-License-Identifier: MIT
"""Small checkpoints without a tokenizer.json, or whose class rebuilds it, and the ids AutoTokenizer gives.

    python -m tools.golden.tokenizer_files tests/data/tokenizers/files

Writes a folder per case (tokenizer files, tokenizer_config.json, config.json) and in it expected.json: for each text
of ../lines.json its ids with and without special tokens. Needs transformers 5.17, sentencepiece, protobuf, tiktoken.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import sentencepiece  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402
from transformers.convert_slow_tokenizer import bytes_to_unicode  # noqa: E402

from tools.golden.tokenizer_vectors import CORPUS  # noqa: E402

BYTES = {character: byte for byte, character in bytes_to_unicode().items()}
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def flags(content: str, special: bool = True) -> dict:
    return {"content": content, "special": special, "normalized": False, "lstrip": False, "rstrip": False, "single_word": False}


def train(**options) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in CORPUS.split("\n") if line]), model_writer=model, minloglevel=2,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, num_threads=1, **options)
    return model.getvalue()


def ranks(vocab: dict[str, int]) -> list[bytes]:
    """The tokens of a byte-level vocabulary that are no added ones, as bytes, by rank."""
    return [bytes(BYTES[c] for c in token) for token in sorted(vocab, key=vocab.get) if all(c in BYTES for c in token)]


def cases(tokenizers: Path) -> dict[str, dict]:
    gpt2 = json.loads((tokenizers / "gpt2.json").read_text())["model"]
    llama2 = (tokenizers / "llama2.json").read_bytes()
    clip = json.loads((tokenizers / "clip.json").read_text())["model"]
    merges = "\n".join(["#version: 0.2", *(" ".join(m) if isinstance(m, list) else m for m in gpt2["merges"])]) + "\n"
    byte_level = {"vocab.json": json.dumps(gpt2["vocab"], ensure_ascii=False).encode(), "merges.txt": merges.encode()}
    clip_files = {
        "vocab.json": json.dumps({**clip["vocab"], "<pad>": max(clip["vocab"].values()) + 1}, ensure_ascii=False).encode(),
        "merges.txt": ("\n".join(" ".join(m) if isinstance(m, list) else m for m in clip["merges"]) + "\n").encode()}
    tokens = ranks(gpt2["vocab"])
    tiktoken = b"".join(base64.b64encode(t) + b" %d\n" % i for i, t in enumerate(tokens))
    llama = train(model_type="bpe", vocab_size=600, byte_fallback=True, character_coverage=0.98)
    gemma = train(model_type="bpe", vocab_size=900, byte_fallback=True, add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
                  bos_piece="<bos>", eos_piece="<eos>", user_defined_symbols=["<mask>", "<start_of_turn>", "\n", "\n\n", "<a>"])
    unigram = train(model_type="unigram", vocab_size=350, character_coverage=1.0)
    tekken = {
        "config": {"pattern": TEKKEN, "default_vocab_size": len(tokens) - 20 + 30, "default_num_special_tokens": 30, "version": "v3"},
        "vocab": [{"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": None} for i, t in enumerate(tokens)],
        "special_tokens": [{"rank": i, "token_str": s, "is_control": True} for i, s in enumerate(["<unk>", "<s>", "</s>", "[INST]", "<image>"])]}

    def of(name: str, **more) -> dict:
        return {"tokenizer_class": name, **more}

    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<pad>"}
    return {
        "gpt2": {"files": byte_level, "config": of("GPT2Tokenizer", **special, add_bos_token=True, add_prefix_space=True)},
        "gpt2-added": {"files": {**byte_level, "added_tokens.json": b'{"<image>": 1001, "<|im_start|>": 1000}',
                                 "special_tokens_map.json": b'{"eos_token": "<|im_start|>", "additional_special_tokens": ["<image>"]}'},
                       "config": of("GPT2Tokenizer", eos_token="</s>")},
        "qwen2": {"files": byte_level, "config": of("Qwen2TokenizerFast", added_tokens_decoder={"2000": flags("<|im_start|>"), "2001": flags("<a>", False)})},
        "roberta": {"files": byte_level, "config": of("RobertaTokenizer", mask_token="<pad>", unk_token="<pad>", **{k: "<s>" for k in ("cls_token", "bos_token")}, sep_token="</s>")},
        "neox": {"files": byte_level, "config": of("GPTNeoXTokenizer", **special)},
        "cohere": {"files": byte_level, "config": of("CohereTokenizer", **special)},
        "clip": {"files": clip_files, "config": of("CLIPTokenizer", bos_token="<s>", eos_token="</s>", unk_token="<pad>", pad_token="<pad>")},
        "llama": {"files": {"tokenizer.model": llama}, "config": of("LlamaTokenizer")},
        "llama-bos": {"files": {"tokenizer.model": llama}, "config": of("LlamaTokenizer", add_bos_token=True, add_eos_token=True, legacy=True)},
        "llama-plain": {"files": {"tokenizer.model": llama}, "config": of("LlamaTokenizer", add_prefix_space=False, added_tokens_decoder={"0": flags("<unk>"), "600": flags("<image>")})},
        "internlm": {"files": {"tokenizer.model": llama}, "config": of("InternLM2Tokenizer"), "type": "internlm2"},
        "gemma": {"files": {"tokenizer.model": gemma}, "config": of("GemmaTokenizer", add_bos_token=True)},
        "unigram": {"files": {"tokenizer.model": unigram}, "config": {}},
        "tiktoken": {"files": {"tiktoken.model": tiktoken},
                     "config": of("PreTrainedTokenizerFast", added_tokens_decoder={str(len(tokens) + 2): flags("<|im_start|>")})},
        "tiktoken-model": {"files": {"tokenizer.model": tiktoken}, "config": of("PreTrainedTokenizerFast")},
        "tekken": {"files": {"tekken.json": json.dumps(tekken).encode()}, "config": of("PreTrainedTokenizerFast", bos_token="<s>"), "type": "pixtral"},
        "rebuilt": {"files": {"tokenizer.json": llama2}, "config": of("LlamaTokenizer")},
        "rebuilt-legacy": {"files": {"tokenizer.json": llama2}, "config": of("LlamaTokenizerFast", legacy=True, add_bos_token=False)},
        "not-rebuilt": {"files": {"tokenizer.json": llama2}, "config": of("LlamaTokenizer"), "type": "llava"},
    }


def main() -> None:
    out = Path(sys.argv[1])
    lines = json.loads((out.parent / "lines.json").read_text())
    for name, case in cases(out.parent).items():
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file, data in case["files"].items():
            (folder / file).write_bytes(data)
        (folder / "tokenizer_config.json").write_text(json.dumps(case["config"]))
        (folder / "config.json").write_text(json.dumps({"model_type": case.get("type", "idefics3")}))
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        ids = [[tokenizer(line, add_special_tokens=special)["input_ids"] for special in (True, False)] for line in lines]
        (folder / "expected.json").write_text(json.dumps(ids, separators=(",", ":")))
        print(name, type(tokenizer).__name__, len(tokenizer))


if __name__ == "__main__":
    main()
