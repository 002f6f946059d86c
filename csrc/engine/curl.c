/* Owns libcurl's multis and easy handles: https, and http when asked for.
 * Does not decide when to send, nor what an answer means.
 *
 * libcurl reads by itself and does not say how many bytes of the wire a piece of the body took. So a look at
 * the socket just before (socket_peek) gives a stamp and how many bytes it covers; what comes beyond them, or
 * when libcurl reads by a timer of its own, has no stamp of its own and counts as part of the same read. */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "engine/clock.h"
#include "engine/request.h"
#include "engine/socket.h"
#include "engine/transfer_options.h"
#include "engine/transfer_outcome.h"
#include "engine/transport_kind.h"

enum { KEPT_CONNECTIONS = 1 << 20, PEEK_BYTES = 1 << 20 };
/* The least that the wire adds to a piece of a body: a TLS 1.2 record with ChaCha20 has 21 bytes more. */
enum { TLS_BYTES = 21 };

struct curl;

struct multi {
    CURLM *handle;
    struct curl *curl;
    int64_t timer_ns; /* INT64_MAX = none */
    int running;
};

struct easy { /* a slot's handle */
    CURL *handle;
    struct slot *slot;
    struct multi *multi;
    struct curl_slist id_header; /* its text is ours, its tail is the common list */
    struct curl_slist *connect_to;
    char *id_text;
    int64_t began_ns;          /* of the connection that is being made */
    int64_t covered_bytes;     /* of what is read now: bytes that the stamp is known to cover */
    int sockets_opened, sends; /* in this request */
    int local_error;           /* errno when we could not make a socket */
    bool warming, was_reset, in_transfer;
    char error[CURL_ERROR_SIZE];
};

struct curl {
    struct transport *t;
    struct multi *multis;
    size_t n_multis;
    struct easy **by_fd;
    size_t n_fds, n_warming;
    struct easy *reading; /* whose socket is ready, with a stamp of its own */
    CURLSH *share;        /* TLS sessions, so that the multis need one full handshake together */
    struct curl_slist *headers;
    char *scratch; /* for peeks */
};

/* ---- libcurl's callbacks ---- */

static struct easy *easy_of(CURL *handle) {
    char *private = NULL;
    curl_easy_getinfo(handle, CURLINFO_PRIVATE, &private);
    return (struct easy *)(void *)private;
}

static bool make_room(struct curl *curl, int fd) {
    size_t need = (size_t)fd + 1;
    if (need <= curl->n_fds) return true;
    need *= 2;
    struct easy **more = realloc(curl->by_fd, need * sizeof(struct easy *));
    if (!more) return false;
    memset(more + curl->n_fds, 0, (need - curl->n_fds) * sizeof(struct easy *));
    curl->by_fd = more;
    curl->n_fds = need;
    return true;
}

/* libcurl says what it waits for. An idle connection stays registered: its next request most often comes
 * soon. */
static int on_socket(CURL *handle, curl_socket_t fd, int what, void *context, void *unused) {
    (void)unused;
    struct multi *multi = context;
    struct curl *curl = multi->curl;
    if (!make_room(curl, fd)) return -1;
    if (what == CURL_POLL_REMOVE) {
        curl->by_fd[fd] = NULL;
        return 0;
    }
    curl->by_fd[fd] = easy_of(handle);
    int watch = (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0);
    return loop_watch(curl->t->loop, fd, watch);
}

static int on_timer(CURLM *handle, long timeout_ms, void *context) {
    (void)handle;
    struct multi *multi = context;
    multi->timer_ns = timeout_ms < 0 ? INT64_MAX : transport_now_ns(multi->curl->t) + timeout_ms * NS_PER_MS;
    return 0;
}

static curl_socket_t on_socket_open(void *context, curlsocktype purpose, struct curl_sockaddr *address) {
    (void)purpose;
    struct easy *easy = context;
    struct transport *t = easy->slot->transport;
    int on = 1, fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0) {
        easy->local_error = errno;
        return CURL_SOCKET_BAD;
    }
    easy->sockets_opened++;
    easy->began_ns = transport_now_ns(t);
    if (t->config->kernel_stamps) setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    return fd;
}

static int on_socket_close(void *context, curl_socket_t fd) {
    struct curl *curl = context;
    loop_watch(curl->t->loop, fd, 0);
    if ((size_t)fd < curl->n_fds) curl->by_fd[fd] = NULL;
    return close(fd);
}

/* The connection stands and the request goes out next. A second time in one request means that libcurl found
 * the reused connection dead and tries again on a new one without a word. */
