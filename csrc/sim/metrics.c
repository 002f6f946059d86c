/* Owns the counters of the simulated engine and their text for Prometheus.
 * Does not measure: answer.c says what happened. */
#include "sim/metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double seconds_of_ttft[] = {.001, .005, .01, .02, .04, .06, .08, .1,  .25, .5,   .75,     1,
                                         2.5,  5,    7.5, 10,  20,  40,  80,  160, 640, 2560, INFINITY};
static const double seconds_of_token[] = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                          .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80, INFINITY};
static const double seconds_of_request[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,   20,
                                            30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680, INFINITY};
static const double tokens_of_request[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, INFINITY};
static const double tokens_of_iteration[] = {1,   8,    16,   32,   64,   128,   256,
                                             512, 1024, 2048, 4096, 8192, 16384, INFINITY};
static const double choices[] = {1, 2, 5, 10, 20, INFINITY};

static const struct {
    const char *name, *help;
    const double *bounds;
} histograms[METRICS_HISTOGRAMS] = {
    [METRICS_PROMPT_TOKENS] = {"request_prompt_tokens", "Number of prefill tokens processed.",
                               tokens_of_request},
    [METRICS_GENERATION_TOKENS] = {"request_generation_tokens", "Number of generation tokens processed.",
                                   tokens_of_request},
    [METRICS_ITERATION_TOKENS] = {"iteration_tokens_total", "Histogram of number of tokens per engine_step.",
                                  tokens_of_iteration},
    [METRICS_MAX_GENERATION_TOKENS] = {"request_max_num_generation_tokens",
                                       "Histogram of maximum number of requested generation tokens.",
                                       tokens_of_request},
    [METRICS_PARAMS_N] = {"request_params_n", "Histogram of the n request parameter.", choices},
    [METRICS_PARAMS_MAX_TOKENS] = {"request_params_max_tokens",
                                   "Histogram of the max_tokens request parameter.", tokens_of_request},
    [METRICS_TTFT] = {"time_to_first_token_seconds", "Histogram of time to first token in seconds.",
                      seconds_of_ttft},
    [METRICS_ITL] = {"inter_token_latency_seconds", "Histogram of inter-token latency in seconds.",
                     seconds_of_token},
    [METRICS_TPOT] = {"request_time_per_output_token_seconds",
                      "Histogram of time_per_output_token_seconds per request.", seconds_of_token},
    [METRICS_E2E] = {"e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.",
                     seconds_of_request},
    [METRICS_QUEUE] = {"request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.",
                       seconds_of_request},
    [METRICS_INFERENCE] = {"request_inference_time_seconds",
                           "Histogram of time spent in RUNNING phase for request.", seconds_of_request},
    [METRICS_PREFILL] = {"request_prefill_time_seconds",
                         "Histogram of time spent in PREFILL phase for request.", seconds_of_request},
    [METRICS_DECODE] = {"request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.",
                        seconds_of_request},
};

static const char *const reasons[METRICS_REASONS] = {"stop", "length", "abort", "error", "repetition"};
static const char *const handlers[METRICS_HANDLERS] = {
    "/v1/models", "/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize", "none"};
static const char *const methods[METRICS_METHODS] = {"GET", "POST"};
static const char *const classes[METRICS_CLASSES] = {"2xx", "4xx", "5xx"};

void metrics_observe(struct metrics *metrics, enum metrics_histogram which, double value) {
    struct metrics_counts *counts = &metrics->histogram[which];
    const double *bounds = histograms[which].bounds;
    int i = 0;
    while (value > bounds[i]) i++;
    counts->bucket[i]++;
    counts->count++;
    counts->sum += value;
}

void metrics_http(struct metrics *metrics, const char *handler, bool post, int status) {
    int i = 0;
    while (i < METRICS_HANDLERS - 1 && strcmp(handlers[i], handler) != 0) i++;
    metrics->http[i][post][status < 400 ? 0 : status < 500 ? 1 : 2]++;
}

