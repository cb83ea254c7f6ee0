/* SPDX-License-Identifier: MIT
 *
 * Bounds on what a subscriber may use of its process's time. What it may use of memory is the
 * arena's. A stop here is a Lua error thrown from a count hook: it reaches Lua code, not a long
 * call inside a C function of the library set. Each VM has its own: a reload runs scripts of a new
 * VM while a subscriber runs in the old one.
 */
#ifndef FKS_LIMITS_H
#define FKS_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "luajit.h"

/* The run of one VM. */
struct fks_limits {
    uint64_t cpu_ns, wall_ns; /* allowed; 0: no limit */
    uint64_t wall_start, cpu_start;
    uint64_t paused_wall, paused_cpu;
    bool cpu_known, expired;
};

/* What the log and the journal say of a run that was stopped. */
extern const char fks_limits_stopped[];

/* Once for a new state: the hook stays installed, and costs a look at one flag every so many
 * instructions. */
void fks_limits_install(lua_State *L);

/* A run begins: `cpu_ns` of the calling thread's CPU time and ten times that by the wall (0: no
 * limit). */
void fks_limits_begin(struct fks_limits *run, uint64_t cpu_ns, uint64_t now);

/* The run has ended. Returns whether it had to be stopped. */
bool fks_limits_end(struct fks_limits *run, lua_State *L);

/* Around a call into the application's own language: its time is not the run's, and it is never
 * cut. `resume` returns how long it took by the wall. */
void fks_limits_pause(struct fks_limits *run);
uint64_t fks_limits_resume(struct fks_limits *run);

#endif
