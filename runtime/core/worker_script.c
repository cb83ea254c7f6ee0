/* SPDX-License-Identifier: MIT
 *
 * Lua as the worker's own work, in a `forksafe prefork` worker. The full library set, no limits: it
 * is the application, not a guest. The settings of the ini are its second argument.
 */
#include "worker_script.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "instance.h"
#include "lua_libs.h"
#include "script.h"

static int traceback(lua_State *L)
{
    const char *message = lua_tolstring(L, 1, NULL);
    luaL_traceback(L, L, message ? message : "(the error is no string)", 1);
    return 1;
}

static void push_settings(lua_State *L)
{
    const struct fks_settings *settings = fks_instance_settings();
    lua_createtable(L, 0, 0);
    for (size_t i = 0; settings && i < settings->settings.count; i++) {
        lua_pushstring(L, settings->settings.items[i].value);
        lua_setfield(L, -2, settings->settings.items[i].name);
    }
}

struct work {
    const char *path, *text;
    size_t length;
    int worker;
};

/* lua_CFunction: argument 1 is the struct work. */
static int run(lua_State *L)
{
    const struct work *work = lua_touserdata(L, 1);
    fks_lua_libs_open(L, true);
    lua_pushfstring(L, "@%s", work->path); // work name
    if (luaL_loadbufferx(L, work->text, work->length, lua_tolstring(L, -1, NULL), "t")) {
        const char *text = lua_tolstring(L, -1, NULL);
        if (text && !strstr(text, ".lua:")) /* no place in the source: there is none */
            lua_pushfstring(L, "%s: %s; this is bytecode, and must be Lua source", work->path,
                            text);
        return lua_error(L);
    }
    lua_pushinteger(L, work->worker);
    push_settings(L);
    lua_call(L, 2, 0);
    return 0;
}

/* Who may write it is asked as of any script: it runs with the same rights. */
static int read_script(struct fks_script *script, const char *path, const char *ini,
                       struct fks_error *error)
{
    struct stat info;
    char file[PATH_MAX];
    snprintf(file, sizeof file, "%.*s", (int)strcspn(ini, "#"), ini);
    return fks_script_read(script, path, stat(file, &info) ? 0 : info.st_uid, error);
}

static int run_in_state(const struct work *work)
{
    struct fks_error error = {0};
    lua_State *L = fks_luajit_load(&error) ? NULL : luaL_newstate();
    if (!L) {
        fprintf(stderr, "forksafe: worker %d: no Lua state for %s: %s\n", work->worker, work->path,
                *error.text ? error.text : "out of memory");
        return 1;
    }
    lua_pushcclosure(L, traceback, 0);
    lua_pushcclosure(L, run, 0);
    lua_pushlightuserdata(L, (void *)work);
    int status = lua_pcall(L, 1, 0, 1) != 0;
    if (status)
        fprintf(stderr, "forksafe: worker %d: %s\n", work->worker, lua_tolstring(L, -1, NULL));
    lua_close(L);
    return status;
}

int fks_worker_script_run(const char *path, const char *ini, int worker)
{
    struct fks_error error;
    struct fks_script script;
    if (read_script(&script, path, ini, &error)) {
        fprintf(stderr, "forksafe: forksafe.worker_script: %s\n", error.text);
        return 1;
    }
    const struct work work = {
        .path = path, .text = script.text, .length = script.length, .worker = worker};
    int status = run_in_state(&work);
    fks_script_finish(&script);
    return status;
}
