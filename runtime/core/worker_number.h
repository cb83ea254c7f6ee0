/* SPDX-License-Identifier: MIT
 *
 * The numbers of workers (1..N) for servers that number none: an occasion whose worker is
 * FORKSAFE_WORKER_KEPT has the smallest number that was free when its process first asked, and
 * keeps it. A table of pids in shared memory, written by compare-and-swap.
 */
#ifndef FKS_WORKER_NUMBER_H
#define FKS_WORKER_NUMBER_H

#include <stdbool.h>

#include "forksafe/forksafe.h"
#include "journal.h"

/* Master, before the first fork: makes the table, once a process life, with a place for each slot
 * of the journal. Who has a slot and a number there already (the workers of a master that was
 * executed anew) keeps it. Without memory for it, nobody has a number. */
void fks_worker_numbers_open(const struct fks_journal *journal);

/* Any process: puts a number, or 0, in the place of FORKSAFE_WORKER_KEPT; leaves any other alone.
 * The first time in a process it takes one; CHILD_EXIT finds that of child_pid, and frees it,
 * unless another process took it over from the dead one meanwhile; a master and a helper have none.
 * False: the end of a child that never had a number, which was no worker. Async-signal-safe. */
bool fks_worker_number_resolve(enum forksafe_event event, struct forksafe_occasion *occasion);

#endif
