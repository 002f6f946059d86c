/* Owns plain http as the transport sees it, and what arrives, with the kernel's stamp of each read. Does not
 * open or keep connections (plain_connection.c), nor know what bytes mean (plain_answer.c).
 *
 * Reading is taken apart from understanding: `ready` only moves a socket's bytes into the arena with their
 * stamp, `work` makes sense of them later, in the order of arrival. A stream that waits for its turn is still
 * read, and stamped, between two others (docs/transport.md). */
#include <errno.h>

#include "engine/clock.h"
#include "engine/plain_answer.h"
#include "engine/plain_send.h"

enum { ARENA_BYTES = 1 << 20, READ_BYTES = 64 * 1024 };

static void plain_send_slot(struct slot *slot) {
    plain_send(slot->transport->own, slot, NULL, false);
}

static void plain_abort_slot(struct slot *slot) {
    if (slot->carrier) connection_close(slot->carrier);
}

/* ---- what the loop brings ---- */

/* One read into `to`. False when nothing was there. */
static bool read_piece(struct connection *c, char *to, struct piece *piece) {
    struct transport *t = c->plain->t;
    int64_t stamp_ns;
    ssize_t got = socket_receive(c->fd, to, READ_BYTES, &stamp_ns);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        c->read_is_cut = false; /* nothing waited behind the newest read */
        return false;
    }
    *piece = (struct piece){.connection = c, .bytes = to, .len = got > 0 ? (size_t)got : 0};
    if (got < 0) piece->error = errno;
    piece->seen_ns = transport_now_ns(t);
    piece->arrived_ns = transport_arrived_ns(t, stamp_ns, piece->seen_ns);
    if (piece->arrived_ns < c->last_arrived_ns) piece->arrived_ns = c->last_arrived_ns;
    if (!c->read_is_cut) c->read_number = ++t->reads;
    piece->number = c->read_number;
    c->read_is_cut = got == READ_BYTES;
    c->last_arrived_ns = piece->arrived_ns;
    return true;
}

static void push_unread(struct connection *c) {
    struct piece piece = {.connection = c, .unread = true};
    c->unread = connection_push(c->plain, &piece);
}

/* Read what is there. A read that fills its room was cut: what follows waited with it, so it belongs to the
 * same read; and behind an end that the loop has seen nothing new will be told, so it is read up to it. */
static void plain_receive(struct connection *c) {
    struct plain *p = c->plain;
    struct piece piece;
    if (c->unread) return; /* what came first is read first */
    do {
        if (p->arena_used + READ_BYTES > ARENA_BYTES) {
            push_unread(c);
            return;
        }
        if (!read_piece(c, p->arena + p->arena_used, &piece) || !connection_push(p, &piece)) return;
        p->arena_used += piece.len;
        p->n_in_arena++;
    } while (piece.len && (c->read_is_cut || c->ends));
}

static void connection_is_up(struct connection *c) {
    struct plain *p = c->plain;
    c->up = true;
    p->n_opening--;
    transport_note_connection(p->t, c->began_ns);
    if (c->slot) {
        c->slot->response.record.connected_ns = transport_now_ns(p->t);
        plain_send_on(c);
    } else {
        connection_keep(c);
    }
    plain_open_more(p);
}

static void connection_failed(struct connection *c, int error) {
    struct slot *slot = c->slot;
    struct plain *p = c->plain;
    connection_close(c);
    if (slot)
        plain_connect_failed(slot, error);
    else
        p->to_open = 0; /* the others would fail as well; requests will say why */
    p->no_spare_until_ns = transport_now_ns(p->t) + NS_PER_S;
}

static void plain_ready(void *own, const struct loop_event *event) {
    struct plain *p = own;
    struct connection *c = (size_t)event->fd < p->n_fds ? p->by_fd[event->fd] : NULL;
    if (!c) return;
    if (!c->up) {
        int error = event->what & (LOOP_ERROR | LOOP_END) ? socket_error(c->fd) : 0;
        if (error)
            connection_failed(c, error);
        else if (event->what & LOOP_WRITE)
            connection_is_up(c);
        if (error || !c->up) return;
    } else if (event->what & LOOP_WRITE && c->slot) {
        plain_send_rest(c);
    }
    if (event->what & (LOOP_END | LOOP_ERROR)) c->ends = true;
    if (event->what & ~LOOP_WRITE) plain_receive(c);
}

