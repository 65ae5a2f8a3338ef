# SPDX-License-Identifier: MIT
"""Expectations for tests/test_text_models.c: small models over a few lines, decoders over runs of tokens.

    python -m tools.golden.tokenizer_models tests/data/tokenizers/models.json
"""

from __future__ import annotations

import json
import random
import struct
import sys
from pathlib import Path

from tokenizers import Tokenizer

LINES = ["", "a", "the cat in the hat", "unaffable things", "THE end.", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "ababababaabaabaab aab ab", "é caf\u00e9 \u4e2d\u6587\u3002\U0001f600x",
         "zzz\u00e9\u00e9zz the", "  two  spaces ", "<unk> [UNK]", "q", "\u4e2d", "##s things", "x" * 30, "mixed \u00e9\u4e2d z the\U0001f600\U0001f600"]
BYTES = [f"<0x{b:02X}>" for b in range(256)]
FEW = ["<0x78>", "<0xC3>", "<0xA9>", "<0x7A>"]
LETTERS = [*"abcdefghinostux."]


def scores(pieces: list[str]) -> list[list]:
    """Scores as SentencePiece has them: single precision, written with all digits of a double."""
    rng = random.Random(5)
    return [["<unk>", 0]] + [[p, struct.unpack("f", struct.pack("f", -rng.random() * 9 - 1))[0]] for p in pieces]


def unigram(vocab: list[list], unk: int | None = 0, fallback: bool = False) -> dict:
    return {"type": "Unigram", "unk_id": unk, "vocab": vocab, "byte_fallback": fallback}


