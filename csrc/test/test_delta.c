/* Owns the sentences about stream/delta: what is read, what is skipped, what is refused.
 * Does not compare with another JSON reader (tests/stream does). */
#include <stdlib.h>
#include <string.h>

#include "stream/delta.h"
#include "test/t.h"

enum { MAX_CHOICES = 4 };

struct seen {
    struct delta delta;
    struct delta_choice choices[MAX_CHOICES];
    int n;
    enum delta_status status;
    char *copy;
};

static void on_choice(void *context, const struct delta_choice *choice) {
    struct seen *seen = context;
    if (seen->n < MAX_CHOICES) seen->choices[seen->n++] = *choice;
}

/* Scans a heap copy of exactly this length, so that a read past the end is found. */
static struct seen scan_bytes(const char *json, size_t len) {
    struct seen seen = {.copy = malloc(len ? len : 1)};
    if (!seen.copy) abort();
    memcpy(seen.copy, json, len);
    seen.status = delta_scan(seen.copy, len, &seen.delta, on_choice, &seen);
    return seen;
}

static struct seen scan(const char *json) {
    return scan_bytes(json, strlen(json));
}

static int is(const char *at, size_t len, const char *wanted) {
    return at && len == strlen(wanted) && memcmp(at, wanted, len) == 0;
}

static int status_of(const char *json) {
    struct seen s = scan(json);
    free(s.copy);
    return s.status;
}

static void test_completions(void) {
    struct seen s =
        scan("{\"id\":\"a\",\"choices\":[{\"index\":2,\"text\":\" a\\n\",\"logprobs\":{\"x\":[1,{}]},"
             "\"finish_reason\":\"length\",\"token_ids\":[1,2,3]}],\"usage\":null}");
    const struct delta_choice *c = s.choices;
    CHECK("a completions chunk is read", s.status == DELTA_OK && s.n == 1 && s.delta.n_choices == 1);
    CHECK("with index", c->index == 2);
    CHECK("text, escapes still in it", is(c->content, c->content_len, " a\\n"));
    CHECK("finish reason", is(c->finish_reason.at, c->finish_reason.len, "length"));
    CHECK("and number of token ids", c->token_ids == 3 && delta_choice_is_output(c));
    CHECK("null usage is no usage", s.delta.prompt_tokens == -1 && s.delta.completion_tokens == -1);
    free(s.copy);
}

static void test_blanks(void) {
    struct seen s =
        scan("{\"choices\":[{\"logprobs\":null, \"finish_reason\":null,\r\n\"stop_reason\":null,\t"
             "\"prompt_token_ids\":null, \"text\":\"a\"}]}");
    CHECK("blanks may stand behind members that say nothing",
          s.n == 1 && is(s.choices->content, s.choices->content_len, "a"));
    free(s.copy);
    CHECK("but nothing else",
          status_of("{\"choices\":[{\"logprobs\":null,}]}") == DELTA_MALFORMED &&
              status_of("{\"choices\":[{\"logprobs\":null,,\"a\":1}]}") == DELTA_MALFORMED);
}

static void test_usage(void) {
    struct seen s = scan(
        " {\"choices\": [ ], \"usage\": {\"prompt_tokens\": 7, \"total_tokens\": 9, \"completion_tokens\" "
        ": 2, \"prompt_tokens_details\": {\"cached_tokens\": 5}}} ");
    CHECK("usage without choices", s.status == DELTA_OK && s.n == 0 && s.delta.prompt_tokens == 7);
    CHECK("completion and cached tokens", s.delta.completion_tokens == 2 && s.delta.cached_tokens == 5);
    free(s.copy);
    s = scan("{\"usage\":{\"prompt_tokens\":-3,\"completion_tokens\":\"4\",\"prompt_tokens_details\":null}}");
    CHECK("counts that are none are absent",
          s.delta.prompt_tokens == -1 && s.delta.completion_tokens == -1 && s.delta.cached_tokens == -1);
    free(s.copy);
    s = scan("{\"usage\":{\"prompt_tokens\":99999999999999999999999999}}");
    CHECK("a huge count is none", s.status == DELTA_OK && s.delta.prompt_tokens == -1);
    free(s.copy);
    s = scan("{\"usage\":{\"prompt_tokens\":123456789012345678,\"completion_tokens\":1.5}}");
    CHECK("18 digits are a count, a fraction is none",
          s.delta.prompt_tokens == 123456789012345678 && s.delta.completion_tokens == -1);
    free(s.copy);
}

