/* truth: the file that says what the simulator really did, one JSON object a line for each request that ended
 * and for each step of a batching engine. Times are ns: *_mono_ns of CLOCK_MONOTONIC, *_real_ns of
 * CLOCK_REALTIME. One thread writes. The caller keeps what a record points to.
 */
#ifndef VLLMPERF_SIM_TRUTH_H
#define VLLMPERF_SIM_TRUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/scheduler.h"

struct truth; /* opaque */

struct truth_record {
    const char *request_id, *path, *outcome; /* nothing that JSON would have to escape */
    int64_t number, connection;              /* both from 1 */
    int replica;                             /* that answered, from 0; below 0: none */
    int http_status;
    bool stream;
    int64_t read_mono_ns, read_real_ns; /* when the request was completely read */
    int64_t arrived_real_ns;            /* kernel's stamp of its last bytes, 0 when there is none */
    int64_t head_mono_ns; /* clock before the write() of the answer's head, 0 when none was sent */
    int64_t end_mono_ns;
    int64_t prompt_tokens, completion_tokens;
    uint64_t faults; /* bits of fault_kind */
    int n_chunks;    /* token chunks that were written; a plain body is one */
    const int64_t *planned_mono_ns;
    const int64_t *written_mono_ns; /* clock just before the write() of the chunk's last byte */
    const int32_t *tokens, *choice; /* of each chunk */
    bool several_choices;
    bool batching;                             /* the rest is known */
    int64_t queued_mono_ns, scheduled_mono_ns; /* the latter 0 when it never was */
    int64_t preemptions, cached_tokens;
};

/* The file is emptied. NULL with errno set. */
struct truth *truth_open(const char *path);
void truth_write(struct truth *truth, const struct truth_record *record);
/* A step of a replica's batching engine, which ended at end_ns by the plan. */
void truth_step(struct truth *truth, int replica, const struct step *step, int64_t end_ns);
/* Writes what is held back. false with errno set when something could not be written. */
bool truth_flush(struct truth *truth);
bool truth_close(struct truth *truth);

#endif
