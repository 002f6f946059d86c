/* prefix_tree: which owner has seen which beginnings of texts: a radix tree over bytes, bounded, that forgets
 * what was inserted longest ago. No I/O, one thread. Owns copies of the texts.
 */
#ifndef VLLMPERF_SIM_PREFIX_TREE_H
#define VLLMPERF_SIM_PREFIX_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PREFIX_TREE_OWNERS = 64 };

struct prefix_tree; /* opaque */

/* Owners have numbers from 0, fewer than PREFIX_TREE_OWNERS. NULL when out of memory. */
struct prefix_tree *prefix_tree_new(int n_owners, size_t most_bytes);
void prefix_tree_free(struct prefix_tree *tree);

/* Bytes at the beginning of the text that some owner has seen; owners gets a bit for each that has seen all
 * of them (every owner when there are none). */
size_t prefix_tree_match(const struct prefix_tree *tree, const char *text, size_t len, uint64_t *owners);

/* This owner has seen the text. Without memory the tree knows less of it. */
void prefix_tree_insert(struct prefix_tree *tree, const char *text, size_t len, int owner);

size_t prefix_tree_bytes(const struct prefix_tree *tree);
size_t prefix_tree_owned(const struct prefix_tree *tree, int owner);

/* Do the counts agree with what is in the tree, and is every node newer than its children? For tests. */
bool prefix_tree_is_sound(const struct prefix_tree *tree);

#endif
