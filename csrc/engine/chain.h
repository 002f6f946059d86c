/* chain: the token chunks of one choice and the gaps between them. Times come in from outside. Owns its gaps
 * and its text, which are kept from one request to the next. One thread at a time. A chain of zeros is ready.
 * False means out of memory.
 */
#ifndef VLLMPERF_CHAIN_H
#define VLLMPERF_CHAIN_H

#include <stdint.h>

#include "stats/record.h"
#include "stream/text.h"

/* Gaps whose chunks shared a read wait in [open, n_gaps) until a later stamp is known. */
struct chain {
    struct record_gap *gaps;
    size_t n_gaps, cap_gaps, open;
    int64_t open_since_ns, last_ns; /* stamp before the open gaps, stamp of the newest chunk */
    uint64_t read;                  /* the read that brought the newest chunk */
    int32_t coalesced;              /* chunks that shared their read with another one */
    uint16_t first_tokens;          /* of the first chunk, 0 when not known */
    bool started, read_is_shared;
    bool finished;        /* the newest event has a finish reason */
    bool finish_is_noise; /* output came after an earlier one */
    bool has_tail;        /* a last event without text, see response_finish() */
    int64_t tail_arrived_ns, tail_seen_ns;
    uint64_t tail_read;
    struct text text;
};

/* Ready for the next request. */
void chain_begin(struct chain *c);
void chain_free(struct chain *c);

/* Free buffers beyond max_bytes, with what is in them. */
void chain_trim(struct chain *c, size_t max_bytes);

/* One more chunk, which arrived with the read of that number; `tokens` is 0 when not known. False when out
 * of memory. */
bool chain_add(struct chain *c, int64_t arrived_ns, uint64_t read, uint16_t tokens);

/* The chunks of another chain, without its text. False when out of memory. */
bool chain_copy(struct chain *to, const struct chain *from);

/* Give open gaps their length, as far as the newest stamp tells it. */
void chain_settle(struct chain *c);

#endif
