/* delta: reads what matters of one completions or chat JSON object (a stream's chunk or a whole response
 * body). One pass over the bytes, no tree, no allocation; a full check of the JSON grammar (see json.h: what
 * is not JSON is refused, NaN and Infinity are not). Sans I/O.
 *
 * Knows choices[].text, .delta/.message {role, content, refusal, reasoning, reasoning_content, tool_calls,
 * function_call}, .token_ids, .finish_reason, usage, metrics, error. Each may have any shape: content is a
 * string or a list of parts, see said.h. Other members of a delta are output when their name says so
 * (reasoning_details, thinking, audio …), and unknown when they only hold text. Anything else is skipped.
 *
 * Where usage has no count and error says nothing, those of the last choice that has such an object speak in
 * their place (Moonshot, OpenRouter), else those of x_groq (Groq).
 *
 * Of two equal keys the last one counts, as in Python's json module. A choice that has a delta says nothing
 * by its message: servers repeat the whole answer so far in it. Any thread may call. Views live as long as
 * the input.
 */
#ifndef VLLMPERF_DELTA_H
#define VLLMPERF_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stream/said.h"

enum delta_status {
    DELTA_OK = 0,
    DELTA_DONE = 1,       /* the input was "[DONE]" (blanks around it allowed) */
    DELTA_MALFORMED = -1, /* not a JSON object */
};

/* What one choice of one chunk carries. Views and sizes are of the raw JSON, escapes and all. */
struct delta_choice {
    int64_t index;
    const char *content; /* text, content or refusal, the first that is not empty; NULL when there is none */
    size_t content_len;
    struct view parts;     /* the same when it is a list or an object: see said_text() */
    const char *reasoning; /* reasoning or reasoning_content, likewise; NULL when it is no string */
    size_t reasoning_len;
    size_t text_bytes, thought_bytes; /* of these, and of others whose names say that they are output */
    size_t tool_bytes;                /* of the names and arguments of tool calls */
    int64_t token_ids;                /* how many ids the chunk brings, -1 when absent or null */
    struct view finish_reason;        /* at NULL when there is none: absent, null, "", "null", or no string */
    bool has_content;                 /* there is a content, maybe an empty one */
    bool has_tool_calls;              /* tool_calls or function_call that are not empty */
    bool has_unknown;                 /* members of the delta that we do not know hold text */
    bool has_role;
};

/* Bytes of all output, as written in the JSON. */
size_t delta_choice_bytes(const struct delta_choice *choice);

/* True when this choice carries output: text, reasoning, tool calls or token ids; or a text key with "" that
 * is not the role-only first delta of a chat and has no empty list of token ids (vLLM sends such an event for
 * a token that is part of a character, and for the end-of-sequence token). */
bool delta_choice_is_output(const struct delta_choice *choice);

struct delta {
    int64_t n_choices;
    /* Counts and times are -1 when absent or no number. */
    int64_t prompt_tokens, completion_tokens, total_tokens; /* of usage */
    int64_t
        cached_tokens; /* usage.prompt_tokens_details, else its prompt_cache_hit_tokens or cached_tokens */
    int64_t predicted, rejected;             /* usage.completion_tokens_details, OpenAI's */
    int64_t queue_ns, prefill_ns, decode_ns; /* vLLM's metrics: queued to scheduled, first, last token */
    int64_t draft_steps, draft_tokens, accepted_tokens; /* its metrics.speculative_decoding */
    const char *error;       /* the raw JSON value of an "error" that says something, else NULL */
    size_t error_len;        /* (null, false, 0, "", {} and {"code": 0} say nothing) */
    bool has_choices;        /* there is an array of choices, empty or not */
    bool has_complaint;      /* no choices, but a message, a detail or errors */
    bool has_foreign_output; /* text where other APIs have their output, and none in choices */
};

/* Called once for each choice, in order, when the whole object has been found well-formed. */
typedef void delta_on_choice(void *context, const struct delta_choice *choice);

/* Read one object. on_choice may be NULL. *out is always filled (counts -1 and NULL where absent). An object
 * with "object":"error" at the top level (older vLLM) is an error too. A byte order mark is skipped. */
enum delta_status delta_scan(const char *json, size_t len, struct delta *out, delta_on_choice *on_choice,
                             void *context);

/* Whether this is null, "" or [], or what Python and JavaScript write for nothing. */
bool delta_is_nothing(const char *json, size_t len);

/* Whether this is [DONE], nothing or a whole JSON object. */
bool delta_is_whole(const char *json, size_t len);

#endif
