/* metrics: what a vLLM server counts, kept while the simulator answers, with the names and buckets of vLLM's
 * V1 engine. Every value is what really happened here. One thread. Owns nothing, cannot fail.
 */
#ifndef VLLMPERF_SIM_METRICS_H
#define VLLMPERF_SIM_METRICS_H

#include <stdbool.h>
#include <stdint.h>

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

enum metrics_form {
    METRICS_FORM_VLLM, /* as a vLLM server with data-parallel engines: the label "engine" tells them apart */
    METRICS_FORM_RAY,  /* as Ray 2.60 writes those of its replicas, see docs/simulator.md */
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
    struct metrics_counts histogram[METRICS_HISTOGRAMS];
};

void metrics_observe(struct metrics *metrics, enum metrics_histogram which, double value);

/* What the front end of the server counts. */
struct metrics_http {
    int64_t count[METRICS_HANDLERS][METRICS_METHODS][METRICS_CLASSES];
};

/* handler: a path, anything else counts as "none". */
void metrics_http_count(struct metrics_http *http, const char *handler, bool post, int status);

struct metrics_histogram_info {
    const char *name, *help;
    const double *bounds; /* up to INFINITY */
};
extern const struct metrics_histogram_info metrics_histograms[METRICS_HISTOGRAMS];
extern const char *const metrics_handlers[METRICS_HANDLERS];

#endif
