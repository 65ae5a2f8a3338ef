/* SPDX-License-Identifier: MIT */
/* The regular expressions of well-known tokenizers, recognised by their exact text. Each has a
 * hand-written matcher that visits a character a bounded number of times and finds what the
 * automaton would, without its pass over the text. */
#include "text/regex/regex.h"
#include "text/unicode/unicode.h"

/* ---- what the matchers are made of ---------------------------------------------------------- */
/* The character at i < n and its class; returns where the next one begins. */
static inline size_t step(const char *p, size_t n, size_t i, uint32_t *cp, vtext_class *class) {
    uint8_t c = (uint8_t)p[i];
    if (c < 0x80) {
        *cp = c;
        i++;
    } else {
        i += vcore_utf8_decode(p + i, n - i, cp);
    }
    *class = vtext_class_of(*cp);
    return i;
}

static inline bool is_newline(uint32_t cp) {
    return cp == '\r' || cp == '\n';
}

/* End of the run of one class that begins at i. */
static size_t run_of(const char *p, size_t n, size_t i, vtext_class wanted) {
    uint32_t cp;
    vtext_class class;
    while (i < n) {
        size_t next = step(p, n, i, &cp, &class);
        if (class != wanted) break;
        i = next;
    }
    return i;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ at white space (the first only if newlines): up to the last line end of
 * the run; else all but the last character if text follows; else all. */
static size_t match_space(const char *p, size_t n, size_t at, bool newlines) {
    uint32_t cp;
    vtext_class class;
    size_t i = at, last = at, line_end = 0;
    while (i < n) {
        size_t next = step(p, n, i, &cp, &class);
        if (class != VTEXT_SPACE) break;
        last = i;
        i = next;
        if (is_newline(cp)) line_end = i;
    }
    if (newlines && line_end) return line_end;
    return i < n && last > at ? last : i;
}

/* 's 't 're 've 'm 'll 'd; fold: in either case, and with the long s, which folds to s. */
static size_t match_contraction(const char *p, size_t n, size_t at, bool fold) {
    if (at + 1 >= n || p[at] != '\'') return 0;
    char a = p[at + 1], b = at + 2 < n ? p[at + 2] : 0;
    if (fold) {
        if (a == (char)0xC5 && b == (char)0xBF) return at + 3;
        if (a >= 'A' && a <= 'Z') a |= 0x20;
        if (b >= 'A' && b <= 'Z') b |= 0x20;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return at + 3;
    return 0;
}

static size_t match_numbers(const char *p, size_t n, size_t at, int most) {
    uint32_t cp;
    vtext_class class;
    for (size_t next; at < n && most--; at = next) {
        next = step(p, n, at, &cp, &class);
        if (class != VTEXT_NUMBER) break;
    }
    return at;
}

/* ---- GPT-2 ---------------------------------------------------------------------------------- */
static size_t match_gpt2(const char *p, size_t n, size_t at) {
    size_t end = match_contraction(p, n, at, false), i = at + (p[at] == ' ');
    uint32_t cp;
    vtext_class class;
    if (end) return end;
    if (i < n) {
        end = step(p, n, i, &cp, &class);
        if (class != VTEXT_SPACE) return run_of(p, n, end, class);
    }
    return match_space(p, n, at, false);
}

const vtext_pattern vtext_pattern_gpt2 = { .match = match_gpt2 };

/* ---- cl100k and its kin: Llama 3, Qwen 2 ---------------------------------------------------- */
/* marks: combining marks count as letters, as in Qwen 3.5's. */
static inline vtext_class letter_class(vtext_class class, uint32_t cp, bool marks) {
    return marks && class == VTEXT_OTHER && vtext_is_mark(cp) ? VTEXT_LETTER : class;
}

static inline size_t letter_run(const char *p, size_t n, size_t i, bool marks, vtext_class wanted) {
    uint32_t cp;
    vtext_class class;
    while (i < n) {
        size_t next = step(p, n, i, &cp, &class);
        if (letter_class(class, cp, marks) != wanted) break;
        i = next;
    }
    return i;
}

/* (?i:'s|..)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}|
 * ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static inline size_t match_cl100k(const char *p, size_t n, size_t at, int digits, bool marks) {
    size_t end = match_contraction(p, n, at, true);
    if (end) return end;
    uint32_t cp, cp2;
    vtext_class class, class2 = VTEXT_SPACE;
    size_t next = step(p, n, at, &cp, &class), next2 = next;
    bool mark =
        marks && class == VTEXT_OTHER && vtext_is_mark(cp); /* may be a prefix and a letter */
    if (class == VTEXT_LETTER) return letter_run(p, n, next, marks, VTEXT_LETTER);
    if (class == VTEXT_NUMBER) return match_numbers(p, n, at, digits);
    if (next < n) {
        next2 = step(p, n, next, &cp2, &class2);
        class2 = letter_class(class2, cp2, marks);
    }
    if (class2 == VTEXT_LETTER && !is_newline(cp))
        return letter_run(p, n, next2, marks, VTEXT_LETTER);
    if (mark) return next;
    if (class == VTEXT_SPACE) {
        if (cp != ' ' || class2 != VTEXT_OTHER) return match_space(p, n, at, true);
        next = next2;
    }
    end = letter_run(p, n, next, marks, VTEXT_OTHER);
    while (end < n && is_newline((uint8_t)p[end])) end++;
    return end;
}

static size_t match_llama3(const char *p, size_t n, size_t at) {
    return match_cl100k(p, n, at, 3, false);
}

static size_t match_qwen2(const char *p, size_t n, size_t at) {
    return match_cl100k(p, n, at, 1, false);
}

static size_t match_qwen35(const char *p, size_t n, size_t at) {
    return match_cl100k(p, n, at, 1, true);
}

/* ---- o200k and Mistral's tekken ------------------------------------------------------------- */
static size_t case_run(const char *p, size_t n, size_t i, int wanted, size_t *last_both) {
    uint32_t cp;
    while (i < n) {
        size_t next = i + vcore_utf8_decode(p + i, n - i, &cp);
        int c = vtext_letter_case(cp);
        if (!(c & wanted)) break;
        i = next;
        if (c == (VTEXT_UPPER | VTEXT_LOWER)) *last_both = i;
    }
    return i;
}

/* UPPER*LOWER+ at i, end or 0: when no LOWER follows the run of UPPER, its last character that is
 * both is given back. */
static size_t match_camel(const char *p, size_t n, size_t i) {
    size_t both = 0, ignored, upper = case_run(p, n, i, VTEXT_UPPER, &both);
    size_t end = case_run(p, n, upper, VTEXT_LOWER, &ignored);
    return end > upper ? end : both;
}

/* UPPER+LOWER* at i, end or 0. */
static size_t match_capital(const char *p, size_t n, size_t i) {
    size_t ignored, upper = case_run(p, n, i, VTEXT_UPPER, &ignored);
    return upper == i ? 0 : case_run(p, n, upper, VTEXT_LOWER, &ignored);
}

/* X?CAMEL'?|X?CAPITAL'?|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * with X = [^\r\n\p{L}\p{N}] and ' a contraction, if they belong to it. */
static inline size_t match_o200k_kin(const char *p, size_t n, size_t at, int digits,
                                     bool contractions) {
    uint32_t cp;
    vtext_class class;
    size_t next = step(p, n, at, &cp, &class), end = 0;
    bool prefix = class != VTEXT_LETTER && class != VTEXT_NUMBER && !is_newline(cp);
    if (prefix) end = match_camel(p, n, next);
    if (!end) end = match_camel(p, n, at);
    if (!end && prefix) end = match_capital(p, n, next);
    if (!end) end = match_capital(p, n, at);
    if (end) {
        size_t more = contractions ? match_contraction(p, n, end, true) : 0;
        return more ? more : end;
    }
    if (class == VTEXT_NUMBER) return match_numbers(p, n, at, digits);
    if (class == VTEXT_SPACE) {
        size_t other = cp == ' ' ? run_of(p, n, next, VTEXT_OTHER) : next;
        if (other == next) return match_space(p, n, at, true);
        end = other;
    } else {
        end = run_of(p, n, next, VTEXT_OTHER);
    }
    while (end < n && (is_newline((uint8_t)p[end]) || p[end] == '/')) end++;
    return end;
}

static size_t match_o200k(const char *p, size_t n, size_t at) {
    return match_o200k_kin(p, n, at, 3, true);
}

static size_t match_tekken(const char *p, size_t n, size_t at) {
    return match_o200k_kin(p, n, at, 1, false);
}

/* ---- single classes ------------------------------------------------------------------------- */
static size_t match_spaces(const char *p, size_t n, size_t at) {
    size_t end = run_of(p, n, at, VTEXT_SPACE);
    return end > at ? end : 0;
}

static size_t match_number(const char *p, size_t n, size_t at) {
    size_t end = match_numbers(p, n, at, 1);
    return end > at ? end : 0;
}

static size_t match_number3(const char *p, size_t n, size_t at) {
    size_t end = match_numbers(p, n, at, 3);
    return end > at ? end : 0;
}

/* ---- recognising ---------------------------------------------------------------------------- */
#define GPT2_TAIL " ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SPACE_TAIL "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SUFFIXES "'s|'t|'re|'ve|'m|'ll|'d"
#define UPPERS "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWERS "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define PREFIX "[^\\r\\n\\p{L}\\p{N}]?"

static const struct {
    const char *regex;
    size_t (*match)(const char *p, size_t n, size_t at);
} known[] = {
    { SUFFIXES "|" GPT2_TAIL, match_gpt2 },
    { "'(?:[sdmt]|ll|ve|re)|" GPT2_TAIL, match_gpt2 },
    { "(?i:" SUFFIXES ")|" PREFIX "\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" SPACE_TAIL,
      match_qwen2 },
    { "(?i:" SUFFIXES ")|" PREFIX "\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" SPACE_TAIL,
      match_llama3 },
    { "(?i:" SUFFIXES ")|" PREFIX
      "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" SPACE_TAIL,
      match_qwen35 },
    { PREFIX UPPERS "*" LOWERS "+(?i:" SUFFIXES ")?|" PREFIX UPPERS "+" LOWERS "*(?i:" SUFFIXES ")?"
                    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACE_TAIL,
      match_o200k },
    { PREFIX UPPERS "*" LOWERS "+|" PREFIX UPPERS "+" LOWERS "*"
                    "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACE_TAIL,
      match_tekken },
    { "\\s+", match_spaces },
    { "\\p{N}", match_number },
    { "\\p{N}{1,3}", match_number3 },
};

enum { KNOWN = sizeof known / sizeof *known };

size_t (*vtext_known_match(vcore_str regex))(const char *p, size_t n, size_t at) {
    for (size_t i = 0; i < KNOWN; i++)
        if (vcore_str_eq(regex, vcore_str_of(known[i].regex))) return known[i].match;
    return NULL;
}

const char *vtext_known_regex(size_t i) {
    return i < KNOWN ? known[i].regex : NULL;
}
