/* Owns the blocks: who holds them, in which order they are taken again, by which hash they are found.
 * Does not know sequences nor compute hashes (scheduler.c). */
#include "sim/kv_cache.h"

#include "stream/array.h"

enum { NONE = -1 };

struct block {
    uint64_t hash;
    int32_t holders;
    int32_t newer, older;  /* neighbours among the unheld */
    int32_t next_of_chain; /* among blocks whose hashes fall into the same slot */
    bool hashed;
};

struct kv_cache {
    struct block *blocks;
    int32_t *slots; /* first block of each chain */
    uint32_t slot_mask;
    int32_t n_blocks, block_size, n_unheld;
    int32_t oldest, newest; /* ends of the list of unheld blocks */
    bool caching;
};

static int32_t *kv_slot_of(const struct kv_cache *cache, uint64_t hash) {
    return &cache->slots[(uint32_t)(hash ^ (hash >> 32)) & cache->slot_mask];
}

/* ---- the unheld, oldest first ---- */

static void push_unheld(struct kv_cache *cache, int32_t id) {
    struct block *block = &cache->blocks[id];
    block->older = cache->newest;
    block->newer = NONE;
    if (cache->newest == NONE)
        cache->oldest = id;
    else
        cache->blocks[cache->newest].newer = id;
    cache->newest = id;
    cache->n_unheld++;
}

static void drop_unheld(struct kv_cache *cache, int32_t id) {
    struct block *block = &cache->blocks[id];
    if (block->older == NONE)
        cache->oldest = block->newer;
    else
        cache->blocks[block->older].newer = block->newer;
    if (block->newer == NONE)
        cache->newest = block->older;
    else
        cache->blocks[block->newer].older = block->older;
    cache->n_unheld--;
}

/* ---- by hash ---- */

static int32_t kv_find(const struct kv_cache *cache, uint64_t hash) {
    int32_t id = *kv_slot_of(cache, hash);
    while (id != NONE && cache->blocks[id].hash != hash) id = cache->blocks[id].next_of_chain;
    return id;
}

static void kv_forget(struct kv_cache *cache, int32_t id) {
    struct block *block = &cache->blocks[id];
    if (!block->hashed) return;
    int32_t *link = kv_slot_of(cache, block->hash);
    while (*link != id) link = &cache->blocks[*link].next_of_chain;
    *link = block->next_of_chain;
    block->hashed = false;
}

static void kv_remember(struct kv_cache *cache, int32_t id, uint64_t hash) {
    struct block *block = &cache->blocks[id];
    if (block->hashed) return;
    int32_t *slot = kv_slot_of(cache, hash);
    block->hash = hash;
    block->hashed = true;
    block->next_of_chain = *slot;
    *slot = id;
}

/* ---- life ---- */

static uint32_t slots_for(int32_t n_blocks) {
    uint32_t n = 16;
    while (n < (uint32_t)n_blocks * 2) n *= 2;
    return n;
}

struct kv_cache *kv_cache_new(int32_t n_blocks, int32_t block_size, bool caching) {
    uint32_t n_slots = slots_for(n_blocks);
    struct kv_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL) return NULL;
    *cache = (struct kv_cache){.n_blocks = n_blocks,
                               .block_size = block_size,
                               .slot_mask = n_slots - 1,
                               .oldest = NONE,
                               .newest = NONE,
                               .caching = caching};
    cache->blocks = calloc((size_t)n_blocks, sizeof *cache->blocks);
    cache->slots = malloc(n_slots * sizeof *cache->slots);
    if (cache->blocks == NULL || cache->slots == NULL) {
        kv_cache_free(cache);
        return NULL;
    }
    for (uint32_t i = 0; i < n_slots; i++) cache->slots[i] = NONE;
    for (int32_t i = 0; i < n_blocks; i++) push_unheld(cache, i);
    return cache;
}

void kv_cache_free(struct kv_cache *cache) {
    if (cache == NULL) return;
    free(cache->blocks);
    free(cache->slots);
    free(cache);
}

void kv_table_free(struct kv_table *table) {
    free(table->blocks);
    *table = (struct kv_table){0};
}

