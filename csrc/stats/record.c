/* Owns a batch's growing arrays.
 * Does not know what the fields mean. */
#include "stats/record.h"

#include "stream/array.h"

/* Room in all arrays first, so that a failure leaves the batch as it was. */
static bool reserve_all(struct batch *b, const struct record *record, size_t n_events) {
    return ARRAY_ROOM(b->records, b->cap_records, b->n_records + 1) &&
           ARRAY_ROOM(b->gaps, b->cap_gaps, b->n_gaps + record->n_gaps) &&
           ARRAY_ROOM(b->stamps, b->cap_stamps, b->n_stamps + record->n_chunk_stamps) &&
           ARRAY_ROOM(b->events, b->cap_events, b->n_events + n_events) &&
           ARRAY_ROOM(b->bytes, b->cap_bytes, b->n_bytes + record->text_len + record->error_len);
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
