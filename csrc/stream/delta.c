/* Owns the reading of one completions or chat object: the handful of keys that matter and which of two wins.
 * Knows no grammar (json.h) and no shapes of output (said.h); keeps nothing between calls. */
#include "stream/delta.h"

#include "stream/choice.h"

enum { IN_OBJECT = 1 }; /* brackets around its members */

/* ---- the object ---- */

/* Choices wait until the object has been read to its end: it may be malformed, or have choices twice. The
 * few that are usual are kept, more are read again. */
enum { HELD = 4 };
struct reading {
    struct delta *out;
    const char *choices; /* the array */
    struct asides asides;
    bool is_error; /* "object": "error" */
    struct delta_choice held[HELD];
};

static const char *read_choices(const char *at, const char *end, struct reading *r) {
    struct delta_choice more_than_held;
    bool more;
    r->out->n_choices = 0;
    if (r->asides.any) r->asides.choice = (struct aside){.usage.at = NULL};
    r->out->has_choices = at < end && *at == '[';
    if (!r->out->has_choices) return json_skip(at, end, IN_OBJECT);
    r->choices = at;
    for (at = json_open(at, end, ']', &more); at && more; at = json_next(at, end, ']', &more)) {
        int64_t i = r->out->n_choices++;
        at = choice_read(at, end, i < HELD ? &r->held[i] : &more_than_held, &r->asides);
    }
    return at;
}

static void give_choices(const struct reading *r, const char *end, delta_on_choice *on_choice,
                         void *context) {
    struct delta_choice choice;
    for (int64_t i = 0; i < r->out->n_choices && i < HELD; i++) on_choice(context, &r->held[i]);
    if (r->out->n_choices <= HELD) return;
    bool more;
    int64_t i = 0;
    struct asides known = {.any = false};
    for (const char *at = json_open(r->choices, end, ']', &more); at && more;
         at = json_next(at, end, ']', &more)) {
        at = choice_read(at, end, &choice, &known);
        if (at && i++ >= HELD) on_choice(context, &choice);
    }
}

static bool choices_say_nothing(const struct reading *r) {
    if (r->out->n_choices > HELD) return false;
    for (int64_t i = 0; i < r->out->n_choices; i++)
        if (r->held[i].has_unknown || delta_choice_is_output(&r->held[i])) return false;
    return true;
}

/* ---- numbers ---- */

/* What is read of an object of numbers: a member of struct delta for each key. */
enum number { COUNT, ELSE_COUNT, MS, OBJECT }; /* ELSE_COUNT: where the member has no count by its own key */
struct number_key {
    struct view name;
    enum number kind;
    size_t member;
    const struct numbers *object;
};
struct numbers {
    size_t first, n_members; /* those of struct delta that it fills, beside each other */
    size_t n_keys;
    const struct number_key *keys;
};
#define NAME(text)                                                                                           \
    { text, sizeof(text) - 1 }
#define IN_DELTA(text, kind, field)                                                                          \
    { NAME(text), kind, offsetof(struct delta, field), NULL }
#define NUMBERS(first, n_members, keys)                                                                      \
    { offsetof(struct delta, first), n_members, sizeof keys / sizeof *keys, keys }

static const struct number_key details_keys[] = {IN_DELTA("cached_tokens", COUNT, cached_tokens)};
static const struct number_key prediction_keys[] = {
    IN_DELTA("accepted_prediction_tokens", COUNT, predicted),
    IN_DELTA("rejected_prediction_tokens", COUNT, rejected),
};
static const struct number_key drafts_keys[] = {
    IN_DELTA("num_spec_steps", COUNT, draft_steps),
    IN_DELTA("num_draft_tokens", COUNT, draft_tokens),
    IN_DELTA("num_accepted_draft_tokens", COUNT, accepted_tokens),
};
static const struct numbers details = NUMBERS(cached_tokens, 1, details_keys),
                            prediction = NUMBERS(predicted, 2, prediction_keys),
                            drafts = NUMBERS(draft_steps, 3, drafts_keys);
static const struct number_key usage_keys[] = {
    IN_DELTA("prompt_tokens", COUNT, prompt_tokens),
    IN_DELTA("completion_tokens", COUNT, completion_tokens),
    IN_DELTA("total_tokens", COUNT, total_tokens),
    {NAME("prompt_tokens_details"), OBJECT, 0, &details},
    {NAME("completion_tokens_details"), OBJECT, 0, &prediction},
    IN_DELTA("prompt_cache_hit_tokens", ELSE_COUNT, cached_tokens), /* DeepSeek */
    IN_DELTA("cached_tokens", ELSE_COUNT, cached_tokens),           /* Moonshot */
};
static const struct number_key metrics_keys[] = {
    IN_DELTA("queue_time_ms", MS, queue_ns),
    IN_DELTA("time_to_first_token_ms", MS, prefill_ns),
    IN_DELTA("generation_time_ms", MS, decode_ns),
    {NAME("speculative_decoding"), OBJECT, 0, &drafts},
};
static const struct numbers usage = NUMBERS(prompt_tokens, 6, usage_keys),
                            metrics = NUMBERS(queue_ns, 6, metrics_keys);

