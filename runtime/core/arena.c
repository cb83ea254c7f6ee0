/* SPDX-License-Identifier: MIT
 *
 * Segregated free lists over a bump pointer, the simplest thing that is bounded and keeps objects
 * together. Lua tells us the size of each block it gives back, so blocks carry no header.
 */
#include "arena.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_SIZE   4096u
#define GRAIN       16u
#define SMALL_LIMIT 2048u /* up to here a class every 16 bytes ... */
#define SMALL_BITS  11u   /* of that limit */
#define SMALL_COUNT (SMALL_LIMIT / GRAIN)
#define STEPS       4u /* ... above, four classes for each doubling */
#define DOUBLINGS   21u
#define LARGE_COUNT (STEPS * DOUBLINGS)
#define LARGEST     ((size_t)SMALL_LIMIT << DOUBLINGS) /* 4 GB: LuaJIT's own limit for an object */
#define FRESH       16384u /* enough for the hooks of a start, and soon used up */
#define START_SLACK \
    (4u << 20) /* room beyond the limit while a state is being made, and for size classes */

struct free_block {
    struct free_block *next;
};

/* Stands at the start of its own map, with its owner and the first block behind it: for LuaJIT the
 * state, whose first words every call writes. Thus one page has all three. Another is kept for what
 * is gathered. */
struct fks_arena {
    char *top, *end;
    char *near, *near_end; /* what is left of the page for what is gathered */
    size_t used, limit;
    size_t mapped;
    size_t fresh; /* bytes that a fresh child still takes from where nothing was */
    bool held, gather;
    struct free_block *free[SMALL_COUNT + LARGE_COUNT];
};

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

static size_t round_up(size_t size, size_t to)
{
    return (size + to - 1) / to * to;
}

struct fks_arena *fks_arena_create(size_t limit, size_t owner_size)
{
    size_t size = round_up(limit + limit / 4 + START_SLACK, PAGE_SIZE);
    struct fks_arena *arena = mmap(NULL, size, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED)
        return NULL;
    /* A huge page would be copied whole by the first write in a child. */
    madvise(arena, size, MADV_NOHUGEPAGE);
    arena->limit = limit;
    arena->mapped = size;
    arena->top = (char *)fks_arena_owner(arena) + round_up(owner_size, GRAIN);
    arena->end = (char *)arena + size;
    return arena;
}

void *fks_arena_owner(struct fks_arena *arena)
{
    return (char *)arena + round_up(sizeof *arena, GRAIN);
}

void fks_arena_destroy(struct fks_arena *arena)
{
    if (arena)
        munmap(arena, arena->mapped);
}

void fks_arena_hold(struct fks_arena *arena)
{
    arena->held = true;
}

void fks_arena_gather(struct fks_arena *arena, bool gather)
{
    arena->gather = gather;
    if (arena->near)
        return;
    arena->near = (char *)arena + round_up((size_t)(arena->top - (char *)arena), PAGE_SIZE);
    arena->near_end = arena->top = arena->near + PAGE_SIZE;
}

void fks_arena_forked(struct fks_arena *arena)
{
    arena->fresh = FRESH;
}

size_t fks_arena_used(const struct fks_arena *arena)
{
    return arena->used;
}

/* From the page for what is gathered; NULL where that is not asked for, or full. */
static void *take_near(struct fks_arena *arena, size_t rounded)
{
    if (!(arena->gather || arena->fresh) || rounded > (size_t)(arena->near_end - arena->near))
        return NULL;
    arena->near += rounded;
    return arena->near - rounded;
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

static void *take(struct fks_arena *arena, size_t size)
{
    size_t rounded;
    if (size > arena->mapped || size > LARGEST ||
        (arena->held && arena->used + size > arena->limit))
        return NULL;
    unsigned class = size_class(size, &rounded);
    void *block = take_near(arena, rounded);
    if (!block && arena->fresh >= rounded) {
        arena->fresh -= rounded;
        block = take_new(arena, rounded);
    }
    if (!block)
        block = take_freed(arena, class);
    if (!block)
        block = take_new(arena, rounded);
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
