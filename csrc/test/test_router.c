/* Owns the tests of the choice between replicas and of the tree that remembers prefixes.
 * Does not test servers: tests/sim does. */
#include <stdlib.h>
#include <string.h>

#include "sim/prefix_tree.h"
#include "sim/router.h"
#include "test/random.h"
#include "test/t.h"

/* ---- the tree ---- */

static size_t match(const struct prefix_tree *tree, const char *text, uint64_t *owners) {
    return prefix_tree_match(tree, text, strlen(text), owners);
}

static void insert(struct prefix_tree *tree, const char *text, int owner) {
    prefix_tree_insert(tree, text, strlen(text), owner);
}

static void test_tree(void) {
    struct prefix_tree *tree = prefix_tree_new(3, 1000);
    uint64_t owners;
    CHECK("an empty tree matches nothing, which all have", match(tree, "abc", &owners) == 0 && owners == 7);
    insert(tree, "hello world", 0);
    insert(tree, "hello there", 1);
    CHECK("a shared beginning belongs to both", match(tree, "hello", &owners) == 5 && owners == 3);
    CHECK("where texts part, to one", match(tree, "hello the", &owners) == 9 && owners == 2);
    CHECK("it matches as far as it can", match(tree, "hello toast", &owners) == 7 && owners == 2);
    CHECK("bytes of an owner are counted once",
          prefix_tree_owned(tree, 0) == 11 && prefix_tree_owned(tree, 1) == 11);
    CHECK("shared bytes are kept once", prefix_tree_bytes(tree) == 16);
    insert(tree, "hello world", 0);
    CHECK("the same again adds nothing", prefix_tree_owned(tree, 0) == 11 && prefix_tree_bytes(tree) == 16);
    insert(tree, "hello", 2);
    CHECK("a text may end inside another", match(tree, "hello", &owners) == 5 && owners == 7);
    CHECK("it is sound", prefix_tree_is_sound(tree));
    prefix_tree_free(tree);
}

static void test_tree_forgets(void) {
    struct prefix_tree *tree = prefix_tree_new(2, 20);
    uint64_t owners;
    insert(tree, "aaaaaXXXX", 0);
    insert(tree, "aaaaaYYYY", 1);
    insert(tree, "aaaaaXXXX", 0);
    insert(tree, "bbbbbbbb", 1);
    CHECK("what was inserted longest ago is forgotten", match(tree, "aaaaaYYYY", &owners) == 5);
    CHECK("the rest stays", match(tree, "aaaaaXXXX", &owners) == 9 && owners == 1);
    CHECK("what is forgotten is not counted", prefix_tree_owned(tree, 1) == 5 + 8);
    insert(tree, "a text that is longer than all that the tree may keep", 0);
    CHECK("it keeps to its bound", prefix_tree_bytes(tree) <= 20 && prefix_tree_is_sound(tree));
    prefix_tree_free(tree);
}

/* Texts of two letters, so that they share much. */
static void random_text(char text[16]) {
    size_t len = next_random() % 15;
    for (size_t i = 0; i < len; i++) text[i] = (char)('a' + next_random() % 2);
    text[len] = '\0';
}

enum { TEXTS = 200 };

struct seen {
    char text[16];
    int owner;
};

static size_t shared(const char *a, const char *b) {
    size_t n = 0;
    while (a[n] && a[n] == b[n]) n++;
    return n;
}

/* The same by looking at all texts. */
static size_t slow_match(const struct seen *seen, int n, const char *text, uint64_t *owners) {
    size_t most = 0;
    *owners = 0;
    for (int i = 0; i < n; i++)
        if (shared(seen[i].text, text) > most) most = shared(seen[i].text, text);
    for (int i = 0; i < n; i++)
        if (shared(seen[i].text, text) == most) *owners |= UINT64_C(1) << seen[i].owner;
    return most;
}

static void test_tree_against_all_texts(void) {
    struct prefix_tree *tree = prefix_tree_new(4, 100000);
    struct seen seen[TEXTS];
    bool same = true;
    for (int i = 0; i < TEXTS; i++) {
        char text[16];
        uint64_t owners, slow_owners;
        random_text(text);
        size_t found = match(tree, text, &owners);
        same =
            same && found == slow_match(seen, i, text, &slow_owners) && (found == 0 || owners == slow_owners);
        random_text(seen[i].text);
        seen[i].owner = (int)(next_random() % 4);
        insert(tree, seen[i].text, seen[i].owner);
    }
    CHECK("it finds what a search through all texts finds", same);
    CHECK("it is sound afterwards", prefix_tree_is_sound(tree));
    prefix_tree_free(tree);
}

static void test_small_tree_stays_sound(void) {
    struct prefix_tree *tree = prefix_tree_new(4, 30);
    bool sound = true;
    for (int i = 0; i < TEXTS; i++) {
        char text[16];
        random_text(text);
        insert(tree, text, (int)(next_random() % 4));
        sound = sound && prefix_tree_is_sound(tree) && prefix_tree_bytes(tree) <= 30;
    }
    CHECK("a tree that forgets all the time stays sound", sound);
    prefix_tree_free(tree);
}

/* ---- routers ---- */