_Static_assert(offsetof(struct delta, rejected) ==
                       offsetof(struct delta, prompt_tokens) + 5 * sizeof(int64_t) &&
                   offsetof(struct delta, accepted_tokens) ==
                       offsetof(struct delta, queue_ns) + 5 * sizeof(int64_t),
               "the numbers of an object lie beside each other");

struct reading_numbers {
    const struct numbers *of;
    struct delta *out;
    int depth; /* of the members */
    int64_t else_count, *else_member;
};

static int64_t *number_at(struct delta *out, size_t member) {
    return (int64_t *)(void *)((char *)out + member);
}

static inline void no_numbers(const struct numbers *of, struct delta *out) {
    for (size_t i = 0; i < of->n_members; i++) number_at(out, of->first)[i] = -1;
}

static const char *read_numbers(const char *at, const char *end, const struct numbers *of, int depth,
                                struct delta *out);

static const char *number_member(const char *at, const char *end, struct view name, void *context) {
    struct reading_numbers *r = context;
    const struct number_key *key = r->of->keys, *behind = key + r->of->n_keys;
    while (key < behind && (name.len != key->name.len || memcmp(name.at, key->name.at, name.len) != 0)) key++;
    if (key == behind) return json_skip(at, end, r->depth);
    switch (key->kind) {
    case COUNT:
        return json_count(at, end, r->depth, number_at(r->out, key->member));
    case ELSE_COUNT:
        r->else_member = number_at(r->out, key->member);
        return json_count(at, end, r->depth, &r->else_count);
    case MS:
        return json_ms(at, end, r->depth, number_at(r->out, key->member));
    case OBJECT:
        return read_numbers(at, end, key->object, r->depth, r->out);
    }
    return NULL;
}

/* A value that lies `depth` brackets deep: the numbers of an object, and none where it is anything else. */
static const char *read_numbers(const char *at, const char *end, const struct numbers *of, int depth,
                                struct delta *out) {
    struct reading_numbers r = {of, out, depth + 1, -1, NULL};
    no_numbers(of, out);
    if (at >= end || *at != '{') return json_skip(at, end, depth);
    at = json_members(at, end, number_member, &r);
    if (r.else_member && *r.else_member < 0) *r.else_member = r.else_count;
    return at;
}

/* Whether a well-formed value says anything: not when all in it is null, false, 0 or empty. */
static bool delta_says_something(const char *at, const char *end) {
    struct view text = {NULL, 0};
    while (at < end) {
        if (*at == '"') {
            at = json_blanks(json_string(at + 1, end, &text), end);
            if (text.len && !(at < end && *at == ':')) return true;
        } else if (*at == 't' || *at == 'N' || *at == 'I') {
            return true;
        } else if (*at == '-' || (*at >= '0' && *at <= '9')) {
            for (; at < end && *at != 'e' && *at != 'E' && memchr("+-.0123456789", *at, 13); at++)
                if (*at >= '1' && *at <= '9') return true;
            while (at < end && memchr("eE+-0123456789", *at, 14)) at++;
        } else {
            at += *at == 'n' ? 4 : *at == 'f' ? 5 : 1;
        }
    }
    return false;
}

static const char *read_error(const char *at, const char *end, struct delta *out) {
    const char *start = at;
    out->error = NULL;
    out->error_len = 0;
    at = json_skip(at, end, IN_OBJECT);
    if (!at || !delta_says_something(start, at)) return at;
    out->error = start;
    out->error_len = (size_t)(at - start);
    return at;
}

