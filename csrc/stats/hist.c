/* Owns a log-linear histogram: bin arithmetic, moments, quantiles, the packed image.
 * Does not know units. */
#include "stats/hist.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
    PER_OCTAVE = 1 << HIST_MANTISSA_BITS,
    LINEAR = 2 * PER_OCTAVE,                 /* values below have a bin each */
    OCTAVES = 63 - (HIST_MANTISSA_BITS + 1), /* above the linear part, up to INT64_MAX */
    N_BINS = LINEAR + OCTAVES * PER_OCTAVE,
};
#define IMAGE_MAGIC UINT64_C(0x32545349484d5056) /* "VPMHIST2" */

__extension__ typedef unsigned __int128 uint128;

/* A non-negative integer of 192 bits: sums of squares without rounding. */
struct wide {
    uint128 low;
    uint64_t high;
};

struct hist {
    uint64_t count;
    int64_t min, max;
    uint128 sum;         /* exact: 2^64 values below 2^63 */
    struct wide squares; /* exact, likewise */
    size_t low, high;    /* bins that may be non-empty */
    uint64_t bins[N_BINS];
};

/* ---- wide integers ---- */

static inline void wide_add(struct wide *to, struct wide more) {
    to->low += more.low;
    to->high += more.high + (to->low < more.low);
}

/* Wraps around like any unsigned integer. */
static void wide_subtract(struct wide *from, struct wide less) {
    from->high -= less.high + (from->low < less.low);
    from->low -= less.low;
}

static struct wide wide_product(uint128 a, uint64_t b) {
    uint128 low = (uint128)(uint64_t)a * b, high = (uint128)(uint64_t)(a >> 64) * b + (uint64_t)(low >> 64);
    return (struct wide){high << 64 | (uint64_t)low, (uint64_t)(high >> 64)};
}

static long double wide_value(struct wide w) {
    return ldexpl((long double)w.high, 128) + (long double)w.low;
}

/* ---- bins ---- */

struct hist *hist_new(void) {
    struct hist *h = calloc(1, sizeof *h);
    if (h) h->low = N_BINS;
    return h;
}

void hist_free(struct hist *h) {
    free(h);
}

static size_t hist_bin_of(int64_t value) {
    if (value < LINEAR) return (size_t)value;
    int octave = 63 - __builtin_clzll((unsigned long long)value) - (HIST_MANTISSA_BITS + 1);
    size_t mantissa = (size_t)(value >> (octave + 1)) - PER_OCTAVE;
    return LINEAR + (size_t)octave * PER_OCTAVE + mantissa;
}

/* The middle of a bin. */
static double hist_value_of(size_t bin) {
    if (bin < LINEAR) return (double)bin;
    size_t octave = (bin - LINEAR) / PER_OCTAVE, mantissa = (bin - LINEAR) % PER_OCTAVE;
    double width = ldexp(1.0, (int)octave + 1);
    return ((double)(PER_OCTAVE + mantissa)) * width + (width - 1) / 2;
}

void hist_add(struct hist *h, int64_t value, uint64_t times) {
    if (times == 0) return;
    if (value < 0) value = 0;
    size_t bin = hist_bin_of(value);
    if (h->count == 0 || value < h->min) h->min = value;
    if (value > h->max) h->max = value;
    if (bin < h->low) h->low = bin;
    if (bin > h->high) h->high = bin;
    h->count += times;
    h->sum += (uint128)times * (uint64_t)value;
    uint128 square = (uint128)(uint64_t)value * (uint64_t)value;
    wide_add(&h->squares, times == 1 ? (struct wide){square, 0} : wide_product(square, times));
    h->bins[bin] += times;
}

void hist_clear(struct hist *h) {
    if (h->count) memset(h->bins + h->low, 0, (h->high - h->low + 1) * sizeof *h->bins);
    memset(h, 0, offsetof(struct hist, bins));
    h->low = N_BINS;
}

void hist_merge(struct hist *into, const struct hist *from) {
    if (from->count == 0) return;
    if (into->count == 0 || from->min < into->min) into->min = from->min;
    if (from->max > into->max) into->max = from->max;
    if (from->low < into->low) into->low = from->low;
    if (from->high > into->high) into->high = from->high;
    into->count += from->count;
    into->sum += from->sum;
    wide_add(&into->squares, from->squares);
    for (size_t i = from->low; i <= from->high; i++) into->bins[i] += from->bins[i];
}

uint64_t hist_count(const struct hist *h) {
    return h->count;
}
int64_t hist_min(const struct hist *h) {
    return h->count ? h->min : 0;
}
int64_t hist_max(const struct hist *h) {
    return h->max;
}
double hist_mean(const struct hist *h) {
    return h->count ? (double)((long double)h->sum / (long double)h->count) : NAN;
}

/* The squared distances from the whole number m below the mean are summed exactly, sum(x^2) - 2 m sum(x) + n
 * m^2, so nothing cancels; what the mean has beyond m comes off at the end. */
double hist_std(const struct hist *h) {
    if (h->count == 0) return NAN;
    uint64_t m = (uint64_t)(h->sum / h->count), rest = (uint64_t)(h->sum % h->count);
    struct wide distances = h->squares, cross = wide_product(h->sum, m);
    wide_add(&distances, wide_product((uint128)m * m, h->count));
    wide_subtract(&distances, cross);
    wide_subtract(&distances, cross);
    long double beyond = (long double)rest / (long double)h->count;
    long double variance = wide_value(distances) / (long double)h->count - beyond * beyond;
    return variance > 0 ? (double)sqrtl(variance) : 0.0;
}