static int on_connected(void *context, char *remote, char *local, int remote_port, int local_port) {
    (void)remote, (void)local, (void)remote_port, (void)local_port;
    struct easy *easy = context;
    struct slot *slot = easy->slot;
    slot->connected = true;
    easy->was_reset = false; /* a reset before this is that of the dead connection */
    if (easy->sockets_opened) transport_note_connection(slot->transport, easy->began_ns);
    if (easy->warming) return CURL_PREREQFUNC_OK;
    if (easy->sends++ > 0) slot->response.record.retries++;
    if (easy->sockets_opened) slot->response.record.connected_ns = transport_now_ns(slot->transport);
    return CURL_PREREQFUNC_OK;
}

/* libcurl has read this much more. Where the stamp does not cover it, it came later than the stamp says, and
 * before now: it keeps the number of its read, so that it counts as sharing it. */
static void note_read(struct easy *easy, size_t len) {
    struct slot *slot = easy->slot;
    bool is_covered = slot->transport->config->kernel_stamps && easy->covered_bytes > 0;
    if (!is_covered || ((struct curl *)slot->transport->own)->reading != easy)
        slot->read.arrived_ns = slot->read.seen_ns = transport_now_ns(slot->transport);
    easy->covered_bytes -= (int64_t)len + TLS_BYTES;
}

static size_t on_header(char *line, size_t size, size_t n, void *context) {
    (void)line;
    struct easy *easy = context;
    if (easy->warming) return size * n;
    struct record *record = &easy->slot->response.record;
    note_read(easy, size * n);
    easy->covered_bytes += TLS_BYTES; /* several lines come in one record */
    if (record->first_byte_ns == RECORD_NONE) record->first_byte_ns = easy->slot->read.arrived_ns;
    return size * n;
}

static void read_head(struct easy *easy) {
    long status = 0;
    char *content_type = NULL, *location = NULL;
    struct response *r = &easy->slot->response;
    char message[600];
    curl_easy_getinfo(easy->handle, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy->handle, CURLINFO_CONTENT_TYPE, &content_type);
    curl_easy_getinfo(easy->handle, CURLINFO_REDIRECT_URL, &location);
    response_head(r, status, content_type);
    if (!location) return;
    int n = snprintf(message, sizeof message, "redirected to %.500s", location);
    response_error(r, message, (size_t)n);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *context) {
    struct easy *easy = context;
    struct response *r = &easy->slot->response;
    if (easy->warming) return size * n;
    note_read(easy, size * n);
    if (r->record.status == 0) read_head(easy);
    transport_take_body(easy->slot, bytes, size * n);
    return r->no_memory || r->too_long ? 0 : size * n; /* 0 makes libcurl give the transfer up */
}

/* ---- handles ---- */

static void set_callbacks(struct easy *easy, struct curl *curl) {
    CURL *handle = easy->handle;
    curl_easy_setopt(handle, CURLOPT_PRIVATE, easy);
    curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, easy->error);
    curl_easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, on_socket_open);
    curl_easy_setopt(handle, CURLOPT_OPENSOCKETDATA, easy);
    curl_easy_setopt(handle, CURLOPT_CLOSESOCKETFUNCTION, on_socket_close);
    curl_easy_setopt(handle, CURLOPT_CLOSESOCKETDATA, curl);
    curl_easy_setopt(handle, CURLOPT_PREREQFUNCTION, on_connected);
    curl_easy_setopt(handle, CURLOPT_PREREQDATA, easy);
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, easy);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, easy);
}

/* Each handle is pinned to one address of the name; an empty host and port in "::" match any. */
static bool pin_address(struct easy *easy, size_t number) {
    const struct engine_config *config = easy->slot->transport->config;
    if (config->n_addresses == 0) return true;
    const char *address = config->addresses[number % config->n_addresses];
    char entry[128];
    snprintf(entry, sizeof entry, "::%s:", address);
    easy->connect_to = curl_slist_append(NULL, entry);
    return easy->connect_to != NULL;
}

static size_t id_text_size(const struct engine_config *config) {
    return strlen(config->request_id_prefix) + sizeof "x-request-id: " + REQUEST_ID_BYTES;
}

static void slot_free(struct slot *slot) {
    struct easy *easy = slot->carrier;
    if (!easy) return;
    if (easy->in_transfer) curl_multi_remove_handle(easy->multi->handle, easy->handle);
    if (easy->handle) curl_easy_cleanup(easy->handle);
    curl_slist_free_all(easy->connect_to);
    free(easy->id_text);
    free(easy);
    slot->carrier = NULL;
}

