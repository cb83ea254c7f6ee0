/* SPDX-License-Identifier: MIT
 *
 * An ini as Python's configparser reads it, with inih doing the reading. inih cuts lines at 200
 * bytes and section names at 50, and lacks configparser's rules; so a reader in front of it applies
 * the rules, keeps the real texts in a table and hands inih lines of short tokens, and the handler
 * behind it looks the real texts up. In the master and in the commands.
 */
#ifndef FKS_INI_READER_H
#define FKS_INI_READER_H

#include "error.h"
#include "settings_store.h"

struct fks_ini_section {
    char *name;
    int line;                 /* of its header */
    struct fks_dict *options; /* not interpolated */
};

struct fks_ini {
    const char *path;                 /* borrowed: what messages and pairs call the file */
    struct fks_ini_section *sections; /* all but [DEFAULT], in the file's order */
    size_t count, capacity;
    struct fks_dict *names; /* the same sections by name, in the same order; line is the header's */
    struct fks_dict *defaults; /* [DEFAULT] */
};

/* Reads the file at open_path into *ini, whose path and defaults the caller has set; a pair of
 * defaults with line 0 is replaced by one of the file's [DEFAULT]. Everything lives in the store.
 * What configparser refuses is an error with its line. Blocks on the file system. Returns 0,
 * FORKSAFE_EINI, FORKSAFE_EACCESS or FORKSAFE_ENOMEM. */
int fks_ini_read(struct fks_ini *ini, struct fks_store *store, const char *open_path,
                 struct fks_error *error);

/* The section's options; NULL where there is no such section. [DEFAULT] is not one. */
struct fks_dict *fks_ini_section_options(const struct fks_ini *ini, const char *name);

#endif
