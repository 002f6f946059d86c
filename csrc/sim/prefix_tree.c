/* Owns the tree's nodes and the order in which they are forgotten.
 * Does not choose between owners (router.c). */
#include "sim/prefix_tree.h"

#include <stdlib.h>
#include <string.h>

/* A node is newer than its children, because whoever touches one touches all above it afterwards: the oldest
 * of all is a leaf. */
struct tree_node {
    struct tree_node *parent, *child, *sibling; /* its first child; the next one of its parent's */
    struct tree_node *newer, *older;
    uint64_t owners;
    size_t len;
    char text[]; /* that the way from the parent to here adds */
};

struct prefix_tree {
    struct tree_node *root;
    struct tree_node *newest, *oldest; /* without the root */
    size_t bytes, most_bytes;
    size_t owned[PREFIX_TREE_OWNERS];
    int n_owners;
};

/* ---- by age ---- */

static void tree_push_newest(struct prefix_tree *tree, struct tree_node *node) {
    node->newer = NULL;
    node->older = tree->newest;
    if (tree->newest)
        tree->newest->newer = node;
    else
        tree->oldest = node;
    tree->newest = node;
}

static void tree_drop(struct prefix_tree *tree, struct tree_node *node) {
    if (node->newer)
        node->newer->older = node->older;
    else
        tree->newest = node->older;
    if (node->older)
        node->older->newer = node->newer;
    else
        tree->oldest = node->newer;
}

/* From the deepest up, see above. */
static void touch_path(struct prefix_tree *tree, struct tree_node *node) {
    for (; node->parent; node = node->parent) {
        tree_drop(tree, node);
        tree_push_newest(tree, node);
    }
}

/* ---- nodes ---- */

static struct tree_node *tree_node_new(const char *text, size_t len) {
    struct tree_node *node = malloc(sizeof *node + len);
    if (node == NULL) return NULL;
    *node = (struct tree_node){.len = len};
    if (len) memcpy(node->text, text, len);
    return node;
}

static struct tree_node *tree_child(const struct tree_node *node, char first) {
    struct tree_node *child = node->child;
    while (child && child->text[0] != first) child = child->sibling;
    return child;
}

static struct tree_node **tree_link_to(struct tree_node *node) {
    struct tree_node **link = &node->parent->child;
    while (*link != node) link = &(*link)->sibling;
    return link;
}

static struct tree_node *tree_grow(struct prefix_tree *tree, struct tree_node *parent, const char *text,
                                   size_t len) {
    struct tree_node *leaf = tree_node_new(text, len);
    if (leaf == NULL) return NULL;
    leaf->parent = parent;
    leaf->sibling = parent->child;
    parent->child = leaf;
    tree->bytes += len;
    tree_push_newest(tree, leaf);
    return leaf;
}

/* A node of its own for the first `len` bytes of a node's text, above the rest. */
static struct tree_node *tree_split(struct prefix_tree *tree, struct tree_node *lower, size_t len) {
    struct tree_node *upper = tree_node_new(lower->text, len);
    if (upper == NULL) return NULL;
    *tree_link_to(lower) = upper;
    upper->parent = lower->parent;
    upper->sibling = lower->sibling;
    upper->child = lower;
    upper->owners = lower->owners;
    lower->parent = upper;
    lower->sibling = NULL;
    lower->len -= len;
    memmove(lower->text, lower->text + len, lower->len);
    tree_push_newest(tree, upper);
    return upper;
}

static void tree_forget(struct prefix_tree *tree, struct tree_node *leaf) {
    *tree_link_to(leaf) = leaf->sibling;
    tree_drop(tree, leaf);
    tree->bytes -= leaf->len;
    for (int i = 0; i < tree->n_owners; i++)
        if (leaf->owners >> i & 1) tree->owned[i] -= leaf->len;
    free(leaf);
}

static void tree_give(struct prefix_tree *tree, struct tree_node *node, int owner) {
    uint64_t bit = UINT64_C(1) << owner;
    if (!(node->owners & bit)) tree->owned[owner] += node->len;
    node->owners |= bit;
}

/* ---- life ---- */

struct prefix_tree *prefix_tree_new(int n_owners, size_t most_bytes) {
    struct prefix_tree *tree = calloc(1, sizeof *tree);
    if (tree == NULL) return NULL;
    tree->n_owners = n_owners;
    tree->most_bytes = most_bytes;
    tree->root = tree_node_new("", 0);
    if (tree->root == NULL) {
        free(tree);
        return NULL;
    }
    tree->root->owners = UINT64_MAX >> (PREFIX_TREE_OWNERS - n_owners);
    return tree;
}

void prefix_tree_free(struct prefix_tree *tree) {
    if (tree == NULL) return;
    for (struct tree_node *node = tree->newest, *next; node; node = next) {
        next = node->older;
        free(node);
    }
    free(tree->root);
    free(tree);
}

/* ---- use ---- */

static size_t tree_shared(const struct tree_node *node, const char *text, size_t len) {
    size_t n = 0, most = node->len < len ? node->len : len;
    while (n < most && node->text[n] == text[n]) n++;
    return n;
}

size_t prefix_tree_match(const struct prefix_tree *tree, const char *text, size_t len, uint64_t *owners) {
    const struct tree_node *node = tree->root;
    size_t at = 0;
    for (bool whole = true; whole && at < len;) {
        const struct tree_node *child = tree_child(node, text[at]);
        if (child == NULL) break;
        size_t n = tree_shared(child, text + at, len - at);
        whole = n == child->len;
        at += n;
        node = child;
    }
    *owners = node->owners;
    return at;
}

/* The child that holds the beginning of the text and nothing else; NULL when out of memory. */
static struct tree_node *tree_descend(struct prefix_tree *tree, struct tree_node *node, const char *text,
                                      size_t len) {
    struct tree_node *child = tree_child(node, *text);
    if (child == NULL) return tree_grow(tree, node, text, len);
    size_t n = tree_shared(child, text, len);
    return n < child->len ? tree_split(tree, child, n) : child;
}

void prefix_tree_insert(struct prefix_tree *tree, const char *text, size_t len, int owner) {
    struct tree_node *node = tree->root;
    for (size_t at = 0; at < len; at += node->len) {
        struct tree_node *child = tree_descend(tree, node, text + at, len - at);
        if (child == NULL) break;
        tree_give(tree, child, owner);
        node = child;
    }
    touch_path(tree, node);
    while (tree->bytes > tree->most_bytes) tree_forget(tree, tree->oldest);
}

size_t prefix_tree_bytes(const struct prefix_tree *tree) {
    return tree->bytes;
}
size_t prefix_tree_owned(const struct prefix_tree *tree, int owner) {
    return tree->owned[owner];
}

/* ---- soundness ---- */

bool prefix_tree_is_sound(const struct prefix_tree *tree) {
    size_t bytes = 0, owned[PREFIX_TREE_OWNERS] = {0};
    for (const struct tree_node *node = tree->oldest; node; node = node->newer) {
        if (node->len == 0 || node->owners == 0 || (node->owners & ~node->parent->owners)) return false;
        if (tree_child(node->parent, node->text[0]) != node) return false;
        bytes += node->len;
        for (int i = 0; i < tree->n_owners; i++) owned[i] += node->owners >> i & 1 ? node->len : 0;
    }
    const struct tree_node *oldest = tree->oldest;
    return bytes == tree->bytes && memcmp(owned, tree->owned, sizeof owned) == 0 &&
           (oldest == NULL || oldest->child == NULL);
}
