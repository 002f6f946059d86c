/* metrics_text: what engines have counted as a page for Prometheus. One thread. Owns nothing; without memory
 * the page is cut off.
 */
#ifndef VLLMPERF_SIM_METRICS_TEXT_H
#define VLLMPERF_SIM_METRICS_TEXT_H

#include "sim/buf.h"
#include "sim/metrics.h"

/* http: of the front end, which Ray's form leaves out. */
void metrics_render(const struct metrics *engines, int n, const struct metrics_http *http,
                    enum metrics_form form, const char *model, struct buf *out);

#endif
