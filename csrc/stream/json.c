/* Owns the rare parts of the JSON grammar: escapes, numbers, trees, decoding.
 * Knows no key and no value. */
#include "stream/json.h"

#include "stream/unescape.h"

static bool json_is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool json_is_hex(char c) {
    return json_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

const char *json_escape(const char *at, const char *end) {
    at++;
    if (at >= end || *at == '\0' || !strchr("\"\\/bfnrtu", *at)) return NULL;
    if (*at++ != 'u') return at;
    if (end - at < 4) return NULL;
    for (int i = 0; i < 4; i++, at++)
        if (!json_is_hex(*at)) return NULL;
    return at;
}

static const char *json_digits(const char *at, const char *end) {
    const char *start = at;
    while (at < end && json_is_digit(*at)) at++;
    return at > start ? at : NULL;
}

static const char *json_number(const char *at, const char *end) {
    at = at < end && *at == '0' ? at + 1 : json_digits(at, end);
    if (at && at < end && *at == '.') at = json_digits(at + 1, end);
    if (at && at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-')) at++;
        at = json_digits(at, end);
    }
    return at;
}

static const char *json_word(const char *at, const char *end, const char *text) {
    size_t len = strlen(text);
    return (size_t)(end - at) >= len && memcmp(at, text, len) == 0 ? at + len : NULL;
}

const char *json_scalar(const char *at, const char *end) {
    bool is_negative = *at == '-';
    if (is_negative) at++;
    if (at < end && *at == 'I') return json_word(at, end, "Infinity");
    if (is_negative || json_is_digit(*at)) return json_number(at, end);
    switch (*at) {
    case 't':
        return json_word(at, end, "true");
    case 'f':
        return json_word(at, end, "false");
    case 'N':
        return json_word(at, end, "NaN");
    default:
        return NULL;
    }
}

static const char *json_past_key(const char *at, const char *end) {
    struct view ignored;
    if (at >= end || *at != '"' || !(at = json_string(at + 1, end, &ignored))) return NULL;
    at = json_blanks(at, end);
    return at < end && *at == ':' ? json_blanks(at + 1, end) : NULL;
}

/* Into brackets as far as a scalar or an empty pair, which is skipped. */
static const char *json_descend(const char *at, const char *end, char *closing, int *depth) {
    bool more;
    while (at && at < end && (*at == '{' || *at == '[')) {
        if (++*depth > JSON_MAX_DEPTH) return NULL;
        closing[*depth] = *at == '{' ? '}' : ']';
        at = json_open(at, end, closing[*depth], &more);
        if (!at) return NULL;
        if (!more) {
            --*depth;
            return at;
        }
        if (closing[*depth] == '}') at = json_past_key(at, end);
    }
    return at ? json_skip(at, end, *depth) : NULL;
}

const char *json_skip_tree(const char *at, const char *end, int depth) {
    char closing[JSON_MAX_DEPTH + 1]; /* by depth */
    int outside = depth;
    do {
        at = json_descend(at, end, closing, &depth);
        bool more = false;
        while (at && depth > outside && !more) {
            at = json_next(at, end, closing[depth], &more);
            if (!more) depth--;
        }
        if (at && more && closing[depth] == '}') at = json_past_key(at, end);
    } while (at && depth > outside);
    return at;
}

/* The exponent of a number, or 0; kept within bounds that no count reaches. */
static int64_t exponent_of(struct view number) {
    const char *end = number.at + number.len;
    const char *at = memchr(number.at, 'e', number.len);
    if (!at) at = memchr(number.at, 'E', number.len);
    if (!at) return 0;
    bool is_negative = at[1] == '-';
    int64_t value = 0;
    for (at += json_is_digit(at[1]) ? 1 : 2; at < end; at++)
        if (value < INT32_MAX) value = value * 10 + (*at - '0');
    return is_negative ? -value : value;
}

/* The number times 10^shift, when it is from 0 on and has at most 18 digits, else -1. What is behind its
 * point is cut off, or makes it -1. */
static int64_t fixed_of(struct view number, int64_t shift, bool cuts) {
    int64_t value = 0, power = exponent_of(number) + shift;
    const char *at = number.at, *end = at + number.len;
    bool is_negative = at < end && *at == '-';
    at += is_negative;
    if (at >= end || !json_is_digit(*at)) return -1; /* -Infinity */
    for (const char *digit = at; digit < end && json_is_digit(*digit); digit++) power++;
    for (; at < end && (json_is_digit(*at) || *at == '.'); at++) {
        if (*at == '.') continue;
        power--;
        if (*at == '0' || (power < 0 && cuts)) continue;
        if (power < 0 || power > 17 || is_negative) return -1;
        int64_t each = *at - '0';
        for (int64_t i = 0; i < power; i++) each *= 10;
        value += each;
    }
    return value;
}

int64_t json_count_of(struct view number) {
    return fixed_of(number, 0, false);
}

const char *json_ms(const char *at, const char *end, int depth, int64_t *ns) {
    const char *start = at;
    *ns = -1;
    at = json_skip(at, end, depth);
    if (at && json_is_digit(*start)) *ns = fixed_of((struct view){start, (size_t)(at - start)}, 6, true);
    return at;
}

struct view json_decoded_key(struct view raw, char decoded[JSON_KEY_BYTES]) {
    static const struct view nobodys = {"", 0};
    if (raw.len > 6 * JSON_KEY_BYTES) return nobodys;
    char whole[6 * JSON_KEY_BYTES];
    size_t len = unescape(whole, raw.at, raw.len);
    if (len > JSON_KEY_BYTES) return nobodys;
    memcpy(decoded, whole, len);
    return (struct view){decoded, len};
}
