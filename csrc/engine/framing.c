/* Owns the framing of an answer: which bytes are head, body, and end.
 * Does not read sockets, does not know what a body says or which requests there are. */
#include "engine/framing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void framing_begin(struct framing *f) {
    struct text line = f->line;
    memset(f, 0, sizeof *f);
    line.len = 0;
    f->line = line;
    f->length = -1;
}

void framing_free(struct framing *f) {
    free(f->line.bytes);
    f->line = (struct text){0};
}

void framing_feed(struct framing *f, const char *bytes, size_t len) {
    f->at = bytes;
    f->end = bytes + len;
    f->started = f->started || len > 0;
}

size_t framing_left_over(const struct framing *f) {
    return (size_t)(f->end - f->at);
}

static enum framing_status framing_bad(struct framing *f, const char *what, const char *text, size_t len) {
    char shown[48];
    size_t n = len < sizeof shown - 1 ? len : sizeof shown - 1;
    for (size_t i = 0; i < n; i++) shown[i] = text[i] < ' ' || text[i] > '~' ? '.' : text[i];
    shown[n] = 0;
    snprintf(f->why, sizeof f->why, "%s: '%s'", what, shown);
    f->state = FRAMING_BROKEN;
    return FRAMING_BAD;
}

/* ---- lines ---- */

struct line {
    const char *text;
    size_t len; /* without CR and LF */
};

/* The next line, or false when its end has not come or it is too long (then broken). A view into the piece,
 * or into the kept beginning when the line came in several. */
static bool framing_next_line(struct framing *f, struct line *line) {
    size_t there = (size_t)(f->end - f->at);
    const char *lf = there ? memchr(f->at, '\n', there) : NULL;
    size_t take = lf ? (size_t)(lf - f->at) + 1 : there;
    f->head_bytes += take;
    if (f->head_bytes > FRAMING_HEAD_BYTES) {
        framing_bad(f, "the answer's head is longer than 256 KB", f->at, take);
        return false;
    }
    *line = (struct line){f->at, take};
    f->at += take;
    if (f->line.len || !lf) {
        if (!text_add(&f->line, line->text, take)) {
            framing_bad(f, "out of memory in the answer's head", "", 0);
            return false;
        }
        *line = (struct line){f->line.bytes, f->line.len};
    }
    if (!lf) return false;
    f->line.len = 0;
    line->len--;
    if (line->len && line->text[line->len - 1] == '\r') line->len--;
    return true;
}

static bool framing_is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

/* ---- the head ---- */

static enum framing_status take_status(struct framing *f, const struct line *line) {
    const char *t = line->text;
    bool is_one = line->len >= 12 && memcmp(t, "HTTP/1.", 7) == 0 && framing_is_digit(t[7]) && t[8] == ' ';
    bool is_status = is_one && t[9] >= '1' && t[9] <= '9' && framing_is_digit(t[10]) &&
                     framing_is_digit(t[11]) && (line->len == 12 || t[12] == ' ');
    if (!is_status) return framing_bad(f, "the answer is no HTTP/1.1, it begins with", t, line->len);
    f->minor_version = t[7] - '0';
    f->status = (t[9] - '0') * 100 + (t[10] - '0') * 10 + t[11] - '0';
    f->keeps_connection = f->minor_version >= 1;
    f->state = FRAMING_AT_HEADER;
    return FRAMING_MORE;
}

static void framing_keep(char *to, size_t size, const struct line *value) {
    size_t n = value->len < size - 1 ? value->len : size - 1;
    memcpy(to, value->text, n);
    to[n] = 0;
}

/* Is `word` one of the values of a list like "gzip, chunked"? */
static bool framing_lists(const struct line *value, const char *word) {
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= value->len; i++) {
        bool begins = i == 0 || value->text[i - 1] == ',' || is_blank(value->text[i - 1]);
        bool ends = i + n == value->len || value->text[i + n] == ',' || value->text[i + n] == ';' ||
                    is_blank(value->text[i + n]);
        if (begins && ends && strncasecmp(value->text + i, word, n) == 0) return true;
    }
    return false;
}

static bool is_word(const struct line *value, const char *word) {
    return value->len == strlen(word) && strncasecmp(value->text, word, value->len) == 0;
}

static enum framing_status take_length(struct framing *f, const struct line *value) {
    int64_t length = 0;
    size_t i = 0;
    for (; i < value->len && framing_is_digit(value->text[i]) && length < INT64_MAX / 100; i++)
        length = length * 10 + value->text[i] - '0';
    bool is_again = f->length >= 0 && f->length != length;
    if (i == 0 || i < value->len || is_again)
        return framing_bad(f, "bad Content-Length", value->text, value->len);
    f->length = length;
    return FRAMING_MORE;
}

static enum framing_status take_transfer_encoding(struct framing *f, const struct line *value) {
    if (is_word(value, "identity")) return FRAMING_MORE;
    f->chunked = is_word(value, "chunked"); /* with another coding besides: nobody here could decode it */
    if (f->chunked) return FRAMING_MORE;
    return framing_bad(f, "unknown Transfer-Encoding", value->text, value->len);
}

static void framing_take_connection(struct framing *f, const struct line *value) {
    if (framing_lists(value, "close")) f->keeps_connection = false;
    if (f->minor_version == 0 && framing_lists(value, "keep-alive")) f->keeps_connection = true;
}

