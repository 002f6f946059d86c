/* Owns the reading of one choice: which of its members are output, and which of two says it.
 * Knows no grammar (json.h) and no shapes of output (said.h). */
#include "stream/choice.h"

#include <strings.h>

/* Brackets around a choice, around its members, around those of its delta. */
enum { IN_CHOICES = 2, IN_CHOICE, IN_DELTA };

static const char *read_length(const char *at, const char *end, int depth, int64_t *length) {
    *length = -1;
    if (at >= end || *at != '[') return json_skip(at, end, depth);
    bool more;
    *length = 0;
    for (at = json_open(at, end, ']', &more); at && more; at = json_next(at, end, ']', &more)) {
        at = json_skip(at, end, depth + 1);
        ++*length;
    }
    return at;
}

/* ---- what a delta, a message, or a choice itself says ---- */

enum slot { CONTENT, TEXT, REFUSAL, REASONING, REASONING_CONTENT, TOOL_CALLS, FUNCTION_CALL, N_SLOTS };

/* A slot holds something only when its bit in `filled` is set. */
struct part {
    unsigned filled;
    bool has_role, has_unknown;
    size_t other_text_bytes, other_thought_bytes;
    struct said slots[N_SLOTS];
};

static inline enum slot choice_slot(struct view key) {
    switch (key.len) {
    case 4:
        return memcmp(key.at, "text", 4) == 0 ? TEXT : N_SLOTS;
    case 7:
        return memcmp(key.at, "content", 7) == 0   ? CONTENT
               : memcmp(key.at, "refusal", 7) == 0 ? REFUSAL
                                                   : N_SLOTS;
    case 9:
        return memcmp(key.at, "reasoning", 9) == 0 ? REASONING : N_SLOTS;
    case 10:
        return memcmp(key.at, "tool_calls", 10) == 0 ? TOOL_CALLS : N_SLOTS;
    case 13:
        return memcmp(key.at, "function_call", 13) == 0 ? FUNCTION_CALL : N_SLOTS;
    case 17:
        return memcmp(key.at, "reasoning_content", 17) == 0 ? REASONING_CONTENT : N_SLOTS;
    default:
        return N_SLOTS;
    }
}

static inline const char *read_slot(const char *at, const char *end, int depth, struct part *part,
                                    enum slot slot) {
    part->filled |= 1U << slot;
    struct said *said = &part->slots[slot];
    if (at < end && *at == '"') { /* as said_read() would */
        at = json_string(at + 1, end, &said->raw);
        said->shape = SAID_STRING;
        said->is_filled = at && said->raw.len > 0;
        said->text_bytes = at ? said->raw.len : 0;
        said->thought_bytes = 0;
        return at;
    }
    return said_read(at, end, depth, said);
}

/* A member that we do not know: output by its name, or perhaps (`is_delta`: nothing else belongs there). */
static const char *read_other(const char *at, const char *end, int depth, struct view key, bool is_delta,
                              struct part *part) {
    struct said said;
    bool is_output = said_is_output(key);
    if (!is_output && (!is_delta || said_is_description(key))) return json_skip(at, end, depth);
    if (!(at = said_read(at, end, depth, &said))) return NULL;
    size_t bytes = said.text_bytes + said.thought_bytes;
    if (!is_output)
        part->has_unknown |= bytes > 0;
    else if (said_is_thought(key))
        part->other_thought_bytes += bytes;
    else {
        part->other_text_bytes += said.text_bytes;
        part->other_thought_bytes += said.thought_bytes;
    }
    return at;
}

static inline bool can_hold_text(const char *at, const char *end) {
    return at < end && (*at == '"' || *at == '{' || *at == '[');
}

static inline const char *delta_member(const char *at, const char *end, struct view key, void *context) {
    struct part *part = context;
    enum slot slot = choice_slot(key);
    if (slot != N_SLOTS) return read_slot(at, end, IN_DELTA, part, slot);
    if (view_is(key, "role")) {
        part->has_role = at < end && *at == '"';
        return json_skip(at, end, IN_DELTA);
    }
    if (!can_hold_text(at, end)) return json_skip(at, end, IN_DELTA);
    return read_other(at, end, IN_DELTA, key, true, part);
}

