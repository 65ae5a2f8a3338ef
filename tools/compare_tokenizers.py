# SPDX-License-Identifier: MIT
"""libvlm's tokenizer beside Hugging Face tokenizers: ids, offsets and decoded text of generated lines.

    python -m tools.compare_tokenizers [--lib build/libvlm.so] [--lines 2000] [--seed 0] [--only TEXT] [what ..]

what: tokenizer.json files; folders (everything in them that is a tokenizer.json; one with a tokenizer_config.json is
compared as transformers loads it, too); `components` (one generated tokenizer.json per component and option, see
tools/golden/components.py); `vectors:DIR` (public vector files, for the tokenizers found in the folders given).
Exits 1 when anything differs. Needs tokenizers (0.23), and transformers for folders with a config.
"""

from __future__ import annotations

import argparse
import codecs
import ctypes
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tokenizers import Tokenizer  # noqa: E402

from tools.golden import components  # noqa: E402
from tools.golden.texts import Lines  # noqa: E402

ADD_SPECIAL = 1


def silence_panics() -> None:
    """The reference prints its panics to the process's error stream; Python's own errors stay."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


# ---- libvlm ------------------------------------------------------------------------------------------------------
class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("message", ctypes.c_char * 500), ("rest", ctypes.c_char * 1000)]


class Tokens(ctypes.Structure):
    _fields_ = [("ids", ctypes.POINTER(ctypes.c_uint32)), ("begins", ctypes.POINTER(ctypes.c_uint32)),
                ("ends", ctypes.POINTER(ctypes.c_uint32)), ("count", ctypes.c_size_t)]


class Failed(Exception):
    pass


class Library:
    def __init__(self, path: str):
        self.dll = ctypes.CDLL(path)
        self.dll.vlm_string_free.argtypes = [ctypes.c_void_p]
        self.dll.vlm_tokenizer_free.argtypes = [ctypes.c_void_p]


class Ours:
    """A tokenizer of a folder, through the public functions."""

    def __init__(self, library: Library, folder: str | Path):
        self.dll, self.handle, self.error = library.dll, ctypes.c_void_p(), Error()
        self.check(self.dll.vlm_tokenizer_load(ctypes.byref(self.handle), os.fsencode(folder), None, ctypes.byref(self.error)))

    def check(self, status: int) -> None:
        if status < 0:
            raise Failed(self.error.message.decode(errors="replace"))

    def encode(self, raw: bytes, special: bool) -> tuple[list[int], list[int], list[int]]:
        out = Tokens()
        flags = ADD_SPECIAL if special else 0
        self.check(self.dll.vlm_tokenizer_encode(ctypes.byref(out), self.handle, raw, ctypes.c_size_t(len(raw)), flags, ctypes.byref(self.error)))
        n = out.count
        arrays = (out.ids[:n], out.begins[:n], out.ends[:n]) if n else ([], [], [])
        self.dll.vlm_tokens_free(ctypes.byref(out))
        return arrays

    def decode(self, ids: list[int], skip: bool) -> str:
        text = ctypes.c_void_p()
        array = (ctypes.c_uint32 * len(ids))(*ids)
        self.check(self.dll.vlm_tokenizer_decode(ctypes.byref(text), self.handle, array, ctypes.c_size_t(len(ids)), int(skip), ctypes.byref(self.error)))
        # A decoded text may hold NUL characters; the public call ends at the first one.
        out = ctypes.string_at(text.value).decode()
        self.dll.vlm_string_free(text)
        return out

    def close(self) -> None:
        self.dll.vlm_tokenizer_free(self.handle)


# ---- the reference's view of a line ------------------------------------------------------------------------------
def characters(raw: bytes) -> tuple[str, list[int] | None]:
    """The line as Python decodes it, and the character of each byte offset (None: they are the same)."""
    if raw.isascii():
        return raw.decode(), None
    bad: list[tuple[int, int]] = []

    def replace(error: UnicodeDecodeError) -> tuple[str, int]:
        bad.append((error.start, error.end))
        return "\ufffd", error.end

    codecs.register_error("compare", replace)
    text = raw.decode("utf-8", "compare")
    starts = [byte & 0xC0 != 0x80 for byte in raw]
    for begin, end in bad:
        starts[begin:end] = [True] + [False] * (end - begin - 1)
    index, count = [], 0
    for start in starts:
        index.append(count)
        count += start
    return text, [*index, count]


def show(value: object, limit: int = 300) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[:limit] + ".."


class Pair:
    """One tokenizer in both libraries."""

    def __init__(self, ours: Ours, theirs: Tokenizer, decode: Callable | None = None):
        self.ours, self.theirs, self.failures = ours, theirs, 0
        self.decode = decode or theirs.decode  # transformers' cleans up behind it
        self.theirs.no_truncation()
        self.theirs.no_padding()

    def reference(self, call: Callable):
        try:
            return call()
        except BaseException as error:  # a panic of the reference is no Exception
            if isinstance(error, (KeyboardInterrupt, MemoryError)):
                raise
            self.failures += 1
            return None

    def encoded(self, raw: bytes, special: bool) -> tuple[str | None, list[int] | None]:
        """What differs, and the reference's ids."""
        text, index = characters(raw)
        want = self.reference(lambda: self.theirs.encode(text, add_special_tokens=special))
        if want is None:
            return None, None
        try:
            ids, begins, ends = self.ours.encode(raw, special)
        except Failed as error:
            return f"libvlm refuses: {error}", want.ids
        if ids != want.ids:
            return f"ids: {show(ids)}\n   want: {show(want.ids)}", want.ids
        if index:
            begins, ends = [index[b] for b in begins], [index[e] for e in ends]
        places = list(zip(begins, ends))
        if places != want.offsets:
            return f"offsets: {show(places)}\n       want: {show(want.offsets)}", want.ids
        return None, want.ids

    def decoded(self, ids: list[int], skip: bool) -> str | None:
        want = self.reference(lambda: self.decode(ids, skip_special_tokens=skip))
        if want is None:
            return None
        try:
            got = self.ours.decode(ids, skip)
        except Failed as error:
            return f"libvlm refuses: {error}"
        want = want.split("\0")[0]
        return None if got == want else f"text of {show(ids)}: {show(repr(got))}\n  want: {show(repr(want))}"

    def difference(self, raw: bytes) -> str | None:
        for special in (False, True):
            what, ids = self.encoded(raw, special)
            if what:
                return f"{'with' if special else 'without'} special tokens, {what}"
        for skip in (False, True):
            if ids and (what := self.decoded(ids, skip)):
                return f"{'skipping' if skip else 'keeping'} special tokens, {what}"
        return None

    def ids_difference(self, ids: list[int]) -> str | None:
        return self.decoded(ids, False) or self.decoded(ids, True)


