/* Owns how events become token chunks in time: chains, reads, and the three things that are known only at the
 * end of a stream: whether a last event without text was a token, whether the index of a choice counted
 * tokens, and whether text in unknown fields was output. Does not know what an event says. */
#include "engine/response_chunks.h"

#include "stream/array.h"

void chunks_begin(struct response *r) {
    memset(&r->tally, 0, sizeof r->tally);
    memset(&r->unknown_tally, 0, sizeof r->unknown_tally);
    r->certain = r->n_unknown = r->event_choices = 0;
    r->index_sense = INDEX_RISES;
    r->newest = 0;
    r->newest_index = r->unknown_chain = -1;
    for (size_t i = 0; i < r->n_chains; i++) chain_begin(&r->chains[i]);
    chain_begin(&r->with_unknown);
    r->n_stamps = 0;
}

/* ---- indices ---- */

/* Servers exist that count tokens in the index: each event holds one choice, each with the next index. All
 * their chunks are one choice's. That they are told from several choices of one token each by having one
 * finish reason, not one for each. */
static void join_counted(struct response *r) {
    struct chain *into = &r->chains[0];
    for (size_t i = 1; i < r->n_chains; i++) {
        struct chain *c = &r->chains[i];
        bool ok = !c->started || chain_add(into, c->last_ns, c->read, c->first_tokens);
        ok = ok && (!c->text.len || text_add(&into->text, c->text.bytes, c->text.len));
        if (!ok) response_no_memory(r);
        into->finished |= c->finished;
        if (c->has_tail) {
            into->has_tail = true;
            into->tail_arrived_ns = c->tail_arrived_ns;
            into->tail_seen_ns = c->tail_seen_ns;
            into->tail_read = c->tail_read;
        }
        chain_begin(c);
    }
    r->newest = 0;
    r->record.choices = into->started;
    r->index_sense = INDEX_TOKENS;
}

static bool indices_count_tokens(const struct response *r) {
    int64_t started = 0, finished = 0;
    for (size_t i = 0; i < r->n_chains; i++) {
        started += r->chains[i].started;
        finished += r->chains[i].finished;
    }
    return r->index_sense == INDEX_RISES && started > 1 && finished <= 1;
}

static void note_index(struct response *r, const struct chain *c) {
    int64_t index = c - r->chains;
    bool is_next = r->newest_index < 0 || index == r->newest_index + 1;
    bool rises = is_next && !c->started && r->event_choices == 1;
    if (r->index_sense == INDEX_RISES && !rises) r->index_sense = INDEX_CHOICES;
    r->newest_index = index;
}

struct chain *chunks_chain(struct response *r, int64_t index) {
    bool is_beyond = index < 0 || index >= RESPONSE_MAX_CHAINS;
    if (index == RESPONSE_MAX_CHAINS && index == r->newest_index + 1 && r->index_sense == INDEX_RISES)
        join_counted(r);
    if (r->index_sense == INDEX_TOKENS || is_beyond) return &r->chains[0];
    size_t need = (size_t)index + 1;
    if (!ARRAY_ROOM_ZEROED(r->chains, r->cap_chains, need)) {
        response_no_memory(r);
        return &r->chains[0];
    }
    if (need > r->n_chains) r->n_chains = need;
    return &r->chains[index];
}

/* ---- chunks ---- */

/* A stamp of an event that may be no chunk is kept as its complement, a negative number. */
static void add_stamp(struct response *r, const struct read_stamp *stamp, bool is_unknown) {
    if (!r->settings.keep_stamps) return;
    int64_t arrived_ns = is_unknown ? ~stamp->arrived_ns : stamp->arrived_ns;
    if (ARRAY_ROOM(r->stamps, r->cap_stamps, r->n_stamps + 1))
        r->stamps[r->n_stamps++] = (struct record_stamp){arrived_ns, stamp->seen_ns};
    else
        response_no_memory(r);
}

static void settle_stamps(struct response *r, bool takes_unknown) {
    size_t kept = 0;
    for (size_t i = 0; i < r->n_stamps; i++) {
        struct record_stamp stamp = r->stamps[i];
        if (stamp.arrived_ns < 0 && !takes_unknown) continue;
        if (stamp.arrived_ns < 0) stamp.arrived_ns = ~stamp.arrived_ns;
        r->stamps[kept++] = stamp;
    }
    r->n_stamps = kept;
}

static void tally_add(struct chunk_tally *t, const struct read_stamp *stamp) {
    if (stamp->number > t->newest_read) {
        t->newest_read = stamp->number;
        t->reads++;
    }
    if (t->reads == 1) t->first_read_chunks++;
    if (t->chunks == 0) {
        t->first_ns = stamp->arrived_ns;
        t->first_seen_ns = stamp->seen_ns;
    }
    t->last_ns = stamp->arrived_ns;
    t->last_seen_ns = stamp->seen_ns;
    t->chunks++;
}

