/* engine: a run from start to end on its own threads. The threads send, stamp and record; the caller feeds
 * requests and takes finished ones. Nothing here knows of Python.
 *
 * Life: engine_new, engine_feed as often as wanted, engine_start, engine_drain until it says that the run has
 * ended, engine_free. Feeding may go on while the run goes. Any thread may call, also while another one is in
 * here; only engine_free must be the last call of all.
 */
#ifndef VLLMPERF_ENGINE_H
#define VLLMPERF_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/failures.h"
#include "stats/hist.h"
#include "stats/record.h"

struct engine_config {
    const char *url;              /* of the POST */
    const char *const *addresses; /* numeric, used in turn; none: every request ends as dns_failed */
    size_t n_addresses;
    const char *const *headers; /* "Name: value" */
    size_t n_headers;
    const char *request_id_prefix; /* x-request-id: <prefix><number>, see uuid_request_ids */
    const char
        *session_header;     /* "Name: text": requests of a session have it, its number behind it; or NULL */
    const char *warm_url;    /* of the GET that opens a connection of libcurl's before the start */
    const char *cacert;      /* PEM file of trusted certificates; with no capath either, libcurl's own */
    const char *capath;      /* folder of them under their hashes, or NULL */
    int64_t max_concurrency; /* 0 = no limit */
    int64_t max_in_flight_hint; /* for sizing only */
    int64_t threads, multis;    /* 0 = chosen from the load and the cores */
    int64_t warm_connections;
    int64_t spin_ns; /* spin instead of sleeping this long before a send is due */
    int64_t connect_timeout_ns, first_token_timeout_ns, stall_timeout_ns, total_timeout_ns;
    int64_t duration_ns; /* stop sending after it, 0 = no limit */
    int64_t grace_ns;    /* for what is in flight when sending was stopped */
    int64_t max_event_bytes;
    int64_t max_errors;        /* send no more when so many requests have failed, 0 = no limit */
    int64_t max_recent_errors; /* or so many of the FAILURES_WINDOW that ended last */
    int64_t only_port; /* connect to nothing but `addresses` at this port, wherever a redirect leads; 0 = no
                          limit */
    bool kernel_stamps, keep_text, keep_stamps, insecure, fresh_connections;
    bool keep_events;      /* struct record_event of each event; see response.h for the text then */
    bool strict_events;    /* data that is neither [DONE] nor an object is malformed; see response_events.c */
    bool raw_bodies;       /* answers are no completions: any event is a token chunk, the text is all data */
    bool no_request_ids;   /* send no x-request-id */
    bool uuid_request_ids; /* the prefix is a UUID without its last 12 digits: they are the number, in hex */
    bool follow_redirects; /* 307 and 308 with the body, others by GET */
    bool spare_connections; /* keep some open beyond those in use: nobody knows an open loop's concurrency */
    bool use_libcurl;       /* for plain http, too */
};

enum engine_state { ENGINE_NEW, ENGINE_WARMING, ENGINE_RUNNING, ENGINE_DRAINING, ENGINE_ENDED };
enum engine_histogram {
    HISTOGRAM_SCHEDULE_LAG,
    HISTOGRAM_CLIENT_LAG,
    HISTOGRAM_LOOP,
    HISTOGRAM_CONNECT, /* what it took to open a connection, those before the start included */
    HISTOGRAM_COUNT
};

struct engine_counters {
    enum engine_state state;
    int64_t start_mono_ns, start_real_ns; /* 0 until the connections are warm */
    int64_t sent, in_flight, done, completed, chunks, coalesced, connections_opened, silent_retries, backlog;
    int64_t waiting; /* of those in flight: without a first token, as of the last tick */
    int64_t lost;    /* requests or results that there was no memory for: they are in no batch */
    int64_t cpu_ns;  /* of the engine's threads */
    int64_t threads, multis;
    enum failures_limit gave_up; /* why the engine itself stopped sending before the end */
};

struct engine;

/* Copies everything in config. NULL with a message in error on failure. */
struct engine *engine_new(const struct engine_config *config, char *error, size_t error_len);

/* Queue n requests: bodies and times are copied. at_ns is NULL in a closed loop (all feeds alike); its times
 * need not ascend, neither within a feed nor from one to the next: each request leaves when it is due.
 * numbers: what they are called in their ids and records; NULL: counted from the first one fed on.
 * sessions: the number of each one's session, none negative, for session_header; NULL: of no session.
 * 0, -1 out of memory (then nothing was queued), -2 when this feed has times and an earlier one had none or
 * the reverse. */
int engine_feed(struct engine *engine, size_t n, const int64_t *offsets, const int64_t *at_ns,
                const int64_t *numbers, const int64_t *sessions, const char *bodies);
void engine_feed_end(struct engine *engine);

/* at_real_ns: when the schedule begins, in ns of CLOCK_REALTIME; 0 or a time that has passed: as soon as the
 * connections are warm. They are opened a few seconds before; start_real_ns says when the start really was.
 * 0, -1 when it was started before, or an errno of pthread_create. */
int engine_start(struct engine *engine, int64_t at_real_ns);

/* Wait until timeout_ns has passed or the run has ended; true when it has. */
bool engine_wait(struct engine *engine, int64_t timeout_ns);

/* Wait until timeout_ns has passed or the run has ended, then move all finished requests to *batch (which
 * must be empty). False when the run has ended and everything had been given before. */
bool engine_drain(struct engine *engine, int64_t timeout_ns, struct batch *batch);

/* Send no more. now = true also cuts what is in flight (it is recorded as incomplete). */
void engine_stop(struct engine *engine, bool now);

void engine_counters(struct engine *engine, struct engine_counters *counters);

/* A new histogram of one of the counters.threads, from 0 on, at most a second old while the run goes; the
 * caller frees it. NULL when out of memory. */
struct hist *engine_histogram(struct engine *engine, enum engine_histogram which, size_t thread);

/* Stops at once if need be, joins the threads, frees everything. */
void engine_free(struct engine *engine);

#endif
