/* Owns a run: its workers, their queues, the common start, the collected results.
 * Does no I/O itself. */
#include "engine/engine.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/clock.h"
#include "engine/cores.h"
#include "engine/queue.h"
#include "engine/worker.h"

/* libcurl's cost of a request grows with the connections of its multi, but each multi reads the CA bundle. */
enum { STREAMS_PER_MULTI = 512, MAX_MULTIS = 16, STREAMS_PER_THREAD = 2000 };
#define START_DELAY_NS (2 * NS_PER_MS) /* so that every thread has seen the start time before it comes */
#define WARM_AHEAD_NS  (3 * NS_PER_S)  /* of a start time: servers close a connection that idles for longer */

struct seat { /* a worker with its thread */
    struct engine *engine;
    struct worker *worker;
    pthread_t thread;
    bool started;
};

struct engine {
    struct engine_config config;
    struct seat *seats;
    size_t n_seats, n_multis;
    /* Without a limit one a worker, so that they do not meet: request i is of worker i mod n. With a limit
     * one for all, so that whoever has a free slot takes the next request. */
    struct queue **queues;
    size_t n_queues;
    pthread_mutex_t feeding; /* of the next two */
    int64_t n_fed;
    bool has_times;
    atomic_int stop;
    struct failures failures;
    atomic_int gave_up;   /* enum failures_limit */
    atomic_llong lost;    /* results that were finished, and then had no room in the caller's batch */
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    size_t n_ready, n_ended;
    int64_t at_real_ns; /* when the caller wants the start, 0 = as soon as the connections are warm */
    int64_t start_mono_ns, start_real_ns;
    bool started;
};

/* ---- configuration ---- */

static char *copy_text(const char *text) {
    return strdup(text ? text : "");
}

static const char **copy_texts(const char *const *texts, size_t n) {
    const char **copies = calloc(n ? n : 1, sizeof *copies);
    for (size_t i = 0; copies && i < n; i++) copies[i] = copy_text(texts[i]);
    return copies;
}

static void free_texts(const char *const *texts, size_t n) {
    for (size_t i = 0; texts && i < n; i++) free((void *)(uintptr_t)texts[i]);
    free((void *)(uintptr_t)texts);
}

static bool copy_config(struct engine_config *to, const struct engine_config *from) {
    *to = *from;
    to->url = copy_text(from->url);
    to->warm_url = copy_text(from->warm_url);
    to->cacert = copy_text(from->cacert);
    to->capath = copy_text(from->capath);
    to->request_id_prefix = copy_text(from->request_id_prefix);
    to->session_header = copy_text(from->session_header);
    to->addresses = copy_texts(from->addresses, from->n_addresses);
    to->headers = copy_texts(from->headers, from->n_headers);
    return to->url && to->warm_url && to->cacert && to->capath && to->request_id_prefix &&
           to->session_header && to->addresses && to->headers;
}

static void free_config(struct engine_config *config) {
    free((void *)(uintptr_t)config->url);
    free((void *)(uintptr_t)config->warm_url);
    free((void *)(uintptr_t)config->cacert);
    free((void *)(uintptr_t)config->capath);
    free((void *)(uintptr_t)config->request_id_prefix);
    free((void *)(uintptr_t)config->session_header);
    free_texts(config->addresses, config->n_addresses);
    free_texts(config->headers, config->n_headers);
}

static int64_t engine_clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

/* One thread carries some 100,000 events a second: more only for many streams, and never more than half
 * the cores that are ours. */
static int64_t choose_threads(const struct engine_config *config) {
    int64_t cores = cores_usable();
    int64_t most = config->max_concurrency > 0 ? config->max_concurrency : INT64_MAX;
    if (config->threads > 0) return engine_clamp(config->threads, 1, most);
    return engine_clamp(config->max_in_flight_hint / STREAMS_PER_THREAD + 1, 1,
                        engine_clamp(cores / 2, 1, most));
}

static size_t choose_multis(const struct engine_config *config, int64_t threads) {
    if (config->multis > 0) return (size_t)config->multis;
    return (size_t)engine_clamp(config->max_in_flight_hint / threads / STREAMS_PER_MULTI + 1, 1, MAX_MULTIS);
}

