/* Owns libcurl's multis and the way of their sockets to the loop: https, and http when asked for.
 * Does not decide when to send; what belongs to one transfer is curl_easy.c's. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/clock.h"
#include "engine/curl_parts.h"
#include "engine/request.h"
#include "engine/socket.h"
#include "stream/array.h"

enum { KEPT_CONNECTIONS = 1 << 20, PEEK_BYTES = 1 << 20 };

/* ---- libcurl's callbacks ---- */

/* libcurl says what it waits for. An idle connection stays registered: its next request comes soon. */
static int on_socket(CURL *handle, curl_socket_t fd, int what, void *context, void *unused) {
    (void)unused;
    struct multi *multi = context;
    struct curl *curl = multi->curl;
    if (!ARRAY_ROOM_ZEROED(curl->by_fd, curl->n_fds, (size_t)fd + 1)) return -1;
    if (what == CURL_POLL_REMOVE) {
        curl->by_fd[fd] = (struct watched){0};
        return 0;
    }
    curl->by_fd[fd] = (struct watched){multi, easy_of(handle)};
    int watch = (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0);
    return loop_watch(curl->t->loop, fd, watch);
}

static int on_timer(CURLM *handle, long timeout_ms, void *context) {
    (void)handle;
    struct multi *multi = context;
    multi->timer_ns = timeout_ms < 0 ? INT64_MAX : transport_now_ns(multi->curl->t) + timeout_ms * NS_PER_MS;
    return 0;
}

/* ---- the end of a transfer ---- */

static void end_warming(struct easy *easy) {
    easy->warming = false;
    ((struct curl *)easy->slot->transport->own)->n_warming--;
    transport_give_back(easy->slot);
}

static void take_finished(struct multi *multi) {
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(multi->handle, &left))) {
        if (message->msg != CURLMSG_DONE) continue;
        CURLcode code = message->data.result; /* message dies with the removal */
        struct easy *easy = easy_of(message->easy_handle);
        curl_multi_remove_handle(multi->handle, easy->handle);
        easy->in_transfer = false;
        if (easy->warming)
            end_warming(easy);
        else
            easy_end(easy, code);
    }
}

static void libcurl_abort_slot(struct slot *slot) {
    struct easy *easy = slot->carrier;
    if (!easy || !easy->in_transfer) return;
    if (slot->response.record.status == 0) easy_read_head(easy);
    curl_multi_remove_handle(easy->multi->handle, easy->handle);
    easy->in_transfer = false;
}

/* ---- sending ---- */

static void libcurl_kick(struct multi *multi, curl_socket_t fd, int mask) {
    int running;
    curl_multi_socket_action(multi->handle, fd, mask, &running);
    if (running < multi->running) take_finished(multi);
    multi->running = running;
}

static void libcurl_launch(struct easy *easy) {
    struct multi *multi = easy->multi;
    easy->sockets_opened = easy->sends = easy->local_error = 0;
    easy->redirects = 0;
    easy->was_reset = easy->is_late = easy->was_led_astray = easy->is_not_as_coded = false;
    easy->content_encoding[0] = 0;
    easy->error[0] = 0;
    easy->in_transfer = true;
    multi->running++;
    curl_multi_add_handle(multi->handle, easy->handle);
    libcurl_kick(multi, CURL_SOCKET_TIMEOUT, 0);
}

static void libcurl_send_slot(struct slot *slot) {
    struct easy *easy = slot->carrier;
    const struct engine_config *config = slot->transport->config;
    char id[REQUEST_ID_BYTES];
    request_id(config, slot->response.record.index, id);
    easy_write_id(easy, id);
    easy_write_session(easy, item_session(&slot->item));
    curl_easy_setopt(easy->handle, CURLOPT_URL, config->url);
    curl_easy_setopt(easy->handle, CURLOPT_POST, 1L);
    curl_easy_setopt(easy->handle, CURLOPT_POSTFIELDS, item_body(&slot->item));
    curl_easy_setopt(easy->handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)item_body_len(&slot->item));
    libcurl_launch(easy);
}

