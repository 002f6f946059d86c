/* Owns the bytes of a connection in both directions, its keep-alive time and its end.
 * Does not know what is answered (conn_user). */
#include "sim/conn.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/clock.h"
#include "stream/array.h"

enum { PIPELINED_BYTES = 256 * 1024, RESUME_BYTES = 256 * 1024 };
#define DRAIN_NS (1 * NS_PER_S)

struct conn *conn_new(struct sim *sim, const struct conn_user *user, int fd, int64_t number) {
    struct conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        close(fd);
        return NULL;
    }
    conn->sim = sim;
    conn->user = user;
    conn->fd = fd;
    conn->number = number;
    conn->timer.kind = TIMER_CONN;
    conn->next = sim->conns;
    if (conn->next) conn->next->previous = conn;
    sim->conns = conn;
    counter_add(&sim->counters->open_connections, 1);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = conn};
    if (epoll_ctl(sim->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) conn->dead = true;
    return conn;
}

/* Closing alone would not end the watch while a child that was just forked holds the socket, too: events
 * would come for a conn that is no more. */
static void conn_close(struct conn *conn) {
    if (conn->fd < 0) return;
    epoll_ctl(conn->sim->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    close(conn->fd);
    conn->fd = -1;
}

static void conn_free(struct conn *conn) {
    struct sim *sim = conn->sim;
    wheel_cancel(sim->wheel, &conn->timer);
    conn_close(conn);
    if (conn->next) conn->next->previous = conn->previous;
    if (conn->previous)
        conn->previous->next = conn->next;
    else
        sim->conns = conn->next;
    counter_add(&sim->counters->open_connections, -1);
    free(conn->http);
    free(conn->marks);
    buf_free(&conn->in);
    buf_free(&conn->out);
    free(conn);
}

void conn_settle(struct conn *conn) {
    if (conn->dead) conn_free(conn);
}

size_t conn_backlog(const struct conn *conn) {
    return (size_t)(conn->queued_bytes - conn->sent_bytes);
}

void conn_abort(struct conn *conn, bool reset, const char *outcome) {
    if (conn->dead) return;
    conn->dead = true;
    if (reset)
        setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    conn_close(conn); /* now, not when the conn is freed: the time of the reset counts */
    if (conn->answer) conn->user->ended(conn->answer, outcome);
    conn->answer = NULL;
}

/* ---- out ---- */

static void conn_watch(struct conn *conn) {
    uint32_t in = conn->paused ? 0 : EPOLLIN, out = conn->wants_write ? EPOLLOUT : 0;
    struct epoll_event event = {.events = EPOLLRDHUP | in | out, .data.ptr = conn};
    epoll_ctl(conn->sim->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
}

static void watch_writing(struct conn *conn, bool wanted) {
    if (conn->wants_write == wanted) return;
    conn->wants_write = wanted;
    conn_watch(conn);
}

/* While an answer is written nobody takes the requests behind it: many bytes of them wait in the socket. */
static void pause_reading(struct conn *conn, bool paused) {
    if (conn->paused == paused) return;
    conn->paused = paused;
    conn_watch(conn);
}

static void become_idle(struct conn *conn) {
    conn->busy = false;
    conn->n_requests++;
    if (conn->reading) return;
    int64_t wait = conn->in.len ? 0 : conn->sim->config->keep_alive_ns;
    wheel_set(conn->sim->wheel, &conn->timer, clock_mono_ns() + wait);
}

/* What still comes is thrown away until the client has closed, too: closing with bytes unread would make the
 * kernel send a reset, which can overtake the answer. */
static void conn_drain(struct conn *conn) {
    conn->draining = true;
    pause_reading(conn, false);
    shutdown(conn->fd, SHUT_WR);
    wheel_set(conn->sim->wheel, &conn->timer, clock_mono_ns() + DRAIN_NS);
}

/* The piece with this mark has gone to the kernel. */
static void conn_tell(struct conn *conn, int32_t what, int64_t at_ns) {
    if (what == MARK_NONE) return;
    if (conn->answer && what != MARK_CLOSE && what != MARK_END)
        conn->user->written(conn->answer, what, at_ns);
    if (what != MARK_END && what != MARK_CLOSE) return;
    struct answer *answer = conn->answer;
    conn->answer = NULL;
    if (answer) conn->user->ended(answer, NULL);
    if (what == MARK_CLOSE)
        conn_abort(conn, false, NULL);
    else if (conn->close_after)
        conn_drain(conn);
    else
        become_idle(conn);
}

/* Bytes that the kernel took, 0 when it takes none now or never again (then the conn is dead). */
static size_t write_some(struct conn *conn, const char *data, size_t len) {
    ssize_t n = send(conn->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) return (size_t)n;
    if (errno != EAGAIN && errno != EINTR) conn_abort(conn, false, "client_gone");
    return 0;
}

static void add_mark(struct conn *conn, int64_t not_before_ns, int32_t what) {
    if ((size_t)conn->n_marks == conn->marks_capacity && conn->first_mark) {
        conn->n_marks -= conn->first_mark;
        memmove(conn->marks, conn->marks + conn->first_mark, (size_t)conn->n_marks * sizeof *conn->marks);
        conn->first_mark = 0;
    }
    if (ARRAY_ROOM(conn->marks, conn->marks_capacity, (size_t)conn->n_marks + 1))
        conn->marks[conn->n_marks++] = (struct mark){conn->queued_bytes, not_before_ns, what};
    else
        conn->out.failed = true;
}

/* Tell of all marks whose bytes are written. */
static void pass_marks(struct conn *conn, int64_t at_ns) {
    while (!conn->dead && conn->first_mark < conn->n_marks &&
           conn->marks[conn->first_mark].end <= conn->sent_bytes) {
        int32_t what = conn->marks[conn->first_mark++].what;
        if (conn->first_mark == conn->n_marks) conn->first_mark = conn->n_marks = 0;
        conn_tell(conn, what, at_ns);
    }
}

/* Write what waits, up to the first gate that is still closed or until the socket is full. */
static void conn_flush(struct conn *conn) {
    size_t at = 0;
    while (!conn->dead && at < conn->out.len) {
        const struct mark *mark = conn->first_mark < conn->n_marks ? &conn->marks[conn->first_mark] : NULL;
        int64_t now = clock_mono_ns();
        if (mark && mark->not_before_ns > now) {
            wheel_set(conn->sim->wheel, &conn->timer, mark->not_before_ns);
            break;
        }
        size_t len = mark ? (size_t)(mark->end - conn->sent_bytes) : conn->out.len - at;
        size_t n = write_some(conn, conn->out.data + at, len);
        if (n == 0) {
            if (!conn->dead) watch_writing(conn, true);
            break;
        }
        at += n;
        conn->sent_bytes += n;
        pass_marks(conn, now);
    }
    if (conn->dead) return;
    buf_drop(&conn->out, at);
    if (conn->out.len == 0) {
        watch_writing(conn, false);
        buf_free(&conn->out);
    }
    if (conn->answer && conn->out.len < RESUME_BYTES) conn->user->unblocked(conn->answer);
}

void conn_send(struct conn *conn, const char *data, size_t len, int64_t not_before_ns, int32_t mark) {
    if (conn->dead) return;
    conn->queued_bytes += len;
    if (conn->out.len == 0 && not_before_ns == 0) {
        int64_t now = clock_mono_ns();
        size_t n = write_some(conn, data, len);
        conn->sent_bytes += n;
        if (conn->dead) return;
        if (n == len) {
            conn_tell(conn, mark, now);
            return;
        }
        data += n;
        len -= n;
        watch_writing(conn, true);
    }
    buf_add(&conn->out, data, len);
    if (mark != MARK_NONE || not_before_ns) add_mark(conn, not_before_ns, mark);
    if (conn->out.failed)
        conn_abort(conn, true, "out_of_memory");
    else if (!conn->wants_write && conn->timer.slot == WHEEL_OUT)
        wheel_set(conn->sim->wheel, &conn->timer, not_before_ns);
}

void conn_on_writable(struct conn *conn) {
    if (conn->dead || !conn->wants_write) return;
    watch_writing(conn, false);
    conn_flush(conn);
}

/* ---- in ---- */

/* A read with the kernel's stamp of the last bytes, as recv otherwise. */
static ssize_t read_stamped(struct conn *conn, char *data, size_t len) {
    union {
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
        struct cmsghdr aligned;
    } control;
    struct iovec part = {data, len};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(conn->fd, &message, MSG_DONTWAIT);
    if (n <= 0) return n;
    conn->arrived_real_ns = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        struct timespec stamp;
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS) continue;
        memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
        conn->arrived_real_ns = (int64_t)stamp.tv_sec * NS_PER_S + stamp.tv_nsec;
    }
    return n;
}

