/* SPDX-License-Identifier: MIT */
/* Pictures: resizing a photo of 12 megapixels, and all that the processors of SmolVLM and
 * Qwen2.5-VL do to its JPEG, beside what Pillow and transformers take for it (peers/media.py). Both
 * sides work in turns; what each gives is compared once. Ratios are medians over the rounds.
 *
 *     bench_media SMOLVLM QWEN2_5_VL [PEER]
 *     bench_media --memory SMOLVLM QWEN2_5_VL PHOTO TURNED NUMBER
 *
 * Two checkpoint directories with the processors' configs of processors/, and the command that runs
 * the peer. The second form does the work of a number and prints the memory of its process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jpeglib.h>
#include <openssl/evp.h>

#include "cli/machine.h"
#include "media/media.h"
#include "models/models.h"
#include "peer.h"
#include "vlm/vlm.h"

enum { ROUNDS = 7, WIDTH = 4000, HEIGHT = 3000 };

static void need(vlm_status status, const vlm_error *err) {
    if (status >= 0) return;
    fprintf(stderr, "bench_media: %s\n", err->message);
    exit(1);
}

/* ---- the photo ------------------------------------------------------------------------------- */
/* A picture of the tests, enlarged, with the grain of a sensor; the same every time. */
static vlm_image *draw_photo(void) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_image *small, *large;
    need(vlm_image_open(&small, "tests/data/pictures/landscape.jpg", NULL, &err), &err);
    need(vlm_image_resize(&large, small, (vlm_size) { WIDTH, HEIGHT }, VLM_FILTER_BICUBIC, &err),
         &err);
    vlm_image_free(small);
    uint64_t state = 1;
    for (size_t i = 0; i < (size_t)WIDTH * HEIGHT * 3; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        int grain = (int)(state >> 60) + (int)(state >> 56 & 15) - 15;
        int value = large->rgb[i] + grain;
        large->rgb[i] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
    return large;
}

/* As cameras write it: 4:2:0, quality 90, with an orientation in its Exif. */
static void write_jpeg(const char *path, const vlm_image *image, uint8_t orientation) {
    const JOCTET exif[] = { 'E',  'x', 'i', 'f', 0, 0, 'I', 'I', 42,          0, 8, 0, 0, 0, 1, 0,
                            0x12, 1,   3,   0,   1, 0, 0,   0,   orientation, 0, 0, 0, 0, 0, 0, 0 };
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    FILE *f = fopen(path, "wb");
    if (!f) exit(1);
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, f);
    jpeg.image_width = WIDTH;
    jpeg.image_height = HEIGHT;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 90, TRUE);
    jpeg_start_compress(&jpeg, TRUE);
    jpeg_write_marker(&jpeg, JPEG_APP0 + 1, exif, sizeof exif);
    while (jpeg.next_scanline < HEIGHT) {
        JSAMPROW row = image->rgb + (size_t)jpeg.next_scanline * WIDTH * 3;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    long bytes = ftell(f);
    fclose(f);
    printf("%s: %d x %d, %.1f MB, orientation %d\n", strrchr(path, '/') + 1, WIDTH, HEIGHT,
           (double)bytes / 1e6, orientation);
}

/* ---- one piece of work ----------------------------------------------------------------------- */
typedef enum kind { RESIZE, SMOLVLM, QWEN2_5_VL } kind;
typedef struct work {
    const char *name;
    kind kind;
    vlm_size to; /* of a resize */
    vlm_filter filter;
    bool turned; /* which photo */
    uint64_t max_pixels;
} work;

#define TO_1536                                                                                    \
    { 1536, 1152 }
#define TO_384                                                                                     \
    { 384, 288 }
static const work works[] = {
    { "to 1536, Lanczos", RESIZE, TO_1536, VLM_FILTER_LANCZOS, false, 0 },
    { "to 1536, bicubic", RESIZE, TO_1536, VLM_FILTER_BICUBIC, false, 0 },
    { "to 1536, bilinear", RESIZE, TO_1536, VLM_FILTER_BILINEAR, false, 0 },
    { "to 384, Lanczos", RESIZE, TO_384, VLM_FILTER_LANCZOS, false, 0 },
    { "to 384, bicubic", RESIZE, TO_384, VLM_FILTER_BICUBIC, false, 0 },
    { "to 384, bilinear", RESIZE, TO_384, VLM_FILTER_BILINEAR, false, 0 },
    { "SmolVLM", SMOLVLM, { 0, 0 }, 0, false, 0 },
    { "SmolVLM, turned", SMOLVLM, { 0, 0 }, 0, true, 0 },
    { "Qwen2.5-VL, 12.8 Mpx", QWEN2_5_VL, { 0, 0 }, 0, false, 12845056 },
    { "Qwen2.5-VL, 12.8, turned", QWEN2_5_VL, { 0, 0 }, 0, true, 12845056 },
    { "Qwen2.5-VL, 1.0 Mpx", QWEN2_5_VL, { 0, 0 }, 0, false, 1003520 },
};
enum { WORKS = sizeof works / sizeof works[0] };

