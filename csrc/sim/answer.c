/* Owns the life of one answer: its chunks in time, its faults, its end.
 * Does not plan it (answer_plan.c), nor know the shape of JSON (render.c) or events (event.c). */
#include "sim/answer.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/clock.h"
#include "sim/account.h"
#include "sim/answer_plan.h"
#include "sim/event.h"
#include "sim/head.h"
#include "sim/render.h"
#include "sim/replica.h"
#include "sim/words.h"

/* A client that does not read: the plan waits when this much is not yet taken by its socket. */
enum { BACKLOG_BYTES = 1024 * 1024 };

static bool answer_has(const struct answer *answer, enum fault_kind kind) {
    return fault_has(&answer->faults, kind);
}

/* false when the answer is over. */
static bool send_stream_head(struct answer *answer) {
    struct conn *conn = answer->conn;
    struct head head = {.status = 200,
                        .type = HEAD_EVENT_STREAM,
                        .request_id = answer->arrival.request_id,
                        .length = -1,
                        .chunked = answer->chunked};
    answer->head_at_ns = 0;
    head_send(conn, head, &answer->faults);
    return conn->answer == answer;
}

/* The head may be due before the first step is. */
static void set_first_timer(struct answer *answer) {
    bool head_first = answer->head_at_ns && answer->head_at_ns < answer->plan_ns;
    wheel_set(answer->sim->wheel, &answer->timer, head_first ? answer->head_at_ns : answer->plan_ns);
}

void answer_start(struct conn *conn, struct replica *replica, struct ask *ask, const struct fault_set *faults,
                  const struct arrival *arrival, bool chunked) {
    struct sim *sim = conn->sim;
    struct answer *answer = calloc(1, sizeof *answer);
    if (answer == NULL) {
        replica_release(sim, replica);
        ask_free(ask);
        conn_abort(conn, true, "out_of_memory");
        return;
    }
    answer->conn = conn;
    answer->sim = sim;
    answer->replica = replica;
    answer->ask = *ask;
    answer->faults = *faults;
    answer->arrival = *arrival;
    answer->chunked = chunked;
    answer->http_status = 200;
    answer->timer.kind = TIMER_ANSWER;
    conn->answer = answer;
    counter_add(&sim->counters->answers, 1);
    counter_add(&sim->counters->running, 1);
    if (!answer_plan(answer)) {
        conn_abort(conn, true, "out_of_memory");
        return;
    }
    if (answer_has(answer, FAULT_SILENT)) {
        answer->silent = true;
        answer->outcome = fault_table[FAULT_SILENT].name;
        int64_t pause_ns = faults->value[FAULT_SILENT][0] * NS_PER_MS;
        if (pause_ns) wheel_set(sim->wheel, &answer->timer, arrival->read_mono_ns + pause_ns);
        return;
    }
    if (ask->stream) answer->head_at_ns = arrival->read_mono_ns + sim->config->head_ns;
    if (ask->stream && sim->config->head_ns == 0 && !send_stream_head(answer)) return;
    set_first_timer(answer);
}

/* ---- faults in time ---- */

/* Is this fault due before the next chunk? A position behind the last chunk means before the last. */
static bool is_due(const struct answer *answer, enum fault_kind kind) {
    if (!answer_has(answer, kind)) return false;
    int64_t after = answer->faults.value[kind][0], last = answer->n_chunks - 1;
    return answer->sent == (after < last ? after : last);
}

static void answer_stall(struct answer *answer) {
    int64_t pause_ns = answer->faults.value[FAULT_STALL][1] * NS_PER_MS;
    answer->stalled = true;
    answer->outcome = fault_table[FAULT_STALL].name;
    if (pause_ns) wheel_set(answer->sim->wheel, &answer->timer, clock_mono_ns() + pause_ns);
}

static void send_error_event(struct answer *answer, int64_t code, const char *type, const char *message) {
    event_begin(answer);
    render_error(&answer->sim->event, code, type, message);
    if (event_end(answer, MARK_NONE, true)) event_end_stream(answer);
}

static void fail_in_stream(struct answer *answer) {
    answer->outcome = fault_table[FAULT_STREAM_ERROR].name;
    send_error_event(answer, answer->faults.value[FAULT_STREAM_ERROR][1], "InternalServerError",
                     "EngineCore encountered an issue. See stack trace (above) for the root cause.");
}

