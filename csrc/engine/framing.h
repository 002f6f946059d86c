/* framing: how one HTTP/1.1 answer is cut into parts (RFC 9112): status line, headers, body by length, by
 * chunks or to the end of the connection. Knows neither sockets nor clocks, does not copy the body. One
 * thread at a time.
 *
 * Use: framing_begin for each answer; framing_feed lends a piece of input, framing_next returns what is in it
 * until FRAMING_MORE. The views it gives live until the next call. What stands behind the answer is not read.
 * A framing owns the beginning of a line that came in pieces, which framing_free frees. Every error is
 * FRAMING_BAD, with words in `why`.
 */
#ifndef VLLMPERF_FRAMING_H
#define VLLMPERF_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stream/text.h"

enum { FRAMING_HEAD_BYTES = 256 * 1024 }; /* a head, or the line before a chunk, beyond this is refused */

enum framing_status {
    FRAMING_MORE, /* the piece is used up */
    FRAMING_HEAD, /* the head is complete, see struct framing */
    FRAMING_BODY, /* *body, *len: the next bytes of the body */
    FRAMING_END,  /* the answer is complete */
    FRAMING_BAD,  /* this is no HTTP/1.1; `why` says what is wrong */
};

enum framing_state {
    FRAMING_AT_STATUS,
    FRAMING_AT_HEADER,
    FRAMING_IN_LENGTH,
    FRAMING_TO_CLOSE,
    FRAMING_AT_CHUNK_SIZE,
    FRAMING_IN_CHUNK,
    FRAMING_AT_CHUNK_END,
    FRAMING_AT_TRAILER,
    FRAMING_DONE,
    FRAMING_BROKEN,
};

/* Header values are cut to their arrays; a missing one is "". */
struct framing {
    enum framing_state state;
    int status;            /* 0 before the status line; 1xx heads are passed over */
    bool keeps_connection; /* it may carry another request after this answer */
    bool no_body;          /* set by framing_begin's caller for the answer to a HEAD; else false */
    char content_type[128], content_encoding[64], location[512];
    char why[128];
    /* its own: */
    bool started, chunked;
    int minor_version;
    int64_t length, left; /* content-length (-1: none), bytes of this body or chunk that are to come */
    size_t head_bytes;
    struct text line; /* the beginning of a line that came in pieces */
    const char *at, *end;
};

void framing_begin(struct framing *f); /* a struct of zeros is fine the first time; keeps the line's buffer */
void framing_free(struct framing *f);
void framing_feed(struct framing *f, const char *bytes, size_t len);
enum framing_status framing_next(struct framing *f, const char **body, size_t *len);

/* The connection has ended: FRAMING_END when that ends the answer, FRAMING_BAD when something is missing. */
enum framing_status framing_end_of_input(struct framing *f);

/* Bytes of the piece that were not used: what came behind the end. */
size_t framing_left_over(const struct framing *f);

#endif
