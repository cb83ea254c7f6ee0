/* SPDX-License-Identifier: MIT
 *
 * The event tables of a VM: made with it, and filled at each firing, in fresh children above all,
 * so that no name is looked up there and no table grows.
 */
#include "vm_private.h"

#include "names.h"

/* What a firing sets: upvalues of prepare_event, so that no name is looked up in a fresh child. */
enum field {
    PID = 1,
    PPID,
    GENERATION,
    WORKER,
    FORKED,
    APP_LOADED,
    ROLE,
    CHILD,
    EXIT,
    SIGNAL,
    FIELDS
};

static const char *const field_names[FIELDS] = {
    [PID] = "pid",       [PPID] = "ppid",     [GENERATION] = "generation",
    [WORKER] = "worker", [FORKED] = "forked", [APP_LOADED] = "app_loaded",
    [ROLE] = "role",     [CHILD] = "child",   [EXIT] = "exit",
    [SIGNAL] = "signal",
};

/* And behind them the words for roles. */
static int role_word(int32_t role)
{
    unsigned known = (unsigned)role < FORKSAFE_ROLE_COUNT ? (unsigned)role : FORKSAFE_ROLE_WORKER;
    return FIELDS + (int)known;
}

/* Sets a field of the table on top. Raw: a metatable that a script gave an event must not run here,
 * where nothing bounds it. */
static void set_integer(lua_State *L, enum field field, lua_Integer value)
{
    lua_pushvalue(L, lua_upvalueindex((int)field)); // table name
    lua_pushinteger(L, value);                      // table name value
    lua_rawset(L, -3);
}

static void set_boolean(lua_State *L, enum field field, bool value)
{
    lua_pushvalue(L, lua_upvalueindex((int)field));
    lua_pushboolean(L, value);
    lua_rawset(L, -3);
}

/* To the value at an index that does not count from the top. */
static void set_value(lua_State *L, enum field field, int index)
{
    lua_pushvalue(L, lua_upvalueindex((int)field));
    lua_pushvalue(L, index);
    lua_rawset(L, -3);
}

/* A number from `least` on, or nil for what there is not: a slot of a server without slots, the
 * signal of a child that exited. */
static void set_known(lua_State *L, enum field field, int value, int least)
{
    if (value >= least) {
        set_integer(L, field, value);
        return;
    }
    lua_pushvalue(L, lua_upvalueindex((int)field));
    lua_pushnil(L);
    lua_rawset(L, -3);
}

/* lua_CFunction: puts vm->firing into the event's table. All names are there already, so nothing
 * grows. */
static int prepare_event(lua_State *L)
{
    const struct fks_vm *vm = fks_vm_of(L);
    const struct fks_vm_event *firing = vm->firing;
    const struct forksafe_occasion *occasion = firing->occasion;
    if (firing->event == FORKSAFE_CHILD_EXIT) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, vm->child); // child
        set_integer(L, PID, occasion->child_pid);
        set_known(L, WORKER, occasion->worker, 1);
        set_known(L, EXIT, occasion->child_signal ? -1 : occasion->child_exit, 0);
        set_known(L, SIGNAL, occasion->child_signal, 1);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->events[firing->event]); // [child] event
    set_integer(L, PID, firing->pid);
    set_integer(L, PPID, firing->ppid);
    set_integer(L, GENERATION, (lua_Integer)firing->generation);
    set_known(L, WORKER, occasion->worker, 1);
    set_boolean(L, FORKED, occasion->forked);
    set_boolean(L, APP_LOADED, occasion->app_loaded);
    set_value(L, ROLE, lua_upvalueindex(role_word(occasion->role)));
    if (firing->event == FORKSAFE_CHILD_EXIT)
        set_value(L, CHILD, 1); /* a script may have put something else there */
    return 0;
}

void fks_vm_push_prepare(lua_State *L)
{
    for (int field = 1; field < FIELDS; field++)
        lua_pushstring(L, field_names[field]);
    for (int role = 0; role < FORKSAFE_ROLE_COUNT; role++)
        lua_pushstring(L, fks_role_names[role]);
    lua_pushcclosure(L, prepare_event, FIELDS - 1 + FORKSAFE_ROLE_COUNT);
}

void fks_vm_make_event(lua_State *L, struct fks_vm *vm, int event)
{
    fks_arena_gather(vm->arena, event == FORKSAFE_POST_FORK || event == FORKSAFE_POST_WORKER_INIT ||
                                    event == FORKSAFE_WORKER_EXIT);
    lua_getfield(L, -1, "new_event"); // functions new_event
    lua_pushinteger(L, event + 1);
    lua_call(L, 1, 1); // functions event
    fks_arena_gather(vm->arena, false);
    vm->events[event] = luaL_ref(L, LUA_REGISTRYINDEX);
}
