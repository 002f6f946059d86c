/* Owns the table of faults, their little language, and the choice of who is hit.
 * Does not do the harm itself: answer.c, conn.c and server.c do. */
#include "sim/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/dist.h"

#define AFTER                                                                                                \
    { "after", 3, "token chunks sent before it (at most all but the last)" }

const struct fault_info fault_table[FAULT_KINDS] = {
    [FAULT_REFUSE] =
        {"refuse",
         "connecting is refused: nothing listens for a while before the connection of that number",
         true,
         {{"ms", 50, "how long nothing listens"}}},
    [FAULT_RESET_CONNECT] = {"reset_connect",
                             "the connection is reset as soon as it is accepted",
                             true,
                             {{0}}},
    [FAULT_STATUS] = {"status",
                      "an HTTP error with a JSON body instead of an answer",
                      false,
                      {{"code", 500, "HTTP status"}}},
    [FAULT_RATE_LIMIT] = {"rate_limit",
                          "429 with Retry-After",
                          false,
                          {{"retry_after", 1, "seconds asked for"}}},
    [FAULT_HTML] = {"html", "200 with an HTML page, as a proxy may send", false, {{0}}},
    [FAULT_DROP] = {"drop",
                    "the connection is closed when the request has come, without a byte of an answer",
                    false,
                    {{"reset", 0, "1: by a reset"}}},
    [FAULT_SILENT] = {"silent", "no byte of an answer", false, {{"ms", 0, "for how long, 0 = for ever"}}},
    [FAULT_SLOW_HEADERS] = {"slow_headers",
                            "the head of the answer comes byte by byte",
                            false,
                            {{"byte_us", 1000, "time between two bytes"}}},
    [FAULT_RESET] = {"reset", "the connection is reset in the middle of the answer", false, {AFTER}},
    [FAULT_CLOSE] = {"close",
                     "the connection is closed in the middle of the answer, without the last chunk",
                     false,
                     {AFTER}},
    [FAULT_STALL] = {"stall",
                     "the answer stops in the middle",
                     false,
                     {AFTER, {"ms", 0, "for how long, 0 = for ever"}}},
    [FAULT_STREAM_ERROR] = {"stream_error",
                            "an error object in the stream, then [DONE]",
                            false,
                            {AFTER, {"code", 500, "code in the error object"}}},
    [FAULT_MALFORMED] = {"malformed", "one event is no valid JSON", false, {AFTER}},
    [FAULT_SPLIT] = {"split",
                     "each event comes in pieces, cut at any byte, each a chunk and a write of its own",
                     false,
                     {{"pieces", 3, "how many"}, {"gap_us", 200, "time between two pieces"}}},
    [FAULT_MERGE] = {"merge",
                     "several events in one chunk and one write",
                     false,
                     {{"events", 4, "how many"}}},
    [FAULT_COMMENTS] = {"comments",
                        "\": ping\" comments between the events",
                        false,
                        {{"every", 1, "before each of so many token chunks"}}},
    [FAULT_CRLF] = {"crlf", "lines end with CR LF", false, {{0}}},
    [FAULT_CR] = {"cr", "lines end with CR", false, {{0}}},
    [FAULT_BOM] = {"bom", "the stream begins with a byte order mark", false, {{0}}},
    [FAULT_NO_SPACE] = {"no_space", "no blank after \"data:\"", false, {{0}}},
    [FAULT_MULTILINE] = {"multiline", "each event's data stands in two lines", false, {{0}}},
    [FAULT_HUGE_LINE] = {"huge_line",
                         "one event is very long",
                         false,
                         {AFTER, {"bytes", 1000000, "length of its padding"}}},
    [FAULT_NO_LAST_BLANK] = {"no_last_blank", "the last event is not ended by an empty line", false, {{0}}},
    [FAULT_NO_DONE] = {"no_done", "no [DONE]", false, {{0}}},
    [FAULT_NO_FINISH] = {"no_finish", "no finish_reason", false, {{0}}},
    [FAULT_NO_USAGE] = {"no_usage", "no usage though it was asked for", false, {{0}}},
    [FAULT_WRONG_USAGE] = {"wrong_usage",
                           "usage counts tokens that were not sent",
                           false,
                           {{"off", 5, "added to completion_tokens"}}},
    [FAULT_MANY_TOKENS] = {"many_tokens", "several tokens in each chunk", false, {{"tokens", 8, "how many"}}},
    [FAULT_EMPTY_TEXT] = {"empty_text",
                          "tokens without text",
                          false,
                          {{"every", 3, "one of so many token chunks"}}},
    [FAULT_NO_ROLE] = {"no_role", "chat without the first event that has only a role", false, {{0}}},
    [FAULT_REDIRECT] = {"redirect",
                        "a redirect to the same path with ?redirected; who follows it is answered",
                        false,
                        {{"code", 307, "HTTP status: 307, 308 or another"}}},
    [FAULT_BAD_CHUNK] = {"bad_chunk", "the size of one HTTP chunk is no number", false, {AFTER}},
    [FAULT_UNTIL_CLOSE] = {"until_close",
                           "the body ends with the connection: it has no length and is not chunked",
                           false,
                           {{0}}},
    [FAULT_HANG_UP] = {"hang_up",
                       "the connection is closed after the answer, though its head said nothing of it",
                       false,
                       {{0}}},
};