/* What ends or halts the answer before its next chunk; false when nothing does. */
static bool is_halted(struct answer *answer) {
    if (answer->faults.kinds == 0) return false;
    if (is_due(answer, FAULT_RESET))
        conn_abort(answer->conn, true, fault_table[FAULT_RESET].name);
    else if (is_due(answer, FAULT_CLOSE))
        conn_abort(answer->conn, false, fault_table[FAULT_CLOSE].name);
    else if (is_due(answer, FAULT_STREAM_ERROR))
        fail_in_stream(answer);
    else if (is_due(answer, FAULT_STALL) && !answer->stalled)
        answer_stall(answer);
    else
        return false;
    return true;
}

/* ---- a stream's steps ---- */

static bool send_roles(struct answer *answer) {
    if (!answer->ask.chat || answer_has(answer, FAULT_NO_ROLE)) return true;
    for (int i = 0; i < answer->n_choices; i++) {
        event_begin(answer);
        render_role(&answer->sim->event, answer, i);
        if (!event_end(answer, MARK_NONE, true)) return false;
    }
    return true;
}

/* Put the event's data into two lines, or pad it, or cut it. */
static void answer_spoil(struct answer *answer, size_t json_at, enum fault_kind kind) {
    struct buf *event = &answer->sim->event;
    if (kind == FAULT_MALFORMED) {
        event->len = json_at + (event->len - json_at) / 2;
    } else if (kind == FAULT_HUGE_LINE) {
        int64_t bytes = answer->faults.value[FAULT_HUGE_LINE][1];
        event->len--; /* the closing brace */
        buf_str(event, ",\"padding\":\"");
        if (bytes > 0 && buf_reserve(event, (size_t)bytes)) {
            memset(event->data + event->len, 'x', (size_t)bytes);
            event->len += (size_t)bytes;
        }
        buf_str(event, "\"}");
    }
}

static void break_line(struct answer *answer, size_t json_at) {
    struct buf *event = &answer->sim->event;
    const char *end = answer_has(answer, FAULT_CRLF) ? "\r\n" : answer_has(answer, FAULT_CR) ? "\r" : "\n";
    const char *field = answer_has(answer, FAULT_NO_SPACE) ? "data:" : "data: ";
    size_t at = json_at + answer->head.len, more = strlen(end) + strlen(field);
    if (!buf_reserve(event, more)) return;
    memmove(event->data + at + more, event->data + at, event->len - at);
    memcpy(event->data + at, end, strlen(end));
    memcpy(event->data + at + strlen(end), field, strlen(field));
    event->len += more;
}

static bool is_empty_text(const struct answer *answer) {
    int64_t every = answer->faults.value[FAULT_EMPTY_TEXT][0];
    return answer_has(answer, FAULT_EMPTY_TEXT) && (every <= 1 || (answer->sent + 1) % every == 0);
}

static bool send_chunk(struct answer *answer, int choice, int64_t from) {
    int64_t left = answer->choices[choice].n_tokens - from;
    struct render_piece piece = {.choice = choice, .from = from, .n = left, .last = true};
    if (left > answer->tokens_per_chunk) piece.n = answer->tokens_per_chunk, piece.last = false;
    piece.empty = is_empty_text(answer);
    bool malformed = is_due(answer, FAULT_MALFORMED), huge = is_due(answer, FAULT_HUGE_LINE);
    answer->bad_chunk = is_due(answer, FAULT_BAD_CHUNK);
    int32_t index = answer->sent++;
    piece.last_of_all = answer->sent == answer->n_chunks;
    answer->tokens += piece.n;
    answer->planned_ns[index] = answer->plan_ns;
    answer->chunk_tokens[index] = (int32_t)piece.n;
    answer->chunk_choice[index] = choice;
    event_begin(answer);
    size_t json_at = answer->sim->event.len;
    render_chunk(&answer->sim->event, answer, piece);
    if (malformed) answer_spoil(answer, json_at, FAULT_MALFORMED);
    if (huge) answer_spoil(answer, json_at, FAULT_HUGE_LINE);
    if (answer_has(answer, FAULT_MULTILINE) && !malformed) break_line(answer, json_at);
    return event_end(answer, index, false);
}

