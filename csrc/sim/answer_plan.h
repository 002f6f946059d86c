/* answer_plan: how long an answer is and when its chunks are due. The answer owns what is allocated here. For
 * the server's thread.
 */
#ifndef VLLMPERF_SIM_ANSWER_PLAN_H
#define VLLMPERF_SIM_ANSWER_PLAN_H

#include "sim/answer_data.h"

/* Fills everything that follows from the request, its number and the settings. False when out of memory. */
bool answer_plan(struct answer *answer);

/* The next duration of this answer. */
int64_t answer_draw_ns(struct answer *answer, const struct dist *dist);

#endif
