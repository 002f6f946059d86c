/* sse: an incremental parser of text/event-stream, after the WHATWG HTML rules.
 * Owns one line/event buffer. Does no I/O, reads no clock, allocates only when an event is split over feeds.
 *
 * One departure: servers exist that put one line feed between events, where the rules join the lines into
 * one. A data line that is a whole JSON object (or [DONE], or nothing: null) and is followed by another data
 * line is an event of its own: joined they would be no JSON.
 *
 * Use: sse_feed() lends a piece of input, sse_next() returns the events in it until SSE_MORE; the piece must
 * stay alive until then. An event that lies whole in one piece is returned as a view into that piece (no
 * copy). One parser belongs to one thread at a time. Whoever made a parser frees it with sse_free.
 */
#ifndef VLLMPERF_SSE_H
#define VLLMPERF_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sse_status {
    SSE_MORE = 0,       /* the piece is used up, nothing is lost */
    SSE_EVENT = 1,      /* *event is filled; its views live until the next call on this parser */
    SSE_TOO_LONG = -1,  /* a line or an event's data is longer than max_bytes */
    SSE_NO_MEMORY = -2, /* the parser stays in either of these states */
};

struct sse_event {
    const char *data; /* joined data lines, without the last LF; not NUL-terminated */
    size_t data_len;
    const char *type; /* the event field's value, length 0 when there was none */
    size_t type_len;
    bool split;    /* not a blank line ended it, but another data line */
    bool cut;      /* the input ended before the blank line: the event may be only the beginning of one */
    uint64_t line; /* number of its last data line, see sse_lines() */
};

struct sse; /* opaque */

/* A new parser that refuses lines and events beyond max_bytes; NULL when out of memory. */
struct sse *sse_new(size_t max_bytes);
void sse_free(struct sse *sse);

/* Back to the state of a new parser (for the next response), keeping the buffers. */
void sse_reset(struct sse *sse);

/* Lend the next piece of input. The piece before must have been used up (sse_next returned SSE_MORE). */
void sse_feed(struct sse *sse, const char *bytes, size_t len);

/* Say that the input has ended. sse_next() then still returns a last event whose blank line is missing: the
 * standard drops it, but some servers leave the line out, and their last token would be lost. */
void sse_end(struct sse *sse);

enum sse_status sse_next(struct sse *sse, struct sse_event *event);

/* Data lines read since sse_new(), so that a caller can tell with which piece the line of an event came. */
uint64_t sse_lines(const struct sse *sse);

/* Free buffers beyond max_bytes; only between sse_reset() and the first sse_feed(). */
void sse_trim(struct sse *sse, size_t max_bytes);

#endif
