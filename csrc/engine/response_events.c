/* Owns what the events of an answer say: which are output, finish reasons, usage, errors, text.
 * Does not time them (response_chunks.c) and does not parse JSON or SSE itself (stream/). */
#include "engine/response_events.h"

#include <stdio.h>
#include <strings.h>

#include "engine/response_chunks.h"
#include "stream/array.h"
#include "stream/delta.h"

/* Inlined, it would cost each event. */
#define RARE static __attribute__((noinline))

/* ---- kept events ---- */

/* Opens the entry of the event that is being read; what it says is filled in as it turns up. */
static void keep_event(struct response *r) {
    r->record.events++;
    if (!r->settings.keep_events) return;
    if (ARRAY_ROOM(r->events, r->cap_events, r->n_events + 1))
        r->events[r->n_events++] = (struct record_event){r->at.arrived_ns, r->at.seen_ns, 0, 0};
    else
        response_no_memory(r);
}

static void mark_event(struct response *r, uint32_t flags, size_t text_bytes) {
    if (!r->n_events) return;
    r->events[r->n_events - 1].flags |= flags;
    r->events[r->n_events - 1].text_bytes += (uint32_t)text_bytes;
}

static uint32_t flags_of(const struct delta_choice *choice) {
    uint32_t flags = EVENT_choices;
    if (choice->has_content) flags |= EVENT_content;
    if (choice->content_len || choice->parts.len) flags |= EVENT_text;
    if (choice->thought_bytes) flags |= EVENT_reasoning;
    if (choice->has_role) flags |= EVENT_role;
    if (choice->has_tool_calls) flags |= EVENT_tool_calls;
    if (choice->token_ids > 0) flags |= EVENT_token_ids;
    if (choice->finish_reason.at) flags |= EVENT_finish;
    return flags;
}

static void mark_object(struct response *r, const struct delta *delta, enum delta_status status) {
    if (status == DELTA_DONE) mark_event(r, EVENT_done, 0);
    if (status == DELTA_MALFORMED) mark_event(r, EVENT_malformed, 0);
    if (status != DELTA_OK) return;
    if (delta->error) mark_event(r, EVENT_error, 0);
    if (delta->prompt_tokens >= 0 || delta->completion_tokens >= 0) mark_event(r, EVENT_usage, 0);
}

/* ---- choices ---- */

static enum finish_reason finish_reason_of(struct view name) {
    static const char *const names[] = {
#define X(name) #name,
        FINISH_REASONS(X)
#undef X
    };
    for (int i = FINISH_stop; i < FINISH_other; i++)
        if (view_is(name, names[i])) return (enum finish_reason)i;
    return FINISH_other;
}

/* The server broke the answer off itself. */
static void take_giving_up(struct response *r, struct view reason) {
    char why[64];
    int n = snprintf(why, sizeof why, "the server gave up: finish_reason is \"%.*s\"", (int)reason.len,
                     reason.at);
    response_trouble(r, TROUBLE_ERROR);
    response_guess(r, why, (size_t)n);
}

/* A finish reason before more output finishes nothing: servers exist that put one into each event. */
static void take_finish(struct response *r, struct chain *c, const struct delta_choice *choice,
                        bool is_certain) {
    if (is_certain && c->finished) c->finish_is_noise = true;
    if (is_certain) c->finished = false;
    if (!choice->finish_reason.at) return;
    c->finished = true;
    r->record.finish_reason = (int32_t)finish_reason_of(choice->finish_reason);
    bool gave_up = r->record.finish_reason == FINISH_abort || r->record.finish_reason == FINISH_error;
    if (gave_up) take_giving_up(r, choice->finish_reason);
}

/* Who keeps events reads them as vLLM's client does: the first choice of each, whatever its index. */
static void keep_text(struct response *r, struct chain *c, const struct delta_choice *choice) {
    struct text *text = r->settings.keep_events ? &r->chains[0].text : &c->text;
    bool ok = true;
    if (!r->settings.keep_text || (r->settings.keep_events && r->event_choices > 1)) return;
    if (choice->content) ok = text_add_unescaped(text, choice->content, choice->content_len);
    if (choice->parts.len) ok = text_add_parts(text, choice->parts);
    if (!ok) response_no_memory(r);
}

static void add_bytes(struct response *r, const struct delta_choice *choice) {
    r->record.output_bytes += (int64_t)delta_choice_bytes(choice);
    if (choice->token_ids > 0) r->ids = (r->ids < 0 ? 0 : r->ids) + choice->token_ids;
}

static void keep_tail(struct response *r, struct chain *c) {
    c->has_tail = true;
    c->tail_arrived_ns = r->at.arrived_ns;
    c->tail_seen_ns = r->at.seen_ns;
    c->tail_read = r->at.number;
}