/* is_output of the only choice, -1 when there is not exactly one. */
static int output_of(const char *choice) {
    char json[512];
    snprintf(json, sizeof json, "{\"choices\":[%s]}", choice);
    struct seen s = scan(json);
    int output = s.status == DELTA_OK && s.n == 1 ? delta_choice_is_output(s.choices) : -1;
    free(s.copy);
    return output;
}

/* What vLLM says of an answer's own time, with digits as Python writes them, and of its drafts. */
/* The completion tokens that are read, -1 for none. */
static int64_t tokens_of(const char *json) {
    struct seen s = scan(json);
    free(s.copy);
    return s.delta.completion_tokens;
}

static void test_usage_elsewhere(void) {
    struct seen s =
        scan("{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\"usage\":{\"prompt_tokens\":19,"
             "\"completion_tokens\":13,\"total_tokens\":32,\"cached_tokens\":10}}]}");
    CHECK("usage in a choice counts", s.delta.prompt_tokens == 19 && s.delta.completion_tokens == 13 &&
                                          s.delta.total_tokens == 32 && s.delta.cached_tokens == 10);
    free(s.copy);
    s = scan("{\"choices\":[],\"x_groq\":{\"id\":\"r\",\"usage\":{\"queue_time\":0.1,\"prompt_tokens\":9,"
             "\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":5}}}}");
    CHECK("Groq's too, with its details",
          s.delta.prompt_tokens == 9 && s.delta.completion_tokens == 4 && s.delta.cached_tokens == 5);
    free(s.copy);
#define ELSEWHERE                                                                                            \
    "\"choices\":[{\"usage\":null},{\"usage\":{\"completion_tokens\":3}},{\"usage\":{\"completion_tokens\":" \
    "4}}],"                                                                                                  \
    "\"x_groq\":{\"usage\":{\"completion_tokens\":5}}"
    CHECK("the object's own usage goes before both",
          tokens_of("{\"usage\":{\"completion_tokens\":2}," ELSEWHERE "}") == 2 &&
              tokens_of("{" ELSEWHERE ",\"usage\":{\"completion_tokens\":2}}") == 2);
    CHECK("the last choice with one before Groq's", tokens_of("{" ELSEWHERE "}") == 4);
    CHECK("an own usage without a count hides neither",
          tokens_of("{\"usage\":null," ELSEWHERE "}") == 4 &&
              tokens_of("{\"usage\":{}," ELSEWHERE "}") == 4 &&
              tokens_of("{\"usage\":{\"completion_tokens\":\"9\"}," ELSEWHERE "}") == 4);
    CHECK("what is no object is no usage",
          tokens_of("{\"choices\":[{\"usage\":{\"completion_tokens\":3},\"usage\":null}]}") == 3 &&
              tokens_of("{\"choices\":[{\"usage\":[{\"completion_tokens\":3}]}]}") == -1 &&
              tokens_of("{\"x_groq\":{\"usage\":{\"completion_tokens\":3},\"usage\":7}}") == -1 &&
              tokens_of("{\"x_groq\":{\"usage\":{\"completion_tokens\":3}},\"x_groq\":[1]}") == -1);
    CHECK("a choice's usage without a count does not hide Groq's",
          tokens_of("{\"choices\":[{\"usage\":{}}],\"x_groq\":{\"usage\":{\"completion_tokens\":5}}}") == 5);
    CHECK("choices that other choices replace say nothing",
          tokens_of("{\"choices\":[{\"usage\":{\"completion_tokens\":3}}],\"choices\":[]}") == -1);
    s = scan("{\"usage\":{\"prompt_tokens\":9,\"prompt_cache_hit_tokens\":4,"
             "\"prompt_tokens_details\":{\"cached_tokens\":null}}}");
    CHECK("cached tokens that the details do not say stand under another name", s.delta.cached_tokens == 4);
    free(s.copy);
}

