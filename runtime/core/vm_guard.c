/* SPDX-License-Identifier: MIT
 *
 * The functions of the library set that may take long in one call, or call Lua again on the C
 * stack: each runs behind a look at both. Runs wherever a script or a subscriber runs.
 */
#include "vm_guard.h"

#include <string.h>

#include "guards.h"
#include "stack_room.h"
#include "vm_private.h"

#define MARGIN   49152u  /* of the C stack, for what LuaJIT calls before it comes here again */
#define LEVELS   200u    /* that LuaJIT's parser goes down at most; measured, each takes ... */
#define LEVEL    360u    /* ... this much of the C stack, whatever is nested ... */
#define FUNCTION 1400u   /* ... or this much, where it is a function */
#define LITTLE   100000u /* steps that take less than getting a timer would matter */

static const char too_deep[] = "stack overflow (too little of the C stack is left)";

static bool is_short(lua_State *L, size_t bytes)
{
    return fks_guard(FKS_GUARD_RECURSION) && fks_stack_is_short(fks_vm_of(L)->limits.entry, bytes);
}

static size_t length_at(lua_State *L, int index)
{
    size_t length = 0;
    if (lua_type(L, index) == LUA_TSTRING)
        lua_tolstring(L, index, &length);
    return length;
}

/* The most that a search can take, roughly: each repetition in the pattern may try every length of
 * what it matches, from each place of the text. */
static bool matches_long(lua_State *L)
{
    size_t text = length_at(L, 1) + 1, steps = text;
    const char *pattern = lua_type(L, 2) == LUA_TSTRING ? lua_tolstring(L, 2, NULL) : "";
    for (const char *at = pattern; *at && steps <= LITTLE; at++)
        if (strchr("*+-", *at))
            steps *= text;
        else if (*at == '?')
            steps *= 2;
    return steps * (length_at(L, 2) + 1) > LITTLE * 8;
}

static bool sorts_long(lua_State *L)
{
    size_t count = lua_type(L, 1) == LUA_TTABLE ? lua_objlen(L, 1) : 0;
    return count > LITTLE || count * count > LITTLE;
}

static bool is_never_long(lua_State *L)
{
    (void)L;
    return false;
}

static const struct guarded {
    const char *library, *name;
    bool (*is_long)(lua_State *L); /* for these arguments */
} all_guarded[] = {
    {LUA_STRLIBNAME, "find", matches_long},    {LUA_STRLIBNAME, "match", matches_long},
    {LUA_STRLIBNAME, "gmatch", matches_long},  {LUA_STRLIBNAME, "gsub", matches_long},
    {LUA_STRLIBNAME, "format", is_never_long}, {LUA_TABLIBNAME, "sort", sorts_long},
};

/* Upvalues: its struct guarded, and LuaJIT's own function, which runs in this very frame, so that
 * its errors name it as usual. */
static int call_guarded(lua_State *L)
{
    const struct guarded *guarded = lua_touserdata(L, lua_upvalueindex(1));
    lua_CFunction own = lua_tocfunction(L, lua_upvalueindex(2));
    if (is_short(L, MARGIN))
        return luaL_error(L, "%s", too_deep);
    if (guarded->is_long(L))
        fks_limits_watch(&fks_vm_of(L)->limits);
    return own(L);
}

/* For coroutines: nothing, or why there cannot be one more on top of those that run. */
static int explain_depth(lua_State *L)
{
    if (!is_short(L, MARGIN))
        return 0;
    lua_pushstring(L, too_deep);
    return 1;
}

/* How often `function` stands in a text, up to the levels that there can be. */
static size_t count_functions(const char *text, size_t length)
{
    static const char word[] = "function";
    size_t count = 0;
    const char *end = text + length, *at = text;
    while (count < LEVELS && (at = memmem(at, (size_t)(end - at), word, sizeof word - 1))) {
        at += sizeof word - 1;
        count++;
    }
    return count;
}

void fks_vm_check_parser(lua_State *L, const char *text, size_t length)
{
    size_t levels = length < LEVELS ? length : LEVELS;
    if (is_short(L, MARGIN + levels * LEVEL + count_functions(text, length) * FUNCTION))
        luaL_error(L, "%s", too_deep);
}

void fks_vm_guard_libraries(lua_State *L)
{
    for (size_t i = 0; i < sizeof all_guarded / sizeof *all_guarded; i++) {
        const struct guarded *guarded = &all_guarded[i];
        lua_getfield(L, LUA_GLOBALSINDEX, guarded->library); // library
        lua_pushlightuserdata(L, (void *)guarded);
        lua_getfield(L, -2, guarded->name); // library guarded function
        lua_pushcclosure(L, call_guarded, 2);
        lua_setfield(L, -2, guarded->name);
        lua_settop(L, -2);
    }
    lua_pushcclosure(L, explain_depth, 0); // for init.lua
}
