/* Owns the needle automaton of lines.h: building its table, and walking a line through it.
 * Does not know what the needles mean. */
#include "scan/lines.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, ROOT = 0 };

struct lines {
    uint16_t (*next)[BYTES]; /* [state][byte] */
    uint16_t *fail;          /* while building: the state of the longest proper suffix */
    bool *found;             /* [state]: a needle ends here */
    size_t states;
};

static bool lines_usable(const char *const *needles, const size_t *lens, size_t count, size_t *total) {
    *total = 0;
    for (size_t i = 0; i < count; i++) {
        if (lens[i] == 0 || lens[i] > LINES_MAX_BYTES || memchr(needles[i], '\n', lens[i])) return false;
        *total += lens[i];
        if (*total > LINES_MAX_BYTES) return false;
    }
    return count > 0;
}

static void add_needle(struct lines *lines, const char *needle, size_t len) {
    size_t state = ROOT;
    for (size_t i = 0; i < len; i++) {
        uint16_t *to = &lines->next[state][(unsigned char)needle[i]];
        if (*to == ROOT) *to = (uint16_t)lines->states++;
        state = *to;
    }
    lines->found[state] = true;
}

/* States in order of depth: a state's failure state is nearer to the root and has its whole row already. */
static bool close_table(struct lines *lines) {
    uint16_t *queue = calloc(lines->states, sizeof *queue);
    if (!queue) return false;
    size_t head = 0, tail = 0;
    for (size_t byte = 0; byte < BYTES; byte++)
        if (lines->next[ROOT][byte] != ROOT) queue[tail++] = lines->next[ROOT][byte];
    while (head < tail) {
        uint16_t state = queue[head++], fail = lines->fail[state];
        lines->found[state] = lines->found[state] || lines->found[fail];
        for (size_t byte = 0; byte < BYTES; byte++) {
            uint16_t to = lines->next[state][byte];
            if (to == ROOT) {
                lines->next[state][byte] = lines->next[fail][byte];
            } else {
                lines->fail[to] = lines->next[fail][byte];
                queue[tail++] = to;
            }
        }
    }
    free(queue);
    return true;
}

struct lines *lines_new(const char *const *needles, const size_t *lens, size_t count) {
    size_t total;
    if (!lines_usable(needles, lens, count, &total)) return NULL;
    struct lines *lines = calloc(1, sizeof *lines);
    if (!lines) return NULL;
    lines->states = 1;
    lines->next = calloc(total + 1, sizeof *lines->next);
    lines->fail = calloc(total + 1, sizeof *lines->fail);
    lines->found = calloc(total + 1, sizeof *lines->found);
    bool ok = lines->next && lines->fail && lines->found;
    for (size_t i = 0; ok && i < count; i++) add_needle(lines, needles[i], lens[i]);
    if (ok && close_table(lines)) return lines;
    lines_free(lines);
    return NULL;
}

void lines_free(struct lines *lines) {
    if (!lines) return;
    free(lines->next);
    free(lines->fail);
    free(lines->found);
    free(lines);
}

static bool holds_needle(const struct lines *lines, const char *line, size_t len) {
    size_t state = ROOT;
    for (size_t i = 0; i < len; i++) {
        state = lines->next[state][(unsigned char)line[i]];
        if (lines->found[state]) return true;
    }
    return false;
}

size_t lines_find(const struct lines *lines, const char *text, size_t len, struct lines_cursor *cursor,
                  struct lines_hit *hits, size_t cap) {
    size_t count = 0;
    while (cursor->at < len && count < cap) {
        const char *start = text + cursor->at;
        const char *feed = memchr(start, '\n', len - cursor->at);
        size_t line_len = feed ? (size_t)(feed - start) : len - cursor->at;
        if (holds_needle(lines, start, line_len))
            hits[count++] = (struct lines_hit){cursor->at, cursor->at + line_len, cursor->line};
        cursor->at += line_len + (feed ? 1 : 0);
        cursor->line++;
    }
    return count;
}
