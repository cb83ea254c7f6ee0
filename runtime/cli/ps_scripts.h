/* SPDX-License-Identifier: MIT
 *
 * Which version of its scripts a server runs: a short name for all that its current generation has
 * loaded, and whether their files are others by now. In the command only; reads the scripts.
 */
#ifndef FKS_PS_SCRIPTS_H
#define FKS_PS_SCRIPTS_H

#include "core/reader.h"

struct fks_ps_scripts {
    uint32_t generation; /* the master's current one */
    char version[9]; /* the same for the same texts under the same file names, wherever they lie;
                        empty: no scripts */
    int stale;       /* 1: a file is not what was loaded; 0; -1: cannot be told */
};

/* One version of scripts for each master's journal. A script that several subscribers are from is
 * read once. Where memory is short: no version. */
void fks_ps_scripts_init(struct fks_ps_scripts *out, const struct fks_reader *reader);

/* What a process of `generation` has: of an older one than its master's nobody knows the version
 * any more, and it is stale. */
struct fks_ps_scripts fks_ps_scripts_of(const struct fks_ps_scripts *current, uint32_t generation);

#endif
