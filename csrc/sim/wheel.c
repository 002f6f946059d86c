/* Owns the order of timers: levels of slots with occupancy bitmaps, and a pairing heap of the near ones.
 * Does not wait and does not know what a timer is for. */
#include "sim/wheel.h"

#include <stddef.h>
#include <stdlib.h>

enum { TICK_BITS = 15, LEVEL_BITS = 8, LEVEL_SLOTS = 1 << LEVEL_BITS, LEVELS = 6, WORDS = LEVEL_SLOTS / 64 };

struct wheel {
    int64_t tick; /* what is due in this tick or before is in the heap */
    struct wheel_timer *near;
    struct wheel_timer *slots[LEVELS * LEVEL_SLOTS];
    uint64_t occupied[LEVELS][WORDS];
};

struct wheel *wheel_new(int64_t now_ns) {
    struct wheel *wheel = calloc(1, sizeof *wheel);
    if (wheel) wheel->tick = now_ns >> TICK_BITS;
    return wheel;
}

void wheel_free(struct wheel *wheel) {
    free(wheel);
}

/* ---- pairing heap ---- */

/* `child` is the first child, `next` a sibling, `previous` the sibling before or the parent. */

static struct wheel_timer *wheel_join(struct wheel_timer *a, struct wheel_timer *b) {
    if (a == NULL) return b;
    if (b == NULL) return a;
    if (b->at_ns < a->at_ns) {
        struct wheel_timer *swap = a;
        a = b;
        b = swap;
    }
    b->next = a->child;
    if (b->next) b->next->previous = b;
    b->previous = a;
    a->child = b;
    return a;
}

