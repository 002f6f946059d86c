/* Owns the meaning of one answer: events to token chunks, chunks to gaps, flags to an outcome.
 * Does not read sockets or clocks, does not parse JSON or SSE itself (see stream/). */
#include "engine/response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "stream/delta.h"

/* ---- life ---- */

int response_init(struct response *r, size_t max_event_bytes, bool keep_text, bool keep_stamps) {
    memset(r, 0, sizeof *r);
    r->keep_text = keep_text;
    r->keep_stamps = keep_stamps;
    r->sse = sse_new(max_event_bytes);
    r->chains = calloc(1, sizeof *r->chains);
    r->n_chains = 1;
    if (r->sse && r->chains) return 0;
    response_free(r);
    return -1;
}

void response_free(struct response *r) {
    for (size_t i = 0; r->chains && i < r->n_chains; i++) chain_free(&r->chains[i]);
    free(r->chains);
    free(r->stamps);
    free(r->events);
    free(r->last_words.bytes);
    free(r->json.bytes);
    free(r->error.bytes);
    sse_free(r->sse);
    memset(r, 0, sizeof *r);
}

static void record_begin(struct record *record) {
    memset(record, 0, sizeof *record);
    int64_t *unknown[] = {
        &record->scheduled_ns,       &record->sent_ns,        &record->connected_ns,
        &record->first_byte_ns,      &record->first_token_ns, &record->first_text_ns,
        &record->last_token_ns,      &record->end_ns,         &record->first_token_seen_ns,
        &record->last_token_seen_ns, &record->prompt_tokens,  &record->cached_tokens,
        &record->output_tokens,      &record->usage_tokens,   &record->first_chunk_bytes,
    };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) *unknown[i] = RECORD_NONE;
}

void response_begin(struct response *r) {
    record_begin(&r->record);
    r->kind = BODY_NONE;
    r->done = r->finished = r->failed = r->malformed = r->too_long = r->no_memory = false;
    r->last_event_ns = RECORD_NONE;
    r->ids = r->usage_tokens = -1;
    r->newest_read = 0;
    for (size_t i = 0; i < r->n_chains; i++) chain_begin(&r->chains[i]);
    r->n_stamps = r->n_events = 0;
    r->json.len = r->error.len = r->last_words.len = 0;
    sse_reset(r->sse);
}

/* ---- chunks ---- */

static struct chain *chain_of(struct response *r, int64_t index) {
    if (index < 0 || index >= RESPONSE_MAX_CHAINS) index = 0;
    size_t need = (size_t)index + 1;
    if (need > r->n_chains) {
        struct chain *more = realloc(r->chains, need * sizeof *more);
        if (!more) {
            r->no_memory = true;
            return &r->chains[0];
        }
        memset(more + r->n_chains, 0, (need - r->n_chains) * sizeof *more);
        r->chains = more;
        r->n_chains = need;
    }
    return &r->chains[index];
}

static void keep_stamp(struct response *r, const struct read_stamp *stamp) {
    void *array = r->stamps;
    bool ok = buffer_grow(&array, &r->cap_stamps, r->n_stamps + 1, sizeof *r->stamps);
    r->stamps = array;
    if (ok)
        r->stamps[r->n_stamps++] = (struct record_stamp){stamp->arrived_ns, stamp->seen_ns};
    else
        r->no_memory = true;
}

/* Opens the entry of the event that is being read; what it says is filled in as it turns up. */
static void keep_event(struct response *r) {
    if (!r->keep_events) return;
    void *array = r->events;
    bool ok = buffer_grow(&array, &r->cap_events, r->n_events + 1, sizeof *r->events);
    r->events = array;
    if (ok)
        r->events[r->n_events++] = (struct record_event){r->now.arrived_ns, r->now.seen_ns, 0, 0};
    else
        r->no_memory = true;
}

static void mark_event(struct response *r, uint32_t flags) {
    if (r->n_events) r->events[r->n_events - 1].flags |= flags;
}

