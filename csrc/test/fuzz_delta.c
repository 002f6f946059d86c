/* Owns the fuzzing of stream/delta: any bytes are read within their bounds, what lies around them changes
 * nothing, and what is JSON, how many choices it has and what its usage counts is decided as a slow reference
 * decides it. Does not know what choices say (tests/stream does). */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "stream/delta.h"
#include "stream/unescape.h"

/* ---- the reference: a recursive descent, each function returning where its value ends, or NULL ---- */

enum { MAX_DEPTH = 128 };

static const char *blanks(const char *at, const char *end) {
    while (at < end && memchr(" \t\r\n", *at, 4)) at++;
    return at;
}

static const char *word(const char *at, const char *end, const char *text) {
    size_t len = strlen(text);
    return (size_t)(end - at) >= len && memcmp(at, text, len) == 0 ? at + len : NULL;
}

static bool is_in(const char *at, const char *end, const char *set) {
    return at < end && *at && strchr(set, *at);
}

static const char *string(const char *at, const char *end) {
    if (!is_in(at, end, "\"")) return NULL;
    for (at++; at < end && *at != '"'; at++) {
        if ((unsigned char)*at < 0x20) return NULL;
        if (*at != '\\') continue;
        if (!is_in(++at, end, "\"\\/bfnrtu")) return NULL;
        for (int i = *at == 'u' ? 4 : 0; i > 0; i--)
            if (!is_in(++at, end, "0123456789abcdefABCDEF")) return NULL;
    }
    return at < end ? at + 1 : NULL;
}

static const char *digits(const char *at, const char *end) {
    const char *start = at;
    while (is_in(at, end, "0123456789")) at++;
    return at > start ? at : NULL;
}

static const char *number(const char *at, const char *end) {
    if (is_in(at, end, "-")) at++;
    if (is_in(at, end, "I")) return word(at, end, "Infinity");
    at = is_in(at, end, "0") ? at + 1 : digits(at, end);
    if (at && is_in(at, end, ".")) at = digits(at + 1, end);
    if (at && is_in(at, end, "eE")) {
        at++;
        at = digits(is_in(at, end, "+-") ? at + 1 : at, end);
    }
    return at;
}

static const char *value(const char *at, const char *end, int depth);

/* An object's or an array's inside. */
static const char *members(const char *at, const char *end, bool is_object, int depth) {
    const char *closing = is_object ? "}" : "]";
    at = blanks(at, end);
    if (is_in(at, end, closing)) return at + 1;
    while (true) {
        if (is_object) {
            at = string(blanks(at, end), end);
            at = at ? blanks(at, end) : NULL;
            if (!at || !is_in(at, end, ":")) return NULL;
            at++;
        }
        at = value(blanks(at, end), end, depth);
        if (!at) return NULL;
        at = blanks(at, end);
        if (is_in(at, end, closing)) return at + 1;
        if (!is_in(at, end, ",")) return NULL;
        at++;
    }
}

static const char *value(const char *at, const char *end, int depth) {
    if (is_in(at, end, "{[")) return depth < MAX_DEPTH ? members(at + 1, end, *at == '{', depth + 1) : NULL;
    if (is_in(at, end, "\"")) return string(at, end);
    if (is_in(at, end, "-0123456789")) return number(at, end);
    const char *after = word(at, end, "null");
    if (!after) after = word(at, end, "true");
    if (!after) after = word(at, end, "NaN");
    if (!after) after = word(at, end, "Infinity");
    return after ? after : word(at, end, "false");
}

/* The value of the last member of that name in the object at `at` that begins with one of `firsts` (NULL =
 * any will do); NULL when there is none. */
static const char *last_member_of(const char *at, const char *end, const char *name, const char *firsts) {
    const char *found = NULL;
    at = blanks(at + 1, end);
    while (*at != '}') {
        const char *behind = string(at, end);
        char *key = malloc((size_t)(behind - at));
        assert(key);
        size_t len = unescape(key, at + 1, (size_t)(behind - at) - 2);
        bool is_it = len == strlen(name) && memcmp(key, name, len) == 0;
        free(key);
        const char *its = blanks(blanks(behind, end) + 1, end);
        if (is_it && (!firsts || is_in(its, end, firsts))) found = its;
        at = blanks(value(its, end, 0), end);
        if (*at == ',') at = blanks(at + 1, end);
    }
    return found;
}

