/* Owns the framing of an answer: which bytes are head, body, and end.
 * Does not read sockets, does not know what a body says or which requests there are. */
#include "engine/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void http_begin(struct http *http) {
    struct text line = http->line;
    memset(http, 0, sizeof *http);
    line.len = 0;
    http->line = line;
    http->length = -1;
}

void http_free(struct http *http) {
    free(http->line.bytes);
    http->line = (struct text){0};
}

void http_feed(struct http *http, const char *bytes, size_t len) {
    http->at = bytes;
    http->end = bytes + len;
    http->started = http->started || len > 0;
}

size_t http_left_over(const struct http *http) {
    return (size_t)(http->end - http->at);
}

static enum http_status bad(struct http *http, const char *what, const char *text, size_t len) {
    char shown[48];
    size_t n = len < sizeof shown - 1 ? len : sizeof shown - 1;
    for (size_t i = 0; i < n; i++) shown[i] = text[i] < ' ' || text[i] > '~' ? '.' : text[i];
    shown[n] = 0;
    snprintf(http->why, sizeof http->why, "%s: '%s'", what, shown);
    http->state = HTTP_BROKEN;
    return HTTP_BAD;
}

/* ---- lines ---- */

struct line {
    const char *text;
    size_t len; /* without CR and LF */
};

/* The next line, or false when its end has not come or it is too long (then broken). A view into the piece,
 * or into the kept beginning when the line came in several. */
static bool next_line(struct http *http, struct line *line) {
    size_t there = (size_t)(http->end - http->at);
    const char *lf = there ? memchr(http->at, '\n', there) : NULL;
    size_t take = lf ? (size_t)(lf - http->at) + 1 : there;
    http->head_bytes += take;
    if (http->head_bytes > HTTP_HEAD_BYTES) {
        bad(http, "the answer's head is longer than 256 KB", http->at, take);
        return false;
    }
    *line = (struct line){http->at, take};
    http->at += take;
    if (http->line.len || !lf) {
        if (!text_add(&http->line, line->text, take)) {
            bad(http, "out of memory in the answer's head", "", 0);
            return false;
        }
        *line = (struct line){http->line.bytes, http->line.len};
    }
    if (!lf) return false;
    http->line.len = 0;
    line->len--;
    if (line->len && line->text[line->len - 1] == '\r') line->len--;
    return true;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

/* ---- the head ---- */

static enum http_status take_status(struct http *http, const struct line *line) {
    const char *t = line->text;
    bool is_one = line->len >= 12 && memcmp(t, "HTTP/1.", 7) == 0 && is_digit(t[7]) && t[8] == ' ';
    if (!is_one || !is_digit(t[9]) || !is_digit(t[10]) || !is_digit(t[11]))
        return bad(http, "the answer is no HTTP/1.1, it begins with", t, line->len);
    http->minor_version = t[7] - '0';
    http->status = (t[9] - '0') * 100 + (t[10] - '0') * 10 + t[11] - '0';
    http->keeps_connection = http->minor_version >= 1;
    http->state = HTTP_AT_HEADER;
    return HTTP_MORE;
}

static void keep(char *to, size_t size, const struct line *value) {
    size_t n = value->len < size - 1 ? value->len : size - 1;
    memcpy(to, value->text, n);
    to[n] = 0;
}

/* Is `word` one of the values of a list like "gzip, chunked"? */
static bool lists(const struct line *value, const char *word) {
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= value->len; i++) {
        bool begins = i == 0 || value->text[i - 1] == ',' || is_blank(value->text[i - 1]);
        bool ends = i + n == value->len || value->text[i + n] == ',' || value->text[i + n] == ';' ||
                    is_blank(value->text[i + n]);
        if (begins && ends && strncasecmp(value->text + i, word, n) == 0) return true;
    }
    return false;
}

static enum http_status take_length(struct http *http, const struct line *value) {
    int64_t length = 0;
    size_t i = 0;
    for (; i < value->len && is_digit(value->text[i]) && length < INT64_MAX / 100; i++)
        length = length * 10 + value->text[i] - '0';
    bool is_again = http->length >= 0 && http->length != length;
    if (i == 0 || i < value->len || is_again) return bad(http, "bad Content-Length", value->text, value->len);
    http->length = length;
    return HTTP_MORE;
}

static enum http_status take_transfer_encoding(struct http *http, const struct line *value) {
    http->chunked = http->chunked || lists(value, "chunked");
    if (http->chunked || lists(value, "identity")) return HTTP_MORE;
    return bad(http, "unknown Transfer-Encoding", value->text, value->len);
}

static void take_connection(struct http *http, const struct line *value) {
    if (lists(value, "close")) http->keeps_connection = false;
    if (http->minor_version == 0 && lists(value, "keep-alive")) http->keeps_connection = true;
}

