/* transfer_options: what libcurl is told once for each easy handle, whatever the request. Any thread may
 * call. Owns nothing; libcurl copies what it is given, but for the share, which must outlive the handle.
 */
#ifndef VLLMPERF_TRANSFER_OPTIONS_H
#define VLLMPERF_TRANSFER_OPTIONS_H

#include <curl/curl.h>

#include "engine/engine.h"

/* share: TLS sessions of all handles. */
void transfer_options(CURL *easy, const struct engine_config *config, CURLSH *share);

#endif