/* ---- quantiles ---- */

/* The value of a rank, counted from 0. */
static double hist_value_at(const struct hist *h, uint64_t rank) {
    if (rank == 0) return (double)h->min;
    if (rank >= h->count - 1) return (double)h->max;
    uint64_t seen = 0;
    size_t bin = h->low;
    while (bin < h->high && (seen += h->bins[bin]) <= rank) bin++;
    double value = hist_value_of(bin);
    return value < (double)h->min ? (double)h->min : value > (double)h->max ? (double)h->max : value;
}

double hist_quantile(const struct hist *h, double q) {
    if (h->count == 0 || !(q >= 0 && q <= 1)) return NAN;
    double rank = (double)(h->count - 1) * q, below = floor(rank);
    if (rank >= 0x1p63) return (double)h->max; /* a count that no run reaches, but a packed image may say */
    double a = hist_value_at(h, (uint64_t)below), b = hist_value_at(h, (uint64_t)ceil(rank));
    return a + (b - a) * (rank - below);
}

/* ---- the packed image: HEAD_WORDS words, then a pair (bin, times) for each bin that is not empty ---- */

enum { MAGIC, COUNT, MIN, MAX, SUM, SQUARES = SUM + 2, USED = SQUARES + 3, HEAD_WORDS };

static void put_word(unsigned char *at, uint64_t word) {
    for (int i = 0; i < 8; i++) at[i] = (unsigned char)(word >> (8 * i));
}

static uint64_t get_word(const unsigned char *at) {
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) word |= (uint64_t)at[i] << (8 * i);
    return word;
}

static uint64_t used_bins(const struct hist *h) {
    uint64_t used = 0;
    for (size_t i = h->low; h->count && i <= h->high; i++) used += h->bins[i] != 0;
    return used;
}

static void put_head(const struct hist *h, uint64_t used, unsigned char *at) {
    uint64_t head[HEAD_WORDS] = {[MAGIC] = IMAGE_MAGIC,
                                 [COUNT] = h->count,
                                 [MIN] = (uint64_t)h->min,
                                 [MAX] = (uint64_t)h->max,
                                 [SUM] = (uint64_t)h->sum,
                                 [SUM + 1] = (uint64_t)(h->sum >> 64),
                                 [SQUARES] = (uint64_t)h->squares.low,
                                 [SQUARES + 1] = (uint64_t)(h->squares.low >> 64),
                                 [SQUARES + 2] = h->squares.high,
                                 [USED] = used};
    for (size_t i = 0; i < HEAD_WORDS; i++) put_word(at + 8 * i, head[i]);
}

size_t hist_pack(const struct hist *h, void *dst) {
    uint64_t used = used_bins(h);
    size_t size = (HEAD_WORDS + 2 * (size_t)used) * 8;
    if (!dst) return size;
    unsigned char *at = (unsigned char *)dst + 8 * HEAD_WORDS;
    put_head(h, used, dst);
    for (size_t i = h->low; h->count && i <= h->high; i++) {
        if (!h->bins[i]) continue;
        put_word(at, i);
        put_word(at + 8, h->bins[i]);
        at += 16;
    }
    return size;
}

/* Bins ascend, and together they are the count. */
static bool take_bins(struct hist *h, const unsigned char *at, uint64_t used) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < used; i++, at += 16) {
        uint64_t bin = get_word(at), times = get_word(at + 8);
        if (bin >= N_BINS || times == 0 || (i > 0 && bin <= h->high)) return false;
        if (i == 0) h->low = (size_t)bin;
        h->high = (size_t)bin;
        h->bins[bin] = times;
        count += times;
    }
    return count == h->count;
}

static void hist_take_head(struct hist *h, const uint64_t *head) {
    h->count = head[COUNT];
    h->min = (int64_t)head[MIN];
    h->max = (int64_t)head[MAX];
    h->sum = (uint128)head[SUM + 1] << 64 | head[SUM];
    h->squares = (struct wide){(uint128)head[SQUARES + 1] << 64 | head[SQUARES], head[SQUARES + 2]};
}

static bool is_consistent(const struct hist *h) {
    if (h->count == 0) return h->min == 0 && h->max == 0 && h->sum == 0;
    return h->min >= 0 && h->max >= h->min && hist_bin_of(h->min) == h->low && hist_bin_of(h->max) == h->high;
}

struct hist *hist_unpack(const void *src, size_t len) {
    const unsigned char *bytes = src;
    uint64_t head[HEAD_WORDS];
    if (len < sizeof head) return NULL;
    for (size_t i = 0; i < HEAD_WORDS; i++) head[i] = get_word(bytes + 8 * i);
    if (head[MAGIC] != IMAGE_MAGIC || head[USED] > N_BINS || len != (HEAD_WORDS + 2 * head[USED]) * 8)
        return NULL;
    struct hist *h = hist_new();
    if (!h) return NULL;
    hist_take_head(h, head);
    if (take_bins(h, bytes + sizeof head, head[USED]) && is_consistent(h)) return h;
    hist_free(h);
    return NULL;
}
