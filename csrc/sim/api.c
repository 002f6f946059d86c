/* Owns routes and the answers that need no model.
 * Does not generate (answer.c), does not read prompts (prompt.c). */
#include "sim/api.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "engine/clock.h"
#include "sim/account.h"
#include "sim/answer.h"
#include "sim/head.h"
#include "sim/metrics_text.h"
#include "sim/replica.h"
#include "sim/text_api.h"

/* ---- answers in one piece ---- */

/* A whole answer in one piece, at not_before_ns or (0) now. */
static void send_whole_at(struct conn *conn, struct head head, const char *body, size_t len,
                          int64_t not_before_ns) {
    struct buf whole = {0};
    head.length = (long long)len;
    head_add(&whole, conn, head);
    if (!head.no_body) buf_add(&whole, body, len);
    conn_send(conn, whole.data, whole.len, not_before_ns, MARK_END);
    buf_free(&whole);
}

void api_bad_request(struct conn *conn, int status) {
    static const char body[] = "Invalid HTTP request received.";
    struct head head = {.status = status, .type = "text/plain; charset=utf-8"};
    send_whole_at(conn, head, body, sizeof body - 1, 0);
}

/* ---- one request ---- */

struct request {
    struct conn *conn;
    const struct http *http;
    const char *data;
    struct arrival arrival;
    const char *path; /* of the route, or "none" */
    bool post, head;  /* the method */
};

/* An answer at once would be too early for some clients, see answer.h. */
static int64_t reply_ns(const struct request *r) {
    int64_t head_ns = r->conn->sim->config->head_ns;
    return r->http->body.len && head_ns ? r->arrival.read_mono_ns + head_ns : 0;
}

static void api_reply(struct request *r, int status, const char *type, const char *extra, const char *body,
                      size_t len) {
    struct head head = {.status = status,
                        .type = type,
                        .extra = extra,
                        .request_id = r->arrival.request_id,
                        .no_body = r->head};
    metrics_http_count(&r->conn->sim->http, r->path, r->post, status);
    send_whole_at(r->conn, head, body, len, reply_ns(r));
}

static void reply_json(struct request *r, int status, struct buf *body) {
    api_reply(r, status, HEAD_JSON, NULL, body->data, body->len);
    buf_free(body);
}

static void reply_text(struct request *r, int status, const char *json) {
    api_reply(r, status, HEAD_JSON, NULL, json, strlen(json));
}

static void find_request_id(struct request *r) {
    const struct http_header *header = http_find(r->http, r->data, "x-request-id");
    struct arrival *arrival = &r->arrival;
    arrival->id_given = header && header->value.len > 0;
    if (arrival->id_given) {
        size_t len = header->value.len < ANSWER_ID - 1 ? header->value.len : ANSWER_ID - 1;
        memcpy(arrival->request_id, r->data + header->value.at, len);
        arrival->request_id[len] = '\0';
        return;
    }
    struct random random = random_for((uint64_t)arrival->read_real_ns, (uint64_t)r->conn->number, 0);
    uint64_t high = random_u64(&random), low = random_u64(&random);
    snprintf(arrival->request_id, ANSWER_ID, "%016llx%016llx", (unsigned long long)high,
             (unsigned long long)low);
}

static const char *body_of(const struct request *r, size_t *len) {
    *len = r->http->body.len;
    return r->data + r->http->body.at;
}

/* ---- routes that need no model ---- */

static void get_health(struct request *r) {
    api_reply(r, 200, NULL, NULL, "", 0);
}

static void get_version(struct request *r) {
    struct buf body = {0};
    buf_format(&body, "{\"version\":\"%s\"}", r->conn->sim->config->version);
    reply_json(r, 200, &body);
}

static void get_load(struct request *r) {
    struct buf body = {0};
    buf_format(&body, "{\"server_load\":%lld}", (long long)r->conn->sim->counters->running);
    reply_json(r, 200, &body);
}

static void get_metrics(struct request *r) {
    struct buf body = {0};
    const struct sim *sim = r->conn->sim;
    metrics_render(sim->metrics, sim->n_replicas, &sim->http, sim->config->metrics_form, sim->config->model,
                   &body);
    api_reply(r, 200, "text/plain; version=1.0.0; charset=utf-8", NULL, body.data, body.len);
    buf_free(&body);
}

