/* Owns the sentences about answers that are not what they seem: content types that lie, streams that break
 * off, output in odd places, usage that cannot be, indices that count tokens, errors of every shape. */
#include "test/answers.h"
#include "test/t.h"

#define STREAM_TYPE "text/event-stream"
#define CHAT(delta) "data: {\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":null}]}\n\n"
#define FINISHED(delta, reason)                                                                              \
    "data: {\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":" reason "}]}\n\n"
#define AT(index, text, reason)                                                                              \
    "data: {\"choices\":[{\"index\":" #index ",\"text\":\"" text "\",\"finish_reason\":" reason "}]}\n\n"
#define TOTAL(prompt, n, total)                                                                              \
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":" #prompt ",\"completion_tokens\":" #n               \
    ",\"total_tokens\":" #total "}}\n\n"

static int text_is(const struct response *r, const char *text) {
    const struct text *kept = &r->chains[0].text;
    return kept->len == strlen(text) && memcmp(kept->bytes, text, kept->len) == 0;
}

static void test_ends(void) {
    struct response r;
    CHECK("an empty finish reason ends nothing",
          STREAM(&r, {1, FINISHED("{\"content\":\"a\"}", "\"\"")},
                 {2, FINISHED("{\"content\":\"b\"}", "\"\"")}) == OUTCOME_truncated);
    CHECK("and the answer says why it counts as truncated",
          error_is(&r, "the stream ended without [DONE] or a finish reason"));
    response_free(&r);
    CHECK("nor does \"null\"",
          STREAM(&r, {1, FINISHED("{\"content\":\"a\"}", "\"null\"")}) == OUTCOME_truncated);
    response_free(&r);
    CHECK("with a real one at its end the stream is whole",
          STREAM(&r, {1, FINISHED("{\"content\":\"a\"}", "\"\"")}, {2, FINISHED("{}", "\"stop\"") DONE}) ==
              OUTCOME_completed);
    response_free(&r);
    CHECK("a reason in each event ends nothing either",
          STREAM(&r, {1, AT(0, "a", "\"stop\"") AT(0, "b", "\"stop\"")}) == OUTCOME_truncated &&
              !response_is_whole(&r));
    response_free(&r);
    CHECK("until [DONE] does",
          STREAM(&r, {1, AT(0, "a", "\"stop\"") AT(0, "b", "\"stop\"") DONE}) == OUTCOME_completed);
    response_free(&r);
    CHECK("of two choices both must end",
          STREAM(&r, {1, AT(0, "a", "null") AT(1, "A", "null")}, {2, AT(0, "b", "\"stop\"")}) ==
                  OUTCOME_truncated &&
              error_is(&r, "the stream ended before each choice had a finish reason"));
    response_free(&r);
    CHECK("then the stream is whole", STREAM(&r, {1, AT(0, "a", "null") AT(1, "A", "\"stop\"")},
                                             {2, AT(0, "b", "\"stop\"")}) == OUTCOME_completed);
    response_free(&r);
    STREAM(&r, {10, CHUNK("a")}, {20, TAIL}, {30, CHUNK("b")}, {40, USAGE(5) DONE});
    CHECK("an end without text that more text follows is no token",
          r.record.chunks == 2 && r.record.last_token_ns == 30);
    response_free(&r);
    CHECK("an empty text behind the end is no token",
          STREAM(&r, {1, AT(0, "a", "\"stop\"") AT(0, "", "null") DONE}) == OUTCOME_completed &&
              r.record.chunks == 1 && response_is_whole(&r));
    response_free(&r);
}

static void test_halves(void) {
    struct response r;
    CHECK("half an event at the end is no chunk",
          STREAM(&r, {1, CHUNK("a")}, {2, "data: {\"choices\":[{\"text\":\"b\"}]"}) == OUTCOME_truncated &&
              r.record.chunks == 1 && r.record.events == 1);
    CHECK("and is named", error_is(&r, "the stream ended within an event, before [DONE] or a finish reason"));
    response_free(&r);
    CHECK("a whole one without its blank line is one",
          STREAM(&r, {1, CHUNK("a")},
                 {2, "data: {\"choices\":[{\"text\":\"b\",\"finish_reason\":\"stop\"}]}"}) ==
                  OUTCOME_completed &&
              r.record.chunks == 2);
    response_free(&r);
    begin(&r);
    r.settings.keep_events = true;
    response_head(&r, 200, STREAM_TYPE);
    read_all(&r, (const struct read[]){{1, CHUNK("a")}, {2, "data: {\"choices\":[{\"te"}}, 2);
    response_finish(&r);
    CHECK("nor is half an event kept", r.n_events == 1 && r.record.events == 1);
    response_free(&r);
}

