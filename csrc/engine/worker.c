/* Owns one thread's loop: pacing, slots in use, deadlines, finished requests, lag histograms.
 * Does not speak HTTP (transport does) and does not choose the order of requests (queue does). */
#include "engine/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "engine/clock.h"
#include "engine/transport.h"

/* Time-outs are looked at this often: they are for giving up, not for measuring. */
#define TICK_NS       (20 * NS_PER_MS)
#define PUBLISH_NS    (500 * NS_PER_MS)
#define WARM_LIMIT_NS (10 * NS_PER_S)
/* After [DONE] the server has this long to end the transfer, so that the connection can be used again. */
#define LINGER_NS (1 * NS_PER_S)
/* A burst is sent in pieces of this many, so that answers are not left waiting meanwhile. */
enum { SENDS_PER_TURN = 8, PIECES_PER_TURN = 64 };
/* While arrived bytes wait for their turn, sockets are looked at this often: what came since the last look
 * shares a stamp when it came on one socket. */
#define LOOK_NS (NS_PER_MS / 2)

struct worker {
    struct worker_setup setup;
    struct loop *loop;
    struct transport *transport;
    struct worker_counters counters;
    int64_t in_flight;
    int64_t next_due_ns;             /* INT64_MAX: nothing to send before something else happens */
    int64_t full_until_ns, freed_ns; /* when a slot became free: after having been full; at all */
    int64_t next_tick_ns, next_publish_ns, cut_at_ns;
    int64_t looked_ns;             /* at the sockets */
    int64_t wake_ns, oversleep_ns; /* when the sleep was to end; how late sleeps ended, on average */
    bool warming, sending, full;
    struct hist *live[HISTOGRAM_COUNT];
    pthread_mutex_t lock; /* of what follows */
    struct batch batch;
    struct hist *shared[HISTOGRAM_COUNT];
};

