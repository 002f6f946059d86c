/* queue: requests that were fed and not yet sent. A block is one feed(): bodies and times in one piece of
 * memory that lives until its last request is finished. Requests leave in the order of their times, whatever
 * the order in which they were fed; those of one time, and those without, in the order of their numbers. Any
 * thread may call; each queue has a lock of its own. Blocks live as long as somebody holds them; the one
 * error is to be out of memory.
 */
#ifndef VLLMPERF_QUEUE_H
#define VLLMPERF_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block {
    atomic_int references;
    int64_t first_index; /* number in the run of its first request */
    size_t n;
    int64_t *offsets;  /* n + 1 */
    int64_t *at_ns;    /* n, or NULL in a closed loop */
    int64_t *numbers;  /* n, or NULL: first_index and up */
    int64_t *sessions; /* n, or NULL: of no session */
    size_t *order;     /* n, the requests by time; NULL when at_ns ascends */
    char *bodies;
};

/* A block with copies of everything; the caller holds one reference. numbers: what the requests are called
 * when that is not their place in the run; or NULL. sessions: numbers of their sessions, or NULL. NULL when
 * out of memory. */
struct block *block_new(int64_t first_index, size_t n, const int64_t *offsets, const int64_t *at_ns,
                        const int64_t *numbers, const int64_t *sessions, const char *bodies);
void block_hold(struct block *block);
void block_drop(struct block *block);

/* One request taken from a queue. Whoever took it drops the block. */
struct item {
    struct block *block;
    size_t i; /* of the block's requests */
};

static inline int64_t item_index(const struct item *item) {
    const struct block *block = item->block;
    return block->numbers ? block->numbers[item->i] : block->first_index + (int64_t)item->i;
}
enum { NO_SESSION = -1 };
static inline int64_t item_session(const struct item *item) {
    return item->block && item->block->sessions ? item->block->sessions[item->i] : NO_SESSION;
}
static inline const char *item_body(const struct item *item) {
    return item->block->bodies + item->block->offsets[item->i];
}
static inline int64_t item_body_len(const struct item *item) {
    return item->block->offsets[item->i + 1] - item->block->offsets[item->i];
}

enum take {
    TAKE_ITEM,
    TAKE_LATER, /* the next one is due at *next_ns */
    TAKE_EMPTY, /* nothing there now, more may be fed */
    TAKE_END,   /* nothing there and nothing will come */
};

struct queue; /* opaque */

/* A queue that takes every stride-th request of the blocks given to it, starting with request `first` of the
 * run; of a block whose times do not ascend every stride-th by time. */
struct queue *queue_new(int64_t first, int64_t stride);
void queue_free(struct queue *queue);

/* Room for one more block, so that the next queue_feed succeeds. 0, or -1 when out of memory. */
int queue_reserve(struct queue *queue);

/* 0, or -1 when out of memory. Holds the block while requests of it are left. */
int queue_feed(struct queue *queue, struct block *block);
void queue_end(struct queue *queue);

/* Take the next request if it is due at now_ns (or has no time). */
enum take queue_take(struct queue *queue, int64_t now_ns, struct item *item, int64_t *next_ns);
int64_t queue_length(struct queue *queue);

#endif
