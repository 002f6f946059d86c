/* Owns the text of metrics: families, labels, numbers, in vLLM's form and in Ray's.
 * Does not count (metrics.c). */
#include "sim/metrics_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct page {
    const struct metrics *engines;
    int n;
    enum metrics_form form;
    const char *model;
    struct buf *out;
};

enum { NUMBER_CHARS = 48 };

/* As Python writes a float: 1.0, 0.25, 1.5e+06. */
static void write_number(char text[NUMBER_CHARS], double value) {
    if (isinf(value)) {
        strcpy(text, "+Inf");
        return;
    }
    if (value == floor(value) && fabs(value) < 1e6)
        snprintf(text, NUMBER_CHARS, "%.1f", value);
    else
        snprintf(text, NUMBER_CHARS, "%.17g", value);
    if (strtod(text, NULL) == value && strlen(text) > 17) {
        for (int digits = 1; digits < 17; digits++) {
            snprintf(text, NUMBER_CHARS, "%.*g", digits, value);
            if (strtod(text, NULL) == value) break;
        }
    }
    if (strpbrk(text, ".e") == NULL) strcat(text, ".0");
}

/* ---- names and labels ---- */

static const char *prefix_of(const struct page *page) {
    return page->form == METRICS_FORM_RAY ? "ray_vllm_" : "vllm:";
}

static void add_head(const struct page *page, const char *name, const char *suffix, const char *help,
                     const char *type) {
    const char *prefix = prefix_of(page);
    buf_format(page->out, "# HELP %s%s%s %s\n# TYPE %s%s%s %s\n", prefix, name, suffix, help, prefix, name,
               suffix, type);
}

/* Ids are of the length that Ray's have, and say the number of the replica. */
static void add_ray_labels(const struct page *page, int engine) {
    buf_format(page->out,
               "Component=\"core_worker\",NodeAddress=\"127.0.0.1\",ReplicaId=\"sim%05d\","
               "SessionName=\"session_sim\",Version=\"2.60.0\",WorkerId=\"%056x\",engine=\"0\",",
               engine, (unsigned)engine + 1);
}

/* One sample; `before` and `after` are labels that sort before and after "model_name". */
static void add_sample(const struct page *page, int engine, const char *name, const char *suffix,
                       const char *before, const char *after, double value) {
    buf_format(page->out, "%s%s%s{", prefix_of(page), name, suffix);
    if (page->form == METRICS_FORM_RAY)
        add_ray_labels(page, engine);
    else
        buf_format(page->out, "engine=\"%d\",", engine);
    buf_format(page->out, "%smodel_name=\"%s\"", before, page->model);
    if (page->form == METRICS_FORM_RAY)
        buf_str(page->out, ",otel_scope_name=\"ray._private.telemetry.open_telemetry_metric_recorder\","
                           "otel_scope_schema_url=\"\",otel_scope_version=\"\"");
    char number[NUMBER_CHARS];
    write_number(number, value);
    buf_format(page->out, "%s} %s\n", after, number);
}

/* In Ray's form nothing is there of an engine before its first prompt, and no gauge of one that is idle. */
static bool is_shown(const struct page *page, int engine, bool gauge) {
    const struct metrics *m = &page->engines[engine];
    if (page->form == METRICS_FORM_VLLM) return true;
    return gauge ? m->running + m->waiting > 0 : m->prompt_tokens > 0;
}

static bool is_any_shown(const struct page *page, bool gauge) {
    for (int i = 0; i < page->n; i++)
        if (is_shown(page, i, gauge)) return true;
    return false;
}

/* ---- gauges and counters ---- */

#define FIELD(field)                                                                                         \
    static double field##_of(const struct metrics *m) {                                                      \
        return (double)m->field;                                                                             \
    }
FIELD(running)
FIELD(waiting)
FIELD(kv_usage)
FIELD(prefix_queries)
FIELD(prefix_hits)
FIELD(preemptions)
FIELD(prompt_tokens)
FIELD(cached_tokens)
FIELD(generation_tokens)
#undef FIELD
#define REASON(reason)                                                                                       \
    static double finished_##reason(const struct metrics *m) {                                               \
        return (double)m->success[reason];                                                                   \
    }
REASON(METRICS_STOP)
REASON(METRICS_LENGTH)
REASON(METRICS_ABORT)
REASON(METRICS_ERROR)
REASON(METRICS_REPETITION)
#undef REASON
static double computed_of(const struct metrics *m) {
    return (double)(m->prompt_tokens - m->cached_tokens);
}
static double zero_of(const struct metrics *m) {
    (void)m;
    return 0;
}
static double one_of(const struct metrics *m) {
    (void)m;
    return 1;
}

