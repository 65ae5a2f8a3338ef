/* SPDX-License-Identifier: MIT */
/* Requests over libcurl: several at a time on one thread, redirects, retries, ranges. Redirects are
 * followed here and not by libcurl, so that it is plain to see where the token goes: to the
 * endpoint's scheme, host and port, nowhere else. Owns no file and no meaning of a body. */
#include "io/hub/hub.h"

#include <curl/curl.h>
#include <time.h>

enum {
    MAX_HOPS = 10,
    MAX_HEADER_BYTES = 256 << 10,
    MAX_PAGE_BYTES = 256 << 10, /* of a redirect or an error, which nobody reads */
    PROGRESS_BYTES = 1 << 20    /* an attempt that brought so much was none in vain */
};

typedef struct vio_hub_attempt attempt;
struct vio_hub_attempt {
    attempt *next;
    vio_hub_transfer *t;
    vio_hub_http *http;
    CURL *easy;
    char *url;        /* owned: where a redirect led; NULL: the transfer's own */
    bool running;     /* in the multi handle; else waiting for `not_before` */
    bool foreign;     /* the URL is not of the endpoint */
    bool judged;      /* the status of the answer whose body comes has been looked at */
    bool unread;      /* that body is not what was asked for */
    bool wrong_range; /* another part than asked for came */
    bool no_ranges;   /* do not ask for parts any more */
    int tries, hops;
    uint64_t first; /* t->have when tries was 0 */
    uint64_t unread_bytes;
    int64_t idle_ms, not_before;
    vlm_status sink; /* what write or restart said */
    vio_hub_headers headers;
    char reason[CURL_ERROR_SIZE];
};

struct vio_hub_http {
    CURLM *multi;
    const vlm_hub_options *o; /* borrowed */
    char *endpoint;
    struct curl_slist *plain, *with_token; /* headers */
    attempt *attempts;
};

int64_t vio_hub_now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- setting up --------------------------------------------------------------------------- */

static bool is_line(const char *s) {
    for (; *s; s++)
        if ((unsigned char)*s <= 0x20 || *s == 0x7F) return false;
    return true;
}

static vlm_status check_options(const vlm_hub_options *o, vlm_error *err) {
    if (!o->cache_dir || !o->cache_dir[0])
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_hub_options: cache_dir is missing");
    if ((strncmp(o->endpoint, "http://", 7) != 0 && strncmp(o->endpoint, "https://", 8) != 0)
        || !is_line(o->endpoint))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "'%s': not an endpoint: http://... or https://...",
                          o->endpoint);
    if (o->token && (!is_line(o->token) || strlen(o->token) > 4096))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "the token is not one word");
    if (!vio_hub_is_revision(o->revision))
        return vcore_fail(err, VLM_ERR_ARGUMENT, "'%s': not a revision", o->revision);
    return VLM_OK;
}

/* A caller built against an older header gives a shorter struct; one against a newer may not set
 * what is not known here. */
static vlm_status take_struct(vlm_hub_options *o, const vlm_hub_options *given, vlm_error *err) {
    size_t size = given->struct_size;
    if (size < sizeof size || size > 4096)
        return vcore_fail(err, VLM_ERR_ARGUMENT,
                          "vlm_hub_options: struct_size is not set (start from its _INIT)");
    for (size_t i = sizeof *o; i < size; i++)
        if (((const char *)given)[i])
            return vcore_fail(
                err, VLM_ERR_UNSUPPORTED,
                "vlm_hub_options: a field is set that this version of the library does not know");
    memcpy(o, given, size < sizeof *o ? size : sizeof *o);
    return VLM_OK;
}

