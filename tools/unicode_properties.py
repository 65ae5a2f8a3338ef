#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Asks Hugging Face tokenizers (its Oniguruma) which characters have which property, and which differ in case
only, and writes src/text/unicode/categories_data.c and scripts_data.c. Takes a minute.
    unicode_properties.py src/text/unicode"""
import contextlib
import os
import sys
from tokenizers import Regex, pre_tokenizers

CATEGORIES = "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
SCRIPTS = """Adlam=Adlm Ahom Anatolian_Hieroglyphs=Hluw Arabic=Arab Armenian=Armn Avestan=Avst Balinese=Bali Bamum=Bamu
Bassa_Vah=Bass Batak=Batk Bengali=Beng Bhaiksuki=Bhks Bopomofo=Bopo Brahmi=Brah Braille=Brai Buginese=Bugi Buhid=Buhd
Canadian_Aboriginal=Cans Carian=Cari Caucasian_Albanian=Aghb Chakma=Cakm Cham Cherokee=Cher Chorasmian=Chrs Common=Zyyy
Coptic=Copt Cuneiform=Xsux Cypriot=Cprt Cypro_Minoan=Cpmn Cyrillic=Cyrl Deseret=Dsrt Devanagari=Deva Dives_Akuru=Diak
Dogra=Dogr Duployan=Dupl Egyptian_Hieroglyphs=Egyp Elbasan=Elba Elymaic=Elym Ethiopic=Ethi Garay=Gara Georgian=Geor
Glagolitic=Glag Gothic=Goth Grantha=Gran Greek=Grek Gujarati=Gujr Gunjala_Gondi=Gong Gurmukhi=Guru Gurung_Khema=Gukh
Han=Hani Hangul=Hang Hanifi_Rohingya=Rohg Hanunoo=Hano Hatran=Hatr Hebrew=Hebr Hiragana=Hira Imperial_Aramaic=Armi
Inherited=Zinh Inscriptional_Pahlavi=Phli Inscriptional_Parthian=Prti Javanese=Java Kaithi=Kthi Kannada=Knda
Katakana=Kana Kawi Kayah_Li=Kali Kharoshthi=Khar Khitan_Small_Script=Kits Khmer=Khmr Khojki=Khoj Khudawadi=Sind
Kirat_Rai=Krai Lao=Laoo Latin=Latn Lepcha=Lepc Limbu=Limb Linear_A=Lina Linear_B=Linb Lisu Lycian=Lyci Lydian=Lydi
Mahajani=Mahj Makasar=Maka Malayalam=Mlym Mandaic=Mand Manichaean=Mani Marchen=Marc Masaram_Gondi=Gonm Medefaidrin=Medf
Meetei_Mayek=Mtei Mende_Kikakui=Mend Meroitic_Cursive=Merc Meroitic_Hieroglyphs=Mero Miao=Plrd Modi Mongolian=Mong
Mro=Mroo Multani=Mult Myanmar=Mymr Nabataean=Nbat Nag_Mundari=Nagm Nandinagari=Nand New_Tai_Lue=Talu Newa Nko=Nkoo
Nushu=Nshu Nyiakeng_Puachue_Hmong=Hmnp Ogham=Ogam Ol_Chiki=Olck Ol_Onal=Onao Old_Hungarian=Hung Old_Italic=Ital
Old_North_Arabian=Narb Old_Permic=Perm Old_Persian=Xpeo Old_Sogdian=Sogo Old_South_Arabian=Sarb Old_Turkic=Orkh
Old_Uyghur=Ougr Oriya=Orya Osage=Osge Osmanya=Osma Pahawh_Hmong=Hmng Palmyrene=Palm Pau_Cin_Hau=Pauc Phags_Pa=Phag
Phoenician=Phnx Psalter_Pahlavi=Phlp Rejang=Rjng Runic=Runr Samaritan=Samr Saurashtra=Saur Sharada=Shrd Shavian=Shaw
Siddham=Sidd SignWriting=Sgnw Sinhala=Sinh Sogdian=Sogd Sora_Sompeng=Sora Soyombo=Soyo Sundanese=Sund Sunuwar=Sunu
Syloti_Nagri=Sylo Syriac=Syrc Tagalog=Tglg Tagbanwa=Tagb Tai_Le=Tale Tai_Tham=Lana Tai_Viet=Tavt Takri=Takr Tamil=Taml
Tangsa=Tnsa Tangut=Tang Telugu=Telu Thaana=Thaa Thai Tibetan=Tibt Tifinagh=Tfng Tirhuta=Tirh Todhri=Todr Toto
Tulu_Tigalari=Tutg Ugaritic=Ugar Vai=Vaii Vithkuqi=Vith Wancho=Wcho Warang_Citi=Wara Yezidi=Yezi Yi=Yiii
Zanabazar_Square=Zanb""".split()

# Planes 4 to 13 are empty, 15 and 16 private but for their last two.
ASKED = [c for c in range(0x40000) if not 0xD800 <= c < 0xE000] + list(range(0xE0000, 0xE0200)) + \
    [0xF0000, 0xFFFFD, 0xFFFFE, 0xFFFFF, 0x100000, 0x10FFFD, 0x10FFFE, 0x10FFFF]
CHUNK = 0x400


def having(regex, asked=ASKED):
    """The characters that one expression matches."""
    split, out = pre_tokenizers.Split(Regex(regex), "removed", invert=True), set()
    for at in range(0, len(asked), CHUNK):
        chunk = asked[at:at + CHUNK]
        for _, (begin, end) in split.pre_tokenize_str("".join(map(chr, chunk))):
            out.update(chunk[begin:end])
    return out


def runs(members, start):
    """first << 8 | index wherever the index changes."""
    of = {c: i for i, some in enumerate(members) for c in some}
    out, last = [], None
    for c in ASKED:
        if of.get(c, start) != last:
            last = of.get(c, start)
            out.append(c << 8 | last)
    return out


def ranges(some):
    out = []
    for c in sorted(some):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def folds():
    """(character, what it folds to), and what folds to several: all asked of the reference."""
    cased = sorted(having(r"\p{Changes_When_Casemapped}"))
    pairs, several = [], []
    for c in cased:
        whole = chr(c).casefold()
        if len(whole) > 1:
            several.append((c, [ord(k) for k in whole]))
    alike = {}
    for c in cased:
        if c in alike:
            continue
        whole = chr(c).casefold()
        if len(whole) > 1:
            same = [k for k in cased if chr(k).casefold() == whole]
        else:
            same = sorted(having("(?i:%s)" % chr(c), cased) | {c})
        lower = [k for k in same if chr(k).casefold() == chr(k) and chr(c).casefold() == chr(k)]
        to = lower[0] if lower else max(same)
        for k in same:
            alike[k] = to
            if k != to:
                pairs.append((k, to))
    return sorted(pairs), several


def fold_runs(pairs):
    """[first, last, step, distance]."""
    out = []
    for c, to in pairs:
        if out and out[-1][3] == to - c and (c - out[-1][1] == out[-1][2] or
                                             (out[-1][0] == out[-1][1] and c - out[-1][1] <= 2)):
            out[-1][2] = c - out[-1][1]
            out[-1][1] = c
        else:
            out.append([c, c, 1, to - c])
    return out


def table(name, kind, items):
    print("\nconst %s %s[] = {" % (kind, name))
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            print(line)
            line = "   "
        line += " " + item + ","
    print(line + "\n};")
    print("const size_t %s_count = sizeof %s / sizeof *%s;" % (name, name, name))


@contextlib.contextmanager
def source(name, what):
    """What is printed goes into a file of this name."""
    with open(os.path.join(sys.argv[1], name), "w", encoding="utf-8") as f, contextlib.redirect_stdout(f):
        print("""/* SPDX-License-Identifier: MIT */
