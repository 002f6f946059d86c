/* scheduler: continuous batching, step by step, as vLLM's V1 scheduler does it. No clock, no I/O: the caller
 * submits sequences, asks for a step, lets its time pass, finishes it and takes the tokens. The same code
 * runs under the server (batching.c) and in replay.c. One thread.
 *
 * A step first gives each running sequence its next token, in the order of admission, or its next part of the
 * prompt; when blocks are missing, the sequence that was admitted last (or has the worst priority) is thrown
 * out and begins anew later. Then waiting sequences are admitted, as long as there are places, tokens and
 * blocks, unless one was thrown out in this step. A step whose last token of a prompt is computed gives the
 * first token at its end.
 */
#ifndef VLLMPERF_SIM_SCHEDULER_H
#define VLLMPERF_SIM_SCHEDULER_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/kv_cache.h"
#include "sim/step_model.h"

struct seq;

struct scheduler_config {
    int32_t max_num_seqs;
    int64_t max_num_batched_tokens;
    bool chunked_prefill; /* else a prompt is computed whole, in one step */
    bool priority;        /* lower numbers first, instead of first come first served */
    bool prefix_caching;
    int32_t block_size, num_gpu_blocks;
    struct step_model model;
    /* The id of output token k, for prefixes; NULL = any that no other sequence has. */
    int64_t (*output_token)(const struct seq *seq, int64_t k);
};

enum seq_state { SEQ_NEW, SEQ_WAITING, SEQ_RUNNING, SEQ_DONE };

/* One sequence. The caller owns the memory and fills the first part, the rest begins as 0. */
struct seq {
    int64_t number; /* distinguishes sequences; ties of priority go to the lower one */
    int64_t priority;
    int64_t queued_ns;     /* not admitted to a step that begins before it */
    int64_t prompt_tokens; /* >= 1 */
    int64_t output_tokens; /* that it will say, >= 1 */
    void *owner;
    int index; /* for the owner */

    enum seq_state state;
    struct seq *next, *previous; /* among those that wait or run */
    struct seq *next_token;      /* among those whose token was not taken yet */
    bool has_token, hash_failed;
    int64_t computed;  /* tokens in the KV cache */
    int64_t produced;  /* tokens said */
    int64_t scheduled; /* tokens of it in the step that runs */
    int64_t cached;    /* prompt tokens that were found in the prefix cache when it was first admitted */
    int32_t preemptions;
    int64_t scheduled_ns, first_ns, last_ns; /* of the first admission, of tokens */

    struct kv_table table;
    uint64_t *hashes; /* of its full blocks, as far as the tokens are known */
    uint64_t hash;    /* of all known tokens */
    int64_t hashed_tokens;
    int32_t n_hashes;
    size_t hashes_capacity;
};

struct step {
    int64_t number; /* from 1 */
    int64_t start_ns;
    int64_t duration_ns; /* by the law */
    struct step_work work;
    int32_t prefills; /* sequences with prefill tokens */
    int32_t admitted, preempted;
    int32_t running, waiting; /* once it is planned */
    int32_t used_blocks;
    int64_t padded; /* decodes that are paid for */
};

struct scheduler; /* opaque */

struct scheduler_counts {
    int64_t steps, preemptions;
    int64_t prefix_queries, prefix_hits; /* tokens, of first admissions */
};

struct scheduler *scheduler_new(const struct scheduler_config *config); /* NULL when out of memory */
void scheduler_free(struct scheduler *scheduler);

/* Before it is submitted: the ids of its prompt in their order, when prefixes are cached. */
void seq_add_token(struct seq *seq, const struct scheduler *scheduler, int64_t id);

/* false when it can never fit into the KV cache or, without chunked prefill, into a step. */
bool scheduler_fits(const struct scheduler_config *config, int64_t prompt_tokens, int64_t output_tokens);

/* It waits from now on. It must fit. */
void scheduler_submit(struct scheduler *scheduler, struct seq *seq);

/* Take it out at any time, whatever its state, and free what belongs to it. */
void scheduler_remove(struct scheduler *scheduler, struct seq *seq);

/* Plan the step that begins at start_ns; NULL when there is nothing to do by then. The one before must be
 * finished and its tokens taken. The step belongs to the scheduler, until the next one. */
const struct step *scheduler_plan(struct scheduler *scheduler, int64_t start_ns);

/* The step is over at end_ns: sequences have their tokens, those that are done let go of their blocks. */
void scheduler_finish(struct scheduler *scheduler, int64_t end_ns);

/* The next sequence that got a token in the step that was finished, in the order of the batch; NULL when
 * there is none left. */
struct seq *scheduler_take_token(struct scheduler *scheduler);

/* Forget all cached prefixes. false, and nothing is changed, while a sequence holds blocks. */
bool scheduler_reset_prefixes(struct scheduler *scheduler);

/* When the earliest of those that wait was or will be queued; INT64_MAX when none waits. */
int64_t scheduler_next_queued_ns(const struct scheduler *scheduler);

int32_t scheduler_running(const struct scheduler *scheduler);
int32_t scheduler_waiting(const struct scheduler *scheduler);
const struct kv_cache *scheduler_kv_cache(const struct scheduler *scheduler);
const struct scheduler_counts *scheduler_counts(const struct scheduler *scheduler);

#endif