static enum http_status take_header(struct http *http, const struct line *line) {
    const char *colon = memchr(line->text, ':', line->len);
    if (!colon) return HTTP_MORE; /* a folded line, or noise: no header that we need */
    size_t name_len = (size_t)(colon - line->text);
    struct line value = {colon + 1, line->len - name_len - 1};
    while (value.len && is_blank(value.text[0])) value.text++, value.len--;
    while (value.len && is_blank(value.text[value.len - 1])) value.len--;
#define IS(name) (name_len == sizeof(name) - 1 && strncasecmp(line->text, name, name_len) == 0)
    if (IS("content-type")) keep(http->content_type, sizeof http->content_type, &value);
    if (IS("content-encoding")) keep(http->content_encoding, sizeof http->content_encoding, &value);
    if (IS("location")) keep(http->location, sizeof http->location, &value);
    if (IS("connection")) take_connection(http, &value);
    if (IS("content-length")) return take_length(http, &value);
    if (IS("transfer-encoding")) return take_transfer_encoding(http, &value);
#undef IS
    return HTTP_MORE;
}

static enum http_status end_head(struct http *http) {
    if (http->status < 200 && http->status != 101) { /* an interim answer: the real one follows */
        size_t head_bytes = http->head_bytes;
        const char *at = http->at, *last = http->end;
        bool no_body = http->no_body;
        http_begin(http);
        http->at = at, http->end = last;
        http->head_bytes = head_bytes; /* without an end of them, they are too long in the end */
        http->no_body = no_body, http->started = true;
        return HTTP_MORE;
    }
    http->head_bytes = 0;
    if (http->no_body || http->status == 204 || http->status == 304 || http->status == 101)
        http->left = 0, http->state = HTTP_IN_LENGTH;
    else if (http->chunked)
        http->state = HTTP_AT_CHUNK_SIZE;
    else if (http->length >= 0)
        http->left = http->length, http->state = HTTP_IN_LENGTH;
    else
        http->state = HTTP_TO_CLOSE, http->keeps_connection = false;
    return HTTP_HEAD;
}

/* ---- the body ---- */

static int hex_digit(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static enum http_status take_chunk_size(struct http *http, const struct line *line) {
    int64_t size = 0;
    size_t i = 0;
    for (int digit; i < line->len && (digit = hex_digit(line->text[i])) >= 0; i++) {
        if (size > INT64_MAX / 32) return bad(http, "bad chunk size", line->text, line->len);
        size = size * 16 + digit;
    }
    bool ends = i == line->len || line->text[i] == ';' || is_blank(line->text[i]);
    if (i == 0 || !ends) return bad(http, "bad chunk size", line->text, line->len);
    http->head_bytes = 0;
    http->left = size;
    http->state = size ? HTTP_IN_CHUNK : HTTP_AT_TRAILER;
    return HTTP_MORE;
}

static enum http_status take_body(struct http *http, const char **body, size_t *len) {
    size_t there = (size_t)(http->end - http->at);
    if (http->state != HTTP_TO_CLOSE) {
        if (there > (uint64_t)http->left) there = (size_t)http->left;
        http->left -= (int64_t)there;
    }
    *body = http->at;
    *len = there;
    http->at += there;
    if (http->state == HTTP_IN_CHUNK && http->left == 0) http->state = HTTP_AT_CHUNK_END;
    return there ? HTTP_BODY : HTTP_MORE;
}

static enum http_status end(struct http *http) {
    http->state = HTTP_DONE;
    return HTTP_END;
}

static enum http_status take_line(struct http *http, const struct line *line) {
    switch (http->state) {
    case HTTP_AT_STATUS:
        return take_status(http, line);
    case HTTP_AT_HEADER:
        return line->len ? take_header(http, line) : end_head(http);
    case HTTP_AT_CHUNK_SIZE:
        return take_chunk_size(http, line);
    case HTTP_AT_CHUNK_END:
        if (line->len) return bad(http, "a chunk is longer than its size says", line->text, line->len);
        http->state = HTTP_AT_CHUNK_SIZE;
        return HTTP_MORE;
    default: /* a trailer */
        return line->len ? HTTP_MORE : end(http);
    }
}

enum http_status http_next(struct http *http, const char **body, size_t *len) {
    struct line line;
    enum http_status status = HTTP_MORE;
    while (status == HTTP_MORE) {
        if (http->state == HTTP_BROKEN) return HTTP_BAD;
        if (http->state == HTTP_DONE) return HTTP_MORE;
        if (http->state == HTTP_IN_LENGTH && http->left == 0) return end(http);
        if (http->at == http->end) return HTTP_MORE;
        if (http->state == HTTP_IN_LENGTH || http->state == HTTP_IN_CHUNK || http->state == HTTP_TO_CLOSE)
            status = take_body(http, body, len);
        else if (next_line(http, &line))
            status = take_line(http, &line);
    }
    return status;
}

enum http_status http_end_of_input(struct http *http) {
    if (http->state == HTTP_DONE) return HTTP_END;
    return http->state == HTTP_TO_CLOSE ? end(http) : HTTP_BAD;
}
