/* worker: one engine thread. Sends what is due, lets the transport read, watches deadlines, keeps finished
 * requests until they are collected. The functions without a comment on threads belong to the worker's own
 * thread. It owns its loop, transport and results; the queue is lent to it.
 */
#ifndef VLLMPERF_WORKER_H
#define VLLMPERF_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/loop.h"
#include "engine/queue.h"

/* Live figures, written by the worker and read by anyone. */
struct worker_counters {
    atomic_llong sent, in_flight, done, completed, chunks, coalesced, connections_opened, silent_retries,
        cpu_ns, sending, lost, waiting;
};

/* How far the run is told to end: each level includes those before it. */
enum stop_level { STOP_NO, STOP_SENDING, STOP_NOW };

struct worker_setup {
    const struct engine_config *config;
    int number;
    int64_t max_concurrency; /* this worker's share; INT64_MAX = no limit */
    int64_t warm_connections;
    size_t n_multis;
    struct queue *queue;
    atomic_int *stop; /* enum stop_level, set by anyone */
    struct failures *failures;
    atomic_int *gave_up; /* enum failures_limit */
};

struct worker;

struct worker *worker_new(const struct worker_setup *setup); /* NULL when out of memory or descriptors */
void worker_free(struct worker *worker);

/* Open the warm connections; returns when they stand or 10 s have passed. */
void worker_warm(struct worker *worker);

/* Work until the run is over. */
void worker_run(struct worker *worker, int64_t start_mono_ns);

/* From any thread. */
void worker_wake(struct worker *worker);
const struct worker_counters *worker_counters(const struct worker *worker);
/* Moves the finished requests to an empty batch. */
void worker_collect(struct worker *worker, struct batch *batch);
void worker_add_histogram(struct worker *worker, enum engine_histogram which, struct hist *into);

#endif
