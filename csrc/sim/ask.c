/* Owns the reading and checking of a generation request's fields.
 * Does not read prompts (prompt.c) and does not answer. */
#include "sim/ask.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/json.h"
#include "sim/prompt.h"

enum field_kind { FIELD_INT, FIELD_BOOL, FIELD_NUMBER };

static const struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
} fields[] = {
    {"max_tokens", FIELD_INT, offsetof(struct ask, max_tokens)},
    {"max_completion_tokens", FIELD_INT, offsetof(struct ask, max_completion_tokens)},
    {"min_tokens", FIELD_INT, offsetof(struct ask, min_tokens)},
    {"n", FIELD_INT, offsetof(struct ask, n)},
    {"top_logprobs", FIELD_INT, offsetof(struct ask, top_logprobs)},
    {"priority", FIELD_INT, offsetof(struct ask, priority)},
    {"stream", FIELD_BOOL, offsetof(struct ask, stream)},
    {"echo", FIELD_BOOL, offsetof(struct ask, echo)},
    {"ignore_eos", FIELD_BOOL, offsetof(struct ask, ignore_eos)},
    {"return_token_ids", FIELD_BOOL, offsetof(struct ask, return_token_ids)},
    {"temperature", FIELD_NUMBER, offsetof(struct ask, temperature)},
};

/* A body while it is read. */
struct reading {
    struct ask *ask;
    const struct sim_config *config;
    struct json json;
    struct buf *problem;
    struct json_item model;
    int n_keys;
    const char *prompt; /* where the value of "prompt" or "messages" begins, NULL when it is not there */
};