vlm_status vio_hub_options_of(vlm_hub_options *out, const vlm_hub_options *given, vlm_error *err) {
    vlm_hub_options o = VLM_HUB_OPTIONS_INIT;
    if (given) VTRY(take_struct(&o, given, err));
    if (!o.endpoint) o.endpoint = "https://huggingface.co";
    if (!o.revision) o.revision = "main";
    if (o.token && !o.token[0]) o.token = NULL;
    if (o.parallel <= 0) o.parallel = 8;
    if (o.parallel > 64) o.parallel = 64;
    o.retries = o.retries < 0 ? 0 : o.retries ? o.retries : 5;
    if (!o.retry_wait_ms) o.retry_wait_ms = 1000;
    if (!o.retry_wait_max_ms) o.retry_wait_max_ms = 60000;
    if (!o.connect_timeout_ms) o.connect_timeout_ms = 10000;
    if (!o.idle_timeout_ms) o.idle_timeout_ms = 30000;
    if (!o.listing_bytes) o.listing_bytes = 64u << 20;
    if (!o.listing_files) o.listing_files = 100000;
    *out = o;
    return check_options(out, err);
}

static bool add_header(struct curl_slist **list, const char *line) {
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer) *list = longer;
    return longer != NULL;
}

static bool make_headers(vio_hub_http *h, const char *token) {
    vcore_buf line = { 0 };
    vcore_buf_printf(&line, "Authorization: Bearer %s", token ? token : "");
    /* Sizes and hashes are of the content as it is, so it may not come compressed. */
    bool good = !line.failed && add_header(&h->plain, "Accept-Encoding: identity")
                && add_header(&h->with_token, "Accept-Encoding: identity")
                && (!token || add_header(&h->with_token, line.p));
    vcore_buf_free(&line);
    return good;
}

vlm_status vio_hub_http_open(vio_hub_http **out, const vlm_hub_options *o, vlm_error *err) {
    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return vcore_fail(err, VLM_ERR_NETWORK, "libcurl cannot be used here");
    vio_hub_http *h = vcore_alloc(sizeof *h);
    size_t n = strlen(o->endpoint);
    while (n && o->endpoint[n - 1] == '/') n--;
    if (h) {
        h->o = o;
        h->endpoint = vcore_strndup(o->endpoint, n);
        h->multi = curl_multi_init();
    }
    if (!h || !h->endpoint || !h->multi || !make_headers(h, o->token)) {
        if (h)
            vio_hub_http_close(h);
        else
            curl_global_cleanup();
        return vcore_no_memory(err, "hub");
    }
    /* Streams of one connection would share its window; files have connections of their own. */
    curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    *out = h;
    return VLM_OK;
}

void vio_hub_http_close(vio_hub_http *h) {
    if (!h) return;
    while (h->attempts) vio_hub_transfer_end(h, h->attempts->t);
    curl_multi_cleanup(h->multi);
    curl_slist_free_all(h->plain);
    curl_slist_free_all(h->with_token);
    vcore_free(h->endpoint);
    vcore_free(h);
    curl_global_cleanup();
}

const char *vio_hub_http_endpoint(const vio_hub_http *h) {
    return h->endpoint;
}

/* ---- what libcurl calls ------------------------------------------------------------------- */

static size_t on_header(char *line, size_t size, size_t n, void *user) {
    attempt *a = user;
    a->idle_ms = 0;
    vio_hub_headers_line(&a->headers, line, size * n);
    if (a->headers.bytes <= MAX_HEADER_BYTES) return size * n;
    a->sink = vcore_fail_at(&a->t->err, VLM_ERR_LIMIT, (vcore_where) { .limit = MAX_HEADER_BYTES },
                            "%s: the answer's headers are larger than %d bytes", a->t->what,
                            MAX_HEADER_BYTES);
    return 0;
}

/* Before the first byte of a body: is it what was asked for, and from where on? */
static void judge(attempt *a) {
    vio_hub_transfer *t = a->t;
    long http = 0;
    curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &http);
    a->judged = true;
    a->unread = http != 200 && http != 206;
    a->wrong_range = http == 206 && (!a->headers.has_range || a->headers.range_start != t->have);
    if (http == 200 && t->have) {
        a->sink = t->restart(t->user, &t->err);
        t->have = a->first = 0;
    }
}

static vlm_status check_length(const vio_hub_transfer *t, size_t n, vlm_error *err) {
    uint64_t length = t->have + n;
    if (t->size != UINT64_MAX && length > t->size)
        return vcore_fail(err, VLM_ERR_CHECKSUM,
                          "%s: longer than the %llu bytes that the hub lists", t->what,
                          (unsigned long long)t->size);
    if (length > t->max)
        return vcore_fail_at(err, VLM_ERR_LIMIT, (vcore_where) { .limit = t->max },
                             "%s: the answer is larger than the limit of %llu bytes", t->what,
                             (unsigned long long)t->max);
    return VLM_OK;
}

