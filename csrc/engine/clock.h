/* clock: the two clocks of the program in ns. Owns nothing; any thread may call.
 * Durations are CLOCK_MONOTONIC. CLOCK_REALTIME is for people, for joins, and because kernel receive stamps
 * are in it.
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

/* What to add to a CLOCK_REALTIME stamp to get CLOCK_MONOTONIC, as of now. */
static inline int64_t clock_real_to_mono_ns(void) {
    int64_t before = clock_mono_ns();
    int64_t real = clock_real_ns();
    return before + (clock_mono_ns() - before) / 2 - real;
}

#endif
