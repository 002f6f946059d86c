/* http: the framing of one HTTP/1.1 answer (RFC 9112): status line, headers, body by length, by chunks or to
 * the end of the connection. Knows neither sockets nor clocks, does not copy the body. One thread at a time.
 *
 * Use: http_begin for each answer; http_feed lends a piece of input, http_next returns what is in it until
 * HTTP_MORE. The views it gives live until the next call. What stands behind the answer is not read.
 */
#ifndef VLLMPERF_HTTP_H
#define VLLMPERF_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/buffer.h"

enum { HTTP_HEAD_BYTES = 256 * 1024 }; /* a head, or the line before a chunk, beyond this is refused */

enum http_status {
    HTTP_MORE, /* the piece is used up */
    HTTP_HEAD, /* the head is complete, see struct http */
    HTTP_BODY, /* *body, *len: the next bytes of the body */
    HTTP_END,  /* the answer is complete */
    HTTP_BAD,  /* this is no HTTP/1.1; `why` says what is wrong */
};

enum http_state {
    HTTP_AT_STATUS,
    HTTP_AT_HEADER,
    HTTP_IN_LENGTH,
    HTTP_TO_CLOSE,
    HTTP_AT_CHUNK_SIZE,
    HTTP_IN_CHUNK,
    HTTP_AT_CHUNK_END,
    HTTP_AT_TRAILER,
    HTTP_DONE,
    HTTP_BROKEN,
};

/* Header values are cut to their arrays; a missing one is "". */
struct http {
    enum http_state state;
    int status;            /* 0 before the status line; 1xx heads are passed over */
    bool keeps_connection; /* it may carry another request after this answer */
    bool no_body;          /* set by http_begin's caller for the answer to a HEAD; else false */
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

void http_begin(struct http *http); /* a struct of zeros is fine the first time; keeps the line's buffer */
void http_free(struct http *http);
void http_feed(struct http *http, const char *bytes, size_t len);
enum http_status http_next(struct http *http, const char **body, size_t *len);

/* The connection has ended: HTTP_END when that ends the answer, HTTP_BAD when something is missing. */
enum http_status http_end_of_input(struct http *http);

/* Bytes of the piece that were not used: what came behind the end. */
size_t http_left_over(const struct http *http);

#endif
