/* batching: the batching engine of one replica: the scheduler on the server's clock. Answers submit their
 * choices and are told of each token at the end of its step. The next step begins when the one before ends by
 * the plan, so lateness of the machine does not add up. Belongs to the server's thread.
 */
#ifndef VLLMPERF_SIM_BATCHING_H
#define VLLMPERF_SIM_BATCHING_H

#include <stdint.h>

#include "sim/answer_data.h"

struct batching; /* opaque; begins with its wheel_timer, of kind TIMER_STEP */

/* A choice of an answer has one token more, at the end of a step. The answer may be over then. */
typedef void batching_on_token(struct answer *answer, int choice, int64_t at_ns);

/* Of a replica, whose metrics it keeps. NULL when out of memory. */
struct batching *batching_new(struct sim *sim, struct replica *replica, batching_on_token *on_token);
void batching_free(struct batching *batch);

/* All choices of an answer wait from queued_ns on. */
void batching_submit(struct batching *batch, struct answer *answer, int64_t queued_ns);

/* The answer is over: its choices leave the engine, wherever they are. */
void batching_remove(struct batching *batch, struct answer *answer);

/* Forget all cached prefixes, unless blocks are in use. */
void batching_reset_prefixes(struct batching *batch);

/* The step is over. Settles the connections that it wrote to. */
void batch_on_timer(struct batching *batch);

#endif