static void test_metrics(void) {
    struct seen s =
        scan("{\"choices\":[],\"usage\":{\"completion_tokens\":3},\"metrics\":{\"time_to_first_token_ms\":"
             "23.402900000000003,\"generation_time_ms\":1e-05,\"queue_time_ms\":0.0,\"mean_itl_ms\":5.5,"
             "\"speculative_decoding\":{\"acceptance_histogram\":[1,2],\"num_spec_steps\":3,"
             "\"num_accepted_draft_tokens\":4,\"num_draft_tokens\":6}}}");
    CHECK("its times are ms, kept to the ns",
          s.delta.prefill_ns == 23402900 && s.delta.decode_ns == 10 && s.delta.queue_ns == 0);
    CHECK("its drafts are counted",
          s.delta.draft_steps == 3 && s.delta.draft_tokens == 6 && s.delta.accepted_tokens == 4);
    free(s.copy);
    s = scan("{\"metrics\":{\"queue_time_ms\":-1.5,\"generation_time_ms\":\"5\",\"time_to_first_token_ms\":"
             "null,\"speculative_decoding\":null}}");
    CHECK("what is no time is none",
          s.delta.queue_ns == -1 && s.delta.decode_ns == -1 && s.delta.prefill_ns == -1);
    CHECK("nor drafts", s.delta.draft_steps == -1 && s.delta.draft_tokens == -1);
    free(s.copy);
    s = scan("{\"metrics\":{\"queue_time_ms\":1e400,\"generation_time_ms\":1e11}}");
    CHECK("a time that no clock shows is none",
          s.delta.queue_ns == -1 && s.delta.decode_ns == 100000000000000000);
    free(s.copy);
    s = scan("{\"usage\":{\"completion_tokens_details\":{\"accepted_prediction_tokens\":7,"
             "\"rejected_prediction_tokens\":2}},\"metrics\":null}");
    CHECK("OpenAI's prediction is counted apart",
          s.delta.predicted == 7 && s.delta.rejected == 2 && s.delta.draft_tokens == -1);
    free(s.copy);
}

static void test_output(void) {
    CHECK("the role alone is no output",
          output_of("{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}") == 0);
    CHECK("role with content is", output_of("{\"delta\":{\"role\":\"assistant\",\"content\":\"a\"}}") == 1);
    CHECK("empty text is a token", output_of("{\"text\":\"\"}") == 1);
    CHECK("empty content without a role is a token", output_of("{\"delta\":{\"content\":\"\"}}") == 1);
    CHECK("no delta is none", output_of("{\"delta\":{},\"finish_reason\":\"stop\"}") == 0);
    CHECK("null content is none", output_of("{\"delta\":{\"content\":null}}") == 0);
    CHECK("reasoning is output", output_of("{\"delta\":{\"reasoning\":\"a\"}}") == 1);
    CHECK("under its older name too", output_of("{\"delta\":{\"reasoning_content\":\"a\"}}") == 1);
    CHECK("tool calls are output", output_of("{\"delta\":{\"tool_calls\":[{\"index\":0}]}}") == 1);
    CHECK("an empty list of them is not", output_of("{\"delta\":{\"tool_calls\":[]}}") == 0);
    CHECK("a function call is", output_of("{\"delta\":{\"function_call\":{\"name\":\"f\"}}}") == 1);
    CHECK("token ids are, even with the role",
          output_of("{\"delta\":{\"role\":\"a\",\"content\":\"\"},\"token_ids\":[5]}") == 1);
    CHECK("a refusal is", output_of("{\"delta\":{\"refusal\":\"no\"}}") == 1);
    CHECK("a choice of another type is none", output_of("[1,2]") == 0);
}