/* ---- life ---- */

static int64_t engine_share(int64_t total, size_t parts, size_t number) {
    return total / (int64_t)parts + ((int64_t)number < total % (int64_t)parts);
}

static bool make_worker(struct engine *e, size_t number) {
    int64_t limit = e->config.max_concurrency;
    struct worker_setup setup = {
        .config = &e->config,
        .number = (int)number,
        .max_concurrency = limit > 0 ? engine_share(limit, e->n_seats, number) : INT64_MAX,
        .warm_connections = engine_share(e->config.warm_connections, e->n_seats, number),
        .n_multis = e->n_multis,
        .queue = e->queues[number % e->n_queues],
        .stop = &e->stop,
        .failures = &e->failures,
        .gave_up = &e->gave_up,
    };
    e->seats[number].engine = e;
    e->seats[number].worker = worker_new(&setup);
    return e->seats[number].worker != NULL;
}

static bool make_workers(struct engine *e) {
    int64_t threads = choose_threads(&e->config);
    e->n_multis = choose_multis(&e->config, threads);
    e->seats = calloc((size_t)threads, sizeof *e->seats);
    int64_t n_queues = e->config.max_concurrency > 0 ? 1 : threads;
    e->queues = calloc((size_t)n_queues, sizeof(struct queue *));
    if (!e->seats || !e->queues) return false;
    e->n_seats = (size_t)threads;
    e->n_queues = (size_t)n_queues;
    for (size_t i = 0; i < e->n_queues; i++)
        if (!(e->queues[i] = queue_new((int64_t)i, n_queues))) return false;
    for (size_t i = 0; i < e->n_seats; i++)
        if (!make_worker(e, i)) return false;
    return true;
}

static void init_lock(struct engine *e) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&e->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->feeding, NULL);
}

struct engine *engine_new(const struct engine_config *config, char *error, size_t error_len) {
    struct engine *e = calloc(1, sizeof *e);
    if (e) init_lock(e);
    if (e) failures_init(&e->failures, config->max_errors, config->max_recent_errors);
    if (e && copy_config(&e->config, config) && make_workers(e)) return e;
    snprintf(error, error_len, "cannot set up the engine: %s", errno ? strerror(errno) : "out of memory");
    engine_free(e);
    return NULL;
}

void engine_free(struct engine *e) {
    if (!e) return;
    engine_stop(e, true);
    for (size_t i = 0; i < e->n_seats; i++) {
        if (e->seats[i].started) pthread_join(e->seats[i].thread, NULL);
        worker_free(e->seats[i].worker);
    }
    for (size_t i = 0; i < e->n_queues; i++) queue_free(e->queues[i]);
    free(e->queues);
    free(e->seats);
    free_config(&e->config);
    failures_destroy(&e->failures);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    pthread_mutex_destroy(&e->feeding);
    free(e);
}

/* ---- feeding ---- */

static void wake_all(struct engine *e) {
    for (size_t i = 0; i < e->n_seats; i++)
        if (e->seats[i].worker) worker_wake(e->seats[i].worker);
}

/* Room in all queues first, so that a failure leaves each of them as it was. */
static bool engine_reserve(struct engine *e) {
    for (size_t i = 0; i < e->n_queues; i++)
        if (queue_reserve(e->queues[i]) != 0) return false;
    return true;
}

static int engine_enqueue(struct engine *e, size_t n, const int64_t *offsets, const int64_t *at_ns,
                          const int64_t *numbers, const int64_t *sessions, const char *bodies) {
    if (e->n_fed > 0 && e->has_times != (at_ns != NULL)) return -2;
    struct block *block = block_new(e->n_fed, n, offsets, at_ns, numbers, sessions, bodies);
    bool ok = block && engine_reserve(e);
    for (size_t i = 0; ok && i < e->n_queues; i++) queue_feed(e->queues[i], block);
    block_drop(block);
    if (!ok) return -1;
    e->has_times = at_ns != NULL;
    e->n_fed += (int64_t)n;
    return 0;
}

