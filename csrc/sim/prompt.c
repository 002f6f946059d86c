/* Owns the reading of prompts in all their forms: text, token ids, lists of both, chat messages.
 * Does not check the other fields. */
#include "sim/prompt.h"

#include "sim/words.h"
#include "stream/array.h"

enum { MESSAGE_TOKENS = 4, ANSWER_TOKENS = 3 };
enum { MESSAGE_ID = 3 }; /* stands for the tokens that a chat template adds */

struct prompts {
    struct ask *ask;
    struct json json;
    int64_t vocab_size;
    size_t capacity;
    bool keep_text, keep_ids;
};

int64_t prompt_text_ids(struct buf *out, const char *text, size_t len, bool first) {
    int64_t count = 0;
    size_t at = 0;
    for (size_t n; (n = words_next(text, len, &at)) > 0; at += n, count++) {
        if (!first) buf_char(out, ',');
        first = false;
        buf_int(out, words_id(text + at, n));
    }
    return count;
}

static struct ask_prompt *new_prompt(struct prompts *p) {
    struct ask *ask = p->ask;
    if (!ARRAY_ROOM(ask->prompts, p->capacity, (size_t)ask->n_prompts + 1)) return NULL;
    struct ask_prompt *prompt = &ask->prompts[ask->n_prompts++];
    *prompt = (struct ask_prompt){.text_at = ask->texts.len, .ids_at = ask->ids.len};
    if (p->keep_ids) buf_char(&ask->ids, '[');
    return prompt;
}

static void end_prompt(struct prompts *p, struct ask_prompt *prompt) {
    struct ask *ask = p->ask;
    if (p->keep_ids) buf_char(&ask->ids, ']');
    prompt->ids_len = ask->ids.len - prompt->ids_at;
    prompt->text_len = ask->texts.len - prompt->text_at;
    ask->prompt_tokens += prompt->tokens;
    if (prompt->tokens > ask->longest_prompt) ask->longest_prompt = prompt->tokens;
}

static void prompt_add_text(struct prompts *p, struct ask_prompt *prompt, struct json_item text) {
    struct ask *ask = p->ask;
    if (p->keep_ids)
        prompt->tokens += prompt_text_ids(&ask->ids, text.text, text.len, prompt->tokens == 0);
    else
        prompt->tokens += words_count(text.text, text.len);
    if (p->keep_text) buf_add(&ask->texts, text.text, text.len);
}

static enum prompt_result text_prompt(struct prompts *p, struct json_item text) {
    if (text.len == 0) return PROMPT_EMPTY;
    struct ask_prompt *prompt = new_prompt(p);
    if (prompt == NULL) return PROMPT_EMPTY;
    prompt_add_text(p, prompt, text);
    if (prompt->tokens == 0) prompt->tokens = 1; /* nothing but blanks */
    end_prompt(p, prompt);
    return PROMPT_OK;
}

static void add_id(struct prompts *p, struct ask_prompt *prompt, int64_t id) {
    struct ask *ask = p->ask;
    if (id < 0 || (p->vocab_size && id >= p->vocab_size)) ask->unknown_id = id;
    if (p->keep_ids) {
        if (prompt->tokens) buf_char(&ask->ids, ',');
        buf_int(&ask->ids, id);
    }
    if (ask->echo) {
        size_t len;
        const char *piece = words_piece(id, &len);
        buf_add(&ask->texts, piece, len);
    }
    prompt->tokens++;
}

/* The rest of a list whose first id has been read. */
static enum prompt_result ids_prompt(struct prompts *p, struct json_item item) {
    struct ask_prompt *prompt = new_prompt(p);
    if (prompt == NULL) return PROMPT_EMPTY;
    for (int64_t id; item.kind != JSON_ARRAY_END; item = json_next(&p->json)) {
        if (!json_int(item, &id)) return PROMPT_WRONG_TYPE;
        add_id(p, prompt, id);
    }
    end_prompt(p, prompt);
    return PROMPT_OK;
}

