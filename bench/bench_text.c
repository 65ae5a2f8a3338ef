/* SPDX-License-Identifier: MIT */
/* Text: loading tokenizers and encoding beside Hugging Face tokenizers (peers/text.py), one thread
 * each. Both sides work in turns; what each gives is compared once, ids and offsets. Ratios of CPU
 * time are medians over the rounds. Memory is that of a process of its own.
 *
 *     bench_text TEXTS PEER TOKENIZER..
 *     bench_text --memory TEXTS TOKENIZER
 *
 * TEXTS: a directory with prose.txt, code.txt and cjk.txt (peers/text_data.py). PEER: the command
 * that runs the peer, "" for none. TOKENIZER: a directory with a tokenizer.json and nothing else
 * that says how to tokenize, for the peer reads only that. The second form loads and encodes once
 * and prints the memory of its process in KiB. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/machine.h"
#include "peer.h"
#include "text/text.h"

enum { ROUNDS = 7, TURN = 200, NAME = 512 };

static void need(vlm_status status, const vlm_error *err) {
    if (status >= 0) return;
    fprintf(stderr, "bench_text: %s\n", err->message);
    exit(1);
}

static double cpu_time(void) {
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

/* ---- the work -------------------------------------------------------------------------------- */
typedef struct text {
    char path[NAME];
    char *p;
    size_t n;
} text;

static void read_text(text *t, const char *folder, const char *name) {
    snprintf(t->path, sizeof t->path, "%s/%s.txt", folder, name);
    FILE *f = fopen(t->path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) {
        fprintf(stderr, "bench_text: %s: cannot be read\n", t->path);
        exit(1);
    }
    t->n = (size_t)ftell(f);
    rewind(f);
    t->p = malloc(t->n + 1);
    if (!t->p || fread(t->p, 1, t->n, f) != t->n) exit(1);
    fclose(f);
}

/* End of the turn that begins at `at`: up to TURN bytes, whole characters. */
static size_t turn_end(const text *t, size_t at) {
    size_t end = at + TURN;
    if (end >= t->n) return t->n;
    while (((unsigned char)t->p[end] & 0xC0) == 0x80) end--;
    return end;
}

static void mix(uint64_t *digest, const uint32_t *v, size_t n) {
    for (size_t i = 0; i < n; i++) *digest = (*digest ^ v[i]) * 0x100000001B3u;
}

/* Seconds to encode a text as one, or as turns: ids only, or with offsets as the public function
 * gives them. digest: NULL when nothing is to be compared. */
static double encode(const vlm_tokenizer *t, const text *in, bool turns, bool offsets,
                     uint64_t *digest) {
    vlm_error err = VLM_ERROR_INIT;
    vtext_ids ids = { 0 };
    double start = cpu_time();
    for (size_t at = 0, end; at < in->n; at = end) {
        end = turns ? turn_end(in, at) : in->n;
        vlm_tokens tokens = { 0 };
        vtext_span span = { in->p + at, end - at, false };
        need(offsets ? vlm_tokenizer_encode(&tokens, t, span.p, span.n, 0, &err)
                     : vtext_encode(t, &span, 1, false, false, &ids, &err),
             &err);
        if (digest) {
            mix(digest, offsets ? tokens.ids : ids.id, offsets ? tokens.count : ids.n);
            mix(digest, tokens.begins, tokens.count);
            mix(digest, tokens.ends, tokens.count);
        }
        vlm_tokens_free(&tokens);
    }
    double took = cpu_time() - start;
    vtext_ids_free(&ids);
    return took;
}

static vlm_tokenizer *load(const char *folder, double *took) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_tokenizer *t;
    double start = cpu_time();
    need(vlm_tokenizer_load(&t, folder, NULL, &err), &err);
    if (took) *took = cpu_time() - start;
    return t;
}

/* ---- the peer -------------------------------------------------------------------------------- */
static void peer_failed(void) {
    fprintf(stderr, "bench_text: the peer failed\n");
    exit(1);
}

/* Seconds and digest of what was asked of it. */
static double peer_answer(const peer *p, uint64_t *digest) {
    double took;
    unsigned long long sum;
    fflush(p->to);
    if (fscanf(p->from, "%lf %llx", &took, &sum) != 2) peer_failed();
    if (digest) *digest = sum;
    return took;
}

typedef struct memory {
    long start, loaded, load_peak, encode_peak; /* KiB */
} memory;

static memory memory_told(peer *p) {
    long told[4];
    peer_end(p, told, 4);
    if (!told[0]) peer_failed();
    return (memory) { told[0], told[1], told[2], told[3] };
}

/* ---- rows ------------------------------------------------------------------------------------ */
static void report_row(const char *name, const char *what, double *ours, double *theirs,
                       const char *verdict) {
    double ratio[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) ratio[i] = theirs[i] / ours[i];
    printf("%-16s %-22s %9.2f %9.2f  %6.2f  %s\n", name, what, 1e3 * median(ours, ROUNDS),
           1e3 * median(theirs, ROUNDS), median(ratio, ROUNDS), verdict);
    fflush(stdout);
}

static void report_load(const char *name, const char *folder, const peer *p) {
    double ours[ROUNDS], theirs[ROUNDS] = { 0 };
    for (int i = 0; i < ROUNDS; i++) {
        vlm_tokenizer_free(load(folder, &ours[i]));
        if (!p) continue;
        fprintf(p->to, "load %s/tokenizer.json\n", folder);
        theirs[i] = peer_answer(p, NULL);
    }
    report_row(name, "load", ours, theirs, "");
}

