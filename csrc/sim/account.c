/* Owns what is counted and written down about answers: metrics, counters, the truth file's records.
 * Does not decide anything about them (answer.c). */
#include "sim/account.h"

#include "engine/clock.h"
#include "sim/replica.h"

static const double NS_PER_S_F = 1e9;

static double account_seconds(int64_t ns) {
    return (double)ns / NS_PER_S_F;
}

/* A body's tokens have no times of their own: those of the plan stand in. */
static void count_body_gaps(struct answer *answer, struct choice *choice, int64_t at_ns) {
    struct metrics *metrics = answer->replica->metrics;
    int64_t first = answer->first_mono_ns, gaps = (choice->n_tokens - 1) / answer->tokens_per_chunk;
    metrics_observe(metrics, METRICS_TTFT, account_seconds(first - answer->arrival.read_mono_ns));
    for (int64_t i = 0; i < gaps; i++)
        metrics_observe(metrics, METRICS_ITL, account_seconds((at_ns - first) / gaps));
    choice->last_ns = at_ns;
}

/* What the engine is seen to do; with a batching engine account_token counts it. */
static void count_engine(struct answer *answer, int32_t choice, int64_t tokens, int64_t at_ns) {
    struct metrics *metrics = answer->replica->metrics;
    int64_t *last = &answer->choices[choice].last_ns;
    if (!answer->ask.stream)
        for (int i = 0; i < answer->n_choices; i++) count_body_gaps(answer, &answer->choices[i], at_ns);
    else if (*last == 0)
        metrics_observe(metrics, METRICS_TTFT, account_seconds(at_ns - answer->arrival.read_mono_ns));
    else
        metrics_observe(metrics, METRICS_ITL, account_seconds(at_ns - *last));
    *last = at_ns;
    metrics->generation_tokens += tokens;
    answer->replica->iteration_tokens += tokens;
}

static void count_chunk(struct answer *answer, int32_t index, int64_t at_ns) {
    struct sim_counters *counters = answer->sim->counters;
    int32_t choice = answer->chunk_choice[index], tokens = answer->chunk_tokens[index];
    if (answer->replica->batch == NULL) count_engine(answer, choice, tokens, at_ns);
    answer->written_tokens += tokens;
    int64_t late = at_ns - answer->planned_ns[index];
    counter_add(&counters->chunks, 1);
    counter_add(&counters->tokens, tokens);
    counter_add(&counters->lateness_sum_ns, late);
    if (late > atomic_load_explicit(&counters->lateness_max_ns, memory_order_relaxed))
        counter_set(&counters->lateness_max_ns, late);
}

void account_written(struct answer *answer, int32_t what, int64_t at_ns) {
    if (what == MARK_HEAD) {
        answer->head_mono_ns = at_ns;
        return;
    }
    if (answer->written == 0 && answer->replica->batch == NULL) {
        answer->replica->metrics->prefix_queries += answer->ask.prompt_tokens * answer->ask.n;
        answer->replica->metrics->prompt_tokens += answer->ask.prompt_tokens * answer->ask.n;
        if (answer->ask.stream) answer->first_mono_ns = at_ns;
    }
    for (; answer->written <= what; answer->written++) {
        answer->written_ns[answer->written] = at_ns;
        count_chunk(answer, answer->written, at_ns);
    }
    answer->last_mono_ns = at_ns;
}

void account_token(struct answer *answer, int index, int64_t at_ns) {
    struct metrics *metrics = answer->replica->metrics;
    struct choice *choice = &answer->choices[index];
    if (choice->seq.produced == 1) {
        metrics->prompt_tokens += choice->seq.prompt_tokens;
        metrics->cached_tokens += choice->seq.cached;
        metrics_observe(metrics, METRICS_TTFT, account_seconds(at_ns - answer->arrival.read_mono_ns));
    } else {
        metrics_observe(metrics, METRICS_ITL, account_seconds(at_ns - choice->last_ns));
    }
    metrics->generation_tokens++;
    choice->last_ns = at_ns;
}

static struct answer_times fixed_times(const struct answer *answer, const struct choice *choice) {
    int64_t read = answer->arrival.read_mono_ns;
    int64_t last = choice->last_ns ? choice->last_ns : answer->plan_ns;
    return (struct answer_times){read, read, answer->first_mono_ns, last};
}

struct answer_times account_times(const struct answer *answer, int index) {
    const struct choice *choice = &answer->choices[index];
    const struct seq *seq = &choice->seq;
    if (answer->replica->batch == NULL) return fixed_times(answer, choice);
    return (struct answer_times){seq->queued_ns, seq->scheduled_ns, seq->first_ns, seq->last_ns};
}

