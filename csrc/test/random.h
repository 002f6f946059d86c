/* random: the same numbers in each run (xorshift64). */
#ifndef VLLMPERF_TEST_RANDOM_H
#define VLLMPERF_TEST_RANDOM_H

#include <stdint.h>

static uint64_t state = 88172645463325252u; /* of the sequence: to be kept and put back */

static inline uint64_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

#endif