static const char *const outputs[] = {
    "{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}}",
    "{\"delta\":{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"a\"}]}]}}",
    "{\"delta\":{\"content\":{\"parts\":[\"a\"]}}}",
    "{\"delta\":{\"reasoning_details\":[{\"type\":\"reasoning.text\",\"text\":\"a\"}]}}",
    "{\"delta\":{\"reasoning_details\":[{\"type\":\"reasoning.summary\",\"summary\":\"a\"}]}}",
    "{\"delta\":{\"thinking\":\"a\"}}",
    "{\"delta\":{\"thinking_blocks\":[{\"type\":\"thinking\",\"thinking\":\"a\",\"signature\":\"\"}]}}",
    "{\"delta\":{\"reasoning\":{\"text\":\"a\"}}}",
    "{\"delta\":{\"audio\":{\"id\":\"x\",\"transcript\":\"a\"}}}",
    "{\"delta\":{\"audio\":{\"id\":\"x\",\"data\":\"UklG\"}}}",
    "{\"delta\":{\"tool_calls\":{\"name\":\"f\"}}}",
    "{\"delta\":{\"tool_calls\":\"f()\"}}",
    "{\"delta\":{\"tool_call\":{\"name\":\"f\"}}}",
    "{\"delta\":{\"function_call\":{\"arguments\":\"{\"}}}",
    "{\"delta\":\"a\"}",
    "{\"message\":{\"content\":\"a\"}}",
    "{\"reasoning_content\":\"a\",\"delta\":{}}",
    "{\"delta\":{\"c\\u006fntent\":\"a\"}}",
    "{\"delta\":{\"role\":\"assistant\"},\"text\":\"a\"}",
};
static const char *const no_outputs[] = {
    "{\"delta\":{\"role\":\"assistant\",\"content\":[]}}",
    "{\"delta\":{\"content\":[]}}",
    "{\"delta\":{\"function_call\":{}}}",
    "{\"delta\":{\"tool_calls\":{}}}",
    "{\"delta\":{},\"message\":{\"content\":\"all so far\"}}",
    "{\"message\":{\"content\":\"all so far\"},\"delta\":{}}",
    "{\"delta\":{\"audio\":{\"id\":\"x\",\"expires_at\":5}}}",
    "{\"delta\":{\"reasoning_signature\":\"x\"}}",
    "{\"delta\":{\"content_filter_results\":{\"hate\":{\"severity\":\"safe\"}}}}",
    "{\"delta\":{},\"stop_reason\":\"</s>\",\"matched_stop\":\"</s>\"}",
    "{\"text\":\"\",\"token_ids\":[]}",
    "{\"text\":\"a\",\"text\":null}",
};

static void test_shapes(void) {
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++)
        CHECK(outputs[i], output_of(outputs[i]) == 1);
    for (size_t i = 0; i < sizeof no_outputs / sizeof *no_outputs; i++)
        CHECK(no_outputs[i], output_of(no_outputs[i]) == 0);
}

static void test_bytes(void) {
    struct seen s = scan("{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"ab\"},{"
                         "\"type\":\"thinking\",\"text\":\"c\"}],"
                         "\"reasoning\":\"def\",\"tool_calls\":[{\"id\":\"x\",\"function\":{\"name\":\"f\","
                         "\"arguments\":\"{}\"}}]}}]}");
    const struct delta_choice *c = s.choices;
    char text[64];
    CHECK("text, thoughts and tool calls are counted apart",
          c->text_bytes == 2 && c->thought_bytes == 4 && c->tool_bytes == 3);
    CHECK("all of it", delta_choice_bytes(c) == 9);
    CHECK("the text of parts is had without the thoughts",
          c->parts.len > 0 && said_text(text, c->parts) == 2 && memcmp(text, "ab", 2) == 0);
    free(s.copy);
    s = scan("{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"mood\":\"good\"}}]}");
    CHECK("text under a name that says nothing is told",
          s.choices->has_unknown && !delta_choice_is_output(s.choices));
    free(s.copy);
    s = scan(
        "{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"id\":\"x\",\"n\":5,\"mood\":null,\"x\":[]}}]}");
    CHECK("an id, a number and nothing are not", !s.choices->has_unknown);
    free(s.copy);
}

/* Whether the only choice has a finish reason. */
static int finishes(const char *reason) {
    char json[128];
    snprintf(json, sizeof json, "{\"choices\":[{\"finish_reason\":%s}]}", reason);
    struct seen s = scan(json);
    int found = s.n == 1 && s.choices->finish_reason.at != NULL;
    free(s.copy);
    return found;
}

static void test_finish_reasons(void) {
    CHECK("a finish reason", finishes("\"stop\"") && finishes("\"anything\""));
    CHECK("null, an empty one and no string are none",
          !finishes("null") && !finishes("\"\"") && !finishes("{\"type\":\"stop\"}") && !finishes("1"));
    CHECK("nor are the words for null", !finishes("\"null\"") && !finishes("\"None\""));
    CHECK("of two the last one counts", !finishes("\"stop\",\"finish_reason\":null"));
}

static int64_t counted(const char *number) {
    char json[256];
    snprintf(json, sizeof json, "{\"usage\":{\"completion_tokens\":%s}}", number);
    struct seen s = scan(json);
    int64_t count = s.status == DELTA_OK ? s.delta.completion_tokens : -2;
    free(s.copy);
    return count;
}

