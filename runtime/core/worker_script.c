/* SPDX-License-Identifier: MIT
 *
 * Lua as the worker's own work, in a `forksafe prefork` worker. The full library set, no limits: it
 * is the application, not a guest. The settings of the ini are its second argument.
 */
#include "worker_script.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "instance.h"
#include "luajit.h"

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
    static const lua_CFunction libraries[] = {
        luaopen_base,    luaopen_table, luaopen_string, luaopen_math, luaopen_bit,
        luaopen_package, luaopen_io,    luaopen_os,     luaopen_ffi,  luaopen_debug};
    static const char *const names[] = {"",        "table", "string", "math", "bit",
                                        "package", "io",    "os",     "ffi",  "debug"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        lua_pushcclosure(L, libraries[i], 0);
        lua_pushstring(L, names[i]);
        lua_call(L, 1, 0);
    }
    lua_pushfstring(L, "@%s", work->path); // work name
    if (luaL_loadbufferx(L, work->text, work->length, lua_tolstring(L, -1, NULL), "t"))
        return lua_error(L);
    lua_pushinteger(L, work->worker);
    push_settings(L);
    lua_call(L, 2, 0);
    return 0;
}

static char *read_file(const char *path, size_t *length)
{
    struct stat info;
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && !fstat(fd, &info) && S_ISREG(info.st_mode) &&
        (text = malloc((size_t)info.st_size + 1))) {
        ssize_t got = read(fd, text, (size_t)info.st_size);
        *length = got > 0 ? (size_t)got : 0;
    }
    if (fd >= 0)
        close(fd);
    return text;
}

int fks_worker_script_run(const char *path, int worker)
{
    struct fks_error error;
    struct work work = {.path = path, .worker = worker};
    char *text = read_file(path, &work.length);
    if (!text) {
        fprintf(stderr,
                "forksafe: %s: cannot read the worker script; correct forksafe.worker_script in "
                "the ini\n",
                path);
        return 1;
    }
    work.text = text;
    lua_State *L = fks_luajit_load(&error) ? NULL : luaL_newstate();
    int status = 1;
    if (L) {
        lua_pushcclosure(L, traceback, 0);
        lua_pushcclosure(L, run, 0);
        lua_pushlightuserdata(L, &work);
        status = lua_pcall(L, 1, 0, 1) != 0;
        if (status)
            fprintf(stderr, "forksafe: worker %d: %s\n", worker, lua_tolstring(L, -1, NULL));
        lua_close(L);
    } else {
        fprintf(stderr, "forksafe: worker %d: no Lua state for %s\n", worker, path);
    }
    free(text);
    return status;
}
