/* json: a pull reader of one JSON text in memory. Owns nothing: what it gives are slices of the text, which
 * must stay. Strict (RFC 8259) but for two things: the depth is bounded, and that strings are valid UTF-8 is
 * not checked. The words of its errors and their places are those of Python's json, which is what vLLM's
 * clients see. One thread at a time.
 */
#ifndef VLLMPERF_SIM_JSON_H
#define VLLMPERF_SIM_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_DEPTH = 64 };

enum json_kind {
    JSON_ERROR,
    JSON_END, /* the text is over, and was one whole value */
    JSON_OBJECT,
    JSON_OBJECT_END,
    JSON_ARRAY,
    JSON_ARRAY_END,
    JSON_KEY,
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
};

struct json {
    const char *start, *at, *end;
    const char *error; /* what was wrong, NULL as long as nothing was */
    size_t error_at;   /* and where, in bytes from the start */
    int depth;
    bool wants_key, first, after_value;
    char open[JSON_DEPTH];
};

struct json_item {
    enum json_kind kind;
    const char *text; /* of a number, or of a string or key without its quotes, escapes as they stand */
    size_t len;
    bool escaped; /* there are escapes in it */
};

void json_init(struct json *json, const char *text, size_t len);
struct json_item json_next(struct json *json);

/* Go on behind the value that `item` begins. false on an error. */
bool json_skip(struct json *json, struct json_item item);

bool json_is(struct json_item item, const char *text);
/* The number as a whole number; false when it is none or does not fit. */
bool json_int(struct json_item item, int64_t *value);
bool json_double(struct json_item item, double *value);

#endif