static void test_counts(void) {
    CHECK("whole numbers, however they are written", counted("5") == 5 && counted("5.0") == 5 &&
                                                         counted("5e0") == 5 && counted("0.5E+1") == 5 &&
                                                         counted("120e-1") == 12 && counted("1.25e2") == 125);
    CHECK("nothing, with or without a sign",
          counted("0") == 0 && counted("-0.0") == 0 && counted("0e99999999") == 0);
    CHECK("no fractions, none below nothing, none beyond 18 digits",
          counted("5.5") == -1 && counted("1e-1") == -1 && counted("-5") == -1 && counted("1e18") == -1 &&
              counted("9e999999999999999999999") == -1 && counted("1e-99999999999999999999") == -1);
    CHECK("no texts, nothing without end", counted("\"5\"") == -1 && counted("[5]") == -1 &&
                                               counted("NaN") == -1 && counted("Infinity") == -1 &&
                                               counted("-Infinity") == -1);
    CHECK("of two the last one counts", counted("5,\"completion_tokens\":null") == -1);
}

static void test_equal_keys(void) {
    struct seen s = scan("{\"choices\":[{\"text\":\"a\"}],\"choices\":[{\"text\":\"b\",\"text\":\"c\"}]}");
    CHECK("choices that come twice count once", s.n == 1 && s.delta.n_choices == 1);
    CHECK("and are the last ones", is(s.choices->content, s.choices->content_len, "c"));
    free(s.copy);
    s = scan("{\"usage\":{\"prompt_tokens\":3},\"usage\":{\"completion_tokens\":4}}");
    CHECK("usage too", s.delta.prompt_tokens == -1 && s.delta.completion_tokens == 4);
    free(s.copy);
    s = scan("{\"error\":\"no\",\"error\":null}");
    CHECK("and errors", !s.delta.error);
    free(s.copy);
}

static void test_many_choices(void) {
    struct seen s =
        scan("{\"choices\":[{\"index\":0},{\"index\":1},{\"index\":2},{\"index\":3},{\"index\":4},5]}");
    CHECK("any number of choices is given", s.delta.n_choices == 6 && s.n == MAX_CHOICES);
    CHECK("in their order", s.choices[3].index == 3);
    free(s.copy);
    s = scan("{\"choices\":[{\"text\":\"a\"}],\"x\":}");
    CHECK("none of what is malformed", s.status == DELTA_MALFORMED && s.n == 0);
    free(s.copy);
}

static int complains(const char *json) {
    struct seen s = scan(json);
    int found = s.delta.has_complaint;
    free(s.copy);
    return found;
}

static void test_without_choices(void) {
    CHECK("a message without choices is a complaint",
          complains("{\"code\":\"Throttling\",\"message\":\"slow\"}") && complains("{\"detail\":\"no\"}") &&
              complains("{\"errors\":[{\"title\":\"no\"}]}") && complains("{\"error_msg\":\"no\"}") &&
              complains("{\"base_resp\":{\"status_code\":1004}}") &&
              !complains("{\"base_resp\":{\"status_code\":0}}"));
    CHECK("an empty one is none, nor is one beside choices",
          !complains("{\"message\":\"\"}") && !complains("{\"message\":\"x\",\"choices\":[]}") &&
              !complains("{\"type\":\"ping\"}"));
    struct seen s = scan("{\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\"}}");
    CHECK("another API's output is told", s.delta.has_foreign_output && !s.delta.has_complaint);
    free(s.copy);
    s = scan("{\"message\":{\"role\":\"assistant\",\"content\":\"a\"}}");
    CHECK("also as a message", s.delta.has_foreign_output && !s.delta.has_complaint);
    free(s.copy);
    s = scan("{\"choices\":[{\"text\":\"a\"}],\"text\":\"a\"}");
    CHECK("not beside output in choices", !s.delta.has_foreign_output);
    free(s.copy);
    s = scan("{\"provider\":\"x\",\"choices\":[{\"delta\":{\"role\":\"a\"}}],\"thinking\":\"b\"}");
    CHECK("but beside choices that say nothing", s.delta.has_foreign_output);
    free(s.copy);
    s = scan("{\"provider\":\"x\",\"choices\":[],\"usage\":{\"text\":\"x\"},\"object\":\"text_completion\"}");
    CHECK("a provider or a kind is no output", !s.delta.has_foreign_output);
    free(s.copy);
}

