/* clock: the two clocks of the program in ns. Owns nothing; any thread may call. Durations are
 * CLOCK_MONOTONIC. CLOCK_REALTIME is for people, for joins, and because kernel receive stamps are in it. No
 * call can fail.
 */
#ifndef VLLMPERF_CLOCK_H
#define VLLMPERF_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_S  INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

static inline int64_t clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static inline int64_t clock_mono_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}
static inline int64_t clock_real_ns(void) {
    return clock_ns(CLOCK_REALTIME);
}

/* What to add to a CLOCK_REALTIME stamp to get CLOCK_MONOTONIC, as of now: the truth lies within offset_ns
 * +- width_ns / 2. The width is some 50 ns; milliseconds when the thread lost its core in between. */
struct clock_pair {
    int64_t offset_ns, width_ns;
};

static inline struct clock_pair clock_pair(void) {
    int64_t before_ns = clock_mono_ns(), real_ns = clock_real_ns(), width_ns = clock_mono_ns() - before_ns;
    return (struct clock_pair){before_ns + width_ns / 2 - real_ns, width_ns};
}

/* A known offset stays as long as a pair does not contradict it: so a wide pair moves nothing, and a step of
 * the clock is followed at once. */
static inline int64_t clock_follow(int64_t known_ns, struct clock_pair pair) {
    int64_t apart_ns = pair.offset_ns > known_ns ? pair.offset_ns - known_ns : known_ns - pair.offset_ns;
    return apart_ns > pair.width_ns / 2 ? pair.offset_ns : known_ns;
}

/* The same from the narrowest of several pairs, for a caller that knows nothing yet. */
static inline int64_t clock_real_to_mono_ns(void) {
    struct clock_pair best = clock_pair();
    for (int i = 0; i < 7; i++) {
        struct clock_pair pair = clock_pair();
        if (pair.width_ns < best.width_ns) best = pair;
    }
    return best.offset_ns;
}

#endif
