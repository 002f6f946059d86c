/* record: what is kept of one finished request, and the columnar store of finished requests that a thread
 * fills and Python empties. RECORD_FIELDS is the one list of fields: the struct, NumPy's dtype and the run
 * file read it.
 *
 * Times are CLOCK_MONOTONIC ns counted from the run's start; NONE (INT64_MIN) means "did not happen". One
 * thread at a time for each batch, which owns its arrays.
 */
#ifndef VLLMPERF_RECORD_H
#define VLLMPERF_RECORD_H

#include <stddef.h>
#include <stdint.h>

#define RECORD_NONE INT64_MIN

/* clang-format off */
/* X(C type, NumPy type, name): see vllmperf/record/fields.py for what each means to a reader. */
#define RECORD_FIELDS(X)                                                                                     \
    X(int64_t, "<i8", index)              /* number of the request in the plan, from 0 */                     \
    X(int64_t, "<i8", scheduled_ns)       /* when the plan wanted it sent; NONE in a closed loop */           \
    X(int64_t, "<i8", slot_wait_ns)       /* how long it was due but waited for a concurrency slot */         \
    X(int64_t, "<i8", sent_ns)            /* handed to the transport; NONE when never sent */                 \
    X(int64_t, "<i8", connected_ns)       /* new connection ready; NONE when one was reused or none came */   \
    X(int64_t, "<i8", first_byte_ns)      /* first byte of the response (headers), kernel stamp */            \
    X(int64_t, "<i8", first_token_ns)     /* first token chunk arrived; NONE for a plain JSON body */         \
    X(int64_t, "<i8", first_text_ns)      /* first token chunk with text or a tool call (not reasoning) */    \
    X(int64_t, "<i8", last_token_ns)      /* last token chunk (or the JSON body's end) arrived */             \
    X(int64_t, "<i8", end_ns)             /* the transfer was over, as seen */                                \
    X(int64_t, "<i8", first_token_seen_ns)                                                                    \
    X(int64_t, "<i8", last_token_seen_ns)                                                                     \
    X(int64_t, "<i8", bytes_received)     /* of the body, after transfer decoding */                          \
    X(int64_t, "<i8", bytes_sent)         /* of the request body */                                           \
    X(int64_t, "<i8", prompt_tokens)      /* usage; NONE when the server did not say */                       \
    X(int64_t, "<i8", cached_tokens)      /* usage.prompt_tokens_details; NONE when it did not say */         \
    X(int64_t, "<i8", output_tokens)      /* by the best source there was, see tokens_source */               \
    X(int64_t, "<i8", usage_tokens)       /* completion_tokens as the server said; NONE when it did not */    \
    X(int64_t, "<i8", output_bytes)       /* of output in all choices, as written in the JSON */              \
    X(int64_t, "<i8", first_chunk_bytes)  /* of these in the first token chunk; NONE for a plain JSON body */ \
    X(int64_t, "<i8", unknown_output)     /* events that brought output only in fields we do not know */      \
    X(int64_t, "<i8", reads)              /* distinct reads that brought token chunks */                      \
    X(int64_t, "<i8", first_read_chunks)  /* token chunks that the first of these brought */                  \
    X(int64_t, "<i8", body_kind)          /* enum body_kind */                                                \
    X(int64_t, "<i8", server_queue_ns)    /* by the answer itself: queued to scheduled; NONE: not said */     \
    X(int64_t, "<i8", server_prefill_ns)  /* scheduled to first token, likewise */                            \
    X(int64_t, "<i8", server_decode_ns)   /* first to last token, likewise */                                 \
    X(int64_t, "<i8", draft_steps)        /* steps that verified drafts, likewise */                          \
    X(int64_t, "<i8", draft_tokens)       /* tokens that these proposed, likewise */                          \
    X(int64_t, "<i8", accepted_tokens)    /* of these, likewise */                                            \
    X(int32_t, "<i4", tokens_source)      /* enum record_tokens_source */                                     \
    X(int32_t, "<i4", status)             /* HTTP status, 0 when there was none */                            \
    X(int32_t, "<i4", outcome)            /* enum outcome */                                                  \
    X(int32_t, "<i4", finish_reason)      /* enum finish_reason */                                            \
    X(int32_t, "<i4", events)             /* SSE events with data, [DONE] included */                         \
    X(int32_t, "<i4", chunks)             /* token chunks */                                                  \
    X(int32_t, "<i4", coalesced)          /* token chunks that shared their read with another one */          \
    X(int32_t, "<i4", choices)            /* how many choices brought output */                               \
    X(int32_t, "<i4", retries)            /* sent again on a fresh connection, a kept one was dead */         \
    X(int32_t, "<i4", redirects)          /* followed to get the answer */                                       \
    X(int32_t, "<i4", clean_end)          /* 1: the transfer ended by the rules of HTTP, not in an event */     \
    X(int32_t, "<i4", thread)             /* engine thread */                                                 \
    X(uint32_t, "<u4", n_gaps)            /* gaps of this request in the batch's gap array */                 \
    X(uint32_t, "<u4", n_chunk_stamps)    /* stamps of this request in the batch's stamp array */             \
    X(uint32_t, "<u4", text_len)          /* bytes of this request in the batch's text */                     \
    X(uint32_t, "<u4", error_len)         /* bytes after its text: error body or message */