/* With a GET, whose answer is ignored: only so libcurl opens a connection that a request can take. */
static void libcurl_warm(void *own, int64_t n) {
    struct curl *curl = own;
    for (int64_t i = 0; i < n; i++) {
        struct slot *slot = transport_slot(curl->t);
        if (!slot) return;
        struct easy *easy = slot->carrier;
        easy_write_id(easy, curl->t->config->uuid_request_ids ? "ffffffffffff" : "warm");
        curl_easy_setopt(easy->handle, CURLOPT_URL, curl->t->config->warm_url);
        curl_easy_setopt(easy->handle, CURLOPT_HTTPGET, 1L);
        easy->warming = true;
        curl->n_warming++;
        libcurl_launch(easy);
    }
}

static size_t libcurl_opening(const void *own) {
    return ((const struct curl *)own)->n_warming;
}

/* ---- what the loop brings ---- */

static int mask_of(int what) {
    return (what & (LOOP_READ | LOOP_END) ? CURL_CSELECT_IN : 0) |
           (what & LOOP_WRITE ? CURL_CSELECT_OUT : 0) | (what & LOOP_ERROR ? CURL_CSELECT_ERR : 0);
}

static void libcurl_stamp(struct curl *curl, struct easy *easy, int fd) {
    struct transport *t = curl->t;
    int64_t stamp_ns = RECORD_NONE, now_ns = transport_now_ns(t);
    ssize_t waiting = 0;
    if (t->config->kernel_stamps) waiting = socket_peek(fd, curl->scratch, PEEK_BYTES, &stamp_ns);
    easy->was_reset |= waiting < 0 && errno == ECONNRESET; /* told once: libcurl will only see an end */
    easy->covered_bytes = waiting > 0 ? waiting : 0;
    int64_t arrived_ns = transport_arrived_ns(t, stamp_ns, now_ns);
    /* What came before it may bear the time of its reading: no stream goes back in time. */
    if (arrived_ns < easy->slot->read.arrived_ns) arrived_ns = easy->slot->read.arrived_ns;
    easy->slot->read = (struct read_stamp){arrived_ns, now_ns, ++t->reads};
}

static void libcurl_ready(void *own, const struct loop_event *event) {
    struct curl *curl = own;
    struct watched by = (size_t)event->fd < curl->n_fds ? curl->by_fd[event->fd] : (struct watched){0};
    if (!by.multi) { /* an idle connection that the server closed; libcurl will notice when it wants it */
        loop_watch(curl->t->loop, event->fd, 0);
        return;
    }
    if (event->what & LOOP_READ && by.easy && by.easy->slot->connected && !by.easy->warming) {
        libcurl_stamp(curl, by.easy, event->fd);
        curl->reading = by.easy;
    }
    libcurl_kick(by.multi, event->fd, mask_of(event->what));
    curl->reading = NULL;
}

static bool no_work(void *own) {
    (void)own;
    return false;
}

static bool has_no_work(const void *own) {
    (void)own;
    return false;
}

static int64_t libcurl_next_timer_ns(const void *own) {
    const struct curl *curl = own;
    int64_t next_ns = INT64_MAX;
    for (size_t i = 0; i < curl->n_multis; i++)
        if (curl->multis[i].timer_ns < next_ns) next_ns = curl->multis[i].timer_ns;
    return next_ns;
}

static void libcurl_run_timers(void *own, int64_t now_ns) {
    struct curl *curl = own;
    for (size_t i = 0; i < curl->n_multis; i++) {
        struct multi *multi = &curl->multis[i];
        if (multi->timer_ns > now_ns) continue;
        multi->timer_ns = INT64_MAX;
        libcurl_kick(multi, CURL_SOCKET_TIMEOUT, 0);
    }
}

static void libcurl_tend(void *own, int64_t now_ns, bool sending) {
    (void)own, (void)now_ns, (void)sending;
}

