/* SPDX-License-Identifier: MIT
 *
 * Bounds on what a subscriber may use of its process's time. What it may use of memory is the
 * arena's, of the C stack stack_room.h's. Each VM has its own: a reload runs scripts of a new VM
 * while a subscriber runs in the old one.
 *
 * A stop has two stages. First a hook makes every further Lua instruction throw. What does not end
 * by that within a grace (one long call inside a C function of the library set, a handler that
 * loops) is jumped out of, and the VM is lost: its arena is given back, and nothing in it is run or
 * closed ever again.
 */
#ifndef FKS_LIMITS_H
#define FKS_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "limits_timer.h"
#include "luajit.h"

/* How a run came to its end. */
enum fks_limits_end {
    FKS_RUN_ENDED,   /* by itself, or by an error of its own */
    FKS_RUN_STOPPED, /* by an error that the limit threw; the VM goes on */
    FKS_RUN_LOST,    /* jumped out of: of the VM nothing may be used but what is C's */
};

/* What a call needs once it has a timer: on its C stack, since a fresh child would copy a page for
 * it. */
struct fks_limits_frame {
    void *landing[5]; /* of __builtin_setjmp */
    struct fks_limits_timer timer;
};

/* The runs of one VM. Zeroed, it is ready for use. */
struct fks_limits {
    lua_State *L;
    uint64_t cpu_ns, wall_ns; /* allowed; 0: no limit */
    uint64_t wall_start, cpu_start;
    uint64_t grace_end;               /* of the CPU clock; from the first stage on */
    uint64_t paused_wall, paused_cpu; /* when the bridge was entered */
    struct fks_limits_frame *frame;   /* of the call that runs */
    const void *entry;                /* the frame that Lua was entered by */
    int problem;                      /* errno, where there was no timer to be had */
    int signal;                       /* of its timer; 0: it has none */
    int shields;                      /* what is held now has to be given back: no jump */
    bool may_jump;  /* the safe library set: no lock of libc can be held in LuaJIT's own code */
    bool eager;     /* has had a large block: one instruction may take long */
    bool cpu_known; /* cpu_start is */
    bool tried;     /* to get a timer, in this run */
    bool expired;   /* the first stage has begun */
    bool landed;    /* the second has */
};

/* What the log and the journal say of a run that was stopped, by its end. */
const char *fks_limits_text(enum fks_limits_end end);

/* Once for a new state: the hook stays installed, and costs a look at one flag every so many
 * instructions. `full`: libraries are open whose calls cannot be jumped out of. */
void fks_limits_install(struct fks_limits *run, lua_State *L, bool full);

/* lua_pcall of the function and its arguments on the stack, no results, with the message handler at
 * `handler`: within `cpu_ns` of the calling thread's CPU time and ten times that by the wall (0: no
 * limit). `now`: fks_now(). Short calls cost no system call. *status: of lua_pcall; LUA_ERRRUN with
 * nothing on the stack where the VM is lost. */
enum fks_limits_end fks_limits_call(struct fks_limits *run, int arguments, int handler,
                                    uint64_t cpu_ns, uint64_t now, int *status);

/* What comes may take long without a Lua instruction: from here on a timer watches this run. */
void fks_limits_watch(struct fks_limits *run);

/* Around a call into the application's own language: its time is not the run's, and it is never
 * cut. `resume` returns how long it took by the wall. */
void fks_limits_pause(struct fks_limits *run);
uint64_t fks_limits_resume(struct fks_limits *run);

/* Around C that holds what has to be given back while it uses the state: no jump out of there. It
 * lets no Lua error out. */
void fks_limits_shield(struct fks_limits *run);
void fks_limits_unshield(struct fks_limits *run);

/* Child, of a run that another thread was in when this process was forked: the signal's action goes
 * back to what it was. */
void fks_limits_forget(struct fks_limits *run);

#endif
