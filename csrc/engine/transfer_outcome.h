/* transfer_outcome: what a failed transfer speaks for by itself. Any thread may call. Owns nothing, cannot
 * fail.
 */
#ifndef VLLMPERF_TRANSFER_OUTCOME_H
#define VLLMPERF_TRANSFER_OUTCOME_H

#include <curl/curl.h>
#include <stdbool.h>

#include "stats/record.h"

/* code is not CURLE_OK; error: errno of the attempt to connect, 0 when there was none; connected: the
 * connection had stood, so the request was on its way. */
enum outcome transfer_outcome(CURLcode code, int error, bool connected);

#endif
