/* Owns the tests of the scheduler's parts without a server: step law, KV cache, scheduler, replay.
 * Does not test times on a clock: there are none here. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sim/dist.h"
#include "sim/replay.h"
#include "t.h"

static const int64_t MS = 1000000;

static struct scheduler_config plain(void) {
    return (struct scheduler_config){.max_num_seqs = 4,
                                     .max_num_batched_tokens = 64,
                                     .chunked_prefill = true,
                                     .block_size = 4,
                                     .num_gpu_blocks = 64,
                                     .model = {.alpha_ms = 10, .beta_ms = 1, .delta_ms = 0.5}};
}

/* ---- the law ---- */

static void test_law(void) {
    struct step_model m = {.alpha_ms = 10, .beta_ms = 1, .gamma_ms = 3, .delta_ms = 0.5, .kv_ms = 0.25};
    m.attention_ms = 0.125;
    struct step_work decode = {.decodes = 3, .decode_context = 8};
    struct step_work mixed = {3, 4, 8, 16};
    CHECK("a step of decodes has no prefill cost", step_model_ns(&m, &decode, 1) == 15 * MS);
    CHECK("prefill costs per step, per token, per pair", step_model_ns(&m, &mixed, 1) == 22 * MS);
    m.n_graph_sizes = 2;
    m.graph_sizes[0] = 2;
    m.graph_sizes[1] = 8;
    CHECK("decodes are raised to the next graph size", step_padded(&m, &decode) == 8);
    CHECK("a step with prefill runs without a graph", step_padded(&m, &mixed) == 3);
    decode.decodes = 9;
    CHECK("what is larger than all graphs runs without one", step_padded(&m, &decode) == 9);
    CHECK("a chunk looks at what was before it and at itself", step_attention(10, 3) == 11 + 12 + 13);
}

static void test_noise(void) {
    struct step_model m = {.alpha_ms = 10, .noise = 0.2, .seed = 5};
    struct step_work none = {0};
    double sum = 0, squares = 0;
    enum { N = 20000 };
    for (int i = 1; i <= N; i++) {
        double ms = (double)step_model_ns(&m, &none, i) / 1e6;
        sum += ms;
        squares += ms * ms;
    }
    double mean = sum / N, std = sqrt(squares / N - mean * mean);
    CHECK("noise has mean 1", fabs(mean - 10) < 0.06);
    CHECK("noise has the deviation asked for", fabs(std - 2) < 0.06);
    CHECK("the same step has the same noise", step_model_ns(&m, &none, 7) == step_model_ns(&m, &none, 7));
    int64_t before = step_model_ns(&m, &none, 7);
    m.seed = 6;
    CHECK("another seed has other noise", step_model_ns(&m, &none, 7) != before);
}

/* ---- KV cache ---- */

static void test_kv_prefixes(void) {
    struct kv_cache *kv = kv_cache_new(4, 16, true);
    struct kv_table a = {0}, b = {0}, c = {0};
    uint64_t hashes[] = {11, 12, 13}, other[] = {11, 99};
    kv_cache_begin(kv, &a, hashes, 0, 3);
    CHECK("what is not sealed is not found", kv_cache_match(kv, hashes, 3) == 0);
    kv_cache_seal(kv, &a, hashes, 0, 2);
    CHECK("sealed blocks are found as far as the chain holds", kv_cache_match(kv, hashes, 3) == 2);
    CHECK("another chain shares the beginning", kv_cache_match(kv, other, 2) == 1);
    CHECK("sharing takes no block", kv_cache_begin(kv, &b, hashes, 2, 3) && kv_cache_unheld(kv) == 0);
    CHECK("shared blocks are the same", a.blocks[0] == b.blocks[0] && a.blocks[2] != b.blocks[2]);
    CHECK("nothing is left to grow into", !kv_cache_grow(kv, &a, 4) && a.n == 3);
    kv_cache_release(kv, &a);
    CHECK("a shared block stays held", kv_cache_unheld(kv) == 1);
    kv_cache_release(kv, &b);
    CHECK("unheld blocks keep what is in them",
          kv_cache_unheld(kv) == 4 && kv_cache_match(kv, hashes, 3) == 2);
    CHECK("taking the oldest first",
          kv_cache_begin(kv, &c, NULL, 0, 2) && kv_cache_match(kv, hashes, 3) == 2);
    CHECK("a chain is lost from its end", kv_cache_grow(kv, &c, 3) && kv_cache_match(kv, hashes, 3) == 1);
    CHECK("blocks that are needed to share are not taken", !kv_cache_begin(kv, &a, hashes, 1, 3) && a.n == 0);
    CHECK("it is sound", kv_cache_is_sound(kv));
    CHECK("what is held is not forgotten", !kv_cache_forget_all(kv) && kv_cache_match(kv, hashes, 3) == 1);
    kv_cache_release(kv, &c);
    CHECK("all is forgotten when nothing is held",
          kv_cache_forget_all(kv) && kv_cache_match(kv, hashes, 3) == 0 && kv_cache_is_sound(kv));
    kv_table_free(&a);
    kv_table_free(&b);
    kv_table_free(&c);
    kv_cache_free(kv);
}