static void test_types(void) {
    static const char json[] = "{\"choices\":[{\"text\":\"hi\",\"finish_reason\":\"stop\"}]}";
    static const char *const types[] = {"application/json",         "text/event-stream", "text/plain",
                                        "application/octet-stream", "text/html",         NULL};
    struct response r;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        CHECK("a stream is one under any type",
              BODY(&r, 200, types[i], CHUNK("a") LAST("b") DONE) == OUTCOME_completed &&
                  r.record.chunks == 2 && r.record.body_kind == BODY_STREAM);
        response_free(&r);
        CHECK("with comments, other fields or a byte order mark before it",
              BODY(&r, 200, types[i], "\xef\xbb\xbf\r\n: hello\nretry: 5\n" LAST("b")) == OUTCOME_completed);
        response_free(&r);
        CHECK("a JSON object is one too",
              BODY(&r, 200, types[i], json) == OUTCOME_completed && r.record.body_kind == BODY_JSON);
        response_free(&r);
        CHECK("also behind blanks and a byte order mark",
              answer(&r, 200, types[i],
                     (const struct read[]){{1, " \n"}, {2, "\xef\xbb"}, {3, "\xbf"}, {4, json}},
                     4) == OUTCOME_completed);
        response_free(&r);
        CHECK("a page is none",
              BODY(&r, 200, types[i], "<html>") == OUTCOME_malformed && error_is(&r, "<html>"));
        response_free(&r);
        CHECK("nor are words", BODY(&r, 200, types[i], "upstream connect error") == OUTCOME_malformed &&
                                   error_is(&r, "upstream connect error"));
        response_free(&r);
        CHECK("compressed bytes are named",
              BODY(&r, 200, types[i], "\x1f\x8b\x08rest") == OUTCOME_malformed &&
                  error_is(&r, "the body is gzip, and no Content-Encoding says so"));
        response_free(&r);
    }
    CHECK("also in the body of an HTTP error",
          BODY(&r, 500, NULL, "\x1f\x8b\x08rest") == OUTCOME_http_error &&
              error_is(&r, "the body is gzip, and no Content-Encoding says so"));
    response_free(&r);
    begin(&r);
    response_head(&r, 200, NULL);
    response_body(&r, "\x28\xb5\x2f\xfd\0rest", 9, &(struct read_stamp){1, 1, 1});
    CHECK("so are other bytes that are no text",
          response_finish(&r) == OUTCOME_malformed && error_is(&r, "the body is binary"));
    response_free(&r);
    CHECK("words that begin as a field may",
          BODY(&r, 200, NULL, "database is down") == OUTCOME_malformed && error_is(&r, "database is down"));
    response_free(&r);
}

#define PART(type, key, text) "{\"content\":[{\"type\":\"" type "\",\"" key "\":\"" text "\"}]}"

static void test_places(void) {
    struct response r;
    CHECK("content parts are chunks",
          STREAM(&r, {10, CHAT("{\"role\":\"assistant\",\"content\":\"\"}")},
                 {20, CHAT(PART("thinking", "thinking", "t"))}, {30, CHAT(PART("text", "text", "a\\u00e4"))},
                 {40, FINISHED("{}", "\"stop\"") DONE}) == OUTCOME_completed &&
              r.record.chunks == 2 && r.record.first_token_ns == 20);
    CHECK("thoughts are no text", r.record.first_text_ns == 30 && text_is(&r, "a\xc3\xa4"));
    CHECK("their bytes are output", r.record.output_bytes == 8 && r.record.first_chunk_bytes == 1);
    response_free(&r);
    STREAM(&r, {10, CHAT("{\"reasoning_details\":[{\"type\":\"reasoning.text\",\"text\":\"t\"}]}")},
           {20, CHAT("{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}")},
           {30, CHAT("{\"function_call\":{\"arguments\":\"{}\"}}")},
           {40, CHAT("{\"audio\":{\"transcript\":\"hi\"}}")});
    CHECK("so are reasoning details, tool calls of any shape, transcripts",
          r.record.chunks == 4 && r.record.first_token_ns == 10 && r.record.first_text_ns == 20 &&
              r.record.output_bytes == 6);
    response_free(&r);
    STREAM(
        &r, {10, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"message\":{\"content\":\"a\"}}]}\n\n"},
        {20, "data: {\"choices\":[{\"message\":{\"content\":\"ab\"},\"delta\":{\"content\":\"b\"}}]}\n\n"},
        {50, "data: "
             "{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":\"stop\","
             "\"message\":{\"content\":\"ab\"}}]}\n\n"});
    CHECK("a message beside a delta is no output",
          r.record.chunks == 2 && r.record.last_token_ns == 20 && text_is(&r, "ab"));
    response_free(&r);
}

