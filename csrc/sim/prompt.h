/* prompt: the prompts of a request: how many tokens each has and, when they have to be given back, their
 * texts and ids. The rule for tokens: token ids count as they are; a text has one token per word between
 * blanks (words.h); a chat has those of its contents, 4 more per message and 3 for the answer's beginning.
 * One thread at a time. The ask owns what was read; without memory its buffers say so.
 */
#ifndef VLLMPERF_SIM_PROMPT_H
#define VLLMPERF_SIM_PROMPT_H

#include "sim/ask.h"
#include "sim/json.h"

enum prompt_result { PROMPT_OK, PROMPT_EMPTY, PROMPT_WRONG_TYPE };

/* Reads the JSON value (known to be valid) at `from`, a prompt or a list of messages, into ask. */
enum prompt_result prompt_read(struct ask *ask, int64_t vocab_size, const char *from, const char *end);

/* Adds the ids of a text's tokens, "1,2,3", to out; `first`: nothing stands before them. Returns how many. */
int64_t prompt_text_ids(struct buf *out, const char *text, size_t len, bool first);

#endif
