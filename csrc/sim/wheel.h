/* wheel: which timer is due next. A hierarchical timer wheel (slots of 32.8 us, 256 slots a level) for what
 * is far, and a heap for what is near, so that timers come out in the exact order of their times. Adding and
 * taking out cost O(1) for far timers; nothing is allocated after wheel_new. Timers belong to the caller and
 * must stay where they are while they are in. One thread.
 */
#ifndef VLLMPERF_SIM_WHEEL_H
#define VLLMPERF_SIM_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

struct wheel; /* opaque */

struct wheel_timer {
    int64_t at_ns;
    struct wheel_timer *next, *previous, *child;
    int16_t slot; /* WHEEL_OUT, WHEEL_NEAR, or the slot that it is in */
    uint8_t kind; /* for the caller: what the timer is part of */
};

enum { WHEEL_OUT = 0, WHEEL_NEAR = -1 };

struct wheel *wheel_new(int64_t now_ns); /* NULL when out of memory */
void wheel_free(struct wheel *wheel);

/* Have the timer come out at at_ns; one that is in already is moved. */
void wheel_set(struct wheel *wheel, struct wheel_timer *timer, int64_t at_ns);
void wheel_cancel(struct wheel *wheel, struct wheel_timer *timer);

/* The earliest timer that is due at now_ns, taken out; NULL when none is. */
struct wheel_timer *wheel_take(struct wheel *wheel, int64_t now_ns);

/* No timer is due before this time, INT64_MAX when there is none. */
int64_t wheel_next_ns(struct wheel *wheel);

#endif