/* ---- the scheduler by hand ---- */

static struct seq sequence(int64_t number, int64_t prompt, int64_t output) {
    return (struct seq){.number = number, .prompt_tokens = prompt, .output_tokens = output};
}

static int take_all(struct scheduler *s) {
    int n = 0;
    while (scheduler_take_token(s)) n++;
    return n;
}

static void free_with(struct scheduler *s, struct seq *a, struct seq *b) {
    scheduler_remove(s, a);
    scheduler_remove(s, b);
    scheduler_free(s);
}

static void test_steps(void) {
    struct scheduler_config config = plain();
    struct scheduler *s = scheduler_new(&config);
    struct seq a = sequence(1, 8, 3), b = sequence(2, 4, 2);
    CHECK("nothing to do, no step", scheduler_plan(s, 0) == NULL);
    scheduler_submit(s, &a);
    const struct step *step = scheduler_plan(s, 0);
    CHECK("a prompt is prefilled", step && step->work.prefill_tokens == 8 && step->work.decodes == 0);
    CHECK("it takes what the law says", step->duration_ns == 14 * MS);
    b.queued_ns = 5 * MS;
    scheduler_submit(s, &b);
    scheduler_finish(s, 14 * MS);
    CHECK("the first token comes with the end of the prompt", take_all(s) == 1 && a.first_ns == 14 * MS);
    step = scheduler_plan(s, 14 * MS);
    CHECK("decode and prefill share a step", step->work.decodes == 1 && step->work.prefill_tokens == 4);
    CHECK("it is the sum", step->duration_ns == 13 * MS && step->running == 2);
    scheduler_finish(s, 27 * MS);
    CHECK("both have a token", take_all(s) == 2 && b.first_ns == 27 * MS && a.produced == 2);
    step = scheduler_plan(s, 27 * MS);
    CHECK("two decode", step->work.decodes == 2 && step->duration_ns == 12 * MS);
    CHECK("decodes read their context", step->work.decode_context == 10 + 5);
    scheduler_finish(s, 39 * MS);
    CHECK("both are done", take_all(s) == 2 && a.state == SEQ_DONE && b.state == SEQ_DONE);
    CHECK("and hold nothing", kv_cache_unheld(scheduler_kv_cache(s)) == 64 && scheduler_running(s) == 0);
    CHECK("nothing is left to do", scheduler_plan(s, 39 * MS) == NULL);
    free_with(s, &a, &b);
}

static void test_chunks(void) {
    struct scheduler_config config = plain();
    config.max_num_batched_tokens = 10;
    struct scheduler *s = scheduler_new(&config);
    struct seq a = sequence(1, 4, 9), b = sequence(2, 25, 1);
    scheduler_submit(s, &a);
    scheduler_plan(s, 0);
    scheduler_finish(s, 1);
    take_all(s);
    scheduler_submit(s, &b);
    const struct step *step = scheduler_plan(s, 1);
    CHECK("a long prompt gets what decodes leave", step->work.decodes == 1 && step->work.prefill_tokens == 9);
    scheduler_finish(s, 2);
    CHECK("half a prompt says nothing", take_all(s) == 1 && b.computed == 9);
    step = scheduler_plan(s, 2);
    CHECK("its next chunk looks at the one before", step->work.prefill_attention == 9 * 9 + 45);
    scheduler_finish(s, 3);
    take_all(s);
    step = scheduler_plan(s, 3);
    CHECK("the last chunk is the rest", step->work.prefill_tokens == 7 && step->prefills == 1);
    scheduler_finish(s, 4);
    CHECK("then it speaks", take_all(s) == 2 && b.first_ns == 4 && b.state == SEQ_DONE);
    free_with(s, &a, &b);
}

