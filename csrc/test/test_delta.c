/* Owns the sentences about stream/delta: what is read, what is skipped, what is refused, text decoding.
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
    CHECK("finish reason", is(c->finish_reason, c->finish_reason_len, "length"));
    CHECK("and number of token ids", c->token_ids == 3 && delta_choice_is_output(c));
    CHECK("null usage is no usage", s.delta.prompt_tokens == -1 && s.delta.completion_tokens == -1);
    free(s.copy);
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
    s = scan("{\"error\":null,\"choices\":[]}");
    CHECK("a null error is none", s.status == DELTA_OK && !s.delta.error);
    free(s.copy);
    s = scan("{\"object\":\"error\",\"message\":\"no\"}");
    CHECK("older vLLM's error object is one",
          s.delta.error_len == strlen("{\"object\":\"error\",\"message\":\"no\"}"));
    free(s.copy);
    s = scan("{\"choices\":[{\"error\":1,\"text\":\"error\"}]}");
    CHECK("an error deeper down is none", !s.delta.error);
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

static int unescapes(const char *raw, const char *text) {
    size_t len = strlen(raw);
    char *dst = malloc(len + 1), *src = malloc(len + 1);
    if (!dst || !src) abort();
    memcpy(src, raw, len);
    int same = is(dst, delta_unescape(dst, src, len), text);
    free(dst);
    free(src);
    return same;
}

static void test_unescape(void) {
    CHECK("nothing", unescapes("", ""));
    CHECK("plain text stays", unescapes("a\xc3\xa4", "a\xc3\xa4"));
    CHECK("short escapes", unescapes("\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"));
    CHECK("one to three bytes", unescapes("\\u0041\\u00e4\\u20AC", "A\xc3\xa4\xe2\x82\xac"));
    CHECK("a surrogate pair", unescapes("\\ud83d\\ude00", "\xf0\x9f\x98\x80"));
    CHECK("a lone surrogate is replaced", unescapes("\\ud83dx", "\xef\xbf\xbdx"));
    CHECK("a low one too", unescapes("\\ude00", "\xef\xbf\xbd"));
    CHECK("a high one before another escape", unescapes("\\ud83d\\n", "\xef\xbf\xbd\n"));
    CHECK("two high ones and a low one", unescapes("\\ud83d\\ud83d\\ude00", "\xef\xbf\xbd\xf0\x9f\x98\x80"));
    CHECK("what no string may end with is taken as it is",
          unescapes("a\\", "a\\") && unescapes("\\u12", "u12"));
    CHECK("NUL is replaced", unescapes("a\\u0000", "a\xef\xbf\xbd"));
}

int main(void) {
    test_completions();
    test_usage();
    test_output();
    test_twice();
    test_errors();
    test_done();
    test_grammar();
    test_every_prefix();
    test_unescape();
    return t_done("test_delta");
}
