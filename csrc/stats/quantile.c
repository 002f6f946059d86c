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
    LIGHT_SHARE =
        16, /* bins with less than this part of the values are gathered, others counted more finely */
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
    return bits ^ ((uint64_t) - (int64_t)(bits >> 63) | UINT64_C(1) << 63);
}

static inline uint64_t key_f32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits ^ ((uint32_t) - (int32_t)(bits >> 31) | UINT32_C(1) << 31);
}

static double value_of(const struct values *v, uint64_t key) {
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

/* ---- counting ---- */

/* A range of keys cut into BINS bins of 2^shift keys. */
struct bracket {
    uint64_t low, high; /* both inside */
    int shift;
};

struct range {
    uint64_t low, high;
};

static struct bracket bracket_of(struct range keys) {
    struct bracket b = {keys.low, keys.high, 0};
    while ((b.high - b.low) >> b.shift >= BINS) b.shift++;
    return b;
}

static inline size_t bin_of(const struct bracket *b, uint64_t key) {
    uint64_t bin = (key - b->low) >> b->shift; /* a key below wraps around and is beyond BINS or above high */
    if (bin < BINS && key >= b->low) return (size_t)bin;
    return key < b->low ? BELOW : ABOVE;
}

static struct range keys_of(const struct values *v, const struct bracket *b, size_t bin) {
    if (bin == BELOW) return (struct range){key_of_number(v, -INFINITY), b->low - 1};
    uint64_t low = b->low + ((uint64_t)(bin == ABOVE ? BINS : bin) << b->shift);
    uint64_t most = key_of_number(v, INFINITY), last = low + ((UINT64_C(1) << b->shift) - 1);
    return (struct range){low, bin == ABOVE || last < low || last > most ? most : last};
}

/* The part of the key space where most values are, by a sample. Without it values that lie close together, as
 * times do, would all be in one bin. It never reaches beyond the infinities, so a NaN is always outside. */
static struct range likely_range(const struct values *v) {
    uint64_t least = key_of_number(v, -INFINITY), most = key_of_number(v, INFINITY), random = 1;
    struct range r = {most, least};
    for (int i = 0; i < SAMPLE; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t key = key_of(v, (size_t)((random >> 11) % v->n));
        if (key < least || key > most) continue;
        if (key < r.low) r.low = key;
        if (key > r.high) r.high = key;
    }
    return r.low <= r.high ? r : (struct range){least, most};
}