enum row_kind {
    ROW_GAUGE,
    ROW_COUNTER,     /* with the time of its creation */
    ROW_NEW_COUNTER, /* without */
};

/* Rows of one name, one after the other, are of one family. */
struct metrics_row {
    enum row_kind kind;
    const char *name, *help, *before, *after;
    double (*value)(const struct metrics *);
};

static const struct metrics_row rows[] = {
    {ROW_GAUGE, "num_requests_running", "Number of requests in model execution batches.", "", "", running_of},
    {ROW_GAUGE, "num_requests_waiting", "Number of requests waiting to be processed.", "", "", waiting_of},
    {ROW_GAUGE, "num_requests_waiting_by_reason", "Number of waiting requests by reason.", "",
     ",reason=\"capacity\"", waiting_of},
    {ROW_GAUGE, "num_requests_waiting_by_reason", "", "", ",reason=\"deferred\"", zero_of},
    {ROW_GAUGE, "engine_sleep_state", "Engine sleep state; awake = 1 means engine is awake.", "",
     ",sleep_state=\"awake\"", one_of},
    {ROW_GAUGE, "engine_sleep_state", "", "", ",sleep_state=\"weights_offloaded\"", zero_of},
    {ROW_GAUGE, "engine_sleep_state", "", "", ",sleep_state=\"discard_all\"", zero_of},
    {ROW_GAUGE, "kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", "", "", kv_usage_of},
    {ROW_COUNTER, "prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", "",
     "", prefix_queries_of},
    {ROW_COUNTER, "prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", "", "",
     prefix_hits_of},
    {ROW_COUNTER, "num_preemptions", "Cumulative number of preemption from the engine.", "", "",
     preemptions_of},
    {ROW_COUNTER, "prompt_tokens", "Number of prefill tokens processed.", "", "", prompt_tokens_of},
    {ROW_NEW_COUNTER, "prompt_tokens_by_source", "Number of prompt tokens by source.", "",
     ",source=\"local_compute\"", computed_of},
    {ROW_NEW_COUNTER, "prompt_tokens_by_source", "", "", ",source=\"local_cache_hit\"", cached_tokens_of},
    {ROW_NEW_COUNTER, "prompt_tokens_by_source", "", "", ",source=\"external_kv_transfer\"", zero_of},
    {ROW_COUNTER, "generation_tokens", "Number of generation tokens processed.", "", "",
     generation_tokens_of},
    {ROW_COUNTER, "request_success", "Count of successfully processed requests.", "finished_reason=\"stop\",",
     "", finished_METRICS_STOP},
    {ROW_COUNTER, "request_success", "", "finished_reason=\"length\",", "", finished_METRICS_LENGTH},
    {ROW_COUNTER, "request_success", "", "finished_reason=\"abort\",", "", finished_METRICS_ABORT},
    {ROW_COUNTER, "request_success", "", "finished_reason=\"error\",", "", finished_METRICS_ERROR},
    {ROW_COUNTER, "request_success", "", "finished_reason=\"repetition\",", "", finished_METRICS_REPETITION},
};
enum { ROWS = sizeof rows / sizeof *rows };

static int family_end(int from) {
    int to = from + 1;
    while (to < ROWS && strcmp(rows[to].name, rows[from].name) == 0) to++;
    return to;
}

static void add_rows(const struct page *page, int from, int to, const char *suffix, bool created) {
    for (int i = from; i < to; i++)
        for (int e = 0; e < page->n; e++) {
            const struct metrics *m = &page->engines[e];
            if (!is_shown(page, e, rows[i].kind == ROW_GAUGE)) continue;
            add_sample(page, e, rows[i].name, suffix, rows[i].before, rows[i].after,
                       created ? m->created_s : rows[i].value(m));
        }
}

static void add_family(const struct page *page, int from, int to) {
    const struct metrics_row *row = &rows[from];
    bool gauge = row->kind == ROW_GAUGE;
    const char *suffix = gauge ? "" : "_total";
    if (!is_any_shown(page, gauge)) return;
    add_head(page, row->name, suffix, row->help, gauge ? "gauge" : "counter");
    add_rows(page, from, to, suffix, false);
    if (row->kind != ROW_COUNTER || page->form == METRICS_FORM_RAY) return;
    add_head(page, row->name, "_created", row->help, "gauge");
    add_rows(page, from, to, "_created", true);
}

