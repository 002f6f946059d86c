/* quantile: exact quantiles of an unsorted array by selection, without copying or changing it where that is
 * possible. Rule: NumPy's default (Hyndman-Fan type 7): h = (n-1)q, linear between the two neighbours, in the
 * same order of operations as NumPy on float64, so that results are equal bit for bit. float32 values are
 * taken as float64 (NumPy rounds q or the difference of the neighbours to float32, depending on q's type).
 * Owns nothing; any thread may call.
 */
#ifndef VLLMPERF_QUANTILE_H
#define VLLMPERF_QUANTILE_H

#include <stddef.h>
#include <stdint.h>

enum quantile_status { QUANTILE_OK = 0, QUANTILE_NO_MEMORY = -1, QUANTILE_BAD_Q = -2 };

/* Fill out[i] with quantile q[i] (each in [0,1]) of the n values, which nobody may change meanwhile. n = 0
 * gives NaN; a NaN among the values gives NaN (as NumPy does). Several q share the passes over the data. */
enum quantile_status quantile_f64(const double *values, size_t n, const double *q, size_t n_q, double *out);
enum quantile_status quantile_f32(const float *values, size_t n, const double *q, size_t n_q, double *out);

/* Mean and population variance by blocked two-pass sums. NaN when n = 0. */
void moments_f64(const double *values, size_t n, double *mean, double *variance);
void moments_f32(const float *values, size_t n, double *mean, double *variance);

#endif
