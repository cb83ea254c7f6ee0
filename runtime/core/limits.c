/* SPDX-License-Identifier: MIT
 *
 * The time limit of a run. A short run costs no system call: the clocks are read from the hook
 * only. What runs longer, or may be long in one instruction, gets a timer, whose signal handler
 * arms the hook that throws (an asynchronous lua_sethook is what LuaJIT's own command does at ^C),
 * and in the end jumps.
 *
 * It jumps from LuaJIT's own code only, as the program counter says: then no lock of libc is held,
 * no code of the host or of ours is half way, and a signal handler of the host is not on top.
 */
#include "limits.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <ucontext.h>

#include "guards.h"
#include "journal.h"
#include "log.h"
#include "vm_private.h"

#define MILLISECOND UINT64_C(1000000)
#define WALL_TIMES  10u
#define TICK        2000               /* instructions between two looks at a run, ... */
#define BRIEF       (MILLISECOND / 10) /* ... which gets a timer when it has lasted this long */
#define LEAST_GRACE MILLISECOND
#define MOST_GRACE  (50 * MILLISECOND)

static const char stopped[] = "stopped: it ran longer than forksafe.time_limit allows";

const char *fks_limits_text(enum fks_limits_end end)
{
    return end == FKS_RUN_LOST ? "stopped: it ran longer than forksafe.time_limit allows, inside a "
                                 "call that could not be interrupted; its Lua state was given up"
                               : stopped;
}

