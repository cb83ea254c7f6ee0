/* SPDX-License-Identifier: MIT
 *
 * What vm.c (life of a VM) and vm_api.c (what Lua can call) share.
 */
#ifndef FKS_VM_PRIVATE_H
#define FKS_VM_PRIVATE_H

#include <sys/types.h>

#include "arena.h"
#include "limits.h"
#include "scrub.h"
#include "vm.h"

/* At the front of its arena: a child's hook writes to that page anyway. */
struct fks_vm {
    lua_State *L;
    struct fks_arena *arena;
    const struct fks_vm_spec *spec;
    struct fks_scrub *scrub;
    struct fks_subscriber *subscribers;
    size_t count, room;
    struct fks_limits limits;
    int events[FORKSAFE_EVENT_COUNT]; /* references of the event tables */
    int child;                        /* reference of the table that is event.child */
    int run_script, abort_script;     /* references of Lua functions */
    const struct fks_script *loading; /* the script that is being run; NULL afterwards */
    const struct fks_vm_event *firing;
    unsigned firings;
    int pace;                   /* what the collector was told last, in percent ... */
    size_t pace_low, pace_high; /* ... for as long as this much is in use */
    bool lost;                  /* jumped out of: no Lua of it may run */
    pid_t pid;                  /* the process that fired last */
    pid_t seeded;               /* the process that seeded math.random */
    char *error;                /* FKS_VM_ERROR bytes */
};

/* Where things stand on the state's stack, for good: nothing is allocated to call them. */
enum fks_vm_stack {
    FKS_VM_TRACEBACK = 1,
    FKS_VM_PREPARE,
    FKS_VM_COLLECT,
    FKS_VM_LOAD,
    FKS_VM_SETTLE
};

#define FKS_VM_ERROR 8192u

/* The VM that a state, or a coroutine of it, belongs to. */
struct fks_vm *fks_vm_of(lua_State *L);

/* Pushes the function that puts vm->firing into its event's table. vm_event.c */
void fks_vm_push_prepare(lua_State *L);

/* With the table of init.lua's functions on top: makes the table of an event, for vm->events; those
 * that workers get lie together. */
void fks_vm_make_event(lua_State *L, struct fks_vm *vm, int event);

/* lua_CFunctions. open_libraries: opens the library set and leaves the `native` table for init.lua
 * on the stack. */
int fks_vm_open_libraries(lua_State *L);

/* lua_CFunctions of vm_subscribe.c. subscribe(fn, event, name, order, on_error, line[, leader]):
 * checked by init.lua; returns nothing, or why it cannot be. is_leader(name): whether this process
 * leads under that name. */
int fks_vm_subscribe(lua_State *L);
int fks_vm_is_leader(lua_State *L);

/* Message handler: the thrown value, whatever it is, as a string with a traceback. */
int fks_vm_traceback(lua_State *L);

#endif
