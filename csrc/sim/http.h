/* http: one request as it comes in, HTTP/1.0 and 1.1, without I/O. The caller owns the buffer; what is found
 * is given as places in it, so the buffer may move between calls. A chunked body is put together in place.
 * One thread at a time. An error is HTTP_FAILED with a status.
 */
#ifndef VLLMPERF_SIM_HTTP_H
#define VLLMPERF_SIM_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_HEADERS = 100 };

struct http_limits {
    size_t head_bytes; /* request line and headers: 431 beyond it */
    size_t body_bytes; /* 413 beyond it */
};

struct http_slice {
    size_t at, len;
};

struct http_header {
    struct http_slice name, value;
};

enum http_state {
    HTTP_HEAD,   /* the head is not complete yet */
    HTTP_BODY,   /* the body is not */
    HTTP_WHOLE,  /* the request is complete, and its length is `length` */
    HTTP_FAILED, /* answer with `status` and close */
};

struct http {
    enum http_state state;
    int status; /* when HTTP_FAILED */
    struct http_slice method, target, body;
    size_t length; /* of the whole request as it stands in the buffer */
    int n_headers;
    int minor; /* HTTP/1.minor */
    bool keep_alive, expects_continue, chunked;
    bool has_length, says_close, in_data, in_trailer;
    size_t content_length, scanned, chunk_left, trailer_bytes;
    struct http_header headers[HTTP_HEADERS];
};

/* Make ready for the next request. */
void http_init(struct http *http);

/* Look at the first len bytes of the buffer, of which those seen before are the same as before. */
enum http_state http_read(struct http *http, const struct http_limits *limits, char *data, size_t len);

/* A header by its name in lower case, NULL when it is not there. */
const struct http_header *http_find(const struct http *http, const char *data, const char *name);

const char *http_reason(int status);

#endif
