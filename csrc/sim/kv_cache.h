/* kv_cache: the blocks of the simulated KV cache, as vLLM's V1 block pool keeps them: sequences hold blocks,
 * full blocks are known by the hash of all tokens up to their end and may be shared, a block that nobody
 * holds is taken for something else when it was let go longest ago. No tokens are stored. One thread.
 */
#ifndef VLLMPERF_SIM_KV_CACHE_H
#define VLLMPERF_SIM_KV_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kv_cache; /* opaque */

/* The blocks that one sequence holds, in the order of its tokens. {0} holds none. */
struct kv_table {
    int32_t *blocks;
    int32_t n;
    size_t capacity;
};

/* `caching`: look for equal prefixes. NULL when out of memory. */
struct kv_cache *kv_cache_new(int32_t n_blocks, int32_t block_size, bool caching);
void kv_cache_free(struct kv_cache *cache);

int32_t kv_cache_blocks(const struct kv_cache *cache);

/* Blocks that nobody holds, with something in them or not. */
int32_t kv_cache_unheld(const struct kv_cache *cache);

/* How many of the leading hashes are of blocks that are there. */
int32_t kv_cache_match(const struct kv_cache *cache, const uint64_t *hashes, int32_t n);

/* Let the table, which holds nothing, share the first `shared` blocks by their hashes (which kv_cache_match
 * found) and take further blocks up to n_blocks. false, and nothing is changed, when there are not enough or
 * no memory for the table. */
bool kv_cache_begin(struct kv_cache *cache, struct kv_table *table, const uint64_t *hashes, int32_t shared,
                    int32_t n_blocks);

/* Take blocks until the table holds n_blocks. false, and nothing is changed, as above. */
bool kv_cache_grow(struct kv_cache *cache, struct kv_table *table, int32_t n_blocks);

/* Blocks [from, to) of the table are full: they can be found by their hashes from now on. */
void kv_cache_seal(struct kv_cache *cache, const struct kv_table *table, const uint64_t *hashes, int32_t from,
                   int32_t to);

/* Nothing is found any more. false, and nothing is changed, while a block is held. */
bool kv_cache_forget_all(struct kv_cache *cache);

/* Give all blocks back, the last one first to be taken again. The table's memory stays. */
void kv_cache_release(struct kv_cache *cache, struct kv_table *table);

void kv_table_free(struct kv_table *table);

/* Is every block either held or in the list of unheld ones, and is what can be found by hash consistent? For
 * tests; costs O(blocks). */
bool kv_cache_is_sound(const struct kv_cache *cache);

#endif
