/* answer: one answer of the model, from the request to its last byte: when its chunks are due, what is in
 * them, what goes wrong with them, what is written into the truth file. Belongs to a conn and to the server's
 * thread.
 *
 * Choice c says token k at step k / tokens_per_chunk; all choices of a step are due at the same time. Step 0
 * is due TTFT after the request was read, each other one ITL after the plan (not the writing) of the one
 * before it. With a batching engine (batching.h) its steps say when tokens are due instead.
 *
 * The head of a stream comes head_ns after the request, or with the first token when that is earlier. At once
 * would be too early for clients in Go before 1.21 and proxies made of it (caddy 2.6): they have sent the
 * last byte of a body of more than 4 kB a moment before they know that it was the last, and a head that comes
 * in between makes them break the request off. An answer frees itself at its end; without memory it aborts
 * its connection.
 */
#ifndef VLLMPERF_SIM_ANSWER_H
#define VLLMPERF_SIM_ANSWER_H

#include <stdint.h>

#include "sim/answer_data.h"
#include "sim/conn.h"

/* Takes what is in ask, and releases the replica at its end. Answers at the planned times from now on. */
void answer_start(struct conn *conn, struct replica *replica, struct ask *ask, const struct fault_set *faults,
                  const struct arrival *arrival, bool chunked);

void answer_on_timer(struct answer *answer);

/* From the batching engine: at the end of a step a choice has one token more. The answer may be over then. */
void answer_on_token(struct answer *answer, int choice, int64_t at_ns);

/* From conn: there is room again; it is over. */
void answer_unblocked(struct answer *answer);
/* outcome NULL: the one that the answer has itself, or "finished". */
void answer_end(struct answer *answer, const char *outcome);

#endif
