/* Owns libcurl's multis and easy handles, and which slot a socket belongs to.
 * Does not decide when to send, nor what an answer means. */
#include "engine/transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/clock.h"
#include "engine/receive_stamp.h"
#include "engine/transfer_options.h"
#include "engine/transfer_outcome.h"

enum { KEPT_CONNECTIONS = 1 << 20 };

struct multi {
    CURLM *handle;
    struct transport *transport;
    int64_t timer_ns; /* INT64_MAX = none */
    int running;
};

struct transport {
    const struct engine_config *config;
    struct loop *loop;
    transport_on_end *on_end;
    void *context;
    struct multi *multis;
    size_t n_multis;
    struct slot **slots;
    size_t n_slots, cap_slots;
    struct slot *free, *reading; /* reading: whose readiness is being handled, with a stamp of its own */
    struct slot **by_fd;
    size_t n_fds;
    CURLSH *share; /* TLS sessions, so that the multis need one full handshake together */
    struct curl_slist *headers;
    char *peeked;
    int64_t start_ns, real_to_run_ns;
    uint64_t reads;
    struct transport_totals totals;
};

/* ---- time ---- */

int64_t transport_now_ns(const struct transport *t) {
    return clock_mono_ns() - t->start_ns;
}

void transport_sync_clocks(struct transport *t) {
    t->real_to_run_ns = clock_real_to_mono_ns() - t->start_ns;
}

void transport_set_start(struct transport *t, int64_t start_mono_ns) {
    t->start_ns = start_mono_ns;
    transport_sync_clocks(t);
    for (size_t i = 0; i < t->n_multis; i++)
        if (t->multis[i].timer_ns != INT64_MAX)
            t->multis[i].timer_ns = 0; /* was on the old scale: run it at once */
}

/* On the run's clock; fallback_ns when the kernel does not say, or not before it. */
static int64_t arrival_ns(struct transport *t, int fd, int64_t fallback_ns, bool *was_reset) {
    int64_t real_ns = receive_stamp_ns(fd, t->peeked, was_reset);
    if (real_ns == RECORD_NONE) return fallback_ns;
    int64_t arrived_ns = real_ns + t->real_to_run_ns;
    return arrived_ns < fallback_ns ? arrived_ns : fallback_ns;
}

/* ---- libcurl's callbacks ---- */

static struct slot *slot_of(CURL *easy) {
    char *private = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    return (struct slot *)(void *)private;
}

static bool make_room(struct transport *t, int fd) {
    size_t need = (size_t)fd + 1;
    if (need <= t->n_fds) return true;
    need *= 2;
    struct slot **more = realloc(t->by_fd, need * sizeof(struct slot *));
    if (!more) return false;
    memset(more + t->n_fds, 0, (need - t->n_fds) * sizeof(struct slot *));
    t->by_fd = more;
    t->n_fds = need;
    return true;
}

/* libcurl says what it waits for. An idle connection stays registered: its next request most often comes
 * soon. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *unused) {
    (void)unused;
    struct multi *multi = context;
    struct transport *t = multi->transport;
    if (!make_room(t, fd)) return -1;
    if (what == CURL_POLL_REMOVE) {
        t->by_fd[fd] = NULL;
        return 0;
    }
    t->by_fd[fd] = slot_of(easy);
    int watch = (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0);
    return loop_watch(t->loop, fd, watch);
}

static int on_timer(CURLM *handle, long timeout_ms, void *context) {
    (void)handle;
    struct multi *multi = context;
    multi->timer_ns =
        timeout_ms < 0 ? INT64_MAX : transport_now_ns(multi->transport) + timeout_ms * NS_PER_MS;
    return 0;
}

static int on_socket_made(void *context, curl_socket_t fd, curlsocktype purpose) {
    (void)purpose;
    struct slot *slot = context;
    slot->sockets_opened++;
    slot->transport->totals.connections_opened++;
    int on = 1;
    if (slot->transport->config->kernel_stamps) setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    return CURL_SOCKOPT_OK;
}

static int on_socket_close(void *context, curl_socket_t fd) {
    struct transport *t = context;
    loop_forget(t->loop, fd);
    if ((size_t)fd < t->n_fds) t->by_fd[fd] = NULL;
    return close(fd);
}

/* The connection stands and the request goes out next. A second time in one request means that libcurl found
 * the reused connection dead and tries again on a new one without a word. */
static int on_connected(void *context, char *remote, char *local, int remote_port, int local_port) {
    (void)remote, (void)local, (void)remote_port, (void)local_port;
    struct slot *slot = context;
    slot->connected = true;
    if (slot->sends++ > 0) slot->response.record.retries++;
    if (slot->sockets_opened) slot->response.record.connected_ns = transport_now_ns(slot->transport);
    return CURL_PREREQFUNC_OK;
}

