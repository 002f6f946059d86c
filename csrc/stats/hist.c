/* Owns a log-linear histogram: bin arithmetic, moments, quantiles, the packed image.
 * Does not know units. */
#include "stats/hist.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    PER_OCTAVE = 1 << HIST_MANTISSA_BITS,
    LINEAR = 2 * PER_OCTAVE,                 /* values below have a bin each */
    OCTAVES = 63 - (HIST_MANTISSA_BITS + 1), /* above the linear part, up to INT64_MAX */
    N_BINS = LINEAR + OCTAVES * PER_OCTAVE,
};
#define IMAGE_MAGIC UINT64_C(0x31545349484d5056) /* "VPMHIST1" */

struct hist {
    uint64_t count;
    int64_t min, max;
    long double sum, sum_of_squares; /* 64 bits of mantissa: ns squared of 10^9 values of 100 s keep 3 digits
                                        more than a double */
    size_t low, high;                /* bins that may be non-empty */
    uint64_t bins[N_BINS];
};

struct hist *hist_new(void) {
    struct hist *h = calloc(1, sizeof *h);
    if (h) h->low = N_BINS;
    return h;
}

void hist_free(struct hist *h) {
    free(h);
}

static size_t bin_of(int64_t value) {
    if (value < LINEAR) return (size_t)value;
    int octave = 63 - __builtin_clzll((unsigned long long)value) - (HIST_MANTISSA_BITS + 1);
    size_t mantissa = (size_t)(value >> (octave + 1)) - PER_OCTAVE;
    return LINEAR + (size_t)octave * PER_OCTAVE + mantissa;
}

/* The middle of a bin. */
static double value_of(size_t bin) {
    if (bin < LINEAR) return (double)bin;
    size_t octave = (bin - LINEAR) / PER_OCTAVE, mantissa = (bin - LINEAR) % PER_OCTAVE;
    double width = ldexp(1.0, (int)octave + 1);
    return ((double)(PER_OCTAVE + mantissa)) * width + (width - 1) / 2;
}

void hist_add(struct hist *h, int64_t value, uint64_t times) {
    if (times == 0) return;
    if (value < 0) value = 0;
    size_t bin = bin_of(value);
    if (h->count == 0 || value < h->min) h->min = value;
    if (value > h->max) h->max = value;
    if (bin < h->low) h->low = bin;
    if (bin > h->high) h->high = bin;
    h->count += times;
    h->sum += (long double)value * (long double)times;
    h->sum_of_squares += (long double)value * (long double)value * (long double)times;
    h->bins[bin] += times;
}

void hist_merge(struct hist *into, const struct hist *from) {
    if (from->count == 0) return;
    if (into->count == 0 || from->min < into->min) into->min = from->min;
    if (from->max > into->max) into->max = from->max;
    if (from->low < into->low) into->low = from->low;
    if (from->high > into->high) into->high = from->high;
    into->count += from->count;
    into->sum += from->sum;
    into->sum_of_squares += from->sum_of_squares;
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
    return h->count ? (double)(h->sum / (long double)h->count) : NAN;
}

double hist_std(const struct hist *h) {
    if (h->count == 0) return NAN;
    long double mean = h->sum / (long double)h->count;
    long double variance = h->sum_of_squares / (long double)h->count - mean * mean;
    return variance > 0 ? (double)sqrtl(variance) : 0.0;
}

/* The value of a rank, counted from 0. */
static double value_at(const struct hist *h, uint64_t rank) {
    if (rank == 0) return (double)h->min;
    if (rank >= h->count - 1) return (double)h->max;
    uint64_t seen = 0;
    size_t bin = h->low;
    while (bin < h->high && (seen += h->bins[bin]) <= rank) bin++;
    double value = value_of(bin);
    return value < (double)h->min ? (double)h->min : value > (double)h->max ? (double)h->max : value;
}

double hist_quantile(const struct hist *h, double q) {
    if (h->count == 0 || !(q >= 0 && q <= 1)) return NAN;
    double rank = (double)(h->count - 1) * q, below = floor(rank);
    double a = value_at(h, (uint64_t)below), b = value_at(h, (uint64_t)ceil(rank));
    return a + (b - a) * (rank - below);
}

/* ---- the packed image: magic, count, min, max, sum, sum of squares, number of bins, then (bin, times) pairs
 * ---- */

enum { HEAD_WORDS = 9 };

/* A long double as the sum of two doubles, which every machine has. */
static void put_long(uint64_t *at, long double value) {
    double high = (double)value, low = (double)(value - (long double)high);
    memcpy(at, &high, sizeof high);
    memcpy(at + 1, &low, sizeof low);
}

static long double get_long(const uint64_t *at) {
    double high, low;
    memcpy(&high, at, sizeof high);
    memcpy(&low, at + 1, sizeof low);
    return (long double)high + (long double)low;
}

static void put_word(unsigned char *at, uint64_t word) {
    for (int i = 0; i < 8; i++) at[i] = (unsigned char)(word >> (8 * i));
}

static uint64_t get_word(const unsigned char *at) {
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) word |= (uint64_t)at[i] << (8 * i);
    return word;
}

size_t hist_pack(const struct hist *h, void *dst) {
    uint64_t used = 0;
    for (size_t i = h->low; h->count && i <= h->high; i++) used += h->bins[i] != 0;
    size_t size = (HEAD_WORDS + 2 * (size_t)used) * 8;
    if (!dst) return size;
    uint64_t head[HEAD_WORDS] = {IMAGE_MAGIC, h->count, (uint64_t)h->min, (uint64_t)h->max, 0, 0, 0, 0, used};
    put_long(head + 4, h->sum);
    put_long(head + 6, h->sum_of_squares);
    unsigned char *at = dst;
    for (int i = 0; i < HEAD_WORDS; i++, at += 8) put_word(at, head[i]);
    for (size_t i = h->low; h->count && i <= h->high; i++) {
        if (!h->bins[i]) continue;
        put_word(at, i);
        put_word(at + 8, h->bins[i]);
        at += 16;
    }
    return size;
}

static bool take_bins(struct hist *h, const unsigned char *at, uint64_t used) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < used; i++, at += 16) {
        uint64_t bin = get_word(at), times = get_word(at + 8);
        if (bin >= N_BINS || times == 0) return false;
        if (bin < h->low) h->low = (size_t)bin;
        if (bin > h->high) h->high = (size_t)bin;
        h->bins[bin] += times;
        count += times;
    }
    return count == h->count;
}

struct hist *hist_unpack(const void *src, size_t len) {
    uint64_t head[HEAD_WORDS];
    if (len < sizeof head) return NULL;
    for (int i = 0; i < HEAD_WORDS; i++) head[i] = get_word((const unsigned char *)src + 8 * i);
    if (head[0] != IMAGE_MAGIC || head[8] > N_BINS || len != (HEAD_WORDS + 2 * head[8]) * 8) return NULL;
    struct hist *h = hist_new();
    if (!h) return NULL;
    h->count = head[1];
    h->min = (int64_t)head[2];
    h->max = (int64_t)head[3];
    h->sum = get_long(head + 4);
    h->sum_of_squares = get_long(head + 6);
    if (take_bins(h, (const unsigned char *)src + sizeof head, head[8])) return h;
    hist_free(h);
    return NULL;
}
