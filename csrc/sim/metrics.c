/* Owns the counting of what a simulated engine does, and the names and buckets of its histograms.
 * Does not measure: account.c says what happened. Does not write text (metrics_text.c). */
#include "sim/metrics.h"

#include <math.h>
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

const struct metrics_histogram_info metrics_histograms[METRICS_HISTOGRAMS] = {
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

const char *const metrics_handlers[METRICS_HANDLERS] = {
    "/v1/models", "/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize", "none"};

void metrics_observe(struct metrics *metrics, enum metrics_histogram which, double value) {
    struct metrics_counts *counts = &metrics->histogram[which];
    const double *bounds = metrics_histograms[which].bounds;
    int i = 0;
    while (value > bounds[i]) i++;
    counts->bucket[i]++;
    counts->count++;
    counts->sum += value;
}

void metrics_http_count(struct metrics_http *http, const char *handler, bool post, int status) {
    int i = 0;
    while (i < METRICS_HANDLERS - 1 && strcmp(metrics_handlers[i], handler) != 0) i++;
    http->count[i][post][status < 400 ? 0 : status < 500 ? 1 : 2]++;
}
