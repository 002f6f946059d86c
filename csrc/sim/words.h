/* words: what stands in for a tokenizer. One token is one word between blanks (a text without blanks is one
 * token), and each of the simulator's own tokens is a blank and a word, so that counting its text gives the
 * number of its tokens. Constant data and pure functions.
 */
#ifndef VLLMPERF_SIM_WORDS_H
#define VLLMPERF_SIM_WORDS_H

#include <stddef.h>
#include <stdint.h>

enum {
    WORDS_COUNT = 128,    /* words that the simulator says */
    WORDS_EOS_ID = 2,     /* the token that ends a text: it counts and has no text */
    WORDS_FIRST_ID = 100, /* id of the first word; words of others get ids from WORDS_OTHER_ID on */
    WORDS_OTHER_ID = 1000,
    WORDS_OTHER_IDS = 30000,
};

/* A token's text, with its blank. Any id has one. */
const char *words_piece(int64_t id, size_t *len);

/* Place and length of the next word inside a JSON string (escapes as they stand); 0 at the end. */
size_t words_next(const char *text, size_t len, size_t *at);

int64_t words_count(const char *text, size_t len);
int64_t words_id(const char *word, size_t len);

#endif
