/* SPDX-License-Identifier: MIT */
#include "support/hub_server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <openssl/evp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILES = 64, MAX_RULES = 32, MAX_RECORDS = 4096, MAX_THREADS = 1024 };

typedef struct file {
    char name[256], etag[65];
    char *bytes;
    size_t n;
    bool lfs;
} file;

typedef struct record {
    char path[512], token[64];
    bool get;
    int64_t range;
    uint64_t bytes;
} record;

struct thub {
    int listener[2]; /* the hub, the host of large files */
    int port[2];
    char endpoint[64], commit[41];
    int commits;
    file files[MAX_FILES];
    int n_files;
    bool names_only;
    thub_rule rules[MAX_RULES];
    int n_rules, met[MAX_RULES];
    record records[MAX_RECORDS];
    int n_records;
    int released;
    bool stopping;
    pthread_mutex_t mutex;
    pthread_t acceptor, threads[MAX_THREADS];
    int n_threads;
};

typedef struct connection {
    thub *hub;
    int socket;
    bool cdn;
} connection;

typedef struct request {
    char method[8], path[512], token[64]; /* "": none came */
    int64_t range; /* -1: none */
    int record;
    thub_rule rule; /* zeroed: none */
} request;

static void die(const char *what) {
    perror(what);
    exit(70);
}

/* ---- the repository ------------------------------------------------------------------------------------- */

static void hex_of(char *out, const EVP_MD *kind, const char *head, size_t head_n, const void *p, size_t n) {
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    EVP_DigestInit_ex(c, kind, NULL);
    EVP_DigestUpdate(c, head, head_n);
    EVP_DigestUpdate(c, p, n);
    EVP_DigestFinal_ex(c, raw, &size);
    EVP_MD_CTX_free(c);
    for (unsigned i = 0; i < size; i++) sprintf(out + 2 * i, "%02x", raw[i]);
}

void thub_set(thub *hub, const char *name, const void *bytes, size_t n, bool lfs) {
    pthread_mutex_lock(&hub->mutex);
    file *f = NULL;
    for (int i = 0; i < hub->n_files; i++)
        if (!strcmp(hub->files[i].name, name)) f = &hub->files[i];
    if (!f) f = &hub->files[hub->n_files++];
    snprintf(f->name, sizeof f->name, "%s", name);
    free(f->bytes);
    f->bytes = malloc(n + 1);
    memcpy(f->bytes, bytes, n);
    f->n = n;
    f->lfs = lfs;
    char head[32];
    int length = snprintf(head, sizeof head, "blob %zu", n);
    if (lfs)
        hex_of(f->etag, EVP_sha256(), "", 0, bytes, n);
    else
        hex_of(f->etag, EVP_sha1(), head, (size_t)length + 1, bytes, n);
    pthread_mutex_unlock(&hub->mutex);
}

void thub_set_dir(thub *hub, const char *dir) {
    DIR *d = opendir(dir);
    if (!d) die(dir);
    for (struct dirent *e; (e = readdir(d));) {
        char path[1024];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) continue;
        char *bytes = malloc((size_t)st.st_size + 1);
        FILE *f = fopen(path, "rb");
        if (!f || fread(bytes, 1, (size_t)st.st_size, f) != (size_t)st.st_size) die(path);
        fclose(f);
        thub_set(hub, e->d_name, bytes, (size_t)st.st_size, strstr(e->d_name, ".safetensors") && !strstr(e->d_name, ".json"));
        free(bytes);
    }
    closedir(d);
}

void thub_next_commit(thub *hub) {
    pthread_mutex_lock(&hub->mutex);
    char text[32];
    snprintf(text, sizeof text, "commit %d", ++hub->commits);
    hex_of(hub->commit, EVP_sha1(), "", 0, text, strlen(text));
    pthread_mutex_unlock(&hub->mutex);
}

const char *thub_etag(const thub *hub, const char *name) {
    for (int i = 0; i < hub->n_files; i++)
        if (!strcmp(hub->files[i].name, name)) return hub->files[i].etag;
    return "";
}

