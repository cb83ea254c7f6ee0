/* SPDX-License-Identifier: MIT
 *
 * The life of a VM: state in its arena, libraries, our Lua, the user's scripts, then one protected
 * call a subscriber. Every entry into Lua is protected, and what is called again and again stands
 * ready on the state's stack.
 */
#include "vm_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "embedded.h"
#include "journal.h"
#include "limits.h"
#include "names.h"

/* There is one VM for each state, and a state's allocator data is its arena: but LuaJIT offers no
 * cheap way back from a coroutine. One VM runs at a time, so a variable serves. */
static struct fks_vm *current;

struct fks_vm *fks_vm_of(lua_State *L)
{
    (void)L;
    return current;
}

static void set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

/* A number from `least` on, or nil for what there is not: a slot of a server without slots, the
 * signal of a child that exited. */
static void set_known(lua_State *L, const char *name, int value, int least)
{
    if (value >= least)
        lua_pushinteger(L, value);
    else
        lua_pushnil(L);
    lua_setfield(L, -2, name);
}

static void set_boolean(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

/* lua_CFunction: puts vm->firing into the event's table. All names are there already, so nothing
 * grows. */
static int prepare_event(lua_State *L)
{
    const struct fks_vm_event *firing = current->firing;
    const struct forksafe_occasion *occasion = firing->occasion;
    lua_rawgeti(L, LUA_REGISTRYINDEX, current->events[firing->event]); // event
    set_integer(L, "pid", firing->pid);
    set_integer(L, "ppid", firing->ppid);
    set_integer(L, "generation", (lua_Integer)firing->generation);
    set_known(L, "worker", occasion->worker, 1);
    set_boolean(L, "forked", occasion->forked);
    set_boolean(L, "app_loaded", occasion->app_loaded);
    unsigned role = (unsigned)occasion->role;
    lua_pushstring(L, role < FORKSAFE_ROLE_COUNT ? fks_role_names[role] : "worker");
    lua_setfield(L, -2, "role");
    if (firing->event != FORKSAFE_CHILD_EXIT)
        return 0;
    lua_getfield(L, -1, "child"); // event child
    set_integer(L, "pid", occasion->child_pid);
    set_known(L, "worker", occasion->worker, 1);
    set_known(L, "exit", occasion->child_signal ? -1 : occasion->child_exit, 0);
    set_known(L, "signal", occasion->child_signal, 1);
    return 0;
}

static int collect_garbage(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

/* Pops a table's field into a reference. */
static int take_reference(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* lua_CFunction: libraries, then init.lua, and references to what it returns. */
static int build_state(lua_State *L)
{
    size_t length;
    const char *text = fks_embedded("forksafe/init.lua", &length);
    if (!text || luaL_loadbufferx(L, text, length, "=forksafe", "t"))
        return lua_error(L);
    lua_pushcclosure(L, fks_vm_open_libraries, 0);
    lua_call(L, 0, 1); // init native
    lua_call(L, 1, 1); // table of functions
    current->run_script = take_reference(L, "run_script");
    current->abort_script = take_reference(L, "abort_script");
    lua_getfield(L, -1, "events"); // functions events
    for (int event = 0; event < FORKSAFE_EVENT_COUNT; event++) {
        lua_rawgeti(L, -1, event + 1);
        current->events[event] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    return 0;
}

/* The text of the error on top of the stack, scrubbed; pops it. */
static const char *take_error(struct fks_vm *vm)
{
    size_t length = 0;
    const char *text = NULL;
    if (lua_type(vm->L, -1) == LUA_TSTRING)
        text = lua_tolstring(vm->L, -1, &length);
    if (!text) {
        text = "(error in the error's own __tostring)";
        length = strlen(text);
    }
    fks_scrub_text(vm->scrub, text, length, vm->error, sizeof vm->error);
    lua_settop(vm->L, -2);
    return vm->error;
}

/* lua_CFunction: vm->loading through init.lua's run_script. */
static int load_script(lua_State *L)
{
    const struct fks_script *script = current->loading;
    lua_rawgeti(L, LUA_REGISTRYINDEX, current->run_script);
    lua_pushlstring(L, script->text, script->length);
    lua_pushstring(L, script->path);
    lua_pushstring(L, script->name);
    if (script->event == FKS_NO_EVENT)
        lua_pushnil(L);
    else
        lua_pushinteger(L, script->event);
    lua_call(L, 4, 0);
    return 0;
}

static void drop_subscribers_of(struct fks_vm *vm, const struct fks_script *script)
{
    size_t kept = 0;
    for (size_t i = 0; i < vm->count; i++) {
        if (vm->subscribers[i].script == script)
            free(vm->subscribers[i].name);
        else
            vm->subscribers[kept++] = vm->subscribers[i];
    }
    vm->count = kept;
}

static bool run_script(struct fks_vm *vm, const struct fks_script *script)
{
    lua_State *L = vm->L;
    vm->loading = script;
    fks_limits_begin(vm->spec->config->time_limit, fks_now());
    lua_pushcclosure(L, load_script, 0);
    int status = lua_pcall(L, 0, 0, FKS_VM_TRACEBACK);
    fks_limits_end(L);
    if (status) {
        vm->spec->complain(take_error(vm), vm->spec->data);
        drop_subscribers_of(vm, script);
        lua_rawgeti(L, LUA_REGISTRYINDEX, vm->abort_script);
        if (lua_pcall(L, 0, 0, 0))
            lua_settop(L, -2);
    }
    vm->loading = NULL;
    return !status;
}

static int by_event_and_order(const void *left, const void *right)
{
    const struct fks_subscriber *a = left, *b = right;
    if (a->event != b->event)
        return a->event < b->event ? -1 : 1;
    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    return a->function < b->function ? -1 : 1; /* references rise while scripts load */
}

/* The state with its fixed stack; before the limit holds, since LuaJIT cannot fail cleanly here. */
static int make_state(struct fks_vm *vm, struct fks_error *error)
{
    vm->arena = fks_arena_create(vm->spec->config->memory_limit);
    vm->L = vm->arena ? lua_newstate(fks_arena_realloc, vm->arena) : NULL;
    if (!vm->L)
        return fks_fail(error, FORKSAFE_ENOMEM,
                        "no memory for the Lua VM; forksafe.memory_limit asks for %llu bytes",
                        (unsigned long long)vm->spec->config->memory_limit);
    luaJIT_setmode(vm->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_pushcclosure(vm->L, fks_vm_traceback, 0);
    lua_pushcclosure(vm->L, prepare_event, 0);
    lua_pushcclosure(vm->L, collect_garbage, 0);
    lua_checkstack(vm->L, 64);
    fks_limits_install(vm->L);
    lua_pushcclosure(vm->L, build_state, 0);
    if (lua_pcall(vm->L, 0, 0, FKS_VM_TRACEBACK))
        return fks_fail(error, FORKSAFE_ESCRIPT, "forksafe's own Lua failed: %s", take_error(vm));
    fks_arena_hold(vm->arena);
    return 0;
}

/* After the scripts: one collection now, so that none is due in a child until it has allocated
 * several times what it inherited. */
static void settle(struct fks_vm *vm)
{
    lua_gc(vm->L, LUA_GCSETPAUSE, 400);
    lua_pushvalue(vm->L, FKS_VM_COLLECT);
    if (lua_pcall(vm->L, 0, 0, 0))
        lua_settop(vm->L, -2);
    lua_gc(vm->L, LUA_GCRESTART, -1);
}

int fks_vm_create(struct fks_vm **out, const struct fks_vm_spec *spec, size_t *failed,
                  struct fks_error *error)
{
    struct fks_vm *before = current;
    struct fks_vm *vm = calloc(1, sizeof *vm);
    *out = NULL;
    *failed = 0;
    if (!vm)
        return fks_fail(error, FORKSAFE_ENOMEM, "out of memory");
    vm->spec = spec;
    vm->scrub = fks_scrub_create(spec->settings);
    current = vm;
    int result = make_state(vm, error);
    if (!result) {
        for (size_t i = 0; i < spec->scripts->count; i++)
            if (!spec->scripts->items[i].module && !run_script(vm, &spec->scripts->items[i]))
                ++*failed;
        if (vm->count)
            qsort(vm->subscribers, vm->count, sizeof *vm->subscribers, by_event_and_order);
        settle(vm);
        *out = vm;
    } else {
        fks_vm_destroy(vm);
    }
    current = before;
    return result;
}

void fks_vm_destroy(struct fks_vm *vm)
{
    if (!vm)
        return;
    for (size_t i = 0; i < vm->count; i++)
        free(vm->subscribers[i].name);
    free(vm->subscribers);
    fks_scrub_destroy(vm->scrub);
    fks_arena_destroy(vm->arena);
    free(vm);
}

struct fks_subscriber *fks_vm_subscribers(struct fks_vm *vm, size_t *count)
{
    *count = vm->count;
    return vm->subscribers;
}

int fks_vm_prepare(struct fks_vm *vm, const struct fks_vm_event *event)
{
    current = vm;
    vm->firing = event;
    vm->firings++;
    lua_pushvalue(vm->L, FKS_VM_PREPARE);
    int status = lua_pcall(vm->L, 0, 0, FKS_VM_TRACEBACK);
    if (!status)
        return 0;
    take_error(vm);
    return FORKSAFE_ENOMEM;
}

enum forksafe_outcome fks_vm_call(struct fks_vm *vm, const struct fks_subscriber *subscriber,
                                  enum forksafe_event event, uint64_t now, const char **text)
{
    lua_State *L = vm->L;
    current = vm;
    fks_limits_begin(vm->spec->config->time_limit, now);
    lua_rawgeti(L, LUA_REGISTRYINDEX, subscriber->function);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->events[event]); // subscriber event
    int status = lua_pcall(L, 1, 0, FKS_VM_TRACEBACK);
    bool expired = fks_limits_end(L);
    if (!status)
        return expired ? FORKSAFE_OUTCOME_TIMEOUT : FORKSAFE_OUTCOME_OK;
    *text = take_error(vm);
    if (status == LUA_ERRMEM) { /* make room for those that come after */
        lua_pushvalue(L, FKS_VM_COLLECT);
        if (lua_pcall(L, 0, 0, 0))
            lua_settop(L, -2);
    }
    return expired                ? FORKSAFE_OUTCOME_TIMEOUT
           : status == LUA_ERRMEM ? FORKSAFE_OUTCOME_MEMORY
                                  : FORKSAFE_OUTCOME_ERROR;
}
