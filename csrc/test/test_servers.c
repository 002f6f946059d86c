/* Owns the sentences about answers of servers that go beside the OpenAI API: where they count tokens, what
 * they send for nothing, how they end.
 * Does not compare readers (tests/stream does); other oddities are in test_answers. */
#include "test/answers.h"
#include "test/t.h"

#define STOPS(more) "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"" more "\n\n"
#define NOTHING     "data: null\n\n"

static int counts_are(const struct response *r, int64_t prompt, int64_t output, int64_t cached) {
    return r->record.prompt_tokens == prompt && r->record.output_tokens == output &&
           r->record.cached_tokens == cached && r->record.tokens_source == TOKENS_USAGE;
}

static void test_usage_aside(void) {
    struct response r;
    CHECK("usage in the last choice counts (Moonshot)",
          STREAM(&r, {10, CHUNK("a b")},
                 {20, STOPS(",\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11,"
                            "\"cached_tokens\":4}}]}") DONE}) == OUTCOME_completed &&
              counts_are(&r, 9, 2, 4));
    response_free(&r);
    CHECK("usage in x_groq counts (Groq)",
          STREAM(&r, {10, CHUNK("a b")},
                 {20, STOPS("}],\"x_groq\":{\"id\":\"r\",\"usage\":{\"queue_time\":0.1,\"prompt_tokens\":9,"
                            "\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":4}}}}")
                          DONE}) == OUTCOME_completed &&
              counts_are(&r, 9, 2, 4));
    response_free(&r);
    STREAM(&r, {10, CHUNK("a b")}, {20, STOPS(",\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":6}}]}")},
           {30, USAGE(2) DONE});
    CHECK("usage that comes later replaces it", r.record.output_tokens == 2 && r.record.prompt_tokens == 9);
    response_free(&r);
    CHECK("a whole body may have it too",
          BODY(&r, 200, "application/json",
               "{\"choices\":[{\"message\":{\"content\":\"a\"},\"usage\":{\"prompt_tokens\":9,"
               "\"completion_tokens\":2,\"cached_tokens\":0}}]}") == OUTCOME_completed &&
              counts_are(&r, 9, 2, 0));
    response_free(&r);
    STREAM(&r, {10, CHUNK("a b") LAST("c") USAGE(4)}, {20, USAGE(0) DONE});
    CHECK("zeros behind a usage replace nothing", r.record.output_tokens == 4 && r.record.usage_tokens == 4);
    response_free(&r);
}

static void test_errors_aside(void) {
    struct response r;
    CHECK("an error of a choice fails the answer",
          STREAM(&r,
                 {1, CHUNK("a") "data: {\"choices\":[{\"delta\":{},\"error\":{\"code\":502}}]}\n\n" DONE}) ==
                  OUTCOME_stream_error &&
              error_is(&r, "{\"code\":502}"));
    response_free(&r);
    CHECK("so does Groq's",
          STREAM(&r, {1, CHUNK("a") "data: {\"choices\":[],\"x_groq\":{\"error\":\"busy\"}}\n\n" DONE}) ==
                  OUTCOME_stream_error &&
              error_is(&r, "\"busy\""));
    response_free(&r);
    CHECK(
        "one that says nothing does not",
        STREAM(&r,
               {1, CHUNK("a") "data: {\"choices\":[{\"error\":{}}],\"x_groq\":{\"error\":null}}\n\n" DONE}) ==
            OUTCOME_completed);
    response_free(&r);
}

static void test_null(void) {
    struct response r;
    CHECK("null is no fault and no token",
          STREAM(&r, {10, NOTHING}, {20, CHUNK("a") NOTHING}, {30, LAST("b") NOTHING DONE}) ==
                  OUTCOME_completed &&
              r.record.chunks == 2 && r.record.first_token_ns == 20 && r.error.len == 0);
    response_free(&r);
    CHECK("but alone it is no answer", STREAM(&r, {1, NOTHING NOTHING}) == OUTCOME_no_tokens);
    response_free(&r);
    CHECK("nor with [DONE]", STREAM(&r, {1, NOTHING NOTHING DONE}) == OUTCOME_no_tokens &&
                                 error_is(&r, "the answer holds no output"));
    response_free(&r);
    CHECK("and as a whole body it is malformed",
          BODY(&r, 200, "application/json", "null") == OUTCOME_malformed && error_is(&r, "null"));
    response_free(&r);
    CHECK("it may stand between events with one line feed",
          STREAM(&r, {10, "data: {\"choices\":[{\"text\":\"a\"}]}\ndata: null\n"},
                 {20, "data: {\"choices\":[{\"text\":\"b\",\"finish_reason\":\"stop\"}]}\ndata: [DONE]\n"}) ==
                  OUTCOME_completed &&
              r.record.chunks == 2 && r.record.last_token_ns == 20);
    response_free(&r);
    CHECK("other words for nothing say as much",
          STREAM(&r, {10, "data: \"\"\n\ndata: []\n\n" CHUNK("a")},
                 {20, "data: None\n\ndata: undefined\n\n" LAST("b")}) == OUTCOME_completed &&
              r.record.chunks == 2);
    response_free(&r);
    CHECK("words that begin as null are malformed",
          STREAM(&r, {1, CHUNK("a") "data: nullify\n\n" LAST("b")}) == OUTCOME_malformed);
    response_free(&r);
}

static void test_heartbeats(void) {
    struct response r;
    CHECK("an event whose type says that it is a heartbeat may say any word",
          STREAM(&r, {10, "event: heartbeat\ndata: ping\n\n"}, {20, CHUNK("a")},
                 {30, "event: ping\ndata: 2026-12-01 10:00\n\n" LAST("b")}) == OUTCOME_completed &&
              r.record.chunks == 2 && r.record.first_token_ns == 20);
    response_free(&r);
    CHECK("but what is an object is read",
          STREAM(&r, {10, "event: ping\n" CHUNK("a")}, {20, LAST("b")}) == OUTCOME_completed &&
              r.record.chunks == 2);
    response_free(&r);
    CHECK("heartbeats alone are no answer",
          STREAM(&r, {10, "event: ping\ndata: ping\n\n" DONE}) == OUTCOME_no_tokens);
    response_free(&r);
}

/* Whether a whole answer that ends with this is one, for strict readers or for others. */
static enum outcome ended_by(const char *end, bool strict) {
    struct response r;
    begin(&r);
    r.settings.strict = strict;
    response_head(&r, 200, "text/event-stream");
    read_all(&r, (const struct read[]){{10, CHUNK("a")}, {20, end}}, 2);
    enum outcome outcome = response_finish(&r);
    response_free(&r);
    return outcome;
}

static void test_ends(void) {
    static const char *const ends[] = {"data: \"[DONE]\"\n\n", "data: [done]\n\n", "data: [DONE] req_1\n\n",
                                       DONE "data: bye\n\n", NOTHING DONE};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        CHECK(ends[i], ended_by(ends[i], false) == OUTCOME_completed);
        CHECK("is malformed to a strict reader", ended_by(ends[i], true) == OUTCOME_malformed);
    }
    CHECK("words before [DONE] are malformed", ended_by("data: bye\n\n" DONE, false) == OUTCOME_malformed);
    CHECK("[DON] is no end", ended_by("data: [DON]\n\n", false) == OUTCOME_malformed);
    CHECK("an error behind [DONE] is one",
          ended_by(DONE "data: {\"error\":\"no\"}\n\n", false) == OUTCOME_stream_error);
}

int main(void) {
    test_usage_aside();
    test_errors_aside();
    test_null();
    test_heartbeats();
    test_ends();
    return t_done("test_servers");
}
