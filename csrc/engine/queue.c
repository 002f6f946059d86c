/* Owns fed requests until they are taken.
 * Does not know when "now" is, nor what a request says. */
#include "engine/queue.h"

#include "stream/array.h"

/* What is left of a block here. at_ns and index are those of its next request: they order the heap. */
struct node {
    struct block *block;
    size_t place; /* of the next request in the order of the block */
    int64_t at_ns, index;
};

struct queue {
    pthread_mutex_t lock;
    struct node *heap; /* the node of the next request is the first one */
    size_t n, cap;
    int64_t first, stride, length;
    bool ended;
};

static void *queue_copy(const void *from, size_t size) {
    void *to = malloc(size ? size : 1);
    if (to && size) memcpy(to, from, size);
    return to;
}

/* ---- blocks ---- */

struct due { /* a request of a block whose times do not ascend */
    int64_t at_ns;
    size_t i;
};

static int by_time(const void *a, const void *b) {
    const struct due *x = a, *y = b;
    if (x->at_ns != y->at_ns) return x->at_ns < y->at_ns ? -1 : 1;
    return (x->i > y->i) - (x->i < y->i);
}

static bool queue_ascend(const int64_t *at_ns, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (at_ns[i] < at_ns[i - 1]) return false;
    return true;
}

/* The requests of a block in the order of their times; those of one time in the order of the feed. */
static size_t *order_of(const int64_t *at_ns, size_t n) {
    struct due *due = malloc(n * sizeof *due);
    size_t *order = malloc(n * sizeof *order);
    for (size_t i = 0; due && i < n; i++) due[i] = (struct due){at_ns[i], i};
    if (due) qsort(due, n, sizeof *due, by_time);
    for (size_t i = 0; due && order && i < n; i++) order[i] = due[i].i;
    if (!due) {
        free(order);
        order = NULL;
    }
    free(due);
    return order;
}

struct block *block_new(int64_t first_index, size_t n, const int64_t *offsets, const int64_t *at_ns,
                        const int64_t *numbers, const int64_t *sessions, const char *bodies) {
    struct block *block = calloc(1, sizeof *block);
    if (!block) return NULL;
    atomic_init(&block->references, 1);
    block->first_index = first_index;
    block->n = n;
    block->offsets = queue_copy(offsets, (n + 1) * sizeof *offsets);
    block->at_ns = at_ns ? queue_copy(at_ns, n * sizeof *at_ns) : NULL;
    block->numbers = numbers ? queue_copy(numbers, n * sizeof *numbers) : NULL;
    block->sessions = sessions ? queue_copy(sessions, n * sizeof *sessions) : NULL;
    block->bodies = queue_copy(bodies, (size_t)offsets[n]);
    bool is_sorted = !at_ns || queue_ascend(at_ns, n);
    if (!is_sorted) block->order = order_of(at_ns, n);
    bool has_all = block->offsets && block->bodies && (block->at_ns || !at_ns) &&
                   (block->numbers || !numbers) && (block->sessions || !sessions);
    if (has_all && (block->order || is_sorted)) return block;
    block_drop(block);
    return NULL;
}

void block_hold(struct block *block) {
    atomic_fetch_add(&block->references, 1);
}

void block_drop(struct block *block) {
    if (!block || atomic_fetch_sub(&block->references, 1) != 1) return;
    free(block->offsets);
    free(block->at_ns);
    free(block->numbers);
    free(block->sessions);
    free(block->order);
    free(block->bodies);
    free(block);
}

/* ---- the heap of blocks ---- */

static bool queue_is_before(const struct node *a, const struct node *b) {
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->index < b->index;
}

static void queue_swap(struct node *a, struct node *b) {
    struct node held = *a;
    *a = *b;
    *b = held;
}

static void sift_up(struct queue *queue, size_t i) {
    for (; i > 0 && queue_is_before(&queue->heap[i], &queue->heap[(i - 1) / 2]); i = (i - 1) / 2)
        queue_swap(&queue->heap[i], &queue->heap[(i - 1) / 2]);
}

