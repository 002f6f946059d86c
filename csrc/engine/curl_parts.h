/* curl_parts: https on libcurl, in two files. curl_easy.c has what belongs to one transfer: its handle, what
 * libcurl tells while it connects and reads, how it ends. curl.c has the multis and the loop. Only these two
 * include this. For the worker's thread. The slots own their easies, the transport owns the rest. False and
 * NULL mean out of memory; what fails later ends a transfer with its outcome.
 */
#ifndef VLLMPERF_CURL_PARTS_H
#define VLLMPERF_CURL_PARTS_H

#include <curl/curl.h>

#include "engine/transport_kind.h"

struct curl;

struct multi {
    CURLM *handle;
    struct curl *curl;
    int64_t timer_ns; /* INT64_MAX = none */
    int running;
};

struct easy { /* a slot's handle */
    CURL *handle;
    struct slot *slot;
    struct multi *multi;
    struct curl_slist id_header, session_header; /* their texts are ours, the tail is the common list */
    struct curl_slist *connect_to;
    char *id_text, *session_text;
    int64_t began_ns;          /* of the connection that is being made */
    int64_t covered_bytes;     /* of what is read now: bytes that the stamp is known to cover */
    int sockets_opened, sends; /* in this request */
    long redirects;            /* followed in this request */
    int local_error;           /* errno when we could not make a socket */
    bool warming, was_reset, in_transfer;
    bool is_late;         /* given up while libcurl was reading */
    bool is_not_as_coded; /* the body, by what the head says */
    char content_encoding[64];
    bool was_led_astray; /* by a redirect, to where the run may not connect */
    char error[CURL_ERROR_SIZE];
};

/* Who waits for a socket. Those that libcurl has for itself (its resolver's, connections that it closes) are
 * no transfer's. */
struct watched {
    struct multi *multi;
    struct easy *easy;
};

struct curl {
    struct transport *t;
    struct multi *multis;
    size_t n_multis;
    struct watched *by_fd;
    size_t n_fds, n_warming;
    struct easy *reading; /* whose socket is ready, with a stamp of its own */
    CURLSH *share;        /* TLS sessions, so that the multis need one full handshake together */
    struct curl_slist *headers;
    char *scratch;   /* for peeks */
    char place[300]; /* host:port that is pinned to the run's addresses; ":" is any */
};

/* ---- curl_easy.c ---- */

struct easy *easy_of(CURL *handle);
bool easy_init(struct slot *slot);
void easy_free(struct slot *slot);

/* The id that the next request carries, behind the run's prefix. */
void easy_write_id(struct easy *easy, const char *id);

/* The session that the next request is of. */
void easy_write_session(struct easy *easy, int64_t session);

/* What the answer's head says, once. */
void easy_read_head(struct easy *easy);

/* The transfer is over. */
void easy_end(struct easy *easy, CURLcode code);

#endif
