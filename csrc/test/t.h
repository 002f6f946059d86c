/* t: the smallest test frame that does: a sentence and a condition. Owns two counters per test program. */
#ifndef VLLMPERF_T_H
#define VLLMPERF_T_H

#include <stdio.h>

static _Atomic int t_run, t_failed; /* checks may be made by several threads */

#define CHECK(sentence, condition)                                                                           \
    do {                                                                                                     \
        t_run++;                                                                                             \
        if (!(condition)) {                                                                                  \
            t_failed++;                                                                                      \
            printf("FAILED %s:%d: %s (%s)\n", __FILE__, __LINE__, (sentence), #condition);                   \
        }                                                                                                    \
    } while (0)

static inline int t_done(const char *name) {
    printf("%s: %d checks, %d failed\n", name, t_run, t_failed);
    return t_failed != 0;
}

#endif
