/* metrics: what a vLLM server counts, kept while the simulator answers, and its Prometheus text under the
 * names and buckets of vLLM's V1 engine. Every value is what really happened here. One thread. Owns nothing,
 * cannot fail.
 */
#ifndef VLLMPERF_SIM_METRICS_H
#define VLLMPERF_SIM_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/buf.h"

enum metrics_histogram {
    METRICS_PROMPT_TOKENS,
    METRICS_GENERATION_TOKENS,
    METRICS_ITERATION_TOKENS,
    METRICS_MAX_GENERATION_TOKENS,
    METRICS_PARAMS_N,
    METRICS_PARAMS_MAX_TOKENS,
    METRICS_TTFT,
    METRICS_ITL,
    METRICS_TPOT,
    METRICS_E2E,
    METRICS_QUEUE,
    METRICS_INFERENCE,
    METRICS_PREFILL,
    METRICS_DECODE,
    METRICS_HISTOGRAMS,
};

enum metrics_reason {
    METRICS_STOP,
    METRICS_LENGTH,
    METRICS_ABORT,
    METRICS_ERROR,
    METRICS_REPETITION,
    METRICS_REASONS
};

enum { METRICS_BUCKETS = 24, METRICS_HANDLERS = 6, METRICS_METHODS = 2, METRICS_CLASSES = 3 };

struct metrics_counts {
    int64_t bucket[METRICS_BUCKETS]; /* not cumulated; the last one used is +Inf's */
    int64_t count;
    double sum;
};

struct metrics {
    double created_s; /* CLOCK_REALTIME */
    int64_t running, waiting, prompt_tokens, generation_tokens;
    int64_t cached_tokens; /* of the prompt tokens */
    int64_t preemptions, prefix_queries, prefix_hits;
    double kv_usage;
    int32_t block_size, num_gpu_blocks;
    bool prefix_caching;
    int64_t success[METRICS_REASONS];
    int64_t http[METRICS_HANDLERS][METRICS_METHODS][METRICS_CLASSES];
    struct metrics_counts histogram[METRICS_HISTOGRAMS];
};

void metrics_observe(struct metrics *metrics, enum metrics_histogram which, double value);

/* handler: a path, anything else counts as "none". */
void metrics_http(struct metrics *metrics, const char *handler, bool post, int status);

void metrics_render(const struct metrics *metrics, const char *model, struct buf *out);

#endif
