/* SPDX-License-Identifier: MIT
 *
 * Bounds on what a subscriber may use of its process's time. What it may use of memory is the
 * arena's. A stop here is a Lua error thrown from a count hook: it reaches Lua code, not a long
 * call inside a C function of the library set. Used under the dispatch lock: one run at a time.
 */
#ifndef FKS_LIMITS_H
#define FKS_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "luajit.h"

/* Once for a new state: the hook stays installed, and costs a look at one flag every so many
 * instructions. */
void fks_limits_install(lua_State *L);

/* A run begins: `cpu_ns` of the calling thread's CPU time and ten times that by the wall (0: no
 * limit). */
void fks_limits_begin(uint64_t cpu_ns, uint64_t now);

/* The run has ended. Returns whether it had to be stopped. */
bool fks_limits_end(lua_State *L);

#endif