static void test_whole_prefill(void) {
    struct scheduler_config config = plain();
    config.max_num_batched_tokens = 10;
    config.chunked_prefill = false;
    struct scheduler *s = scheduler_new(&config);
    struct seq a = sequence(1, 6, 2), b = sequence(2, 6, 2);
    CHECK("what is longer than a step never fits",
          !scheduler_fits(&config, 9, 2) && scheduler_fits(&config, 8, 2));
    scheduler_submit(s, &a);
    scheduler_submit(s, &b);
    CHECK("a prompt that does not fit whole waits", scheduler_plan(s, 0)->work.prefill_tokens == 6);
    scheduler_finish(s, 1);
    take_all(s);
    CHECK("and comes whole", scheduler_plan(s, 1)->work.prefill_tokens == 6);
    free_with(s, &a, &b);
}

static void test_preemption(void) {
    struct scheduler_config config = plain();
    config.num_gpu_blocks = 4;
    struct scheduler *s = scheduler_new(&config);
    struct seq a = sequence(1, 7, 8), b = sequence(2, 7, 4);
    scheduler_submit(s, &a);
    scheduler_submit(s, &b);
    int64_t at = 0;
    const struct step *step = NULL;
    for (; at < 3; at++) {
        step = scheduler_plan(s, at);
        if (step->preempted) break;
        scheduler_finish(s, at + 1);
        take_all(s);
    }
    CHECK("the one that came last is thrown out", step->preempted == 1 && b.state == SEQ_WAITING);
    CHECK("it begins anew and keeps what it said",
          b.computed == 0 && b.produced == 2 && step->work.decodes == 1);
    while (a.state != SEQ_DONE) {
        scheduler_finish(s, ++at);
        take_all(s);
        if (a.state != SEQ_DONE) scheduler_plan(s, at);
    }
    step = scheduler_plan(s, at);
    CHECK("its prompt and its tokens are computed again", step->work.prefill_tokens == 7 + 2);
    scheduler_finish(s, at + 1);
    CHECK("and it goes on where it was", take_all(s) == 1 && b.produced == 3 && b.preemptions == 1);
    free_with(s, &a, &b);
}

static void test_priority(void) {
    struct scheduler_config config = plain();
    config.max_num_seqs = 1;
    config.priority = true;
    struct scheduler *s = scheduler_new(&config);
    struct seq seqs[3] = {sequence(1, 4, 1), sequence(2, 4, 1), sequence(3, 4, 1)};
    seqs[1].priority = seqs[2].priority = -1;
    for (int i = 0; i < 3; i++) scheduler_submit(s, &seqs[i]);
    int64_t order[3];
    for (int i = 0; i < 3; i++) {
        scheduler_plan(s, i);
        scheduler_finish(s, i + 1);
        order[i] = scheduler_take_token(s)->number;
    }
    CHECK("lower numbers first, then who came first", order[0] == 2 && order[1] == 3 && order[2] == 1);
    for (int i = 0; i < 3; i++) scheduler_remove(s, &seqs[i]);
    scheduler_free(s);
}

static void test_prefix(void) {
    struct scheduler_config config = plain();
    config.prefix_caching = true;
    struct scheduler *s = scheduler_new(&config);
    struct seq a = sequence(1, 8, 1), b = sequence(2, 8, 1);
    for (int i = 0; i < 8; i++) seq_add_token(&a, s, i), seq_add_token(&b, s, i);
    scheduler_submit(s, &a);
    scheduler_plan(s, 0);
    scheduler_finish(s, 1);
    take_all(s);
    scheduler_submit(s, &b);
    const struct step *step = scheduler_plan(s, 1);
    CHECK("of an equal prompt the last block is computed again",
          step->work.prefill_tokens == 4 && b.cached == 4);
    const struct scheduler_counts *counts = scheduler_counts(s);
    CHECK("hits are counted in tokens", counts->prefix_queries == 16 && counts->prefix_hits == 4);
    free_with(s, &a, &b);
}

