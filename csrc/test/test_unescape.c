/* Owns the sentences about stream/unescape: the texts of JSON strings. */
#include <stdlib.h>
#include <string.h>

#include "stream/unescape.h"
#include "test/t.h"

static int unescapes(const char *raw, const char *text) {
    size_t len = strlen(raw);
    char *dst = malloc(len + 1), *src = malloc(len + 1);
    if (!dst || !src) abort();
    memcpy(src, raw, len);
    int same = unescape(dst, src, len) == strlen(text) && memcmp(dst, text, strlen(text)) == 0;
    free(dst);
    free(src);
    return same;
}

int main(void) {
    CHECK("nothing", unescapes("", ""));
    CHECK("plain text stays", unescapes("a\xc3\xa4", "a\xc3\xa4"));
    CHECK("short escapes", unescapes("\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"));
    CHECK("one to three bytes", unescapes("\\u0041\\u00e4\\u20AC", "A\xc3\xa4\xe2\x82\xac"));
    CHECK("a surrogate pair", unescapes("\\ud83d\\ude00", "\xf0\x9f\x98\x80"));
    CHECK("a lone surrogate is replaced", unescapes("\\ud83dx", "\xef\xbf\xbdx"));
    CHECK("a low one too", unescapes("\\ude00", "\xef\xbf\xbd"));
    CHECK("a high one before another escape", unescapes("\\ud83d\\n", "\xef\xbf\xbd\n"));
    CHECK("two high ones and a low one", unescapes("\\ud83d\\ud83d\\ude00", "\xef\xbf\xbd\xf0\x9f\x98\x80"));
    CHECK("what no string may end with is taken as it is",
          unescapes("a\\", "a\\") && unescapes("\\u12", "u12"));
    CHECK("NUL is replaced", unescapes("a\\u0000", "a\xef\xbf\xbd"));
    return t_done("test_unescape");
}
