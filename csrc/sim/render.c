/* Owns the shape of chunks and bodies.
 * Does not know when they are sent, nor about SSE. */
#include "sim/render.h"

#include <stdio.h>

#include "sim/account.h"
#include "sim/words.h"

enum { DETAILS = 128 }; /* bytes that the details of a usage fit into */

static const char *finish_text(const struct answer *answer, int choice) {
    return answer->choices[choice].stop ? "\"stop\"" : "\"length\"";
}

static bool is_eos(const struct answer *answer, int choice, int64_t k) {
    const struct choice *c = &answer->choices[choice];
    return c->stop && k == c->n_tokens - 1;
}

static const struct ask_prompt *prompt_of(const struct answer *answer, int choice) {
    return &answer->ask.prompts[choice / answer->ask.n];
}

void render_head(struct answer *answer) {
    struct buf *out = &answer->head;
    bool chat = answer->ask.chat;
    buf_str(out, "{\"id\":\"");
    buf_json(out, answer->id, strlen(answer->id));
    buf_str(out, chat ? "\",\"object\":\"chat.completion" : "\",\"object\":\"text_completion");
    if (chat && answer->ask.stream) buf_str(out, ".chunk");
    buf_str(out, "\",\"created\":");
    buf_int(out, answer->created_s);
    buf_str(out, ",\"model\":\"");
    buf_json(out, answer->sim->config->model, strlen(answer->sim->config->model));
    buf_str(out, "\",\"choices\":[");
}

static void render_add_text(struct buf *out, const struct answer *answer, int choice, int64_t from,
                            int64_t n) {
    for (int64_t k = from; k < from + n; k++) {
        size_t len;
        if (is_eos(answer, choice, k)) continue;
        const char *piece = words_piece(answer_token(answer, choice, k), &len);
        buf_add(out, piece, len);
    }
}

static void add_echo(struct buf *out, const struct answer *answer, int choice) {
    const struct ask_prompt *prompt = prompt_of(answer, choice);
    buf_add(out, answer->ask.texts.data + prompt->text_at, prompt->text_len);
}

static void add_ids(struct buf *out, const struct answer *answer, int choice, int64_t from, int64_t n) {
    if (!answer->ask.return_token_ids) {
        buf_str(out, "null");
        return;
    }
    buf_char(out, '[');
    for (int64_t k = from; k < from + n; k++) {
        if (k > from) buf_char(out, ',');
        buf_int(out, is_eos(answer, choice, k) ? WORDS_EOS_ID : answer_token(answer, choice, k));
    }
    buf_char(out, ']');
}

static void add_prompt_ids(struct buf *out, const struct answer *answer, int choice, bool wanted) {
    const struct ask_prompt *prompt = prompt_of(answer, choice);
    if (wanted && prompt->ids_len)
        buf_add(out, answer->ask.ids.data + prompt->ids_at, prompt->ids_len);
    else
        buf_str(out, "null");
}

/* ---- logprobs: the numbers are made up, but the same for the same token ---- */

static double render_logprob(int64_t id, int64_t rank) {
    return -0.5 - (double)(id % 97) / 64 - (double)rank / 16;
}

static int64_t render_rival(int64_t id, int64_t rank) {
    return WORDS_FIRST_ID + (id - WORDS_FIRST_ID + rank) % WORDS_COUNT;
}

static void add_token_logprobs(struct buf *out, const struct answer *answer, struct render_piece p) {
    for (int64_t k = p.from; k < p.from + p.n; k++)
        buf_format(out, k > p.from ? ",%g" : "%g", render_logprob(answer_token(answer, p.choice, k), 0));
}

static void add_token_strings(struct buf *out, const struct answer *answer, struct render_piece p) {
    for (int64_t k = p.from; k < p.from + p.n; k++) {
        size_t len;
        const char *piece = words_piece(answer_token(answer, p.choice, k), &len);
        buf_format(out, k > p.from ? ",\"%s\"" : "\"%s\"", piece);
    }
}

static void add_top(struct buf *out, const struct answer *answer, int64_t id) {
    int64_t count = answer->ask.top_logprobs > 1 ? answer->ask.top_logprobs : 1;
    buf_char(out, '{');
    for (int64_t rank = 0; rank < count && rank < WORDS_COUNT; rank++) {
        size_t len;
        const char *piece = words_piece(render_rival(id, rank), &len);
        buf_format(out, "%s\"%.*s\":%g", rank ? "," : "", (int)len, piece, render_logprob(id, rank));
    }
    buf_char(out, '}');
}