static void test_removal(void) {
    struct scheduler_config config = plain();
    struct scheduler *s = scheduler_new(&config);
    struct seq seqs[3] = {sequence(1, 4, 5), sequence(2, 4, 5), sequence(3, 4, 5)};
    for (int i = 0; i < 3; i++) scheduler_submit(s, &seqs[i]);
    scheduler_plan(s, 0);
    scheduler_remove(s, &seqs[0]);
    scheduler_finish(s, 1);
    scheduler_remove(s, &seqs[2]);
    CHECK("who is gone gets no token",
          scheduler_take_token(s) == &seqs[1] && scheduler_take_token(s) == NULL);
    CHECK("and holds nothing", kv_cache_unheld(scheduler_kv_cache(s)) == 63 && scheduler_running(s) == 1);
    scheduler_remove(s, &seqs[1]);
    scheduler_free(s);
}

/* ---- properties, over random loads ---- */

struct totals {
    int64_t decodes, prefill, admitted, preempted, last_end;
    bool in_order, in_bounds;
};

static struct totals add_up(const struct replay *replay, const struct scheduler_config *config) {
    struct totals t = {.in_order = true, .in_bounds = true};
    for (int64_t i = 0; i < replay->n_steps; i++) {
        const struct replay_step *step = &replay->steps[i];
        t.decodes += step->decodes;
        t.prefill += step->prefill_tokens;
        t.admitted += step->admitted;
        t.preempted += step->preempted;
        if (step->start_ns < t.last_end || step->end_ns <= step->start_ns) t.in_order = false;
        t.last_end = step->end_ns;
        if (step->running > config->max_num_seqs || step->used_blocks > config->num_gpu_blocks ||
            step->decodes + step->prefill_tokens > config->max_num_batched_tokens ||
            step->decodes + step->prefill_tokens == 0)
            t.in_bounds = false;
    }
    return t;
}

enum { LOAD = 120 };

struct random_load {
    struct replay_load load;
    int64_t arrival[LOAD], prompt[LOAD], output[LOAD], prefix[LOAD], prefix_tokens[LOAD], priority[LOAD];
};

static int64_t below(struct random *random, int64_t n) {
    return (int64_t)(random_u64(random) % (uint64_t)n);
}

static void draw(struct random_load *l, struct scheduler_config *config, uint64_t seed) {
    struct random random = random_for(seed, 1, 2);
    *config = plain();
    config->max_num_seqs = 1 + (int32_t)below(&random, 12);
    config->block_size = 1 + (int32_t)below(&random, 8);
    config->chunked_prefill = below(&random, 2);
    config->max_num_batched_tokens = config->chunked_prefill ? 12 + below(&random, 60) : 128;
    config->prefix_caching = below(&random, 2);
    config->priority = below(&random, 2);
    config->num_gpu_blocks = (int32_t)(100 / config->block_size + 1 + below(&random, 60));
    config->model.noise = below(&random, 2) ? 0.1 : 0;
    int64_t at = 0, gap = 1 + below(&random, 60 * MS);
    for (int i = 0; i < LOAD; i++) {
        l->arrival[i] = at += below(&random, gap);
        l->prompt[i] = 1 + below(&random, 60);
        l->output[i] = 1 + below(&random, 40);
        l->prefix[i] = below(&random, 3);
        l->prefix_tokens[i] = below(&random, 70);
        l->priority[i] = below(&random, 3);
    }
    l->load = (struct replay_load){.n = LOAD,
                                   .arrival_ns = l->arrival,
                                   .prompt_tokens = l->prompt,
                                   .output_tokens = l->output,
                                   .prefix = l->prefix,
                                   .prefix_tokens = l->prefix_tokens,
                                   .priority = l->priority,
                                   .concurrency = below(&random, 3) ? 0 : 1 + below(&random, 20)};
}

/* Every output token but the first of a request is a decode, unless a request was thrown out: then one of its
 * tokens comes from the prefill that it needs again. */
