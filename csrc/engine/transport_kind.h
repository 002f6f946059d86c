/* transport_kind: what a kind of transport provides (one table of functions each) and what it may use of the
 * common part. Only transport.c, plain.c and curl.c include this. For the transport's thread; a slot belongs
 * to the transport, its carrier to the kind.
 */
#ifndef VLLMPERF_TRANSPORT_KIND_H
#define VLLMPERF_TRANSPORT_KIND_H

#include <sys/socket.h>

#include "engine/transport.h"

struct transport_kind {
    /* The kind's own part of the transport, NULL when out of memory. */
    void *(*open)(struct transport *t, size_t n_multis);
    void (*close)(void *own);
    bool (*slot_init)(struct slot *slot);
    void (*slot_free)(struct slot *slot);
    void (*send)(struct slot *slot);
    void (*abort)(struct slot *slot); /* its transfer ends here and now */
    void (*warm)(void *own, int64_t n);
    size_t (*opening)(const void *own);
    void (*ready)(void *own, const struct loop_event *event);
    bool (*work)(void *own);
    bool (*has_work)(const void *own);
    int64_t (*next_timer_ns)(const void *own);
    void (*run_timers)(void *own, int64_t now_ns);
    void (*tend)(void *own, int64_t now_ns, bool sending);
    void (*shift)(void *own, int64_t by_ns); /* the clock was set: add this to every time that is kept */
};

extern const struct transport_kind transport_plain, transport_curl;

struct transport {
    const struct engine_config *config;
    const struct transport_kind *kind;
    void *own;
    struct loop *loop;
    struct transport_events events;
    struct slot **slots;
    size_t n_slots, cap_slots, n_busy;
    struct slot *free;
    int64_t start_ns, real_to_run_ns;
    int64_t connections_opened;
    uint64_t reads; /* numbers the reads */
};

/* Is this one of the places that config->only_port leaves? */
bool transport_may_connect(const struct transport *t, const struct sockaddr *to);

/* A kernel stamp on the run's clock, at most now_ns; now_ns when there is none. */
int64_t transport_arrived_ns(const struct transport *t, int64_t stamp_real_ns, int64_t now_ns);

/* How the head says that the body is compressed ("" = not), before its first bytes. */
void transport_take_coding(struct slot *slot, const char *content_encoding);

/* The next bytes of slot's body as they came, with the stamps in slot->read. False when they are not
 * compressed as the head says; transport_not_as_coded is why. */
bool transport_take_body(struct slot *slot, const char *bytes, size_t len);
extern const char transport_not_as_coded[];

/* Count and tell a connection that stands since began_ns + took. */
void transport_note_connection(struct transport *t, int64_t began_ns);

/* Of a slot that was taken with transport_slot and carried no request. */
void transport_give_back(struct slot *slot);

/* The transfer is over. `outcome` is how the connection ended it, OUTCOME_completed when by the rules of
 * HTTP; what the body says of itself counts first where it is final. `why`: in words, for the record. */
void transport_end(struct slot *slot, enum outcome outcome, const char *why);

#endif
