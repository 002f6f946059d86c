/* replay_data: what a replay is given and what it gives, for whoever computes it: the load, the tables of
 * requests and steps, and who has come by when. One thread.
 */
#ifndef VLLMPERF_SIM_REPLAY_DATA_H
#define VLLMPERF_SIM_REPLAY_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/scheduler.h"

/* Columns of one step in the log, in their order: X(name). */
/* clang-format off */
#define REPLAY_STEP(X)                                                                                       \
    X(start_ns) X(end_ns) X(decodes) X(padded) X(decode_context) X(prefills) X(prefill_tokens)               \
    X(prefill_attention) X(running) X(waiting) X(admitted) X(preempted) X(used_blocks)
/* Columns of one request: X(name). */
#define REPLAY_REQUEST(X)                                                                                    \
    X(arrival_ns) X(scheduled_ns) X(first_token_ns) X(last_token_ns) X(cached_tokens) X(preemptions)
/* clang-format on */

struct replay_step {
#define X(name) int64_t name;
    REPLAY_STEP(X)
#undef X
};

struct replay_request {
#define X(name) int64_t name;
    REPLAY_REQUEST(X)
#undef X
};

/* Arrays of n; those of prefixes and priority may be NULL. Requests of one prefix number begin with the same
 * prefix_tokens tokens and share nothing else. */
struct replay_load {
    int64_t n;
    const int64_t *arrival_ns; /* ascending; not read in a closed loop */
    const int64_t *prompt_tokens, *output_tokens;
    const int64_t *prefix, *prefix_tokens, *priority;
    int64_t concurrency; /* > 0: a closed loop: so many at once, the next when one is done */
};

struct replay {
    struct replay_request *requests; /* n of the load */
    struct replay_step *steps;       /* NULL when not wanted */
    size_t steps_capacity;
    bool want_steps;
    int64_t n_steps, bad; /* the latter: the request that an error is about */
    int64_t visits;       /* how often a request was looked at in all steps: what the replay costs */
};

/* One more step; false when out of memory. */
bool replay_log_step(struct replay *replay, const struct step *step);

/* Requests [0, submitted) have come to the queue, the arrivals of [0, known) are known. */
struct replay_door {
    struct replay_request *requests; /* of the replay */
    const struct replay_load *load;
    int64_t front_ns; /* from a request's arrival to its place in the queue */
    int64_t known, submitted;
};

/* The first arrivals: all, or as many as a closed loop has at once. */
void replay_door_open(struct replay_door *door);

/* In a closed loop: one is done, so the next one comes now. */
void replay_door_release(struct replay_door *door, int64_t now_ns);

/* When the next one comes to the queue; INT64_MAX when nobody is known to. */
int64_t replay_door_next_ns(const struct replay_door *door);

#endif