int engine_feed(struct engine *e, size_t n, const int64_t *offsets, const int64_t *at_ns,
                const int64_t *numbers, const int64_t *sessions, const char *bodies) {
    if (n == 0) return 0;
    pthread_mutex_lock(&e->feeding);
    int status = engine_enqueue(e, n, offsets, at_ns, numbers, sessions, bodies);
    pthread_mutex_unlock(&e->feeding);
    if (status == 0) wake_all(e);
    return status;
}

void engine_feed_end(struct engine *e) {
    for (size_t i = 0; i < e->n_queues; i++) queue_end(e->queues[i]);
    wake_all(e);
}

/* ---- the run ---- */

static struct timespec timespec_of(int64_t ns) {
    return (struct timespec){ns / NS_PER_S, ns % NS_PER_S};
}

/* Until shortly before the start that the caller wants, or the end. At least once a second the clocks are
 * compared again: the wall clock may be set meanwhile. */
static void wait_to_warm(struct engine *e) {
    pthread_mutex_lock(&e->lock);
    while (e->at_real_ns && atomic_load(&e->stop) == STOP_NO) {
        int64_t now_ns = clock_mono_ns();
        int64_t until_ns = e->at_real_ns + clock_real_to_mono_ns() - WARM_AHEAD_NS;
        if (until_ns <= now_ns) break;
        struct timespec until = timespec_of(until_ns < now_ns + NS_PER_S ? until_ns : now_ns + NS_PER_S);
        pthread_cond_timedwait(&e->changed, &e->lock, &until);
    }
    pthread_mutex_unlock(&e->lock);
}

static void set_start(struct engine *e) {
    int64_t real_to_mono_ns = clock_real_to_mono_ns();
    int64_t soonest_ns = clock_mono_ns() + START_DELAY_NS, wanted_ns = e->at_real_ns + real_to_mono_ns;
    e->start_mono_ns = e->at_real_ns && wanted_ns > soonest_ns ? wanted_ns : soonest_ns;
    e->start_real_ns = e->start_mono_ns - real_to_mono_ns;
}

/* All threads meet here when their connections are warm; the last one sets the start. */
static int64_t engine_meet(struct engine *e) {
    pthread_mutex_lock(&e->lock);
    if (++e->n_ready == e->n_seats) {
        set_start(e);
        pthread_cond_broadcast(&e->changed);
    }
    while (e->n_ready < e->n_seats) pthread_cond_wait(&e->changed, &e->lock);
    int64_t start_ns = e->start_mono_ns;
    pthread_mutex_unlock(&e->lock);
    return start_ns;
}

static void *engine_work(void *argument) {
    struct seat *seat = argument;
    struct engine *e = seat->engine;
    wait_to_warm(e);
    worker_warm(seat->worker);
    worker_run(seat->worker, engine_meet(e));
    pthread_mutex_lock(&e->lock);
    e->n_ended++;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* Signals are the caller's: a thread of ours that took Ctrl-C would hide it from Python. */
static int engine_start_thread(struct seat *seat) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&seat->thread, NULL, engine_work, seat);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    seat->started = error == 0;
    return error;
}

static bool is_first_start(struct engine *e, int64_t at_real_ns) {
    pthread_mutex_lock(&e->lock);
    bool is_first = !e->started;
    if (is_first) e->at_real_ns = at_real_ns;
    e->started = true;
    pthread_mutex_unlock(&e->lock);
    return is_first;
}

int engine_start(struct engine *e, int64_t at_real_ns) {
    int error = 0;
    if (!is_first_start(e, at_real_ns)) return -1;
    for (size_t i = 0; i < e->n_seats; i++) {
        int failed = engine_start_thread(&e->seats[i]);
        if (!failed) continue;
        error = failed;
        pthread_mutex_lock(&e->lock); /* the others must not wait for one that never came */
        e->n_ready++;
        e->n_ended++;
        pthread_cond_broadcast(&e->changed);
        pthread_mutex_unlock(&e->lock);
    }
    if (error) engine_stop(e, true);
    return error;
}

void engine_stop(struct engine *e, bool now) {
    int level = now ? STOP_NOW : STOP_SENDING;
    pthread_mutex_lock(&e->lock);
    if (atomic_load(&e->stop) < level) atomic_store(&e->stop, level);
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    wake_all(e);
}

