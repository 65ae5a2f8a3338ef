# SPDX-License-Identifier: MIT
"""Small tokenizers in every style that the tokenizer reads, and what Hugging Face tokenizers makes of a list of texts.

    python -m tools.golden.tokenizer_vectors tests/data/tokenizers

Writes lines.json (the texts), <name>.json (a tokenizer.json) and <name>.expected.json: for each text its ids with and
without special tokens, byte offsets of the first ([begin, end, begin, end, ..]) and, where it is not the text itself,
the decoded text with and without special tokens. A tokenizer that is there already is kept.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = """
The quick brown fox jumps over the lazy dog. The five boxing wizards jump quickly; how vexingly quick daft zebras jump!
I'm sure they'll say it's what we've got, but don't you'd better ask? HE'S HERE AND THEY'RE THERE, I'D SAY.
In 2024 we counted 1, 12, 123, 1234 and 1000000 objects, 3.14159 of them round, on 01/02/2003 at 12:34:56.
def main(argc, argv):\n    return {"a": [1, 2, 3], 'b': None} if argc > 1 else -1  # TODO == "nothing"\n\n\tfor (int i = 0; i < n; i++) { x[i] += y; }
https://example.com/path?query=1&other=two#three <div class="box">text</div> e-mail: someone@example.org
Le cœur déçu mais l'âme plutôt naïve, Louÿs rêva de crapaüter en canoë. Falsches Üben von Xylophonmusik quält jeden Zwerg.
Привет, мир! Съешь же ещё этих мягких французских булок. Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.
こんにちは世界。私はガラスを食べられます。北京欢迎你，東京都。안녕하세요 세계 다람쥐 헌 쳇바퀴에 타고파
مرحبا بالعالم نص حكيم له سر قاطع. שלום עולם דג סקרן שט בים. नमस्ते दुनिया ऋषियों को सताने वाले. สวัสดีชาวโลก
Việt Nam: Tiếng Việt có dấu. Türkçe: İstanbul ılık. Čeština: Příliš žluťoučký kůň úpěl ďábelské ódy.
"""

LINES = [
    "", " ", "  ", "   \n  ", "\n", "\n\n\n", "\r\n\r\n", "\t\t", "a", " a", "a ", "  a  b   c    ", "Hello world", "Hello, world!",
    "The quick brown fox jumps over the lazy dog.", "I'm you're he'll we've they'd it's don't", "I'M YOU'RE HE'LL WE'VE THEY'D IT'S DON'T",
    "'s't're've'm'll'd", "''s ' s 'ſ 'K x'Sy", "can’t won’t", "1 12 123 1234 12345 123456", "3.14159 1,000,000 01/02/2003", "a1b22c333", "½ ² Ⅷ ٣ ३ ၃ 一二三",
    "CamelCase HTTPServer parseHTML2Text iPhone XMLHttpRequest ABCdef", "snake_case kebab-case dot.case", "foo(bar)[baz]{qux}<quux>",
    "def f(x):\n    return x + 1\n\n\nprint(f(2))\n", "\tif (a && b) {\r\n\t\treturn;\r\n\t}", "// comment /* block */ # hash", "==== ---- **** !!!! ????", "...!?,;:\"'`~@#$%^&*()_+-=",
    "https://example.com/a/b?c=d&e=f#g", "<div class=\"x\">y</div>", "naïve café über straße", "nai\u0308ve cafe\u0301 u\u0308ber", "A\u030a\u0327 e\u0323\u0302 o\u0302\u0323 q\u0307\u0323 q\u0323\u0307",
    "\u0301leading mark", "e\u0301" * 5 + "\u0301\u0301\u0301", "ﬁ ﬂ ﬃ Å Å K ℌ ① ㎏ ½ ﷺ", "Ελληνικά κείμενο ΣΊΣΥΦΟΣ", "Привет, как дела? Всё хорошо!", "Україна їжак ґанок", "Հայերեն տեքստ", "ქართული ტექსტი",
    "שלום עולם", "שָׁלוֹם", "مرحبا بالعالم", "السَّلامُ عَلَيْكُم", "نص عربي 123 with English", "नमस्ते दुनिया", "क्षत्रिय ज़ क़", "বাংলা পাঠ্য", "தமிழ் உரை", "తెలుగు వచనం", "ಕನ್ನಡ ಪಠ್ಯ", "മലയാളം", "සිංහල",
    "สวัสดีชาวโลก", "ພາສາລາວ", "བོད་ཡིག", "မြန်မာဘာသာ", "ភាសាខ្មែរ", "አማርኛ", "Tiếng Việt có dấu", "İstanbul ISPARTA ılık ß ẞ", "北京欢迎你", "東京都に行きました。", "カタカナ ｶﾀｶﾅ ﾊﾟﾋﾞ", "안녕하세요 세계", "각 한국어",
    "Mixed 中文 and English 和 numbers 123 混合", "，。！？「」『』", "😀", "😀😃😄😁", "👩‍👩‍👧‍👦 family", "🏳️‍🌈 flag 🇩🇪🇫🇷", "👍🏽 ok ❤️ ☺️ ☺︎", "1️⃣2️⃣", "\U0001F468\u200d\U0001F469", "a\u200db\u200cc\u200bd\ufeffe",
    "non\u00a0breaking\u202fspace\u2003em\u3000ideographic", "line\u2028sep\u2029para\u0085nel\x0bvt\x0cff", "\u00a0 \u00a0", "tab\there  two", "a\u0000b", "\x01\x02\x7f\x80\x9f", "\ufffd \ufffe \U0010ffff", "\ue000 private \U000f0000",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟘𝟙𝟚", "\U0001d15e\u2126\u212b", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababababababababababababababababababababababababab",
    " " * 33 + "x", "x" + "\n" * 17 + "y", "-" * 70, "=" * 20 + ">" + " " * 5, "the" * 30, "▁already▁marked ▁ text", "a▁", "<0x0A><0x41>", "<s>", "</s>", "<s></s>", "<s> Hello</s> World <s>", "Hello<s>World", "x </s>  y", "<pad><pad>  <pad>",
    "<image>", "a<image>b", "a <image> b", "  <image>  ", "<image><image>", "<image>\n<image>", "<IMAGE> <imag> <image", "word wordy sword word-word word", "<lower> <LOWER> Lower", "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|><|im_end|>", "x<|im_start|", "\n\n\n\n\n a \n\n b", "<a><ab><abc><abcd>", "<abc<ab>", "Describe the picture: <image>. What's in it?", "System: you are a helpful assistant.\nUser: hi\nAssistant:",
    "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\"}}", "| a | b |\n|---|---|\n| 1 | 2 |", "\U00013f97⥩a\ua7cb\ua7cd \U00010d41\U000116d0 x\u0897\u0c3c\u0316", "1. one\n2. two\n   - three", "E = mc² ∑∫√ α≤β ∀x∈ℝ", "$100 €200 £300 ¥400 ₹500", "C:\\Users\\name\\file.txt", "\\u0041 \\n \\t",
]


def added() -> list[AddedToken]:
    return [
        AddedToken("<s>", special=True, normalized=False), AddedToken("</s>", special=True, normalized=False), AddedToken("<pad>", special=True, normalized=False),
        AddedToken("<image>", special=True, normalized=False), AddedToken("<|im_start|>", special=True, normalized=False), AddedToken("<|im_end|>", special=True, normalized=False),
        AddedToken("<a>", normalized=False), AddedToken("<ab>", normalized=False), AddedToken("<abc>", normalized=False), AddedToken("\n\n\n", normalized=False),
    ]


def flagged() -> list[AddedToken]:
    return [
        AddedToken("<s>", special=True, normalized=False, rstrip=True), AddedToken("</s>", special=True, normalized=False, lstrip=True), AddedToken("<pad>", special=True, normalized=True),
        AddedToken("<image>", special=True, lstrip=True, rstrip=True, normalized=False), AddedToken("word", single_word=True, normalized=False), AddedToken("<Lower>", normalized=True),
    ]


def split(pattern: str, behavior: str = "isolated", invert: bool = False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN35 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
WORDS = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+SUFFIX|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*SUFFIX|\p{{N}}DIGITS| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = WORDS.replace("SUFFIX", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?").replace("DIGITS", "{1,3}")
TEKKEN = WORDS.replace("SUFFIX", "").replace("DIGITS", "")


def bytes_after(*steps):
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def template(t: Tokenizer, single: str):
    names = [w for w in single.split() if w != "$A"]
    return processors.TemplateProcessing(single=single, special_tokens=[(w, t.token_to_id(w)) for w in names])


def train(t: Tokenizer, size: int, tokens: list[AddedToken], alphabet: list[str], **options) -> Tokenizer:
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=alphabet, **options)
    t.train_from_iterator([line for line in CORPUS.split("\n") if line] * 2, trainer)
    t.add_tokens(tokens)
    return t


def byte_level(pre, size=460, normalizer=None, tokens=None, **model) -> Tokenizer:
    t = Tokenizer(models.BPE(**model))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    return train(t, size, tokens or added(), pre_tokenizers.ByteLevel.alphabet())


def with_bytes(t: Tokenizer, unk: str = "<unk>") -> dict:
    """The trained tokenizer with <0x00>..<0xFF> in front of its vocabulary, as SentencePiece writes it."""
    j = json.loads(t.to_str())
    names = [unk] + [f"<0x{i:02X}>" for i in range(256)]
    vocab = [w for w, _ in sorted(j["model"]["vocab"].items(), key=lambda x: x[1]) if w not in names]
    j["model"]["vocab"] = {w: i for i, w in enumerate(names + vocab)}
    j["model"].update(byte_fallback=True, fuse_unk=True, unk_token=unk)
    size = len(j["model"]["vocab"])
    for i, a in enumerate(j["added_tokens"]):
        a["id"] = size + i
    return j


SP_DECODER = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def llama2() -> Tokenizer:
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    train(t, 420, added(), [], special_tokens=["<unk>"], limit_alphabet=90)
    j = with_bytes(t)
    t = Tokenizer.from_str(json.dumps(j))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.pre_tokenizer, t.decoder = pre_tokenizers.Sequence([]), SP_DECODER
    t.post_processor = template(t, "<s> $A")
    return t


def gemma() -> Tokenizer:
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokens = added() + [AddedToken("\n" * n, normalized=False) for n in (2, 4)] + [AddedToken("▁" * n, normalized=False) for n in (2, 3)]
    train(t, 420, tokens, [], special_tokens=["<unk>"], limit_alphabet=90)
    t = Tokenizer.from_str(json.dumps(with_bytes(t)))
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    t.post_processor = template(t, "<s> $A </s>")
    return t


def metaspace(scheme: str, normalizer, fuse: bool, tokens) -> Tokenizer:
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=fuse))
    t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    t.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return train(t, 260, tokens, [], special_tokens=["<unk>"], limit_alphabet=70)


def clip() -> Tokenizer:
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(False)])
    return train(t, 300, flagged(), [], special_tokens=["<unk>"], end_of_word_suffix="</w>", limit_alphabet=70)


def continuing() -> Tokenizer:
    t = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
    t.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Replace("a", "bb")])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split("o", "contiguous"), split(r"\p{N}", "merged_with_next")])
    return train(t, 300, added(), [], special_tokens=["<unk>"], continuing_subword_prefix="##", limit_alphabet=70)


def ignoring() -> Tokenizer:
    t = byte_level(bytes_after(split(CL100K.replace("DIGITS", "{1,3}"))), ignore_merges=True)
    j = json.loads(t.to_str())
    for word in ("Ġpicture", "Hello", "ðŁĺĢ"):
        j["model"]["vocab"].setdefault(word, len(j["model"]["vocab"]))
    for i, a in enumerate(j["added_tokens"]):
        a["id"] = len(j["model"]["vocab"]) + i
    t = Tokenizer.from_str(json.dumps(j))
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template(t, "<s> $A")])
    return t


def roberta() -> Tokenizer:
    t = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), tokens=flagged())
    t.post_processor = processors.Sequence([template(t, "<s> $A </s>"), processors.ByteLevel(trim_offsets=True, add_prefix_space=True)])
    return t


def build() -> dict[str, Tokenizer]:
    N = normalizers
    return {
        "gpt2": byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)),
        "roberta": roberta(),
        "smollm2": byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])),
        "qwen2": byte_level(bytes_after(split(CL100K.replace("DIGITS", ""))), normalizer=N.NFC()),
        "qwen35": byte_level(bytes_after(split(QWEN35)), size=400),
        "llama3": ignoring(),
        "o200k": byte_level(bytes_after(split(O200K)), size=400),
        "tekken": byte_level(bytes_after(split(TEKKEN)), size=400),
        "llama2": llama2(),
        "gemma": gemma(),
        "metaspace-first": metaspace("first", N.Sequence([N.NFKC(), N.Strip(left=True, right=False)]), False, flagged()),
        "metaspace-never": metaspace("never", N.Lowercase(), True, flagged()),
        "clip": clip(),
        "continuing": continuing(),
    }


def expected(t: Tokenizer, line: str) -> dict:
    at = [0]
    for c in line:
        at.append(at[-1] + len(c.encode()))
    full, bare = t.encode(line), t.encode(line, add_special_tokens=False)
    out = {"ids": full.ids, "offsets": [at[x] for pair in full.offsets for x in pair]}
    if bare.ids != full.ids:
        out["bare"] = bare.ids
    for key, skip in (("text", True), ("all", False)):
        decoded = t.decode(full.ids, skip_special_tokens=skip)
        if decoded != line:
            out[key] = decoded
    return out


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    words = [w for line in LINES for w in line.split(" ") if w and len(w) < 24]
    lines = LINES + ["".join(rng.choice(words) + rng.choice([" ", " ", "", "\n", "  "]) for _ in range(8)) for _ in range(40)]
    (out / "lines.json").write_text(json.dumps(lines, indent=0, ensure_ascii=True) + "\n")
    for i, (name, t) in enumerate(build().items()):
        path = out / f"{name}.json"
        if not path.exists():  # training breaks ties anew each time: what is there stays
            j = json.loads(t.to_str())
            if i % 2:  # the older notation of merges
                j["model"]["merges"] = [" ".join(m) for m in j["model"]["merges"]]
            path.write_text(json.dumps(j, ensure_ascii=False, separators=(",", ":")) + "\n")
        t = Tokenizer.from_str(path.read_text())
        rows = [json.dumps(expected(t, line), separators=(",", ":")) for line in lines]
        (out / f"{name}.expected.json").write_text("[\n" + ",\n".join(rows) + "\n]\n")
        print(name, t.get_vocab_size(), "tokens")


if __name__ == "__main__":
    main()
