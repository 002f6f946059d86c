/* plain_connection: the connections of plain http, and what came on them. Belongs to one thread.
 *
 * plain http is on sockets of our own, in four files. plain_connection.c opens, keeps and closes connections;
 * plain_send.c sends; plain_answer.c says what bytes mean: it frames the answer, follows
 * redirects, tries again; plain.c reads, and is what the transport sees. Only these four include this.
 *
 * struct plain owns its connections, as long as they are open or have pieces in its queue. What fails ends
 * the transfer with its outcome (transport_end).
 */
#ifndef VLLMPERF_PLAIN_CONNECTION_H
#define VLLMPERF_PLAIN_CONNECTION_H

#include "engine/framing.h"
#include "engine/request.h"
#include "engine/socket.h"
#include "engine/transport_kind.h"

struct plain;

struct connection {
    struct plain *plain;
    struct slot *slot; /* whose request it carries; NULL when it is idle or opened for nobody */
    struct connection *newer, *older; /* in the list of idle ones */
    int fd;                           /* -1 when closed */
    int pieces;                       /* in the queue; it is freed with the last one */
    bool up, reused, pooled;
    bool got_bytes;   /* of this answer */
    bool read_is_cut; /* the newest read left something: the next one goes on with it */
    bool unread;      /* a piece of the queue says that it waits to be read */
    bool ends;        /* the loop has seen an end: it is read up to it */
    bool skips_body;  /* of an answer that is not the one: a redirect */
    int64_t began_ns, idle_since_ns, last_arrived_ns;
    uint64_t read_number;
    struct framing framing;
    char *next_url; /* where the answer that is being read sends it on */
    char *url;      /* where a redirect sent this request; NULL: the run's */
    char *head;     /* of the request, then come body and sent */
    size_t head_len, head_cap;
    const char *body;
    size_t body_len, sent;
};

struct piece { /* what one read brought; len 0: the end, or an error */
    struct connection *connection;
    const char *bytes;
    size_t len;
    int64_t arrived_ns, seen_ns;
    uint64_t number;
    int error;
    bool unread; /* there was no room: it waits in the socket */
};

struct plain {
    struct transport *t;
    struct request request;
    struct socket_address *addresses;
    size_t n_addresses, next_address;
    struct connection **by_fd;
    size_t n_fds;
    struct connection *newest_idle, *oldest_idle;
    size_t n_idle, n_opening;
    int64_t no_spare_until_ns; /* after a connection that failed */
    int64_t to_open;           /* connections for nobody that are still to be begun */
    struct piece *pieces;      /* [first_piece, n_pieces) are to be worked on */
    size_t first_piece, n_pieces, cap_pieces;
    const struct connection *at_work; /* whose piece is worked on; it counts among its pieces */
    char *arena;                      /* of the pieces; behind it is room for one read more */
    size_t arena_used, n_in_arena;
};

/* For a request: one that is idle unless it must be fresh, else a new one; `url`: of a redirect, NULL for the
 * run's. NULL with errno set. */
struct connection *connection_for(struct plain *plain, const char *url, bool fresh);

/* Take it from its slot, for the next request or to close it. */
void connection_release(struct connection *connection, bool keep);
void connection_keep(struct connection *connection);
void connection_close(struct connection *connection);
void connection_free(struct connection *connection); /* the last piece of a closed one is gone */

/* Into the queue of what is to be worked on. False when out of memory. */
bool connection_push(struct plain *plain, const struct piece *piece);

/* Connections for nobody: begin those that are wanted; want one when few are idle. */
void plain_open_more(struct plain *plain);
void plain_keep_spare(struct plain *plain);

/* See transport_kind.h. */
void plain_warm(void *own, int64_t n);
size_t plain_opening(const void *own);
void plain_tend(void *own, int64_t now_ns, bool sending);
void plain_shift(void *own, int64_t by_ns);

#endif