static void count_finished_choice(const struct answer *answer, int index) {
    struct metrics *m = answer->replica->metrics;
    const struct choice *choice = &answer->choices[index];
    int64_t n = choice->n_tokens;
    struct answer_times t = account_times(answer, index);
    m->success[choice->stop ? METRICS_STOP : METRICS_LENGTH]++;
    metrics_observe(m, METRICS_PROMPT_TOKENS, (double)answer->ask.prompts[index / answer->ask.n].tokens);
    metrics_observe(m, METRICS_GENERATION_TOKENS, (double)n);
    metrics_observe(m, METRICS_PARAMS_MAX_TOKENS, (double)answer->ask.max_tokens);
    metrics_observe(m, METRICS_E2E, account_seconds(t.last - answer->arrival.read_mono_ns));
    metrics_observe(m, METRICS_QUEUE, account_seconds(t.scheduled - t.queued));
    metrics_observe(m, METRICS_INFERENCE, account_seconds(t.last - t.scheduled));
    metrics_observe(m, METRICS_PREFILL, account_seconds(t.first - t.scheduled));
    metrics_observe(m, METRICS_DECODE, account_seconds(t.last - t.first));
    if (n > 1) metrics_observe(m, METRICS_TPOT, account_seconds(t.last - t.first) / (double)(n - 1));
}

void account_finished(const struct answer *answer) {
    struct metrics *m = answer->replica->metrics;
    int64_t longest = 0;
    for (int i = 0; i < answer->n_choices; i++) {
        count_finished_choice(answer, i);
        if (answer->choices[i].n_tokens > longest) longest = answer->choices[i].n_tokens;
    }
    for (int64_t i = 0; i < answer->ask.n_prompts; i++) {
        metrics_observe(m, METRICS_PARAMS_N, (double)answer->ask.n);
        metrics_observe(m, METRICS_MAX_GENERATION_TOKENS, (double)longest);
    }
}

static const char *account_path_of(bool chat) {
    return chat ? "/v1/chat/completions" : "/v1/completions";
}

/* Of several choices: when the first was admitted, and all their preemptions and cached tokens. */
static void add_engine_times(struct truth_record *record, const struct answer *answer) {
    record->batching = true;
    record->queued_mono_ns = answer->choices[0].seq.queued_ns;
    record->scheduled_mono_ns = answer->choices[0].seq.scheduled_ns;
    for (int i = 0; i < answer->n_choices; i++) {
        record->preemptions += answer->choices[i].seq.preemptions;
        record->cached_tokens += answer->choices[i].seq.cached;
    }
}

void account_record(const struct answer *answer, const char *outcome) {
    if (answer->sim->truth == NULL) return;
    struct truth_record record = {
        .request_id = answer->arrival.request_id,
        .path = account_path_of(answer->ask.chat),
        .outcome = outcome,
        .number = answer->arrival.number,
        .replica = answer->replica->number,
        .connection = answer->conn->number,
        .http_status = answer->http_status,
        .stream = answer->ask.stream,
        .read_mono_ns = answer->arrival.read_mono_ns,
        .read_real_ns = answer->arrival.read_real_ns,
        .arrived_real_ns = answer->arrival.arrived_real_ns,
        .head_mono_ns = answer->head_mono_ns,
        .end_mono_ns = clock_mono_ns(),
        .prompt_tokens = answer->ask.prompt_tokens,
        .completion_tokens = answer->written_tokens,
        .faults = answer->faults.kinds,
        .n_chunks = answer->written,
        .planned_mono_ns = answer->planned_ns,
        .written_mono_ns = answer->written_ns,
        .tokens = answer->chunk_tokens,
        .choice = answer->chunk_choice,
        .several_choices = answer->n_choices > 1,
    };
    if (answer->submitted) add_engine_times(&record, answer);
    truth_write(answer->sim->truth, &record);
}

void account_refused(struct conn *conn, bool chat, const struct fault_set *faults,
                     const struct arrival *arrival, int http_status, const char *outcome) {
    if (conn->sim->truth == NULL) return;
    struct truth_record record = {
        .request_id = arrival->request_id,
        .path = account_path_of(chat),
        .outcome = outcome,
        .number = arrival->number,
        .replica = REPLICA_NONE,
        .connection = conn->number,
        .http_status = http_status,
        .read_mono_ns = arrival->read_mono_ns,
        .read_real_ns = arrival->read_real_ns,
        .arrived_real_ns = arrival->arrived_real_ns,
        .end_mono_ns = clock_mono_ns(),
        .faults = faults->kinds,
    };
    truth_write(conn->sim->truth, &record);
}
