/* replay: the scheduler in virtual time: given when requests come and how long they are, when each has its
 * tokens, and what each step did. No sockets, no clock: it runs as fast as it computes. Any thread may call.
 */
#ifndef VLLMPERF_SIM_REPLAY_H
#define VLLMPERF_SIM_REPLAY_H

#include <stdbool.h>
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

enum replay_result { REPLAY_OK, REPLAY_NO_MEMORY, REPLAY_BAD_LENGTH, REPLAY_UNORDERED, REPLAY_TOO_LONG };

struct replay {
    struct replay_request *requests; /* n of the load */
    struct replay_step *steps;       /* NULL when not wanted */
    int64_t n_steps, bad;            /* the latter: the request that an error is about */
};

const char *replay_text(enum replay_result result);

/* front_ns: what passes between a request's arrival and its place in the queue. Times are ns from 0. What it
 * allocated must be freed by replay_free in any case. */
enum replay_result replay_run(struct replay *replay, const struct scheduler_config *config, int64_t front_ns,
                              const struct replay_load *load, bool want_steps);
void replay_free(struct replay *replay);

#endif
