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

/* Maps an arena for `limit` bytes of objects. NULL where there is no memory. */
struct fks_arena *fks_arena_create(size_t limit);

/* Gives everything back; what was allocated in it is gone. NULL is harmless. */
void fks_arena_destroy(struct fks_arena *arena);

/* A lua_Alloc: `arena` is the struct fks_arena. Returns NULL at the limit. */
void *fks_arena_realloc(void *arena, void *block, size_t old_size, size_t new_size);

/* LuaJIT crashes where memory ends while a state is being made: the limit holds only from here on.
 */
void fks_arena_hold(struct fks_arena *arena);

/* Bytes in use, and the most there ever were. */
size_t fks_arena_used(const struct fks_arena *arena);

#endif
