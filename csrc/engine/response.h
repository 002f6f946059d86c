/* response: what one answer's bytes and stamps mean. Turns body pieces into token chunks, gaps, counts, text
 * and a record. Knows neither sockets nor clocks nor a transport: every time comes in from outside. Owns its
 * buffers, which are kept from one request to the next unless they are large. One thread at a time.
 *
 * docs/endings.md says which outcome a body has, docs/token_chunks.md what a token chunk is.
 */
#ifndef VLLMPERF_RESPONSE_H
#define VLLMPERF_RESPONSE_H

#include "engine/response_state.h"

/* 0, or -1 when out of memory. */
int response_init(struct response *r, const struct response_settings *settings);
void response_free(struct response *r);

/* Ready for the next request: all fields of the record NONE or 0. */
void response_begin(struct response *r);

/* The status line and content type are known (content_type may be NULL). The type is only believed where the
 * body's first byte does not show better. */
void response_head(struct response *r, long status, const char *content_type);

/* The next piece of the body. Call with the same stamp for all pieces of one read. */
void response_body(struct response *r, const char *bytes, size_t len, const struct read_stamp *stamp);

/* After response_finish(): the answer said that it is whole, by [DONE] or a finish reason for each choice. */
bool response_is_whole(const struct response *r);

/* The transfer is over: settle open gaps and tails, fill the token counts of the record, and give the outcome
 * that the body speaks for, if the transfer itself went well. */
enum outcome response_finish(struct response *r);

/* Append record, gaps, stamps, text and error to a batch, once, and free what is large. 0, or -1 when out
 * of memory. */
int response_store(struct response *r, struct batch *batch);

#endif
