/* SPDX-License-Identifier: MIT
 *
 * The library sets that forksafe.lua_libs chooses from, for subscribers and for the worker script.
 */
#ifndef FKS_LUA_LIBS_H
#define FKS_LUA_LIBS_H

#include <stdbool.h>

#include "luajit.h"

/* Opens the safe set, or the full one. Throws where memory is short: only from protected Lua. */
void fks_lua_libs_open(lua_State *L, bool full);

#endif
