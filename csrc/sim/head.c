/* Owns how a head is written.
 * Does not know what it is the head of. */
#include "sim/head.h"

#include <time.h>

#include "engine/clock.h"

static const char *http_date(struct sim *sim) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != sim->date_s) {
        struct tm utc;
        sim->date_s = now.tv_sec;
        strftime(sim->date, sizeof sim->date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now.tv_sec, &utc));
    }
    return sim->date;
}

/* Lines in the order in which uvicorn and vLLM's middlewares write them. */
void head_add(struct buf *out, struct conn *conn, struct head head) {
    buf_format(out, "HTTP/1.1 %d %s\r\ndate: %s\r\nserver: uvicorn\r\n", head.status,
               http_reason(head.status), http_date(conn->sim));
    if (head.extra) buf_format(out, "%s\r\n", head.extra);
    if (head.length >= 0) buf_format(out, "content-length: %lld\r\n", head.length);
    if (head.type) buf_format(out, "content-type: %s\r\n", head.type);
    buf_str(out, "vary: Origin\r\n");
    if (head.request_id) buf_format(out, "x-request-id: %s\r\n", head.request_id);
    if (conn->close_after) buf_str(out, "connection: close\r\n");
    if (head.chunked) buf_str(out, "transfer-encoding: chunked\r\n");
    buf_str(out, "\r\n");
}

void head_send(struct conn *conn, struct head head, const struct fault_set *faults) {
    struct buf *out = &conn->sim->out;
    out->len = 0;
    head_add(out, conn, head);
    size_t len = out->len;
    out->len = 0;
    if (!fault_has(faults, FAULT_SLOW_HEADERS)) {
        conn_send(conn, out->data, len, 0, MARK_HEAD);
        return;
    }
    int64_t at_ns = clock_mono_ns();
    for (size_t i = 0; i < len && !conn->dead; i++) {
        at_ns += faults->value[FAULT_SLOW_HEADERS][0] * 1000;
        conn_send(conn, out->data + i, 1, at_ns, i + 1 < len ? MARK_NONE : MARK_HEAD);
    }
}
