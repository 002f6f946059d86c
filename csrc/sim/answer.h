/* answer: one answer of the model, from the request to its last byte: when its chunks are due, what is in
 * them, what goes wrong with them, what is written into the truth file. Belongs to a conn and to the server's
 * thread.
 *
 * Choice c says token k at step k / tokens_per_chunk; all choices of a step are due at the same time. Step 0
 * is due TTFT after the request was read, each other one ITL after the plan (not the writing) of the one
 * before it. With a batching engine (batch.h) its steps say when tokens are due instead.
 */
#ifndef VLLMPERF_SIM_ANSWER_H
#define VLLMPERF_SIM_ANSWER_H

#include <stdint.h>

#include "sim/ask.h"
#include "sim/conn.h"
#include "sim/scheduler.h"

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
    bool chunked, silent, stalled, blocked, any_bytes;
    const char *outcome; /* NULL: finished */
    int http_status;

    int64_t tokens_per_chunk;
    int n_choices;
    struct choice *choices;
    struct random timing, cuts; /* for durations; for where events are cut */
    uint64_t text_seed;
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

/* Takes what is in ask. Answers at the planned times from now on. */
void answer_start(struct conn *conn, struct ask *ask, const struct fault_set *faults,
                  const struct arrival *arrival, bool chunked);

void answer_on_timer(struct answer *answer);

/* From the batching engine: a choice has one token more, at the end of a step. The answer may be over
 * then. */
void answer_on_token(struct answer *answer, int choice, int64_t at_ns);

/* From conn: there is room again; it is over. */
void answer_unblocked(struct answer *answer);
/* outcome NULL: the one that the answer has itself, or "finished". */
void answer_end(struct answer *answer, const char *outcome);

/* The id of a choice's token. */
int64_t answer_token(const struct answer *answer, int choice, int64_t k);

#endif
