/* Owns the life of an answer: what kind of body it is, how it ended, its token counts, its record.
 * What events say is in response_events.c, how they become chunks in time in response_chunks.c. */
#include "engine/response.h"

#include <strings.h>

#include "engine/response_chunks.h"
#include "engine/response_events.h"
#include "stream/array.h"

/* ---- life ---- */

int response_init(struct response *r, const struct response_settings *settings) {
    memset(r, 0, sizeof *r);
    r->settings = *settings;
    r->sse = sse_new(settings->max_event_bytes);
    r->chains = calloc(1, sizeof *r->chains);
    r->n_chains = r->cap_chains = 1;
    if (r->sse && r->chains) return 0;
    response_free(r);
    return -1;
}

static void free_chains(struct response *r, size_t from) {
    for (size_t i = from; r->chains && i < r->n_chains; i++) chain_free(&r->chains[i]);
}

void response_free(struct response *r) {
    free_chains(r, 0);
    free(r->chains);
    chain_free(&r->with_unknown);
    free(r->stamps);
    free(r->events);
    free(r->last_words.bytes);
    free(r->json.bytes);
    free(r->head.bytes);
    free(r->error.bytes);
    sse_free(r->sse);
    memset(r, 0, sizeof *r);
}

static void record_begin(struct record *record) {
    memset(record, 0, sizeof *record);
    int64_t *unknown[] = {
        &record->scheduled_ns,        &record->sent_ns,
        &record->connected_ns,        &record->first_byte_ns,
        &record->first_token_ns,      &record->first_text_ns,
        &record->last_token_ns,       &record->end_ns,
        &record->first_token_seen_ns, &record->last_token_seen_ns,
        &record->prompt_tokens,       &record->cached_tokens,
        &record->output_tokens,       &record->usage_tokens,
        &record->first_chunk_bytes,   &record->server_queue_ns,
        &record->server_prefill_ns,   &record->server_decode_ns,
        &record->draft_steps,         &record->draft_tokens,
        &record->accepted_tokens,
    };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) *unknown[i] = RECORD_NONE;
}

static void keep_one_chain(struct response *r) {
    free_chains(r, 1);
    r->n_chains = r->cap_chains = 1;
    struct chain *fewer = realloc(r->chains, sizeof *fewer);
    if (fewer) r->chains = fewer;
}

/* One large answer must not keep its memory for the rest of the run, times the number of slots. */
static void response_trim(struct response *r) {
    if (r->cap_chains * sizeof *r->chains > RESPONSE_KEPT_BYTES) keep_one_chain(r);
    for (size_t i = 0; i < r->n_chains; i++) chain_trim(&r->chains[i], RESPONSE_KEPT_BYTES);
    chain_trim(&r->with_unknown, RESPONSE_KEPT_BYTES);
    struct text *texts[] = {&r->json, &r->head, &r->error, &r->last_words};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) text_trim(texts[i], RESPONSE_KEPT_BYTES);
    ARRAY_TRIM(r->stamps, r->cap_stamps, RESPONSE_KEPT_BYTES);
    ARRAY_TRIM(r->events, r->cap_events, RESPONSE_KEPT_BYTES);
    sse_trim(r->sse, RESPONSE_KEPT_BYTES);
}

void response_begin(struct response *r) {
    record_begin(&r->record);
    r->kind = r->type_says = BODY_NONE;
    r->trouble = TROUBLE_NONE;
    r->is_stuck = r->done = r->has_choices = r->cut_in_event = false;
    r->last_event_ns = RECORD_NONE;
    r->ids = r->usage_tokens = r->usage_total = -1;
    chunks_begin(r);
    r->n_events = 0;
    r->json.len = r->head.len = r->error.len = r->last_words.len = 0;
    r->error_source = ERROR_NONE;
    sse_reset(r->sse);
    r->lines = sse_lines(r->sse);
}

/* ---- the body ---- */

static bool starts_with(const char *text, const char *prefix) {
    return text && strncasecmp(text, prefix, strlen(prefix)) == 0;
}

void response_head(struct response *r, long status, const char *content_type) {
    r->record.status = (int32_t)status;
    if (status < 200 || status > 299) r->kind = BODY_ERROR;
    if (starts_with(content_type, "text/event-stream")) r->type_says = BODY_STREAM;
    if (starts_with(content_type, "application/json")) r->type_says = BODY_JSON;
}

/* Servers and gateways mix the types up: a first byte that cannot begin what the type says decides. A stream
 * begins with a field (data, event, id, retry), or a comment. */
static enum body_kind kind_of(const struct response *r, char first) {
    if (first == '{' || first == '[') return BODY_JSON;
    if (first == '<' || first == '\x1f') return BODY_OTHER;
    if (r->type_says == BODY_JSON && !memchr("deir:", first, 5)) return BODY_JSON;
    return BODY_STREAM;
}

/* Past blanks and a byte order mark before anything else. */
static size_t leading_blanks(const char *bytes, size_t len) {
    static const char skipped[] = " \t\r\n\xef\xbb\xbf";
    size_t i = 0;
    while (i < len && memchr(skipped, bytes[i], sizeof skipped - 1)) i++;
    return i;
}

