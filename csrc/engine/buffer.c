/* Owns how arrays grow: by doubling. Does not free them. */
#include "engine/buffer.h"

#include <stdlib.h>
#include <string.h>

#include "stream/said.h"
#include "stream/unescape.h"

bool buffer_grow(void **array, size_t *cap, size_t need, size_t size) {
    if (need <= *cap) return true;
    size_t bigger = *cap ? *cap * 2 : 16;
    while (bigger < need) bigger *= 2;
    void *moved = realloc(*array, bigger * size);
    if (!moved) return false;
    *array = moved;
    *cap = bigger;
    return true;
}

bool text_add(struct text *text, const char *bytes, size_t len) {
    void *array = text->bytes;
    bool ok = buffer_grow(&array, &text->cap, text->len + len, 1);
    text->bytes = array;
    if (!ok) return false;
    if (len) memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
    return true;
}

bool text_add_unescaped(struct text *text, const char *raw, size_t len) {
    void *array = text->bytes;
    if (len == 0) return true;
    bool ok = buffer_grow(&array, &text->cap, text->len + len, 1);
    text->bytes = array;
    if (ok) text->len += unescape(text->bytes + text->len, raw, len);
    return ok;
}

bool text_add_parts(struct text *text, struct view parts) {
    void *array = text->bytes;
    bool ok = buffer_grow(&array, &text->cap, text->len + parts.len, 1);
    text->bytes = array;
    if (ok) text->len += said_text(text->bytes + text->len, parts);
    return ok;
}

void text_trim(struct text *text, size_t max_bytes) {
    if (text->cap <= max_bytes) return;
    free(text->bytes);
    *text = (struct text){0};
}
