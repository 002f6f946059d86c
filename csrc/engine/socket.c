/* Owns nothing: each call is one or a few system calls on a descriptor of the caller.
 * Does not know HTTP, does not close sockets. */
#include "engine/socket.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/clock.h"
#include "stats/record.h"

bool socket_address(const char *text, int port, struct socket_address *to) {
    char bare[NI_MAXHOST], service[16];
    size_t n = strlen(text);
    bool in_brackets = n > 2 && text[0] == '[' && text[n - 1] == ']';
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;
    if (n >= sizeof bare) return false;
    memcpy(bare, text + in_brackets, n - 2 * in_brackets);
    bare[n - 2 * in_brackets] = 0;
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(bare, service, &hints, &found) != 0) return false;
    memcpy(&to->address, found->ai_addr, found->ai_addrlen);
    to->len = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

bool socket_is_same(const struct socket_address *a, const struct sockaddr *b) {
    if (a->address.ss_family != b->sa_family) return false;
    if (b->sa_family == AF_INET) {
        const struct sockaddr_in *own = (const void *)&a->address, *other = (const void *)b;
        return own->sin_port == other->sin_port && own->sin_addr.s_addr == other->sin_addr.s_addr;
    }
    if (b->sa_family != AF_INET6) return false;
    const struct sockaddr_in6 *own = (const void *)&a->address, *other = (const void *)b;
    return own->sin6_port == other->sin6_port && own->sin6_scope_id == other->sin6_scope_id &&
           memcmp(&own->sin6_addr, &other->sin6_addr, sizeof own->sin6_addr) == 0;
}

enum { KEPT_FILES = 16 };

/* The lowest number that is free is given, so a high one means that few are left. */
static bool is_kept_for_others(int fd) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return false;
    rlim_t kept = limit.rlim_cur / 8 < KEPT_FILES ? limit.rlim_cur / 8 : KEPT_FILES;
    return (rlim_t)fd >= limit.rlim_cur - kept;
}

int socket_new(int family, int type, int protocol) {
    int fd = socket(family, type | SOCK_CLOEXEC, protocol);
    if (fd < 0 || !is_kept_for_others(fd)) return fd;
    close(fd);
    errno = EMFILE;
    return -1;
}

int socket_connect(const struct socket_address *to, bool stamps) {
    int on = 1, fd = socket_new(to->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (stamps) setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    if (connect(fd, (const struct sockaddr *)&to->address, to->len) == 0 || errno == EINPROGRESS) return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int socket_error(int fd) {
    int error = 0;
    socklen_t len = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? error : errno;
}

static int64_t stamp_of(struct msghdr *message) {
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SO_TIMESTAMPNS) return RECORD_NONE;
    struct timespec stamp;
    memcpy(&stamp, CMSG_DATA(head), sizeof stamp);
    return (int64_t)stamp.tv_sec * NS_PER_S + stamp.tv_nsec;
}

static ssize_t socket_take(int fd, char *to, size_t size, int flags, int64_t *stamp_ns) {
    char control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec piece = {to, size};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(fd, &message, flags | MSG_DONTWAIT);
    *stamp_ns = got > 0 ? stamp_of(&message) : RECORD_NONE;
    return got;
}

ssize_t socket_receive(int fd, char *to, size_t size, int64_t *stamp_ns) {
    return socket_take(fd, to, size, 0, stamp_ns);
}

/* With MSG_TRUNC, TCP counts the bytes and copies none: one call, whatever waits. */
ssize_t socket_peek(int fd, char *scratch, size_t size, int64_t *stamp_ns) {
    return socket_take(fd, scratch, size, MSG_PEEK | MSG_TRUNC, stamp_ns);
}

ssize_t socket_send(int fd, const struct iovec pieces[2]) {
    struct iovec copy[2] = {pieces[0], pieces[1]};
    struct msghdr message = {.msg_iov = copy, .msg_iovlen = 2};
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : sent;
}

bool socket_is_local_fault(int error) {
    static const int local[] = {EMFILE,     ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL,
                                EADDRINUSE, EACCES, EPERM,   ENOSPC};
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (error == local[i]) return true;
    return false;
}