/* libcurl also reads when a timer of its own runs: the slot then still has the stamp of its last read, or of
 * the sending. */
static void freshen(struct slot *slot) {
    struct transport *t = slot->transport;
    if (t->reading == slot) return;
    int64_t now_ns = transport_now_ns(t);
    slot->read = (struct read_stamp){now_ns, now_ns, ++t->reads};
}

static size_t on_header(char *line, size_t size, size_t n, void *context) {
    (void)line;
    struct slot *slot = context;
    struct record *record = &slot->response.record;
    freshen(slot);
    if (record->first_byte_ns == RECORD_NONE) record->first_byte_ns = slot->read.arrived_ns;
    return size * n;
}

static void read_head(struct slot *slot) {
    long status = 0;
    char *content_type = NULL;
    curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(slot->easy, CURLINFO_CONTENT_TYPE, &content_type);
    response_head(&slot->response, status, content_type);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *context) {
    struct slot *slot = context;
    struct response *r = &slot->response;
    if (slot->warming) return size * n;
    freshen(slot);
    if (r->record.status == 0) read_head(slot);
    response_body(r, bytes, size * n, &slot->read);
    if (r->done && !slot->done_seen_ns) slot->done_seen_ns = slot->read.seen_ns;
    return r->no_memory || r->too_long ? 0 : size * n; /* 0 makes libcurl give the transfer up */
}

/* ---- slots ---- */

static void set_callbacks(struct slot *slot) {
    CURL *easy = slot->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, slot);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, slot);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_socket_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, slot->transport);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, slot);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, slot);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, slot);
}

/* Each slot is pinned to one address of the name; an empty host and port in "::" match any. */
static bool pin_address(struct slot *slot, size_t number) {
    const struct engine_config *config = slot->transport->config;
    if (config->n_addresses == 0) return true;
    const char *address = config->addresses[number % config->n_addresses];
    char entry[128];
    snprintf(entry, sizeof entry, "::%s:", address);
    slot->connect_to = curl_slist_append(NULL, entry);
    return slot->connect_to != NULL;
}

static void slot_free(struct slot *slot) {
    if (!slot) return;
    if (slot->busy) curl_multi_remove_handle(slot->multi->handle, slot->easy);
    if (slot->item.block) block_drop(slot->item.block);
    if (slot->easy) curl_easy_cleanup(slot->easy);
    curl_slist_free_all(slot->connect_to);
    response_free(&slot->response);
    free(slot->id_text);
    free(slot);
}

static size_t id_text_size(const struct engine_config *config) {
    return strlen(config->request_id_prefix) + sizeof "x-request-id: -9223372036854775808";
}

static struct slot *slot_new(struct transport *t) {
    const struct engine_config *config = t->config;
    struct slot *slot = calloc(1, sizeof *slot);
    if (!slot) return NULL;
    slot->transport = t;
    slot->multi = &t->multis[t->n_slots % t->n_multis];
    slot->easy = curl_easy_init();
    slot->id_text = calloc(1, id_text_size(config));
    slot->id_header = (struct curl_slist){slot->id_text, t->headers};
    bool ok = slot->easy && slot->id_text && pin_address(slot, t->n_slots) &&
              response_init(&slot->response, (size_t)config->max_event_bytes, config->keep_text,
                            config->keep_stamps) == 0;
    if (!ok) {
        slot_free(slot);
        return NULL;
    }
    slot->response.keep_events = config->keep_events;
    slot->response.raw = config->raw_bodies;
    set_callbacks(slot);
    transfer_options(slot->easy, config, t->share);
    curl_easy_setopt(slot->easy, CURLOPT_CONNECT_TO, slot->connect_to);
    curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER, config->no_request_ids ? t->headers : &slot->id_header);
    return slot;
}

static bool keep_slot(struct transport *t, struct slot *slot) {
    if (t->n_slots == t->cap_slots) {
        size_t cap = t->cap_slots ? 2 * t->cap_slots : 64;
        struct slot **more = realloc(t->slots, cap * sizeof(struct slot *));
        if (!more) return false;
        t->slots = more;
        t->cap_slots = cap;
    }
    t->slots[t->n_slots++] = slot;
    return true;
}

struct slot *transport_slot(struct transport *t) {
    struct slot *slot = t->free;
    if (slot) {
        t->free = slot->next;
        return slot;
    }
    slot = slot_new(t);
    if (!slot || keep_slot(t, slot)) return slot;
    slot_free(slot);
    return NULL;
}

