/* Owns the fuzzing of scheduler.c and kv_cache.c: the bytes choose an engine and what is done to it, at any
 * time and in any order. Does not check times: after each step nothing is lost, nothing is too large, and in
 * the end all that is left is served.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sim/scheduler.h"

enum { SEQS = 24, MOST_TOKENS = 96, STEPS = 20000 };

struct bytes {
    const uint8_t *at, *end;
};

static int64_t take(struct bytes *bytes, int64_t below) {
    return bytes->at < bytes->end ? *bytes->at++ % below : 0;
}

struct engine {
    struct scheduler *scheduler;
    struct scheduler_config config;
    struct seq seqs[SEQS];
    bool used[SEQS];
    int64_t now, numbers;
};

static void start(struct engine *engine, struct bytes *bytes) {
    struct scheduler_config *config = &engine->config;
    config->max_num_seqs = 1 + (int32_t)take(bytes, 8);
    config->block_size = 1 + (int32_t)take(bytes, 9);
    config->num_gpu_blocks = MOST_TOKENS / config->block_size + 1 + (int32_t)take(bytes, 40);
    config->chunked_prefill = take(bytes, 2);
    config->priority = take(bytes, 2);
    config->prefix_caching = take(bytes, 2);
    config->max_num_batched_tokens = config->chunked_prefill ? 8 + take(bytes, 40) : MOST_TOKENS;
    config->model = (struct step_model){.alpha_ms = 1};
    engine->scheduler = scheduler_new(config);
    assert(engine->scheduler);
}

static void submit(struct engine *engine, struct bytes *bytes, int i) {
    int64_t prompt = 1 + take(bytes, 64), output = 1 + take(bytes, 31), kind = take(bytes, 3);
    if (engine->used[i] || !scheduler_fits(&engine->config, prompt, output)) return;
    engine->used[i] = true;
    engine->seqs[i] = (struct seq){.number = engine->numbers++,
                                   .priority = kind,
                                   .queued_ns = engine->now,
                                   .prompt_tokens = prompt,
                                   .output_tokens = output,
                                   .index = i};
    for (int64_t k = 0; k < prompt; k++)
        seq_add_token(&engine->seqs[i], engine->scheduler, k < 20 ? kind : engine->numbers);
    scheduler_submit(engine->scheduler, &engine->seqs[i]);
}

static void give_up(struct engine *engine, int i) {
    if (engine->used[i]) scheduler_remove(engine->scheduler, &engine->seqs[i]);
    engine->used[i] = false;
}

static void check(const struct engine *engine) {
    const struct kv_cache *kv = scheduler_kv_cache(engine->scheduler);
    int32_t running = 0, waiting = 0;
    for (int i = 0; i < SEQS; i++) {
        const struct seq *seq = &engine->seqs[i];
        if (!engine->used[i]) continue;
        running += seq->state == SEQ_RUNNING;
        waiting += seq->state == SEQ_WAITING;
        assert(seq->produced <= seq->output_tokens &&
               seq->computed < seq->prompt_tokens + seq->output_tokens);
        assert(seq->state == SEQ_RUNNING || seq->table.n == 0);
        assert((int64_t)seq->table.n * engine->config.block_size >= seq->computed || seq->table.n == 0);
    }
    assert(running == scheduler_running(engine->scheduler) && running <= engine->config.max_num_seqs);
    assert(waiting == scheduler_waiting(engine->scheduler));
    assert(kv_cache_is_sound(kv));
    assert(running || kv_cache_unheld(kv) == engine->config.num_gpu_blocks);
}

static void take_tokens(struct engine *engine, struct bytes *bytes) {
    for (struct seq *seq; (seq = scheduler_take_token(engine->scheduler)) != NULL;) {
        assert(engine->used[seq->index] && seq->last_ns == engine->now);
        if (seq->state == SEQ_DONE) {
            assert(seq->produced == seq->output_tokens);
            give_up(engine, seq->index);
        }
        if (take(bytes, 16) == 1) give_up(engine, (int)take(bytes, SEQS));
    }
}

/* false when there was nothing to do. */
static bool step(struct engine *engine, struct bytes *bytes) {
    const struct step *planned = scheduler_plan(engine->scheduler, engine->now);
    if (planned == NULL) return false;
    int64_t tokens = planned->work.decodes + planned->work.prefill_tokens;
    assert(tokens > 0 && tokens <= engine->config.max_num_batched_tokens && planned->duration_ns > 0);
    if (take(bytes, 8) == 1) give_up(engine, (int)take(bytes, SEQS));
    engine->now += planned->duration_ns;
    scheduler_finish(engine->scheduler, engine->now);
    take_tokens(engine, bytes);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes bytes = {data, data + size};
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) return 0;
    start(engine, &bytes);
    while (bytes.at < bytes.end) {
        int64_t what = take(&bytes, 4);
        if (what < 2) submit(engine, &bytes, (int)take(&bytes, SEQS));
        if (what == 2) give_up(engine, (int)take(&bytes, SEQS));
        if (what == 3) step(engine, &bytes);
        check(engine);
    }
    int steps = 0;
    while (step(engine, &bytes)) assert(++steps < STEPS);
    check(engine);
    assert(scheduler_running(engine->scheduler) == 0 && scheduler_waiting(engine->scheduler) == 0);
    scheduler_free(engine->scheduler);
    free(engine);
    return 0;
}
