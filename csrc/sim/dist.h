/* dist: durations drawn from a distribution, and the generator of random numbers that all of the simulator
 * uses. Everything drawn depends on the seed and on the number of the request alone, never on load or time.
 * Owns nothing, cannot fail; one thread at a time for each struct random.
 */
#ifndef VLLMPERF_SIM_DIST_H
#define VLLMPERF_SIM_DIST_H

#include <stdbool.h>
#include <stdint.h>

enum dist_kind { DIST_CONSTANT, DIST_NORMAL, DIST_LOGNORMAL };

/* mean_ns and std_ns are those of the duration itself, for lognormal too. Durations below 0 are cut to 0. */
struct dist {
    enum dist_kind kind;
    double mean_ns, std_ns;
    double mu, sigma; /* of the logarithm, when lognormal */
};

/* "50", "normal:50:5" or "lognormal:50:10", in ms: mean and standard deviation. false when it is none of
 * these. */
bool dist_parse(struct dist *dist, const char *text);

struct random {
    uint64_t state;
};

/* Independent streams of numbers for each (seed, number, purpose). */
struct random random_for(uint64_t seed, uint64_t number, uint64_t purpose);
uint64_t random_u64(struct random *random);
double random_unit(struct random *random);   /* in [0, 1) */
double random_normal(struct random *random); /* mean 0, deviation 1 */

int64_t dist_draw_ns(const struct dist *dist, struct random *random);

/* Number of tries up to the first success of a geometric distribution with this mean (>= 1). */
int64_t random_geometric(struct random *random, double mean);

#endif
