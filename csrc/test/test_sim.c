/* Owns the tests of the simulator's parts that do no I/O: json, http, wheel, dist, words, fault, ask, buf.
 * Does not test sockets: tests/sim does. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sim/ask.h"
#include "sim/buf.h"
#include "sim/dist.h"
#include "sim/fault.h"
#include "sim/http.h"
#include "sim/json.h"
#include "sim/wheel.h"
#include "sim/words.h"
#include "t.h"

/* ---- buf ---- */

static bool buf_is(const struct buf *b, const char *text) {
    return b->len == strlen(text) && memcmp(b->data, text, b->len) == 0;
}

static void test_buf(void) {
    struct buf b = {0};
    buf_int(&b, INT64_MIN);
    buf_char(&b, ' ');
    buf_int(&b, 0);
    CHECK("whole numbers are written to the last digit", buf_is(&b, "-9223372036854775808 0"));
    b.len = 0;
    buf_json(&b, "a\"\\\n\x01\xc3\xa9", 7);
    CHECK("what JSON wants escaped is escaped, the rest not", buf_is(&b, "a\\\"\\\\\\n\\u0001\xc3\xa9"));
    buf_drop(&b, 3);
    CHECK("dropping forgets the first bytes", b.data[0] == '\\');
    buf_free(&b);
}

/* ---- json ---- */

/* The kinds of all items, one letter each; the error's place behind it as a digit. */
static const char *kinds(const char *text) {
    static char letters[200];
    static const char of_kind[] = "!.{}[]ksntfz";
    struct json json;
    int n = 0;
    json_init(&json, text, strlen(text));
    for (struct json_item item; n < 190;) {
        item = json_next(&json);
        letters[n++] = of_kind[item.kind];
        if (item.kind == JSON_ERROR) letters[n++] = (char)('0' + json.error_at);
        if (item.kind <= JSON_END) break;
    }
    letters[n] = '\0';
    return letters;
}

static void test_json_items(void) {
    CHECK("an object", strcmp(kinds("{\"a\":1,\"b\":[true,false,null]}"), "{knk[tfz]}.") == 0);
    CHECK("blanks anywhere", strcmp(kinds(" [ 1 , \"x\" ] \n"), "[ns].") == 0);
    CHECK("empty containers", strcmp(kinds("{\"a\":[],\"b\":{}}"), "{k[]k{}}.") == 0);
    CHECK("a bare value", strcmp(kinds("-1.5e+3"), "n.") == 0);
}

static void test_json_errors(void) {
    CHECK("no text", strcmp(kinds(""), "!0") == 0);
    CHECK("a comma before the end of a list", strcmp(kinds("[1,]"), "[n!3") == 0);
    CHECK("a comma before the end of an object", strcmp(kinds("{\"a\":1,}"), "{kn!7") == 0);
    CHECK("no comma after an empty list", strcmp(kinds("[[] 1]"), "[[]!4") == 0);
    CHECK("a leading zero", strcmp(kinds("01"), "!0") == 0);
    CHECK("two values", strcmp(kinds("1 2"), "n!2") == 0);
    CHECK("a string without an end", strcmp(kinds("\"ab"), "!0") == 0);
    CHECK("an unknown escape", strcmp(kinds("\"\\x\""), "!1") == 0);
    CHECK("half an escape", strcmp(kinds("\"\\u12"), "!1") == 0);
    CHECK("the wrong bracket", strcmp(kinds("[1}"), "[n!2") == 0);
    CHECK("no value", strcmp(kinds("{\"a\":}"), "{k!5") == 0);
    CHECK("a word cut short", strcmp(kinds("tru"), "!0") == 0);
}

