/* head: status line and headers of an answer, as vLLM's server writes them. For the server's thread. Owns
 * nothing; without memory the buffer says so.
 */
#ifndef VLLMPERF_SIM_HEAD_H
#define VLLMPERF_SIM_HEAD_H

#include <stdbool.h>

#include "sim/conn.h"

#define HEAD_JSON         "application/json"
#define HEAD_EVENT_STREAM "text/event-stream; charset=utf-8"

struct head {
    int status;
    const char *type;  /* content type, NULL = none */
    const char *extra; /* a whole header line without its end, NULL = none */
    const char *request_id;
    long long length; /* < 0: not known */
    bool chunked;
    bool no_body; /* of an answer to HEAD: length is that of the body that GET would give */
};

void head_add(struct buf *out, struct conn *conn, struct head head);

/* On its own, ahead of a body; byte by byte when a fault asks for that. The answer is told MARK_HEAD. */
void head_send(struct conn *conn, struct head head, const struct fault_set *faults);

#endif