def smallest(item: list, differs: Callable[[list], bool], tries: int = 400) -> list:
    """Drops parts as long as the difference stays."""
    size = max(1, len(item) // 2)
    while tries > 0:
        at, dropped = 0, False
        while at < len(item) and tries > 0:
            shorter = item[:at] + item[at + size :]
            tries -= 1
            if differs(shorter):
                item, dropped = shorter, True
            else:
                at += size
        if size == 1 and not dropped:
            break
        size = size if dropped and size == 1 else max(1, size // 2)
    return item


# ---- comparing ---------------------------------------------------------------------------------------------------
class Report:
    def __init__(self, shown: int):
        self.shown, self.lines, self.different, self.refused, self.tokenizers, self.failures = shown, 0, 0, 0, 0, 0

    def refuse(self, name: str, why: str) -> None:
        self.tokenizers += 1
        self.refused += 1
        print(f"{name}: libvlm refuses: {why}")

    def add(self, name: str, pair: Pair, lines: int, found: list[str], seconds: float) -> None:
        self.tokenizers += 1
        self.lines += lines
        self.different += len(found)
        self.failures += pair.failures
        if found:
            print(f"{name}: {len(found)} of {lines} differ")
            for text in found[: self.shown]:
                print("  " + text.replace("\n", "\n  "))
        elif lines >= 10000:
            print(f"{name}: {lines} lines alike in {seconds:.0f} s")
        sys.stdout.flush()

    def finish(self) -> int:
        print(f"{self.tokenizers} tokenizers, {self.lines} lines: {self.different} differ; {self.refused} tokenizers refused; "
              f"{self.failures} calls that the reference fails or panics at left out")
        return 1 if self.different or self.refused else 0


def every_character() -> list[bytes]:
    """Each code point between letters, 48 in a line."""
    points = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    return ["".join(f"{point}a" for point in points[at : at + 48]).encode() for at in range(0, len(points), 48)]


def compare(name: str, pair: Pair, lines: int, seed: int, report: Report) -> None:
    started, found = time.time(), []
    added = [token.content for token in pair.theirs.get_added_tokens_decoder().values()]
    rng, size = random.Random(seed), pair.theirs.get_vocab_size()
    some = added if len(added) <= 200 else rng.sample(added, 200)
    texts = every_character() if lines < 0 else Lines(seed, some).take(lines)
    for raw in texts:
        if pair.difference(raw):
            if len(found) < report.shown:
                raw = bytes(smallest(list(raw), lambda x: pair.difference(bytes(x)) is not None))
                if raw.isascii() or b"\xff" not in raw:
                    raw = shorter_characters(raw, pair)
            found.append(f"{raw!r} = {raw.decode('utf-8', 'replace')!r}: {pair.difference(raw)}")
    for _ in range(lines // 4):
        ids = [rng.randrange(size + (rng.random() < 0.02)) for _ in range(rng.randint(1, 9))]
        if pair.ids_difference(ids):
            ids = smallest(ids, lambda x: pair.ids_difference(x) is not None)
            found.append(f"ids {ids} = {[pair.theirs.id_to_token(i) for i in ids]}: {pair.ids_difference(ids)}")
    report.add(name, pair, len(texts), found, time.time() - started)


def shorter_characters(raw: bytes, pair: Pair) -> bytes:
    """Shrinks by characters, which byte-wise shrinking would have to break first."""
    try:
        text = list(raw.decode())
    except UnicodeDecodeError:
        return raw
    return "".join(smallest(text, lambda x: pair.difference("".join(x).encode()) is not None)).encode()


def load_pair(library: Library, text: str) -> Pair:
    """From the text of a tokenizer.json. Raises Failed when libvlm refuses it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tokenizer.json").write_text(text)
        ours = Ours(library, folder)
    return Pair(ours, Tokenizer.from_str(text))


def compare_text(library: Library, name: str, text: str, options, report: Report) -> None:
    try:
        pair = load_pair(library, text)
    except Failed as error:
        return report.refuse(name, str(error).split("/tokenizer.json: ")[-1])
    compare(name, pair, options.lines, options.seed, report)
    pair.ours.close()


def compare_folder(library: Library, folder: Path, options, report: Report) -> None:
    """As transformers loads it: with the added and special tokens of its configs."""
    from transformers import AutoTokenizer

    try:
        ours = Ours(library, folder)
    except Failed as error:
        return report.refuse(f"{folder} with its configs", str(error))
    theirs = AutoTokenizer.from_pretrained(str(folder))
    compare(f"{folder} with its configs", Pair(ours, theirs.backend_tokenizer, theirs.decode), options.lines, options.seed, report)
    ours.close()


def is_tokenizer(path: Path) -> bool:
    if path.suffix != ".json" or path.name.endswith(("_config.json", "_map.json", ".expected.json")):
        return False
    try:
        data = json.loads(path.read_text())
        Tokenizer.from_str(json.dumps(data))
    except BaseException:
        return False
    return "model" in data


def files_of(what: Path) -> list[Path]:
    return [what] if what.is_file() else sorted(p for p in what.rglob("*.json") if is_tokenizer(p))


# ---- public vectors ----------------------------------------------------------------------------------------------
Cases = list[tuple[str, list[int]]]


def check_vectors(pairs: list[tuple[str, Pair]], cases: Cases, name: str, special: bool, report: Report) -> None:
    """cases: texts and ids, for the first tokenizer whose reference reproduces nearly all of them."""
    for tokenizer, pair in pairs:
        alike = sum(pair.theirs.encode(text, add_special_tokens=special).ids == ids for text, ids in cases)
        if alike * 10 < len(cases) * 9:
            continue
        found = []
        for text, ids in cases:
            theirs = pair.theirs.encode(text, add_special_tokens=special).ids
            ours = pair.ours.encode(text.encode(), special)[0]
            if ours not in (ids, theirs):
                found.append(f"{text!r}: {show(ours)}\n   want: {show(ids)}")
        print(f"{name}: {len(cases)} vectors, {alike} of them the reference's, with {tokenizer}")
        return report.add(name, pair, len(cases), found, 0)
    print(f"{name}: none of the tokenizers given is its own")


def llama_cpp(folder: Path) -> dict[str, Cases]:
    out = {}
    for path in sorted(folder.glob("*.inp")):
        texts = path.read_bytes().decode().split("\n__ggml_vocab_test__\n")
        ids = [[int(x) for x in line.split()] for line in path.with_suffix(".out").read_text().split("\n")]
        out[path.name] = list(zip(texts, ids))
    return out


def conformance(folder: Path) -> dict[str, Cases]:
    texts, out = {}, {}
    for path in sorted(folder.glob("inputs.*.json")):
        data = json.loads(path.read_text())
        texts |= {entry["id"]: entry["text"] for entry in (data if isinstance(data, list) else data["inputs"])}
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text())
        entries = data["entries"] if isinstance(data, dict) and "entries" in data else []
        entries = entries.items() if isinstance(entries, dict) else [(entry["id"], entry) for entry in entries]
        if cases := [(texts[key], entry["input_ids"]) for key, entry in entries if key in texts]:
            out[path.name] = cases
    return out


def swift(folder: Path) -> dict[str, Cases]:
    out = {}
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text())
        if "text" in data:
            ids = data.get("token_ids") or data.get("input_ids")
            out[path.name] = [(data["text"], ids)]
            continue
        for model, cases in data.items():
            out[f"{path.name}, {model}"] = [(case["input"], case["encoded"]["input_ids"]) for case in cases]
    return out


def vectors(folder: Path, pairs: list[tuple[str, Pair]], report: Report) -> None:
    for source, special in ((llama_cpp(folder / "llama.cpp"), False), (conformance(folder / "multilingual_conformance"), True), (swift(folder / "swift-transformers"), True)):
        for name, cases in source.items():
            check_vectors(pairs, cases, name, special, report)


# ---- the command -------------------------------------------------------------------------------------------------
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["components"])
    parser.add_argument("--lib", default="build/libvlm.so")
    parser.add_argument("--lines", type=int, default=2000, help="-1: each character there is, instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=3, help="differences shown of a tokenizer")
    parser.add_argument("--only", default="", help="components with this text in their name")
    options = parser.parse_args()
    silence_panics()
    library, report = Library(options.lib), Report(options.show)
    for what in options.what:
        if what == "components":
            for name, file in components.components():
                if options.only in name:
                    compare_text(library, name, json.dumps(file), options, report)
        elif what.startswith("vectors:"):
            pairs = []
            for path in [p for w in options.what if Path(w).exists() for p in files_of(Path(w))]:
                try:
                    pairs.append((str(path), load_pair(library, path.read_text())))
                except Failed:
                    continue
            vectors(Path(what.removeprefix("vectors:")), pairs, report)
        else:
            for path in files_of(Path(what)):
                compare_text(library, str(path), path.read_text(), options, report)
                if path.name == "tokenizer.json" and (path.parent / "tokenizer_config.json").exists():
                    compare_folder(library, path.parent, options, report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