static void count_read(struct response *r, uint64_t number) {
    if (number <= r->newest_read) return;
    r->newest_read = number;
    r->record.reads++;
}

/* One token chunk of one choice. `tokens` is 0 when not known. */
static void count_chunk(struct response *r, struct chain *c, const struct read_stamp *stamp,
                        uint16_t tokens) {
    struct record *record = &r->record;
    count_read(r, stamp->number);
    if (record->reads == 1) record->first_read_chunks++;
    bool same_read = c->started && c->read == stamp->number;
    if (!c->started) record->choices++;
    if (same_read) record->coalesced += c->read_is_shared ? 1 : 2;
    c->read_is_shared = same_read;
    r->newest = (size_t)(c - r->chains);
    if (!chain_add(c, stamp->arrived_ns, stamp->number, tokens)) r->no_memory = true;
    if (record->first_token_ns == RECORD_NONE) {
        record->first_token_ns = stamp->arrived_ns;
        record->first_token_seen_ns = stamp->seen_ns;
    }
    record->last_token_ns = stamp->arrived_ns;
    record->last_token_seen_ns = stamp->seen_ns;
    record->chunks++;
    if (r->keep_stamps) keep_stamp(r, stamp);
}

/* ---- events ---- */

static enum finish_reason finish_reason_of(const char *name, size_t len) {
    static const char *const names[] = {
#define X(name) #name,
        FINISH_REASONS(X)
#undef X
    };
    for (int i = FINISH_stop; i < FINISH_other; i++)
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0) return (enum finish_reason)i;
    return FINISH_other;
}

static void keep_choice_text(struct response *r, struct chain *c, const struct delta_choice *choice) {
    if (r->keep_text && choice->content &&
        !text_add_unescaped(&c->text, choice->content, choice->content_len))
        r->no_memory = true;
}

static uint32_t flags_of(const struct delta_choice *choice) {
    uint32_t flags = EVENT_choices;
    if (choice->content) flags |= EVENT_content;
    if (choice->content_len) flags |= EVENT_text;
    if (choice->reasoning_len) flags |= EVENT_reasoning;
    if (choice->has_role) flags |= EVENT_role;
    if (choice->has_tool_calls) flags |= EVENT_tool_calls;
    if (choice->token_ids > 0) flags |= EVENT_token_ids;
    if (choice->finish_reason) flags |= EVENT_finish;
    return flags;
}

static bool is_empty_end(const struct delta_choice *choice) {
    return choice->finish_reason && choice->content_len == 0 && choice->reasoning_len == 0 &&
           !choice->has_tool_calls && choice->token_ids < 0;
}

static void on_choice(void *context, const struct delta_choice *choice) {
    struct response *r = context;
    struct chain *c = chain_of(r, choice->index);
    mark_event(r, flags_of(choice));
    if (r->n_events) r->events[r->n_events - 1].text_bytes += (uint32_t)choice->content_len;
    if (choice->finish_reason) {
        r->finished = true;
        r->record.finish_reason = (int32_t)finish_reason_of(choice->finish_reason, choice->finish_reason_len);
    }
    if (!delta_choice_is_output(choice)) return;
    keep_choice_text(r, c, choice);
    if (choice->token_ids > 0) r->ids = (r->ids < 0 ? 0 : r->ids) + choice->token_ids;
    r->record.output_bytes += (int64_t)(choice->content_len + choice->reasoning_len);
    if (r->kind != BODY_STREAM) {
        r->record.choices++;
        return;
    }
    if (is_empty_end(choice)) {
        c->has_tail = true;
        c->tail_arrived_ns = r->now.arrived_ns;
        c->tail_seen_ns = r->now.seen_ns;
        c->tail_read = r->now.number;
        return;
    }
    if (r->record.first_text_ns == RECORD_NONE && (choice->content_len || choice->has_tool_calls))
        r->record.first_text_ns = r->now.arrived_ns;
    if (r->record.first_chunk_bytes == RECORD_NONE)
        r->record.first_chunk_bytes = (int64_t)(choice->content_len + choice->reasoning_len);
    uint16_t tokens = choice->token_ids > 0 ? (uint16_t)(choice->token_ids & 0xffff) : 0;
    count_chunk(r, c, &r->now, tokens);
}

