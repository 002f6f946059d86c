/* Owns the sentences about stats/quantile: equal to sorting, order and duplicates do not matter, odd values.
 * Does not compare with NumPy (tests/stats does). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/quantile.h"
#include "test/random.h"
#include "test/t.h"

enum { MANY = 70000, N_Q = 9 };

static const double wanted[N_Q] = {0.5, 0, 1, 0.9, 0.25, 0.999, 0.99, 1e-9, 0.5};

static double unit(void) {
    return (double)(next_random() >> 11) * 0x1p-53;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The rule on a sorted array. */
static double oracle(const double *sorted, size_t n, double q) {
    double h = (double)(n - 1) * q, t = h - floor(h);
    size_t i = (size_t)h;
    double a = sorted[i], b = sorted[i + 1 < n ? i + 1 : i];
    return t >= 0.5 ? b - (b - a) * (1 - t) : a + (b - a) * t;
}

static int same_double(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

/* Both types against sorting. The values are rounded to float first, so that they are the same in both. */
static int agrees(double *values, size_t n) {
    double out64[N_Q], out32[N_Q];
    float *singles = malloc((n + 1) * sizeof *singles);
    double *before = malloc((n + 1) * sizeof *before);
    if (!singles || !before) abort();
    for (size_t i = 0; i < n; i++) values[i] = singles[i] = (float)values[i];
    memcpy(before, values, n * sizeof *values);
    int ok = quantile_f64(values, n, wanted, N_Q, out64) == QUANTILE_OK;
    ok = ok && quantile_f32(singles, n, wanted, N_Q, out32) == QUANTILE_OK;
    ok = ok && memcmp(before, values, n * sizeof *values) == 0;
    qsort(values, n, sizeof *values, by_value);
    for (size_t i = 0; ok && i < N_Q; i++) {
        double expected = n ? oracle(values, n, wanted[i]) : (double)NAN;
        ok = same_double(out64[i], expected) && same_double(out32[i], expected);
    }
    free(singles);
    free(before);
    return ok;
}

static double *values_of(size_t n, double (*draw)(size_t i, size_t n)) {
    double *values = malloc((n + 1) * sizeof *values);
    if (!values) abort();
    for (size_t i = 0; i < n; i++) values[i] = draw(i, n);
    return values;
}

static double draw_unit(size_t i, size_t n) {
    return (void)i, (void)n, unit();
}
static double draw_wide(size_t i, size_t n) {
    return (void)i, (void)n, (unit() - 0.5) * pow(10, 60 * unit() - 30);
}
static double draw_few(size_t i, size_t n) {
    return (void)i, (void)n, (double)(next_random() % 3) - 1;
}
static double draw_same(size_t i, size_t n) {
    return (void)i, (void)n, 0.1;
}
static double draw_rising(size_t i, size_t n) {
    return (double)i - (double)n / 2;
}
static double draw_falling(size_t i, size_t n) {
    return (double)n - (double)i;
}
static double draw_close(size_t i, size_t n) {
    return (void)i, (void)n, 1e7 + (double)(next_random() % 64);
}
static double draw_outliers(size_t i, size_t n) {
    return i % 1000 == 0 ? 1e30 * unit() : i % 1001 == 0 ? -1e30 : draw_close(i, n);
}
static double draw_zeros(size_t i, size_t n) {
    return (void)n, i % 3 == 0 ? -0.0 : i % 3 == 1 ? 0.0 : 1e-40;
}

static const struct {
    const char *sentence;
    double (*draw)(size_t, size_t);
} shapes[] = {
    {"even values", draw_unit},
    {"values over 60 decades", draw_wide},
    {"three values", draw_few},
    {"one value", draw_same},
    {"a rising ramp", draw_rising},
    {"a falling ramp", draw_falling},
    {"values close together", draw_close},
    {"outliers", draw_outliers},
    {"zeros of both signs, subnormals", draw_zeros},
};

static void test_shapes(void) {
    static const size_t sizes[] = {0, 1, 2, 3, 7, 1000, 2049, 4097, MANY};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            double *values = values_of(sizes[i], shapes[s].draw);
            CHECK(shapes[s].sentence, agrees(values, sizes[i]));
            free(values);
        }
}

static void test_odd_values(void) {
    double out[N_Q], half = 0.5;
    double infinite[] = {-(double)INFINITY, 1, 2, (double)INFINITY};
    CHECK("infinities have their places",
          quantile_f64(infinite, 4, &half, 1, out) == QUANTILE_OK && out[0] == 1.5);
    for (size_t n = 1; n <= MANY; n = n * 7 + 1)
        for (int sign = 0; sign < 2; sign++) {
            double *values = values_of(n, draw_unit);
            values[n / 3] = sign ? -(double)NAN : (double)NAN;
            CHECK("one NaN makes all NaN",
                  quantile_f64(values, n, wanted, N_Q, out) == QUANTILE_OK && isnan(out[0]) && isnan(out[8]));
            float single = (float)values[n / 3];
            CHECK("also as float", quantile_f32(&single, 1, &half, 1, out) == QUANTILE_OK && isnan(out[0]));
            free(values);
        }
}

static void test_bad_q(void) {
    double value = 1, out;
    double bad[] = {-1e-9, 1.0000001, (double)NAN, (double)INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK("a quantile out of range is refused",
              quantile_f64(&value, 1, bad + i, 1, &out) == QUANTILE_BAD_Q);
    CHECK("no quantile is fine", quantile_f64(&value, 1, NULL, 0, &out) == QUANTILE_OK);
}

static void test_moments(void) {
    double mean, variance;
    moments_f64(NULL, 0, &mean, &variance);
    CHECK("nothing has no moments", isnan(mean) && isnan(variance));
    double *values = values_of(MANY, draw_rising);
    for (size_t i = 0; i < MANY; i++) values[i] += 1e12;
    moments_f64(values, MANY, &mean, &variance);
    double expected = ((double)MANY * MANY - 1) / 12;
    CHECK("mean far from zero", fabs(mean - (1e12 - 0.5)) < 1e-3);
    CHECK("variance far from zero", fabs(variance - expected) < expected * 1e-9);
    free(values);
    float singles[] = {1, 2, 3, 4};
    moments_f32(singles, 4, &mean, &variance);
    CHECK("moments of float are exact where they can be", mean == 2.5 && variance == 1.25);
}

int main(void) {
    test_shapes();
    test_odd_values();
    test_bad_q();
    test_moments();
    return t_done("test_quantile");
}
