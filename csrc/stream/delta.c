/* Owns the reading of one completions or chat object: a JSON pull scanner and the handful of keys that
 * matter. Keeps nothing between calls and builds no tree. */
#include "stream/delta.h"

#include <string.h>

enum { MAX_DEPTH = 128 };

/* A scanner over one text. `bad` is set for good by the first error; every function then does nothing. */
struct scan {
    const char *at, *end;
    int depth; /* brackets that are open */
    bool bad;
};

struct view {
    const char *at;
    size_t len;
};

/* ---- the JSON grammar ---- */

static void blanks(struct scan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t')) s->at++;
}

static char peek(struct scan *s) {
    blanks(s);
    return s->at < s->end && !s->bad ? *s->at : '\0';
}

static bool take(struct scan *s, char wanted) {
    if (peek(s) != wanted) return false;
    s->at++;
    return true;
}

static void need(struct scan *s, char wanted) {
    if (!take(s, wanted)) s->bad = true;
}

/* Go into an object or an array; member() and element() come out at its end. */
static void enter(struct scan *s, char bracket) {
    need(s, bracket);
    if (++s->depth > MAX_DEPTH) s->bad = true;
}

static bool leave(struct scan *s, char bracket) {
    if (!take(s, bracket)) return false;
    s->depth--;
    return true;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static void escape(struct scan *s) {
    s->at++;
    if (s->at >= s->end || !strchr("\"\\/bfnrtu", *s->at) || *s->at == '\0') {
        s->bad = true;
        return;
    }
    if (*s->at++ != 'u') return;
    for (int i = 0; i < 4; i++, s->at++)
        if (s->at >= s->end || !is_hex(*s->at)) {
            s->bad = true;
            return;
        }
}

/* The first quote, backslash or control character, or the end. Eight bytes at a time: (x - 0x01..01 * n) & ~x
 * has the top bit set in the lowest byte of x that is below n, and x ^ 0x01..01 * c is below 1 in a byte that
 * is c. */
static const char *skip_plain(const char *at, const char *end) {
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    for (; end - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        uint64_t quote = word ^ (ones * '"'), slash = word ^ (ones * '\\');
        uint64_t stop =
            ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((word - ones * 0x20) & ~word);
        if ((stop & tops) == 0) continue;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        return at + __builtin_ctzll(stop & tops) / 8;
#else
        break;
#endif
    }
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20) at++;
    return at;
}

/* The inside of a string, escapes still in it. Bytes from 0x80 on are passed as they are. */
static struct view string(struct scan *s) {
    struct view inside = {NULL, 0};
    need(s, '"');
    const char *start = s->at;
    while (!s->bad) {
        s->at = skip_plain(s->at, s->end);
        if (s->at >= s->end || (unsigned char)*s->at < 0x20)
            s->bad = true;
        else if (*s->at == '\\')
            escape(s);
        else
            break;
    }
    if (s->bad) return inside;
    inside = (struct view){start, (size_t)(s->at - start)};
    s->at++;
    return inside;
}

static void digits(struct scan *s) {
    if (s->at >= s->end || !is_digit(*s->at)) s->bad = true;
    while (s->at < s->end && is_digit(*s->at)) s->at++;
}

static void number(struct scan *s) {
    if (*s->at == '-') s->at++;
    if (s->at < s->end && *s->at == '0')
        s->at++;
    else
        digits(s);
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        digits(s);
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-')) s->at++;
        digits(s);
    }
}

static bool word(struct scan *s, const char *text) {
    size_t len = strlen(text);
    if ((size_t)(s->end - s->at) < len || memcmp(s->at, text, len) != 0) return false;
    s->at += len;
    return true;
}

static void scalar(struct scan *s) {
    char c = peek(s);
    if (c == '"')
        string(s);
    else if (c == '-' || is_digit(c))
        number(s);
    else if (!word(s, "null") && !word(s, "true") && !word(s, "false"))
        s->bad = true;
}

static void key(struct scan *s) {
    string(s);
    need(s, ':');
}

