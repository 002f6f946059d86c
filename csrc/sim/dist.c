/* Owns the drawing of durations and the generator behind it (splitmix64).
 * Does not know what is timed. */
#include "sim/dist.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double NS_PER_MS_F = 1e6;
static const double TWO_PI = 6.283185307179586;

static uint64_t dist_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

struct random random_for(uint64_t seed, uint64_t number, uint64_t purpose) {
    return (struct random){dist_mix(dist_mix(dist_mix(seed + 1) ^ number) ^ purpose)};
}

uint64_t random_u64(struct random *random) {
    return dist_mix(random->state += UINT64_C(0x9e3779b97f4a7c15));
}

double random_unit(struct random *random) {
    return (double)(random_u64(random) >> 11) * 0x1p-53;
}

double random_normal(struct random *random) {
    double u = 1.0 - random_unit(random), v = random_unit(random);
    return sqrt(-2.0 * log(u)) * cos(TWO_PI * v);
}

/* One or two numbers after the colon(s); the whole text must be used up. */
static bool dist_numbers(const char *text, double *mean_ns, double *std_ns) {
    char *end;
    *mean_ns = strtod(text, &end) * NS_PER_MS_F;
    if (end == text || *end != ':') return false;
    text = end + 1;
    *std_ns = strtod(text, &end) * NS_PER_MS_F;
    return end != text && *end == '\0';
}

static bool is_sane(const struct dist *dist) {
    return dist->mean_ns >= 0 && dist->std_ns >= 0 && dist->mean_ns < 1e15 && dist->std_ns < 1e15;
}

bool dist_parse(struct dist *dist, const char *text) {
    *dist = (struct dist){.kind = DIST_CONSTANT};
    if (strncmp(text, "normal:", 7) == 0) {
        dist->kind = DIST_NORMAL;
        return dist_numbers(text + 7, &dist->mean_ns, &dist->std_ns) && is_sane(dist);
    }
    if (strncmp(text, "lognormal:", 10) == 0) {
        dist->kind = DIST_LOGNORMAL;
        if (!dist_numbers(text + 10, &dist->mean_ns, &dist->std_ns) || dist->mean_ns <= 0) return false;
        double ratio = dist->std_ns / dist->mean_ns;
        dist->sigma = sqrt(log1p(ratio * ratio));
        dist->mu = log(dist->mean_ns) - dist->sigma * dist->sigma / 2;
        return is_sane(dist);
    }
    if (strncmp(text, "constant:", 9) == 0) text += 9;
    char *end;
    dist->mean_ns = strtod(text, &end) * NS_PER_MS_F;
    return end != text && *end == '\0' && is_sane(dist);
}

int64_t dist_draw_ns(const struct dist *dist, struct random *random) {
    double ns = dist->mean_ns;
    if (dist->kind == DIST_NORMAL) ns += dist->std_ns * random_normal(random);
    if (dist->kind == DIST_LOGNORMAL) ns = exp(dist->mu + dist->sigma * random_normal(random));
    return ns > 0 ? (int64_t)(ns < 1e18 ? ns + 0.5 : 1e18) : 0;
}

int64_t random_geometric(struct random *random, double mean) {
    if (mean <= 1) return 1;
    double tries = ceil(log(1.0 - random_unit(random)) / log1p(-1.0 / mean));
    return tries < 1 ? 1 : tries > 1e15 ? (int64_t)1e15 : (int64_t)tries;
}
