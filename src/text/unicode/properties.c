/* SPDX-License-Identifier: MIT */
/* Properties of characters by name, as regular expressions ask for them: general categories,
 * scripts, and the POSIX classes built from these. The facts lie in categories_data.c and
 * scripts_data.c. */
#include "text/unicode/unicode.h"

enum { /* in the order of categories_data.c */
       CN,
       LU,
       LL,
       LT,
       LM,
       LO,
       MN,
       MC,
       ME,
       ND,
       NL,
       NO,
       PC,
       PD,
       PS,
       PE,
       PI,
       PF,
       PO,
       SM,
       SC,
       SK,
       SO,
       ZS,
       ZL,
       ZP,
       CC,
       CF,
       CO,
       CATEGORIES
};
#define BIT(category) (1u << (category))
#define CASED (BIT(LU) | BIT(LL) | BIT(LT))
#define LETTERS (CASED | BIT(LM) | BIT(LO))
#define MARKS (BIT(MN) | BIT(MC) | BIT(ME))
#define NUMBERS (BIT(ND) | BIT(NL) | BIT(NO))
#define PUNCTUATION (BIT(PC) | BIT(PD) | BIT(PS) | BIT(PE) | BIT(PI) | BIT(PF) | BIT(PO))
#define SYMBOLS (BIT(SM) | BIT(SC) | BIT(SK) | BIT(SO))
#define SEPARATORS (BIT(ZS) | BIT(ZL) | BIT(ZP))
#define EVERY (BIT(CATEGORIES) - 1)
#define OTHERS (BIT(CC) | BIT(CF) | BIT(CN) | BIT(CO))
#define VISIBLE (EVERY & ~(BIT(CC) | BIT(CN) | SEPARATORS))

static const vtext_range white[] = { { 9, 13 }, { 0x85, 0x85 } }, tab[] = { { 9, 9 } },
                         ascii[] = { { 0, 0x7F } },
                         xdigit[] = { { '0', '9' }, { 'A', 'F' }, { 'a', 'f' } };

#define EXTRA(table) table, sizeof table / sizeof *table
static const struct {
    const char *name, *other;
    uint32_t categories;
    const vtext_range *extra;
    size_t extras;
} named[] = {
    { "l", "letter", LETTERS, NULL, 0 },
    { "lu", "uppercaseletter", BIT(LU), NULL, 0 },
    { "ll", "lowercaseletter", BIT(LL), NULL, 0 },
    { "lt", "titlecaseletter", BIT(LT), NULL, 0 },
    { "lc", "casedletter", CASED, NULL, 0 },
    { "lm", "modifierletter", BIT(LM), NULL, 0 },
    { "lo", "otherletter", BIT(LO), NULL, 0 },
    { "m", "mark", MARKS, NULL, 0 },
    { "combiningmark", "m", MARKS, NULL, 0 },
    { "mn", "nonspacingmark", BIT(MN), NULL, 0 },
    { "mc", "spacingmark", BIT(MC), NULL, 0 },
    { "me", "enclosingmark", BIT(ME), NULL, 0 },
    { "n", "number", NUMBERS, NULL, 0 },
    { "nd", "decimalnumber", BIT(ND), NULL, 0 },
    { "digit", "nd", BIT(ND), NULL, 0 },
    { "nl", "letternumber", BIT(NL), NULL, 0 },
    { "no", "othernumber", BIT(NO), NULL, 0 },
    { "p", "punctuation", PUNCTUATION, NULL, 0 },
    { "pc", "connectorpunctuation", BIT(PC), NULL, 0 },
    { "pd", "dashpunctuation", BIT(PD), NULL, 0 },
    { "ps", "openpunctuation", BIT(PS), NULL, 0 },
    { "pe", "closepunctuation", BIT(PE), NULL, 0 },
    { "pi", "initialpunctuation", BIT(PI), NULL, 0 },
    { "pf", "finalpunctuation", BIT(PF), NULL, 0 },
    { "po", "otherpunctuation", BIT(PO), NULL, 0 },
    { "s", "symbol", SYMBOLS, NULL, 0 },
    { "sm", "mathsymbol", BIT(SM), NULL, 0 },
    { "sc", "currencysymbol", BIT(SC), NULL, 0 },
    { "sk", "modifiersymbol", BIT(SK), NULL, 0 },
    { "so", "othersymbol", BIT(SO), NULL, 0 },
    { "z", "separator", SEPARATORS, NULL, 0 },
    { "zs", "spaceseparator", BIT(ZS), NULL, 0 },
    { "zl", "lineseparator", BIT(ZL), NULL, 0 },
    { "zp", "paragraphseparator", BIT(ZP), NULL, 0 },
    { "c", "other", OTHERS, NULL, 0 },
    { "cc", "control", BIT(CC), NULL, 0 },
    { "cntrl", "cc", BIT(CC), NULL, 0 },
    { "cf", "format", BIT(CF), NULL, 0 },
    { "cn", "unassigned", BIT(CN), NULL, 0 },
    { "co", "privateuse", BIT(CO), NULL, 0 },
    { "any", "any", EVERY, NULL, 0 },
    { "assigned", "assigned", EVERY & ~BIT(CN), NULL, 0 },
    { "ascii", "ascii", 0, EXTRA(ascii) },
    { "xdigit", "asciihexdigit", 0, EXTRA(xdigit) },
    { "space", "whitespace", SEPARATORS, EXTRA(white) },
    { "blank", "blank", BIT(ZS), EXTRA(tab) },
    { "graph", "graph", VISIBLE, NULL, 0 },
    { "print", "print", VISIBLE | BIT(ZS), NULL, 0 },
    { "punct", "punct", PUNCTUATION, NULL, 0 }, /* \\p{Punct}, unlike [:punct:] */
    { "posixpunct", "posixpunct", PUNCTUATION | SYMBOLS, NULL, 0 },
};
static const struct { /* with a table of characters beyond the categories */
    const char *name, *other;
    uint32_t categories;
    const vtext_range *extra;
    const size_t *extras;
} derived[] = {
    { "alpha", "alphabetic", LETTERS | BIT(NL), vtext_other_alphabetic,
      &vtext_other_alphabetic_count },
    { "alnum", "alnum", LETTERS | BIT(NL) | BIT(ND), vtext_other_alphabetic,
      &vtext_other_alphabetic_count },
    { "word", "word", LETTERS | BIT(NL) | BIT(ND) | MARKS | BIT(PC), vtext_other_alphabetic,
      &vtext_other_alphabetic_count },
    { "lower", "lowercase", BIT(LL), vtext_other_lower, &vtext_other_lower_count },
    { "upper", "uppercase", BIT(LU), vtext_other_upper, &vtext_other_upper_count },
};