static bool slot_init(struct slot *slot) {
    struct transport *t = slot->transport;
    struct curl *curl = t->own;
    struct easy *easy = calloc(1, sizeof *easy);
    slot->carrier = easy;
    if (!easy) return false;
    easy->slot = slot;
    easy->multi = &curl->multis[t->n_slots % curl->n_multis];
    easy->handle = curl_easy_init();
    easy->id_text = calloc(1, id_text_size(t->config));
    easy->id_header = (struct curl_slist){easy->id_text, curl->headers};
    if (!easy->handle || !easy->id_text || !pin_address(easy, t->n_slots)) return false;
    set_callbacks(easy, curl);
    transfer_options(easy->handle, t->config, curl->share);
    curl_easy_setopt(easy->handle, CURLOPT_CONNECT_TO, easy->connect_to);
    curl_easy_setopt(easy->handle, CURLOPT_HTTPHEADER,
                     t->config->no_request_ids ? curl->headers : &easy->id_header);
    return true;
}

/* ---- the end of a transfer ---- */

static void end_easy(struct easy *easy, CURLcode code) {
    struct slot *slot = easy->slot;
    long error = easy->local_error;
    if (slot->response.record.status == 0) read_head(easy);
    if (!error) curl_easy_getinfo(easy->handle, CURLINFO_OS_ERRNO, &error);
    enum outcome outcome =
        code == CURLE_OK ? OUTCOME_completed : transfer_outcome(code, (int)error, slot->connected);
    const char *why = easy->error[0] ? easy->error : curl_easy_strerror(code);
    /* after the peek that saw the reset, libcurl saw an orderly end */
    if (easy->was_reset) outcome = OUTCOME_reset, why = strerror(ECONNRESET);
    /* libcurl has no code of its own for a broken chunk */
    if (code == CURLE_RECV_ERROR && strstr(easy->error, "chunked-encoding")) outcome = OUTCOME_malformed;
    if (outcome == OUTCOME_local_fault) why = strerror((int)error);
    transport_end(slot, outcome, why);
}

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
            end_easy(easy, code);
    }
}

static void abort_slot(struct slot *slot) {
    struct easy *easy = slot->carrier;
    if (!easy || !easy->in_transfer) return;
    if (slot->response.record.status == 0) read_head(easy);
    curl_multi_remove_handle(easy->multi->handle, easy->handle);
    easy->in_transfer = false;
}

/* ---- sending ---- */

static void kick(struct multi *multi, curl_socket_t fd, int mask) {
    int running;
    curl_multi_socket_action(multi->handle, fd, mask, &running);
    if (running < multi->running) take_finished(multi);
    multi->running = running;
}

static void launch(struct easy *easy) {
    struct multi *multi = easy->multi;
    easy->sockets_opened = easy->sends = easy->local_error = 0;
    easy->was_reset = false;
    easy->error[0] = 0;
    easy->in_transfer = true;
    multi->running++;
    curl_multi_add_handle(multi->handle, easy->handle);
    kick(multi, CURL_SOCKET_TIMEOUT, 0);
}

static void write_id(struct easy *easy, const struct engine_config *config, const char *id) {
    snprintf(easy->id_text, id_text_size(config), "x-request-id: %s%s", config->request_id_prefix, id);
}

static void send_slot(struct slot *slot) {
    struct easy *easy = slot->carrier;
    const struct engine_config *config = slot->transport->config;
    char id[REQUEST_ID_BYTES];
    request_id(config, slot->response.record.index, id);
    write_id(easy, config, id);
    curl_easy_setopt(easy->handle, CURLOPT_URL, config->url);
    curl_easy_setopt(easy->handle, CURLOPT_POST, 1L);
    curl_easy_setopt(easy->handle, CURLOPT_POSTFIELDS, item_body(&slot->item));
    curl_easy_setopt(easy->handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)item_body_len(&slot->item));
    launch(easy);
}

/* With a GET, whose answer is ignored: libcurl has no other way to open a connection that a request can take.
 */
static void warm(void *own, int64_t n) {
    struct curl *curl = own;
    for (int64_t i = 0; i < n; i++) {
        struct slot *slot = transport_slot(curl->t);
        if (!slot) return;
        struct easy *easy = slot->carrier;
        write_id(easy, curl->t->config, curl->t->config->uuid_request_ids ? "ffffffffffff" : "warm");
        curl_easy_setopt(easy->handle, CURLOPT_URL, curl->t->config->warm_url);
        curl_easy_setopt(easy->handle, CURLOPT_HTTPGET, 1L);
        easy->warming = true;
        curl->n_warming++;
        launch(easy);
    }
}