/* Returning another number than was given ends the attempt; finish_attempt() sees why. */
static size_t on_body(char *p, size_t size, size_t count, void *user) {
    attempt *a = user;
    vio_hub_transfer *t = a->t;
    size_t n = size * count;
    a->idle_ms = 0;
    if (!a->judged) judge(a);
    if (a->sink < 0 || a->wrong_range) return 0;
    if (a->unread) return (a->unread_bytes += n) <= MAX_PAGE_BYTES ? n : 0;
    a->sink = check_length(t, n, &t->err);
    if (a->sink >= 0) a->sink = t->write(t->user, p, n, &t->err);
    if (a->sink < 0) return 0;
    t->have += n;
    t->received += n;
    return n;
}

/* ---- one attempt -------------------------------------------------------------------------- */

static bool set_up(attempt *a) {
    CURL *e = a->easy;
    const vlm_hub_options *o = a->http->o;
    return curl_easy_setopt(e, CURLOPT_PRIVATE, a) == CURLE_OK
           && curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK
           && curl_easy_setopt(e, CURLOPT_USERAGENT, "libvlm") == CURLE_OK
           && (!o->ca_file || curl_easy_setopt(e, CURLOPT_CAINFO, o->ca_file) == CURLE_OK)
           && curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK
           && curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) == CURLE_OK
           && curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_timeout_ms)
                  == CURLE_OK
           && curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 256L << 10) == CURLE_OK
           && curl_easy_setopt(e, CURLOPT_ERRORBUFFER, a->reason) == CURLE_OK
           && curl_easy_setopt(e, CURLOPT_NOBODY, (long)a->t->head) == CURLE_OK
           && curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK
           && curl_easy_setopt(e, CURLOPT_HEADERDATA, a) == CURLE_OK
           && curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK
           && curl_easy_setopt(e, CURLOPT_WRITEDATA, a) == CURLE_OK;
}

static void finish(attempt *a, vlm_status status) {
    a->t->finished = true;
    a->t->status = status;
}

/* Sends the request for what is not there yet. */
static void launch(attempt *a) {
    vio_hub_transfer *t = a->t;
    a->judged = a->unread = a->wrong_range = false;
    a->unread_bytes = 0;
    a->idle_ms = 0;
    a->sink = VLM_OK;
    a->headers = (vio_hub_headers) { 0 };
    a->reason[0] = 0;
    curl_off_t from = t->have && !a->no_ranges ? (curl_off_t)t->have : 0;
    vcore_buf range = { 0 };
    vcore_buf_printf(&range, "%lld-", (long long)from);
    bool good = !range.failed
                && curl_easy_setopt(a->easy, CURLOPT_URL, a->url ? a->url : t->url) == CURLE_OK
                && curl_easy_setopt(a->easy, CURLOPT_HTTPHEADER,
                                    a->foreign ? a->http->plain : a->http->with_token)
                       == CURLE_OK
                && curl_easy_setopt(a->easy, CURLOPT_RANGE, from ? range.p : NULL) == CURLE_OK
                && curl_multi_add_handle(a->http->multi, a->easy) == CURLM_OK;
    vcore_buf_free(&range);
    a->running = good;
    if (!good) finish(a, vcore_no_memory(&t->err, t->what));
}

static void halt(attempt *a) {
    if (a->running) curl_multi_remove_handle(a->http->multi, a->easy);
    a->running = false;
}

/* True for the same scheme, host and port. */
static bool same_origin(const char *one, const char *other) {
    static const CURLUPart parts[] = { CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT };
    CURLU *a = curl_url(), *b = curl_url();
    bool same = a && b && curl_url_set(a, CURLUPART_URL, one, 0) == CURLUE_OK
                && curl_url_set(b, CURLUPART_URL, other, 0) == CURLUE_OK;
    for (size_t i = 0; same && i < sizeof parts / sizeof parts[0]; i++) {
        char *p = NULL, *q = NULL;
        same = curl_url_get(a, parts[i], &p, CURLU_DEFAULT_PORT) == CURLUE_OK
               && curl_url_get(b, parts[i], &q, CURLU_DEFAULT_PORT) == CURLUE_OK
               && strcasecmp(p, q) == 0;
        curl_free(p);
        curl_free(q);
    }
    curl_url_cleanup(a);
    curl_url_cleanup(b);
    return same;
}

