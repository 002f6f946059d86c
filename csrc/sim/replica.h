/* replica: the engines behind the server's one endpoint: each with what it is seen to do and, when batching,
 * a scheduler and a prefix cache of its own; and the router before them. Belongs to the server's thread.
 */
#ifndef VLLMPERF_SIM_REPLICA_H
#define VLLMPERF_SIM_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/batching.h"
#include "sim/metrics.h"
#include "sim/router.h"
#include "sim/sim.h"

enum { REPLICA_NONE = -1 };

struct replica {
    int number; /* from 0 */
    struct metrics *metrics;
    struct batching *batch;   /* NULL = fixed times */
    int64_t iteration_tokens; /* tokens given in this turn of the loop; with fixed times */
};

/* All of the configuration, into sim. Their metrics begin as those of engines with nothing to do. false when
 * out of memory; close them in both cases. */
bool replicas_open(struct sim *sim, batching_on_token *on_token);
void replicas_close(struct sim *sim);

/* Who answers; the request is ongoing there until replica_release. */
struct replica *replica_route(struct sim *sim, const struct router_request *request);
void replica_release(struct sim *sim, struct replica *replica);

/* A turn of the loop is over: what was given in it counts as a step of engines with fixed times. */
void replicas_end_turn(struct sim *sim);

/* Forget all cached prefixes; an engine with blocks in use keeps its own, as vLLM's does. */
void replicas_reset_prefixes(struct sim *sim);

#endif
