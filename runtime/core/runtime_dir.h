/* SPDX-License-Identifier: MIT
 *
 * Where journals live: one search list for the library that writes them and the commands that find
 * them. forksafe.runtime_dir, else the first that can be had of $RUNTIME_DIRECTORY,
 * $XDG_RUNTIME_DIR/forksafe, /run/forksafe, /dev/shm/forksafe-UID. A journal is
 * <runtime_dir>/<instance>/<master pid>-<start ticks>.journal.
 */
#ifndef FKS_RUNTIME_DIR_H
#define FKS_RUNTIME_DIR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "error.h"

#define FKS_PATH 1024

/* Makes (or finds) the directory of an instance, in the master. Every directory has its owner
 * checked and one that we make gives others no access beyond search (/run/forksafe 0755, a
 * configured one 0711, else 0700; the instance's own 0750, owned by `uid`:`gid` so that a master
 * that has dropped its privileges can still work in it; -1: leave). A directory that is not ours,
 * that others could rename things in, or that is a symbolic link is refused. Where root works for
 * another `uid`, /dev/shm/forksafe-UID is that user's. Writes the path to `path` (FKS_PATH bytes).
 * Returns 0, FORKSAFE_EJOURNAL or FORKSAFE_EACCESS with a line that lists what was tried. */
int fks_runtime_dir_make(char *path, const struct fks_config *config, uid_t uid, gid_t gid,
                         struct fks_error *error);

/* Calls `found` with each runtime directory that the commands search and that exists, or may behind
 * one that is denied, in order, until it returns non-zero, and returns that; 0 at the end. For root
 * also every /dev/shm/forksafe-UID and /run/user/UID/forksafe. `runtime_dir` (may be NULL) is one
 * more, searched first. */
int fks_runtime_dir_each(const char *runtime_dir, int (*found)(const char *path, void *data),
                         void *data);

/* Adds the directories that the commands search to `text` (of `size` bytes), separated by ", ", for
 * messages. */
void fks_runtime_dir_list(const char *runtime_dir, char *text, size_t size);

/* Start time of a process in clock ticks since boot (field 22 of /proc/PID/stat); 0 where there is
 * none (a zombie is none). Opens a file: not in a fresh child. */
unsigned long long fks_process_start(pid_t pid);

/* The running kernel's boot_id; zeros where there is no /proc. Opens a file. */
void fks_boot_id(uint8_t id[16]);

#endif