static int is_whole(const char *json) {
    return delta_is_whole(json, strlen(json));
}

static void test_whole(void) {
    CHECK("whole objects and [DONE]", is_whole("{\"a\":[{}]}") && is_whole(" {} ") && is_whole("[DONE]"));
    CHECK("and null", is_whole(" null ") && is_whole("null") && !is_whole("nul") && !is_whole("nullx"));
    CHECK("and other words for nothing", is_whole("\"\"") && is_whole("[]") && is_whole("None") &&
                                             is_whole("undefined") && !is_whole("none") && !is_whole("[ 1]"));
    CHECK("nothing else", !is_whole("") && !is_whole("{\"a\":1") && !is_whole("[1]") && !is_whole("{}x"));
}

static void test_twice(void) {
    struct seen s = scan("{\"choices\":[{\"message\":{\"content\":\"a\",\"refusal\":\"\",\"reasoning\":\"r\","
                         "\"reasoning_content\":\"\"}}]}");
    CHECK("an empty refusal does not hide the content", is(s.choices->content, s.choices->content_len, "a"));
    CHECK("an empty second name does not hide the reasoning",
          is(s.choices->reasoning, s.choices->reasoning_len, "r"));
    free(s.copy);
}

static void test_errors(void) {
    struct seen s = scan("{\"error\": {\"message\":\"no\",\"code\":400} }");
    CHECK("an error is given raw", is(s.delta.error, s.delta.error_len, "{\"message\":\"no\",\"code\":400}"));
    free(s.copy);
    static const char *const nothing[] = {
        "null", "false", "\"\"", "0", "{}", "[]", "{\"code\":0,\"message\":\"\"}", "[[null,0.0e5]]"};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        char json[128];
        snprintf(json, sizeof json, "{\"error\":%s,\"choices\":[]}", nothing[i]);
        s = scan(json);
        CHECK("an error that says nothing is none", s.status == DELTA_OK && !s.delta.error);
        free(s.copy);
    }
    s = scan("{\"error\":{\"code\":0,\"message\":\"x\"}}");
    CHECK("one that says something is one", s.delta.error != NULL);
    free(s.copy);
    s = scan("{\"object\":\"error\",\"message\":\"no\"}");
    CHECK("older vLLM's error object is one",
          s.delta.error_len == strlen("{\"object\":\"error\",\"message\":\"no\"}"));
    free(s.copy);
    s = scan("{\"choices\":[{\"error\":1,\"text\":\"error\"}],\"x\":{\"error\":\"no\"}}");
    CHECK("an error deeper down is none", !s.delta.error);
    free(s.copy);
    s = scan("{\"choices\":[{\"delta\":{},\"error\":{\"code\":502}}],\"x_groq\":{\"error\":\"b\"}}");
    CHECK("but an object of a choice is", is(s.delta.error, s.delta.error_len, "{\"code\":502}"));
    free(s.copy);
    s = scan("{\"x_groq\":{\"error\":\"busy\"},\"choices\":[{\"error\":{}}],\"error\":null}");
    CHECK("and what Groq says", is(s.delta.error, s.delta.error_len, "\"busy\""));
    free(s.copy);
}

static void test_done(void) {
    CHECK("[DONE]", status_of("[DONE]") == DELTA_DONE);
    CHECK("[DONE] with blanks", status_of(" [DONE]\r\n") == DELTA_DONE);
    CHECK("[DONE] and more is malformed", status_of("[DONE]x") == DELTA_MALFORMED);
    CHECK("half of it too", status_of("[DON") == DELTA_MALFORMED);
}

