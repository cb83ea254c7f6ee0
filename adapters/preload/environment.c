/* SPDX-License-Identifier: MIT
 *
 * What a process of the lineage passes on to the program that it executes, in the environment: the
 * pid of the one process in which the object does anything. In the program as it begins, and in
 * candidates that change or are executed.
 */
#include "preload.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Pid of the process in whose environment it stands: what is executed with another pid is of no
 * concern. Of one width, to be changed in its place. */
#define VARIABLE "FORKSAFE_PRELOAD"
#define VALUE    "%010ld"

/* The value is changed where it stands. */
void fks_environment_mark(void)
{
    static const char name[] = VARIABLE "=";
    char value[32];
    int length = snprintf(value, sizeof value, VALUE, (long)fks_here.pid);
    for (char **entry = environ; entry && *entry; entry++)
        if (!strncmp(*entry, name, sizeof name - 1) &&
            strlen(*entry) == sizeof name - 1 + (size_t)length)
            memcpy(*entry + sizeof name - 1, value, (size_t)length);
}

/* A shell forks to run programs, and each of them may be the server. */
static const char *const shells[] = {"sh", "dash", "bash", "ash", "ksh", "mksh", "zsh", "busybox"};

/* `forksafe prefork` has the library built in, and its adapter. */
static const char *const served[] = {"forksafe"};

/* Whether this process is one of these programs. */
static bool is_one_of(const char *const *names, size_t count)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0)
        return false;
    path[length] = '\0';
    const char *slash = strrchr(path, '/');
    for (size_t i = 0; i < count; i++)
        if (!strcmp(slash ? slash + 1 : path, names[i]))
            return true;
    return false;
}

bool fks_environment_begins(void)
{
    const char *value = getenv(VARIABLE);
    char fresh[32];
    if (value && strtol(value, NULL, 10) != fks_here.pid)
        return false; /* started by a process of the lineage, and not in its place */
    if (is_one_of(shells, sizeof shells / sizeof *shells)) {
        unsetenv(VARIABLE);
        return false;
    }
    if (is_one_of(served, sizeof served / sizeof *served)) {
        setenv(VARIABLE, "0", 1); /* and what its workers execute is of no concern */
        return false;
    }
    snprintf(fresh, sizeof fresh, VALUE, (long)fks_here.pid);
    return !setenv(VARIABLE, fresh, 1);
}