static void events_take_chunk(struct response *r, struct chain *c, const struct delta_choice *choice,
                              bool is_certain) {
    struct record *record = &r->record;
    bool is_text = choice->text_bytes || choice->has_tool_calls;
    if (record->first_text_ns == RECORD_NONE && is_text) record->first_text_ns = r->at.arrived_ns;
    if (record->first_chunk_bytes == RECORD_NONE)
        record->first_chunk_bytes = (int64_t)delta_choice_bytes(choice);
    int64_t ids = choice->token_ids < UINT16_MAX ? choice->token_ids : UINT16_MAX;
    chunks_add(r, c, &r->at, ids > 0 ? (uint16_t)ids : 0, is_certain);
}

static void events_on_choice(void *context, const struct delta_choice *choice) {
    struct response *r = context;
    struct chain *c = chunks_chain(r, choice->index);
    bool is_certain = delta_choice_bytes(choice) || choice->has_tool_calls || choice->token_ids > 0;
    bool was_finished = c->finished;
    r->event_choices++;
    r->has_choices = true;
    if (r->event_choices == 1) mark_event(r, flags_of(choice), choice->content_len);
    take_finish(r, c, choice, is_certain);
    if (!delta_choice_is_output(choice)) {
        if (choice->has_unknown) r->unknown_chain = c - r->chains;
        return;
    }
    if (was_finished && !is_certain) return; /* nothing after the end */
    keep_text(r, c, choice);
    add_bytes(r, choice);
    if (r->kind != BODY_STREAM)
        r->record.choices++;
    else if (choice->finish_reason.at && !is_certain)
        keep_tail(r, c);
    else
        events_take_chunk(r, c, choice, is_certain);
}

/* ---- objects ---- */

/* Usage in a chunk that also brought output tells how many tokens it carried. */
static void note_chunk_tokens(struct response *r, int64_t tokens, int32_t chunks_before) {
    /* With several choices it is not said whose tokens the count adds up. */
    bool is_one_chunk = r->record.choices == 1 && r->record.chunks == chunks_before + 1;
    struct chain *c = &r->chains[r->newest];
    if (is_one_chunk && tokens > 0 && tokens <= UINT16_MAX && c->n_gaps)
        c->gaps[c->n_gaps - 1].tokens = (uint16_t)tokens;
}

/* An event whose output is in fields that we do not know is a token chunk when its usage counts more tokens;
 * else it may be one. Whole answers of another API are none. */
static void events_take_unknown(struct response *r, bool is_foreign, bool has_tokens) {
    if (is_foreign && !r->has_choices) r->record.unknown_output++;
    if (is_foreign && r->has_choices) r->unknown_chain = (int64_t)r->newest;
    if (r->unknown_chain < 0) return;
    struct chain *c = &r->chains[r->unknown_chain];
    r->record.unknown_output += !has_tokens;
    if (r->kind != BODY_STREAM) return;
    if (has_tokens)
        chunks_add(r, c, &r->at, 0, true);
    else
        chunks_add_unknown(r, c);
}

static void keep_said(int64_t *kept, int64_t said) {
    if (said >= 0) *kept = said;
}

/* Gateways that did not count end with zeros. */
static void keep_count(int64_t *kept, int64_t said) {
    if (said > 0 || (said == 0 && *kept < 0)) *kept = said;
}

/* The server's own times and drafts. What OpenAI calls a prediction is one draft of the client's. */
static void take_metrics(struct record *record, const struct delta *delta) {
    bool is_prediction = delta->draft_tokens < 0 && delta->predicted >= 0 && delta->rejected >= 0;
    keep_said(&record->server_queue_ns, delta->queue_ns);
    keep_said(&record->server_prefill_ns, delta->prefill_ns);
    keep_said(&record->server_decode_ns, delta->decode_ns);
    keep_said(&record->draft_steps, delta->draft_steps);
    keep_said(&record->draft_tokens,
              is_prediction ? delta->predicted + delta->rejected : delta->draft_tokens);
    keep_said(&record->accepted_tokens, is_prediction ? delta->predicted : delta->accepted_tokens);
}

static void take_usage(struct response *r, const struct delta *delta, int32_t chunks_before) {
    int64_t before = r->usage_tokens < 0 ? 0 : r->usage_tokens, said = delta->completion_tokens;
    keep_count(&r->record.prompt_tokens, delta->prompt_tokens);
    keep_said(&r->record.cached_tokens, delta->cached_tokens);
    keep_count(&r->usage_total, delta->total_tokens);
    keep_count(&r->usage_tokens, said);
    events_take_unknown(r, delta->has_foreign_output, said > before && r->record.chunks == chunks_before);
    if (said >= 0) note_chunk_tokens(r, said - before, chunks_before);
}

/* No choices: the newest such event with counts is kept for who asked; a complaint or another API's output
 * are words that help when nothing better comes. */