typedef struct took {
    double wall, cpu;
} took;

typedef struct bench {
    char photos[2][256]; /* as it lies, and turned */
    vlm_image *photo;
    vlm_context *contexts[3][3]; /* [kind][threads] */
    vlm_threads *pool;           /* of two */
} bench;

static took now(void) {
    return (took) { seconds_of(CLOCK_MONOTONIC), seconds_of(CLOCK_PROCESS_CPUTIME_ID) };
}

static took since(took start) {
    took end = now();
    return (took) { end.wall - start.wall, end.cpu - start.cpu };
}

/* The first 16 digits of SHA-256 over some pieces of memory. */
static void digest_of(char out[17], const void *const *data, const size_t *bytes, int n) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    EVP_DigestInit_ex(sha, EVP_sha256(), NULL);
    for (int i = 0; i < n; i++) EVP_DigestUpdate(sha, data[i], bytes[i]);
    EVP_DigestFinal_ex(sha, sum, NULL);
    EVP_MD_CTX_free(sha);
    for (int i = 0; i < 8; i++) snprintf(out + 2 * i, 3, "%02x", sum[i]);
}

static took resize(const bench *b, const work *w, int threads, char *digest) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_image *out;
    took start = now();
    need(vlm_image_resample_threads(&out, b->photo, w->to, w->filter, VLM_RESAMPLER_PILLOW,
                                    threads > 1 ? b->pool : NULL, &err),
         &err);
    took result = since(start);
    const void *data = vlm_image_pixels(out);
    const size_t bytes = (size_t)w->to.width * w->to.height * 3;
    if (digest) digest_of(digest, &data, &bytes, 1);
    vlm_image_free(out);
    return result;
}

static void digest_prepared(char *digest, const vlm_prepared *prepared) {
    static const char *const names[] = { "pixel_values", "pixel_attention_mask", "image_grid_thw" };
    const void *data[3];
    size_t bytes[3];
    int n = 0;
    for (int i = 0; i < 3; i++) {
        const vlm_array *a = vlm_prepared_find(prepared, names[i]);
        if (!a) continue;
        data[n] = a->data;
        bytes[n] = a->dtype == VLM_DTYPE_F32 ? 4 : 8;
        for (int k = 0; k < a->rank; k++) bytes[n] *= (size_t)a->shape[k];
        n++;
    }
    digest_of(digest, data, bytes, n);
}

/* From the file to what `vlm dump --stage processor` writes; prompt and tokens are in the time,
 * too.
 */
static took process(const bench *b, const work *w, int threads, char *digest) {
    static const char *const prompts[] = { "", "<image>",
                                           "<|vision_start|><|image_pad|><|vision_end|>" };
    vlm_error err = VLM_ERROR_INIT;
    vlm_processing wish = VLM_PROCESSING_INIT;
    wish.max_pixels = w->max_pixels;
    vlm_input *in;
    vlm_prepared *prepared;
    took start = now();
    need(vlm_input_new(&in, &err), &err);
    need(vlm_input_set_processing(in, &wish, &err), &err);
    need(vlm_input_add_image_file(in, b->photos[w->turned], &err), &err);
    need(vlm_input_set_raw(in, prompts[w->kind], &err), &err);
    need(vlm_prepare(&prepared, b->contexts[w->kind][threads], in, &err), &err);
    took result = since(start);
    if (digest) digest_prepared(digest, prepared);
    vlm_prepared_free(prepared);
    vlm_input_free(in);
    return result;
}

static took ours(const bench *b, const work *w, int threads, char *digest) {
    return w->kind == RESIZE ? resize(b, w, threads, digest) : process(b, w, threads, digest);
}

/* ---- the peer -------------------------------------------------------------------------------- */
static took peer_answer(const peer *p, char digest[17]) {
    took result;
    fflush(p->to);
    if (fscanf(p->from, "%lf %lf %16s", &result.wall, &result.cpu, digest) == 3) return result;
    fprintf(stderr, "bench_media: the peer failed\n");
    exit(1);
}