def wordpiece(entries: list[str], longest: int = 100, prefix: str = "##") -> dict:
    vocab = {t: i for i, t in enumerate(["[UNK]", *entries])}
    return {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": prefix, "max_input_chars_per_word": longest, "vocab": vocab}


def models() -> dict[str, dict]:
    words = ["the", "th", "in", "un", "aff", "able", "thing", "aa", "ab", "ba", "aab", "aaa", "aaaa", " ", " the", "\u4e2d", "\u4e2d\u6587"]
    pieces = ["##s", "##aff", "##able", "##t", "##h", "##e", "##a", "##\u6587", "un", "the", "thing", "a", "t", "ab", "\u4e2d", "\u00e9", "##."]
    return {
        "unigram": unigram(scores(LETTERS + words)),
        "unigram, bytes": unigram(scores(LETTERS + words + BYTES), fallback=True),
        "unigram, some bytes": unigram(scores(LETTERS + words + FEW), fallback=True),
        "unigram, ties": unigram([["<unk>", -9.5], *([w, -2.0 * len(w)] for w in ["a", "b", "aa", "ab", "ba", "aaa", "aab", "the", "th", "t", "h", "e", "he", " "])]),
        "unigram, a token twice": unigram([["<unk>", 0.0], ["a", -1.0], ["b", -2.5], ["a", -7.25], ["aa", -8.125]]),
        "unigram, scores above 0": unigram([["<unk>", 40.0], ["zz", 31.0], ["a", 30.5], ["t", 33.25], ["the", 36.0]], unk=0),
        "unigram, odd numbers": unigram([["<unk>", 0], ["a", -1e-3], ["b", -123456789012345678901234567890.5], ["t", -0.000000000000000000001234567890123456789012], ["h", -18446744073709551617]]),
        "wordpiece": wordpiece(pieces),
        "wordpiece, short words": wordpiece(pieces, longest=4),
        "wordpiece, no prefix": wordpiece([*LETTERS, "the", "thing", "un", "aa"], prefix=""),
        "wordpiece, no token continues": wordpiece(["a", "the", "unaffable"], prefix="@@"),
        "wordlevel": {"type": "WordLevel", "vocab": {"<unk>": 3, "the": 0, "cat": 7, "\u4e2d\u6587\u3002\U0001f600x": 2}, "unk_token": "<unk>"},
    }


def decoders() -> list[dict | None]:
    def t(name: str, **options) -> dict:
        return {"type": name, **options}

    def sequence(*steps: dict) -> dict:
        return {"type": "Sequence", "decoders": list(steps)}

    def replace(kind: str, pattern: str, content: str) -> dict:
        return t("Replace", pattern={kind: pattern}, content=content)

    level = t("ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True)
    wordpiece_, ctc = t("WordPiece", prefix="##", cleanup=True), t("CTC", pad_token="<pad>", word_delimiter_token="|", cleanup=True)
    strip = t("Strip", content=" ", start=1, stop=0)
    metaspace = [t("Metaspace", replacement="\u2581", prepend_scheme=s, split=True) for s in ("always", "first", "never")]
    return [
        None, level, t("ByteFallback"), t("Fuse"), strip, t("Strip", content="a", start=2, stop=1), replace("String", "\u2581", " "), replace("String", "", "-"), replace("String", "aab", "X"),
        replace("Regex", r"\s+", "_"), *metaspace, wordpiece_, t("WordPiece", prefix="", cleanup=True), t("WordPiece", prefix="##", cleanup=False), ctc,
        t("CTC", pad_token="<pad>", word_delimiter_token="|", cleanup=False), t("CTC", pad_token="", word_delimiter_token="", cleanup=True), t("BPEDecoder", suffix="</w>"), t("BPEDecoder", suffix=""),
        sequence(), sequence(replace("String", "\u2581", " "), t("ByteFallback"), t("Fuse"), strip), sequence(wordpiece_, t("Fuse"), replace("String", " ", "_")), sequence(t("BPEDecoder", suffix="</w>"), wordpiece_),
        sequence(ctc, metaspace[0]), sequence(level, ctc), sequence(ctc, t("BPEDecoder", suffix="a")), sequence(replace("Regex", r"\s+", "_"), wordpiece_), sequence(t("ByteFallback"), metaspace[0]),
    ]


TOKENS = ["\u2581", "\u2581the", "the", "a", "aa", "aab", "##s", "##", "##ing", "ing</w>", "a</w>b</w>", "</w>", "|", "<pad>", "<pad>a", " ", ".", " .", "n't", " do not", "'s", "\u00e9", "\u4e2d\u2581", "\u0120the", "\u00c3",
          "\u00a9", "<0xC3>", "<0xA9>", "<0x41>", "<0x+5>", "<0xZZ>", "\u00f0\u0141", "  ", "b"]


def decode(spec: dict | None, vocab: dict[str, int], runs: list[list[int]]) -> list[str | None]:
    file = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "a"}, "decoder": spec}
    t, out = Tokenizer.from_str(json.dumps(file)), []
    for run in runs:
        try:
            out.append(t.decode(run, skip_special_tokens=False))
        except BaseException as error:  # a panic is no Exception; the reference has no answer then
            if isinstance(error, KeyboardInterrupt):
                raise
            out.append(None)
    return out


def main() -> None:
    rows, rng = [], random.Random(2)
    for name, model in models().items():
        file = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"} if "word" in name else None, "model": model}
        t = Tokenizer.from_str(json.dumps(file))
        want = []
        for line in LINES:
            at = [0]
            for c in line:
                at.append(at[-1] + len(c.encode()))
            encoded = t.encode(line)
            want.append({"ids": encoded.ids, "offsets": [at[x] for pair in encoded.offsets for x in pair]})
        rows.append({"name": name, "file": file, "want": want})
    vocab = {token: i for i, token in enumerate(TOKENS)}
    runs = [[], *([i] for i in range(len(TOKENS))), *([rng.randrange(len(TOKENS)) for _ in range(rng.randint(2, 9))] for _ in range(60))]
    runs += [[26, 27, 27, 26], [13, 13, 3, 3, 12, 12, 2], [3, 3, 13, 3]]
    cases = [{"decoder": spec, "texts": decode(spec, vocab, runs)} for spec in decoders()]
    lines = ["{\"lines\": " + json.dumps(LINES) + ",", "\"models\": ["]
    lines += [",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "],"]
    lines += ["\"vocab\": " + json.dumps(vocab) + ",", "\"runs\": " + json.dumps(runs, separators=(",", ":")) + ",", "\"decoders\": ["]
    lines += [",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "]}"]
    Path(sys.argv[1]).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
