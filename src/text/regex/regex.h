/* SPDX-License-Identifier: MIT */
/* Patterns: what the components of a tokenizer look for in text. Knows nothing of tokenizers.
 *
 * A regular expression (Oniguruma's, the reference's) goes through
 *   text -> tree (parse.c, class.c, set.c) -> program (compile.c) -> automaton (automaton.c)
 * when it is loaded, and the automaton over texts (scan.c). It reads a text once from its end,
 * which says of every place how a match may go on there, then walks from match to match without
 * ever going back: as backtracking would find them, in linear time. */
#ifndef VLM_TEXT_REGEX_H
#define VLM_TEXT_REGEX_H

#include "core/core.h"

enum {
    VTEXT_REGEX_BYTES = 16384,   /* of a pattern */
    VTEXT_REGEX_DEPTH = 64,      /* groups and classes inside each other */
    VTEXT_REGEX_SETS = 512,      /* different sets of characters */
    VTEXT_REGEX_CLASSES = 256,   /* of characters that no set tells apart */
    VTEXT_REGEX_PROGRAM = 16384, /* instructions, after counts are written out */
    VTEXT_REGEX_STATES = 32768,  /* of the automaton */
    VTEXT_REGEX_TABLE = 1 << 22  /* bytes of its tables */
};

/* ---- patterns (pattern.c) ------------------------------------------------------------------- */
typedef struct vtext_regex vtext_regex;
/* A literal or a regular expression; those of well-known tokenizers have matchers of their own.
 * Immutable: any thread may use it. */
typedef struct vtext_pattern {
    vcore_str literal;                                   /* when the others are NULL */
    size_t (*match)(const char *p, size_t n, size_t at); /* end of the match at `at`, 0: none */
    const vtext_regex *regex;
} vtext_pattern;
/* {"String": ..} or {"Regex": ..}. where: file and key, for errors. Memory is the arena's. */
vlm_status vtext_pattern_parse(vtext_pattern *out, const vcore_json *v, const char *where,
                               vcore_arena *arena, vlm_error *err);
/* GPT-2's, which the ByteLevel pre-tokenizer applies by itself. */
extern const vtext_pattern vtext_pattern_gpt2;

/* One pass over a text, from match to match. What it needs beyond this is freed by _done. */
enum { VTEXT_SCAN_LOCAL = 256 };
typedef struct vtext_scan {
    const vtext_pattern *pattern;
    const char *p;
    size_t n, from;
    size_t before;   /* where the character before `from` begins */
    bool after;      /* a match ended at `from`: none that is empty begins there */
    bool failed;     /* no memory */
    uint64_t steps;  /* characters looked at */
    uint16_t *state; /* of the automaton before each character, and at the end */
    uint16_t local[VTEXT_SCAN_LOCAL];
} vtext_scan;
void vtext_pattern_start(vtext_scan *s, const vtext_pattern *pattern, const char *p, size_t n);
/* Next match; false: none is left, or failed. It may be empty (regular expressions only). */
bool vtext_pattern_next(vtext_scan *s, size_t *begin, size_t *end);
void vtext_pattern_done(vtext_scan *s);
/* Whether there is any; true if it cannot be known for want of memory. */
bool vtext_pattern_found(const vtext_pattern *pattern, const char *p, size_t n);

/* ---- regular expressions -------------------------------------------------------------------- */
/* where: as above. The regex lies in the arena. */
vlm_status vtext_regex_parse(const vtext_regex **out, vcore_str text, const char *where,
                             vcore_arena *arena, vlm_error *err);
void vtext_regex_start(vtext_scan *s);
bool vtext_regex_next(vtext_scan *s, size_t *begin, size_t *end);
/* The matcher written for an expression of a known tokenizer; NULL: none (known.c). */
size_t (*vtext_known_match(vcore_str regex))(const char *p, size_t n, size_t at);
const char *vtext_known_regex(size_t i); /* the i-th of them; NULL: there are fewer */

