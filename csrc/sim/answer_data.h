/* answer_data: what is known of one answer of the model. answer.c makes and changes it; those that render,
 * count and schedule read it. Only the server's thread comes near it; answer_end frees it.
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

/* What each event touches stands together, so that it takes few cache lines: with many streams none of them
 * is still in the cache when its next event is due. */
struct answer {
    struct wheel_timer timer; /* the next step, or the end of a pause that a fault makes */
    struct conn *conn;
    struct sim *sim;
    struct replica *replica; /* that answers */
    int64_t head_at_ns;      /* when the head is due, 0: it is sent, or comes with the body */
    int64_t step, plan_ns;   /* the next step and when it is due */
    struct random timing;    /* for durations */
    int64_t tokens_per_chunk;
    struct choice *choices;
    int n_choices, next_choice; /* the latter: whose turn it is in this step */
    int32_t n_chunks, sent;     /* token chunks in all and rendered so far */
    int32_t due;                /* token chunks that the batching engine has given so far */
    int32_t written;            /* token chunks that went to the kernel */
    bool chunked, silent, stalled, blocked, any_bytes, bad_chunk;
    bool submitted;      /* to the batching engine */
    const char *outcome; /* NULL: finished */
    struct buf head;     /* what all its events begin with: {"id":...,"choices":[ */
    uint64_t text_seed;
    int64_t tokens, written_tokens; /* rendered so far; gone to the kernel */
    int64_t last_mono_ns;
    /* One number a token chunk, n_chunks long. */
    int64_t *planned_ns, *written_ns;
    int32_t *chunk_tokens, *chunk_choice;
    struct ask ask;
    struct fault_set faults;

    struct random cuts; /* for where events are cut */
    struct buf held;    /* events that are held back to be merged */
    int held_events;
    int unfinished; /* choices that the batching engine has not finished */
    int http_status;
    int64_t head_mono_ns, first_mono_ns, created_s;
    struct arrival arrival;
    char id[ANSWER_ID + 16];
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