/* Any value. A loop with a stack of brackets, so that deep nesting cannot use up the C stack. */
static void skip(struct scan *s) {
    char closing[MAX_DEPTH + 1]; /* by depth */
    int outside = s->depth;
    do {
        char c = peek(s);
        if (c == '{' || c == '[') {
            enter(s, c);
            if (s->bad) return;
            closing[s->depth] = c == '{' ? '}' : ']';
            if (!leave(s, closing[s->depth])) {
                if (c == '{') key(s);
                continue;
            }
        } else {
            scalar(s);
        }
        while (s->depth > outside && leave(s, closing[s->depth])) {
        }
        if (s->depth == outside || s->bad) return;
        need(s, ',');
        if (closing[s->depth] == '}') key(s);
    } while (!s->bad);
}

static bool is_null(struct scan *s) {
    return peek(s) == 'n' && word(s, "null");
}

/* The next member of an object: false at its end. *first starts true. */
static bool member(struct scan *s, bool *first, struct view *name) {
    if (s->bad || leave(s, '}')) return false;
    if (!*first) need(s, ',');
    *first = false;
    *name = string(s);
    need(s, ':');
    return !s->bad;
}

/* The next element of an array: false at its end. */
static bool element(struct scan *s, bool *first) {
    if (s->bad || leave(s, ']')) return false;
    if (!*first) need(s, ',');
    *first = false;
    return !s->bad;
}

static inline bool is(struct view text, const char *name) {
    return text.len == strlen(name) && memcmp(text.at, name, text.len) == 0;
}

/* ---- values that are wanted, or skipped when they are of another type ---- */

static struct view want_string(struct scan *s) {
    if (peek(s) == '"') return string(s);
    skip(s);
    return (struct view){NULL, 0};
}

/* Text may come under two names at once (reasoning and reasoning_content): an empty or missing one does not
 * hide another. */
static void want_text(struct scan *s, const char **at, size_t *len) {
    struct view text = want_string(s);
    if (!text.at || (*len > 0 && text.len == 0)) return;
    *at = text.at;
    *len = text.len;
}

/* A whole number of at most 18 digits. */
static void want_count(struct scan *s, int64_t *count) {
    blanks(s);
    const char *start = s->at;
    skip(s);
    if (s->bad || s->at - start > 18) return;
    int64_t value = 0;
    for (const char *at = start; at < s->at; at++) {
        if (!is_digit(*at)) return;
        value = value * 10 + (*at - '0');
    }
    *count = value;
}

static int64_t array_length(struct scan *s) {
    if (peek(s) != '[') {
        skip(s);
        return -1;
    }
    enter(s, '[');
    int64_t n = 0;
    for (bool first = true; element(s, &first); n++) skip(s);
    return n;
}

/* ---- what a chunk is made of ---- */

static void read_message(struct scan *s, struct delta_choice *choice) {
    struct view name;
    if (peek(s) != '{') {
        skip(s);
        return;
    }
    enter(s, '{');
    for (bool first = true; member(s, &first, &name);) {
        if (is(name, "content") || is(name, "refusal"))
            want_text(s, &choice->content, &choice->content_len);
        else if (is(name, "reasoning") || is(name, "reasoning_content"))
            want_text(s, &choice->reasoning, &choice->reasoning_len);
        else if (is(name, "tool_calls"))
            choice->has_tool_calls |= array_length(s) > 0;
        else if (is(name, "function_call")) {
            choice->has_tool_calls |= peek(s) == '{';
            skip(s);
        } else if (is(name, "role")) {
            choice->has_role |= peek(s) == '"';
            skip(s);
        } else
            skip(s);
    }
}

