/* SPDX-License-Identifier: MIT
 *
 * A host that has a Lua of its own: PUC Lua 5.3, opened with RTLD_GLOBAL as mod_lua gets it, before
 * or after libforksafe.so. Both exist in this process and in the worker that it forks, and both
 * must work, again and again.
 *
 *   lua53_host before|after LIBFORKSAFE.SO INI
 *
 * Prints one line a step, the log of forksafe included, and exits with 0 if all steps worked.
 */
#include "forksafe/forksafe.h"

#include <dlfcn.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LUA53 "liblua5.3.so.0"

static struct {
    int (*open)(const struct forksafe_host *);
    int (*emit)(enum forksafe_event, const struct forksafe_occasion *);
} forksafe;

static struct {
    lua_State *(*newstate)(void);
    void (*openlibs)(lua_State *);
    int (*loadstring)(lua_State *, const char *);
    int (*pcallk)(lua_State *, int, int, int, lua_KContext, lua_KFunction);
    const char *(*tolstring)(lua_State *, int, size_t *);
    void (*settop)(lua_State *, int);
    lua_State *state;
} lua53;

/* Integer division and bit operators are syntax that only Lua 5.3 has; errors and coroutines unwind
 * its stack. */
static const char chunk[] =
    "runs = (runs or 0) + 1\n"
    "local ok, message = pcall(error, { code = 7 // 2 })\n"
    "assert(not ok and message.code == 3 and 1 << 4 == 16)\n"
    "local co = coroutine.wrap(function() coroutine.yield(utf8.char(228)) error('out') end)\n"
    "assert(#co() == 2 and not pcall(co))\n"
    "local list = {} for i = 1, 1000 do list[i] = ('%d'):format(i):rep(3) end\n"
    "table.sort(list) collectgarbage()\n"
    "return _VERSION .. ', run ' .. runs\n";

static void fail(const char *what, const char *why)
{
    printf("failed: %s: %s\n", what, why ? why : "");
    fflush(stdout);
    _exit(1);
}

static void *symbol(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (!found)
        fail("dlsym", name);
    return found;
}

static void open_lua53(void)
{
    void *library = dlopen(LUA53, RTLD_NOW | RTLD_GLOBAL);
    if (!library)
        fail("dlopen", dlerror());
    lua53.newstate = symbol(library, "luaL_newstate");
    lua53.openlibs = symbol(library, "luaL_openlibs");
    lua53.loadstring = symbol(library, "luaL_loadstring");
    lua53.pcallk = symbol(library, "lua_pcallk");
    lua53.tolstring = symbol(library, "lua_tolstring");
    lua53.settop = symbol(library, "lua_settop");
    lua53.state = lua53.newstate();
    if (!lua53.state)
        fail("luaL_newstate", NULL);
    lua53.openlibs(lua53.state);
}

static void run_lua53(const char *where)
{
    lua_State *L = lua53.state;
    if (lua53.loadstring(L, chunk) || lua53.pcallk(L, 0, 1, 0, 0, NULL))
        fail("Lua 5.3", lua53.tolstring(L, -1, NULL));
    printf("%s: %s\n", where, lua53.tolstring(L, -1, NULL));
    fflush(stdout);
    lua53.settop(L, 0);
}

static void log_line(void *data, enum forksafe_log_level level, const char *line)
{
    (void)data;
    (void)level;
    printf("%s\n", line);
    fflush(stdout);
}

static void open_forksafe(const char *path, const char *ini)
{
    static const struct forksafe_fork_point points[] = {
        {.event = FORKSAFE_MASTER_READY, .hook = "ready"},
        {.event = FORKSAFE_PRE_FORK, .hook = "pre_fork"},
        {.event = FORKSAFE_POST_FORK, .hook = "post_fork"},
    };
    const struct forksafe_host host = {
        .size = sizeof host,
        .container = "lua53host",
        .environment = "a host with Lua 5.3",
        .ini = ini,
        .points = points,
        .point_count = sizeof points / sizeof *points,
        .worker_uid = (uid_t)-1,
        .worker_gid = (gid_t)-1,
        .log = log_line,
    };
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        fail("dlopen", dlerror());
    forksafe.open = symbol(library, "forksafe_open");
    forksafe.emit = symbol(library, "forksafe_emit");
    if (forksafe.open(&host))
        fail("forksafe_open", ini);
}

static void emit(enum forksafe_event event, enum forksafe_role role, int forked)
{
    const struct forksafe_occasion occasion = {
        .size = sizeof occasion, .role = role, .forked = forked, .worker = 1};
    int verdict = forksafe.emit(event, &occasion);
    if (verdict != FORKSAFE_OK)
        fail("forksafe_emit", "verdict is not FORKSAFE_OK");
}

static void fork_worker(void)
{
    emit(FORKSAFE_PRE_FORK, FORKSAFE_ROLE_MASTER, 0);
    pid_t pid = fork();
    if (pid < 0)
        fail("fork", NULL);
    if (pid == 0) {
        run_lua53("worker before the hook");
        emit(FORKSAFE_POST_FORK, FORKSAFE_ROLE_WORKER, 1);
        run_lua53("worker after the hook");
        _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        fail("worker", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exit status");
}

int main(int argc, char **argv)
{
    if (argc != 4 || (strcmp(argv[1], "before") && strcmp(argv[1], "after"))) {
        fprintf(stderr, "usage: lua53_host before|after LIBFORKSAFE.SO INI\n");
        return 2;
    }
    if (!strcmp(argv[1], "before")) {
        open_lua53();
        run_lua53("master before forksafe");
    }
    open_forksafe(argv[2], argv[3]);
    emit(FORKSAFE_MASTER_READY, FORKSAFE_ROLE_MASTER, 0);
    if (!strcmp(argv[1], "after"))
        open_lua53();
    run_lua53("master beside forksafe");
    fork_worker();
    run_lua53("master after the fork");
    printf("done\n");
    return 0;
}
