/* replay: the scheduler in virtual time: given when requests come and how long they are, when each has its
 * tokens, and what each step did. No sockets, no clock: it runs as fast as it computes. Any thread may call.
 */
#ifndef VLLMPERF_SIM_REPLAY_H
#define VLLMPERF_SIM_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/replay_data.h"

enum replay_result { REPLAY_OK, REPLAY_NO_MEMORY, REPLAY_BAD_LENGTH, REPLAY_UNORDERED, REPLAY_TOO_LONG };

const char *replay_text(enum replay_result result);

/* front_ns: what passes between a request's arrival and its place in the queue. Times are ns from 0. What it
 * allocated must be freed by replay_free in any case. */
enum replay_result replay_run(struct replay *replay, const struct scheduler_config *config, int64_t front_ns,
                              const struct replay_load *load, bool want_steps);
void replay_free(struct replay *replay);

#endif
