/* response_state: an answer while it comes: what is known of it so far, and what went wrong. response.c,
 * response_events.c and response_chunks.c work on it; others read the record and `is_stuck`, and may say why
 * a transfer failed. Memory belongs to the response; to be out of it is a trouble. One thread at a time.
 */
#ifndef VLLMPERF_RESPONSE_STATE_H
#define VLLMPERF_RESPONSE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/chain.h"
#include "stats/record.h"
#include "stream/sse.h"

enum { RESPONSE_ERROR_BYTES = 16384 };           /* of an error body or message that are kept */
enum { RESPONSE_JSON_BYTES = 64 * 1024 * 1024 }; /* a plain JSON body beyond this is malformed */
enum { RESPONSE_MAX_CHAINS = 1024 };             /* choices beyond this are timed as if they were choice 0 */
enum { RESPONSE_KEPT_BYTES = 64 * 1024 };        /* larger buffers are freed after each request */

/* One readiness event of the socket: everything read in it has the same stamps. */
struct read_stamp {
    int64_t arrived_ns, seen_ns;
    uint64_t number; /* counts reads, from 1, so that equal stamps are still told apart */
};

/* What token chunks add up to. */
struct chunk_tally {
    int64_t first_ns, first_seen_ns, last_ns, last_seen_ns; /* set when there are chunks */
    int64_t reads, first_read_chunks;
    uint64_t newest_read; /* number of the newest read that brought one, 0 before */
    int32_t chunks;
};

/* The worst that was found in the body. */
enum trouble {
    TROUBLE_NONE,
    TROUBLE_COMPLAINT, /* a message in the place of choices */
    TROUBLE_MALFORMED,
    TROUBLE_ERROR, /* the server says that it failed */
    TROUBLE_NO_MEMORY,
};

/* What the index of a choice counts, see response_chunks.c. */
enum index_sense { INDEX_RISES, INDEX_CHOICES, INDEX_TOKENS };

/* Where an error text came from. What comes later replaces a guess and nothing else. */
enum error_source { ERROR_NONE, ERROR_GUESS, ERROR_BODY, ERROR_MESSAGE };

struct response_settings {
    size_t max_event_bytes;
    bool keep_text, keep_stamps;
    /* Events are kept, with what the first choice of each says; the text is theirs, and behind it, after a
     * NUL, stands the newest event without choices, one with counts before others. */
    bool keep_events;
    bool strict; /* data that is neither [DONE] nor an object is malformed, whatever it is */
    bool raw;    /* bodies of another format, all of whose data is the text, a line an event */
};

struct response {
    struct record record;
    struct response_settings settings;
    enum body_kind kind;      /* BODY_NONE until the first byte that is no blank */
    enum body_kind type_says; /* what the content type announced, BODY_NONE when it says nothing */
    enum trouble trouble;
    bool is_stuck;                          /* too long, or out of memory: more of the body cannot be taken */
    bool done;                              /* [DONE] came */
    bool has_choices;                       /* an event with choices came */
    bool cut_in_event;                      /* the stream ended within an event */
    int64_t last_event_ns;                  /* newest event with data, as seen; NONE before */
    int64_t ids, usage_tokens, usage_total; /* output tokens by token ids; the newest usage; -1 unknown */
    struct chain *chains;
    size_t n_chains, cap_chains, newest; /* newest: the chain of the newest chunk */
    struct chunk_tally tally;
    int32_t certain; /* chunks that hold output for sure, not just an empty text */
    enum index_sense index_sense;
    int64_t newest_index;
    int32_t event_choices; /* choices so far in the event being read */
    /* The chunks once more, with the events whose output is in unknown fields: which of the two is right is
     * known at the end. unknown_chain: of the event being read, -1 when it has none. */
    int64_t unknown_chain;
    int32_t n_unknown;
    struct chunk_tally unknown_tally;
    struct chain with_unknown;
    struct record_stamp *stamps;
    size_t n_stamps, cap_stamps;
    struct record_event *events;
    size_t n_events, cap_events;
    struct text json, head, error, last_words; /* head: of a stream's body until its first event */
    enum error_source error_source;
    struct sse *sse;
    struct read_stamp now, at; /* of the piece and of the event being read */
    struct read_stamp line_at; /* of the newest data line */
    uint64_t lines;            /* data lines when the piece before was used up */
};

/* Remember why, cut to RESPONSE_ERROR_BYTES. The first message wins over later ones and our own guesses. */
void response_error(struct response *r, const char *message, size_t len);

/* An error text of our own, or words of the server that may be none: only where there is no other. */
void response_guess(struct response *r, const char *text, size_t len);

/* The body is the error; its beginning is kept. A body that is no text is named, once it is whole. */
void response_keep_body(struct response *r, const char *bytes, size_t len);
void response_name_binary(struct response *r);

/* The worst trouble stays. With the second and third no more of the body can be taken. */
void response_trouble(struct response *r, enum trouble trouble);
void response_take_no_more(struct response *r, enum trouble why);
void response_no_memory(struct response *r);

#endif
