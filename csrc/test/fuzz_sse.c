/* Owns the fuzzing of stream/sse: a stream cut anywhere gives the events of a slow reference, which reads the
 * rules of the HTML standard line by line from the whole stream. */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "stream/delta.h"
#include "stream/sse.h"

enum { MAX_BYTES = 200 };

/* All events of a stream in one buffer, with their lengths, and the last status. */
struct log {
    char *bytes;
    size_t len, cap;
    enum sse_status status;
};

static void log_add(struct log *log, const char *bytes, size_t len) {
    if (log->len + len + sizeof len > log->cap) {
        log->cap = 2 * (log->len + len + sizeof len);
        log->bytes = realloc(log->bytes, log->cap);
        assert(log->bytes);
    }
    memcpy(log->bytes + log->len, &len, sizeof len);
    if (len) memcpy(log->bytes + log->len + sizeof len, bytes, len);
    log->len += len + sizeof len;
}

static void log_event(struct log *log, const struct sse_event *event) {
    char cut = (char)(event->cut + 2 * event->split);
    log_add(log, event->type, event->type_len);
    log_add(log, event->data, event->data_len);
    log_add(log, &cut, 1);
}

static void take_all(struct sse *sse, struct log *log) {
    struct sse_event event;
    while ((log->status = sse_next(sse, &event)) == SSE_EVENT) {
        assert(event.data_len <= MAX_BYTES && event.type_len <= MAX_BYTES);
        log_event(log, &event);
    }
}

/* A piece on the heap, exactly as long and gone after its use, so that any use beyond it is seen. */
static void feed(struct sse *sse, const uint8_t *data, size_t len, struct log *log) {
    char *piece = malloc(len ? len : 1);
    assert(piece);
    if (len) memcpy(piece, data, len);
    sse_feed(sse, piece, len);
    take_all(sse, log);
    free(piece);
}

/* Cut into pieces of random lengths up to `longest`, 0 = in one. */
static struct log parse(struct sse *sse, const uint8_t *data, size_t size, size_t longest, uint32_t random) {
    struct log log = {0};
    sse_reset(sse);
    for (size_t at = 0; at < size;) {
        random = random * 1664525 + 1013904223;
        size_t len = longest ? 1 + (random >> 8) % longest : size;
        if (len > size - at) len = size - at;
        feed(sse, data + at, len, &log);
        at += len;
    }
    feed(sse, data, 0, &log);
    sse_end(sse);
    take_all(sse, &log);
    return log;
}

/* ---- the reference ---- */

struct reference {
    char data[MAX_BYTES + 1], type[MAX_BYTES + 1]; /* one byte more, for the LF after the last data line */
    char next_type[MAX_BYTES + 1];                 /* of an event field behind data */
    size_t data_len, type_len, next_type_len;
    int data_lines;
    bool has_next_type;
    struct log log;
};

static void take_next_type(struct reference *r) {
    memcpy(r->type, r->next_type, r->next_type_len);
    r->type_len = r->next_type_len;
    r->has_next_type = false;
    r->next_type_len = 0;
}

static void reference_blank(struct reference *r, bool cut) {
    if (r->has_next_type) take_next_type(r);
    struct sse_event event = {.data = r->data,
                              .data_len = r->data_len ? r->data_len - 1 : 0,
                              .type = r->type,
                              .type_len = r->type_len,
                              .cut = cut};
    if (r->data_lines) log_event(&r->log, &event);
    r->data_lines = 0;
    r->data_len = r->type_len = 0;
}

/* One data line that is a whole object, and another one follows. */
static void reference_split(struct reference *r) {
    if (r->data_lines != 1 || !delta_is_whole(r->data, r->data_len - 1)) return;
    struct sse_event event = {.data = r->data,
                              .data_len = r->data_len - 1,
                              .type = r->type,
                              .type_len = r->type_len,
                              .split = true};
    log_event(&r->log, &event);
    take_next_type(r);
    r->data_lines = 0;
    r->data_len = 0;
}

static bool reference_data(struct reference *r, const char *value, size_t len) {
    reference_split(r);
    if (r->data_len + len > MAX_BYTES) return false;
    for (size_t i = 0; i < len; i++) r->data[r->data_len++] = value[i];
    r->data[r->data_len++] = '\n';
    r->data_lines++;
    return true;
}

static void reference_type(struct reference *r, const char *value, size_t len) {
    memcpy(r->data_lines ? r->next_type : r->type, value, len);
    *(r->data_lines ? &r->next_type_len : &r->type_len) = len;
    r->has_next_type = r->data_lines > 0;
}

/* False when the line is too long or makes the event too long. */
static bool reference_line(struct reference *r, const char *line, size_t len) {
    size_t name = 0;
    if (len > MAX_BYTES) return false;
    if (len == 0) reference_blank(r, false);
    while (name < len && line[name] != ':') name++;
    size_t value = name < len ? name + 1 : len;
    if (value < len && line[value] == ' ') value++;
    if (name == 4 && memcmp(line, "data", 4) == 0) return reference_data(r, line + value, len - value);
    if (name == 5 && memcmp(line, "event", 5) == 0) reference_type(r, line + value, len - value);
    if (name != 5 || memcmp(line, "error", 5) != 0) return true;
    reference_type(r, "error", 5);
    return reference_data(r, line + value, len - value);
}

static enum sse_status reference_parse(struct reference *r, const char *text, size_t size) {
    size_t start = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    for (size_t end = start; end < size; end++) {
        if (text[end] != '\n' && text[end] != '\r') continue;
        if (!reference_line(r, text + start, end - start)) return SSE_TOO_LONG;
        if (text[end] == '\r' && end + 1 < size && text[end + 1] == '\n') end++;
        start = end + 1;
    }
    if (start < size && !reference_line(r, text + start, size - start)) return SSE_TOO_LONG;
    reference_blank(r, true);
    return SSE_MORE;
}

static struct log reference(const uint8_t *data, size_t size) {
    struct reference r = {0};
    r.log.status = reference_parse(&r, (const char *)data, size);
    return r.log;
}

/* The first four bytes are the seed of the cuts, so that a case found is a case kept. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const size_t longest[] = {0, 1, 3, 20, 300};
    uint32_t seed = 0;
    if (size < sizeof seed) return 0;
    memcpy(&seed, data, sizeof seed);
    data += sizeof seed;
    size -= sizeof seed;
    struct sse *sse = sse_new(MAX_BYTES);
    if (!sse) return 0;
    struct log right = reference(data, size);
    for (size_t i = 0; i < sizeof longest / sizeof *longest; i++) {
        struct log cut = parse(sse, data, size, longest[i], seed);
        assert(cut.status == right.status && cut.len == right.len);
        assert(cut.len == 0 || memcmp(cut.bytes, right.bytes, cut.len) == 0);
        free(cut.bytes);
    }
    free(right.bytes);
    sse_free(sse);
    return 0;
}