static void get_models(struct request *r) {
    const struct sim_config *config = r->conn->sim->config;
    struct buf body = {0};
    long long created = r->arrival.read_real_ns / NS_PER_S;
    buf_format(
        &body,
        "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"object\":\"model\",\"created\":%lld,\"owned_by\":"
        "\"vllm\","
        "\"root\":\"%s\",\"parent\":null,\"max_model_len\":%lld,\"permission\":[{\"id\":\"modelperm-%.16s\","
        "\"object\":\"model_permission\",\"created\":%lld,\"allow_create_engine\":false,\"allow_sampling\":"
        "true,"
        "\"allow_logprobs\":true,\"allow_search_indices\":false,\"allow_view\":true,\"allow_fine_tuning\":"
        "false,"
        "\"organization\":\"*\",\"group\":null,\"is_blocking\":false}]}]}",
        config->model, created, config->model, (long long)config->max_model_len, r->arrival.request_id,
        created);
    reply_json(r, 200, &body);
}

/* Without waiting or a word about what could not be forgotten, as vLLM does it. */
static void post_reset_prefix_cache(struct request *r) {
    replicas_reset_prefixes(r->conn->sim);
    api_reply(r, 200, NULL, NULL, "", 0);
}

static void post_tokenize(struct request *r) {
    size_t len;
    struct buf answer = {0};
    const char *body = body_of(r, &len);
    int status = text_tokenize(&answer, r->conn->sim->config, body, len);
    reply_json(r, status, &answer);
}

static void post_detokenize(struct request *r) {
    size_t len;
    struct buf answer = {0};
    const char *body = body_of(r, &len);
    int status = text_detokenize(&answer, body, len);
    reply_json(r, status, &answer);
}

/* ---- sleep ---- */

/* Goes to sleep or wakes up; the answer comes when that is done. Again is no error and takes no time. */
static void change_power(struct request *r, bool asleep, int64_t takes_ns, _Atomic int64_t *counter) {
    struct sim *sim = r->conn->sim;
    struct head head = {.status = 200, .request_id = r->arrival.request_id};
    if (sim->asleep != asleep) {
        sim->asleep = asleep;
        sim->power_ns = clock_mono_ns() + takes_ns;
        counter_add(counter, 1);
    }
    metrics_http_count(&sim->http, r->path, true, 200);
    send_whole_at(r->conn, head, "", 0, sim->power_ns > clock_mono_ns() ? sim->power_ns : 0);
}

static void post_sleep(struct request *r) {
    const struct sim *sim = r->conn->sim;
    change_power(r, true, sim->config->sleep_ns, &sim->counters->sleeps);
}

static void post_wake_up(struct request *r) {
    const struct sim *sim = r->conn->sim;
    change_power(r, false, sim->config->wake_ns, &sim->counters->wakes);
}

static void get_is_sleeping(struct request *r) {
    const struct sim *sim = r->conn->sim;
    bool asleep = clock_mono_ns() < sim->power_ns ? !sim->asleep : sim->asleep;
    reply_text(r, 200, asleep ? "{\"is_sleeping\":true}" : "{\"is_sleeping\":false}");
}

/* ---- the model ---- */

static void choose_faults(struct request *r, struct fault_set *faults) {
    const struct sim_config *config = r->conn->sim->config;
    for (int i = 0; i < config->n_faults; i++) {
        const struct fault *fault = &config->faults[i];
        if (!fault_table[fault->kind].of_connection && fault_hits(fault, config->seed, r->arrival.number))
            fault_set_add(faults, fault);
    }
}

/* x-sim-fault: NAME[:PARAMETER=NUMBER...], several with "; " between them. false with a line in error. */
static bool asked_faults(struct request *r, struct fault_set *faults, char *error, size_t error_size) {
    const struct http_header *header = http_find(r->http, r->data, "x-sim-fault");
    if (header == NULL) return true;
    const char *at = r->data + header->value.at, *end = at + header->value.len;
    while (at < end) {
        const char *stop = memchr(at, ';', (size_t)(end - at));
        size_t len = (size_t)((stop ? stop : end) - at);
        struct fault fault;
        if (!fault_parse(&fault, at, len, error, error_size)) return false;
        fault_set_add(faults, &fault);
        at += len;
        while (at < end && (*at == ';' || *at == ' ')) at++;
    }
    return true;
}

static void reply_refused(struct request *r, bool chat, const struct fault_set *faults, int status,
                          const char *outcome, const char *extra, struct buf *body) {
    account_refused(r->conn, chat, faults, &r->arrival, status, outcome);
    api_reply(r, status, HEAD_JSON, extra, body->data, body->len);
    buf_free(body);
}

