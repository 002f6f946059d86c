/* Owns a batch's growing arrays. Does not know what the fields mean. */
#include "stats/record.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(void **array, size_t *cap, size_t used, size_t more, size_t size) {
    size_t need = used + more;
    if (need <= *cap) return true;
    size_t bigger = *cap ? *cap * 2 : 64;
    if (bigger < need) bigger = need;
    void *moved = realloc(*array, bigger * size);
    if (!moved) return false;
    *array = moved;
    *cap = bigger;
    return true;
}

/* Room in all arrays first, so that a failure leaves the batch as it was. */
static bool reserve_all(struct batch *b, const struct record *record, size_t n_events) {
    void *records = b->records, *gaps = b->gaps, *stamps = b->stamps, *events = b->events, *bytes = b->bytes;
    bool ok = reserve(&records, &b->cap_records, b->n_records, 1, sizeof *b->records);
    ok = ok && reserve(&gaps, &b->cap_gaps, b->n_gaps, record->n_gaps, sizeof *b->gaps);
    ok = ok && reserve(&stamps, &b->cap_stamps, b->n_stamps, record->n_chunk_stamps, sizeof *b->stamps);
    ok = ok && reserve(&events, &b->cap_events, b->n_events, n_events, sizeof *b->events);
    ok = ok && reserve(&bytes, &b->cap_bytes, b->n_bytes, (size_t)record->text_len + record->error_len, 1);
    b->records = records;
    b->gaps = gaps;
    b->stamps = stamps;
    b->events = events;
    b->bytes = bytes;
    return ok;
}

static void append_bytes(struct batch *b, const char *bytes, size_t len) {
    if (len) memcpy(b->bytes + b->n_bytes, bytes, len);
    b->n_bytes += len;
}

int batch_add(struct batch *b, const struct record *record, const struct record_gap *gaps,
              const struct record_stamp *stamps, const struct record_event *events, const char *text,
              const char *error) {
    size_t n_events = events ? (size_t)record->events : 0;
    if (!reserve_all(b, record, n_events)) return -1;
    b->records[b->n_records++] = *record;
    if (record->n_gaps) memcpy(b->gaps + b->n_gaps, gaps, record->n_gaps * sizeof *gaps);
    b->n_gaps += record->n_gaps;
    if (record->n_chunk_stamps)
        memcpy(b->stamps + b->n_stamps, stamps, record->n_chunk_stamps * sizeof *stamps);
    b->n_stamps += record->n_chunk_stamps;
    if (n_events) memcpy(b->events + b->n_events, events, n_events * sizeof *events);
    b->n_events += n_events;
    append_bytes(b, text, record->text_len);
    append_bytes(b, error, record->error_len);
    return 0;
}

void batch_free(struct batch *b) {
    free(b->records);
    free(b->gaps);
    free(b->stamps);
    free(b->events);
    free(b->bytes);
    memset(b, 0, sizeof *b);
}
