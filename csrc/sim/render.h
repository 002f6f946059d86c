/* render: the JSON of an answer, byte for byte as vLLM 0.32 writes it. Adds to a buffer; changes nothing but
 * the count of characters that logprobs need. For the server's thread. Owns nothing; without memory the
 * buffer says so.
 */
#ifndef VLLMPERF_SIM_RENDER_H
#define VLLMPERF_SIM_RENDER_H

#include "sim/answer_data.h"

/* Fill answer->head. */
void render_head(struct answer *answer);

/* Tokens [from, from + n) of a choice; `last`: no more will come of it. */
struct render_piece {
    int choice;
    int64_t from, n;
    bool last, last_of_all, empty;
};

void render_chunk(struct buf *out, struct answer *answer, struct render_piece piece);
void render_role(struct buf *out, const struct answer *answer, int choice);
void render_usage_chunk(struct buf *out, const struct answer *answer);
void render_error(struct buf *out, int64_t code, const char *type, const char *message);

/* The whole answer as one body. */
void render_body(struct buf *out, struct answer *answer);

#endif