static void reply_status(struct request *r, bool chat, const struct fault_set *faults, int status,
                         enum fault_kind kind, const char *extra) {
    struct buf body = {0};
    ask_problem(&body, status, status < 500 ? "BadRequestError" : "InternalServerError", NULL,
                "%s (simulated fault)", http_reason(status));
    reply_refused(r, chat, faults, status, fault_table[kind].name, extra, &body);
}

/* Where a client was sent that follows redirects. */
static bool is_redirected(const struct request *r) {
    static const char query[] = "?redirected";
    const struct http_slice target = r->http->target;
    size_t len = sizeof query - 1;
    return target.len >= len && memcmp(r->data + target.at + target.len - len, query, len) == 0;
}

static void reply_redirect(struct request *r, bool chat, const struct fault_set *faults) {
    char extra[64];
    snprintf(extra, sizeof extra, "location: %s?redirected", r->path);
    reply_status(r, chat, faults, (int)faults->value[FAULT_REDIRECT][0], FAULT_REDIRECT, extra);
}

static void reply_html(struct request *r, bool chat, const struct fault_set *faults) {
    static const char page[] =
        "<html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>\n";
    account_refused(r->conn, chat, faults, &r->arrival, 200, fault_table[FAULT_HTML].name);
    api_reply(r, 200, "text/html; charset=utf-8", NULL, page, sizeof page - 1);
}

/* Faults that come instead of an answer; false when there are none. */
static bool fail_instead(struct request *r, bool chat, bool stream, const struct fault_set *faults) {
    if (fault_has(faults, FAULT_DROP)) {
        account_refused(r->conn, chat, faults, &r->arrival, 0, fault_table[FAULT_DROP].name);
        conn_abort(r->conn, faults->value[FAULT_DROP][0] != 0, NULL);
    } else if (fault_has(faults, FAULT_STATUS)) {
        reply_status(r, chat, faults, (int)faults->value[FAULT_STATUS][0], FAULT_STATUS, NULL);
    } else if (fault_has(faults, FAULT_RATE_LIMIT)) {
        char extra[48];
        snprintf(extra, sizeof extra, "retry-after: %lld", (long long)faults->value[FAULT_RATE_LIMIT][0]);
        reply_status(r, chat, faults, 429, FAULT_RATE_LIMIT, extra);
    } else if (fault_has(faults, FAULT_REDIRECT) && !is_redirected(r)) {
        reply_redirect(r, chat, faults);
    } else if (fault_has(faults, FAULT_HTML)) {
        reply_html(r, chat, faults);
    } else if (fault_has(faults, FAULT_STREAM_ERROR) && !stream) {
        reply_status(r, chat, faults, 500, FAULT_STREAM_ERROR, NULL);
    } else {
        return false;
    }
    return true;
}

static bool is_HEAD_JSON(const struct request *r) {
    const struct http_header *header = http_find(r->http, r->data, "content-type");
    const char *value = header ? r->data + header->value.at : "";
    size_t len = header ? header->value.len : 0, n = sizeof HEAD_JSON - 1;
    return len >= n && strncasecmp(value, HEAD_JSON, n) == 0 &&
           (len == n || value[n] == ';' || value[n] == ' ');
}

static int read_ask(struct request *r, bool chat, struct ask *ask, struct buf *problem) {
    size_t len;
    const char *body = body_of(r, &len);
    if (!is_HEAD_JSON(r)) {
        *ask = (struct ask){0};
        ask_problem(problem, 400, "Bad Request", NULL,
                    "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed");
        return 400;
    }
    int status = ask_read(ask, r->conn->sim->config, chat, body, len, problem);
    if (status || ask->stream || ask->unknown_id == ASK_UNSET) return status;
    ask_problem(problem, 400, "BadRequestError", NULL, "Token id %lld is out of vocabulary",
                (long long)ask->unknown_id);
    return 400;
}

/* The router sees the prompts' texts (not token ids) and the session, as those of Ray do. */
static struct replica *choose_replica(struct request *r, const struct ask *ask) {
    const struct http_header *session = http_find(r->http, r->data, "x-session-id");
    struct router_request request = {.number = r->arrival.number,
                                     .text = ask->texts.data,
                                     .text_len = ask->texts.len,
                                     .session = session ? r->data + session->value.at : NULL,
                                     .session_len = session ? session->value.len : 0};
    return replica_route(r->conn->sim, &request);
}

