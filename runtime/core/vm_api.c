/* SPDX-License-Identifier: MIT
 *
 * What Lua can call: the library set, and the C functions that lua/forksafe/init.lua stands on.
 * Runs in the master while scripts load, and in any process while a subscriber runs. Every function
 * may throw Lua errors: only called from protected Lua.
 */
#include "vm_private.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "bridge/bridge.h"
#include "debug.h"
#include "embedded.h"
#include "guards.h"
#include "log.h"
#include "log_format.h"
#include "lua_libs.h"
#include "names.h"
#include "reseed.h"
#include "vm_guard.h"
#include "vm_process.h"

/* What the safe set has not: it opens files, loads bytecode, or makes objects whose finalizers
 * cannot be bounded. */
static const char *const removed_globals[] = {"dofile", "loadfile", "newproxy", "gcinfo"};

static int load_text(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    const char *name = luaL_optlstring(L, 2, "=(load)", NULL);
    bool has_env = lua_gettop(L) >= 4;
    if (luaL_loadbufferx(L, text, length, name, fks_guard(FKS_GUARD_BYTECODE) ? "t" : NULL)) {
        lua_pushnil(L);
        lua_insert(L, -2); // nil message
        return 2;
    }
    if (has_env) {
        lua_pushvalue(L, 4); // chunk env
        lua_setfenv(L, -2);
    }
    return 1;
}

/* load(text [, chunk name [, mode [, env]]]), loadstring: text only, never a function, never
 * bytecode. */
static int api_load(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    fks_vm_check_parser(L, text, length);
    return load_text(L);
}

/* collectgarbage("count") only: a full collection in a child would copy the whole heap. */
static int api_collectgarbage(lua_State *L)
{
    static const char *const options[] = {"count", NULL};
    luaL_checkoption(L, 1, "collect", options);
    lua_pushnumber(L, (double)fks_arena_used(fks_vm_of(L)->arena) / 1024.0);
    return 1;
}

/* math.random, seeded anew in each process at its first use. Upvalues: LuaJIT's random and
 * randomseed. */
static int api_random(lua_State *L)
{
    struct fks_vm *vm = fks_vm_of(L);
    pid_t pid = getpid();
    if (vm->seeded != pid) {
        uint64_t seed = 0;
        if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
            seed = fks_hash(&pid, sizeof pid);
        lua_pushvalue(L, lua_upvalueindex(2));
        lua_pushnumber(L, (double)(seed >> 11));
        lua_call(L, 1, 0);
        vm->seeded = pid;
    }
    int arguments = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, arguments, 1);
    return 1;
}

/* math.randomseed: the script's own seed is kept. Upvalue: LuaJIT's. */
static int api_randomseed(lua_State *L)
{
    fks_vm_of(L)->seeded = getpid();
    int arguments = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, arguments, 0);
    return 0;
}

/* log(level, text): a NUL ends a line, as a newline does. */
static int api_log(lua_State *L)
{
    size_t length;
    int level = (int)luaL_checkinteger(L, 1);
    const char *text = luaL_checklstring(L, 2, &length);
    for (const char *at = text; at <= text + length; at += strlen(at) + 1)
        fks_log_text((enum forksafe_log_level)level, at);
    return 0;
}

/* Where the script that is being run calls subscribe(), or a module of it that does. */
static int api_line(lua_State *L)
{
    lua_Debug where;
    const char *path = fks_vm_of(L)->loading->path;
    int line = 0;
    for (int level = 2; lua_getstack(L, level, &where); level++) {
        lua_getinfo(L, "Sl", &where);
        bool own = where.source[0] == '@' && !strcmp(where.source + 1, path);
        if ((!line || own) && where.currentline > 0)
            line = where.currentline;
        if (own)
            break;
    }
    lua_pushinteger(L, line);
    return 1;
}

/* env(name): its value, which is a secret from here on; nothing where it was not set. */
static int api_env(lua_State *L)
{
    size_t length;
    const char *name = luaL_checklstring(L, 1, &length);
    const struct fks_vm *vm = fks_vm_of(L);
    for (char *const *entry = vm->spec->environment; entry && *entry; entry++) {
        if (strncmp(*entry, name, length) || (*entry)[length] != '=')
            continue;
        const char *value = *entry + length + 1;
        if (fks_scrub_add(vm->scrub, name, value))
            return luaL_error(L, "out of memory");
        lua_pushstring(L, value);
        return 1;
    }
    return 0;
}

/* source(module): text, key, chunk name of an embedded module or of one in the script directory;
 * nothing where there is none. */
