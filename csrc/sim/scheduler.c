/* Owns which sequences are in a step, who waits, who is thrown out, and the tokens that come of it.
 * Does not know the time (its callers do), requests, or text. */
#include "sim/scheduler.h"

#include "stream/array.h"

struct list {
    struct seq *first, *last;
    int32_t n;
};

struct scheduler {
    struct scheduler_config config;
    struct kv_cache *kv;
    struct list waiting, running;
    struct seq *first_token, *last_token; /* of the finished step */
    struct step step;
    int64_t budget; /* tokens that the step which is planned can still take */
    struct scheduler_counts counts;
};

/* ---- lists ---- */

/* Before `place`; NULL = at the end. */
static void scheduler_insert(struct list *list, struct seq *seq, struct seq *place) {
    seq->next = place;
    seq->previous = place ? place->previous : list->last;
    if (seq->previous)
        seq->previous->next = seq;
    else
        list->first = seq;
    if (place)
        place->previous = seq;
    else
        list->last = seq;
    list->n++;
}

static void take_out(struct list *list, struct seq *seq) {
    if (seq->previous)
        seq->previous->next = seq->next;
    else
        list->first = seq->next;
    if (seq->next)
        seq->next->previous = seq->previous;
    else
        list->last = seq->previous;
    seq->next = seq->previous = NULL;
    list->n--;
}

/* Is a served before b? */
static bool scheduler_is_before(const struct seq *a, const struct seq *b) {
    if (a->priority != b->priority) return a->priority < b->priority;
    return a->number < b->number;
}

static void add_waiting(struct scheduler *s, struct seq *seq, bool in_front) {
    struct seq *place = in_front && !s->config.priority ? s->waiting.first : NULL;
    if (s->config.priority && s->waiting.n) {
        struct seq *after = s->waiting.last;
        while (after && scheduler_is_before(seq, after)) after = after->previous;
        place = after ? after->next : s->waiting.first;
    }
    scheduler_insert(&s->waiting, seq, place);
    seq->state = SEQ_WAITING;
}

/* ---- hashes of prefixes ---- */

