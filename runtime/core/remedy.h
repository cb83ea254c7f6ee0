/* SPDX-License-Identifier: MIT
 *
 * Repairs in a child of what it inherited and should not have: the one thing that opens descriptors
 * after the fork, and only at the user's word. What the master has stays as it is. System calls
 * alone, bounded by what was open at the fork.
 */
#ifndef FKS_REMEDY_H
#define FKS_REMEDY_H

#include <stdbool.h>
#include <stddef.h>

#include "audit.h"
#include "error.h"

/* Replaces each inherited connection out of the server whose peer fits the pattern (NULL: each of
 * TCP or unix that is not marked safe) by a dead socket with the same number and flags: what uses
 * it sees a clean disconnect. Epoll sets of this process alone that had it have the dead one
 * instead. A connection that was opened since the fork is left alone. Returns how many, or
 * negative: FORKSAFE_EUSAGE outside of a child or where the master was not looked at,
 * FORKSAFE_EACCESS where no descriptor can be had. */
int fks_quarantine(const char *peer, struct fks_error *error);

/* What unshare can make anew. */
#define FKS_UNSHARE_EPOLL      1u
#define FKS_UNSHARE_EVENTFD    2u
#define FKS_UNSHARE_TIMERFD    4u
#define FKS_UNSHARE_SOCKETPAIR 8u

/* Gives this process private copies of inherited objects under their numbers: eventfds with their
 * count, timers with what is left of their time, socketpairs of event loops, and epoll sets with
 * all that they watch. Objects that are marked safe, or that only the closed loop of a server would
 * have used, are left alone. Returns how many, or negative as above. */
int fks_unshare(unsigned what, struct fks_error *error);

/* --- shared by the files of remedies --- */

/* The child's view; NULL with *error where there is none. */
struct fks_audit *fks_remedy_audit(struct fks_error *error);

/* Puts the open file of `from` in the place of `number`, with the flags that this had
 * (close-on-exec and, where `from` is for it alone, O_NONBLOCK), and closes `from`. Returns 0 or
 * -1. */
int fks_replace(int from, int number);

/* Socketpairs of event loops. Returns how many ends. remedy_pairs.c */
int fks_unshare_pairs(struct fks_audit *audit);

/* Epoll sets. remedy_epoll.c */
int fks_unshare_epolls(struct fks_audit *audit);

/* A descriptor in an epoll set. */
struct fks_watch {
    int epoll, number;
    unsigned events;
    unsigned long long data, inode;
};

/* Parses a line of an epoll set's fdinfo; false for other lines. */
bool fks_watch_parse(struct fks_watch *out, const char *line);

/* Takes every entry for which `is_chosen` out of the epoll sets of this process alone; put puts
 * back what stands under those numbers then. Returns how many, at most FKS_WATCHES. */
#define FKS_WATCHES 1024
size_t fks_watches_take(const struct fks_audit *audit,
                        bool (*is_chosen)(const struct fks_audit_entry *entry, const void *data),
                        const void *data, struct fks_watch watches[FKS_WATCHES]);
void fks_watches_put(const struct fks_watch *watches, size_t count);

#endif