static int api_source(lua_State *L)
{
    struct fks_vm *vm = fks_vm_of(L);
    const char *module = luaL_checklstring(L, 1, NULL);
    if (!strncmp(module, "forksafe.", 9) && strlen(module) < 200) {
        char name[256];
        size_t length;
        strcpy(name, module);
        for (char *dot = name; (dot = strchr(dot, '.'));)
            *dot = '/';
        strcat(name, ".lua");
        const char *text = fks_embedded(name, &length);
        if (text) {
            lua_pushlstring(L, text, length);
            lua_pushstring(L, module);
            lua_pushfstring(L, "=%s", module);
            return 3;
        }
    }
    const struct fks_script *script = fks_scripts_find(vm->spec->scripts, module);
    if (!script)
        return 0;
    lua_pushlstring(L, script->text, script->length);
    lua_pushstring(L, script->path);
    lua_pushfstring(L, "@%s", script->path);
    return 3;
}

static int api_firing(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)fks_vm_of(L)->firings);
    return 1;
}

static int push_text(lua_State *L)
{
    lua_pushstring(L, lua_touserdata(L, 1));
    return 1;
}

/* The debug object as JSON text. What is ours (not Lua's) is freed here: what throws runs one call
 * deeper. */
static int api_debug_json(lua_State *L)
{
    struct fks_vm *vm = fks_vm_of(L);
    lua_pushvalue(L, lua_upvalueindex(1)); // push_text
    fks_limits_shield(&vm->limits);
    char *text = vm->spec->debug_json();
    lua_pushlightuserdata(L, text);
    int failed = text ? lua_pcall(L, 1, 1, 0) : 0;
    free(text);
    fks_limits_unshield(&vm->limits);
    return failed ? lua_error(L) : text != NULL;
}

static void push_json(lua_State *L, const json_t *value)
{
    const char *key;
    json_t *item;
    size_t index;
    luaL_checkstack(L, 4, "debug object");
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        lua_createtable(L, 0, (int)json_object_size(value));
        json_object_foreach((json_t *)value, key, item)
        {
            push_json(L, item);
            lua_setfield(L, -2, key);
        }
        break;
    case JSON_ARRAY:
        lua_createtable(L, (int)json_array_size(value), 0);
        json_array_foreach(value, index, item)
        {
            push_json(L, item);
            lua_rawseti(L, -2, (int)index + 1);
        }
        break;
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        lua_pushnumber(L, json_number_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(L, json_is_true(value));
        break;
    case JSON_NULL:
        lua_pushnil(L);
    }
}

static int push_debug_object(lua_State *L)
{
    push_json(L, lua_touserdata(L, 1));
    return 1;
}

/* The debug object as a table; likewise. */
static int api_debug_object(lua_State *L)
{
    struct fks_vm *vm = fks_vm_of(L);
    lua_pushvalue(L, lua_upvalueindex(1)); // push_debug_object
    fks_limits_shield(&vm->limits);
    char *text = vm->spec->debug_json();
    json_t *object = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    lua_pushlightuserdata(L, object);
    int failed = object ? lua_pcall(L, 1, 1, 0) : 0;
    bool found = object != NULL;
    json_decref(object);
    fks_limits_unshield(&vm->limits);
    return failed ? lua_error(L) : found;
}

static const struct {
    const char *name;
    lua_CFunction function;
} natives[] = {
    {"load", api_load},
    {"load_own", load_text},
    {"log", api_log},
    {"log_line", fks_log_format},
    {"subscribe", fks_vm_subscribe},
    {"is_leader", fks_vm_is_leader},
    {"line", api_line},
    {"env", api_env},
    {"source", api_source},
    {"firing", api_firing},
    {"quarantine", fks_vm_quarantine},
    {"unshare", fks_vm_unshare},
    {"mark", fks_vm_mark},
    {"reseed", fks_reseed},
    {"traceback", fks_vm_traceback},
};

static void push_events(lua_State *L, const struct fks_vm_spec *spec)
{
    lua_createtable(L, FORKSAFE_EVENT_COUNT, 0); // events
    for (int i = 0; i < FORKSAFE_EVENT_COUNT; i++) {
        lua_createtable(L, 0, 3); // events event
        lua_pushstring(L, fks_event_names[i]);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, fks_event_files[i]);
        lua_setfield(L, -2, "file");
        if (spec->hooks[i]) {
            lua_pushstring(L, spec->hooks[i]);
            lua_setfield(L, -2, "hook");
        }
        lua_rawseti(L, -2, i + 1);
    }
}

static void push_pairs(lua_State *L, const struct fks_pairs *pairs)
{
    lua_createtable(L, 0, (int)pairs->count);
    for (size_t i = 0; i < pairs->count; i++) {
        lua_pushstring(L, pairs->items[i].value);
        lua_setfield(L, -2, pairs->items[i].name);
    }
}

