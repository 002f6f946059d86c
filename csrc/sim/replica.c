/* Owns the engines of a server, and the way of a request to one of them.
 * Does not run them (batching.c) nor choose between them (router.c). */
#include "sim/replica.h"

#include <stdlib.h>

#include "engine/clock.h"

static void init_metrics(struct metrics *metrics, const struct sim_config *config) {
    const struct scheduler_config *scheduler = &config->scheduler;
    metrics->created_s = (double)clock_real_ns() / (double)NS_PER_S;
    metrics->block_size = config->batching ? scheduler->block_size : 16;
    if (!config->batching) return;
    metrics->num_gpu_blocks = scheduler->num_gpu_blocks;
    metrics->prefix_caching = scheduler->prefix_caching;
}

static bool replica_open(struct sim *sim, int number, batching_on_token *on_token) {
    struct replica *replica = &sim->replicas[number];
    *replica = (struct replica){.number = number, .metrics = &sim->metrics[number]};
    init_metrics(replica->metrics, sim->config);
    if (!sim->config->batching) return true;
    replica->batch = batching_new(sim, replica, on_token);
    return replica->batch != NULL;
}

bool replicas_open(struct sim *sim, batching_on_token *on_token) {
    struct router_config router = sim->config->router;
    if (router.n_replicas < 1) router.n_replicas = 1;
    router.seed = sim->config->seed;
    size_t n = (size_t)router.n_replicas;
    sim->router = router_new(&router);
    sim->replicas = calloc(n, sizeof *sim->replicas);
    sim->metrics = calloc(n, sizeof *sim->metrics);
    if (sim->router == NULL || sim->replicas == NULL || sim->metrics == NULL) return false;
    sim->n_replicas = router.n_replicas;
    for (int i = 0; i < sim->n_replicas; i++)
        if (!replica_open(sim, i, on_token)) return false;
    return true;
}

void replicas_close(struct sim *sim) {
    for (int i = 0; i < sim->n_replicas; i++) batching_free(sim->replicas[i].batch);
    router_free(sim->router);
    free(sim->replicas);
    free(sim->metrics);
    sim->router = NULL;
    sim->replicas = NULL;
    sim->metrics = NULL;
    sim->n_replicas = 0;
}

struct replica *replica_route(struct sim *sim, const struct router_request *request) {
    return &sim->replicas[router_take(sim->router, request)];
}

void replica_release(struct sim *sim, struct replica *replica) {
    router_release(sim->router, replica->number);
}

void replicas_end_turn(struct sim *sim) {
    for (int i = 0; i < sim->n_replicas; i++) {
        struct replica *replica = &sim->replicas[i];
        if (replica->iteration_tokens == 0) continue;
        metrics_observe(replica->metrics, METRICS_ITERATION_TOKENS, (double)replica->iteration_tokens);
        replica->iteration_tokens = 0;
    }
}

void replicas_reset_prefixes(struct sim *sim) {
    for (int i = 0; i < sim->n_replicas; i++)
        if (sim->replicas[i].batch) batching_reset_prefixes(sim->replicas[i].batch);
}