/* ---- results ---- */

bool engine_wait(struct engine *e, int64_t timeout_ns) {
    struct timespec until = timespec_of(clock_mono_ns() + timeout_ns);
    pthread_mutex_lock(&e->lock);
    while (e->n_ended < e->n_seats)
        if (pthread_cond_timedwait(&e->changed, &e->lock, &until) != 0) break;
    bool ended = e->n_ended == e->n_seats;
    pthread_mutex_unlock(&e->lock);
    return ended;
}

/* Move everything of `from` behind `into`. Gives how many there was no room for. */
static int64_t engine_join(struct batch *into, struct batch *from) {
    const struct record_gap *gaps = from->gaps;
    const struct record_stamp *stamps = from->stamps;
    const struct record_event *events = from->events;
    const char *bytes = from->bytes;
    int64_t lost = 0;
    for (size_t i = 0; i < from->n_records; i++) {
        const struct record *record = &from->records[i];
        const char *error = bytes ? bytes + record->text_len : NULL;
        lost += batch_add(into, record, gaps, stamps, events, bytes, error) != 0;
        gaps += record->n_gaps;
        stamps += record->n_chunk_stamps;
        if (events) events += record->events;
        bytes += record->text_len + record->error_len;
    }
    batch_free(from);
    return lost;
}

bool engine_drain(struct engine *e, int64_t timeout_ns, struct batch *batch) {
    bool ended = engine_wait(e, timeout_ns); /* asked before collecting, so that nothing comes after it */
    worker_collect(e->seats[0].worker, batch);
    for (size_t i = 1; i < e->n_seats; i++) {
        struct batch more = {0};
        worker_collect(e->seats[i].worker, &more);
        atomic_fetch_add(&e->lost, engine_join(batch, &more));
    }
    return !ended || batch->n_records > 0;
}

static enum engine_state state_of(struct engine *e, bool sending) {
    if (!e->started) return ENGINE_NEW;
    if (e->n_ended == e->n_seats) return ENGINE_ENDED;
    if (e->start_mono_ns == 0 || clock_mono_ns() < e->start_mono_ns) return ENGINE_WARMING;
    return sending ? ENGINE_RUNNING : ENGINE_DRAINING;
}

static long long engine_get(const atomic_llong *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void engine_counters(struct engine *e, struct engine_counters *sum) {
    bool sending = false;
    memset(sum, 0, sizeof *sum);
    for (size_t i = 0; i < e->n_seats; i++) {
        const struct worker_counters *c = worker_counters(e->seats[i].worker);
        sum->sent += engine_get(&c->sent);
        sum->in_flight += engine_get(&c->in_flight);
        sum->waiting += engine_get(&c->waiting);
        sum->done += engine_get(&c->done);
        sum->completed += engine_get(&c->completed);
        sum->chunks += engine_get(&c->chunks);
        sum->coalesced += engine_get(&c->coalesced);
        sum->connections_opened += engine_get(&c->connections_opened);
        sum->silent_retries += engine_get(&c->silent_retries);
        sum->lost += engine_get(&c->lost);
        sum->cpu_ns += engine_get(&c->cpu_ns);
        sending = sending || engine_get(&c->sending);
    }
    for (size_t i = 0; i < e->n_queues; i++) sum->backlog += queue_length(e->queues[i]);
    sum->lost += engine_get(&e->lost);
    sum->threads = (int64_t)e->n_seats;
    sum->multis = (int64_t)e->n_multis;
    sum->gave_up = (enum failures_limit)atomic_load(&e->gave_up);
    pthread_mutex_lock(&e->lock);
    sum->start_mono_ns = e->start_mono_ns;
    sum->start_real_ns = e->start_real_ns;
    sum->state = state_of(e, sending);
    pthread_mutex_unlock(&e->lock);
}

struct hist *engine_histogram(struct engine *e, enum engine_histogram which, size_t thread) {
    struct hist *hist = hist_new();
    if (hist) worker_add_histogram(e->seats[thread].worker, which, hist);
    return hist;
}