static void add_completion_logprobs(struct buf *out, struct answer *answer, struct render_piece p) {
    struct choice *choice = &answer->choices[p.choice];
    buf_str(out, "{\"text_offset\":[");
    for (int64_t k = p.from; k < p.from + p.n; k++) {
        size_t len;
        words_piece(answer_token(answer, p.choice, k), &len);
        if (k > p.from) buf_char(out, ',');
        buf_int(out, choice->text_offset);
        choice->text_offset += (int64_t)len;
    }
    buf_str(out, "],\"token_logprobs\":[");
    add_token_logprobs(out, answer, p);
    buf_str(out, "],\"tokens\":[");
    add_token_strings(out, answer, p);
    buf_str(out, "],\"top_logprobs\":[");
    for (int64_t k = p.from; k < p.from + p.n; k++) {
        if (k > p.from) buf_char(out, ',');
        add_top(out, answer, answer_token(answer, p.choice, k));
    }
    buf_str(out, "]}");
}

static void add_chat_token(struct buf *out, int64_t id, int64_t rank) {
    size_t len;
    const char *piece = words_piece(render_rival(id, rank), &len);
    buf_format(out, "{\"token\":\"%.*s\",\"logprob\":%g,\"bytes\":[", (int)len, piece,
               render_logprob(id, rank));
    for (size_t i = 0; i < len; i++) {
        if (i) buf_char(out, ',');
        buf_int(out, (unsigned char)piece[i]);
    }
    buf_char(out, ']');
}

static void add_chat_logprobs(struct buf *out, const struct answer *answer, struct render_piece p) {
    buf_str(out, "{\"content\":[");
    for (int64_t k = p.from; k < p.from + p.n; k++) {
        int64_t id = answer_token(answer, p.choice, k);
        if (k > p.from) buf_char(out, ',');
        add_chat_token(out, id, 0);
        buf_str(out, ",\"top_logprobs\":[");
        for (int64_t rank = 0; rank < answer->ask.top_logprobs && rank < WORDS_COUNT; rank++) {
            if (rank) buf_char(out, ',');
            add_chat_token(out, id, rank);
            buf_char(out, '}');
        }
        buf_str(out, "]}");
    }
    buf_str(out, "]}");
}

static void add_logprobs(struct buf *out, struct answer *answer, struct render_piece p) {
    if (!answer->ask.logprobs)
        buf_str(out, "null");
    else if (answer->ask.chat)
        add_chat_logprobs(out, answer, p);
    else
        add_completion_logprobs(out, answer, p);
}

/* ---- usage ---- */

static int64_t render_reported(const struct answer *answer, int64_t tokens) {
    if (fault_has(&answer->faults, FAULT_WRONG_USAGE)) tokens += answer->faults.value[FAULT_WRONG_USAGE][0];
    return tokens;
}

static void add_usage(struct buf *out, int64_t prompt_tokens, int64_t tokens, const char *rest) {
    buf_str(out, "\"usage\":{\"prompt_tokens\":");
    buf_int(out, prompt_tokens);
    buf_str(out, ",\"total_tokens\":");
    buf_int(out, prompt_tokens + tokens);
    buf_str(out, ",\"completion_tokens\":");
    buf_int(out, tokens);
    buf_str(out, rest);
    buf_char(out, '}');
}

/* Tokens of the prompts that came from the prefix cache, 0 when that is not to be said. */
static int64_t cached_tokens(const struct answer *answer) {
    int64_t cached = 0;
    if (!answer->sim->config->prompt_tokens_details) return 0;
    for (int i = 0; i < answer->n_choices; i += (int)answer->ask.n) cached += answer->choices[i].seq.cached;
    return cached;
}

/* `null`: what to add when there is nothing to say. */
static void render_details(const struct answer *answer, char *text, size_t size, const char *null) {
    int64_t cached = cached_tokens(answer);
    if (cached)
        snprintf(text, size, ",\"prompt_tokens_details\":{\"cached_tokens\":%lld}", (long long)cached);
    else
        snprintf(text, size, "%s", null);
}

