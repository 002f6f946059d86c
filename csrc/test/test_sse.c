/* Owns the sentences about stream/sse: fields, line ends, views, limits, and that splits never matter.
 * Does not read recorded streams (tests/stream does). */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "stream/sse.h"
#include "test/t.h"

enum { LOG_BYTES = 4096, MAX_BYTES = 64 };

/* All events of a stream as one text: "type|data;" for each, and "!" when the parser gave up. */
struct log {
    char text[LOG_BYTES];
    size_t len;
};

static void log_add(struct log *log, const char *bytes, size_t len) {
    if (len) memcpy(log->text + log->len, bytes, len);
    log->len += len;
    log->text[log->len] = '\0';
}

static void take_all(struct sse *sse, struct log *log) {
    struct sse_event event;
    enum sse_status status;
    while ((status = sse_next(sse, &event)) == SSE_EVENT) {
        log_add(log, event.type, event.type_len);
        log_add(log, "|", 1);
        log_add(log, event.data, event.data_len);
        log_add(log, ";", 1);
    }
    bool gave_up = log->len && log->text[log->len - 1] == '!';
    if (status != SSE_MORE && !gave_up) log_add(log, "!", 1);
}

/* A heap copy of each piece, freed as soon as it is used up: a view that lives too long is then found. */
static void feed(struct sse *sse, const char *bytes, size_t len, struct log *log) {
    char *copy = malloc(len ? len : 1);
    if (!copy) abort();
    if (len) memcpy(copy, bytes, len);
    sse_feed(sse, copy, len);
    take_all(sse, log);
    free(copy);
}

static void finish(struct sse *sse, struct log *log) {
    sse_feed(sse, "", 0);
    sse_end(sse);
    take_all(sse, log);
}

/* The log when the stream is cut at two places. */
static void cut(struct sse *sse, const char *bytes, size_t len, size_t first, size_t second,
                struct log *log) {
    log->len = 0;
    log->text[0] = '\0';
    sse_reset(sse);
    feed(sse, bytes, first, log);
    feed(sse, bytes + first, second - first, log);
    feed(sse, bytes + second, len - second, log);
    finish(sse, log);
}

static int same_for_all_cuts(const char *bytes, size_t len, const char *expected) {
    struct sse *sse = sse_new(MAX_BYTES);
    struct log log;
    int differ = 0;
    for (size_t first = 0; sse && first <= len; first++)
        for (size_t second = first; second <= len; second++) {
            cut(sse, bytes, len, first, second, &log);
            if (strcmp(log.text, expected) != 0 && !differ++)
                printf("got %s at %zu, %zu\n", log.text, first, second);
        }
    sse_free(sse);
    return differ == 0;
}

static const struct {
    const char *sentence, *stream, *events;
} cases[] = {
    {"a data line and a blank line are an event", "data: a\n\n", "|a;"},
    {"no stream, no event", "", ""},
    {"only one space after the colon is taken off", "data:  a\n\ndata:b\n\n", "| a;|b;"},
    {"a line without a colon is a field with an empty value", "data\n\n", "|;"},
    {"data lines are joined by LF", "data: a\ndata: b\ndata\n\n", "|a\nb\n;"},
    {"LF, CR and CRLF end lines", "data: a\r\rdata: b\r\n\r\ndata: c\n\n", "|a;|b;|c;"},
    {"mixed line ends within an event", "data: a\r\ndata: b\rdata: c\n\r\n", "|a\nb\nc;"},
    {"a byte order mark at the start is skipped",
     "\xef\xbb\xbf"
     "data: a\n\n",
     "|a;"},
    {"a byte order mark later is not",
     "data: a\n\n\xef\xbb\xbf"
     "data: b\n\n",
     "|a;"},
    {"what only begins like a byte order mark is a field name",
     "\xef\xbb"
     "data: a\n\ndata: b\n\n",
     "|b;"},
    {"comments are skipped, also inside an event", ": ping\n\n:\ndata: a\n: b\ndata: c\n\n", "|a\nc;"},
    {"the type belongs to one event", "event: error\ndata: a\n\ndata: b\n\n", "error|a;|b;"},
    {"the last type counts", "event: a\nevent: b\ndata\n\n", "b|;"},
    {"an event without data is none, and its type is forgotten", "event: a\n\ndata: b\n\n", "|b;"},
    {"id, retry and unknown fields are skipped", "id: 7\nretry: 10\ndata: a\ndatax: b\nDATA: c\n\n", "|a;"},
    {"the last event may lack its blank line", "data: a\n\ndata: b\n", "|a;|b;"},
    {"the last line may lack its end", "data: a\ndata: b", "|a\nb;"},
    {"a last CR ends the line", "data: a\r", "|a;"},
    {"blank lines alone are nothing", "\n\r\n\r\n\n", ""},
    {"whole objects and [DONE] in lines of their own are events",
     "data: {\"a\":1}\ndata: {\"b\":[]}\ndata: [DONE]\n", "|{\"a\":1};|{\"b\":[]};|[DONE];"},
    {"also with CRLF, comments and other fields between them",
     "data: {\"a\":1}\r\n: ping\r\nid: 5\r\ndata: {}", "|{\"a\":1};|{};"},
    {"an event field between two belongs to the second",
     "event: x\ndata: {}\nevent: y\ndata: {}\n\ndata: c\n\n", "x|{};y|{};|c;"},
    {"one behind the last data line belongs to it", "data: {}\nevent: y\n\ndata: {}\n\n", "y|{};|{};"},
    {"an object over several lines is one event", "data: {\"a\":\ndata: {}\ndata: }\n\n", "|{\"a\":\n{}\n};"},
    {"so is what only ends in an object", "data: {\"a\":\ndata: 1}\ndata: {}\n\n", "|{\"a\":\n1}\n{};"},
};

