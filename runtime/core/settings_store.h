/* SPDX-License-Identifier: MIT
 *
 * The memory of one load of an ini: a store that is given back in one step, and ordered tables in
 * it that behave as the loader's dictionaries do. One thread at a time; in the master and in the
 * commands.
 */
#ifndef FKS_SETTINGS_STORE_H
#define FKS_SETTINGS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "settings.h"

struct fks_store_chunk;

/* Zeroed: an empty store. */
struct fks_store {
    struct fks_store_chunk *newest;
};

/* Zeroed memory that lives as long as the store; NULL where memory is short. */
void *fks_store_take(struct fks_store *store, size_t size);

/* A copy of `length` bytes with a NUL behind them. */
char *fks_store_text(struct fks_store *store, const char *text, size_t length);

/* Gives all of it back. An empty store is harmless. */
void fks_store_finish(struct fks_store *store);

/* An array of `size`-byte items with room for one more than `count`: `items` itself, or a copy
 * twice as large in the store, *capacity renewed. NULL where memory is short. */
void *fks_store_grow(struct fks_store *store, void *items, size_t count, size_t *capacity,
                     size_t size);

/* An ordered table by name. A new name goes to the end, a known one keeps its place. Names and
 * values are borrowed. */
struct fks_dict {
    struct fks_store *store; /* borrowed */
    struct fks_pair *items;  /* a popped one stays with name NULL */
    size_t count, capacity;
    size_t live; /* those not popped */
    uint32_t *slots;
    size_t slot_count; /* a power of two, or 0 */
};

/* NULL where memory is short. */
struct fks_dict *fks_dict_create(struct fks_store *store);

/* Sets pair->name. Returns 0 or FORKSAFE_ENOMEM. */
int fks_dict_put(struct fks_dict *dict, const struct fks_pair *pair);

/* Puts every pair of `from`. Returns 0 or FORKSAFE_ENOMEM. */
int fks_dict_update(struct fks_dict *dict, const struct fks_dict *from);

/* The pair with this name (length bytes of it), borrowed until the next put; NULL where there is
 * none. */
struct fks_pair *fks_dict_find(const struct fks_dict *dict, const char *name);
struct fks_pair *fks_dict_find_bytes(const struct fks_dict *dict, const char *name, size_t length);

/* Takes the pair out; *out (may be NULL) gets it. False where there is none. */
bool fks_dict_pop(struct fks_dict *dict, const char *name, struct fks_pair *out);

#endif
