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
#include <unistd.h>

#include "embedded.h"
#include "journal.h"
#include "limits.h"

#define LARGE_BLOCK (256u << 10)
#define PACES       16 /* parts of the memory limit: the collector is told at each */

/* A state's allocator data is its VM: LuaJIT hands it out for coroutines too. */
struct fks_vm *fks_vm_of(lua_State *L)
{
    void *vm;
    (void)lua_getallocf(L, &vm);
    return vm;
}

/* Lets the collector wait as long as the memory limit leaves room for: LuaJIT collects when the
 * heap has grown by a factor, and never because memory ends. Throws nothing. */
static void pace_collector(struct fks_vm *vm)
{
    size_t limit = (size_t)vm->spec->config->memory_limit, used = fks_arena_used(vm->arena);
    size_t percent = limit / 4 * 3 / (used / 100 + 1);
    int pace = (int)(percent > 400 ? 400 : percent < 110 ? 110 : percent);
    if (pace != vm->pace)
        lua_gc(vm->L, LUA_GCSETPAUSE, pace);
    vm->pace = pace;
    vm->pace_low = used > limit / PACES ? used - limit / PACES : 0;
    vm->pace_high = used + limit / PACES;
}

/* lua_Alloc. Moving a block of this size, or looking through it, is long for one instruction. */
static void *allocate(void *data, void *block, size_t old_size, size_t new_size)
{
    struct fks_vm *vm = data;
    if (new_size >= LARGE_BLOCK && new_size > old_size) {
        vm->limits.eager = true;
        fks_limits_watch(&vm->limits);
    }
    void *result = fks_arena_realloc(vm->arena, block, old_size, new_size);
    size_t used = fks_arena_used(vm->arena);
    if (used > vm->pace_high || used < vm->pace_low)
        pace_collector(vm);
    return result;
}

static int collect_garbage(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

/* lua_CFunction, after the scripts: one collection now, so that none is due in a child until it has
 * allocated several times what it inherited. Then what every hook writes grows, and so moves to the
 * page for it: the stack, and the buffer in which strings are put together. */
static int settle_state(lua_State *L)
{
    struct fks_vm *vm = fks_vm_of(L);
    char line[256];
    memset(line, ' ', sizeof line - 1);
    line[sizeof line - 1] = 0;
    lua_pushstring(L, line); /* so that only the buffer is new below */
    lua_gc(L, LUA_GCCOLLECT, 0);
    fks_arena_gather(vm->arena, true);
    lua_checkstack(L, 80);
    lua_pushfstring(L, "%s", line);
    fks_arena_gather(vm->arena, false);
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
    struct fks_vm *vm = fks_vm_of(L);
    size_t length;
    const char *text = fks_embedded("forksafe/init.lua", &length);
    if (!text || luaL_loadbufferx(L, text, length, "=forksafe", "t"))
        return lua_error(L);
    lua_pushcclosure(L, fks_vm_open_libraries, 0);
    lua_call(L, 0, 1); // init native
    lua_call(L, 1, 1); // table of functions
    vm->run_script = take_reference(L, "run_script");
    vm->abort_script = take_reference(L, "abort_script");
    for (int event = 0; event < FORKSAFE_EVENT_COUNT; event++)
        fks_vm_make_event(L, vm, event);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->events[FORKSAFE_CHILD_EXIT]); // functions event
    vm->child = take_reference(L, "child");
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
    fks_scrub_text(vm->scrub, text, length, vm->error, FKS_VM_ERROR);
    lua_settop(vm->L, -2);
    return vm->error;
}

/* lua_CFunction: vm->loading through init.lua's run_script. */
static int load_script(lua_State *L)
{
    const struct fks_vm *vm = fks_vm_of(L);
    const struct fks_script *script = vm->loading;
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->run_script);
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

static void free_subscriber(const struct fks_subscriber *subscriber)
{
    free(subscriber->name);
    free(subscriber->leader);
}

static void drop_subscribers_of(struct fks_vm *vm, const struct fks_script *script)
{
    size_t kept = 0;
    for (size_t i = 0; i < vm->count; i++) {
        if (vm->subscribers[i].script == script)
            free_subscriber(&vm->subscribers[i]);
        else
            vm->subscribers[kept++] = vm->subscribers[i];
    }
    vm->count = kept;
}

static void collect(struct fks_vm *vm)
{
    fks_arena_hold(vm->arena, false);
    lua_pushvalue(vm->L, FKS_VM_COLLECT);
    if (lua_pcall(vm->L, 0, 0, 0))
        lua_settop(vm->L, -2);
    fks_arena_hold(vm->arena, true);
}

/* Whether a run has filled most of the memory: LuaJIT would not collect before it ends. What had
 * been full before is not collected after each run: that would copy all of it in every child. */
