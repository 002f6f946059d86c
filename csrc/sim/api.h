/* api: which path and method gives what. Answers at once, or starts an answer of the model. For the server's
 * thread. Owns nothing; without memory the connection is aborted.
 */
#ifndef VLLMPERF_SIM_API_H
#define VLLMPERF_SIM_API_H

#include <stdbool.h>
#include <stddef.h>

#include "sim/conn.h"

/* A whole request; data is what http's places are in. */
void api_handle(struct conn *conn, const struct http *http, const char *data);

/* What could not even be read as HTTP. */
void api_bad_request(struct conn *conn, int status);

#endif
