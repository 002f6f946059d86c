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

void truth_write(struct truth *truth, const struct truth_record *r) {
    struct buf *b = &truth->pending;
    key_string(b, "{\"request_id\":", r->request_id);
    key_string(b, ",\"path\":", r->path);
    key_int(b, ",\"number\":", r->number);
    key_int(b, ",\"connection\":", r->connection);
    key_string(b, ",\"outcome\":", r->outcome);
    key_int(b, ",\"http_status\":", r->http_status);
    key_faults(b, ",\"faults\":", r->faults);
    buf_str(b, r->stream ? ",\"stream\":true" : ",\"stream\":false");
    key_int(b, ",\"prompt_tokens\":", r->prompt_tokens);
    key_int(b, ",\"completion_tokens\":", r->completion_tokens);
    key_int(b, ",\"real_minus_mono_ns\":", -clock_real_to_mono_ns());
    if (r->arrived_real_ns)
        key_int(b, ",\"arrived_real_ns\":", r->arrived_real_ns);
    else
        buf_str(b, ",\"arrived_real_ns\":null");
    key_int(b, ",\"read_real_ns\":", r->read_real_ns);
    key_int(b, ",\"read_mono_ns\":", r->read_mono_ns);
    if (r->head_mono_ns)
        key_int(b, ",\"head_mono_ns\":", r->head_mono_ns);
    else
        buf_str(b, ",\"head_mono_ns\":null");
    key_int(b, ",\"end_mono_ns\":", r->end_mono_ns);
    key_times(b, ",\"planned_mono_ns\":", r->planned_mono_ns, r->n_chunks);
    key_times(b, ",\"written_mono_ns\":", r->written_mono_ns, r->n_chunks);
    key_numbers(b, ",\"tokens\":", r->tokens, r->n_chunks);
    if (r->several_choices) key_numbers(b, ",\"choice\":", r->choice, r->n_chunks);
    buf_str(b, "}\n");
    if (b->len >= FLUSH_BYTES) truth_flush(truth);
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