static took peer_asked(const peer *p, const bench *b, const work *w, const char *before,
                       const char *backend, char digest[17]) {
    fprintf(p->to, "%s ", before);
    if (w->kind == RESIZE)
        fprintf(p->to, "resize %u %u %d\n", w->to.width, w->to.height, (int)w->filter);
    else if (w->kind == SMOLVLM)
        fprintf(p->to, "smolvlm %s %s\n", backend, b->photos[w->turned]);
    else
        fprintf(p->to, "qwen2_5_vl %s %s %llu\n", backend, b->photos[w->turned],
                (unsigned long long)w->max_pixels);
    return peer_answer(p, digest);
}

/* ---- rows of the table ----------------------------------------------------------------------- */
/* Multiply-adds of both passes, the one along x first. */
static double products(const work *w) {
    const uint32_t in[] = { WIDTH, HEIGHT }, out[] = { w->to.width, w->to.height };
    double sums[2] = { 0 };
    for (int i = 0; i < 2; i++) {
        vmedia_axis a;
        if (!vmedia_axis_init(&a, in[i], out[i], w->filter, false)) exit(1);
        for (uint32_t k = 0; k < out[i]; k++) sums[i] += a.count[k];
        vmedia_axis_free(&a);
    }
    return 3 * (sums[0] * HEIGHT + sums[1] * w->to.width);
}

typedef struct row {
    double one[ROUNDS], two[ROUNDS], peer[ROUNDS]; /* milliseconds */
    double wall[ROUNDS], cpu[ROUNDS], wall_two[ROUNDS], gain[ROUNDS], share[ROUNDS];
} row;

static void add_round(row *r, int i, const took t[3], const limits *l, double sums) {
    r->one[i] = 1e3 * t[0].wall;
    r->two[i] = 1e3 * t[1].wall;
    r->peer[i] = 1e3 * t[2].wall;
    r->wall[i] = t[2].wall / t[0].wall;
    r->cpu[i] = t[2].cpu / t[0].cpu;
    r->wall_two[i] = t[2].wall / t[1].wall;
    r->gain[i] = t[0].wall / t[1].wall;
    r->share[i] = 2 * sums / t[0].cpu / l->f32;
}

static void report(const bench *b, const peer *p, machine *m, const work *w) {
    row r;
    char mine[17], two[17], theirs[17] = "";
    ours(b, w, 1, mine);
    ours(b, w, 2, two);
    if (p) peer_asked(p, b, w, "threads 1 digest", "pil", theirs);
    for (int i = 0; i < ROUNDS; i++) {
        char none[17];
        limits l = measure(m, vcore_cpu_flags());
        took t[3] = { ours(b, w, 1, NULL), ours(b, w, 2, NULL), { 0, 0 } };
        if (p) t[2] = peer_asked(p, b, w, "threads 1", "pil", none);
        add_round(&r, i, t, &l, w->kind == RESIZE ? products(w) : 0);
    }
    printf("%-26s %8.1f %8.1f %8.1f", w->name, median(r.one, ROUNDS), median(r.two, ROUNDS),
           median(r.peer, ROUNDS));
    printf("  %6.2f %6.2f %6.2f  %5.2f", median(r.wall, ROUNDS), median(r.cpu, ROUNDS),
           median(r.wall_two, ROUNDS), median(r.gain, ROUNDS));
    if (w->kind == RESIZE) printf("  %4.0f %%", 100 * median(r.share, ROUNDS));
    bool same = strcmp(mine, two) == 0 && (!p || strcmp(mine, theirs) == 0);
    printf("  %s\n", !same ? "DIFFERENT" : p ? "identical" : "not compared");
    fflush(stdout);
    if (!same) exit(1);
}