static void check_random(uint64_t seed) {
    struct random_load l;
    struct scheduler_config config;
    struct replay replay;
    draw(&l, &config, seed);
    CHECK("a load that fits runs to its end", replay_run(&replay, &config, 0, &l.load, true) == REPLAY_OK);
    struct totals t = add_up(&replay, &config);
    int64_t output = 0, prompt = 0, cached = 0, preempted = 0, firsts = 0;
    bool in_order = true;
    for (int i = 0; i < LOAD; i++) {
        const struct replay_request *r = &replay.requests[i];
        output += l.output[i];
        prompt += l.prompt[i];
        cached += r->cached_tokens;
        preempted += r->preemptions;
        firsts += r->first_token_ns > 0;
        if (r->scheduled_ns < r->arrival_ns || r->first_token_ns <= r->scheduled_ns ||
            (l.output[i] == 1) != (r->last_token_ns == r->first_token_ns))
            in_order = false;
    }
    CHECK("each request has its tokens, in order of time", in_order && firsts == LOAD);
    CHECK("steps follow each other", t.in_order);
    CHECK("no step is larger than allowed, none is empty", t.in_bounds);
    CHECK("all preemptions are in the log", t.preempted == preempted);
    CHECK("each admission is a first one or follows a preemption", t.admitted == LOAD + preempted);
    CHECK("output tokens are decodes or ends of prefills",
          t.decodes <= output - LOAD && t.decodes >= output - LOAD - preempted);
    CHECK("prompt tokens are computed or cached",
          preempted ? t.prefill >= prompt - cached - preempted * 60 : t.prefill == prompt - cached);
    CHECK("nothing is cached when nothing is to be", config.prefix_caching || cached == 0);
    replay_free(&replay);
}

static bool same_rows(const void *a, const void *b, size_t bytes) {
    return memcmp(a, b, bytes) == 0;
}

/* Shared prefixes of no tokens: nothing is shared, but the scheduler has to look at each token. */
static void check_plain(uint64_t seed) {
    struct random_load l;
    struct scheduler_config config;
    struct replay plain_one, by_tokens, without_steps;
    draw(&l, &config, seed);
    config.priority = false;
    config.model.attention_ms = 0.01;
    config.model.kv_ms = seed % 3 ? 0 : 0.02;
    config.model.n_graph_sizes = 1;
    config.model.graph_sizes[0] = 3;
    config.num_gpu_blocks = config.max_num_seqs * (100 / config.block_size + 1);
    config.prefix_caching = true;
    memset(l.prefix_tokens, 0, sizeof l.prefix_tokens);
    l.load.priority = NULL;
    CHECK("the scheduler runs it", replay_run(&by_tokens, &config, MS, &l.load, true) == REPLAY_OK);
    l.load.prefix = NULL;
    CHECK("a plain load runs", replay_run(&plain_one, &config, MS, &l.load, true) == REPLAY_OK);
    int64_t parts = 0;
    for (int64_t i = 0; i < plain_one.n_steps; i++) parts += plain_one.steps[i].prefills;
    CHECK("a plain load is looked at by the request, not by the token", plain_one.visits == LOAD + parts);
    CHECK("the scheduler looks at each token", by_tokens.visits > plain_one.visits);
    CHECK(
        "a plain load has the steps that the scheduler gives it",
        plain_one.n_steps == by_tokens.n_steps &&
            same_rows(plain_one.steps, by_tokens.steps, (size_t)by_tokens.n_steps * sizeof *by_tokens.steps));
    CHECK("and its requests the same times",
          same_rows(plain_one.requests, by_tokens.requests, LOAD * sizeof *by_tokens.requests));
    CHECK("it runs without a log of steps",
          replay_run(&without_steps, &config, MS, &l.load, false) == REPLAY_OK);
    CHECK("steps that are alike are passed over, and change nothing",
          without_steps.n_steps == by_tokens.n_steps &&
              same_rows(without_steps.requests, by_tokens.requests, LOAD * sizeof *by_tokens.requests));
    replay_free(&plain_one);
    replay_free(&by_tokens);
    replay_free(&without_steps);
}

