/* Owns the reading of JSON, item by item.
 * Does not build a tree and does not know any key. */
#include "sim/json.h"

#include <stdlib.h>
#include <string.h>

void json_init(struct json *json, const char *text, size_t len) {
    *json = (struct json){.start = text, .at = text, .end = text + len, .first = true};
}

static struct json_item json_fail(struct json *json, const char *at, const char *error) {
    if (json->error == NULL) {
        json->error = error;
        json->error_at = (size_t)(at - json->start);
    }
    json->at = json->end;
    return (struct json_item){.kind = JSON_ERROR};
}

static void skip_blanks(struct json *json) {
    while (json->at < json->end &&
           (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r'))
        json->at++;
}

static bool json_is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Length of the escape at `at` (a backslash), 0 when it is none. */
static size_t escape_length(const char *at, const char *end) {
    if (end - at < 2) return 0;
    if (at[1] == 'u') {
        if (end - at < 6) return 0;
        for (int i = 2; i < 6; i++)
            if (!json_is_hex(at[i])) return 0;
        return 6;
    }
    return strchr("\"\\/bfnrt", at[1]) && at[1] ? 2 : 0;
}

static struct json_item json_read_string(struct json *json, enum json_kind kind) {
    const char *begin = json->at + 1, *at = begin;
    bool escaped = false;
    while (at < json->end && *at != '"') {
        if (*at == '\\') {
            size_t len = escape_length(at, json->end);
            if (len == 0) return json_fail(json, at, "Invalid \\escape");
            escaped = true;
            at += len;
        } else if ((unsigned char)*at < 0x20) {
            return json_fail(json, at, "Invalid control character at");
        } else {
            at++;
        }
    }
    if (at == json->end) return json_fail(json, begin - 1, "Unterminated string starting at");
    json->at = at + 1;
    return (struct json_item){.kind = kind, .text = begin, .len = (size_t)(at - begin), .escaped = escaped};
}

static const char *json_digits(const char *at, const char *end) {
    while (at < end && *at >= '0' && *at <= '9') at++;
    return at;
}

/* End of the number at `at`, or NULL when there is none. */
static const char *number_end(const char *at, const char *end) {
    if (at < end && *at == '-') at++;
    const char *whole = at;
    at = json_digits(at, end);
    if (at == whole || (*whole == '0' && at - whole > 1)) return NULL;
    if (at < end && *at == '.') {
        const char *fraction = json_digits(at + 1, end);
        if (fraction == at + 1) return at;
        at = fraction;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        const char *sign = at + 1 + (at + 1 < end && (at[1] == '+' || at[1] == '-'));
        const char *exponent = json_digits(sign, end);
        if (exponent != sign) at = exponent;
    }
    return at;
}

static struct json_item json_word(struct json *json, const char *text, enum json_kind kind) {
    size_t len = strlen(text);
    if ((size_t)(json->end - json->at) < len || memcmp(json->at, text, len) != 0)
        return json_fail(json, json->at, "Expecting value");
    json->at += len;
    return (struct json_item){.kind = kind};
}

static struct json_item open_container(struct json *json, char bracket, enum json_kind kind) {
    if (json->depth == JSON_DEPTH) return json_fail(json, json->at, "Too deeply nested");
    json->open[json->depth++] = bracket;
    json->at++;
    json->first = true;
    json->wants_key = bracket == '{';
    json->after_value = false;
    return (struct json_item){.kind = kind};
}

static struct json_item close_container(struct json *json) {
    enum json_kind kind = json->open[--json->depth] == '{' ? JSON_OBJECT_END : JSON_ARRAY_END;
    json->at++;
    json->after_value = true;
    json->first = false;
    return (struct json_item){.kind = kind};
}

static struct json_item json_value(struct json *json) {
    char c = json->at < json->end ? *json->at : '\0';
    if (c == '{') return open_container(json, '{', JSON_OBJECT);
    if (c == '[') return open_container(json, '[', JSON_ARRAY);
    json->after_value = true;
    switch (c) {
    case '"':
        return json_read_string(json, JSON_STRING);
    case 't':
        return json_word(json, "true", JSON_TRUE);
    case 'f':
        return json_word(json, "false", JSON_FALSE);
    case 'n':
        return json_word(json, "null", JSON_NULL);
    default:
        break;
    }
    const char *end = number_end(json->at, json->end), *begin = json->at;
    if (end == NULL) return json_fail(json, json->at, "Expecting value");
    json->at = end;
    return (struct json_item){.kind = JSON_NUMBER, .text = begin, .len = (size_t)(end - begin)};
}

static struct json_item json_read_key(struct json *json) {
    if (json->at == json->end || *json->at != '"')
        return json_fail(json, json->at, "Expecting property name enclosed in double quotes");
    struct json_item item = json_read_string(json, JSON_KEY);
    if (item.kind == JSON_ERROR) return item;
    skip_blanks(json);
    if (json->at == json->end || *json->at != ':')
        return json_fail(json, json->at, "Expecting ':' delimiter");
    json->at++;
    json->wants_key = false;
    json->after_value = false;
    return item;
}

struct json_item json_next(struct json *json) {
    if (json->error) return (struct json_item){.kind = JSON_ERROR};
    skip_blanks(json);
    if (json->depth == 0) {
        if (!json->after_value) return json_value(json);
        if (json->at < json->end) return json_fail(json, json->at, "Extra data");
        return (struct json_item){.kind = JSON_END};
    }
    bool object = json->open[json->depth - 1] == '{';
    if (json->after_value || json->first) {
        if (json->at < json->end && *json->at == (object ? '}' : ']')) return close_container(json);
        if (!json->first) {
            if (json->at == json->end || *json->at != ',')
                return json_fail(json, json->at, "Expecting ',' delimiter");
            json->at++;
            skip_blanks(json);
        }
        json->wants_key = object;
    }
    json->first = false;
    return json->wants_key ? json_read_key(json) : json_value(json);
}

bool json_skip(struct json *json, struct json_item item) {
    if (item.kind != JSON_OBJECT && item.kind != JSON_ARRAY) return item.kind != JSON_ERROR;
    for (int depth = json->depth; json->depth >= depth;)
        if (json_next(json).kind == JSON_ERROR) return false;
    return true;
}

bool json_is(struct json_item item, const char *text) {
    return item.text && item.len == strlen(text) && memcmp(item.text, text, item.len) == 0;
}

bool json_int(struct json_item item, int64_t *result) {
    if (item.kind != JSON_NUMBER || item.len > 19) return false;
    const char *at = item.text, *end = item.text + item.len;
    bool negative = *at == '-';
    uint64_t sum = 0;
    for (at += negative; at < end; at++) {
        if (*at < '0' || *at > '9') return false;
        sum = sum * 10 + (uint64_t)(*at - '0');
    }
    if (sum > INT64_MAX) return false;
    *result = negative ? -(int64_t)sum : (int64_t)sum;
    return true;
}

bool json_double(struct json_item item, double *result) {
    char copy[64];
    if (item.kind != JSON_NUMBER || item.len >= sizeof copy) return false;
    memcpy(copy, item.text, item.len);
    copy[item.len] = '\0';
    *result = strtod(copy, NULL);
    return true;
}