#define ODD(text) CHAT("{\"mood\":\"" text "\"}")

static void test_unknown(void) {
    struct response r;
    CHECK("text in unknown fields alone is the output",
          STREAM(&r, {10, ODD("a")}, {20, ODD("b")}, {40, FINISHED("{}", "\"stop\"") DONE}) ==
                  OUTCOME_completed &&
              r.record.chunks == 2 && r.record.first_token_ns == 10 && r.record.last_token_ns == 20);
    CHECK("and is no longer unknown",
          r.record.unknown_output == 0 && r.n_stamps == 2 && gap_is(&r, 0, 10, 0));
    response_free(&r);
    STREAM(&r, {10, ODD("a")}, {20, ODD("b")}, {30, CHUNK("c")}, {45, LAST("d") USAGE(4) DONE});
    CHECK("where usage counts as many more, it was output",
          r.record.chunks == 4 && r.record.first_token_ns == 10 && r.record.unknown_output == 0 &&
              r.chains[0].n_gaps == 3 && gap_is(&r, 2, 15, 0));
    CHECK("with its stamps in their order", r.n_stamps == 4 && r.stamps[0].arrived_ns == 10);
    CHECK("its reads, and one choice", r.record.reads == 4 && r.record.choices == 1);
    response_free(&r);
    STREAM(&r, {10, CHUNK("c")}, {20, ODD("a")}, {45, LAST("d") USAGE(2) DONE});
    CHECK("where usage counts the others, it was none",
          r.record.chunks == 2 && gap_is(&r, 0, 35, 0) && r.record.unknown_output == 1 && r.n_stamps == 2);
    response_free(&r);
    STREAM(&r, {10, CHUNK("c")}, {20, ODD("a")}, {45, LAST("d") USAGE(30) DONE});
    CHECK("nor where chunks hold many tokens", r.record.chunks == 2 && r.record.unknown_output == 1);
    response_free(&r);
    STREAM(&r, {10, CHUNK("c")}, {20, ODD("a")}, {45, LAST("d") DONE});
    CHECK("without usage that cannot be told, and is counted",
          r.record.chunks == 2 && r.record.unknown_output == 1);
    response_free(&r);
    STREAM(
        &r,
        {10, "data: {\"choices\":[{\"delta\":{\"mood\":\"a\"}}],\"usage\":{\"completion_tokens\":1}}\n\n"},
        {20, "data: {\"choices\":[{\"delta\":{\"mood\":\"b\"}}],\"usage\":{\"completion_tokens\":2}}\n\n"});
    CHECK("usage that rises in the event tells it", r.record.chunks == 2 && r.record.unknown_output == 0);
    response_free(&r);
    begin(&r);
    response_head(&r, 200, STREAM_TYPE);
    read_all(
        &r,
        &(struct read){
            10, "data: {\"choices\":[{\"delta\":{\"mood\":\"a\"}}],\"usage\":{\"completion_tokens\":1}}\n\n"},
        1);
    CHECK("at once", r.record.chunks == 1 && r.record.first_token_ns == 10);
    response_free(&r);
    STREAM(&r, {10, "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\"}}\n\n"});
    CHECK("another API's events are shown and no chunks",
          r.record.unknown_output == 1 && r.record.chunks == 0 && r.error.len > 10);
    response_free(&r);
}

