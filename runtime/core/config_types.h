/* SPDX-License-Identifier: MIT
 *
 * The types of the forksafe.* keys, by the names that FKS_CONFIG_KEYS gives them. In the master and
 * in the commands.
 */
#ifndef FKS_CONFIG_TYPES_H
#define FKS_CONFIG_TYPES_H

#include "config.h"

/* The longest instance. */
#define FKS_INSTANCE_BYTES 64

/* A key that is being read. All borrowed. */
struct fks_reading {
    const char *ini;  /* absolute path: relative ones start at its directory */
    const char *name; /* of the key, without "forksafe." */
    const char *text;
};

/* Writes the member of struct fks_config that `out` is. Returns 0, FORKSAFE_EINI for a text that
 * the key does not take, or FORKSAFE_ENOMEM; on failure *out is as it was. Texts are for free(). */
typedef int fks_read_function(const struct fks_reading *reading, void *out);

fks_read_function fks_read_path, fks_read_text, fks_read_list, fks_read_bool, fks_read_count,
    fks_read_size, fks_read_time, fks_read_on_error, fks_read_lua_libs, fks_read_log_level;

/* What a type takes, for "takes ..." */
#define FKS_TAKES_path "a path, on one line"
#define FKS_TAKES_text "a name, on one line"
#define FKS_TAKES_list \
    "auto, or names such as forksafe.containers.uwsgi with white space between them"
#define FKS_TAKES_bool      "true, yes, y, t, on, 1 or false, no, n, f, off, 0"
#define FKS_TAKES_count     "a number"
#define FKS_TAKES_size      "a size such as 512K, 32M or 1G"
#define FKS_TAKES_time      "a time such as 500ms or 2s"
#define FKS_TAKES_on_error  "log, retire_worker or stop_server"
#define FKS_TAKES_lua_libs  "safe or full"
#define FKS_TAKES_log_level "debug, info, warning or error"

/* The same for a key that takes less than its type does; NULL for the others. */
const char *fks_key_limits(const char *name);

/* A-Z a-z 0-9 . _ -: what may stand in a path, in JSON and in a metric's label without a second
 * thought. */
bool fks_is_instance_character(char c);

/* What stands behind the last slash of a path; borrowed. */
const char *fks_file_name(const char *path);

#endif
