/* Owns the growing of byte buffers and the writing of numbers and JSON strings into them.
 * Does not know what the bytes mean. */
#include "sim/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "stream/array.h"

void buf_free(struct buf *b) {
    free(b->data);
    *b = (struct buf){0};
}

bool buf_reserve(struct buf *b, size_t more) {
    bool ok = ARRAY_ROOM(b->data, b->capacity, b->len + more);
    if (!ok) b->failed = true;
    return ok;
}

void buf_int(struct buf *b, int64_t value) {
    char digits[20];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do digits[--at] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0) buf_char(b, '-');
    buf_add(b, digits + at, sizeof digits - at);
}

void buf_format(struct buf *b, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int len = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (len > 0 && buf_reserve(b, (size_t)len + 1)) {
        vsnprintf(b->data + b->len, (size_t)len + 1, format, again);
        b->len += (size_t)len;
    }
    va_end(again);
}

static void buf_escape(struct buf *b, unsigned char c) {
    static const char *const short_forms[32] = {
        ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r"};
    if (c == '"' || c == '\\') {
        buf_char(b, '\\');
        buf_char(b, (char)c);
    } else if (short_forms[c]) {
        buf_str(b, short_forms[c]);
    } else {
        buf_format(b, "\\u%04x", c);
    }
}

void buf_json(struct buf *b, const char *text, size_t len) {
    size_t plain = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        buf_add(b, text + plain, i - plain);
        buf_escape(b, c);
        plain = i + 1;
    }
    buf_add(b, text + plain, len - plain);
}

void buf_drop(struct buf *b, size_t n) {
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}