/* The record always says what is known so far: time-outs and live figures look at it. */
static void chunks_publish(struct response *r) {
    const struct chunk_tally *t = &r->tally;
    struct record *record = &r->record;
    record->first_token_ns = t->first_ns;
    record->first_token_seen_ns = t->first_seen_ns;
    record->last_token_ns = t->last_ns;
    record->last_token_seen_ns = t->last_seen_ns;
    record->reads = t->reads;
    record->first_read_chunks = t->first_read_chunks;
    record->chunks = t->chunks;
}

static void add_with_unknown(struct response *r, const struct read_stamp *stamp, uint16_t tokens) {
    if (!chain_add(&r->with_unknown, stamp->arrived_ns, stamp->number, tokens)) response_no_memory(r);
    tally_add(&r->unknown_tally, stamp);
}

void chunks_add(struct response *r, struct chain *c, const struct read_stamp *stamp, uint16_t tokens,
                bool is_certain) {
    note_index(r, c);
    if (!c->started) r->record.choices++;
    r->newest = (size_t)(c - r->chains);
    r->certain += is_certain;
    c->has_tail = false; /* more came after it */
    if (!chain_add(c, stamp->arrived_ns, stamp->number, tokens)) response_no_memory(r);
    tally_add(&r->tally, stamp);
    chunks_publish(r);
    add_stamp(r, stamp, false);
    if (r->n_unknown) add_with_unknown(r, stamp, tokens);
}

/* ---- unknown output ---- */

void chunks_add_unknown(struct response *r, const struct chain *c) {
    if (r->n_unknown == 0) {
        r->unknown_tally = r->tally;
        if (!chain_copy(&r->with_unknown, c)) response_no_memory(r);
    }
    r->n_unknown++;
    add_with_unknown(r, &r->at, 0);
    add_stamp(r, &r->at, true);
}

/* Text in fields that we do not know was output when nothing else was, or when usage counts about as many
 * tokens more than there are chunks. */
static bool unknown_was_output(const struct response *r) {
    if (r->n_unknown == 0 || r->record.choices > 1 || r->index_sense == INDEX_TOKENS) return false;
    if (r->record.chunks == 0) return r->usage_tokens != 0;
    int64_t missing = r->usage_tokens - r->record.chunks;
    return r->n_unknown <= missing && 2 * (int64_t)r->n_unknown > missing;
}

static void chunks_take_unknown(struct response *r) {
    struct chain *c = &r->chains[r->newest];
    struct chain known = *c;
    *c = r->with_unknown;
    c->text = known.text;
    c->finished = known.finished;
    c->finish_is_noise = known.finish_is_noise;
    c->has_tail = known.has_tail;
    c->tail_arrived_ns = known.tail_arrived_ns;
    c->tail_seen_ns = known.tail_seen_ns;
    c->tail_read = known.tail_read;
    r->with_unknown = (struct chain){.gaps = known.gaps, .cap_gaps = known.cap_gaps};
    r->tally = r->unknown_tally;
    r->certain += r->n_unknown;
    r->record.unknown_output -= r->n_unknown;
    r->n_unknown = 0;
    r->record.choices = 1;
    chunks_publish(r);
}

/* ---- the end ---- */

/* A last event with a finish reason and no text is the end-of-sequence token (vLLM counts it in usage) or
 * only a closing bracket (llama.cpp, OpenAI). It is a token when usage counts that many. */
static void take_tails(struct response *r) {
    int64_t tails = 0;
    for (size_t i = 0; i < r->n_chains; i++) tails += r->chains[i].has_tail;
    if (r->record.chunks + tails > r->usage_tokens) return;
    for (size_t i = 0; i < r->n_chains; i++) {
        struct chain *c = &r->chains[i];
        struct read_stamp tail = {c->tail_arrived_ns, c->tail_seen_ns, c->tail_read};
        if (c->has_tail) chunks_add(r, c, &tail, 0, false);
    }
}

void chunks_settle(struct response *r) {
    if (indices_count_tokens(r)) join_counted(r);
    bool takes_unknown = unknown_was_output(r);
    if (r->n_unknown) settle_stamps(r, takes_unknown);
    if (takes_unknown) chunks_take_unknown(r);
    take_tails(r);
    r->record.coalesced = 0;
    for (size_t i = 0; i < r->n_chains; i++) {
        struct chain *c = &r->chains[i];
        chain_settle(c);
        c->n_gaps = c->open; /* what is open came with the first chunk, in one read: its spacing is unknown */
        r->record.coalesced += c->coalesced;
    }
}