static void test_beside_choices(void) {
    struct response r;
    STREAM(&r, {10, "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n"},
           {20, "data: {\"choices\":[{\"delta\":{}}],\"thinking\":\"t\"}\n\n"},
           {30, "data: {\"type\":\"thought\",\"text\":\"t\"}\n\n"}, {40, LAST("a") USAGE(3) DONE});
    CHECK("thoughts beside the choices are told by usage",
          r.record.chunks == 3 && r.record.first_token_ns == 20 && r.record.unknown_output == 0);
    response_free(&r);
}

static void test_usage(void) {
    struct response r;
    STREAM(&r, {1, CHUNK("a") CHUNK("b")}, {2, LAST("c") USAGE(0) DONE});
    CHECK("usage of zero is not used", r.record.output_tokens == 3 &&
                                           r.record.tokens_source == TOKENS_CHUNKS &&
                                           r.record.usage_tokens == 0);
    response_free(&r);
    STREAM(&r, {1, CHUNK("a") CHUNK("b")}, {2, LAST("c") TOTAL(9, 1, 14) DONE});
    CHECK("what is missing may be in the total", r.record.output_tokens == 5 &&
                                                     r.record.tokens_source == TOKENS_USAGE &&
                                                     r.record.usage_tokens == 1);
    response_free(&r);
    STREAM(&r, {1, CHUNK("a") CHUNK("b")}, {2, LAST("c") TOTAL(9, 1, 11) DONE});
    CHECK("or not", r.record.output_tokens == 3 && r.record.tokens_source == TOKENS_CHUNKS);
    response_free(&r);
    STREAM(&r, {1, CHUNK("a") CHUNK("") CHUNK("")}, {2, LAST("c") USAGE(2) DONE});
    CHECK("empty texts need not be tokens",
          r.record.output_tokens == 2 && r.record.tokens_source == TOKENS_USAGE);
    response_free(&r);
    STREAM(&r, {1, "data: {\"choices\":[{\"text\":\"a\",\"token_ids\":[1,2,3]}]}\n\n"},
           {2, LAST("c") USAGE(2) DONE});
    CHECK("token ids contradict too", r.record.output_tokens == 3 && r.record.tokens_source == TOKENS_IDS);
    response_free(&r);
    STREAM(&r, {1, "data: {\"choices\":[{\"text\":\"a\",\"token_ids\":[1]}]}\n\n"},
           {2, "data: {\"choices\":[{\"text\":\"\",\"token_ids\":[],\"finish_reason\":\"stop\"}]}\n\n"});
    CHECK("an empty list of ids is no token", r.record.chunks == 1 && r.record.output_tokens == 1);
    response_free(&r);
    BODY(&r, 200, NULL, "{\"choices\":[{\"text\":\"hi\"}],\"usage\":{\"completion_tokens\":0}}");
    CHECK("a plain body with output has tokens, but how many is not known",
          r.record.output_tokens == RECORD_NONE && r.record.usage_tokens == 0);
    response_free(&r);
    BODY(&r, 200, NULL,
         "{\"choices\":[{\"text\":\"hi\"}],\"usage\":{\"prompt_tokens\":2.0,\"completion_tokens\":5e0}}");
    CHECK("numbers count however they are written",
          r.record.output_tokens == 5 && r.record.prompt_tokens == 2);
    response_free(&r);
}

static void test_indices(void) {
    struct response r;
    CHECK("an index that counts tokens is one choice",
          STREAM(&r, {10, AT(0, "a", "null")}, {20, AT(1, "b", "null")}, {25, AT(2, "c", "null")},
                 {30, AT(2, "", "\"stop\"") USAGE(3) DONE}) == OUTCOME_completed &&
              r.record.choices == 1 && r.record.chunks == 3);
    CHECK("with gaps", r.chains[0].n_gaps == 2 && gap_is(&r, 0, 10, 0) && gap_is(&r, 1, 5, 0));
    CHECK("and one text", text_is(&r, "abc"));
    response_free(&r);
    STREAM(&r, {10, AT(1, "a", "null") AT(2, "b", "null")}, {20, AT(3, "c", "\"stop\"")});
    CHECK("from any number on, whole without [DONE]", r.record.choices == 1 && r.record.coalesced == 2 &&
                                                          r.chains[0].n_gaps == 2 && response_is_whole(&r));
    response_free(&r);
    STREAM(&r, {10, AT(0, "a", "\"length\"")}, {20, AT(1, "b", "\"length\"")},
           {30, AT(2, "c", "\"length\"") DONE});
    CHECK("choices of one token each have a reason each", r.record.choices == 3 && r.chains[0].n_gaps == 0);
    response_free(&r);
    STREAM(&r, {10, AT(0, "a", "null")}, {20, AT(1, "A", "null")}, {30, AT(0, "b", "null")},
           {40, AT(1, "B", "\"stop\"")});
    CHECK("choices that come again are choices", r.record.choices == 2 && r.chains[1].n_gaps == 1);
    response_free(&r);
    STREAM(&r, {10, "data: {\"choices\":[{\"index\":0,\"text\":\"a\"},{\"index\":1,\"text\":\"A\"}]}\n\n"});
    CHECK("so are two in one event", r.record.choices == 2);
    response_free(&r);
}

