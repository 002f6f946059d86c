/* Owns the writing of server-sent events, well or badly formed.
 * Does not know what is in them. */
#include "sim/event.h"

#include "engine/clock.h"
#include "sim/conn.h"
#include "sim/render.h"

static int64_t event_param(const struct answer *answer, enum fault_kind kind, int i) {
    return answer->faults.value[kind][i];
}

static const char *event_line_end(const struct answer *answer) {
    if (fault_has(&answer->faults, FAULT_CRLF)) return "\r\n";
    return fault_has(&answer->faults, FAULT_CR) ? "\r" : "\n";
}

static const char *event_field(const struct answer *answer) {
    return fault_has(&answer->faults, FAULT_NO_SPACE) ? "data:" : "data: ";
}

static void add_comment(struct answer *answer) {
    int64_t every = event_param(answer, FAULT_COMMENTS, 0);
    if (!fault_has(&answer->faults, FAULT_COMMENTS) || (every > 1 && answer->sent % every)) return;
    buf_str(&answer->sim->event, ": ping");
    buf_str(&answer->sim->event, event_line_end(answer));
    buf_str(&answer->sim->event, event_line_end(answer));
}

void event_begin(struct answer *answer) {
    struct buf *event = &answer->sim->event;
    event->len = 0;
    if (answer->faults.kinds == 0) {
        buf_add(event, "data: ", 6);
        return;
    }
    if (!answer->any_bytes && fault_has(&answer->faults, FAULT_BOM)) buf_str(event, "\xef\xbb\xbf");
    add_comment(answer);
    buf_str(event, event_field(answer));
}

/* Add bytes to what is written next, as an HTTP chunk of their own. */
static void event_frame(struct answer *answer, const char *data, size_t len) {
    struct buf *out = &answer->sim->out;
    if (answer->chunked && answer->bad_chunk) {
        answer->bad_chunk = false;
        answer->outcome = fault_table[FAULT_BAD_CHUNK].name;
        buf_add(out, "five\r\n", 6);
    } else if (answer->chunked) {
        char size[18];
        size_t at = sizeof size - 2;
        memcpy(size + at, "\r\n", 2);
        for (size_t rest = len; rest; rest >>= 4) size[--at] = "0123456789abcdef"[rest & 15];
        buf_add(out, size + at, sizeof size - at);
    }
    buf_add(out, data, len);
    if (answer->chunked) buf_add(out, "\r\n", 2);
}

static bool send_out(struct answer *answer, int64_t not_before_ns, int32_t mark) {
    struct conn *conn = answer->conn;
    struct buf *out = &answer->sim->out;
    conn_send(conn, out->data, out->len, not_before_ns, mark);
    out->len = 0;
    return conn->answer == answer;
}

/* Pieces of random length, each a chunk and a write of its own. */
static bool send_cut(struct answer *answer, const char *data, size_t len, int32_t mark) {
    int64_t pieces = event_param(answer, FAULT_SPLIT, 0), gap_ns = event_param(answer, FAULT_SPLIT, 1) * 1000;
    int64_t at_ns = 0, now = clock_mono_ns();
    for (int64_t left = pieces < 1 ? 1 : pieces; len > 0; left--) {
        size_t n = left > 1 ? 1 + (size_t)(random_u64(&answer->cuts) % len) : len;
        event_frame(answer, data, n);
        data += n;
        len -= n;
        if (!send_out(answer, at_ns, len ? MARK_NONE : mark)) return false;
        now += gap_ns;
        at_ns = now;
    }
    return true;
}

static bool send_bytes(struct answer *answer, const char *data, size_t len, int32_t mark, bool more) {
    answer->any_bytes = true;
    if (fault_has(&answer->faults, FAULT_SPLIT)) return send_cut(answer, data, len, mark);
    event_frame(answer, data, len);
    return more || send_out(answer, 0, mark);
}

/* What was held back goes out with the newest event, and counts as planned for now. */
static bool event_release(struct answer *answer, int32_t mark) {
    for (int32_t i = answer->written; i < answer->sent; i++) answer->planned_ns[i] = answer->plan_ns;
    bool alive = send_bytes(answer, answer->held.data, answer->held.len, mark, false);
    if (alive) answer->held.len = 0;
    if (alive) answer->held_events = 0;
    return alive;
}

bool event_end(struct answer *answer, int32_t mark, bool more) {
    struct buf *event = &answer->sim->event;
    const char *end = answer->faults.kinds ? event_line_end(answer) : "\n";
    buf_str(event, end);
    buf_str(event, end);
    if (!fault_has(&answer->faults, FAULT_MERGE))
        return send_bytes(answer, event->data, event->len, mark, more);
    buf_add(&answer->held, event->data, event->len);
    answer->held_events += mark >= 0;
    if (more ||
        (answer->held_events < event_param(answer, FAULT_MERGE, 0) && answer->sent < answer->n_chunks))
        return true;
    return event_release(answer, mark);
}

static void add_done(struct answer *answer) {
    struct buf *event = &answer->sim->event;
    event_begin(answer);
    buf_str(event, "[DONE]");
    buf_str(event, event_line_end(answer));
    if (!fault_has(&answer->faults, FAULT_NO_LAST_BLANK)) buf_str(event, event_line_end(answer));
}

void event_end_stream(struct answer *answer) {
    struct conn *conn = answer->conn;
    if (answer->held.len) event_frame(answer, answer->held.data, answer->held.len);
    answer->held.len = 0;
    if (!fault_has(&answer->faults, FAULT_NO_DONE)) {
        add_done(answer);
        if (!send_bytes(answer, answer->sim->event.data, answer->sim->event.len, MARK_NONE, true)) return;
    }
    if (answer->chunked) buf_str(&answer->sim->out, "0\r\n\r\n");
    conn_send(conn, answer->sim->out.data, answer->sim->out.len, 0, answer_end_mark(answer));
    conn->sim->out.len = 0;
}
