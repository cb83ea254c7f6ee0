/* SPDX-License-Identifier: MIT
 *
 * The one list of Lua's own libraries: which there are, and which are safe.
 */
#include "lua_libs.h"

#include <stddef.h>

/* In the order in which they are opened. `jit` is in neither set: the JIT cannot be reached. */
static const struct {
    const char *name;
    lua_CFunction open;
    bool safe;
} libraries[] = {
    {"", luaopen_base, true},
    {LUA_TABLIBNAME, luaopen_table, true},
    {LUA_STRLIBNAME, luaopen_string, true},
    {LUA_MATHLIBNAME, luaopen_math, true},
    {LUA_BITLIBNAME, luaopen_bit, true},
    {LUA_LOADLIBNAME, luaopen_package, false},
    {LUA_IOLIBNAME, luaopen_io, false},
    {LUA_OSLIBNAME, luaopen_os, false},
    {LUA_FFILIBNAME, luaopen_ffi, false},
    {LUA_DBLIBNAME, luaopen_debug, false},
};

void fks_lua_libs_open(lua_State *L, bool full)
{
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        if (!libraries[i].safe && !full)
            continue;
        lua_pushcclosure(L, libraries[i].open, 0);
        lua_pushstring(L, libraries[i].name);
        lua_call(L, 1, 0);
    }
}
