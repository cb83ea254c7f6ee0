/* SPDX-License-Identifier: MIT
 *
 * What it takes to start a program with the preload adapter in it: finding the program and the
 * object, what stands against it, and the environment that does it. For `forksafe run` and
 * `forksafe check`, in their own process, before the program is started.
 */
#ifndef FKS_PRELOAD_ENVIRONMENT_H
#define FKS_PRELOAD_ENVIRONMENT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* The program as execvp finds it. False: there is none. */
bool fks_program_find(char path[PATH_MAX], const char *command);

/* Why nothing can be preloaded into the program at `path`; NULL where it can, or where exec will
 * say what is wrong. Follows #! lines; `path` is overwritten then. Static storage. */
const char *fks_preload_obstacle(char path[PATH_MAX]);

/* Writes where the adapter's object lies: beside this command, in the installation or in the build
 * tree. Returns NULL, or why it cannot be preloaded; static storage. */
const char *fks_preload_object(char path[PATH_MAX]);

/* Adds the object (NULL: none) to LD_PRELOAD of this process and sets FORKSAFE_INI: what is
 * executed next has it. False: no memory. */
bool fks_preload_environment(const char *object, const char *ini);

/* INI[#APP] as it is named from everywhere. False: it is too long, or there is no directory. */
bool fks_ini_absolute(char *out, size_t size, const char *ini);

#endif
