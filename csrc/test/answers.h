/* answers: streams and bodies in words, and what a response makes of them. For tests of engine/response. */
#ifndef VLLMPERF_TEST_ANSWERS_H
#define VLLMPERF_TEST_ANSWERS_H

#include <stdlib.h>
#include <string.h>

#include "engine/response.h"

#define CHUNK(text)   "data: {\"choices\":[{\"index\":0,\"text\":\"" text "\",\"finish_reason\":null}]}\n\n"
#define CHUNK_1(text) "data: {\"choices\":[{\"index\":1,\"text\":\"" text "\",\"finish_reason\":null}]}\n\n"
#define COUNTED(text, n)                                                                                     \
    "data: {\"choices\":[{\"text\":\"" text "\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":" #n  \
    "}}\n\n"
#define TAIL "data: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n"
#define LAST(text)                                                                                           \
    "data: {\"choices\":[{\"index\":0,\"text\":\"" text "\",\"finish_reason\":\"length\"}]}\n\n"
#define USAGE(n) "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":" #n "}}\n\n"
#define DONE     "data: [DONE]\n\n"

enum { MAX_EVENT_BYTES = 4096, SEEN_AFTER_NS = 7 };

struct read {
    int64_t arrived_ns;
    const char *bytes;
};

static inline void begin(struct response *r) {
    static const struct response_settings settings = {
        .max_event_bytes = MAX_EVENT_BYTES, .keep_text = true, .keep_stamps = true};
    if (response_init(r, &settings) != 0) abort();
    response_begin(r);
}

static inline void read_all(struct response *r, const struct read *reads, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct read_stamp stamp = {reads[i].arrived_ns, reads[i].arrived_ns + SEEN_AFTER_NS, i + 1};
        response_body(r, reads[i].bytes, strlen(reads[i].bytes), &stamp);
    }
}

/* A whole answer to its outcome; `type` is the content type. */
static inline enum outcome answer(struct response *r, long status, const char *type, const struct read *reads,
                                  size_t n) {
    begin(r);
    response_head(r, status, type);
    read_all(r, reads, n);
    return response_finish(r);
}

#define STREAM(r, ...)                                                                                       \
    answer(r, 200, "text/event-stream; charset=utf-8", (const struct read[]){__VA_ARGS__},                   \
           sizeof((const struct read[]){__VA_ARGS__}) / sizeof(struct read))
#define BODY(r, status, type, text) answer(r, status, type, &(struct read){50, text}, 1)

static inline int gap_is(const struct response *r, size_t i, float ns, int shared) {
    const struct chain *c = &r->chains[0];
    return i < c->n_gaps && c->gaps[i].ns == ns && c->gaps[i].shared == shared;
}

static inline int error_is(const struct response *r, const char *text) {
    return r->error.len == strlen(text) && memcmp(r->error.bytes, text, r->error.len) == 0;
}

#endif
