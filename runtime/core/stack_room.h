/* SPDX-License-Identifier: MIT
 *
 * How much of the calling thread's C stack is left. LuaJIT does not look: functions of its library
 * that call Lua again would go over the end, and the host with them.
 */
#ifndef FKS_STACK_ROOM_H
#define FKS_STACK_ROOM_H

#include <stdbool.h>
#include <stddef.h>

/* Before Lua runs in a thread that may be a new one: finds out where its stack ends, once. Reads
 * /proc/self/maps for the first thread of a process, so it is done in the master; a child has what
 * the thread that forked had. */
void fks_stack_know(void);

/* Whether less than `bytes` are left below the caller, or more is taken than any script should
 * need. `entry`: an address in the frame by which Lua was entered; of a stack that is not the
 * thread's own (a signal's, a fiber's) only a small part below it is ever used. */
bool fks_stack_is_short(const void *entry, size_t bytes);

#endif
