/* sim: what all parts of one simulated server share: settings, timers, counters, buffers. Everything here
 * belongs to the server's thread, except `counters`, which any thread may read, and what `ready` points to.
 */
#ifndef VLLMPERF_SIM_SIM_H
#define VLLMPERF_SIM_SIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sim/buf.h"
#include "sim/dist.h"
#include "sim/fault.h"
#include "sim/http.h"
#include "sim/metrics.h"
#include "sim/router.h"
#include "sim/scheduler.h"
#include "sim/truth.h"
#include "sim/wheel.h"

struct sim_config {
    char *host, *model, *version;
    char *truth_path; /* "" = none */
    int port;         /* 0 = any free one */
    struct dist ttft, itl;
    int64_t tokens_per_chunk;
    int64_t chat_max_tokens; /* of a chat that names no limit */
    double eos_mean;         /* mean tokens up to the end token; 0 = it never comes */
    uint64_t seed;
    int64_t max_model_len, vocab_size;        /* vocab_size 0 = any token id is known */
    int64_t keep_alive_ns, sleep_ns, wake_ns; /* the latter two: how long /sleep and /wake_up take */
    int64_t head_ns;        /* from a request with a body to the head of its answer, see answer.h */
    bool close_connections; /* each answer ends its connection */
    struct http_limits limits;
    bool batching;              /* else the fixed times of ttft and itl */
    bool per_request_metrics;   /* answers say their own times */
    bool prompt_tokens_details; /* and what was cached of their prompts */
    double time_scale;          /* all that the engine does takes 1 / time_scale of its time */
    int64_t front_ns;           /* what passes before a request is in the queue of the batching engine */
    struct scheduler_config scheduler;
    struct router_config router; /* its seed is that of all */
    enum metrics_form metrics_form;
    struct fault *faults;
    int n_faults;
};

/* What takes ns takes so long when the engine runs faster. */
static inline int64_t sim_scaled_ns(const struct sim_config *config, int64_t ns) {
    return config->time_scale == 1 ? ns : (int64_t)((double)ns / config->time_scale + 0.5);
}

/* One list for the counters: X(name). What they count stands in vllmperf/_sim.pyi. */
/* clang-format off */
#define SIM_COUNTERS(X)                                                                                      \
    X(connections) X(open_connections) X(windows_refused) X(requests) X(answers) X(finished) X(client_gone)  \
    X(running) X(chunks) X(tokens) X(lateness_sum_ns) X(lateness_max_ns) X(blocked) X(cpu_ns)                \
    X(sleeps) X(wakes) X(steps) X(preemptions)
/* clang-format on */

struct sim_counters {
#define X(name) _Atomic int64_t name;
    SIM_COUNTERS(X)
#undef X
};

/* The server's thread is the only one that writes, so a plain load and store do. */
static inline void counter_add(_Atomic int64_t *counter, int64_t more) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

static inline void counter_set(_Atomic int64_t *counter, int64_t value) {
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

enum timer_kind { TIMER_CONN, TIMER_ANSWER, TIMER_LISTEN, TIMER_STEP };

enum { SIM_INPUT_BYTES = 64 * 1024 };

struct conn;
struct replica;

struct sim {
    const struct sim_config *config;
    struct sim_counters *counters;
    const _Atomic bool *ready; /* any thread may write it: before that all requests get 503 */
    struct wheel *wheel;
    struct truth *truth;      /* NULL = none is kept */
    struct replica *replicas; /* see replica.h */
    struct metrics *metrics;  /* of each replica */
    int n_replicas;
    struct router *router;
    struct metrics_http http;
    struct conn *conns;    /* all that are open */
    struct buf event, out; /* of whoever renders right now */
    char *input;           /* SIM_INPUT_BYTES for whoever reads right now */
    int epoll_fd;
    int64_t requests; /* POSTs of completions and chat completions so far */
    bool asleep;      /* or soon: it becomes true at power_ns */
    int64_t power_ns; /* CLOCK_MONOTONIC of the end of the latest /sleep or /wake_up */
    int64_t date_s;
    char date[32]; /* as HTTP writes it, of date_s */
};

#endif
