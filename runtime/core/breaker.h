/* SPDX-License-Identifier: MIT
 *
 * The breaker of crash loops: a worker that a subscriber retires is replaced at once, and if the
 * next ones are retired too, each waits longer before it goes. What all workers of a master know of
 * each other for it stands in the journal.
 */
#ifndef FKS_BREAKER_H
#define FKS_BREAKER_H

struct fks_journal;

/* The worker that is to be retired, right before its server is told: counts it, says so in the log,
 * and waits: not at all the first time, then 0.1 s, doubled each time up to 5 s; again not at all
 * after 10 s without a retirement. A signal that the process handles, one that is pending and would
 * end it, and the end of its master cut the wait short. */
void fks_breaker_retire(struct fks_journal *journal);

/* The master, at a reload: what failed before says nothing of the new scripts. */
void fks_breaker_reset(struct fks_journal *journal);

#endif