/* ---- histograms ---- */

/* Ray passes on no sum: it adds up the middles of the buckets, and twice the last bound for what is above it.
 */
static double sum_of_middles(const struct metrics_counts *counts, const double *bounds) {
    double sum = 0, lower = 0;
    for (int i = 0;; lower = bounds[i++]) {
        double middle = isinf(bounds[i]) ? 2 * lower : (lower + bounds[i]) / 2;
        sum += middle * (double)counts->bucket[i];
        if (isinf(bounds[i])) return sum;
    }
}

static void add_buckets(const struct page *page, int engine, int which) {
    const struct metrics_histogram_info *info = &metrics_histograms[which];
    const struct metrics_counts *counts = &page->engines[engine].histogram[which];
    int64_t below = 0;
    for (int i = 0;; i++) {
        char bound[NUMBER_CHARS], le[NUMBER_CHARS + 8];
        write_number(bound, info->bounds[i]);
        snprintf(le, sizeof le, "le=\"%s\",", bound);
        below += counts->bucket[i];
        add_sample(page, engine, info->name, "_bucket", le, "", (double)below);
        if (isinf(info->bounds[i])) return;
    }
}

static void add_histogram(const struct page *page, int which) {
    const struct metrics_histogram_info *info = &metrics_histograms[which];
    bool ray = page->form == METRICS_FORM_RAY;
    if (!is_any_shown(page, false)) return;
    add_head(page, info->name, "", info->help, "histogram");
    for (int e = 0; e < page->n; e++) {
        const struct metrics_counts *counts = &page->engines[e].histogram[which];
        if (!is_shown(page, e, false)) continue;
        double sum = ray ? sum_of_middles(counts, info->bounds) : counts->sum;
        add_buckets(page, e, which);
        add_sample(page, e, info->name, "_count", "", "", (double)counts->count);
        add_sample(page, e, info->name, "_sum", "", "", sum);
    }
    if (ray) return;
    add_head(page, info->name, "_created", info->help, "gauge");
    for (int e = 0; e < page->n; e++)
        add_sample(page, e, info->name, "_created", "", "", page->engines[e].created_s);
}

/* ---- what only vLLM's own page has ---- */

static void add_cache_config(const struct page *page) {
    add_head(page, "cache_config_info", "", "Information of the LLMEngine CacheConfig", "gauge");
    for (int e = 0; e < page->n; e++) {
        const struct metrics *m = &page->engines[e];
        buf_format(
            page->out,
            "vllm:cache_config_info{block_size=\"%d\",cache_dtype=\"auto\",enable_prefix_caching=\"%s\","
            "engine=\"%d\",num_gpu_blocks=\"%d\"} 1.0\n",
            (int)m->block_size, m->prefix_caching ? "True" : "False", e, (int)m->num_gpu_blocks);
    }
}

static void add_http(const struct metrics_http *http, struct buf *out) {
    static const char *const methods[METRICS_METHODS] = {"GET", "POST"};
    static const char *const classes[METRICS_CLASSES] = {"2xx", "4xx", "5xx"};
    buf_str(out, "# HELP http_requests_total Total number of requests by method, status and handler.\n"
                 "# TYPE http_requests_total counter\n");
    for (int h = 0; h < METRICS_HANDLERS; h++)
        for (int i = 0; i < METRICS_METHODS; i++)
            for (int c = 0; c < METRICS_CLASSES; c++)
                if (http->count[h][i][c])
                    buf_format(out,
                               "http_requests_total{handler=\"%s\",method=\"%s\",status=\"%s\"} %lld.0\n",
                               metrics_handlers[h], methods[i], classes[c], (long long)http->count[h][i][c]);
}

void metrics_render(const struct metrics *engines, int n, const struct metrics_http *http,
                    enum metrics_form form, const char *model, struct buf *out) {
    struct page page = {engines, n, form, model, out};
    for (int from = 0, to; from < ROWS; from = to) {
        to = family_end(from);
        bool of_ray = strcmp(rows[from].name, "engine_sleep_state") != 0;
        if (form == METRICS_FORM_VLLM || of_ray) add_family(&page, from, to);
    }
    for (int i = 0; i < METRICS_HISTOGRAMS; i++) add_histogram(&page, i);
    if (form == METRICS_FORM_RAY) return;
    add_cache_config(&page);
    add_http(http, out);
}
