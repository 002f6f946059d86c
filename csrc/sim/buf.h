/* buf: bytes that grow at the end. The holder owns the memory; not for use by two threads at once.
 * Out of memory is sticky: `failed` is set, what was added is lost, and whoever sends the bytes looks at it
 * once.
 */
#ifndef VLLMPERF_SIM_BUF_H
#define VLLMPERF_SIM_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buf {
    char *data;
    size_t len, capacity;
    bool failed;
};

void buf_free(struct buf *b);

/* Room for `more` bytes after len, without changing len; false when out of memory. */
bool buf_reserve(struct buf *b, size_t more);

static inline void buf_add(struct buf *b, const char *bytes, size_t len) {
    if (b->capacity - b->len < len && !buf_reserve(b, len)) return;
    if (len) memcpy(b->data + b->len, bytes, len);
    b->len += len;
}

static inline void buf_str(struct buf *b, const char *text) {
    buf_add(b, text, strlen(text));
}
static inline void buf_char(struct buf *b, char c) {
    buf_add(b, &c, 1);
}
void buf_int(struct buf *b, int64_t value);
void buf_format(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The inside of a JSON string: text with what has to be escaped escaped. */
void buf_json(struct buf *b, const char *text, size_t len);

/* Forget the first n bytes. */
void buf_drop(struct buf *b, size_t n);

#endif
