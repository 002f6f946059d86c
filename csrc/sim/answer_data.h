/* answer_data: what is known of one answer of the model. answer.c makes and changes it; those that render,
 * count and schedule read it.
 */
#ifndef VLLMPERF_SIM_ANSWER_DATA_H
#define VLLMPERF_SIM_ANSWER_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/ask.h"
#include "sim/conn.h"
#include "sim/dist.h"
#include "sim/scheduler.h"
#include "sim/sim.h"
#include "sim/words.h"

enum { ANSWER_ID = 160 };

struct choice {
    int64_t n_tokens;    /* that it will say */
    int64_t text_offset; /* characters said so far, for logprobs */
    int64_t last_ns;     /* when its latest chunk was written, 0 before the first */
    bool stop;           /* its last token is the end token */
    int64_t said;        /* tokens rendered; only kept when batching */
    struct seq seq;      /* in the batching engine */
};

/* When and from whom a request came. */
struct arrival {
    int64_t number, read_mono_ns, read_real_ns, arrived_real_ns;
    char request_id[ANSWER_ID];
    bool id_given; /* by the client, not made up here */
};

struct answer {
    struct wheel_timer timer; /* the next step, or the end of a pause that a fault makes */
    struct conn *conn;
    struct sim *sim;
    struct ask ask;
    struct fault_set faults;
    struct arrival arrival;
    char id[ANSWER_ID + 16];
    int64_t created_s;
    bool chunked, silent, stalled, blocked, any_bytes, bad_chunk;
    const char *outcome; /* NULL: finished */
    int http_status;

    int64_t tokens_per_chunk;
    int n_choices;
    struct choice *choices;
    struct random timing, cuts; /* for durations; for where events are cut */
    uint64_t text_seed;
    int64_t head_at_ns;     /* when the head is due, 0: it is sent, or comes with the body */
    int64_t step, plan_ns;  /* the next step and when it is due */
    int next_choice;        /* whose turn it is in this step */
    int32_t n_chunks, sent; /* token chunks in all and rendered so far */
    int32_t due;            /* token chunks that the batching engine has given so far */
    int unfinished;         /* choices that it has not finished */
    bool submitted;         /* to it */
    int64_t tokens;         /* rendered so far */

    struct buf head; /* what all its events begin with: {"id":...,"choices":[ */
    struct buf held; /* events that are held back to be merged */
    int held_events;

    int32_t written; /* token chunks that went to the kernel */
    int64_t written_tokens, head_mono_ns, first_mono_ns, last_mono_ns;
    /* One number a token chunk, n_chunks long. */
    int64_t *planned_ns, *written_ns;
    int32_t *chunk_tokens, *chunk_choice;
};

/* What its last byte tells the conn. */
static inline int32_t answer_end_mark(const struct answer *answer) {
    return fault_has(&answer->faults, FAULT_HANG_UP) ? MARK_CLOSE : MARK_END;
}

/* The id of a choice's token. */
static inline int64_t answer_token(const struct answer *answer, int choice, int64_t k) {
    struct random random = random_for(answer->text_seed, (uint64_t)choice, (uint64_t)k);
    return WORDS_FIRST_ID + (int64_t)(random.state % WORDS_COUNT);
}

#endif
