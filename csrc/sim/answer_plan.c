/* Owns what is settled about an answer before it begins: lengths, times, tokens a chunk, its id.
 * Does not send anything (answer.c). */
#include "sim/answer_plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/clock.h"
#include "sim/render.h"
#include "sim/replica.h"

enum { FOR_LENGTHS = 1, FOR_TIMES, FOR_TEXT, FOR_CUTS }; /* purposes of random numbers */

static void plan_lengths(struct answer *answer) {
    const struct sim_config *config = answer->sim->config;
    struct random random = random_for(config->seed, (uint64_t)answer->arrival.number, FOR_LENGTHS);
    for (int i = 0; i < answer->n_choices; i++) {
        struct choice *choice = &answer->choices[i];
        choice->n_tokens = answer->ask.max_tokens;
        if (answer->ask.ignore_eos || config->eos_mean <= 0) continue;
        int64_t eos = random_geometric(&random, config->eos_mean);
        if (eos <= answer->ask.min_tokens) eos = answer->ask.min_tokens + 1;
        choice->stop = eos <= choice->n_tokens;
        if (choice->stop) choice->n_tokens = eos;
    }
}

static int64_t steps_of(const struct answer *answer, int choice) {
    return (answer->choices[choice].n_tokens + answer->tokens_per_chunk - 1) / answer->tokens_per_chunk;
}

static bool plan_chunks(struct answer *answer) {
    int64_t n = 0;
    for (int i = 0; i < answer->n_choices; i++) n += answer->ask.stream ? steps_of(answer, i) : i == 0;
    if (n > INT32_MAX / 2) return false;
    answer->n_chunks = (int32_t)n;
    size_t size = 2 * sizeof(int64_t) + 2 * sizeof(int32_t);
    answer->planned_ns = malloc((size_t)n * size);
    if (answer->planned_ns == NULL) return false;
    answer->written_ns = answer->planned_ns + n;
    answer->chunk_tokens = (int32_t *)(void *)(answer->written_ns + n);
    answer->chunk_choice = answer->chunk_tokens + n;
    return true;
}

int64_t answer_draw_ns(struct answer *answer, const struct dist *dist) {
    return sim_scaled_ns(answer->sim->config, dist_draw_ns(dist, &answer->timing));
}

/* A body without a stream is due when the last token would be. The batching engine is asked at plan_ns. */
static void plan_times(struct answer *answer) {
    const struct sim_config *config = answer->sim->config;
    answer->timing = random_for(config->seed, (uint64_t)answer->arrival.number, FOR_TIMES);
    if (config->batching) {
        answer->plan_ns = answer->arrival.read_mono_ns + sim_scaled_ns(config, config->front_ns);
        return;
    }
    answer->plan_ns = answer->arrival.read_mono_ns + answer_draw_ns(answer, &config->ttft);
    answer->first_mono_ns = answer->plan_ns;
    if (answer->ask.stream) return;
    int64_t steps = 1;
    for (int i = 0; i < answer->n_choices; i++)
        if (steps_of(answer, i) > steps) steps = steps_of(answer, i);
    for (int64_t i = 1; i < steps; i++) answer->plan_ns += answer_draw_ns(answer, &config->itl);
}

static void make_id(struct answer *answer) {
    const struct arrival *arrival = &answer->arrival;
    const char *kind = answer->ask.chat ? "chatcmpl-" : "cmpl-";
    int len = arrival->id_given ? ANSWER_ID : 16; /* a made-up one is longer in the header */
    snprintf(answer->id, sizeof answer->id, "%s%.*s", kind, len, arrival->request_id);
}

bool answer_plan(struct answer *answer) {
    const struct sim_config *config = answer->sim->config;
    uint64_t number = (uint64_t)answer->arrival.number;
    answer->n_choices = (int)(answer->ask.n * answer->ask.n_prompts);
    answer->choices = calloc((size_t)answer->n_choices, sizeof *answer->choices);
    answer->unfinished = answer->n_choices;
    if (answer->replica->batch == NULL) answer->replica->metrics->running += answer->n_choices;
    if (answer->choices == NULL) return false;
    answer->tokens_per_chunk = fault_has(&answer->faults, FAULT_MANY_TOKENS)
                                   ? answer->faults.value[FAULT_MANY_TOKENS][0]
                                   : config->tokens_per_chunk;
    if (answer->tokens_per_chunk < 1) answer->tokens_per_chunk = 1;
    answer->text_seed = random_for(config->seed, number, FOR_TEXT).state;
    answer->cuts = random_for(config->seed, number, FOR_CUTS);
    answer->created_s = answer->arrival.read_real_ns / NS_PER_S;
    make_id(answer);
    plan_lengths(answer);
    plan_times(answer);
    render_head(answer);
    return plan_chunks(answer);
}
