/* Owns the truth file: its format and its buffer.
 * Does not take any time itself. */
#include "sim/truth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/clock.h"
#include "sim/buf.h"
#include "sim/fault.h"

/* Small enough that writing it does not hold up the plan for long. */
enum { FLUSH_BYTES = 64 * 1024 };

struct truth {
    int fd, error;
    struct buf pending;
};

struct truth *truth_open(const char *path) {
    struct truth *truth = calloc(1, sizeof *truth);
    if (truth == NULL) return NULL;
    truth->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (truth->fd >= 0) return truth;
    int error = errno;
    free(truth);
    errno = error;
    return NULL;
}

static void key_int(struct buf *b, const char *key, int64_t value) {
    buf_str(b, key);
    buf_int(b, value);
}

/* 0 is null. */
static void key_or_null(struct buf *b, const char *key, int64_t value) {
    buf_str(b, key);
    if (value)
        buf_int(b, value);
    else
        buf_str(b, "null");
}

static void key_replica(struct buf *b, int replica) {
    if (replica < 0)
        buf_str(b, ",\"replica\":null");
    else
        key_int(b, ",\"replica\":", replica);
}

static void key_string(struct buf *b, const char *key, const char *value) {
    buf_str(b, key);
    buf_char(b, '"');
    buf_json(b, value, strlen(value));
    buf_char(b, '"');
}

static void key_times(struct buf *b, const char *key, const int64_t *times, int n) {
    buf_str(b, key);
    buf_char(b, '[');
    for (int i = 0; i < n; i++) {
        if (i) buf_char(b, ',');
        buf_int(b, times[i]);
    }
    buf_char(b, ']');
}

static void key_numbers(struct buf *b, const char *key, const int32_t *numbers, int n) {
    buf_str(b, key);
    buf_char(b, '[');
    for (int i = 0; i < n; i++) {
        if (i) buf_char(b, ',');
        buf_int(b, numbers[i]);
    }
    buf_char(b, ']');
}

static void key_faults(struct buf *b, const char *key, uint64_t faults) {
    bool first = true;
    buf_str(b, key);
    buf_char(b, '[');
    for (int kind = 0; kind < FAULT_KINDS; kind++) {
        if (!(faults >> kind & 1)) continue;
        buf_format(b, first ? "\"%s\"" : ",\"%s\"", fault_table[kind].name);
        first = false;
    }
    buf_char(b, ']');
}

static void key_engine(struct buf *b, const struct truth_record *r) {
    key_int(b, ",\"queued_mono_ns\":", r->queued_mono_ns);
    key_or_null(b, ",\"scheduled_mono_ns\":", r->scheduled_mono_ns);
    key_int(b, ",\"preemptions\":", r->preemptions);
    key_int(b, ",\"cached_tokens\":", r->cached_tokens);
}

static void end_line(struct truth *truth) {
    buf_str(&truth->pending, "}\n");
    if (truth->pending.len >= FLUSH_BYTES) truth_flush(truth);
}

void truth_write(struct truth *truth, const struct truth_record *r) {
    struct buf *b = &truth->pending;
    key_string(b, "{\"request_id\":", r->request_id);
    key_string(b, ",\"path\":", r->path);
    key_int(b, ",\"number\":", r->number);
    key_int(b, ",\"connection\":", r->connection);
    key_replica(b, r->replica);
    key_string(b, ",\"outcome\":", r->outcome);
    key_int(b, ",\"http_status\":", r->http_status);
    key_faults(b, ",\"faults\":", r->faults);
    buf_str(b, r->stream ? ",\"stream\":true" : ",\"stream\":false");
    key_int(b, ",\"prompt_tokens\":", r->prompt_tokens);
    key_int(b, ",\"completion_tokens\":", r->completion_tokens);
    key_int(b, ",\"real_minus_mono_ns\":", -clock_real_to_mono_ns());
    key_or_null(b, ",\"arrived_real_ns\":", r->arrived_real_ns);
    key_int(b, ",\"read_real_ns\":", r->read_real_ns);
    key_int(b, ",\"read_mono_ns\":", r->read_mono_ns);
    key_or_null(b, ",\"head_mono_ns\":", r->head_mono_ns);
    key_int(b, ",\"end_mono_ns\":", r->end_mono_ns);
    key_times(b, ",\"planned_mono_ns\":", r->planned_mono_ns, r->n_chunks);
    key_times(b, ",\"written_mono_ns\":", r->written_mono_ns, r->n_chunks);
    key_numbers(b, ",\"tokens\":", r->tokens, r->n_chunks);
    if (r->several_choices) key_numbers(b, ",\"choice\":", r->choice, r->n_chunks);
    if (r->batching) key_engine(b, r);
    end_line(truth);
}

void truth_step(struct truth *truth, int replica, const struct step *step, int64_t end_ns) {
    struct buf *b = &truth->pending;
    key_int(b, "{\"step\":", step->number);
    key_int(b, ",\"replica\":", replica);
    key_int(b, ",\"start_mono_ns\":", step->start_ns);
    key_int(b, ",\"end_mono_ns\":", end_ns);
    key_int(b, ",\"duration_ns\":", step->duration_ns);
    key_int(b, ",\"decodes\":", step->work.decodes);
    key_int(b, ",\"padded\":", step->padded);
    key_int(b, ",\"decode_context\":", step->work.decode_context);
    key_int(b, ",\"prefills\":", step->prefills);
    key_int(b, ",\"prefill_tokens\":", step->work.prefill_tokens);
    key_int(b, ",\"prefill_attention\":", step->work.prefill_attention);
    key_int(b, ",\"running\":", step->running);
    key_int(b, ",\"waiting\":", step->waiting);
    key_int(b, ",\"admitted\":", step->admitted);
    key_int(b, ",\"preempted\":", step->preempted);
    key_int(b, ",\"used_blocks\":", step->used_blocks);
    end_line(truth);
}

bool truth_flush(struct truth *truth) {
    size_t at = 0;
    while (at < truth->pending.len && truth->error == 0) {
        ssize_t n = write(truth->fd, truth->pending.data + at, truth->pending.len - at);
        if (n >= 0)
            at += (size_t)n;
        else if (errno != EINTR)
            truth->error = errno;
    }
    if (truth->pending.failed && truth->error == 0) truth->error = ENOMEM;
    truth->pending.len = 0;
    errno = truth->error;
    return truth->error == 0;
}

bool truth_close(struct truth *truth) {
    bool whole = truth_flush(truth);
    int error = truth->error;
    if (close(truth->fd) != 0 && whole) {
        whole = false;
        error = errno;
    }
    buf_free(&truth->pending);
    free(truth);
    errno = error;
    return whole;
}
