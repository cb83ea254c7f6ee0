/* SPDX-License-Identifier: MIT
 *
 * The store hands out pieces of large chunks; a table is an array of pairs with a hash index of
 * open addressing beside it.
 */
#include "settings_store.h"

#include <stdlib.h>
#include <string.h>

#include "guards.h"

#define CHUNK_SIZE (64u * 1024)

struct fks_store_chunk {
    struct fks_store_chunk *older;
    size_t used, size;
    _Alignas(max_align_t) char bytes[];
};

static struct fks_store_chunk *create_chunk(size_t size)
{
    if (size > SIZE_MAX - sizeof(struct fks_store_chunk))
        return NULL;
    struct fks_store_chunk *chunk = malloc(sizeof *chunk + size);
    if (chunk)
        *chunk = (struct fks_store_chunk){.size = size};
    return chunk;
}

void *fks_store_take(struct fks_store *store, size_t size)
{
    if (size > SIZE_MAX - sizeof(max_align_t))
        return NULL;
    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct fks_store_chunk *newest = store->newest;
    if (!newest || newest->size - newest->used < size) {
        bool alone = size > CHUNK_SIZE / 4;
        struct fks_store_chunk *chunk = create_chunk(alone ? size : CHUNK_SIZE);
        if (!chunk && fks_guard(FKS_GUARD_NO_MEMORY))
            return NULL;
        /* What is large gets a chunk of its own behind the newest, which may have room left. */
        struct fks_store_chunk **place = alone && newest ? &newest->older : &store->newest;
        chunk->older = *place;
        *place = chunk;
        newest = chunk;
    }
    void *piece = newest->bytes + newest->used;
    newest->used += size;
    return memset(piece, 0, size); /* not the whole chunk: a fork copies each page's entry */
}

char *fks_store_text(struct fks_store *store, const char *text, size_t length)
{
    char *copy = fks_store_take(store, length + 1);
    if (copy)
        memcpy(copy, text, length);
    return copy;
}

void fks_store_finish(struct fks_store *store)
{
    while (store->newest) {
        struct fks_store_chunk *older = store->newest->older;
        free(store->newest);
        store->newest = older;
    }
}

void *fks_store_grow(struct fks_store *store, void *items, size_t count, size_t *capacity,
                     size_t size)
{
    if (count < *capacity)
        return items;
    size_t wanted = *capacity ? *capacity * 2 : 8;
    void *larger = fks_store_take(store, wanted * size);
    if (!larger)
        return NULL;
    if (count)
        memcpy(larger, items, count * size);
    *capacity = wanted;
    return larger;
}

struct fks_dict *fks_dict_create(struct fks_store *store)
{
    struct fks_dict *dict = fks_store_take(store, sizeof *dict);
    if (dict)
        dict->store = store;
    return dict;
}

static uint64_t hash_of(const char *name, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3u;
    return hash ^ hash >> 32;
}

/* The slot of the name, or the free one where it belongs. A slot holds the item's index plus one.
 */
static uint32_t *slot_of(const struct fks_dict *dict, const char *name, size_t length)
{
    size_t mask = dict->slot_count - 1;
    for (size_t i = hash_of(name, length) & mask;; i = (i + 1) & mask) {
        uint32_t *slot = &dict->slots[i];
        if (!*slot)
            return slot;
        const char *there = dict->items[*slot - 1].name;
        if (there && !strncmp(there, name, length) && !there[length])
            return slot;
    }
}

/* Keeps at least half of the slots free, so that a search ends soon. */
static int reserve_slots(struct fks_dict *dict)
{
    if ((dict->count + 1) * 2 <= dict->slot_count)
        return 0;
    if (dict->count >= UINT32_MAX / 4)
        return FORKSAFE_ENOMEM;
    size_t wanted = dict->slot_count ? dict->slot_count * 2 : 16;
    uint32_t *slots = fks_store_take(dict->store, wanted * sizeof *slots);
    if (!slots)
        return FORKSAFE_ENOMEM;
    dict->slots = slots;
    dict->slot_count = wanted;
    for (size_t i = 0; i < dict->count; i++)
        if (dict->items[i].name)
            *slot_of(dict, dict->items[i].name, strlen(dict->items[i].name)) = (uint32_t)i + 1;
    return 0;
}

struct fks_pair *fks_dict_find_bytes(const struct fks_dict *dict, const char *name, size_t length)
{
    if (!dict->slot_count)
        return NULL;
    uint32_t slot = *slot_of(dict, name, length);
    return slot ? &dict->items[slot - 1] : NULL;
}

struct fks_pair *fks_dict_find(const struct fks_dict *dict, const char *name)
{
    return fks_dict_find_bytes(dict, name, strlen(name));
}

int fks_dict_put(struct fks_dict *dict, const struct fks_pair *pair)
{
    struct fks_pair *known = fks_dict_find(dict, pair->name);
    if (known) {
        char *name = known->name;
        *known = *pair;
        known->name = name;
        return 0;
    }
    struct fks_pair *items =
        fks_store_grow(dict->store, dict->items, dict->count, &dict->capacity, sizeof *items);
    if (!items)
        return FORKSAFE_ENOMEM;
    dict->items = items;
    if (reserve_slots(dict))
        return FORKSAFE_ENOMEM;
    dict->items[dict->count] = *pair;
    *slot_of(dict, pair->name, strlen(pair->name)) = (uint32_t)dict->count + 1;
    dict->count++;
    dict->live++;
    return 0;
}

int fks_dict_update(struct fks_dict *dict, const struct fks_dict *from)
{
    for (size_t i = 0; i < from->count; i++)
        if (from->items[i].name && fks_dict_put(dict, &from->items[i]))
            return FORKSAFE_ENOMEM;
    return 0;
}

bool fks_dict_pop(struct fks_dict *dict, const char *name, struct fks_pair *out)
{
    struct fks_pair *pair = fks_dict_find(dict, name);
    if (!pair)
        return false;
    if (out)
        *out = *pair;
    pair->name = NULL; /* its slot stays taken, so that searches pass over it */
    dict->live--;
    return true;
}
