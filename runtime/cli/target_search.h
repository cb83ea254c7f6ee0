/* SPDX-License-Identifier: MIT
 *
 * Finding journals on the disk, for target.c: every directory of the search list, every instance
 * below it. In the commands only.
 */
#ifndef FKS_TARGET_SEARCH_H
#define FKS_TARGET_SEARCH_H

#include "core/reader.h"

struct fks_found_journal {
    struct fks_reader *reader;
    char instance[256];
    bool is_alive; /* its master is */
    uint64_t modified_ns;
};

/* Zeros are an empty one. */
struct fks_search {
    const char *runtime_dir; /* searched first; NULL: none; borrowed */
    char *notes;             /* a line for each journal that was left out; NULL: none */
    struct fks_found_journal *journals;
    size_t count;
    struct fks_error problem; /* the weightiest reason why something was left out: permission, then
                                 version, then damage */
    const char *only;         /* instance that is looked for; NULL: all */
};

/* Add the journals that can be read; the others are noted. */
void fks_search_all(struct fks_search *search);
void fks_search_instance(struct fks_search *search, const char *instance);

/* Adds one journal. `instance` NULL: what the journal says. Returns 0, or negative with a line. A
 * file that is not there is no problem. */
int fks_search_add(struct fks_search *search, const char *path, const char *instance,
                   struct fks_error *error);

/* Index of the journal that knows the process: one where it lives before one where it is dead, the
 * newest of those. -1: none. */
long fks_search_pid(struct fks_search *search, pid_t pid);

/* Forgets the journals, keeps the problem. */
void fks_search_clear(struct fks_search *search);
void fks_search_finish(struct fks_search *search);

#endif