/* Usage in a chunk that also brought output tells how many tokens it carried. */
static void take_usage(struct response *r, const struct delta *delta, int32_t chunks_before) {
    if (delta->prompt_tokens >= 0) r->record.prompt_tokens = delta->prompt_tokens;
    if (delta->cached_tokens >= 0) r->record.cached_tokens = delta->cached_tokens;
    if (delta->completion_tokens < 0) return;
    int64_t more = delta->completion_tokens - (r->usage_tokens < 0 ? 0 : r->usage_tokens);
    r->usage_tokens = delta->completion_tokens;
    /* With several choices it is not said whose tokens the count adds up. */
    bool is_one_chunk = r->record.choices == 1 && r->record.chunks == chunks_before + 1;
    if (!is_one_chunk || more <= 0 || more > UINT16_MAX) return;
    struct chain *c = &r->chains[r->newest];
    if (c->n_gaps) c->gaps[c->n_gaps - 1].tokens = (uint16_t)more;
}

static void keep_last_words(struct response *r, const struct delta *delta, const char *json, size_t len) {
    if (!r->keep_events || delta->n_choices > 0) return;
    r->last_words.len = 0;
    if (!text_add(&r->last_words, json, len)) r->no_memory = true;
}

static void mark_object(struct response *r, const struct delta *delta, enum delta_status status) {
    if (status == DELTA_DONE) mark_event(r, EVENT_done);
    if (status == DELTA_MALFORMED) mark_event(r, EVENT_malformed);
    if (status != DELTA_OK) return;
    if (delta->error) mark_event(r, EVENT_error);
    if (delta->prompt_tokens >= 0 || delta->completion_tokens >= 0) mark_event(r, EVENT_usage);
}

/* `cut`: the connection ended within it, so that what is no JSON is only half of it. */
static void take_object(struct response *r, const char *json, size_t len, bool cut) {
    struct delta delta;
    int32_t chunks_before = r->record.chunks;
    enum delta_status status = delta_scan(json, len, &delta, on_choice, r);
    mark_object(r, &delta, status);
    if (status == DELTA_DONE) {
        r->done = true;
    } else if (status == DELTA_MALFORMED) {
        if (cut) return;
        r->malformed = true;
        response_error(r, json, len);
    } else if (delta.error) {
        r->failed = true;
        response_error(r, delta.error, delta.error_len);
    } else {
        take_usage(r, &delta, chunks_before);
        keep_last_words(r, &delta, json, len);
    }
}

/* Of another format nothing is known but that its data has come. */
static void take_raw(struct response *r, const char *data, size_t len) {
    struct chain *c = &r->chains[0];
    if (r->kind == BODY_STREAM) count_chunk(r, c, &r->now, 0);
    if (r->kind != BODY_STREAM) r->record.choices++;
    if (r->keep_text && !(text_add(&c->text, data, len) && text_add(&c->text, "\n", 1))) r->no_memory = true;
}

/* Gateways keep streams alive with empty data, or with a comment that they wrapped into data by mistake. */
static bool is_keep_alive(const struct sse_event *event) {
    return event->data_len == 0 || event->data[0] == ':';
}

static void take_event(struct response *r, const struct sse_event *event) {
    if (is_keep_alive(event)) return;
    r->record.events++;
    r->last_event_ns = r->now.seen_ns;
    keep_event(r);
    if (r->raw) {
        take_raw(r, event->data, event->data_len);
        return;
    }
    take_object(r, event->data, event->data_len, event->cut);
    static const char error_type[] = "error";
    if (event->type_len == sizeof error_type - 1 && memcmp(event->type, error_type, event->type_len) == 0) {
        r->failed = true;
        response_error(r, event->data, event->data_len);
    }
}

