/* SPDX-License-Identifier: MIT
 *
 * LuaJIT, isolated. The library is not linked to it: libluajit and liblua5.x export the same
 * unversioned names, and a host with either would make one of the two crash. fks_luajit_load opens
 * libluajit alone, with RTLD_LOCAL and RTLD_DEEPBIND, and the functions of lua.h used here are
 * hidden jumps through a table of its symbols. C that includes this header reads as usual.
 */
#ifndef FKS_LUAJIT_H
#define FKS_LUAJIT_H

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>
#include <stdbool.h>

#include "error.h"

/* Every function of LuaJIT's C API that we call: one name, one jump. */
#define FKS_LUAJIT_FUNCTIONS(X) \
    X(lua_newstate)             \
    X(lua_getallocf)            \
    X(lua_close)                \
    X(lua_atpanic)              \
    X(lua_gettop)               \
    X(lua_settop)               \
    X(lua_pushvalue)            \
    X(lua_remove)               \
    X(lua_insert)               \
    X(lua_replace)              \
    X(lua_checkstack)           \
    X(lua_type)                 \
    X(lua_typename)             \
    X(lua_rawequal)             \
    X(lua_tonumber)             \
    X(lua_tointeger)            \
    X(lua_toboolean)            \
    X(lua_tolstring)            \
    X(lua_touserdata)           \
    X(lua_tocfunction)          \
    X(lua_objlen)               \
    X(lua_pushnil)              \
    X(lua_pushnumber)           \
    X(lua_pushinteger)          \
    X(lua_pushlstring)          \
    X(lua_pushstring)           \
    X(lua_pushvfstring)         \
    X(lua_pushfstring)          \
    X(lua_pushcclosure)         \
    X(lua_pushboolean)          \
    X(lua_pushlightuserdata)    \
    X(lua_gettable)             \
    X(lua_getfield)             \
    X(lua_rawget)               \
    X(lua_rawgeti)              \
    X(lua_createtable)          \
    X(lua_getmetatable)         \
    X(lua_settable)             \
    X(lua_setfield)             \
    X(lua_rawset)               \
    X(lua_rawseti)              \
    X(lua_setmetatable)         \
    X(lua_setfenv)              \
    X(lua_call)                 \
    X(lua_pcall)                \
    X(lua_gc)                   \
    X(lua_error)                \
    X(lua_next)                 \
    X(lua_concat)               \
    X(lua_getstack)             \
    X(lua_getinfo)              \
    X(lua_sethook)              \
    X(lua_isstring)             \
    X(lua_isnumber)             \
    X(luaJIT_setmode)           \
    X(luaL_newstate)            \
    X(luaL_openlibs)            \
    X(luaL_ref)                 \
    X(luaL_unref)               \
    X(luaL_loadbufferx)         \
    X(luaL_traceback)           \
    X(luaL_where)               \
    X(luaL_error)               \
    X(luaL_argerror)            \
    X(luaL_checklstring)        \
    X(luaL_optlstring)          \
    X(luaL_checkinteger)        \
    X(luaL_optinteger)          \
    X(luaL_checknumber)         \
    X(luaL_checktype)           \
    X(luaL_checkany)            \
    X(luaL_checkstack)          \
    X(luaL_checkoption)         \
    X(luaL_callmeta)            \
    X(luaL_getmetafield)        \
    X(luaL_newmetatable)        \
    X(luaopen_base)             \
    X(luaopen_string)           \
    X(luaopen_table)            \
    X(luaopen_math)             \
    X(luaopen_bit)              \
    X(luaopen_io)               \
    X(luaopen_os)               \
    X(luaopen_ffi)              \
    X(luaopen_package)          \
    X(luaopen_debug)

/* Opens libluajit-5.1.so.2 and finds every function, once a process; later calls return 0 at once.
 * Master (or a command): dlopen is not for a fresh child. Returns 0, or FORKSAFE_ELUAJIT with a
 * line that names what is missing and the package that has it. */
int fks_luajit_load(struct fks_error *error);

/* Whether a program counter is in LuaJIT's own code. Async-signal-safe; any process. */
bool fks_luajit_has_code(const void *program_counter);

/* LuaJIT keeps the error that it throws in data of the thread. glibc makes room for that when a
 * thread throws its first one, and ends the process where there is none: so the first one is thrown
 * here, when there is. Before Lua runs in a thread that may be a new one; a child has what the
 * thread that forked had. Leaves the stack of L as it was. Returns 0, or FORKSAFE_ENOMEM: then no
 * Lua may run. */
int fks_luajit_use_thread(lua_State *L);

#endif
