/* SPDX-License-Identifier: MIT
 *
 * Noticing what changes in one journal while its server writes it: processes that are new, change
 * or die, records that begin and end. A look costs one small read for each process; only what has
 * changed is read in full. In the serve process only.
 */
#ifndef FKS_SERVE_WATCH_H
#define FKS_SERVE_WATCH_H

#include <jansson.h>

#include "core/reader.h"

struct fks_watch;

/* Told of each change: "process" or "record", and the element of the debug object with its "key".
 * The callee takes ownership of the object, which is NULL where memory is short. */
typedef void (*fks_watch_report)(const char *kind, json_t *object, void *data);

/* Takes ownership of the reader, also on failure. NULL: no memory. */
struct fks_watch *fks_watch_create(struct fks_reader *reader);
void fks_watch_destroy(struct fks_watch *watch); /* NULL is harmless */

/* Whether it watches the journal that `reader` reads. */
bool fks_watch_is_of(const struct fks_watch *watch, const struct fks_reader *reader);

/* Reports what changed since the last look; at the first one all there is. `report` NULL: only
 * looks. Returns 0, or negative with a line where the journal cannot be read any more. */
int fks_watch_look(struct fks_watch *watch, fks_watch_report report, void *data,
                   struct fks_error *error);

/* Reports all that happened after `since` (CLOCK_BOOTTIME), as far as the journal still has it. */
int fks_watch_replay(struct fks_watch *watch, uint64_t since, fks_watch_report report, void *data,
                     struct fks_error *error);

/* Whether anybody of this journal lives, as of the last look. */
bool fks_watch_is_alive(const struct fks_watch *watch);

#endif
