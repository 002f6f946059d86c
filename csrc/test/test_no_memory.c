/* Owns the sentences about memory that runs out: the linker puts the allocators below in the place of malloc
 * and its kin, of which one call fails, each in turn. Does not look at memory errors: the sanitizers do. */
#include <stdatomic.h>

#include "engine/response.h"
#include "sim/prefix_tree.h"
#include "sim/replay.h"
#include "test/run.h"

static atomic_long calls_left = -1; /* until one fails; negative: none will */

static bool fails(void) {
    return atomic_load(&calls_left) >= 0 && atomic_fetch_sub(&calls_left, 1) == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *held, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *held, size_t size);

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t n, size_t size) {
    return fails() ? NULL : __real_calloc(n, size);
}
void *__wrap_realloc(void *held, size_t size) {
    return fails() ? NULL : __real_realloc(held, size);
}

/* Has the call failed that was to fail? Then the next one may. None fails afterwards. */
static bool has_failed(void) {
    return atomic_exchange(&calls_left, -1) < 0;
}

/* ---- answers ---- */

static const char *const bodies[] = {
    "data: {\"choices\":[{\"index\":0,\"text\":\"a\\n\"}]}\n\n"
    "data: {\"choices\":[{\"index\":3,\"text\":\"b\",\"token_ids\":[1]}]}\n\n"
    "event: x\ndata: "
    "{\"choices\":[{\"index\":20,\"text\":[{\"text\":\"c\"}],\"finish_reason\":\"stop\"}]}\n\n"
    "data: {\"output\":{\"text\":\"a\"}}\n\ndata: [DONE]\n\n",
    "{\"choices\":[{\"text\":\"a b c\"}],\"usage\":{\"completion_tokens\":3}}",
    "event: error\ndata: {\"error\":\n\n",
    "<html>",
};

static void read_in_pieces(struct response *r, const char *body, size_t piece) {
    size_t len = strlen(body);
    response_begin(r);
    response_head(r, 200, "text/event-stream");
    for (size_t at = 0; at < len && !r->is_stuck; at += piece) {
        struct read_stamp stamp = {(int64_t)at, (int64_t)at + 1, at + 1};
        response_body(r, body + at, len - at < piece ? len - at : piece, &stamp);
    }
}

static bool answer_ends(const char *body, size_t piece, long failing) {
    static const struct response_settings settings = {
        .max_event_bytes = 4096, .keep_text = true, .keep_stamps = true, .keep_events = true};
    struct response r;
    struct batch batch = {0};
    atomic_store(&calls_left, failing);
    if (response_init(&r, &settings) == 0) {
        read_in_pieces(&r, body, piece);
        enum outcome outcome = response_finish(&r);
        CHECK("who had no memory says so",
              (r.trouble == TROUBLE_NO_MEMORY) == (outcome == OUTCOME_local_fault));
        response_store(&r, &batch);
        response_free(&r);
    }
    bool again = has_failed();
    batch_free(&batch);
    return !again;
}

static void test_answers(void) {
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        for (size_t piece = 1; piece < 100; piece = piece * 3 + 1)
            for (long failing = 0; !answer_ends(bodies[i], piece, failing);) failing++;
}

/* ---- runs ---- */

static struct engine *new_engine(const struct server *server) {
    return engine_at(server, (struct engine_config){
                                 .max_concurrency = 2,
                                 .session_header = "x-session-id: s",
                                 .threads = 1,
                                 .multis = 1,
                                 .warm_connections = 2,
                                 .connect_timeout_ns = NS_PER_S,
                                 .first_token_timeout_ns = NS_PER_S,
                                 .stall_timeout_ns = NS_PER_S,
                                 .total_timeout_ns = NS_PER_S,
                             });
}

static bool run_ends(const struct server *server, long failing) {
    static const char body[] =
        "{\"prompt\":[1],\"max_tokens\":3,\"stream\":true}{\"prompt\":[1],\"stream\":true}";
    static const int64_t offsets[] = {0, 43, sizeof body - 1}, sessions[] = {1, 2};
    struct engine_counters counters = {0};
    struct batch batch = {0};
    int64_t records = 0;
    atomic_store(&calls_left, failing);
    struct engine *engine = new_engine(server);
    bool runs = engine && engine_feed(engine, 2, offsets, NULL, NULL, sessions, body) == 0 &&
                engine_start(engine, 0) == 0;
    if (runs) engine_feed_end(engine);
    while (runs && engine_drain(engine, 20 * NS_PER_MS, &batch)) {
        records += (int64_t)batch.n_records;
        batch_free(&batch);
    }
    if (runs) engine_counters(engine, &counters);
    bool again = has_failed();
    CHECK("each request has a record or is counted as lost", !runs || records + counters.lost == 2);
    engine_free(engine);
    return !again;
}

static void test_runs(void) {
    struct server *server = start_server(server_settings("0.1", "0.05"));
    for (long failing = 0; !run_ends(server, failing);) failing++;
    server_free(server);
}

/* ---- the router's tree ---- */

static bool tree_stays_sound(long failing) {
    static const char *const texts[] = {"hello world", "hello there", "help", "hello world again", "other"};
    struct prefix_tree *tree = prefix_tree_new(2, 1000);
    atomic_store(&calls_left, failing);
    for (int i = 0; tree && i < 5; i++) prefix_tree_insert(tree, texts[i], strlen(texts[i]), i % 2);
    bool again = has_failed();
    CHECK("a tree without memory knows less, and no nonsense", tree && prefix_tree_is_sound(tree));
    prefix_tree_free(tree);
    return !again;
}

static void test_tree(void) {
    for (long failing = 0; !tree_stays_sound(failing);) failing++;
}

/* ---- replays ---- */

static bool replay_ends(const struct replay_load *load, long failing) {
    static const struct scheduler_config config = {.max_num_seqs = 2,
                                                   .max_num_batched_tokens = 8,
                                                   .chunked_prefill = true,
                                                   .prefix_caching = true,
                                                   .block_size = 2,
                                                   .num_gpu_blocks = 16,
                                                   .model = {.alpha_ms = 1}};
    struct replay replay;
    atomic_store(&calls_left, failing);
    enum replay_result result = replay_run(&replay, &config, 0, load, true);
    bool again = has_failed();
    CHECK("a replay without memory says so, or does without",
          result == REPLAY_OK || (again && result == REPLAY_NO_MEMORY));
    replay_free(&replay);
    return !again;
}

static void test_replays(void) {
    static const int64_t tokens[] = {6, 5, 4}, none[3] = {0};
    struct replay_load load = {.n = 3, .arrival_ns = none, .prompt_tokens = tokens, .output_tokens = tokens};
    for (long failing = 0; !replay_ends(&load, failing);) failing++;
    load.prefix = load.prefix_tokens = none;
    for (long failing = 0; !replay_ends(&load, failing);) failing++;
}

int main(void) {
    test_answers();
    test_replays();
    test_runs();
    test_tree();
    return t_done("test_no_memory");
}
