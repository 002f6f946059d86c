/* json: the grammar of RFC 8259, read in place, inlined where each event of a stream comes by. Every function
 * takes where it is and where the input ends, and returns the place behind what it read, or NULL when that is
 * no JSON. Nothing is allocated, nothing beyond the end is touched. Any thread may call.
 *
 * As Python's json module it takes NaN, Infinity and -Infinity. Bytes from 0x80 on are passed as they are,
 * valid UTF-8 or not (a server may cut a character in two). Brackets may be JSON_MAX_DEPTH deep.
 */
#ifndef VLLMPERF_STREAM_JSON_H
#define VLLMPERF_STREAM_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { JSON_MAX_DEPTH = 128 };

/* gcc and clang both find these too large to inline by themselves; calls cost a third of the time. */
#define JSON_INLINE static inline __attribute__((always_inline))

struct view {
    const char *at;
    size_t len;
};

JSON_INLINE bool view_is(struct view text, const char *name) {
    return text.len == strlen(name) && memcmp(text.at, name, text.len) == 0;
}

/* ---- what is rare ---- */

/* Behind a string's backslash escape that begins at `at`. */
const char *json_escape(const char *at, const char *end);

/* Any value that lies `depth` brackets deep. A loop, so that deep nesting cannot use up the C stack. */
const char *json_skip_tree(const char *at, const char *end, int depth);

/* A number, a name, or NaN and Infinity. */
const char *json_scalar(const char *at, const char *end);

/* A number that is whole and has at most 18 digits, however it is written (5.0, 5e0); else -1. */
int64_t json_count_of(struct view number);

/* Any value that lies `depth` brackets deep; *ns is its number of ms in ns when it is one from 0 on, else -1.
 */
const char *json_ms(const char *at, const char *end, int depth, int64_t *ns);

/* A key written with escapes, decoded into `decoded`; one that does not fit there is nobody's key. */
enum { JSON_KEY_BYTES = 32 };
struct view json_decoded_key(struct view raw, char decoded[JSON_KEY_BYTES]);

/* ---- what each event is made of ---- */

JSON_INLINE bool json_is_blank(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

JSON_INLINE const char *json_blanks(const char *at, const char *end) {
    while (at < end && (unsigned char)*at <= ' ' && json_is_blank(*at)) at++;
    return at;
}

/* The first quote, backslash or control character, or the end. */
JSON_INLINE const char *json_plain(const char *at, const char *end) {
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);
    for (; end - at >= 16; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i stop = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, slash)),
                                    _mm_cmpeq_epi8(_mm_min_epu8(bytes, control), bytes));
        int mask = _mm_movemask_epi8(stop);
        if (mask) return at + __builtin_ctz((unsigned)mask);
    }
#endif
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20) at++;
    return at;
}

/* `at` lies behind the opening quote: the inside of the string, escapes still in it, and the place behind. */
JSON_INLINE const char *json_string(const char *at, const char *end, struct view *inside) {
    inside->at = at;
    while ((at = json_plain(at, end)) < end && *at == '\\')
        if (!(at = json_escape(at, end))) return NULL;
    if (at >= end || *at != '"') return NULL;
    inside->len = (size_t)(at - inside->at);
    return at + 1;
}

/* Any value that lies `depth` brackets deep. */
JSON_INLINE const char *json_skip(const char *at, const char *end, int depth) {
    struct view ignored;
    if (at >= end) return NULL;
    if (*at == '"') return json_string(at + 1, end, &ignored);
    if (*at == 'n') return end - at >= 4 && memcmp(at, "null", 4) == 0 ? at + 4 : NULL;
    if (*at == '{' || *at == '[') return json_skip_tree(at, end, depth);
    return json_scalar(at, end);
}

/* Any value; *count is its number when it is one that counts, else -1. */
JSON_INLINE const char *json_count(const char *at, const char *end, int depth, int64_t *count) {
    const char *start = at;
    bool is_number = at < end && ((*at >= '0' && *at <= '9') || *at == '-');
    *count = -1;
    if (is_number && end - at > 1 && *at != '-' && (at[1] == ',' || at[1] == '}')) {
        *count = *at - '0';
        return at + 1;
    }
    at = json_skip(at, end, depth);
    if (at && is_number) *count = json_count_of((struct view){start, (size_t)(at - start)});
    return at;
}

/* Into an object or an array whose bracket is at `at`: *more tells whether there is something in it; the
 * place is then that of the first thing, else behind the closing bracket. */
JSON_INLINE const char *json_open(const char *at, const char *end, char closing, bool *more) {
    at = json_blanks(at + 1, end);
    *more = at < end && *at != closing;
    return at >= end ? NULL : *more ? at : at + 1;
}

/* Behind a member or an element: to the next one (*more), or out of the object or array. */
JSON_INLINE const char *json_next(const char *at, const char *end, char closing, bool *more) {
    *more = false;
    if (!at) return NULL;
    if (end - at > 1 && *at == ',' && (unsigned char)at[1] > ' ') {
        *more = true;
        return at + 1;
    }
    at = json_blanks(at, end);
    if (at >= end) return NULL;
    if (*at == closing) return at + 1;
    if (*at != ',') return NULL;
    *more = true;
    return json_blanks(at + 1, end);
}

/* The key at `at`, and the place of its value. `decoded` is used when the key is written with escapes. */
JSON_INLINE const char *json_key(const char *at, const char *end, struct view *key,
                                 char decoded[JSON_KEY_BYTES]) {
    if (at >= end || *at != '"') return NULL;
    const char *stop = json_plain(at + 1, end);
    if (stop < end && *stop == '"') {
        *key = (struct view){at + 1, (size_t)(stop - at - 1)};
        at = stop + 1;
    } else {
        if (!(at = json_string(at + 1, end, key))) return NULL;
        *key = json_decoded_key(*key, decoded);
    }
    if (end - at > 1 && *at == ':' && (unsigned char)at[1] > ' ') return at + 1;
    at = json_blanks(at, end);
    if (at >= end || *at != ':') return NULL;
    return json_blanks(at + 1, end);
}

/* What reads the value at `at` of an object's member, and gives the place behind it. */
typedef const char *json_on_member(const char *at, const char *end, struct view key, void *context);

/* All members of the object at `at`. */
JSON_INLINE const char *json_members(const char *at, const char *end, json_on_member *on_member,
                                     void *context) {
    char decoded[JSON_KEY_BYTES];
    struct view key;
    bool more;
    for (at = json_open(at, end, '}', &more); at && more; at = json_next(at, end, '}', &more)) {
        if (!(at = json_key(at, end, &key, decoded))) return NULL;
        at = on_member(at, end, key, context);
    }
    return at;
}

#endif
