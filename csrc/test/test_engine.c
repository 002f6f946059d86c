/* Owns the sentences about a whole run: two engine threads against the simulated server in the same process.
 * Does not measure; run it under TSan for the threads. */
#include <pthread.h>
#include <stdatomic.h>

#include "test/run.h"

enum { TOKENS = 5, THREADS = 2 };

static struct engine *new_engine(const struct server *server, int64_t max_concurrency) {
    struct engine *engine = engine_at(server, (struct engine_config){
                                                  .max_concurrency = max_concurrency,
                                                  .max_in_flight_hint = 16,
                                                  .threads = THREADS,
                                                  .multis = 2,
                                                  .warm_connections = 4,
                                                  .spin_ns = 20000,
                                                  .connect_timeout_ns = 10 * NS_PER_S,
                                                  .first_token_timeout_ns = 60 * NS_PER_S,
                                                  .stall_timeout_ns = 30 * NS_PER_S,
                                                  .total_timeout_ns = 60 * NS_PER_S,
                                                  .grace_ns = 30 * NS_PER_S,
                                                  .kernel_stamps = true,
                                              });
    CHECK("there is an engine", engine != NULL);
    if (!engine) abort();
    return engine;
}

/* n requests, one every step_ns, or without times when step_ns is 0. */
static void feed(struct engine *engine, int64_t n, int64_t step_ns, int tokens) {
    char body[200];
    snprintf(body, sizeof body,
             "{\"model\":\"sim\",\"prompt\":[1,2,3],\"max_tokens\":%d,\"ignore_eos\":true,\"stream\":true,"
             "\"stream_options\":{\"include_usage\":true}}",
             tokens);
    size_t len = strlen(body);
    int64_t *offsets = calloc((size_t)n + 1, sizeof *offsets), *at_ns = calloc((size_t)n + 1, sizeof *at_ns);
    char *bodies = malloc((size_t)n * len + 1);
    if (!offsets || !at_ns || !bodies) abort();
    for (int64_t i = 0; i < n; i++) {
        memcpy(bodies + (size_t)i * len, body, len);
        offsets[i + 1] = offsets[i] + (int64_t)len;
        at_ns[i] = i * step_ns;
    }
    CHECK("requests are fed",
          engine_feed(engine, (size_t)n, offsets, step_ns ? at_ns : NULL, NULL, NULL, bodies) == 0);
    free(offsets);
    free(at_ns);
    free(bodies);
}

struct totals {
    int64_t records, completed, incomplete, tokens, chunks, stamps, texts, index_sum, waited;
    int threads; /* bits */
};

static void count(struct totals *totals, const struct batch *batch) {
    totals->records += (int64_t)batch->n_records;
    totals->stamps += (int64_t)batch->n_stamps;
    for (size_t i = 0; i < batch->n_records; i++) {
        const struct record *record = &batch->records[i];
        totals->completed += record->outcome == OUTCOME_completed;
        totals->incomplete += record->outcome == OUTCOME_incomplete;
        totals->tokens += record->output_tokens == RECORD_NONE ? 0 : record->output_tokens;
        totals->chunks += record->chunks;
        totals->texts += record->text_len > 0;
        totals->index_sum += record->index;
        totals->waited += record->slot_wait_ns > 0;
        totals->threads |= 1 << record->thread;
    }
}

/* Drain until the end, which a broken engine might never reach. */
static struct totals drain(struct engine *engine) {
    struct totals totals = {0};
    int64_t give_up_ns = clock_mono_ns() + 60 * NS_PER_S;
    for (;;) {
        struct batch batch = {0};
        struct engine_counters counters;
        bool more = engine_drain(engine, 20 * NS_PER_MS, &batch);
        count(&totals, &batch);
        batch_free(&batch);
        engine_counters(engine, &counters);
        CHECK("counters are never negative",
              counters.sent >= 0 && counters.done >= 0 && counters.in_flight >= 0);
        if (!more) return totals;
        if (clock_mono_ns() > give_up_ns) break;
    }
    CHECK("the run ends", 0);
    abort();
}

