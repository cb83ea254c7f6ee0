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

/* Master: from now on events go to this setup and this journal; `hooks` are the indices of the
 * journal's hook table (FORKSAFE_NO_SUBSCRIBER: never fired). *before is what was in use, for its
 * owner to destroy. Borrows all. `setup` NULL: no subscriber runs and nothing is recorded from now
 * on. Waits up to a second for an emit of another thread. Returns 0, or FORKSAFE_EUSAGE from within
 * an emit. */
int fks_dispatch_use(struct fks_setup *setup, struct fks_journal *journal,
                     const uint32_t hooks[FORKSAFE_EVENT_COUNT], uint32_t generation,
                     struct fks_setup **before);

/* forksafe_emit. `may_wait` false (an atfork handler): where another thread is inside, it is
 * recorded as refused at once. */
int fks_dispatch_emit(enum forksafe_event event, const struct forksafe_occasion *occasion,
                      bool may_wait);

/* Runs of a subscriber (its index in the journal) that did not end well, in all processes and
 * generations. */
uint64_t fks_dispatch_failures(const struct fks_journal *journal, uint32_t subscriber);

#endif
