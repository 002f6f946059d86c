/* Owns the slots, the run's clock, the decoding of bodies, and how a transfer ends.
 * Does not decide when to send, does not touch sockets (plain.c and curl.c do), nor what an answer means. */
#include "engine/transport.h"

#include <stdio.h>
#include <strings.h>

#include "engine/clock.h"
#include "engine/decoder.h"
#include "engine/socket.h"
#include "engine/transport_kind.h"
#include "stream/array.h"

/* ---- time ---- */

int64_t transport_now_ns(const struct transport *t) {
    return clock_mono_ns() - t->start_ns;
}

void transport_sync_clocks(struct transport *t) {
    t->real_to_run_ns = clock_follow(t->real_to_run_ns + t->start_ns, clock_pair()) - t->start_ns;
}

void transport_set_start(struct transport *t, int64_t start_mono_ns) {
    int64_t by_ns = t->start_ns - start_mono_ns;
    t->real_to_run_ns += by_ns;
    if (t->own) t->kind->shift(t->own, by_ns);
    t->start_ns = start_mono_ns;
}

int64_t transport_arrived_ns(const struct transport *t, int64_t stamp_real_ns, int64_t now_ns) {
    if (stamp_real_ns == RECORD_NONE) return now_ns;
    int64_t arrived_ns = stamp_real_ns + t->real_to_run_ns;
    return arrived_ns < now_ns ? arrived_ns : now_ns;
}

/* ---- slots ---- */

static void slot_free(struct slot *slot) {
    if (!slot) return;
    if (slot->busy) slot->transport->kind->abort(slot);
    slot->transport->kind->slot_free(slot);
    if (slot->item.block) block_drop(slot->item.block);
    response_free(&slot->response);
    decoder_free(slot->decoder);
    free(slot);
}

static struct slot *slot_new(struct transport *t) {
    const struct engine_config *config = t->config;
    struct slot *slot = calloc(1, sizeof *slot);
    if (!slot) return NULL;
    slot->transport = t;
    struct response_settings settings = {.max_event_bytes = (size_t)config->max_event_bytes,
                                         .keep_text = config->keep_text,
                                         .keep_stamps = config->keep_stamps,
                                         .keep_events = config->keep_events,
                                         .strict = config->strict_events,
                                         .raw = config->raw_bodies};
    if (response_init(&slot->response, &settings) != 0 || !t->kind->slot_init(slot)) {
        slot_free(slot);
        return NULL;
    }
    return slot;
}