const char *thub_endpoint(const thub *hub) { return hub->endpoint; }
const char *thub_commit(const thub *hub) { return hub->commit; }
void thub_list_names_only(thub *hub) { hub->names_only = true; }

/* ---- rules and records ------------------------------------------------------------------------------------ */

void thub_rule_add(thub *hub, const thub_rule *rule) {
    pthread_mutex_lock(&hub->mutex);
    hub->met[hub->n_rules] = 0;
    hub->rules[hub->n_rules++] = *rule;
    pthread_mutex_unlock(&hub->mutex);
}

void thub_rules_clear(thub *hub) {
    pthread_mutex_lock(&hub->mutex);
    hub->n_rules = 0;
    pthread_mutex_unlock(&hub->mutex);
}

void thub_release(thub *hub) {
    pthread_mutex_lock(&hub->mutex);
    hub->released++;
    pthread_mutex_unlock(&hub->mutex);
}

void thub_forget(thub *hub) {
    pthread_mutex_lock(&hub->mutex);
    hub->n_records = 0;
    pthread_mutex_unlock(&hub->mutex);
}

thub_count thub_counts(thub *hub, const char *path) {
    thub_count c = { 0 };
    pthread_mutex_lock(&hub->mutex);
    for (int i = 0; i < hub->n_records; i++) {
        const record *r = &hub->records[i];
        if (!strstr(r->path, path)) continue;
        *(r->get ? &c.gets : &c.heads) += 1;
        c.tokens += r->token[0] != 0;
        if (r->token[0]) memcpy(c.token, r->token, sizeof c.token);
        c.bytes += r->bytes;
        if (r->get) c.last_range = r->range < 0 ? 0 : r->range;
    }
    pthread_mutex_unlock(&hub->mutex);
    return c;
}

bool thub_wait_bytes(thub *hub, const char *path, uint64_t bytes) {
    for (int i = 0; i < 6000; i++) {
        if (thub_counts(hub, path).bytes >= bytes) return true;
        usleep(10000);
    }
    return false;
}

/* Writes the request down and finds its rule; the caller holds the mutex. */
static void take_down(thub *hub, request *q) {
    record *r = &hub->records[hub->n_records < MAX_RECORDS - 1 ? hub->n_records++ : MAX_RECORDS - 1];
    q->record = (int)(r - hub->records);
    *r = (record) { .get = !strcmp(q->method, "GET"), .range = q->range };
    memcpy(r->path, q->path, sizeof r->path);
    memcpy(r->token, q->token, sizeof r->token);
    for (int i = 0; i < hub->n_rules; i++) {
        const thub_rule *rule = &hub->rules[i];
        if (!strstr(q->path, rule->path)) continue;
        int met = hub->met[i]++;
        if (met < rule->skip || (rule->times && met >= rule->skip + rule->times)) continue;
        q->rule = *rule;
        return;
    }
}

/* ---- talking ------------------------------------------------------------------------------------------------ */

static bool send_all(const connection *c, const void *p, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t sent = send(c->socket, (const char *)p + done, n - done, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        done += (size_t)sent;
    }
    return true;
}

