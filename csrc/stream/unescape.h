/* unescape: the text that the inside of a JSON string stands for. Any thread may call. Owns nothing, cannot
 * fail.
 */
#ifndef VLLMPERF_STREAM_UNESCAPE_H
#define VLLMPERF_STREAM_UNESCAPE_H

#include <stddef.h>

/* Decode the inside of a JSON string into UTF-8. dst must hold len bytes (the result is never longer).
 * Lone surrogates and NUL become U+FFFD. Returns the number of bytes written. */
size_t unescape(char *dst, const char *src, size_t len);

#endif