static void report_encode(const char *name, const vlm_tokenizer *t, const text *in, bool turns,
                          bool offsets, const peer *p) {
    double ours[ROUNDS], theirs[ROUNDS] = { 0 };
    uint64_t mine = 0, other = 0;
    char what[64];
    const char *kind = offsets ? "offsets" : "ids";
    encode(t, in, turns, offsets, &mine);
    if (p) {
        fprintf(p->to, "digest %s %d %s\n", kind, turns ? TURN : 0, in->path);
        peer_answer(p, &other);
    }
    for (int i = 0; i < ROUNDS; i++) {
        ours[i] = encode(t, in, turns, offsets, NULL);
        if (!p) continue;
        fprintf(p->to, "encode %s %d %s\n", kind, turns ? TURN : 0, in->path);
        theirs[i] = peer_answer(p, NULL);
    }
    const char *base = strrchr(in->path, '/');
    snprintf(what, sizeof what, "%.*s%s, %s", (int)strcspn(base + 1, "."), base + 1,
             turns ? ", turns" : "", kind);
    report_row(name, what, ours, theirs,
               !p ? "not compared" : mine == other ? "identical" : "DIFFERENT");
    if (p && mine != other) exit(1);
}

/* ---- memory ---------------------------------------------------------------------------------- */
static long held(const char *field) {
    char line[256];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0) kib = atol(line + strlen(field) + 1);
    if (f) fclose(f);
    return kib;
}

/* From here on the peak is that of what comes. */
static void forget_peak(void) {
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (f) fputs("5", f), fclose(f);
}

/* The second form. */
static int memory_of(const char *texts, const char *folder) {
    text prose;
    memory m;
    read_text(&prose, texts, "prose");
    forget_peak();
    m.start = held("VmRSS:");
    vlm_tokenizer *t = load(folder, NULL);
    m.loaded = held("VmRSS:");
    m.load_peak = held("VmHWM:");
    encode(t, &prose, false, true, NULL);
    m.encode_peak = held("VmHWM:");
    printf("%ld %ld %ld %ld\n", m.start, m.loaded, m.load_peak, m.encode_peak);
    vlm_tokenizer_free(t);
    free(prose.p);
    return 0;
}

static void report_memory(const char *name, const char *program, const char *texts,
                          const char *folder, const char *command) {
    char own[3 * NAME];
    peer p;
    memory m[2] = { { 0, 0, 0, 0 } };
    snprintf(own, sizeof own, "'%s' --memory '%s' '%s'", program, texts, folder);
    if (!peer_start(&p, own)) exit(1);
    m[0] = memory_told(&p);
    if (peer_start(&p, command)) {
        fprintf(p.to, "load %s/tokenizer.json\n", folder);
        peer_answer(&p, NULL);
        fprintf(p.to, "encode offsets 0 %s/prose.txt\n", texts);
        peer_answer(&p, NULL);
        m[1] = memory_told(&p);
    }
    for (int i = 0; i < 2; i++)
        printf("%-16s %-6s MB: %7.1f after loading, %7.1f at most; with prose %7.1f at most\n", name,
               i ? "peer" : "ours", (double)(m[i].loaded - m[i].start) / 1024,
               (double)(m[i].load_peak - m[i].start) / 1024,
               (double)(m[i].encode_peak - m[i].start) / 1024);
}

/* ---- all ------------------------------------------------------------------------------------- */
static void report_tokenizer(const char *program, const char *texts, const char *folder,
                             const text in[3], const char *command) {
    const char *slash = strrchr(folder, '/'), *name = slash ? slash + 1 : folder;
    peer p;
    bool has_peer = peer_start(&p, command);
    const peer *with = has_peer ? &p : NULL;
    report_load(name, folder, with);
    vlm_tokenizer *t = load(folder, NULL);
    for (int offsets = 0; offsets < 2; offsets++) {
        for (int i = 0; i < 3; i++) report_encode(name, t, &in[i], false, offsets, with);
        for (int i = 0; i < 3; i++) report_encode(name, t, &in[i], true, offsets, with);
    }
    if (has_peer) memory_told(&p);
    vlm_tokenizer_free(t);
    report_memory(name, program, texts, folder, command);
}

int main(int argc, char **argv) {
    text in[3];
    if (argc == 4 && strcmp(argv[1], "--memory") == 0) return memory_of(argv[2], argv[3]);
    if (argc < 4) {
        fprintf(stderr, "usage: bench_text TEXTS PEER TOKENIZER..\n");
        return 2;
    }
    static const char *const names[] = { "prose", "code", "cjk" };
    for (int i = 0; i < 3; i++) {
        read_text(&in[i], argv[1], names[i]);
        printf("%s: %zu bytes\n", names[i], in[i].n);
    }
    if (!argv[2][0]) printf("no peer: only our own times\n");
    printf("%-16s %-22s %9s %9s  %6s\n", "CPU time, ms", "", "ours", "peer", "ratio");
    for (int i = 3; i < argc; i++) report_tokenizer(argv[0], argv[1], argv[i], in, argv[2]);
    for (int i = 0; i < 3; i++) free(in[i].p);
    return 0;
}
