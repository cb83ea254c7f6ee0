/* SPDX-License-Identifier: MIT
 *
 * The session of `forksafe repl`: a Lua state of the command's own with the full library, the Lua
 * files of lua/repl in it, and the debug object as tables, read from the journals when a line first
 * asks for it. In the command's process; no server is touched.
 */
#include "repl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/debug.h"
#include "core/embedded.h"
#include "target.h"

struct fks_repl {
    struct fks_repl_spec spec;
    lua_State *lua; /* between calls: the session table at SESSION, texts lent out above it */
    char instance[256];
    char *journal; /* read last, the newest of several */
};

enum { SESSION = 1, NARROWEST = 40, NO_TERMINAL_WIDTH = 80 };

/* The Lua files that `require` finds, by module name. */
static const char *const modules[] = {"repl.text", "repl.pretty", "repl.records", "repl.complete",
                                      "repl.help"};

/* Resolves the target anew: masters come and go. One that has gone since is still read. */
static int open_target(struct fks_repl *repl, struct fks_target *target, struct fks_error *error)
{
    const struct fks_repl_spec *spec = &repl->spec;
    error->code = fks_target_open(target, spec->target, spec->previous, error);
    if (error->code == FORKSAFE_ENOENT && repl->journal)
        error->code = fks_target_open(target, repl->journal, false, error);
    if (error->code)
        return error->code;
    const char *journal = fks_reader_path(target->readers[target->reader_count - 1]);
    free(repl->journal);
    repl->journal = journal ? strdup(journal) : NULL;
    memcpy(repl->instance, target->instance, sizeof repl->instance);
    return 0;
}

/* The debug object as it is now, as text (free()). NULL with *error on failure. */
static char *read_debug(struct fks_repl *repl, struct fks_error *error)
{
    struct fks_target target;
    if (open_target(repl, &target, error))
        return NULL;
    char *text = fks_debug_text(target.readers, target.reader_count, target.instance, 0, error);
    fks_target_close(&target);
    return text;
}

/* Protected, since the JSON is freed afterwards whatever happens. */
static int push_root(lua_State *lua)
{
    fks_repl_push_json(lua, lua_touserdata(lua, 1));
    return 1;
}

/* host.fetch(): the debug object. */
static int fetch(lua_State *lua)
{
    struct fks_repl *repl = lua_touserdata(lua, lua_upvalueindex(1));
    struct fks_error error;
    char *text = read_debug(repl, &error);
    if (!text) {
        lua_pushstring(lua, error.text);
        return lua_error(lua);
    }
    json_error_t problem;
    json_t *root = json_loads(text, JSON_ALLOW_NUL, &problem);
    free(text);
    if (!root)
        return luaL_error(lua, "the debug object is not JSON: %s", problem.text);
    lua_pushcfunction(lua, push_root);
    lua_pushlightuserdata(lua, root);
    int status = lua_pcall(lua, 1, 1, 0);
    json_decref(root);
    return status ? lua_error(lua) : 1;
}

/* host.encode(value): JSON text on one line. */
static int encode(lua_State *lua)
{
    const char *problem;
    lua_settop(lua, 1);
    json_t *value = fks_repl_to_json(lua, 1, &problem);
    if (!value) {
        lua_pushstring(lua, problem);
        return lua_error(lua);
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
    json_decref(value);
    lua_pushstring(lua, text ? text : "");
    free(text);
    return 1;
}

/* host.width(): columns of the terminal that shows the results. */
static int width(lua_State *lua)
{
    struct winsize size;
    int columns = NO_TERMINAL_WIDTH;
    if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col)
        columns = size.ws_col < NARROWEST ? NARROWEST : size.ws_col;
    lua_pushinteger(lua, columns);
    return 1;
}

static void push_host(lua_State *lua, struct fks_repl *repl)
{
    lua_newtable(lua);
    lua_pushlightuserdata(lua, repl);
    lua_pushcclosure(lua, fetch, 1);
    lua_setfield(lua, -2, "fetch");
    lua_pushcfunction(lua, encode);
    lua_setfield(lua, -2, "encode");
    lua_pushcfunction(lua, width);
    lua_setfield(lua, -2, "width");
    lua_pushlightuserdata(lua, NULL);
    lua_setfield(lua, -2, "null");
    lua_pushboolean(lua, isatty(STDOUT_FILENO));
    lua_setfield(lua, -2, "terminal");
    lua_pushboolean(lua, repl->spec.interactive);
    lua_setfield(lua, -2, "interactive");
    lua_pushboolean(lua, repl->spec.json);
    lua_setfield(lua, -2, "json");
    lua_pushstring(lua, forksafe_version());
    lua_setfield(lua, -2, "version");
    lua_pushstring(lua, repl->instance);
    lua_setfield(lua, -2, "instance");
}

/* Pushes a copy of the globals for our own files: a line that assigns to `type` or `next` must not
 * break them. */
static void push_environment(lua_State *lua)
{
    lua_newtable(lua);
    for (lua_pushnil(lua); lua_next(lua, LUA_GLOBALSINDEX);) {
        lua_pushvalue(lua, -2);
        lua_insert(lua, -2); // env key key value
        lua_rawset(lua, -4);
    }
}

/* Pushes one of our Lua files as a function whose globals are the table at `environment`. `module`
 * is "repl.pretty". */
static void push_module(lua_State *lua, const char *module, int environment)
{
    char path[64];
    snprintf(path, sizeof path, "%s.lua", module);
    *strchr(path, '.') = '/';
    size_t length;
    const char *text = fks_embedded(path, &length);
    if (!text)
        luaL_error(lua, "%s is not in this build", path);
    lua_pushfstring(lua, "@%s", path);
    if (luaL_loadbufferx(lua, text, length, lua_tostring(lua, -1), "t"))
        lua_error(lua);
    lua_remove(lua, -2);
    lua_pushvalue(lua, environment);
    lua_setfenv(lua, -2);
}