/* Until thub_release(), or the other end or the hub goes. */
static bool wait_release(const connection *c, int released) {
    for (;;) {
        char byte;
        pthread_mutex_lock(&c->hub->mutex);
        bool go = c->hub->released > released, stop = c->hub->stopping;
        pthread_mutex_unlock(&c->hub->mutex);
        if (stop) return false;
        if (go) return true;
        struct pollfd p = { c->socket, POLLIN, 0 };
        if (poll(&p, 1, 10) > 0 && recv(c->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0) return false;
    }
}

static void send_body(const connection *c, const request *q, const char *p, size_t n) {
    const thub_rule *rule = &q->rule;
    size_t end = rule->cut && rule->cut_at < n ? rule->cut_at : n, step;
    pthread_mutex_lock(&c->hub->mutex);
    int released = c->hub->released;
    pthread_mutex_unlock(&c->hub->mutex);
    for (size_t at = 0; at < end; at += step) {
        step = end - at < 65536 ? end - at : 65536;
        if (rule->hold && at < rule->hold_at && rule->hold_at < at + step) step = rule->hold_at - at;
        if (rule->hold && at == rule->hold_at && !wait_release(c, released)) return;
        if (!send_all(c, p + at, step)) return;
        pthread_mutex_lock(&c->hub->mutex);
        c->hub->records[q->record].bytes += step;
        pthread_mutex_unlock(&c->hub->mutex);
    }
}

static void answer(const connection *c, const request *q, int status, const char *headers, const char *body,
                   size_t n) {
    char head[4096];
    const char *more = q->rule.headers ? q->rule.headers : "";
    int length = snprintf(head, sizeof head, "HTTP/1.1 %d Said\r\nContent-Length: %zu\r\nConnection: close\r\n%s",
                          status, n, headers);
    if (!send_all(c, head, (size_t)length) || !send_all(c, more, strlen(more)) || !send_all(c, "\r\n", 2)) return;
    if (!strcmp(q->method, "HEAD")) return;
    send_body(c, q, body, n);
}

static void answer_error(const connection *c, const request *q, int status, const char *code) {
    char headers[256];
    snprintf(headers, sizeof headers, "X-Error-Code: %s\r\n", code);
    answer(c, q, status, headers, "no", 2);
}

/* The whole file or the part asked for, as the rule would have it. */
static void answer_file(const connection *c, const request *q, const file *f, const char *headers) {
    char more[1024];
    size_t n = f->n + q->rule.longer, from = 0;
    char *copy = malloc(n + 1);
    memcpy(copy, f->bytes, f->n);
    if (q->rule.longer) copy[f->n] = 'x';
    if (q->rule.flip) copy[f->n / 2] ^= 1;
    if (q->range > (int64_t)n) {
        answer(c, q, 416, headers, "", 0);
    } else if (q->range >= 0 && !q->rule.no_ranges) {
        from = (size_t)q->range;
        snprintf(more, sizeof more, "%sContent-Range: bytes %zu-%zu/%zu\r\n", headers, from + q->rule.wrong_range, n - 1, n);
        answer(c, q, 206, more, copy + from, n - from);
    } else {
        answer(c, q, 200, headers, copy, n);
    }
    free(copy);
}

/* ---- what the hub says ---------------------------------------------------------------------------------------- */

typedef struct text {
    char *p;
    size_t n;
} text;

__attribute__((format(printf, 2, 3))) static void add(text *t, const char *format, ...) {
    char piece[2048];
    va_list args;
    va_start(args, format);
    size_t n = (size_t)vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    t->p = realloc(t->p, t->n + n + 1);
    memcpy(t->p + t->n, piece, n + 1);
    t->n += n;
}

static void answer_listing(const connection *c, const request *q) {
    const thub *hub = c->hub;
    text t = { 0 };
    bool blobs = strstr(q->path, "blobs=true") && !hub->names_only;
    add(&t, "{\"id\": \"" THUB_ID "\", \"sha\": \"%s\", \"private\": false, \"gated\": false, \"siblings\": [", hub->commit);
    for (int i = 0; i < hub->n_files; i++) {
        const file *f = &hub->files[i];
        add(&t, "%s{\"rfilename\": \"%s\"", i ? ", " : "", f->name);
        if (blobs && f->lfs)
            add(&t, ", \"blobId\": \"0123456789012345678901234567890123456789\", \"size\": %zu, \"lfs\": {\"sha256\": \"%s\", \"size\": %zu, \"pointerSize\": 134}",
                f->n, f->etag, f->n);
        else if (blobs)
            add(&t, ", \"blobId\": \"%s\", \"size\": %zu", f->etag, f->n);
        add(&t, "}");
    }
    add(&t, "]}");
    answer(c, q, 200, "Content-Type: application/json\r\n", t.p, t.n);
    free(t.p);
}

/* What huggingface_hub asks for where we ask for blobs. */
static void answer_tree(const connection *c, const request *q) {
    text t = { 0 };
    add(&t, "[");
    for (int i = 0; i < c->hub->n_files; i++) {
        const file *f = &c->hub->files[i];
        add(&t, "%s{\"type\": \"file\", \"path\": \"%s\", \"size\": %zu, \"oid\": \"%.40s\"", i ? ", " : "", f->name, f->n, f->etag);
        if (f->lfs) add(&t, ", \"lfs\": {\"oid\": \"%s\", \"size\": %zu, \"pointerSize\": 134}", f->etag, f->n);
        add(&t, "}");
    }
    add(&t, "]");
    answer(c, q, 200, "Content-Type: application/json\r\n", t.p, t.n);
    free(t.p);
}

static bool is_revision(const thub *hub, const char *revision) {
    size_t n = strcspn(revision, "?/");
    const char *const known[] = { "main", "v1", "refs%2Fpr%2F1", hub->commit };
    for (size_t i = 0; i < 4; i++)
        if (n == strlen(known[i]) && !strncmp(revision, known[i], n)) return true;
    return false;
}

static void answer_resolve(const connection *c, const request *q, const char *rest) {
    const thub *hub = c->hub;
    const char *slash = strchr(rest, '/');
    char headers[1024];
    if (!slash || !is_revision(hub, rest)) {
        answer_error(c, q, 404, "RevisionNotFound");
        return;
    }
    for (int i = 0; i < hub->n_files; i++) {
        const file *f = &hub->files[i];
        if (strcmp(f->name, slash + 1) != 0) continue;
        if (!f->lfs) {
            snprintf(headers, sizeof headers, "ETag: \"%s\"\r\nX-Repo-Commit: %s\r\n", f->etag, hub->commit);
            answer_file(c, q, f, headers);
        } else {
            snprintf(headers, sizeof headers,
                     "Location: http://127.0.0.2:%d/cdn/%s?signed=1\r\nETag: \"of-the-page\"\r\nX-Linked-Etag: \"%s\"\r\n"
                     "X-Linked-Size: %zu\r\nX-Repo-Commit: %s\r\n",
                     hub->port[1], f->name, f->etag, f->n, hub->commit);
            answer(c, q, 302, headers, "Found", 5);
        }
        return;
    }
    snprintf(headers, sizeof headers, "X-Error-Code: EntryNotFound\r\nX-Repo-Commit: %s\r\n", hub->commit);
    answer(c, q, 404, headers, "no", 2);
}

static void answer_cdn(const connection *c, const request *q) {
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(q->path + 5, "?"), q->path + 5);
    for (int i = 0; i < c->hub->n_files; i++)
        if (!strcmp(c->hub->files[i].name, name)) {
            answer_file(c, q, &c->hub->files[i], "ETag: \"of-the-cdn\"\r\n");
            return;
        }
    answer(c, q, 403, "", "expired", 7);
}

