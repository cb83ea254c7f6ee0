/* SPDX-License-Identifier: MIT
 *
 * An event on its way to its subscribers: who may be inside, in which order they run, what is
 * recorded, and what the host has to do about a failure. Any process of the server.
 */
#ifndef FKS_DISPATCH_H
#define FKS_DISPATCH_H

#include <stdbool.h>

#include "journal.h"
#include "setup.h"

/* Master, around a reload: takes the lock, so that no event runs while journal and setup change.
 * Waits up to a second for an emit of another thread. Returns 0, or FORKSAFE_EUSAGE with a line. */
int fks_dispatch_hold(struct fks_error *error);

/* Gives it back; events that arrived meanwhile run first. */
void fks_dispatch_release(void);

/* Master, holding: from now on events go to this setup and this journal; `hooks` are the indices of
 * the journal's hook table (FORKSAFE_NO_SUBSCRIBER: never fired). Borrows all. `setup` NULL: no
 * subscriber runs and nothing is recorded from now on. Returns what was in use before, for its
 * owner to destroy. */
struct fks_setup *fks_dispatch_use(struct fks_setup *setup, struct fks_journal *journal,
                                   const uint32_t hooks[FORKSAFE_EVENT_COUNT], uint32_t generation);

/* forksafe_emit. `may_wait` false (an atfork handler): where another thread is inside, it is
 * recorded as refused at once. */
int fks_dispatch_emit(enum forksafe_event event, const struct forksafe_occasion *occasion,
                      bool may_wait);

/* Whether the calling thread is in an emit of one of our atfork handlers: nothing of the host may
 * be entered there that its own atfork handlers have not repaired yet. */
enum fks_fork_handler { FKS_FORK_NONE, FKS_FORK_PREPARE, FKS_FORK_CHILD };
enum fks_fork_handler fks_dispatch_in_fork_handler(void);

#endif