static bool has_running_usage(const struct answer *answer) {
    return answer->ask.continuous_usage && answer->ask.include_usage &&
           !fault_has(&answer->faults, FAULT_NO_USAGE);
}

static void add_fingerprint(struct buf *out, const struct answer *answer) {
    buf_str(out, ",\"system_fingerprint\":\"vllm-");
    buf_str(out, answer->sim->config->version);
    buf_str(out, "-sim\"");
}

/* ---- an answer's own times ---- */

/* As vLLM's --enable-per-request-metrics: not of several choices; TTFT counts from the admission. */
static bool has_metrics(const struct answer *answer) {
    return answer->sim->config->per_request_metrics && answer->n_choices == 1;
}

/* `null`: what has no value is null; else it is left out. */
static void add_metrics(struct buf *out, const struct answer *answer, bool null) {
    int64_t n = answer->choices[0].n_tokens;
    struct answer_times t = account_times(answer, 0);
    double decode_ms = (double)(t.last - t.first) / 1e6;
    buf_format(out, ",\"metrics\":{\"time_to_first_token_ms\":%.6f,\"generation_time_ms\":%.6f",
               (double)(t.first - t.scheduled) / 1e6, decode_ms);
    buf_format(out, ",\"queue_time_ms\":%.6f", (double)(t.scheduled - t.queued) / 1e6);
    if (n > 1)
        buf_format(out, ",\"mean_itl_ms\":%.6f", decode_ms / (double)(n - 1));
    else if (null)
        buf_str(out, ",\"mean_itl_ms\":null");
    if (t.last > t.scheduled)
        buf_format(out, ",\"tokens_per_second\":%.6f", (double)n * 1e9 / (double)(t.last - t.scheduled));
    else if (null)
        buf_str(out, ",\"tokens_per_second\":null");
    buf_str(out, null ? ",\"speculative_decoding\":null}" : "}");
}

/* ---- chunks ---- */

static void add_completion_choice(struct buf *out, struct answer *answer, struct render_piece p) {
    const struct ask *ask = &answer->ask;
    buf_str(out, ",\"text\":\"");
    if (p.from == 0 && ask->echo) add_echo(out, answer, p.choice);
    if (!p.empty) render_add_text(out, answer, p.choice, p.from, p.n);
    buf_str(out, "\",\"logprobs\":");
    add_logprobs(out, answer, p);
    buf_str(out, ",\"finish_reason\":");
    buf_str(out, p.last ? finish_text(answer, p.choice) : "null");
    buf_str(out, ",\"stop_reason\":null,\"prompt_token_ids\":");
    add_prompt_ids(out, answer, p.choice, p.from == 0 && (ask->return_token_ids || ask->echo));
}

static void add_chat_choice(struct buf *out, struct answer *answer, struct render_piece p) {
    buf_str(out, ",\"delta\":{\"content\":\"");
    if (!p.empty) render_add_text(out, answer, p.choice, p.from, p.n);
    buf_str(out, "\"},\"logprobs\":");
    add_logprobs(out, answer, p);
    buf_str(out, ",\"finish_reason\":");
    if (p.last) {
        buf_str(out, finish_text(answer, p.choice));
        buf_str(out, ",\"stop_reason\":null");
    } else {
        buf_str(out, "null");
    }
}

void render_chunk(struct buf *out, struct answer *answer, struct render_piece p) {
    if (fault_has(&answer->faults, FAULT_NO_FINISH)) p.last = false;
    buf_add(out, answer->head.data, answer->head.len);
    buf_str(out, "{\"index\":");
    buf_int(out, p.choice);
    if (answer->ask.chat)
        add_chat_choice(out, answer, p);
    else
        add_completion_choice(out, answer, p);
    buf_str(out, ",\"token_ids\":");
    add_ids(out, answer, p.choice, p.from, p.n);
    buf_str(out, "}]");
    if (has_running_usage(answer)) {
        buf_char(out, ',');
        add_usage(out, prompt_of(answer, p.choice)->tokens, render_reported(answer, p.from + p.n),
                  answer->ask.chat ? ",\"completion_tokens_details\":null" : "");
    }
    if (p.last_of_all && !answer->ask.include_usage) add_fingerprint(out, answer);
    buf_char(out, '}');
}

