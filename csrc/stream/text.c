/* Owns how texts grow and what is appended to them.
 * Does not decode (unescape.c) nor walk JSON (said.c). */
#include "stream/text.h"

#include "stream/array.h"
#include "stream/said.h"
#include "stream/unescape.h"

static bool text_room(struct text *text, size_t more) {
    return ARRAY_ROOM(text->bytes, text->cap, text->len + more);
}

bool text_add(struct text *text, const char *bytes, size_t len) {
    if (!text_room(text, len)) return false;
    if (len) memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
    return true;
}

bool text_add_unescaped(struct text *text, const char *raw, size_t len) {
    if (len == 0) return true;
    if (!text_room(text, len)) return false;
    text->len += unescape(text->bytes + text->len, raw, len);
    return true;
}

bool text_add_parts(struct text *text, struct view parts) {
    if (!text_room(text, parts.len)) return false;
    text->len += said_text(text->bytes + text->len, parts);
    return true;
}

void text_trim(struct text *text, size_t max_bytes) {
    ARRAY_TRIM(text->bytes, text->cap, max_bytes);
    if (!text->bytes) text->len = 0;
}