/* ---- the work that waits ---- */

static bool has_work(const void *own) {
    const struct plain *p = own;
    return p->first_piece < p->n_pieces;
}

/* A piece that found no room: it is read now, and worked on at once. What it leaves waits behind the others'
 * pieces, so that a server that never stops sending holds up nobody. */
static void take_unread(struct connection *c) {
    struct piece piece;
    c->unread = false;
    if (!read_piece(c, c->plain->arena + ARENA_BYTES, &piece)) return;
    plain_take_piece(&piece);
    if (c->fd >= 0 && piece.len && (c->read_is_cut || c->ends)) push_unread(c);
}

static bool plain_work(void *own) {
    struct plain *p = own;
    if (!has_work(p)) return false;
    struct piece piece = p->pieces[p->first_piece++];
    struct connection *c = piece.connection;
    p->at_work = c;
    if (c->fd >= 0 && piece.unread)
        take_unread(c);
    else if (c->fd >= 0)
        plain_take_piece(&piece);
    p->at_work = NULL;
    c->pieces--;
    if (c->fd < 0 && c->pieces == 0) connection_free(c);
    if (!piece.unread && --p->n_in_arena == 0) p->arena_used = 0;
    if (!has_work(p)) p->first_piece = p->n_pieces = 0;
    return true;
}

static int64_t plain_next_timer_ns(const void *own) {
    (void)own;
    return INT64_MAX;
}

static void plain_run_timers(void *own, int64_t now_ns) {
    (void)own, (void)now_ns;
}

/* ---- life ---- */

static bool plain_slot_init(struct slot *slot) {
    (void)slot;
    return true;
}

static void plain_slot_free(struct slot *slot) {
    (void)slot;
}

static bool make_addresses(struct plain *p, const struct engine_config *config) {
    p->addresses = calloc(config->n_addresses ? config->n_addresses : 1, sizeof *p->addresses);
    if (!p->addresses) return false;
    for (size_t i = 0; i < config->n_addresses; i++)
        p->n_addresses +=
            socket_address(config->addresses[i], p->request.port, &p->addresses[p->n_addresses]);
    return p->n_addresses == config->n_addresses;
}

static void plain_close_all(void *own) {
    struct plain *p = own;
    for (size_t i = p->first_piece; i < p->n_pieces; i++) {
        struct connection *c = p->pieces[i].connection;
        if (--c->pieces == 0 && c->fd < 0) connection_free(c);
    }
    for (size_t i = 0; i < p->n_fds; i++)
        if (p->by_fd[i]) connection_close(p->by_fd[i]);
    request_free(&p->request);
    free(p->addresses);
    free(p->by_fd);
    free(p->pieces);
    free(p->arena);
    free(p);
}

static void *plain_open_all(struct transport *t, size_t n_multis) {
    (void)n_multis;
    struct plain *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->t = t;
    p->arena = malloc(ARENA_BYTES + READ_BYTES);
    if (p->arena && request_init(&p->request, t->config) && make_addresses(p, t->config)) return p;
    plain_close_all(p);
    return NULL;
}

const struct transport_kind transport_plain = {
    .open = plain_open_all,
    .close = plain_close_all,
    .slot_init = plain_slot_init,
    .slot_free = plain_slot_free,
    .send = plain_send_slot,
    .abort = plain_abort_slot,
    .warm = plain_warm,
    .opening = plain_opening,
    .ready = plain_ready,
    .work = plain_work,
    .has_work = has_work,
    .next_timer_ns = plain_next_timer_ns,
    .run_timers = plain_run_timers,
    .tend = plain_tend,
    .shift = plain_shift,
};
