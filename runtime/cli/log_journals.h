/* SPDX-License-Identifier: MIT
 *
 * The journals that `forksafe log` reads: those that TARGET means, and when it follows also those
 * of masters that are started later. In the command only; blocks on the file system.
 */
#ifndef FKS_LOG_JOURNALS_H
#define FKS_LOG_JOURNALS_H

#include "log_look.h"
#include "target.h"

struct fks_log_journal {
    struct fks_log_source *source;         /* NULL: let go; never looked at again */
    bool over;                             /* the last look at it was the last one */
    struct forksafe_journal_header header; /* as it was when it was found: whose it is */
    char instance[256];
};

/* Zeros are none. */
struct fks_log_journals {
    char *target; /* owned; NULL: all */
    struct fks_log_journal *items;
    size_t count;
    bool instances;             /* there were several */
    uint64_t next_search;       /* CLOCK_BOOTTIME */
    struct fks_error complaint; /* the last one that was told, so that it is told once */
};

/* Finds them. With `follow` success also where no master lives yet: TARGET is an ini, or an
 * instance that has run before, or there is none. Says on stderr what it waits for, and what was
 * left out. Returns 0 or as fks_target_open_all; for fks_log_journals_finish either way. */
int fks_log_journals_open(struct fks_log_journals *journals, const char *target, bool previous,
                          bool follow, struct fks_error *error);

/* Adds to the batch what is new in all of them. Returns 0, or negative with a line: a journal
 * cannot be read any more. */
int fks_log_journals_look(struct fks_log_journals *journals, struct fks_log_batch *batch,
                          struct fks_error *error);

/* The same for one who follows: looks for new masters now and then, lets go of journals that nobody
 * writes any more, and tells both on stderr. */
void fks_log_journals_follow(struct fks_log_journals *journals, struct fks_log_batch *batch);

/* A batch has to be cleared before: its entries refer to these. */
void fks_log_journals_finish(struct fks_log_journals *journals);

#endif
