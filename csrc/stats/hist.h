/* hist: a log-linear histogram of non-negative integers (nanoseconds in this program). 10 mantissa bits per
 * octave: a value read back differs from the one put in by at most 1/2048 of it (0.049 %); values below 2048
 * are exact. Adding histograms is exact and order-free. One writer at a time. Whoever made one frees it.
 */
#ifndef VLLMPERF_HIST_H
#define VLLMPERF_HIST_H

#include <stddef.h>
#include <stdint.h>

enum { HIST_MANTISSA_BITS = 10 };

struct hist; /* opaque */

struct hist *hist_new(void); /* NULL when out of memory */
void hist_free(struct hist *hist);
void hist_add(struct hist *hist, int64_t value, uint64_t times); /* negative values count as 0 */
void hist_merge(struct hist *into, const struct hist *from);
void hist_clear(struct hist *hist); /* as new */

uint64_t hist_count(const struct hist *hist);
int64_t hist_min(const struct hist *hist); /* exact; 0 when empty */
int64_t hist_max(const struct hist *hist); /* exact; 0 when empty */
double hist_mean(const struct hist *hist); /* exact sum / count, not of bins; NaN when empty */
double hist_std(const struct hist *hist);  /* population; NaN when empty */

/* The value at quantile q in [0,1] by NumPy's default rule (linear between the two neighbouring ranks), each
 * rank read as its bin's middle, clamped to [min, max]. NaN when empty. */
double hist_quantile(const struct hist *hist, double q);

/* A flat image of the histogram, little endian, versioned; the same everywhere. hist_pack(h, NULL) gives the
 * size. hist_unpack returns NULL on bytes that are no image. Only non-empty bins are stored. */
size_t hist_pack(const struct hist *hist, void *dst);
struct hist *hist_unpack(const void *src, size_t len);

#endif
