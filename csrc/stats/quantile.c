/* Owns exact selection: floats as ordered integers, counted into bins, and only the bins that hold a wanted
 * rank are looked into. Does not change the values, and copies only those of such bins. */
#include "stats/quantile.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    BIN_BITS = 13, /* the counters fit into the second-level cache, a bin's share of the values is small */
    BINS = 1 << BIN_BITS,
    BELOW = BINS, /* two more bins for what lies outside the bracket */
    ABOVE = BINS + 1,
    ALL_BINS = BINS + 2,
    SAMPLE = 2048,
    LIGHT_SHARE = 16, /* bins with less than this part of the values are gathered, others counted finer */
    LIGHT_COUNT = 4096,
};

/* An array of one of the two types. Keys are unsigned integers in the order of the values: -NaN, -inf, ..
 * -0.0, 0.0,
 * .. inf, NaN. */
struct values {
    const double *f64;
    const float *f32;
    size_t n;
};

static inline uint64_t key_f64(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits ^ ((0 - (bits >> 63)) | UINT64_C(1) << 63);
}

static inline uint64_t key_f32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits ^ ((0 - (bits >> 31)) | UINT32_C(1) << 31);
}

static double quantile_value_of(const struct values *v, uint64_t key) {
    if (v->f64) {
        uint64_t bits = key >> 63 ? key ^ UINT64_C(1) << 63 : ~key;
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    uint32_t bits = key >> 31 ? (uint32_t)key ^ UINT32_C(1) << 31 : ~(uint32_t)key;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

static uint64_t key_of(const struct values *v, size_t i) {
    return v->f64 ? key_f64(v->f64[i]) : key_f32(v->f32[i]);
}

static uint64_t key_of_number(const struct values *v, double value) {
    return v->f64 ? key_f64(value) : key_f32((float)value);
}

/* ---- a range of keys, cut into bins ---- */

struct range {
    uint64_t low, high; /* both inside */
};

/* Bin i holds the keys of range.low + [i, i + 1) * 2^shift. */
struct bins {
    struct range range;
    int shift;
    uint64_t counts[ALL_BINS];
};

static bool is_one_key(struct range r) {
    return r.low == r.high;
}

static struct range all_numbers(const struct values *v) {
    return (struct range){key_of_number(v, -INFINITY), key_of_number(v, INFINITY)};
}

/* The part of the key space where the values are, by a sample. Without it values that lie close together, as
 * times do, would all be in one bin. It never reaches beyond the infinities: a NaN is always outside. */
static struct range likely_range(const struct values *v) {
    struct range all = all_numbers(v), r = {all.high, all.low};
    uint64_t random = 1;
    for (int i = 0; i < SAMPLE; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t key = key_of(v, (size_t)((random >> 20) % v->n));
        if (key < all.low || key > all.high) continue;
        if (key < r.low) r.low = key;
        if (key > r.high) r.high = key;
    }
    return r.low <= r.high ? r : all;
}

static struct bins *bins_new(struct range range) {
    struct bins *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->range = range;
    while ((range.high - range.low) >> b->shift >= BINS) b->shift++;
    return b;
}

static inline size_t quantile_bin_of(const struct bins *b, uint64_t key) {
    uint64_t off = key - b->range.low; /* huge when the key is below */
    if (off <= b->range.high - b->range.low) return (size_t)(off >> b->shift);
    return key < b->range.low ? BELOW : ABOVE;
}

static struct range keys_of_bin(const struct values *v, const struct bins *b, size_t bin) {
    struct range all = all_numbers(v), r = b->range;
    if (bin == BELOW) return (struct range){all.low, r.low - 1};
    if (bin == ABOVE) return (struct range){r.high + 1, all.high};
    r.low += (uint64_t)bin << b->shift;
    uint64_t last = r.low + ((UINT64_C(1) << b->shift) - 1);
    if (last < r.high && last >= r.low) r.high = last;
    return r;
}

/* Count the keys in every bin; true when a NaN was met. Inlined twice, so that the type is known inside the
 * loop. */
static inline __attribute__((always_inline)) bool count_keys(const struct values *v, struct bins *b,
                                                             bool is_f64) {
    struct range range = b->range, all = all_numbers(v);
    bool nan = false;
    for (size_t i = 0; i < v->n; i++) {
        uint64_t key = is_f64 ? key_f64(v->f64[i]) : key_f32(v->f32[i]);
        if (key - range.low <= range.high - range.low) {
            b->counts[(key - range.low) >> b->shift]++;
            continue;
        }
        nan |= key < all.low || key > all.high;
        b->counts[key < range.low ? BELOW : ABOVE]++;
    }
    return nan;
}

static bool quantile_count(const struct values *v, struct bins *b) {
    return v->f64 ? count_keys(v, b, true) : count_keys(v, b, false);
}

/* ---- ranks ---- */

/* A rank that is looked for, counted from 0 in all values. */
struct rank {
    size_t rank;
    size_t bin, within; /* where it is, and which of that bin's keys it is */
    uint64_t key;       /* the answer */
};

/* Find the bin of each rank; ranks ascend. */
static void quantile_place(const struct bins *b, struct rank *ranks, size_t n) {
    uint64_t before = 0;
    size_t next = 0;
    for (size_t i = 0; i < ALL_BINS && next < n; i++) {
        size_t bin = i == 0 ? BELOW : i == ALL_BINS - 1 ? ABOVE : i - 1;
        for (; next < n && ranks[next].rank < before + b->counts[bin]; next++) {
            ranks[next].bin = bin;
            ranks[next].within = ranks[next].rank - (size_t)before;
        }
        before += b->counts[bin];
    }
}

static size_t same_bin(const struct rank *ranks, size_t n) {
    size_t run = 1;
    while (run < n && ranks[run].bin == ranks[0].bin) run++;
    return run;
}

/* ---- the few keys of light bins, gathered and selected from ---- */

struct gather {
    bool wanted[ALL_BINS];
    size_t fill[ALL_BINS]; /* where the bin's next key goes */
    uint64_t *keys;
};

static inline __attribute__((always_inline)) void gather_keys(const struct values *v, const struct bins *b,
                                                              struct gather *g, bool is_f64) {
    for (size_t i = 0; i < v->n; i++) {
        uint64_t key = is_f64 ? key_f64(v->f64[i]) : key_f32(v->f32[i]);
        size_t bin = quantile_bin_of(b, key);
        if (g->wanted[bin]) g->keys[g->fill[bin]++] = key;
    }
}

static void quantile_swap(uint64_t *a, uint64_t *b) {
    uint64_t held = *a;
    *a = *b;
    *b = held;
}

static uint64_t quantile_median(uint64_t a, uint64_t b, uint64_t c) {
    if (a > b) quantile_swap(&a, &b);
    return c < a ? a : c > b ? b : c;
}

/* Put the key of rank k in its place among keys[low..n): quickselect. Pivots are drawn, since fixed ones go
 * wrong on what an earlier selection left; three parts, so that equal keys cost nothing. */
static void select_key(uint64_t *keys, size_t low, size_t n, size_t k) {
    uint64_t random = k;
    for (size_t high = n; high - low > 1;) {
        uint64_t drawn[3];
        for (int i = 0; i < 3; i++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            drawn[i] = keys[low + (size_t)(random >> 20) % (high - low)];
        }
        uint64_t pivot = quantile_median(drawn[0], drawn[1], drawn[2]);
        size_t less = low, more = high;
        for (size_t i = low; i < more;) {
            if (keys[i] < pivot)
                quantile_swap(&keys[less++], &keys[i++]);
            else if (keys[i] > pivot)
                quantile_swap(&keys[i], &keys[--more]);
            else
                i++;
        }
        if (k >= less && k < more) return;
        if (k < less)
            high = less;
        else
            low = more;
    }
}

/* The ranks ascend, so each needs to look only at what is right of the one before. */
static void select_keys(uint64_t *keys, size_t n, struct rank *ranks, size_t n_ranks) {
    size_t low = 0;
    for (size_t i = 0; i < n_ranks; i++) {
        size_t k = ranks[i].within;
        if (k >= low) select_key(keys, low, n, k);
        ranks[i].key = keys[k];
        low = k + 1;
    }
}

static bool is_light(const struct values *v, const struct bins *b, size_t bin) {
    return b->counts[bin] <= v->n / LIGHT_SHARE + LIGHT_COUNT && !is_one_key(keys_of_bin(v, b, bin));
}

static size_t want_light_bins(const struct values *v, const struct bins *b, struct gather *g,
                              const struct rank *ranks, size_t n) {
    size_t total = 0;
    for (size_t i = 0; i < n; i += same_bin(ranks + i, n - i)) {
        size_t bin = ranks[i].bin;
        if (!is_light(v, b, bin)) continue;
        g->wanted[bin] = true;
        g->fill[bin] = total;
        total += (size_t)b->counts[bin];
    }
    return total;
}

/* Answer all ranks in light bins with one more pass. */
static bool answer_light(const struct values *v, const struct bins *b, struct rank *ranks, size_t n) {
    struct gather *g = calloc(1, sizeof *g);
    size_t total = g ? want_light_bins(v, b, g, ranks, n) : 0;
    if (total) g->keys = malloc(total * sizeof *g->keys);
    bool ok = g && (g->keys || total == 0);
    if (ok && total && v->f64) gather_keys(v, b, g, true);
    if (ok && total && !v->f64) gather_keys(v, b, g, false);
    for (size_t i = 0, run; ok && i < n; i += run) {
        size_t bin = ranks[i].bin, size = (size_t)b->counts[bin];
        run = same_bin(ranks + i, n - i);
        if (g->wanted[bin]) select_keys(g->keys + g->fill[bin] - size, size, ranks + i, run);
    }
    if (g) free(g->keys);
    free(g);
    return ok;
}

/* ---- selection ---- */

enum found { FOUND, FOUND_NAN, NO_MEMORY };

static enum found quantile_find(const struct values *v, struct range range, struct rank *ranks, size_t n);

/* Ranks in a heavy bin: all its keys are the same, or it is cut into bins of its own. */
static enum found answer_heavy(const struct values *v, const struct bins *b, struct rank *ranks, size_t n) {
    struct range range = keys_of_bin(v, b, ranks[0].bin);
    if (!is_one_key(range)) return quantile_find(v, range, ranks, n);
    for (size_t i = 0; i < n; i++) ranks[i].key = range.low;
    return FOUND;
}

/* The keys of all ranks, which ascend. Each level of the recursion makes the range at least BINS / 2 times
 * smaller. */
static enum found quantile_find(const struct values *v, struct range range, struct rank *ranks, size_t n) {
    struct bins *b = bins_new(range);
    if (!b) return NO_MEMORY;
    enum found found = quantile_count(v, b) ? FOUND_NAN : FOUND;
    if (found == FOUND) {
        quantile_place(b, ranks, n);
        if (!answer_light(v, b, ranks, n)) found = NO_MEMORY;
    }
    for (size_t i = 0, run; found == FOUND && i < n; i += run) {
        run = same_bin(ranks + i, n - i);
        if (!is_light(v, b, ranks[i].bin)) found = answer_heavy(v, b, ranks + i, run);
    }
    free(b);
    return found;
}

/* ---- NumPy's rule ---- */

/* Where a quantile is among the sorted values: between two ranks. */
struct place {
    size_t below, above;
    double part; /* of the way from one to the other */
};

static struct place place_of(const struct values *v, double q) {
    double at = (double)(v->n - 1) * q, below = floor(at);
    size_t rank = (size_t)below;
    return (struct place){rank, rank + 1 < v->n ? rank + 1 : rank, at - below};
}

/* numpy/lib/_function_base_impl.py (2.4), _lerp: from the nearer end, so that both ends are exact. Statement
 * by statement, lest a compiler fuses the multiplication with the addition. */
static double quantile_lerp(double a, double b, double t) {
    double span = b - a, part = t >= 0.5 ? 1 - t : t;
    double step = span * part;
    return t >= 0.5 ? b - step : a + step;
}

static int by_rank(const void *a, const void *b) {
    size_t x = ((const struct rank *)a)->rank, y = ((const struct rank *)b)->rank;
    return (x > y) - (x < y);
}

static double quantile_value_at(const struct values *v, const struct rank *ranks, size_t n, size_t rank) {
    const struct rank wanted = {.rank = rank};
    const struct rank *found = bsearch(&wanted, ranks, n, sizeof *ranks, by_rank);
    return quantile_value_of(v, found->key);
}

static enum quantile_status quantile_interpolate(const struct values *v, const double *q, size_t n_q,
                                                 double *out) {
    size_t n = 2 * n_q;
    struct rank *ranks = calloc(n, sizeof *ranks);
    if (!ranks) return QUANTILE_NO_MEMORY;
    for (size_t i = 0; i < n_q; i++) {
        struct place place = place_of(v, q[i]);
        ranks[2 * i].rank = place.below;
        ranks[2 * i + 1].rank = place.above;
    }
    qsort(ranks, n, sizeof *ranks, by_rank);
    enum found found = quantile_find(v, likely_range(v), ranks, n);
    for (size_t i = 0; found == FOUND && i < n_q; i++) {
        struct place place = place_of(v, q[i]);
        out[i] = quantile_lerp(quantile_value_at(v, ranks, n, place.below),
                               quantile_value_at(v, ranks, n, place.above), place.part);
    }
    free(ranks);
    return found == NO_MEMORY ? QUANTILE_NO_MEMORY : QUANTILE_OK;
}

static enum quantile_status quantile(const struct values *v, const double *q, size_t n_q, double *out) {
    for (size_t i = 0; i < n_q; i++) {
        if (!(q[i] >= 0 && q[i] <= 1)) return QUANTILE_BAD_Q;
        out[i] = NAN;
    }
    return v->n == 0 || n_q == 0 ? QUANTILE_OK : quantile_interpolate(v, q, n_q, out);
}

enum quantile_status quantile_f64(const double *values, size_t n, const double *q, size_t n_q, double *out) {
    return quantile(&(struct values){values, NULL, n}, q, n_q, out);
}

enum quantile_status quantile_f32(const float *values, size_t n, const double *q, size_t n_q, double *out) {
    return quantile(&(struct values){NULL, values, n}, q, n_q, out);
}
