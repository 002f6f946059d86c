/* Owns the epoll instance, the wake-up descriptor and what each socket is watched for.
 * Does not own the sockets, does not read them. */
#include "engine/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine/clock.h"
#include "stream/array.h"

struct loop {
    int epoll, wake;
    atomic_bool woken; /* beside the descriptor, which stands behind all sockets that were ready before it */
    unsigned char *watched; /* by fd: what the kernel has registered */
    size_t n_watched;
    bool no_pwait2; /* the kernel is older than 5.11, or a seccomp profile is older than the kernel */
};

struct loop *loop_new(void) {
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop) return NULL;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = loop->wake};
    if (loop->epoll >= 0 && loop->wake >= 0 && epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &event) == 0)
        return loop;
    loop_free(loop);
    return NULL;
}

void loop_free(struct loop *loop) {
    if (!loop) return;
    if (loop->epoll >= 0) close(loop->epoll);
    if (loop->wake >= 0) close(loop->wake);
    free(loop->watched);
    free(loop);
}

int loop_watch(struct loop *loop, int fd, int what) {
    if (!ARRAY_ROOM_ZEROED(loop->watched, loop->n_watched, (size_t)fd + 1)) return -1;
    if (loop->watched[fd] == what) return 0;
    struct epoll_event event = {.data.fd = fd};
    if (what & LOOP_READ) event.events |= EPOLLIN;
    if (what & LOOP_WRITE) event.events |= EPOLLOUT;
    if (what & LOOP_EDGE) event.events |= EPOLLET | EPOLLRDHUP;
    int op = what == 0 ? EPOLL_CTL_DEL : loop->watched[fd] ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(loop->epoll, op, fd, &event) != 0) return -1;
    loop->watched[fd] = (unsigned char)what;
    return 0;
}

void loop_forget(struct loop *loop, int fd) {
    if (fd >= 0 && (size_t)fd < loop->n_watched && loop->watched[fd]) loop_watch(loop, fd, 0);
}

/* Where there is no epoll_pwait2: ppoll waits to the ns, epoll then only looks. */
static int wait_by_ppoll(struct loop *loop, const struct timespec *timeout, struct epoll_event *ready) {
    struct pollfd self = {.fd = loop->epoll, .events = POLLIN};
    if (ppoll(&self, 1, timeout, NULL) <= 0) return 0;
    return epoll_wait(loop->epoll, ready, LOOP_BATCH, 0);
}

/* epoll_pwait2 by number: the libc may be older than the kernel. */
static int wait_ns(struct loop *loop, int64_t timeout_ns, struct epoll_event *ready) {
    struct timespec timeout = {timeout_ns / NS_PER_S, timeout_ns % NS_PER_S};
    if (timeout_ns <= 0) return epoll_wait(loop->epoll, ready, LOOP_BATCH, 0);
#ifdef SYS_epoll_pwait2
    if (!loop->no_pwait2) {
        long n = syscall(SYS_epoll_pwait2, loop->epoll, ready, LOOP_BATCH, &timeout, NULL, (size_t)0);
        if (n >= 0 || errno == EINTR) return (int)n;
        loop->no_pwait2 = true; /* ENOSYS, or EPERM from a container's old seccomp profile */
    }
#endif
    return wait_by_ppoll(loop, &timeout, ready);
}

static int what_of(uint32_t events) {
    int what = 0;
    if (events & EPOLLIN) what |= LOOP_READ;
    if (events & EPOLLOUT) what |= LOOP_WRITE;
    if (events & (EPOLLHUP | EPOLLRDHUP)) what |= LOOP_READ | LOOP_END;
    if (events & EPOLLERR) what |= LOOP_ERROR;
    return what;
}

int loop_wait(struct loop *loop, int64_t timeout_ns, struct loop_event events[LOOP_BATCH], bool *woken) {
    struct epoll_event ready[LOOP_BATCH];
    int n = wait_ns(loop, timeout_ns, ready), kept = 0;
    for (int i = 0; i < n; i++) {
        uint64_t times;
        if (ready[i].data.fd != loop->wake)
            events[kept++] = (struct loop_event){ready[i].data.fd, what_of(ready[i].events)};
        else if (read(loop->wake, &times, sizeof times) < 0)
            continue;
    }
    if (atomic_exchange(&loop->woken, false)) *woken = true;
    return kept;
}

void loop_wake(struct loop *loop) {
    uint64_t once = 1;
    atomic_store(&loop->woken, true);
    /* A full counter means that a wake-up is pending already. */
    if (write(loop->wake, &once, sizeof once) < 0) return;
}