static void answer_request(const connection *c, const request *q) {
    static const char api[] = "/api/models/" THUB_ID "/revision/", tree[] = "/api/models/" THUB_ID "/tree/",
                      files[] = "/" THUB_ID "/resolve/";
    if (q->rule.silent)
        wait_release(c, c->hub->released);
    else if (q->rule.status)
        answer(c, q, q->rule.status, "", q->rule.body ? q->rule.body : "",
               q->rule.body_size ? q->rule.body_size : q->rule.body ? strlen(q->rule.body) : 0);
    else if (c->cdn && !strncmp(q->path, "/cdn/", 5))
        answer_cdn(c, q);
    else if (!strncmp(q->path, tree, sizeof tree - 1))
        answer_tree(c, q);
    else if (!strncmp(q->path, files, sizeof files - 1))
        answer_resolve(c, q, q->path + sizeof files - 1);
    else if (strncmp(q->path, api, sizeof api - 1) != 0)
        answer_error(c, q, 404, "RepoNotFound");
    else if (!is_revision(c->hub, q->path + sizeof api - 1))
        answer_error(c, q, 404, "RevisionNotFound");
    else
        answer_listing(c, q);
}

static bool read_request(const connection *c, request *q) {
    char buffer[8192];
    size_t n = 0;
    while (n < sizeof buffer - 1) {
        ssize_t got = recv(c->socket, buffer + n, sizeof buffer - 1 - n, 0);
        if (got <= 0) return false;
        n += (size_t)got;
        buffer[n] = 0;
        if (strstr(buffer, "\r\n\r\n")) break;
    }
    *q = (request) { .range = -1 };
    if (sscanf(buffer, "%7s %511s", q->method, q->path) != 2) return false;
    const char *token = strcasestr(buffer, "\nAuthorization: ");
    if (token) sscanf(token + 16, "%63[^\r\n]", q->token);
    const char *range = strcasestr(buffer, "\nRange: bytes=");
    if (range) q->range = atoll(range + 14);
    return true;
}

