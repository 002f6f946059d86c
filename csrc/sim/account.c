/* Owns what is counted and written down about answers: metrics, counters, the truth file's records.
 * Does not decide anything about them (answer.c). */
#include "sim/account.h"

#include "engine/clock.h"

static const double NS_PER_S_F = 1e9;

static double seconds(int64_t ns) {
    return (double)ns / NS_PER_S_F;
}

/* A body's tokens have no times of their own: those of the plan stand in. */
static void count_body_gaps(struct answer *answer, struct choice *choice, int64_t at_ns) {
    struct metrics *metrics = &answer->sim->metrics;
    int64_t first = answer->first_mono_ns, gaps = (choice->n_tokens - 1) / answer->tokens_per_chunk;
    metrics_observe(metrics, METRICS_TTFT, seconds(first - answer->arrival.read_mono_ns));
    for (int64_t i = 0; i < gaps; i++) metrics_observe(metrics, METRICS_ITL, seconds((at_ns - first) / gaps));
    choice->last_ns = at_ns;
}

static void count_chunk(struct answer *answer, int32_t index, int64_t at_ns) {
    struct metrics *metrics = &answer->sim->metrics;
    struct sim_counters *counters = answer->sim->counters;
    int32_t choice = answer->chunk_choice[index], tokens = answer->chunk_tokens[index];
    int64_t *last = &answer->choices[choice].last_ns;
    if (!answer->ask.stream)
        for (int i = 0; i < answer->n_choices; i++) count_body_gaps(answer, &answer->choices[i], at_ns);
    else if (*last == 0)
        metrics_observe(metrics, METRICS_TTFT, seconds(at_ns - answer->arrival.read_mono_ns));
    else
        metrics_observe(metrics, METRICS_ITL, seconds(at_ns - *last));
    *last = at_ns;
    metrics->generation_tokens += tokens;
    answer->sim->iteration_tokens += tokens;
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
    if (answer->written == 0) {
        answer->sim->metrics.prompt_tokens += answer->ask.prompt_tokens * answer->ask.n;
        if (answer->ask.stream) answer->first_mono_ns = at_ns;
    }
    for (; answer->written <= what; answer->written++) {
        answer->written_ns[answer->written] = at_ns;
        count_chunk(answer, answer->written, at_ns);
    }
    answer->last_mono_ns = at_ns;
}

static void count_finished_choice(const struct answer *answer, int index) {
    struct metrics *m = &answer->sim->metrics;
    const struct choice *choice = &answer->choices[index];
    int64_t read = answer->arrival.read_mono_ns, first = answer->first_mono_ns, n = choice->n_tokens;
    m->success[choice->stop ? METRICS_STOP : METRICS_LENGTH]++;
    metrics_observe(m, METRICS_PROMPT_TOKENS, (double)answer->ask.prompts[index / answer->ask.n].tokens);
    metrics_observe(m, METRICS_GENERATION_TOKENS, (double)n);
    metrics_observe(m, METRICS_PARAMS_MAX_TOKENS, (double)answer->ask.max_tokens);
    metrics_observe(m, METRICS_E2E, seconds(choice->last_ns - read));
    metrics_observe(m, METRICS_QUEUE, 0);
    metrics_observe(m, METRICS_INFERENCE, seconds(choice->last_ns - read));
    metrics_observe(m, METRICS_PREFILL, seconds(first - read));
    metrics_observe(m, METRICS_DECODE, seconds(choice->last_ns - first));
    if (n > 1) metrics_observe(m, METRICS_TPOT, seconds(choice->last_ns - first) / (double)(n - 1));
}

void account_finished(const struct answer *answer) {
    struct metrics *m = &answer->sim->metrics;
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

static const char *path_of(bool chat) {
    return chat ? "/v1/chat/completions" : "/v1/completions";
}

void account_record(const struct answer *answer, const char *outcome) {
    if (answer->sim->truth == NULL) return;
    struct truth_record record = {
        .request_id = answer->arrival.request_id,
        .path = path_of(answer->ask.chat),
        .outcome = outcome,
        .number = answer->arrival.number,
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
    truth_write(answer->sim->truth, &record);
}

void account_refused(struct conn *conn, bool chat, const struct fault_set *faults,
                     const struct arrival *arrival, int http_status, const char *outcome) {
    if (conn->sim->truth == NULL) return;
    struct truth_record record = {
        .request_id = arrival->request_id,
        .path = path_of(chat),
        .outcome = outcome,
        .number = arrival->number,
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