int32_t kv_cache_blocks(const struct kv_cache *cache) {
    return cache->n_blocks;
}
int32_t kv_cache_unheld(const struct kv_cache *cache) {
    return cache->n_unheld;
}

/* ---- holding ---- */

static bool kv_reserve(struct kv_table *table, int32_t n) {
    return ARRAY_ROOM(table->blocks, table->capacity, (size_t)n);
}

int32_t kv_cache_match(const struct kv_cache *cache, const uint64_t *hashes, int32_t n) {
    int32_t i = 0;
    if (!cache->caching) return 0;
    while (i < n && kv_find(cache, hashes[i]) != NONE) i++;
    return i;
}

static void kv_share(struct kv_cache *cache, struct kv_table *table, uint64_t hash) {
    int32_t id = kv_find(cache, hash);
    if (cache->blocks[id].holders++ == 0) drop_unheld(cache, id);
    table->blocks[table->n++] = id;
}

/* The longest unheld block; what was in it is lost. */
static void kv_take(struct kv_cache *cache, struct kv_table *table) {
    int32_t id = cache->oldest;
    drop_unheld(cache, id);
    kv_forget(cache, id);
    cache->blocks[id].holders = 1;
    table->blocks[table->n++] = id;
}

static int32_t unheld_among(const struct kv_cache *cache, const uint64_t *hashes, int32_t n) {
    int32_t count = 0;
    for (int32_t i = 0; i < n; i++) count += cache->blocks[kv_find(cache, hashes[i])].holders == 0;
    return count;
}

bool kv_cache_begin(struct kv_cache *cache, struct kv_table *table, const uint64_t *hashes, int32_t shared,
                    int32_t n_blocks) {
    if (n_blocks - shared > cache->n_unheld - unheld_among(cache, hashes, shared)) return false;
    if (!kv_reserve(table, n_blocks)) return false;
    for (int32_t i = 0; i < shared; i++) kv_share(cache, table, hashes[i]);
    while (table->n < n_blocks) kv_take(cache, table);
    return true;
}

bool kv_cache_grow(struct kv_cache *cache, struct kv_table *table, int32_t n_blocks) {
    if (n_blocks - table->n > cache->n_unheld || !kv_reserve(table, n_blocks)) return false;
    while (table->n < n_blocks) kv_take(cache, table);
    return true;
}

void kv_cache_seal(struct kv_cache *cache, const struct kv_table *table, const uint64_t *hashes, int32_t from,
                   int32_t to) {
    if (!cache->caching) return;
    for (int32_t i = from; i < to; i++) kv_remember(cache, table->blocks[i], hashes[i]);
}

bool kv_cache_forget_all(struct kv_cache *cache) {
    if (cache->n_unheld < cache->n_blocks) return false;
    for (int32_t id = 0; id < cache->n_blocks; id++) kv_forget(cache, id);
    return true;
}

void kv_cache_release(struct kv_cache *cache, struct kv_table *table) {
    while (table->n > 0) {
        int32_t id = table->blocks[--table->n];
        if (--cache->blocks[id].holders == 0) push_unheld(cache, id);
    }
}

/* ---- soundness ---- */

static int32_t count_unheld(const struct kv_cache *cache) {
    int32_t n = 0;
    for (int32_t id = cache->oldest; id != NONE && n <= cache->n_blocks; id = cache->blocks[id].newer) {
        if (cache->blocks[id].holders != 0) return NONE;
        n++;
    }
    return n;
}

static int32_t count_chained(const struct kv_cache *cache) {
    int32_t n = 0;
    for (uint32_t slot = 0; slot <= cache->slot_mask; slot++)
        for (int32_t id = cache->slots[slot]; id != NONE; id = cache->blocks[id].next_of_chain)
            n += cache->blocks[id].hashed;
    return n;
}

bool kv_cache_is_sound(const struct kv_cache *cache) {
    int32_t unheld = 0, hashed = 0;
    for (int32_t i = 0; i < cache->n_blocks; i++) {
        if (cache->blocks[i].holders < 0) return false;
        unheld += cache->blocks[i].holders == 0;
        hashed += cache->blocks[i].hashed;
    }
    return unheld == cache->n_unheld && count_unheld(cache) == unheld && count_chained(cache) == hashed;
}
