/* Owns the running of steps in time, and what the engine as a whole is seen to do: gauges, the log of steps.
 * Does not schedule (scheduler.c) nor write answers (answer.c). */
#include "sim/batching.h"

#include <stdlib.h>

#include "sim/account.h"
#include "sim/conn.h"
#include "sim/replica.h"

struct batching {
    struct wheel_timer timer; /* the end of the step */
    struct sim *sim;
    struct replica *replica;
    struct scheduler *scheduler;
    batching_on_token *on_token;
    const struct step *step; /* that runs, NULL = idle */
    int64_t end_ns;          /* of it */
    int64_t n_seqs;
    struct scheduler_counts published;
};

static int64_t output_token(const struct seq *seq, int64_t k) {
    return answer_token(seq->owner, seq->index, k);
}

struct batching *batching_new(struct sim *sim, struct replica *replica, batching_on_token *on_token) {
    struct scheduler_config config = sim->config->scheduler;
    struct batching *batch = calloc(1, sizeof *batch);
    if (batch == NULL) return NULL;
    config.output_token = output_token;
    config.model.seed += (uint64_t)replica->number << 32; /* noise of its own */
    batch->timer.kind = TIMER_STEP;
    batch->sim = sim;
    batch->replica = replica;
    batch->on_token = on_token;
    batch->scheduler = scheduler_new(&config);
    if (batch->scheduler) return batch;
    free(batch);
    return NULL;
}

void batching_free(struct batching *batch) {
    if (batch == NULL) return;
    wheel_cancel(batch->sim->wheel, &batch->timer);
    scheduler_free(batch->scheduler);
    free(batch);
}

/* ---- what is seen ---- */

static void batching_publish(struct batching *batch) {
    struct metrics *metrics = batch->replica->metrics;
    struct sim_counters *counters = batch->sim->counters;
    const struct kv_cache *kv = scheduler_kv_cache(batch->scheduler);
    const struct scheduler_counts *counts = scheduler_counts(batch->scheduler);
    metrics->running = scheduler_running(batch->scheduler);
    metrics->waiting = scheduler_waiting(batch->scheduler);
    metrics->kv_usage = 1 - (double)kv_cache_unheld(kv) / (double)kv_cache_blocks(kv);
    metrics->preemptions = counts->preemptions;
    metrics->prefix_queries = counts->prefix_queries;
    metrics->prefix_hits = counts->prefix_hits;
    counter_add(&counters->steps, counts->steps - batch->published.steps);
    counter_add(&counters->preemptions, counts->preemptions - batch->published.preemptions);
    batch->published = *counts;
}

/* ---- steps ---- */

/* From start_ns on, or from when the first of those that wait is there. */
static void begin_step(struct batching *batch, int64_t start_ns) {
    batch->step = scheduler_plan(batch->scheduler, start_ns);
    int64_t next = scheduler_next_queued_ns(batch->scheduler);
    if (batch->step == NULL && next != INT64_MAX) batch->step = scheduler_plan(batch->scheduler, next);
    batching_publish(batch);
    if (batch->step == NULL) return;
    batch->end_ns = batch->step->start_ns + sim_scaled_ns(batch->sim->config, batch->step->duration_ns);
    wheel_set(batch->sim->wheel, &batch->timer, batch->end_ns);
}

static int64_t hand_out(struct batching *batch) {
    int64_t tokens = 0;
    for (struct seq *seq; (seq = scheduler_take_token(batch->scheduler)) != NULL; tokens++) {
        struct answer *answer = seq->owner;
        struct conn *conn = answer->conn;
        account_token(answer, seq->index, batch->end_ns);
        batch->on_token(answer, seq->index, batch->end_ns);
        conn_settle(conn);
    }
    return tokens;
}

void batch_on_timer(struct batching *batch) {
    struct sim *sim = batch->sim;
    int64_t prefill_tokens = batch->step->work.prefill_tokens;
    if (sim->truth) truth_step(sim->truth, batch->replica->number, batch->step, batch->end_ns);
    scheduler_finish(batch->scheduler, batch->end_ns);
    int64_t tokens = hand_out(batch);
    metrics_observe(batch->replica->metrics, METRICS_ITERATION_TOKENS, (double)(prefill_tokens + tokens));
    begin_step(batch, batch->end_ns);
}

/* ---- answers ---- */

/* Ids as they stand in ask.ids: "[1,2,3]". */
static void batching_add_prompt(const struct batching *batch, struct seq *seq, const struct ask *ask,
                                const struct ask_prompt *prompt) {
    const char *at = ask->ids.data + prompt->ids_at, *end = at + prompt->ids_len;
    for (at++; at < end; at++) {
        char *stop;
        int64_t id = strtoll(at, &stop, 10);
        if (stop == at) return;
        seq_add_token(seq, batch->scheduler, id);
        at = stop;
    }
}

static void submit_choice(struct batching *batch, struct answer *answer, int index, int64_t queued_ns) {
    const struct ask_prompt *prompt = &answer->ask.prompts[index / answer->ask.n];
    struct seq *seq = &answer->choices[index].seq;
    *seq = (struct seq){.number = ++batch->n_seqs,
                        .priority = answer->ask.priority,
                        .queued_ns = queued_ns,
                        .prompt_tokens = prompt->tokens,
                        .output_tokens = answer->choices[index].n_tokens,
                        .owner = answer,
                        .index = index};
    if (batch->sim->config->scheduler.prefix_caching && prompt->ids_len)
        batching_add_prompt(batch, seq, &answer->ask, prompt);
    scheduler_submit(batch->scheduler, seq);
}

void batching_submit(struct batching *batch, struct answer *answer, int64_t queued_ns) {
    for (int i = 0; i < answer->n_choices; i++) submit_choice(batch, answer, i, queued_ns);
    if (batch->step == NULL)
        begin_step(batch, queued_ns);
    else
        batching_publish(batch);
}

void batching_remove(struct batching *batch, struct answer *answer) {
    for (int i = 0; i < answer->n_choices && answer->choices; i++)
        scheduler_remove(batch->scheduler, &answer->choices[i].seq);
    batching_publish(batch);
}

void batching_reset_prefixes(struct batching *batch) {
    scheduler_reset_prefixes(batch->scheduler);
}
