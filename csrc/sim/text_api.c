/* Owns the bodies of /tokenize and /detokenize.
 * Does not own the vocabulary (words.c). */
#include "sim/text_api.h"

#include "sim/ask.h"
#include "sim/json.h"
#include "sim/prompt.h"
#include "sim/words.h"

/* Where the value of a key of the outermost object begins; NULL when it is not there or the body is no JSON
 * object. */
static const char *find_key(const char *body, size_t len, const char *name, struct json *json) {
    json_init(json, body, len);
    if (json_next(json).kind != JSON_OBJECT) return NULL;
    const char *found = NULL;
    for (struct json_item key; (key = json_next(json)).kind == JSON_KEY;) {
        const char *begin = json->at;
        if (json_is(key, name)) found = begin;
        if (!json_skip(json, json_next(json))) return NULL;
    }
    return json->error ? NULL : found;
}

static int text_problem(struct buf *out, const struct json *json, const char *field) {
    char place[64] = "body.";
    strcat(place, field);
    if (json->error)
        ask_bad_json(out, json->error, json->error_at);
    else
        ask_problem(out, 400, "Bad Request", place,
                    "1 validation error:\n  {'type': 'missing', 'loc': '%s', 'msg': 'Field required', "
                    "'input': '<dict>'}",
                    place);
    return 400;
}

static bool is_set(const char *body, size_t len, const char *name) {
    struct json json;
    const char *at = find_key(body, len, name, &json);
    if (at == NULL) return false;
    json_init(&json, at, (size_t)(body + len - at));
    return json_next(&json).kind == JSON_TRUE;
}

static void add_strings(struct buf *out, const char *text, size_t len) {
    size_t at = 0;
    buf_char(out, '[');
    for (size_t n, first = 1; (n = words_next(text, len, &at)) > 0; at += n, first = 0) {
        buf_str(out, first ? "\"" : ",\"\xc4\xa0"); /* a blank before a word is written as U+0120 */
        buf_add(out, text + at, n);
        buf_char(out, '"');
    }
    buf_char(out, ']');
}

int text_tokenize(struct buf *out, const struct sim_config *config, const char *body, size_t len) {
    struct json json;
    bool chat = false;
    const char *at = find_key(body, len, "prompt", &json);
    if (at == NULL && json.error == NULL) {
        at = find_key(body, len, "messages", &json);
        chat = true;
    }
    if (at == NULL) return text_problem(out, &json, "prompt");
    struct ask ask = {
        .chat = chat, .return_token_ids = true, .keep_ids = true, .echo = true, .unknown_id = ASK_UNSET};
    if (prompt_read(&ask, 0, at, body + len) != PROMPT_OK) {
        ask_free(&ask);
        return text_problem(out, &json, chat ? "messages" : "prompt");
    }
    const struct ask_prompt *prompt = &ask.prompts[0];
    buf_format(out, "{\"count\":%lld,\"max_model_len\":%lld,\"tokens\":", (long long)prompt->tokens,
               (long long)config->max_model_len);
    buf_add(out, ask.ids.data + prompt->ids_at, prompt->ids_len);
    buf_str(out, ",\"token_strs\":");
    if (!chat && is_set(body, len, "return_token_strs"))
        add_strings(out, ask.texts.data + prompt->text_at, prompt->text_len);
    else
        buf_str(out, "null");
    buf_char(out, '}');
    ask_free(&ask);
    return 200;
}

int text_detokenize(struct buf *out, const char *body, size_t len) {
    struct json json;
    const char *at = find_key(body, len, "tokens", &json);
    if (at == NULL) return text_problem(out, &json, "tokens");
    json_init(&json, at, (size_t)(body + len - at));
    struct json_item item = json_next(&json);
    if (item.kind != JSON_ARRAY) return text_problem(out, &json, "tokens");
    buf_str(out, "{\"prompt\":\"");
    for (int64_t id; json_int(item = json_next(&json), &id);) {
        size_t n;
        const char *piece = words_piece(id, &n);
        buf_add(out, piece, n);
    }
    if (item.kind != JSON_ARRAY_END) {
        out->len = 0;
        return text_problem(out, &json, "tokens");
    }
    buf_str(out, "\"}");
    return 200;
}