static const char *last_member(const char *at, const char *end, const char *name) {
    return last_member_of(at, end, name, NULL);
}

static int64_t elements(const char *at, const char *end) {
    if (!at || *at != '[') return 0;
    int64_t n = 0;
    at = blanks(at + 1, end);
    while (*at != ']') {
        n++;
        at = blanks(value(at, end, 0), end);
        if (*at == ',') at = blanks(at + 1, end);
    }
    return n;
}

/* A small whole number; -1 for others, -2 where a double would not do to tell. */
static int64_t count(const char *at, const char *end) {
    char text[32] = "";
    if (!at || !is_in(at, end, "-0123456789") || is_in(at + 1, end, "I")) return -1;
    size_t len = (size_t)(number(at, end) - at);
    if (len > 15) return -2;
    memcpy(text, at, len);
    double said = strtod(text, NULL);
    if (said > 1e15) return -2;
    return said >= 0 && said == (double)(int64_t)said ? (int64_t)said : -1;
}

/* Does this usage have a count? -2 where that cannot be told. */
static int64_t counts(const char *usage, const char *end) {
    static const char *const names[] = {"prompt_tokens", "completion_tokens", "total_tokens"};
    int64_t most = -1;
    for (int i = 0; usage && *usage == '{' && i < 3; i++) {
        int64_t found = count(last_member(usage, end, names[i]), end);
        if (found == -2) return -2;
        if (found > most) most = found;
    }
    return most;
}

static const char *usage_in(const char *at, const char *end) {
    const char *usage = at && *at == '{' ? last_member(at, end, "usage") : NULL;
    return usage && *usage == '{' ? usage : NULL;
}

static const char *usage_of_choices(const char *choices, const char *end) {
    const char *usage = NULL;
    if (!choices || *choices != '[') return NULL;
    for (const char *at = blanks(choices + 1, end); *at != ']';) {
        const char *found = *at == '{' ? last_member_of(at, end, "usage", "{") : NULL;
        if (found) usage = found;
        at = blanks(value(at, end, 0), end);
        if (*at == ',') at = blanks(at + 1, end);
    }
    return usage;
}

/* Of the first usage with a count: the object's, a choice's, Groq's. */
static int64_t completion_of(const char *top, const char *end) {
    const char *const usages[] = {usage_in(top, end), usage_of_choices(last_member(top, end, "choices"), end),
                                  usage_in(last_member(top, end, "x_groq"), end)};
    for (int i = 0; i < 3; i++) {
        int64_t found = counts(usages[i], end);
        if (found == -2) return -2;
        if (found >= 0) return count(last_member(usages[i], end, "completion_tokens"), end);
    }
    return -1;
}

struct right {
    enum delta_status status;
    int64_t n_choices, completion;
};

static struct right reference(const char *json, size_t len) {
    const char *end = json + len, *at = json;
    if (len >= 3 && memcmp(json, "\xef\xbb\xbf", 3) == 0) at += 3;
    at = blanks(at, end);
    const char *done = word(at, end, "[DONE]");
    if (done) return (struct right){blanks(done, end) == end ? DELTA_DONE : DELTA_MALFORMED, 0, -1};
    const char *after = is_in(at, end, "{") ? value(at, end, 0) : NULL;
    if (!after || blanks(after, end) != end) return (struct right){DELTA_MALFORMED, 0, -1};
    return (struct right){DELTA_OK, elements(last_member(at, end, "choices"), end), completion_of(at, end)};
}

/* ---- the scanner ---- */

/* What a scan says, without pointers: views as offsets, choices as a running hash. */
struct result {
    enum delta_status status;
    int64_t n_choices, prompt, completion, cached;
    size_t error_at, error_len, called;
    uint64_t hash;
    const char *start, *end;
};

static void mix(struct result *r, uint64_t value) {
    r->hash = (r->hash ^ value) * UINT64_C(1099511628211) + 1;
}

/* The view lies within the input, and its text is decoded into no more bytes. */
static void take_view(struct result *r, const char *at, size_t len) {
    mix(r, at ? (uint64_t)(at - r->start) + 1 : 0);
    mix(r, len);
    if (!at) return;
    assert(at >= r->start && len <= (size_t)(r->end - at));
    char *text = malloc(len ? len : 1);
    assert(text);
    size_t n = unescape(text, at, len);
    assert(n <= len);
    for (size_t i = 0; i < n; i++) mix(r, (unsigned char)text[i]);
    free(text);
}