static void follow(attempt *a) {
    vio_hub_transfer *t = a->t;
    char *to = NULL;
    curl_easy_getinfo(a->easy, CURLINFO_REDIRECT_URL, &to);
    bool secure = strncmp(a->http->endpoint, "https:", 6) == 0;
    if (!to || ++a->hops > MAX_HOPS
        || (secure ? strncmp(to, "https:", 6) : strncmp(to, "http", 4)) != 0) {
        finish(a, vcore_fail(&t->err, VLM_ERR_NETWORK, "%s: %s", t->what,
                             !to                  ? "a redirect without a target"
                             : a->hops > MAX_HOPS ? "redirected too often"
                                                  : "redirected to where no https is"));
        return;
    }
    a->foreign = !same_origin(to, a->http->endpoint);
    if (t->head && a->foreign) { /* the endpoint has said all about the file */
        finish(a, VLM_OK);
        return;
    }
    char *copy = vcore_strdup(to); /* the string is the handle's */
    vcore_free(a->url);
    a->url = copy;
    if (copy)
        launch(a);
    else
        finish(a, vcore_no_memory(&t->err, t->what));
}

/* Once more from the endpoint after a while, unless that was the last time; t->err says why. */
static void retry(attempt *a, vlm_status why) {
    vio_hub_transfer *t = a->t;
    const vlm_hub_options *o = a->http->o;
    curl_off_t asked = 0;
    if (t->have >= a->first + PROGRESS_BYTES) {
        a->tries = 0;
        a->first = t->have;
    }
    if (a->tries++ >= t->retries) {
        finish(a, why);
        return;
    }
    curl_easy_getinfo(a->easy, CURLINFO_RETRY_AFTER, &asked);
    uint64_t wait = asked > 0 ? (uint64_t)asked * 1000
                              : (uint64_t)o->retry_wait_ms << (a->tries < 16 ? a->tries - 1 : 15);
    if (wait > o->retry_wait_max_ms) wait = o->retry_wait_max_ms;
    a->not_before = vio_hub_now_ms() + (int64_t)wait;
    a->hops = 0;
    a->foreign = false; /* a signed address of a CDN may be too old by then */
    vcore_free(a->url);
    a->url = NULL;
}

static bool passes(CURLcode code) {
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_SSL_CONNECT_ERROR: return true;
    default: return false;
    }
}

static bool passing_status(long http) {
    return http == 408 || http == 429 || http == 500 || http == 502 || http == 503 || http == 504;
}

/* Begins the body anew, without asking for parts of it. */
static void start_over(attempt *a) {
    vio_hub_transfer *t = a->t;
    vlm_status status = t->restart(t->user, &t->err);
    t->have = a->first = 0;
    a->no_ranges = true;
    if (status < 0)
        finish(a, status);
    else
        retry(a, vcore_fail(&t->err, VLM_ERR_NETWORK,
                            "%s: the server gives another part than asked for", t->what));
}

static void refuse(attempt *a, long http) {
    vio_hub_transfer *t = a->t;
    vlm_status why =
        a->foreign
            ? vcore_fail(&t->err, VLM_ERR_NETWORK, "%s: the server of its content answers HTTP %ld",
                         t->what, http)
            : vio_hub_refused(&t->err, t->what, http, a->http->o->token != NULL, &a->headers);
    if (passing_status(http))
        retry(a, why);
    else
        finish(a, why);
}

