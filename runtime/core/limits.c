/* SPDX-License-Identifier: MIT
 *
 * The time limit of a run. A short run costs no system call: the clocks are read from the hook
 * only, and the CPU clock starts at the first tick, a few microseconds late and in the script's
 * favour.
 */
#include "limits.h"

#include <time.h>

#include "journal.h"
#include "vm_private.h"

#define TICK       10000 /* instructions between two looks at the clocks */
#define WALL_TIMES 10u

const char fks_limits_stopped[] = "stopped: it ran longer than forksafe.time_limit allows";

static uint64_t thread_cpu(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool over_limit(struct fks_limits *run)
{
    uint64_t cpu = thread_cpu();
    if (!run->cpu_known ||
        cpu < run->cpu_start) { /* a script that forks: the child's clock is new */
        run->cpu_known = true;
        run->cpu_start = cpu;
    }
    return cpu - run->cpu_start > run->cpu_ns || fks_now() - run->wall_start > run->wall_ns;
}

static void tick(lua_State *L, lua_Debug *where)
{
    struct fks_vm *vm = fks_vm_of(L);
    struct fks_limits *run = &vm->limits;
    (void)where;
    fks_vm_pace(vm);
    if (!run->cpu_ns || (!run->expired && !over_limit(run)))
        return;
    run->expired = true;
    /* A pcall around the loop would catch one error: from here on every instruction throws. Not
     * every call: our own message handler is a C function, and must get through. */
    lua_sethook(L, tick, LUA_MASKCOUNT, 1);
    luaL_where(L, 0); /* a hook is no level of its own: 0 is the Lua function that runs */
    lua_pushstring(L, fks_limits_stopped);
    lua_concat(L, 2);
    lua_error(L);
}

void fks_limits_install(lua_State *L)
{
    lua_sethook(L, tick, LUA_MASKCOUNT, TICK);
}

void fks_limits_begin(struct fks_limits *run, uint64_t cpu_ns, uint64_t now)
{
    run->cpu_ns = cpu_ns;
    run->wall_ns = cpu_ns * WALL_TIMES;
    run->wall_start = now;
    run->cpu_known = run->expired = false;
}

bool fks_limits_end(struct fks_limits *run, lua_State *L)
{
    bool expired = run->expired;
    run->cpu_ns = 0;
    run->expired = false;
    if (expired)
        fks_limits_install(L);
    return expired;
}

void fks_limits_pause(struct fks_limits *run)
{
    run->paused_wall = fks_now();
    run->paused_cpu = thread_cpu();
}

uint64_t fks_limits_resume(struct fks_limits *run)
{
    uint64_t took = fks_now() - run->paused_wall, cpu = thread_cpu();
    run->wall_start += took;
    if (cpu > run->paused_cpu) /* less: in a child that was forked meanwhile, whose clock is new */
        run->cpu_start += cpu - run->paused_cpu;
    return took;
}
