/* Owns the sentences about engine/queue: strides, times, ends, and that the last reference frees a block. */
#include <string.h>

#include "engine/queue.h"
#include "test/t.h"

static const char bodies[] = "abbcccdddd";
static const int64_t offsets[] = {0, 1, 3, 6, 10};
static const int64_t at_ns[] = {10, 20, 20, 30};

static struct block *feed(struct queue *queue, int64_t first, const int64_t *times) {
    struct block *block = block_new(first, 4, offsets, times, NULL, NULL, bodies);
    CHECK("a block is fed", block && queue_feed(queue, block) == 0);
    block_drop(block);
    return block;
}

/* The number of the next request, or -1 - enum take. */
static int64_t take(struct queue *queue, int64_t now_ns) {
    struct item item;
    int64_t next_ns = -1;
    enum take taken = queue_take(queue, now_ns, &item, &next_ns);
    if (taken == TAKE_LATER) CHECK("a later one tells when", next_ns > now_ns);
    if (taken != TAKE_ITEM) return -1 - (int64_t)taken;
    int64_t index = item_index(&item);
    block_drop(item.block);
    return index;
}

static void test_numbers(void) {
    static const int64_t numbers[] = {7, 3, 12, 40};
    struct queue *queue = queue_new(0, 1);
    struct block *block = block_new(0, 4, offsets, at_ns, numbers, NULL, bodies);
    CHECK("a block with numbers is fed", block && queue_feed(queue, block) == 0);
    block_drop(block);
    bool ok = true;
    for (size_t i = 0; i < 4; i++) ok = ok && take(queue, 30) == numbers[i];
    CHECK("requests are called by their numbers and leave in the order of their times", ok);
    queue_free(queue);
}

static void test_sessions(void) {
    static const int64_t sessions[] = {5, 5, 0, 9};
    struct queue *queue = queue_new(0, 1);
    struct block *with = block_new(0, 4, offsets, NULL, NULL, sessions, bodies);
    struct block *without = block_new(4, 4, offsets, NULL, NULL, NULL, bodies);
    CHECK("blocks are fed", queue_feed(queue, with) == 0 && queue_feed(queue, without) == 0);
    block_drop(with);
    block_drop(without);
    bool ok = true;
    for (size_t i = 0; i < 8; i++) {
        struct item item;
        int64_t next_ns;
        ok = ok && queue_take(queue, 0, &item, &next_ns) == TAKE_ITEM;
        if (!ok) break;
        ok = item_session(&item) == (i < 4 ? sessions[i] : NO_SESSION);
        block_drop(item.block);
    }
    CHECK("each request is of its session, and those without one of none", ok);
    queue_free(queue);
}

static void test_bodies(void) {
    struct queue *queue = queue_new(0, 1);
    struct item item;
    int64_t next_ns;
    feed(queue, 0, NULL);
    (void)take(queue, 0);
    (void)take(queue, 0);
    CHECK("the third is there", queue_take(queue, 0, &item, &next_ns) == TAKE_ITEM && item_index(&item) == 2);
    queue_free(queue);
    CHECK("its body outlives the queue",
          item_body_len(&item) == 3 && memcmp(item_body(&item), "ccc", 3) == 0);
    block_drop(item.block);
    block_drop(NULL);
    queue_free(NULL);
}

static void test_closed(void) {
    struct queue *queue = queue_new(0, 1);
    CHECK("an empty queue may get more", take(queue, 0) == -1 - TAKE_EMPTY);
    feed(queue, 0, NULL);
    feed(queue, 4, NULL);
    CHECK("eight wait", queue_length(queue) == 8);
    int in_order = 1;
    for (int64_t i = 0; i < 8; i++) in_order &= take(queue, 0) == i;
    CHECK("in order over blocks", in_order && queue_length(queue) == 0);
    CHECK("then it is empty", take(queue, 0) == -1 - TAKE_EMPTY);
    feed(queue, 8, NULL);
    queue_end(queue);
    CHECK("an ended queue still gives what it has", take(queue, 0) == 8);
    for (int i = 0; i < 3; i++) (void)take(queue, 0);
    CHECK("and then says so", take(queue, 0) == -1 - TAKE_END);
    queue_free(queue);
}

