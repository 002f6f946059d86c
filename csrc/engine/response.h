/* response: what one answer's bytes and stamps mean. Turns body pieces into token chunks, gaps, counts, text
 * and a record. Knows neither sockets nor clocks nor libcurl: every time comes in from outside. Owns its
 * buffers, which are kept from one request to the next. One thread at a time.
 */
#ifndef VLLMPERF_RESPONSE_H
#define VLLMPERF_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/chain.h"
#include "stats/record.h"
#include "stream/sse.h"

enum { RESPONSE_ERROR_BYTES = 2048 };            /* of an error body or message that are kept */
enum { RESPONSE_JSON_BYTES = 64 * 1024 * 1024 }; /* a plain JSON body beyond this is malformed */
enum { RESPONSE_MAX_CHAINS = 1024 };             /* choices beyond this are timed as if they were choice 0 */

/* One readiness event of the socket: everything read in it has the same stamps. */
struct read_stamp {
    int64_t arrived_ns, seen_ns;
    uint64_t number; /* counts reads, from 1, so that equal stamps are still told apart */
};

struct response {
    struct record record;
    enum body_kind kind;
    bool keep_text, keep_stamps;
    /* Set after response_init: events are kept, and behind the text, after a NUL, the newest event without
     * choices; raw: bodies of another format, all of whose data is the text, a line an event. */
    bool keep_events, raw;
    bool done, finished, failed; /* [DONE], finish_reason, error object */
    bool malformed, too_long, no_memory;
    int64_t last_event_ns;     /* newest event with data, as seen; NONE before */
    int64_t ids, usage_tokens; /* output tokens by token ids, by the newest usage */
    struct chain *chains;
    size_t n_chains, newest; /* newest: the chain of the newest chunk */
    struct record_stamp *stamps;
    size_t n_stamps, cap_stamps;
    struct record_event *events;
    size_t n_events, cap_events;
    struct text json, error, last_words; /* last_words: see keep_events */
    uint64_t newest_read;                /* number of the newest read that brought a token chunk, 0 before */
    struct sse *sse;
    struct read_stamp now; /* of the piece being read */
};

/* 0, or -1 when out of memory. */
int response_init(struct response *r, size_t max_event_bytes, bool keep_text, bool keep_stamps);
void response_free(struct response *r);

/* Ready for the next request: all fields of the record NONE or 0. */
void response_begin(struct response *r);

/* The status line and content type are known (content_type may be NULL). */
void response_head(struct response *r, long status, const char *content_type);

/* The next piece of the body. Call with the same stamp for all pieces of one read. */
void response_body(struct response *r, const char *bytes, size_t len, const struct read_stamp *stamp);

/* True when the answer said that it is whole: [DONE], or a finish reason. */
bool response_is_whole(const struct response *r);

/* Remember why (first message wins); cut to RESPONSE_ERROR_BYTES. */
void response_error(struct response *r, const char *message, size_t len);

/* The transfer is over: settle open gaps and tails, fill the token counts of the record, and give the outcome
 * that the body speaks for, if the transfer itself went well. */
enum outcome response_finish(struct response *r);

/* Append record, gaps, stamps, text and error to a batch. 0, or -1 when out of memory. */
int response_store(const struct response *r, struct batch *batch);

#endif
