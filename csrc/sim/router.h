/* router: which of several replicas answers a request. It knows how many of those that it has sent to each
 * are not over yet, as a router in front of engines does; it does not look into them. Choices depend on the
 * seed, the requests and their order alone. One thread.
 */
#ifndef VLLMPERF_SIM_ROUTER_H
#define VLLMPERF_SIM_ROUTER_H

#include <stddef.h>
#include <stdint.h>

/* X(name): as the setting is called. vllmperf/sim/config.py says what each does. */
#define ROUTER_KINDS(X) X(round_robin) X(pow2) X(prefix_aware) X(least_loaded) X(session)

enum router_kind {
#define X(name) ROUTER_##name,
    ROUTER_KINDS(X)
#undef X
        ROUTER_COUNT
};

enum { ROUTER_REPLICAS = 64 };

struct router_config {
    enum router_kind kind;
    int n_replicas; /* 1 .. ROUTER_REPLICAS */
    uint64_t seed;
    /* Of prefix_aware, with Ray's names: it balances by pow2 when the numbers of ongoing requests differ by
     * more than the first, and takes a replica for a prefix that is at least this share of the text. */
    double imbalanced_threshold, match_rate_threshold;
};

struct router_request {
    int64_t number;      /* of the request, for what is drawn */
    const char *text;    /* of its prompts; token ids have none */
    const char *session; /* value of x-session-id */
    size_t text_len, session_len;
};

struct router; /* opaque */

struct router *router_new(const struct router_config *config); /* NULL when out of memory */
void router_free(struct router *router);

/* The replica that answers, from 0. Its request is ongoing until router_release. */
int router_take(struct router *router, const struct router_request *request);
void router_release(struct router *router, int replica);

int64_t router_ongoing(const struct router *router, int replica);

/* ROUTER_COUNT when there is none of this name. */
enum router_kind router_kind_of(const char *name);

#endif
