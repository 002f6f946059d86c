/* Owns the counts of failed requests and the window of the last ones.
 * Does not know what counts as failed, and stops nothing. */
#include "engine/failures.h"

#include <string.h>

void failures_init(struct failures *f, int64_t most, int64_t most_of_last) {
    memset(f, 0, sizeof *f);
    f->most = most;
    f->most_of_last = most_of_last;
    pthread_mutex_init(&f->lock, NULL);
}

void failures_destroy(struct failures *f) {
    pthread_mutex_destroy(&f->lock);
}

static enum failures_limit limit_reached(const struct failures *f) {
    if (f->most > 0 && f->failed >= f->most) return FAILURES_IN_ALL;
    bool is_full = f->ended >= FAILURES_WINDOW;
    if (f->most_of_last > 0 && is_full && f->failed_of_last >= f->most_of_last) return FAILURES_OF_THE_LAST;
    return FAILURES_FEW;
}

enum failures_limit failures_add(struct failures *f, bool failed) {
    pthread_mutex_lock(&f->lock);
    bool *place = &f->last[f->ended++ % FAILURES_WINDOW];
    f->failed += failed;
    f->failed_of_last += failed - *place;
    *place = failed;
    enum failures_limit limit = limit_reached(f);
    pthread_mutex_unlock(&f->lock);
    return limit;
}