static void end_stream(struct answer *answer) {
    if (answer->ask.include_usage && !answer_has(answer, FAULT_NO_USAGE)) {
        event_begin(answer);
        render_usage_chunk(&answer->sim->event, answer);
        if (!event_end(answer, MARK_NONE, true)) return;
    }
    event_end_stream(answer);
}

static bool is_blocked(struct answer *answer) {
    if (conn_backlog(answer->conn) < BACKLOG_BYTES) return false;
    answer->blocked = true;
    counter_add(&answer->sim->counters->blocked, 1);
    return true;
}

static void stream_step(struct answer *answer) {
    int64_t from = answer->step * answer->tokens_per_chunk;
    if (answer->sent == 0 && answer->next_choice == 0 && !answer->stalled && !send_roles(answer)) return;
    for (; answer->next_choice < answer->n_choices; answer->next_choice++) {
        if (from >= answer->choices[answer->next_choice].n_tokens) continue;
        if (is_blocked(answer) || is_halted(answer)) return;
        if (!send_chunk(answer, answer->next_choice, from)) return;
    }
    if (answer->sent == answer->n_chunks) {
        end_stream(answer);
        return;
    }
    answer->next_choice = 0;
    answer->step++;
    answer->plan_ns += answer_draw_ns(answer, &answer->sim->config->itl);
    wheel_set(answer->sim->wheel, &answer->timer, answer->plan_ns);
}

/* ---- a body without a stream ---- */

/* The second half of a body that a fault has cut, or what ends the answer instead. */
static void body_fault(struct answer *answer) {
    if (answer_has(answer, FAULT_RESET))
        conn_abort(answer->conn, true, fault_table[FAULT_RESET].name);
    else if (answer_has(answer, FAULT_CLOSE))
        conn_abort(answer->conn, false, fault_table[FAULT_CLOSE].name);
    else
        answer_stall(answer);
}

static void send_body(struct answer *answer) {
    struct conn *conn = answer->conn;
    struct buf *body = &answer->sim->event;
    bool cut = answer_has(answer, FAULT_RESET) || answer_has(answer, FAULT_CLOSE) ||
               (answer_has(answer, FAULT_STALL) && !answer->stalled);
    for (int i = 0; i < answer->n_choices && answer->step == 0; i++) {
        answer->tokens += answer->choices[i].n_tokens;
        answer->choices[i].text_offset = 0;
    }
    answer->step = 1;
    body->len = 0;
    render_body(body, answer);
    if (answer_has(answer, FAULT_MALFORMED)) body->len /= 2;
    size_t half = body->len / 2;
    answer->planned_ns[0] = answer->plan_ns;
    answer->chunk_tokens[0] = (int32_t)answer->tokens;
    answer->chunk_choice[0] = 0;
    struct head head = {.status = 200,
                        .type = HEAD_JSON,
                        .request_id = answer->arrival.request_id,
                        .length = answer_has(answer, FAULT_UNTIL_CLOSE) ? -1 : (long long)body->len};
    if (!answer->stalled) head_send(conn, head, &answer->faults);
    if (conn->answer != answer) return;
    if (cut) {
        conn_send(conn, body->data, half, 0, MARK_NONE);
        if (conn->answer == answer) body_fault(answer);
        return;
    }
    size_t from = answer->stalled ? half : 0;
    answer->sent = 1;
    conn_send(conn, body->data + from, body->len - from, 0, 0);
    if (conn->answer == answer) conn_send(conn, "", 0, 0, answer_end_mark(answer));
}

/* ---- with a batching engine ---- */

static void note_chunk(struct answer *answer, int index, int64_t at_ns, int64_t tokens) {
    int32_t i = answer->due++;
    answer->planned_ns[i] = at_ns;
    answer->chunk_tokens[i] = (int32_t)tokens;
    answer->chunk_choice[i] = index;
}

/* Send what the engine has given. A stall holds it up, the engine goes on. */
static void answer_deliver(struct answer *answer) {
    if (answer->sent == answer->due || (answer->stalled && answer->outcome)) return;
    if (answer->head_at_ns) wheel_cancel(answer->sim->wheel, &answer->timer);
    if (answer->head_at_ns && !send_stream_head(answer)) return;
    if (answer->sent == 0 && !answer->stalled && !send_roles(answer)) return;
    while (answer->sent < answer->due) {
        struct choice *choice = &answer->choices[answer->chunk_choice[answer->sent]];
        int64_t from = choice->said;
        if (is_halted(answer)) return;
        choice->said += answer->chunk_tokens[answer->sent];
        answer->plan_ns = answer->planned_ns[answer->sent];
        if (!send_chunk(answer, answer->chunk_choice[answer->sent], from)) return;
    }
    if (answer->sent == answer->n_chunks) end_stream(answer);
}

