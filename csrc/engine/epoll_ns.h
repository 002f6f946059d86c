/* epoll_ns: epoll_wait(2) with a time-out in ns, whatever the kernel. Owns nothing; one thread at a time for
 * each `refused`. Errors are those of epoll_wait.
 */
#ifndef VLLMPERF_EPOLL_NS_H
#define VLLMPERF_EPOLL_NS_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/clock.h"

/* Without epoll_pwait2: ppoll waits to the ns, epoll then only looks. */
static inline int epoll_wait_by_ppoll(int epoll, struct epoll_event *ready, int most,
                                      const struct timespec *timeout) {
    struct pollfd self = {.fd = epoll, .events = POLLIN};
    if (ppoll(&self, 1, timeout, NULL) <= 0) return 0;
    return epoll_wait(epoll, ready, most, 0);
}

/* epoll_pwait2 by number: the libc may be older than the kernel. *refused, false at first, remembers that the
 * kernel is older than 5.11, or that a container's seccomp profile is older than the kernel. */
static inline int epoll_wait_ns(int epoll, struct epoll_event *ready, int most, int64_t timeout_ns,
                                bool *refused) {
    struct timespec timeout = {timeout_ns / NS_PER_S, timeout_ns % NS_PER_S};
    if (timeout_ns <= 0) return epoll_wait(epoll, ready, most, 0);
#ifdef SYS_epoll_pwait2
    if (!*refused) {
        long n = syscall(SYS_epoll_pwait2, epoll, ready, most, &timeout, NULL, (size_t)0);
        if (n >= 0 || errno == EINTR) return (int)n;
        *refused = true;
    }
#endif
    return epoll_wait_by_ppoll(epoll, ready, most, &timeout);
}

#endif
