/* SPDX-License-Identifier: MIT
 *
 * The text of an ini, as Python's open() gives it to its configparser: all of it UTF-8, every line
 * ended by "\n".
 */
#ifndef FKS_INI_FILE_H
#define FKS_INI_FILE_H

#include "error.h"
#include "settings_store.h"

struct fks_ini_text {
    char *start; /* NUL-terminated, in the store, to be written over by who reads it */
    char *end;   /* the terminating NUL */
};

/* Reads the regular file at open_path; messages call it `path`. A NUL byte or bytes that are not
 * UTF-8 are errors with their line. Blocks on the file system. Returns 0, FORKSAFE_EINI,
 * FORKSAFE_EACCESS or FORKSAFE_ENOMEM. */
int fks_ini_text_read(struct fks_ini_text *out, struct fks_store *store, const char *open_path,
                      const char *path, struct fks_error *error);

#endif