/* Join siblings two by two from the left, then all of these from the right. */
static struct wheel_timer *join_siblings(struct wheel_timer *first) {
    struct wheel_timer *pairs = NULL, *heap = NULL;
    while (first) {
        struct wheel_timer *a = first, *b = first->next;
        first = b ? b->next : NULL;
        a->next = a->previous = NULL;
        if (b) b->next = b->previous = NULL;
        a = wheel_join(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs) {
        struct wheel_timer *rest = pairs->next;
        pairs->next = NULL;
        heap = wheel_join(heap, pairs);
        pairs = rest;
    }
    return heap;
}

static void near_add(struct wheel *wheel, struct wheel_timer *timer) {
    timer->next = timer->previous = timer->child = NULL;
    timer->slot = WHEEL_NEAR;
    wheel->near = wheel_join(wheel->near, timer);
    wheel->near->previous = NULL;
}

static void near_remove(struct wheel *wheel, struct wheel_timer *timer) {
    struct wheel_timer *children = join_siblings(timer->child);
    if (timer == wheel->near) {
        wheel->near = children;
    } else {
        if (timer->previous->child == timer)
            timer->previous->child = timer->next;
        else
            timer->previous->next = timer->next;
        if (timer->next) timer->next->previous = timer->previous;
        wheel->near = wheel_join(wheel->near, children);
    }
    if (wheel->near) wheel->near->previous = NULL;
}

/* ---- slots ---- */

static void slot_add(struct wheel *wheel, struct wheel_timer *timer, int level, int index) {
    int slot = level * LEVEL_SLOTS + index;
    timer->slot = (int16_t)(slot + 1);
    timer->previous = NULL;
    timer->next = wheel->slots[slot];
    if (timer->next) timer->next->previous = timer;
    wheel->slots[slot] = timer;
    wheel->occupied[level][index / 64] |= UINT64_C(1) << (index % 64);
}

static void mark_empty(struct wheel *wheel, int slot) {
    int index = slot % LEVEL_SLOTS;
    wheel->occupied[slot / LEVEL_SLOTS][index / 64] &= ~(UINT64_C(1) << (index % 64));
}

static void slot_remove(struct wheel *wheel, struct wheel_timer *timer) {
    int slot = timer->slot - 1;
    if (timer->previous)
        timer->previous->next = timer->next;
    else
        wheel->slots[slot] = timer->next;
    if (timer->next) timer->next->previous = timer->previous;
    if (wheel->slots[slot] == NULL) mark_empty(wheel, slot);
}

/* A timer's level is that of the highest digit in which its tick differs from the wheel's. */
static void wheel_place(struct wheel *wheel, struct wheel_timer *timer) {
    int64_t tick = timer->at_ns >> TICK_BITS;
    if (tick <= wheel->tick) {
        near_add(wheel, timer);
        return;
    }
    int level = (63 - __builtin_clzll((uint64_t)(tick ^ wheel->tick))) / LEVEL_BITS;
    slot_add(wheel, timer, level, (int)((tick >> (level * LEVEL_BITS)) & (LEVEL_SLOTS - 1)));
}

/* First occupied slot of a level, or -1. Those before the wheel's own position are empty by construction. */
static int first_occupied(const struct wheel *wheel, int level) {
    for (int word = 0; word < WORDS; word++) {
        uint64_t bits = wheel->occupied[level][word];
        if (bits) return word * 64 + __builtin_ctzll(bits);
    }
    return -1;
}

/* The slot that comes next: its level (-1: none) and the tick at which it begins. */
static int next_slot(const struct wheel *wheel, int *index, int64_t *tick) {
    for (int level = 0; level < LEVELS; level++) {
        *index = first_occupied(wheel, level);
        if (*index < 0) continue;
        int shift = level * LEVEL_BITS;
        int64_t above = wheel->tick >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
        *tick = above | ((int64_t)*index << shift);
        return level;
    }
    return -1;
}

/* Go to a slot: its timers move to lower levels, or to the heap. */
static void open_slot(struct wheel *wheel, int level, int index, int64_t tick) {
    int slot = level * LEVEL_SLOTS + index;
    struct wheel_timer *timer = wheel->slots[slot];
    wheel->slots[slot] = NULL;
    mark_empty(wheel, slot);
    wheel->tick = tick;
    while (timer) {
        struct wheel_timer *rest = timer->next;
        wheel_place(wheel, timer);
        timer = rest;
    }
}

/* ---- interface ---- */

void wheel_set(struct wheel *wheel, struct wheel_timer *timer, int64_t at_ns) {
    wheel_cancel(wheel, timer);
    timer->at_ns = at_ns;
    wheel_place(wheel, timer);
}

void wheel_cancel(struct wheel *wheel, struct wheel_timer *timer) {
    if (timer->slot == WHEEL_OUT) return;
    if (timer->slot == WHEEL_NEAR)
        near_remove(wheel, timer);
    else
        slot_remove(wheel, timer);
    timer->slot = WHEEL_OUT;
}

struct wheel_timer *wheel_take(struct wheel *wheel, int64_t now_ns) {
    int index = 0;
    int64_t tick = 0, now_tick = now_ns >> TICK_BITS;
    for (int level; (level = next_slot(wheel, &index, &tick)) >= 0 && tick <= now_tick;)
        open_slot(wheel, level, index, tick);
    if (wheel->tick < now_tick && next_slot(wheel, &index, &tick) < 0) wheel->tick = now_tick;
    struct wheel_timer *timer = wheel->near;
    if (timer == NULL || timer->at_ns > now_ns) return NULL;
    near_remove(wheel, timer);
    timer->slot = WHEEL_OUT;
    return timer;
}

int64_t wheel_next_ns(struct wheel *wheel) {
    if (wheel->near) return wheel->near->at_ns;
    int index = 0;
    int64_t tick = 0;
    int level = next_slot(wheel, &index, &tick);
    if (level < 0) return INT64_MAX;
    if (level > 0) return tick << TICK_BITS;
    /* The lowest level's slot is opened early: its earliest time is known then, which saves a wake-up. */
    open_slot(wheel, level, index, tick);
    return wheel->near->at_ns;
}
