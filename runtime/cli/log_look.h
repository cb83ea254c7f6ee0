/* SPDX-License-Identifier: MIT
 *
 * Taking records out of one journal, those that were not taken before: at the first look all that
 * it has, at each one after that those that have begun or ended since. A look costs one small read
 * for each process; only what has changed is read in full. In the command only.
 */
#ifndef FKS_LOG_LOOK_H
#define FKS_LOG_LOOK_H

#include "log_filter.h"

/* A record as it was at the look. */
struct fks_log_entry {
    struct forksafe_record record;
    const struct fks_log_source *source;
    uint32_t slot;
    bool live;   /* as fks_debug_outcome */
    char *error; /* the text with its traceback, owned; NULL: none, or the process has written
                    another one since */
};

/* What one look, at one or several journals, has found. */
struct fks_log_batch {
    const struct fks_log_filter *filter; /* borrowed */
    int64_t difference;                  /* CLOCK_BOOTTIME to time of day */
    size_t newest;                       /* so many at most, the newest; SIZE_MAX: all */
    struct fks_log_entry *entries;
    size_t count, room;
    bool first;           /* set by the caller: what was overwritten before is no loss */
    bool failed;          /* no memory: entries are missing */
    uint64_t overwritten; /* records that were gone before they could be taken */
};

/* Oldest first, no more than `newest`. */
void fks_log_batch_finish_look(struct fks_log_batch *batch);

/* Forgets the entries; the batch can be filled again. */
void fks_log_batch_clear(struct fks_log_batch *batch);

struct fks_log_source;

/* Takes ownership of the reader, also on failure. `instance` is copied. NULL: no memory. */
struct fks_log_source *fks_log_source_create(struct fks_reader *reader, const char *instance);
void fks_log_source_destroy(struct fks_log_source *source); /* NULL is harmless */

const char *fks_log_source_instance(const struct fks_log_source *source);
struct fks_reader *fks_log_source_reader(const struct fks_log_source *source);

/* Adds what is new to the batch. Returns 0, or negative with a
 * line where the journal cannot be read any more. */
int fks_log_source_look(struct fks_log_source *source, struct fks_log_batch *batch,
                        struct fks_error *error);

/* Whether any of its processes lives. */
bool fks_log_source_is_alive(const struct fks_log_source *source);

#endif
