/* Owns the fuzzing of framing.c: an answer in one piece and byte by byte, from memory that ends with each
 * piece, must give the same body and the same end. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/framing.h"

struct found {
    char *body;
    size_t len;
    enum framing_status last;
    int status, heads;
};

static void take(struct framing *f, struct found *found) {
    const char *body;
    size_t len;
    do {
        found->last = framing_next(f, &body, &len);
        found->heads += found->last == FRAMING_HEAD;
        if (found->last != FRAMING_BODY) continue;
        memcpy(found->body + found->len, body, len);
        found->len += len;
    } while (found->last == FRAMING_HEAD || found->last == FRAMING_BODY);
}

static struct found read_in(const uint8_t *data, size_t size, size_t step) {
    struct framing f = {0};
    struct found found = {.body = malloc(size + 1)};
    framing_begin(&f);
    for (size_t at = 0; found.body && at < size && found.last == FRAMING_MORE; at += step) {
        size_t n = size - at < step ? size - at : step;
        char *piece = malloc(n);
        if (!piece) break;
        memcpy(piece, data + at, n);
        framing_feed(&f, piece, n);
        take(&f, &found);
        free(piece);
    }
    if (found.last == FRAMING_MORE) found.last = framing_end_of_input(&f);
    found.status = f.status;
    framing_free(&f);
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct found once = read_in(data, size, size + 1), bytes = read_in(data, size, 1);
    if (once.body && bytes.body) {
        assert(once.last == bytes.last && once.status == bytes.status && once.heads == bytes.heads);
        assert(once.len == bytes.len && memcmp(once.body, bytes.body, once.len) == 0);
        assert(once.len <= size);
    }
    free(once.body);
    free(bytes.body);
    return 0;
}
