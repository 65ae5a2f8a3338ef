# SPDX-License-Identifier: MIT
"""One small tokenizer.json per component of Hugging Face tokenizers and per option of it.

Each function below is a family and yields (name, tokenizer.json as a dict). Normalizers, pre-tokenizers and
post-processors are seen through two models each: `bytes` shows every byte of the text that arrives, `words` gives one
token per word and shows where it is cut. tools/compare_tokenizers.py runs them all against the reference.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator

Json = dict
Named = Iterator[tuple[str, Json]]

ASCII = [chr(c) for c in range(33, 127)]
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def byte_chars() -> list[str]:
    """GPT-2's printable stand-ins for the bytes 0..255."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(rest)) for b in range(256)]


# ---- models that show what reaches them --------------------------------------------------------------------------
def bpe(vocab: list[str], merges: list[tuple[str, str]] = (), **options) -> Json:
    prefix = options.get("continuing_subword_prefix") or ""
    tokens = list(dict.fromkeys([*vocab, *(a + b.removeprefix(prefix) for a, b in merges)]))
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    return {**model, **options, "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [list(m) for m in merges]}


def show_bytes() -> Json:
    return bpe(["<unk>", *BYTES, *ASCII, "▁"], [("t", "h"), ("th", "e"), ("l", "l"), ("▁", "t")], unk_token="<unk>",
               byte_fallback=True)


def show_words() -> Json:
    return bpe(["<unk>", "[CLS]", "[SEP]"], unk_token="<unk>", fuse_unk=True)


def show_byte_level() -> Json:
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "Ġ"), ("Ã", "©"), ("ð", "Ł"), ("ðŁ", "ĺ"), ("Ċ", "Ċ"), ("1", "2")]
    return bpe(byte_chars(), merges)


def added(content: str, token_id: int, special: bool = False, normalized: bool | None = None, **flags: bool) -> Json:
    normalized = not special if normalized is None else normalized
    base = {"single_word": False, "lstrip": False, "rstrip": False}
    return {"id": token_id, "content": content, **base, **flags, "normalized": normalized, "special": special}


SOME_ADDED = [added("<s>", 1000, special=True), added("</s>", 1001, special=True), added("<tool>", 1002)]


def with_ids(model: Json, tokens: list[Json]) -> list[Json]:
    """The tokens with the ids that the reference gives them: behind the vocabulary, or those of the same text in it."""
    vocab = model["vocab"]
    known = vocab if isinstance(vocab, dict) else {piece: i for i, (piece, _) in enumerate(vocab)}
    out, following = [], len(known)
    for token in tokens:
        if token["content"] in known:
            out.append({**token, "id": known[token["content"]]})
        else:
            out.append({**token, "id": following})
            following += 1
    return out


