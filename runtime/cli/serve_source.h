/* SPDX-License-Identifier: MIT
 *
 * Which journals `forksafe serve` shows: TARGET is looked up again whenever somebody asks, so that
 * a server may start, restart and die meanwhile. Where no master lives any more, the last one is
 * shown. In the serve process only; blocks on the file system.
 */
#ifndef FKS_SERVE_SOURCE_H
#define FKS_SERVE_SOURCE_H

#include "target.h"

struct fks_source {
    char *target;               /* owned; NULL: all that can be found */
    struct fks_target *targets; /* by name; as of the last look */
    size_t count;
};

/* Looks for the first time. Returns 0 also where TARGET is an ini whose server was not started yet,
 * or where there is no TARGET and no server: then with a line in *error (else its code is 0).
 * Negative as fks_target_open_all. For fks_source_finish either way. */
int fks_source_init(struct fks_source *source, const char *target, struct fks_error *error);
void fks_source_finish(struct fks_source *source);

/* Looks again. Returns 0 with source->targets, perhaps none, valid until the next look. Negative
 * with a line where there is something and it cannot be read. */
int fks_source_look(struct fks_source *source, struct fks_error *error);

/* The instance of that name; NULL for the name: the only one, or an empty one where no server was
 * seen. Returns 0 with *out borrowed until the next look; FORKSAFE_EUSAGE (several, none named) or
 * FORKSAFE_ENOENT, with a line. */
int fks_source_pick(const struct fks_source *source, const char *instance,
                    const struct fks_target **out, struct fks_error *error);

#endif
