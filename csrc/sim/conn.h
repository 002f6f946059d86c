/* conn: one connection: its socket, the bytes that came and wait to be read as requests, the bytes that wait
 * to be written. Requests of a connection are answered one after the other. Belongs to the server's thread.
 *
 * A conn frees itself, but only in conn_settle(), which whoever entered through one of the conn_on_...
 * functions or a timer calls last.
 */
#ifndef VLLMPERF_SIM_CONN_H
#define VLLMPERF_SIM_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/sim.h"

struct answer;

/* What is told when the kernel has the last byte of a piece: the number of a token chunk, or one of these. */
enum { MARK_NONE = -1, MARK_HEAD = -2, MARK_END = -3, MARK_CLOSE = -4 };

struct mark {
    uint64_t end; /* counted over all bytes of the connection */
    int64_t not_before_ns;
    int32_t what;
};

/* Who answers: conn calls it and knows no more of it. outcome NULL: the answer is written. */
struct conn_user {
    void (*request)(struct conn *conn, const struct http *http, const char *data);
    void (*bad_request)(struct conn *conn, int status); /* what could not even be read as HTTP */
    void (*written)(struct answer *answer, int32_t mark, int64_t at_ns);
    void (*unblocked)(struct answer *answer); /* there is room again */
    void (*ended)(struct answer *answer, const char *outcome);
};

struct conn {
    /* A gate in what is written, what waits in `in`, or the end of the keep-alive time. */
    struct wheel_timer timer;
    struct sim *sim;
    const struct conn_user *user;
    struct conn *next, *previous;
    int fd;
    bool dead, busy, reading, peer_waits_continue, close_after, draining, wants_write, paused;
    int64_t number, n_requests;
    int64_t arrived_real_ns; /* kernel's stamp of the latest bytes, 0 when unknown */
    struct http *http;       /* NULL between requests */
    struct buf in, out;
    uint64_t sent_bytes, queued_bytes;
    struct mark *marks;
    int n_marks, first_mark;
    size_t marks_capacity;
    struct answer *answer; /* what is being answered, NULL for simple answers */
};

/* Takes fd; NULL when out of memory. */
struct conn *conn_new(struct sim *sim, const struct conn_user *user, int fd, int64_t number);

void conn_on_readable(struct conn *conn);
void conn_on_writable(struct conn *conn);
void conn_on_timer(struct conn *conn);
void conn_settle(struct conn *conn);

/* Write now, or as soon as the socket takes it and what was queued before is written, but not before
 * not_before_ns (0 = now). The answer is told of `mark` when the last byte was handed over. */
void conn_send(struct conn *conn, const char *data, size_t len, int64_t not_before_ns, int32_t mark);

/* Bytes that wait to be written. */
size_t conn_backlog(const struct conn *conn);

/* The connection ends at once, by a reset when asked; its answer ends with this outcome. */
void conn_abort(struct conn *conn, bool reset, const char *outcome);

#endif