static void test_long_index(void) {
    struct response r;
    char event[128];
    begin(&r);
    response_head(&r, 200, STREAM_TYPE);
    for (int i = 0; i < 3000; i++) {
        int n = snprintf(event, sizeof event,
                         "data: {\"choices\":[{\"index\":%d,\"text\":\"x\",\"finish_reason\":%s}]}\n\n", i,
                         i == 2999 ? "\"stop\"" : "null");
        struct read_stamp stamp = {i * 10, i * 10, (uint64_t)i + 1};
        response_body(&r, event, (size_t)n, &stamp);
    }
    CHECK("an index may count beyond all choices",
          response_finish(&r) == OUTCOME_completed && r.record.choices == 1);
    CHECK("with all gaps",
          r.chains[0].n_gaps == 2999 && gap_is(&r, 2998, 10, 0) && r.chains[0].text.len == 3000);
    response_free(&r);
}

static void test_lone_index(void) {
    struct response r;
    struct batch batch = {0};
    STREAM(&r, {10, AT(3, "a", "null")}, {20, AT(3, "b", "\"stop\"")});
    CHECK("a lone choice has its text alone, whatever its index", response_store(&r, &batch) == 0 &&
                                                                      batch.records[0].text_len == 2 &&
                                                                      memcmp(batch.bytes, "ab", 2) == 0);
    CHECK("and its gaps", batch.records[0].n_gaps == 1 && batch.gaps[0].ns == 10);
    batch_free(&batch);
    response_free(&r);
}

static void test_line_feeds(void) {
    struct response r;
    CHECK("events with one line feed between them are events",
          STREAM(&r, {10, "data: {\"choices\":[{\"text\":\"a\"}]}\n"},
                 {20, "data: {\"choices\":[{\"text\":\"b\"}]}\n"}, {30, ": ping\n"},
                 {40, "data: {\"choices\":[{\"text\":\"c\",\"finish_reason\":\"stop\"}]}\n"},
                 {60, "data: [DONE]\n"}) == OUTCOME_completed &&
              r.record.events == 4 && r.record.chunks == 3 && r.done);
    CHECK("each with the stamp of its own line", r.record.first_token_ns == 10 && gap_is(&r, 0, 10, 0) &&
                                                     gap_is(&r, 1, 20, 0) && r.record.last_token_ns == 40 &&
                                                     r.record.reads == 3);
    response_free(&r);
    STREAM(
        &r,
        {10, "data: {\"choices\":[{\"text\":\"a\"}]}\ndata: {\"choices\":[{\"text\":\"b\"}]}\ndata: {\"choi"},
        {20, "ces\":[{\"text\":\"c\"}]}\ndata: [DONE]\n"});
    CHECK("wherever they are cut",
          r.record.chunks == 3 && r.record.coalesced == 2 && r.record.last_token_ns == 20);
    response_free(&r);
}

