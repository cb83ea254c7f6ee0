/* SPDX-License-Identifier: MIT
 *
 * The Lua files of a script directory, read once in the master and kept in memory: a child opens
 * nothing, and a VM that had to be abandoned is built again from these texts. Files at the top are
 * scripts; files in folders below are modules for `require`.
 */
#ifndef FKS_SCRIPT_H
#define FKS_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

#define FKS_NO_EVENT (-1)

struct fks_script {
    char *path; /* absolute: what messages and the debug object say */
    char *name; /* below the directory: "10-db.postfork.lua", "lib/db.lua" */
    char *text; /* not NUL-terminated */
    size_t length;
    uint64_t hash;     /* FNV-1a 64 of the text */
    uint64_t mtime_ns; /* CLOCK_REALTIME */
    int event;         /* enum forksafe_event that the file name subscribes to, or FKS_NO_EVENT */
    bool module;       /* in a folder: only for require */
    bool failed;       /* to load: no VM runs it again */
};

struct fks_scripts {
    struct fks_script *items; /* scripts in byte order of their names, then modules */
    size_t count;
};

/* Called for each file that cannot be used. */
typedef void (*fks_script_complaint)(const struct fks_error *error, void *data);

/* Reads every *.lua below `directory`. A file is trusted if it, and every directory above the place
 * where it really lies, is owned by root, the effective user or the owner of the ini, and not
 * writable by others, nor by a group when we are root; a read-only mount cannot be written, and in
 * a sticky directory the owner of the file counts. One that cannot be read or trusted, and a folder
 * that cannot be read, is left out after a complaint. The file is checked on the descriptor that is
 * read. Returns 0 and
 * *out for fks_scripts_finish; FORKSAFE_ESCRIPT where the directory itself cannot be used,
 * FORKSAFE_ENOMEM. Master only, blocks on the file system. */
int fks_scripts_init(struct fks_scripts *out, const char *directory, uid_t ini_owner,
                     fks_script_complaint complain, void *data, struct fks_error *error);

/* Reads one file by the same rule. Returns 0 and *out for fks_script_finish (its name is NULL);
 * FORKSAFE_ESCRIPT or FORKSAFE_ENOMEM with a line. Blocks on the file system. */
int fks_script_read(struct fks_script *out, const char *path, uid_t ini_owner,
                    struct fks_error *error);

/* Zeroed structs are harmless. */
void fks_script_finish(struct fks_script *script);
void fks_scripts_finish(struct fks_scripts *scripts);

/* The script or module that `require "a.b"` means: a/b.lua, a/b/init.lua, or a.b.lua; NULL where
 * there is none. */
const struct fks_script *fks_scripts_find(const struct fks_scripts *scripts, const char *module);

/* FNV-1a 64. */
uint64_t fks_hash(const void *bytes, size_t length);

#endif
