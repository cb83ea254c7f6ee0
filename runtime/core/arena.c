/* SPDX-License-Identifier: MIT
 *
 * Segregated free lists over a bump pointer, the simplest thing that is bounded and keeps objects
 * together. Lua tells us the size of each block it gives back, so blocks carry no header. Where the
 * map comes to its end, free neighbours are merged.
 */
#include "arena.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "guards.h"

#define PAGE_SIZE   4096u
#define GRAIN       16u
#define SMALL_LIMIT 2048u /* up to here a class every 16 bytes ... */
#define SMALL_BITS  11u   /* of that limit */
#define SMALL_COUNT (SMALL_LIMIT / GRAIN)
#define STEPS       4u /* ... above, four classes for each doubling */
#define DOUBLINGS   21u
#define LARGE_COUNT (STEPS * DOUBLINGS)
#define LARGEST     ((size_t)SMALL_LIMIT << DOUBLINGS) /* 4 GB: LuaJIT's own limit for an object */
#define HOT         2688u                              /* of its page, for what is gathered */
#define FREE_LISTS  PAGE_SIZE
#define FRESH       16384u /* enough for the hooks of a start, and soon used up */
#define START_SLACK \
    (4u << 20) /* room beyond the limit while a state is being made, and for size classes */
#define HELD_SLACK (1u << 20) /* what is left of that afterwards */
#define MERGES     16u        /* at most, while as much comes back as the limit allows */
#define SORT_BINS  40u        /* runs of doubling length: more blocks than fit into an arena */

struct free_block {
    struct free_block *next;
    size_t size; /* while neighbours are looked for */
};

/* What is left of a place for what is gathered. */
struct place {
    char *at, *end;
};

/* Stands at the start of a page of its own map, then a place for what is gathered, its owner and
 * the first block: for LuaJIT the state, whose first words every call writes. Thus one page has all
 * that a hook writes which allocates nothing. Before it lie the free lists; another page is kept
 * for more of what is gathered. */
struct fks_arena {
    char *top, *end;
    struct place hot, near;
    size_t used, limit;
    size_t mapped;
    size_t given; /* bytes that came back since neighbours were merged */
    size_t fresh; /* bytes that a fresh child still takes from where nothing was */
    bool held, gather;
    struct free_block **free;
};

_Static_assert((SMALL_COUNT + LARGE_COUNT) * sizeof(struct free_block *) <= FREE_LISTS, "one page");

static unsigned large_class(size_t size, size_t *rounded)
{
    unsigned doubling = 63u - (unsigned)__builtin_clzll(size - 1); /* size is in (2^d, 2^(d+1)] */
    size_t base = (size_t)1 << doubling;
    size_t step = base / STEPS;
    unsigned part = (unsigned)((size - base + step - 1) / step);
    *rounded = base + part * step;
    return SMALL_COUNT + (doubling - SMALL_BITS) * STEPS + part - 1;
}

static unsigned size_class(size_t size, size_t *rounded)
{
    if (size > SMALL_LIMIT)
        return large_class(size, rounded);
    *rounded = (size + GRAIN - 1) / GRAIN * GRAIN;
    return (unsigned)(*rounded / GRAIN) - 1;
}

static size_t class_size(unsigned class)
{
    if (class < SMALL_COUNT)
        return (class + 1) * GRAIN;
    size_t base = (size_t)1 << (SMALL_BITS + (class - SMALL_COUNT) / STEPS);
    return base + ((class - SMALL_COUNT) % STEPS + 1) * (base / STEPS);
}

static size_t round_up(size_t size, size_t to)
{
    return (size + to - 1) / to * to;
}