static void *serve(void *arg) {
    connection *c = arg;
    request q;
    if (read_request(c, &q)) {
        pthread_mutex_lock(&c->hub->mutex);
        take_down(c->hub, &q);
        pthread_mutex_unlock(&c->hub->mutex);
        answer_request(c, &q);
        shutdown(c->socket, SHUT_WR);
    }
    close(c->socket);
    free(c);
    return NULL;
}

static void *accept_all(void *arg) {
    thub *hub = arg;
    struct pollfd p[2] = { { hub->listener[0], POLLIN, 0 }, { hub->listener[1], POLLIN, 0 } };
    for (;;) {
        poll(p, 2, 20);
        pthread_mutex_lock(&hub->mutex);
        bool stop = hub->stopping;
        pthread_mutex_unlock(&hub->mutex);
        if (stop) return NULL;
        for (int i = 0; i < 2; i++) {
            if (!(p[i].revents & POLLIN)) continue;
            int socket = accept(hub->listener[i], NULL, NULL);
            if (socket < 0) continue;
            connection *c = malloc(sizeof *c);
            *c = (connection) { hub, socket, i == 1 };
            if (hub->n_threads == MAX_THREADS) { /* the oldest is done long since */
                pthread_join(hub->threads[0], NULL);
                memmove(hub->threads, hub->threads + 1, (MAX_THREADS - 1) * sizeof hub->threads[0]);
                hub->n_threads--;
            }
            if (pthread_create(&hub->threads[hub->n_threads++], NULL, serve, c) != 0) die("pthread_create");
        }
    }
}

static void listen_on(thub *hub, int i, int port) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (unsigned)i) };
    socklen_t n = sizeof address;
    int one = 1;
    hub->listener[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(hub->listener[i], SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(hub->listener[i], (struct sockaddr *)&address, n) != 0 || listen(hub->listener[i], 64) != 0
        || getsockname(hub->listener[i], (struct sockaddr *)&address, &n) != 0)
        die("listen");
    hub->port[i] = ntohs(address.sin_port);
}

thub *thub_start(int port) {
    thub *hub = calloc(1, sizeof *hub);
    pthread_mutex_init(&hub->mutex, NULL);
    listen_on(hub, 0, port);
    listen_on(hub, 1, 0);
    snprintf(hub->endpoint, sizeof hub->endpoint, "http://127.0.0.1:%d", hub->port[0]);
    thub_next_commit(hub);
    if (pthread_create(&hub->acceptor, NULL, accept_all, hub) != 0) die("pthread_create");
    return hub;
}

void thub_stop(thub *hub) {
    pthread_mutex_lock(&hub->mutex);
    hub->stopping = true;
    pthread_mutex_unlock(&hub->mutex);
    pthread_join(hub->acceptor, NULL);
    for (int i = 0; i < hub->n_threads; i++) pthread_join(hub->threads[i], NULL);
    for (int i = 0; i < 2; i++) close(hub->listener[i]);
    for (int i = 0; i < hub->n_files; i++) free(hub->files[i].bytes);
    pthread_mutex_destroy(&hub->mutex);
    free(hub);
}
