# SPDX-License-Identifier: MIT
"""Hugging Face tokenizers for bench_text, which asks for one piece of work at a time and waits for it, so that both sides are timed in turns:
`python text.py` reads lines from standard input and answers each with `CPU_SECONDS DIGEST`.

    load PATH                      a tokenizer.json; later lines use the last one
    encode WHAT TURN PATH          a text as one, or (TURN > 0) cut into pieces of so many bytes; WHAT: ids, offsets
    digest WHAT TURN PATH          the same, and what came out is summed up

One thread. A list of texts goes through one call, so that Python's own time counts once; the call without offsets where none are wanted. Making
Python lists of the results and freeing them is not timed. The tokenizer's own cache of words stays from call to call, so every round but the first
finds it warm. At the end of its input the program tells how much memory it held, in KiB: at the start, its modules loaded; after the first load; at
most until then; at most.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from tokenizers import Tokenizer  # noqa: E402


def held(field: str) -> int:
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0])


def pieces(path: str, turn: int) -> list[str]:
    raw, at, out = Path(path).read_bytes(), 0, []
    if not turn:
        return [raw.decode()]
    while at < len(raw):
        end = min(at + turn, len(raw))
        while end < len(raw) and raw[end] & 0xC0 == 0x80:
            end -= 1
        out.append(raw[at:end].decode())
        at = end
    return out


def digest(texts: list[str], encodings: list, offsets: bool) -> int:
    total, mask = 0, (1 << 64) - 1
    for text, encoding in zip(texts, encodings):
        numbers = list(encoding.ids)
        if offsets:
            place = [0]
            for character in text:
                place.append(place[-1] + len(character.encode()))
            numbers += [place[begin] for begin, _ in encoding.offsets] + [place[end] for _, end in encoding.offsets]
        for number in numbers:
            total = (total ^ number) * 0x100000001B3 & mask
    return total


def main() -> None:
    tokenizer, texts, memory = None, {}, []
    for line in sys.stdin:
        verb, *words = line.split()
        if not memory:
            Path("/proc/self/clear_refs").write_text("5")
            memory.append(held("VmRSS"))
        if verb == "load":
            del tokenizer
            start = time.process_time()
            tokenizer = Tokenizer.from_file(words[0])
            print(time.process_time() - start, 0, flush=True)
            memory += [held("VmRSS"), held("VmHWM")] if len(memory) == 1 else []
            continue
        what, turn, path = words
        if (path, turn) not in texts:
            texts[path, turn] = pieces(path, int(turn))
        run = tokenizer.encode_batch if what == "offsets" else tokenizer.encode_batch_fast
        start = time.process_time()
        result = run(texts[path, turn], add_special_tokens=False)
        took = time.process_time() - start
        print(took, f"{digest(texts[path, turn], result, what == 'offsets') if verb == 'digest' else 0:x}", flush=True)
    print(*memory, held("VmHWM"), flush=True)


if __name__ == "__main__":
    main()
