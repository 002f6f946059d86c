/* plain_replay: the replay of a plain load: first come, first served, no shared prefixes, and blocks for all
 * who can run at once. Then nobody is thrown out, requests are admitted in their order, at most one prompt is
 * computed in part, and each decode has one token a step. So a request is looked at when it is admitted and
 * when it ends, never for a token: step for step the same as scheduler.c, at a cost by the request.
 */
#ifndef VLLMPERF_SIM_PLAIN_REPLAY_H
#define VLLMPERF_SIM_PLAIN_REPLAY_H

#include <stdbool.h>

#include "sim/replay_data.h"

/* Is the load of that kind? All its requests must have tokens. */
bool plain_replay_can(const struct scheduler_config *config, const struct replay_load *load);

/* Run it to its end. The replay's requests are allocated, zeros. False when out of memory. */
bool plain_replay_run(struct replay *replay, const struct scheduler_config *config, int64_t front_ns,
                      const struct replay_load *load);

#endif
