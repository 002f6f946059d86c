/* Owns the sentences about framing: what of an answer's bytes is head, body and end, however they are cut.
 * Does not read sockets. */
#include "engine/framing.h"

#include <stdlib.h>
#include <string.h>

#include "test/t.h"

struct seen {
    char body[4000];
    size_t len;
    int heads, status;
    enum framing_status last;
    bool keeps;
    char why[128], location[64], type[64], encoding[64];
    size_t left_over;
};

static void take(struct framing *f, struct seen *seen) {
    const char *body;
    size_t len;
    do {
        seen->last = framing_next(f, &body, &len);
        if (seen->last == FRAMING_HEAD) seen->heads++;
        if (seen->last != FRAMING_BODY || seen->len + len > sizeof seen->body) continue;
        memcpy(seen->body + seen->len, body, len);
        seen->len += len;
    } while (seen->last == FRAMING_HEAD || seen->last == FRAMING_BODY);
}

/* An answer in pieces of `step` bytes, and then the end of the connection. */
static struct seen read_in(const char *answer, size_t step) {
    struct framing f = {0};
    struct seen seen = {0};
    size_t size = strlen(answer);
    framing_begin(&f);
    for (size_t at = 0; at < size && seen.last != FRAMING_END && seen.last != FRAMING_BAD; at += step) {
        size_t n = size - at < step ? size - at : step;
        char *piece = malloc(n); /* ends where the piece ends, so that reading on is seen */
        if (!piece) abort();
        memcpy(piece, answer + at, n);
        framing_feed(&f, piece, n);
        take(&f, &seen);
        seen.left_over = framing_left_over(&f);
        free(piece);
    }
    if (seen.last == FRAMING_MORE) seen.last = framing_end_of_input(&f);
    seen.status = f.status;
    seen.keeps = f.keeps_connection;
    memcpy(seen.why, f.why, sizeof seen.why);
    snprintf(seen.location, sizeof seen.location, "%.60s", f.location);
    snprintf(seen.type, sizeof seen.type, "%.60s", f.content_type);
    snprintf(seen.encoding, sizeof seen.encoding, "%.60s", f.content_encoding);
    framing_free(&f);
    return seen;
}

static bool is_body(const struct seen *seen, const char *body) {
    return seen->len == strlen(body) && memcmp(seen->body, body, seen->len) == 0;
}

static const struct {
    const char *sentence, *answer, *body;
    int status;
    bool keeps;
} good[] = {
    {"a body by length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true},
    {"no body by length", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", 200, true},
    {"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
     "hello!", 200, true},
    {"chunk extensions, leading zeros, capitals",
     "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n0005;a=b\r\nhello\r\nA "
     "\r\n0123456789\r\n0\r\n\r\n",
     "hello0123456789", 200, true},
    {"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-A: b\r\nC: d\r\n\r\n",
     "a", 200, true},
    {"lines that end in LF alone", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", "abc", 200,
     true},
    {"a body to the end of the connection", "HTTP/1.1 200 OK\r\n\r\nall of it", "all of it", 200, false},
    {"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", "ab", 200, false},
    {"HTTP/1.0 that keeps", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab", "ab",
     200, true},
    {"Connection: close", "HTTP/1.1 200 OK\r\nconnection: Close\r\nContent-Length: 2\r\n\r\nab", "ab", 200,
     false},
    {"chunks count more than a length",
     "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", "ab",
     200, true},
    {"the same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", "ab",
     200, true},
    {"heads before the head",
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
     "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
     "a", 200, true},
    {"blanks in front of a colon", "HTTP/1.1 200 OK\r\nContent-Length \t: 1\r\n\r\na", "a", 200, true},
    {"another protocol from here on", "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\n\r\n", "", 101,
     false},
    {"no content", "HTTP/1.1 204 No Content\r\n\r\n", "", 204, true},
    {"a status without a reason", "HTTP/1.1 404\r\nContent-Length: 1\r\n\r\nx", "x", 404, true},
};

static void test_good(void) {
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        for (size_t step = 1; step < 200; step += step < 4 ? 1 : 37) {
            struct seen seen = read_in(good[i].answer, step);
            CHECK(good[i].sentence,
                  seen.last == FRAMING_END && is_body(&seen, good[i].body) && seen.heads == 1);
            CHECK(good[i].sentence, seen.status == good[i].status && seen.keeps == good[i].keeps);
        }
}

static const struct {
    const char *sentence, *answer, *why;
} broken[] = {
    {"no HTTP at all", "SSH-2.0-OpenSSH_9.6\r\n", "no HTTP/1.1"},
    {"another version", "HTTP/2 200\r\n\r\n", "no HTTP/1.1"},
    {"a status that is no number", "HTTP/1.1 2xx OK\r\n\r\n", "no HTTP/1.1"},
    {"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", "no HTTP/1.1"},
    {"a status below 100", "HTTP/1.1 099 OK\r\n\r\n", "no HTTP/1.1"},
    {"chunks of something else", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
     "Transfer-Encoding: 'gzip, chunked'"},
    {"a chunk size that is no number", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
     "bad chunk size: 'zz'"},
    {"an empty chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", "bad chunk size"},
    {"a chunk size beyond all bounds",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "bad chunk size"},
    {"a chunk longer than its size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
     "longer"},
    {"a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "Content-Length"},
    {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "Content-Length"},
    {"another transfer encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
     "Transfer-Encoding: 'gzip'"},
};

static void test_broken(void) {
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        for (size_t step = 1; step < 200; step += 66) {
            struct seen seen = read_in(broken[i].answer, step);
            CHECK(broken[i].sentence, seen.last == FRAMING_BAD && strstr(seen.why, broken[i].why));
        }
}

static void test_cut(void) {
    static const char *const cut[] = {
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++)
        for (size_t step = 1; step < 100; step += 33)
            CHECK("an answer that breaks off is not whole", read_in(cut[i], step).last == FRAMING_BAD);
}

static void test_limits(void) {
    static char head[FRAMING_HEAD_BYTES + 100] = "HTTP/1.1 200 OK\r\nX: ";
    memset(head + strlen(head), 'a', sizeof head - strlen(head) - 1);
    struct seen seen = read_in(head, 1000);
    CHECK("a head without an end is refused", seen.last == FRAMING_BAD && strstr(seen.why, "256 KB"));
}

static void test_headers(void) {
    struct seen seen =
        read_in("HTTP/1.1 307 Moved\r\nLocation:  http://b/c \r\ncontent-type: text/event-stream; x=y\r\n"
                "Content-Encoding: gzip\r\n folded\r\nnoise\r\nContent-Length: 0\r\n\r\nGET",
                500);
    CHECK("headers are read without the blanks around them", strcmp(seen.location, "http://b/c") == 0);
    CHECK("whatever their case",
          strcmp(seen.type, "text/event-stream; x=y") == 0 && strcmp(seen.encoding, "gzip") == 0);
    CHECK("what stands behind the answer is left over", seen.last == FRAMING_END && seen.left_over == 3);
}

int main(void) {
    test_good();
    test_broken();
    test_cut();
    test_limits();
    test_headers();
    return t_done("test_framing");
}
