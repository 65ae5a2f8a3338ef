# SPDX-License-Identifier: MIT
"""Tiny BPE tokenizers in the manner of each family: same pipeline, same special tokens, a few hundred entries."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = """
The quick brown fox jumps over the lazy dog while the small red square stays to the left of the large blue circle.
Describe the picture. What is shown in this image? How many shapes are there? There are three green triangles here.
What colour is the biggest one? It is yellow. Is there a circle above the square? Yes, there is. No, there is not.
Read the text in the picture, please. Where is the letter? Between the second and the third row of the table.
You are a helpful assistant that answers questions about pictures and videos. The user asks, the assistant answers.
In 2024 we counted 1, 2, 3, 10, 25 and 100 objects; 7 of them were round. don't can't it's we'll they're I'm
caption en answer en detect cat ; dog segment person ocr naïve café straße übergroß 北京 東京 Привет мир
You are provided the following series of five frames from a video. Frame from 00:01: Compare the two images, then explain.
def main(argc, argv): return 0 if argc > 1 else -1  # x = y + z * 3.14
"""

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def specials(names: list[str]) -> list[AddedToken]:
    return [AddedToken(name, normalized=False, special=True) for name in names]


def train(tokenizer: Tokenizer, vocab_size: int, alphabet: list[str], first: list[str] | None = None) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=first or [], show_progress=False
    )
    tokenizer.train_from_iterator([line + "\n\n" for line in CORPUS.strip().split("\n")], trainer)


def smollm(path: Path, merges: int, rows: int, cols: int) -> int:
    """SmolLM2 with SmolVLM's tokens: digits one by one, then GPT-2's byte level. Returns the number of ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, 256 + merges, pre_tokenizers.ByteLevel.alphabet())
    tokenizer.add_special_tokens(specials(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]))
    tokenizer.add_special_tokens(specials(["<fake_token_around_image>", "<image>", "<end_of_utterance>"]))
    tokenizer.add_special_tokens(specials(["<global-img>"]))
    grid = [f"<row_{r}_col_{c}>" for r in range(1, rows + 1) for c in range(1, cols + 1)]
    tokenizer.add_special_tokens(specials(grid))
    tokenizer.save(str(path))
    return tokenizer.get_vocab_size()


def chatml(path: Path, merges: int, behind: list[str]) -> int:
    """Qwen: NFC, the Split expression, byte level; ChatML's three tokens, then those of a family."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, 256 + merges, pre_tokenizers.ByteLevel.alphabet())
    tokenizer.add_special_tokens(specials(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *behind]))
    tokenizer.save(str(path))
    return tokenizer.get_vocab_size()


def qwen(path: Path, merges: int) -> int:
    """Qwen2.5-VL's tokens."""
    names = ["<|object_ref_start|>", "<|object_ref_end|>"]
    names += ["<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"]
    names += ["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
    return chatml(path, merges, names)


LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def lfm2(path: Path, merges: int, side: int) -> int:
    """LFM2: Llama 3's Split expression, byte level; special tokens first, those of LFM2-VL's tiles behind."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    first = ["<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|fim_pre|>", "<|fim_mid|>", "<|fim_suf|>"]
    first += ["<|im_start|>", "<|im_end|>"]
    train(tokenizer, len(first) + 256 + merges, pre_tokenizers.ByteLevel.alphabet(), first)
    tokenizer.add_special_tokens(specials(first))
    tokenizer.add_special_tokens(specials(["<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>"]))
    grid = [f"<|img_row_{r}_col_{c}|>" for r in range(1, side + 1) for c in range(1, side + 1)]
    tokenizer.add_special_tokens(specials(grid))
    tokenizer.save(str(path))
    return tokenizer.get_vocab_size()


def glm(path: Path, merges: int) -> int:
    """GLM-4: the Split expression of three digits at most, byte level."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, 256 + merges, pre_tokenizers.ByteLevel.alphabet())
    names = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>"]
    names += ["<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"]
    names += ["<|image|>", "<|video|>"]
    tokenizer.add_special_tokens(specials(names))
    tokenizer.save(str(path))
    return tokenizer.get_vocab_size()


def gemma(path: Path, merges: int, names: tuple[str, ...] = ("<image>",), bos: bool = False) -> int:
    """Gemma: SentencePiece BPE as tokenizer.json has it: spaces become U+2581, unknown characters fall back to bytes.

    names: special tokens at the end; bos: the file itself puts <bos> in front.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    first = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    alphabet = sorted(set("".join(CORPUS.split())) & {chr(code) for code in range(33, 127)}) + ["\u2581", "\n"]
    # Words are cut at their spaces for training only, so that merges stay inside words as a trained model's mostly do.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", behavior="merged_with_next")
    train(tokenizer, len(first) + len(alphabet) + merges, alphabet, first)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.add_special_tokens(specials(list(names)))
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
        )
    tokenizer.save(str(path))
    # The trainer made every byte token special; in a real file they are plain entries of the vocabulary.
    data = json.loads(path.read_text())
    data["added_tokens"] = [token for token in data["added_tokens"] if not token["content"].startswith("<0x")]
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return tokenizer.get_vocab_size()


def llama(path: Path, merges: int, behind: list[str]) -> int:
    """Llama: SentencePiece BPE as tokenizer.json has it: U+2581 for spaces and before a text, bytes for what is unknown, `<s>` in front."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    spaces = normalizers.Replace(" ", "\u2581")
    first = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    alphabet = sorted(set("".join(CORPUS.split())) & {chr(code) for code in range(33, 127)}) + ["\u2581", "\n"]
    # Words are cut at their spaces for training only, as Gemma's are.
    tokenizer.normalizer = spaces
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", behavior="merged_with_next")
    train(tokenizer, len(first) + len(alphabet) + merges, alphabet, first)
    trained = json.loads(tokenizer.to_str())
    trained["pre_tokenizer"] = None
    trained["added_tokens"] = [token for token in trained["added_tokens"] if not token["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(trained))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), spaces])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer.add_special_tokens(specials(behind))
    tokenizer.save(str(path))
    return tokenizer.get_vocab_size()


def tekken(path: Path, merges: int, names: list[str]) -> int:
    """Mistral's Tekken as tokenizer.json has it: special tokens first, then bytes; <s> in front of every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    first = ["<unk>", "<s>", "</s>", *names]
    train(tokenizer, len(first) + 256 + merges, pre_tokenizers.ByteLevel.alphabet(), first)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(path))
    return tokenizer.get_vocab_size()
