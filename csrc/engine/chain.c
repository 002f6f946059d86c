/* Owns how the time between reads becomes gaps between chunks. Does not know what a chunk says. */
#include "engine/chain.h"

#include <stdlib.h>

void chain_begin(struct chain *c) {
    c->n_gaps = c->open = 0;
    c->started = c->has_tail = false;
    c->read = 0;
    c->text.len = 0;
}

void chain_free(struct chain *c) {
    free(c->gaps);
    free(c->text.bytes);
}

/* Give the open gaps their length: an even share of the time since the stamp before them. Chunks of the very
 * first read have no stamp before them: they stay open and share the time to the next read. */
void chain_settle(struct chain *c) {
    size_t n = c->n_gaps - c->open;
    int64_t time_ns = c->last_ns - c->open_since_ns;
    if (n == 0 || time_ns <= 0) return;
    float share = (float)((double)time_ns / (double)n);
    for (size_t i = c->open; i < c->n_gaps; i++) {
        c->gaps[i].ns = share;
        c->gaps[i].shared = n > 1;
    }
    c->open = c->n_gaps;
    c->open_since_ns = c->last_ns;
}

bool chain_add(struct chain *c, int64_t arrived_ns, uint64_t read, uint16_t tokens) {
    if (!c->started) {
        c->started = true;
        c->open_since_ns = c->last_ns = arrived_ns;
        c->read = read;
        return true;
    }
    if (read != c->read) chain_settle(c);
    void *array = c->gaps;
    bool ok = buffer_grow(&array, &c->cap_gaps, c->n_gaps + 1, sizeof *c->gaps);
    c->gaps = array;
    if (!ok) return false;
    c->gaps[c->n_gaps++] = (struct record_gap){.ns = 0, .tokens = tokens, .shared = 0};
    c->last_ns = arrived_ns;
    c->read = read;
    return true;
}