static bool is_complaint(struct view key) {
    static const char *const names[] = {"message",       "detail", "details", "errors",   "error_msg",
                                        "error_message", "errmsg", "msg",     "base_resp"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (view_is(key, names[i])) return true;
    return false;
}

/* ---- what stands aside ---- */

static const char *groq_member(const char *at, const char *end, struct view key, void *context) {
    struct aside *groq = context;
    const char *behind = json_skip(at, end, IN_OBJECT + 1);
    struct view value = {at, behind ? (size_t)(behind - at) : 0};
    if (view_is(key, "usage")) groq->usage = at < end && *at == '{' ? value : (struct view){NULL, 0};
    if (view_is(key, "error")) groq->error = value;
    return behind;
}

static const char *note_groq(const char *at, const char *end, struct asides *asides) {
    asides_begin(asides);
    asides->groq = (struct aside){.usage.at = NULL};
    if (at >= end || *at != '{') return json_skip(at, end, IN_OBJECT);
    return json_members(at, end, groq_member, &asides->groq);
}

static void usage_aside(struct delta *out, struct view found) {
    bool has_own = out->prompt_tokens >= 0 || out->completion_tokens >= 0 || out->total_tokens >= 0;
    if (has_own || !found.at) return;
    read_numbers(found.at, found.at + found.len, &usage, IN_OBJECT, out);
}

static void error_aside(struct delta *out, struct view error) {
    if (out->error || !error.at || !delta_says_something(error.at, error.at + error.len)) return;
    out->error = error.at;
    out->error_len = error.len;
}

/* What the object itself does not say, a choice or Groq's own member may. */
static void look_aside(struct delta *out, const struct asides *asides) {
    usage_aside(out, asides->choice.usage);
    usage_aside(out, asides->groq.usage);
    error_aside(out, asides->choice.error);
    error_aside(out, asides->groq.error);
}

static const char *read_kind(const char *at, const char *end, struct reading *r) {
    struct view kind;
    r->is_error = false;
    if (at >= end || *at != '"') return json_skip(at, end, IN_OBJECT);
    at = json_string(at + 1, end, &kind);
    r->is_error = at && view_is(kind, "error");
    return at;
}

static inline const char *object_member(const char *at, const char *end, struct view key, void *context) {
    struct reading *r = context;
    switch (key.len) {
    case 7:
        if (memcmp(key.at, "choices", 7) == 0) return read_choices(at, end, r);
        if (memcmp(key.at, "metrics", 7) == 0) return read_numbers(at, end, &metrics, IN_OBJECT, r->out);
        break;
    case 6:
        if (memcmp(key.at, "object", 6) == 0) return read_kind(at, end, r);
        if (memcmp(key.at, "x_groq", 6) == 0) return note_groq(at, end, &r->asides);
        break;
    case 5:
        if (memcmp(key.at, "usage", 5) == 0) return read_numbers(at, end, &usage, IN_OBJECT, r->out);
        if (memcmp(key.at, "error", 5) == 0) return read_error(at, end, r->out);
        break;
    default:
        break;
    }
    return json_skip(at, end, IN_OBJECT);
}

/* Without output in choices: is it a complaint, or does it hold text where other APIs have their output? */
static const char *foreign_member(const char *at, const char *end, struct view key, void *context) {
    struct delta *out = context;
    struct said said;
    const char *behind = said_read(at, end, IN_OBJECT, &said);
    if (!behind) return NULL;
    bool is_own = view_is(key, "delta") || view_is(key, "token") || view_is(key, "response") ||
                  (view_is(key, "message") && said.shape == SAID_TREE) || said_is_output(key);
    out->has_foreign_output |= is_own && said.text_bytes + said.thought_bytes > 0;
    bool may_complain = !out->has_choices && !is_own && is_complaint(key);
    out->has_complaint |= may_complain && delta_says_something(at, behind);
    return behind;
}

static const char *read_object(const char *at, const char *end, struct reading *r) {
    const char *start = at;
    if (at >= end || *at != '{') return NULL;
    at = json_members(at, end, object_member, r);
    if (at && r->is_error && !r->out->error) {
        r->out->error = start;
        r->out->error_len = (size_t)(at - start);
    }
    return at;
}

static const char *past_mark(const char *at, const char *end) {
    return end - at >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0 ? at + 3 : at;
}

static bool is_done(const char *at, const char *end) {
    return end - at >= 6 && memcmp(at, "[DONE]", 6) == 0 && json_blanks(at + 6, end) == end;
}

static const struct delta empty = {.prompt_tokens = -1,
                                   .completion_tokens = -1,
                                   .total_tokens = -1,
                                   .cached_tokens = -1,
                                   .predicted = -1,
                                   .rejected = -1,
                                   .queue_ns = -1,
                                   .prefill_ns = -1,
                                   .decode_ns = -1,
                                   .draft_steps = -1,
                                   .draft_tokens = -1,
                                   .accepted_tokens = -1};

enum delta_status delta_scan(const char *json, size_t len, struct delta *out, delta_on_choice *on_choice,
                             void *context) {
    struct reading r;
    const char *end = json + len, *start = json_blanks(past_mark(json, end), end);
    r.out = out;
    r.is_error = false;
    r.asides.any = false;
    *out = empty;
    if (is_done(start, end)) return DELTA_DONE;
    const char *at = read_object(start, end, &r);
    if (!at || json_blanks(at, end) != end) {
        *out = empty;
        return DELTA_MALFORMED;
    }
    if (r.asides.any) look_aside(out, &r.asides);
    if (choices_say_nothing(&r)) json_members(start, end, foreign_member, out);
    if (on_choice) give_choices(&r, end, on_choice, context);
    return DELTA_OK;
}

bool delta_is_nothing(const char *json, size_t len) {
    static const char *const words[] = {"null", "\"\"", "[]", "None", "undefined"};
    const char *end = json + len, *at = json_blanks(json, end);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(end - at) >= n && memcmp(at, words[i], n) == 0 && json_blanks(at + n, end) == end)
            return true;
    }
    return false;
}

bool delta_is_whole(const char *json, size_t len) {
    const char *end = json + len, *at = json_blanks(json, end);
    if (is_done(at, end) || delta_is_nothing(json, len)) return true;
    if (at >= end || *at != '{') return false;
    at = json_skip(at, end, 0);
    return at && json_blanks(at, end) == end;
}
