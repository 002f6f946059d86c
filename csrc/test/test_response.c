/* Owns the sentences about engine/response: chunks to gaps, token counts, errors, outcomes.
 * Knows no sockets: stamps are made up, a read is one call. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "test/answers.h"
#include "test/t.h"

static void test_plain(void) {
    struct response r;
    CHECK("one chunk a read completes",
          STREAM(&r, {100, CHUNK("a")}, {110, CHUNK("b")}, {130, LAST("c") DONE}) == OUTCOME_completed);
    CHECK("with a gap between each two",
          r.chains[0].n_gaps == 2 && gap_is(&r, 0, 10, 0) && gap_is(&r, 1, 20, 0));
    CHECK("first and last token",
          r.record.first_token_ns == 100 && r.record.last_token_ns == 130 && r.record.first_text_ns == 100);
    CHECK("as seen", r.record.first_token_seen_ns == 107 && r.record.last_token_seen_ns == 137);
    CHECK("three chunks, four events, one choice",
          r.record.chunks == 3 && r.record.events == 4 && r.record.choices == 1);
    CHECK("chunks count as tokens without usage",
          r.record.output_tokens == 3 && r.record.tokens_source == TOKENS_CHUNKS);
    CHECK("nothing coalesced", r.record.coalesced == 0 && r.record.finish_reason == FINISH_length);
    CHECK("a stamp a chunk", r.n_stamps == 3 && r.stamps[2].arrived_ns == 130 && r.stamps[2].seen_ns == 137);
    CHECK("the text is kept", r.chains[0].text.len == 3 && memcmp(r.chains[0].text.bytes, "abc", 3) == 0);
    response_free(&r);
}

static void test_coalesced(void) {
    struct response r;
    STREAM(&r, {100, CHUNK("a")}, {130, CHUNK("b") CHUNK("c") CHUNK("d")}, {150, LAST("e") DONE});
    CHECK("chunks of one read share its time evenly",
          gap_is(&r, 0, 10, 1) && gap_is(&r, 1, 10, 1) && gap_is(&r, 2, 10, 1));
    CHECK("the next has its own", r.chains[0].n_gaps == 4 && gap_is(&r, 3, 20, 0));
    CHECK("three are coalesced", r.record.coalesced == 3);
    response_free(&r);
}

static void test_first_read(void) {
    struct response r;
    STREAM(&r, {100, CHUNK("a") CHUNK("b")}, {140, CHUNK("c")}, {150, LAST("d")});
    CHECK("chunks of the first read share the time to the next",
          gap_is(&r, 0, 20, 1) && gap_is(&r, 1, 20, 1));
    CHECK("and later ones are not touched", gap_is(&r, 2, 10, 0) && r.record.coalesced == 2);
    response_free(&r);
    CHECK("a whole answer in one read completes",
          STREAM(&r, {100, CHUNK("a") CHUNK("b") LAST("c") DONE}) == OUTCOME_completed);
    CHECK("without gaps: they are unknown, not zero",
          r.chains[0].n_gaps == 0 && r.record.chunks == 3 && r.record.coalesced == 3);
    response_free(&r);
    STREAM(&r, {100, CHUNK("a")}, {100, CHUNK("b")}, {140, LAST("c")});
    CHECK("two reads with one stamp share too",
          r.chains[0].n_gaps == 2 && gap_is(&r, 0, 20, 1) && gap_is(&r, 1, 20, 1));
    response_free(&r);
}

static void test_tails(void) {
    struct response r;
    STREAM(&r, {100, CHUNK("a")}, {110, CHUNK("b")}, {130, TAIL}, {131, USAGE(3) DONE});
    CHECK("an empty end that usage counts is a chunk",
          r.record.chunks == 3 && gap_is(&r, 1, 20, 0) && r.record.last_token_ns == 130);
    CHECK("usage is the count", r.record.output_tokens == 3 && r.record.tokens_source == TOKENS_USAGE &&
                                    r.record.prompt_tokens == 9);
    response_free(&r);
    STREAM(&r, {100, CHUNK("a")}, {110, CHUNK("b")}, {130, TAIL USAGE(2) DONE});
    CHECK("one that usage does not count is none",
          r.record.chunks == 2 && r.chains[0].n_gaps == 1 && r.record.last_token_ns == 110);
    response_free(&r);
    STREAM(&r, {100, CHUNK("a")}, {110, TAIL DONE});
    CHECK("without usage it is no token", r.record.chunks == 1 && r.record.output_tokens == 1);
    response_free(&r);
    CHECK("a lone end that usage counts completes",
          STREAM(&r, {100, TAIL USAGE(1) DONE}) == OUTCOME_completed && r.record.chunks == 1);
    response_free(&r);
}

static void test_choices(void) {
    struct response r;
    STREAM(&r, {100, CHUNK("a") CHUNK_1("A")}, {110, CHUNK("b")}, {125, CHUNK_1("B")}, {130, LAST("c") DONE});
    CHECK("each choice has gaps of its own",
          r.chains[0].n_gaps == 2 && gap_is(&r, 0, 10, 0) && gap_is(&r, 1, 20, 0));
    CHECK("also the second", r.n_chains == 2 && r.chains[1].n_gaps == 1 && r.chains[1].gaps[0].ns == 25);
    CHECK("chunks of two choices in one read are not coalesced",
          r.record.choices == 2 && r.record.coalesced == 0);
    struct batch batch = {0};
    CHECK("stored", response_store(&r, &batch) == 0 && batch.records[0].n_gaps == 3 && batch.n_gaps == 3);
    CHECK("gaps of choice after choice", batch.gaps[1].ns == 20 && batch.gaps[2].ns == 25);
    CHECK("texts with a NUL between",
          batch.records[0].text_len == 6 && memcmp(batch.bytes, "abc\0AB", 6) == 0);
    response_begin(&r);
    response_head(&r, 200, "text/event-stream");
    read_all(&r, &(struct read){5, LAST("z")}, 1);
    CHECK("the next request starts afresh",
          response_finish(&r) == OUTCOME_completed && response_store(&r, &batch) == 0);
    CHECK("with its own", batch.n_records == 2 && batch.records[1].chunks == 1 &&
                              batch.records[1].text_len == 1 && batch.n_gaps == 3);
    batch_free(&batch);
    response_free(&r);
}

static void test_far_choice(void) {
    struct response r;
    STREAM(&r, {100,
                "data: {\"choices\":[{\"index\":999999999,\"text\":\"a\",\"finish_reason\":\"stop\"}]}\n\n"});
    CHECK("a choice beyond all bounds takes no memory", r.n_chains == 1 && r.record.chunks == 1);
    response_free(&r);
}

static void test_many_choices(void) {
    enum { MANY = 1000 };
    struct response r;
    struct batch batch = {0};
    char event[100];
    begin(&r);
    response_head(&r, 200, "text/event-stream");
    for (int i = 0; i < MANY; i++) {
        snprintf(event, sizeof event, "data: {\"choices\":[{\"index\":%d,\"text\":\"a\"}]}\n\n",
                 MANY - 1 - i);
        read_all(&r, &(struct read){10 + i, event}, 1);
    }
    response_finish(&r);
    CHECK("an answer may have very many choices", r.record.choices == MANY);
    CHECK("their room is not kept",
          response_store(&r, &batch) == 0 && malloc_usable_size(r.chains) <= RESPONSE_KEPT_BYTES);
    response_begin(&r);
    response_head(&r, 200, "text/event-stream");
    read_all(&r, (const struct read[]){{5, CHUNK_1("z")}, {6, DONE}}, 2);
    CHECK("and is there again when it is needed",
          response_finish(&r) == OUTCOME_completed && r.n_chains == 2 && r.record.chunks == 1);
    batch_free(&batch);
    response_free(&r);
}

static void test_tokens(void) {
    struct response r;
    STREAM(&r, {100, COUNTED("a", 1)}, {110, COUNTED("b", 4)}, {120, COUNTED("c", 5)}, {121, DONE});
    CHECK("usage in each chunk gives its tokens",
          r.chains[0].gaps[0].tokens == 3 && r.chains[0].gaps[1].tokens == 1);
    CHECK("the newest is the count", r.record.output_tokens == 5);
    response_free(&r);
    STREAM(
        &r, {100, "data: {\"choices\":[{\"text\":\"a\",\"token_ids\":[1,2]}]}\n\n"},
        {110, "data: {\"choices\":[{\"text\":\"b\",\"token_ids\":[3,4,5],\"finish_reason\":\"stop\"}]}\n\n"});
    CHECK("token ids give tokens", r.chains[0].gaps[0].tokens == 3);
    CHECK("and the count", r.record.output_tokens == 5 && r.record.tokens_source == TOKENS_IDS);
    response_free(&r);
}

static void test_facts(void) {
    struct response r;
    STREAM(&r, {100, CHUNK("long one")}, {110, CHUNK("b") CHUNK("c")}, {130, LAST("d") USAGE(9) DONE});
    CHECK("reads that brought token chunks", r.record.reads == 3 && r.record.first_read_chunks == 1);
    CHECK("bytes of output, and of the first chunk",
          r.record.output_bytes == 11 && r.record.first_chunk_bytes == 8);
    CHECK("what usage said, in a stream", r.record.usage_tokens == 9 && r.record.body_kind == BODY_STREAM);
    response_free(&r);
    STREAM(&r, {100, CHUNK("a") CHUNK("b") LAST("c") DONE});
    CHECK("one read, no usage", r.record.reads == 1 && r.record.usage_tokens == RECORD_NONE);
    CHECK("all chunks came in the first read", r.record.first_read_chunks == 3);
    response_free(&r);
    BODY(&r, 200, "application/json", "{\"choices\":[{\"text\":\"hi\"}]}");
    CHECK("a plain body has neither reads nor a first chunk",
          r.record.reads == 0 && r.record.first_chunk_bytes == RECORD_NONE);
    CHECK("but output", r.record.output_bytes == 2 && r.record.body_kind == BODY_JSON);
    response_free(&r);
    BODY(&r, 500, "text/plain", "oops");
    CHECK("the body of an HTTP error is one", r.record.body_kind == BODY_ERROR);
    response_free(&r);
    answer(&r, 200, "text/event-stream", NULL, 0);
    CHECK("no body is none", r.record.body_kind == BODY_NONE && r.record.first_chunk_bytes == RECORD_NONE);
    response_free(&r);
}

static void test_errors(void) {
    struct response r;
    CHECK("an error object in the stream",
          STREAM(&r, {1, CHUNK("a") "data: {\"error\":{\"code\":500}}\n\n" DONE}) == OUTCOME_stream_error);
    CHECK("is kept", error_is(&r, "{\"code\":500}"));
    response_free(&r);
    CHECK("an error event",
          STREAM(&r, {1, "event: error\ndata: {\"x\":1}\n\n" DONE}) == OUTCOME_stream_error &&
              error_is(&r, "{\"x\":1}"));
    response_free(&r);
    CHECK("what is no JSON is malformed",
          STREAM(&r, {1, CHUNK("a") "data: oops\n\n" DONE}) == OUTCOME_malformed && error_is(&r, "oops"));
    response_free(&r);
    CHECK("no end is truncated", STREAM(&r, {1, CHUNK("a")}) == OUTCOME_truncated && !response_is_whole(&r));
    response_free(&r);
    CHECK("nothing is no_tokens", STREAM(&r, {1, ": ping\n\n"}) == OUTCOME_no_tokens && r.record.events == 0);
    response_free(&r);
    CHECK("[DONE] alone too",
          STREAM(&r, {1, DONE}) == OUTCOME_no_tokens && r.record.output_tokens == RECORD_NONE);
    response_free(&r);
    CHECK("keep-alives are no events",
          STREAM(&r, {1, "data:\n\ndata: : ping\n\n" LAST("a")}) == OUTCOME_completed &&
              r.record.events == 1);
    response_free(&r);
    CHECK("a last event without its blank line counts",
          STREAM(&r, {1, "data: [DONE"}, {2, "]"}) == OUTCOME_no_tokens && r.done);
    response_free(&r);
}

static void test_long(void) {
    struct response r;
    char *body = malloc(5 * MAX_EVENT_BYTES);
    if (!body) abort();
    memset(body, 'x', 5 * MAX_EVENT_BYTES);
    body[5 * MAX_EVENT_BYTES - 1] = '\0';
    CHECK("an event beyond the limit is malformed",
          STREAM(&r, {1, CHUNK("a") "data: "}, {2, body}) == OUTCOME_malformed && r.is_stuck);
    response_free(&r);
    CHECK("the body of an HTTP error is kept",
          answer(&r, 429, "text/plain", (struct read[]){{1, "slow"}, {2, " down"}}, 2) == OUTCOME_http_error);
    CHECK("in one", error_is(&r, "slow down") && r.record.status == 429 && r.record.chunks == 0);
    response_free(&r);
    CHECK("cut at its bound",
          BODY(&r, 500, NULL, body) == OUTCOME_http_error && r.error.len == RESPONSE_ERROR_BYTES);
    CHECK("and all bytes counted", r.record.bytes_received == 5 * MAX_EVENT_BYTES - 1);
    response_free(&r);
    free(body);
}

static void test_json(void) {
    static const char json[] = "{\"choices\":[{\"text\":\"hi\",\"finish_reason\":\"stop\"}],"
                               "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":8}}";
    struct response r;
    CHECK("a JSON body completes", BODY(&r, 200, "application/json", json) == OUTCOME_completed);
    CHECK("its usage counts", r.record.output_tokens == 8 && r.record.prompt_tokens == 3);
    CHECK("it has no first token, but an end",
          r.record.first_token_ns == RECORD_NONE && r.record.last_token_ns == 50);
    CHECK("and its text", r.chains[0].text.len == 2 && r.record.finish_reason == FINISH_stop);
    response_free(&r);
    CHECK("an error object in 200",
          BODY(&r, 200, "application/json", "{\"error\":\"no\"}") == OUTCOME_stream_error &&
              error_is(&r, "\"no\""));
    response_free(&r);
    CHECK("half a body is malformed",
          BODY(&r, 200, "application/json", "{\"choices\":[") == OUTCOME_malformed);
    response_free(&r);
    CHECK("no body has no tokens", answer(&r, 200, "application/json", NULL, 0) == OUTCOME_no_tokens);
    response_free(&r);
    CHECK("without a type the first byte tells",
          BODY(&r, 200, NULL, json) == OUTCOME_completed && r.kind == BODY_JSON);
    response_free(&r);
    CHECK("also of a stream", BODY(&r, 200, NULL, LAST("a")) == OUTCOME_completed && r.kind == BODY_STREAM);
    response_free(&r);
    CHECK("a page of HTML is malformed",
          BODY(&r, 200, "text/html", "<html>") == OUTCOME_malformed && error_is(&r, "<html>"));
    response_free(&r);
}

static void test_own_times(void) {
    struct response r;
    STREAM(&r, {10, CHUNK("a")},
           {30, "data: {\"choices\":[],\"metrics\":{\"queue_time_ms\":2,\"time_to_first_token_ms\":3.5,"
                "\"speculative_decoding\":{\"num_spec_steps\":1,\"num_draft_tokens\":4,"
                "\"num_accepted_draft_tokens\":3}}}\n\n" DONE});
    CHECK("what the server says of its times is kept",
          r.record.server_queue_ns == 2000000 && r.record.server_prefill_ns == 3500000);
    CHECK("what it does not say is none", r.record.server_decode_ns == RECORD_NONE);
    CHECK("and its drafts",
          r.record.draft_steps == 1 && r.record.draft_tokens == 4 && r.record.accepted_tokens == 3);
    response_free(&r);
    STREAM(&r, {10, CHUNK("a")},
           {30, "data: {\"choices\":[],\"usage\":{\"completion_tokens\":1,\"completion_tokens_details\":{"
                "\"accepted_prediction_tokens\":5,\"rejected_prediction_tokens\":2}}}\n\n" DONE});
    CHECK("a prediction is a draft", r.record.draft_tokens == 7 && r.record.accepted_tokens == 5);
    CHECK("in no steps", r.record.draft_steps == RECORD_NONE);
    response_free(&r);
}

static void test_kept_events(void) {
    struct response r;
    begin(&r);
    r.settings.keep_events = true;
    response_head(&r, 200, "text/event-stream");
    read_all(&r, (const struct read[]){{10, CHUNK("a")}, {20, LAST("b")}, {30, USAGE(2) DONE}}, 3);
    CHECK("kept events change no outcome", response_finish(&r) == OUTCOME_completed);
    CHECK("one entry an event", r.n_events == 4 && r.record.events == 4);
    CHECK("a token says so", (r.events[0].flags & EVENT_text) && r.events[0].text_bytes == 1);
    CHECK("the last one ends it", r.events[1].flags & EVENT_finish);
    CHECK("usage and the end too", r.events[2].flags == EVENT_usage && r.events[3].flags == EVENT_done);
    struct batch batch = {0};
    CHECK("stored", response_store(&r, &batch) == 0 && batch.n_events == 4);
    CHECK("behind the text the event without choices",
          memcmp(batch.bytes, "ab", 3) == 0 && memcmp(batch.bytes + 3, "{\"choices\":[]", 13) == 0);
    batch_free(&batch);
    response_begin(&r);
    CHECK("none are left for the next request", r.n_events == 0 && r.last_words.len == 0);
    response_free(&r);
}

static void test_kept_choices(void) {
    struct response r;
    begin(&r);
    r.settings.keep_events = true;
    response_head(&r, 200, "text/event-stream");
    read_all(&r,
             (const struct read[]){
                 {10, "data: {\"choices\":[{\"index\":7,\"text\":\"a\"},{\"index\":0,\"text\":\"x\"}]}\n\n"},
                 {20, "data: {\"choices\":[{\"index\":0,\"text\":\"\"},{\"index\":7,\"text\":\"y\"}]}\n\n"},
                 {30, "data: {\"choices\":[{\"index\":3,\"text\":\"b\"}]}\n\n" USAGE(2)},
                 {40, "data: {\"ping\":1}\n\n" DONE},
             },
             4);
    response_finish(&r);
    CHECK("the first choice of an event counts, whatever its index",
          r.events[0].text_bytes == 1 && !(r.events[1].flags & EVENT_text));
    struct batch batch = {0};
    CHECK("its texts stand in the order of the events",
          response_store(&r, &batch) == 0 && memcmp(batch.bytes, "ab", 3) == 0);
    CHECK("usage stays though another event without choices came",
          memcmp(batch.bytes + 3, "{\"choices\":[]", 13) == 0);
    batch_free(&batch);
    response_free(&r);
}

static void test_raw(void) {
    struct response r;
    begin(&r);
    r.settings.raw = true;
    response_head(&r, 200, "text/event-stream");
    read_all(&r, (const struct read[]){{10, "data:{\"x\":1}\n\n"}, {20, "data:{\"x\":2}\n\n"}}, 2);
    CHECK("a raw stream needs no end of its own", response_finish(&r) == OUTCOME_completed);
    CHECK("its events are token chunks", r.record.chunks == 2 && r.record.last_token_ns == 20);
    CHECK("its text is their data", r.chains[0].text.len == 16);
    response_free(&r);
    begin(&r);
    r.settings.raw = true;
    response_head(&r, 200, "application/json");
    read_all(&r, &(struct read){10, "[1,2]"}, 1);
    CHECK("a raw body is whatever it is",
          response_finish(&r) == OUTCOME_completed && r.chains[0].text.len == 6);
    response_free(&r);
}

int main(void) {
    test_own_times();
    test_kept_events();
    test_kept_choices();
    test_raw();
    test_plain();
    test_coalesced();
    test_first_read();
    test_tails();
    test_choices();
    test_far_choice();
    test_many_choices();
    test_tokens();
    test_facts();
    test_errors();
    test_long();
    test_json();
    return t_done("test_response");
}
