# SPDX-License-Identifier: MIT
"""Lines that are hard on a tokenizer, from a seed: prose in 20 scripts, code, emoji sequences, combining marks, control
characters, invalid UTF-8, long runs, random code points, and a tokenizer's own added tokens inside of all that."""

from __future__ import annotations

import random

PROSE = [
    "The quick brown fox jumps over the lazy dog; it's what they'd say, isn't it? I'M SURE WE'LL SEE.",
    "Le cœur déçu mais l'âme plutôt naïve, Louÿs rêva de crapaüter en canoë au-delà des îles.",
    "Falsches Üben von Xylophonmusik quält jeden größeren Zwerg. Straße, Maß, ẞ.",
    "Tiếng Việt có nhiều dấu thanh: ngã, hỏi, nặng, sắc, huyền. Đường phố Hà Nội.",
    "Türkçe: İstanbul'da ılık bir gün, IŞIK ışık. Çok güzel, değil mi?",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Їжак, ґанок, Ђорђе.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. ΣΊΣΥΦΟΣ, ὀδυσσεύς, ᾳ ᾼ ῷ.",
    "Բել դղյակի ձախ ժամն օֆ ազգությանը ցպահանջ չճշտած վնաս էր եւ փառք։",
    "ქართული ანბანი: სწრაფი ყავისფერი მელა ახტება ზარმაც ძაღლს. ᲥᲐᲠᲗᲣᲚᲘ",
    "דג סקרן שט בים מאוכזב ולפתע מצא לו חברה. שָׁלוֹם עֲלֵיכֶם",
    "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر. السَّلامُ عَلَيْكُم ١٢٣ ۴۵۶",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश। क्षत्रिय ज़ क़ १२३",
    "আমি বাংলায় গান গাই, আমি বাংলার গান গাই। সংখ্যা ১২৩",
    "நான் தமிழ் பேசுகிறேன். யாமறிந்த மொழிகளிலே தமிழ்மொழி போல் இனிதாவது",
    "తెలుగు భాష చాలా మధురమైనది. ಕನ್ನಡ ನುಡಿ ಚೆಂದ. മലയാളം എന്റെ ഭാഷ. සිංහල අකුරු.",
    "สวัสดีชาวโลก เป็นมนุษย์สุดประเสริฐเลิศคุณค่า ๑๒๓ ສະບາຍດີ ພາສາລາວ",
    "མི་རིགས་ཀྱི་སྐད་ཡིག བོད་ཡིག မြန်မာဘာသာစကား ភាសាខ្មែរ ជាភាសាផ្លូវការ",
    "ሰላም ልዑል አማርኛ ቋንቋ ፩፪፫ ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ꮳꮃꭹ ᐃᓄᒃᑎᑐᑦ",
    "北京欢迎你，東京都に行きました。私はガラスを食べられます。㐀 𠀀 豈 々〆〤",
    "こんにちは世界、カタカナとひらがな。ｶﾀｶﾅ ﾊﾟﾋﾞ ー ㌔ ㋿ ゔ ゞ ヿ",
    "안녕하세요 세계, 다람쥐 헌 쳇바퀴에 타고파. 각 ㄱㄴㄷ 한국어 ﾡ",
    "ⲁⲃⲅ ⰀⰁ 𐌰𐌱 ᚠᚢᚦ ᠮᠣᠩᠭᠣᠯ ꦗꦮ ᜊᜌ ꯃꯤꯇꯩ ߒߞߏ ⵜⴰⵎ 𞤀𞤣 𐐀𐐨",
]
CODE = [
    "def main(argc, argv):\n    return {'a': [1, 2, 3], \"b\": None} if argc > 1 else -1  # TODO\n\n\nclass A(B):\n\tpass\r\n",
    "for (int i = 0; i < n; i++) { x[i] += y->z * 3.14e-10f; /* sum */ }\n\t\tif (!p || *p == '\\0') return;\n",
    "SELECT COUNT(*) FROM t WHERE id IN (1, 22, 333, 4444) AND name LIKE '%é%';",
    "<div class=\"x\" data-id='3'>&nbsp;text&amp;</div><!-- c --><br/>", "https://example.com/a/b?c=d&e=f#g  someone@example.org C:\\dir\\f.txt",
    "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\", \"n\": [1.5e3, -2, null, true]}}", "| a | b |\n|---|---|\n| 1 | 22 |\n\n1. one\n2. two\n   - three",
    "x² + y² = r², ∑∫√ α≤β ∀x∈ℝ $100 €200 £300 ¥400 ₹500 50% ½ ⅓ Ⅷ ①", "HTTPServer parseHTML2Text iPhone snake_case kebab-case __init__ a1b22c333d4444",
    "don't can’t I'LL you'RE 'tis rock'n'roll ''s 'ſ ... --- *** ?!?! `~@#$%^&*()_+-=[]{}|;':\",./<>?",
]
EMOJI = ["😀", "👩\u200d👩\u200d👧\u200d👦", "👍🏽", "❤️", "☺︎", "🏳️\u200d🌈", "🇩🇪", "🇫🇷🇯🇵", "1️⃣", "#️⃣", "🧑🏿\u200d🚀", "\u200d", "\ufe0f", "🏴\U000e0067\U000e0062\U000e007f", "🫠", "\U0001fae9", "㊗️", "©", "™️"]
MARKS = "\u0300\u0301\u0302\u0303\u0308\u030a\u0323\u0327\u0328\u031b\u0338\u0345\u0360\u036f\u0483\u05b0\u05bc\u064b\u0651\u0670\u093c\u094d\u09bc\u0bbe\u0cd5\u0dcf\u0e31\u0e48\u0f71\u0f72\u102e\u1037\u1abf\u1dc0\u20d0\u20e3\u302a\u3099\u309a\ua670\ufe20\uff9e\uff9f\U0001d165\U0001d16d\U000110ba\U0001e8d0"
BASES = "aeiouyAEIOUYnsczqKÅåÄü한가각각कखबমஒணෙพတかカハｶﾊאש\u0958\u2126\u212b\ufb2a\u0344\u1e9b\u1e0b\u0130\u0131\u01c5\u1e9e\u00df\ufb01\ufb03\u3392\uf900\u4e00"
ODD = "\x00\x01\x07\x08\t\n\x0b\x0c\r\x1b\x1f\x7f\x80\x85\x8f\x9f\xa0\xad\u034f\u061c\u0600\u06dd\u070f\u08e2\u115f\u1160\u1680\u180e\u2000\u2003\u2009\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202e\u202f\u205f\u2060\u2063\u2066\u2800\u3000\u3164\ufdd0\ufeff\ufff9\ufffc\ufffd\ufffe\uffff\U000e0001\U000f0000\U0010fffd\U0010ffff"
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "\u00a0", "\u3000", "▁", " ▁", "\u2009"]
BAD = [b"\xff", b"\xc3", b"\xe4\xb8", b"\xf0\x9f\x98", b"\x80", b"\xbf\xbf", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xe2\x82\x28"]


def scalar(rng: random.Random, low: int, high: int) -> str:
    while True:
        code = rng.randint(low, high)
        if not 0xD800 <= code < 0xE000:
            return chr(code)


class Lines:
    """Lines as bytes, a few of them no UTF-8. added: texts of added tokens to be thrown in."""

    def __init__(self, seed: int, added: list[str] = (), longest: int = 60):
        self.rng, self.added, self.longest = random.Random(seed), [a for a in added if a], longest
        self.kinds = [self.prose, self.prose, self.code, self.emoji, self.marks, self.odd, self.points, self.run, self.digits, self.mixed, self.mixed]

    def pick(self, text: str) -> str:
        n = self.rng.randint(1, self.longest)
        at = self.rng.randrange(len(text))
        return text[at : at + n]

    def prose(self) -> str:
        text = self.pick(self.rng.choice(PROSE))
        return self.rng.choice((text, text, text, text.upper(), text.title(), text.replace(" ", self.rng.choice(SPACES))))

    def code(self) -> str:
        return self.pick(self.rng.choice(CODE))

    def emoji(self) -> str:
        return "".join(self.rng.choice((*EMOJI, *EMOJI, " ", "a", "  ")) for _ in range(self.rng.randint(1, 8)))

    def marks(self) -> str:
        rng = self.rng
        return "".join(rng.choice(BASES) + "".join(rng.choice(MARKS) for _ in range(rng.choice((0, 1, 1, 2, 3, 7)))) for _ in range(rng.randint(1, 8)))

    def odd(self) -> str:
        return "".join(self.rng.choice((self.rng.choice(ODD), self.rng.choice(ODD), "a", " ", "中", "é")) for _ in range(self.rng.randint(1, 12)))

    def points(self) -> str:
        rng = self.rng
        low, high = rng.choice(((0x20, 0x7F), (0x80, 0x24F), (0x250, 0xFFF), (0x1000, 0x2FFF), (0x3000, 0xFFFF), (0x10000, 0x1FFFF), (0x20000, 0x10FFFF), (0, 0x10FFFF)))
        return "".join(scalar(rng, low, high) for _ in range(rng.randint(1, 16)))

    def run(self) -> str:
        rng = self.rng
        return rng.choice((*" \na1-=.é中😀\u0301▁'", scalar(rng, 32, 0x2FFF))) * rng.choice((2, 3, 5, 8, 17, 33, 64))

    def digits(self) -> str:
        rng = self.rng
        return "".join(rng.choice(("1", "23", "456", "7890", ".", ",", " ", "½", "²", "٣", "३", "Ⅷ", "一", "x")) for _ in range(rng.randint(1, 14)))

    def mixed(self) -> str:
        rng, parts = self.rng, []
        for _ in range(rng.randint(2, 5)):
            parts.append(rng.choice(self.kinds[:-2])())
            if self.added and rng.random() < 0.4:
                parts.append(self.token())
            if rng.random() < 0.5:
                parts.append(rng.choice(SPACES))
        return "".join(parts)

    def token(self) -> str:
        rng = self.rng
        token = rng.choice(self.added)
        changed = (token, token, token, token.upper(), token[:-1], token + token, " " + token + " ", token + "s", "x" + token, "\n" + token)
        return rng.choice(changed)

    def line(self) -> bytes:
        rng = self.rng
        text = rng.choice(self.kinds)()
        if self.added and rng.random() < 0.15:
            at = rng.randint(0, len(text))
            text = text[:at] + self.token() + text[at:]
        if rng.random() < 0.1:
            text = rng.choice(SPACES) + text
        if rng.random() < 0.1:
            text += rng.choice(SPACES)
        raw = text.encode()
        if rng.random() < 0.04:
            at = rng.randint(0, len(raw))
            raw = raw[:at] + rng.choice(BAD) + raw[at:]
        return raw

    def take(self, n: int) -> list[bytes]:
        first = [b"", b" ", b"\n", "é".encode(), b"\xff"]
        return (first + [self.line() for _ in range(max(0, n - len(first)))])[:n]