/* The last one is never the engine's own: readers that hold the text and a tokenizer count it again. */
enum record_tokens_source { TOKENS_NONE, TOKENS_USAGE, TOKENS_IDS, TOKENS_CHUNKS, TOKENS_TOKENIZER };

/* What the body of the answer was: events, one JSON object, the body of an HTTP error, or anything else. */
enum body_kind { BODY_NONE, BODY_STREAM, BODY_JSON, BODY_ERROR, BODY_OTHER };

/* X(name): how a request ended. The order is the number in the record; new ones go to the end. */
#define OUTCOMES(X)                                                                                          \
    X(completed) X(incomplete) X(refused) X(dns_failed) X(connect_timeout) X(tls_failed)                     \
    X(first_token_timeout) X(stalled) X(total_timeout) X(reset) X(truncated) X(http_error)                   \
    X(stream_error) X(malformed) X(no_tokens) X(local_fault)
enum outcome {
#define X(name) OUTCOME_##name,
    OUTCOMES(X)
#undef X
    OUTCOME_COUNT
};

#define FINISH_REASONS(X) X(none) X(stop) X(length) X(tool_calls) X(content_filter) X(abort) X(error) X(other)
enum finish_reason {
#define X(name) FINISH_##name,
    FINISH_REASONS(X)
#undef X
    FINISH_COUNT
};

/* clang-format on */

struct record {
#define X(ctype, nptype, name) ctype name;
    RECORD_FIELDS(X)
#undef X
};

/* NumPy's dtype has no holes, so the struct must have none. */
#define X(ctype, nptype, name) +sizeof(ctype)
_Static_assert(sizeof(struct record) == RECORD_FIELDS(X), "a hole in struct record");
#undef X

/* One gap between consecutive token chunks of a choice. */
struct record_gap {
    float ns;        /* even share of the time between two reads when several chunks came in one */
    uint16_t tokens; /* tokens of the later chunk, 0 when unknown */
    uint16_t shared; /* 1 when ns is a share */
};

/* One chunk's raw stamps, kept only when asked for. */
struct record_stamp {
    int64_t arrived_ns, seen_ns;
};

/* X(bit, name): what an event of a stream says. Kept only when asked for (with raw bodies: 0). */
/* clang-format off */
#define EVENT_FLAGS(X)                                                                                       \
    X(0, choices) X(1, text) X(2, content) X(3, reasoning) X(4, role) X(5, tool_calls) X(6, token_ids)       \
    X(7, finish) X(8, usage) X(9, done) X(10, error) X(11, malformed)
/* clang-format on */
enum event_flag {
#define X(bit, name) EVENT_##name = 1 << (bit),
    EVENT_FLAGS(X)
#undef X
};

/* One event with data: its stamps, a set of enum event_flag, and the bytes of its text (escapes included). */
struct record_event {
    int64_t arrived_ns, seen_ns;
    uint32_t flags, text_bytes;
};

/* A batch of finished requests: arrays that grow, records in the order of finishing, and the gaps, stamps and
 * bytes of record i right behind those of record i-1. Owns its arrays. */
struct batch {
    struct record *records;
    size_t n_records, cap_records;
    struct record_gap *gaps;
    size_t n_gaps, cap_gaps;
    struct record_stamp *stamps;
    size_t n_stamps, cap_stamps;
    struct record_event *events; /* record.events a record, or none at all */
    size_t n_events, cap_events;
    char *bytes;
    size_t n_bytes, cap_bytes;
};

/* Append a finished request. 0, or -1 when out of memory (then nothing was added). events may be NULL: they
 * were not kept. */
int batch_add(struct batch *batch, const struct record *record, const struct record_gap *gaps,
              const struct record_stamp *stamps, const struct record_event *events, const char *text,
              const char *error);
void batch_free(struct batch *batch); /* frees the arrays, leaves an empty batch */

#endif