static void take_parts(struct result *r, struct view parts) {
    mix(r, parts.len);
    if (!parts.len) return;
    assert(parts.at >= r->start && parts.len <= (size_t)(r->end - parts.at));
    char *text = malloc(parts.len);
    assert(text);
    size_t n = said_text(text, parts);
    assert(n <= parts.len);
    for (size_t i = 0; i < n; i++) mix(r, (unsigned char)text[i]);
    free(text);
}

static void on_choice(void *context, const struct delta_choice *choice) {
    struct result *r = context;
    r->called++;
    take_view(r, choice->content, choice->content_len);
    take_view(r, choice->reasoning, choice->reasoning_len);
    take_view(r, choice->finish_reason.at, choice->finish_reason.len);
    take_parts(r, choice->parts);
    assert(choice->content_len <= choice->text_bytes && choice->reasoning_len <= choice->thought_bytes);
    assert(delta_choice_bytes(choice) <= (size_t)(r->end - r->start));
    mix(r, choice->text_bytes * 31 + choice->thought_bytes * 17 + choice->tool_bytes);
    mix(r, choice->has_unknown);
    assert(choice->index >= 0 && choice->token_ids >= -1);
    mix(r, (uint64_t)choice->index);
    mix(r, (uint64_t)choice->token_ids);
    mix(r, (uint64_t)choice->has_role * 4 + (uint64_t)choice->has_tool_calls * 2 +
               delta_choice_is_output(choice));
}

static struct result scan(const char *json, size_t len) {
    struct result r = {.start = json, .end = json + len};
    struct delta delta;
    r.status = delta_scan(json, len, &delta, on_choice, &r);
    r.n_choices = delta.n_choices;
    r.prompt = delta.prompt_tokens;
    r.completion = delta.completion_tokens;
    r.cached = delta.cached_tokens;
    if (delta.error) {
        assert(delta.error >= json && delta.error_len <= len && delta.error + delta.error_len <= json + len);
        r.error_at = (size_t)(delta.error - json) + 1;
        r.error_len = delta.error_len;
    }
    assert(r.called == (size_t)r.n_choices && (r.called == 0 || r.status == DELTA_OK));
    return r;
}

static void same(const struct result *a, const struct result *b) {
    assert(a->status == b->status && a->n_choices == b->n_choices && a->called == b->called &&
           a->hash == b->hash);
    assert(a->prompt == b->prompt && a->completion == b->completion && a->cached == b->cached);
    assert(a->error_at == b->error_at && a->error_len == b->error_len);
}

static bool is_nothing(const char *json, size_t len) {
    static const char *const words[] = {"null", "None", "undefined", "[]", "\"\""};
    const char *end = json + len, *at = blanks(json, end);
    for (int i = 0; i < 5; i++) {
        const char *behind = word(at, end, words[i]);
        if (behind && blanks(behind, end) == end) return true;
    }
    return false;
}

static bool has_mark(const char *json, size_t len) {
    return len >= 3 && memcmp(json, "\xef\xbb\xbf", 3) == 0;
}

/* Between digits, quotes and brackets that would go on with an unfinished text. */
static struct result scan_within(const uint8_t *data, size_t size, char around, size_t shift) {
    char *bytes = malloc(size + shift + 32);
    assert(bytes);
    memset(bytes, around, size + shift + 32);
    if (size) memcpy(bytes + shift, data, size);
    struct result r = scan(bytes + shift, size);
    free(bytes);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char around[] = {'"', '}', '0', ']', 'l', ' '};
    char *exact = malloc(size ? size : 1);
    if (!exact) return 0;
    if (size) memcpy(exact, data, size);
    struct result alone = scan(exact, size);
    struct right right = reference(exact, size);
    assert(alone.status == right.status && alone.n_choices == right.n_choices);
    assert(right.completion == -2 || alone.completion == right.completion);
    bool is_known = right.status >= 0 || is_nothing(exact, size);
    assert(delta_is_whole(exact, size) == (is_known && !has_mark(exact, size)));
    free(exact);
    for (size_t i = 0; i < sizeof around; i++) {
        struct result other = scan_within(data, size, around[i], i);
        same(&alone, &other);
    }
    return 0;
}
