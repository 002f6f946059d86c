/* fault: what can be wrong with an answer, and which requests it hits. The one table of faults is in fault.c:
 * code, `vllmperf sim --help` and the documentation read it.
 *
 * Grammar: NAME[:PARAMETER=NUMBER...][@SELECTOR]; SELECTOR is every=N (number N, 2N, ...), at=N,N,... (or
 * N+N+...) or p=SHARE (drawn with the seed); without a selector every request is hit. Requests are numbered
 * from 1 in the order in which they were completely read, counting POSTs of completions and chat completions
 * only; for the faults of connections it is the connections that are numbered, in the order in which they
 * were accepted. Constant data and pure functions.
 */
#ifndef VLLMPERF_SIM_FAULT_H
#define VLLMPERF_SIM_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_kind {
    FAULT_REFUSE,
    FAULT_RESET_CONNECT,
    FAULT_STATUS,
    FAULT_RATE_LIMIT,
    FAULT_HTML,
    FAULT_DROP,
    FAULT_SILENT,
    FAULT_SLOW_HEADERS,
    FAULT_RESET,
    FAULT_CLOSE,
    FAULT_STALL,
    FAULT_STREAM_ERROR,
    FAULT_MALFORMED,
    FAULT_SPLIT,
    FAULT_MERGE,
    FAULT_COMMENTS,
    FAULT_CRLF,
    FAULT_CR,
    FAULT_BOM,
    FAULT_NO_SPACE,
    FAULT_MULTILINE,
    FAULT_HUGE_LINE,
    FAULT_NO_LAST_BLANK,
    FAULT_NO_DONE,
    FAULT_NO_FINISH,
    FAULT_NO_USAGE,
    FAULT_WRONG_USAGE,
    FAULT_MANY_TOKENS,
    FAULT_EMPTY_TEXT,
    FAULT_NO_ROLE,
    FAULT_REDIRECT, /* new ones to the end: draws depend on the number */
    FAULT_BAD_CHUNK,
    FAULT_UNTIL_CLOSE,
    FAULT_HANG_UP,
    FAULT_KINDS,
};

enum { FAULT_PARAMETERS = 2, FAULT_AT = 64 };

struct fault_parameter {
    const char *name; /* NULL: there is none */
    int64_t value;    /* default */
    const char *meaning;
};

struct fault_info {
    const char *name, *meaning;
    bool of_connection;
    struct fault_parameter parameters[FAULT_PARAMETERS];
};

extern const struct fault_info fault_table[FAULT_KINDS];

enum fault_selector { FAULT_ALL, FAULT_EVERY, FAULT_NUMBERS, FAULT_SHARE };

struct fault {
    enum fault_kind kind;
    enum fault_selector selector;
    int64_t value[FAULT_PARAMETERS];
    int64_t every;
    double share;
    int n_at;
    int64_t at[FAULT_AT];
};

/* false with one line in error when the text is not of the grammar. */
bool fault_parse(struct fault *fault, const char *text, size_t len, char *error, size_t error_size);

/* Does it hit this number? The draw of a share depends on seed, number and kind only. */
bool fault_hits(const struct fault *fault, uint64_t seed, int64_t number);

/* The faults of one request. */
struct fault_set {
    uint64_t kinds;
    int64_t value[FAULT_KINDS][FAULT_PARAMETERS];
};

void fault_set_add(struct fault_set *set, const struct fault *fault);

static inline bool fault_has(const struct fault_set *set, enum fault_kind kind) {
    return set->kinds >> kind & 1;
}

#endif
