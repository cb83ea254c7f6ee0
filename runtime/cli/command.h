/* SPDX-License-Identifier: MIT
 *
 * What a command of `forksafe` is, and the exit codes all of them share.
 */
#ifndef FKS_COMMAND_H
#define FKS_COMMAND_H

#include "core/error.h"

/* Exit codes, of every command. */
enum fks_exit {
    FKS_EXIT_OK = 0,
    FKS_EXIT_FAILED = 1,    /* failures found, or the work could not be done */
    FKS_EXIT_USAGE = 2,     /* wrong arguments */
    FKS_EXIT_NO_TARGET = 3, /* no such instance */
    FKS_EXIT_DENIED = 4,    /* permission */
    FKS_EXIT_VERSION = 5,   /* a journal of another version */
};

struct fks_command {
    const char *name;
    const char *synopsis; /* "[--json] TARGET" */
    const char *summary;  /* a line for `forksafe --help` */

    /* argv[0] is "forksafe NAME". stdout is data, stderr is messages. Returns an enum fks_exit. */
    int (*run)(int argc, char **argv);
};

extern const struct fks_command fks_command_prefork, fks_command_settings, fks_command_debug,
    fks_command_repl, fks_command_serve, fks_command_test, fks_command_ps, fks_command_log,
    fks_command_doctor, fks_command_run, fks_command_check;

/* The exit code for an error of the library. */
int fks_exit_code(int error);

/* "forksafe NAME: text" on stderr; returns the exit code for error->code. */
int fks_command_fail(const char *command, const struct fks_error *error);

/* Cuts off what follows after "--", so that its options are not ours: *command is NULL where there
 * is no "--". Returns how many arguments are left. */
int fks_command_split(int argc, char **argv, char ***command);

#endif