void answer_on_token(struct answer *answer, int index, int64_t at_ns) {
    const struct choice *choice = &answer->choices[index];
    int64_t produced = choice->seq.produced, per_chunk = answer->tokens_per_chunk;
    bool last = produced == choice->n_tokens;
    answer->unfinished -= last;
    if (!answer->ask.stream) {
        answer->plan_ns = at_ns;
        if (answer->unfinished == 0) send_body(answer);
        return;
    }
    if (last || produced % per_chunk == 0) note_chunk(answer, index, at_ns, (produced - 1) % per_chunk + 1);
    answer_deliver(answer);
}

static void batch_turn(struct answer *answer) {
    if (!answer->submitted) {
        answer->submitted = true;
        batching_submit(answer->replica->batch, answer, answer->plan_ns);
        if (answer->head_at_ns) wheel_set(answer->sim->wheel, &answer->timer, answer->head_at_ns);
    } else if (answer->ask.stream) {
        answer_deliver(answer);
    } else if (answer->unfinished == 0) {
        send_body(answer);
    }
}

/* ---- events ---- */

static void leave_silence(struct answer *answer) {
    answer->silent = false;
    answer->outcome = NULL;
    if (answer->replica->batch) answer->plan_ns = clock_mono_ns();
    if (answer->ask.stream) answer->head_at_ns = 1; /* long ago */
}

/* Send the head if it is due, or needed by the first step. false: nothing else is to be done yet, or ever. */
static bool is_past_head(struct answer *answer) {
    int64_t now = clock_mono_ns();
    bool step_is_due = answer->plan_ns <= now;
    bool needed = answer->head_at_ns <= now || (step_is_due && answer->replica->batch == NULL);
    if (needed && !send_stream_head(answer)) return false;
    if (!step_is_due) set_first_timer(answer);
    return step_is_due;
}

void answer_on_timer(struct answer *answer) {
    struct conn *conn = answer->conn;
    if (answer->silent) leave_silence(answer);
    if (answer->head_at_ns && !is_past_head(answer)) return;
    if (conn->answer != answer) return;
    if (answer->stalled) answer->outcome = NULL;
    if (answer->ask.unknown_id != ASK_UNSET) {
        char message[80] = "Token id is out of vocabulary";
        snprintf(message, sizeof message, "Token id %lld is out of vocabulary",
                 (long long)answer->ask.unknown_id);
        answer->outcome = "rejected";
        send_error_event(answer, 400, "BadRequestError", message);
    } else if (answer->replica->batch) {
        batch_turn(answer);
    } else if (answer->ask.stream) {
        stream_step(answer);
    } else {
        send_body(answer);
    }
}

void answer_unblocked(struct answer *answer) {
    if (!answer->blocked) return;
    answer->blocked = false;
    wheel_set(answer->sim->wheel, &answer->timer, answer->plan_ns);
}

/* ---- the end ---- */

void answer_end(struct answer *answer, const char *outcome) {
    struct sim *sim = answer->sim;
    wheel_cancel(sim->wheel, &answer->timer);
    if (answer->outcome) outcome = answer->outcome;
    bool finished = outcome == NULL;
    if (answer->replica->batch)
        batching_remove(answer->replica->batch, answer);
    else
        answer->replica->metrics->running -= answer->n_choices;
    replica_release(sim, answer->replica);
    counter_add(&sim->counters->running, -1);
    counter_add(&sim->counters->finished, finished);
    if (finished)
        account_finished(answer);
    else if (strcmp(outcome, "client_gone") == 0)
        counter_add(&sim->counters->client_gone, 1);
    account_record(answer, finished ? "finished" : outcome);
    free(answer->planned_ns);
    free(answer->choices);
    buf_free(&answer->head);
    buf_free(&answer->held);
    ask_free(&answer->ask);
    free(answer);
}
