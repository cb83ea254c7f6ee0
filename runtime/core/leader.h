/* SPDX-License-Identifier: MIT
 *
 * Leaders: of all workers of a master, the one that has a lock in the journal does what must be
 * done once. The kernel gives the lock back when its owner dies, however that comes about; whoever
 * passes a fork point next can have it. Nothing here waits.
 */
#ifndef FKS_LEADER_H
#define FKS_LEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

struct fks_journal;

#define FKS_NO_LEADER UINT32_MAX

/* Master, at each open under the new generation: the place of this name, which a reload finds again
 * with whoever has it. FKS_NO_LEADER, and *error says why: there is none to be had, or this
 * journal's memory is not shared by the workers. */
uint32_t fks_leader_add(struct fks_journal *journal, const char *name, struct fks_error *error);

enum fks_leading {
    FKS_LEADING_NOT,   /* another process leads, or nobody can */
    FKS_LEADING_TAKEN, /* this process does from now on */
    FKS_LEADING_STILL, /* it did already */
};

/* A worker: leads, if nobody else does. In a thread other than the process's first nothing is
 * taken, since the kernel gives a lock back when the thread ends that took it. `worker`: its slot
 * or 0. */
enum fks_leading fks_leader_take(struct fks_journal *journal, uint32_t id, int32_t worker);

/* The same thread: somebody else may lead. */
void fks_leader_give_up(struct fks_journal *journal, uint32_t id);

/* Whether this very process leads: a child that it forked does not. Any thread. */
bool fks_leader_is(uint32_t id);

#endif
