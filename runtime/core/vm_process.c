/* SPDX-License-Identifier: MIT
 *
 * What event.process and forksafe.mark_safe stand on (lua/forksafe/process.lua): remedies and
 * marks. Every function may throw Lua errors: only called from protected Lua.
 */
#include "vm_process.h"

#include "remedy.h"

/* What a remedy returned: a count, or nil and why. */
static int answer(lua_State *L, int count, const struct fks_error *error)
{
    if (count >= 0) {
        lua_pushinteger(L, count);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, error->text);
    return 2;
}

int fks_vm_quarantine(lua_State *L)
{
    struct fks_error error;
    return answer(L, fks_quarantine(luaL_optlstring(L, 1, NULL, NULL), &error), &error);
}

int fks_vm_unshare(lua_State *L)
{
    struct fks_error error;
    return answer(L, fks_unshare((unsigned)luaL_checkinteger(L, 1), &error), &error);
}

int fks_vm_mark(lua_State *L)
{
    struct fks_vm *vm = fks_vm_of(L);
    const char *pattern = luaL_checklstring(L, 1, NULL);
    if (!vm->loading)
        return luaL_error(L, "forksafe.mark_safe works while scripts load, not in a subscriber");
    int code = fks_marks_add(vm->spec->marks, pattern);
    if (code == FORKSAFE_ENOMEM)
        return luaL_error(L, "no memory for more marks");
    lua_pushboolean(L, !code);
    return 1;
}
