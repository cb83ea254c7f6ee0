/* SPDX-License-Identifier: MIT
 *
 * The Lua VM that runs the scripts: made in the master, inherited by the children, replaced at a
 * reload, built again from the texts in memory where it had to be abandoned. One thread at a time
 * (dispatch.c has the lock).
 */
#ifndef FKS_VM_H
#define FKS_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "finding_marks.h"
#include "forksafe/journal_layout.h"
#include "luajit.h"
#include "script.h"
#include "settings.h"

/* One Lua function that a script registered for an event. */
struct fks_subscriber {
    enum forksafe_event event;
    int32_t order;
    enum fks_on_error on_error;
    char *name;       /* unique for its event */
    const char *path; /* of its script; borrowed from the scripts */
    uint32_t line;    /* where it subscribed; 0: by its file name */
    const struct fks_script *script;
    int function;       /* reference in the state's registry */
    char *leader;       /* runs only in the worker that leads under this name; NULL: in all */
    uint32_t leader_id; /* of that name (leader.h); the caller's to set */
    uint32_t id;        /* in the journal's table */
    /* How its runs had ended when the scripts were loaded: counters outlive a reload. */
    uint64_t ended_before[FORKSAFE_OUTCOME_COUNT];
};

/* What a VM is built from. Borrowed: it outlives the VM. */
struct fks_vm_spec {
    const struct fks_config *config;
    const struct fks_settings *settings;
    struct fks_scripts *scripts;             /* which failed to load is noted there */
    struct fks_marks *marks;                 /* where forksafe.mark_safe adds to */
    const char *container;                   /* event.container */
    const char *hooks[FORKSAFE_EVENT_COUNT]; /* event.hook; NULL: this container never fires it */
    char *const *environment; /* "NAME=value" in the master, NULL-terminated; NULL: none */

    /* Told of each script that failed to load: one line with file, line, and traceback lines after
     * it. */
    void (*complain)(const char *text, void *data);
    void *data;

    /* The debug object as JSON (free()); NULL where it cannot be had. For registry.forksafe. */
    char *(*debug_json)(void);
};

struct fks_vm;

/* Builds a VM and runs every script in it, but those that failed in an earlier one. Scripts that
 * fail are complained of and counted in *failed, the rest are loaded. Returns 0; FORKSAFE_ENOMEM or
 * FORKSAFE_ESCRIPT (our own Lua failed) with *out NULL. */
int fks_vm_create(struct fks_vm **out, const struct fks_vm_spec *spec, size_t *failed,
                  struct fks_error *error);

/* Gives the arena back in one step; nothing of the state is run. NULL is harmless. */
void fks_vm_destroy(struct fks_vm *vm);

/* The same for a VM that another thread was inside of when this process was forked: only the arena
 * goes, since what else that thread had in its hands is in an unknown state. Child. */
void fks_vm_abandon(struct fks_vm *vm);

/* Whether a subscriber had to be jumped out of: what is C's of it may be read (its subscribers), no
 * more of its Lua runs, and a new one has to be made. */
bool fks_vm_is_lost(const struct fks_vm *vm);

/* The subscribers, sorted by event, order, and load order; *count of them. Owned by the VM; `id` is
 * the caller's to set. */
struct fks_subscriber *fks_vm_subscribers(struct fks_vm *vm, size_t *count);

/* What changes from one firing to the next. */
struct fks_vm_event {
    enum forksafe_event event;
    const struct forksafe_occasion *occasion;
    pid_t pid, ppid;
    uint32_t generation;
};

/* Puts the firing into the event table. Returns 0, or FORKSAFE_ENOMEM with *text as below.
 * Protected; runs no code of a script. */
int fks_vm_prepare(struct fks_vm *vm, const struct fks_vm_event *event, const char **text);

/* Calls one subscriber with the prepared event, within the limits. Where the outcome is not OK,
 * *text is the error with file, line and traceback, scrubbed of settings' values, borrowed until
 * the next call. */
enum forksafe_outcome fks_vm_call(struct fks_vm *vm, const struct fks_subscriber *subscriber,
                                  enum forksafe_event event, uint64_t now, const char **text);

#endif
