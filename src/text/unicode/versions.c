/* SPDX-License-Identifier: MIT */
/* Characters as older versions of Unicode had them, because parts of the reference do: its normal
 * forms and accents are Unicode 9's, what BERT's components ask are the categories of Unicode 8. */
#include "text/unicode/unicode.h"

#include <utf8proc.h>

/* Marks, punctuation, format controls and characters with a decomposition that came with Unicode 9
 * (9) or later (10). Other characters in a range do not matter. */
static const struct {
    uint32_t first, last;
    int version;
} later[] = {
    { 0x61D, 0x61D, 9 },      { 0x7FD, 0x7FD, 10 },     { 0x890, 0x8D3, 10 },
    { 0x8D4, 0x8E2, 9 },      { 0x9FD, 0x9FE, 10 },     { 0xA76, 0xA76, 9 },
    { 0xAFA, 0xAFF, 10 },     { 0xB55, 0xB55, 10 },     { 0xC04, 0xC3C, 10 },
    { 0xC77, 0xC77, 9 },      { 0xC84, 0xC84, 9 },      { 0xCF3, 0xD00, 10 },
    { 0xD3B, 0xD3C, 10 },     { 0xD81, 0xD81, 10 },     { 0xEBA, 0xEBA, 10 },
    { 0xECE, 0xECE, 10 },     { 0x1715, 0x1715, 10 },   { 0x180F, 0x180F, 10 },
    { 0x1885, 0x1886, 9 },    { 0x1ABF, 0x1ACE, 10 },   { 0x1B7D, 0x1B7E, 9 },
    { 0x1CF7, 0x1CF7, 10 },   { 0x1DF6, 0x1DFA, 10 },   { 0x1DFB, 0x1DFB, 9 },
    { 0x2E43, 0x3000, 9 },    { 0x32FF, 0x32FF, 10 },   { 0xA7F2, 0xA7F4, 10 },
    { 0xA82C, 0xA82C, 10 },   { 0xA8C5, 0xA8C5, 9 },    { 0xA8FF, 0xA8FF, 10 },
    { 0xA9BD, 0xA9C0, 9 },    { 0xAB69, 0xAB69, 10 },   { 0x10781, 0x107BA, 10 },
    { 0x10D24, 0x10F89, 10 }, { 0x11070, 0x11074, 10 }, { 0x110C2, 0x110CD, 10 },
    { 0x11145, 0x11146, 10 }, { 0x111C9, 0x111C9, 10 }, { 0x111CE, 0x111CF, 10 },
    { 0x1123E, 0x1123E, 9 },  { 0x11241, 0x11241, 10 }, { 0x1133B, 0x1133B, 10 },
    { 0x11438, 0x1145D, 9 },  { 0x1145E, 0x1145E, 10 }, { 0x11660, 0x1166C, 9 },
    { 0x116B9, 0x116B9, 9 },  { 0x1182C, 0x11B09, 10 }, { 0x11C2F, 0x11CB6, 9 },
    { 0x11D31, 0x11FFF, 10 }, { 0x12FF1, 0x13455, 10 }, { 0x16E97, 0x16F4F, 10 },
    { 0x16F7F, 0x16F87, 10 }, { 0x16FE2, 0x16FF1, 10 }, { 0x1CF00, 0x1CF46, 10 },
    { 0x1E000, 0x1E02A, 9 },  { 0x1E030, 0x1E4EF, 10 }, { 0x1E944, 0x1F16B, 9 },
    { 0x1F16C, 0x1F16C, 10 }, { 0x1FBF0, 0x1FBF9, 10 },
};

int vtext_since(uint32_t cp) {
    size_t low = 0, high = sizeof later / sizeof *later;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (later[middle].last < cp)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < sizeof later / sizeof *later && later[low].first <= cp;
    return found ? later[low].version : 8;
}

static utf8proc_category_t category_of(uint32_t cp) {
    return utf8proc_category((utf8proc_int32_t)cp);
}

bool vtext_mark_of_9(uint32_t cp) {
    if (cp < 0x300) return false;
    utf8proc_category_t c = category_of(cp);
    bool mark = c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ME;
    return (mark && vtext_since(cp) <= 9) || cp == 0x1CF2 || cp == 0x1CF3; /* letters since */
}

bool vtext_nonspacing_of_8(uint32_t cp) {
    if (cp < 0x300) return false;
    return (category_of(cp) == UTF8PROC_CATEGORY_MN && vtext_since(cp) <= 8)
           || cp == 0x1734; /* a spacing mark since */
}

bool vtext_control_of_8(uint32_t cp) {
    switch (category_of(cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CO: return true;
    case UTF8PROC_CATEGORY_CF: return vtext_since(cp) <= 8;
    default: return false;
    }
}

bool vtext_punctuation_of_8(uint32_t cp) {
    if (cp < 0x80)
        return (cp > ' ' && cp < '0') || (cp > '9' && cp < 'A') || (cp > 'Z' && cp < 'a')
               || (cp > 'z' && cp < 0x7F);
    switch (category_of(cp)) {
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return vtext_since(cp) <= 8;
    default: return cp == 0x166D || cp == 0x111C9; /* a symbol and a mark since */
    }
}
