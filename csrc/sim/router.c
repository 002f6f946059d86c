/* Owns the choice between replicas, and how many requests are ongoing at each.
 * Does not know HTTP nor engines (replica.c). */
#include "sim/router.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sim/dist.h"
#include "sim/prefix_tree.h"

_Static_assert((int)ROUTER_REPLICAS <= (int)PREFIX_TREE_OWNERS, "each replica is an owner in the tree");

/* Bytes of text that the tree of prefix_aware keeps. */
enum { TREE_BYTES = 64 * 1024 * 1024 };
enum { FOR_POW2 = 32, FOR_SESSION }; /* purposes of random numbers, apart from those of other files */

struct router {
    struct router_config config;
    int64_t ongoing[ROUTER_REPLICAS];
    int next;                 /* whose turn it is */
    struct prefix_tree *tree; /* of prefix_aware */
};

static int router_round_robin(struct router *router, const struct router_request *request) {
    (void)request;
    int chosen = router->next;
    router->next = (chosen + 1) % router->config.n_replicas;
    return chosen;
}

/* Of two that are drawn, the one with fewer ongoing requests. */
static int router_pow2(struct router *router, const struct router_request *request) {
    struct random random = random_for(router->config.seed, (uint64_t)request->number, FOR_POW2);
    uint64_t n = (uint64_t)router->config.n_replicas;
    uint64_t a = random_u64(&random) % n, b = (a + 1 + random_u64(&random) % (n - 1)) % n;
    return (int)(router->ongoing[b] < router->ongoing[a] ? b : a);
}

/* Those that are equal take turns. */
static int router_least_loaded(struct router *router, const struct router_request *request) {
    int n = router->config.n_replicas, best = router_round_robin(router, request);
    for (int i = 1, first = best; i < n; i++) {
        int other = (first + i) % n;
        if (router->ongoing[other] < router->ongoing[best]) best = other;
    }
    router->next = (best + 1) % n;
    return best;
}

static uint64_t hash_of(const char *text, size_t len) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < len; i++) hash = (hash ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static int router_session(struct router *router, const struct router_request *request) {
    if (request->session_len == 0) return router_pow2(router, request);
    uint64_t hash = hash_of(request->session, request->session_len);
    struct random random = random_for(router->config.seed, hash, FOR_SESSION);
    return (int)(random_u64(&random) % (uint64_t)router->config.n_replicas);
}

/* ---- prefixes ---- */

static bool is_imbalanced(const struct router *router) {
    int64_t least = INT64_MAX, most = 0;
    for (int i = 0; i < router->config.n_replicas; i++) {
        if (router->ongoing[i] < least) least = router->ongoing[i];
        if (router->ongoing[i] > most) most = router->ongoing[i];
    }
    return (double)(most - least) > router->config.imbalanced_threshold;
}

/* A bit for each replica whose part of the tree is the smallest. */
static uint64_t smallest_owners(const struct router *router) {
    size_t least = SIZE_MAX;
    uint64_t owners = 0;
    for (int i = 0; i < router->config.n_replicas; i++) {
        size_t owned = prefix_tree_owned(router->tree, i);
        if (owned < least) owners = 0, least = owned;
        if (owned == least) owners |= UINT64_C(1) << i;
    }
    return owners;
}

static int least_ongoing_of(const struct router *router, uint64_t owners) {
    int best = -1;
    for (int i = 0; i < router->config.n_replicas; i++)
        if (owners >> i & 1 && (best < 0 || router->ongoing[i] < router->ongoing[best])) best = i;
    return best;
}

/* As Ray's PrefixCacheAffinityRouter (2.60) chooses. That one fails where there is no text. */
static int router_prefix_aware(struct router *router, const struct router_request *request) {
    uint64_t owners;
    if (request->text_len == 0 || is_imbalanced(router)) return router_pow2(router, request);
    size_t matched = prefix_tree_match(router->tree, request->text, request->text_len, &owners);
    if ((double)matched < router->config.match_rate_threshold * (double)request->text_len)
        owners = smallest_owners(router);
    return least_ongoing_of(router, owners);
}

/* ---- all ---- */

static const struct {
    const char *name;
    int (*choose)(struct router *, const struct router_request *);
} kinds[ROUTER_COUNT] = {
#define X(name) {#name, router_##name},
    ROUTER_KINDS(X)
#undef X
};

struct router *router_new(const struct router_config *config) {
    struct router *router = calloc(1, sizeof *router);
    if (router == NULL) return NULL;
    router->config = *config;
    if (config->kind != ROUTER_prefix_aware || config->n_replicas == 1) return router;
    router->tree = prefix_tree_new(config->n_replicas, TREE_BYTES);
    if (router->tree) return router;
    free(router);
    return NULL;
}

void router_free(struct router *router) {
    if (router == NULL) return;
    prefix_tree_free(router->tree);
    free(router);
}

int router_take(struct router *router, const struct router_request *request) {
    int chosen = router->config.n_replicas == 1 ? 0 : kinds[router->config.kind].choose(router, request);
    router->ongoing[chosen]++;
    if (router->tree) prefix_tree_insert(router->tree, request->text, request->text_len, chosen);
    return chosen;
}

void router_release(struct router *router, int replica) {
    router->ongoing[replica]--;
}

int64_t router_ongoing(const struct router *router, int replica) {
    return router->ongoing[replica];
}

enum router_kind router_kind_of(const char *name) {
    int kind = 0;
    while (kind < ROUTER_COUNT && strcmp(kinds[kind].name, name) != 0) kind++;
    return (enum router_kind)kind;
}