static const char *const malformed[] = {
    "",
    " ",
    "{",
    "}",
    "[]",
    "1",
    "null",
    "\"a\"",
    "{\"a\":1,}",
    "{\"a\":[1,]}",
    "{,}",
    "{\"a\"}",
    "{\"a\":}",
    "{a:1}",
    "{\"a\":01}",
    "{\"a\":1.}",
    "{\"a\":.5}",
    "{\"a\":-}",
    "{\"a\":+1}",
    "{\"a\":1e}",
    "{\"a\":nul}",
    "{\"a\":True}",
    "{\"a\":nan}",
    "{\"a\":Inf}",
    "{\"a\":+Infinity}",
    "{\"a\":-NaN}",
    "{\"a\":\"\\x\"}",
    "{\"a\":\"\\u12g4\"}",
    "{\"a\":\"\\u12\"}",
    "{\"a\":\"\n\"}",
    "{\"a\":\"b}",
    "{\"a\":\"\\\"}",
    "{} {}",
    "{\"a\":[}",
    "{\"a\":{]}",
    "{\"a\":[1 2]}",
    "{\"a\":1 \"b\":2}",
    "{\"choices\":[{]}",
    "{\"choices\":[,]}",
    "{\"choices\":[{}",
    "{\"usage\":{\"prompt_tokens\":}}",
    "{'a':1}",
};
static const char *const well_formed[] = {
    "{}",
    " { } ",
    "{\"a\":-0.5e+10}",
    "{\"a\":0}",
    "{\"a\":1E-2}",
    "{\"a\":[[],{},[{}],\"\"]}",
    "{\"a\":true,\"b\":false}",
    "{\"a\":[NaN,Infinity,-Infinity]}",
    "\xef\xbb\xbf{}",
    "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\"}",
    "{\"a\":\"\xc3\xa4\x7f\"}",
    "{\"\":{\"\":[null]}}",
    "{\"choices\":7}",
    "{\"choices\":null,\"usage\":[],\"error\":null}",
    "{\"choices\":[{\"delta\":3,\"text\":4,\"token_ids\":{}}]}",
};

static void test_grammar(void) {
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        CHECK(malformed[i], status_of(malformed[i]) == DELTA_MALFORMED);
    for (size_t i = 0; i < sizeof well_formed / sizeof *well_formed; i++)
        CHECK(well_formed[i], status_of(well_formed[i]) == DELTA_OK);
    struct seen s = scan_bytes("{\"a\":\0}", 7);
    CHECK("a NUL is malformed", s.status == DELTA_MALFORMED);
    free(s.copy);
    s = scan_bytes("{\"a\":\"\0\"}", 9);
    CHECK("inside a string too", s.status == DELTA_MALFORMED);
    free(s.copy);
}

static int nested(int depth) {
    char json[512] = "{\"a\":";
    size_t len = strlen(json);
    memset(json + len, '[', (size_t)depth);
    memset(json + len + depth, ']', (size_t)depth);
    json[len + 2 * (size_t)depth] = '}';
    return status_of(json);
}

#define FOUR(x)     x x x x
#define OPEN_31     "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
#define SHUT_31     "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"
#define SQUARES_124 FOUR(OPEN_31) FOUR(SHUT_31)

static void test_every_prefix(void) {
    static const char json[] = "{\"choices\":[{\"delta\":{\"content\":\"\\u00e4\\n\"},\"token_ids\":[1]}],"
                               "\"usage\":{\"prompt_tokens\":1},\"x\":[true,-1.5e3]}";
    int refused = 0;
    for (size_t len = 0; len < sizeof json - 1; len++) {
        struct seen s = scan_bytes(json, len);
        refused += s.status == DELTA_MALFORMED;
        free(s.copy);
    }
    CHECK("every true prefix of an object is malformed", refused == sizeof json - 1);
    CHECK("128 brackets, with the outermost, are read", nested(127) == DELTA_OK);
    CHECK("129 are refused", nested(128) == DELTA_MALFORMED);
    CHECK("below choices they count the same",
          status_of("{\"choices\":[{\"logprobs\":" SQUARES_124 "}]}") == DELTA_OK &&
              status_of("{\"choices\":[{\"logprobs\":[" SQUARES_124 "]}]}") == DELTA_OK &&
              status_of("{\"choices\":[{\"logprobs\":[[" SQUARES_124 "]]}]}") == DELTA_MALFORMED);
}

int main(void) {
    test_completions();
    test_blanks();
    test_usage();
    test_usage_elsewhere();
    test_metrics();
    test_output();
    test_shapes();
    test_bytes();
    test_finish_reasons();
    test_counts();
    test_equal_keys();
    test_many_choices();
    test_without_choices();
    test_whole();
    test_twice();
    test_errors();
    test_done();
    test_grammar();
    test_every_prefix();
    return t_done("test_delta");
}