static void take_events(struct response *r) {
    struct sse_event event;
    enum sse_status status;
    while ((status = sse_next(r->sse, &event)) == SSE_EVENT) take_event(r, &event);
    if (status == SSE_TOO_LONG) {
        static const char message[] = "an event of the stream is longer than the limit";
        r->malformed = r->too_long = true;
        response_error(r, message, sizeof message - 1);
    }
    if (status == SSE_NO_MEMORY) r->no_memory = true;
}

/* ---- the body ---- */

static bool starts_with(const char *text, const char *prefix) {
    return text && strncasecmp(text, prefix, strlen(prefix)) == 0;
}

void response_head(struct response *r, long status, const char *content_type) {
    r->record.status = (int32_t)status;
    if (status < 200 || status > 299)
        r->kind = BODY_ERROR;
    else if (starts_with(content_type, "text/event-stream"))
        r->kind = BODY_STREAM;
    else if (starts_with(content_type, "application/json"))
        r->kind = BODY_JSON;
    else
        r->kind = BODY_NONE;
}

/* No telling content type: the first byte that is no blank decides. */
static enum body_kind kind_by_first_byte(const char *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        char b = bytes[i];
        if (b == ' ' || b == '\t' || b == '\r' || b == '\n') continue;
        if (b == '{' || b == '[') return BODY_JSON;
        return b == '<' ? BODY_OTHER : BODY_STREAM;
    }
    return BODY_NONE;
}

static void take_json(struct response *r, const char *bytes, size_t len) {
    if (r->json.len + len > RESPONSE_JSON_BYTES)
        r->malformed = r->too_long = true;
    else if (!text_add(&r->json, bytes, len))
        r->no_memory = true;
}

void response_body(struct response *r, const char *bytes, size_t len, const struct read_stamp *stamp) {
    r->now = *stamp;
    r->record.bytes_received += (int64_t)len;
    if (r->kind == BODY_NONE) r->kind = kind_by_first_byte(bytes, len);
    switch (r->kind) {
    case BODY_STREAM:
        sse_feed(r->sse, bytes, len);
        take_events(r);
        break;
    case BODY_JSON:
        take_json(r, bytes, len);
        break;
    case BODY_ERROR:
    case BODY_OTHER:
        response_error(r, bytes, len);
        break;
    case BODY_NONE:
        break;
    }
}

bool response_is_whole(const struct response *r) {
    return r->done || r->finished;
}

void response_error(struct response *r, const char *message, size_t len) {
    bool is_body = r->kind == BODY_ERROR || r->kind == BODY_OTHER;
    if (r->error.len && !is_body) return;
    size_t room = RESPONSE_ERROR_BYTES - r->error.len;
    if (!text_add(&r->error, message, len < room ? len : room)) r->no_memory = true;
}

/* ---- the end ---- */

static void finish_stream(struct response *r) {
    sse_end(r->sse);
    take_events(r);
    int64_t tails = 0;
    for (size_t i = 0; i < r->n_chains; i++) tails += r->chains[i].has_tail;
    /* A last event without text is the end-of-sequence token (vLLM counts it in usage) or only a closing
     * bracket (llama.cpp, OpenAI). When usage shows that there are not that many tokens it was the latter. */
    bool are_tokens = r->usage_tokens < 0 || r->record.chunks + tails <= r->usage_tokens;
    for (size_t i = 0; i < r->n_chains; i++) {
        struct chain *c = &r->chains[i];
        struct read_stamp tail = {c->tail_arrived_ns, c->tail_seen_ns, c->tail_read};
        if (c->has_tail && are_tokens) count_chunk(r, c, &tail, 0);
        chain_settle(c);
        c->n_gaps =
            c->open; /* what is still open came in one read with the first chunk: its spacing is unknown */
    }
}

static void finish_json(struct response *r) {
    if (r->json.len == 0) return;
    if (r->raw)
        take_raw(r, r->json.bytes, r->json.len);
    else
        take_object(r, r->json.bytes, r->json.len, false);
    r->record.last_token_ns = r->now.arrived_ns;
    r->record.last_token_seen_ns = r->now.seen_ns;
}

