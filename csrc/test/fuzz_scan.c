/* Owns the fuzzing of scan/lines: hits and counts of any text and needles are those of a plain search. */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "scan/lines.h"

enum { NEEDLES = 4, CAP = 3 };

static bool plain_search(const char *line, size_t len, const char *const *needles, const size_t *lens,
                         size_t n) {
    for (size_t i = 0; i < n; i++)
        for (size_t at = 0; at + lens[i] <= len; at++)
            if (memcmp(line + at, needles[i], lens[i]) == 0) return true;
    return false;
}

static void check(const struct lines *lines, const char *text, size_t len, const char *const *needles,
                  const size_t *lens, size_t n) {
    struct lines_cursor cursor = {0, 0};
    struct lines_hit hits[CAP];
    size_t got = lines_find(lines, text, len, &cursor, hits, CAP), used = 0, number = 0;
    for (size_t start = 0; start < len; number++) {
        size_t end = start;
        while (end < len && text[end] != '\n') end++;
        if (plain_search(text + start, end - start, needles, lens, n)) {
            if (used == got) got = lines_find(lines, text, len, &cursor, hits, CAP), used = 0;
            assert(used < got && hits[used].start == start && hits[used].end == end);
            assert(hits[used].line == number);
            used++;
        }
        start = end + 1;
    }
    while (used == got && got) got = lines_find(lines, text, len, &cursor, hits, CAP), used = 0;
    assert(used == got && cursor.at == len && cursor.line == number);
}

/* The first bytes are the lengths of the needles, then come these, then the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *needles[NEEDLES];
    size_t lens[NEEDLES], at = NEEDLES;
    if (size < NEEDLES) return 0;
    for (size_t i = 0; i < NEEDLES; i++) {
        lens[i] = data[i] % 8;
        if (at + lens[i] > size) return 0;
        needles[i] = (const char *)data + at;
        at += lens[i];
    }
    struct lines *lines = lines_new(needles, lens, NEEDLES);
    if (!lines) return 0;
    size_t len = size - at;
    char *text = malloc(len ? len : 1); /* exactly as long, so that a read beyond it is seen */
    if (text) {
        if (len) memcpy(text, data + at, len);
        check(lines, text, len, needles, lens, NEEDLES);
    }
    free(text);
    lines_free(lines);
    return 0;
}
