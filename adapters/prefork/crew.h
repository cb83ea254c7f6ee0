/* SPDX-License-Identifier: MIT
 *
 * The workers of a master: who holds which slot, who is due to be started, replaced or killed.
 * Knows no event loop: the master calls in when something happened, and again when the time comes
 * that fks_crew_attend told. Master only.
 */
#ifndef FKS_CREW_H
#define FKS_CREW_H

#include <stdbool.h>
#include <stdint.h>

#include "prefork.h"

/* A process that was forked and not yet reaped. */
struct fks_crew_worker {
    struct fks_crew_worker *next;
    pid_t pid;
    int slot;         /* from 1 */
    unsigned round;   /* of the crew when it was forked */
    uint64_t started; /* ms */
    bool asked;       /* to end */
    uint64_t kill_at; /* ms; UINT64_MAX: not to be killed */
};

/* A stable number that a worker has. */
struct fks_crew_slot {
    struct fks_crew_worker *current; /* NULL: to be started at start_at */
    struct fks_crew_worker *old;     /* goes on until `current` has settled; NULL: none */
    uint64_t start_at;               /* ms */
    unsigned quick_deaths;           /* in a row */
    bool done;                       /* once: its worker was started */
};

struct fks_crew {
    struct fks_prefork_birth birth;
    struct fks_crew_worker *workers;
    struct fks_crew_slot slots[FKS_PREFORK_MAX_WORKERS];
    int size;       /* slots in use: 1..size */
    unsigned round; /* reloads so far */
    bool stopping;
    bool quick;  /* stopping without patience */
    bool failed; /* exit status 1 */
};

/* Starts, replaces and kills what is due now. Returns in how many milliseconds the next thing is
 * due; -1: none. Emits PreFork; never returns in a child. */
int64_t fks_crew_attend(struct fks_crew *crew);

/* Reaps the workers that have ended, and emits ChildExit for each. Does not block beyond the hooks.
 */
void fks_crew_reap(struct fks_crew *crew);

/* All workers are to be replaced, one after another; slots that rest after quick deaths are tried
 * again at once. */
void fks_crew_reload(struct fks_crew *crew);

/* One slot more or (-1) one fewer, the highest. Says so in the log; does nothing at the ends of the
 * range. */
void fks_crew_resize(struct fks_crew *crew, int change);

/* All workers are asked to end. Called again with quick: the same without patience; and once more:
 * KILL at once. */
void fks_crew_stop(struct fks_crew *crew, bool quick);

/* Emits an event of the master; a FORKSAFE_STOP stops the crew. Returns the verdict. */
int fks_crew_emit(struct fks_crew *crew, enum forksafe_event event,
                  struct forksafe_occasion occasion);

/* Whether there is nothing left to wait for. */
bool fks_crew_over(const struct fks_crew *crew);

#endif