static void sift_down(struct queue *queue) {
    struct node *heap = queue->heap;
    for (size_t i = 0, least; 2 * i + 1 < queue->n; i = least) {
        least = 2 * i + 1;
        if (least + 1 < queue->n && queue_is_before(&heap[least + 1], &heap[least])) least++;
        if (!queue_is_before(&heap[least], &heap[i])) return;
        queue_swap(&heap[least], &heap[i]);
    }
}

static size_t request_at(const struct block *block, size_t place) {
    return block->order ? block->order[place] : place;
}

/* Without times (a closed loop) requests leave in the order of the feeds. */
static void set_place(struct node *node, size_t place) {
    size_t i = request_at(node->block, place);
    node->place = place;
    node->at_ns = node->block->at_ns ? node->block->at_ns[i] : 0;
    node->index = node->block->first_index + (int64_t)i;
}

/* The first node's request is taken: on to the next one, or away with the node. */
static void queue_step(struct queue *queue) {
    struct node *node = &queue->heap[0];
    size_t next = node->place + (size_t)queue->stride;
    if (next < node->block->n) {
        set_place(node, next);
    } else {
        block_drop(node->block);
        queue->heap[0] = queue->heap[--queue->n];
    }
    sift_down(queue);
}

/* ---- life ---- */

struct queue *queue_new(int64_t first, int64_t stride) {
    struct queue *queue = calloc(1, sizeof *queue);
    if (!queue) return NULL;
    pthread_mutex_init(&queue->lock, NULL);
    queue->first = first;
    queue->stride = stride;
    return queue;
}

void queue_free(struct queue *queue) {
    if (!queue) return;
    for (size_t i = 0; i < queue->n; i++) block_drop(queue->heap[i].block);
    free(queue->heap);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

/* ---- feeding ---- */

/* First place of the block that is this queue's. */
static size_t queue_first_of(const struct queue *queue, const struct block *block) {
    int64_t past = (block->first_index - queue->first) % queue->stride;
    return (size_t)((queue->stride - past) % queue->stride);
}

static bool queue_make_room(struct queue *queue) {
    return ARRAY_ROOM(queue->heap, queue->cap, queue->n + 1);
}

int queue_reserve(struct queue *queue) {
    pthread_mutex_lock(&queue->lock);
    bool ok = queue_make_room(queue);
    pthread_mutex_unlock(&queue->lock);
    return ok ? 0 : -1;
}

static void queue_push(struct queue *queue, struct block *block, size_t place) {
    struct node *node = &queue->heap[queue->n];
    node->block = block;
    set_place(node, place);
    block_hold(block);
    sift_up(queue, queue->n++);
    queue->length += (int64_t)((block->n - place - 1) / (size_t)queue->stride + 1);
}

int queue_feed(struct queue *queue, struct block *block) {
    size_t place = queue_first_of(queue, block);
    if (place >= block->n) return 0;
    pthread_mutex_lock(&queue->lock);
    bool ok = queue_make_room(queue);
    if (ok) queue_push(queue, block, place);
    pthread_mutex_unlock(&queue->lock);
    return ok ? 0 : -1;
}

void queue_end(struct queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->ended = true;
    pthread_mutex_unlock(&queue->lock);
}

/* ---- taking ---- */

static enum take queue_take_first(struct queue *queue, int64_t now_ns, struct item *item, int64_t *next_ns) {
    if (queue->n == 0) return queue->ended ? TAKE_END : TAKE_EMPTY;
    const struct node *node = &queue->heap[0];
    if (node->block->at_ns && node->at_ns > now_ns) {
        *next_ns = node->at_ns;
        return TAKE_LATER;
    }
    block_hold(node->block);
    *item = (struct item){node->block, request_at(node->block, node->place)};
    queue->length--;
    queue_step(queue);
    return TAKE_ITEM;
}

enum take queue_take(struct queue *queue, int64_t now_ns, struct item *item, int64_t *next_ns) {
    pthread_mutex_lock(&queue->lock);
    enum take taken = queue_take_first(queue, now_ns, item, next_ns);
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

int64_t queue_length(struct queue *queue) {
    pthread_mutex_lock(&queue->lock);
    int64_t length = queue->length;
    pthread_mutex_unlock(&queue->lock);
    return length;
}