static void push_native(lua_State *L, struct fks_vm *vm)
{
    const struct fks_vm_spec *spec = vm->spec;
    lua_createtable(L, 0, 16); // native
    for (size_t i = 0; i < sizeof natives / sizeof *natives; i++) {
        lua_pushcclosure(L, natives[i].function, 0);
        lua_setfield(L, -2, natives[i].name);
    }
    lua_pushcclosure(L, push_text, 0);
    lua_pushcclosure(L, api_debug_json, 1);
    lua_setfield(L, -2, "debug_json");
    lua_pushcclosure(L, push_debug_object, 0);
    lua_pushcclosure(L, api_debug_object, 1);
    lua_setfield(L, -2, "debug_object");
    lua_pushstring(L, FORKSAFE_VERSION);
    lua_setfield(L, -2, "version");
    lua_pushstring(L, spec->container);
    lua_setfield(L, -2, "container");
    lua_pushinteger(L, spec->config->on_error);
    lua_setfield(L, -2, "on_error");
    push_events(L, spec);
    lua_setfield(L, -2, "events");
    fks_bridges_push(L);
    push_pairs(L, &spec->settings->settings);
    lua_setfield(L, -2, "settings");
    push_pairs(L, &spec->settings->global_conf);
    lua_setfield(L, -2, "global_conf");
}

static void replace_globals(lua_State *L)
{
    for (size_t i = 0; i < sizeof removed_globals / sizeof *removed_globals; i++) {
        lua_pushnil(L);
        lua_setfield(L, LUA_GLOBALSINDEX, removed_globals[i]);
    }
    lua_pushcclosure(L, api_collectgarbage, 0);
    lua_setfield(L, LUA_GLOBALSINDEX, "collectgarbage");
    lua_pushcclosure(L, api_load, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_GLOBALSINDEX, "load");
    lua_setfield(L, LUA_GLOBALSINDEX, "loadstring");
    lua_getfield(L, LUA_GLOBALSINDEX, LUA_STRLIBNAME); // string
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_getfield(L, LUA_GLOBALSINDEX, LUA_MATHLIBNAME); // string math
    lua_getfield(L, -1, "random");
    lua_getfield(L, -2, "randomseed"); // string math random randomseed
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, api_randomseed, 1);
    lua_setfield(L, -4, "randomseed");
    lua_pushcclosure(L, api_random, 2); // string math closure
    lua_setfield(L, -2, "random");
    lua_settop(L, -3);
}

/* With the debug library, a script could take the hook away that stops it. */
static void remove_hooks(lua_State *L)
{
    lua_getfield(L, LUA_GLOBALSINDEX, LUA_DBLIBNAME); // debug
    lua_pushnil(L);
    lua_setfield(L, -2, "sethook");
    lua_settop(L, -2);
}

int fks_vm_open_libraries(lua_State *L)
{
    struct fks_vm *vm = fks_vm_of(L);
    bool full = vm->spec->config->lua_libs == FKS_LUA_LIBS_FULL;
    fks_lua_libs_open(L, full);
    replace_globals(L);
    push_native(L, vm);        // native
    fks_vm_guard_libraries(L); // native explain_depth
    lua_setfield(L, -2, "explain_depth");
    if (full) {
        remove_hooks(L);
        lua_getfield(L, LUA_GLOBALSINDEX, "require");
        lua_setfield(L, -2, "full_require");
    }
    return 1;
}

int fks_vm_traceback(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TSTRING) {
        /* __tostring runs inside this handler: an error in it ends in LUA_ERRERR, not outside. */
        if (lua_type(L, 1) == LUA_TNIL)
            lua_pushstring(L, "(error without a message: nil was thrown)");
        else if (lua_type(L, 1) == LUA_TNUMBER)
            lua_pushfstring(L, "%s (a number was thrown as error)", lua_tolstring(L, 1, NULL));
        else if (!luaL_callmeta(L, 1, "__tostring") ||
                 (lua_type(L, -1) != LUA_TSTRING && fks_guard(FKS_GUARD_THROWN)))
            lua_pushfstring(L, "(a %s was thrown as error)", lua_typename(L, lua_type(L, 1)));
        lua_replace(L, 1);
    }
    lua_settop(L, 1);
    if (strstr(lua_tolstring(L, 1, NULL), "\nstack traceback:\n")) /* thrown again by a require */
        return 1;
    lua_pushlstring(L, "\n", 1); /* not through luaL_traceback: it would cut a message at a NUL */
    luaL_traceback(L, L, NULL, 1);
    lua_concat(L, 3);
    return 1;
}