static void test_words(void) {
    struct response r;
    CHECK("an error object under the type of streams",
          BODY(&r, 200, STREAM_TYPE, "{\"error\":{\"message\":\"loading\"}}") == OUTCOME_stream_error &&
              error_is(&r, "{\"message\":\"loading\"}"));
    response_free(&r);
    static const char quota[] = "{\"code\":\"Throttling\",\"message\":\"slow down\"}";
    CHECK("a message in the place of an answer is an error",
          STREAM(&r, {1, "data: {\"code\":\"Throttling\",\"message\":\"slow down\"}\n\n"}) ==
                  OUTCOME_stream_error &&
              error_is(&r, quota));
    response_free(&r);
    CHECK("also in the place of the rest of it",
          STREAM(&r, {1, CHUNK("a") "data: {\"code\":\"Throttling\",\"message\":\"slow down\"}\n\n"}) ==
                  OUTCOME_stream_error &&
              error_is(&r, quota));
    response_free(&r);
    CHECK("beside a whole answer it is none",
          STREAM(&r, {1, CHUNK("a") "data: {\"message\":\"bye\"}\n\n" DONE}) == OUTCOME_completed);
    response_free(&r);
    CHECK("a detail in a plain body is an error",
          BODY(&r, 200, NULL, "{\"detail\":\"no\"}") == OUTCOME_stream_error &&
              error_is(&r, "{\"detail\":\"no\"}"));
    response_free(&r);
    CHECK("an error event without data fails the answer",
          STREAM(&r, {1, CHUNK("a") "event: error\ndata:\n\n" DONE}) == OUTCOME_stream_error);
    response_free(&r);
    CHECK("errors that say nothing fail nothing",
          STREAM(&r, {1, "data: {\"error\":{},\"choices\":[{\"text\":\"a\"}]}\n\n" DONE}) ==
              OUTCOME_completed);
    response_free(&r);
    CHECK("an HTTP error without a body says so",
          answer(&r, 404, NULL, NULL, 0) == OUTCOME_http_error && error_is(&r, "the body is empty"));
    response_free(&r);
    CHECK("no tokens say why",
          STREAM(&r, {1, DONE}) == OUTCOME_no_tokens && error_is(&r, "the answer holds no output"));
    response_free(&r);
    CHECK("in each case",
          STREAM(&r, {1, ": ping\n\n"}) == OUTCOME_no_tokens && error_is(&r, "the stream holds no event"));
    response_free(&r);
}

static void test_messages(void) {
    struct response r;
    STREAM(&r, {1, CHUNK("a")});
    response_error(&r, "reset by peer", 13);
    CHECK("what the transport saw wins over our guess", error_is(&r, "reset by peer"));
    response_error(&r, "later", 5);
    CHECK("and over what comes later", error_is(&r, "reset by peer"));
    response_free(&r);
    BODY(&r, 200, NULL, "{\"choices\":[{\"te");
    response_error(&r, "reset by peer", 13);
    CHECK("also over half an object", error_is(&r, "reset by peer"));
    response_free(&r);
    BODY(&r, 500, NULL, "its own words");
    response_error(&r, "reset by peer", 13);
    CHECK("but not over the server's words", error_is(&r, "its own words"));
    response_free(&r);
    begin(&r);
    r.trouble = TROUBLE_NO_MEMORY;
    CHECK("without memory it is the client's fault",
          response_finish(&r) == OUTCOME_local_fault && error_is(&r, "out of memory"));
    response_free(&r);
}

static void test_memory(void) {
    struct response r;
    struct batch batch = {0};
    size_t size = 1 << 20;
    char *body = malloc(size + 1);
    if (!body) abort();
    memset(body, 'x', size);
    body[size] = '\0';
    memcpy(body, "{\"choices\":[{\"text\":\"", 21);
    memcpy(body + size - 4, "\"}]}", 4);
    CHECK("a large answer is read", BODY(&r, 200, NULL, body) == OUTCOME_completed && r.json.cap >= size);
    response_store(&r, &batch);
    CHECK("and keeps no memory", r.json.cap == 0 && r.chains[0].text.cap == 0);
    CHECK("but its record", batch.records[0].text_len == size - 25);
    response_begin(&r);
    response_head(&r, 200, STREAM_TYPE);
    read_all(&r, &(struct read){1, CHUNK("a") LAST("b")}, 1);
    CHECK("the next one is read",
          response_finish(&r) == OUTCOME_completed && response_store(&r, &batch) == 0);
    CHECK("and keeps its small buffers", r.chains[0].text.cap > 0);
    batch_free(&batch);
    response_free(&r);
    free(body);
}

int main(void) {
    test_ends();
    test_halves();
    test_types();
    test_places();
    test_unknown();
    test_beside_choices();
    test_usage();
    test_indices();
    test_long_index();
    test_lone_index();
    test_line_feeds();
    test_words();
    test_messages();
    test_memory();
    return t_done("test_answers");
}
