/* SPDX-License-Identifier: MIT
 *
 * The `forksafe` command: finds the subcommand in the one list of them and runs it.
 */
#include "command.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>

static const struct fks_command *const commands[] = {
    &fks_command_prefork, &fks_command_test, &fks_command_settings, &fks_command_debug,
    &fks_command_ps,      &fks_command_log,  &fks_command_repl,     &fks_command_serve,
    &fks_command_doctor,  &fks_command_run,  &fks_command_check,
};

static void print_help(FILE *to)
{
    fprintf(to,
            "Usage: forksafe COMMAND [ARGUMENT...]\n"
            "Fork hooks in Lua for every pre-forking server, and what ran in every worker.\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(to, "  forksafe %s %s\n        %s\n", commands[i]->name, commands[i]->synopsis,
                commands[i]->summary);
    fprintf(
        to,
        "\n`forksafe COMMAND --help` tells more. TARGET is an ini, an instance, a journal or the "
        "pid of any of\nits processes; none means all that can be found.\n"
        "Exit codes: 0 fine, 1 failures found, 2 usage, 3 no such instance, 4 permission, 5 a "
        "journal of\nanother version.\n");
}

int fks_exit_code(int error)
{
    switch (error) {
    case 0:
        return FKS_EXIT_OK;
    case FORKSAFE_EUSAGE:
        return FKS_EXIT_USAGE;
    case FORKSAFE_ENOENT:
        return FKS_EXIT_NO_TARGET;
    case FORKSAFE_EACCESS:
        return FKS_EXIT_DENIED;
    case FORKSAFE_EVERSION:
        return FKS_EXIT_VERSION;
    default:
        return FKS_EXIT_FAILED;
    }
}

int fks_command_fail(const char *command, const struct fks_error *error)
{
    fprintf(stderr, "forksafe %s: %s\n", command, error->text);
    return fks_exit_code(error->code);
}

int fks_command_split(int argc, char **argv, char ***command)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--"))
            continue;
        *command = argv + i + 1;
        return i;
    }
    *command = NULL;
    return argc;
}

int main(int argc, char **argv)
{
    argp_err_exit_status = FKS_EXIT_USAGE;
    argp_program_version = "forksafe " FORKSAFE_VERSION;
    if (argc < 2) {
        print_help(stderr);
        return FKS_EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
        print_help(stdout);
        return FKS_EXIT_OK;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("forksafe %s\n", forksafe_version());
        return FKS_EXIT_OK;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i]->name))
            continue;
        char name[64];
        snprintf(name, sizeof name, "forksafe %s", commands[i]->name);
        argv[1] = name;
        return commands[i]->run(argc - 1, argv + 1);
    }
    fprintf(stderr, "forksafe: no command '%s'; `forksafe --help` lists them\n", argv[1]);
    return FKS_EXIT_USAGE;
}