static void give_back(struct slot *slot) {
    if (slot->item.block) block_drop(slot->item.block);
    slot->item.block = NULL;
    slot->next = slot->transport->free;
    slot->transport->free = slot;
}

size_t transport_n_slots(const struct transport *t) {
    return t->n_slots;
}
struct slot *transport_slot_at(const struct transport *t, size_t i) {
    return t->slots[i];
}

/* ---- the end of a transfer ---- */

/* The body's own word counts first where it is final: an error it told, or that it was whole. */
static enum outcome outcome_of(struct slot *slot, CURLcode code) {
    struct response *r = &slot->response;
    if (r->record.status == 0) read_head(slot);
    enum outcome body = response_finish(r);
    if (code == CURLE_OK) return body;
    bool is_half = r->kind == BODY_JSON && body == OUTCOME_malformed && !r->too_long;
    if (body == OUTCOME_stream_error || (body == OUTCOME_malformed && !is_half)) return body;
    if (body == OUTCOME_http_error && r->record.status) return body;
    if (body == OUTCOME_completed && response_is_whole(r)) return body;
    const char *message = slot->was_reset ? strerror(ECONNRESET) : curl_easy_strerror(code);
    response_error(r, message, strlen(message));
    return slot->was_reset ? OUTCOME_reset : transfer_outcome(slot->easy, code, slot->connected);
}

static void end_transfer(struct slot *slot, enum outcome outcome) {
    slot->busy = false;
    slot->response.record.end_ns = transport_now_ns(slot->transport);
    slot->response.record.outcome = (int32_t)outcome;
    slot->transport->on_end(slot->transport->context, slot, outcome);
    give_back(slot);
}

static void take_finished(struct multi *multi) {
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(multi->handle, &left))) {
        if (message->msg != CURLMSG_DONE) continue;
        CURLcode code = message->data.result; /* message dies with the removal */
        struct slot *slot = slot_of(message->easy_handle);
        curl_multi_remove_handle(multi->handle, slot->easy);
        end_transfer(slot, slot->warming ? OUTCOME_completed : outcome_of(slot, code));
    }
}

void transport_cut(struct slot *slot, enum outcome outcome, const char *why) {
    if (slot->busy) curl_multi_remove_handle(slot->multi->handle, slot->easy);
    struct response *r = &slot->response;
    if (r->record.status == 0) read_head(slot);
    enum outcome body = response_finish(r);
    if (body == OUTCOME_completed && response_is_whole(r)) outcome = body;
    if (outcome != body) response_error(r, why, strlen(why));
    end_transfer(slot, outcome);
}

/* ---- sending ---- */

static void kick(struct multi *multi, curl_socket_t fd, int mask) {
    int running;
    curl_multi_socket_action(multi->handle, fd, mask, &running);
    if (running < multi->running) take_finished(multi);
    multi->running = running;
}

static void launch(struct slot *slot) {
    struct multi *multi = slot->multi;
    slot->busy = true;
    multi->running++;
    curl_multi_add_handle(multi->handle, slot->easy);
    kick(multi, CURL_SOCKET_TIMEOUT, 0);
}

static void begin(struct slot *slot, bool warming) {
    slot->warming = warming;
    slot->connected = slot->was_reset = false;
    slot->sockets_opened = slot->sends = 0;
    slot->done_seen_ns = 0;
    response_begin(&slot->response);
    slot->response.record.sent_ns = slot->sent_ns = transport_now_ns(slot->transport);
    slot->read = (struct read_stamp){slot->sent_ns, slot->sent_ns, ++slot->transport->reads};
}

void transport_prepare(struct slot *slot) {
    const struct engine_config *config = slot->transport->config;
    int64_t index = item_index(&slot->item);
    snprintf(slot->id_text, id_text_size(config),
             config->uuid_request_ids ? "x-request-id: %s%012llx" : "x-request-id: %s%lld",
             config->request_id_prefix, (long long)index);
    curl_easy_setopt(slot->easy, CURLOPT_URL, config->url);
    curl_easy_setopt(slot->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDS, item_body(&slot->item));
    curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)item_body_len(&slot->item));
    begin(slot, false);
    slot->response.record.index = index;
    slot->response.record.bytes_sent = item_body_len(&slot->item);
}

void transport_send(struct slot *slot) {
    if (slot->transport->config->n_addresses == 0)
        transport_cut(slot, OUTCOME_dns_failed, "the server's name has no address");
    else
        launch(slot);
}