static void api_generate(struct request *r, bool chat) {
    struct conn *conn = r->conn;
    struct sim *sim = conn->sim;
    struct ask ask;
    struct buf problem = {0};
    struct fault_set faults = {0};
    char error[160];
    r->arrival.number = ++sim->requests;
    counter_set(&sim->counters->requests, sim->requests);
    choose_faults(r, &faults);
    int status = read_ask(r, chat, &ask, &problem);
    if (status == 0 && !asked_faults(r, &faults, error, sizeof error)) {
        ask_problem(&problem, 400, "BadRequestError", "x-sim-fault", "%s", error);
        status = 400;
    }
    if (status) {
        reply_refused(r, chat, &faults, status, "rejected", NULL, &problem);
        ask_free(&ask);
    } else if (fail_instead(r, chat, ask.stream, &faults)) {
        ask_free(&ask);
    } else {
        bool until_close = fault_has(&faults, FAULT_UNTIL_CLOSE);
        bool chunked = r->http->minor >= 1 && !until_close;
        if (until_close || (ask.stream && !chunked)) conn->close_after = true;
        metrics_http_count(&sim->http, r->path, true, 200);
        answer_start(conn, choose_replica(r, &ask), &ask, &faults, &r->arrival, chunked);
    }
}

static void post_completions(struct request *r) {
    api_generate(r, false);
}
static void post_chat(struct request *r) {
    api_generate(r, true);
}

/* ---- routing ---- */

static const struct route {
    const char *path;
    void (*get)(struct request *);
    void (*post)(struct request *);
} routes[] = {
    {"/v1/completions", NULL, post_completions},
    {"/v1/chat/completions", NULL, post_chat},
    {"/v1/models", get_models, NULL},
    {"/tokenize", NULL, post_tokenize},
    {"/detokenize", NULL, post_detokenize},
    {"/health", get_health, NULL},
    {"/ping", get_health, get_health},
    {"/version", get_version, NULL},
    {"/metrics", get_metrics, NULL},
    {"/load", get_load, NULL},
    {"/sleep", NULL, post_sleep},
    {"/wake_up", NULL, post_wake_up},
    {"/is_sleeping", get_is_sleeping, NULL},
    {"/reset_prefix_cache", NULL, post_reset_prefix_cache},
};

static bool is_text(const struct request *r, struct http_slice slice, const char *text) {
    return slice.len == strlen(text) && memcmp(r->data + slice.at, text, slice.len) == 0;
}

/* http://host/path, as it is asked of a proxy, is /path, too. */
static struct http_slice api_path_of(const struct request *r) {
    struct http_slice target = r->http->target;
    const char *text = r->data + target.at;
    size_t scheme = target.len > 7 && strncasecmp(text, "http://", 7) == 0    ? 7
                    : target.len > 8 && strncasecmp(text, "https://", 8) == 0 ? 8
                                                                              : 0;
    if (scheme == 0) return target;
    const char *slash = memchr(text + scheme, '/', target.len - scheme);
    if (slash == NULL) return (struct http_slice){target.at, 0};
    size_t skipped = (size_t)(slash - text);
    return (struct http_slice){target.at + skipped, target.len - skipped};
}

static const struct route *find_route(struct request *r) {
    struct http_slice path = api_path_of(r);
    const char *query = memchr(r->data + path.at, '?', path.len);
    if (query) path.len = (size_t)(query - r->data) - path.at;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (is_text(r, path, routes[i].path)) return &routes[i];
    return NULL;
}

void api_handle(struct conn *conn, const struct http *http, const char *data) {
    struct request r = {.conn = conn, .http = http, .data = data, .path = "none"};
    r.arrival.read_mono_ns = clock_mono_ns();
    r.arrival.read_real_ns = clock_real_ns();
    r.arrival.arrived_real_ns = conn->arrived_real_ns;
    find_request_id(&r);
    const struct route *route = find_route(&r);
    bool get = is_text(&r, http->method, "GET");
    r.post = is_text(&r, http->method, "POST");
    r.head = is_text(&r, http->method, "HEAD");
    if (route) r.path = route->path;
    if (!*conn->sim->ready)
        reply_text(&r, 503, "{\"detail\":\"The server is starting\"}");
    else if (route == NULL)
        reply_text(&r, 404, "{\"detail\":\"Not Found\"}");
    else if (get && route->get)
        route->get(&r);
    else if (r.post && route->post)
        route->post(&r);
    else
        api_reply(&r, 405, HEAD_JSON, route->get ? "allow: GET" : "allow: POST",
                  "{\"detail\":\"Method Not Allowed\"}", strlen("{\"detail\":\"Method Not Allowed\"}"));
}
