/* Owns the sentence about all faults at once: whatever a server does, each request ends once and nothing is
 * lost. Does not look at outcomes (tests/engine does); the sanitizers look at the memory. */
#include "test/run.h"

enum { REQUESTS = 500, CONCURRENCY = 60 };

static struct server *start_broken_server(void) {
    char error[200];
    struct sim_config config = server_settings("1", "lognormal:0.3:0.3");
    config.faults = calloc(FAULT_KINDS, sizeof(struct fault));
    for (int kind = 0; kind < FAULT_KINDS; kind++) {
        char text[60];
        int len = snprintf(text, sizeof text, "%s@p=0.02", fault_table[kind].name);
        CHECK("the fault is known",
              fault_parse(&config.faults[config.n_faults++], text, (size_t)len, error, sizeof error));
    }
    return start_server(config);
}

static struct engine *new_engine(const struct server *server, bool use_libcurl, bool in_open_loop) {
    struct engine *engine = engine_at(server, (struct engine_config){
                                                  .max_concurrency = in_open_loop ? 0 : CONCURRENCY,
                                                  .threads = 2,
                                                  .multis = 2,
                                                  .warm_connections = 4,
                                                  .connect_timeout_ns = NS_PER_S,
                                                  .first_token_timeout_ns = 300 * NS_PER_MS,
                                                  .stall_timeout_ns = 200 * NS_PER_MS,
                                                  .total_timeout_ns = NS_PER_S,
                                                  .grace_ns = 5 * NS_PER_S,
                                                  .kernel_stamps = true,
                                                  .keep_events = true,
                                                  .follow_redirects = true,
                                                  .spare_connections = in_open_loop,
                                                  .use_libcurl = use_libcurl,
                                              });
    CHECK("there is an engine", engine != NULL);
    if (!engine) abort();
    return engine;
}

static void feed(struct engine *engine, bool in_open_loop) {
    static const char body[] =
        "{\"model\":\"sim\",\"prompt\":[1,2,3],\"max_tokens\":8,\"n\":2,\"stream\":true}";
    static int64_t offsets[REQUESTS + 1], at_ns[REQUESTS];
    char *bodies = malloc(REQUESTS * sizeof body);
    if (!bodies) abort();
    for (int64_t i = 0; i < REQUESTS; i++) {
        memcpy(bodies + offsets[i], body, sizeof body - 1);
        offsets[i + 1] = offsets[i] + (int64_t)sizeof body - 1;
        at_ns[i] = i * NS_PER_MS;
    }
    CHECK("requests are fed",
          engine_feed(engine, REQUESTS, offsets, in_open_loop ? at_ns : NULL, NULL, NULL, bodies) == 0);
    engine_feed_end(engine);
    free(bodies);
}

/* Each index once; returns how many. */
static int64_t drain(struct engine *engine, int64_t limit) {
    bool *seen = calloc(REQUESTS, sizeof *seen);
    int64_t n = 0;
    struct batch batch = {0};
    while (seen && n < limit && engine_drain(engine, 20 * NS_PER_MS, &batch)) {
        for (size_t i = 0; i < batch.n_records; i++, n++) {
            CHECK("a request ends once", !seen[batch.records[i].index]);
            seen[batch.records[i].index] = true;
        }
        batch_free(&batch);
    }
    free(seen);
    return n;
}

static void test_storm(bool use_libcurl, bool in_open_loop, bool cut) {
    struct server *server = start_broken_server();
    struct engine *engine = new_engine(server, use_libcurl, in_open_loop);
    feed(engine, in_open_loop);
    CHECK("it starts", engine_start(engine, 0) == 0);
    int64_t n = drain(engine, cut ? REQUESTS / 3 : INT64_MAX);
    struct engine_counters counters;
    engine_counters(engine, &counters);
    CHECK("nothing is lost", counters.lost == 0 && (cut || n == REQUESTS));
    engine_free(engine); /* in the middle, when cut */
    server_free(server);
}

int main(void) {
    for (int i = 0; i < 8; i++) test_storm(i & 1, i & 2, i & 4);
    return t_done("test_storm");
}
