/* SPDX-License-Identifier: MIT
 *
 * The processes that `forksafe ps` shows: found through the claims and the fixed part of their
 * slots alone, so that the largest journal costs one small read a process. In the command only.
 */
#ifndef FKS_PS_ROWS_H
#define FKS_PS_ROWS_H

#include "target.h"

struct fks_ps_row {
    const struct fks_target *target;
    size_t reader;               /* index in the target: which of its masters */
    struct fks_reader_slot slot; /* without records and error */
};

struct fks_ps_rows {
    struct fks_ps_row *items; /* by instance, master, master before workers, slot, age */
    size_t count, room;
};

/* Adds the processes of a target's masters: those that live, with `all` also those that ended. Of a
 * master that has ended all of them. Returns 0, or negative with a line. */
int fks_ps_rows_add(struct fks_ps_rows *rows, const struct fks_target *target, bool all,
                    struct fks_error *error);

/* Puts them in their order. */
void fks_ps_rows_sort(struct fks_ps_rows *rows);

void fks_ps_rows_finish(struct fks_ps_rows *rows);

#endif
