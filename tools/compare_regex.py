#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the regular expressions of src/text/regex/ against Hugging Face tokenizers': random patterns of the grammar, or
a file of patterns (one per line), over random strings. Both must find the same matches, and cut at the same places.
    compare_regex.py build/tests/regex_matches [--patterns N] [--seed N] [--file patterns.txt] [--texts N]"""
import argparse
import random
import re
import subprocess
import sys
import unicodedata
from tokenizers import Regex, pre_tokenizers

ATOMS = (r"a b c x 1 é 汉 ß? . \s \S \d \D \w \W \h \H \p{L} \p{N} \p{Lu} \p{Ll} \P{L} \p{^N} \p{M} \p{P} \p{S} \p{Han} "
         r"\p{Latin} \p{Z} [abc] [^ab] [a-c1-9] [\s\d] [^\r\n\p{L}\p{N}] [\p{Lu}\p{Lt}\p{M}] [\p{L}&&[^\p{Han}]] [[:alpha:]] "
         r"[[:^space:]] [[:punct:]] [[a-b]1] [\p{L}&&[a-z]&&[^b]] \n \r \t \x61 \x{e9} \u0062 \R \N \O ' \' [\]] [-a] [a-] "
         r"[a\-z] \p{Alphabetic} \p{Lowercase} \p{Cn} \p{Cyrillic} \p{Hiragana} [一-龥] [[:word:]] [\w'] s t ll 's").split() + [" "]
ANCHORS = r"^ $ \A \z \Z \b \B (?!\S) (?=\s) (?<=a) (?<!\s) (?=b) (?<=^|a) (?!a|$)".split()
COUNTS = ["*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{0,2}?", "{2,}", "{,2}", "*+", "++", "?+", "{2}?", "{1,2}+"]
LETTERS = "aabbcc  xX11'sStTlLABC\n\r\t.,-éÉ汉字ſKёЁ٣²ñ́ひカ가\u00a0\u3000\u2028\x85!$😀_ßǅ\u0378"


def pattern(r, depth=3):
    def sequence(depth):
        return "".join(part(depth) for _ in range(r.randint(1, 4)))

    def choice(depth):
        return "|".join(sequence(depth) for _ in range(r.choice([1, 1, 2, 3]))) + r.choice([""] * 12 + ["|"])

    def part(depth):
        k = r.random()
        if k < 0.1:
            return r.choice(ANCHORS)
        if k < 0.13 and depth:
            return r.choice(["(?=%s)", "(?!%s)"]) % choice(depth - 1)
        if k < 0.3 and depth:
            out = r.choice(["(%s)", "(?:%s)", "(?:%s)", "(?>%s)", "(?i:%s)", "(?m:%s)", "(?<n>%s)"]) % choice(depth - 1)
        else:
            out = r.choice(ATOMS)
        for _ in range(r.choice([0, 0, 1, 1, 1, 2] if out[0] == "(" else [0, 0, 0, 1, 1])):
            out += r.choice(COUNTS)
        return out

    return r.choice([""] * 9 + ["(?i)"]) + choice(depth)


def text(r):
    k = r.random()
    if k < 0.5:
        return "".join(r.choice(LETTERS) for _ in range(r.randint(1, 24)))
    if k < 0.7:
        return "".join(r.choice("ab c1\n") for _ in range(r.randint(1, 16)))
    if k < 0.8:
        return "".join(r.choice("ab") * r.randint(1, 5) for _ in range(r.randint(1, 5)))
    if k < 0.9:
        return r.choice(["I'll say it's 123456 o'clock,\r\n\n  we'RE  done!  ", "HTMLParser fooBar  x=\t1;\n\n", "Ünïcode 汉字 ひらがな 12３"])
    out = (chr(r.choice([r.randrange(0x250), r.randrange(0x3000), r.randrange(0x20000), r.randrange(0x110000)])) for _ in range(12))
    return "".join(c for c in out if unicodedata.category(c) != "Cs") or "a"


def reference(regex, s):
    """Ranges of the matches that are not empty, and places that a cut by all matches cuts at."""
    matches = [o for _, o in pre_tokenizers.Split(regex, "removed", invert=True).pre_tokenize_str(s)]
    cuts = [o for _, o in pre_tokenizers.Split(regex, "isolated").pre_tokenize_str(s)]
    return matches, cuts


class Engine:
    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, kind, s):
        self.process.stdin.write("%s %s\n" % (kind, s.encode().hex()))
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def find(self, s):
        index, at = {}, 0
        for i, c in enumerate(s):
            index[at] = i
            at += len(c.encode())
        index[at] = len(s)
        fields = self.ask("T", s).split()
        found = [tuple(index[int(v)] for v in f.split("-")) for f in fields[:-2]]
        edges = sorted({0, len(s)} | {e for f in found for e in f})
        return [f for f in found if f[0] < f[1]], list(zip(edges, edges[1:])), int(fields[-1]), len(found)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("engine")
    p.add_argument("--patterns", type=int, default=20000)
    p.add_argument("--texts", type=int, default=6)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--file")
    p.add_argument("--show", type=int, default=10, help="differences shown")
    args = p.parse_args()
    r, engine = random.Random(args.seed), Engine(args.engine)
    given = [line.rstrip("\n") for line in open(args.file, encoding="utf-8")] if args.file else None
    refused, differ, texts, both, tried = {}, 0, 0, 0, 0
    for regex in given or (pattern(r) for _ in range(args.patterns)):
        answer = engine.ask("P", regex)
        try:
            theirs = Regex(regex)
        except Exception:
            both += answer != "ok"
            continue
        if answer != "ok":
            key = re.sub(r"U\+\w+|\d+", "#", answer.split(": ", 2)[-1])
            refused[key] = refused.get(key, 0) + 1
            continue
        tried += 1
        for _ in range(args.texts):
            s = text(r)
            texts += 1
            matches, cuts, steps, count = engine.find(s)
            try:
                wanted = reference(theirs, s)
            except BaseException as e:  # the reference panics where it gives up
                print("reference: %r on %r: %s" % (regex, s, str(e)[:80]))
                continue
            if (matches, cuts) != tuple(wanted) or steps > 3 * len(s.encode()) + 2 + count:
                differ += 1
                if differ <= args.show:
                    print("differs: %r on %r\n  ours   %s %s (%d steps)\n  theirs %s %s" % (regex, s, matches, cuts, steps, *wanted))
    print("%d patterns, %d texts, %d differences; %d patterns refused by both" % (tried, texts, differ, both))
    for why, n in sorted(refused.items(), key=lambda k: -k[1])[:20]:
        print("  refused by this library alone: %5d  %s" % (n, why))
    sys.exit(differ > 0)


main()