static uint64_t samples(struct engine *engine, enum engine_histogram which, size_t thread) {
    struct hist *hist = engine_histogram(engine, which, thread);
    uint64_t n = hist ? hist_count(hist) : 0;
    hist_free(hist);
    return n;
}

static void test_closed_loop(const struct server *server) {
    enum { N = 60 };
    struct engine *engine = new_engine(server, 6);
    feed(engine, N / 2, 0, TOKENS);
    CHECK("it starts", engine_start(engine, 0) == 0);
    CHECK("once", engine_start(engine, 0) == -1);
    feed(engine, N / 2, 0, TOKENS);
    engine_feed_end(engine);
    struct totals totals = drain(engine);
    CHECK("closed loop: all complete", totals.records == N && totals.completed == N);
    CHECK("each once", totals.index_sum == N * (N - 1) / 2);
    CHECK("with all tokens", totals.tokens == N * TOKENS && totals.chunks == N * TOKENS);
    CHECK("a stamp a chunk, a text a request", totals.stamps == totals.chunks && totals.texts == N);
    CHECK("both threads took part", totals.threads == 3);
    struct engine_counters counters;
    engine_counters(engine, &counters);
    CHECK("the counters agree", counters.sent == N && counters.completed == N && counters.in_flight == 0 &&
                                    counters.chunks == N * TOKENS);
    CHECK("and the state", counters.state == ENGINE_ENDED && counters.threads == THREADS);
    uint64_t chunks = 0, turns[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        chunks += samples(engine, HISTOGRAM_CLIENT_LAG, i);
        turns[i] = samples(engine, HISTOGRAM_LOOP, i);
    }
    CHECK("the lag of each chunk was measured", chunks == N * TOKENS);
    CHECK("and the turns of each thread", turns[0] > 0 && turns[1] > 0);
    engine_free(engine);
}

static void test_open_loop_with_cap(const struct server *server) {
    enum { N = 80 };
    struct engine *engine = new_engine(server, 4);
    feed(engine, N, NS_PER_MS / 2, TOKENS);
    CHECK("feeds with and without times do not mix",
          engine_feed(engine, 1, (int64_t[]){0, 2}, NULL, NULL, NULL, "{}") == -2);
    engine_feed_end(engine);
    CHECK("it starts", engine_start(engine, 0) == 0);
    struct totals totals = drain(engine);
    CHECK("open loop with a cap: all complete",
          totals.records == N && totals.completed == N && totals.tokens == N * TOKENS);
    CHECK("waits for a slot are recorded", totals.waited > N / 2);
    CHECK("schedule lag was measured", samples(engine, HISTOGRAM_SCHEDULE_LAG, 0) > 0);
    engine_free(engine);
}

/* Wait until all slots are taken, and a few tokens longer. */
static void until_in_flight(struct engine *engine) {
    struct engine_counters counters = {0};
    const struct timespec pause = {0, 5 * NS_PER_MS}, some_tokens = {0, 60 * NS_PER_MS};
    for (int i = 0; i < 2000 && counters.in_flight < 8; i++) {
        nanosleep(&pause, NULL);
        engine_counters(engine, &counters);
    }
    CHECK("answers are on their way", counters.in_flight == 8);
    nanosleep(&some_tokens, NULL);
}

static void test_stop(const struct server *slow, bool now) {
    enum { N = 500 };
    struct engine *engine = new_engine(slow, 8);
    feed(engine, N, 0, now ? 900 : 30);
    CHECK("it starts", engine_start(engine, 0) == 0);
    until_in_flight(engine);
    engine_stop(engine, now);
    struct totals totals = drain(engine);
    CHECK("a stopped run ends without the rest", totals.records > 0 && totals.records < N);
    CHECK("stopped now: what was in flight is incomplete", !now || totals.incomplete > 0);
    CHECK("stopped softly: what was in flight finishes",
          now || (totals.incomplete == 0 && totals.completed == totals.records));
    engine_free(engine);
}