static void settle_tokens(struct response *r) {
    struct record *record = &r->record;
    if (r->usage_tokens >= 0) record->usage_tokens = r->usage_tokens;
    if (r->usage_tokens >= 0) {
        record->output_tokens = r->usage_tokens;
        record->tokens_source = TOKENS_USAGE;
    } else if (r->ids >= 0) {
        record->output_tokens = r->ids;
        record->tokens_source = TOKENS_IDS;
    } else if (record->chunks > 0) {
        record->output_tokens = record->chunks;
        record->tokens_source = TOKENS_CHUNKS;
    }
}

static bool has_output(const struct response *r) {
    return r->kind == BODY_JSON ? r->record.choices > 0 : r->record.chunks > 0;
}

enum outcome response_finish(struct response *r) {
    if (r->kind == BODY_STREAM) finish_stream(r);
    if (r->kind == BODY_JSON) finish_json(r);
    settle_tokens(r);
    r->record.body_kind = r->record.bytes_received > 0 ? (int64_t)r->kind : BODY_NONE;
    if (r->kind == BODY_ERROR || (r->record.status && (r->record.status < 200 || r->record.status > 299)))
        return OUTCOME_http_error;
    if (r->failed) return OUTCOME_stream_error;
    if (r->malformed || r->no_memory || r->kind == BODY_OTHER) return OUTCOME_malformed;
    if (r->kind == BODY_STREAM && !r->raw && !response_is_whole(r))
        return has_output(r) ? OUTCOME_truncated : OUTCOME_no_tokens;
    return has_output(r) ? OUTCOME_completed : OUTCOME_no_tokens;
}

/* The chains' gaps and texts one behind the other; texts are separated by a NUL. */
static bool join_chains(const struct response *r, struct record_gap **gaps, size_t *n_gaps,
                        struct text *text) {
    *n_gaps = 0;
    for (size_t i = 0; i < r->n_chains; i++) *n_gaps += r->chains[i].n_gaps;
    *gaps = malloc((*n_gaps ? *n_gaps : 1) * sizeof **gaps);
    if (!*gaps) return false;
    size_t at = 0, n_texts = r->n_chains; /* chains of earlier requests may stand empty at the end */
    while (n_texts > 0 && r->chains[n_texts - 1].text.len == 0) n_texts--;
    for (size_t i = 0; i < r->n_chains; i++) {
        const struct chain *c = &r->chains[i];
        if (c->n_gaps) memcpy(*gaps + at, c->gaps, c->n_gaps * sizeof **gaps);
        at += c->n_gaps;
        if (i > 0 && i < n_texts && !text_add(text, "", 1)) return false;
        if (c->text.len && !text_add(text, c->text.bytes, c->text.len)) return false;
    }
    return true;
}

static bool join_last_words(const struct response *r, struct text *text) {
    return !r->last_words.len ||
           (text_add(text, "", 1) && text_add(text, r->last_words.bytes, r->last_words.len));
}

int response_store(const struct response *r, struct batch *batch) {
    struct record record = r->record;
    struct record_gap *gaps = r->chains[0].gaps;
    size_t n_gaps = r->chains[0].n_gaps;
    struct text text = {0};
    const char *bytes = r->chains[0].text.bytes;
    size_t text_len = r->chains[0].text.len;
    bool joined = r->n_chains > 1 || r->last_words.len;
    bool ok = true;
    if (joined) {
        ok = join_chains(r, &gaps, &n_gaps, &text) && join_last_words(r, &text);
        bytes = text.bytes;
        text_len = text.len;
    }
    record.n_gaps = (uint32_t)n_gaps;
    record.n_chunk_stamps = (uint32_t)r->n_stamps;
    record.text_len = (uint32_t)text_len;
    record.error_len = (uint32_t)r->error.len;
    int status = ok ? batch_add(batch, &record, gaps, r->stamps, r->events, bytes, r->error.bytes) : -1;
    if (joined) {
        free(gaps);
        free(text.bytes);
    }
    return status;
}
