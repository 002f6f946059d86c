/* Owns the reading of one HTTP request: request line, headers, body by length or in chunks, limits.
 * Does not read sockets, does not answer. */
#include "sim/http.h"

#include <string.h>
#include <strings.h>

void http_init(struct http *http) {
    http->state = HTTP_HEAD;
    http->status = 0;
    http->length = http->scanned = http->chunk_left = http->content_length = http->trailer_bytes = 0;
    http->body = http->method = http->target = (struct http_slice){0, 0};
    http->n_headers = 0;
    http->minor = 1;
    http->keep_alive = true;
    http->expects_continue = http->chunked = http->has_length = http->says_close = false;
    http->in_data = http->in_trailer = false;
}

static enum http_state http_fail(struct http *http, int status) {
    http->status = status;
    return http->state = HTTP_FAILED;
}

static bool is_token(const char *data, struct http_slice slice) {
    for (size_t i = slice.at; i < slice.at + slice.len; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c <= ' ' || c >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", c)) return false;
    }
    return slice.len > 0;
}

static struct http_slice http_trim(const char *data, size_t at, size_t end) {
    while (at < end && (data[at] == ' ' || data[at] == '\t')) at++;
    while (end > at && (data[end - 1] == ' ' || data[end - 1] == '\t')) end--;
    return (struct http_slice){at, end - at};
}

static bool http_equals(const char *data, struct http_slice slice, const char *text) {
    return slice.len == strlen(text) && strncasecmp(data + slice.at, text, slice.len) == 0;
}

/* Does a comma-separated value hold the word? */
static bool http_lists(const char *data, struct http_slice value, const char *word) {
    size_t end = value.at + value.len;
    for (size_t at = value.at; at < end;) {
        const char *comma = memchr(data + at, ',', end - at);
        size_t stop = comma ? (size_t)(comma - data) : end;
        if (http_equals(data, http_trim(data, at, stop), word)) return true;
        at = stop + 1;
    }
    return false;
}

static bool request_line(struct http *http, const char *data, size_t at, size_t end) {
    const char *first = memchr(data + at, ' ', end - at);
    if (first == NULL) return false;
    size_t target = (size_t)(first - data) + 1;
    const char *second = memchr(data + target, ' ', end - target);
    if (second == NULL) return false;
    size_t version = (size_t)(second - data) + 1;
    http->method = (struct http_slice){at, target - 1 - at};
    http->target = (struct http_slice){target, version - 1 - target};
    if (!is_token(data, http->method) || http->target.len == 0) return false;
    if (end - version != 8 || memcmp(data + version, "HTTP/1.", 7) != 0) return false;
    if (data[end - 1] < '0' || data[end - 1] > '9') return false;
    http->minor = data[end - 1] - '0';
    http->keep_alive = http->minor >= 1;
    return true;
}

static bool length_header(struct http *http, const char *data, struct http_slice value) {
    size_t length = 0;
    for (size_t i = value.at; i < value.at + value.len; i++) {
        if (data[i] < '0' || data[i] > '9' || length > SIZE_MAX / 100) return false;
        length = length * 10 + (size_t)(data[i] - '0');
    }
    bool contradicts = http->has_length && length != http->content_length;
    http->content_length = length;
    http->has_length = true;
    return value.len > 0 && !contradicts;
}

/* 0, or the status to fail with. */
static int http_meaning(struct http *http, const char *data, const struct http_header *header) {
    if (http_equals(data, header->name, "content-length")) {
        if (!length_header(http, data, header->value)) return 400;
    } else if (http_equals(data, header->name, "transfer-encoding")) {
        if (!http_equals(data, header->value, "chunked")) return 501;
        if (http->chunked) return 400;
        http->chunked = true;
    } else if (http_equals(data, header->name, "connection")) {
        if (http_lists(data, header->value, "close")) http->says_close = true;
        if (http_lists(data, header->value, "keep-alive")) http->keep_alive = true;
    } else if (http_equals(data, header->name, "expect")) {
        http->expects_continue = http_equals(data, header->value, "100-continue");
    }
    return 0;
}

/* A control character in a value would come back in the answer's x-request-id. */
static bool is_value(const char *data, struct http_slice slice) {
    for (size_t i = slice.at; i < slice.at + slice.len; i++) {
        unsigned char c = (unsigned char)data[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) return false;
    }
    return true;
}

static int header_line(struct http *http, const char *data, size_t at, size_t end) {
    const char *colon = memchr(data + at, ':', end - at);
    if (colon == NULL) return 400;
    if (http->n_headers == HTTP_HEADERS) return 431;
    size_t name_end = (size_t)(colon - data);
    struct http_header *header = &http->headers[http->n_headers++];
    *header = (struct http_header){{at, name_end - at}, http_trim(data, name_end + 1, end)};
    if (!is_token(data, header->name) || !is_value(data, header->value)) return 400;
    return http_meaning(http, data, header);
}

/* The lines of a complete head, which ends before `end`. 0, or the status to fail with. */
static int parse_head(struct http *http, const char *data, size_t at, size_t end) {
    for (bool first = true; at < end; first = false) {
        const char *newline = memchr(data + at, '\n', end - at);
        size_t stop = newline ? (size_t)(newline - data) : end;
        size_t line_end = stop > at && data[stop - 1] == '\r' ? stop - 1 : stop;
        if (line_end == at) break;
        if (first && !request_line(http, data, at, line_end)) return 400;
        int status = first ? 0 : header_line(http, data, at, line_end);
        if (status) return status;
        at = stop + 1;
    }
    return 0;
}