static size_t opening(const void *own) {
    return ((const struct curl *)own)->n_warming;
}

/* ---- what the loop brings ---- */

static int mask_of(int what) {
    return (what & (LOOP_READ | LOOP_END) ? CURL_CSELECT_IN : 0) |
           (what & LOOP_WRITE ? CURL_CSELECT_OUT : 0) | (what & LOOP_ERROR ? CURL_CSELECT_ERR : 0);
}

static void stamp(struct curl *curl, struct easy *easy, int fd) {
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

static void ready(void *own, const struct loop_event *event) {
    struct curl *curl = own;
    struct easy *easy = (size_t)event->fd < curl->n_fds ? curl->by_fd[event->fd] : NULL;
    if (!easy) { /* an idle connection that the server closed; libcurl will notice when it wants to use it */
        loop_watch(curl->t->loop, event->fd, 0);
        return;
    }
    if (event->what & LOOP_READ && easy->slot->connected && !easy->warming) {
        stamp(curl, easy, event->fd);
        curl->reading = easy;
    }
    kick(easy->multi, event->fd, mask_of(event->what));
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

static int64_t next_timer_ns(const void *own) {
    const struct curl *curl = own;
    int64_t next_ns = INT64_MAX;
    for (size_t i = 0; i < curl->n_multis; i++)
        if (curl->multis[i].timer_ns < next_ns) next_ns = curl->multis[i].timer_ns;
    return next_ns;
}

static void run_timers(void *own, int64_t now_ns) {
    struct curl *curl = own;
    for (size_t i = 0; i < curl->n_multis; i++) {
        struct multi *multi = &curl->multis[i];
        if (multi->timer_ns > now_ns) continue;
        multi->timer_ns = INT64_MAX;
        kick(multi, CURL_SOCKET_TIMEOUT, 0);
    }
}

static void tend(void *own, int64_t now_ns, bool sending) {
    (void)own, (void)now_ns, (void)sending;
}

static void shift(void *own, int64_t by_ns) {
    struct curl *curl = own;
    for (size_t i = 0; i < curl->n_multis; i++)
        if (curl->multis[i].timer_ns != INT64_MAX) curl->multis[i].timer_ns += by_ns;
    for (size_t i = 0; i < transport_n_slots(curl->t); i++)
        ((struct easy *)transport_slot_at(curl->t, i)->carrier)->began_ns += by_ns;
}

/* ---- life ---- */

static bool add_header(struct curl *curl, const char *line) {
    struct curl_slist *longer = curl_slist_append(curl->headers, line);
    if (longer) curl->headers = longer;
    return longer != NULL;
}

static bool names_coding(const struct engine_config *config) {
    static const char name[] = "accept-encoding";
    for (size_t i = 0; i < config->n_headers; i++)
        if (strncasecmp(config->headers[i], name, sizeof name - 1) == 0) return true;
    return false;
}

static bool make_headers(struct curl *curl) {
    const struct engine_config *config = curl->t->config;
    bool ok = add_header(curl, "Expect:"); /* else bodies over 1 MB wait for a 100 Continue */
    if (!names_coding(config)) ok = ok && add_header(curl, "Accept-Encoding:"); /* see transfer_options() */
    for (size_t i = 0; ok && i < config->n_headers; i++) ok = add_header(curl, config->headers[i]);
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

static void close_all(void *own) {
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

static void *open_all(struct transport *t, size_t n_multis) {
    struct curl *curl = calloc(1, sizeof *curl);
    if (!curl) return NULL;
    curl->t = t;
    curl->scratch = malloc(PEEK_BYTES);
    curl->share = curl_share_init();
    if (curl->scratch && curl->share && make_headers(curl) && make_multis(curl, n_multis)) {
        curl_share_setopt(curl->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
        return curl;
    }
    close_all(curl);
    return NULL;
}

const struct transport_kind transport_curl = {
    .open = open_all,
    .close = close_all,
    .slot_init = slot_init,
    .slot_free = slot_free,
    .send = send_slot,
    .abort = abort_slot,
    .warm = warm,
    .opening = opening,
    .ready = ready,
    .work = no_work,
    .has_work = has_no_work,
    .next_timer_ns = next_timer_ns,
    .run_timers = run_timers,
    .tend = tend,
    .shift = shift,
};