static uint64_t scheduler_mix(uint64_t hash, uint64_t value) {
    uint64_t z = (hash ^ value) + UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A block's hash is that of all tokens up to its end. Out of memory, a sequence only shares less. */
static void add_hash(struct seq *seq) {
    if (seq->hash_failed) return;
    if (ARRAY_ROOM(seq->hashes, seq->hashes_capacity, (size_t)seq->n_hashes + 1))
        seq->hashes[seq->n_hashes++] = seq->hash;
    else
        seq->hash_failed = true;
}

void seq_add_token(struct seq *seq, const struct scheduler *s, int64_t id) {
    if (!s->config.prefix_caching) return;
    seq->hash = scheduler_mix(seq->hash, (uint64_t)id);
    if (++seq->hashed_tokens % s->config.block_size == 0) add_hash(seq);
}

static void hash_output(const struct scheduler *s, struct seq *seq) {
    int64_t k = seq->produced - 1;
    if (!s->config.prefix_caching || seq->hashed_tokens != seq->prompt_tokens + k) return;
    int64_t id = s->config.output_token ? s->config.output_token(seq, k)
                                        : (int64_t)scheduler_mix((uint64_t)seq->number + 1, (uint64_t)k);
    seq_add_token(seq, s, id);
}

/* ---- life ---- */

struct scheduler *scheduler_new(const struct scheduler_config *config) {
    struct scheduler *s = calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    s->config = *config;
    s->kv = kv_cache_new(config->num_gpu_blocks, config->block_size, config->prefix_caching);
    if (s->kv) return s;
    free(s);
    return NULL;
}

void scheduler_free(struct scheduler *s) {
    if (s == NULL) return;
    while (s->running.first) scheduler_remove(s, s->running.first);
    while (s->waiting.first) scheduler_remove(s, s->waiting.first);
    kv_cache_free(s->kv);
    free(s);
}

bool scheduler_fits(const struct scheduler_config *config, int64_t prompt_tokens, int64_t output_tokens) {
    int64_t tokens = prompt_tokens + output_tokens;
    if (!config->chunked_prefill && tokens > config->max_num_batched_tokens) return false;
    return tokens <= (int64_t)config->num_gpu_blocks * config->block_size;
}

void scheduler_submit(struct scheduler *s, struct seq *seq) {
    add_waiting(s, seq, false);
}

static void forget_token(struct scheduler *s, const struct seq *seq) {
    struct seq *before = NULL;
    for (struct seq *other = s->first_token; other != seq; other = other->next_token) before = other;
    if (before)
        before->next_token = seq->next_token;
    else
        s->first_token = seq->next_token;
    if (s->last_token == seq) s->last_token = before;
}

void scheduler_remove(struct scheduler *s, struct seq *seq) {
    if (seq->state == SEQ_WAITING) take_out(&s->waiting, seq);
    if (seq->state == SEQ_RUNNING) take_out(&s->running, seq);
    if (seq->has_token) forget_token(s, seq);
    kv_cache_release(s->kv, &seq->table);
    kv_table_free(&seq->table);
    free(seq->hashes);
    seq->hashes = NULL;
    seq->n_hashes = 0;
    seq->hashes_capacity = 0;
    seq->has_token = false;
    seq->state = SEQ_DONE;
}

bool scheduler_reset_prefixes(struct scheduler *s) {
    return kv_cache_forget_all(s->kv);
}

/* ---- planning ---- */

static int32_t blocks_for(const struct scheduler *s, int64_t tokens) {
    return (int32_t)((tokens + s->config.block_size - 1) / s->config.block_size);
}

/* Tokens that must be computed before it says the next one. */
static int64_t scheduler_missing(const struct seq *seq) {
    return seq->prompt_tokens + seq->produced - seq->computed;
}

static bool is_decode(const struct seq *seq) {
    return seq->produced > 0 && scheduler_missing(seq) == 1;
}

static void count_work(struct step *step, const struct seq *seq, int64_t tokens) {
    if (is_decode(seq)) {
        step->work.decodes++;
        step->work.decode_context += seq->computed + 1;
        return;
    }
    step->prefills++;
    step->work.prefill_tokens += tokens;
    step->work.prefill_attention += step_attention(seq->computed, tokens);
}

static void scheduler_seal(struct scheduler *s, struct seq *seq, int64_t tokens) {
    int32_t from = (int32_t)(seq->computed / s->config.block_size);
    int32_t to = (int32_t)((seq->computed + tokens) / s->config.block_size);
    if (to > seq->n_hashes) to = seq->n_hashes;
    kv_cache_seal(s->kv, &seq->table, seq->hashes, from, to);
}

static void scheduler_schedule(struct scheduler *s, struct seq *seq, int64_t tokens) {
    seq->scheduled = tokens;
    s->budget -= tokens;
    scheduler_seal(s, seq, tokens);
}

/* Whose blocks are taken when there are none left. */
static struct seq *scheduler_victim(const struct scheduler *s) {
    struct seq *worst = s->running.last;
    if (!s->config.priority) return worst;
    for (struct seq *seq = worst; seq; seq = seq->previous)
        if (scheduler_is_before(worst, seq)) worst = seq;
    return worst;
}

static void scheduler_preempt(struct scheduler *s, struct seq *seq) {
    take_out(&s->running, seq);
    kv_cache_release(s->kv, &seq->table);
    s->budget += seq->scheduled;
    seq->scheduled = seq->computed = 0;
    seq->preemptions++;
    s->step.preempted++;
    s->counts.preemptions++;
    add_waiting(s, seq, true);
}

/* Blocks for so many more tokens of a running sequence; false when it was itself thrown out for them. */
static bool scheduler_make_room(struct scheduler *s, struct seq *seq, int64_t tokens) {
    while (!kv_cache_grow(s->kv, &seq->table, blocks_for(s, seq->computed + tokens))) {
        struct seq *out = scheduler_victim(s);
        scheduler_preempt(s, out);
        if (out == seq) return false;
    }
    return true;
}

static void schedule_running(struct scheduler *s) {
    for (struct seq *seq = s->running.first, *next; seq && s->budget > 0; seq = next) {
        int64_t tokens = scheduler_missing(seq) < s->budget ? scheduler_missing(seq) : s->budget;
        if (!scheduler_make_room(s, seq, tokens)) return;
        scheduler_schedule(s, seq, tokens);
        next = seq->next; /* not before: make_room may have thrown it out */
    }
}

/* The last token is never taken from the cache: something has to be computed to say the next. */
static int32_t cached_blocks(const struct scheduler *s, const struct seq *seq) {
    int64_t most = (seq->prompt_tokens + seq->produced - 1) / s->config.block_size;
    int32_t n = seq->n_hashes < most ? seq->n_hashes : (int32_t)most;
    return kv_cache_match(s->kv, seq->hashes, n);
}

static void note_admission(struct scheduler *s, struct seq *seq) {
    s->step.admitted++;
    if (seq->preemptions || !s->config.prefix_caching) return;
    seq->cached = seq->computed;
    s->counts.prefix_queries += seq->prompt_tokens;
    s->counts.prefix_hits += seq->computed;
}

static bool scheduler_admit(struct scheduler *s, struct seq *seq) {
    int32_t shared = cached_blocks(s, seq);
    int64_t computed = (int64_t)shared * s->config.block_size;
    int64_t tokens = seq->prompt_tokens + seq->produced - computed;
    if (tokens > s->budget && !s->config.chunked_prefill) return false;
    if (tokens > s->budget) tokens = s->budget;
    if (!kv_cache_begin(s->kv, &seq->table, seq->hashes, shared, blocks_for(s, computed + tokens)))
        return false;
    take_out(&s->waiting, seq);
    scheduler_insert(&s->running, seq, NULL);
    seq->state = SEQ_RUNNING;
    seq->computed = computed;
    if (seq->preemptions == 0) seq->scheduled_ns = s->step.start_ns;
    note_admission(s, seq);
    scheduler_schedule(s, seq, tokens);
    return true;
}

static void schedule_waiting(struct scheduler *s) {
    for (struct seq *seq = s->waiting.first, *next; seq; seq = next) {
        if (s->budget <= 0 || s->running.n >= s->config.max_num_seqs) return;
        next = seq->next;
        if (seq->queued_ns <= s->step.start_ns && !scheduler_admit(s, seq)) return;
    }
}

/* Whoever was thrown out in a step that then has nothing left to do may be admitted again at once. */
static void fill_step(struct scheduler *s) {
    int32_t before;
    do {
        before = s->step.preempted;
        schedule_running(s);
        if (s->step.preempted == before) schedule_waiting(s);
    } while (s->step.preempted > before && s->budget == s->config.max_num_batched_tokens);
}

static void add_up(struct scheduler *s) {
    struct step *step = &s->step;
    for (struct seq *seq = s->running.first; seq; seq = seq->next)
        if (seq->scheduled) count_work(step, seq, seq->scheduled);
    step->running = s->running.n;
    step->waiting = s->waiting.n;
    step->used_blocks = kv_cache_blocks(s->kv) - kv_cache_unheld(s->kv);
    step->padded = step_padded(&s->config.model, &step->work);
    step->duration_ns = step_model_ns(&s->config.model, &step->work, step->number);
}

const struct step *scheduler_plan(struct scheduler *s, int64_t start_ns) {
    s->step = (struct step){.number = s->counts.steps + 1, .start_ns = start_ns};
    s->budget = s->config.max_num_batched_tokens;
    fill_step(s);
    if (s->budget == s->config.max_num_batched_tokens) return NULL;
    s->counts.steps++;
    add_up(s);
    return &s->step;
}

/* ---- the end of a step ---- */

static void give_token(struct scheduler *s, struct seq *seq, int64_t end_ns) {
    seq->produced++;
    hash_output(s, seq);
    if (seq->produced == 1) seq->first_ns = end_ns;
    seq->last_ns = end_ns;
    seq->has_token = true;
    seq->next_token = NULL;
    if (s->last_token)
        s->last_token->next_token = seq;
    else
        s->first_token = seq;
    s->last_token = seq;
}

static void scheduler_retire(struct scheduler *s, struct seq *seq) {
    take_out(&s->running, seq);
    kv_cache_release(s->kv, &seq->table);
    seq->state = SEQ_DONE;
}

void scheduler_finish(struct scheduler *s, int64_t end_ns) {
    for (struct seq *seq = s->running.first, *next; seq; seq = next) {
        next = seq->next;
        if (seq->scheduled == 0) continue;
        seq->computed += seq->scheduled;
        seq->scheduled = 0;
        if (scheduler_missing(seq) > 0) continue;
        give_token(s, seq, end_ns);
        if (seq->produced == seq->output_tokens) scheduler_retire(s, seq);
    }
}

struct seq *scheduler_take_token(struct scheduler *s) {
    struct seq *seq = s->first_token;
    if (seq == NULL) return NULL;
    s->first_token = seq->next_token;
    if (s->first_token == NULL) s->last_token = NULL;
    seq->has_token = false;
    return seq;
}

/* ---- what others ask ---- */

int64_t scheduler_next_queued_ns(const struct scheduler *s) {
    int64_t next = INT64_MAX;
    for (const struct seq *seq = s->waiting.first; seq; seq = seq->next)
        if (seq->queued_ns < next) next = seq->queued_ns;
    return next;
}

int32_t scheduler_running(const struct scheduler *s) {
    return s->running.n;
}
int32_t scheduler_waiting(const struct scheduler *s) {
    return s->waiting.n;
}
const struct kv_cache *scheduler_kv_cache(const struct scheduler *s) {
    return s->kv;
}
const struct scheduler_counts *scheduler_counts(const struct scheduler *s) {
    return &s->counts;
}