/* An attempt has come to its end, one way or another. */
static void finish_attempt(attempt *a, CURLcode code) {
    vio_hub_transfer *t = a->t;
    t->http = 0;
    curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &t->http);
    if (!a->foreign) t->headers = a->headers;
    halt(a);
    if (a->sink < 0) {
        finish(a, a->sink);
    } else if (a->wrong_range || (t->http == 416 && t->have)) {
        start_over(a);
    } else if (t->http >= 400) {
        refuse(a, t->http);
    } else if (t->http >= 301 && t->http <= 308 && t->http != 304
               && (code == CURLE_OK || a->unread)) {
        follow(a);
    } else if (code != CURLE_OK) {
        vlm_status why = vcore_fail(&t->err, VLM_ERR_NETWORK, "%s: %s", t->what,
                                    a->reason[0] ? a->reason : curl_easy_strerror(code));
        if (passes(code))
            retry(a, why);
        else
            finish(a, why);
    } else if (t->http != 200 && t->http != 206) {
        finish(a,
               vio_hub_refused(&t->err, t->what, t->http, a->http->o->token != NULL, &a->headers));
    } else if (!t->head && t->size != UINT64_MAX && t->have < t->size) {
        retry(a,
              vcore_fail(&t->err, VLM_ERR_NETWORK, "%s: the server ended after %llu of %llu bytes",
                         t->what, (unsigned long long)t->have, (unsigned long long)t->size));
    } else {
        finish(a, VLM_OK);
    }
}

/* ---- all of them -------------------------------------------------------------------------- */

vlm_status vio_hub_transfer_start(vio_hub_http *h, vio_hub_transfer *t, vlm_error *err) {
    attempt *a = vcore_alloc(sizeof *a);
    if (!a) return vcore_no_memory(err, t->what);
    *a = (attempt) {
        .next = h->attempts, .t = t, .http = h, .easy = curl_easy_init(), .first = t->have
    };
    t->attempt = h->attempts = a;
    if (!a->easy || !set_up(a)) {
        vio_hub_transfer_end(h, t);
        return vcore_no_memory(err, t->what);
    }
    launch(a);
    return VLM_OK;
}

void vio_hub_transfer_end(vio_hub_http *h, vio_hub_transfer *t) {
    attempt *a = t->attempt;
    if (!a) return;
    for (attempt **at = &h->attempts; *at; at = &(*at)->next) {
        if (*at != a) continue;
        *at = a->next;
        break;
    }
    halt(a);
    curl_easy_cleanup(a->easy);
    vcore_free(a->url);
    vcore_free(a);
    t->attempt = NULL;
}

/* Launches what has waited long enough; returns how long the others may sleep. */
static int launch_waiting(vio_hub_http *h, int wait_ms) {
    int64_t now = vio_hub_now_ms();
    for (attempt *a = h->attempts; a; a = a->next) {
        if (a->running || a->t->finished) continue;
        if (now >= a->not_before)
            launch(a);
        else if (a->not_before - now < wait_ms)
            wait_ms = (int)(a->not_before - now);
    }
    return wait_ms;
}

/* Time counts as idle only while we wait, not while a caller hashes or writes. */
static void count_idle(vio_hub_http *h, int64_t elapsed) {
    for (attempt *a = h->attempts; a; a = a->next) {
        vio_hub_transfer *t = a->t;
        if (!a->running || (a->idle_ms += elapsed) < h->o->idle_timeout_ms) continue;
        halt(a);
        retry(a, vcore_fail(&t->err, VLM_ERR_NETWORK, "%s: nothing came for %u ms", t->what,
                            h->o->idle_timeout_ms));
    }
}

vlm_status vio_hub_http_step(vio_hub_http *h, int wait_ms, vlm_error *err) {
    int running = 0, queued, ended = 0;
    wait_ms = launch_waiting(h, wait_ms);
    if (curl_multi_perform(h->multi, &running) != CURLM_OK)
        return vcore_fail(err, VLM_ERR_NETWORK, "libcurl cannot go on");
    for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &queued));) {
        attempt *a = NULL;
        CURLcode code = m->data.result;
        if (m->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &a);
        finish_attempt(a, code);
        ended++;
    }
    if (ended) return VLM_OK;
    int64_t before = vio_hub_now_ms();
    if (curl_multi_poll(h->multi, NULL, 0, wait_ms, NULL) != CURLM_OK)
        return vcore_fail(err, VLM_ERR_NETWORK, "libcurl cannot wait");
    count_idle(h, vio_hub_now_ms() - before);
    return VLM_OK;
}
