/* lines: picks the lines of a text that hold one of some needles, all needles in one pass (Aho-Corasick as a
 * table of next states). Owns only its table; does no I/O and keeps nothing between two calls.
 *
 * A scanner may be used by several threads at once, each with a cursor of its own.
 */
#ifndef VLLMPERF_LINES_H
#define VLLMPERF_LINES_H

#include <stddef.h>

enum { LINES_MAX_BYTES = 65000 }; /* of all needles together */

struct lines; /* opaque */

/* A piece of text in which a scan stands. Zero it before the first call. */
struct lines_cursor {
    size_t at;   /* next byte to read */
    size_t line; /* lines that lie before it */
};

struct lines_hit {
    size_t start, end; /* the line without its LF */
    size_t line;       /* its number in the piece, from 0 */
};

/* A scanner for count needles of lens bytes each (copied). NULL when out of memory, or when there is no
 * needle, an empty one, one that holds LF, or more than LINES_MAX_BYTES of them. Free with lines_free(). */
struct lines *lines_new(const char *const *needles, const size_t *lens, size_t count);
void lines_free(struct lines *lines);

/* Fill at most cap hits from the cursor on and move it; fewer than cap: the piece is used up, and
 * cursor->line is the number of its lines (a last one without LF counts). */
size_t lines_find(const struct lines *lines, const char *text, size_t len, struct lines_cursor *cursor,
                  struct lines_hit *hits, size_t cap);

#endif
