/* Owns the fuzzing of stream/sse: a stream cut anywhere gives the events that it gives in one piece.
 * Does not know what events are right (tests/stream does). */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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

static void take_all(struct sse *sse, struct log *log) {
    struct sse_event event;
    while ((log->status = sse_next(sse, &event)) == SSE_EVENT) {
        assert(event.data_len <= MAX_BYTES && event.type_len <= MAX_BYTES);
        log_add(log, event.type, event.type_len);
        log_add(log, event.data, event.data_len);
        char cut = (char)event.cut;
        log_add(log, &cut, 1);
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

/* The first four bytes are the seed of the cuts, so that a case found is a case kept. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const size_t longest[] = {1, 3, 20, 300};
    uint32_t seed = 0;
    if (size < sizeof seed) return 0;
    memcpy(&seed, data, sizeof seed);
    data += sizeof seed;
    size -= sizeof seed;
    struct sse *sse = sse_new(MAX_BYTES);
    if (!sse) return 0;
    struct log whole = parse(sse, data, size, 0, seed);
    for (size_t i = 0; i < sizeof longest / sizeof *longest; i++) {
        struct log cut = parse(sse, data, size, longest[i], seed);
        assert(cut.status == whole.status && cut.len == whole.len);
        assert(cut.len == 0 || memcmp(cut.bytes, whole.bytes, cut.len) == 0);
        free(cut.bytes);
    }
    free(whole.bytes);
    sse_free(sse);
    return 0;
}
