/* Owns exact selection: floats as ordered integers, narrowed digit by digit, then the few that are left are sorted.
 * Does not copy or change the values. */
#include "stats/quantile.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { DIGIT_BITS = 16, DIGITS = 1 << DIGIT_BITS };

/* An array of one of the two types. Keys are unsigned integers in the order of the values. */
struct values {
    const double *f64;
    const float *f32;
    size_t n;
    int bits; /* of a key: 64 or 32 */
};

static uint64_t key_f64(double value) {
    uint64_t bits;
    value += 0.0; /* -0.0 and 0.0 are equal */
    memcpy(&bits, &value, sizeof bits);
    return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

static uint32_t key_f32(float value) {
    uint32_t bits;
    value += 0.0F;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 31 ? ~bits : bits | UINT32_C(1) << 31;
}

static double value_f64(uint64_t key) {
    uint64_t bits = key >> 63 ? key & ~(UINT64_C(1) << 63) : ~key;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double value_f32(uint32_t key) {
    uint32_t bits = key >> 31 ? key & ~(UINT32_C(1) << 31) : ~key;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

static double value_of(const struct values *v, uint64_t key) {
    return v->f64 ? value_f64(key) : value_f32((uint32_t)key);
}

/* ---- counting ---- */

/* Count the top digits of all keys, and notice a NaN on the way. */
static bool count_top(const struct values *v, uint64_t *counts) {
    bool nan = false;
    if (v->f64)
        for (size_t i = 0; i < v->n; i++) {
            nan |= isnan(v->f64[i]);
            counts[key_f64(v->f64[i]) >> 48]++;
        }
    else
        for (size_t i = 0; i < v->n; i++) {
            nan |= isnan(v->f32[i]);
            counts[key_f32(v->f32[i]) >> 16]++;
        }
    return nan;
}

/* A rank that is looked for, and the top digit that holds it. */
struct rank {
    size_t rank, within; /* in all values; among those with this digit */
    uint32_t digit;
    uint64_t key; /* the answer */
};

static void place(const uint64_t *counts, struct rank *ranks, size_t n) { /* ranks ascend */
    uint64_t before = 0;
    size_t next = 0;
    for (uint32_t digit = 0; digit < DIGITS && next < n; digit++) {
        for (; next < n && ranks[next].rank < before + counts[digit]; next++) {
            ranks[next].digit = digit;
            ranks[next].within = ranks[next].rank - (size_t)before;
        }
        before += counts[digit];
    }
}

/* ---- the values of the wanted digits ---- */

/* wanted[digit] = 1 + the place where its keys are gathered, 0 = not wanted. */
struct gather {
    uint32_t *wanted;
    uint64_t *keys;
    size_t *fill; /* by digit */
};

static void gather_keys(const struct values *v, struct gather *g) {
    int shift = v->bits - DIGIT_BITS;
    if (v->f64)
        for (size_t i = 0; i < v->n; i++) {
            uint64_t key = key_f64(v->f64[i]);
            uint64_t digit = key >> shift;
            if (g->wanted[digit]) g->keys[g->fill[digit]++] = key;
        }
    else
        for (size_t i = 0; i < v->n; i++) {
            uint32_t key = key_f32(v->f32[i]);
            uint32_t digit = key >> shift;
            if (g->wanted[digit]) g->keys[g->fill[digit]++] = key;
        }
}

static void swap(uint64_t *a, uint64_t *b) {
    uint64_t held = *a;
    *a = *b;
    *b = held;
}

/* Put the key of rank k in its place: quickselect with the middle of three, three-way so that equal keys cost nothing. */
static uint64_t select_key(uint64_t *keys, size_t n, size_t k) {
    size_t low = 0, high = n;
    while (high - low > 1) {
        uint64_t a = keys[low], b = keys[low + (high - low) / 2], c = keys[high - 1];
        uint64_t pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        size_t less = low, i = low, more = high;
        while (i < more) {
            if (keys[i] < pivot)
                swap(&keys[less++], &keys[i++]);
            else if (keys[i] > pivot)
                swap(&keys[i], &keys[--more]);
            else
                i++;
        }
        if (k < less)
            high = less;
        else if (k >= more)
            low = more;
        else
            return pivot;
    }
    return keys[low];
}

/* Gather the keys of every wanted digit side by side and select in each. */
static bool select_ranks(const struct values *v, const uint64_t *counts, struct rank *ranks, size_t n) {
    size_t total = 0;
    struct gather g = {calloc(DIGITS, sizeof *g.wanted), NULL, calloc(DIGITS, sizeof *g.fill)};
    bool ok = g.wanted && g.fill;
    for (size_t i = 0; ok && i < n; i++) {
        if (g.wanted[ranks[i].digit]) continue;
        g.wanted[ranks[i].digit] = 1;
        g.fill[ranks[i].digit] = total;
        total += (size_t)counts[ranks[i].digit];
    }
    if (ok) g.keys = malloc(total * sizeof *g.keys);
    ok = ok && g.keys;
    if (ok) gather_keys(v, &g);
    for (size_t i = 0; ok && i < n; i++) {
        size_t size = (size_t)counts[ranks[i].digit];
        ranks[i].key = select_key(g.keys + g.fill[ranks[i].digit] - size, size, ranks[i].within);
    }
    free(g.wanted);
    free(g.keys);
    free(g.fill);
    return ok;
}

/* ---- NumPy's rule ---- */

/* numpy.lib._function_base_impl._lerp: from the nearer end, so that t = 1 gives b exactly. */
static double lerp(double a, double b, double t) {
    double span = b - a;
    return t >= 0.5 ? b - span * (1 - t) : a + span * t;
}

static double at_key(const struct values *v, const struct rank *ranks, size_t n, size_t rank) {
    size_t low = 0, high = n;
    while (low + 1 < high) {
        size_t middle = (low + high) / 2;
        if (ranks[middle].rank <= rank)
            low = middle;
        else
            high = middle;
    }
    return value_of(v, ranks[low].key);
}

static int by_rank(const void *a, const void *b) {
    size_t x = ((const struct rank *)a)->rank, y = ((const struct rank *)b)->rank;
    return (x > y) - (x < y);
}

static double position(const struct values *v, double q) { return (double)(v->n - 1) * q; }

static bool interpolate(const struct values *v, const uint64_t *counts, const double *q, size_t n_q, double *out) {
    size_t n = 2 * n_q;
    struct rank *ranks = calloc(n, sizeof *ranks);
    if (!ranks) return false;
    for (size_t i = 0; i < n_q; i++) {
        size_t below = (size_t)floor(position(v, q[i]));
        ranks[2 * i].rank = below;
        ranks[2 * i + 1].rank = below + 1 < v->n ? below + 1 : below;
    }
    qsort(ranks, n, sizeof *ranks, by_rank);
    place(counts, ranks, n);
    bool ok = select_ranks(v, counts, ranks, n);
    for (size_t i = 0; ok && i < n_q; i++) {
        double h = position(v, q[i]), below = floor(h);
        size_t rank = (size_t)below;
        double a = at_key(v, ranks, n, rank), b = at_key(v, ranks, n, rank + 1 < v->n ? rank + 1 : rank);
        out[i] = lerp(a, b, h - below);
    }
    free(ranks);
    return ok;
}

static enum quantile_status quantile(const struct values *v, const double *q, size_t n_q, double *out) {
    for (size_t i = 0; i < n_q; i++) {
        if (!(q[i] >= 0 && q[i] <= 1)) return QUANTILE_BAD_Q;
        out[i] = NAN;
    }
    if (v->n == 0 || n_q == 0) return QUANTILE_OK;
    uint64_t *counts = calloc(DIGITS, sizeof *counts);
    if (!counts) return QUANTILE_NO_MEMORY;
    bool ok = count_top(v, counts) || interpolate(v, counts, q, n_q, out);
    free(counts);
    return ok ? QUANTILE_OK : QUANTILE_NO_MEMORY;
}

enum quantile_status quantile_f64(const double *values, size_t n, const double *q, size_t n_q, double *out) {
    return quantile(&(struct values){values, NULL, n, 64}, q, n_q, out);
}

enum quantile_status quantile_f32(const float *values, size_t n, const double *q, size_t n_q, double *out) {
    return quantile(&(struct values){NULL, values, n, 32}, q, n_q, out);
}

/* ---- moments ---- */

static double get(const struct values *v, size_t i) { return v->f64 ? v->f64[i] : (double)v->f32[i]; }

/* Two passes: the mean, then the squares around it with the correction for the mean's own rounding. */
static void moments(const struct values *v, double *mean, double *variance) {
    long double sum = 0, squares = 0, rest = 0;
    *mean = *variance = NAN;
    if (v->n == 0) return;
    for (size_t i = 0; i < v->n; i++) sum += get(v, i);
    double centre = (double)(sum / (long double)v->n);
    for (size_t i = 0; i < v->n; i++) {
        double off = get(v, i) - centre;
        squares += off * off;
        rest += off;
    }
    *mean = centre;
    *variance = (double)((squares - rest * rest / (long double)v->n) / (long double)v->n);
}

void moments_f64(const double *values, size_t n, double *mean, double *variance) {
    moments(&(struct values){values, NULL, n, 64}, mean, variance);
}

void moments_f32(const float *values, size_t n, double *mean, double *variance) {
    moments(&(struct values){NULL, values, n, 32}, mean, variance);
}
