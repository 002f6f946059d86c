/* run: a simulated server and an engine that is aimed at it, for tests of whole runs.
 */
#ifndef VLLMPERF_TEST_RUN_H
#define VLLMPERF_TEST_RUN_H

#include <stdlib.h>
#include <string.h>

#include "engine/clock.h"
#include "engine/engine.h"
#include "sim/server.h"
#include "test/t.h"

/* What a server has unless the test says otherwise. Texts belong to the server that is made of it. */
static inline struct sim_config server_settings(const char *ttft_ms, const char *itl_ms) {
    struct sim_config config = {
        .host = strdup("127.0.0.1"),
        .model = strdup("sim"),
        .version = strdup("0"),
        .truth_path = strdup(""),
        .tokens_per_chunk = 1,
        .chat_max_tokens = 8,
        .max_model_len = 1000,
        .keep_alive_ns = 5 * NS_PER_S,
        .time_scale = 1,
        .limits = {16384, 100000},
    };
    dist_parse(&config.ttft, ttft_ms);
    dist_parse(&config.itl, itl_ms);
    return config;
}

static inline struct server *start_server(struct sim_config config) {
    char error[200];
    struct server *server = server_new(&config);
    CHECK("the server starts", server && server_start(server, error, sizeof error) == 0);
    return server;
}

/* Adds to the settings where requests go and what is in their heads. NULL when out of memory. */
static inline struct engine *engine_at(const struct server *server, struct engine_config config) {
    static const char *const addresses[] = {"127.0.0.1"};
    static const char *const headers[] = {"Content-Type: application/json"};
    char url[100], warm_url[100], error[200] = "";
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1/completions", server_port(server));
    snprintf(warm_url, sizeof warm_url, "http://127.0.0.1:%d/health", server_port(server));
    config.url = url;
    config.warm_url = warm_url;
    config.addresses = addresses;
    config.n_addresses = 1;
    config.headers = headers;
    config.n_headers = 1;
    config.request_id_prefix = "test-";
    config.cacert = "";
    config.max_event_bytes = 1 << 18;
    config.keep_text = config.keep_stamps = true;
    return engine_new(&config, error, sizeof error);
}

#endif
