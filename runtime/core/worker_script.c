/* SPDX-License-Identifier: MIT
 *
 * Lua as the worker's own work, in a `forksafe prefork` worker. The full library set, no limits: it
 * is the application, not a guest. The settings of the ini are its second argument.
 */
#include "worker_script.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "instance.h"
#include "lua_libs.h"

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
    if (luaL_loadbufferx(L, work->text, work->length, lua_tolstring(L, -1, NULL), "t"))
        return lua_error(L);
    lua_pushinteger(L, work->worker);
    push_settings(L);
    lua_call(L, 2, 0);
    return 0;
}

/* The whole text (free()); NULL with errno. */
static char *read_file(const char *path, size_t *length)
{
    char *text = NULL;
    FILE *file = fopen(path, "re");
    FILE *memory = file ? open_memstream(&text, length) : NULL;
    char part[4096];
    size_t got;
    bool failed = !memory;
    while (!failed && (got = fread(part, 1, sizeof part, file)))
        failed = fwrite(part, 1, got, memory) != got;
    failed = failed || ferror(file); /* of a directory: EISDIR */
    if (memory)
        failed = fclose(memory) || failed;
    int why = errno;
    if (file)
        fclose(file);
    if (failed) {
        free(text);
        text = NULL;
    }
    errno = why;
    return text;
}

int fks_worker_script_run(const char *path, int worker)
{
    struct fks_error error = {0};
    struct work work = {.path = path, .worker = worker};
    char *text = read_file(path, &work.length);
    if (!text) {
        fprintf(stderr,
                "forksafe: %s: cannot read the worker script: %s; correct forksafe.worker_script "
                "in the ini\n",
                path, strerror(errno));
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
        fprintf(stderr, "forksafe: worker %d: no Lua state for %s: %s\n", worker, path,
                *error.text ? error.text : "out of memory");
    }
    free(text);
    return status;
}
