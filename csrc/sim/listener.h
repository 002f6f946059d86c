/* listener: the socket on which the simulated server listens, and the faults of connecting. It belongs to the
 * server's thread, except while nothing runs; its sockets are closed by listener_close.
 */
#ifndef VLLMPERF_SIM_LISTENER_H
#define VLLMPERF_SIM_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "sim/conn.h"
#include "sim/sim.h"

struct listener {
    struct wheel_timer timer; /* when it listens, or accepts, again */
    struct sim *sim;
    const struct conn_user *user; /* of the connections that it makes */
    int fd;                       /* -1 while nothing listens */
    int highest_fd;               /* of the connections so far */
    int64_t most_files;
    struct sockaddr_storage address; /* to listen on it again */
    socklen_t address_len;
    int64_t connection_number; /* of the latest connection, or of the refused one */
};

/* Listens where sim->config says. 0, or an errno with a line about it in error. */
int listener_open(struct listener *listener, struct sim *sim, const struct conn_user *user, char *error,
                  size_t error_size);
int listener_port(const struct listener *listener);

/* Its events come with the listener as their data. */
void listener_start(struct listener *listener);
void listener_accept(struct listener *listener);
void listener_on_timer(struct listener *listener);
void listener_close(struct listener *listener);
void listener_forget(struct listener *listener); /* in a child after fork(): the parent still listens */

#endif
