/* Owns the sentences about the loop and the clocks: wake-ups, edges, waits under an old seccomp profile.
 * Asserts no upper bound of time: the machine may be busy. */
#include "engine/loop.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/clock.h"
#include "test/refuse.h"
#include "test/t.h"

struct pair {
    int ours, theirs;
};

static struct pair new_pair(void) {
    int fds[2] = {-1, -1};
    CHECK("there is a pair of sockets", socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    return (struct pair){fds[0], fds[1]};
}

static void say(int fd, const char *text) {
    CHECK("it is written", write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static void test_wake_up(struct loop *loop) {
    struct loop_event events[LOOP_BATCH];
    struct pair pair = new_pair();
    bool woken = false;
    loop_watch(loop, pair.ours, LOOP_READ);
    CHECK("nothing is ready", loop_wait(loop, 0, events, &woken) == 0 && !woken);
    loop_wake(loop);
    loop_wake(loop);
    CHECK("a wake-up alone brings no event", loop_wait(loop, NS_PER_S, events, &woken) == 0 && woken);
    woken = false;
    CHECK("several wake-ups are one", loop_wait(loop, 0, events, &woken) == 0 && !woken);
    say(pair.theirs, "a");
    loop_wake(loop);
    int n = loop_wait(loop, NS_PER_S, events, &woken);
    CHECK("a wake-up beside an event is not lost",
          n == 1 && woken && events[0].fd == pair.ours && events[0].what == LOOP_READ);
    loop_forget(loop, pair.ours);
    close(pair.ours);
    close(pair.theirs);
}

/* More sockets are ready than one wait hands out, and all of them before the wake-up. */
static void test_wake_up_behind_a_crowd(struct loop *loop) {
    enum { MANY = 3 * LOOP_BATCH };
    static struct pair pairs[MANY];
    struct loop_event events[LOOP_BATCH];
    bool woken = false;
    loop_wait(loop, 0, events, &woken); /* an earlier wake-up may still stand in front */
    for (int i = 0; i < MANY; i++) {
        pairs[i] = new_pair();
        loop_watch(loop, pairs[i].ours, LOOP_READ | LOOP_EDGE);
        say(pairs[i].theirs, "a");
    }
    loop_wake(loop);
    CHECK("a wake-up does not wait behind the sockets that were ready before it",
          loop_wait(loop, 0, events, &woken) == LOOP_BATCH && woken);
    for (int i = 0; i < MANY; i++) {
        loop_forget(loop, pairs[i].ours);
        close(pairs[i].ours);
        close(pairs[i].theirs);
    }
    woken = false;
    CHECK("and is told once", loop_wait(loop, 0, events, &woken) == 0 && !woken);
}

static void test_edges(struct loop *loop) {
    struct loop_event events[LOOP_BATCH];
    struct pair pair = new_pair();
    bool woken = false;
    loop_watch(loop, pair.ours, LOOP_READ | LOOP_WRITE | LOOP_EDGE);
    CHECK("it can be written to", loop_wait(loop, 0, events, &woken) == 1 && events[0].what == LOOP_WRITE);
    CHECK("which is told once", loop_wait(loop, 0, events, &woken) == 0);
    say(pair.theirs, "a");
    CHECK("bytes are told", loop_wait(loop, 0, events, &woken) == 1 && events[0].what & LOOP_READ);
    CHECK("once, though they are still there", loop_wait(loop, 0, events, &woken) == 0);
    say(pair.theirs, "b");
    CHECK("new ones are told again", loop_wait(loop, 0, events, &woken) == 1 && events[0].what & LOOP_READ);
    close(pair.theirs);
    CHECK("an end is told as one", loop_wait(loop, 0, events, &woken) == 1 && events[0].what & LOOP_END);
    loop_forget(loop, pair.ours);
    close(pair.ours);
}

static void test_closed_behind_its_back(struct loop *loop) {
    struct loop_event events[LOOP_BATCH];
    struct pair pair = new_pair();
    bool woken = false;
    loop_watch(loop, pair.ours, LOOP_READ);
    close(pair.ours);
    loop_forget(loop, pair.ours);
    int again = dup2(pair.theirs, pair.ours);
    struct pair other = new_pair();
    dup2(other.ours, again);
    CHECK("a descriptor whose number was given again is watched anew",
          loop_watch(loop, again, LOOP_READ) == 0);
    say(other.theirs, "a");
    CHECK("and heard", loop_wait(loop, 0, events, &woken) == 1 && events[0].fd == again);
    loop_forget(loop, again);
    close(again);
    close(other.ours);
    close(other.theirs);
    close(pair.theirs);
}

static bool waits(struct loop *loop, int64_t ns) {
    struct loop_event events[LOOP_BATCH];
    bool woken = false;
    int64_t began_ns = clock_mono_ns();
    return loop_wait(loop, ns, events, &woken) == 0 && clock_mono_ns() - began_ns >= ns;
}

static void test_waits(struct loop *loop) {
    CHECK("a wait lasts as long as asked", waits(loop, 3 * NS_PER_MS) && waits(loop, 300000));
    CHECK("seccomp refuses epoll_pwait2 from here on", refuse_epoll_pwait2());
    CHECK("a wait lasts as long where epoll_pwait2 is refused",
          waits(loop, 3 * NS_PER_MS) && waits(loop, 300000));
    test_wake_up(loop);
    test_edges(loop);
}

static void test_clocks(void) {
    struct clock_pair pair = clock_pair();
    CHECK("a pair has a width", pair.width_ns >= 0);
    CHECK("a pair agrees with itself", clock_follow(pair.offset_ns, pair) == pair.offset_ns);
    CHECK("a pair that was torn apart moves nothing",
          clock_follow(1000, (struct clock_pair){1000 + 2 * NS_PER_MS, 5 * NS_PER_MS}) == 1000);
    CHECK("a narrow one that contradicts is followed, up and down",
          clock_follow(1000, (struct clock_pair){NS_PER_S, 60}) == NS_PER_S &&
              clock_follow(NS_PER_S, (struct clock_pair){-5, 60}) == -5);
}

int main(void) {
    struct loop *loop = loop_new();
    CHECK("there is a loop", loop != NULL);
    if (!loop) return 1;
    test_clocks();
    test_wake_up(loop);
    test_wake_up_behind_a_crowd(loop);
    test_edges(loop);
    test_closed_behind_its_back(loop);
    test_waits(loop);
    loop_free(loop);
    return t_done("test_loop");
}