/* Protected: the full library, our files, and the session table as the result. */
static int set_up(lua_State *lua)
{
    struct fks_repl *repl = lua_touserdata(lua, 1);
    luaL_openlibs(lua);
    push_environment(lua);
    int environment = lua_gettop(lua);
    lua_getglobal(lua, "package");
    lua_getfield(lua, -1, "preload");
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        push_module(lua, modules[i], environment);
        lua_setfield(lua, -2, modules[i]);
    }
    push_module(lua, "repl.prelude", environment);
    push_host(lua, repl);
    lua_call(lua, 1, 1);
    return 1;
}

static int start_lua(struct fks_repl *repl, struct fks_error *error)
{
    if (fks_luajit_load(error))
        return error->code;
    repl->lua = luaL_newstate();
    if (!repl->lua)
        return fks_fail(error, FORKSAFE_ENOMEM, "out of memory for a Lua state");
    lua_pushcfunction(repl->lua, set_up);
    lua_pushlightuserdata(repl->lua, repl);
    if (lua_pcall(repl->lua, 1, 1, 0))
        return fks_fail(error, FORKSAFE_ELUAJIT, "cannot start the session: %s",
                        lua_tostring(repl->lua, -1));
    return 0;
}

int fks_repl_create(struct fks_repl **out, const struct fks_repl_spec *spec,
                    struct fks_error *error)
{
    *out = NULL;
    struct fks_repl *repl = calloc(1, sizeof *repl);
    if (!repl)
        return fks_fail(error, FORKSAFE_ENOMEM, "out of memory");
    repl->spec = *spec;
    struct fks_target target;
    int found = open_target(repl, &target, error);
    if (!found)
        fks_target_close(&target);
    if (found || start_lua(repl, error)) {
        fks_repl_destroy(repl);
        return error->code;
    }
    *out = repl;
    return 0;
}

void fks_repl_destroy(struct fks_repl *repl)
{
    if (!repl)
        return;
    if (repl->lua)
        lua_close(repl->lua);
    free(repl->journal);
    free(repl);
}

/* Calls the function and arguments on the stack. False after a line on standard error. */
static bool call(struct fks_repl *repl, int arguments, int results)
{
    if (!lua_pcall(repl->lua, arguments, results, 0))
        return true;
    fprintf(stderr, "forksafe repl: %s\n", lua_tostring(repl->lua, -1));
    return false;
}

static void push_function(struct fks_repl *repl, const char *name)
{
    lua_settop(repl->lua, SESSION);
    lua_getfield(repl->lua, SESSION, name);
}

static enum fks_repl_answer answer(struct fks_repl *repl, int arguments)
{
    static const char *const answers[] = {
        [FKS_REPL_OK] = "ok",
        [FKS_REPL_ERROR] = "error",
        [FKS_REPL_INCOMPLETE] = "incomplete",
        [FKS_REPL_QUIT] = "quit",
    };
    bool returned = call(repl, arguments, 1);
    lua_sethook(repl->lua, NULL, 0, 0); /* a Ctrl-C that came too late */
    if (!returned)
        fks_repl_cancel(repl);
    const char *said = returned ? lua_tostring(repl->lua, -1) : NULL;
    for (size_t i = 0; said && i < sizeof answers / sizeof *answers; i++)
        if (!strcmp(said, answers[i]))
            return (enum fks_repl_answer)i;
    return FKS_REPL_ERROR;
}

enum fks_repl_answer fks_repl_feed(struct fks_repl *repl, const char *line, const char *name,
                                   size_t number)
{
    push_function(repl, "feed");
    lua_pushstring(repl->lua, line);
    lua_pushstring(repl->lua, name);
    lua_pushinteger(repl->lua, (lua_Integer)number);
    return answer(repl, 3);
}

enum fks_repl_answer fks_repl_close(struct fks_repl *repl)
{
    push_function(repl, "close");
    return answer(repl, 0);
}

void fks_repl_cancel(struct fks_repl *repl)
{
    push_function(repl, "cancel");
    call(repl, 0, 0);
}

static void stop(lua_State *lua, lua_Debug *at)
{
    (void)at;
    lua_sethook(lua, NULL, 0, 0);
    luaL_error(lua, "interrupted");
}

void fks_repl_interrupt(struct fks_repl *repl)
{
    lua_sethook(repl->lua, stop, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

void fks_repl_complete(struct fks_repl *repl, const char *line, size_t length,
                       const char **addition, const char **list)
{
    push_function(repl, "complete");
    lua_pushlstring(repl->lua, line, length);
    bool returned = call(repl, 1, 2);
    const char *added = returned ? lua_tostring(repl->lua, -2) : NULL;
    *list = returned ? lua_tostring(repl->lua, -1) : NULL;
    *addition = added ? added : "";
}

/* A text that a function of the session returns. */
static const char *text_of(struct fks_repl *repl, int arguments)
{
    const char *text = call(repl, arguments, 1) ? lua_tostring(repl->lua, -1) : NULL;
    return text ? text : "";
}

const char *fks_repl_banner(struct fks_repl *repl)
{
    push_function(repl, "banner");
    return text_of(repl, 0);
}

const char *fks_repl_prompt(struct fks_repl *repl, bool more)
{
    push_function(repl, "prompt");
    lua_pushboolean(repl->lua, more);
    return text_of(repl, 1);
}
