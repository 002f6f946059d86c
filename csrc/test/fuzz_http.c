/* Owns the fuzzing of http.c: a request in one piece and in pieces must be read alike, from memory that ends
 * with it. Does not check what is answered. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sim/http.h"

static const struct http_limits limits = {300, 300};

static enum http_state read_in_pieces(struct http *http, const uint8_t *data, size_t size, size_t step,
                                      char *out) {
    enum http_state state = HTTP_HEAD;
    http_init(http);
    memcpy(out, data, size);
    for (size_t have = step; state < HTTP_WHOLE; have += step) {
        if (have > size) have = size;
        state = http_read(http, &limits, out, have);
        if (have == size) break;
    }
    return state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct http *once = malloc(sizeof *once), *pieces = malloc(sizeof *pieces);
    char *a = malloc(size + 1), *b = malloc(size + 1);
    if (once && pieces && a && b) {
        enum http_state first = read_in_pieces(once, data, size, size + 1, a);
        enum http_state second = read_in_pieces(pieces, data, size, 1, b);
        if (first == HTTP_WHOLE) {
            assert(once->length <= size && once->body.at + once->body.len <= size);
            http_find(once, a, "content-type");
            /* In pieces, limits may strike before the end is there; otherwise it is the same. */
            if (second == HTTP_WHOLE) {
                assert(once->length == pieces->length && once->body.len == pieces->body.len);
                assert(memcmp(a + once->body.at, b + pieces->body.at, once->body.len) == 0);
            }
        }
    }
    free(once);
    free(pieces);
    free(a);
    free(b);
    return 0;
}