static bool keep_slot(struct transport *t, struct slot *slot) {
    bool ok = ARRAY_ROOM(t->slots, t->cap_slots, t->n_slots + 1);
    if (ok) t->slots[t->n_slots++] = slot;
    return ok;
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

void transport_give_back(struct slot *slot) {
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

/* ---- sending ---- */

void transport_prepare(struct slot *slot) {
    struct transport *t = slot->transport;
    struct record *record = &slot->response.record;
    slot->connected = false;
    slot->is_get = slot->decodes = slot->undecodable = false;
    slot->done_seen_ns = 0;
    response_begin(&slot->response);
    record->sent_ns = slot->sent_ns = slot->connecting_ns = transport_now_ns(t);
    record->index = item_index(&slot->item);
    record->bytes_sent = item_body_len(&slot->item);
    slot->read = (struct read_stamp){slot->sent_ns, slot->sent_ns, ++t->reads};
}

void transport_send(struct slot *slot) {
    struct transport *t = slot->transport;
    slot->busy = true;
    t->n_busy++;
    if (t->config->n_addresses == 0)
        transport_end(slot, OUTCOME_dns_failed, "the server's name has no address");
    else
        t->kind->send(slot);
}

bool transport_may_connect(const struct transport *t, const struct sockaddr *to) {
    const struct engine_config *config = t->config;
    struct socket_address allowed;
    if (config->only_port == 0) return true;
    for (size_t i = 0; i < config->n_addresses; i++)
        if (socket_address(config->addresses[i], (int)config->only_port, &allowed) &&
            socket_is_same(&allowed, to))
            return true;
    return false;
}

/* ---- receiving ---- */

const char transport_not_as_coded[] = "the answer is not compressed as its Content-Encoding says";

void transport_take_coding(struct slot *slot, const char *content_encoding) {
    char message[160];
    enum coding coding = coding_of(content_encoding);
    if (coding == CODING_ZLIB && !slot->decoder) slot->decoder = decoder_new();
    slot->decodes = coding == CODING_ZLIB && slot->decoder;
    slot->undecodable = coding != CODING_NONE && !slot->decodes;
    if (slot->decodes) decoder_begin(slot->decoder);
    if (!slot->undecodable) return;
    int n = snprintf(message, sizeof message,
                     "the answer is compressed with '%s', which vllmperf cannot read", content_encoding);
    response_error(&slot->response, message, (size_t)n);
}

static void take_decoded(void *context, const char *bytes, size_t len) {
    struct slot *slot = context;
    struct response *r = &slot->response;
    const struct transport_events *events = &slot->transport->events;
    int32_t before = r->record.chunks;
    response_body(r, bytes, len, &slot->read);
    if (r->done && !slot->done_seen_ns) slot->done_seen_ns = slot->read.seen_ns;
    if (r->record.chunks > before)
        events->on_chunks(events->context, r->record.chunks - before,
                          slot->read.seen_ns - slot->read.arrived_ns);
}

bool transport_take_body(struct slot *slot, const char *bytes, size_t len) {
    if (slot->decodes) return decoder_feed(slot->decoder, bytes, len, take_decoded, slot);
    if (!slot->undecodable) take_decoded(slot, bytes, len);
    return true;
}

void transport_note_connection(struct transport *t, int64_t began_ns) {
    t->connections_opened++;
    t->events.on_connection(t->events.context, transport_now_ns(t) - began_ns);
}

/* ---- the end ---- */

/* Does what the body said count more than how the connection ended? */
static bool body_decides(const struct response *r, enum outcome body) {
    bool is_half = r->kind == BODY_JSON && body == OUTCOME_malformed && !r->is_stuck;
    if (body == OUTCOME_stream_error || (body == OUTCOME_malformed && !is_half)) return true;
    if (body == OUTCOME_http_error && r->record.status) return true;
    if (body == OUTCOME_local_fault) return true;
    return body == OUTCOME_completed && response_is_whole(r);
}

static void transport_finish(struct slot *slot, enum outcome outcome) {
    struct transport *t = slot->transport;
    slot->busy = false;
    t->n_busy--;
    slot->response.record.end_ns = transport_now_ns(t);
    slot->response.record.outcome = (int32_t)outcome;
    t->events.on_end(t->events.context, slot, outcome);
    transport_give_back(slot);
}

void transport_end(struct slot *slot, enum outcome outcome, const char *why) {
    struct response *r = &slot->response;
    enum outcome body = response_finish(r);
    r->record.clean_end = outcome == OUTCOME_completed && !r->cut_in_event;
    bool decides = outcome == OUTCOME_completed || body_decides(r, body);
    if (!decides) response_error(r, why, strlen(why));
    transport_finish(slot, decides ? body : outcome);
}

void transport_cut(struct slot *slot, enum outcome outcome, const char *why) {
    slot->transport->kind->abort(slot);
    struct response *r = &slot->response;
    enum outcome body = response_finish(r);
    if (body == OUTCOME_completed && response_is_whole(r)) outcome = body;
    if (outcome != body) response_error(r, why, strlen(why));
    transport_finish(slot, outcome);
}

/* ---- what the kind does ---- */

void transport_warm(struct transport *t, int64_t n) {
    if (t->config->n_addresses > 0) t->kind->warm(t->own, n);
}

size_t transport_opening(const struct transport *t) {
    return t->kind->opening(t->own);
}

void transport_ready(struct transport *t, const struct loop_event *event) {
    t->kind->ready(t->own, event);
}

bool transport_work(struct transport *t) {
    return t->kind->work(t->own);
}

bool transport_has_work(const struct transport *t) {
    return t->kind->has_work(t->own);
}

int64_t transport_next_timer_ns(const struct transport *t) {
    return t->kind->next_timer_ns(t->own);
}

void transport_run_timers(struct transport *t, int64_t now_ns) {
    t->kind->run_timers(t->own, now_ns);
}

void transport_tend(struct transport *t, int64_t now_ns, bool sending) {
    t->kind->tend(t->own, now_ns, sending);
}

int64_t transport_connections_opened(const struct transport *t) {
    return t->connections_opened;
}

/* ---- life ---- */

static bool is_plain(const char *url) {
    return strncasecmp(url, "http:", 5) == 0;
}

struct transport *transport_new(const struct engine_config *config, size_t n_multis, struct loop *loop,
                                const struct transport_events *events) {
    struct transport *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->config = config;
    t->loop = loop;
    t->events = *events;
    t->kind = is_plain(config->url) && !config->use_libcurl ? &transport_plain : &transport_curl;
    t->real_to_run_ns = clock_real_to_mono_ns();
    transport_set_start(t, clock_mono_ns());
    t->own = t->kind->open(t, n_multis);
    if (t->own) return t;
    transport_free(t);
    return NULL;
}

void transport_free(struct transport *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n_slots; i++) slot_free(t->slots[i]);
    if (t->own) t->kind->close(t->own);
    free(t->slots);
    free(t);
}
