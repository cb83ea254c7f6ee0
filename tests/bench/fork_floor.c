/* SPDX-License-Identifier: MIT
 *
 * What a fork costs from fork to reaped when the child does only what cannot be left out: nothing,
 * or as many pages as our hook touches and not one instruction more, or the same script by a bare
 * lua_pcall, without journal, limits, log and arena. One line of JSON: medians of microseconds from
 * fork to reaped and in the child, and of the child's minor faults there. Arguments: COUNT, then
 *
 *   bare                        nothing
 *   pages PRIVATE SHARED TEXT   writes to private pages and to windows of a shared map, reads of
 *                               windows (64 kB) of a library's file
 *   open                        nothing, in a program that has LuaJIT and a state in it
 *   lua SCRIPT                  the hook that the script returns, in such a program
 */
#include <dlfcn.h>
#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spent.h"

#define PAGE   ((size_t)4096)
#define WINDOW ((size_t)65536) /* that much of a file the kernel maps around a fault */
#define LUAJIT "libluajit-5.1.so.2"

/* As tests/bench/lua_pcall.c has it. */
static const char prelude[] =
    "local format = string.format\n"
    "forksafe = { log = { info = function(text, ...) return format(text, ...) end } }\n"
    "event = { worker = 1, pid = 4711, registry = { settings = { ['db.host'] = '10.0.0.5' } } }\n";

/* Opened here and not linked to: the bare program must not have it. */
static struct {
    lua_State *L;
    void (*push)(lua_State *, int);
    int (*call)(lua_State *, int, int, int);
} lua;

static struct {
    char *private_pages, *shared, *text;
    size_t private_count, shared_count, text_count;
} pages;

/* What the child has measured; of each fork, shared. */
struct sample {
    double lifetime, in_child, faults;
};

static bool open_lua(const char *script)
{
    void *library = dlopen(LUAJIT, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return false;
    lua_State *(*new_state)(void) = (lua_State * (*)(void)) dlsym(library, "luaL_newstate");
    int (*set_mode)(lua_State *, int, int) =
        (int (*)(lua_State *, int, int))dlsym(library, "luaJIT_setmode");
    void (*open_libraries)(lua_State *) = (void (*)(lua_State *))dlsym(library, "luaL_openlibs");
    int (*load)(lua_State *, const char *) =
        (int (*)(lua_State *, const char *))dlsym(library, "luaL_loadstring");
    int (*load_file)(lua_State *, const char *) =
        (int (*)(lua_State *, const char *))dlsym(library, "luaL_loadfile");
    void (*get_field)(lua_State *, int, const char *) =
        (void (*)(lua_State *, int, const char *))dlsym(library, "lua_getfield");
    int (*collect)(lua_State *, int, int) =
        (int (*)(lua_State *, int, int))dlsym(library, "lua_gc");
    lua.push = (void (*)(lua_State *, int))dlsym(library, "lua_pushvalue");
    lua.call = (int (*)(lua_State *, int, int, int))dlsym(library, "lua_pcall");
    lua_State *L = lua.L = new_state();
    set_mode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    open_libraries(L);
    if (load(L, prelude) || lua.call(L, 0, 0, 0))
        return false;
    if (script && (load_file(L, script) || lua.call(L, 0, 1, 0)))
        return false;
    get_field(L, LUA_GLOBALSINDEX, "event"); // [hook] event
    collect(L, LUA_GCCOLLECT, 0);
    return true;
}

static void call_hook(void)
{
    lua.push(lua.L, -2);
    lua.push(lua.L, -2);
    if (lua.call(lua.L, 1, 0, 0))
        _exit(1);
}

/* A file that is in the cache, and mapped as libraries are. */
static char *map_text(size_t size)
{
    char path[] = "/tmp/forksafe-floor-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        return MAP_FAILED;
    (void)unlink(path);
    for (size_t at = 0; at < size; at += PAGE) {
        char page[PAGE];
        memset(page, 1, sizeof page);
        if (write(fd, page, sizeof page) != (ssize_t)sizeof page)
            return MAP_FAILED;
    }
    char *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    return map;
}

static bool open_pages(char **counts)
{
    pages.private_count = strtoul(counts[0], NULL, 10);
    pages.shared_count = strtoul(counts[1], NULL, 10);
    pages.text_count = strtoul(counts[2], NULL, 10);
    /* One more of each: none is asked for with a size of 0. */
    size_t private_size = (pages.private_count + 1) * PAGE;
    size_t shared_size = (pages.shared_count + 1) * WINDOW;
    pages.private_pages =
        mmap(NULL, private_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pages.shared =
        mmap(NULL, shared_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pages.text = map_text((pages.text_count + 1) * WINDOW);
    if (pages.private_pages == MAP_FAILED || pages.shared == MAP_FAILED || pages.text == MAP_FAILED)
        return false;
    memset(pages.private_pages, 1, private_size);
    memset(pages.shared, 1, shared_size);
    return true;
}

static void touch_pages(void)
{
    for (size_t i = 0; i < pages.private_count; i++)
        ((volatile char *)pages.private_pages)[i * PAGE] = 2;
    for (size_t i = 0; i < pages.shared_count; i++) { /* read first, as the journal is */
        volatile char *at = pages.shared + i * WINDOW;
        *at = (char)(*at + 1);
    }
    for (size_t i = 0; i < pages.text_count; i++)
        (void)((volatile char *)pages.text)[i * WINDOW];
}

static void nothing(void)
{
}

static void fork_once(void (*work)(void), struct sample *sample)
{
    double begun = now();
    pid_t pid = fork();
    if (!pid) {
        (void)now(); /* the measuring's own pages */
        double faults_before = faults(), before = now();
        work();
        sample->in_child = now() - before;
        sample->faults = faults() - faults_before;
        _exit(0);
    }
    int status = 1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
        exit(1);
    sample->lifetime = now() - begun;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(const struct sample *samples, size_t count, size_t offset)
{
    double *values = malloc(count * sizeof *values);
    if (!values)
        exit(1);
    for (size_t i = 0; i < count; i++)
        memcpy(&values[i], (const char *)&samples[i] + offset, sizeof values[i]);
    qsort(values, count, sizeof *values, compare);
    double middle = values[count / 2];
    free(values);
    return middle;
}

int main(int argc, char **argv)
{
    size_t count = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
    const char *mode = argc > 2 ? argv[2] : "";
    void (*work)(void) = NULL;
    if (!strcmp(mode, "bare") || (!strcmp(mode, "open") && open_lua(NULL)))
        work = nothing;
    else if (!strcmp(mode, "pages") && argc == 6 && open_pages(argv + 3))
        work = touch_pages;
    else if (!strcmp(mode, "lua") && argc == 4 && open_lua(argv[3]))
        work = call_hook;
    if (!work || !count) {
        fprintf(stderr,
                "usage: fork_floor COUNT bare | pages PRIVATE SHARED TEXT | open | lua SCRIPT\n");
        return 2;
    }
    struct sample *samples = mmap(NULL, count * sizeof *samples, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (samples == MAP_FAILED)
        return 1;
    for (size_t i = 0; i < count; i++)
        fork_once(work, &samples[i]);
    printf("{\"microseconds\": %.2f, \"child_microseconds\": %.2f, \"minor_faults\": %.0f}\n",
           median(samples, count, offsetof(struct sample, lifetime)),
           median(samples, count, offsetof(struct sample, in_child)),
           median(samples, count, offsetof(struct sample, faults)));
    return 0;
}