/* word is one of those in a list of two. */
static bool is_one_of(const char *word, const char *list) {
    size_t n = strlen(word);
    while (*list) {
        size_t len = strcspn(list, " ");
        if (len == n && memcmp(word, list, n) == 0) return true;
        list += len + (list[len] == ' ');
    }
    return false;
}

bool vtext_find_property(const char *name, vtext_property *out) {
    *out = (vtext_property) { .script = UINT8_MAX };
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        if (strcmp(name, named[i].name) && strcmp(name, named[i].other)) continue;
        out->categories = named[i].categories;
        out->extra = named[i].extra;
        out->extras = named[i].extras;
        return true;
    }
    for (size_t i = 0; i < sizeof derived / sizeof *derived; i++) {
        if (strcmp(name, derived[i].name) && strcmp(name, derived[i].other)) continue;
        out->categories = derived[i].categories;
        out->extra = derived[i].extra;
        out->extras = *derived[i].extras;
        return true;
    }
    for (size_t i = 0; i < vtext_script_names_count; i++) {
        if (!is_one_of(name, vtext_script_names[i])) continue;
        out->script = (uint8_t)i;
        return true;
    }
    return false;
}

/* Runs tell by first << 8 | what. The last goes on to the last character. */
static bool next_run(const uint32_t *runs, size_t n, uint32_t wanted, size_t *at,
                     vtext_range *out) {
    for (; *at < n; ++*at) {
        if (!(wanted & BIT(runs[*at] & 31))) continue;
        out->first = runs[*at] >> 8;
        out->last = *at + 1 < n ? (runs[*at + 1] >> 8) - 1 : 0x10FFFF;
        ++*at;
        return true;
    }
    return false;
}

static bool next_of_script(uint8_t script, size_t *at, vtext_range *out) {
    for (; *at < vtext_script_runs_count; ++*at) {
        if ((vtext_script_runs[*at] & 255) != script) continue;
        out->first = vtext_script_runs[*at] >> 8;
        out->last =
            *at + 1 < vtext_script_runs_count ? (vtext_script_runs[*at + 1] >> 8) - 1 : 0x10FFFF;
        ++*at;
        return true;
    }
    return false;
}

bool vtext_property_next(const vtext_property *p, size_t *at, vtext_range *out) {
    if (p->script != UINT8_MAX) return next_of_script(p->script, at, out);
    if (*at < vtext_category_runs_count
        && next_run(vtext_category_runs, vtext_category_runs_count, p->categories, at, out))
        return true;
    size_t i = *at - vtext_category_runs_count;
    if (i >= p->extras) return false;
    *out = p->extra[i];
    ++*at;
    return true;
}

/* ---- case ----------------------------------------------------------------------------------- */
bool vtext_fold_next(vtext_fold_at *at, uint32_t *from, uint32_t *to) {
    if (at->run == vtext_folds_count) return false;
    const vtext_fold_run *run = &vtext_folds[at->run];
    *from = run->first + at->i;
    *to = (uint32_t)((int32_t)*from + run->distance);
    at->i += run->step;
    if (run->first + at->i > run->last) *at = (vtext_fold_at) { at->run + 1, 0 };
    return true;
}

const uint32_t *vtext_fold_long(uint32_t cp) {
    for (size_t i = 0; i < vtext_long_folds_count; i++)
        if (vtext_long_folds[i].cp == cp) return vtext_long_folds[i].to;
    return NULL;
}