static inline void part_begin(struct part *part) {
    part->filled = 0;
    part->has_role = part->has_unknown = false;
    part->other_text_bytes = part->other_thought_bytes = 0;
}

/* *is_there: a delta or message that says something, or could: an object, or its text right away. */
static inline const char *read_delta(const char *at, const char *end, struct part *part, bool *is_there) {
    part_begin(part);
    *is_there = at < end && (*at == '{' || *at == '"');
    if (*is_there && *at == '"') return read_slot(at, end, IN_CHOICE, part, CONTENT);
    if (!*is_there) return json_skip(at, end, IN_CHOICE);
    return json_members(at, end, delta_member, part);
}

/* ---- a choice ---- */

struct choice_parts {
    struct part own, delta, message;
    bool has_delta, has_message;
};

/* Some gateways write the words for nothing in the place of null. */
static bool is_no_reason(struct view reason) {
    static const char *const words[] = {"null", "none", "undefined"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (reason.len == strlen(words[i]) && strncasecmp(reason.at, words[i], reason.len) == 0) return true;
    return reason.len == 0;
}

static const char *read_finish(const char *at, const char *end, struct view *reason) {
    *reason = (struct view){NULL, 0};
    if (at >= end || *at != '"') return json_skip(at, end, IN_CHOICE);
    at = json_string(at + 1, end, reason);
    if (!at || is_no_reason(*reason)) *reason = (struct view){NULL, 0};
    return at;
}

static const char *note_object(const char *at, const char *end, struct view *object, struct asides *asides) {
    const char *behind = json_skip(at, end, IN_CHOICE);
    if (!behind || *at != '{') return behind;
    asides_begin(asides);
    *object = (struct view){at, (size_t)(behind - at)};
    return behind;
}

static inline const char *choice_member(const char *at, const char *end, struct view key,
                                        struct choice_parts *parts, struct delta_choice *choice,
                                        struct asides *asides) {
    if (view_is(key, "index")) {
        at = json_count(at, end, IN_CHOICE, &choice->index);
        if (choice->index < 0) choice->index = 0;
        return at;
    }
    if (view_is(key, "delta")) return read_delta(at, end, &parts->delta, &parts->has_delta);
    if (view_is(key, "message")) return read_delta(at, end, &parts->message, &parts->has_message);
    if (view_is(key, "finish_reason")) return read_finish(at, end, &choice->finish_reason);
    if (!can_hold_text(at, end)) {
        if (view_is(key, "token_ids")) choice->token_ids = -1;
        enum slot slot = choice_slot(key);
        if (slot != N_SLOTS) parts->own.filled &= ~(1U << slot);
        return json_skip(at, end, IN_CHOICE);
    }
    enum slot slot = choice_slot(key);
    if (slot != N_SLOTS) return read_slot(at, end, IN_CHOICE, &parts->own, slot);
    if (view_is(key, "token_ids")) return read_length(at, end, IN_CHOICE, &choice->token_ids);
    if (view_is(key, "usage")) return note_object(at, end, &asides->choice.usage, asides);
    if (view_is(key, "error")) return note_object(at, end, &asides->choice.error, asides);
    return read_other(at, end, IN_CHOICE, key, false, &parts->own);
}

static bool choice_says_something(const struct said *said) {
    return said && (said->text_bytes || said->thought_bytes);
}

/* The first of these slots that says something, else the first that has room for it, else NULL. */
static inline const struct said *choice_first_of(const struct part *part, unsigned slots) {
    const struct said *found = NULL;
    for (unsigned left = part->filled & slots; left; left &= left - 1) {
        const struct said *said = &part->slots[__builtin_ctz(left)];
        if (choice_says_something(said)) return said;
        if (!found && (said->shape == SAID_STRING || said->is_filled)) found = said;
    }
    return found;
}

enum {
    TEXTS = 1 << CONTENT | 1 << TEXT | 1 << REFUSAL,
    REASONINGS = 1 << REASONING | 1 << REASONING_CONTENT,
    CALLS = 1 << TOOL_CALLS | 1 << FUNCTION_CALL,
};

static const struct said *better_of(const struct said *first, const struct said *second) {
    return !first || (choice_says_something(second) && !choice_says_something(first)) ? second : first;
}

static void take_content(const struct said *said, struct delta_choice *choice) {
    choice->has_content = true;
    choice->text_bytes += said->text_bytes;
    choice->thought_bytes += said->thought_bytes;
    if (said->shape == SAID_TREE) {
        choice->parts = said->raw;
        return;
    }
    choice->content = said->raw.at;
    choice->content_len = said->raw.len;
}

static void take_reasoning(const struct said *said, struct delta_choice *choice) {
    choice->thought_bytes += said->text_bytes + said->thought_bytes;
    if (said->shape != SAID_STRING) return;
    choice->reasoning = said->raw.at;
    choice->reasoning_len = said->raw.len;
}

static void add_calls(const struct part *part, struct delta_choice *choice) {
    for (unsigned left = part->filled & CALLS; left; left &= left - 1) {
        const struct said *said = &part->slots[__builtin_ctz(left)];
        choice->has_tool_calls |= said->is_filled;
        choice->tool_bytes += said->text_bytes + said->thought_bytes;
    }
}

static inline void add_rest(const struct part *part, struct delta_choice *choice) {
    if (part->filled & CALLS) add_calls(part, choice);
    choice->text_bytes += part->other_text_bytes;
    choice->thought_bytes += part->other_thought_bytes;
    choice->has_role |= part->has_role;
    choice->has_unknown |= part->has_unknown;
}

/* `part`: the delta or the message. What it does not say the choice itself may say. */
static inline void take_parts(const struct part *part, const struct part *own, struct delta_choice *choice) {
    const struct said *content = better_of(choice_first_of(part, TEXTS), choice_first_of(own, TEXTS));
    const struct said *reasoning =
        better_of(choice_first_of(part, REASONINGS), choice_first_of(own, REASONINGS));
    if (content) take_content(content, choice);
    if (reasoning) take_reasoning(reasoning, choice);
    add_rest(part, choice);
    add_rest(own, choice);
}

JSON_INLINE bool past(const char **at, const char *end, const char *expected) {
    size_t len = strlen(expected);
    if ((size_t)(end - *at) < len || memcmp(*at, expected, len) != 0) return false;
    *at = json_blanks(*at + len, end);
    return true;
}

/* Behind the members that vLLM writes in each chunk and that say nothing. To compare with what is expected
 * costs a third of reading it. */
JSON_INLINE const char *past_nulls(const char *at, const char *end, struct delta_choice *choice) {
    past(&at, end, "\"logprobs\":null,");
    if (past(&at, end, "\"finish_reason\":null,")) choice->finish_reason = (struct view){NULL, 0};
    past(&at, end, "\"stop_reason\":null,");
    past(&at, end, "\"prompt_token_ids\":null,");
    return at;
}

void asides_begin(struct asides *asides) {
    if (!asides->any) *asides = (struct asides){.any = true};
}

const char *choice_read(const char *at, const char *end, struct delta_choice *choice, struct asides *asides) {
    struct choice_parts parts;
    char decoded[JSON_KEY_BYTES];
    struct view key;
    bool more;
    *choice = (struct delta_choice){.token_ids = -1};
    if (at >= end || *at != '{') return json_skip(at, end, IN_CHOICES);
    part_begin(&parts.own);
    parts.has_delta = parts.has_message = false;
    for (at = json_open(at, end, '}', &more); at && more; at = json_next(at, end, '}', &more)) {
        at = past_nulls(at, end, choice);
        if (!(at = json_key(at, end, &key, decoded))) return NULL;
        at = choice_member(at, end, key, &parts, choice, asides);
    }
    if (!at) return NULL;
    if (!parts.has_delta && !parts.has_message) part_begin(&parts.message);
    take_parts(parts.has_delta ? &parts.delta : &parts.message, &parts.own, choice);
    return at;
}

size_t delta_choice_bytes(const struct delta_choice *choice) {
    return choice->text_bytes + choice->thought_bytes + choice->tool_bytes;
}

bool delta_choice_is_output(const struct delta_choice *choice) {
    if (delta_choice_bytes(choice) || choice->has_tool_calls || choice->token_ids > 0) return true;
    return choice->has_content && !choice->has_role && choice->token_ids < 0;
}
