/* Owns the way of a request onto its connection. Does not open or keep connections (plain_connection.c). */
#include "engine/plain_send.h"

#include <errno.h>

void plain_connect_failed(struct slot *slot, int error) {
    enum outcome outcome = socket_is_local_fault(error) ? OUTCOME_local_fault
                           : error == ETIMEDOUT         ? OUTCOME_connect_timeout
                                                        : OUTCOME_refused;
    transport_end(slot, outcome, strerror(error));
}

/* A failure that no event of the socket will tell becomes a piece of its own, which ends the transfer. */
static void note_send_error(struct connection *c, int error) {
    struct piece piece = {.connection = c, .error = error, .seen_ns = transport_now_ns(c->plain->t)};
    piece.arrived_ns = piece.seen_ns;
    piece.number = ++c->plain->t->reads;
    if (error != EPIPE && error != ECONNRESET && connection_push(c->plain, &piece)) c->plain->n_in_arena++;
}

/* What cannot go out now goes when the socket says so. A broken connection says so when it is read. */
void plain_send_rest(struct connection *c) {
    while (c->sent < c->head_len + c->body_len) {
        size_t of_body = c->sent > c->head_len ? c->sent - c->head_len : 0;
        struct iovec pieces[2] = {
            {c->head + c->sent - of_body, c->head_len - (c->sent - of_body)},
            {(char *)(uintptr_t)c->body + of_body, c->body_len - of_body},
        };
        ssize_t sent = socket_send(c->fd, pieces);
        if (sent < 0) note_send_error(c, errno);
        if (sent <= 0) return;
        c->sent += (size_t)sent;
    }
}

void plain_send_on(struct connection *c) {
    framing_begin(&c->framing);
    c->got_bytes = c->skips_body = false;
    c->slot->connected = true;
    plain_send_rest(c);
}

static bool make_head(struct connection *c) {
    const struct slot *slot = c->slot;
    int64_t body_len = slot->is_get ? -1 : item_body_len(&slot->item);
    c->head_len = request_head(&c->plain->request, c->url, slot->response.record.index,
                               item_session(&slot->item), body_len, &c->head, &c->head_cap);
    c->body = item_body(&slot->item);
    c->body_len = body_len > 0 ? (size_t)body_len : 0;
    c->sent = 0;
    return c->head_len > 0;
}

void plain_send(struct plain *p, struct slot *slot, char *url, bool fresh) {
    struct connection *c = connection_for(p, url, fresh || p->t->config->fresh_connections);
    int error = errno;
    if (!c) {
        free(url);
        plain_connect_failed(slot, error);
        return;
    }
    free(c->url);
    c->url = url;
    c->slot = slot;
    slot->carrier = c;
    slot->connected = c->up;
    slot->connecting_ns = transport_now_ns(p->t);
    if (!make_head(c)) {
        connection_release(c, false);
        transport_end(slot, OUTCOME_local_fault, "out of memory");
        return;
    }
    if (c->up) plain_send_on(c);
    plain_keep_spare(p);
}