static void test_times(void) {
    struct queue *queue = queue_new(0, 1);
    feed(queue, 0, at_ns);
    CHECK("nothing is due yet", take(queue, 9) == -1 - TAKE_LATER);
    CHECK("due to the nanosecond", take(queue, 10) == 0);
    CHECK("the next is not", take(queue, 19) == -1 - TAKE_LATER);
    CHECK("two at one time", take(queue, 25) == 1 && take(queue, 25) == 2);
    CHECK("late is due too", take(queue, 1000) == 3);
    queue_free(queue);
}

static void test_strides(void) {
    int64_t taken = 0;
    for (int64_t first = 0; first < 3; first++) {
        struct queue *queue = queue_new(first, 3);
        for (int64_t block = 0; block < 3; block++) feed(queue, 4 * block, NULL);
        CHECK("a third of twelve each", queue_length(queue) == 4);
        for (int64_t i = 0; i < 4; i++) taken += take(queue, 0) == first + 3 * i;
        CHECK("and no more", take(queue, 0) == -1 - TAKE_EMPTY);
        queue_free(queue);
    }
    CHECK("three queues take every third", taken == 12);
    struct queue *queue = queue_new(9, 10);
    feed(queue, 0, NULL);
    CHECK("a block without one of ours is passed over", queue_length(queue) == 0);
    queue_free(queue);
}

/* All numbers in the order in which they leave, as text. */
static const char *order_of(struct queue *queue) {
    static char text[200];
    text[0] = '\0';
    for (int64_t i; (i = take(queue, INT64_MAX)) >= 0;)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%lld ", (long long)i);
    return text;
}

static void test_times_that_do_not_ascend(void) {
    static const int64_t mixed[] = {30, 10, 20, 10}, early[] = {0, 5, 15, 40};
    struct queue *queue = queue_new(0, 1);
    feed(queue, 0, mixed);
    CHECK("nothing is due before the earliest", take(queue, 9) == -1 - TAKE_LATER);
    CHECK("the earliest leaves first, at one time the first fed",
          take(queue, 10) == 1 && take(queue, 10) == 3);
    CHECK("each with its own body", take(queue, 19) == -1 - TAKE_LATER && take(queue, 20) == 2);
    feed(queue, 4, early);
    CHECK("an earlier feed is not overtaken by a later one", strcmp(order_of(queue), "4 5 6 0 7 ") == 0);
    for (int64_t i = 9; i >= 0; i--) feed(queue, 4 * i, i % 2 ? mixed : early);
    CHECK("forty are there", queue_length(queue) == 40);
    int64_t last_ns = -1, n = 0;
    struct item item;
    for (int64_t next_ns; queue_take(queue, INT64_MAX, &item, &next_ns) == TAKE_ITEM; n++) {
        CHECK("times ascend", item.block->at_ns[item.i] >= last_ns);
        last_ns = item.block->at_ns[item.i];
        block_drop(item.block);
    }
    CHECK("and all left", n == 40 && queue_length(queue) == 0);
    queue_free(queue);
}

static void test_strides_by_time(void) {
    static const int64_t mixed[] = {30, 10, 20, 10};
    struct queue *even = queue_new(0, 2), *odd = queue_new(1, 2);
    struct block *block = block_new(0, 4, offsets, mixed, NULL, NULL, bodies);
    CHECK("both get the block", block && queue_feed(even, block) == 0 && queue_feed(odd, block) == 0);
    block_drop(block);
    CHECK("every second by time", strcmp(order_of(even), "1 2 ") == 0);
    CHECK("and the others", strcmp(order_of(odd), "3 0 ") == 0);
    queue_free(even);
    feed(odd, 4, mixed);
    queue_free(odd); /* with requests left */
}

static void test_extreme_times(void) {
    static const int64_t extreme[] = {INT64_MAX, INT64_MIN, 0, -1};
    struct queue *queue = queue_new(0, 1);
    feed(queue, 0, extreme);
    CHECK("what was due long ago leaves", take(queue, 0) == 1 && take(queue, 0) == 3 && take(queue, 0) == 2);
    CHECK("what is due in 292 years does not", take(queue, INT64_MAX - 1) == -1 - TAKE_LATER);
    queue_free(queue);
}

int main(void) {
    test_numbers();
    test_sessions();
    test_bodies();
    test_closed();
    test_times();
    test_strides();
    test_times_that_do_not_ascend();
    test_strides_by_time();
    test_extreme_times();
    return t_done("test_queue");
}