/* As Python writes a float: 1.0, 0.25, 1.5e+06. */
static void add_number(struct buf *out, double value) {
    char text[40];
    if (isinf(value)) {
        buf_str(out, "+Inf");
        return;
    }
    if (value == floor(value) && fabs(value) < 1e6)
        snprintf(text, sizeof text, "%.1f", value);
    else
        snprintf(text, sizeof text, "%.17g", value);
    if (strtod(text, NULL) == value && strlen(text) > 17) {
        for (int digits = 1; digits < 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, value);
            if (strtod(text, NULL) == value) break;
        }
    }
    buf_str(out, text);
    if (strpbrk(text, ".e") == NULL) buf_str(out, ".0");
}

static void add_head(struct buf *out, const char *name, const char *suffix, const char *help,
                     const char *type) {
    buf_format(out, "# HELP vllm:%s%s %s\n# TYPE vllm:%s%s %s\n", name, suffix, help, name, suffix, type);
}

/* One sample; `before` and `after` are labels that sort before and after "model_name". */
static void add_sample(struct buf *out, const char *name, const char *suffix, const char *before,
                       const char *model, const char *after, double value) {
    buf_format(out, "vllm:%s%s{engine=\"0\",%smodel_name=\"%s\"%s} ", name, suffix, before, model, after);
    add_number(out, value);
    buf_char(out, '\n');
}

static void add_gauge(struct buf *out, const char *name, const char *help, const char *model, double value) {
    add_head(out, name, "", help, "gauge");
    add_sample(out, name, "", "", model, "", value);
}

static void add_counter(struct buf *out, const char *name, const char *help, const char *model, int64_t value,
                        double created_s) {
    add_head(out, name, "_total", help, "counter");
    add_sample(out, name, "_total", "", model, "", (double)value);
    add_head(out, name, "_created", help, "gauge");
    add_sample(out, name, "_created", "", model, "", created_s);
}

static void add_success(const struct metrics *m, const char *model, struct buf *out) {
    static const char help[] = "Count of successfully processed requests.";
    char label[48];
    add_head(out, "request_success", "_total", help, "counter");
    for (int i = 0; i < METRICS_REASONS; i++) {
        snprintf(label, sizeof label, "finished_reason=\"%s\",", reasons[i]);
        add_sample(out, "request_success", "_total", label, model, "", (double)m->success[i]);
    }
    add_head(out, "request_success", "_created", help, "gauge");
    for (int i = 0; i < METRICS_REASONS; i++) {
        snprintf(label, sizeof label, "finished_reason=\"%s\",", reasons[i]);
        add_sample(out, "request_success", "_created", label, model, "", m->created_s);
    }
}

static void add_histogram(const struct metrics *m, int which, const char *model, struct buf *out) {
    const char *name = histograms[which].name;
    const struct metrics_counts *counts = &m->histogram[which];
    int64_t below = 0;
    add_head(out, name, "", histograms[which].help, "histogram");
    for (int i = 0;; i++) {
        double bound = histograms[which].bounds[i];
        below += counts->bucket[i];
        buf_format(out, "vllm:%s_bucket{engine=\"0\",le=\"", name);
        add_number(out, bound);
        buf_format(out, "\",model_name=\"%s\"} ", model);
        add_number(out, (double)below);
        buf_char(out, '\n');
        if (isinf(bound)) break;
    }
    add_sample(out, name, "_count", "", model, "", (double)counts->count);
    add_sample(out, name, "_sum", "", model, "", counts->sum);
    add_head(out, name, "_created", histograms[which].help, "gauge");
    add_sample(out, name, "_created", "", model, "", m->created_s);
}

