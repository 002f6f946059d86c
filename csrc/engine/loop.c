/* Owns the epoll instance, the wake-up descriptor and what each socket is watched for.
 * Does not own the sockets, does not read them. */
#include "engine/loop.h"

#include <stdatomic.h>
#include <sys/eventfd.h>

#include "engine/epoll_ns.h"
#include "stream/array.h"

struct loop {
    int epoll, wake;
    atomic_bool woken; /* beside the descriptor, which stands behind all sockets that were ready before it */
    unsigned char *watched; /* by fd: what the kernel has registered */
    size_t n_watched;
    bool no_pwait2; /* see epoll_ns.h */
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
    if (fd < 0 || (size_t)fd >= loop->n_watched || !loop->watched[fd]) return;
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, fd, NULL); /* fails when it is closed already */
    loop->watched[fd] = 0;
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
    int n = epoll_wait_ns(loop->epoll, ready, LOOP_BATCH, timeout_ns, &loop->no_pwait2), kept = 0;
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