def tokenizer(model: Json, tokens: list[Json] | None = None, **parts) -> Json:
    tokens = SOME_ADDED if tokens is None else tokens
    file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": with_ids(model, tokens)}
    file |= {"normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    return file | parts | {"model": model}


def both(name: str, tokens: list[Json] | None = None, **parts) -> Named:
    yield f"{name}/bytes", tokenizer(show_bytes(), tokens, **parts)
    yield f"{name}/words", tokenizer(show_words(), tokens, **parts)


# ---- models ------------------------------------------------------------------------------------------------------
WORDS = "the of and to in a is that it was for on are as with his they at be this have from or one had by word but not what".split()
PIECES = ["▁the", "▁a", "▁", "the", "th", "he", "in", "ing", "er", "an", "re", "on", "▁to", "é", "▁é", "中", "中文", "。", "😀", "мир", "▁мир"]


def merges_of(words: list[str], first: str = "", suffix: str = "", prefix: str = "") -> tuple[list[str], list[tuple[str, str]]]:
    """A vocabulary and merges that build these words from the left."""
    vocab, merges = [], []
    for word in words:
        parts = [first + word[0], *(prefix + c for c in word[1:])]
        parts[-1] += suffix
        vocab += parts
        left = parts[0]
        for part in parts[1:]:
            if (left, part) not in merges:
                merges.append((left, part))
            left += part.removeprefix(prefix)
    return vocab, merges


def model_bpe() -> Named:
    space = {"type": "WhitespaceSplit"}
    vocab, merges = merges_of(WORDS)
    unk = ["<unk>"]
    for fuse in (False, True):
        for fallback in (False, True):
            options = {"fuse_unk": fuse, "byte_fallback": fallback, "unk_token": "<unk>"}
            name = f"bpe/fuse_unk={fuse},byte_fallback={fallback}"
            yield name, tokenizer(bpe(unk + vocab + (BYTES if fallback else []), merges, **options), pre_tokenizer=space)
            yield name + ",whole", tokenizer(bpe(unk + vocab + (BYTES if fallback else []), merges, **options))
    yield "bpe/no unk", tokenizer(bpe(vocab, merges), pre_tokenizer=space)
    yield "bpe/ignore_merges", tokenizer(bpe([*unk, *vocab, "thing", "xyz", "中文"], merges, unk_token="<unk>", ignore_merges=True), pre_tokenizer=space)
    few = BYTES[:128]
    yield "bpe/some bytes", tokenizer(bpe([*unk, *few, *vocab], merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True), pre_tokenizer=space)
    for suffix, prefix in (("</w>", ""), ("", "##"), ("</w>", "##")):
        v, m = merges_of(WORDS, suffix=suffix, prefix=prefix)
        letters = [p + c + s for c in ASCII for p in ("", prefix) for s in ("", suffix)]
        options = {"end_of_word_suffix": suffix or None, "continuing_subword_prefix": prefix or None, "unk_token": "<unk>"}
        yield f"bpe/suffix={suffix},prefix={prefix}", tokenizer(bpe([*unk, *letters, *v], m, **options), pre_tokenizer=space)
    old = bpe([*unk, *vocab], merges, unk_token="<unk>")
    old["merges"] = [" ".join(m) for m in old["merges"]]
    yield "bpe/merges as strings", tokenizer(old, pre_tokenizer=space)
    yield "bpe/dropout 0", tokenizer(bpe([*unk, *vocab], merges, unk_token="<unk>", dropout=0.0), pre_tokenizer=space)


def unigram(pieces: list[str], **options) -> Json:
    vocab = [["<unk>", 0.0]] + [[p, -1.5 - 0.37 * i % 7 - len(p) * 0.11] for i, p in enumerate(dict.fromkeys(pieces))]
    return {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": False, **options}


def model_unigram() -> Named:
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    pieces = PIECES + ["▁" + w for w in WORDS] + WORDS + ASCII
    for fallback in (False, True):
        model = unigram(pieces + (BYTES if fallback else []), byte_fallback=fallback)
        yield f"unigram/byte_fallback={fallback}", tokenizer(model, pre_tokenizer=metaspace)
        yield f"unigram/byte_fallback={fallback},whole", tokenizer(model)
    letters = [*"abcdefghijklmnopqrstuvwxyz▁"]
    yield "unigram/few", tokenizer(unigram(letters), pre_tokenizer=metaspace)
    yield "unigram/some bytes", tokenizer(unigram(letters + BYTES[:200], byte_fallback=True), pre_tokenizer=metaspace)
    ties = {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
            "vocab": [["<unk>", -9.0], *([p, -2.0 * len(p)] for p in ["a", "b", "aa", "ab", "ba", "aaa", "aab", "the", "th", "t", "h", "e", "he", " "])]}
    yield "unigram/ties", tokenizer(ties)
    yield "unigram/unk in the middle", tokenizer({"type": "Unigram", "unk_id": 2, "byte_fallback": False,
                                                  "vocab": [["a", -1.0], ["the", -2.0], ["<unk>", -5.0], ["e", -1.5], [" ", -1.0]]})


def model_wordpiece() -> Named:
    bert = {"type": "BertPreTokenizer"}
    vocab = ["[UNK]", "[CLS]", "[SEP]", *WORDS, *ASCII, *("##" + c for c in ASCII), "##ing", "##er", "##s", "é", "##é", "中", "##мир", "мир"]

    def wordpiece(entries: list[str], **options) -> Json:
        base = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
        return {**base, **options, "vocab": {t: i for i, t in enumerate(dict.fromkeys(entries))}}

    for longest in (1, 5, 100, 100000):
        yield f"wordpiece/max={longest}", tokenizer(wordpiece(vocab, max_input_chars_per_word=longest), pre_tokenizer=bert)
    yield "wordpiece/few", tokenizer(wordpiece(["[UNK]", *WORDS, "##s"]), pre_tokenizer=bert)
    yield "wordpiece/whole", tokenizer(wordpiece([*vocab, " ", "## ", "##中", "##😀"]))
    yield "wordpiece/no prefix", tokenizer(wordpiece([*vocab], continuing_subword_prefix=""), pre_tokenizer=bert)
    yield "wordpiece/prefix @@", tokenizer(wordpiece(["<unk>", *ASCII, *("@@" + c for c in ASCII)], unk_token="<unk>", continuing_subword_prefix="@@"), pre_tokenizer=bert)


def model_wordlevel() -> Named:
    vocab = {t: i for i, t in enumerate(["<unk>", *WORDS, *ASCII, "中", "мир", "."])}
    for pre in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer"):
        yield f"wordlevel/{pre}", tokenizer({"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}, pre_tokenizer={"type": pre})
    yield "wordlevel/whole", tokenizer({"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"})


# ---- normalizers -------------------------------------------------------------------------------------------------
def charsmap(pairs: dict[str, str]) -> str:
    """SentencePiece's compiled map, base64: size of the trie, a double array of it (Darts), the pool of strings."""
    pool, values = b"", {}
    for key, value in pairs.items():
        values[key.encode()] = len(pool)
        pool += value.encode() + b"\0"
    children: dict[bytes, set[int]] = {}
    for key in values:
        for i in range(len(key)):
            children.setdefault(key[:i], set()).add(key[i])
    units, used, bases = [0] * 256, [False] * 256, set()

    def place(prefix: bytes, at: int) -> None:
        """Finds an unused base for the children of the node at `at`: child c lies at (base of the node) ^ c."""
        labels = sorted(children.get(prefix, ())) + ([0] if prefix in values else [])
        base = 1
        while base in bases or any(base ^ c < len(used) and used[base ^ c] for c in labels):
            base += 1
        bases.add(base)
        while len(units) <= base | 255:
            units.append(0)
            used.append(False)
        for c in labels:
            used[base ^ c] = True
        units[at] |= (base ^ at) << 10 | (256 if prefix in values else 0)
        for c in labels:
            if c == 0:
                units[base] = values[prefix] | 1 << 31
            else:
                units[base ^ c] |= c
                place(prefix + bytes([c]), base ^ c)

    used[0] = True
    place(b"", 0)
    trie = b"".join(struct.pack("<I", unit) for unit in units)
    return base64.b64encode(struct.pack("<I", len(trie)) + trie + pool).decode()


CHARSMAP = {
    "\u00a0": " ", "\u3000": " ", "\t": " ", "\n": " ", "\r": "", "\u200b": " ", "\ufeff": "", "ﬁ": "fi", "ﬃ": "ffi", "①": "1", "½": "1⁄2",
    "ＡＢ": "ab", "Ａ": "A", "é": "e", "e\u0301": "é", "a\u0301\u0323": "?", "한": "han", "カ": "ka", "ｶﾞ": "ガ", "😀": ":)", "👩\u200d👩": "two",
    "ㄱ": "ᄀ", "…": "...", "\u0301": "", "ß": "ss", "İ": "i̇", "A": "a", "क\u093c": "क़", "\u0958": "क़", "\x7f": "", "~": "〜",
}


def one(name: str, spec: Json) -> Named:
    yield from both(f"normalizer {name}", normalizer=spec)


def normalizers() -> Named:
    for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"):
        yield from one(name, {"type": name})
    for left in (False, True):
        for right in (False, True):
            yield from one(f"Strip({left},{right})", {"type": "Strip", "strip_left": left, "strip_right": right})
    for prefix in ("▁", "ab", "é中", ""):
        yield from one(f"Prepend({prefix})", {"type": "Prepend", "prepend": prefix})
    replaced = [("String", " ", "▁"), ("String", "a", ""), ("String", "the", "é中"), ("String", "é", "eee"), ("String", "\n", "\n\n"), ("String", "aa", "a"),
                ("Regex", r"\s+", " "), ("Regex", r" {2,}", " "), ("Regex", r"[^\w\s]", ""), ("Regex", r"\p{Nd}", "0"), ("Regex", r"(?<=a)b", "X"),
                ("Regex", r"^\s+|\s+$", ""), ("Regex", r"'|’", "'"), ("Regex", r"(.)", "é"), ("Regex", r"[\p{M}]", ""), ("Regex", r"x*", "-"),
                ("String", "", "-"), ("Regex", r"\b", "|")]
    for kind, pattern, content in replaced:
        yield from one(f"Replace({kind},{pattern!r},{content!r})", {"type": "Replace", "pattern": {kind: pattern}, "content": content})
    for clean in (False, True):
        for chinese in (False, True):
            for accents in (None, False, True):
                for lower in (False, True):
                    options = {"clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": accents, "lowercase": lower}
                    yield from one(f"Bert({clean},{chinese},{accents},{lower})", {"type": "BertNormalizer", **options})
    yield from one("Precompiled", {"type": "Precompiled", "precompiled_charsmap": charsmap(CHARSMAP)})
    yield from one("Precompiled(one)", {"type": "Precompiled", "precompiled_charsmap": charsmap({"a": "b"})})


def normalizer_sequences() -> Named:
    def seq(*steps: Json) -> Json:
        return {"type": "Sequence", "normalizers": list(steps)}

    def t(name: str, **options) -> Json:
        return {"type": name, **options}

    replace = t("Replace", pattern={"String": " "}, content="▁")
    strip = t("Strip", strip_left=True, strip_right=True)
    yield from one("seq none", seq())
    yield from one("seq NFD StripAccents Lowercase", seq(t("NFD"), t("StripAccents"), t("Lowercase")))
    yield from one("seq NFD StripAccents NFC", seq(t("NFD"), t("StripAccents"), t("NFC")))
    yield from one("seq NFKC Strip Lowercase", seq(t("NFKC"), strip, t("Lowercase")))
    yield from one("seq Prepend Replace", seq(t("Prepend", prepend="▁"), replace))
    yield from one("seq Strip Prepend Replace NFD", seq(strip, t("Prepend", prepend="▁"), replace, t("NFD")))
    yield from one("seq Nmt NFKC Replace", seq(t("Nmt"), t("NFKC"), t("Replace", pattern={"Regex": " {2,}"}, content=" ")))
    yield from one("seq Lowercase NFD Lowercase", seq(t("Lowercase"), t("NFD"), t("Lowercase")))
    yield from one("seq NFKD Precompiled", seq(t("NFKD"), t("Precompiled", precompiled_charsmap=charsmap(CHARSMAP))))
    yield from one("seq Precompiled Strip Replace", seq(t("Precompiled", precompiled_charsmap=charsmap(CHARSMAP)), t("Strip", strip_left=False, strip_right=True),
                                                        t("Replace", pattern={"Regex": " {2,}"}, content="▁")))
    yield from one("seq nested", seq(seq(t("NFC"), seq(replace)), seq(), t("Lowercase")))
    yield from one("seq Lowercase ByteLevel", seq(t("Lowercase"), t("ByteLevel")))
    yield from one("seq NFC Lowercase", seq(t("NFC"), t("Lowercase")))
    yield "normalizer ByteLevel/byte level", tokenizer(show_byte_level(), normalizer=t("ByteLevel"), decoder=t("ByteLevel", add_prefix_space=True, trim_offsets=True))
    yield "normalizer NFC/byte level", tokenizer(show_byte_level(), normalizer=t("NFC"), pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True})


# ---- pre-tokenizers ----------------------------------------------------------------------------------------------
BEHAVIORS = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def pre(name: str, spec: Json, **parts) -> Named:
    yield from both(f"pre_tokenizer {name}", pre_tokenizer=spec, **parts)


def pre_tokenizers() -> Named:
    for name in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts"):
        yield from pre(name, {"type": name})
    for behavior in BEHAVIORS:
        yield from pre(f"Punctuation({behavior})", {"type": "Punctuation", "behavior": behavior})
        for kind, pattern in (("String", " "), ("String", "ab"), ("String", "é"), ("Regex", r"\s+"), ("Regex", r"\d"), ("Regex", GPT2), ("Regex", r"[a-c]|\p{Lu}")):
            for invert in (False, True):
                spec = {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}
                yield from pre(f"Split({kind},{pattern[:12]!r},{behavior},{invert})", spec)
    yield from pre("Split(empty)", {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False})
    yield from pre("Split(x*)", {"type": "Split", "pattern": {"Regex": "x*"}, "behavior": "Isolated", "invert": False})
    for individual in (False, True):
        yield from pre(f"Digits({individual})", {"type": "Digits", "individual_digits": individual})
    for delimiter in (" ", "a", "é", "😀", "\n"):
        yield from pre(f"CharDelimiterSplit({delimiter!r})", {"type": "CharDelimiterSplit", "delimiter": delimiter})
    for length in (1, 2, 5, 64):
        yield from pre(f"FixedLength({length})", {"type": "FixedLength", "length": length})
    for replacement in ("▁", "_", "é"):
        for scheme in ("always", "first", "never"):
            for split in (False, True):
                spec = {"type": "Metaspace", "replacement": replacement, "prepend_scheme": scheme, "split": split}
                yield from pre(f"Metaspace({replacement},{scheme},{split})", spec)
    for prefix in (False, True):
        yield from pre(f"Metaspace(old,{prefix})", {"type": "Metaspace", "replacement": "▁", "add_prefix_space": prefix} | ({} if prefix else {"prepend_scheme": "never"}))
        for regex in (False, True):
            spec = {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}
            yield from pre(f"ByteLevel({prefix},{regex})", spec)
            yield f"pre_tokenizer ByteLevel({prefix},{regex})/byte level", tokenizer(show_byte_level(), pre_tokenizer=spec, decoder={"type": "ByteLevel", **spec})


def pre_tokenizer_sequences() -> Named:
    def seq(*steps: Json) -> Json:
        return {"type": "Sequence", "pretokenizers": list(steps)}

    def t(name: str, **options) -> Json:
        return {"type": name, **options}

    byte_level = t("ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    bytes_only = t("ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False)
    prefixed = t("ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True)
    meta = t("Metaspace", replacement="▁", prepend_scheme="always", split=True)
    first = t("Metaspace", replacement="▁", prepend_scheme="first", split=True)
    digits, spaces = t("Digits", individual_digits=True), t("WhitespaceSplit")
    punctuation = t("Punctuation", behavior="Isolated")
    isolated = t("Split", pattern={"Regex": r"\p{L}+"}, behavior="Isolated", invert=False)
    sequences = {
        "none": (), "WhitespaceSplit Punctuation": (spaces, punctuation), "WhitespaceSplit Metaspace": (spaces, meta), "Digits ByteLevel": (digits, byte_level),
        "ByteLevel Digits": (byte_level, digits), "ByteLevel ByteLevel": (byte_level, byte_level), "ByteLevel(prefix) Split": (prefixed, isolated),
        "Metaspace Metaspace": (meta, meta), "UnicodeScripts Metaspace first": (t("UnicodeScripts"), first), "Split Metaspace first": (isolated, first), "Metaspace Digits": (meta, digits),
        "Metaspace ByteLevel": (meta, bytes_only), "BertPreTokenizer Digits": (t("BertPreTokenizer"), digits), "Whitespace Split": (t("Whitespace"), isolated),
        "CharDelimiterSplit WhitespaceSplit": (t("CharDelimiterSplit", delimiter="-"), spaces), "FixedLength Metaspace": (t("FixedLength", length=3), meta),
        "nested": (seq(spaces, seq(punctuation)), seq(), digits), "Split ByteLevel": (isolated, bytes_only), "ByteLevel Metaspace": (bytes_only, meta), "ByteLevel Punctuation": (bytes_only, punctuation),
    }
    for name, steps in sequences.items():
        yield from pre(f"seq {name}", seq(*steps))
        if any(s["type"] == "ByteLevel" for s in steps):
            yield f"pre_tokenizer seq {name}/byte level", tokenizer(show_byte_level(), pre_tokenizer=seq(*steps))
    yield from pre("Metaspace first, NFKD", first, normalizer=t("NFKD"))
    yield from pre("Metaspace first, Strip", first, normalizer=t("Strip", strip_left=True, strip_right=True))
    yield from pre("ByteLevel, NFKC", prefixed, normalizer=t("NFKC"))
    yield from pre("Whitespace, Bert", t("BertPreTokenizer"), normalizer=t("BertNormalizer", clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True))
    yield from pre("UnicodeScripts, NFKC", t("UnicodeScripts"), normalizer=t("NFKC"))


# ---- post-processors ---------------------------------------------------------------------------------------------
def template(single: list[tuple[str, int]], ids: dict[str, list[int]]) -> Json:
    pieces = [{"Sequence": {"id": n[1:], "type_id": k}} if n.startswith("$") else {"SpecialToken": {"id": n, "type_id": k}} for n, k in single]
    pair = [*pieces, {"Sequence": {"id": "B", "type_id": 1}}]
    special = {n: {"id": n, "ids": i, "tokens": [f"{n}{k}" for k in range(len(i))]} for n, i in ids.items()}
    return {"type": "TemplateProcessing", "single": pieces, "pair": pair, "special_tokens": special}


def post_processors() -> Named:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}

    def post(name: str, spec: Json) -> Named:
        for prefix in (False, True):
            yield f"post_processor {name}/byte level {prefix}", tokenizer(show_byte_level(), pre_tokenizer=byte_level | {"add_prefix_space": prefix}, post_processor=spec)
        yield from both(f"post_processor {name}", pre_tokenizer={"type": "WhitespaceSplit"}, post_processor=spec)
        yield from both(f"post_processor {name}, Metaspace", pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}, post_processor=spec)

    ids = {"[CLS]": [1], "[SEP]": [2], "many": [1, 2, 0]}
    templates = {
        "A": [("$A", 0)], "CLS A SEP": [("[CLS]", 0), ("$A", 0), ("[SEP]", 0)], "A SEP": [("$A", 0), ("[SEP]", 0)], "many A many": [("many", 0), ("$A", 0), ("many", 1)],
        "CLS CLS A": [("[CLS]", 0), ("[CLS]", 1), ("$A", 3)], "A A": [("$A", 0), ("[SEP]", 0), ("$A", 1)], "nothing": [("[CLS]", 0)], "empty": [],
    }
    for name, single in templates.items():
        yield from post(f"TemplateProcessing({name})", template(single, ids))
    for trim in (False, True):
        for prefix in (False, True):
            yield from post(f"ByteLevel({trim},{prefix})", {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": True})
            yield from post(f"Roberta({trim},{prefix})", {"type": "RobertaProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1], "trim_offsets": trim, "add_prefix_space": prefix})
    yield from post("Bert", {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]})
    cls = template(templates["CLS A SEP"], ids)
    trimmed = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    yield from post("seq ByteLevel Template", {"type": "Sequence", "processors": [trimmed, cls]})
    yield from post("seq Template ByteLevel", {"type": "Sequence", "processors": [cls, trimmed]})
    yield from post("seq Template Template", {"type": "Sequence", "processors": [template(templates["A SEP"], ids), cls]})
    yield from post("seq Bert Template", {"type": "Sequence", "processors": [{"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]}, cls]})
    yield from post("seq none", {"type": "Sequence", "processors": []})


# ---- decoders ----------------------------------------------------------------------------------------------------
def decoders() -> Named:
    vocab = ["<unk>", *BYTES, *ASCII, "▁", "▁the", "the", "##s", "##ing", "ing</w>", "a</w>", "|", "<pad>", " ", "é", "中", "##", ".", "n't", "'s", "▁▁", "</w>", "Ġ", "Ġthe", "Ã", "©"]
    tokens = [*SOME_ADDED, added("▁x", 0), added("##y", 0), added("<pad2>", 0, special=True), added(" lead", 0), added("中 ", 0)]

    def decoder(name: str, spec: Json | None) -> Named:
        yield f"decoder {name}", tokenizer(bpe(vocab, [("t", "h"), ("##", "s")], unk_token="<unk>", byte_fallback=True), tokens, decoder=spec)

    def t(name: str, **options) -> Json:
        return {"type": name, **options}

    yield from decoder("none", None)
    for name in ("ByteFallback", "Fuse"):
        yield from decoder(name, t(name))
    yield from decoder("ByteLevel", t("ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True))
    for content, start, stop in ((" ", 1, 0), (" ", 0, 1), ("a", 2, 2), ("▁", 1, 0), (" ", 0, 0), ("é", 3, 1)):
        yield from decoder(f"Strip({content!r},{start},{stop})", t("Strip", content=content, start=start, stop=stop))
    for kind, pattern, content in (("String", "▁", " "), ("String", "the", ""), ("String", "a", "aa"), ("Regex", r"\s", "_"), ("Regex", "[a-c]+", "X")):
        yield from decoder(f"Replace({kind},{pattern!r},{content!r})", t("Replace", pattern={kind: pattern}, content=content))
    for scheme in ("always", "first", "never"):
        for split in (False, True):
            yield from decoder(f"Metaspace({scheme},{split})", t("Metaspace", replacement="▁", prepend_scheme=scheme, split=split))
    for cleanup in (False, True):
        yield from decoder(f"WordPiece(##,{cleanup})", t("WordPiece", prefix="##", cleanup=cleanup))
        yield from decoder(f"WordPiece(empty,{cleanup})", t("WordPiece", prefix="", cleanup=cleanup))
        yield from decoder(f"CTC({cleanup})", t("CTC", pad_token="<pad>", word_delimiter_token="|", cleanup=cleanup))
    for suffix in ("</w>", "▁", ""):
        yield from decoder(f"BPEDecoder({suffix})", t("BPEDecoder", suffix=suffix))
    sp = (t("Replace", pattern={"String": "▁"}, content=" "), t("ByteFallback"), t("Fuse"))
    strip = t("Strip", content=" ", start=1, stop=0)
    sequences = {
        "none": (), "llama": (*sp, strip), "gemma": sp, "WordPiece Fuse Replace": (t("WordPiece", prefix="##", cleanup=True), t("Fuse"), t("Replace", pattern={"String": " "}, content="_")),
        "ByteLevel Fuse": (t("ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True), t("Fuse")), "ByteFallback Metaspace": (t("ByteFallback"), t("Metaspace", replacement="▁", prepend_scheme="always", split=True)),
        "Strip Fuse Strip": (strip, t("Fuse"), strip), "BPEDecoder CTC": (t("BPEDecoder", suffix="</w>"), t("CTC", pad_token="<pad>", word_delimiter_token="|", cleanup=True)),
    }
    for name, steps in sequences.items():
        yield from decoder(f"seq {name}", t("Sequence", decoders=list(steps)))


# ---- added tokens ------------------------------------------------------------------------------------------------
def added_tokens() -> Named:
    for special in (False, True):
        for normalized in (False, True):
            contents = ["<x>", "word", "<a b>", "é", "Ab"]
            for flag in ("", "single_word", "lstrip", "rstrip", "both"):
                flags = {"lstrip": True, "rstrip": True} if flag == "both" else {flag: True} if flag else {}
                tokens = [added(c, 0, special=special, normalized=normalized, **flags) for c in contents]
                for name, normalizer in (("", None), ("Lowercase", {"type": "Lowercase"}), ("Replace", {"type": "Replace", "pattern": {"String": " "}, "content": "▁"})):
                    title = f"added special={special},normalized={normalized},{flag} {name}"
                    yield from both(title, tokens, normalizer=normalizer, pre_tokenizer={"type": "WhitespaceSplit"})
    overlap = [added(c, 0, special=i % 2 == 0) for i, c in enumerate(["<a", "<ab", "<abc>", "abc", "bc>", "  ", " \n", "\n\n", "\n"])]
    yield from both("added overlapping", overlap)
    # What is printed, and whether it is skipped, goes by the normalised text. (Two that normalise to the same text would be a
    # matter of the reference's hash maps.)
    alike = [added("ab", 0, special=True), added("Ab", 0, normalized=True), added("The", 0, special=True, normalized=True)]
    yield from both("added alike", alike, normalizer={"type": "Lowercase"})


FAMILIES = (model_bpe, model_unigram, model_wordpiece, model_wordlevel, normalizers, normalizer_sequences, pre_tokenizers, pre_tokenizer_sequences, post_processors, decoders,
            added_tokens)


def components(families=FAMILIES) -> Named:
    for family in families:
        yield from family()