/* ---- sets of characters (set.c): sorted ranges that do not touch ----------------------------- */
typedef struct vtext_set {
    uint32_t (*range)[2]; /* first, last */
    size_t n, cap;
} vtext_set;
/* What a parse needs: memory, and where to put the error. All but the first failure are ignored. */
typedef struct vtext_parse {
    vcore_arena *arena; /* of the parse, not of the result */
    vcore_str text;
    size_t at; /* in text */
    const char *where;
    vlm_error *err;
    vlm_status status;
    int depth;
    vtext_set *set[VTEXT_REGEX_SETS];
    int sets;
    bool ignore_case, any_newline; /* (?i), (?m) */
    bool in_text;                  /* the last part was a character */
    uint32_t tail[3];              /* the last characters under (?i), folded; zeros before them */
} vtext_parse;
bool vtext_set_add(vtext_parse *x, vtext_set *s, uint32_t first, uint32_t last); /* in any order */
bool vtext_set_add_all(vtext_parse *x, vtext_set *s, const vtext_set *more);
void vtext_set_normalize(vtext_set *s);
bool vtext_set_negate(vtext_parse *x, vtext_set *s);
bool vtext_set_intersect(vtext_parse *x, vtext_set *s, const vtext_set *other);
bool vtext_set_has(const vtext_set *s, uint32_t cp);
/* Adds what (?i) adds: characters that differ in case only. */
bool vtext_set_fold(vtext_parse *x, vtext_set *s);
/* Adds \p{name}; *known says whether there is such a property. */
bool vtext_set_property(vtext_parse *x, vtext_set *s, vcore_str name, bool *known);
bool vtext_set_word(vtext_parse *x, vtext_set *s);        /* \w outside of a class */
int vtext_set_intern(vtext_parse *x, const vtext_set *s); /* index in x->set; -1: failed */

/* ---- trees (parse.c, class.c) -----------------------------------------------------------------
 */
typedef enum vtext_node_kind {
    VTEXT_NODE_SEQUENCE, /* of no children: the empty one */
    VTEXT_NODE_CHOICE,
    VTEXT_NODE_SET,
    VTEXT_NODE_REPEAT,
    VTEXT_NODE_ATOMIC, /* (?>..), possessive */
    VTEXT_NODE_AHEAD,  /* (?=..) (?!..) */
    VTEXT_NODE_BEHIND, /* the character before is one of the set, or there is none if `begin` */
    VTEXT_NODE_END     /* of the text */
} vtext_node_kind;
typedef struct vtext_node {
    vtext_node_kind kind;
    struct vtext_node *last, *prev; /* children and siblings, from the last to the first */
    int set, min, max;              /* max -1: no end */
    bool lazy, negate, begin;
} vtext_node;
vtext_node *vtext_parse_tree(vtext_parse *x); /* NULL: failed, x->status says why */
vtext_node *vtext_new_node(vtext_parse *x, vtext_node_kind kind);
/* Always false, with the error set: "<where>: pattern: at byte <at>: ..". */
bool vtext_parse_fail(vtext_parse *x, vlm_status status, size_t at, const char *fmt, ...)
    VLM_PRINTF(4, 5);
/* Reads the class behind a '['; *negate: what is not in out. */
bool vtext_parse_class(vtext_parse *x, vtext_set *out, bool *negate);
/* Reads the escape behind a '\\' that stands for a character (*is_set false) or for a set. */
bool vtext_parse_escape(vtext_parse *x, bool in_class, bool *is_set, uint32_t *cp, vtext_set *out);

/* ---- programs (compile.c) ---------------------------------------------------------------------
 */
typedef enum vtext_op {
    VTEXT_OP_ACCEPT,
    VTEXT_OP_FAIL,
    VTEXT_OP_SET,    /* a character of `set`, then a */
    VTEXT_OP_END,    /* of the text, then a */
    VTEXT_OP_SPLIT,  /* a, else b */
    VTEXT_OP_IF,     /* a if `guard` would succeed, else b */
    VTEXT_OP_AHEAD,  /* `guard` must (negate: not) succeed here, then a */
    VTEXT_OP_BEHIND, /* the character before, then a */
} vtext_op;
typedef struct vtext_inst {
    uint8_t op;
    bool negate, begin;
    int16_t set;
    uint16_t a, b, guard;
} vtext_inst;
typedef struct vtext_program {
    vtext_inst *inst;
    int n, cap, root;
} vtext_program;
bool vtext_compile(vtext_parse *x, const vtext_node *tree, vtext_program *out);

/* ---- automata (automaton.c) -------------------------------------------------------------------
 */
enum { VTEXT_BLOCK = 128 };               /* characters of a block */
#define VTEXT_WALK_NONE UINT16_MAX        /* no match begins here */
#define VTEXT_WALK_MATCH (UINT16_MAX - 1) /* the match ends here */
struct vtext_regex {
    uint8_t ascii[128];
    const uint16_t *block;  /* of each VTEXT_BLOCK characters */
    const uint8_t *class;   /* [block][VTEXT_BLOCK] */
    int shift;              /* 1 << shift: length of a row of before */
    const uint16_t *before; /* [state][class]: the state before a character, from that behind it */
    const uint8_t *kind;    /* of the character behind a state, for what looks behind */
    uint8_t begin_kind;
    int nodes, kinds, states;
    /* [state][kind of the character before][node]: node that the first way to match leads to over
     * the next character. Node 0: where a match begins. */
    const uint16_t *walk;
};
vlm_status vtext_automaton(vtext_parse *x, const vtext_program *program, vcore_arena *arena,
                           const vtext_regex **out);

#endif
