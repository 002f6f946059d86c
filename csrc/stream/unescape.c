/* Owns the decoding of JSON strings.
 * Does not check that they are well-formed: what no string may end with is taken as it is. */
#include "stream/unescape.h"

#include <stdbool.h>
#include <string.h>

static unsigned unescape_hex(const char *at) {
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned c = (unsigned char)at[i];
        value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

static size_t put_utf8(char *dst, unsigned c) {
    if (c < 0x80) {
        dst[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6) dst[i] = (char)(0x80 | (c & 0x3f));
    static const unsigned char heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    dst[0] = (char)(heads[n] | c);
    return n;
}

/* \uXXXX at src (of len bytes), with the second half of a pair when there is one. Returns bytes read. */
static size_t take_unicode(const char *src, size_t len, unsigned *c) {
    *c = unescape_hex(src + 2);
    if (*c < 0xd800 || *c > 0xdfff) {
        if (*c == 0) *c = 0xfffd;
        return 6;
    }
    bool is_pair = *c < 0xdc00 && len >= 12 && src[6] == '\\' && src[7] == 'u';
    unsigned second = is_pair ? unescape_hex(src + 8) : 0;
    if (second < 0xdc00 || second > 0xdfff) {
        *c = 0xfffd;
        return 6;
    }
    *c = 0x10000 + ((*c - 0xd800) << 10) + (second - 0xdc00);
    return 12;
}

/* One escape at src. Returns bytes read, *written tells bytes written. */
static size_t take_escape(char *dst, const char *src, size_t len, size_t *written) {
    static const char from[] = "bfnrt", meant[] = "\b\f\n\r\t";
    if (len >= 6 && src[1] == 'u') {
        unsigned c;
        size_t read = take_unicode(src, len, &c);
        *written = put_utf8(dst, c);
        return read;
    }
    const char *found = len >= 2 && src[1] ? strchr(from, src[1]) : NULL;
    *dst = found ? meant[found - from] : len >= 2 ? src[1] : src[0];
    *written = 1;
    return len >= 2 ? 2 : 1;
}

size_t unescape(char *dst, const char *src, size_t len) {
    char *to = dst;
    for (const char *end = src + len; src < end;) {
        const char *slash = memchr(src, '\\', (size_t)(end - src));
        size_t plain = (size_t)((slash ? slash : end) - src), written = 0;
        memcpy(to, src, plain);
        to += plain;
        src += plain;
        if (slash) src += take_escape(to, src, (size_t)(end - src), &written);
        to += written;
    }
    return (size_t)(to - dst);
}