static void read_choice(struct scan *s, struct delta_choice *choice) {
    struct view name;
    if (peek(s) != '{') {
        skip(s);
        return;
    }
    enter(s, '{');
    for (bool first = true; member(s, &first, &name);) {
        if (is(name, "index"))
            want_count(s, &choice->index);
        else if (is(name, "text"))
            want_text(s, &choice->content, &choice->content_len);
        else if (is(name, "delta") || is(name, "message"))
            read_message(s, choice);
        else if (is(name, "finish_reason"))
            want_text(s, &choice->finish_reason, &choice->finish_reason_len);
        else if (is(name, "token_ids"))
            choice->token_ids = array_length(s);
        else
            skip(s);
    }
}

static void read_choices(struct scan *s, struct delta *out, delta_on_choice *on_choice, void *context) {
    if (peek(s) != '[') {
        skip(s);
        return;
    }
    enter(s, '[');
    for (bool first = true; element(s, &first); out->n_choices++) {
        struct delta_choice choice = {.token_ids = -1};
        read_choice(s, &choice);
        if (!s->bad && on_choice) on_choice(context, &choice);
    }
}

static void read_details(struct scan *s, struct delta *out) {
    struct view name;
    if (peek(s) != '{') {
        skip(s);
        return;
    }
    enter(s, '{');
    for (bool first = true; member(s, &first, &name);) {
        if (is(name, "cached_tokens"))
            want_count(s, &out->cached_tokens);
        else
            skip(s);
    }
}

static void read_usage(struct scan *s, struct delta *out) {
    struct view name;
    if (peek(s) != '{') {
        skip(s);
        return;
    }
    enter(s, '{');
    for (bool first = true; member(s, &first, &name);) {
        if (is(name, "prompt_tokens"))
            want_count(s, &out->prompt_tokens);
        else if (is(name, "completion_tokens"))
            want_count(s, &out->completion_tokens);
        else if (is(name, "prompt_tokens_details"))
            read_details(s, out);
        else
            skip(s);
    }
}

static void read_error(struct scan *s, struct delta *out) {
    if (is_null(s)) return;
    const char *start = s->at;
    skip(s);
    if (s->bad) return;
    out->error = start;
    out->error_len = (size_t)(s->at - start);
}

static void read_object(struct scan *s, struct delta *out, delta_on_choice *on_choice, void *context) {
    const char *start = s->at;
    struct view object = {NULL, 0};
    struct view name;
    enter(s, '{');
    for (bool first = true; member(s, &first, &name);) {
        if (is(name, "choices"))
            read_choices(s, out, on_choice, context);
        else if (is(name, "usage"))
            read_usage(s, out);
        else if (is(name, "error"))
            read_error(s, out);
        else if (is(name, "object"))
            object = want_string(s);
        else
            skip(s);
    }
    if (object.at && !out->error && is(object, "error")) {
        out->error = start;
        out->error_len = (size_t)(s->at - start);
    }
}

enum delta_status delta_scan(const char *json, size_t len, struct delta *out, delta_on_choice *on_choice,
                             void *context) {
    struct scan s = {.at = json, .end = json + len};
    *out = (struct delta){.prompt_tokens = -1, .completion_tokens = -1, .cached_tokens = -1};
    if (peek(&s) == '[' && word(&s, "[DONE]")) {
        blanks(&s);
        return s.at == s.end ? DELTA_DONE : DELTA_MALFORMED;
    }
    read_object(&s, out, on_choice, context);
    blanks(&s);
    return s.bad || s.at != s.end ? DELTA_MALFORMED : DELTA_OK;
}

bool delta_choice_is_output(const struct delta_choice *choice) {
    if (choice->content_len || choice->reasoning_len || choice->has_tool_calls || choice->token_ids > 0)
        return true;
    return choice->content && !choice->has_role;
}

/* ---- text ---- */

static unsigned hex(const char *at) {
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
    *c = hex(src + 2);
    if (*c < 0xd800 || *c > 0xdfff) {
        if (*c == 0) *c = 0xfffd;
        return 6;
    }
    bool is_pair = *c < 0xdc00 && len >= 12 && src[6] == '\\' && src[7] == 'u';
    unsigned second = is_pair ? hex(src + 8) : 0;
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

size_t delta_unescape(char *dst, const char *src, size_t len) {
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
