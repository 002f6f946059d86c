/* Owns how the time between reads becomes gaps between chunks.
 * Does not know what a chunk says. */
#include "engine/chain.h"

#include "stream/array.h"

void chain_begin(struct chain *c) {
    struct chain kept = *c;
    *c = (struct chain){.gaps = kept.gaps, .cap_gaps = kept.cap_gaps, .text = kept.text};
    c->text.len = 0;
}

void chain_free(struct chain *c) {
    free(c->gaps);
    free(c->text.bytes);
}

void chain_trim(struct chain *c, size_t max_bytes) {
    text_trim(&c->text, max_bytes);
    ARRAY_TRIM(c->gaps, c->cap_gaps, max_bytes);
    if (!c->gaps) c->n_gaps = 0;
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
        c->first_tokens = tokens;
        return true;
    }
    bool same_read = read == c->read;
    if (same_read) c->coalesced += c->read_is_shared ? 1 : 2;
    c->read_is_shared = same_read;
    if (!same_read) chain_settle(c);
    if (!ARRAY_ROOM(c->gaps, c->cap_gaps, c->n_gaps + 1)) return false;
    c->gaps[c->n_gaps++] = (struct record_gap){.ns = 0, .tokens = tokens, .shared = 0};
    c->last_ns = arrived_ns;
    c->read = read;
    return true;
}

bool chain_copy(struct chain *to, const struct chain *from) {
    struct chain kept = *to;
    if (!ARRAY_ROOM(kept.gaps, kept.cap_gaps, from->n_gaps)) return false;
    *to = *from;
    to->gaps = kept.gaps;
    to->cap_gaps = kept.cap_gaps;
    to->text = kept.text;
    if (from->n_gaps) memcpy(to->gaps, from->gaps, from->n_gaps * sizeof *to->gaps);
    return true;
}