static void test_json_values(void) {
    struct json json;
    struct json_item item;
    int64_t whole = 0;
    double number = 0;
    json_init(&json, "9223372036854775807", 19);
    CHECK("the largest whole number fits", json_int(json_next(&json), &whole) && whole == INT64_MAX);
    json_init(&json, "9223372036854775808", 19);
    CHECK("one more does not", !json_int(json_next(&json), &whole));
    json_init(&json, "-12.5", 5);
    item = json_next(&json);
    CHECK("a fraction is no whole number",
          !json_int(item, &whole) && json_double(item, &number) && number == -12.5);
    json_init(&json, "[[1,{\"a\":[2]}],3]", 17);
    json_next(&json);
    item = json_next(&json);
    CHECK("skipping goes behind the value", json_skip(&json, item) && json_is(json_next(&json), "3"));
    char deep[200];
    memset(deep, '[', sizeof deep);
    json_init(&json, deep, sizeof deep);
    CHECK("depth is bounded", !json_skip(&json, json_next(&json)) && json.error_at == JSON_DEPTH);
}

/* ---- http ---- */

static const struct http_limits limits = {1000, 1000};

/* Feed a request in pieces of n bytes, from memory that ends where the piece ends. */
static enum http_state feed(struct http *http, char *copy, const char *text, size_t n) {
    size_t len = strlen(text);
    http_init(http);
    memcpy(copy, text, len);
    enum http_state state = HTTP_HEAD;
    for (size_t have = n; state < HTTP_WHOLE; have += n) {
        state = http_read(http, &limits, copy, have < len ? have : len);
        if (have >= len) break;
    }
    return state;
}

static bool slice_is(const char *data, struct http_slice slice, const char *text) {
    return slice.len == strlen(text) && memcmp(data + slice.at, text, slice.len) == 0;
}

static void test_http_pieces(void) {
    static const char text[] =
        "\r\nPOST /a?b=1 HTTP/1.1\r\nHost: x\r\nContent-Length:  5 \r\nConnection: Close\r\n\r\nhello";
    char *copy = malloc(sizeof text);
    struct http *http = malloc(sizeof *http);
    for (size_t n = 1; n < sizeof text; n++) {
        CHECK("a request in pieces is whole", feed(http, copy, text, n) == HTTP_WHOLE);
        CHECK("with its target and body",
              slice_is(copy, http->target, "/a?b=1") && slice_is(copy, http->body, "hello"));
        CHECK("its length is all of it", http->length == sizeof text - 1 && !http->keep_alive);
    }
    const struct http_header *host = http_find(http, copy, "host");
    CHECK("headers are found by their name", host && slice_is(copy, host->value, "x"));
    CHECK("and others not", http_find(http, copy, "hos") == NULL);
    free(copy);
    free(http);
}

static void test_http_chunks(void) {
    static const char text[] =
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\na: b\r\n\r\n";
    char *copy = malloc(sizeof text);
    struct http *http = malloc(sizeof *http);
    for (size_t n = 1; n < sizeof text; n++) {
        CHECK("a chunked body in pieces is whole", feed(http, copy, text, n) == HTTP_WHOLE);
        CHECK("and put together", slice_is(copy, http->body, "hello") && http->length == sizeof text - 1);
    }
    free(copy);
    free(http);
}

static void test_http_refusals(void) {
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET /\r\n\r\n", 400},
        {"GET / HTTP/1.x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\na: \x01\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n", 400},
        {"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400},
        {"G@T / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n: x\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\ncontent-length: 1x\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\ncontent-length: 1001\r\n\r\n", 413},
        {"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400},
        {"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n", 413},
        {"POST / HTTP/1.1\r\ntransfer-encoding: br\r\n\r\n", 501},
    };
    char copy[200];
    struct http *http = malloc(sizeof *http);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK("a bad request fails", feed(http, copy, cases[i].text, 7) == HTTP_FAILED);
        CHECK("with its status", http->status == cases[i].status);
    }
    free(http);
}

/* ---- wheel ---- */

enum { TIMERS = 2000 };

