#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/data/regex/matches.json: what Hugging Face tokenizers find for the patterns of real tokenizers in
tests/data/regex/patterns.txt. Each text gives the ends of the pieces that a cut by all matches leaves, in characters,
negative where the piece is a match.   regex_vectors.py [tests/data/regex]"""
import json
import os
import sys
from tokenizers import Regex, pre_tokenizers

TEXTS = ["I'll say it's 1234567 o'clock,\r\n\n  we'RE  done! \t\n x", "HTMLParser fooBarBaz x=\t1;\n\n  return (a+b)[0] // ok\n",
         "汉字とひらがなカタカナ。한국어 กขค عربي، 12٣४", "Ünïcode ñ́e\u0301 ǅ ſ 'ſ Ⅷ ½ ²³ _a_ \u00a0\u3000x \u2028y\x85z", "   \n \n\n a\r\nb\r\r\n   ",
         "...!!!?? -- 😀👨‍👩‍👧 €$£ <|endoftext|> {x}/\n/\n", "a'S'T'LL'd it’s 'tis 've", "1,234,567.89 000 1234 ١٢٣٤", "▁▁the ▁cat\n▁", " ", "\u0378\U000e0001\U0010ffff ab"]


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "tests/data/regex"
    rows = []
    for pattern in open(os.path.join(folder, "patterns.txt"), encoding="utf-8").read().split("\n")[:-1]:
        row = []
        for s in TEXTS:
            matches = {o for _, o in pre_tokenizers.Split(Regex(pattern), "removed", invert=True).pre_tokenize_str(s)}
            cuts = [o for _, o in pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str(s)]
            row.append([-e if (b, e) in matches else e for b, e in cuts])
        rows.append([pattern, row])
    with open(os.path.join(folder, "matches.json"), "w", encoding="utf-8") as f:
        f.write('{"texts": %s,\n"rows": [\n%s]}\n' % (json.dumps(TEXTS), ",\n".join(
            json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in rows)))


main()
