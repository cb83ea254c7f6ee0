/* SPDX-License-Identifier: MIT
 *
 * Bounds on single calls of the library set.
 */
#ifndef FKS_VM_GUARD_H
#define FKS_VM_GUARD_H

#include <stddef.h>

#include "luajit.h"

/* Puts the functions of the open libraries that need it behind a guard. Leaves a function on the
 * stack, which returns nothing, or why the C stack has no room for one more coroutine. May throw.
 */
void fks_vm_guard_libraries(lua_State *L);

/* Throws where the C stack has no room for LuaJIT's parser over this text. */
void fks_vm_check_parser(lua_State *L, const char *text, size_t length);

#endif