static void take_rest(struct response *r, const struct delta *delta, const char *json, size_t len) {
    bool has_counts = delta->prompt_tokens >= 0 || delta->completion_tokens >= 0;
    if (r->settings.keep_events && delta->n_choices == 0 && (has_counts || !r->last_words.len)) {
        r->last_words.len = 0;
        if (!text_add(&r->last_words, json, len)) response_no_memory(r);
    }
    if (delta->has_complaint) response_trouble(r, TROUBLE_COMPLAINT);
    if (delta->has_complaint || delta->has_foreign_output) response_guess(r, json, len);
}

/* What in a stream is no object but no fault either: null and its like, which say nothing; [DONE] in quotes,
 * in small letters or with words behind it; anything at all once the answer is whole. OpenAI's client stops
 * at the first [DONE] and takes null. The clients of load tests fail at all of them, and so do those who
 * follow them. */
static bool is_harmless(struct response *r, const char *text, size_t len) {
    const char *end = text + len, *at = json_blanks(text, end);
    if (r->settings.strict || r->kind != BODY_STREAM) return false;
    if (at < end && *at == '"') at++;
    if (end - at >= 6 && strncasecmp(at, "[DONE]", 6) == 0) r->done = true;
    return r->done || delta_is_nothing(text, len);
}

RARE void take_malformed(struct response *r, const char *text, size_t len) {
    if (is_harmless(r, text, len)) return;
    response_trouble(r, TROUBLE_MALFORMED);
    response_guess(r, text, len);
}

static void take_object(struct response *r, const char *json, size_t len) {
    struct delta delta;
    int32_t chunks_before = r->record.chunks;
    r->event_choices = 0;
    r->unknown_chain = -1;
    enum delta_status status = delta_scan(json, len, &delta, events_on_choice, r);
    mark_object(r, &delta, status);
    if (status == DELTA_DONE) {
        r->done = true;
    } else if (status == DELTA_MALFORMED) {
        take_malformed(r, json, len);
    } else if (delta.error) {
        response_trouble(r, TROUBLE_ERROR);
        response_error(r, delta.error, delta.error_len);
    } else {
        take_usage(r, &delta, chunks_before);
        take_metrics(&r->record, &delta);
        take_rest(r, &delta, json, len);
    }
}

/* Of another format nothing is known but that its data has come. */
static void take_raw(struct response *r, const char *data, size_t len) {
    struct chain *c = &r->chains[0];
    if (r->kind == BODY_STREAM) chunks_add(r, c, &r->at, 0, true);
    if (r->kind != BODY_STREAM) r->record.choices++;
    if (r->settings.keep_text && !(text_add(&c->text, data, len) && text_add(&c->text, "\n", 1)))
        response_no_memory(r);
}

void events_take_body(struct response *r, const char *json, size_t len) {
    r->at = r->now;
    if (r->settings.raw)
        take_raw(r, json, len);
    else
        take_object(r, json, len);
}

/* ---- events ---- */

/* Gateways keep streams alive with empty data, or with a comment that they wrapped into data by mistake. */
static bool is_keep_alive(const struct sse_event *event) {
    const char *end = event->data + event->data_len, *at = json_blanks(event->data, end);
    return at == end || *at == ':';
}

/* They also name such events by their type, with any word as data. */
RARE bool is_heartbeat(const struct response *r, const struct sse_event *event) {
    static const char *const names[] = {"ping", "heartbeat", "keepalive", "keep-alive"};
    struct view type = {event->type, event->type_len};
    bool is_named = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) is_named |= view_is(type, names[i]);
    return is_named && !r->settings.strict && !r->settings.raw &&
           !delta_is_whole(event->data, event->data_len);
}

/* The connection ended within it: no event, and no fault of whoever wrote it. */
static bool is_half(const struct sse_event *event) {
    return event->cut && !delta_is_whole(event->data, event->data_len);
}

static void take_error_event(struct response *r, const struct sse_event *event) {
    response_trouble(r, TROUBLE_ERROR);
    response_error(r, event->data, event->data_len);
}

void events_take(struct response *r, const struct sse_event *event) {
    bool is_error = view_is((struct view){event->type, event->type_len}, "error");
    r->at = event->split && event->line <= r->lines ? r->line_at : r->now;
    if (is_keep_alive(event)) {
        if (is_error) take_error_event(r, event);
        return;
    }
    if (event->type_len && is_heartbeat(r, event)) return;
    if (is_half(event)) {
        r->cut_in_event = true;
        return;
    }
    r->last_event_ns = r->at.seen_ns;
    keep_event(r);
    if (r->settings.raw)
        take_raw(r, event->data, event->data_len);
    else
        take_object(r, event->data, event->data_len);
    if (is_error && !r->settings.raw) take_error_event(r, event);
}