struct fks_arena *fks_arena_create(size_t limit, size_t owner_size)
{
    if (!fks_guard(FKS_GUARD_MEMORY))
        limit *= 4;
    size_t size = round_up(limit + limit / 4 + START_SLACK, PAGE_SIZE);
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    /* A huge page would be copied whole by the first write in a child. */
    madvise(map, size, MADV_NOHUGEPAGE);
    struct fks_arena *arena = (struct fks_arena *)(map + FREE_LISTS);
    arena->free = (struct free_block **)map;
    arena->limit = limit;
    arena->mapped = size;
    arena->hot.end = fks_arena_owner(arena);
    arena->hot.at = arena->hot.end - HOT;
    arena->top = (char *)fks_arena_owner(arena) + round_up(owner_size, GRAIN);
    arena->end = map + size;
    return arena;
}

void *fks_arena_owner(struct fks_arena *arena)
{
    return (char *)arena + round_up(sizeof *arena, GRAIN) + HOT;
}

void fks_arena_destroy(struct fks_arena *arena)
{
    if (arena)
        munmap(arena->free, arena->mapped);
}

static char *held_end(struct fks_arena *arena)
{
    char *end = (char *)arena + round_up(arena->limit + HELD_SLACK, PAGE_SIZE);
    return end > arena->top ? end : arena->top;
}

static char *map_end(struct fks_arena *arena)
{
    return (char *)arena->free + arena->mapped;
}

void fks_arena_hold(struct fks_arena *arena, bool hold)
{
    arena->held = hold;
    arena->end = hold && held_end(arena) < map_end(arena) ? held_end(arena) : map_end(arena);
}

void fks_arena_gather(struct fks_arena *arena, bool gather)
{
    arena->gather = gather;
    if (arena->near.at)
        return;
    arena->near.at = (char *)round_up((uintptr_t)arena->top, PAGE_SIZE);
    arena->near.end = arena->top = arena->near.at + PAGE_SIZE;
}

void fks_arena_forked(struct fks_arena *arena)
{
    arena->fresh = FRESH;
}

size_t fks_arena_used(const struct fks_arena *arena)
{
    return arena->used;
}

static void *take_of(struct place *place, size_t rounded)
{
    if (rounded > (size_t)(place->end - place->at))
        return NULL;
    place->at += rounded;
    return place->at - rounded;
}

/* From where things are gathered; NULL where that is not asked for, or there is no room. */
static void *take_near(struct fks_arena *arena, size_t rounded)
{
    if (!arena->gather && !arena->fresh)
        return NULL;
    void *block = take_of(&arena->hot, rounded);
    return block ? block : take_of(&arena->near, rounded);
}

static void *take_new(struct fks_arena *arena, size_t rounded)
{
    char *block = arena->top;
    if (!arena->held && !(rounded % PAGE_SIZE)) /* the table of all strings: on as few as can be */
        block = (char *)round_up((uintptr_t)block, PAGE_SIZE);
    if (block > arena->end || rounded > (size_t)(arena->end - block))
        return NULL;
    arena->top = block + rounded;
    return block;
}

static void *take_freed(struct fks_arena *arena, unsigned class)
{
    struct free_block *block = arena->free[class];
    if (block)
        arena->free[class] = block->next;
    return block;
}

/* Makes free blocks of the bytes at an address: as few as the classes allow. */
static void put_free(struct fks_arena *arena, char *at, size_t size)
{
    while (size) {
        size_t rounded;
        unsigned class = size_class(size, &rounded);
        if (rounded > size)
            rounded = class_size(--class);
        struct free_block *block = (struct free_block *)at;
        block->next = arena->free[class];
        arena->free[class] = block;
        at += rounded;
        size -= rounded;
    }
}

/* From a free block of a larger class. */
static void *take_split(struct fks_arena *arena, unsigned class, size_t rounded)
{
    for (unsigned larger = class + 1; larger < SMALL_COUNT + LARGE_COUNT; larger++) {
        char *block = take_freed(arena, larger);
        if (block) {
            put_free(arena, block + rounded, class_size(larger) - rounded);
            return block;
        }
    }
    return NULL;
}