/* Where the head ends (behind its empty line), 0 when it does not yet. */
static size_t head_end(struct http *http, const char *data, size_t len) {
    size_t at = http->scanned;
    for (const char *newline; (newline = memchr(data + at, '\n', len - at)) != NULL;) {
        at = (size_t)(newline - data) + 1;
        if (at < len && data[at] == '\n') return at + 1;
        if (at + 1 < len && data[at] == '\r' && data[at + 1] == '\n') return at + 2;
        http->scanned = at - 1; /* look at this newline again when more has come */
        if (len - at < 2) return 0;
    }
    return 0;
}

/* A line of the chunked framing at scanned: its end (behind the newline), or 0 when it is not complete. */
static size_t http_line_end(const struct http *http, const char *data, size_t len) {
    const char *newline = memchr(data + http->scanned, '\n', len - http->scanned);
    return newline ? (size_t)(newline - data) + 1 : 0;
}

static bool chunk_size(const char *data, size_t at, size_t end, size_t *size) {
    size_t begin = at;
    *size = 0;
    for (; at < end; at++) {
        char c = data[at];
        int digit = c >= '0' && c <= '9'                 ? c - '0'
                    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                         : -1;
        if (digit < 0) break;
        if (*size > SIZE_MAX >> 5) return false;
        *size = *size * 16 + (size_t)digit;
    }
    return at > begin && (at == end || data[at] == ';' || data[at] == '\r' || data[at] == '\n');
}

/* Move what has come of the current chunk to the end of the body. */
static void http_take_chunk(struct http *http, char *data, size_t len) {
    size_t have = len - http->scanned < http->chunk_left ? len - http->scanned : http->chunk_left;
    memmove(data + http->body.at + http->body.len, data + http->scanned, have);
    http->body.len += have;
    http->scanned += have;
    http->chunk_left -= have;
}

/* A line of the framing: the end of a chunk's data, a size, a trailer, or the end of all. */
static enum http_state read_line(struct http *http, const struct http_limits *limits, const char *data,
                                 size_t at, size_t end) {
    bool blank = end - at == 1 || (end - at == 2 && data[at] == '\r');
    if (http->in_data) {
        http->in_data = false;
        return blank ? HTTP_BODY : http_fail(http, 400);
    }
    if (http->in_trailer && blank) {
        http->length = end;
        return http->state = HTTP_WHOLE;
    }
    if (http->in_trailer) {
        http->trailer_bytes += end - at;
        return http->trailer_bytes > limits->head_bytes ? http_fail(http, 431) : HTTP_BODY;
    }
    if (!chunk_size(data, at, end, &http->chunk_left)) return http_fail(http, 400);
    if (http->chunk_left > limits->body_bytes - http->body.len) return http_fail(http, 413);
    http->in_trailer = http->chunk_left == 0;
    http->in_data = !http->in_trailer;
    return HTTP_BODY;
}

static enum http_state read_chunks(struct http *http, const struct http_limits *limits, char *data,
                                   size_t len) {
    for (;;) {
        http_take_chunk(http, data, len);
        if (http->chunk_left) return HTTP_BODY;
        size_t at = http->scanned, end = http_line_end(http, data, len);
        if (end == 0) return len - at > limits->head_bytes ? http_fail(http, 431) : HTTP_BODY;
        http->scanned = end;
        if (read_line(http, limits, data, at, end) != HTTP_BODY) return http->state;
        /* Framing that is longer than any body may be. */
        if (end - http->body.at - http->body.len > limits->body_bytes + limits->head_bytes)
            return http_fail(http, 413);
    }
}

static enum http_state read_head(struct http *http, const struct http_limits *limits, char *data,
                                 size_t len) {
    size_t begin = 0;
    while (begin < len && (data[begin] == '\r' || data[begin] == '\n'))
        begin++; /* blank lines before a request */
    if (http->scanned < begin) http->scanned = begin;
    size_t end = head_end(http, data, len);
    if (end == 0) return len > limits->head_bytes ? http_fail(http, 431) : HTTP_HEAD;
    if (end > limits->head_bytes) return http_fail(http, 431);
    int status = parse_head(http, data, begin, end);
    if (status) return http_fail(http, status);
    if (!http->chunked && http->content_length > limits->body_bytes) return http_fail(http, 413);
    /* A length beside chunks is one that somebody on the way may believe. */
    if (http->says_close || (http->chunked && http->has_length)) http->keep_alive = false;
    http->body = (struct http_slice){end, http->chunked ? 0 : http->content_length};
    http->scanned = end;
    return http->state = HTTP_BODY;
}

enum http_state http_read(struct http *http, const struct http_limits *limits, char *data, size_t len) {
    if (http->state == HTTP_HEAD && read_head(http, limits, data, len) != HTTP_BODY) return http->state;
    if (http->state != HTTP_BODY) return http->state;
    if (http->chunked) return read_chunks(http, limits, data, len);
    if (len < http->body.at + http->body.len) return HTTP_BODY;
    http->length = http->body.at + http->body.len;
    return http->state = HTTP_WHOLE;
}

const struct http_header *http_find(const struct http *http, const char *data, const char *name) {
    for (int i = 0; i < http->n_headers; i++)
        if (http_equals(data, http->headers[i].name, name)) return &http->headers[i];
    return NULL;
}

const char *http_reason(int status) {
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Request Entity Too Large"},
        {422, "Unprocessable Entity"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status) return reasons[i].reason;
    return status < 400 ? "OK" : "Error";
}
