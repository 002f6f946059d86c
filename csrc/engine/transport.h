/* transport: requests out, answers in, on many connections of one loop. Plain http runs on sockets of our own
 * (plain.c), https on libcurl (curl.c); this is what both have in common. Belongs to one thread. It owns its
 * slots and the connections. A request that fails ends with its outcome; NULL means out of memory.
 */
#ifndef VLLMPERF_TRANSPORT_H
#define VLLMPERF_TRANSPORT_H

#include "engine/engine.h"
#include "engine/loop.h"
#include "engine/queue.h"
#include "engine/response.h"

struct transport;

/* A place for one request in flight. */
struct slot {
    struct transport *transport;
    struct slot *next; /* in the list of free slots */
    struct response response;
    struct read_stamp read; /* of the bytes that are being handled */
    struct item item;
    void *carrier;           /* what the kind of transport keeps for it; NULL when it has none */
    struct decoder *decoder; /* NULL when no answer was compressed */
    bool decodes;            /* this answer is */
    bool undecodable;        /* in a way that we cannot read */
    int64_t sent_ns, done_seen_ns;
    int64_t connecting_ns; /* since when it waits for a connection */
    bool is_get;           /* a redirect made it a GET without a body */
    bool busy, connected;
};

/* What a transport tells its worker, always outside of the sending calls' callbacks. */
struct transport_events {
    /* A transfer is over; the slot is free afterwards. */
    void (*on_end)(void *context, struct slot *slot, enum outcome outcome);
    /* Token chunks were read, this long after the kernel had received them. */
    void (*on_chunks)(void *context, int32_t chunks, int64_t lag_ns);
    /* A new connection stands. */
    void (*on_connection)(void *context, int64_t took_ns);
    void *context;
};

/* NULL when out of memory. The start of the run is set later by transport_set_start. */
struct transport *transport_new(const struct engine_config *config, size_t n_multis, struct loop *loop,
                                const struct transport_events *events);
void transport_free(struct transport *transport);
void transport_set_start(struct transport *transport, int64_t start_mono_ns);
int64_t transport_connections_opened(const struct transport *transport);

/* CLOCK_MONOTONIC since the start. */
int64_t transport_now_ns(const struct transport *transport);

/* Pair the clocks anew: once a turn is often enough. */
void transport_sync_clocks(struct transport *transport);

/* A free slot, ready for a request; NULL when out of memory. */
struct slot *transport_slot(struct transport *transport);

/* Make ready for slot->item and stamp it as sent; transport_send hands it over and may end it at once. */
void transport_prepare(struct slot *slot);
void transport_send(struct slot *slot);

/* Open n connections that nobody needs yet; transport_opening: how many have neither been made nor failed. */
void transport_warm(struct transport *transport, int64_t n);
size_t transport_opening(const struct transport *transport);

/* A socket is ready: take its bytes with their stamp, or whatever else it has to say. What the bytes mean is
 * found out by transport_work, piece by piece, oldest first; false when nothing is left to do. */
void transport_ready(struct transport *transport, const struct loop_event *event);
bool transport_work(struct transport *transport);
bool transport_has_work(const struct transport *transport);

/* Timers: when the next is due (INT64_MAX = none), and run those that are. */
int64_t transport_next_timer_ns(const struct transport *transport);
void transport_run_timers(struct transport *transport, int64_t now_ns);

/* Now and then: close connections that were idle for too long, open spare ones while requests are sent. */
void transport_tend(struct transport *transport, int64_t now_ns, bool sending);

/* End a transfer that is in flight, with this outcome unless the answer was whole already. */
void transport_cut(struct slot *slot, enum outcome outcome, const char *why);

/* All slots there are, busy or not. */
size_t transport_n_slots(const struct transport *transport);
struct slot *transport_slot_at(const struct transport *transport, size_t i);

#endif
