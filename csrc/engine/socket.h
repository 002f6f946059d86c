/* socket: a TCP socket without waiting: connect, send, and receive with the kernel's stamp. Any thread may
 * call. The caller closes what it opened. Errors are -1 with errno set.
 */
#ifndef VLLMPERF_SOCKET_H
#define VLLMPERF_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct socket_address {
    struct sockaddr_storage address;
    socklen_t len;
};

/* From a numeric address and a port. False when it is none. */
bool socket_address(const char *text, int port, struct socket_address *to);

/* Is this the same address and port? */
bool socket_is_same(const struct socket_address *a, const struct sockaddr *b);

/* socket(2), close-on-exec. The last descriptors below the limit are not for connections: EMFILE, as if there
 * were none, so that the rest of the process (the run file at each commit) still gets some. */
int socket_new(int family, int type, int protocol);

/* A new socket on its way to the address (connected when it becomes writable), -1 with errno set. */
int socket_connect(const struct socket_address *to, bool stamps);

/* 0 when the connection stands, else the errno of the attempt. */
int socket_error(int fd);

/* Reads up to `size` bytes. *stamp_ns: CLOCK_REALTIME when the kernel had received the last of them,
 * RECORD_NONE when it does not say. Gives the count, 0 at the end, -1 with errno set. */
ssize_t socket_receive(int fd, char *to, size_t size, int64_t *stamp_ns);

/* Looks at what waits, without reading: the same stamp, and how many bytes it covers; 0 at the end, -1 with
 * errno set. Nothing is written to scratch, but it must be as large as what may wait. */
ssize_t socket_peek(int fd, char *scratch, size_t size, int64_t *stamp_ns);

/* Sends two pieces as one; gives how many bytes went out (0 when none could), -1 with errno set. */
ssize_t socket_send(int fd, const struct iovec pieces[2]);

/* Did this errno come from a limit of our own machine (descriptors, ports, memory), not from the server? */
bool socket_is_local_fault(int error);

#endif
