# SPDX-License-Identifier: MIT
"""Writes src/text/unicode/scripts.c: which script a character belongs to, for the UnicodeScripts pre-tokenizer.

    python tools/unicode_scripts.py Scripts.txt > src/text/unicode/scripts.c

Scripts.txt is the Unicode Character Database's, version 9.0.0 (https://www.unicode.org/Public/9.0.0/ucd/), which the
reference's table was made from. Its data may be used and passed on under the Unicode License
(https://www.unicode.org/license.txt); only facts of it are taken: where a script begins.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def read(path: str) -> dict[int, str]:
    scripts = {}
    for line in Path(path).read_text().splitlines():
        if match := re.match(r"([0-9A-F]+)(?:\.\.([0-9A-F]+))?\s*;\s*(\w+)", line):
            for code in range(int(match[1], 16), int(match[2] or match[1], 16) + 1):
                scripts[code] = match[3]
    return scripts


def main() -> None:
    scripts = read(sys.argv[1])
    for code, script in scripts.items():
        if script in ("Hiragana", "Katakana"):
            scripts[code] = "Han"
    scripts[0x30FC] = "Han"  # the long vowel mark
    del scripts[0x20]
    numbers, starts, last = {None: 0}, [], 0
    for code in range(0x110000):
        number = numbers.setdefault(scripts.get(code), len(numbers))
        if number != last:
            starts.append((code, number))
            last = number
    print("""/* SPDX-License-Identifier: MIT */
/* Made by tools/unicode_scripts.py from the Unicode Character Database 9.0.0 (data under the Unicode
 * License, https://www.unicode.org/license.txt). Where each script begins: code point << 8 | script;
 * Hiragana and Katakana count as Han, spaces and unassigned characters as 0. */
#include "text/unicode/unicode.h"

/* clang-format off */
static const uint32_t starts[] = {""")
    entries = [f"0x{code << 8 | number:X}," for code, number in starts]
    line = "   "
    for entry in entries:
        if len(line) + 1 + len(entry) > 100:
            print(line)
            line = "   "
        line += " " + entry
    print(line)
    print("""};
/* clang-format on */

int vtext_script(uint32_t cp) {
    size_t low = 0, high = sizeof starts / sizeof *starts; /* the first that begins behind cp */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (starts[middle] >> 8 <= cp)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? (int)(starts[low - 1] & 0xFF) : 0;
}""")


if __name__ == "__main__":
    main()
