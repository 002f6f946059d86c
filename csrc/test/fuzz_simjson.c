/* Owns the fuzzing of the simulator's request bodies: json.c, ask.c, prompt.c, text_api.c on any bytes.
 * Does not check the answers, only that every refusal has a body. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sim/ask.h"
#include "sim/fault.h"
#include "sim/text_api.h"

static void ask_both(const char *body, size_t size) {
    static struct sim_config config = {
        .model = (char *)"sim", .chat_max_tokens = 9, .max_model_len = 1000, .vocab_size = 50};
    for (int chat = 0; chat < 2; chat++) {
        struct ask ask;
        struct buf problem = {0};
        int status = ask_read(&ask, &config, chat, body, size, &problem);
        assert((status != 0) == (problem.len > 0));
        assert(status != 0 ||
               (ask.n_prompts > 0 && ask.prompt_tokens > 0 && ask.max_tokens > 0 && ask.n > 0));
        ask_free(&ask);
        buf_free(&problem);
    }
    struct buf out = {0};
    assert(text_tokenize(&out, &config, body, size) && text_detokenize(&out, body, size) && out.len);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *body = malloc(size ? size : 1); /* exactly as long, so that reading beyond it is seen */
    if (body == NULL) return 0;
    memcpy(body, data, size);
    ask_both(body, size);
    struct fault fault;
    char error[100];
    fault_parse(&fault, body, size, error, sizeof error);
    free(body);
    return 0;
}