static void libcurl_shift(void *own, int64_t by_ns) {
    struct curl *curl = own;
    for (size_t i = 0; i < curl->n_multis; i++)
        if (curl->multis[i].timer_ns != INT64_MAX) curl->multis[i].timer_ns += by_ns;
    for (size_t i = 0; i < transport_n_slots(curl->t); i++)
        ((struct easy *)transport_slot_at(curl->t, i)->carrier)->began_ns += by_ns;
}

/* ---- life ---- */

static bool libcurl_add_header(struct curl *curl, const char *line) {
    struct curl_slist *longer = curl_slist_append(curl->headers, line);
    if (longer) curl->headers = longer;
    return longer != NULL;
}

static bool make_headers(struct curl *curl) {
    const struct engine_config *config = curl->t->config;
    bool ok = libcurl_add_header(curl, "Expect:"); /* else bodies over 1 MB wait for a 100 Continue */
    for (size_t i = 0; ok && i < config->n_headers; i++) ok = libcurl_add_header(curl, config->headers[i]);
    return ok;
}

static bool make_multis(struct curl *curl, size_t n_multis) {
    curl->multis = calloc(n_multis, sizeof *curl->multis);
    if (!curl->multis) return false;
    for (; curl->n_multis < n_multis; curl->n_multis++) {
        struct multi *multi = &curl->multis[curl->n_multis];
        *multi = (struct multi){.handle = curl_multi_init(), .curl = curl, .timer_ns = INT64_MAX};
        if (!multi->handle) return false;
        curl_multi_setopt(multi->handle, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(multi->handle, CURLMOPT_SOCKETDATA, multi);
        curl_multi_setopt(multi->handle, CURLMOPT_TIMERFUNCTION, on_timer);
        curl_multi_setopt(multi->handle, CURLMOPT_TIMERDATA, multi);
        curl_multi_setopt(multi->handle, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS);
        curl_multi_setopt(multi->handle, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    }
    return true;
}

static void libcurl_close_all(void *own) {
    struct curl *curl = own;
    for (size_t i = 0; i < curl->n_multis; i++)
        if (curl->multis[i].handle) curl_multi_cleanup(curl->multis[i].handle);
    if (curl->share) curl_share_cleanup(curl->share);
    curl_slist_free_all(curl->headers);
    free(curl->multis);
    free(curl->by_fd);
    free(curl->scratch);
    free(curl);
}

static void read_place(struct curl *curl, const char *url) {
    CURLU *parts = curl_url();
    char *host = NULL, *port = NULL;
    bool ok = parts && !curl_url_set(parts, CURLUPART_URL, url, 0) &&
              !curl_url_get(parts, CURLUPART_HOST, &host, 0) &&
              !curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
    snprintf(curl->place, sizeof curl->place, "%s:%s", ok ? host : "", ok ? port : "");
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
}

static void *libcurl_open_all(struct transport *t, size_t n_multis) {
    struct curl *curl = calloc(1, sizeof *curl);
    if (!curl) return NULL;
    curl->t = t;
    read_place(curl, t->config->url);
    curl->scratch = malloc(PEEK_BYTES);
    curl->share = curl_share_init();
    if (curl->scratch && curl->share && make_headers(curl) && make_multis(curl, n_multis)) {
        curl_share_setopt(curl->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
        return curl;
    }
    libcurl_close_all(curl);
    return NULL;
}

const struct transport_kind transport_curl = {
    .open = libcurl_open_all,
    .close = libcurl_close_all,
    .slot_init = easy_init,
    .slot_free = easy_free,
    .send = libcurl_send_slot,
    .abort = libcurl_abort_slot,
    .warm = libcurl_warm,
    .opening = libcurl_opening,
    .ready = libcurl_ready,
    .work = no_work,
    .has_work = has_no_work,
    .next_timer_ns = libcurl_next_timer_ns,
    .run_timers = libcurl_run_timers,
    .tend = libcurl_tend,
    .shift = libcurl_shift,
};