void ask_problem(struct buf *out, int status, const char *type, const char *param, const char *format, ...) {
    char message[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    buf_str(out, "{\"error\":{\"message\":\"");
    buf_json(out, message, strlen(message));
    buf_format(out,
               param ? "\",\"type\":\"%s\",\"param\":\"%s\",\"code\":%d}}"
                     : "\",\"type\":\"%s\",\"param\":%s,\"code\":%d}}",
               type, param ? param : "null", status);
}

void ask_bad_json(struct buf *out, const char *error, size_t at) {
    char place[40];
    snprintf(place, sizeof place, "body.%zu", at);
    ask_problem(
        out, 400, "Bad Request", place,
        "1 validation error:\n  {'type': 'json_invalid', 'loc': '%s', 'msg': 'JSON decode error', 'input': "
        "'<dict of 0 items>', 'ctx': {'error': '%s'}}",
        place, error);
}

static void ask_invalid(struct reading *r, const char *field, const char *type, const char *message,
                        struct json_item item) {
    char place[64];
    snprintf(place, sizeof place, "body.%s", field);
    ask_problem(r->problem, 400, "Bad Request", place,
                "1 validation error:\n  {'type': '%s', 'loc': '%s', 'msg': '%s', 'input': '%.*s'}", type,
                place, message, (int)(item.len < 60 ? item.len : 60), item.text ? item.text : "");
}

/* A whole number, also as a string or with a zero fraction, as pydantic takes it. */
static bool lenient_int(struct json_item item, int64_t *value) {
    double number;
    if (item.kind == JSON_STRING) {
        item.kind = JSON_NUMBER;
        return item.len > 0 && item.text[item.len - 1] >= '0' && json_int(item, value);
    }
    if (json_int(item, value)) return true;
    if (!json_double(item, &number) || number < -1e15 || number > 1e15) return false;
    *value = (int64_t)number;
    return number == (double)*value;
}

static bool read_int(struct reading *r, const char *name, struct json_item item, int64_t *value) {
    if (lenient_int(item, value)) return true;
    if (item.kind == JSON_STRING)
        ask_invalid(r, name, "int_parsing",
                    "Input should be a valid integer, unable to parse string as an integer", item);
    else if (item.kind == JSON_NUMBER)
        ask_invalid(r, name, "int_from_float",
                    "Input should be a valid integer, got a number with a fractional part", item);
    else
        ask_invalid(r, name, "int_type", "Input should be a valid integer", item);
    return false;
}

static bool read_bool(struct reading *r, const char *name, struct json_item item, bool *value) {
    *value = item.kind == JSON_TRUE || json_is(item, "true") || json_is(item, "1");
    if (*value || item.kind == JSON_FALSE || json_is(item, "false") || json_is(item, "0")) return true;
    if (item.kind == JSON_STRING || item.kind == JSON_NUMBER)
        ask_invalid(r, name, "bool_parsing", "Input should be a valid boolean, unable to interpret input",
                    item);
    else
        ask_invalid(r, name, "bool_type", "Input should be a valid boolean", item);
    return false;
}

static bool read_number(struct reading *r, const char *name, struct json_item item, double *value) {
    if (json_double(item, value)) return true;
    ask_invalid(r, name, "float_type", "Input should be a valid number", item);
    return false;
}

static bool read_known(struct reading *r, const struct field *field, struct json_item item) {
    char *place = (char *)r->ask + field->offset;
    switch (field->kind) {
    case FIELD_INT:
        return read_int(r, field->name, item, (int64_t *)(void *)place);
    case FIELD_BOOL:
        return read_bool(r, field->name, item, (bool *)(void *)place);
    case FIELD_NUMBER:
        break;
    }
    return read_number(r, field->name, item, (double *)(void *)place);
}

/* "logprobs" is a number for completions and a switch for chat. */
static bool read_logprobs(struct reading *r, struct json_item item) {
    if (r->ask->chat) return read_bool(r, "logprobs", item, &r->ask->logprobs);
    r->ask->logprobs = true;
    return read_int(r, "logprobs", item, &r->ask->top_logprobs);
}

/* Reads the object to its end, also when something in it is wrong. */
static bool read_stream_options(struct reading *r, struct json_item item) {
    bool fine = true;
    if (item.kind != JSON_OBJECT) {
        ask_invalid(r, "stream_options", "model_attributes_type", "Input should be a valid dictionary", item);
        json_skip(&r->json, item);
        return false;
    }
    r->ask->has_stream_options = true;
    for (struct json_item key; (key = json_next(&r->json)).kind == JSON_KEY;) {
        struct json_item value = json_next(&r->json);
        bool *place = json_is(key, "include_usage")            ? &r->ask->include_usage
                      : json_is(key, "continuous_usage_stats") ? &r->ask->continuous_usage
                                                               : NULL;
        if (fine && place && value.kind != JSON_NULL) fine = read_bool(r, "stream_options", value, place);
        json_skip(&r->json, value);
    }
    return fine;
}

static bool read_option(struct reading *r, struct json_item key, struct json_item item) {
    if (json_is(key, "stream_options")) return read_stream_options(r, item);
    if (json_is(key, "logprobs")) return read_logprobs(r, item);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (json_is(key, fields[i].name)) return read_known(r, &fields[i], item);
    return true;
}

/* Read one field, or pass over it when it is not known or one before it was wrong already. false when it has
 * a wrong type; errors of the JSON itself are in r->json. */
static bool read_field(struct reading *r, struct json_item key, bool wanted) {
    const char *begin = r->json.at;
    struct json_item item = json_next(&r->json);
    bool fine = true;
    if (json_is(key, "prompt") || json_is(key, "messages")) {
        if (json_is(key, "messages") == r->ask->chat && item.kind != JSON_NULL) r->prompt = begin;
    } else if (json_is(key, "model")) {
        r->model = item;
    } else if (wanted && item.kind != JSON_NULL) {
        fine = read_option(r, key, item);
    }
    bool passed = wanted && item.kind != JSON_NULL && json_is(key, "stream_options");
    if (!passed) json_skip(&r->json, item);
    return fine;
}

static int bad_json(struct reading *r) {
    ask_bad_json(r->problem, r->json.error, r->json.error_at);
    return 400;
}

static int not_an_object(struct reading *r) {
    ask_problem(
        r->problem, 400, "Bad Request", "body",
        "1 validation error:\n  {'type': 'model_attributes_type', 'loc': 'body', 'msg': 'Input should be a "
        "valid dictionary or object to extract fields from', 'input': ''}");
    return 400;
}

/* A body that is no JSON at all is complained about before any field is, as vLLM does it. */
static int read_fields(struct reading *r, const char *body, size_t len) {
    bool fine = true;
    json_init(&r->json, body, len);
    struct json_item item = json_next(&r->json);
    bool object = item.kind == JSON_OBJECT;
    if (object)
        for (struct json_item key; (key = json_next(&r->json)).kind == JSON_KEY; r->n_keys++)
            fine = read_field(r, key, fine) && fine;
    else
        json_skip(&r->json, item);
    json_next(&r->json); /* the end, or an error */
    if (r->json.error) {
        r->problem->len = 0;
        return bad_json(r);
    }
    if (!object) return not_an_object(r);
    return fine ? 0 : 400;
}

static int ask_refuse(struct reading *r, const char *param, const char *message, const char *value) {
    if (value)
        ask_problem(r->problem, 400, "BadRequestError", param, "%s (parameter=%s, value=%s)", message, param,
                    value);
    else
        ask_problem(r->problem, 400, "BadRequestError", param, "%s (parameter=%s)", message, param);
    return 400;
}

static int check_model(struct reading *r) {
    const char *served = r->config->model;
    if (r->model.kind != JSON_STRING || json_is(r->model, served))
        return 0; /* left out: vLLM takes the first */
    ask_problem(r->problem, 404, "NotFoundError", "model",
                "The model `%.*s` does not exist. Valid aliases: %s.",
                (int)(r->model.len < 200 ? r->model.len : 200), r->model.text, served);
    return 404;
}

static int at_least_one(struct reading *r, const char *name, int64_t value) {
    char message[80], number[24];
    snprintf(message, sizeof message, "%s must be at least 1, got %lld.", name, (long long)value);
    snprintf(number, sizeof number, "%lld", (long long)value);
    return ask_refuse(r, name, message, number);
}

static int check_values(struct reading *r) {
    struct ask *ask = r->ask;
    char message[100], number[40];
    if (ask->has_stream_options && !ask->stream)
        return ask_refuse(r, "stream_options", "Stream options can only be defined when `stream=True`.",
                          NULL);
    if (ask->max_completion_tokens != INT64_MIN) ask->max_tokens = ask->max_completion_tokens;
    if (ask->max_tokens != INT64_MIN && ask->max_tokens < 1)
        return at_least_one(r, "max_tokens", ask->max_tokens);
    if (ask->n < 1) return at_least_one(r, "n", ask->n);
    if (ask->temperature >= 0) return 0;
    snprintf(number, sizeof number, "%.1f", ask->temperature);
    snprintf(message, sizeof message, "temperature must be non-negative, got %s.", number);
    return ask_refuse(r, "temperature", message, number);
}

static int check_length(struct reading *r) {
    struct ask *ask = r->ask;
    long long limit = r->config->max_model_len, longest = ask->longest_prompt;
    if (longest >= limit) {
        char number[24];
        snprintf(number, sizeof number, "%lld", longest);
        ask_problem(
            r->problem, 400, "BadRequestError", "input_tokens",
            "This model's maximum context length is %lld tokens. However, your prompt contains %lld input "
            "tokens, which exceeds this limit even without any output tokens. Please reduce the length of "
            "the "
            "input prompt. (parameter=input_tokens, value=%lld)",
            limit, longest, longest);
        return 400;
    }
    if (ask->max_tokens == INT64_MIN) ask->max_tokens = ask->chat ? r->config->chat_max_tokens : 16;
    if (ask->max_tokens > limit - longest) ask->max_tokens = limit - longest;
    if (ask->n > ASK_CHOICES || ask->n * ask->n_prompts > ASK_CHOICES)
        return ask_refuse(r, "n", "The simulator gives at most 4096 choices.", NULL);
    return 0;
}

static int missing_prompt(struct reading *r) {
    if (!r->ask->chat)
        return ask_refuse(r, "prompt", "Either prompt or prompt_embeds must be provided and non-empty.",
                          NULL);
    ask_problem(r->problem, 400, "Bad Request", "body.messages",
                "1 validation error:\n  {'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', "
                "'input': "
                "'<dict of %d items>'}",
                r->n_keys);
    return 400;
}

static int read_prompts(struct reading *r, const char *end) {
    const struct sim_config *config = r->config;
    enum prompt_result result = PROMPT_EMPTY;
    r->ask->keep_ids =
        r->ask->return_token_ids || r->ask->echo || (config->batching && config->scheduler.prefix_caching);
    r->ask->keep_text = config->router.kind == ROUTER_prefix_aware && config->router.n_replicas > 1;
    if (r->prompt) result = prompt_read(r->ask, r->config->vocab_size, r->prompt, end);
    if (result == PROMPT_OK) return 0;
    if (result == PROMPT_EMPTY) return missing_prompt(r);
    const char *field = r->ask->chat ? "messages" : "prompt";
    ask_invalid(r, field, "list_type",
                r->ask->chat ? "Input should be a valid list" : "Input should be a valid string",
                (struct json_item){.kind = JSON_NULL});
    return 400;
}

int ask_read(struct ask *ask, const struct sim_config *config, bool chat, const char *body, size_t len,
             struct buf *problem) {
    *ask = (struct ask){.chat = chat,
                        .max_tokens = INT64_MIN,
                        .max_completion_tokens = INT64_MIN,
                        .n = 1,
                        .unknown_id = ASK_UNSET,
                        .temperature = 1};
    struct reading r = {.ask = ask, .config = config, .problem = problem};
    int status = read_fields(&r, body, len);
    if (status == 0) status = check_model(&r);
    if (status == 0) status = check_values(&r);
    if (status == 0) status = read_prompts(&r, body + len);
    if (status == 0) status = check_length(&r);
    return status;
}

void ask_free(struct ask *ask) {
    free(ask->prompts);
    buf_free(&ask->texts);
    buf_free(&ask->ids);
}
