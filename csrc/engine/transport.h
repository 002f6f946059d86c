/* transport: libcurl. Many small multis on one loop, easy handles that are kept, the kernel's receive stamp
 * before each read, and the outcome of a transfer. Belongs to one thread.
 */
#ifndef VLLMPERF_TRANSPORT_H
#define VLLMPERF_TRANSPORT_H

#include <curl/curl.h>

#include "engine/engine.h"
#include "engine/loop.h"
#include "engine/queue.h"
#include "engine/response.h"

struct transport;

/* A place for one request in flight: an easy handle with everything that goes with it. */
struct slot {
    struct transport *transport;
    struct multi *multi;
    CURL *easy;
    struct slot *next; /* in the list of free slots */
    struct response response;
    struct read_stamp read; /* of the readiness event being handled */
    struct item item;
    struct curl_slist id_header; /* its text is ours, its tail is the common list */
    struct curl_slist *connect_to;
    char *id_text;
    int64_t sent_ns, done_seen_ns;
    int sockets_opened, sends; /* in this request */
    bool busy, warming, connected, was_reset;
};

/* Called when a transfer is over, outside of any libcurl callback; the slot is free afterwards. */
typedef void transport_on_end(void *context, struct slot *slot, enum outcome outcome);

struct transport_totals {
    int64_t connections_opened;
};

/* start_ns: CLOCK_MONOTONIC of the run's start, set later by transport_set_start. NULL when out of memory. */
struct transport *transport_new(const struct engine_config *config, size_t n_multis, struct loop *loop,
                                transport_on_end *on_end, void *context);
void transport_free(struct transport *transport);
void transport_set_start(struct transport *transport, int64_t start_mono_ns);
const struct transport_totals *transport_totals(const struct transport *transport);

/* CLOCK_MONOTONIC since the start. */
int64_t transport_now_ns(const struct transport *transport);

/* Pair the clocks anew: once a turn is often enough. */
void transport_sync_clocks(struct transport *transport);

/* A free slot, ready for a request; NULL when out of memory. */
struct slot *transport_slot(struct transport *transport);

/* Make ready for slot->item and stamp it as sent; transport_send hands it over and may end it at once. */
void transport_prepare(struct slot *slot);
void transport_send(struct slot *slot);

/* Open a connection with a GET, the answer is ignored. */
void transport_warm(struct slot *slot);

/* A socket is ready: read it, and say when that was seen, how long after the arrival, and how many token
 * chunks came (0 when the lag is not known). */
struct readiness {
    int64_t seen_ns, lag_ns;
    int32_t chunks;
};
struct readiness transport_ready(struct transport *transport, const struct loop_event *event);

/* libcurl's own timers: when the next is due (INT64_MAX = none), and run those that are. */
int64_t transport_next_timer_ns(const struct transport *transport);
void transport_run_timers(struct transport *transport, int64_t now_ns);

/* End a transfer that is in flight, with this outcome unless the answer was whole already. */
void transport_cut(struct slot *slot, enum outcome outcome, const char *why);

/* All slots there are, busy or not. */
size_t transport_n_slots(const struct transport *transport);
struct slot *transport_slot_at(const struct transport *transport, size_t i);

#endif
