/* delta: reads what matters of one completions or chat JSON object (a stream's chunk or a whole response
 * body). One pass over the bytes, no tree, no allocation; a full check of the JSON grammar (what is not JSON
 * is refused). Sans I/O. Knows choices[].text, .delta/.message {role, content, reasoning, reasoning_content,
 * tool_calls, refusal}, .token_ids, .finish_reason, usage, error. Anything else is skipped.
 * Brackets may be 128 deep.
 *
 * Leniences: bytes from 0x80 on are passed as they are, valid UTF-8 or not (a server may cut a character in
 * two); a key written with escapes is not recognized; of two equal keys the last one counts, but an empty
 * text does not replace another.
 */
#ifndef VLLMPERF_DELTA_H
#define VLLMPERF_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum delta_status {
    DELTA_OK = 0,
    DELTA_DONE = 1,       /* the input was "[DONE]" (blanks around it allowed) */
    DELTA_MALFORMED = -1, /* not a JSON object */
};

/* What one choice of one chunk carries. Strings are views of the raw JSON string: escapes are still in it. */
struct delta_choice {
    int64_t index;
    const char *content; /* text or content; NULL when absent or null, length 0 when "" */
    size_t content_len;
    const char *reasoning; /* reasoning or reasoning_content, likewise */
    size_t reasoning_len;
    bool has_tool_calls; /* a non-empty tool_calls array (or function_call object) */
    bool has_role;
    int64_t token_ids;         /* how many ids the chunk brings, -1 when absent or null */
    const char *finish_reason; /* NULL when absent or null */
    size_t finish_reason_len;
};

/* True when this choice carries output: non-empty text, reasoning, tool calls or token ids; or a text key
 * with "" that is not the role-only first delta of a chat (vLLM sends such an event for a token that is part
 * of a character, and for the end-of-sequence token). */
bool delta_choice_is_output(const struct delta_choice *choice);

struct delta {
    int64_t n_choices;
    int64_t prompt_tokens, completion_tokens; /* of usage, -1 when absent or null */
    int64_t cached_tokens; /* usage.prompt_tokens_details.cached_tokens, -1 when absent or null */
    const char *error;     /* the raw JSON value of a top-level "error" that is not null, else NULL */
    size_t error_len;
};

/* Called once for each choice, in order; also for those before the place where an object turns out to be
 * malformed. */
typedef void delta_on_choice(void *context, const struct delta_choice *choice);

/* Read one object. on_choice may be NULL. *out is always filled (counts -1 and NULL where absent). An object
 * with "object":"error" at the top level (older vLLM) is an error too. */
enum delta_status delta_scan(const char *json, size_t len, struct delta *out, delta_on_choice *on_choice,
                             void *context);

/* Decode the inside of a JSON string into UTF-8. dst must hold len bytes (the result is never longer).
 * Lone surrogates and NUL become U+FFFD. Returns the number of bytes written. */
size_t delta_unescape(char *dst, const char *src, size_t len);

#endif
