/* text: bytes that grow at the end. Whoever holds one frees text->bytes. Each belongs to one thread at a
 * time. False means out of memory: the text is then as it was.
 */
#ifndef VLLMPERF_STREAM_TEXT_H
#define VLLMPERF_STREAM_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "stream/json.h"

struct text {
    char *bytes;
    size_t len, cap;
};

/* Append bytes, or the text that a JSON string without its quotes stands for. */
bool text_add(struct text *text, const char *bytes, size_t len);
bool text_add_unescaped(struct text *text, const char *raw, size_t len);

/* Append the text in a list of content parts, see said_text(). */
bool text_add_parts(struct text *text, struct view parts);

/* Free the memory of a text, and so the text, when it is more than max_bytes. */
void text_trim(struct text *text, size_t max_bytes);

#endif