static bool has_filled(const struct fks_vm *vm, size_t used_before)
{
    size_t limit = (size_t)vm->spec->config->memory_limit, used = fks_arena_used(vm->arena);
    return used > limit / 4 * 3 && used > used_before + limit / 8;
}

/* After an error while it ran: nothing of the script is left, its names are free. */
static void drop_script(struct fks_vm *vm, const struct fks_script *script)
{
    drop_subscribers_of(vm, script);
    lua_rawgeti(vm->L, LUA_REGISTRYINDEX, vm->abort_script);
    if (lua_pcall(vm->L, 0, 0, 0))
        lua_settop(vm->L, -2);
    collect(vm); /* what it left behind is not for the next one to pay */
}

/* What is said of a script that was jumped out of; nobody knows the line. */
static const char *tell_lost(struct fks_vm *vm, const char *path)
{
    vm->lost = true;
    snprintf(vm->error, FKS_VM_ERROR, "%s: %s", path, fks_limits_text(FKS_RUN_LOST));
    return vm->error;
}

/* Whether it is loaded now. Where it is not, the VM may be lost. */
static bool run_script(struct fks_vm *vm, const struct fks_script *script)
{
    int status;
    vm->loading = script;
    lua_pushvalue(vm->L, FKS_VM_LOAD);
    enum fks_limits_end end = fks_limits_call(&vm->limits, 0, FKS_VM_TRACEBACK,
                                              vm->spec->config->time_limit, fks_now(), &status);
    vm->loading = NULL;
    if (!status)
        return true;
    vm->spec->complain(end == FKS_RUN_LOST ? tell_lost(vm, script->path) : take_error(vm),
                       vm->spec->data);
    if (!vm->lost)
        drop_script(vm, script);
    return false;
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

/* What takes place at each entry stands on the stack for good, so that pushing it allocates nothing
 * outside a protected call. */
static void fill_stack(lua_State *L)
{
    static const lua_CFunction fixed[] = {
        [FKS_VM_TRACEBACK] = fks_vm_traceback, [FKS_VM_PREPARE] = NULL, /* the one with upvalues */
        [FKS_VM_COLLECT] = collect_garbage,    [FKS_VM_LOAD] = load_script,
        [FKS_VM_SETTLE] = settle_state,
    };
    for (size_t i = 1; i < sizeof fixed / sizeof *fixed; i++)
        if (fixed[i])
            lua_pushcclosure(L, fixed[i], 0);
        else
            fks_vm_push_prepare(L);
    lua_checkstack(L, 64);
}

static int fail_memory(const struct fks_vm_spec *spec, struct fks_error *error)
{
    return fks_fail(error, FORKSAFE_ENOMEM,
                    "no memory for the Lua VM; forksafe.memory_limit asks for %llu bytes",
                    (unsigned long long)spec->config->memory_limit);
}

/* The state, before the limit holds: LuaJIT cannot fail cleanly while it makes one. */
static int make_state(struct fks_vm *vm, struct fks_error *error)
{
    vm->error = malloc(FKS_VM_ERROR);
    vm->scrub = fks_scrub_create(vm->spec->settings);
    vm->L = vm->error && vm->scrub ? lua_newstate(allocate, vm) : NULL;
    if (!vm->L || fks_luajit_use_thread(vm->L))
        return fail_memory(vm->spec, error);
    luaJIT_setmode(vm->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    fill_stack(vm->L);
    fks_limits_install(&vm->limits, vm->L, vm->spec->config->lua_libs == FKS_LUA_LIBS_FULL);
    lua_pushcclosure(vm->L, build_state, 0);
    int status = lua_pcall(vm->L, 0, 0, FKS_VM_TRACEBACK);
    if (status == LUA_ERRMEM || fks_arena_used(vm->arena) > vm->spec->config->memory_limit)
        return fks_fail(error, FORKSAFE_ENOMEM,
                        "the settings do not fit into the Lua VM; raise forksafe.memory_limit");
    if (status)
        return fks_fail(error, FORKSAFE_ESCRIPT, "forksafe's own Lua failed: %s", take_error(vm));
    fks_arena_hold(vm->arena, true);
    pace_collector(vm);
    return 0;
}

static void settle(struct fks_vm *vm)
{
    lua_pushvalue(vm->L, FKS_VM_SETTLE);
    if (lua_pcall(vm->L, 0, 0, 0))
        lua_settop(vm->L, -2);
    fks_arena_gather(vm->arena, false); /* where that threw */
    pace_collector(vm);
    lua_gc(vm->L, LUA_GCRESTART, -1);
}

/* What stands in the debug object anyway is no secret: without this, a setting such as "project =
 * shop" would make every path in a traceback unreadable. */
static void allow_paths(struct fks_vm *vm)
{
    for (size_t i = 0; i < vm->spec->scripts->count; i++)
        fks_scrub_allow(vm->scrub, vm->spec->scripts->items[i].path);
}

/* Returns false where one had to be jumped out of. */
static bool run_scripts(struct fks_vm *vm, size_t *failed)
{
    const struct fks_scripts *scripts = vm->spec->scripts;
    for (size_t i = 0; i < scripts->count && !vm->lost; i++) {
        struct fks_script *script = &scripts->items[i];
        if (script->module || script->failed)
            continue;
        script->failed = !run_script(vm, script);
        *failed += script->failed;
    }
    return !vm->lost;
}

/* One attempt. Returns 0, an error, or 0 with *out NULL where a script had to be jumped out of. */
static int build_vm(struct fks_vm **out, const struct fks_vm_spec *spec, size_t *failed,
                    struct fks_error *error)
{
    struct fks_arena *arena = fks_arena_create(spec->config->memory_limit, sizeof(struct fks_vm));
    if (!arena)
        return fail_memory(spec, error);
    struct fks_vm *vm = fks_arena_owner(arena);
    vm->arena = arena;
    vm->spec = spec;
    vm->pid = getpid();
    vm->pace_high = SIZE_MAX;
    int result = make_state(vm, error);
    if (result) {
        fks_vm_destroy(vm);
        return result;
    }
    allow_paths(vm);
    if (!run_scripts(vm, failed)) {
        fks_vm_destroy(vm);
        return 0;
    }
    if (vm->count)
        qsort(vm->subscribers, vm->count, sizeof *vm->subscribers, by_event_and_order);
    settle(vm);
    *out = vm;
    return 0;
}

int fks_vm_create(struct fks_vm **out, const struct fks_vm_spec *spec, size_t *failed,
                  struct fks_error *error)
{
    *out = NULL;
    *failed = 0;
    int result = 0;
    while (!result && !*out) /* at most once a script */
        result = build_vm(out, spec, failed, error);
    return result;
}

void fks_vm_destroy(struct fks_vm *vm)
{
    if (!vm)
        return;
    for (size_t i = 0; i < vm->count; i++)
        free_subscriber(&vm->subscribers[i]);
    free(vm->subscribers);
    free(vm->error);
    fks_scrub_destroy(vm->scrub);
    fks_arena_destroy(vm->arena); /* and the VM with it */
}

void fks_vm_abandon(struct fks_vm *vm)
{
    fks_limits_forget(&vm->limits);
    fks_arena_destroy(vm->arena);
}

bool fks_vm_is_lost(const struct fks_vm *vm)
{
    return vm->lost;
}

struct fks_subscriber *fks_vm_subscribers(struct fks_vm *vm, size_t *count)
{
    *count = vm->count;
    return vm->subscribers;
}

int fks_vm_prepare(struct fks_vm *vm, const struct fks_vm_event *event, const char **text)
{
    vm->firing = event;
    vm->firings++;
    if (vm->pid != event->pid)
        fks_arena_forked(vm->arena);
    vm->pid = event->pid;
    if (fks_luajit_use_thread(vm->L)) {
        *text = "no memory for a thread that Lua has not run in";
        return FORKSAFE_ENOMEM;
    }
    lua_pushvalue(vm->L, FKS_VM_PREPARE);
    if (!lua_pcall(vm->L, 0, 0, FKS_VM_TRACEBACK))
        return 0;
    *text = take_error(vm);
    collect(vm);
    return FORKSAFE_ENOMEM;
}

enum forksafe_outcome fks_vm_call(struct fks_vm *vm, const struct fks_subscriber *subscriber,
                                  enum forksafe_event event, uint64_t now, const char **text)
{
    lua_State *L = vm->L;
    int status;
    size_t used_before = fks_arena_used(vm->arena);
    lua_rawgeti(L, LUA_REGISTRYINDEX, subscriber->function);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->events[event]); // subscriber event
    enum fks_limits_end end = fks_limits_call(&vm->limits, 1, FKS_VM_TRACEBACK,
                                              vm->spec->config->time_limit, now, &status);
    if (end == FKS_RUN_LOST) {
        *text = tell_lost(vm, subscriber->path);
        return FORKSAFE_OUTCOME_TIMEOUT;
    }
    *text = status ? take_error(vm) : fks_limits_text(end);
    if (status == LUA_ERRMEM ||
        has_filled(vm, used_before)) /* make room for those that come after */
        collect(vm);
    if (!status) /* stopped all the same: a pcall was the last thing it did, and kept the error */
        return end == FKS_RUN_STOPPED ? FORKSAFE_OUTCOME_TIMEOUT : FORKSAFE_OUTCOME_OK;
    return end == FKS_RUN_STOPPED ? FORKSAFE_OUTCOME_TIMEOUT
           : status == LUA_ERRMEM ? FORKSAFE_OUTCOME_MEMORY
                                  : FORKSAFE_OUTCOME_ERROR;
}