struct cursor {
    const char *at, *end;
    char *error;
    size_t error_size;
};

static bool fault_fail(struct cursor *c, const char *what, const char *at, size_t len) {
    snprintf(c->error, c->error_size, "%s: %.*s", what, (int)(len < 60 ? len : 60), at);
    return false;
}

/* What stands before the next of the stops, or before the end. */
static size_t fault_until(const struct cursor *c, const char *stops) {
    size_t len = 0;
    while (c->at + len < c->end && strchr(stops, c->at[len]) == NULL) len++;
    return len;
}

static bool fault_number(const char *text, size_t len, double *value) {
    char copy[32], *end;
    if (len == 0 || len >= sizeof copy) return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    *value = strtod(copy, &end);
    return *end == '\0' && *value >= -1e15 && *value <= 1e15;
}

static bool is_name(const char *name, const char *text, size_t len) {
    return name && strlen(name) == len && memcmp(name, text, len) == 0;
}

static bool parse_kind(struct cursor *c, struct fault *fault) {
    size_t len = fault_until(c, ":@");
    for (int kind = 0; kind < FAULT_KINDS; kind++) {
        if (!is_name(fault_table[kind].name, c->at, len)) continue;
        fault->kind = (enum fault_kind)kind;
        for (int i = 0; i < FAULT_PARAMETERS; i++) fault->value[i] = fault_table[kind].parameters[i].value;
        c->at += len;
        return true;
    }
    return fault_fail(c, "no such fault", c->at, len);
}

static bool parse_parameter(struct cursor *c, struct fault *fault) {
    const char *begin = ++c->at;
    size_t len = fault_until(c, ":@"), name = fault_until(c, "=:@");
    c->at += len;
    double value;
    for (int i = 0; i < FAULT_PARAMETERS; i++) {
        if (!is_name(fault_table[fault->kind].parameters[i].name, begin, name)) continue;
        if (name == len || !fault_number(begin + name + 1, len - name - 1, &value)) break;
        fault->value[i] = (int64_t)value;
        return true;
    }
    return fault_fail(c, "no such parameter of this fault, or no number", begin, len);
}

static bool parse_numbers(struct cursor *c, struct fault *fault) {
    const char *begin = c->at;
    while (c->at < c->end) {
        size_t len = fault_until(c, ",+");
        double value;
        if (fault->n_at == FAULT_AT || !fault_number(c->at, len, &value))
            return fault_fail(c, "not a list of numbers", begin, (size_t)(c->end - begin));
        fault->at[fault->n_at++] = (int64_t)value;
        c->at += len + (c->at + len < c->end);
    }
    return fault->n_at > 0 || fault_fail(c, "not a list of numbers", begin, 0);
}

static bool parse_selector(struct cursor *c, struct fault *fault) {
    const char *begin = ++c->at;
    size_t len = (size_t)(c->end - begin), name = fault_until(c, "=");
    double value = 0;
    c->at += name + (name < len);
    bool is_number = fault_number(c->at, (size_t)(c->end - c->at), &value);
    if (is_name("at", begin, name)) {
        fault->selector = FAULT_NUMBERS;
        return parse_numbers(c, fault);
    }
    if (is_name("every", begin, name) && is_number && value >= 1) {
        fault->selector = FAULT_EVERY;
        fault->every = (int64_t)value;
        return true;
    }
    if (is_name("p", begin, name) && is_number && value >= 0 && value <= 1) {
        fault->selector = FAULT_SHARE;
        fault->share = value;
        return true;
    }
    return fault_fail(c, "after @ comes every=N, at=N,N,... or p=SHARE, not", begin, len);
}

bool fault_parse(struct fault *fault, const char *text, size_t len, char *error, size_t error_size) {
    struct cursor c = {text, text + len, error, error_size};
    *fault = (struct fault){.selector = FAULT_ALL};
    if (!parse_kind(&c, fault)) return false;
    while (c.at < c.end && *c.at == ':')
        if (!parse_parameter(&c, fault)) return false;
    return c.at == c.end || parse_selector(&c, fault);
}

bool fault_hits(const struct fault *fault, uint64_t seed, int64_t number) {
    switch (fault->selector) {
    case FAULT_EVERY:
        return number % fault->every == 0;
    case FAULT_SHARE: {
        struct random random = random_for(seed, (uint64_t)number, 1000 + (uint64_t)fault->kind);
        return random_unit(&random) < fault->share;
    }
    case FAULT_NUMBERS:
        for (int i = 0; i < fault->n_at; i++)
            if (fault->at[i] == number) return true;
        return false;
    case FAULT_ALL:
        break;
    }
    return true;
}

void fault_set_add(struct fault_set *set, const struct fault *fault) {
    set->kinds |= UINT64_C(1) << fault->kind;
    memcpy(set->value[fault->kind], fault->value, sizeof fault->value);
}