static void take_json(struct response *r, const char *bytes, size_t len) {
    if (r->json.len + len > RESPONSE_JSON_BYTES)
        response_take_no_more(r, TROUBLE_MALFORMED);
    else if (!text_add(&r->json, bytes, len))
        response_no_memory(r);
}

static void response_take_events(struct response *r) {
    struct sse_event event;
    enum sse_status status;
    while ((status = sse_next(r->sse, &event)) == SSE_EVENT) events_take(r, &event);
    if (status == SSE_TOO_LONG) {
        static const char message[] = "an event of the stream is longer than the limit";
        response_take_no_more(r, TROUBLE_MALFORMED);
        response_error(r, message, sizeof message - 1);
    }
    if (status == SSE_NO_MEMORY) response_no_memory(r);
}

static void keep_head(struct response *r, const char *bytes, size_t len) {
    size_t room = RESPONSE_ERROR_BYTES - r->head.len;
    if (!text_add(&r->head, bytes, len < room ? len : room)) response_no_memory(r);
}

static void take_stream(struct response *r, const char *bytes, size_t len) {
    if (r->record.events == 0) keep_head(r, bytes, len);
    sse_feed(r->sse, bytes, len);
    response_take_events(r);
    if (r->lines == sse_lines(r->sse)) return;
    r->lines = sse_lines(r->sse);
    r->line_at = r->now;
}

void response_body(struct response *r, const char *bytes, size_t len, const struct read_stamp *stamp) {
    r->now = *stamp;
    r->record.bytes_received += (int64_t)len;
    if (r->kind == BODY_NONE) {
        size_t blanks = leading_blanks(bytes, len);
        bytes += blanks;
        len -= blanks;
        if (len > 0) r->kind = kind_of(r, *bytes);
    }
    if (len == 0) return;
    switch (r->kind) {
    case BODY_STREAM:
        take_stream(r, bytes, len);
        break;
    case BODY_JSON:
        take_json(r, bytes, len);
        break;
    default:
        response_keep_body(r, bytes, len);
    }
}

/* ---- how it ended ---- */

/* Each choice that brought output has its finish reason, and nothing came after it. */
static bool is_finished(const struct response *r) {
    bool any = false;
    for (size_t i = 0; i < r->n_chains; i++) {
        const struct chain *c = &r->chains[i];
        if (c->finish_is_noise || (c->started && !c->finished)) return false;
        any |= c->finished;
    }
    return any;
}

bool response_is_whole(const struct response *r) {
    return r->done || is_finished(r);
}

/* Text that is no stream at all, under its content type or under none. */
static bool is_no_stream(const struct response *r) {
    static const char *const fields[] = {"data", "event", "id", "retry", ""};
    const char *head = r->head.bytes;
    if (r->record.events > 0 || r->head.len == 0) return false;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        size_t len = strlen(fields[i]);
        bool is_named = r->head.len >= len && memcmp(head, fields[i], len) == 0;
        if (is_named && (r->head.len == len || memchr(":\r\n", head[len], 3))) return false;
    }
    return true;
}

static void finish_stream(struct response *r) {
    sse_end(r->sse);
    response_take_events(r);
    chunks_settle(r);
    if (r->settings.raw || r->is_stuck || !is_no_stream(r)) return;
    r->kind = BODY_OTHER;
    response_keep_body(r, r->head.bytes, r->head.len);
}

static void finish_json(struct response *r) {
    if (r->json.len == 0) return;
    events_take_body(r, r->json.bytes, r->json.len);
    r->record.last_token_ns = r->now.arrived_ns;
    r->record.last_token_seen_ns = r->now.seen_ns;
}

/* ---- tokens ---- */

/* What usage says, unless the answer shows that it cannot be: zero, or the reasoning left out. The total may
 * hold what is missing. -1 when there is nothing to believe. */
static int64_t believable_usage(const struct response *r) {
    const struct record *record = &r->record;
    int64_t least = r->certain > r->ids ? r->certain : r->ids;
    if (r->kind == BODY_JSON && record->choices > least) least = record->choices;
    if (r->usage_tokens < 0 || r->usage_tokens >= least) return r->usage_tokens;
    if (r->usage_total < 0 || record->prompt_tokens == RECORD_NONE) return -1;
    int64_t rest = r->usage_total - record->prompt_tokens;
    return rest >= least ? rest : -1;
}

static void settle_tokens(struct response *r) {
    struct record *record = &r->record;
    int64_t usage = believable_usage(r);
    if (r->usage_tokens >= 0) record->usage_tokens = r->usage_tokens;
    if (usage >= 0) {
        record->output_tokens = usage;
        record->tokens_source = TOKENS_USAGE;
    } else if (r->ids >= 0 && r->ids >= r->certain) {
        record->output_tokens = r->ids;
        record->tokens_source = TOKENS_IDS;
    } else if (record->chunks > 0) {
        record->output_tokens = record->chunks;
        record->tokens_source = TOKENS_CHUNKS;
    }
}

