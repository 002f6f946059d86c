/* Owns the course of a replay in which requests need not be looked at for each token.
 * Does not do what scheduler.c alone can: throw out, share prefixes, priorities. */
#include "sim/plain_replay.h"

#include <stdlib.h>

static const int64_t NOBODY = -1;
static const int64_t LONGEST_OUTPUT = 1 << 20; /* the calendar has a place for each of its steps */

struct plain {
    const struct scheduler_config *config;
    const struct replay_load *load;
    struct replay *replay;
    struct replay_door door;
    struct step step;
    int64_t now, budget;
    int64_t admitted; /* requests [0, admitted) */
    int64_t begun;    /* of them, those that have their first token */
    int64_t done;
    int64_t computed;         /* tokens of the prompt of `begun`, when only a part was computed */
    int64_t ready;            /* prompts that are computed whole when the step ends */
    int64_t decodes, context; /* sequences that decode, and tokens that the next step of them reads */
    int64_t blocks;
    int64_t *calendar; /* by step, modulo: the first of those whose last token comes with it */
    int64_t *after;    /* by request: the next one with the same step */
    int64_t *growing;  /* by step, modulo a block: decodes that begin a new block in it */
    int64_t days;      /* of the calendar, a power of two */
    int64_t next_end;  /* no step from this one's number to before it is the last of somebody */
};

/* ---- which loads ---- */

static int64_t plain_blocks(const struct scheduler_config *config, int64_t tokens) {
    return (tokens + config->block_size - 1) / config->block_size;
}

static int64_t longest_output(const struct replay_load *load) {
    int64_t longest = 0;
    for (int64_t i = 0; i < load->n; i++)
        if (load->output_tokens[i] > longest) longest = load->output_tokens[i];
    return longest;
}

static bool plain_has_room(const struct scheduler_config *config, const struct replay_load *load) {
    int64_t most = config->num_gpu_blocks / config->max_num_seqs;
    for (int64_t i = 0; i < load->n; i++)
        if (plain_blocks(config, load->prompt_tokens[i] + load->output_tokens[i]) > most) return false;
    return true;
}

bool plain_replay_can(const struct scheduler_config *config, const struct replay_load *load) {
    bool shares = config->prefix_caching && load->prefix && load->prefix_tokens;
    if (config->priority || shares || config->max_num_seqs > config->max_num_batched_tokens) return false;
    return longest_output(load) <= LONGEST_OUTPUT && plain_has_room(config, load);
}

/* ---- a step's prompts ---- */

/* The next part of the prompt of `number`, and whether that is its end. */
static bool plain_take_part(struct plain *p, int64_t number) {
    int64_t prompt = p->load->prompt_tokens[number], before = p->computed;
    int64_t tokens = prompt - before < p->budget ? prompt - before : p->budget;
    p->budget -= tokens;
    p->step.prefills++;
    p->step.work.prefill_tokens += tokens;
    p->step.work.prefill_attention += step_attention(before, tokens);
    p->blocks += plain_blocks(p->config, before + tokens) - plain_blocks(p->config, before);
    p->replay->visits++;
    p->computed = before + tokens < prompt ? before + tokens : 0;
    p->ready += p->computed == 0;
    return p->computed == 0;
}

static int64_t plain_running(const struct plain *p) {
    return p->decodes + p->admitted - p->begun;
}

static bool plain_admits(const struct plain *p) {
    if (p->admitted == p->door.submitted || p->budget <= 0) return false;
    if (plain_running(p) >= p->config->max_num_seqs) return false;
    return p->config->chunked_prefill || p->load->prompt_tokens[p->admitted] <= p->budget;
}

static void plain_take_prompts(struct plain *p) {
    p->ready = 0;
    if (p->computed && !plain_take_part(p, p->begun)) return;
    while (plain_admits(p)) {
        p->replay->requests[p->admitted].scheduled_ns = p->now;
        p->step.admitted++;
        plain_take_part(p, p->admitted++);
    }
}

/* ---- decodes ---- */

static int64_t *plain_day(const struct plain *p, int64_t step) {
    return &p->calendar[step & (p->days - 1)];
}

static int64_t *plain_growing(const struct plain *p, int64_t step) {
    int64_t size = p->config->block_size;
    return &p->growing[(step % size + size) % size];
}

/* Its first token came with the step. A later one begins a block when all before it fill theirs. */
static void plain_begin_decode(struct plain *p, int64_t number) {
    int64_t prompt = p->load->prompt_tokens[number], step = p->step.number;
    int64_t end = step + p->load->output_tokens[number] - 1;
    p->after[number] = *plain_day(p, end);
    *plain_day(p, end) = number;
    if (end < p->next_end) p->next_end = end;
    p->decodes++;
    p->context += prompt + 1;
    ++*plain_growing(p, step + 1 - prompt);
}

