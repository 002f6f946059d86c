/* Owns the connections of plain http: those in use, those that are idle, those that are being opened.
 * Keeps the queue of what was read on them. Does not send or read (plain_send.c, plain.c), does not know
 * what bytes mean (plain_answer.c). */
#include "engine/plain_connection.h"

#include <errno.h>
#include <unistd.h>

#include "engine/clock.h"
#include "stream/array.h"

#define MAX_IDLE_NS (4 * NS_PER_S) /* vLLM closes idle connections after 5 s */
enum { MOST_OPENING = 64 };        /* at once, for nobody: a server's queue of new connections is short */

/* ---- connections that are idle ---- */

void connection_keep(struct connection *c) {
    struct plain *p = c->plain;
    c->pooled = true;
    c->idle_since_ns = transport_now_ns(p->t);
    c->newer = NULL;
    c->older = p->newest_idle;
    if (p->newest_idle) p->newest_idle->newer = c;
    p->newest_idle = c;
    if (!p->oldest_idle) p->oldest_idle = c;
    p->n_idle++;
}

static void pool_leave(struct connection *c) {
    struct plain *p = c->plain;
    if (!c->pooled) return;
    c->pooled = false;
    *(c->newer ? &c->newer->older : &p->newest_idle) = c->older;
    *(c->older ? &c->older->newer : &p->oldest_idle) = c->newer;
    p->n_idle--;
}

/* ---- life of a connection ---- */

void connection_free(struct connection *c) {
    framing_free(&c->framing);
    free(c->url);
    free(c->next_url);
    free(c->head);
    free(c);
}

void connection_close(struct connection *c) {
    struct plain *p = c->plain;
    pool_leave(c);
    if (c->fd >= 0) {
        loop_forget(p->t->loop, c->fd);
        if ((size_t)c->fd < p->n_fds) p->by_fd[c->fd] = NULL;
        close(c->fd);
        if (!c->up) p->n_opening--;
        c->fd = -1;
    }
    if (c->slot) c->slot->carrier = NULL;
    c->slot = NULL;
    if (c->pieces == 0) connection_free(c);
}

void connection_release(struct connection *c, bool keep) {
    c->slot->carrier = NULL;
    c->slot = NULL;
    if (keep)
        connection_keep(c);
    else
        connection_close(c);
}

static bool connection_register(struct plain *p, struct connection *c) {
    if (!ARRAY_ROOM_ZEROED(p->by_fd, p->n_fds, (size_t)c->fd + 1)) return false;
    p->by_fd[c->fd] = c;
    return loop_watch(p->t->loop, c->fd, LOOP_READ | LOOP_WRITE | LOOP_EDGE) == 0;
}

/* NULL with errno set. */
static struct connection *connection_open(struct plain *p, const struct socket_address *to) {
    errno = EACCES;
    if (!transport_may_connect(p->t, (const struct sockaddr *)&to->address)) return NULL;
    struct connection *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->plain = p;
    c->began_ns = transport_now_ns(p->t);
    c->fd = socket_connect(to, p->t->config->kernel_stamps);
    if (c->fd >= 0) {
        p->n_opening++;
        if (connection_register(p, c)) return c;
    }
    int error = errno;
    connection_close(c);
    errno = error;
    return NULL;
}

static const struct socket_address *next_address(struct plain *p) {
    return &p->addresses[p->next_address++ % p->n_addresses];
}

/* Where a redirect leads is no name that could be looked up in the run: plain_answer.c has seen to that. */
static struct connection *connection_elsewhere(struct plain *p, const char *url) {
    struct request_url parts;
    struct socket_address to;
    errno = EINVAL;
    bool is_address = request_url(url, &parts) && socket_address(parts.host, parts.port, &to);
    return is_address ? connection_open(p, &to) : NULL;
}

static bool has_news(const struct connection *c) {
    return c->pieces > (c == c->plain->at_work);
}

struct connection *connection_for(struct plain *p, const char *url, bool fresh) {
    if (request_is_elsewhere(&p->request, url)) return connection_elsewhere(p, url);
    while (p->newest_idle && has_news(p->newest_idle))
        connection_close(p->newest_idle); /* what it has to say is its end */
    if (fresh || !p->newest_idle) return connection_open(p, next_address(p));
    struct connection *c = p->newest_idle;
    pool_leave(c);
    c->reused = true;
    return c;
}

/* ---- the queue of pieces ---- */

/* Under a load that never lets the queue run empty, what was worked on must not be kept. */
static void drop_worked_on(struct plain *p) {
    if (p->n_pieces < p->cap_pieces || p->first_piece < p->n_pieces / 2) return;
    p->n_pieces -= p->first_piece;
    memmove(p->pieces, p->pieces + p->first_piece, p->n_pieces * sizeof *p->pieces);
    p->first_piece = 0;
}

bool connection_push(struct plain *p, const struct piece *piece) {
    if (p->first_piece > 0) drop_worked_on(p);
    if (!ARRAY_ROOM(p->pieces, p->cap_pieces, p->n_pieces + 1)) return false;
    p->pieces[p->n_pieces++] = *piece;
    piece->connection->pieces++;
    return true;
}

/* ---- connections for nobody ---- */

/* Begin connections for nobody, as many as are wanted and as the server has room for. */
void plain_open_more(struct plain *p) {
    while (p->to_open > 0 && p->n_opening < MOST_OPENING) {
        p->to_open--;
        if (!connection_open(p, next_address(p))) p->to_open = 0;
    }
}

void plain_warm(void *own, int64_t n) {
    struct plain *p = own;
    p->to_open += n;
    plain_open_more(p);
}

size_t plain_opening(const void *own) {
    const struct plain *p = own;
    return p->n_opening + (size_t)p->to_open;
}

/* Of an open loop nobody knows how many connections it will need: some are kept ready beyond those in use. */
void plain_keep_spare(struct plain *p) {
    bool wants = p->t->config->spare_connections && p->n_addresses > 0;
    if (transport_now_ns(p->t) < p->no_spare_until_ns) return;
    if (wants && p->n_idle + plain_opening(p) < 4 + p->t->n_busy / 8) plain_warm(p, 1);
}

void plain_tend(void *own, int64_t now_ns, bool sending) {
    struct plain *p = own;
    while (p->oldest_idle && now_ns - p->oldest_idle->idle_since_ns > MAX_IDLE_NS)
        connection_close(p->oldest_idle);
    if (sending) plain_keep_spare(p);
    plain_open_more(p);
}

void plain_shift(void *own, int64_t by_ns) {
    struct plain *p = own;
    p->no_spare_until_ns += by_ns;
    for (size_t i = 0; i < p->n_fds; i++) {
        struct connection *c = p->by_fd[i];
        if (!c) continue;
        c->began_ns += by_ns;
        c->idle_since_ns += by_ns;
        if (c->last_arrived_ns) c->last_arrived_ns += by_ns;
    }
}