/* ---- the outcome ---- */

static bool has_output(const struct response *r) {
    if (r->kind == BODY_JSON) return r->record.choices > 0 || r->record.unknown_output > 0;
    return r->record.chunks > 0;
}

static enum outcome outcome_of(const struct response *r) {
    if (r->record.status && (r->record.status < 200 || r->record.status > 299)) return OUTCOME_http_error;
    if (r->trouble == TROUBLE_NO_MEMORY) return OUTCOME_local_fault;
    if (r->trouble == TROUBLE_ERROR) return OUTCOME_stream_error;
    if (r->trouble == TROUBLE_MALFORMED || r->kind == BODY_OTHER) return OUTCOME_malformed;
    bool is_broken_off = r->kind == BODY_STREAM && !r->settings.raw && !response_is_whole(r);
    if (has_output(r) && !is_broken_off) return OUTCOME_completed;
    if (r->trouble == TROUBLE_COMPLAINT) return OUTCOME_stream_error;
    return has_output(r) ? OUTCOME_truncated : OUTCOME_no_tokens;
}

static const char *why_truncated(const struct response *r) {
    if (r->cut_in_event) return "the stream ended within an event, before [DONE] or a finish reason";
    for (size_t i = 0; i < r->n_chains; i++) {
        if (r->chains[i].finish_is_noise)
            return "the stream ended without [DONE], and its finish reasons came before the end";
        if (r->chains[i].finished) return "the stream ended before each choice had a finish reason";
    }
    return "the stream ended without [DONE] or a finish reason";
}

static const char *why_no_tokens(const struct response *r) {
    if (r->record.bytes_received == 0) return "the body is empty";
    if (r->kind == BODY_NONE) return "the body is blank";
    if (r->cut_in_event) return "the stream ended within its first events";
    if (r->kind == BODY_STREAM && r->record.events == 0) return "the stream holds no event";
    return response_is_whole(r) || r->kind == BODY_JSON ? "the answer holds no output"
                                                        : "the stream ended before any output";
}

static void response_guess_why(struct response *r, const char *why) {
    response_guess(r, why, strlen(why));
}

static void response_explain(struct response *r, enum outcome outcome) {
    if (outcome == OUTCOME_truncated) response_guess_why(r, why_truncated(r));
    if (outcome == OUTCOME_no_tokens) response_guess_why(r, why_no_tokens(r));
    if (outcome == OUTCOME_local_fault) response_guess_why(r, "out of memory");
    if (outcome == OUTCOME_http_error && r->record.bytes_received == 0)
        response_guess_why(r, "the body is empty");
}

enum outcome response_finish(struct response *r) {
    if (r->kind == BODY_STREAM) finish_stream(r);
    if (r->kind == BODY_JSON) finish_json(r);
    settle_tokens(r);
    r->record.body_kind = r->record.bytes_received > 0 ? (int64_t)r->kind : BODY_NONE;
    response_name_binary(r);
    enum outcome outcome = outcome_of(r);
    response_explain(r, outcome);
    return outcome;
}

/* ---- the record ---- */

/* Chains of earlier requests may stand empty at the end; a lone choice is a lone text, whatever its index. */
static void text_chains(const struct response *r, size_t *first, size_t *end) {
    size_t started = 0;
    *first = 0;
    *end = r->n_chains;
    while (*end > 0 && r->chains[*end - 1].text.len == 0) --*end;
    for (size_t i = 0; i < r->n_chains; i++) started += r->chains[i].text.len > 0;
    if (started == 1) *first = *end - 1;
}

/* The chains' gaps and texts one behind the other; texts are separated by a NUL. */
static bool join_chains(const struct response *r, struct record_gap **gaps, size_t *n_gaps,
                        struct text *text) {
    size_t at = 0, first, end;
    *n_gaps = 0;
    for (size_t i = 0; i < r->n_chains; i++) *n_gaps += r->chains[i].n_gaps;
    *gaps = malloc((*n_gaps ? *n_gaps : 1) * sizeof **gaps);
    if (!*gaps) return false;
    text_chains(r, &first, &end);
    for (size_t i = 0; i < r->n_chains; i++) {
        const struct chain *c = &r->chains[i];
        if (c->n_gaps) memcpy(*gaps + at, c->gaps, c->n_gaps * sizeof **gaps);
        at += c->n_gaps;
        if (i > first && i < end && !text_add(text, "", 1)) return false;
        if (c->text.len && !text_add(text, c->text.bytes, c->text.len)) return false;
    }
    return true;
}

static bool join_last_words(const struct response *r, struct text *text) {
    return !r->last_words.len ||
           (text_add(text, "", 1) && text_add(text, r->last_words.bytes, r->last_words.len));
}

int response_store(struct response *r, struct batch *batch) {
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
    if (r->settings.keep_events) record.events = (int32_t)r->n_events; /* without memory not all are there */
    int status = ok ? batch_add(batch, &record, gaps, r->stamps, r->events, bytes, r->error.bytes) : -1;
    if (joined) {
        free(gaps);
        free(text.bytes);
    }
    response_trim(r);
    return status;
}