static int by_time(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Timers from ns to days apart come out in order, each as soon as it is due, though some are moved or
 * cancelled. */
static void test_wheel_order(void) {
    static struct wheel_timer timers[TIMERS];
    static int64_t expected[TIMERS];
    int64_t now = INT64_C(123456789012345);
    struct wheel *wheel = wheel_new(now);
    struct random random = random_for(1, 2, 3);
    int n = 0;
    for (int i = 0; i < TIMERS; i++) {
        int64_t far = (int64_t)(random_u64(&random) >> (17 + random_u64(&random) % 40));
        wheel_set(wheel, &timers[i], now + far);
        if (i % 3 == 0) wheel_set(wheel, &timers[i], now + far / 2);
        if (i % 7 == 0)
            wheel_cancel(wheel, &timers[i]);
        else
            expected[n++] = timers[i].at_ns;
    }
    qsort(expected, (size_t)n, sizeof *expected, by_time);
    int out = 0, wrong = 0;
    for (int64_t next; (next = wheel_next_ns(wheel)) != INT64_MAX;) {
        if (next > expected[out]) wrong++;
        if (next - 1 > now && wheel_take(wheel, next - 1) != NULL) wrong++;
        if (next > now) now = next;
        for (struct wheel_timer *timer; (timer = wheel_take(wheel, now)) != NULL; out++)
            if (timer->at_ns != expected[out] || timer->slot != WHEEL_OUT) wrong++;
    }
    CHECK("all timers come out", out == n);
    CHECK("each at its time and in order", wrong == 0);
    wheel_free(wheel);
}

/* As the server uses it: each timer that comes out is set again, while time goes on in uneven steps. */
static void test_wheel_again(void) {
    static struct wheel_timer timers[500];
    int64_t now = 1, last = 0;
    struct wheel *wheel = wheel_new(now);
    struct random random = random_for(4, 5, 6);
    for (int i = 0; i < 500; i++) {
        timers[i] = (struct wheel_timer){0};
        wheel_set(wheel, &timers[i], now + i * 20000);
    }
    int wrong = 0, taken = 0;
    while (taken < 50000) {
        now += (int64_t)(random_u64(&random) % 300000);
        last = 0;
        for (struct wheel_timer *timer; (timer = wheel_take(wheel, now)) != NULL; taken++) {
            if (timer->at_ns > now || timer->at_ns < last) wrong++;
            last = timer->at_ns;
            wheel_set(wheel, timer, timer->at_ns + 10000000);
        }
        if (wheel_next_ns(wheel) <= now) wrong++;
    }
    CHECK("timers that are set again keep their order", wrong == 0);
    for (int i = 0; i < 500; i++) wheel_cancel(wheel, &timers[i]);
    CHECK("cancelled ones are gone", wheel_next_ns(wheel) == INT64_MAX);
    wheel_free(wheel);
}

/* ---- dist, words, fault ---- */

static void test_dist(void) {
    struct dist dist;
    struct random random = random_for(7, 1, 1);
    CHECK("a number is a constant", dist_parse(&dist, "2.5") && dist_draw_ns(&dist, &random) == 2500000);
    CHECK("what is none is refused", !dist_parse(&dist, "x") && !dist_parse(&dist, "normal:1") &&
                                         !dist_parse(&dist, "-1") && !dist_parse(&dist, "lognormal:0:1") &&
                                         !dist_parse(&dist, "normal:1:2:3") && !dist_parse(&dist, ""));
    double sum = 0, squares = 0;
    dist_parse(&dist, "lognormal:50:10");
    for (int i = 0; i < 100000; i++) {
        double ms = (double)dist_draw_ns(&dist, &random) / 1e6;
        sum += ms;
        squares += ms * ms;
    }
    double mean = sum / 1e5, std = sqrt(squares / 1e5 - mean * mean);
    CHECK("a lognormal has its mean and deviation", fabs(mean - 50) < 0.3 && fabs(std - 10) < 0.3);
    dist_parse(&dist, "normal:1:10");
    bool negative = false;
    for (int i = 0; i < 1000; i++) negative |= dist_draw_ns(&dist, &random) < 0;
    CHECK("durations are never negative", !negative);
    double tries = 0;
    for (int i = 0; i < 100000; i++) tries += (double)random_geometric(&random, 20);
    CHECK("a geometric has its mean", fabs(tries / 1e5 - 20) < 0.5);
}

static void test_words(void) {
    CHECK("words between blanks count", words_count("  a b\\nc\td ", 11) == 4);
    CHECK("nothing has none", words_count("", 0) == 0 && words_count(" \\n ", 4) == 0);
    CHECK("an escaped quote is part of its word", words_count("\\\"a\\\\n b", 9) == 2);
    for (int64_t id = WORDS_FIRST_ID; id < WORDS_FIRST_ID + WORDS_COUNT; id++) {
        size_t len;
        const char *piece = words_piece(id, &len);
        CHECK("each of its own words is found again", words_id(piece + 1, len - 1) == id);
    }
    CHECK("another word has another id", words_id("qwerty", 6) >= WORDS_OTHER_ID);
}

static bool parses(const char *text, struct fault *fault) {
    char error[100] = "";
    bool fine = fault_parse(fault, text, strlen(text), error, sizeof error);
    return fine && error[0] == '\0';
}

static void test_fault(void) {
    struct fault fault;
    CHECK("a name alone is for all",
          parses("stall", &fault) && fault_hits(&fault, 0, 1) && fault.value[0] == 3);
    CHECK("parameters and a selector", parses("stall:ms=20:after=1@every=10", &fault) &&
                                           fault.value[0] == 1 && fault.value[1] == 20 &&
                                           fault_hits(&fault, 0, 20) && !fault_hits(&fault, 0, 21));
    CHECK("a list of numbers",
          parses("reset@at=2,5", &fault) && fault_hits(&fault, 0, 5) && !fault_hits(&fault, 0, 3));
    CHECK("what is none is refused", !parses("", &fault) && !parses("stall:", &fault) &&
                                         !parses("stall@", &fault) && !parses("stall@every=0", &fault) &&
                                         !parses("stall@at=", &fault) &&
                                         !parses("stall:after=1e99", &fault) && !parses("stalls", &fault));
    int hits = 0;
    parses("close@p=0.25", &fault);
    for (int64_t i = 1; i <= 10000; i++) hits += fault_hits(&fault, 9, i);
    CHECK("a share is drawn", hits > 2300 && hits < 2700);
}

/* ---- ask ---- */

static int read_ask(struct ask *ask, const char *body, bool chat) {
    static struct sim_config config = {.model = (char *)"sim", .chat_max_tokens = 9, .max_model_len = 100};
    struct buf problem = {0};
    int status = ask_read(ask, &config, chat, body, strlen(body), &problem);
    CHECK("a refusal has a body", (status != 0) == (problem.len > 0));
    buf_free(&problem);
    return status;
}

static void test_ask(void) {
    struct ask ask;
    CHECK("a completion", read_ask(&ask, "{\"prompt\":[1,2],\"stream\":true,\"n\":2}", false) == 0);
    CHECK("its defaults", ask.stream && ask.n == 2 && ask.max_tokens == 16 && ask.prompt_tokens == 2);
    ask_free(&ask);
    CHECK("a chat", read_ask(&ask, "{\"messages\":[{\"role\":\"user\",\"content\":\"a b\"}]}", true) == 0);
    CHECK("its tokens", ask.max_tokens == 9 && ask.prompt_tokens == 9);
    ask_free(&ask);
    CHECK("the first wrong field is named",
          read_ask(&ask, "{\"prompt\":\"a\",\"n\":[[]],\"stream\":3}", false) == 400);
    ask_free(&ask);
    CHECK("a model that is not there", read_ask(&ask, "{\"prompt\":\"a\",\"model\":\"b\"}", false) == 404);
    ask_free(&ask);
}

int main(void) {
    test_buf();
    test_json_items();
    test_json_errors();
    test_json_values();
    test_http_pieces();
    test_http_chunks();
    test_http_refusals();
    test_wheel_order();
    test_wheel_again();
    test_dist();
    test_words();
    test_fault();
    test_ask();
    return t_done("sim");
}
