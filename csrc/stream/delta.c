/* Owns the reading of one completions or chat object: a JSON pull scanner and the handful of keys that
 * matter. Keeps nothing between calls and builds no tree. */
#include "stream/delta.h"

#include <string.h>

enum { MAX_DEPTH = 128 };

/* A scanner over one text. `bad` is set for good by the first error; every function then does nothing. */
struct scan {
    const char *at, *end;
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

/* Eight bytes at a time while none of them is a quote, a backslash or a control character. */
static const char *skip_plain(const char *at, const char *end) {
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        uint64_t quote = word ^ (ones * '"'), slash = word ^ (ones * '\\');
        uint64_t stop =
            ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((word - ones * 0x20) & ~word);
        if (stop & tops) break;
        at += 8;
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

/* Any value. A loop with a stack of brackets, so that deep nesting cannot use up the C stack. */
static void skip(struct scan *s) {
    char open[MAX_DEPTH];
    int depth = 0;
    do {
        char c = peek(s);
        if (c == '{' || c == '[') {
            if (depth == MAX_DEPTH) s->bad = true;
            if (s->bad) return;
            open[depth++] = c;
            s->at++;
            if (take(s, c == '{' ? '}' : ']')) {
                depth--;
            } else {
                if (c == '{') string(s), need(s, ':');
                continue;
            }
        } else {
            scalar(s);
        }
        while (depth > 0 && !s->bad && take(s, open[depth - 1] == '{' ? '}' : ']')) depth--;
        if (depth == 0 || s->bad) return;
        need(s, ',');
        if (open[depth - 1] == '{') string(s), need(s, ':');
    } while (!s->bad);
}

static bool is_null(struct scan *s) {
    return peek(s) == 'n' && word(s, "null");
}

/* The next member of an object: false at its end. *first starts true. */
static bool member(struct scan *s, bool *first, struct view *key) {
    if (s->bad || take(s, '}')) return false;
    if (!*first) need(s, ',');
    *first = false;
    *key = string(s);
    need(s, ':');
    return !s->bad;
}

/* The next element of an array: false at its end. */
static bool element(struct scan *s, bool *first) {
    if (s->bad || take(s, ']')) return false;
    if (!*first) need(s, ',');
    *first = false;
    return !s->bad;
}

static bool is(struct view key, const char *name) {
    return key.len == strlen(name) && memcmp(key.at, name, key.len) == 0;
}

/* ---- values that are wanted, or skipped when they are of another type ---- */

static void want_string(struct scan *s, const char **at, size_t *len) {
    if (peek(s) != '"') {
        skip(s);
        return;
    }
    struct view inside = string(s);
    *at = inside.at;
    *len = inside.len;
}

/* Text that may come under two names: an empty one does not hide the other. */
static void want_text(struct scan *s, const char **at, size_t *len) {
    const char *found = NULL;
    size_t found_len = 0;
    want_string(s, &found, &found_len);
    if (!found || (*at && found_len == 0)) return;
    *at = found;
    *len = found_len;
}

static void want_count(struct scan *s, int64_t *count) {
    char c = peek(s);
    const char *start = s->at;
    skip(s);
    if (s->bad || !is_digit(c)) return;
    int64_t value = 0;
    for (; start < s->at && is_digit(*start) && value < INT64_MAX / 10 - 1; start++)
        value = value * 10 + (*start - '0');
    *count = value;
}

static int64_t array_length(struct scan *s) {
    if (peek(s) != '[') {
        skip(s);
        return -1;
    }
    need(s, '[');
    int64_t n = 0;
    for (bool first = true; element(s, &first); n++) skip(s);
    return n;
}

/* ---- what a chunk is made of ---- */

static void read_message(struct scan *s, struct delta_choice *choice) {
    struct view key;
    if (peek(s) != '{') {
        skip(s);
        return;
    }
    need(s, '{');
    for (bool first = true; member(s, &first, &key);) {
        if (is(key, "content") || is(key, "refusal"))
            want_text(s, &choice->content, &choice->content_len);
        else if (is(key, "reasoning") || is(key, "reasoning_content"))
            want_text(s, &choice->reasoning, &choice->reasoning_len);
        else if (is(key, "tool_calls"))
            choice->has_tool_calls |= array_length(s) > 0;
        else if (is(key, "function_call")) {
            choice->has_tool_calls |= peek(s) == '{';
            skip(s);
        } else if (is(key, "role")) {
            choice->has_role |= peek(s) == '"';
            skip(s);
        } else
            skip(s);
    }
}

static void read_choice(struct scan *s, struct delta_choice *choice) {
    struct view key;
    if (peek(s) != '{') {
        skip(s);
        return;
    }
    need(s, '{');
    for (bool first = true; member(s, &first, &key);) {
        if (is(key, "index"))
            want_count(s, &choice->index);
        else if (is(key, "text"))
            want_text(s, &choice->content, &choice->content_len);
        else if (is(key, "delta") || is(key, "message"))
            read_message(s, choice);
        else if (is(key, "finish_reason"))
            want_string(s, &choice->finish_reason, &choice->finish_reason_len);
        else if (is(key, "token_ids"))
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
    need(s, '[');
    for (bool first = true; element(s, &first); out->n_choices++) {
        struct delta_choice choice = {.token_ids = -1};
        read_choice(s, &choice);
        if (!s->bad && on_choice) on_choice(context, &choice);
    }
}

static void read_details(struct scan *s, struct delta *out) {
    struct view key;
    if (peek(s) != '{') {
        skip(s);
        return;
    }
    need(s, '{');
    for (bool first = true; member(s, &first, &key);) {
        if (is(key, "cached_tokens"))
            want_count(s, &out->cached_tokens);
        else
            skip(s);
    }
}

static void read_usage(struct scan *s, struct delta *out) {
    struct view key;
    if (peek(s) != '{') {
        skip(s);
        return;
    }
    need(s, '{');
    for (bool first = true; member(s, &first, &key);) {
        if (is(key, "prompt_tokens"))
            want_count(s, &out->prompt_tokens);
        else if (is(key, "completion_tokens"))
            want_count(s, &out->completion_tokens);
        else if (is(key, "prompt_tokens_details"))
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
    const char *start = s->at, *object = NULL;
    size_t object_len = 0;
    struct view key;
    need(s, '{');
    for (bool first = true; member(s, &first, &key);) {
        if (is(key, "choices"))
            read_choices(s, out, on_choice, context);
        else if (is(key, "usage"))
            read_usage(s, out);
        else if (is(key, "error"))
            read_error(s, out);
        else if (is(key, "object"))
            want_string(s, &object, &object_len);
        else
            skip(s);
    }
    if (object && !out->error && is((struct view){object, object_len}, "error")) {
        out->error = start;
        out->error_len = (size_t)(s->at - start);
    }
}

enum delta_status delta_scan(const char *json, size_t len, struct delta *out, delta_on_choice *on_choice,
                             void *context) {
    struct scan s = {json, json + len, false};
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

size_t delta_unescape(char *dst, const char *src, size_t len) {
    char *to = dst;
    for (size_t i = 0; i < len;) {
        if (src[i] != '\\') {
            *to++ = src[i++];
            continue;
        }
        if (src[i + 1] == 'u') {
            unsigned c;
            i += take_unicode(src + i, len - i, &c);
            to += put_utf8(to, c);
            continue;
        }
        static const char from[] = "bfnrt", meant[] = "\b\f\n\r\t";
        const char *found = strchr(from, src[i + 1]);
        *to++ = found ? meant[found - from] : src[i + 1];
        i += 2;
    }
    return (size_t)(to - dst);
}
