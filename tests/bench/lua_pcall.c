/* SPDX-License-Identifier: MIT
 *
 * The floor of a warm hook: the same script as a function that lua_pcall calls in a state of its
 * own (JIT off), with an event table, and nothing else. Arguments: SCRIPT COUNT. One line of JSON.
 */
#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* What the script needs: forksafe.log.info, which formats its line and drops it, and an event. */
static const char prelude[] =
    "local format = string.format\n"
    "forksafe = { log = { info = function(text, ...) return format(text, ...) end } }\n"
    "event = { worker = 1, pid = 4711, registry = { settings = { ['db.host'] = '10.0.0.5' } } }\n";

int main(int argc, char **argv)
{
    lua_State *L = luaL_newstate();
    if (argc != 3 || !L)
        return 2;
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    luaL_openlibs(L);
    if (luaL_dostring(L, prelude) || luaL_loadfile(L, argv[1]) || lua_pcall(L, 0, 1, 0))
        return 1;
    struct timespec before, after;
    int count = atoi(argv[2]);
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 0; i < count; i++) {
        lua_pushvalue(L, -1);
        lua_getglobal(L, "event");
        if (lua_pcall(L, 1, 0, 0))
            return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &after);
    double ns =
        (double)(after.tv_sec - before.tv_sec) * 1e9 + (double)(after.tv_nsec - before.tv_nsec);
    printf("{\"microseconds\": %.4f}\n", ns / 1e3 / count);
    return 0;
}