static void test_free_while_running(const struct server *slow) {
    struct engine *engine = new_engine(slow, 8);
    feed(engine, 100, 0, 900);
    CHECK("it starts", engine_start(engine, 0) == 0);
    until_in_flight(engine);
    engine_free(engine);
    engine = new_engine(slow, 0);
    engine_free(engine);
    CHECK("an engine may be freed in the middle of a run, and before it", 1);
}

/* ---- several callers at once ---- */

struct caller {
    struct engine *engine;
    atomic_llong *drained;
    pthread_t thread;
};

static void *feed_often(void *argument) {
    struct caller *caller = argument;
    for (int i = 0; i < 10; i++) feed(caller->engine, 4, 0, TOKENS);
    return NULL;
}

static void *drain_to_the_end(void *argument) {
    struct caller *caller = argument;
    atomic_fetch_add(caller->drained, drain(caller->engine).records);
    return NULL;
}

static void *look_often(void *argument) {
    struct caller *caller = argument;
    struct engine_counters counters;
    for (int i = 0; i < 200; i++) {
        engine_counters(caller->engine, &counters);
        samples(caller->engine, HISTOGRAM_LOOP, 0);
    }
    return NULL;
}

static void *start_too(void *argument) {
    struct caller *caller = argument;
    CHECK("only one start counts", engine_start(caller->engine, 0) == -1);
    return NULL;
}

static void test_many_callers(const struct server *server) {
    static void *(*const jobs[])(void *) = {feed_often,       feed_often, drain_to_the_end,
                                            drain_to_the_end, look_often, start_too};
    enum { JOBS = sizeof jobs / sizeof *jobs, FEEDERS = 2, N = FEEDERS * 10 * 4 };
    struct caller callers[JOBS];
    atomic_llong drained = 0;
    struct engine *engine = new_engine(server, 6);
    CHECK("it starts", engine_start(engine, 0) == 0);
    for (int i = 0; i < JOBS; i++) {
        callers[i] = (struct caller){.engine = engine, .drained = &drained};
        if (pthread_create(&callers[i].thread, NULL, jobs[i], &callers[i]) != 0) abort();
    }
    for (int i = 0; i < FEEDERS; i++) pthread_join(callers[i].thread, NULL);
    engine_feed_end(engine);
    for (int i = FEEDERS; i < JOBS; i++) pthread_join(callers[i].thread, NULL);
    CHECK("each request is drained once", drained == N);
    engine_free(engine);
}

static void test_start_at_a_time(const struct server *server) {
    struct engine_counters counters;
    struct engine *engine = new_engine(server, 6);
    feed(engine, 12, 0, TOKENS);
    engine_feed_end(engine);
    int64_t at_real_ns = clock_real_ns() + NS_PER_S / 2;
    CHECK("it starts", engine_start(engine, at_real_ns) == 0);
    engine_counters(engine, &counters);
    CHECK("and waits", counters.state == ENGINE_WARMING && counters.sent == 0);
    CHECK("all complete", drain(engine).completed == 12);
    engine_counters(engine, &counters);
    CHECK("it began at the time", counters.start_real_ns >= at_real_ns - NS_PER_MS);
    engine_free(engine);
}

static void test_stop_before_the_time(const struct server *server, int64_t away_ns) {
    struct engine *engine = new_engine(server, 6);
    feed(engine, 12, 0, TOKENS);
    CHECK("it starts", engine_start(engine, clock_real_ns() + away_ns) == 0);
    engine_stop(engine, false);
    CHECK("stopped while it waits: it ends and has sent nothing", drain(engine).records == 0);
    engine_free(engine);
}

int main(void) {
    struct server *server = start_server(server_settings("5", "1")),
                  *slow = start_server(server_settings("5", "10"));
    test_closed_loop(server);
    test_open_loop_with_cap(server);
    test_stop(slow, false);
    test_stop(slow, true);
    test_free_while_running(slow);
    test_many_callers(server);
    test_start_at_a_time(server);
    test_stop_before_the_time(server, NS_PER_S);
    test_stop_before_the_time(server, 3600 * NS_PER_S);
    server_free(server);
    server_free(slow);
    return t_done("test_engine");
}
