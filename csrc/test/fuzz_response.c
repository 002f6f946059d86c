/* Owns the fuzzing of engine/response: a body says the same however it is cut into pieces, and what is
 * counted fits together. Does not know what is right (test_answers and test_response do). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/response.h"

enum { MAX_EVENT_BYTES = 500 };

static const char *const types[] = {"text/event-stream", "application/json", "text/plain", NULL};

/* The first bytes of an input choose these. */
struct setting {
    uint32_t seed;
    uint8_t status, type, raw;
};

static void feed(struct response *r, const char *bytes, size_t len, int64_t number) {
    char *piece = malloc(len ? len : 1); /* exactly as long, and gone afterwards */
    assert(piece);
    memcpy(piece, bytes, len);
    struct read_stamp stamp = {number * 10, number * 10 + 1, (uint64_t)number};
    response_body(r, piece, len, &stamp);
    free(piece);
}

/* In pieces of random lengths up to `longest`, 0 = in one. The last status is what an answer is worth. */
static enum outcome read_all(struct response *r, const struct setting *setting, const char *body, size_t size,
                             size_t longest) {
    uint32_t random = setting->seed;
    int64_t number = 0;
    r->settings.raw = setting->raw & 1;
    r->settings.strict = setting->raw >> 1 & 1;
    response_begin(r);
    response_head(r, setting->status % 8 == 7 ? 500 : 200, types[setting->type % 4]);
    for (size_t at = 0; at < size;) {
        random = random * 1664525 + 1013904223;
        size_t len = longest ? 1 + (random >> 8) % longest : size;
        if (len > size - at) len = size - at;
        feed(r, body + at, len, ++number);
        at += len;
        if (r->is_stuck) break;
    }
    return response_finish(r);
}

/* What is counted twice is counted alike. */
static void check(const struct response *r) {
    const struct record *record = &r->record;
    size_t n_gaps = 0;
    int32_t coalesced = 0;
    assert(r->trouble != TROUBLE_NO_MEMORY && record->chunks >= 0 && record->choices >= 0);
    assert((size_t)record->events == r->n_events && record->unknown_output >= 0);
    if (r->kind == BODY_STREAM) assert((size_t)record->chunks == r->n_stamps);
    for (size_t i = 0; i < r->n_chains; i++) {
        const struct chain *c = &r->chains[i];
        n_gaps += c->n_gaps;
        coalesced += c->coalesced;
        for (size_t j = 0; j < c->n_gaps; j++) assert(c->gaps[j].ns > 0);
    }
    assert(coalesced == record->coalesced && coalesced <= record->chunks && record->reads <= record->chunks);
    assert(record->chunks == 0 ||
           n_gaps + (size_t)record->choices <= (size_t)record->chunks + (r->kind == BODY_OTHER));
    for (size_t i = 0; i < r->n_stamps; i++) assert(r->stamps[i].arrived_ns > 0);
    assert((record->first_token_ns == RECORD_NONE) == (record->chunks == 0));
    if (record->chunks) assert(record->first_token_ns <= record->last_token_ns);
    assert(record->output_tokens == RECORD_NONE || record->output_tokens >= 0);
}

static int same_text(const struct text *a, const struct text *b) {
    return a->len == b->len && (a->len == 0 || memcmp(a->bytes, b->bytes, a->len) == 0);
}

static void same(const struct response *a, const struct response *b) {
    const struct record *x = &a->record, *y = &b->record;
    assert(x->chunks == y->chunks && x->choices == y->choices && x->events == y->events);
    assert(x->output_tokens == y->output_tokens && x->tokens_source == y->tokens_source);
    assert(x->usage_tokens == y->usage_tokens && x->prompt_tokens == y->prompt_tokens);
    assert(x->output_bytes == y->output_bytes && x->first_chunk_bytes == y->first_chunk_bytes);
    assert(x->unknown_output == y->unknown_output && x->body_kind == y->body_kind);
    assert(x->finish_reason == y->finish_reason && response_is_whole(a) == response_is_whole(b));
    assert(same_text(&a->error, &b->error) && same_text(&a->last_words, &b->last_words));
    for (size_t i = 0; i < a->n_chains && i < b->n_chains; i++)
        assert(same_text(&a->chains[i].text, &b->chains[i].text));
    for (size_t i = 0; i < a->n_events; i++)
        assert(a->events[i].flags == b->events[i].flags &&
               a->events[i].text_bytes == b->events[i].text_bytes);
}

static void begin(struct response *r) {
    static const struct response_settings settings = {
        .max_event_bytes = MAX_EVENT_BYTES, .keep_text = true, .keep_stamps = true, .keep_events = true};
    if (response_init(r, &settings) != 0) abort();
}

static void store(struct response *r) {
    struct batch batch = {0};
    assert(response_store(r, &batch) == 0 && batch.n_records == 1);
    batch_free(&batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const size_t longest[] = {1, 5, 40};
    struct setting setting;
    struct response whole, cut;
    if (size < 7) return 0;
    memcpy(&setting.seed, data, sizeof setting.seed);
    setting.status = data[4];
    setting.type = data[5];
    setting.raw = data[6];
    begin(&whole);
    begin(&cut);
    enum outcome outcome = read_all(&whole, &setting, (const char *)data + 7, size - 7, 0);
    check(&whole);
    for (size_t i = 0; i < sizeof longest / sizeof *longest; i++) {
        assert(read_all(&cut, &setting, (const char *)data + 7, size - 7, longest[i]) == outcome);
        check(&cut);
        same(&whole, &cut);
        store(&cut);
    }
    store(&whole);
    response_free(&whole);
    response_free(&cut);
    return 0;
}
