/* Owns the sentences about failures: when so many requests have failed that a run is given up. */
#include "engine/failures.h"

#include "test/t.h"

static void test_limit_of_all(void) {
    struct failures f;
    failures_init(&f, 3, 0);
    for (int i = 0; i < 1000; i++) failures_add(&f, false);
    failures_add(&f, true);
    CHECK("fewer than the limit are few", failures_add(&f, true) == FAILURES_FEW);
    CHECK("those that come between change nothing", failures_add(&f, false) == FAILURES_FEW);
    CHECK("the limit is reached with its last", failures_add(&f, true) == FAILURES_IN_ALL);
    failures_destroy(&f);
}

static void test_limit_of_the_last(void) {
    struct failures f;
    failures_init(&f, 0, 10);
    for (int i = 0; i < FAILURES_WINDOW - 1; i++)
        CHECK("before the window is full nothing is known", failures_add(&f, true) == FAILURES_FEW);
    CHECK("when it is full, all count", failures_add(&f, false) == FAILURES_OF_THE_LAST);
    for (int i = 0; i < FAILURES_WINDOW - 11; i++)
        CHECK("as long as ten of the last failed", failures_add(&f, false) == FAILURES_OF_THE_LAST);
    CHECK("what left the window is forgotten", failures_add(&f, false) == FAILURES_FEW);
    CHECK("a new one takes the place of an old one", failures_add(&f, true) == FAILURES_FEW);
    failures_destroy(&f);
}

static void test_no_limit(void) {
    struct failures f;
    failures_init(&f, 0, 0);
    for (int i = 0; i < 3 * FAILURES_WINDOW; i++)
        CHECK("without a limit any number is few", failures_add(&f, true) == FAILURES_FEW);
    failures_destroy(&f);
}

int main(void) {
    test_limit_of_all();
    test_limit_of_the_last();
    test_no_limit();
    return t_done("failures");
}
