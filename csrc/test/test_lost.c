/* Owns the sentences about results that there is no memory for: the linker puts the batch_add below in the
 * place of the one in stats/record.c. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "engine/clock.h"
#include "engine/engine.h"
#include "test/t.h"

enum { REQUESTS = 12 };

int __real_batch_add(struct batch *batch, const struct record *record, const struct record_gap *gaps,
                     const struct record_stamp *stamps, const struct record_event *events, const char *text,
                     const char *error);
int __wrap_batch_add(struct batch *batch, const struct record *record, const struct record_gap *gaps,
                     const struct record_stamp *stamps, const struct record_event *events, const char *text,
                     const char *error);

static bool fails_for_workers, fails_for_caller;
static pthread_t caller;

/* No memory for every third request. */
int __wrap_batch_add(struct batch *batch, const struct record *record, const struct record_gap *gaps,
                     const struct record_stamp *stamps, const struct record_event *events, const char *text,
                     const char *error) {
    bool fails = pthread_equal(pthread_self(), caller) ? fails_for_caller : fails_for_workers;
    if (fails && record->index % 3 == 0) return -1;
    return __real_batch_add(batch, record, gaps, stamps, events, text, error);
}

/* Requests to an address that has no server: each ends at once, on one of two threads. */
static struct engine *new_engine(void) {
    static const char *const addresses[] = {"127.0.0.1"};
    struct engine_config config = {.url = "http://127.0.0.1:1/",
                                   .addresses = addresses,
                                   .n_addresses = 1,
                                   .request_id_prefix = "",
                                   .warm_url = "",
                                   .cacert = "",
                                   .max_in_flight_hint = 4,
                                   .threads = 2,
                                   .multis = 1,
                                   .connect_timeout_ns = NS_PER_S,
                                   .first_token_timeout_ns = NS_PER_S,
                                   .stall_timeout_ns = NS_PER_S,
                                   .total_timeout_ns = NS_PER_S,
                                   .max_event_bytes = 1 << 16};
    char error[200] = "";
    struct engine *engine = engine_new(&config, error, sizeof error);
    if (!engine) abort();
    return engine;
}

struct seen {
    int64_t records, lost;
    bool in_order; /* each record with its own error behind it */
};

/* Nothing is collected before all are done, so that the second thread's results have to be joined. */
static void wait_until_done(struct engine *engine) {
    struct engine_counters counters = {0};
    int64_t give_up_ns = clock_mono_ns() + 30 * NS_PER_S;
    while (counters.state != ENGINE_ENDED && clock_mono_ns() < give_up_ns) {
        struct timespec nap = {0, NS_PER_MS};
        nanosleep(&nap, NULL);
        engine_counters(engine, &counters);
    }
}

static struct seen run(void) {
    int64_t offsets[REQUESTS + 1] = {0};
    struct seen seen = {.in_order = true};
    struct engine *engine = new_engine();
    engine_feed(engine, REQUESTS, offsets, NULL, NULL, NULL, "");
    engine_feed_end(engine);
    CHECK("it starts", engine_start(engine, 0) == 0);
    wait_until_done(engine);
    for (struct batch batch = {0}; engine_drain(engine, NS_PER_S, &batch); batch_free(&batch)) {
        size_t byte = 0;
        for (size_t i = 0; i < batch.n_records; i++) byte += batch.records[i].error_len;
        seen.records += (int64_t)batch.n_records;
        seen.in_order = seen.in_order && byte == batch.n_bytes;
    }
    struct engine_counters counters;
    engine_counters(engine, &counters);
    CHECK("all are done", counters.done == REQUESTS);
    seen.lost = counters.lost;
    engine_free(engine);
    return seen;
}

int main(void) {
    caller = pthread_self();
    struct seen seen = run();
    CHECK("nothing is lost", seen.records == REQUESTS && seen.lost == 0 && seen.in_order);
    fails_for_workers = true;
    seen = run();
    CHECK("what a worker cannot keep is counted",
          seen.records == REQUESTS * 2 / 3 && seen.lost == REQUESTS / 3);
    fails_for_workers = false;
    fails_for_caller = true;
    seen = run();
    CHECK("what the caller's batch has no room for is counted",
          seen.lost > 0 && seen.records + seen.lost == REQUESTS && seen.in_order);
    return t_done("test_lost");
}
