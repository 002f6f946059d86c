/* ask: what a completions or chat completions request asks for, read from its JSON body and checked as vLLM
 * does it. An ask owns copies of what it needs of the body. One thread.
 */
#ifndef VLLMPERF_SIM_ASK_H
#define VLLMPERF_SIM_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/buf.h"
#include "sim/sim.h"

enum { ASK_UNSET = -1, ASK_CHOICES = 4096 };

struct ask_prompt {
    int64_t tokens;
    size_t text_at, text_len; /* in ask.texts: the inside of a JSON string, when the text is kept */
    size_t ids_at, ids_len;   /* in ask.ids: "[1,2,3]", when the ids have to be returned */
};

struct ask {
    bool chat;
    bool stream, include_usage, continuous_usage, return_token_ids, echo, ignore_eos, logprobs;
    bool has_stream_options, keep_ids, keep_text;
    int64_t max_tokens, max_completion_tokens, min_tokens, n, top_logprobs, priority;
    double temperature;
    int64_t prompt_tokens;  /* of all prompts */
    int64_t longest_prompt; /* tokens */
    int64_t unknown_id;     /* a token id outside the vocabulary, ASK_UNSET when all are inside */
    int64_t n_prompts;
    struct ask_prompt *prompts;
    struct buf texts, ids;
};

/* 0, or the HTTP status of a refusal with its JSON body in `problem`. Free the ask in both cases. */
int ask_read(struct ask *ask, const struct sim_config *config, bool chat, const char *body, size_t len,
             struct buf *problem);
void ask_free(struct ask *ask);

/* Body of an error as vLLM writes it; param NULL = null. */
void ask_problem(struct buf *out, int status, const char *type, const char *param, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The body of a request that is no valid JSON. */
void ask_bad_json(struct buf *out, const char *error, size_t at);

#endif
