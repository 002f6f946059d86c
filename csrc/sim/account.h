/* account: what is counted and written down about answers. Called by the server's thread. Owns nothing,
 * cannot fail: what the truth file could not take comes out when it is closed.
 */
#ifndef VLLMPERF_SIM_ACCOUNT_H
#define VLLMPERF_SIM_ACCOUNT_H

#include "sim/answer_data.h"
#include "sim/conn.h"

/* A token chunk (its number; those before it too, when they were merged) or MARK_HEAD was handed to the
 * kernel. */
void account_written(struct answer *answer, int32_t what, int64_t at_ns);

/* The batching engine has given a choice a token, at the end of a step. */
void account_token(struct answer *answer, int choice, int64_t at_ns);

/* Of one choice that has all its tokens, in ns of CLOCK_MONOTONIC. Fixed times know no queue. */
struct answer_times {
    int64_t queued, scheduled, first, last;
};
struct answer_times account_times(const struct answer *answer, int choice);

/* The answer is complete. */
void account_finished(const struct answer *answer);

/* It is over, one way or another: its line of the truth file. */
void account_record(const struct answer *answer, const char *outcome);

/* The line of a request that got no answer of the model. */
void account_refused(struct conn *conn, bool chat, const struct fault_set *faults,
                     const struct arrival *arrival, int http_status, const char *outcome);

#endif
