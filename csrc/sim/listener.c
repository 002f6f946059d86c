/* Owns the listening socket: when it accepts, whom it refuses, and how many files it leaves to others.
 * Does not read or write connections (conn.c). */
#include "sim/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/clock.h"

enum { ACCEPTS_PER_TURN = 256, BACKLOG = 8192 };
/* The last descriptors are for the rest of the process. Without one for the next connection it waits in the
 * backlog, and the listener, which would stay readable, is looked at again after a while. */
#define CROWDED_NS (10 * NS_PER_MS)
enum { KEPT_FILES = 16, NEAR_FILES = 64 };

static int bind_and_listen(struct listener *l) {
    int fd = socket(l->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    /* BBR, where it is the default, paces small writes by timers: not what is wanted of exact times. */
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    /* Connections inherit it; set later it would miss what comes before they are accepted. */
    if (*l->sim->config->truth_path) setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&l->address, l->address_len) != 0 || listen(fd, BACKLOG) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static int64_t raise_open_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return INT64_MAX;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max > INT32_MAX) return INT64_MAX;
    int64_t most = (int64_t)limit.rlim_max, kept = most / 8 < KEPT_FILES ? most / 8 : KEPT_FILES;
    return most - kept;
}

int listener_open(struct listener *l, struct sim *sim, const struct conn_user *user, char *error,
                  size_t error_size) {
    const struct sim_config *config = sim->config;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    char port[12];
    *l = (struct listener){.sim = sim, .user = user, .fd = -1, .most_files = raise_open_files()};
    snprintf(port, sizeof port, "%d", config->port);
    int why = getaddrinfo(config->host, port, &hints, &found);
    if (why != 0) {
        snprintf(error, error_size, "cannot listen on %s: %s", config->host, gai_strerror(why));
        return EADDRNOTAVAIL;
    }
    memcpy(&l->address, found->ai_addr, found->ai_addrlen);
    l->address_len = found->ai_addrlen;
    freeaddrinfo(found);
    l->fd = bind_and_listen(l);
    if (l->fd < 0) {
        int number = errno;
        snprintf(error, error_size, "cannot listen on %s port %d: %s", config->host, config->port,
                 strerror(number));
        return number;
    }
    socklen_t len = sizeof l->address;
    getsockname(l->fd, (struct sockaddr *)&l->address, &len);
    return 0;
}

int listener_port(const struct listener *l) {
    return ntohs(l->address.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&l->address)->sin6_port
                                                  : ((const struct sockaddr_in *)&l->address)->sin_port);
}

static void listener_watch(struct listener *l) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = l};
    epoll_ctl(l->sim->epoll_fd, EPOLL_CTL_ADD, l->fd, &event);
}

/* Closing alone would end neither the listening nor the watch while a child that was just forked holds the
 * socket, too. */
static void stop_listening(struct listener *l) {
    shutdown(l->fd, SHUT_RDWR);
    epoll_ctl(l->sim->epoll_fd, EPOLL_CTL_DEL, l->fd, NULL);
    listener_forget(l);
}

static const struct fault *connection_fault(const struct listener *l, enum fault_kind kind, int64_t number) {
    const struct sim_config *config = l->sim->config;
    for (int i = 0; i < config->n_faults; i++)
        if (config->faults[i].kind == kind && fault_hits(&config->faults[i], config->seed, number))
            return &config->faults[i];
    return NULL;
}

/* When the next connection is to be refused, nothing listens for a while; the first try has its number. */
static void stop_for_refusal(struct listener *l) {
    const struct fault *refuse = connection_fault(l, FAULT_REFUSE, l->connection_number + 1);
    if (refuse == NULL || l->fd < 0) return;
    stop_listening(l);
    l->connection_number++;
    counter_add(&l->sim->counters->windows_refused, 1);
    l->timer.kind = TIMER_LISTEN;
    wheel_set(l->sim->wheel, &l->timer, clock_mono_ns() + refuse->value[0] * NS_PER_MS);
}

/* On a listener that was closed, or only not watched for a while. */
void listener_on_timer(struct listener *l) {
    if (l->fd < 0) l->fd = bind_and_listen(l);
    if (l->fd >= 0)
        listener_watch(l);
    else
        wheel_set(l->sim->wheel, &l->timer, clock_mono_ns() + NS_PER_MS);
}

static void listener_take(struct listener *l, int fd) {
    int64_t number = ++l->connection_number;
    counter_add(&l->sim->counters->connections, 1);
    if (connection_fault(l, FAULT_RESET_CONNECT, number)) {
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
        close(fd);
    } else {
        struct conn *conn = conn_new(l->sim, l->user, fd, number);
        if (conn) conn_settle(conn);
    }
    if (l->sim->config->n_faults) stop_for_refusal(l);
}

/* A descriptor has the lowest number that is free; which one a connection would get is only asked when the
 * limit is near. */
static bool has_room(const struct listener *l) {
    if (l->highest_fd + NEAR_FILES < l->most_files) return true;
    int fd = dup(l->fd);
    if (fd >= 0) close(fd);
    errno = EMFILE;
    return fd >= 0 && fd < l->most_files;
}

static void pause_accepting(struct listener *l) {
    epoll_ctl(l->sim->epoll_fd, EPOLL_CTL_DEL, l->fd, NULL);
    l->timer.kind = TIMER_LISTEN;
    wheel_set(l->sim->wheel, &l->timer, clock_mono_ns() + CROWDED_NS);
}

void listener_accept(struct listener *l) {
    for (int i = 0; i < ACCEPTS_PER_TURN && l->fd >= 0; i++) {
        int fd = has_room(l) ? accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;
        if (fd > l->highest_fd) l->highest_fd = fd;
        if (fd >= 0) {
            listener_take(l, fd);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            if (errno != EAGAIN) pause_accepting(l);
            return;
        }
    }
}

void listener_start(struct listener *l) {
    listener_watch(l);
    stop_for_refusal(l);
}

void listener_close(struct listener *l) {
    if (l->fd >= 0) stop_listening(l);
}

void listener_forget(struct listener *l) {
    if (l->fd >= 0) close(l->fd);
    l->fd = -1;
}
