/* SPDX-License-Identifier: MIT
 *
 * Segregated free lists over a bump pointer, the simplest thing that is bounded and keeps objects
 * together. Lua tells us the size of each block it gives back, so blocks carry no header.
 */
#include "arena.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define GRAIN       16u
#define SMALL_LIMIT 1024u /* up to here a class every 16 bytes ... */
#define SMALL_COUNT (SMALL_LIMIT / GRAIN)
#define STEPS       4u /* ... above, four classes for each doubling */
#define LARGE_COUNT (STEPS * 40u)
#define START_SLACK \
    (4u << 20) /* room beyond the limit while a state is being made, and for size classes */

struct free_block {
    struct free_block *next;
};

/* Stands at the start of its own map: the page that every allocation writes is next to the first
 * objects. */
struct fks_arena {
    char *top, *end;
    size_t used, limit;
    size_t mapped;
    bool held;
    struct free_block *free[SMALL_COUNT + LARGE_COUNT];
};

static unsigned large_class(size_t size, size_t *rounded)
{
    unsigned doubling = 63u - (unsigned)__builtin_clzll(size - 1); /* size is in (2^d, 2^(d+1)] */
    size_t base = (size_t)1 << doubling;
    size_t step = base / STEPS;
    unsigned part = (unsigned)((size - base + step - 1) / step);
    *rounded = base + part * step;
    return SMALL_COUNT + (doubling - 10u) * STEPS + part - 1;
}

static unsigned size_class(size_t size, size_t *rounded)
{
    if (size > SMALL_LIMIT)
        return large_class(size, rounded);
    *rounded = (size + GRAIN - 1) / GRAIN * GRAIN;
    return (unsigned)(*rounded / GRAIN) - 1;
}

struct fks_arena *fks_arena_create(size_t limit)
{
    size_t size = (limit + limit / 4 + START_SLACK + 4095) & ~(size_t)4095;
    struct fks_arena *arena = mmap(NULL, size, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED)
        return NULL;
    /* A huge page would be copied whole by the first write in a child. */
    madvise(arena, size, MADV_NOHUGEPAGE);
    arena->limit = limit;
    arena->mapped = size;
    arena->top = (char *)arena + (sizeof *arena + GRAIN - 1) / GRAIN * GRAIN;
    arena->end = (char *)arena + size;
    return arena;
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

size_t fks_arena_used(const struct fks_arena *arena)
{
    return arena->used;
}

static void *take(struct fks_arena *arena, size_t size)
{
    size_t rounded;
    if (size > arena->mapped || (arena->held && arena->used + size > arena->limit))
        return NULL;
    struct free_block **list = &arena->free[size_class(size, &rounded)];
    void *block = *list;
    if (block) {
        *list = (*list)->next;
    } else {
        if (rounded > (size_t)(arena->end - arena->top))
            return NULL;
        block = arena->top;
        arena->top += rounded;
    }
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
