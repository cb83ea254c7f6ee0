/* SPDX-License-Identifier: MIT
 *
 * The subscribers of a new set-up are made known to the journal. Master, at each open.
 */
#ifndef FKS_ENLIST_H
#define FKS_ENLIST_H

#include "journal.h"
#include "setup.h"

/* Gives each subscriber its place in the journal's tables, under the generation of today, and what
 * its counters were. One line in the log for each that never runs here, or whose policy cannot be
 * followed. `hooks`: as for fks_dispatch_use. */
void fks_enlist_subscribers(struct fks_journal *journal, const struct fks_setup *setup,
                            const uint32_t hooks[FORKSAFE_EVENT_COUNT]);

#endif