static struct free_block *merge_sorted(struct free_block *a, struct free_block *b)
{
    struct free_block *all = NULL, **end = &all;
    while (a && b) {
        struct free_block **lower = a < b ? &a : &b;
        *end = *lower;
        end = &(*lower)->next;
        *lower = *end;
    }
    *end = a ? a : b;
    return all;
}

/* Takes every free block out of its list. Returns all by rising address, with their sizes. */
static struct free_block *sort_free(struct fks_arena *arena)
{
    struct free_block *bins[SORT_BINS] = {NULL}, *block;
    for (unsigned class = 0; class < SMALL_COUNT + LARGE_COUNT; class ++)
        while ((block = take_freed(arena, class))) {
            unsigned bin = 0;
            block->next = NULL;
            block->size = class_size(class);
            for (; bins[bin]; bin++) {
                block = merge_sorted(bins[bin], block);
                bins[bin] = NULL;
            }
            bins[bin] = block;
        }
    struct free_block *all = NULL;
    for (unsigned bin = 0; bin < SORT_BINS; bin++)
        all = merge_sorted(all, bins[bin]);
    return all;
}

/* Makes one block of free neighbours, and what lies below `top` new again. Takes a while where much
 * is free: only where there is nothing else, and since the last time much came back. */
static bool merge_neighbours(struct fks_arena *arena)
{
    if (arena->given < arena->limit / MERGES)
        return false;
    arena->given = 0;
    struct free_block *block = sort_free(arena);
    while (block) {
        char *at = (char *)block, *end = at;
        for (; block && (char *)block == end; block = block->next)
            end += block->size;
        if (end == arena->top)
            arena->top = at;
        else
            put_free(arena, at, (size_t)(end - at));
    }
    return true;
}

/* The places where a block can come from, from the best to the last. */
static void *find(struct fks_arena *arena, unsigned class, size_t rounded)
{
    void *block = take_near(arena, rounded);
    if (!block && arena->fresh >= rounded) {
        arena->fresh -= rounded;
        block = take_new(arena, rounded);
    }
    if (!block)
        block = take_freed(arena, class);
    if (!block)
        block = take_new(arena, rounded);
    if (!block)
        block = take_split(arena, class, rounded);
    return block;
}

static void *take(struct fks_arena *arena, size_t size)
{
    size_t rounded;
    if (size > arena->mapped || size > LARGEST ||
        (arena->held && arena->used + size > arena->limit))
        return NULL;
    unsigned class = size_class(size, &rounded);
    void *block = find(arena, class, rounded);
    if (!block && merge_neighbours(arena))
        block = find(arena, class, rounded);
    if (block)
        arena->used += size;
    return block;
}

static void give(struct fks_arena *arena, void *block, size_t size)
{
    size_t rounded;
    struct free_block **list = &arena->free[size_class(size, &rounded)];
    struct free_block *freed = block;
    freed->next = *list;
    *list = freed;
    arena->given += rounded;
    arena->used -= size;
}

void *fks_arena_realloc(void *data, void *block, size_t old_size, size_t new_size)
{
    struct fks_arena *arena = data;
    if (!new_size) {
        if (block && old_size)
            give(arena, block, old_size);
        return NULL;
    }
    if (!block || !old_size)
        return take(arena, new_size);
    size_t old_rounded, new_rounded;
    if (size_class(old_size, &old_rounded) == size_class(new_size, &new_rounded) &&
        (new_size <= old_size || !arena->held ||
         arena->used - old_size + new_size <= arena->limit)) {
        arena->used = arena->used - old_size + new_size;
        return block;
    }
    void *moved = take(arena, new_size);
    if (!moved) /* Lua counts on shrinking to succeed */
        return new_size <= old_size ? block : NULL;
    memcpy(moved, block, old_size < new_size ? old_size : new_size);
    give(arena, block, old_size);
    return moved;
}
