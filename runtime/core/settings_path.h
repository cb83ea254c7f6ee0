/* SPDX-License-Identifier: MIT
 *
 * Paths as the loader makes them: absolute by text alone, and out of `config:` names. In the master
 * and in the commands.
 */
#ifndef FKS_SETTINGS_PATH_H
#define FKS_SETTINGS_PATH_H

#include "settings_store.h"

/* directory + "/" + name in the store; name alone where that is absolute. NULL where memory is
 * short. */
char *fks_path_join(struct fks_store *store, const char *directory, const char *name);

/* An absolute path without ".", ".." and doubled slashes, as Python's os.path.abspath: symbolic
 * links are not asked. In the store; NULL where memory is short. */
char *fks_path_normalise(struct fks_store *store, const char *path);

/* What stands before the last slash ("/" for a file in the root), of an absolute path. In the
 * store; NULL where memory is short. */
char *fks_path_directory(struct fks_store *store, const char *path);

/* Replaces %41 and the like, in place. False where that gives a NUL, which no path has. */
bool fks_path_unquote(char *path);

#endif