static enum framing_status take_header(struct framing *f, const struct line *line) {
    const char *colon = memchr(line->text, ':', line->len);
    if (!colon) return FRAMING_MORE; /* a folded line, or noise: no header that we need */
    size_t name_len = (size_t)(colon - line->text);
    struct line value = {colon + 1, line->len - name_len - 1};
    while (name_len && is_blank(line->text[name_len - 1])) name_len--;
    while (value.len && is_blank(value.text[0])) value.text++, value.len--;
    while (value.len && is_blank(value.text[value.len - 1])) value.len--;
#define IS(name) (name_len == sizeof(name) - 1 && strncasecmp(line->text, name, name_len) == 0)
    if (IS("content-type")) framing_keep(f->content_type, sizeof f->content_type, &value);
    if (IS("content-encoding")) framing_keep(f->content_encoding, sizeof f->content_encoding, &value);
    if (IS("location")) framing_keep(f->location, sizeof f->location, &value);
    if (IS("connection")) framing_take_connection(f, &value);
    if (IS("content-length")) return take_length(f, &value);
    if (IS("transfer-encoding")) return take_transfer_encoding(f, &value);
#undef IS
    return FRAMING_MORE;
}

static enum framing_status end_head(struct framing *f) {
    if (f->status < 200 && f->status != 101) { /* an interim answer: the real one follows */
        size_t head_bytes = f->head_bytes;
        const char *at = f->at, *last = f->end;
        bool no_body = f->no_body;
        framing_begin(f);
        f->at = at, f->end = last;
        f->head_bytes = head_bytes; /* without an end of them, they are too long in the end */
        f->no_body = no_body, f->started = true;
        return FRAMING_MORE;
    }
    f->head_bytes = 0;
    if (f->status == 101) f->keeps_connection = false; /* what comes next on it is another protocol */
    if (f->no_body || f->status == 204 || f->status == 304 || f->status == 101)
        f->left = 0, f->state = FRAMING_IN_LENGTH;
    else if (f->chunked)
        f->state = FRAMING_AT_CHUNK_SIZE;
    else if (f->length >= 0)
        f->left = f->length, f->state = FRAMING_IN_LENGTH;
    else
        f->state = FRAMING_TO_CLOSE, f->keeps_connection = false;
    return FRAMING_HEAD;
}

/* ---- the body ---- */

static int hex_digit(char c) {
    if (framing_is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static enum framing_status take_chunk_size(struct framing *f, const struct line *line) {
    int64_t size = 0;
    size_t i = 0;
    for (int digit; i < line->len && (digit = hex_digit(line->text[i])) >= 0; i++) {
        if (size > INT64_MAX / 32) return framing_bad(f, "bad chunk size", line->text, line->len);
        size = size * 16 + digit;
    }
    bool ends = i == line->len || line->text[i] == ';' || is_blank(line->text[i]);
    if (i == 0 || !ends) return framing_bad(f, "bad chunk size", line->text, line->len);
    f->head_bytes = 0;
    f->left = size;
    f->state = size ? FRAMING_IN_CHUNK : FRAMING_AT_TRAILER;
    return FRAMING_MORE;
}

static enum framing_status framing_take_body(struct framing *f, const char **body, size_t *len) {
    size_t there = (size_t)(f->end - f->at);
    if (f->state != FRAMING_TO_CLOSE) {
        if (there > (uint64_t)f->left) there = (size_t)f->left;
        f->left -= (int64_t)there;
    }
    *body = f->at;
    *len = there;
    f->at += there;
    if (f->state == FRAMING_IN_CHUNK && f->left == 0) f->state = FRAMING_AT_CHUNK_END;
    return there ? FRAMING_BODY : FRAMING_MORE;
}

static enum framing_status framing_end(struct framing *f) {
    f->state = FRAMING_DONE;
    return FRAMING_END;
}

static enum framing_status framing_take_line(struct framing *f, const struct line *line) {
    switch (f->state) {
    case FRAMING_AT_STATUS:
        return take_status(f, line);
    case FRAMING_AT_HEADER:
        return line->len ? take_header(f, line) : end_head(f);
    case FRAMING_AT_CHUNK_SIZE:
        return take_chunk_size(f, line);
    case FRAMING_AT_CHUNK_END:
        if (line->len) return framing_bad(f, "a chunk is longer than its size says", line->text, line->len);
        f->state = FRAMING_AT_CHUNK_SIZE;
        return FRAMING_MORE;
    default: /* a trailer */
        return line->len ? FRAMING_MORE : framing_end(f);
    }
}

enum framing_status framing_next(struct framing *f, const char **body, size_t *len) {
    struct line line;
    enum framing_status status = FRAMING_MORE;
    while (status == FRAMING_MORE) {
        if (f->state == FRAMING_BROKEN) return FRAMING_BAD;
        if (f->state == FRAMING_DONE) return FRAMING_MORE;
        if (f->state == FRAMING_IN_LENGTH && f->left == 0) return framing_end(f);
        if (f->at == f->end) return FRAMING_MORE;
        if (f->state == FRAMING_IN_LENGTH || f->state == FRAMING_IN_CHUNK || f->state == FRAMING_TO_CLOSE)
            status = framing_take_body(f, body, len);
        else if (framing_next_line(f, &line))
            status = framing_take_line(f, &line);
    }
    return status;
}

enum framing_status framing_end_of_input(struct framing *f) {
    if (f->state == FRAMING_DONE) return FRAMING_END;
    return f->state == FRAMING_TO_CLOSE ? framing_end(f) : FRAMING_BAD;
}
