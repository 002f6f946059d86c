/* Owns the sentences about stats/record: order and growth of a batch's arrays. */
#include <string.h>

#include "stats/record.h"
#include "test/t.h"

enum { RECORDS = 500 };

/* Record i has i % 3 gaps, i % 2 stamps, i % 4 events, "i" as text in i % 5 bytes and an error of i % 4
 * bytes. */
static void add(struct batch *batch, int i) {
    struct record record = {.index = i};
    struct record_gap gaps[2] = {{(float)i, 1, 0}, {(float)i + 0.5F, 2, 1}};
    struct record_stamp stamp = {i, i + 1};
    struct record_event events[3] = {{i, i, 0, 0}, {i, i, 1, 0}, {i, i, 2, 0}};
    char text[5], error[4];
    memset(text, 'a' + i % 26, sizeof text);
    memset(error, 'A' + i % 26, sizeof error);
    record.n_gaps = (uint32_t)i % 3;
    record.n_chunk_stamps = (uint32_t)i % 2;
    record.events = i % 4;
    record.text_len = (uint32_t)i % 5;
    record.error_len = (uint32_t)i % 4;
    CHECK("a record is added", batch_add(batch, &record, gaps, &stamp, events, text, error) == 0);
}

static int all_in_order(const struct batch *batch) {
    size_t gap = 0, stamp = 0, event = 0, byte = 0;
    for (int i = 0; i < RECORDS; i++) {
        const struct record *record = &batch->records[i];
        if (record->index != i) return 0;
        for (uint32_t j = 0; j < record->n_gaps; j++, gap++)
            if (batch->gaps[gap].ns != (float)i + 0.5F * (float)j || batch->gaps[gap].tokens != j + 1)
                return 0;
        for (uint32_t j = 0; j < record->n_chunk_stamps; j++, stamp++)
            if (batch->stamps[stamp].arrived_ns != i) return 0;
        for (int32_t j = 0; j < record->events; j++, event++)
            if (batch->events[event].arrived_ns != i || batch->events[event].flags != (uint32_t)j) return 0;
        for (uint32_t j = 0; j < record->text_len; j++, byte++)
            if (batch->bytes[byte] != 'a' + i % 26) return 0;
        for (uint32_t j = 0; j < record->error_len; j++, byte++)
            if (batch->bytes[byte] != 'A' + i % 26) return 0;
    }
    return gap == batch->n_gaps && stamp == batch->n_stamps && event == batch->n_events &&
           byte == batch->n_bytes;
}

int main(void) {
    struct batch batch = {0};
    struct record bare = {.index = 7};
    CHECK("a record without anything needs no arrays",
          batch_add(&batch, &bare, NULL, NULL, NULL, NULL, NULL) == 0);
    CHECK("and makes none", batch.n_records == 1 && batch.n_gaps == 0 && batch.n_bytes == 0);
    batch_free(&batch);
    CHECK("a freed batch is empty", batch.n_records == 0 && !batch.records);
    for (int i = 0; i < RECORDS; i++) add(&batch, i);
    CHECK("all is there", batch.n_records == RECORDS);
    CHECK("in order, each record's parts behind those of the one before", all_in_order(&batch));
    batch_free(&batch);
    batch_free(&batch);
    return t_done("test_record");
}
