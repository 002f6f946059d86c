/* response_chunks: token chunks in time. For the thread of the response.
 */
#ifndef VLLMPERF_RESPONSE_CHUNKS_H
#define VLLMPERF_RESPONSE_CHUNKS_H

#include "engine/response_state.h"

void chunks_begin(struct response *r);

/* The chain of a choice; chain 0 for indices beyond bounds and without memory. */
struct chain *chunks_chain(struct response *r, int64_t index);

/* One token chunk of one choice. `tokens` is 0 when not known; is_certain: it holds output, not only "". */
void chunks_add(struct response *r, struct chain *c, const struct read_stamp *stamp, uint16_t tokens,
                bool is_certain);

/* An event that may be a token chunk: only fields that we do not know hold text. */
void chunks_add_unknown(struct response *r, const struct chain *c);

/* The stream is over: indices that count, unknown output, tails, open gaps. */
void chunks_settle(struct response *r);

#endif
