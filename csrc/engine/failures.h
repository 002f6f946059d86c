/* failures: counts the requests of a run that failed, and tells when there are so many that the run is to be
 * given up. Any thread may call; nothing allocates, nothing fails. */
#ifndef VLLMPERF_FAILURES_H
#define VLLMPERF_FAILURES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { FAILURES_WINDOW = 100 }; /* requests that ended last: a share of fewer is mostly chance */

enum failures_limit { FAILURES_FEW, FAILURES_IN_ALL, FAILURES_OF_THE_LAST, FAILURES_LIMITS };

struct failures {
    int64_t most, most_of_last; /* so many are too many; 0 = no limit */
    pthread_mutex_t lock;       /* of what follows */
    int64_t ended, failed, failed_of_last;
    bool last[FAILURES_WINDOW]; /* whether it failed, each in the place of the one that ended a window before
                                 */
};

void failures_init(struct failures *failures, int64_t most, int64_t most_of_last);
void failures_destroy(struct failures *failures);

/* A request ended. Gives the limit that is reached with it, the one of all requests first. */
enum failures_limit failures_add(struct failures *failures, bool failed);

#endif
