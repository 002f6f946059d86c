/* Owns mean and variance of an array: one pass over memory, block by block.
 * Does not look for NaN or infinity; they come out as NaN. */
#include "stats/quantile.h"

#include <math.h>
#include <stdbool.h>

enum { BLOCK = 4096, LANES = 8 }; /* a block stays in the first-level cache for its second pass */

/* Of the values so far; long double so that the number of blocks adds no error of its own. */
struct moments {
    long double n, sum, squares; /* squares: of the distances from the mean */
};

/* Sum of the values (power 1) or of the squared distances (power 2) from a centre. Lanes keep sums short. */
static double block_sum(const double *values, size_t n, double centre, int power) {
    double lanes[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            double off = values[i + j] - centre;
            lanes[j] += power == 1 ? off : off * off;
        }
    for (; i < n; i++) {
        double off = values[i] - centre;
        sum += power == 1 ? off : off * off;
    }
    for (size_t j = 0; j < LANES; j++) sum += lanes[j];
    return sum;
}

/* T. Chan, G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
 * 1979. Inside the block the corrected two-pass formula: sums are taken around the first value, which costs
 * no digits when the values are large and close together. */
static void add_block(struct moments *m, const double *values, size_t n) {
    double first = values[0], mean_off = block_sum(values, n, first, 1) / (double)n;
    double centre = first + mean_off;
    double rest = block_sum(values, n, centre, 1);
    long double block_squares = block_sum(values, n, centre, 2) - rest * rest / (double)n;
    long double block_sum_exact = (long double)centre * (long double)n + rest;
    long double total = m->n + (long double)n;
    long double apart = m->n > 0 ? block_sum_exact / (long double)n - m->sum / m->n : 0;
    m->squares += block_squares + apart * apart * m->n * (long double)n / total;
    m->sum += block_sum_exact;
    m->n = total;
}

static void moments_finish(const struct moments *m, double *mean, double *variance) {
    *mean = *variance = NAN;
    if (m->n == 0) return;
    *mean = (double)(m->sum / m->n);
    *variance = m->squares > 0 || isnan(m->squares) ? (double)(m->squares / m->n) : 0.0;
}

void moments_f64(const double *values, size_t n, double *mean, double *variance) {
    struct moments m = {0};
    for (size_t i = 0; i < n; i += BLOCK) add_block(&m, values + i, n - i < BLOCK ? n - i : BLOCK);
    moments_finish(&m, mean, variance);
}

void moments_f32(const float *values, size_t n, double *mean, double *variance) {
    struct moments m = {0};
    double block[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t size = n - i < BLOCK ? n - i : BLOCK;
        for (size_t j = 0; j < size; j++) block[j] = values[i + j];
        add_block(&m, block, size);
    }
    moments_finish(&m, mean, variance);
}
