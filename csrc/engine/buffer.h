/* buffer: arrays and texts that grow. Whoever holds one frees its memory. Not for several threads. */
#ifndef VLLMPERF_BUFFER_H
#define VLLMPERF_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

#include "stream/json.h"

struct text {
    char *bytes;
    size_t len, cap;
};

/* Room for `need` elements of `size` bytes. False when out of memory; the array is then as it was. */
bool buffer_grow(void **array, size_t *cap, size_t need, size_t size);

/* Append bytes, or the text that a JSON string without its quotes stands for. False when out of memory. */
bool text_add(struct text *text, const char *bytes, size_t len);
bool text_add_unescaped(struct text *text, const char *raw, size_t len);

/* Append the text in a list of content parts, see said_text(). False when out of memory. */
bool text_add_parts(struct text *text, struct view parts);

/* Free the memory of a text, and so the text, when it is more than max_bytes. */
void text_trim(struct text *text, size_t max_bytes);

#endif
