/* response_parts: what response.c, response_events.c and response_chunks.c know of each other. For the thread
 * of the response, which owns all memory; to be out of it is a trouble.
 */
#ifndef VLLMPERF_RESPONSE_PARTS_H
#define VLLMPERF_RESPONSE_PARTS_H

#include "engine/response.h"

/* ---- response_chunks.c ---- */

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

/* ---- response_events.c ---- */

void events_take(struct response *r, const struct sse_event *event);

/* A plain JSON body. */
void events_take_body(struct response *r, const char *json, size_t len);

/* ---- response.c ---- */

void response_trouble(struct response *r, enum trouble trouble);
void response_no_memory(struct response *r);

/* An error text of our own, or words of the server that may be none: only where there is no other. */
void response_guess(struct response *r, const char *text, size_t len);

#endif
