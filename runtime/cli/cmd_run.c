/* SPDX-License-Identifier: MIT
 *
 * forksafe run INI -- COMMAND ARGS: becomes COMMAND, with the preload adapter in it. All that can
 * be known to be wrong is said before that, since afterwards the process is COMMAND's.
 */
#include "command.h"

#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "forksafe/forksafe.h"
#include "preload_environment.h"

static const char usage[] = "INI -- COMMAND [ARGUMENT...]";

static const char help[] =
    "Runs COMMAND, a program that forks workers, with the hooks of INI.\v"
    "INI is INI or INI#APP; without it FORKSAFE_INI of the environment is taken. The library is "
    "preloaded (LD_PRELOAD) and opens INI when COMMAND forks for the first time; COMMAND has the "
    "process id of this command. Hooks log to standard error.\n\n"
    "Exit status: COMMAND's; 1 COMMAND cannot be run with hooks, or forksafe.required is set and "
    "they cannot be loaded; 2 wrong arguments.";

struct plan {
    const char *name; /* "forksafe run" */
    const char *ini;
    char **command;
};

static int fail(const struct plan *plan, const char *text)
{
    fprintf(stderr, "%s: %s: %s\n", plan->name, plan->command[0], text);
    return FKS_EXIT_FAILED;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct plan *plan = state->input;
    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    if (state->arg_num > 0)
        argp_error(state, "'%s': the command follows after --", argument);
    plan->ini = argument;
    return 0;
}

/* What is said by the check, kept until it is known whether this process says it or COMMAND. */
static void keep_line(void *data, enum forksafe_log_level level, const char *line)
{
    FILE *said = data;
    (void)level;
    fprintf(said, "%s\n", line);
}

/* An ini that cannot be used is the library's to tell, in the master, as everywhere; but a server
 * that must not run without hooks is not started at all. */
static bool may_start(const char *ini)
{
    char *text = NULL;
    size_t size;
    FILE *said = open_memstream(&text, &size);
    if (!said)
        return true;
    const struct forksafe_host host = {.size = sizeof host,
                                       .container = "preload",
                                       .environment = "preload",
                                       .ini = ini,
                                       .log = keep_line,
                                       .data = said};
    bool may = forksafe_check(&host) != FORKSAFE_EREQUIRED;
    fclose(said);
    if (!may)
        fputs(text, stderr);
    free(text);
    return may;
}

static int start(const struct plan *plan)
{
    char path[PATH_MAX], object[PATH_MAX], ini[PATH_MAX * 2];
    if (!fks_program_find(path, plan->command[0]))
        return fail(plan, "there is no such program");
    const char *why = fks_preload_obstacle(path);
    if (!why)
        why = fks_preload_object(object);
    if (why)
        return fail(plan, why);
    if (!fks_ini_absolute(ini, sizeof ini, plan->ini))
        return fail(plan, "the ini has no absolute path");
    if (!may_start(ini))
        return FKS_EXIT_FAILED;
    if (!fks_preload_environment(object, ini))
        return fail(plan, "out of memory");
    execvp(plan->command[0], plan->command);
    return fail(plan, strerror(errno));
}

static int run(int argc, char **argv)
{
    static const struct argp parser = {.parser = parse_option, .args_doc = usage, .doc = help};
    struct plan plan = {.name = argv[0]};
    argc = fks_command_split(argc, argv, &plan.command);
    argp_parse(&parser, argc, argv, 0, NULL, &plan);
    if (!plan.ini)
        plan.ini = getenv("FORKSAFE_INI");
    if (plan.ini && *plan.ini && plan.command && plan.command[0])
        return start(&plan);
    fprintf(stderr, "%s: no %s; usage: %s %s\n", argv[0],
            plan.ini && *plan.ini ? "COMMAND after --" : "INI, and FORKSAFE_INI is not set",
            argv[0], usage);
    return FKS_EXIT_USAGE;
}

const struct fks_command fks_command_run = {
    .name = "run",
    .synopsis = "INI -- COMMAND [ARGUMENT...]",
    .summary = "run any program that forks workers, with hooks",
    .run = run,
};