static void worker_add(atomic_llong *counter, long long more) {
    if (more) atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

/* ---- finished requests ---- */

/* Too many failed requests end the sending; what is cut at the end of a run did not fail. What ends a run
 * that sends no more anyway is not this. */
static void note_failure(struct worker *w, enum outcome outcome) {
    if (outcome == OUTCOME_incomplete) return;
    enum failures_limit limit = failures_add(w->setup.failures, outcome != OUTCOME_completed);
    int level = STOP_NO;
    if (limit != FAILURES_FEW && w->sending &&
        atomic_compare_exchange_strong(w->setup.stop, &level, STOP_SENDING))
        atomic_store(w->setup.gave_up, (int)limit);
}

static void on_end(void *context, struct slot *slot, enum outcome outcome) {
    struct worker *w = context;
    struct record *record = &slot->response.record;
    record->thread = w->setup.number;
    if (w->full) w->full_until_ns = record->end_ns;
    w->full = false;
    w->freed_ns = record->end_ns;
    w->in_flight--;
    w->next_due_ns = 0; /* look at the queue again in this turn */
    worker_add(&w->counters.in_flight, -1);
    worker_add(&w->counters.done, 1);
    worker_add(&w->counters.completed, outcome == OUTCOME_completed);
    worker_add(&w->counters.chunks, record->chunks);
    worker_add(&w->counters.coalesced, record->coalesced);
    worker_add(&w->counters.silent_retries, record->retries);
    note_failure(w, outcome);
    pthread_mutex_lock(&w->lock);
    worker_add(&w->counters.lost, response_store(&slot->response, &w->batch) != 0);
    pthread_mutex_unlock(&w->lock);
}

static void on_chunks(void *context, int32_t chunks, int64_t lag_ns) {
    struct worker *w = context;
    hist_add(w->live[HISTOGRAM_CLIENT_LAG], lag_ns, (uint64_t)chunks);
}

static void on_connection(void *context, int64_t took_ns) {
    struct worker *w = context;
    hist_add(w->live[HISTOGRAM_CONNECT], took_ns, 1);
}

void worker_collect(struct worker *w, struct batch *batch) {
    pthread_mutex_lock(&w->lock);
    *batch = w->batch;
    memset(&w->batch, 0, sizeof w->batch);
    pthread_mutex_unlock(&w->lock);
}

/* ---- sending ---- */

/* How late this request leaves by our own fault: what it waited for a slot stands apart, as the plan's. */
static void note_lag(struct worker *w, struct slot *slot) {
    struct record *record = &slot->response.record;
    const int64_t *at_ns = slot->item.block->at_ns;
    int64_t due_ns;
    if (at_ns) {
        due_ns = record->scheduled_ns = at_ns[slot->item.i];
        if (w->full_until_ns > due_ns) {
            record->slot_wait_ns = w->full_until_ns - due_ns;
            due_ns = w->full_until_ns;
        }
    } else {
        due_ns = w->freed_ns; /* closed loop: since a slot was free; the start, for the first ones */
    }
    hist_add(w->live[HISTOGRAM_SCHEDULE_LAG], slot->sent_ns - due_ns, 1);
}

/* transport_send may end the request at once and store its record, so the lag is noted before. */
static bool send_one(struct worker *w, const struct item *item) {
    struct slot *slot = transport_slot(w->transport);
    if (!slot) return false;
    slot->item = *item;
    w->in_flight++;
    worker_add(&w->counters.in_flight, 1);
    worker_add(&w->counters.sent, 1);
    transport_prepare(slot);
    note_lag(w, slot);
    transport_send(slot);
    return true;
}

static void stop_sending(struct worker *w, int64_t now_ns, bool limited) {
    w->sending = false;
    atomic_store(&w->counters.sending, 0);
    w->next_due_ns = INT64_MAX;
    if (limited) w->cut_at_ns = now_ns + w->setup.config->grace_ns;
}

/* Has somebody, or the clock, said that no more is to be sent? Asked before each request. */
static void check_end_of_sending(struct worker *w, int64_t now_ns) {
    int64_t duration_ns = w->setup.config->duration_ns;
    bool told = atomic_load(w->setup.stop) >= STOP_SENDING || (duration_ns && now_ns >= duration_ns);
    if (told && (w->sending || w->cut_at_ns == INT64_MAX)) stop_sending(w, now_ns, true);
}

static void send_due(struct worker *w) {
    w->next_due_ns = INT64_MAX;
    for (int sends = 0; w->sending; sends++) {
        int64_t now_ns = transport_now_ns(w->transport), next_ns = INT64_MAX;
        check_end_of_sending(w, now_ns);
        w->full = w->in_flight >= w->setup.max_concurrency;
        if (w->full || !w->sending) return;
        if (sends == SENDS_PER_TURN) {
            w->next_due_ns = now_ns;
            return;
        }
        struct item item;
        enum take taken = queue_take(w->setup.queue, now_ns, &item, &next_ns);
        if (taken == TAKE_ITEM && !send_one(w, &item)) {
            block_drop(item.block);
            worker_add(&w->counters.lost, 1);
        }
        if (taken == TAKE_LATER) w->next_due_ns = next_ns;
        if (taken == TAKE_END) stop_sending(w, now_ns, false);
        if (taken != TAKE_ITEM) return;
    }
}

/* ---- deadlines ---- */

static bool worker_over(int64_t since_ns, int64_t limit_ns, int64_t now_ns) {
    return now_ns - since_ns > limit_ns;
}

static void check_slot(struct worker *w, struct slot *slot, int64_t now_ns) {
    const struct engine_config *config = w->setup.config;
    const struct response *r = &slot->response;
    bool has_token = r->record.first_token_ns != RECORD_NONE;
    if (slot->done_seen_ns && worker_over(slot->done_seen_ns, LINGER_NS, now_ns))
        transport_cut(slot, OUTCOME_truncated, "the transfer did not end after [DONE]");
    else if (worker_over(slot->sent_ns, config->total_timeout_ns, now_ns))
        transport_cut(slot, OUTCOME_total_timeout, "the request took longer than --total-timeout");
    else if (!slot->connected && worker_over(slot->connecting_ns, config->connect_timeout_ns, now_ns))
        transport_cut(slot, OUTCOME_connect_timeout, "no connection within --connect-timeout");
    else if (!has_token && worker_over(slot->sent_ns, config->first_token_timeout_ns, now_ns))
        transport_cut(slot, OUTCOME_first_token_timeout, "no token within --first-token-timeout");
    else if (has_token && worker_over(r->last_event_ns, config->stall_timeout_ns, now_ns))
        transport_cut(slot, OUTCOME_stalled, "no event for longer than --stall-timeout");
}

static void check_slots(struct worker *w, int64_t now_ns) {
    int64_t waiting = 0;
    for (size_t i = 0; i < transport_n_slots(w->transport); i++) {
        struct slot *slot = transport_slot_at(w->transport, i);
        if (slot->busy) check_slot(w, slot, now_ns);
        waiting += slot->busy && slot->response.record.first_token_ns == RECORD_NONE;
    }
    atomic_store_explicit(&w->counters.waiting, waiting, memory_order_relaxed);
}

static void cut_all(struct worker *w, const char *why) {
    for (size_t i = 0; i < transport_n_slots(w->transport); i++) {
        struct slot *slot = transport_slot_at(w->transport, i);
        if (slot->busy) transport_cut(slot, OUTCOME_incomplete, why);
    }
}

/* Has the end of the run come for what is in flight? */
static void check_run(struct worker *w, int64_t now_ns) {
    check_end_of_sending(w, now_ns);
    if (atomic_load(w->setup.stop) == STOP_NOW)
        cut_all(w, "cut: the run was stopped");
    else if (now_ns >= w->cut_at_ns)
        cut_all(w, "cut: still in flight when the grace period after the run had passed");
}

static void publish_histogram(struct worker *w, int which) {
    pthread_mutex_lock(&w->lock);
    hist_merge(w->shared[which], w->live[which]);
    pthread_mutex_unlock(&w->lock);
    hist_clear(w->live[which]);
}

static void worker_publish(struct worker *w) {
    for (int i = 0; i < HISTOGRAM_COUNT; i++) publish_histogram(w, i);
    atomic_store_explicit(&w->counters.cpu_ns, clock_ns(CLOCK_THREAD_CPUTIME_ID), memory_order_relaxed);
    atomic_store_explicit(&w->counters.connections_opened, transport_connections_opened(w->transport),
                          memory_order_relaxed);
}

static void worker_tick(struct worker *w, int64_t now_ns) {
    if (now_ns < w->next_tick_ns) return;
    w->next_tick_ns = now_ns + TICK_NS;
    check_slots(w, now_ns);
    check_run(w, now_ns);
    transport_tend(w->transport, now_ns, w->sending);
    if (now_ns < w->next_publish_ns) return;
    w->next_publish_ns = now_ns + PUBLISH_NS;
    worker_publish(w);
}

/* ---- the loop ---- */

static int64_t worker_least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Sleep until something is due, but wake early enough to spin the rest: a sleep ends too late, by 0.02 to 0.1
 * ms as machines go. As early as sleeps were late on average: to spin longer would only cost CPU. */
static int64_t wait_ns(struct worker *w, int64_t now_ns) {
    if (transport_has_work(w->transport)) return 0;
    w->wake_ns = worker_least(w->next_tick_ns, transport_next_timer_ns(w->transport));
    if (w->next_due_ns != INT64_MAX) {
        int64_t spin_ns = worker_least(w->oversleep_ns + w->oversleep_ns / 4, w->setup.config->spin_ns);
        w->wake_ns = worker_least(w->wake_ns, w->next_due_ns - spin_ns);
    }
    return w->wake_ns > now_ns ? w->wake_ns - now_ns : 0;
}

static void note_oversleep(struct worker *w, int64_t now_ns) {
    int64_t late_ns = worker_least(now_ns - w->wake_ns, w->setup.config->spin_ns);
    w->oversleep_ns += (late_ns - w->oversleep_ns) / 16;
}

/* Take what the sockets have, with its stamps: each at most once, since so many may be ready all the time
 * that there is no end to it, and not while something is due. A wake-up may mean that more was fed or that
 * the run was stopped. */
static int worker_look(struct worker *w, int64_t timeout_ns) {
    struct loop_event events[LOOP_BATCH];
    int n, total = 0;
    do {
        bool woken = false;
        n = loop_wait(w->loop, timeout_ns, events, &woken);
        if (woken) w->next_tick_ns = INT64_MIN; /* before the start, too, time being negative then */
        if (woken && w->sending) w->next_due_ns = 0;
        if (n > 0) transport_sync_clocks(w->transport);
        for (int i = 0; i < n; i++) transport_ready(w->transport, &events[i]);
        total += n;
        timeout_ns = 0;
        w->looked_ns = transport_now_ns(w->transport);
    } while (n == LOOP_BATCH && total < w->in_flight && w->looked_ns < w->next_due_ns);
    return total;
}

/* Make sense of what has arrived, and go on looking at the sockets and sending what is due meanwhile. Ends
 * when the rest of the turn is due, but not before it got somewhere. */
static void worker_work(struct worker *w) {
    for (int pieces = 1; transport_work(w->transport); pieces++) {
        int64_t now_ns = transport_now_ns(w->transport);
        if (w->next_due_ns <= now_ns) send_due(w);
        if (now_ns - w->looked_ns >= LOOK_NS) worker_look(w, 0);
        if (w->next_tick_ns <= now_ns && pieces >= PIECES_PER_TURN) return;
    }
}

static void worker_turn(struct worker *w) {
    int64_t sleep_ns = wait_ns(w, transport_now_ns(w->transport));
    int n = worker_look(w, sleep_ns);
    int64_t began_ns = w->looked_ns;
    if (sleep_ns > 0 && began_ns >= w->wake_ns) note_oversleep(w, began_ns);
    worker_work(w);
    int64_t now_ns = transport_now_ns(w->transport);
    if (transport_next_timer_ns(w->transport) <= now_ns) transport_run_timers(w->transport, now_ns);
    if (w->next_due_ns <= now_ns) send_due(w);
    worker_tick(w, now_ns);
    if (n > 0 && !w->warming) hist_add(w->live[HISTOGRAM_LOOP], transport_now_ns(w->transport) - began_ns, 1);
}

void worker_run(struct worker *w, int64_t start_mono_ns) {
    transport_set_start(w->transport, start_mono_ns);
    w->next_due_ns = w->next_publish_ns = 0;
    w->next_tick_ns = INT64_MIN;
    w->full_until_ns = w->freed_ns = 0;
    w->cut_at_ns = INT64_MAX;
    w->sending = true;
    w->warming = false;
    atomic_store(&w->counters.sending, 1);
    while (w->sending || w->in_flight > 0) worker_turn(w);
    worker_publish(w);
}

void worker_warm(struct worker *w) {
    char name[16];
    snprintf(name, sizeof name, "vllmperf-%d", w->setup.number);
    prctl(PR_SET_NAME, name);
    prctl(PR_SET_TIMERSLACK, 1UL); /* else the kernel may round each sleep up by 50 us */
    int64_t limit_ns = transport_now_ns(w->transport) + WARM_LIMIT_NS;
    w->warming = true;
    w->next_due_ns = w->next_publish_ns = w->cut_at_ns = INT64_MAX;
    transport_warm(w->transport, w->setup.warm_connections);
    while (transport_opening(w->transport) > 0 && transport_now_ns(w->transport) < limit_ns &&
           atomic_load(w->setup.stop) == STOP_NO)
        worker_turn(w);
}

/* ---- life ---- */

void worker_wake(struct worker *w) {
    loop_wake(w->loop);
}

const struct worker_counters *worker_counters(const struct worker *w) {
    return &w->counters;
}

void worker_add_histogram(struct worker *w, enum engine_histogram which, struct hist *into) {
    pthread_mutex_lock(&w->lock);
    hist_merge(into, w->shared[which]);
    pthread_mutex_unlock(&w->lock);
}

static bool make_histograms(struct worker *w) {
    for (int i = 0; i < HISTOGRAM_COUNT; i++) {
        w->live[i] = hist_new();
        w->shared[i] = hist_new();
        if (!w->live[i] || !w->shared[i]) return false;
    }
    return true;
}

struct worker *worker_new(const struct worker_setup *setup) {
    struct worker *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    pthread_mutex_init(&w->lock, NULL);
    w->setup = *setup;
    w->loop = loop_new();
    struct transport_events events = {
        .on_end = on_end, .on_chunks = on_chunks, .on_connection = on_connection, .context = w};
    if (w->loop) w->transport = transport_new(setup->config, setup->n_multis, w->loop, &events);
    if (w->transport && make_histograms(w)) return w;
    worker_free(w);
    return NULL;
}

void worker_free(struct worker *w) {
    if (!w) return;
    transport_free(w->transport);
    loop_free(w->loop);
    batch_free(&w->batch);
    for (int i = 0; i < HISTOGRAM_COUNT; i++) {
        hist_free(w->live[i]);
        hist_free(w->shared[i]);
    }
    pthread_mutex_destroy(&w->lock);
    free(w);
}