static void test_cases(void) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(cases[i].sentence,
              same_for_all_cuts(cases[i].stream, strlen(cases[i].stream), cases[i].events));
    static const char nul[] = "data: a\0b\n\n";
    struct sse *sse = sse_new(MAX_BYTES);
    struct log log = {"", 0};
    feed(sse, nul, sizeof nul - 1, &log);
    CHECK("a NUL is data like any other", log.len == 5 && memcmp(log.text, "|a\0b;", 5) == 0);
    sse_free(sse);
}

static void limit_case(const char *sentence, const char *line, size_t fill, const char *events) {
    char stream[2 * MAX_BYTES + 32] = "data: ok\n\n";
    strcat(stream, line);
    memset(stream + strlen(stream), 'x', fill);
    strcat(stream, "\n\n");
    CHECK(sentence, same_for_all_cuts(stream, strlen(stream), events));
}

static void test_limits(void) {
    char fits[MAX_BYTES + 16] = "|ok;|";
    memset(fits + strlen(fits), 'x', MAX_BYTES - 6);
    strcat(fits, ";");
    limit_case("a line of the limit's length passes", "data: ", MAX_BYTES - 6, fits);
    limit_case("a line longer than the limit is refused for good", "data: ", MAX_BYTES - 5, "|ok;!");
    limit_case("a comment longer than the limit too", ":", MAX_BYTES, "|ok;!");
    limit_case("an event of short lines longer than the limit too",
               "data: 0123456789012345678901234567890123\ndata: ", 30, "|ok;!");
}

static void test_cut(void) {
    struct sse *sse = sse_new(MAX_BYTES);
    struct sse_event event;
    sse_feed(sse, "data: a\n\ndata: b\n", 17);
    CHECK("an event with its blank line is whole", sse_next(sse, &event) == SSE_EVENT && !event.cut);
    CHECK("one without waits", sse_next(sse, &event) == SSE_MORE);
    sse_end(sse);
    CHECK("and is marked when the input ends", sse_next(sse, &event) == SSE_EVENT && event.cut);
    CHECK("after it comes nothing", sse_next(sse, &event) == SSE_MORE);
    sse_free(sse);
}

static void test_views(void) {
    struct sse *sse = sse_new(MAX_BYTES);
    struct sse_event event;
    static const char stream[] = "data: abc\n\n";
    sse_feed(sse, stream, sizeof stream - 1);
    CHECK("an event that lies whole in a piece is a view into it",
          sse_next(sse, &event) == SSE_EVENT && event.data == stream + 6);
    sse_reset(sse);
    sse_feed(sse, "data: half", 10);
    CHECK("half an event is no event", sse_next(sse, &event) == SSE_MORE);
    sse_reset(sse);
    sse_feed(sse, stream, sizeof stream - 1);
    CHECK("reset forgets the half event", sse_next(sse, &event) == SSE_EVENT && event.data_len == 3);
    sse_free(sse);
    sse_free(NULL);
}

int main(void) {
    test_cases();
    test_limits();
    test_cut();
    test_views();
    return t_done("test_sse");
}