static void plain_end(struct plain *p, int64_t number) {
    p->replay->requests[number].last_token_ns = p->now;
    p->blocks -= plain_blocks(p->config, p->load->prompt_tokens[number] + p->load->output_tokens[number] - 1);
    p->done++;
    p->replay->visits++;
    replay_door_release(&p->door, p->now);
}

static void plain_end_decode(struct plain *p, int64_t number) {
    int64_t prompt = p->load->prompt_tokens[number], output = p->load->output_tokens[number];
    p->decodes--;
    p->context -= prompt + output;
    --*plain_growing(p, p->step.number + 2 - output - prompt);
    plain_end(p, number);
}

/* ---- steps ---- */

/* False when nobody is there. */
static bool plain_plan(struct plain *p) {
    p->step = (struct step){.number = p->replay->n_steps + 1, .start_ns = p->now};
    p->budget = p->config->max_num_batched_tokens - p->decodes;
    plain_take_prompts(p);
    if (plain_running(p) == 0) return false;
    p->blocks += *plain_growing(p, p->step.number);
    p->step.work.decodes = p->decodes;
    p->step.work.decode_context = p->context;
    p->step.running = (int32_t)plain_running(p);
    p->step.waiting = (int32_t)(p->door.submitted - p->admitted);
    p->step.used_blocks = (int32_t)p->blocks;
    p->step.padded = step_padded(&p->config->model, &p->step.work);
    p->step.duration_ns = step_model_ns(&p->config->model, &p->step.work, p->step.number);
    return true;
}

static int64_t plain_next_end(struct plain *p) {
    if (p->next_end < p->step.number) p->next_end = p->step.number;
    while (*plain_day(p, p->next_end) == NOBODY) p->next_end++;
    return p->next_end;
}

/* So many steps from this one on decode for the same sequences and take the same time: nobody ends before the
 * last of them, and whoever comes finds no place. 1 when each counts for itself. */
static int64_t plain_alike(struct plain *p) {
    const struct step_model *model = &p->config->model;
    if (p->replay->want_steps || p->step.prefills || model->noise > 0 || model->kv_ms > 0) return 1;
    int64_t alike = plain_next_end(p) - p->step.number + 1;
    if (plain_running(p) == p->config->max_num_seqs || p->door.submitted > p->admitted) return alike;
    int64_t until = (replay_door_next_ns(&p->door) - p->now - 1) / p->step.duration_ns + 1;
    return until < alike ? until : alike;
}

/* Used blocks are not counted on: they are for the log of steps, which is not wanted then. */
static void plain_skip(struct plain *p, int64_t steps) {
    p->replay->n_steps += steps;
    p->step.number += steps;
    p->now += steps * p->step.duration_ns;
    p->context += steps * p->decodes;
}

static void plain_finish(struct plain *p) {
    int64_t *day = plain_day(p, p->step.number);
    p->now += p->step.duration_ns;
    p->context += p->decodes;
    for (int64_t number = *day; number != NOBODY; number = p->after[number]) plain_end_decode(p, number);
    *day = NOBODY;
    for (; p->ready > 0; p->ready--) {
        int64_t number = p->begun++;
        p->replay->requests[number].first_token_ns = p->now;
        if (p->load->output_tokens[number] == 1)
            plain_end(p, number);
        else
            plain_begin_decode(p, number);
    }
}

static bool plain_step(struct plain *p) {
    while (replay_door_next_ns(&p->door) <= p->now) p->door.submitted++;
    if (!plain_plan(p)) {
        p->now = replay_door_next_ns(&p->door);
        return true;
    }
    if (!replay_log_step(p->replay, &p->step)) return false;
    plain_skip(p, plain_alike(p) - 1);
    plain_finish(p);
    return true;
}

/* ---- the run ---- */

static bool plain_allocate(struct plain *p) {
    int64_t longest = longest_output(p->load);
    for (p->days = 1; p->days < longest; p->days *= 2) continue;
    p->calendar = malloc((size_t)p->days * sizeof *p->calendar);
    p->after = malloc(((size_t)p->load->n + 1) * sizeof *p->after);
    p->growing = calloc((size_t)p->config->block_size, sizeof *p->growing);
    if (p->calendar == NULL || p->after == NULL || p->growing == NULL) return false;
    for (int64_t i = 0; i < p->days; i++) p->calendar[i] = NOBODY;
    return true;
}

bool plain_replay_run(struct replay *replay, const struct scheduler_config *config, int64_t front_ns,
                      const struct replay_load *load) {
    struct plain p = {.config = config,
                      .load = load,
                      .replay = replay,
                      .door = {.requests = replay->requests, .load = load, .front_ns = front_ns}};
    bool ok = plain_allocate(&p);
    if (ok) replay_door_open(&p.door);
    while (ok && p.done < load->n) ok = plain_step(&p);
    free(p.calendar);
    free(p.after);
    free(p.growing);
    return ok;
}