static struct router *router_of(enum router_kind kind, int n) {
    struct router_config config = {.kind = kind, .n_replicas = n, .seed = 3, .match_rate_threshold = 0.1};
    config.imbalanced_threshold = 3;
    return router_new(&config);
}

static int take(struct router *router, int64_t number, const char *text, const char *session) {
    struct router_request request = {.number = number,
                                     .text = text,
                                     .session = session,
                                     .text_len = strlen(text),
                                     .session_len = strlen(session)};
    return router_take(router, &request);
}

static void test_round_robin(void) {
    struct router *router = router_of(ROUTER_round_robin, 3);
    bool in_turn = true;
    for (int i = 0; i < 9; i++) in_turn = in_turn && take(router, i, "", "") == i % 3;
    CHECK("each has its turn", in_turn);
    CHECK("they are ongoing", router_ongoing(router, 0) == 3);
    router_release(router, 0);
    CHECK("until they are released", router_ongoing(router, 0) == 2);
    router_free(router);
}

static void test_pow2(void) {
    struct router *router = router_of(ROUTER_pow2, 2), *again = router_of(ROUTER_pow2, 2);
    int chosen[50], count[2] = {0};
    bool even = true, same = true;
    for (int i = 0; i < 50; i++) {
        count[chosen[i] = take(router, i, "", "")]++;
        even = even && abs(count[0] - count[1]) <= 1;
    }
    CHECK("of two replicas the one with less is taken", even);
    for (int i = 0; i < 50; i++) same = same && take(again, i, "", "") == chosen[i];
    CHECK("the same requests go the same ways", same);
    router_free(router);
    router_free(again);
}

static void test_pow2_draws_all(void) {
    struct router *router = router_of(ROUTER_pow2, 4);
    int count[4] = {0};
    for (int i = 0; i < 400; i++) {
        int chosen = take(router, i, "", "");
        count[chosen]++;
        router_release(router, chosen);
    }
    CHECK("idle replicas are drawn about evenly",
          count[0] > 60 && count[1] > 60 && count[2] > 60 && count[3] > 60);
    router_free(router);
}

static void test_least_loaded(void) {
    struct router *router = router_of(ROUTER_least_loaded, 3);
    take(router, 1, "", "");
    take(router, 2, "", "");
    CHECK("the idle one is taken", take(router, 3, "", "") == 2);
    router_release(router, 1);
    CHECK("the one with the fewest is taken", take(router, 4, "", "") == 1);
    CHECK("equal ones take turns", take(router, 5, "", "") == 2 && take(router, 6, "", "") == 0);
    router_free(router);
}

static void test_session(void) {
    struct router *router = router_of(ROUTER_session, 4);
    int first = take(router, 1, "", "alice"), used = 0;
    bool same = true, seen[4] = {false};
    for (int i = 2; i < 20; i++) same = same && take(router, i, "", "alice") == first;
    CHECK("a session stays where it is, whatever the load", same);
    for (char name = 'a'; name <= 'z'; name++) seen[take(router, name, "", (char[]){name, '\0'})] = true;
    for (int i = 0; i < 4; i++) used += seen[i];
    CHECK("sessions are spread over all", used == 4);
    router_free(router);
}

static const char story[] = "once upon a time there was a router";

static void test_prefix_aware(void) {
    struct router *router = router_of(ROUTER_prefix_aware, 3);
    int first = take(router, 1, story, "");
    CHECK("a known text goes where it was", take(router, 2, story, "") == first);
    int other = take(router, 3, "something else", "");
    CHECK("an unknown one goes to who has seen the least", other != first);
    CHECK("and the next one to the third", take(router, 4, "yet another thing", "") == 3 - first - other);
    CHECK("a text that has a tenth in common is known", take(router, 5, "once upon a midnight", "") == first);
    router_free(router);
}

static void test_prefix_aware_balances(void) {
    struct router *router = router_of(ROUTER_prefix_aware, 2);
    int first = take(router, 1, story, "");
    for (int i = 2; i <= 4; i++) take(router, i, story, "");
    CHECK("prefixes count as long as the load is in balance", router_ongoing(router, first) == 4);
    CHECK("beyond the threshold the load counts", take(router, 5, story, "") != first);
    CHECK("without a text the load counts, too", take(router, 6, "", "") != first);
    router_free(router);
}

static void test_one_replica(void) {
    bool all = true;
    for (int kind = 0; kind < ROUTER_COUNT; kind++) {
        struct router *router = router_of((enum router_kind)kind, 1);
        all = all && take(router, 1, "a", "b") == 0;
        router_free(router);
    }
    CHECK("a single replica gets all, whatever the router", all);
    CHECK("routers have names",
          router_kind_of("pow2") == ROUTER_pow2 && router_kind_of("pow3") == ROUTER_COUNT);
}

int main(void) {
    test_tree();
    test_tree_forgets();
    test_tree_against_all_texts();
    test_small_tree_stays_sound();
    test_round_robin();
    test_pow2();
    test_pow2_draws_all();
    test_least_loaded();
    test_session();
    test_prefix_aware();
    test_prefix_aware_balances();
    test_one_replica();
    return t_done("router");
}
