/* Owns the course of a simulation in virtual time.
 * Does not schedule (scheduler.c), nor run loads of which less need be looked at (plain_replay.c). */
#include "sim/replay.h"

#include <stdlib.h>

#include "sim/plain_replay.h"

struct run {
    struct replay *replay;
    const struct scheduler_config *config;
    const struct replay_load *load;
    struct scheduler *scheduler;
    struct seq *seqs;
    struct replay_door door;
    int64_t now, done;
};

const char *replay_text(enum replay_result result) {
    switch (result) {
    case REPLAY_OK:
        return "fine";
    case REPLAY_BAD_LENGTH:
        return "it needs at least one prompt token and one output token";
    case REPLAY_UNORDERED:
        return "it arrives before the one before it, or before time 0";
    case REPLAY_TOO_LONG:
        return "it can never fit into the KV cache, or without chunked prefill into a step";
    case REPLAY_NO_MEMORY:
        break;
    }
    return "out of memory";
}

/* ---- checks ---- */

static enum replay_result check_one(const struct run *run, int64_t i) {
    const struct replay_load *load = run->load;
    int64_t prompt = load->prompt_tokens[i], output = load->output_tokens[i];
    if (prompt < 1 || output < 1) return REPLAY_BAD_LENGTH;
    if (!scheduler_fits(run->config, prompt, output)) return REPLAY_TOO_LONG;
    if (load->concurrency > 0) return REPLAY_OK;
    int64_t before = i ? load->arrival_ns[i - 1] : 0;
    return load->arrival_ns[i] < before ? REPLAY_UNORDERED : REPLAY_OK;
}

static enum replay_result replay_check(struct run *run) {
    for (int64_t i = 0; i < run->load->n; i++) {
        enum replay_result result = check_one(run, i);
        run->replay->bad = i;
        if (result != REPLAY_OK) return result;
    }
    return REPLAY_OK;
}

/* ---- requests ---- */

static void replay_add_prompt(struct run *run, struct seq *seq, int64_t i) {
    const struct replay_load *load = run->load;
    int64_t shared = load->prefix && load->prefix_tokens ? load->prefix_tokens[i] : 0;
    /* Ids of different prefixes, and of different requests, must differ. */
    int64_t prefix_id = shared > 0 ? -1 - load->prefix[i] : 0;
    for (int64_t k = 0; k < seq->prompt_tokens; k++)
        seq_add_token(seq, run->scheduler, k < shared ? prefix_id : i + 1);
}

static void replay_submit(struct run *run, int64_t i) {
    const struct replay_load *load = run->load;
    struct seq *seq = &run->seqs[i];
    *seq = (struct seq){.number = i,
                        .priority = load->priority ? load->priority[i] : 0,
                        .queued_ns = run->replay->requests[i].arrival_ns + run->door.front_ns,
                        .prompt_tokens = load->prompt_tokens[i],
                        .output_tokens = load->output_tokens[i]};
    replay_add_prompt(run, seq, i);
    scheduler_submit(run->scheduler, seq);
}

static void submit_due(struct run *run) {
    while (replay_door_next_ns(&run->door) <= run->now) replay_submit(run, run->door.submitted++);
}

static void end_request(struct run *run, struct seq *seq) {
    struct replay_request *request = &run->replay->requests[seq->number];
    request->scheduled_ns = seq->scheduled_ns;
    request->first_token_ns = seq->first_ns;
    request->last_token_ns = seq->last_ns;
    request->cached_tokens = seq->cached;
    request->preemptions = seq->preemptions;
    scheduler_remove(run->scheduler, seq);
    run->done++;
    replay_door_release(&run->door, run->now);
}

/* ---- steps ---- */

static void take_tokens(struct run *run) {
    for (struct seq *seq; (seq = scheduler_take_token(run->scheduler)) != NULL;)
        if (seq->state == SEQ_DONE) end_request(run, seq);
}

static enum replay_result one_step(struct run *run) {
    submit_due(run);
    const struct step *step = scheduler_plan(run->scheduler, run->now);
    if (step == NULL) {
        run->now = replay_door_next_ns(&run->door);
        /* All fit: somebody who waits although nobody runs had no memory for the table of blocks. */
        return run->now == INT64_MAX ? REPLAY_NO_MEMORY : REPLAY_OK;
    }
    if (!replay_log_step(run->replay, step)) return REPLAY_NO_MEMORY;
    run->replay->visits += step->work.decodes + step->prefills;
    run->now += step->duration_ns;
    scheduler_finish(run->scheduler, run->now);
    take_tokens(run);
    return REPLAY_OK;
}

static enum replay_result run_by_tokens(struct run *run) {
    enum replay_result result = REPLAY_OK;
    run->scheduler = scheduler_new(run->config);
    run->seqs = calloc((size_t)run->load->n + 1, sizeof *run->seqs);
    if (run->scheduler == NULL || run->seqs == NULL) return REPLAY_NO_MEMORY;
    replay_door_open(&run->door);
    while (result == REPLAY_OK && run->done < run->load->n) result = one_step(run);
    return result;
}

static enum replay_result run_all(struct run *run) {
    enum replay_result result = replay_check(run);
    if (result != REPLAY_OK) return result;
    run->replay->requests = calloc((size_t)run->load->n + 1, sizeof *run->replay->requests);
    if (run->replay->requests == NULL) return REPLAY_NO_MEMORY;
    if (plain_replay_can(run->config, run->load))
        return plain_replay_run(run->replay, run->config, run->door.front_ns, run->load) ? REPLAY_OK
                                                                                         : REPLAY_NO_MEMORY;
    run->door.requests = run->replay->requests;
    return run_by_tokens(run);
}

enum replay_result replay_run(struct replay *replay, const struct scheduler_config *config, int64_t front_ns,
                              const struct replay_load *load, bool want_steps) {
    struct run run = {
        .replay = replay, .config = config, .load = load, .door = {.load = load, .front_ns = front_ns}};
    *replay = (struct replay){.want_steps = want_steps};
    enum replay_result result = run_all(&run);
    scheduler_free(run.scheduler);
    free(run.seqs);
    return result;
}

void replay_free(struct replay *replay) {
    free(replay->requests);
    free(replay->steps);
    *replay = (struct replay){0};
}