/* Facts about characters (Unicode 16): %s. Written by tools/unicode_properties.py, which
 * asked the reference. What they mean is in properties.c. */
#include "text/unicode/unicode.h\"""" % what)
        yield


def main():
    members = [set()] + [having(r"\p{%s}" % c) for c in CATEGORIES[1:]]
    category = {c: i for i, some in enumerate(members) for c in some}
    scripts = [s.split("=") for s in SCRIPTS]
    of = lambda names: set().union(*(members[CATEGORIES.index(n)] for n in names.split()))
    pair = lambda some: ["{ 0x%X, 0x%X }" % tuple(r) for r in ranges(some)]
    with source("categories_data.c", "categories"):
        table("vtext_category_runs", "uint32_t", ["0x%X" % v for v in runs(members, 0)])
        table("vtext_other_alphabetic", "vtext_range", pair(having(r"\p{Alphabetic}") - of("Lu Ll Lt Lm Lo Nl")))
        table("vtext_other_lower", "vtext_range", pair(having(r"\p{Lowercase}") - of("Ll")))
        table("vtext_other_upper", "vtext_range", pair(having(r"\p{Uppercase}") - of("Lu")))
    pairs, several = folds()
    with source("scripts_data.c", "scripts and case"):
        table("vtext_script_runs", "uint32_t",
              ["0x%X" % v for v in runs([having(r"\p{%s}" % s[0]) for s in scripts], 255)])
        table("vtext_script_names", "char *const",
              ['"%s"' % " ".join(n.lower().replace("_", "") for n in s) for s in scripts])
        table("vtext_folds", "vtext_fold_run", ["{ 0x%X, 0x%X, %d, %d }" % tuple(r) for r in fold_runs(pairs)])
        table("vtext_long_folds", "vtext_long_fold",
              ["{ 0x%X, { %s } }" % (c, ", ".join("0x%X" % k for k in to)) for c, to in several])


main()