/* The rest of a list of prompts, whose first has been read. */
static enum prompt_result several_prompts(struct prompts *p, struct json_item item) {
    for (; item.kind != JSON_ARRAY_END; item = json_next(&p->json)) {
        enum prompt_result result = PROMPT_WRONG_TYPE;
        if (item.kind == JSON_STRING) result = text_prompt(p, item);
        if (item.kind == JSON_ARRAY) {
            item = json_next(&p->json);
            result = item.kind == JSON_ARRAY_END ? PROMPT_EMPTY : ids_prompt(p, item);
        }
        if (result != PROMPT_OK) return result;
    }
    return PROMPT_OK;
}

static enum prompt_result read_prompt(struct prompts *p) {
    struct json_item item = json_next(&p->json);
    if (item.kind == JSON_STRING) return text_prompt(p, item);
    if (item.kind != JSON_ARRAY) return PROMPT_WRONG_TYPE;
    item = json_next(&p->json);
    if (item.kind == JSON_ARRAY_END) return PROMPT_EMPTY;
    return item.kind == JSON_NUMBER ? ids_prompt(p, item) : several_prompts(p, item);
}

/* A list of parts; those with a "text" count. */
static bool content_parts(struct prompts *p, struct ask_prompt *prompt) {
    for (struct json_item item; (item = json_next(&p->json)).kind != JSON_ARRAY_END;) {
        if (item.kind != JSON_OBJECT) return false;
        for (struct json_item key; (key = json_next(&p->json)).kind == JSON_KEY;) {
            struct json_item value = json_next(&p->json);
            if (json_is(key, "text") && value.kind == JSON_STRING) prompt_add_text(p, prompt, value);
            json_skip(&p->json, value);
        }
    }
    return true;
}

static void add_template_tokens(struct prompts *p, struct ask_prompt *prompt, int count) {
    for (int i = 0; i < count; i++) {
        if (p->keep_ids && prompt->tokens) buf_char(&p->ask->ids, ',');
        if (p->keep_ids) buf_int(&p->ask->ids, MESSAGE_ID);
        prompt->tokens++;
    }
}

static bool prompt_message(struct prompts *p, struct ask_prompt *prompt) {
    add_template_tokens(p, prompt, MESSAGE_TOKENS);
    for (struct json_item key; (key = json_next(&p->json)).kind == JSON_KEY;) {
        struct json_item value = json_next(&p->json);
        bool content = json_is(key, "content");
        if (content && value.kind == JSON_STRING) prompt_add_text(p, prompt, value);
        if (content && value.kind == JSON_ARRAY) {
            if (!content_parts(p, prompt)) return false;
        } else {
            json_skip(&p->json, value);
        }
    }
    return true;
}

static enum prompt_result read_messages(struct prompts *p) {
    if (json_next(&p->json).kind != JSON_ARRAY) return PROMPT_WRONG_TYPE;
    struct ask_prompt *prompt = new_prompt(p);
    if (prompt == NULL) return PROMPT_EMPTY;
    for (struct json_item item; (item = json_next(&p->json)).kind != JSON_ARRAY_END;)
        if (item.kind != JSON_OBJECT || !prompt_message(p, prompt)) return PROMPT_WRONG_TYPE;
    add_template_tokens(p, prompt, ANSWER_TOKENS);
    end_prompt(p, prompt);
    return PROMPT_OK;
}

enum prompt_result prompt_read(struct ask *ask, int64_t vocab_size, const char *from, const char *end) {
    struct prompts p = {.ask = ask,
                        .vocab_size = vocab_size,
                        .keep_text = ask->keep_text || ask->echo,
                        .keep_ids = ask->keep_ids};
    json_init(&p.json, from, (size_t)(end - from));
    return ask->chat ? read_messages(&p) : read_prompt(&p);
}