/* As check_random for the blocks, which only a scheduler in hand shows; some requests leave midway. */
static void check_blocks(uint64_t seed) {
    struct random_load l;
    struct scheduler_config config;
    struct random random = random_for(seed, 3, 4);
    static struct seq seqs[LOAD];
    draw(&l, &config, seed);
    struct scheduler *s = scheduler_new(&config);
    int submitted = 0;
    bool sound = true;
    for (int64_t now = 0; submitted < LOAD || scheduler_running(s) || scheduler_waiting(s); now++) {
        for (int64_t n = below(&random, 4); n > 0 && submitted < LOAD; n--, submitted++) {
            seqs[submitted] = sequence(submitted, l.prompt[submitted], l.output[submitted]);
            seqs[submitted].priority = l.priority[submitted];
            for (int64_t k = 0; k < l.prompt[submitted]; k++) seq_add_token(&seqs[submitted], s, k % 7);
            scheduler_submit(s, &seqs[submitted]);
        }
        const struct step *step = scheduler_plan(s, now);
        if (step && submitted && below(&random, 8) == 0)
            scheduler_remove(s, &seqs[below(&random, submitted)]);
        if (step) scheduler_finish(s, now + 1);
        for (struct seq *seq; (seq = scheduler_take_token(s)) != NULL;)
            if (seq->state == SEQ_DONE) scheduler_remove(s, seq);
        if (!kv_cache_is_sound(scheduler_kv_cache(s))) sound = false;
    }
    CHECK("blocks are held or unheld, never lost", sound);
    CHECK("at the end nobody holds any", kv_cache_unheld(scheduler_kv_cache(s)) == config.num_gpu_blocks);
    scheduler_free(s);
}

/* ---- replay ---- */

static void test_replay_by_hand(void) {
    struct scheduler_config config = plain();
    struct replay replay;
    int64_t arrival[] = {0, 5 * MS, 500 * MS}, prompt[] = {8, 4, 4}, output[] = {3, 2, 1};
    struct replay_load load = {
        .n = 3, .arrival_ns = arrival, .prompt_tokens = prompt, .output_tokens = output};
    CHECK("it runs", replay_run(&replay, &config, 0, &load, true) == REPLAY_OK && replay.n_steps == 4);
    CHECK("as the steps by hand did", replay.requests[0].first_token_ns == 14 * MS &&
                                          replay.requests[1].first_token_ns == 27 * MS &&
                                          replay.requests[1].last_token_ns == 39 * MS);
    CHECK("an idle engine begins when the next request is there", replay.steps[3].start_ns == 500 * MS);
    replay_free(&replay);
    CHECK("the front comes before the queue",
          replay_run(&replay, &config, 2 * MS, &load, false) == REPLAY_OK &&
              replay.requests[2].scheduled_ns == 502 * MS);
    CHECK("steps are counted even when they are not kept", replay.n_steps == 4 && replay.steps == NULL);
    replay_free(&replay);
}

static void test_replay_errors(void) {
    struct scheduler_config config = plain();
    struct replay replay;
    int64_t arrival[] = {0, 5, 4}, prompt[] = {8, 4, 4}, output[] = {3, 2, 1};
    struct replay_load load = {
        .n = 3, .arrival_ns = arrival, .prompt_tokens = prompt, .output_tokens = output};
    CHECK("arrivals must be in order", replay_run(&replay, &config, 0, &load, false) == REPLAY_UNORDERED);
    CHECK("it says which", replay.bad == 2);
    replay_free(&replay);
    prompt[0] = 64 * 4;
    CHECK("what never fits is refused", replay_run(&replay, &config, 0, &load, false) == REPLAY_TOO_LONG);
    replay_free(&replay);
    output[0] = 0;
    CHECK("a request says something", replay_run(&replay, &config, 0, &load, false) == REPLAY_BAD_LENGTH);
    replay_free(&replay);
}

int main(void) {
    test_law();
    test_noise();
    test_kv_prefixes();
    test_steps();
    test_chunks();
    test_whole_prefill();
    test_preemption();
    test_priority();
    test_prefix();
    test_removal();
    test_replay_by_hand();
    test_replay_errors();
    for (uint64_t seed = 0; seed < 300; seed++) check_random(seed);
    for (uint64_t seed = 0; seed < 300; seed++) check_blocks(seed);
    for (uint64_t seed = 0; seed < 1000; seed++) check_plain(seed);
    return t_done("batching");
}