void transport_warm(struct slot *slot) {
    const struct engine_config *config = slot->transport->config;
    snprintf(slot->id_text, id_text_size(config), "x-request-id: %s%s", config->request_id_prefix,
             config->uuid_request_ids ? "ffffffffffff" : "warm");
    curl_easy_setopt(slot->easy, CURLOPT_URL, config->warm_url);
    curl_easy_setopt(slot->easy, CURLOPT_HTTPGET, 1L);
    begin(slot, true);
    launch(slot);
}

/* ---- what the loop brings ---- */

static int mask_of(int what) {
    return (what & LOOP_READ ? CURL_CSELECT_IN : 0) | (what & LOOP_WRITE ? CURL_CSELECT_OUT : 0) |
           (what & LOOP_ERROR ? CURL_CSELECT_ERR : 0);
}

struct readiness transport_ready(struct transport *t, const struct loop_event *event) {
    struct slot *slot = (size_t)event->fd < t->n_fds ? t->by_fd[event->fd] : NULL;
    struct readiness ready = {.seen_ns = transport_now_ns(t)};
    if (!slot) { /* an idle connection that the server closed; libcurl will notice when it wants to use it */
        loop_watch(t->loop, event->fd, 0);
        return ready;
    }
    bool stamped = (event->what & LOOP_READ) && t->config->kernel_stamps && slot->connected;
    int64_t arrived_ns = stamped ? arrival_ns(t, event->fd, ready.seen_ns, &slot->was_reset) : ready.seen_ns;
    int32_t chunks_before = slot->response.record.chunks;
    slot->read = (struct read_stamp){arrived_ns, ready.seen_ns, ++t->reads};
    t->reading = slot;
    kick(slot->multi, event->fd, mask_of(event->what));
    t->reading = NULL;
    if (stamped)
        ready.chunks = slot->response.record.chunks - chunks_before; /* a slot that ended keeps its record */
    ready.lag_ns = ready.seen_ns - arrived_ns;
    return ready;
}

int64_t transport_next_timer_ns(const struct transport *t) {
    int64_t next_ns = INT64_MAX;
    for (size_t i = 0; i < t->n_multis; i++)
        if (t->multis[i].timer_ns < next_ns) next_ns = t->multis[i].timer_ns;
    return next_ns;
}

void transport_run_timers(struct transport *t, int64_t now_ns) {
    for (size_t i = 0; i < t->n_multis; i++) {
        struct multi *multi = &t->multis[i];
        if (multi->timer_ns > now_ns) continue;
        multi->timer_ns = INT64_MAX;
        kick(multi, CURL_SOCKET_TIMEOUT, 0);
    }
}

const struct transport_totals *transport_totals(const struct transport *t) {
    return &t->totals;
}

/* ---- life ---- */

static bool make_headers(struct transport *t) {
    struct curl_slist *list =
        curl_slist_append(NULL, "Expect:"); /* else bodies over 1 MB wait for a 100 Continue */
    for (size_t i = 0; list && i < t->config->n_headers; i++) {
        struct curl_slist *longer = curl_slist_append(list, t->config->headers[i]);
        if (!longer) curl_slist_free_all(list);
        list = longer;
    }
    t->headers = list;
    return list != NULL;
}

static bool make_multis(struct transport *t, size_t n_multis) {
    t->multis = calloc(n_multis, sizeof *t->multis);
    if (!t->multis) return false;
    for (; t->n_multis < n_multis; t->n_multis++) {
        struct multi *multi = &t->multis[t->n_multis];
        *multi = (struct multi){.handle = curl_multi_init(), .transport = t, .timer_ns = INT64_MAX};
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

struct transport *transport_new(const struct engine_config *config, size_t n_multis, struct loop *loop,
                                transport_on_end *on_end, void *context) {
    struct transport *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->config = config;
    t->loop = loop;
    t->on_end = on_end;
    t->context = context;
    t->peeked = malloc(RECEIVE_STAMP_BYTES);
    t->share = curl_share_init();
    if (t->peeked && t->share && make_headers(t) && make_multis(t, n_multis)) {
        curl_share_setopt(t->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
        transport_set_start(t, clock_mono_ns());
        return t;
    }
    transport_free(t);
    return NULL;
}

void transport_free(struct transport *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n_slots; i++) slot_free(t->slots[i]);
    for (size_t i = 0; i < t->n_multis; i++)
        if (t->multis[i].handle) curl_multi_cleanup(t->multis[i].handle);
    if (t->share) curl_share_cleanup(t->share);
    curl_slist_free_all(t->headers);
    free(t->multis);
    free(t->slots);
    free(t->by_fd);
    free(t->peeked);
    free(t);
}
