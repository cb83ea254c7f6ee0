/* SPDX-License-Identifier: MIT
 *
 * From what a person types to the journals that are meant. TARGET is an ini (INI or INI#APP), an
 * instance, a journal, or the pid of any process of a server; none means all that can be found. In
 * the commands only; blocks on the file system.
 */
#ifndef FKS_TARGET_H
#define FKS_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/reader.h"

/* The journals of one instance. */
struct fks_target {
    char instance[256];
    struct fks_reader *
        *readers;        /* of its living masters, oldest first; or the one that was asked for */
    size_t reader_count; /* at least 1 */
};

/* Resolves `target` (NULL: the only instance there is). Of an instance or ini: the living masters'
 * journals; with `previous` the journal of the master that died last. A journal's path: that
 * journal, dead or alive. A pid is looked up in the journals and never in /proc: the instance that
 * has it. Returns 0 with *out for fks_target_close; else negative with a line: FORKSAFE_ENOENT
 * (nothing there, or only a dead master's journal: the line says so), FORKSAFE_EUSAGE (several
 * instances and no target), FORKSAFE_EACCESS, FORKSAFE_EVERSION, FORKSAFE_EINI, FORKSAFE_EJOURNAL,
 * FORKSAFE_ENOMEM. */
int fks_target_open(struct fks_target *out, const char *target, bool previous,
                    struct fks_error *error);

/* The same for all instances that the target means, by name. On success `note` (may be NULL) is
 * told of journals that were left out, a line each. */
int fks_target_open_all(struct fks_target **out, size_t *count, const char *target, bool previous,
                        void (*note)(const char *line), struct fks_error *error);

/* Closes the readers; zeros are harmless. */
void fks_target_close(struct fks_target *target);

/* Closes and frees all. */
void fks_target_close_all(struct fks_target *targets, size_t count);

#endif
