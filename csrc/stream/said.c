/* Owns how output is found in values of shapes that servers made up, and the names that tell it.
 * Does not know where in a chunk such values stand. */
#include "stream/said.h"

#include <strings.h>

#include "stream/unescape.h"

/* ---- names ---- */

/* Keys whose strings are no output wherever they stand. */
static const char *const descriptions[] = {
    "id",     "type",     "object",    "role",   "index",         "format",   "signature", "status", "model",
    "detail", "encoding", "mime_type", "source", "finish_reason", "logprobs", "token_ids", "call_id"};

/* Parts of names. A name with one of the first is no output, whatever else is in it. */
static const char *const describing[] = {"signature", "filter",   "finish", "stop",   "logprob",
                                         "token_id",  "citation", "usage",  "effort", "metadata"};
static const char *const generated[] = {"content",    "text",    "reason",   "think",  "thought",
                                        "transcript", "summary", "argument", "tool",   "function",
                                        "audio",      "image",   "answer",   "output", "generated"};
static const char *const thoughts[] = {"think", "reason", "thought", "summary"};

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

static bool said_contains(struct view text, const char *part) {
    size_t len = strlen(part);
    for (size_t i = 0; i + len <= text.len; i++)
        if ((text.at[i] | 0x20) == *part && strncasecmp(text.at + i, part, len) == 0) return true;
    return false;
}

static bool contains_any(struct view text, const char *const *parts, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (said_contains(text, parts[i])) return true;
    return false;
}

static bool is_number_of_something(struct view key) {
    return key.len > 3 && memcmp(key.at + key.len - 3, "_id", 3) == 0;
}

bool said_is_description(struct view key) {
    if (is_number_of_something(key)) return true;
    for (size_t i = 0; i < COUNT(descriptions); i++)
        if (view_is(key, descriptions[i])) return true;
    return contains_any(key, describing, COUNT(describing));
}

bool said_is_output(struct view key) {
    return !said_is_description(key) && contains_any(key, generated, COUNT(generated));
}

bool said_is_thought(struct view name) {
    return contains_any(name, thoughts, COUNT(thoughts));
}

/* ---- the walk ---- */

enum { LOOKS = 6 };

/* What a walk adds up; with `to` it also writes the text there. */
struct walk {
    const char *end;
    int looks_until; /* so deep objects are read twice, for their type */
    size_t text_bytes, thought_bytes;
    char *to;
};

static const char *walk_value(struct walk *w, const char *at, int depth, bool counts, bool thought);

static const char *walk_string(struct walk *w, const char *at, bool counts, bool thought) {
    struct view inside;
    if (!(at = json_string(at + 1, w->end, &inside)) || !counts) return at;
    if (thought)
        w->thought_bytes += inside.len;
    else
        w->text_bytes += inside.len;
    if (w->to && !thought) w->to += unescape(w->to, inside.at, inside.len);
    return at;
}

/* Whether the object at `at` is of a type that names thoughts; the type may be its last member. */
static bool is_thinking(struct walk *w, const char *at, int depth) {
    bool more, is = false;
    char decoded[JSON_KEY_BYTES];
    struct view key, type;
    for (at = json_open(at, w->end, '}', &more); at && more; at = json_next(at, w->end, '}', &more)) {
        if (!(at = json_key(at, w->end, &key, decoded))) return false;
        if (view_is(key, "type") && at < w->end && *at == '"' && json_string(at + 1, w->end, &type))
            is = said_is_thought(type);
        at = json_skip(at, w->end, depth);
    }
    return is;
}

static const char *walk_object(struct walk *w, const char *at, int depth, bool counts, bool thought) {
    bool more;
    char decoded[JSON_KEY_BYTES];
    struct view key;
    if (!thought && depth <= w->looks_until) thought = is_thinking(w, at, depth);
    for (at = json_open(at, w->end, '}', &more); at && more; at = json_next(at, w->end, '}', &more)) {
        if (!(at = json_key(at, w->end, &key, decoded))) return NULL;
        bool is_own = counts && !said_is_description(key);
        at = walk_value(w, at, depth, is_own, thought || said_is_thought(key));
    }
    return at;
}

static const char *walk_array(struct walk *w, const char *at, int depth, bool counts, bool thought) {
    bool more;
    for (at = json_open(at, w->end, ']', &more); at && more; at = json_next(at, w->end, ']', &more))
        at = walk_value(w, at, depth, counts, thought);
    return at;
}

static const char *walk_value(struct walk *w, const char *at, int depth, bool counts, bool thought) {
    if (at >= w->end) return NULL;
    if (*at == '"') return walk_string(w, at, counts, thought);
    if (*at != '{' && *at != '[') return json_skip(at, w->end, depth);
    if (++depth > JSON_MAX_DEPTH) return NULL;
    return *at == '{' ? walk_object(w, at, depth, counts, thought)
                      : walk_array(w, at, depth, counts, thought);
}

static bool is_empty_tree(const char *at, const char *end) {
    at = json_blanks(at + 1, end);
    return at < end && (*at == '}' || *at == ']');
}

static const char *read_tree(const char *at, const char *end, int depth, struct said *said) {
    struct walk w = {.end = end, .looks_until = depth + LOOKS};
    const char *behind = walk_value(&w, at, depth, true, false);
    if (!behind) return NULL;
    *said = (struct said){.shape = SAID_TREE,
                          .is_filled = !is_empty_tree(at, end),
                          .raw = {at, (size_t)(behind - at)},
                          .text_bytes = w.text_bytes,
                          .thought_bytes = w.thought_bytes};
    return behind;
}

const char *said_read(const char *at, const char *end, int depth, struct said *said) {
    if (at >= end) return NULL;
    if (*at == '{' || *at == '[') return read_tree(at, end, depth, said);
    said->shape = SAID_NOTHING;
    said->is_filled = false;
    said->text_bytes = said->thought_bytes = 0;
    if (*at != '"') return json_skip(at, end, depth);
    at = json_string(at + 1, end, &said->raw);
    said->shape = SAID_STRING;
    if (at) said->text_bytes = said->raw.len;
    said->is_filled = said->text_bytes > 0;
    return at;
}

size_t said_text(char *dst, struct view tree) {
    struct walk w = {.end = tree.at + tree.len, .looks_until = LOOKS, .to = dst};
    walk_value(&w, tree.at, 0, true, false);
    return (size_t)(w.to - dst);
}
