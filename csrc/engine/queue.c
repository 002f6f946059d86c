/* Owns fed requests until they are taken. Does not know when "now" is, nor what a request says. */
#include "engine/queue.h"

#include <stdlib.h>
#include <string.h>

struct node {
    struct block *block;
    size_t i; /* next request of the block */
    struct node *next;
};

struct queue {
    pthread_mutex_t lock;
    struct node *head, *tail;
    int64_t first, stride, length;
    bool ended;
};

static void *copy(const void *from, size_t size) {
    void *to = malloc(size ? size : 1);
    if (to && size) memcpy(to, from, size);
    return to;
}

struct block *block_new(int64_t first_index, size_t n, const int64_t *offsets, const int64_t *at_ns,
                        const char *bodies) {
    struct block *block = calloc(1, sizeof *block);
    if (!block) return NULL;
    atomic_init(&block->references, 1);
    block->first_index = first_index;
    block->n = n;
    block->offsets = copy(offsets, (n + 1) * sizeof *offsets);
    block->at_ns = at_ns ? copy(at_ns, n * sizeof *at_ns) : NULL;
    block->bodies = copy(bodies, (size_t)offsets[n]);
    if (block->offsets && block->bodies && (block->at_ns || !at_ns)) return block;
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
    free(block->bodies);
    free(block);
}

struct queue *queue_new(int64_t first, int64_t stride) {
    struct queue *queue = calloc(1, sizeof *queue);
    if (!queue) return NULL;
    pthread_mutex_init(&queue->lock, NULL);
    queue->first = first;
    queue->stride = stride;
    return queue;
}

static void pop_node(struct queue *queue) {
    struct node *node = queue->head;
    queue->head = node->next;
    if (!queue->head) queue->tail = NULL;
    block_drop(node->block);
    free(node);
}

void queue_free(struct queue *queue) {
    if (!queue) return;
    while (queue->head) pop_node(queue);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

/* First request of the block that is this queue's. */
static size_t first_of(const struct queue *queue, const struct block *block) {
    int64_t past = (block->first_index - queue->first) % queue->stride;
    return (size_t)((queue->stride - past) % queue->stride);
}

int queue_feed(struct queue *queue, struct block *block) {
    size_t i = first_of(queue, block);
    if (i >= block->n) return 0;
    struct node *node = malloc(sizeof *node);
    if (!node) return -1;
    *node = (struct node){block, i, NULL};
    block_hold(block);
    pthread_mutex_lock(&queue->lock);
    if (queue->tail)
        queue->tail->next = node;
    else
        queue->head = node;
    queue->tail = node;
    queue->length += (int64_t)((block->n - i - 1) / (size_t)queue->stride + 1);
    pthread_mutex_unlock(&queue->lock);
    return 0;
}

void queue_end(struct queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->ended = true;
    pthread_mutex_unlock(&queue->lock);
}

static enum take take_head(struct queue *queue, int64_t now_ns, struct item *item, int64_t *next_ns) {
    struct node *node = queue->head;
    if (!node) return queue->ended ? TAKE_END : TAKE_EMPTY;
    if (node->block->at_ns && node->block->at_ns[node->i] > now_ns) {
        *next_ns = node->block->at_ns[node->i];
        return TAKE_LATER;
    }
    block_hold(node->block);
    *item = (struct item){node->block, node->i};
    node->i += (size_t)queue->stride;
    queue->length--;
    if (node->i >= node->block->n) pop_node(queue);
    return TAKE_ITEM;
}

enum take queue_take(struct queue *queue, int64_t now_ns, struct item *item, int64_t *next_ns) {
    pthread_mutex_lock(&queue->lock);
    enum take taken = take_head(queue, now_ns, item, next_ns);
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

int64_t queue_length(struct queue *queue) {
    pthread_mutex_lock(&queue->lock);
    int64_t length = queue->length;
    pthread_mutex_unlock(&queue->lock);
    return length;
}