static uint64_t thread_cpu(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The CPU clock starts at the first look, a few microseconds late and in the script's favour. */
static uint64_t used_cpu(struct fks_limits *run)
{
    uint64_t cpu = thread_cpu();
    if (!run->cpu_known ||
        cpu < run->cpu_start) { /* a script that forks: the child's clock is new */
        run->cpu_known = true;
        run->cpu_start = cpu;
    }
    return cpu - run->cpu_start;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What is left of the run at these readings; 0: nothing. */
static uint64_t time_left(const struct fks_limits *run, uint64_t cpu)
{
    uint64_t wall = fks_now() - run->wall_start;
    if (cpu >= run->cpu_ns || wall >= run->wall_ns)
        return 0;
    return lesser(run->cpu_ns - cpu, run->wall_ns - wall);
}

static uint64_t grace_of(const struct fks_limits *run)
{
    uint64_t grace = run->cpu_ns / 10;
    return grace < LEAST_GRACE ? LEAST_GRACE : lesser(grace, MOST_GRACE);
}

static void expire(struct fks_limits *run, uint64_t cpu)
{
    run->expired = true;
    run->grace_end = cpu + grace_of(run);
}

static void throw_stop(lua_State *L)
{
    luaL_where(L, 0); /* a hook is no level of its own: 0 is the Lua function that runs */
    lua_pushstring(L, stopped);
    lua_concat(L, 2);
    lua_error(L);
}

/* Lua of our own, which takes no time of its own: what it is about to say of an error in a script
 * is not replaced by one without the script's name. Chunk names that do not begin with '@' are its
 * and those of load(). */
static bool is_own_lua(lua_State *L)
{
    static const char own[] = "=forksafe";
    lua_Debug here;
    return lua_getstack(L, 0, &here) && lua_getinfo(L, "S", &here) &&
           !strncmp(here.source, own, sizeof own - 1);
}

/* The hook. Once the limit is passed it is called before each instruction: a pcall around a loop
 * would catch one error. Not before each call: our own message handler is a C function, and must
 * get through. */
static void tick(lua_State *L, lua_Debug *where)
{
    struct fks_limits *run = &fks_vm_of(L)->limits;
    (void)where;
    if (!run->cpu_ns)
        return;
    if (!run->expired && !run->tried && fks_now() - run->wall_start < BRIEF)
        return; /* the instructions of many short runs add up */
    if (!run->expired) {
        fks_limits_watch(run);
        if (run->signal) /* at full speed until its signal comes */
            lua_sethook(L, NULL, 0, 0);
        uint64_t cpu = used_cpu(run);
        if (time_left(run, cpu))
            return;
        expire(run, cpu);
    }
    lua_sethook(L, tick, LUA_MASKCOUNT, 1);
    if (!is_own_lua(L))
        throw_stop(L);
}

static const void *program_counter(const void *context)
{
    const ucontext_t *interrupted = context;
#if defined(__x86_64__)
    return (const void *)(uintptr_t)interrupted->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (const void *)(uintptr_t)interrupted->uc_mcontext.pc;
#endif
}

/* Signal handler, in the thread of the run. */
static void on_timer(int signal, siginfo_t *info, void *context)
{
    struct fks_limits *run = info->si_value.sival_ptr;
    (void)signal;
    if (info->si_code != SI_TIMER)
        return;
    int errno_before = errno;
    uint64_t cpu = used_cpu(run), left = run->expired ? 0 : time_left(run, cpu);
    if (!left && !run->expired)
        expire(run, cpu);
    if (!left) {
        if (cpu >= run->grace_end && run->may_jump && !run->shields &&
            fks_luajit_has_code(program_counter(context)))
            __builtin_longjmp(run->frame->landing, 1);
        lua_sethook(run->L, tick, LUA_MASKCOUNT, 1);
    }
    fks_limits_timer_set(&run->frame->timer, left ? left : MILLISECOND);
    errno = errno_before;
}

/* Once a process: without a timer the hook alone looks at the clocks. */
static void tell_no_timer(int problem)
{
    static atomic_bool told;
    if (problem && !atomic_exchange(&told, true))
        fks_log(FORKSAFE_LOG_WARNING,
                "no timer for forksafe.time_limit (%s): what runs long inside one call is not "
                "stopped",
                strerror(problem));
}

static void set_timer(struct fks_limits *run)
{
    uint64_t left = time_left(run, used_cpu(run));
    fks_limits_timer_set(&run->frame->timer, left ? left : 1);
}

void fks_limits_watch(struct fks_limits *run)
{
    if (!run->cpu_ns || run->tried)
        return;
    run->tried = true;
    run->problem = fks_limits_timer_arm(&run->frame->timer, on_timer, run);
    if (run->problem)
        return;
    run->signal = run->frame->timer.signal;
    set_timer(run);
}

void fks_limits_install(struct fks_limits *run, lua_State *L, bool full)
{
    run->L = L;
    run->may_jump = !full && fks_guard(FKS_GUARD_RUNAWAY);
    run->entry = __builtin_frame_address(0);
    lua_sethook(L, tick, LUA_MASKCOUNT, TICK);
}

static void begin(struct fks_limits *run, uint64_t cpu_ns, uint64_t now)
{
    run->cpu_ns = cpu_ns;
    run->wall_ns = cpu_ns * WALL_TIMES;
    run->wall_start = now;
    run->cpu_known = run->expired = run->tried = run->landed = false;
    run->problem = 0;
    if (run->eager)
        fks_limits_watch(run);
}

static void drop_timer(struct fks_limits *run)
{
    if (run->signal)
        fks_limits_timer_disarm(&run->frame->timer);
    run->signal = 0;
}

static enum fks_limits_end end(struct fks_limits *run)
{
    bool expired = run->expired;
    drop_timer(run);
    tell_no_timer(run->problem);
    run->cpu_ns = 0;
    run->expired = false;
    if (run->landed)
        return FKS_RUN_LOST;
    if (run->tried)
        lua_sethook(run->L, tick, LUA_MASKCOUNT, TICK);
    return expired ? FKS_RUN_STOPPED : FKS_RUN_ENDED;
}

__attribute__((noinline)) enum fks_limits_end fks_limits_call(struct fks_limits *run, int arguments,
                                                              int handler, uint64_t cpu_ns,
                                                              uint64_t now, int *status)
{
    struct fks_limits *const volatile kept = run; /* across the jump */
    int *const volatile kept_status = status;
    struct fks_limits_frame frame;
    run->frame = &frame; /* cppcheck-suppress autoVariables; used only while this call runs */
    if (__builtin_setjmp(frame.landing)) {
        kept->landed = true;
        *kept_status = LUA_ERRRUN;
        return end(kept);
    }
    run->entry = __builtin_frame_address(0);
    begin(run, cpu_ns, now);
    *status = lua_pcall(run->L, arguments, 0, handler);
    return end(run);
}

void fks_limits_pause(struct fks_limits *run)
{
    run->paused_wall = fks_now();
    run->paused_cpu = thread_cpu();
    if (run->signal)
        fks_limits_timer_set(&run->frame->timer, 0);
}

uint64_t fks_limits_resume(struct fks_limits *run)
{
    uint64_t took = fks_now() - run->paused_wall, cpu = thread_cpu();
    run->wall_start += took;
    if (cpu > run->paused_cpu) /* less: in a child that was forked meanwhile, whose clock is new */
        run->cpu_start += cpu - run->paused_cpu;
    if (!run->signal)
        return took;
    if (run->frame->timer.pid != getpid()) { /* and it has no timer */
        drop_timer(run);
        run->tried = run->cpu_known = false;
        fks_limits_watch(run);
    } else {
        set_timer(run);
    }
    return took;
}

void fks_limits_shield(struct fks_limits *run)
{
    run->shields++;
}

void fks_limits_unshield(struct fks_limits *run)
{
    run->shields--;
}

void fks_limits_forget(struct fks_limits *run)
{
    if (run->signal)
        fks_limits_timer_forget(run->signal);
    run->signal = 0;
}
