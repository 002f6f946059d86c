/* request: the bytes before a request's body, the same for all requests of a run but for the id and the
 * length, and where they go. Read-only after request_init: any thread may use it then. It owns its texts, not
 * the configuration behind them.
 */
#ifndef VLLMPERF_REQUEST_H
#define VLLMPERF_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

enum { REQUEST_ID_BYTES = 24 }; /* at most, of the number behind the prefix */

struct request {
    char *host_line;      /* "Host: " and host, with the port unless it is the scheme's; or as given */
    char *host;           /* without port and brackets */
    char *path;           /* with the query, as it goes into the request line */
    const char *headers;  /* lines after the host and before the id */
    char *more;           /* lines after the id */
    char *more_elsewhere; /* the same for another host, which must not see our key */
    const struct engine_config *config;
    int port;
};

/* False when out of memory or when the URL is none of http://. */
bool request_init(struct request *request, const struct engine_config *config);
void request_free(struct request *request);

/* The head of request `index` of that session (NO_SESSION: of none) with a body of that length (-1: a GET,
 * which has none), into *head, which grows as needed. `url`: where a redirect sent it, NULL for the run's.
 * Gives its length, 0 when out of memory. */
size_t request_head(const struct request *request, const char *url, int64_t index, int64_t session,
                    int64_t body_len, char **head, size_t *cap);

/* Does the URL (NULL: the run's) lead to another host or port than the run's? */
bool request_is_elsewhere(const struct request *request, const char *url);

/* The number behind the id's prefix, as text. */
void request_id(const struct engine_config *config, int64_t index, char text[REQUEST_ID_BYTES]);

/* Splits http://authority/path; false when it is none. port is 80 where none is given. */
struct request_url {
    char authority[300], host[256];
    const char *path; /* into the URL; "" when it ends before one */
    int port;
};
bool request_url(const char *url, struct request_url *parts);

#endif
