/* loop: which sockets are readable or writable, with a wait of ns resolution and a wake-up from other
 * threads. Knows nothing of HTTP. One thread waits; any thread may wake. It owns no socket: whoever watches
 * one closes it, after loop_forget.
 */
#ifndef VLLMPERF_LOOP_H
#define VLLMPERF_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* LOOP_END: the peer sends no more, an end waits behind what can be read. LOOP_EDGE, for loop_watch only:
 * report what changed, once, instead of what is so. */
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_ERROR = 4, LOOP_END = 8, LOOP_EDGE = 16 };
enum { LOOP_BATCH = 64 }; /* sockets handed out by one wait */

struct loop; /* opaque */

struct loop_event {
    int fd;
    int what; /* LOOP_READ | LOOP_WRITE | LOOP_ERROR | LOOP_END */
};

struct loop *loop_new(void); /* NULL with errno set */
void loop_free(struct loop *loop);

/* Watch fd for `what` (0 = not at all). 0, or -1 with errno set. */
int loop_watch(struct loop *loop, int fd, int what);

/* fd is about to be closed, which would not end its watch while a forked child holds the socket; or it was
 * closed by somebody else. */
void loop_forget(struct loop *loop, int fd);

/* Wait up to timeout_ns (0 = look only) and fill events; returns how many. *woken turns true when loop_wake
 * was called since the last wait, alone or beside events. */
int loop_wait(struct loop *loop, int64_t timeout_ns, struct loop_event events[LOOP_BATCH], bool *woken);
void loop_wake(struct loop *loop);

#endif