void render_role(struct buf *out, const struct answer *answer, int choice) {
    buf_add(out, answer->head.data, answer->head.len);
    buf_str(out, "{\"index\":");
    buf_int(out, choice);
    buf_str(
        out,
        ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]");
    if (has_running_usage(answer)) {
        buf_char(out, ',');
        add_usage(out, prompt_of(answer, choice)->tokens, 0, ",\"completion_tokens_details\":null");
    }
    buf_str(out, ",\"prompt_token_ids\":");
    add_prompt_ids(out, answer, choice, answer->ask.return_token_ids);
    buf_str(out, ",\"prompt_text\":null}");
}

void render_usage_chunk(struct buf *out, const struct answer *answer) {
    buf_add(out, answer->head.data, answer->head.len);
    buf_str(out, "],");
    char rest[DETAILS];
    render_details(answer, rest, sizeof rest, "");
    add_usage(out, answer->ask.prompt_tokens, render_reported(answer, answer->tokens), rest);
    add_fingerprint(out, answer);
    if (has_metrics(answer)) add_metrics(out, answer, false);
    buf_char(out, '}');
}

void render_error(struct buf *out, int64_t code, const char *type, const char *message) {
    /* vLLM writes this one with blanks. */
    buf_str(out, "{\"error\": {\"message\": \"");
    buf_json(out, message, strlen(message));
    buf_format(out, "\", \"type\": \"%s\", \"param\": null, \"code\": %lld}}", type, (long long)code);
}

/* ---- whole bodies ---- */

static void add_body_choice(struct buf *out, struct answer *answer, int index) {
    const struct ask *ask = &answer->ask;
    int64_t n = answer->choices[index].n_tokens;
    struct render_piece all = {.choice = index, .n = n};
    buf_str(out, index ? ",{\"index\":" : "{\"index\":");
    buf_int(out, index);
    buf_str(out, ask->chat ? ",\"message\":{\"role\":\"assistant\",\"content\":\"" : ",\"text\":\"");
    if (ask->echo && !ask->chat) add_echo(out, answer, index);
    render_add_text(out, answer, index, 0, n);
    buf_str(out, ask->chat ? "\",\"refusal\":null,\"annotations\":null,\"audio\":null,\"function_call\":null,"
                             "\"reasoning\":null},\"logprobs\":"
                           : "\",\"logprobs\":");
    add_logprobs(out, answer, all);
    buf_str(out, ",\"finish_reason\":");
    buf_str(out, fault_has(&answer->faults, FAULT_NO_FINISH) ? "null" : finish_text(answer, index));
    buf_str(out, ",\"stop_reason\":null,\"token_ids\":");
    add_ids(out, answer, index, 0, n);
    if (!ask->chat) {
        buf_str(out, ",\"prompt_logprobs\":null,\"prompt_token_ids\":");
        add_prompt_ids(out, answer, index, ask->return_token_ids || ask->echo);
    }
    buf_str(out, ",\"routed_experts\":null}");
}

void render_body(struct buf *out, struct answer *answer) {
    const struct ask *ask = &answer->ask;
    buf_add(out, answer->head.data, answer->head.len);
    for (int i = 0; i < answer->n_choices; i++) add_body_choice(out, answer, i);
    buf_str(out, "],\"service_tier\":null");
    add_fingerprint(out, answer);
    if (!fault_has(&answer->faults, FAULT_NO_USAGE)) {
        char rest[DETAILS];
        render_details(answer, rest, sizeof rest, ",\"prompt_tokens_details\":null");
        strcat(rest, ",\"completion_tokens_details\":null");
        buf_char(out, ',');
        add_usage(out, ask->prompt_tokens, render_reported(answer, answer->tokens), rest);
    }
    if (ask->chat) {
        buf_str(out, ",\"prompt_logprobs\":null,\"prompt_token_ids\":");
        add_prompt_ids(out, answer, 0, ask->return_token_ids);
        buf_str(out, ",\"prompt_text\":null");
    }
    buf_str(out, ",\"kv_transfer_params\":null,\"ec_transfer_params\":null");
    if (has_metrics(answer))
        add_metrics(out, answer, true);
    else
        buf_str(out, ",\"metrics\":null");
    buf_char(out, '}');
}
