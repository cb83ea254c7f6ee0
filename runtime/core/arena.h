/* SPDX-License-Identifier: MIT
 *
 * The memory of one Lua VM: a private map of its own, bounded, given back in one step. Small
 * objects of a VM lie close together, so that a hook in a fresh child touches few pages. Used by
 * one thread at a time.
 */
#ifndef FKS_ARENA_H
#define FKS_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct fks_arena;

/* Maps an arena for `limit` bytes of objects, with `owner_size` zeroed bytes for who owns it. NULL
 * where there is no memory. */
struct fks_arena *fks_arena_create(size_t limit, size_t owner_size);

/* The owner's bytes: on the page that every allocation writes to. They go with the arena. */
void *fks_arena_owner(struct fks_arena *arena);

/* Gives everything back; what was allocated in it is gone. NULL is harmless. */
void fks_arena_destroy(struct fks_arena *arena);

/* A lua_Alloc: `arena` is the struct fks_arena. Returns NULL at the limit. */
void *fks_arena_realloc(void *arena, void *block, size_t old_size, size_t new_size);

/* Whether the limit holds. Not while a state is being made, where LuaJIT crashes if memory ends,
 * nor while it collects garbage, which it gives up if a smaller table of its strings cannot be had.
 */
void fks_arena_hold(struct fks_arena *arena, bool hold);

/* Until it is told otherwise: what is allocated goes onto the page that is kept for what every hook
 * writes, as long as there is room. */
void fks_arena_gather(struct fks_arena *arena, bool gather);

/* Fresh child: its first objects go to the rest of that page, and after it to where nothing was
 * yet, since each block that the parent gave back would copy a page of its own. */
void fks_arena_forked(struct fks_arena *arena);

/* Bytes in use, and the most there ever were. */
size_t fks_arena_used(const struct fks_arena *arena);

#endif