static void add_waiting_by_reason(const struct metrics *m, const char *model, struct buf *out) {
    add_head(out, "num_requests_waiting_by_reason", "", "Number of waiting requests by reason.", "gauge");
    add_sample(out, "num_requests_waiting_by_reason", "", "", model, ",reason=\"capacity\"",
               (double)m->waiting);
    add_sample(out, "num_requests_waiting_by_reason", "", "", model, ",reason=\"deferred\"", 0);
}

static void add_sleep_state(struct buf *out, const char *model) {
    add_head(out, "engine_sleep_state", "", "Engine sleep state; awake = 1 means engine is awake.", "gauge");
    add_sample(out, "engine_sleep_state", "", "", model, ",sleep_state=\"awake\"", 1);
    add_sample(out, "engine_sleep_state", "", "", model, ",sleep_state=\"weights_offloaded\"", 0);
    add_sample(out, "engine_sleep_state", "", "", model, ",sleep_state=\"discard_all\"", 0);
}

static void add_by_source(const struct metrics *m, const char *model, struct buf *out) {
    add_head(out, "prompt_tokens_by_source", "_total", "Number of prompt tokens by source.", "counter");
    add_sample(out, "prompt_tokens_by_source", "_total", "", model, ",source=\"local_compute\"",
               (double)(m->prompt_tokens - m->cached_tokens));
    add_sample(out, "prompt_tokens_by_source", "_total", "", model, ",source=\"local_cache_hit\"",
               (double)m->cached_tokens);
    add_sample(out, "prompt_tokens_by_source", "_total", "", model, ",source=\"external_kv_transfer\"", 0);
}

static void add_cache_config(const struct metrics *m, struct buf *out) {
    add_head(out, "cache_config_info", "", "Information of the LLMEngine CacheConfig", "gauge");
    buf_format(out,
               "vllm:cache_config_info{block_size=\"%d\",cache_dtype=\"auto\",enable_prefix_caching=\"%s\","
               "engine=\"0\",num_gpu_blocks=\"%d\"} 1.0\n",
               (int)m->block_size, m->prefix_caching ? "True" : "False", (int)m->num_gpu_blocks);
}

static void add_http(const struct metrics *m, struct buf *out) {
    buf_str(out, "# HELP http_requests_total Total number of requests by method, status and handler.\n"
                 "# TYPE http_requests_total counter\n");
    for (int h = 0; h < METRICS_HANDLERS; h++)
        for (int i = 0; i < METRICS_METHODS; i++)
            for (int c = 0; c < METRICS_CLASSES; c++)
                if (m->http[h][i][c])
                    buf_format(out,
                               "http_requests_total{handler=\"%s\",method=\"%s\",status=\"%s\"} %lld.0\n",
                               handlers[h], methods[i], classes[c], (long long)m->http[h][i][c]);
}

void metrics_render(const struct metrics *m, const char *model, struct buf *out) {
    double created = m->created_s;
    add_gauge(out, "num_requests_running", "Number of requests in model execution batches.", model,
              (double)m->running);
    add_gauge(out, "num_requests_waiting", "Number of requests waiting to be processed.", model,
              (double)m->waiting);
    add_waiting_by_reason(m, model, out);
    add_sleep_state(out, model);
    add_gauge(out, "kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", model, m->kv_usage);
    add_counter(out, "prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.",
                model, m->prefix_queries, created);
    add_counter(out, "prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", model,
                m->prefix_hits, created);
    add_counter(out, "num_preemptions", "Cumulative number of preemption from the engine.", model,
                m->preemptions, created);
    add_counter(out, "prompt_tokens", "Number of prefill tokens processed.", model, m->prompt_tokens,
                created);
    add_by_source(m, model, out);
    add_counter(out, "generation_tokens", "Number of generation tokens processed.", model,
                m->generation_tokens, created);
    add_success(m, model, out);
    for (int i = 0; i < METRICS_HISTOGRAMS; i++) add_histogram(m, i, model, out);
    add_cache_config(m, out);
    add_http(m, out);
}