/* The default backend of transformers, whose pixels are others: for information. */
static void report_torchvision(const bench *b, const peer *p, const work *w) {
    double ratio[2][ROUNDS];
    for (int i = 0; i < ROUNDS; i++)
        for (int k = 0; k < 2; k++) {
            char none[17];
            took t = peer_asked(p, b, w, k ? "threads 2" : "threads 1", "torchvision", none);
            ratio[k][i] = t.wall / ours(b, w, k + 1, NULL).wall;
        }
    printf("%-26s torchvision backend / ours: one thread %.2f, two %.2f (wall)\n", w->name,
           median(ratio[0], ROUNDS), median(ratio[1], ROUNDS));
    fflush(stdout);
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

static void report_memory(const bench *b, const work *w, char **argv, const char *peer_command) {
    char command[2048], none[17];
    long mine[2], theirs[2] = { 0, 0 };
    peer p;
    snprintf(command, sizeof command, "'%s' --memory '%s' '%s' '%s' '%s' %d", argv[0], argv[1],
             argv[2], b->photos[0], b->photos[1], (int)(w - works));
    if (!peer_start(&p, command)) exit(1);
    peer_end(&p, mine, 2);
    if (peer_command && peer_start(&p, peer_command)) {
        if (w->kind == RESIZE) fprintf(p.to, "decode %s\n", b->photos[0]), peer_answer(&p, none);
        peer_asked(&p, b, w, "threads 1", "pil", none);
        peer_end(&p, theirs, 2);
    }
    printf("%-26s %8.1f MB above %.1f; peer %8.1f MB above %.1f\n", w->name,
           (double)(mine[1] - mine[0]) / 1024, (double)mine[0] / 1024,
           (double)(theirs[1] - theirs[0]) / 1024, (double)theirs[0] / 1024);
}

/* ---- all ------------------------------------------------------------------------------------- */

static void load(bench *b, char **dirs, int most_threads) {
    vlm_error err = VLM_ERROR_INIT;
    vlm_load_options options = VLM_LOAD_OPTIONS_INIT;
    for (int k = SMOLVLM; k <= QWEN2_5_VL; k++)
        for (int threads = 1; threads <= most_threads; threads++) {
            options.threads = threads;
            need(vlm_context_load(&b->contexts[k][threads], dirs[k - 1], &options, &err), &err);
        }
    need(vlm_threads_new(&b->pool, 2, &err), &err);
}

static void unload(bench *b) {
    for (int k = 0; k < 3; k++)
        for (int threads = 0; threads < 3; threads++) vlm_context_free(b->contexts[k][threads]);
    vlm_threads_free(b->pool);
    vlm_image_free(b->photo);
}

/* The second form. */
static int memory_of(bench *b, char **argv) {
    vlm_error err = VLM_ERROR_INIT;
    const work *w = &works[strtoul(argv[6], NULL, 10) % WORKS];
    for (int i = 0; i < 2; i++) snprintf(b->photos[i], sizeof b->photos[i], "%s", argv[4 + i]);
    load(b, argv + 2, 1);
    long start = held("VmRSS:");
    if (w->kind == RESIZE) need(vlm_image_open(&b->photo, b->photos[0], NULL, &err), &err);
    ours(b, w, 1, NULL);
    printf("%ld %ld\n", start, held("VmHWM:"));
    unload(b);
    return 0;
}

int main(int argc, char **argv) {
    static bench b;
    static machine m;
    if (argc == 7 && strcmp(argv[1], "--memory") == 0) return memory_of(&b, argv);
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: bench_media SMOLVLM QWEN2_5_VL [PEER]\n");
        return 2;
    }
    const char *command = argc > 3 ? argv[3] : NULL;
    char folder[] = "/tmp/bench_media-XXXXXX", none[17];
    if (!mkdtemp(folder)) return 1;
    b.photo = draw_photo();
    for (int i = 0; i < 2; i++) {
        snprintf(b.photos[i], sizeof b.photos[i], "%s/%s.jpg", folder, i ? "turned" : "photo");
        write_jpeg(b.photos[i], b.photo, i ? 6 : 1);
    }
    vlm_image_free(b.photo);
    vlm_error err = VLM_ERROR_INIT;
    need(vlm_image_open(&b.photo, b.photos[0], NULL, &err), &err);
    load(&b, argv + 1, 2);
    peer p;
    bool has_peer = peer_start(&p, command);
    if (!has_peer) printf("no peer: only our own times\n");
    if (has_peer) fprintf(p.to, "decode %s\n", b.photos[0]), peer_answer(&p, none);
    machine_init(&m, 1);
    report_limits(&m, vcore_cpu_flags());
    printf("%-26s %8s %8s %8s  %6s %6s %6s  %5s  %6s\n", "", "ours", "2 thr.", "peer", "wall",
           "CPU", "2 thr.", "gain", "share");
    for (int i = 0; i < WORKS; i++) report(&b, has_peer ? &p : NULL, &m, &works[i]);
    for (int i = 0; has_peer && i < WORKS; i++)
        if (works[i].kind != RESIZE && !works[i].turned) report_torchvision(&b, &p, &works[i]);
    long unused[2];
    if (has_peer) peer_end(&p, unused, 2);
    for (int i = 0; i < WORKS; i++) report_memory(&b, &works[i], argv, command);
    for (int i = 0; i < 2; i++) unlink(b.photos[i]);
    rmdir(folder);
    unload(&b);
    machine_free(&m);
    return 0;
}