static void answer_request(struct conn *conn) {
    struct http *http = conn->http;
    wheel_cancel(conn->sim->wheel, &conn->timer);
    conn->busy = true;
    conn->peer_waits_continue = false;
    if (!http->keep_alive || conn->sim->config->close_connections) conn->close_after = true;
    conn->user->request(conn, http, conn->in.data);
    if (conn->dead) return;
    buf_drop(&conn->in, http->length);
    http_init(http);
}

static void refuse_request(struct conn *conn) {
    conn->busy = conn->close_after = conn->draining = true; /* the rest of it is not even kept */
    conn->user->bad_request(conn, conn->http->status);
}

static void say_continue(struct conn *conn) {
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const struct http *http = conn->http;
    if (http->state != HTTP_BODY || !http->expects_continue || http->minor == 0) return;
    if (conn->peer_waits_continue) return;
    conn->peer_waits_continue = true;
    conn_send(conn, text, sizeof text - 1, 0, MARK_NONE);
}

/* Read and answer requests as long as there are whole ones and the one before is answered. */
static void conn_process(struct conn *conn) {
    conn->reading = true;
    while (!conn->dead && !conn->busy && conn->in.len) {
        if (conn->http == NULL) {
            conn->http = malloc(sizeof *conn->http);
            if (conn->http == NULL) {
                conn_abort(conn, true, NULL);
                break;
            }
            http_init(conn->http);
        }
        enum http_state state =
            http_read(conn->http, &conn->sim->config->limits, conn->in.data, conn->in.len);
        if (state == HTTP_WHOLE)
            answer_request(conn);
        else if (state == HTTP_FAILED)
            refuse_request(conn);
        else
            break;
    }
    conn->reading = false;
    if (conn->dead) return;
    if (conn->in.len == 0) {
        buf_free(&conn->in);
        free(conn->http);
        conn->http = NULL;
    } else if (!conn->busy) {
        say_continue(conn);
    }
    if (!conn->busy || conn->in.len <= PIPELINED_BYTES) pause_reading(conn, false);
    if (!conn->busy && conn->in.len == 0 && conn->n_requests)
        wheel_set(conn->sim->wheel, &conn->timer, clock_mono_ns() + conn->sim->config->keep_alive_ns);
}

void conn_on_readable(struct conn *conn) {
    char *data = conn->sim->input;
    if (conn->dead) return;
    if (conn->paused) { /* not for bytes, so it has hung up */
        conn_abort(conn, false, "client_gone");
        return;
    }
    ssize_t n = read_stamped(conn, data, SIM_INPUT_BYTES);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        conn_abort(conn, false, "client_gone");
        return;
    }
    if (n < 0 || conn->draining) return;
    buf_add(&conn->in, data, (size_t)n);
    if (conn->in.failed) {
        conn_abort(conn, true, "out_of_memory");
        return;
    }
    if (conn->busy) {
        pause_reading(conn, conn->in.len > PIPELINED_BYTES);
        return;
    }
    wheel_cancel(conn->sim->wheel, &conn->timer);
    conn_process(conn);
}

void conn_on_timer(struct conn *conn) {
    if (conn->dead) return;
    if (conn->out.len)
        conn_flush(conn);
    else if (conn->in.len && !conn->draining)
        conn_process(conn);
    else
        conn_abort(conn, false, NULL);
}
